//! Step kind `email`: one try to send a mail. On record before it goes out, and again when it is over; what is on record of
//! the attempt itself is the run's business, as for every step.
//!
//! Output: `{"provider":…,"message_id":…,"recipients":…}`.

use std::time::Duration;

use levqor_connectors::email::{Failure, Mailer, Sent};
use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Fenced, JobError};
use levqor_core::json;
use levqor_core::mail::Mail;
use levqor_core::outcome::Outcome;
use levqor_core::scope::Scope;
use levqor_core::workflow::EmailStep;
use levqor_store::{EmailEnd, Error, NewEmailTry};

use super::{Attempt, idempotency_key};
use crate::Shared;
use crate::chain::chain;
use crate::figures::Counters;

/// A mail that is filled in, and whose it is.
pub(crate) struct Call {
    mail: Mail,
    job_id: JobId,
    claim: i64,
    step: String,
    attempt: i64,
    key: String,
}

pub(super) fn prepare(
    step: &EmailStep,
    attempt: &Attempt<'_>,
    job: &ClaimedJob,
    scope: &Scope<'_>,
) -> Result<Call, JobError> {
    Ok(Call {
        mail: step.render(scope)?,
        job_id: job.id,
        claim: job.claim,
        step: attempt.step.id.clone(),
        attempt: attempt.number,
        key: idempotency_key(job, attempt.step),
    })
}

pub(super) async fn perform(shared: &Shared, call: Call, limit: Duration) -> Outcome {
    let mailer = shared.settings.mailer.as_deref();
    let new = new_try(shared, &call, mailer);
    let id = new.id;
    match recorded(shared, || shared.store.begin_email(new.clone())).await {
        Some(Fenced::Done) => {}
        // The job is not ours any more, and neither is this outcome: its record will change nothing.
        Some(Fenced::Stale) | None => {
            let error = JobError::new("lost", "the job was taken away before its mail was sent");
            return Outcome::Fail { error };
        }
    }
    let sent = match mailer {
        Some(mailer) => send(shared, mailer, &call, limit).await,
        None => Err(Unsent::NotConfigured),
    };
    let counters = &shared.counters;
    Counters::add(if sent.is_ok() { &counters.emails_sent } else { &counters.emails_failed }, 1);
    let end = end(&sent);
    recorded(shared, || shared.store.end_email(id, end.clone(), shared.clock.now_ms())).await;
    outcome(sent, &call, mailer)
}

/// Why a mail did not go out.
enum Unsent {
    NotConfigured,
    Failed(Failure),
}

impl Unsent {
    fn error(&self) -> JobError {
        match self {
            Unsent::NotConfigured => {
                let message =
                    "no way to send mail is configured: set RESEND_API_KEY or SMTP_URL, then retry the job";
                JobError::new("email_not_configured", message)
            }
            Unsent::Failed(failure) => JobError::new(failure.code(), failure.to_string()),
        }
    }
}

fn new_try(shared: &Shared, call: &Call, mailer: Option<&Mailer>) -> NewEmailTry {
    let now_ms = shared.clock.now_ms();
    let recipients = call.mail.recipients().into_iter();
    NewEmailTry {
        id: JobId::new(now_ms, rand::random::<[u8; 10]>()),
        job_id: call.job_id,
        claim: call.claim,
        step: call.step.clone(),
        attempt: call.attempt,
        at_ms: now_ms,
        sender: match mailer {
            Some(mailer) => mailer.address(call.mail.from),
            None => call.mail.from.as_str().to_owned(),
        },
        subject: call.mail.subject.clone(),
        provider: mailer.map_or("none", Mailer::provider),
        recipients: recipients.map(|(kind, address)| (kind, address.to_lowercase())).collect(),
    }
}

async fn send(shared: &Shared, mailer: &Mailer, call: &Call, limit: Duration) -> Result<Sent, Unsent> {
    let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    mailer.send(&call.mail, &call.key, shared.clock.now_ms(), limit_ms).await.map_err(Unsent::Failed)
}

fn end(sent: &Result<Sent, Unsent>) -> EmailEnd {
    match sent {
        Ok(sent) => EmailEnd::Sent { message_id: sent.message_id.clone() },
        Err(unsent) => {
            let JobError { code, message, .. } = unsent.error();
            EmailEnd::Failed { code, error: message }
        }
    }
}

fn outcome(sent: Result<Sent, Unsent>, call: &Call, mailer: Option<&Mailer>) -> Outcome {
    match sent {
        Ok(sent) => {
            let mut output = String::from("{\"provider\":");
            json::push_quoted(&mut output, mailer.map_or("none", Mailer::provider));
            output.push_str(",\"message_id\":");
            json::push_quoted(&mut output, &sent.message_id);
            output.push_str(&format!(",\"recipients\":{}}}", call.mail.recipients().len()));
            Outcome::Done { output }
        }
        Err(Unsent::Failed(failure)) if failure.is_retryable() => {
            let retry_after_ms = failure.retry_after_ms();
            Outcome::Retry { error: Unsent::Failed(failure).error(), retry_after_ms }
        }
        Err(unsent) => Outcome::Fail { error: unsent.error() },
    }
}

/// Writes until it is written: while the database is away, the mail waits or its outcome is kept. `None`: this process is
/// about to end, or the database refuses this very record.
async fn recorded<T, F>(shared: &Shared, write: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = levqor_store::Result<T>>,
{
    let mut failures = 0u64;
    loop {
        match write().await {
            Ok(written) => return Some(written),
            Err(Error::Unavailable(_)) if !shared.giving_up.is_cancelled() => {
                failures += 1;
                tokio::time::sleep(Duration::from_millis((50 * failures).min(1_000))).await;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "a try to send a mail cannot be recorded");
                return None;
            }
        }
    }
}
