//! Claims jobs for this node as long as it has room, and gives each a task of its own.
//!
//! `workers` bounds the jobs that wait for the outside. Jobs that need nothing from outside are over in microseconds, so
//! claiming only as many as there are workers would make the commit, not the work, the bound: after as many jobs as there
//! are workers ended without a call outside, claims get larger. The first job that does go outside ends that.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::FutureExt;
use levqor_core::id::JobId;
use levqor_core::job::ClaimedJob;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::figures::Counters;
use crate::{Shared, record, run};

/// Jobs in hand at most while all of them are quick. Measured: beyond 512 a commit's cost per job no longer falls.
const QUICK_IN_HAND: usize = 1_024;
/// While jobs are quick, wait for room for this many before claiming again, so that commits stay large.
const QUICK_CLAIM: usize = 512;

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

    /// How many jobs to claim now; 0: wait for room.
    fn limit(&self, workers: usize) -> usize {
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

/// Gives back a job's place when its task ends, however it ends.
struct InHand(Arc<Shared>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.running.in_hand.fetch_sub(1, Ordering::AcqRel);
        self.0.running.room.notify_one();
    }
}

pub(crate) async fn claim_loop(shared: Arc<Shared>) {
    let mut failures = 0u32;
    while !shared.stopping.is_cancelled() {
        let limit = shared.running.limit(shared.settings.workers);
        if limit == 0 {
            // A guard that is dropped between the look and this line has left its permit in `room`.
            tokio::select! {
                _ = shared.running.room.notified() => {}
                _ = shared.stopping.cancelled() => {}
            }
            continue;
        }
        let claimed = tokio::select! {
            claimed = shared.store.claim(limit, &shared.clock) => claimed,
            _ = shared.stopping.cancelled() => return,
        };
        match claimed {
            Ok(jobs) => {
                failures = 0;
                Counters::add(&shared.counters.started, jobs.len() as u64);
                for job in jobs {
                    start(&shared, job);
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(error = %chain(&error), "no jobs can be claimed; trying again until it works");
                }
                tokio::time::sleep(Duration::from_millis(100 * u64::from(failures.min(20)))).await;
            }
        }
    }
}

fn start(shared: &Arc<Shared>, job: ClaimedJob) {
    shared.running.in_hand.fetch_add(1, Ordering::AcqRel);
    let in_hand = InHand(shared.clone());
    shared.tasks.spawn(async move {
        if run_guarded(&in_hand.0, job).await == Ran::Inside {
            in_hand.0.running.quick_ends.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Whether a run waited for the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    Inside,
    Outside,
}

/// Runs one claimed job to its end or its rest. A panic in it fails this job and nothing else.
pub(crate) async fn run_guarded(shared: &Arc<Shared>, job: ClaimedJob) -> Ran {
    match AssertUnwindSafe(run::run_job(shared, &job)).catch_unwind().await {
        Ok(ran) => ran,
        Err(_) => {
            tracing::error!(job.id = %job.id, "a bug made this job's run panic");
            record::fail_broken(shared, &job).await;
            Ran::Outside
        }
    }
}

/// An error with all its causes on one line, for the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
