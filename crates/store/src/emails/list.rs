//! Lists tries to send mails, newest first, page by page. Job, recipient and outcome have an index each; the page walks the
//! first of them that is asked for and drops what does not fit the others, within a bounded number of rows.

use crate::tx::{Row, Tx, Value};
use crate::{EmailFilter, EmailOutcome, EmailPage, EmailRow, Error, Result, decode};

/// Rows examined for one page at most, give or take a chunk.
const EXAMINED_MOST: usize = 2_000;
const CHUNK: usize = 500;
const AFTER_ALL: &str = "ffffffffffffffffffffffffffffffff";

/// No address holds a comma.
macro_rules! columns {
    () => {
        "select t.id, t.job_id, t.step, t.attempt, t.at_ms, t.finished_at_ms, t.sender, t.subject, t.provider, \
         t.outcome, t.message_id, t.code, t.error, \
         (select string_agg(a.kind || ' ' || a.address, ',' order by a.place) from email_recipients a where a.try_id = t.id) \
         from email_tries t "
    };
}

const ALL: &str = concat!(columns!(), "where t.id < $1 order by t.id desc limit $2");
const OF_JOB: &str = concat!(columns!(), "where t.id < $1 and t.job_id = $3 order by t.id desc limit $2");
const OF_OUTCOME: &str =
    concat!(columns!(), "where t.id < $1 and t.outcome = $3 order by t.id desc limit $2");
const TO_ADDRESS: &str = concat!(
    columns!(),
    "join email_recipients r on r.try_id = t.id where r.address = $3 and r.try_id < $1 order by r.try_id desc limit $2"
);

pub(super) async fn emails(tx: &mut Tx<'_>, filter: &EmailFilter) -> Result<EmailPage> {
    let job_id = filter.job_id.map(|id| id.to_string());
    let (text, key) = match (&job_id, &filter.recipient, filter.outcome) {
        (Some(job_id), _, _) => (OF_JOB, Some(job_id.as_str())),
        (None, Some(address), _) => (TO_ADDRESS, Some(address.as_str())),
        (None, None, Some(outcome)) => (OF_OUTCOME, Some(outcome.as_str())),
        (None, None, None) => (ALL, None),
    };
    let mut cursor = filter.before.map_or_else(|| AFTER_ALL.to_owned(), |id| id.to_string());
    // One more than asked for tells whether there is a next page.
    let wanted = filter.limit + 1;
    let (mut emails, mut examined, mut more) = (Vec::new(), 0, true);
    while more && emails.len() < wanted && examined < EXAMINED_MOST {
        let limit = CHUNK.min(wanted) as i64;
        let mut values: Vec<Value<'_>> = vec![(&cursor).into(), limit.into()];
        values.extend(key.map(Value::from));
        let rows = tx.query(text, &values).await?;
        more = rows.len() as i64 == limit;
        examined += rows.len();
        let rows = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
        if let Some(last) = rows.last() {
            cursor = last.id.to_string();
        }
        emails.extend(rows.into_iter().filter(|row| fits(filter, row)));
    }
    let has_more = emails.len() > filter.limit;
    emails.truncate(filter.limit);
    let next = match (has_more, emails.last()) {
        (true, Some(last)) => Some(last.id),
        _ if more => Some(decode::job_id(&cursor)?),
        _ => None,
    };
    Ok(EmailPage { emails, next })
}

fn fits(filter: &EmailFilter, row: &EmailRow) -> bool {
    filter.outcome.is_none_or(|outcome| row.outcome == outcome)
        && filter
            .recipient
            .as_ref()
            .is_none_or(|address| row.recipients.iter().any(|(_, known)| known == address))
}

fn read(row: &Row) -> Result<EmailRow> {
    let outcome = row.text(9)?;
    let recipients = row.opt_text(13)?.unwrap_or_default();
    let recipients = recipients.split(',').filter_map(|one| one.split_once(' '));
    Ok(EmailRow {
        id: decode::job_id(&row.text(0)?)?,
        job_id: decode::job_id(&row.text(1)?)?,
        step: row.text(2)?,
        attempt: row.int(3)?,
        at_ms: row.int(4)?,
        finished_at_ms: row.opt_int(5)?,
        sender: row.text(6)?,
        subject: row.text(7)?,
        provider: row.text(8)?,
        outcome: EmailOutcome::parse(&outcome)
            .ok_or_else(|| Error::bug(format!("{outcome:?} is no outcome of a mail")))?,
        message_id: row.opt_text(10)?,
        code: row.opt_text(11)?,
        error: row.opt_text(12)?,
        recipients: recipients.map(|(kind, address)| (kind.to_owned(), address.to_owned())).collect(),
    })
}
