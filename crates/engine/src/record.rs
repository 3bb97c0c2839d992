//! The record of a run: how its end is put, and that it is recorded until it is.
//!
//! Invariant: finished work is not thrown away because the database is away; it is kept here, and nothing is claimed
//! meanwhile. A record that the database refuses for what it is holds up nobody but its own job.

use std::time::Duration;

use levqor_core::callback::{self, Facts};
use levqor_core::job::{ClaimedJob, Fenced, Finish, JobError, Record, Then};
use levqor_core::state::State;
use levqor_store::{Error, Settlement};

use crate::Shared;
use crate::ai::Owed;
use crate::chain::chain;
use crate::figures::Counters;

/// The same record is refused so often before it counts as one that will never do.
const REFUSALS: usize = 3;

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

/// The end of a job that met a bug of ours.
fn broken(shared: &Shared, job: &ClaimedJob) -> Record {
    let error =
        JobError::new("internal_error", "this job met a bug in Levqor; the log of its node has the details");
    let then = finish(job, job.version, State::Failed, shared.clock.now_ms(), None, Some(error));
    Record { id: job.id, claim: job.claim, pin: None, steps: Vec::new(), then }
}

/// Fails a job whose run broke by a bug of ours.
pub(crate) async fn fail_broken(shared: &Shared, job: &ClaimedJob) {
    if let Err(error) = until_recorded(shared, &broken(shared, job), &[]).await {
        give_up(job, &error);
    }
}

/// Records until it is recorded. What the database will never take, whatever the time, fails the job instead: without it
/// the run would hold its place for ever. That reads as `Stale`, for the run is over.
/// The charges of its calls are part of it, and count even where it is stale.
pub(crate) async fn record(shared: &Shared, job: &ClaimedJob, record: Record, calls: Vec<Owed>) -> Fenced {
    let settlements: Vec<Settlement> = calls.iter().map(|owed| owed.settlement.clone()).collect();
    match until_recorded(shared, &record, &settlements).await {
        // A process that ends has recorded nothing: its calls are dropped, and the sweep charges them.
        Ok(Fenced::Stale) if shared.giving_up.is_cancelled() => Fenced::Stale,
        Ok(fenced) => {
            calls.iter().for_each(Owed::settled);
            fenced
        }
        Err(error) => {
            tracing::error!(error = %chain(&error), job.id = %job.id, "a record is refused by the database; its job fails");
            fail_broken(shared, job).await;
            Fenced::Stale
        }
    }
}

/// Not even its failure can be recorded. It stays as it is on record, for a person to look at; a restart tries it again.
fn give_up(job: &ClaimedJob, error: &Error) {
    tracing::error!(error = %chain(error), job.id = %job.id, workflow = job.workflow, "a job's failure is refused by the database; its run is given up");
}

/// While the database is away the finished work is kept here, and nothing is claimed. An error: the database is there and
/// refuses this very record, time after time.
pub(crate) async fn until_recorded(
    shared: &Shared,
    record: &Record,
    settlements: &[Settlement],
) -> Result<Fenced, Error> {
    let mut failures = 0u64;
    let mut refusals = 0;
    let mut _waiting = None;
    loop {
        let written = match settlements {
            [] => shared.store.record(record.clone()).await,
            _ => shared
                .store
                .record_settling(record.clone(), settlements.to_vec())
                .await
                .map(|(fenced, _)| fenced),
        };
        match written {
            Ok(Fenced::Done) => {
                recorded(shared, &record.then);
                return Ok(Fenced::Done);
            }
            Ok(Fenced::Stale) => {
                Counters::add(&shared.counters.stale, 1);
                return Ok(Fenced::Stale);
            }
            // Its process is about to end: the next one takes the job up again.
            Err(_) if shared.giving_up.is_cancelled() => return Ok(Fenced::Stale),
            Err(error @ Error::Unavailable(_)) => {
                if _waiting.is_none() {
                    tracing::warn!(error = %chain(&error), job.id = %record.id, "a record waits for the database");
                    _waiting = Some(shared.running.unrecorded());
                }
            }
            Err(error) => {
                refusals += 1;
                if refusals >= REFUSALS {
                    return Err(error);
                }
            }
        }
        failures += 1;
        tokio::time::sleep(Duration::from_millis((50 * failures).min(1_000))).await;
    }
}

/// What this process remembers of a record once it is committed.
fn recorded(shared: &Shared, then: &Then) {
    match then {
        Then::Finish(finish) => shared.counters.finished(finish.state),
        // After the commit: a look at the store before it would find nothing due, and forget the time.
        Then::Rest { until_ms } => shared.due.add(*until_ms),
        Then::Stay | Then::HandBack | Then::Park => {}
    }
}
