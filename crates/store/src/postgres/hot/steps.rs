//! The attempts of a batch of records as columns, for the two statements that store them.

use std::collections::HashSet;

use levqor_core::id::JobId;
use levqor_core::job::StepRow;
use tokio_postgres::Row;

use crate::{Result, decode};

/// Nine arrays for `unnest`.
#[derive(Default)]
pub(super) struct StepColumns<'a> {
    pub job_ids: Vec<&'a str>,
    pub steps: Vec<&'a str>,
    pub attempts: Vec<i64>,
    pub statuses: Vec<&'a str>,
    pub started: Vec<i64>,
    pub finished: Vec<Option<i64>>,
    pub until: Vec<Option<i64>>,
    pub errors: Vec<Option<String>>,
    pub outputs: Vec<Option<&'a str>>,
}

impl<'a> StepColumns<'a> {
    /// Adds the attempts of one job. Of two rows for one attempt the later counts: a statement may write each row once.
    pub fn add(&mut self, job_id: &'a str, rows: &'a [StepRow]) {
        let mut seen = HashSet::new();
        for row in rows.iter().rev() {
            if rows.len() > 1 && !seen.insert((row.step.as_str(), row.attempt)) {
                continue;
            }
            self.job_ids.push(job_id);
            self.steps.push(&row.step);
            self.attempts.push(row.attempt);
            self.statuses.push(row.status.as_str());
            self.started.push(row.started_at_ms);
            self.finished.push(row.finished_at_ms);
            self.until.push(row.until_ms);
            self.errors.push(row.error.as_ref().map(decode::error_text));
            self.outputs.push(row.output.as_deref());
        }
    }
}

/// The bytes of a record's attempts.
pub(super) fn bytes(rows: &[StepRow]) -> usize {
    rows.iter().map(|row| row.output.as_ref().map_or(0, String::len)).sum()
}

/// For claims of jobs that ran before.
pub(super) const FIND_STEPS: &str = "
select job_id, step, attempt, status, started_at_ms, finished_at_ms, until_ms, error, output
from steps where job_id = any ($1::text[])";

pub(super) fn read_step(row: &Row) -> Result<(JobId, StepRow)> {
    let step = StepRow {
        step: row.try_get(1)?,
        attempt: row.try_get(2)?,
        status: decode::step_status(row.try_get(3)?)?,
        started_at_ms: row.try_get(4)?,
        finished_at_ms: row.try_get(5)?,
        until_ms: row.try_get(6)?,
        output: row.try_get(8)?,
        error: decode::error(row.try_get(7)?)?,
    };
    Ok((decode::job_id(row.try_get(0)?)?, step))
}
