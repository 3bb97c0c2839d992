//! Claims jobs for this node as long as it has room, and gives each a task of its own.
//! How many it takes at once is decided in `running.rs`.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use levqor_core::job::ClaimedJob;

use crate::chain::chain;
use crate::figures::Counters;
use crate::running::Ran;
use crate::{Shared, record, run};

/// Gives back a job's place when its task ends, however it ends.
struct InHand(Arc<Shared>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.running.let_go();
    }
}

pub(crate) async fn claim_loop(shared: Arc<Shared>) {
    let mut failures = 0u32;
    while !shared.stopping.is_cancelled() {
        let limit = shared.running.limit(shared.settings.workers);
        if limit == 0 {
            // A guard that is dropped between the look and this line has left its permit in `room`.
            tokio::select! {
                _ = shared.running.room() => {}
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
    shared.running.take();
    let in_hand = InHand(shared.clone());
    shared.tasks.spawn(async move {
        if run_guarded(&in_hand.0, job).await == Ran::Inside {
            in_hand.0.running.ended_quickly();
        }
    });
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
