//! What a job does next, from its definition and its recorded attempts alone. Pure: the same rows give the same plan, so
//! a process that takes over after a crash goes on where the records end.
//!
//! Invariants: a step is planned only when all it needs is finished (succeeded or skipped), and never again once it is; a
//! job is done exactly when all its steps are.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::job::{JobError, StepRow, StepStatus};
use crate::scope::StepOutputs;
use crate::workflow::{Definition, Rerun, Step, StepKind};

/// The code of a step that may or may not have happened when its process died.
pub const LOST: &str = "lost";

/// What to do now.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// These, side by side; never empty.
    Run(Vec<Task>),
    /// Nothing yet. With `until_ms` something is due then; without it only steps that run in this process can go on.
    Wait { until_ms: Option<i64> },
    /// All steps are finished.
    Done,
    /// A step has failed for good. Steps that still run in this process are not worth finishing.
    Failed { step: String, error: JobError },
}

/// One step to take care of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Index in the definition's steps.
    pub step: usize,
    /// The number to record it under.
    pub attempt: i64,
    /// The same, counted from the last retry by a person: what the retry policy looks at.
    pub attempt_in_budget: i64,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Evaluate `if`; then perform the step, or record it as skipped.
    Perform,
    /// The wait is over: record success on the same attempt.
    EndWait,
}

/// Plans the next move. `running` names the steps that this process performs right now.
pub fn plan(definition: &Definition, rows: &[StepRow], running: &HashSet<&str>, now_ms: i64) -> Plan {
    let history = History::new(rows);
    let standings: Vec<Standing<'_>> =
        definition.steps.iter().map(|step| history.standing(step, running, now_ms)).collect();

    for (step, standing) in definition.steps.iter().zip(&standings) {
        if let Standing::Failed(error) = standing {
            return Plan::Failed { step: step.id.clone(), error: error.as_ref().clone() };
        }
    }
    if standings.iter().all(Standing::is_finished) {
        return Plan::Done;
    }
    let mut tasks = Vec::new();
    let mut until_ms: Option<i64> = None;
    for (index, (step, standing)) in definition.steps.iter().zip(&standings).enumerate() {
        match *standing {
            Standing::Due { attempt, attempt_in_budget, action } => {
                if step.needs.iter().all(|need| standings[*need].is_finished()) {
                    tasks.push(Task { step: index, attempt, attempt_in_budget, action });
                }
            }
            Standing::Resting { until_ms: due_ms } => {
                until_ms = Some(until_ms.map_or(due_ms, |earliest| earliest.min(due_ms)));
            }
            Standing::Finished { .. } | Standing::Running | Standing::Failed(_) => {}
        }
    }
    if tasks.is_empty() { Plan::Wait { until_ms } } else { Plan::Run(tasks) }
}

/// Outputs of the finished steps, for [`crate::scope::Scope`].
pub fn outputs<'a>(rows: &'a [StepRow]) -> StepOutputs<'a> {
    let finished = |row: &'a StepRow| match row.status {
        StepStatus::Succeeded => Some((row.step.as_str(), Some(row.output.as_deref().unwrap_or("null")))),
        StepStatus::Skipped => Some((row.step.as_str(), None)),
        StepStatus::Started | StepStatus::Waiting | StepStatus::Failed | StepStatus::Retried => None,
    };
    rows.iter().filter_map(finished).collect()
}

/// How a step stands, in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Steps that it needs are not finished.
    Pending,
    /// May run as soon as the job does.
    Ready,
    /// Its start is on record, its end is not.
    Running,
    /// Rests until a time: a `wait`, or a pause before the next attempt.
    Waiting,
    Succeeded,
    Failed,
    Skipped,
}

impl Progress {
    pub fn as_str(self) -> &'static str {
        match self {
            Progress::Pending => "pending",
            Progress::Ready => "ready",
            Progress::Running => "running",
            Progress::Waiting => "waiting",
            Progress::Succeeded => "succeeded",
            Progress::Failed => "failed",
            Progress::Skipped => "skipped",
        }
    }
}

/// One step as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepView<'a> {
    pub id: &'a str,
    pub kind: &'static str,
    pub progress: Progress,
    /// Recorded attempts.
    pub attempts: usize,
    /// When a waiting step goes on.
    pub until_ms: Option<i64>,
}

