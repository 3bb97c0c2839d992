//! The values that travel between intake, store and engine. No behaviour beyond what makes them well formed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::JobId;
use crate::state::State;

/// A flat string map that a caller hangs on a job to find it again.
pub type Tags = BTreeMap<String, String>;

/// How urgent a job is, across all workflows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Priority {
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Priority::ALL.into_iter().find(|priority| priority.as_str() == text)
    }

    /// How much later than its creation a job sorts. The key is fixed at insert, so a low job is overtaken only by jobs
    /// that came at most 300 s after it: that is the stated bound on ageing.
    pub fn delay_ms(self) -> i64 {
        match self {
            Priority::High => 0,
            Priority::Normal => 60_000,
            Priority::Low => 300_000,
        }
    }
}

/// A validated job, ready to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    pub id: JobId,
    pub workflow: String,
    /// The version of the workflow it runs on; `None` while the workflow has no definition.
    pub version: Option<i64>,
    /// Compact JSON, numbers as they were sent.
    pub payload: String,
    pub callback_url: Option<String>,
    pub priority: Priority,
    pub tags: Tags,
    /// Not before this time.
    pub run_at_ms: Option<i64>,
    /// Who submitted it: the scope of idempotency keys.
    pub caller: String,
    pub created_at_ms: i64,
    pub idempotency: Option<Idempotency>,
}

impl NewJob {
    /// The state in which the job enters the store.
    pub fn first_state(&self) -> State {
        match (self.run_at_ms, self.version) {
            (Some(at), _) if at > self.created_at_ms => State::Scheduled,
            (_, Some(_)) => State::Queued,
            (_, None) => State::Undefined,
        }
    }

    /// The key that orders runnable jobs; smaller runs first. A scheduled job ages from its `run_at`.
    pub fn sort_at_ms(&self) -> i64 {
        self.created_at_ms.max(self.run_at_ms.unwrap_or(0)) + self.priority.delay_ms()
    }
}

/// An idempotency key with the hash of what was asked under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    pub key: String,
    /// Hex SHA-256 over the request body as the caller sent it.
    pub body_hash: String,
}

/// What became of a job at intake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intake {
    /// Committed now.
    Created,
    /// The same request was committed before, as this job.
    Replayed(JobId),
    /// The idempotency key was used before with another body.
    Conflict,
    /// Another node has just deleted the workflow, and this one had not heard of it.
    WorkflowDeleted,
}

/// A job that this node may work on, as long as `claim` is the current claim number.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedJob {
    pub id: JobId,
    pub claim: i64,
    pub workflow: String,
    pub version: Option<i64>,
    pub payload: String,
    pub callback_url: Option<String>,
    pub priority: Priority,
    pub tags: Tags,
    /// Who submitted it.
    pub caller: String,
    pub started_at_ms: i64,
    /// Process deaths so far while this job was running.
    pub deaths: i64,
    /// All recorded attempts, ordered by step and attempt. Empty at the first claim.
    pub steps: Vec<StepRow>,
}

/// How one attempt of a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Recorded before its effect, for steps marked `rerun: never`.
    Started,
    /// Rests until `until_ms`.
    Waiting,
    Succeeded,
    Skipped,
    /// Failed; runs again at `until_ms` when that is set, else for good.
    Failed,
    /// Failed for good, and a person asked for a retry since.
    Retried,
}

impl StepStatus {
    pub const ALL: [StepStatus; 6] = [
        StepStatus::Started,
        StepStatus::Waiting,
        StepStatus::Succeeded,
        StepStatus::Skipped,
        StepStatus::Failed,
        StepStatus::Retried,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            StepStatus::Started => "started",
            StepStatus::Waiting => "waiting",
            StepStatus::Succeeded => "succeeded",
            StepStatus::Skipped => "skipped",
            StepStatus::Failed => "failed",
            StepStatus::Retried => "retried",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        StepStatus::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// One attempt of one step, as recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    pub step: String,
    /// Counts from 1, and on after a retry by a person.
    pub attempt: i64,
    pub status: StepStatus,
    pub started_at_ms: i64,
    pub finished_at_ms: Option<i64>,
    pub until_ms: Option<i64>,
    /// Compact JSON.
    pub output: Option<String>,
    pub error: Option<JobError>,
}

/// Why a step or a job failed: shown to users, so it never holds a secret or an internal cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobError {
    /// A stable word, listed in docs/api.md.
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// JSON pointer → what is wrong there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<BTreeMap<String, String>>,
}

impl JobError {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        JobError { code: code.to_owned(), message: message.into(), step: None, fields: None }
    }

    pub fn at_step(mut self, step: &str) -> Self {
        self.step = Some(step.to_owned());
        self
    }
}

/// One thing a run hands to the store, in one commit: attempts to record, and what happens to the job then. It changes
/// nothing when the job is not running under `claim` any more.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub id: JobId,
    pub claim: i64,
    /// The version the job was pinned to by this run, when it had none.
    pub pin: Option<i64>,
    /// Written over an earlier row of the same step and attempt, if there is one.
    pub steps: Vec<StepRow>,
    pub then: Then,
}

/// What happens to a job after its steps were recorded.
#[derive(Clone, Debug, PartialEq)]
#[allow(
    clippy::large_enum_variant,
    reason = "most records finish their job: a box would be an allocation for nearly each"
)]
pub enum Then {
    /// Goes on running.
    Stay,
    /// Rests until a time, without a slot.
    Rest {
        until_ms: i64,
    },
    /// Back to the queue at once, at its old place.
    HandBack,
    /// Waits for a definition.
    Park,
    Finish(Finish),
}

/// The end of a job: final state, result, error and callback are one commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    pub state: State,
    pub finished_at_ms: i64,
    /// Compact JSON.
    pub result: Option<String>,
    pub error: Option<JobError>,
    /// Built by [`crate::callback::compose`] when the job has a callback URL.
    pub callback: Option<NewCallback>,
}

/// A callback that became due with a job's end. Its body is fixed here, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCallback {
    /// The `webhook-id`: stable per job event, `msg_<job id>_<claim number>`.
    pub id: String,
    pub job_id: JobId,
    pub url: String,
    /// `host:port` of the URL: deliveries are limited per receiver.
    pub host: String,
    pub body: String,
}

/// What a fenced write met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    Done,
    /// The job is not running under this claim number any more; nothing was changed.
    Stale,
}
