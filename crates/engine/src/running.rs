//! The jobs in the hands of this node: how many there may be, which of them wait for the outside, and how to stop those.
//!
//! `workers` bounds the jobs that wait for the outside. Jobs that need nothing from outside are over in microseconds, so
//! claiming only as many as there are workers would make the commit, not the work, the bound: after as many jobs as there
//! are workers ended without a call outside, claims get larger. The first job that does go outside ends that.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use levqor_core::id::JobId;
use levqor_core::job::ClaimedJob;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Jobs in hand at most while all of them are quick. Each takes some 20 KB of memory while it runs.
const QUICK_IN_HAND: usize = 512;
/// While jobs are quick, wait for room for this many before claiming again, so that commits stay large.
const QUICK_CLAIM: usize = 256;

/// The jobs in the hands of this node.
#[derive(Default)]
pub struct Running {
    in_hand: AtomicUsize,
    outside: AtomicUsize,
    /// Runs whose finished work could not be recorded yet: no claims meanwhile.
    unrecorded: AtomicUsize,
    /// Jobs that ended without going outside, since one last did.
    quick_ends: AtomicUsize,
    room: Notify,
    /// Jobs that wait for the outside, so that somebody may want to stop them.
    stoppable: Mutex<HashMap<JobId, (i64, CancellationToken)>>,
}

impl Running {
    pub fn len(&self) -> usize {
        self.in_hand.load(Ordering::Relaxed)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn stoppable(&self) -> MutexGuard<'_, HashMap<JobId, (i64, CancellationToken)>> {
        self.stoppable.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The jobs that wait for the outside, with their claim numbers.
    pub(crate) fn list(&self) -> Vec<(JobId, i64)> {
        self.stoppable().iter().map(|(id, (claim, _))| (*id, *claim)).collect()
    }

    pub(crate) fn claim_of(&self, id: JobId) -> Option<i64> {
        self.stoppable().get(&id).map(|(claim, _)| *claim)
    }

    /// Those of `ids` that wait for the outside here.
    pub(crate) fn stoppable_among(&self, ids: &[JobId]) -> Vec<JobId> {
        let stoppable = self.stoppable();
        if stoppable.is_empty() {
            return Vec::new();
        }
        ids.iter().filter(|id| stoppable.contains_key(id)).copied().collect()
    }

    /// Stops the run of this claim at its next pause, if it is here. The caller knows that the job is not ours any more.
    pub(crate) fn abort(&self, id: JobId, claim: i64) {
        if let Some((held, token)) = self.stoppable().get(&id)
            && *held == claim
        {
            token.cancel();
        }
    }

    /// Takes one of the `workers` slots for a job that is about to wait for the outside. `None`: all are taken, which can
    /// only happen just after a claim that was larger than the free slots.
    pub(crate) fn go_outside<'a>(&'a self, job: &ClaimedJob, workers: usize) -> Option<Outside<'a>> {
        self.quick_ends.store(0, Ordering::Relaxed);
        self.outside
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| (taken < workers).then_some(taken + 1))
            .ok()?;
        let token = CancellationToken::new();
        self.stoppable().insert(job.id, (job.claim, token.clone()));
        Some(Outside { running: self, id: job.id, token })
    }

    /// Says that a run holds work it cannot record; the guard says that it could.
    pub(crate) fn unrecorded(&self) -> Unrecorded<'_> {
        self.unrecorded.fetch_add(1, Ordering::AcqRel);
        Unrecorded(self)
    }

    /// One more is in hand, until [`Running::let_go`].
    pub(crate) fn take(&self) {
        self.in_hand.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn let_go(&self) {
        self.in_hand.fetch_sub(1, Ordering::AcqRel);
        self.room.notify_one();
    }

    /// One ended without going outside.
    pub(crate) fn ended_quickly(&self) {
        self.quick_ends.fetch_add(1, Ordering::Relaxed);
    }

    /// Resolves when there is more room than at the last look.
    pub(crate) async fn room(&self) {
        self.room.notified().await;
    }

    /// How many jobs to claim now; 0: wait for room.
    pub(crate) fn limit(&self, workers: usize) -> usize {
        if self.unrecorded.load(Ordering::Acquire) > 0 {
            return 0;
        }
        let in_hand = self.len();
        if self.quick_ends.load(Ordering::Relaxed) >= workers {
            let room = QUICK_IN_HAND.saturating_sub(in_hand);
            return if room >= QUICK_CLAIM { QUICK_CLAIM } else { 0 };
        }
        workers.saturating_sub(in_hand)
    }
}

/// A slot, held while a job waits for the outside.
pub(crate) struct Outside<'a> {
    running: &'a Running,
    id: JobId,
    pub token: CancellationToken,
}

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        self.running.stoppable().remove(&self.id);
        self.running.outside.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(crate) struct Unrecorded<'a>(&'a Running);

impl Drop for Unrecorded<'_> {
    fn drop(&mut self) {
        self.0.unrecorded.fetch_sub(1, Ordering::AcqRel);
        self.0.room.notify_one();
    }
}

/// Whether a run waited for the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Inside,
    Outside,
}
