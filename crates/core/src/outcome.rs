//! What performing a step came to: a value, so that one place turns each outcome into one store verb.

use crate::job::JobError;

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The step succeeded with this output, compact JSON.
    Done { output: String },
    /// It failed in a way that may pass. The step's retry policy decides whether it runs again.
    Retry {
        error: JobError,
        /// What the other side asked for (`Retry-After`), counted from now.
        retry_after_ms: Option<i64>,
    },
    /// It rests until then, without a slot, and counts as done after that.
    Wait { until_ms: i64 },
    /// It cannot go on for a reason that passes: it rests until then, without a slot, and goes on as the same attempt.
    Pause { until_ms: i64, error: JobError },
    /// It failed for good; running it again would not help.
    Fail { error: JobError },
}
