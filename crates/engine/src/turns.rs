//! One turn of the loops that are more than a verb of the store: for tests and tools that turn an engine by hand.

use futures_util::future::join_all;
use levqor_core::id::JobId;
use levqor_store::HostRoom;

use crate::{Engine, callback, claim};

impl Engine {
    /// Claims up to `limit` jobs, waiting until there is one, and runs each to its end or its rest. Returns them in the
    /// order in which they were claimed.
    pub async fn turn_jobs(&self, limit: usize) -> levqor_store::Result<Vec<JobId>> {
        let shared = &self.shared;
        let jobs = shared.store.claim(limit, &shared.clock).await?;
        let ids = jobs.iter().map(|job| job.id).collect();
        join_all(jobs.into_iter().map(|job| claim::run_guarded(shared, job))).await;
        Ok(ids)
    }

    /// Tries the callbacks that are due, at most `limit`, side by side. Returns how many there were.
    pub async fn turn_callbacks(&self, limit: usize) -> levqor_store::Result<usize> {
        let shared = &self.shared;
        let room = HostRoom { unknown: limit, ..HostRoom::default() };
        let due = shared.store.claim_callbacks(limit, &room, shared.clock.now_ms()).await?;
        join_all(due.iter().map(|claimed| callback::deliver(shared, claimed))).await;
        Ok(due.len())
    }
}
