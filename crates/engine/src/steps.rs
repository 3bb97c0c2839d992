//! What each kind of step does. `begin` needs nothing from outside: it ends the attempt at once, or says which call must
//! go out. A new kind is a file in `steps/` and an arm here.

pub(crate) mod ai;
pub(crate) mod connect;
mod cost;
mod email;
mod http;
mod scope;

use std::sync::Arc;
use std::time::Duration;

use levqor_core::job::{ClaimedJob, JobError, StepRow, StepStatus};
use levqor_core::outcome::Outcome;
use levqor_core::retry::RetryPolicy;
use levqor_core::workflow::{Definition, Step, StepKind};

pub(crate) use cost::fare;
pub(crate) use scope::View;

use crate::Shared;
use crate::ai::{Fare, Paid};

/// What must go out.
pub(crate) enum Call {
    Ai(Box<ai::Call>),
    Connect(Box<connect::Call>),
    Http(Box<http::Call>),
    Email(Box<email::Call>),
}

/// What beginning an attempt came to.
pub(crate) enum Begun {
    /// The attempt is over: succeeded, skipped, failed or resting.
    Over(StepRow),
    /// This must go out.
    Call(Call),
}

/// One attempt of one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    pub step: &'a Step,
    pub number: i64,
    /// Its place in the retry budget, from 1: a retry by a person opens a new budget.
    pub in_budget: i64,
    pub started_at_ms: i64,
}

impl Attempt<'_> {
    /// The attempt as a row in this state, with nothing else known.
    pub fn row(&self, status: StepStatus) -> StepRow {
        StepRow {
            step: self.step.id.clone(),
            attempt: self.number,
            status,
            started_at_ms: self.started_at_ms,
            finished_at_ms: None,
            until_ms: None,
            output: None,
            error: None,
        }
    }

    /// The attempt as it stands after `outcome`: the one place that turns outcomes into records.
    pub fn after(&self, outcome: Outcome, now_ms: i64, random: f64) -> StepRow {
        let (status, until_ms, output, error) = match outcome {
            Outcome::Done { output } => (StepStatus::Succeeded, None, Some(output), None),
            Outcome::Wait { until_ms } => (StepStatus::Waiting, Some(until_ms), None, None),
            Outcome::Pause { until_ms, error } => (StepStatus::Waiting, Some(until_ms), None, Some(error)),
            Outcome::Fail { error } => (StepStatus::Failed, None, None, Some(error)),
            Outcome::Retry { error, retry_after_ms } => {
                let policy: &RetryPolicy = &self.step.retry;
                (
                    StepStatus::Failed,
                    policy.next(self.in_budget, now_ms, retry_after_ms, random),
                    None,
                    Some(error),
                )
            }
        };
        let finished_at_ms = (status != StepStatus::Waiting).then_some(now_ms);
        StepRow { finished_at_ms, until_ms, output, error, ..self.row(status) }
    }
}

/// Evaluates `if`, then begins the step.
pub(crate) fn begin(attempt: &Attempt<'_>, view: &View<'_>) -> Begun {
    let now_ms = attempt.started_at_ms;
    let over = |outcome| Begun::Over(attempt.after(outcome, now_ms, 0.0));
    let scope = view.scope();
    match attempt.step.condition(&scope) {
        Ok(true) => {}
        Ok(false) => {
            return Begun::Over(StepRow { finished_at_ms: Some(now_ms), ..attempt.row(StepStatus::Skipped) });
        }
        Err(error) => return over(Outcome::Fail { error }),
    }
    match &attempt.step.kind {
        StepKind::Transform(template) => over(match template.render(&scope) {
            Ok(output) => Outcome::Done { output },
            Err(error) => Outcome::Fail { error: error.into() },
        }),
        StepKind::Wait(wait) => over(match wait.until_ms(&scope, now_ms) {
            Ok(until_ms) => Outcome::Wait { until_ms },
            Err(error) => Outcome::Fail { error },
        }),
        StepKind::Ai(step) => match ai::prepare(step, attempt, view, &scope) {
            Ok(call) => Begun::Call(Call::Ai(Box::new(call))),
            Err(error) => over(Outcome::Fail { error }),
        },
        StepKind::Connect(step) => match connect::prepare(step, attempt, view.job, &scope) {
            Ok(call) => Begun::Call(Call::Connect(Box::new(call))),
            Err(error) => over(Outcome::Fail { error }),
        },
        StepKind::Http(step) => match http::prepare(step, attempt, view.job, &scope) {
            Ok(call) => Begun::Call(Call::Http(Box::new(call))),
            Err(error) => over(Outcome::Fail { error }),
        },
        StepKind::Email(step) => match email::prepare(step, attempt, view.job, &scope) {
            Ok(call) => Begun::Call(Call::Email(Box::new(call))),
            Err(error) => over(Outcome::Fail { error }),
        },
    }
}

/// What may have a price of its own.
enum Outward {
    Connect(Box<connect::Call>),
    Http(Box<http::Call>),
}

/// Makes the call of a step within the step's time limit, once what it costs is held.
pub(crate) async fn perform(
    shared: &Arc<Shared>,
    call: Call,
    fare: Option<Fare>,
    timeout_ms: i64,
) -> ai::Performed {
    let limit = Duration::from_millis(timeout_ms.max(1) as u64);
    let call = match call {
        // These two keep to the limit by themselves: what was recorded until then stays known.
        Call::Ai(call) => return ai::perform(shared, *call, limit).await,
        Call::Email(call) => {
            let outcome = email::perform(shared, *call, limit).await;
            return ai::Performed { outcome, recorded: Vec::new(), last: None, owed: None };
        }
        Call::Connect(call) => Outward::Connect(call),
        Call::Http(call) => Outward::Http(call),
    };
    let mut paid = None;
    let work = async {
        if let Some(fare) = fare {
            match cost::hold(shared, fare).await {
                Ok(held) => paid = Some(held),
                Err(outcome) => return outcome,
            }
        }
        match call {
            Outward::Connect(call) => connect::perform(shared, *call, paid.as_mut()).await,
            Outward::Http(call) => http::perform(shared, *call, paid.as_mut()).await,
        }
    };
    let outcome = match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Retry { error: timed_out(timeout_ms), retry_after_ms: None },
    };
    ai::Performed { outcome, recorded: Vec::new(), last: None, owed: paid.and_then(Paid::end) }
}

fn timed_out(timeout_ms: i64) -> JobError {
    JobError::new("timeout", format!("the step took longer than its timeout of {timeout_ms} ms"))
}

/// The result of a job whose steps are all over.
pub(crate) fn result(definition: &Definition, view: &View<'_>) -> Result<String, JobError> {
    definition.result(&view.scope()).map_err(JobError::from)
}

/// The one key of a step of a job, the same in every attempt: vendors that take it perform a repeated call once.
pub(crate) fn idempotency_key(job: &ClaimedJob, step: &Step) -> String {
    format!("{}-{}", job.id, step.id)
}
