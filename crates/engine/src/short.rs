//! Jobs that rest because something is short: money, or the end of a job that their model asked for. Kept in memory only:
//! each has a time at which it looks again by itself, so a lost wake-up costs time and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use levqor_core::id::JobId;
use tokio::sync::Notify;

use crate::Shared;
use crate::chain::chain;

/// What was held comes back for a few; those that find none rest again.
const WOKEN_AT_ONCE: usize = 16;
/// Between two wake-ups, and between two looks at the limits.
const PAUSE: Duration = Duration::from_millis(250);
const LOOK: Duration = Duration::from_secs(1);
/// Beyond this nobody is remembered; they look again by themselves.
const MAX_KNOWN: usize = 100_000;

#[derive(Default)]
pub(crate) struct Short {
    known: Mutex<Known>,
    freed: Notify,
}

#[derive(Default)]
struct Known {
    /// Whether what others hold would be enough.
    money: BTreeMap<JobId, bool>,
    /// Who waits for the end of a job.
    children: HashMap<JobId, JobId>,
    /// Of these the end is known.
    ended: Vec<JobId>,
    is_freed: bool,
    /// Everybody is to be woken, whatever they wait for: the budgets changed, or the database was away when it was told.
    is_all: bool,
    /// The budgets' word when the first of them was refused.
    token: Option<String>,
}

/// Who is to be woken.
#[derive(Default)]
struct Woken {
    /// The end that they waited for is known.
    ended: Vec<JobId>,
    /// Wait for money, and whether what others hold would be enough.
    money: Vec<(JobId, bool)>,
}

impl Woken {
    fn ids(&self) -> Vec<JobId> {
        let money = self.money.iter().map(|(job, _)| *job);
        self.ended.iter().copied().chain(money).collect()
    }
}

impl Short {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A job rests for want of money.
    pub fn add(&self, job: JobId, is_held: bool, token: Option<String>) {
        let mut known = self.known();
        if known.money.len() < MAX_KNOWN {
            if known.money.is_empty() {
                known.token = token;
            }
            known.money.insert(job, is_held);
            self.freed.notify_one();
        }
    }

    /// A call was charged, so what it held beyond that is free again.
    pub fn freed(&self) {
        let mut known = self.known();
        if known.money.values().any(|is_held| *is_held) {
            known.is_freed = true;
            self.freed.notify_one();
        }
    }

    /// A job waits for the end of another.
    pub fn await_child(&self, child: JobId, parent: JobId) {
        let mut known = self.known();
        if known.children.len() < MAX_KNOWN {
            known.children.insert(child, parent);
        }
    }

    pub fn forget_child(&self, child: JobId) {
        self.known().children.remove(&child);
    }

    /// Jobs have ended.
    pub fn ended(&self, ids: &[JobId]) {
        let mut known = self.known();
        if known.children.is_empty() {
            return;
        }
        let parents: Vec<JobId> = ids.iter().filter_map(|id| known.children.remove(id)).collect();
        if !parents.is_empty() {
            known.ended.extend(parents);
            self.freed.notify_one();
        }
    }

    /// Who is to be woken now. With `all`, everybody who waits for money.
    fn take(&self, all: bool) -> Woken {
        let mut known = self.known();
        let ended = std::mem::take(&mut known.ended);
        let is_freed = std::mem::take(&mut known.is_freed);
        let all = std::mem::take(&mut known.is_all) || all;
        let waiting = known.money.iter().filter(|(_, is_held)| all || is_freed && **is_held);
        let most = if all { usize::MAX } else { WOKEN_AT_ONCE };
        let money: Vec<(JobId, bool)> = waiting.take(most).map(|(job, is_held)| (*job, *is_held)).collect();
        for (job, _) in &money {
            known.money.remove(job);
        }
        Woken { ended, money }
    }

    /// Puts those back who could not be woken, for the next look.
    fn put_back(&self, woken: Woken) {
        let mut known = self.known();
        known.is_all |= !woken.money.is_empty();
        known.money.extend(woken.money);
        known.ended.extend(woken.ended);
    }

    /// Whether somebody waits whom only a look brings on.
    fn waits(&self) -> bool {
        let known = self.known();
        !known.money.is_empty() || !known.ended.is_empty()
    }

    /// Whether the budgets are, or may be, other ones than when somebody began to wait.
    fn has_changed(&self, now: String) -> bool {
        self.known().token.replace(now.clone()).is_none_or(|before| before != now)
    }
}

/// Wakes jobs when money comes back, when a limit changes, and when a job ends that they wait for.
pub(crate) async fn wake_loop(shared: Arc<Shared>) {
    while !shared.stopping.is_cancelled() {
        let changed = shared.short.waits() && has_changed(&shared).await;
        let woken = shared.short.take(changed);
        if !wake(&shared, &woken.ids()).await {
            shared.short.put_back(woken);
        }
        tokio::select! {
            _ = tokio::time::sleep(if shared.short.waits() { LOOK } else { LOOK * 3600 }) => {}
            _ = shared.short.freed.notified() => tokio::time::sleep(PAUSE).await,
            _ = shared.stopping.cancelled() => {}
        }
    }
}

async fn has_changed(shared: &Shared) -> bool {
    match shared.store.budgets_token().await {
        Ok(now) => shared.short.has_changed(now),
        Err(error) => {
            tracing::debug!(error = %chain(&error), "the budgets cannot be looked at; trying again");
            false
        }
    }
}

/// Whether all of them were told. Waking a job twice does no harm.
async fn wake(shared: &Shared, jobs: &[JobId]) -> bool {
    let now_ms = shared.clock.now_ms();
    for piece in jobs.chunks(500) {
        match shared.store.hasten(piece, now_ms).await {
            Ok(_) => shared.due.add(now_ms),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "waiting jobs cannot be woken; trying again");
                return false;
            }
        }
    }
    true
}
