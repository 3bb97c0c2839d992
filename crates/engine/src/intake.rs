//! The one door in: API, command line and schedules submit jobs here.
//!
//! The definition in memory decides the version and checks the payload; the store's commit decides everything else.

use std::sync::Arc;

use levqor_core::id::JobId;
use levqor_core::intake::IntakeRequest;
use levqor_core::job::{Idempotency, Intake, NewJob};
use levqor_core::workflow::Definition;

use crate::Engine;
use crate::definitions::{Current, check_payload};
use crate::estimate::Estimate;
use crate::figures::Counters;

/// A job that is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub job_id: JobId,
    /// It was accepted before, under the same idempotency key with the same body.
    pub replayed: bool,
}

/// What an intake would do, for `dry_run`.
#[derive(Clone, Debug)]
pub struct Preview {
    pub workflow: String,
    /// `None`: the workflow has no definition; the job would wait for one.
    pub version: Option<i64>,
    /// The ids of the steps that it would run, in the order of the definition.
    pub steps: Vec<String>,
    /// The state in which the job would enter.
    pub state: &'static str,
    pub run_at_ms: Option<i64>,
    /// What its AI steps may cost; `None` without any.
    pub cost: Option<Estimate>,
}

/// Why a job was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    #[error("the payload does not fit the workflow's schema")]
    InvalidPayload(Vec<(String, String)>),
    #[error("workflow `{0}` was deleted")]
    WorkflowDeleted(String),
    /// Stored by a newer Levqor than this one.
    #[error("workflow `{0}` cannot be read by this version of Levqor")]
    WorkflowUnreadable(String),
    #[error("the idempotency key was used before with another body")]
    IdempotencyConflict,
    #[error(transparent)]
    Store(#[from] levqor_store::Error),
}

impl Engine {
    /// Accepts one job. `Ok` means that it is committed to disk.
    pub async fn intake(
        &self,
        request: IntakeRequest,
        caller: &str,
        idempotency: Option<Idempotency>,
    ) -> Result<Accepted, IntakeError> {
        let job = match self.new_job(request, caller, idempotency.clone()) {
            Ok(job) => job,
            Err(refused) => return self.replayed_or(refused, caller, idempotency.as_ref()).await,
        };
        let asked = Asked::of(&job);
        let verdict = self.shared.store.intake(job).await?;
        self.answer(asked, verdict).await
    }

    /// Accepts many in one commit; a verdict for each, in order. The outer error means that nothing was committed.
    pub async fn intake_many(
        &self,
        requests: Vec<(IntakeRequest, Option<Idempotency>)>,
        caller: &str,
    ) -> levqor_store::Result<Vec<Result<Accepted, IntakeError>>> {
        let mut verdicts: Vec<Option<Result<Accepted, IntakeError>>> = Vec::with_capacity(requests.len());
        let mut jobs = Vec::with_capacity(requests.len());
        let mut places = Vec::with_capacity(requests.len());
        for (place, (request, idempotency)) in requests.into_iter().enumerate() {
            match self.new_job(request, caller, idempotency.clone()) {
                Ok(job) => {
                    places.push((place, Asked::of(&job)));
                    jobs.push(job);
                    verdicts.push(None);
                }
                Err(refused) => {
                    verdicts.push(Some(self.replayed_or(refused, caller, idempotency.as_ref()).await))
                }
            }
        }
        if !jobs.is_empty() {
            let intakes = self.shared.store.intake_many(jobs).await?;
            for ((place, asked), intake) in places.into_iter().zip(intakes) {
                verdicts[place] = Some(self.answer(asked, intake).await);
            }
        }
        Ok(verdicts.into_iter().flatten().collect())
    }

