//! Counters of this process for /metrics: monotonic, cheap, never read back by the engine.

use std::sync::atomic::{AtomicU64, Ordering};

use levqor_core::state::State;

#[derive(Debug, Default)]
pub struct Counters {
    pub accepted: AtomicU64,
    pub replayed: AtomicU64,
    pub started: AtomicU64,
    pub succeeded: AtomicU64,
    pub failed: AtomicU64,
    pub cancelled: AtomicU64,
    pub expired: AtomicU64,
    /// Records that met a job which was no longer ours.
    pub stale: AtomicU64,
    pub handed_back: AtomicU64,
    pub rescued: AtomicU64,
    pub steps_performed: AtomicU64,
    pub steps_failed: AtomicU64,
    pub callbacks_delivered: AtomicU64,
    pub callbacks_failed: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn finished(&self, state: State) {
        let counter = match state {
            State::Succeeded => &self.succeeded,
            State::Failed => &self.failed,
            State::Cancelled => &self.cancelled,
            State::Expired => &self.expired,
            State::Queued | State::Undefined | State::Scheduled | State::Running | State::Waiting => return,
        };
        Counters::add(counter, 1);
    }
}