/// How every step of the definition stands, in the definition's order.
pub fn describe<'a>(definition: &'a Definition, rows: &[StepRow]) -> Vec<StepView<'a>> {
    let history = History::new(rows);
    let is_finished = |index: &usize| history.last(&definition.steps[*index].id).is_some_and(is_finished_row);
    definition
        .steps
        .iter()
        .map(|step| {
            let last = history.last(&step.id);
            let (progress, until_ms) = match last.map(|row| (row.status, row.until_ms)) {
                Some((StepStatus::Succeeded, _)) => (Progress::Succeeded, None),
                Some((StepStatus::Skipped, _)) => (Progress::Skipped, None),
                Some((StepStatus::Started, _)) => (Progress::Running, None),
                Some((StepStatus::Waiting, until_ms)) => (Progress::Waiting, until_ms),
                Some((StepStatus::Failed, Some(until_ms))) => (Progress::Waiting, Some(until_ms)),
                Some((StepStatus::Failed, None)) => (Progress::Failed, None),
                Some((StepStatus::Retried, _)) | None if step.needs.iter().all(is_finished) => {
                    (Progress::Ready, None)
                }
                Some((StepStatus::Retried, _)) | None => (Progress::Pending, None),
            };
            let attempts = history.rows(&step.id).len();
            StepView { id: &step.id, kind: step.kind.name(), progress, attempts, until_ms }
        })
        .collect()
}

fn is_finished_row(row: &StepRow) -> bool {
    matches!(row.status, StepStatus::Succeeded | StepStatus::Skipped)
}

/// How a step stands for the planner.
enum Standing<'a> {
    Finished,
    Running,
    /// For good.
    Failed(Cow<'a, JobError>),
    Resting {
        until_ms: i64,
    },
    /// May go on as far as its own rows tell.
    Due {
        attempt: i64,
        attempt_in_budget: i64,
        action: Action,
    },
}

impl Standing<'_> {
    fn is_finished(&self) -> bool {
        matches!(self, Standing::Finished)
    }
}

/// Recorded attempts by step, each list in order of attempts.
struct History<'a> {
    by_step: HashMap<&'a str, Vec<&'a StepRow>>,
}

impl<'a> History<'a> {
    fn new(rows: &'a [StepRow]) -> Self {
        let mut by_step: HashMap<&str, Vec<&StepRow>> = HashMap::new();
        for row in rows {
            by_step.entry(&row.step).or_default().push(row);
        }
        for attempts in by_step.values_mut() {
            attempts.sort_by_key(|row| row.attempt);
        }
        History { by_step }
    }

    fn rows(&self, step: &str) -> &[&'a StepRow] {
        self.by_step.get(step).map_or(&[], Vec::as_slice)
    }

    fn last(&self, step: &str) -> Option<&'a StepRow> {
        self.rows(step).last().copied()
    }

    fn standing(&self, step: &Step, running: &HashSet<&str>, now_ms: i64) -> Standing<'a> {
        let rows = self.rows(&step.id);
        let Some(&last) = rows.last() else {
            if running.contains(step.id.as_str()) {
                return Standing::Running;
            }
            return Standing::Due { attempt: 1, attempt_in_budget: 1, action: Action::Perform };
        };
        if is_finished_row(last) {
            return Standing::Finished;
        }
        if running.contains(step.id.as_str()) {
            return Standing::Running;
        }
        let again = || {
            let since_retry = rows.iter().rev().take_while(|row| row.status != StepStatus::Retried).count();
            Standing::Due {
                attempt: last.attempt + 1,
                attempt_in_budget: since_retry as i64 + 1,
                action: Action::Perform,
            }
        };
        match (last.status, last.until_ms) {
            (StepStatus::Succeeded | StepStatus::Skipped, _) => Standing::Finished,
            (StepStatus::Retried, _) => again(),
            (StepStatus::Failed, None) => Standing::Failed(failure(last)),
            (StepStatus::Failed, Some(until_ms)) if until_ms <= now_ms => again(),
            (StepStatus::Started, _) => match step.rerun {
                Rerun::Always => again(),
                Rerun::Never => Standing::Failed(Cow::Owned(lost(&step.id))),
            },
            (StepStatus::Waiting, Some(until_ms)) if until_ms > now_ms => Standing::Resting { until_ms },
            (StepStatus::Failed, Some(until_ms)) => Standing::Resting { until_ms },
            // A step that waits for money or for a provider goes on where it was, as the same attempt.
            (StepStatus::Waiting, _) if matches!(step.kind, StepKind::Ai(_)) || step.cost.is_some() => {
                let since_retry =
                    rows.iter().rev().take_while(|row| row.status != StepStatus::Retried).count();
                Standing::Due {
                    attempt: last.attempt,
                    attempt_in_budget: since_retry as i64,
                    action: Action::Perform,
                }
            }
            (StepStatus::Waiting, _) => {
                Standing::Due { attempt: last.attempt, attempt_in_budget: 1, action: Action::EndWait }
            }
        }
    }
}

fn failure(row: &StepRow) -> Cow<'_, JobError> {
    match &row.error {
        Some(error) => Cow::Borrowed(error),
        None => Cow::Owned(JobError::new("step_failed", "the step failed").at_step(&row.step)),
    }
}

/// The error of a step that had started when its process died and must not run twice.
fn lost(step: &str) -> JobError {
    let message = "the process died while the step ran; it may or may not have happened, and `rerun: never` forbids to run it again";
    JobError::new(LOST, message).at_step(step)
}

#[cfg(test)]
mod tests;
