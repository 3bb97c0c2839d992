//! Step kind `connect`: one action at a vendor, through a stored connection. The output is the action's result.
//!
//! Credentials are fetched for the call and dropped with it: they are in no output, no error and no record.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use levqor_connectors::catalogue::{Vendor, find};
use levqor_connectors::{Again, Ask, Error as CallError, Failure, Terms};
use levqor_core::job::{ClaimedJob, JobError};
use levqor_core::outcome::Outcome;
use levqor_core::scope::Scope;
use levqor_core::workflow::ConnectStep;
use serde_json::{Map, Value};

use super::http::MAX_ANSWER_BYTES;
use super::{Attempt, idempotency_key};
use crate::Shared;
use crate::ai::Paid;
use crate::connections::{ConnectError, open};

/// Between two looks for the connection while the database is away.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// A rendered request.
pub(crate) struct Call {
    ask: Ask,
    connection: String,
    idempotency_key: String,
    limit_ms: u64,
}

/// What of a step a definition can be refused for: places below the step, and what is wrong there. Parameters that hold a
/// template are looked at when they are filled in.
pub(crate) fn check(step: &ConnectStep) -> Vec<(String, String)> {
    let at_connect = |what| vec![("/connect".to_owned(), what)];
    let Some(vendor) = Vendor::named(&step.connector) else {
        let names = Vendor::ALL.map(Vendor::name).join(", ");
        return at_connect(format!("there is no connector `{}`; there are {names}", step.connector));
    };
    let Some(known) = find(vendor, &step.action) else {
        let names = known_actions(vendor);
        return at_connect(format!("{} has no action `{}`; it has {names}", vendor.name(), step.action));
    };
    let params = step.params.iter().map(|(name, value)| (name.as_str(), value.constant()));
    let wrong = known.check_fixed(&params.collect::<Vec<_>>()).into_iter();
    // What a model gives is not known yet, so nothing is missing.
    wrong
        .filter(|(at, _)| !(step.is_tool && at.is_empty()))
        .map(|(at, what)| (format!("/with{at}"), what))
        .collect()
}

fn known_actions(vendor: Vendor) -> String {
    let all = levqor_connectors::catalogue::all().iter().find(|(known, _)| *known == vendor);
    let names = all.into_iter().flat_map(|(_, known)| known.iter().map(|known| known.action.name));
    names.collect::<Vec<_>>().join(", ")
}

/// Fills in the parameters and checks them against the action.
pub(super) fn prepare(
    step: &ConnectStep,
    attempt: &Attempt<'_>,
    job: &ClaimedJob,
    scope: &Scope<'_>,
) -> Result<Call, JobError> {
    let rendered = step.render(scope).map_err(JobError::from)?;
    let vendor = Vendor::named(&step.connector).ok_or_else(|| {
        JobError::new("unknown_connector", format!("there is no connector `{}`", step.connector))
    })?;
    let params = serde_json::from_str(&rendered).map_err(|_| {
        JobError::new("invalid_params", "`with` holds what is no JSON that a connector can be sent")
    })?;
    let limit_ms = attempt.step.timeout_ms.max(1) as u64;
    let key = idempotency_key(job, attempt.step);
    Call::new(vendor, &step.action, params, &step.connection, key, limit_ms)
}

impl Call {
    /// The action with these parameters, through this connection.
    pub(super) fn new(
        vendor: Vendor,
        action: &str,
        params: Map<String, Value>,
        connection: &str,
        idempotency_key: String,
        limit_ms: u64,
    ) -> Result<Call, JobError> {
        let ask = Ask::new(vendor, action, params).map_err(refused)?;
        Ok(Call { ask, connection: connection.to_owned(), idempotency_key, limit_ms })
    }
}

