//! What a caller may ask about a job and do to it after intake.

use std::sync::Arc;
use std::time::Duration;

use levqor_core::audit::Actor;
use levqor_core::id::JobId;
use levqor_core::job::{JobError, StepStatus};
use levqor_core::plan::{self, Progress};
use levqor_core::state::State;
use levqor_core::workflow::Definition;
use levqor_store::{End, Ended, Error, JobCosts, JobFilter, JobPage, JobRow, StatusRow};

use crate::figures::Counters;
use crate::{Engine, hints};

/// A waiter that got no hint looks again after this long: on PostgreSQL the hint may come from another node, or not.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A job with where each step of its definition stands.
#[derive(Clone, Debug)]
pub struct JobView {
    pub row: JobRow,
    pub steps: Vec<StepView>,
    /// Why it does not run at the moment, in words; `None` while it runs or has ended.
    pub waits_for: Option<String>,
    /// What its AI calls cost so far.
    pub costs: JobCosts,
}

/// A step of the job's definition. `status` is `pending`, `running`, `waiting`, `succeeded`, `failed` or `skipped`.
#[derive(Clone, Debug)]
pub struct StepView {
    pub id: String,
    pub kind: &'static str,
    pub status: &'static str,
}

/// What `_dev/complete` met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completed {
    Now,
    /// It had succeeded before, with the same result.
    Before,
}

impl Engine {
    /// The public status. With `wait`, the answer comes as soon as the job ends, or when the time is over.
    pub async fn status(&self, id: JobId, wait: Option<Duration>) -> levqor_store::Result<Option<StatusRow>> {
        let store = &self.shared.store;
        let Some(wait) = wait else { return store.find_status(id).await };
        let until = tokio::time::Instant::now() + wait;
        let watch = self.shared.watchers.watch(id);
        loop {
            let ended = watch.notified();
            let row = store.find_status(id).await?;
            let is_over = match &row {
                None => true,
                Some(row) => row.state.is_final() || tokio::time::Instant::now() >= until,
            };
            if is_over || self.shared.stopping.is_cancelled() {
                return Ok(row);
            }
            tokio::select! {
                _ = ended => {}
                _ = tokio::time::sleep(LOOK_AGAIN) => {}
                _ = tokio::time::sleep_until(until) => {}
                _ = self.shared.stopping.cancelled() => {}
            }
        }
    }

    pub async fn find_job(&self, id: JobId) -> levqor_store::Result<Option<JobView>> {
        let shared = &self.shared;
        let Some(row) = shared.store.find_job(id).await? else { return Ok(None) };
        let definition = match row.line.version {
            Some(version) => shared.definitions.version(&shared.store, &row.line.workflow, version).await?,
            None => None,
        };
        let steps = definition.map(|definition| step_views(&definition, &row)).unwrap_or_default();
        let waits_for = waits_for(&row);
        let costs = shared.store.job_costs(id).await?;
        Ok(Some(JobView { row, steps, waits_for, costs }))
    }

    pub async fn list_jobs(&self, filter: &JobFilter) -> levqor_store::Result<JobPage> {
        self.shared.store.list_jobs(filter).await
    }

    /// Ends a live job as cancelled, whatever it is doing, with the jobs that its models asked for; a running step is given up. Cancelling twice is a success.
    /// `Conflict` when the job ended otherwise.
    pub async fn cancel_job(&self, id: JobId, by: &Actor) -> levqor_store::Result<()> {
        let shared = &self.shared;
        let reason = JobError::new("cancelled", "a caller cancelled the job");
        match shared.store.end_job(id, End::Cancelled { reason }, by, shared.clock.now_ms()).await? {
            Ended::Now { children } => {
                Counters::add(&shared.counters.cancelled, 1 + children as u64);
                hints::look_at(shared, id).await;
                Ok(())
            }
            Ended::Before(finish) if finish.state == State::Cancelled => Ok(()),
            Ended::Before(finish) => {
                Err(Error::Conflict { what: format!("the job has already {}", past_tense(finish.state)) })
            }
        }
    }

