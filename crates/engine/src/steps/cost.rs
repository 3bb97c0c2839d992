//! Steps with a price of their own (`cost`): the amount is held before an attempt goes out. A budget's no is told as an `ai`
//! step tells it: spent is failed, held by others is waited for.

use std::sync::Arc;
use std::time::Duration;

use levqor_core::job::{ClaimedJob, JobError};
use levqor_core::money::Nano;
use levqor_core::outcome::Outcome;
use levqor_core::workflow::StepKind;
use levqor_store::{Error, Reason};

use super::ai::{MAX_KNOWN, Place, budget_error, budget_key, rest_for_money};
use super::{Attempt, Call};
use crate::Shared;
use crate::ai::{Fare, NotHeld, Paid};
use crate::chain::chain;

/// What stands for a host whose name holds a secret.
const HIDDEN_HOST: &str = "hidden";

/// What this attempt costs; `None`: nothing.
pub(crate) fn fare(attempt: &Attempt<'_>, call: &Call, job: &ClaimedJob) -> Option<Fare> {
    let amount: Nano = attempt.step.cost?;
    let (provider, model) = match (&attempt.step.kind, call) {
        (StepKind::Connect(step), _) => (step.connector.clone(), step.action.clone()),
        (_, Call::Http(call)) => {
            ("http".to_owned(), call.host.clone().unwrap_or_else(|| HIDDEN_HOST.to_owned()))
        }
        _ => return None,
    };
    let place = Place::of(job, &attempt.step.id, attempt.number, 1);
    Some(Fare {
        key: budget_key(&place.caller).to_owned(),
        tags: place.tags.clone(),
        place: place.call(attempt.number, 1),
        provider,
        model,
        amount,
        limit_ms: attempt.step.timeout_ms,
    })
}

/// The hold, or what becomes of the attempt without one. Places that an earlier run has used are passed over: what it held
/// is charged, whatever came of it.
pub(super) async fn hold(shared: &Arc<Shared>, mut fare: Fare) -> Result<Paid, Outcome> {
    let fail = |code, message: String| Err(Outcome::Fail { error: JobError::new(code, message) });
    let mut token = None;
    let mut is_last = false;
    for _ in 0..MAX_KNOWN {
        match fare.hold(shared).await {
            Ok(paid) => return Ok(paid),
            Err(NotHeld::Known { .. }) => fare.place.attempt += 1,
            Err(NotHeld::Store(Error::Unavailable(_))) => {
                fare.place.attempt += 1;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Err(NotHeld::Budget(refusal)) if refusal.reason == Reason::SpentOut => {
                return Err(Outcome::Fail { error: budget_error(&refusal) });
            }
            Err(NotHeld::Budget(refusal)) if is_last => {
                return Err(rest_for_money(shared, fare.place.job, &refusal, token));
            }
            // Once more, after the look at the budgets' word: a limit that is raised from here on is seen.
            Err(NotHeld::Budget(_)) => {
                token = shared.store.budgets_token().await.ok();
                is_last = true;
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), job.id = %fare.place.job, "a hold is refused by the database");
                return fail("internal_error", "the call could not be put under its budgets".to_owned());
            }
        }
    }
    fail("ai_too_many_calls", "too many attempts were lost at one place of the step".to_owned())
}
