//! What is kept in memory beside the tables: the policy, and calls whose permit was dropped unused. And the one place
//! where permits are made: from the outcome of a batch, after its commit.
//!
//! Invariant: an amount of money is nowhere but in the tables.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use levqor_core::money::{CallId, Permit, Unused};

use super::batch::{Item, Outcome};
use super::policy::Policy;
use super::types::{Reserved, Settled};
use crate::{Error, Result};

/// Asks the engine for a batch, when there is something to give back.
pub(crate) type Poke = Box<dyn Fn() + Send + Sync>;

/// Shared by the verbs, the batches and the permits of a store.
#[derive(Default)]
pub(crate) struct Money {
    policy: Mutex<Option<Arc<Policy>>>,
    /// Calls that were never sent, with the time of their hold: the next batch releases them. Here and not in a queue, so
    /// that a database that is away for a while loses none.
    unsent: Mutex<BTreeMap<CallId, i64>>,
    poke: OnceLock<Poke>,
    assumed_share_ppm: OnceLock<u32>,
}

impl Money {
    pub fn poke_by(&self, poke: Poke) {
        // Set once, when the engine starts.
        self.poke.set(poke).ok();
    }

    /// Like the above.
    pub fn pause_when_assumed(&self, share_ppm: u32) {
        self.assumed_share_ppm.set(share_ppm).ok();
    }

    /// Where nobody said, no share is too much.
    pub fn assumed_share_ppm(&self) -> u32 {
        self.assumed_share_ppm.get().copied().unwrap_or(u32::MAX)
    }

    pub fn kept_policy(&self) -> Option<Arc<Policy>> {
        lock(&self.policy).clone()
    }

    pub fn keep_policy(&self, policy: Arc<Policy>) {
        *lock(&self.policy) = Some(policy);
    }

    pub fn unsent(&self) -> Vec<(CallId, i64)> {
        lock(&self.unsent).iter().map(|(call, at_ms)| (*call, *at_ms)).collect()
    }

    /// After the commit that released them.
    pub fn forget_unsent(&self, released: &[(CallId, i64)]) {
        if released.is_empty() {
            return;
        }
        let mut unsent = lock(&self.unsent);
        for (call, _) in released {
            unsent.remove(call);
        }
    }

    fn never_sent(&self, call: CallId, at_ms: i64) {
        lock(&self.unsent).insert(call, at_ms);
        if let Some(poke) = self.poke.get() {
            poke();
        }
    }

    /// Nobody knows whether the holds of this batch are committed. Nobody got a permit for them either, so they were not
    /// sent, whatever became of them.
    pub fn lost(&self, items: &[&Item]) {
        let mut unsent = lock(&self.unsent);
        for item in items {
            if let Item::Reserve(call) = item {
                unsent.insert(call.id, call.at_ms);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Watch {
    money: Arc<Money>,
    reserved_at_ms: i64,
}

impl Unused for Watch {
    fn never_sent(&self, call: CallId) {
        self.money.never_sent(call, self.reserved_at_ms);
    }
}

/// What the caller of a verb gets.
#[derive(Debug)]
pub(crate) enum Answer {
    Reserved(Reserved),
    Settled(Settled),
    Nothing,
}

/// Turns an outcome into its answer. Only after the commit: this is where holds become permits. An answer that nobody
/// takes is dropped, and its permit gives the hold back.
pub(crate) fn hand_out(money: &Arc<Money>, outcome: Outcome) -> Result<Answer> {
    Ok(match outcome {
        Outcome::Granted { call, held, output_tokens, at_ms } => {
            let watch = Box::new(Watch { money: money.clone(), reserved_at_ms: at_ms });
            #[allow(clippy::disallowed_methods, reason = "the hold was committed just now")]
            let permit = Permit::of_committed_hold(call, held, output_tokens, watch);
            Answer::Reserved(Reserved::Granted(permit))
        }
        Outcome::Refused(refusal) => Answer::Reserved(Reserved::Refused(refusal)),
        Outcome::Known { call, state } => Answer::Reserved(Reserved::Known { call, state }),
        Outcome::Settled(settled) => Answer::Settled(settled),
        Outcome::NoCall => return Err(Error::NotFound { what: "AI call" }),
        Outcome::StillOpen => {
            return Err(Error::Conflict { what: "the call is still open: settle it instead".to_owned() });
        }
        Outcome::Nothing => Answer::Nothing,
    })
}
