//! Hints from the store, and those who wait for a job to end (`?wait=30s`).
//!
//! A hint says "look again"; it is never believed. A waiter that misses one looks again by itself after a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use levqor_core::id::JobId;
use levqor_core::state::State;
use levqor_store::Hint;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use crate::{Shared, keys};

/// Between two refreshes for the sake of hints that were lost, which happens again and again under load.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Who waits for which job. An entry lives as long as somebody holds its [`Watch`].
#[derive(Default)]
pub(crate) struct Watchers(Mutex<HashMap<JobId, (usize, Arc<Notify>)>>);

/// One waiter's place; leaving it (also by a dropped request) frees the entry.
pub(crate) struct Watch<'a> {
    watchers: &'a Watchers,
    id: JobId,
    notify: Arc<Notify>,
}

impl Watchers {
    fn entries(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, (usize, Arc<Notify>)>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn watch(&self, id: JobId) -> Watch<'_> {
        let mut entries = self.entries();
        let entry = entries.entry(id).or_default();
        entry.0 += 1;
        Watch { watchers: self, id, notify: entry.1.clone() }
    }

    pub fn ended(&self, ids: &[JobId]) {
        let entries = self.entries();
        if entries.is_empty() {
            return;
        }
        for (_, notify) in ids.iter().filter_map(|id| entries.get(id)) {
            notify.notify_waiters();
        }
    }
}

impl Watch<'_> {
    /// Hints that come after this call are seen by the returned future even before it is polled.
    pub fn notified(&self) -> tokio::sync::futures::Notified<'_> {
        self.notify.notified()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let mut entries = self.watchers.entries();
        if let Some(entry) = entries.get_mut(&self.id) {
            entry.0 -= 1;
            if entry.0 == 0 {
                entries.remove(&self.id);
            }
        }
    }
}

/// Turns hints into looks at the truth until the engine has stopped.
pub(crate) async fn hint_loop(shared: Arc<Shared>) {
    let mut hints = shared.store.hints();
    let mut refreshed_at = Instant::now();
    // Set while a refresh is owed because hints were lost.
    let mut owed_at = None;
    loop {
        tokio::select! {
            _ = shared.stopping.cancelled() => return,
            _ = tokio::time::sleep_until(owed_at.unwrap_or(refreshed_at)), if owed_at.is_some() => {
                owed_at = None;
                refreshed_at = Instant::now();
                refresh_definitions(&shared).await;
                refresh_keys(&shared).await;
            }
            hint = hints.recv() => match hint {
                Ok(Hint::Ended(ids)) => {
                    shared.watchers.ended(&ids);
                    shared.short.ended(&ids);
                    for id in shared.running.stoppable_among(&ids) {
                        look_at(&shared, id).await;
                    }
                }
                Ok(Hint::WorkflowsChanged) => refresh_definitions(&shared).await,
                Ok(Hint::KeysChanged) => refresh_keys(&shared).await,
                // The upkeep loop compares running jobs with the truth anyway.
                Err(RecvError::Lagged(_)) => {
                    owed_at.get_or_insert(refreshed_at + REFRESH_PAUSE);
                }
                Err(RecvError::Closed) => return,
            },
        }
    }
}

async fn refresh_definitions(shared: &Shared) {
    if let Err(error) = shared.definitions.refresh(&shared.store).await {
        tracing::warn!(%error, "workflows could not be read again; trying later");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// The look at the keys that upkeep takes anyway makes up for a failure.
async fn refresh_keys(shared: &Arc<Shared>) {
    if let Err(error) = keys::look(shared.clone()).await {
        tracing::debug!(%error, "keys could not be read again; trying later");
    }
}

/// A hint that names a job which runs here: it stops if the truth says that it is not ours any more. The claim number is
/// compared, so that a late hint about an earlier life of the job does not stop its new run.
pub(crate) async fn look_at(shared: &Shared, id: JobId) {
    let Some(claim) = shared.running.claim_of(id) else { return };
    match shared.store.find_job(id).await {
        Ok(Some(row)) if row.line.state == State::Running && row.claim == claim => {}
        Ok(_) => shared.running.abort(id, claim),
        Err(error) => tracing::debug!(%error, job.id = %id, "could not look at a job that a hint named"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn of_many_jobs_that_ended_only_the_watched_one_wakes_its_waiters() {
        let watchers = Watchers::default();
        let ids: Vec<JobId> = (0..1_000).map(|n| JobId::new(n, [0; 10])).collect();
        let (ending, living) = (watchers.watch(ids[500]), watchers.watch(JobId::new(5_000, [0; 10])));
        let (ended, lives) = (ending.notified(), living.notified());

        watchers.ended(&ids);

        assert!(ended.now_or_never().is_some());
        assert!(lives.now_or_never().is_none());
        drop((ending, living));
        assert!(watchers.entries().is_empty());
    }
}
