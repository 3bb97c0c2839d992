//! Figures for /metrics: counters of this process (monotonic, cheap, never read back by the engine), and live work by
//! state as it was some seconds ago.

mod ai;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use levqor_core::state::State;
use levqor_store::LiveCounts;
use tokio::sync::Mutex;

use crate::Engine;

pub use ai::{AiFigures, LATENCY_BUCKETS_MS, ModelFigures};

/// A count of live work is good for ten times as long as it took, so that counting takes a tenth of one connection at most
/// however many ask; but never for longer than this.
const COUNT_KEPT_AT_MOST: Duration = Duration::from_secs(3);

/// The last count of live work, and until when it is good.
#[derive(Default)]
pub(crate) struct LastCount(Mutex<Option<(Instant, LiveCounts)>>);

impl Engine {
    /// Live work by state, some seconds old at most: counting takes longer the more there is, so one count serves many.
    pub async fn live_counts(&self) -> levqor_store::Result<LiveCounts> {
        let mut last = self.shared.last_count.0.lock().await;
        let began = Instant::now();
        if let Some((until, counts)) = &*last
            && began < *until
        {
            return Ok(counts.clone());
        }
        let counts = self.shared.store.live_counts().await?;
        *last = Some((Instant::now() + kept_after(began.elapsed()), counts.clone()));
        Ok(counts)
    }
}

fn kept_after(took: Duration) -> Duration {
    (10 * took).min(COUNT_KEPT_AT_MOST)
}

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
    pub backups_made: AtomicU64,
    pub backups_failed: AtomicU64,
    pub backup_uploads_failed: AtomicU64,
    pub emails_sent: AtomicU64,
    pub emails_failed: AtomicU64,
    /// Requests to AI models that were sent.
    pub ai_calls: AtomicU64,
    /// Calls by what became of their hold.
    pub ai_settled: AtomicU64,
    pub ai_released: AtomicU64,
    pub ai_assumed: AtomicU64,
    /// Calls that no process ended, charged in full.
    pub ai_swept: AtomicU64,
    /// Calls that a budget refused.
    pub ai_refused: AtomicU64,
    /// Charges that deserve a look.
    pub ai_alarms: AtomicU64,
    pub meter_events_told: AtomicU64,
    pub meter_tries_failed: AtomicU64,
    /// Times that a model was not called any more because it did not answer reliably.
    pub ai_breaks: AtomicU64,
    /// Days that a provider says cost something else than the books say.
    pub statement_drifts: AtomicU64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_was_cheap_is_soon_made_again_and_a_dear_one_within_seconds() {
        assert_eq!(kept_after(Duration::from_millis(2)), Duration::from_millis(20));
        assert_eq!(kept_after(Duration::from_secs(5)), Duration::from_secs(3));
    }
}
