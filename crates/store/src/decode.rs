//! Words and JSON in columns, and the values they stand for. What cannot be read back is a bug (or a hand in the file):
//! it is said, never guessed at.

use levqor_core::id::JobId;
use levqor_core::job::{JobError, Priority, StepRow, StepStatus, Tags};
use levqor_core::state::State;

use crate::tx::Row;
use crate::{CallbackState, Error, Result};

pub(crate) fn job_id(text: &str) -> Result<JobId> {
    text.parse().map_err(|_| unreadable("job id", text))
}

pub(crate) fn state(text: &str) -> Result<State> {
    State::parse(text).ok_or_else(|| unreadable("state", text))
}

pub(crate) fn priority(text: &str) -> Result<Priority> {
    Priority::parse(text).ok_or_else(|| unreadable("priority", text))
}

pub(crate) fn step_status(text: &str) -> Result<StepStatus> {
    StepStatus::parse(text).ok_or_else(|| unreadable("step status", text))
}

pub(crate) fn callback_state(text: &str) -> Result<CallbackState> {
    CallbackState::parse(text).ok_or_else(|| unreadable("callback state", text))
}

pub(crate) fn tags(text: &str) -> Result<Tags> {
    if text == "{}" {
        return Ok(Tags::new());
    }
    serde_json::from_str(text).map_err(|error| Error::Bug(error.into()))
}

pub(crate) fn tags_text(tags: &Tags) -> String {
    serde_json::to_string(tags).expect("a map of strings is JSON")
}

pub(crate) fn error(text: Option<&str>) -> Result<Option<JobError>> {
    text.map(|text| serde_json::from_str(text).map_err(|error| Error::Bug(error.into()))).transpose()
}

pub(crate) fn error_text(error: &JobError) -> String {
    serde_json::to_string(error).expect("an error is strings alone")
}

/// Reads columns: step, attempt, status, started_at_ms, finished_at_ms, until_ms, output, error.
pub(crate) fn step(row: &Row) -> Result<StepRow> {
    Ok(StepRow {
        step: row.text(0)?,
        attempt: row.int(1)?,
        status: step_status(&row.text(2)?)?,
        started_at_ms: row.int(3)?,
        finished_at_ms: row.opt_int(4)?,
        until_ms: row.opt_int(5)?,
        output: row.opt_text(6)?,
        error: error(row.opt_text(7)?.as_deref())?,
    })
}

fn unreadable(what: &str, text: &str) -> Error {
    Error::bug(format!("{:?} is no {what}", text.chars().take(40).collect::<String>()))
}
