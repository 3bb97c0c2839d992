//! Past calls for a simulation: those held in a time, or those of a job's tree. Bounded, because each of them is read.

use levqor_core::id::JobId;

use super::call_rows;
use super::reports::CostFilter;
use super::types::CallRow;
use crate::{Result, Store};

/// Calls that one simulation looks at.
pub const PAST_MOST: usize = 20_000;
/// Ids begin with the time at which they were made, a moment before the hold.
const SLACK_MS: i64 = 60_000;

impl Store {
    /// Calls that were held in this time, oldest first, without raw usage and ledgers. `None`: more than [`PAST_MOST`].
    pub async fn past_calls(
        &self,
        from_ms: i64,
        until_ms: i64,
        only: &CostFilter,
    ) -> Result<Option<Vec<CallRow>>> {
        let after = JobId::floor(from_ms - SLACK_MS).to_string();
        let before = JobId::floor(until_ms + SLACK_MS).to_string();
        let only = only.clone();
        let rows = self.read(move |tx| {
            let (after, before) = (after.clone(), before.clone());
            Box::pin(async move { call_rows::between(tx, &after, &before, PAST_MOST + 1).await })
        });
        let rows = rows.await?;
        if rows.len() > PAST_MOST {
            return Ok(None);
        }
        let in_time = |call: &CallRow| (from_ms..until_ms).contains(&call.reserved_at_ms);
        Ok(Some(rows.into_iter().filter(|call| in_time(call) && only.holds(call)).collect()))
    }

    /// The same of all jobs of a tree.
    pub async fn past_calls_of(&self, root_job: JobId) -> Result<Option<Vec<CallRow>>> {
        let root = root_job.to_string();
        let rows = self.read(move |tx| {
            let root = root.clone();
            Box::pin(async move { call_rows::past_of_tree(tx, &root, PAST_MOST + 1).await })
        });
        Ok(Some(rows.await?).filter(|rows| rows.len() <= PAST_MOST))
    }
}

impl CostFilter {
    fn holds(&self, call: &CallRow) -> bool {
        let is = |only: &Option<String>, value: Option<&str>| {
            only.as_deref().is_none_or(|only| value == Some(only))
        };
        is(&self.workflow, call.workflow.as_deref())
            && is(&self.provider, Some(&call.provider))
            && is(&self.model, Some(&call.model))
            && is(&self.key, call.key.as_deref())
            && is(&self.user, call.user.as_deref())
            && self.tag.as_ref().is_none_or(|(name, value)| call.tags.get(name) == Some(value))
    }
}
