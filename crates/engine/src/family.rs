//! Jobs that models asked for, and what becomes of them when whoever waits for them is over: they end too, or they would go on
//! spending for nobody.
//!
//! A cancel ends them in its own commit. After a job that failed by itself they are ended at once, and what a crash leaves in
//! between ends at its next run, which looks for its root.

use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, StepRow};
use levqor_core::state::State;

use crate::Shared;
use crate::chain::chain;
use crate::figures::Counters;
use crate::steps::ai::root_of_child;

/// Whether the root of the job's tree ended without it.
pub(crate) async fn is_orphan(shared: &Shared, job: &ClaimedJob) -> bool {
    let Some(root) = root_of_child(job) else { return false };
    match shared.store.find_status(root).await {
        // Who was asked for by a job that succeeded is run again by a person, for its own sake.
        Ok(Some(row)) => row.state.is_final() && row.state != State::Succeeded,
        Ok(None) => false,
        Err(error) => {
            tracing::debug!(error = %chain(&error), job.id = %job.id, "the root of a job cannot be looked at; it runs");
            false
        }
    }
}

/// Whether a turn of a conversation names a job.
pub(crate) fn has_children(rows: &[StepRow]) -> bool {
    let names_job = |row: &StepRow| row.output.as_ref().is_some_and(|output| output.contains("\"job\":"));
    rows.iter().any(|row| row.step.contains('/') && names_job(row))
}

/// Ends what a job that is over had asked for.
pub(crate) async fn end_children(shared: &Shared, parent: JobId) {
    match shared.store.end_children(parent, shared.clock.now_ms()).await {
        Ok(count) => Counters::add(&shared.counters.cancelled, count as u64),
        Err(error) => {
            tracing::warn!(error = %chain(&error), job.id = %parent, "the jobs that a job asked for were not ended; they look for it at their next run");
        }
    }
}
