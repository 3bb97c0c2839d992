//! The loops that keep the house: liveness, rescue after crashes, due times, retention. Each is one turn of store verbs,
//! repeated; a failed turn is tried again, for ever.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use levqor_store::{LEASE_MS, Store};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::chain::chain;
use crate::figures::Counters;
use crate::{Shared, ai, alerts, keys};

const BATCH: usize = 500;
/// The due times of other nodes are not known here: look at least this often. On SQLite there are no other nodes.
const DUE_POLL: Duration = Duration::from_secs(1);
/// A beat may be late twice before the lease is at risk.
const BEAT: Duration = Duration::from_millis(3_000);
const RESCUE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_secs(3);
const PRUNE: Duration = Duration::from_secs(30);
const REFRESH: Duration = Duration::from_secs(1);
/// An intake that began before a definition came and was committed after it is announced by nobody.
const DEFINE: Duration = Duration::from_secs(2);
/// Calls that nobody ended hold money until they are found.
const SWEEP: Duration = Duration::from_secs(5);
/// A threshold was passed by whichever node charged a call.
const TELL: Duration = Duration::from_secs(2);
/// Clocks that disagree by more than this since the start: somebody moved the wall clock, nothing is deleted.
const CLOCK_JUMP_MS: i64 = 3_600_000;

/// The earliest time at which this process knows something to be due.
pub(crate) struct Due {
    next_ms: AtomicI64,
    sooner: Notify,
}

impl Default for Due {
    fn default() -> Self {
        Due { next_ms: AtomicI64::new(i64::MAX), sooner: Notify::new() }
    }
}

impl Due {
    /// Something was stored that is due at `at_ms`.
    pub fn add(&self, at_ms: i64) {
        if self.next_ms.fetch_min(at_ms, Ordering::AcqRel) > at_ms {
            self.sooner.notify_one();
        }
    }
}

/// When this node last said that it lives. A node that could not for its lease less a margin stops calling out.
pub(crate) struct Liveness {
    /// One process owns an SQLite file: there is nobody who could take its jobs.
    is_alone: bool,
    began: Instant,
    beat_ms: AtomicI64,
}

impl Liveness {
    const MARGIN_MS: i64 = 3_000;

    pub fn of(store: &Store) -> Self {
        let is_alone = store.engine() == "sqlite";
        Liveness { is_alone, began: Instant::now(), beat_ms: AtomicI64::new(0) }
    }

    fn beaten(&self, at: Instant) {
        let at_ms = at.duration_since(self.began).as_millis() as i64;
        self.beat_ms.store(at_ms, Ordering::Release);
    }

    /// Whether other nodes surely still take our jobs for ours.
    pub fn holds(&self) -> bool {
        let silent_ms = self.began.elapsed().as_millis() as i64 - self.beat_ms.load(Ordering::Acquire);
        self.is_alone || silent_ms < LEASE_MS - Liveness::MARGIN_MS
    }

    /// Returns when nothing can have been taken from us by now without our knowing.
    pub async fn wait_until_it_holds(&self) {
        while !self.holds() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

pub(crate) fn spawn_loops(shared: &Arc<Shared>) {
    let alone = shared.store.engine() == "sqlite";
    // These serve what still runs, or is asked, during a graceful stop, so they are not among the tasks that it waits for.
    let beat_every = if alone { Duration::from_secs(30) } else { BEAT };
    tokio::spawn(repeat(shared.clone(), shared.stopped.clone(), beat_every, "beat", beat));
    tokio::spawn(repeat(shared.clone(), shared.stopped.clone(), LOOK, "look at running jobs", look));
    let look_every = if alone { keys::LOOK_ALONE } else { keys::LOOK };
    tokio::spawn(repeat(shared.clone(), shared.stopped.clone(), look_every, "look at keys", keys::look));
    tokio::spawn(repeat(
        shared.clone(),
        shared.stopped.clone(),
        keys::NOTE_USES,
        "note uses of keys",
        keys::note_uses,
    ));

    let stopping = &shared.stopping;
    shared.tasks.spawn(due_loop(shared.clone(), alone));
    shared.tasks.spawn(rescue_loop(shared.clone(), alone));
    shared.tasks.spawn(repeat(shared.clone(), stopping.clone(), DEFINE, "look for definitions", define));
    shared.tasks.spawn(repeat(shared.clone(), stopping.clone(), SWEEP, "sweep AI calls", ai::sweep));
    if !alone {
        shared.tasks.spawn(repeat(shared.clone(), stopping.clone(), REFRESH, "refresh definitions", refresh));
    }
    shared.tasks.spawn(repeat(shared.clone(), stopping.clone(), TELL, "tell alerts", alerts::tell));
    shared.tasks.spawn(prune_loop(shared.clone()));
}

/// Turns `turn` now and then every `every` until `end`; a failure is logged when it begins, not each time.
async fn repeat<F>(
    shared: Arc<Shared>,
    end: CancellationToken,
    every: Duration,
    what: &'static str,
    turn: impl Fn(Arc<Shared>) -> F,
) where
    F: Future<Output = levqor_store::Result<()>>,
{
    let mut failing = false;
    loop {
        match turn(shared.clone()).await {
            Ok(()) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %chain(&error), what, "upkeep failed; trying again");
                }
                failing = true;
            }
        }
        let pause = if failing { every.min(Duration::from_secs(1)) } else { every };
        tokio::select! {
            _ = tokio::time::sleep(pause) => {}
            _ = end.cancelled() => return,
        }
    }
}

