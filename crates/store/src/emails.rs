//! Every try to send a mail: on record before it goes out, and again when it is over.
//!
//! A try whose process died, or whose job was cancelled meanwhile, stays `sending` until the next one of its step begins or a
//! day has passed; then it reads `lost`: nobody knows whether it was sent.

mod erase;
mod list;

use levqor_core::id::JobId;
use levqor_core::job::Fenced;
use levqor_core::mail::WORKFLOW;

pub(crate) use self::erase::erase;
use crate::tx::Tx;
use crate::{EmailEnd, EmailFilter, EmailPage, EmailRow, NewEmailTry, Result, Store, decode, payments};

/// No step takes longer, so what is `sending` for longer is not.
const OUT_AT_MOST_MS: i64 = 86_400_000;
const ROWS_AT_ONCE: i64 = 500;
const LISTED_AT_ONCE: usize = 500;

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

    /// All tries to send this person a mail, newest first: those to their address, and those that told of their payments,
    /// wherever these went. The addresses of others are left out.
    pub async fn list_emails_of(&self, user_id: &str, address: &str) -> Result<Vec<EmailRow>> {
        let user_id = user_id.to_owned();
        let own = self
            .read(move |tx| {
                let user_id = user_id.clone();
                Box::pin(async move { payments::mails_of_user(tx, &user_id).await })
            })
            .await?;
        let address = address.to_lowercase();
        let mut emails = Vec::new();
        // An empty address is that of people who were erased.
        if !address.is_empty() {
            let to = EmailFilter { recipient: Some(address.clone()), ..EmailFilter::default() };
            emails = self.list_all_emails(to).await?;
            for row in &mut emails {
                row.recipients.retain(|(_, known)| *known == address);
            }
        }
        for job_id in &own {
            let job_id = decode::job_id(job_id)?;
            let of = EmailFilter { job_id: Some(job_id), ..EmailFilter::default() };
            let told = self.list_all_emails(of).await?;
            emails.retain(|row: &EmailRow| row.job_id != job_id);
            emails.extend(told);
        }
        emails.sort_by_key(|row| std::cmp::Reverse(row.id));
        Ok(emails)
    }

    async fn list_all_emails(&self, mut filter: EmailFilter) -> Result<Vec<EmailRow>> {
        filter.limit = LISTED_AT_ONCE;
        let mut emails = Vec::new();
        loop {
            let page = self.list_emails(&filter).await?;
            emails.extend(page.emails);
            filter.before = page.next;
            if filter.before.is_none() {
                return Ok(emails);
            }
        }
    }

    /// What these jobs were told to write, as far as it is kept: payloads of Levqor's own workflow for mails.
    pub async fn find_mails(&self, job_ids: Vec<JobId>) -> Result<Vec<(JobId, String)>> {
        self.read(move |tx| {
            let job_ids = job_ids.clone();
            Box::pin(async move {
                let mut mails = Vec::new();
                for job_id in job_ids {
                    let sql = "select payload from jobs where id = $1 and workflow = $2";
                    let found = tx.query_opt(sql, &[(&job_id.to_string()).into(), WORKFLOW.into()]).await?;
                    if let Some(row) = found {
                        mails.push((job_id, row.text(0)?));
                    }
                }
                Ok(mails)
            })
        })
        .await
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

/// One turn of retention: forgets some of what is older than `before_ms` and what is to be erased by now, and what is out for
/// too long is lost.
pub(crate) async fn sweep(tx: &mut Tx<'_>, before_ms: i64, now_ms: i64) -> Result<()> {
    erase::sweep(tx).await?;
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
