//! Posts due callbacks: signed, recorded, tried again by the published schedule.
//!
//! A receiver is known by `host:port`; `hosts.rs` says how many deliveries each may have under way, so that a dead one never
//! holds up another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use levqor_connectors::net::{self, Request, Timeouts};
use levqor_core::callback::{self, Verdict};
use levqor_core::signature;
use levqor_store::{CallbackEnd, CallbackTry, ClaimedCallback};
use tokio::sync::Notify;

use crate::Shared;
use crate::chain::chain;
use crate::figures::Counters;
use crate::hosts::{Hosts, SLOW};

/// How long a receiver has, in all.
const RECEIVER_MS: u64 = 15_000;
/// Claimed in one commit at most: a claim is short work for the database.
const CLAIM_AT_ONCE: usize = 128;
/// Answers are read to this size and thrown away.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// A look at the store when no wake-up came.
const POLL: Duration = Duration::from_secs(1);
/// A claim that took longer walked past thousands of receivers whose time has not come: the database then has as long to
/// itself. Measured: 16 ms on SQLite, 60 ms on PostgreSQL past 10,000 of them.
const LONG: Duration = Duration::from_millis(10);

pub(crate) async fn callback_loop(shared: Arc<Shared>) {
    let hosts = Arc::new(Hosts::new(shared.settings.callbacks_at_once, shared.settings.callbacks_per_host));
    let changed = Arc::new(Notify::new());
    let mut failing = false;
    while !shared.stopping.is_cancelled() {
        let began = Instant::now();
        let (free, room) = hosts.room();
        let claimed = match free {
            0 => Ok(Vec::new()),
            free => {
                let now_ms = shared.clock.now_ms();
                shared.store.claim_callbacks(free.min(CLAIM_AT_ONCE), &room, now_ms).await
            }
        };
        let took = began.elapsed();
        let mut found = false;
        match claimed {
            Ok(claimed) => {
                failing = false;
                found = !claimed.is_empty();
                for callback in claimed {
                    spawn_delivery(&shared, &hosts, &changed, callback);
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %chain(&error), "callbacks cannot be read; trying again");
                }
                failing = true;
            }
        }
        if took > LONG && !failing {
            tokio::time::sleep(took.min(POLL)).await;
        }
        if found {
            continue;
        }
        tokio::select! {
            _ = shared.store.callback_wake(), if !failing => {}
            _ = changed.notified(), if !failing => {}
            _ = tokio::time::sleep(POLL) => {}
            _ = shared.stopping.cancelled() => {}
        }
    }
}

fn spawn_delivery(shared: &Arc<Shared>, hosts: &Arc<Hosts>, changed: &Arc<Notify>, claimed: ClaimedCallback) {
    hosts.begin(&claimed.callback.host);
    let (shared, hosts, changed) = (shared.clone(), hosts.clone(), changed.clone());
    shared.clone().tasks.spawn(async move {
        let host = &claimed.callback.host;
        let mut delivery = std::pin::pin!(deliver(&shared, &claimed));
        let (well, slow) = match tokio::time::timeout(SLOW, delivery.as_mut()).await {
            Ok(well) => (well, false),
            Err(_) => {
                hosts.slow(host);
                changed.notify_one();
                (delivery.await, true)
            }
        };
        hosts.end(host, well, slow);
        changed.notify_one();
    });
}

/// One try, recorded. True when the receiver answered as a healthy one does. A try given up at shutdown is not recorded:
/// its lease runs out, and it reads `lost`.
pub(crate) async fn deliver(shared: &Shared, claimed: &ClaimedCallback) -> bool {
    let at_ms = shared.clock.now_ms();
    let began = Instant::now();
    let answer = tokio::select! {
        answer = post(shared, claimed, at_ms) => answer,
        _ = shared.giving_up.cancelled() => return false,
    };
    let duration_ms = began.elapsed().as_millis() as i64;
    let now_ms = shared.clock.now_ms();
    let (status, error, verdict) = match &answer {
        Ok(response) => {
            let status = i64::from(response.status.as_u16());
            let retry_after_ms = net::retry_after_ms(&response.headers, now_ms);
            match callback::verdict(response.status.as_u16()) {
                Verdict::Delivered => (Some(status), None, CallbackEnd::Delivered),
                Verdict::Gone => (
                    Some(status),
                    Some("the receiver answered 410: no more tries".to_owned()),
                    CallbackEnd::Gone,
                ),
                Verdict::Busy => (
                    Some(status),
                    Some(format!("the receiver answered {status}")),
                    again(claimed, now_ms, retry_after_ms),
                ),
                Verdict::Failed => (
                    Some(status),
                    Some(format!("the receiver answered {status}")),
                    again(claimed, now_ms, None),
                ),
            }
        }
        Err(error) => (None, Some(error.to_string()), again(claimed, now_ms, None)),
    };
    let well = verdict == CallbackEnd::Delivered;
    let counter = if well { &shared.counters.callbacks_delivered } else { &shared.counters.callbacks_failed };
    Counters::add(counter, 1);
    let tried = CallbackTry { attempt: claimed.attempt, at_ms, duration_ms, status, error };
    record(shared, claimed, tried, verdict).await;
    well
}

fn again(claimed: &ClaimedCallback, now_ms: i64, retry_after_ms: Option<i64>) -> CallbackEnd {
    match callback::next_try(claimed.round, now_ms, retry_after_ms, rand::random::<f64>()) {
        Some(due_at_ms) => CallbackEnd::Retry { due_at_ms },
        None => CallbackEnd::Exhausted,
    }
}

async fn post(
    shared: &Shared,
    claimed: &ClaimedCallback,
    at_ms: i64,
) -> Result<net::Response, net::CallError> {
    let callback = &claimed.callback;
    let timestamp_secs = at_ms.div_euclid(1000);
    let signature = signature::sign(
        &shared.settings.callback_secrets,
        &callback.id,
        timestamp_secs,
        callback.body.as_bytes(),
    );
    let headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        ("webhook-id".to_owned(), callback.id.clone()),
        ("webhook-timestamp".to_owned(), timestamp_secs.to_string()),
        ("webhook-signature".to_owned(), signature),
    ];
    shared
        .client
        .send_for_status(Request {
            method: http::Method::POST,
            url: callback.url.clone(),
            headers,
            body: Bytes::copy_from_slice(callback.body.as_bytes()),
            timeouts: Timeouts::within(RECEIVER_MS),
            max_response_bytes: MAX_ANSWER_BYTES,
        })
        .await
}

/// Records a try, again and again while the database is away; the lease makes a late one harmless.
async fn record(shared: &Shared, claimed: &ClaimedCallback, tried: CallbackTry, end: CallbackEnd) {
    let mut failures = 0u64;
    loop {
        match shared.store.record_callback(claimed, tried.clone(), end.clone()).await {
            Ok(_) => return,
            Err(error) if failures >= 20 || shared.giving_up.is_cancelled() => {
                tracing::error!(error = %chain(&error), callback.id = claimed.callback.id, "a callback's try could not be recorded");
                return;
            }
            Err(_) => failures += 1,
        }
        tokio::time::sleep(Duration::from_millis(100 * failures)).await;
    }
}
