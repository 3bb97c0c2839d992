//! Step kind `ai`: a conversation with a model until its answer has the form that was asked for. The output is
//! `{"answer":…,"model":…,"usage":{…},"cost":…,…}`.
//!
//! Every call is a turn on record together with its charge, in one commit, before anything that depends on it happens; so is
//! every tool. What comes next is decided by core from the turns alone. The last turn rides in the record of the run.
//!
//! Order: `render` (templates, before anything goes out) → `attach` (images and documents) → `ask` (what is sent) → `choose`
//! (which model, and what if budgets say no) → `turns` (on record) → `tools` → `output`.

mod ask;
mod attach;
mod cache;
mod choose;
mod forecast;
mod output;
mod render;
mod tools;
mod turns;

use std::sync::Arc;
use std::time::Duration;

use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, JobError, Priority, StepRow, StepStatus, Tags};
use levqor_core::outcome::Outcome;
use levqor_core::redact::Vault;
use levqor_core::scope::Scope;
use levqor_core::talk::{Move, next};
use levqor_core::workflow::AiStep;
use levqor_store::CallPlace;

use super::{Attempt, View};
use crate::Shared;
use crate::ai::{Over, Owed};
pub(crate) use choose::{MAX_KNOWN, budget_error, rest_for_money};
pub(crate) use forecast::{Forecast, forecast};
use render::Rendered;
use turns::Turns;

/// A conversation that is to go on, everything filled in.
pub(crate) struct Call {
    step: Arc<AiStep>,
    place: Place,
    rendered: Rendered,
    turns: Turns,
}

/// Whose conversation it is.
pub(crate) struct Place {
    pub job: JobId,
    pub claim: i64,
    pub workflow: String,
    pub step: String,
    pub step_attempt: i64,
    pub round: i64,
    pub tags: Tags,
    pub priority: Priority,
    /// The key or program that it is for: a child is for its root's.
    pub caller: String,
    /// Whose budget for one job counts: the root of the tree.
    pub root_job: JobId,
    /// Below the root.
    pub depth: u32,
}

/// Stands before the caller of a job that a model asked for.
const CHILD: &str = "job:";

/// The root of the tree of a job that a model asked for; `None` for any other.
pub(crate) fn root_of_child(job: &ClaimedJob) -> Option<JobId> {
    Some(lineage(job)).filter(|(root, ..)| *root != job.id).map(|(root, ..)| root)
}

/// The root of a job's tree, its depth below it, and who the root is for.
fn lineage(job: &ClaimedJob) -> (JobId, u32, &str) {
    let child = job.caller.strip_prefix(CHILD).and_then(|rest| {
        let mut parts = rest.splitn(3, ':');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?))
    });
    child.unwrap_or((job.id, 0, &job.caller))
}

/// The caller of a job that the model of this place asks for.
fn child_caller(place: &Place) -> String {
    format!("{CHILD}{}:{}:{}", place.root_job, place.depth + 1, place.caller)
}

/// The key behind a caller as budgets name it: the id of a stored key, the same after a rotation.
pub(crate) fn budget_key(caller: &str) -> &str {
    caller.strip_prefix("key:").unwrap_or(caller)
}

impl Place {
    pub(crate) fn of(job: &ClaimedJob, step: &str, step_attempt: i64, round: i64) -> Self {
        let (root_job, depth, caller) = lineage(job);
        Place {
            job: job.id,
            claim: job.claim,
            workflow: job.workflow.clone(),
            step: step.to_owned(),
            step_attempt,
            round,
            tags: job.tags.clone(),
            priority: job.priority,
            caller: caller.to_owned(),
            root_job,
            depth,
        }
    }

    pub(crate) fn call(&self, question: i64, attempt: i64) -> CallPlace {
        CallPlace {
            job: self.job,
            root_job: self.root_job,
            workflow: self.workflow.clone(),
            step: self.step.clone(),
            logical_call: question,
            attempt,
        }
    }
}

/// What a conversation came to, for the run.
pub(crate) struct Performed {
    pub outcome: Outcome,
    /// Turns that are on record by now.
    pub recorded: Vec<StepRow>,
    /// The last turn, not yet on record, and the call that it was.
    pub last: Option<(StepRow, Option<Over>)>,
    /// What the attempt itself cost.
    pub owed: Option<Owed>,
}