pub(crate) async fn perform(shared: &Shared, call: Call, mut paid: Option<&mut Paid>) -> Outcome {
    let vendor = call.ask.vendor();
    let credentials = loop {
        match open(shared, vendor, &call.connection).await {
            Ok(credentials) => break credentials,
            // It comes back, or the step's time is over.
            Err(ConnectError::Store(levqor_store::Error::Unavailable(_))) => {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            Err(error) => return Outcome::Fail { error: not_connected(error) },
        }
    };
    let went_out = AtomicBool::new(false);
    let terms = Terms {
        now_ms: shared.clock.now_ms(),
        limit_ms: call.limit_ms,
        idempotency_key: Some(&call.idempotency_key),
        went_out: Some(&went_out),
    };
    if let Some(paid) = &mut paid {
        paid.spend();
    }
    let answer = shared.connectors.run(&call.ask, &credentials, terms).await;
    if let Some(paid) = paid {
        match &answer {
            _ if !went_out.load(Ordering::Relaxed) => paid.not_sent(),
            // What a vendor may have done without telling stays in doubt.
            Err(CallError::Vendor(
                Failure::Timeout { .. } | Failure::Unreachable { .. } | Failure::BadAnswer,
            )) => {}
            _ => paid.answered(None),
        }
    }
    match answer {
        Ok(result) => done(&result),
        Err(CallError::Vendor(failure)) => failed(vendor, &failure),
        Err(error) => Outcome::Fail { error: refused(error) },
    }
}

fn done(result: &Value) -> Outcome {
    let output = result.to_string();
    if output.len() > MAX_ANSWER_BYTES {
        let message = format!("the result is larger than {MAX_ANSWER_BYTES} bytes; ask for less");
        return Outcome::Fail { error: JobError::new("response_too_large", message) };
    }
    Outcome::Done { output }
}

fn failed(vendor: Vendor, failure: &Failure) -> Outcome {
    let error = JobError::new(failure.code(), format!("{}: {failure}", vendor.name()));
    match failure.again() {
        Again::Never => Outcome::Fail { error },
        Again::After(secs) => {
            let retry_after_ms =
                secs.map(|secs| i64::try_from(secs).unwrap_or(i64::MAX).saturating_mul(1000));
            Outcome::Retry { error, retry_after_ms }
        }
    }
}

/// What was filled in does not fit the action.
fn refused(error: CallError) -> JobError {
    let mut told = JobError::new("invalid_params", error.to_string());
    if let CallError::Invalid(fields) = error {
        told.fields = Some(fields.into_iter().collect());
    }
    told
}

fn not_connected(error: ConnectError) -> JobError {
    match error {
        ConnectError::Call(_) | ConnectError::NoKey | ConnectError::Store(_) => {
            tracing::error!(error = %crate::chain::chain(&error), "a connection could not be looked up");
            JobError::new("internal_error", "the connection could not be looked up")
        }
        error => JobError::new(error.code(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_retried_when_that_may_help_and_not_before_the_vendor_says() {
        let word = || Some("word".to_owned());
        for (failure, code, again) in [
            (Failure::Refused { word: word() }, "connector_refused", None),
            (Failure::Unauthorized { word: word() }, "connector_unauthorized", None),
            (Failure::Unreachable { code: "address_refused" }, "connector_unreachable", None),
            (Failure::Unreachable { code: "dns_failed" }, "connector_unreachable", Some(None)),
            (Failure::Failed { word: word() }, "connector_failed", Some(None)),
            (Failure::BadAnswer, "connector_bad_answer", Some(None)),
            (Failure::Timeout { limit_ms: 5 }, "connector_timeout", Some(None)),
            (
                Failure::RateLimited { retry_after_secs: 7, word: None },
                "connector_rate_limited",
                Some(Some(7_000)),
            ),
        ] {
            let (error, found) = match failed(Vendor::Slack, &failure) {
                Outcome::Fail { error } => (error, None),
                Outcome::Retry { error, retry_after_ms } => (error, Some(retry_after_ms)),
                other => panic!("{other:?}"),
            };
            assert_eq!((error.code.as_str(), found), (code, again));
            assert!(error.message.starts_with("slack: "), "{}", error.message);
        }
    }

    #[test]
    fn a_result_that_is_too_large_to_keep_fails_the_step() {
        let Outcome::Fail { error } = done(&"x".repeat(MAX_ANSWER_BYTES).into()) else { panic!("kept") };

        assert_eq!(error.code, "response_too_large");
    }
}