    /// Says what [`Engine::intake`] would do, and stores nothing.
    pub async fn preview(&self, request: IntakeRequest, caller: &str) -> Result<Preview, IntakeError> {
        let workflow = request.workflow.clone();
        let definition = self.definition_for(&request)?;
        let job = self.build(request, caller, definition.as_ref().map(|(version, _)| *version), None);
        let cost = match &definition {
            Some((_, definition)) => self.estimate(definition, &job).await?,
            None => None,
        };
        Ok(Preview {
            workflow,
            version: job.version,
            steps: definition.map(|(_, definition)| step_ids(&definition)).unwrap_or_default(),
            state: job.first_state().public(),
            run_at_ms: job.run_at_ms,
            cost,
        })
    }

    pub(crate) fn new_job(
        &self,
        request: IntakeRequest,
        caller: &str,
        idempotency: Option<Idempotency>,
    ) -> Result<NewJob, IntakeError> {
        let definition = self.definition_for(&request)?;
        Ok(self.build(request, caller, definition.map(|(version, _)| version), idempotency))
    }

    fn build(
        &self,
        request: IntakeRequest,
        caller: &str,
        version: Option<i64>,
        idempotency: Option<Idempotency>,
    ) -> NewJob {
        let now_ms = self.shared.clock.now_ms();
        let id = JobId::new(now_ms, rand::random::<[u8; 10]>());
        request.into_new_job(id, version, caller.to_owned(), now_ms, idempotency)
    }

    /// The definition that the job would run on, its payload checked; `None` for a workflow that nobody defined.
    fn definition_for(&self, request: &IntakeRequest) -> Result<Option<(i64, Arc<Definition>)>, IntakeError> {
        match self.shared.definitions.current(&request.workflow) {
            None => Ok(None),
            Some(Current::Deleted) => Err(IntakeError::WorkflowDeleted(request.workflow.clone())),
            Some(Current::Unreadable) => Err(IntakeError::WorkflowUnreadable(request.workflow.clone())),
            Some(Current::Version(version, definition)) => {
                check_payload(&definition, &request.payload).map_err(IntakeError::InvalidPayload)?;
                Ok(Some((version, definition)))
            }
        }
    }

    /// A request that was accepted once gets its answer again, even where the workflow would refuse it by now.
    async fn replayed_or(
        &self,
        refused: IntakeError,
        caller: &str,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted, IntakeError> {
        let Some(idempotency) = idempotency else { return Err(refused) };
        match self.shared.store.find_intake(caller, idempotency, self.shared.clock.now_ms()).await? {
            Some(Intake::Replayed(job_id)) => Ok(Accepted { job_id, replayed: true }),
            Some(Intake::Conflict) => Err(IntakeError::IdempotencyConflict),
            Some(Intake::Created | Intake::WorkflowDeleted) | None => Err(refused),
        }
    }

    async fn answer(&self, asked: Asked, verdict: Intake) -> Result<Accepted, IntakeError> {
        let counters = &self.shared.counters;
        match verdict {
            Intake::Created => {
                Counters::add(&counters.accepted, 1);
                if let Some(at_ms) = asked.run_at_ms {
                    self.shared.due.add(at_ms);
                }
                Ok(Accepted { job_id: asked.id, replayed: false })
            }
            Intake::Replayed(job_id) => {
                Counters::add(&counters.replayed, 1);
                Ok(Accepted { job_id, replayed: true })
            }
            Intake::Conflict => Err(IntakeError::IdempotencyConflict),
            Intake::WorkflowDeleted => {
                let refused = IntakeError::WorkflowDeleted(asked.workflow);
                self.replayed_or(refused, &asked.caller, asked.idempotency.as_ref()).await
            }
        }
    }
}

/// What the answer to an intake needs of a job that the store has by then.
struct Asked {
    id: JobId,
    run_at_ms: Option<i64>,
    workflow: String,
    caller: String,
    idempotency: Option<Idempotency>,
}

impl Asked {
    fn of(job: &NewJob) -> Self {
        Asked {
            id: job.id,
            run_at_ms: job.run_at_ms,
            workflow: job.workflow.clone(),
            caller: job.caller.clone(),
            idempotency: job.idempotency.clone(),
        }
    }
}

fn step_ids(definition: &Definition) -> Vec<String> {
    definition.steps.iter().map(|step| step.id.clone()).collect()
}
