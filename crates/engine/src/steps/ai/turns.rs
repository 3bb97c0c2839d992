//! The turns of a step and their rows: sub-rows of the step, named `<step>/<number>`, which no step can be called.
//!
//! A turn and the charge of its call are one commit under the job's claim. The newest turn is kept back until it is known
//! whether it is the last: then it rides in the record of the run.

use std::sync::Arc;

use levqor_core::job::{Fenced, JobError, Record, StepRow, StepStatus, Then};
use levqor_core::talk::{ToolRun, Turn};

use super::{Place, Stop};
use crate::Shared;
use crate::ai::{Over, Owed};
use crate::record::until_recorded;

pub(super) struct Turns {
    step: String,
    all: Vec<Turn>,
    /// The row of each turn.
    rows: Vec<StepRow>,
    /// Places in `rows` of those that were recorded by this attempt.
    new: Vec<usize>,
    last: Option<(usize, Option<Over>)>,
}

/// The number of a sub-row of `step`.
fn number(step: &str, row: &StepRow) -> Option<i64> {
    row.step.strip_prefix(step)?.strip_prefix('/')?.parse().ok()
}

impl Turns {
    pub fn read(step: &str, rows: &[StepRow]) -> Result<Self, JobError> {
        let mut numbered: Vec<(i64, &StepRow)> =
            rows.iter().filter_map(|row| Some((number(step, row)?, row))).collect();
        numbered.sort_by_key(|(number, _)| *number);
        let mut turns = Turns {
            step: step.to_owned(),
            all: Vec::with_capacity(numbered.len()),
            rows: Vec::with_capacity(numbered.len()),
            new: Vec::new(),
            last: None,
        };
        for (_, row) in numbered {
            let turn = serde_json::from_str(row.output.as_deref().unwrap_or_default()).map_err(|_| {
                JobError::new("internal_error", format!("the record `{}` cannot be read", row.step))
            })?;
            turns.all.push(turn);
            turns.rows.push(row.clone());
        }
        Ok(turns)
    }

    pub fn all(&self) -> &[Turn] {
        &self.all
    }

    /// Keeps a turn until it is known whether it is the last.
    pub fn keep(&mut self, turn: Turn, over: Option<Over>, began_ms: i64, now_ms: i64) {
        let at = self.rows.len();
        self.rows.push(self.row(at, &turn, began_ms, now_ms));
        self.all.push(turn);
        self.last = Some((at, over));
    }

    fn row(&self, at: usize, turn: &Turn, began_ms: i64, now_ms: i64) -> StepRow {
        let (status, error) = match turn {
            Turn::Said(_) => (StepStatus::Succeeded, None),
            Turn::Failed(failed) => (StepStatus::Failed, Some(failed.error.clone())),
            Turn::Tool(run) if run.content.is_none() => (StepStatus::Started, None),
            Turn::Tool(_) => (StepStatus::Succeeded, None),
        };
        StepRow {
            step: format!("{}/{}", self.step, at + 1),
            attempt: 1,
            status,
            started_at_ms: began_ms,
            finished_at_ms: (status != StepStatus::Started).then_some(now_ms),
            until_ms: None,
            output: Some(serde_json::to_string(turn).unwrap_or_default()),
            error,
        }
    }

    /// The newest turn was not the last: on record with it, before anything depends on it.
    pub async fn record_last(&mut self, shared: &Arc<Shared>, place: &Place) -> Result<(), Stop> {
        let Some((at, over)) = self.last.take() else { return Ok(()) };
        self.record(shared, place, at, over.map(Owed::from)).await
    }

    /// A tool is about to run.
    pub async fn begin_tool(
        &mut self,
        shared: &Arc<Shared>,
        place: &Place,
        run: ToolRun,
    ) -> Result<usize, Stop> {
        let now_ms = shared.clock.now_ms();
        let (at, turn) = (self.rows.len(), Turn::Tool(Box::new(run)));
        self.rows.push(self.row(at, &turn, now_ms, now_ms));
        self.all.push(turn);
        self.record(shared, place, at, None).await?;
        Ok(at)
    }

    /// The tool whose start is on record.
    pub fn begun(&self, round: i64, question: i64, index: usize) -> Option<(usize, &ToolRun)> {
        self.all.iter().enumerate().find_map(|(at, turn)| match turn {
            Turn::Tool(run) if run.round == round && run.question == question && run.place == index => {
                Some((at, run.as_ref()))
            }
            _ => None,
        })
    }

    /// What the tool gave, and what is owed for it.
    pub async fn end_tool(
        &mut self,
        shared: &Arc<Shared>,
        place: &Place,
        at: usize,
        run: ToolRun,
        owed: Option<Owed>,
    ) -> Result<(), Stop> {
        let turn = Turn::Tool(Box::new(run));
        self.rows[at] = self.row(at, &turn, self.rows[at].started_at_ms, shared.clock.now_ms());
        self.all[at] = turn;
        self.record(shared, place, at, owed).await
    }

    async fn record(
        &mut self,
        shared: &Arc<Shared>,
        place: &Place,
        at: usize,
        owed: Option<Owed>,
    ) -> Result<(), Stop> {
        let steps = vec![self.rows[at].clone()];
        let record = Record { id: place.job, claim: place.claim, pin: None, steps, then: Then::Stay };
        let settlements: Vec<_> = owed.iter().map(|owed| owed.settlement.clone()).collect();
        match until_recorded(shared, &record, &settlements).await {
            Ok(fenced) => {
                if fenced == Fenced::Stale {
                    // The charge counts all the same, unless the process ends: then it is dropped, and a task or the sweep
                    // charges it.
                    return Err(Stop::Lost);
                }
                owed.iter().for_each(Owed::settled);
                if !self.new.contains(&at) {
                    self.new.push(at);
                }
                Ok(())
            }
            Err(error) => {
                tracing::error!(error = %crate::chain::chain(&error), job.id = %place.job, "a turn is refused by the database");
                Err(JobError::new("internal_error", "a turn of the conversation could not be recorded")
                    .into())
            }
        }
    }

    /// Rows that this attempt put on record, and the turn that is still to be.
    pub fn into_new(self) -> (Vec<StepRow>, Option<(StepRow, Option<Over>)>) {
        let Turns { rows, new, last, .. } = self;
        let recorded = new.into_iter().map(|at| rows[at].clone()).collect();
        let last = last.map(|(at, over)| (rows[at].clone(), over));
        (recorded, last)
    }
}
