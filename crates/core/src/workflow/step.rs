//! What a step is. One enum of kinds with exhaustive matches: a new kind does not compile until every place knows it.

use std::sync::Arc;

use super::{AiStep, ConnectStep, EmailStep, HttpStep, WaitStep};
use crate::job::JobError;
use crate::money::Nano;
use crate::retry::RetryPolicy;
use crate::scope::Scope;
use crate::template::Template;

pub const DEFAULT_TIMEOUT_MS: i64 = 30_000;

/// What a step does.
#[derive(Clone, Debug)]
pub enum StepKind {
    /// One action at a vendor; the output is its result.
    Connect(Box<ConnectStep>),
    /// One HTTP request; the output is `{status, headers, body}`.
    Http(Box<HttpStep>),
    /// One mail; the output is `{provider, message_id, recipients}`.
    Email(EmailStep),
    /// A conversation with a model; the output is `{answer, model, usage, cost, …}`.
    Ai(Arc<AiStep>),
    /// The rendered value is the output.
    Transform(Template),
    /// Rests for a time or until one, without a slot.
    Wait(WaitStep),
}

impl StepKind {
    /// The kind keys, in the order in which messages list them.
    pub const NAMES: [&'static str; 6] = ["connect", "http", "email", "ai", "transform", "wait"];

    /// How long one attempt may take where nothing is said.
    pub fn default_timeout_ms(&self) -> i64 {
        match self {
            StepKind::Ai(_) => super::ai::DEFAULT_TIMEOUT_MS,
            _ => DEFAULT_TIMEOUT_MS,
        }
    }

    pub fn name(&self) -> &'static str {
        match self {
            StepKind::Connect(_) => "connect",
            StepKind::Http(_) => "http",
            StepKind::Email(_) => "email",
            StepKind::Ai(_) => "ai",
            StepKind::Transform(_) => "transform",
            StepKind::Wait(_) => "wait",
        }
    }
}

/// Whether a step may run again when it is not known if it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rerun {
    #[default]
    Always,
    /// Its start is recorded before its effect; if the process dies then, it fails as `lost`.
    Never,
}

impl Rerun {
    pub const NAMES: [&'static str; 2] = ["always", "never"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "always" => Some(Rerun::Always),
            "never" => Some(Rerun::Never),
            _ => None,
        }
    }
}

/// One step of a definition.
#[derive(Clone, Debug)]
pub struct Step {
    pub id: String,
    pub kind: StepKind,
    /// `if`.
    pub condition: Option<Template>,
    /// Indices of the steps that must be finished before.
    pub needs: Vec<usize>,
    pub retry: RetryPolicy,
    pub timeout_ms: i64,
    pub rerun: Rerun,
    /// What one attempt costs, of `http` and `connect`.
    pub cost: Option<Nano>,
}

impl Step {
    /// Whether the step runs; if not, it is skipped. A condition that gives no boolean fails the step.
    pub fn condition(&self, scope: &Scope<'_>) -> Result<bool, JobError> {
        let Some(condition) = &self.condition else { return Ok(true) };
        let rendered = condition.render(scope).map_err(|error| JobError::from(error).at_step(&self.id))?;
        match rendered.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            other => {
                let shown = super::shorten(other, 80);
                let message = format!("`if` must give true or false, it gave {shown}");
                Err(JobError::new("bad_condition", message).at_step(&self.id))
            }
        }
    }
}