pub(super) fn prepare(
    step: &Arc<AiStep>,
    attempt: &Attempt<'_>,
    view: &View<'_>,
    scope: &Scope<'_>,
) -> Result<Call, JobError> {
    let id_of_step = &attempt.step.id;
    let rows = view.rows.iter().filter(|row| row.step == *id_of_step);
    let round = rows.filter(|row| row.status == StepStatus::Retried).count() as i64 + 1;
    let place = Place::of(view.job, id_of_step, attempt.number, round);
    let rendered = render::render(step, scope)?;
    let turns = Turns::read(id_of_step, view.rows)?;
    Ok(Call { step: step.clone(), place, rendered, turns })
}

/// Goes on with the conversation for so long. What is on its way when the time is over is read to its end and charged.
pub(super) async fn perform(shared: &Arc<Shared>, call: Call, limit: Duration) -> Performed {
    let Call { step, place, rendered, turns } = call;
    let mut talk = Conversation { shared, step, place, rendered, turns, attached: None };
    let outcome = match tokio::time::timeout(limit, talk.go_on()).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Retry { error: super::timed_out(limit.as_millis() as i64), retry_after_ms: None },
    };
    let (recorded, last) = talk.turns.into_new();
    Performed { outcome, recorded, last, owed: None }
}

pub(super) struct Conversation<'s> {
    shared: &'s Arc<Shared>,
    step: Arc<AiStep>,
    place: Place,
    rendered: Rendered,
    turns: Turns,
    /// Fetched once, before the first hold.
    attached: Option<Vec<attach::Attached>>,
}

/// Why a conversation stops here.
pub(super) enum Stop {
    Outcome(Outcome),
    /// The job is not ours any more: nothing that is said now is recorded.
    Lost,
}

impl From<JobError> for Stop {
    fn from(error: JobError) -> Self {
        Stop::Outcome(Outcome::Fail { error })
    }
}

impl Conversation<'_> {
    async fn go_on(&mut self) -> Outcome {
        loop {
            match self.turn().await {
                Ok(None) => {}
                Ok(Some(outcome)) | Err(Stop::Outcome(outcome)) => return outcome,
                Err(Stop::Lost) => {
                    let error = JobError::new("lost", "the job was taken away while its model was asked");
                    return Outcome::Fail { error };
                }
            }
        }
    }

    /// One move. `Some`: the conversation is over, or rests.
    async fn turn(&mut self) -> Result<Option<Outcome>, Stop> {
        let step = self.step.clone();
        let turns = self.turns.all().to_vec();
        match next(&step, &turns, self.place.round, self.place.step_attempt) {
            Move::Done { said, flagged } => {
                if !step.redact.is_none() {
                    // What was taken out of documents is found again by looking at them again.
                    self.attach().await?;
                }
                if !flagged {
                    self.keep_cached(said).await;
                }
                let vault = self.vault(said.spot.question);
                let output = output::output(&step, said, flagged, &turns, &vault);
                Ok(Some(match output {
                    Ok(output) => Outcome::Done { output },
                    Err(error) => Outcome::Fail { error },
                }))
            }
            Move::Over { error, passes: true, retry_after_ms } => {
                Ok(Some(Outcome::Retry { error, retry_after_ms }))
            }
            Move::Over { error, .. } => Ok(Some(Outcome::Fail { error })),
            Move::Run { question, wanted } => {
                if !step.redact.is_none() {
                    self.attach().await?;
                }
                self.turns.record_last(self.shared, &self.place).await?;
                for (index, wanted) in wanted {
                    self.run_tool(question, index, wanted).await?;
                }
                Ok(None)
            }
            Move::Ask(ask) => {
                self.turns.record_last(self.shared, &self.place).await?;
                self.ask(&ask).await?;
                Ok(None)
            }
        }
    }

    /// The vault as it stands when `question` is asked: made from the same texts in the same order each time.
    fn vault(&self, question: i64) -> Vault {
        let mut vault = Vault::default();
        if !self.step.redact.is_none() {
            let before = ask::Before { turns: self.turns.all(), round: self.place.round, question };
            let attached = self.attached.as_deref().unwrap_or_default();
            ask::said_before(&self.step, &self.rendered, attached, before, &mut vault);
        }
        vault
    }
}
