//! Every try to send a mail: on record before it goes out, and again when it is over.
//!
//! A try whose process died, or whose job was cancelled meanwhile, stays `sending` until the next one of its step begins or a
//! day has passed; then it reads `lost`: nobody knows whether it was sent.

mod list;

use levqor_core::id::JobId;
use levqor_core::job::Fenced;
use levqor_core::mail::WORKFLOW;

use crate::tx::Tx;
use crate::{EmailEnd, EmailFilter, EmailPage, EmailRow, NewEmailTry, Result, Store};

/// No step takes longer, so what is `sending` for longer is not.
const OUT_AT_MOST_MS: i64 = 86_400_000;
const ROWS_AT_ONCE: i64 = 500;

impl Store {
    /// Records a try before it goes out, if the job is still running under this claim: otherwise nothing may be sent.
    /// Earlier tries of the step that never ended read `lost` from now on.
    pub async fn begin_email(&self, new: NewEmailTry) -> Result<Fenced> {
        let new = std::sync::Arc::new(new);
        self.write(move |tx| {
            let new = new.clone();
            Box::pin(async move { begin(tx, &new).await })
        })
        .await
    }

    /// Records how a try ended. One that was taken for lost meanwhile is put right.
    pub async fn end_email(&self, id: JobId, end: EmailEnd, now_ms: i64) -> Result<()> {
        self.write(move |tx| {
            let end = end.clone();
            Box::pin(async move { finish(tx, id, &end, now_ms).await })
        })
        .await
    }

    /// Newest first.
    pub async fn list_emails(&self, filter: &EmailFilter) -> Result<EmailPage> {
        let filter = filter.clone();
        self.read(move |tx| {
            let filter = filter.clone();
            Box::pin(async move { list::emails(tx, &filter).await })
        })
        .await
    }

    /// All tries to send to an address, for the export of a person: the addresses of others are not theirs.
    pub async fn list_emails_to(&self, address: &str) -> Result<Vec<EmailRow>> {
        let mut filter =
            EmailFilter { recipient: Some(address.to_lowercase()), limit: 500, ..EmailFilter::default() };
        let mut emails = Vec::new();
        loop {
            let page = self.list_emails(&filter).await?;
            emails.extend(page.emails.into_iter().map(|mut row| {
                row.recipients.retain(|(_, known)| Some(known) == filter.recipient.as_ref());
                row
            }));
            filter.before = page.next;
            if filter.before.is_none() {
                return Ok(emails);
            }
        }
    }
}

async fn begin(tx: &mut Tx<'_>, new: &NewEmailTry) -> Result<Fenced> {
    let (id, job_id) = (new.id.to_string(), new.job_id.to_string());
    let mine = tx
        .query_opt(
            "select 1 from live_jobs where id = $1 and claim = $2 and state = 'running'",
            &[(&job_id).into(), new.claim.into()],
        )
        .await?;
    if mine.is_none() {
        return Ok(Fenced::Stale);
    }
    tx.execute(
        "update email_tries set outcome = 'lost' where job_id = $1 and step = $2 and outcome = 'sending'",
        &[(&job_id).into(), (&new.step).into()],
    )
    .await?;
    tx.execute(
        "insert into email_tries (id, job_id, step, attempt, at_ms, sender, subject, provider, outcome) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, 'sending')",
        &[
            (&id).into(),
            (&job_id).into(),
            (&new.step).into(),
            new.attempt.into(),
            new.at_ms.into(),
            (&new.sender).into(),
            (&new.subject).into(),
            new.provider.into(),
        ],
    )
    .await?;
    for (place, (kind, address)) in new.recipients.iter().enumerate() {
        tx.execute(
            "insert into email_recipients (try_id, place, kind, address) values ($1, $2, $3, $4)",
            &[(&id).into(), (place as i64).into(), (*kind).into(), address.as_str().into()],
        )
        .await?;
    }
    Ok(Fenced::Done)
}

async fn finish(tx: &mut Tx<'_>, id: JobId, end: &EmailEnd, now_ms: i64) -> Result<()> {
    let (outcome, message_id, code, error) = match end {
        EmailEnd::Sent { message_id } => ("sent", Some(message_id), None, None),
        EmailEnd::Failed { code, error } => ("failed", None, Some(code), Some(error)),
    };
    tx.execute(
        "update email_tries set outcome = $2, finished_at_ms = $3, message_id = $4, code = $5, error = $6 \
         where id = $1 and finished_at_ms is null",
        &[
            (&id.to_string()).into(),
            outcome.into(),
            now_ms.into(),
            message_id.into(),
            code.into(),
            error.into(),
        ],
    )
    .await?;
    Ok(())
}

/// Takes a person out of the records: the address, what was written to them, and the payloads of the mails that Levqor sent
/// itself. That there was a mail, and when, stays.
pub(crate) async fn erase(tx: &mut Tx<'_>, address: &str) -> Result<()> {
    tx.execute(
        "update jobs set payload = '{}' where workflow = $2 and id in (select t.job_id from email_tries t \
         join email_recipients r on r.try_id = t.id where r.address = $1) \
         and id in (select id from finished_jobs)",
        &[address.into(), WORKFLOW.into()],
    )
    .await?;
    tx.execute(
        "update email_tries set subject = '', error = null where id in \
         (select try_id from email_recipients where address = $1)",
        &[address.into()],
    )
    .await?;
    tx.execute("update email_recipients set address = '' where address = $1", &[address.into()]).await?;
    Ok(())
}

/// One turn of retention: forgets some of what is older than `before_ms`, and what is out for too long is lost.
pub(crate) async fn sweep(tx: &mut Tx<'_>, before_ms: i64, now_ms: i64) -> Result<()> {
    let bound = JobId::floor(before_ms).to_string();
    for text in [
        "delete from email_recipients where try_id in \
         (select id from email_tries where id < $1 order by id limit $2)",
        "delete from email_tries where id in (select id from email_tries where id < $1 order by id limit $2)",
    ] {
        tx.execute(text, &[(&bound).into(), ROWS_AT_ONCE.into()]).await?;
    }
    let out_since = JobId::floor(now_ms - OUT_AT_MOST_MS).to_string();
    tx.execute(
        "update email_tries set outcome = 'lost' where outcome = 'sending' and id < $1",
        &[(&out_since).into()],
    )
    .await?;
    Ok(())
}
