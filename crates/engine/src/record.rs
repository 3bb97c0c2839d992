//! The record of a run: how its end is put, and that it is recorded until it is.
//!
//! Invariant: finished work is not thrown away because the database is away; it is kept here, and nothing is claimed
//! meanwhile.

use std::time::Duration;

use levqor_core::callback::{self, Facts};
use levqor_core::job::{ClaimedJob, Fenced, Finish, JobError, Record, Then};
use levqor_core::state::State;

use crate::figures::Counters;
use crate::{Shared, claim};

/// The end of a job with its callback, if it has one.
pub(crate) fn finish(
    job: &ClaimedJob,
    version: Option<i64>,
    state: State,
    now_ms: i64,
    result: Option<String>,
    error: Option<JobError>,
) -> Then {
    let callback = job.callback_url.as_deref().map(|callback_url| {
        let facts = Facts {
            job_id: job.id,
            claim: job.claim,
            workflow: &job.workflow,
            version,
            tags: &job.tags,
            created_at_ms: job.id.created_at_ms(),
            started_at_ms: Some(job.started_at_ms),
            callback_url,
        };
        callback::compose(&facts, state, now_ms, result.as_deref(), error.as_ref())
    });
    Then::Finish(Finish { state, finished_at_ms: now_ms, result, error, callback })
}

/// Fails a job whose run broke by a bug of ours.
pub(crate) async fn fail_broken(shared: &Shared, job: &ClaimedJob) {
    let error =
        JobError::new("internal_error", "this job met a bug in Levqor; the log of its node has the details");
    let then = finish(job, job.version, State::Failed, shared.clock.now_ms(), None, Some(error));
    record(shared, Record { id: job.id, claim: job.claim, pin: None, steps: Vec::new(), then }).await;
}

/// Records until it is recorded. While the database is away the finished work is kept here, and nothing is claimed.
pub(crate) async fn record(shared: &Shared, record: Record) -> Fenced {
    let (ended, rests_until_ms) = match &record.then {
        Then::Finish(finish) => (Some(finish.state), None),
        Then::Rest { until_ms } => (None, Some(*until_ms)),
        Then::Stay | Then::HandBack | Then::Park => (None, None),
    };
    let mut failures = 0u64;
    let mut _waiting = None;
    loop {
        match shared.store.record(record.clone()).await {
            Ok(Fenced::Done) => {
                if let Some(state) = ended {
                    shared.counters.finished(state);
                }
                // After the commit: a look at the store before it would find nothing due, and forget the time.
                if let Some(until_ms) = rests_until_ms {
                    shared.due.add(until_ms);
                }
                return Fenced::Done;
            }
            Ok(Fenced::Stale) => {
                Counters::add(&shared.counters.stale, 1);
                return Fenced::Stale;
            }
            // Its process is about to end: the rescue of the next one takes the job up again.
            Err(_) if shared.giving_up.is_cancelled() => return Fenced::Stale,
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(error = %claim::chain(&error), job.id = %record.id, "a record waits for the database");
                    _waiting = Some(shared.running.unrecorded());
                }
                failures += 1;
                tokio::time::sleep(Duration::from_millis((50 * failures).min(1_000))).await;
            }
        }
    }
}