async fn beat(shared: Arc<Shared>) -> levqor_store::Result<()> {
    let at = Instant::now();
    shared.store.beat(shared.clock.now_ms()).await?;
    shared.liveness.beaten(at);
    Ok(())
}

async fn define(shared: Arc<Shared>) -> levqor_store::Result<()> {
    while shared.store.move_defined(BATCH).await? > 0 {}
    Ok(())
}

async fn refresh(shared: Arc<Shared>) -> levqor_store::Result<()> {
    shared.definitions.refresh(&shared.store).await
}

/// Stops runs whose job was taken away without a hint reaching us: cancelled on another node, rescued, completed.
pub(crate) async fn look(shared: Arc<Shared>) -> levqor_store::Result<()> {
    let held = shared.running.list();
    if held.is_empty() {
        return Ok(());
    }
    let mine: std::collections::HashSet<_> = shared.store.list_mine().await?.into_iter().collect();
    for (id, claim) in held {
        if !mine.contains(&(id, claim)) {
            shared.running.abort(id, claim);
        }
    }
    Ok(())
}

/// On SQLite nobody else can die: one whole rescue after the start is all. On PostgreSQL it goes on.
async fn rescue_loop(shared: Arc<Shared>, alone: bool) {
    let mut failing = false;
    while !shared.stopping.is_cancelled() {
        match shared.store.rescue(BATCH).await {
            Ok(0) if alone => return,
            Ok(rescued) => {
                failing = false;
                if rescued > 0 {
                    Counters::add(&shared.counters.rescued, rescued as u64);
                    tracing::info!(jobs = rescued, "rescued jobs of a process that died");
                    continue;
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %chain(&error), "rescue failed; trying again");
                }
                failing = true;
            }
        }
        let pause = if failing { Duration::from_millis(200) } else { RESCUE };
        tokio::select! {
            _ = tokio::time::sleep(pause) => {}
            _ = shared.stopping.cancelled() => {}
        }
    }
}

/// Moves what is due to the queue, and sleeps until the next due time that is known here.
async fn due_loop(shared: Arc<Shared>, alone: bool) {
    let mut failing = false;
    while !shared.stopping.is_cancelled() {
        shared.due.next_ms.store(i64::MAX, Ordering::Release);
        let now_ms = shared.clock.now_ms();
        match shared.store.move_due(now_ms, BATCH).await {
            Ok((moved, _)) if moved == BATCH => continue,
            Ok((_, next)) => {
                failing = false;
                if let Some(next_ms) = next {
                    shared.due.next_ms.fetch_min(next_ms, Ordering::AcqRel);
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %chain(&error), "due jobs cannot be moved; trying again");
                }
                failing = true;
            }
        }
        let next_ms = shared.due.next_ms.load(Ordering::Acquire);
        let until_next =
            Duration::from_millis(next_ms.saturating_sub(shared.clock.now_ms()).clamp(0, 3_600_000) as u64);
        // The wall clock may be set forward meanwhile; a look now and then bounds what that costs.
        let most = if alone && !failing { Duration::from_secs(10) } else { DUE_POLL };
        tokio::select! {
            _ = tokio::time::sleep(until_next.min(most)) => {}
            _ = shared.due.sooner.notified() => {}
            _ = shared.stopping.cancelled() => {}
        }
    }
}

async fn prune_loop(shared: Arc<Shared>) {
    let began = Instant::now();
    let began_ms = shared.clock.now_ms();
    loop {
        tokio::select! {
            _ = tokio::time::sleep(PRUNE) => {}
            _ = shared.stopping.cancelled() => return,
        }
        let now_ms = shared.clock.now_ms();
        let jump_ms = now_ms - began_ms - began.elapsed().as_millis() as i64;
        if jump_ms.abs() > CLOCK_JUMP_MS {
            tracing::warn!(
                jump_ms,
                "the clock was moved by more than an hour since the start: retention pauses until a restart"
            );
            continue;
        }
        if let Err(error) = prune(&shared, now_ms).await {
            tracing::warn!(error = %chain(&error), "retention failed; trying again");
        }
    }
}

pub(crate) async fn prune(shared: &Shared, now_ms: i64) -> levqor_store::Result<()> {
    let before_ms = now_ms - shared.settings.retention_ms;
    while shared.store.prune(before_ms, shared.settings.retention_jobs, now_ms).await? > 0 {
        if shared.stopping.is_cancelled() {
            return Ok(());
        }
        // Small pieces with air between them: intake and claims go first.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