    /// `_dev/complete`: ends a live job with this result (compact JSON), fencing off a running claim.
    pub async fn complete_job(
        &self,
        id: JobId,
        result: String,
        by: &Actor,
    ) -> levqor_store::Result<Completed> {
        let shared = &self.shared;
        let wanted = levqor_core::json::sorted(&result);
        match shared.store.end_job(id, End::Completed { result }, by, shared.clock.now_ms()).await? {
            Ended::Now { children } => {
                Counters::add(&shared.counters.succeeded, 1);
                Counters::add(&shared.counters.cancelled, children as u64);
                hints::look_at(shared, id).await;
                Ok(Completed::Now)
            }
            Ended::Before(finish) => {
                let same = finish.state == State::Succeeded
                    && finish.result.as_deref().map(levqor_core::json::sorted).as_deref()
                        == Some(wanted.as_str());
                if same {
                    return Ok(Completed::Before);
                }
                Err(Error::Conflict {
                    what: match finish.state {
                        State::Succeeded => "the job has already succeeded with another result".to_owned(),
                        state => format!("the job has already {}", past_tense(state)),
                    },
                })
            }
        }
    }

    /// Starts a failed, cancelled or expired job again from its failed step.
    pub async fn retry_job(&self, id: JobId, by: &Actor) -> levqor_store::Result<()> {
        self.shared.store.retry_job(id, by, self.shared.clock.now_ms()).await
    }

    /// Forgets a job that has ended, with its payload, steps and callbacks. `Conflict` while it lives or its callback is due.
    pub async fn delete_job(&self, id: JobId, by: &Actor) -> levqor_store::Result<()> {
        self.shared.store.delete_job(id, by, self.shared.clock.now_ms()).await
    }

    /// Makes the job's newest callback due at once; returns its `webhook-id`.
    pub async fn redeliver_callback(&self, id: JobId, by: &Actor) -> levqor_store::Result<String> {
        self.shared.store.redeliver(id, by, self.shared.clock.now_ms()).await
    }
}

fn step_views(definition: &Arc<Definition>, row: &JobRow) -> Vec<StepView> {
    let live = !row.line.state.is_final();
    let running = row.line.state == State::Running;
    plan::describe(definition, &row.steps)
        .into_iter()
        .map(|step| StepView {
            status: match step.progress {
                // A job that is being worked on has its ready steps under way; they are on record when they end.
                Progress::Ready | Progress::Running if running => "running",
                Progress::Ready | Progress::Running | Progress::Pending => "pending",
                Progress::Waiting if live => "waiting",
                Progress::Waiting => "pending",
                Progress::Succeeded => "succeeded",
                Progress::Failed => "failed",
                Progress::Skipped => "skipped",
            },
            id: step.id.to_owned(),
            kind: step.kind,
        })
        .collect()
}

fn waits_for(row: &JobRow) -> Option<String> {
    match row.line.state {
        State::Queued => Some("a free slot on a node".to_owned()),
        State::Undefined => Some(format!(
            "a definition of workflow `{}`, `_dev/complete` or a cancel; no worker takes it before",
            row.line.workflow
        )),
        State::Scheduled => Some("its run_at".to_owned()),
        State::Waiting => Some(match paused(row) {
            Some(why) => why.message.clone(),
            None => "a timer: the next retry of a step, or a wait step".to_owned(),
        }),
        State::Running | State::Succeeded | State::Failed | State::Cancelled | State::Expired => None,
    }
}

/// Why a step rests that would go on if it could: short of money, a provider that is busy, a workflow that its model runs.
fn paused(row: &JobRow) -> Option<&JobError> {
    let mut waiting = row.steps.iter().filter(|step| step.status == StepStatus::Waiting);
    waiting.find_map(|step| step.error.as_ref())
}

fn past_tense(state: State) -> &'static str {
    match state {
        State::Succeeded => "succeeded",
        State::Failed => "failed",
        State::Cancelled => "been cancelled",
        State::Expired => "expired",
        State::Queued | State::Undefined | State::Scheduled | State::Running | State::Waiting => "not ended",
    }
}
