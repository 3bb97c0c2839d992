//! Which models may be called: not those in quarantine, not those that do not answer, not more than their provider allows.
//!
//! Breakers are each process's own: they go by what it saw. Quarantines are the database's, and known here within seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use levqor_core::money::Charge;
use levqor_core::rate::{Minute, MinuteLimits};
use levqor_store::{MinuteTaken, Settlement};

use super::breaker::{Breaker, Gate, Verdict};
use super::payer::Payer;
use super::settle::in_background;
use super::{NotHeld, Pause};
use crate::Shared;
use crate::figures::Counters;

/// How long another node may still call a model that was put in quarantine.
const GOOD_FOR: Duration = Duration::from_secs(2);

/// Payer or provider, and model.
type Name = (String, String);

#[derive(Default)]
pub(super) struct Health {
    models: Mutex<BTreeMap<Name, Breaker>>,
    quarantined: Mutex<Option<(Instant, Arc<BTreeSet<Name>>)>>,
    limits: BTreeMap<String, MinuteLimits>,
    /// Where there is one process only.
    minutes: Mutex<BTreeMap<String, Minute>>,
}

/// The call that tries whether a model answers again. Dropped before that is known, another one may try.
pub(super) struct Try {
    shared: Arc<Shared>,
    name: Name,
    number: u64,
}

impl Drop for Try {
    fn drop(&mut self) {
        if let Some(breaker) = self.shared.ai.health.models().get_mut(&self.name) {
            breaker.given_up(self.number);
        }
    }
}

/// A place in the minute of a payer.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    payer: String,
    second: i64,
    tokens: u64,
    counts_tokens: bool,
}

/// A place for a call that is not sent yet. Dropped so, it is given back.
pub(super) struct Taken {
    shared: Arc<Shared>,
    slot: Option<Slot>,
}

impl Taken {
    /// For a call that goes out: the place is its own from here on.
    pub fn keep(mut self) -> Option<Slot> {
        self.slot.take()
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let shared = self.shared.clone();
        in_background(&self.shared, async move { shared.ai.health.correct(&shared, &slot, None).await });
    }
}

impl Health {
    pub fn new(limits: &BTreeMap<String, MinuteLimits>) -> Self {
        Health { limits: limits.clone(), ..Health::default() }
    }

    fn models(&self) -> MutexGuard<'_, BTreeMap<Name, Breaker>> {
        self.models.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the model may be called; `Some` for the call that tries.
    pub async fn gate(
        &self,
        shared: &Arc<Shared>,
        payer: &Payer,
        model: &str,
    ) -> Result<Option<Arc<Try>>, NotHeld> {
        let priced = (payer.provider.vendor().to_owned(), model.to_owned());
        if self.quarantined(shared).await?.contains(&priced) {
            let (provider, model) = priced;
            return Err(NotHeld::Busy { pause: Pause::Quarantine { provider, model }, until_ms: None });
        }
        let name = (payer.name.clone(), model.to_owned());
        let (provider, model) = name.clone();
        let gate = self.models().entry(name.clone()).or_default().gate(shared.clock.now_ms());
        match gate {
            Gate::Open => Ok(None),
            Gate::Try(number) => Ok(Some(Arc::new(Try { shared: shared.clone(), name, number }))),
            Gate::Told { until_ms } => {
                Err(NotHeld::Busy { pause: Pause::Told { provider }, until_ms: Some(until_ms) })
            }
            Gate::Broken { until_ms } => {
                Err(NotHeld::Busy { pause: Pause::Breaker { provider, model }, until_ms: Some(until_ms) })
            }
        }
    }

    /// The provider said in an answer that it wants no calls until then.
    pub fn told(&self, payer: &str, model: &str, until_ms: i64) {
        let name = (payer.to_owned(), model.to_owned());
        self.models().entry(name).or_default().told(until_ms);
    }

    /// Takes a call's end, once its charge is committed.
    pub fn ended(&self, shared: &Shared, name: Name, settlement: &Settlement, trying: Option<&Try>) {
        let verdict = match &settlement.charge {
            Charge::Assume { .. } => Verdict::InDoubt,
            Charge::Release if settlement.http_status.is_none() => Verdict::Nothing,
            Charge::Release | Charge::Settle { .. } => Verdict::Answers,
        };
        let number = trying.map(|trying| trying.number);
        let now_ms = shared.clock.now_ms();
        let model = format!("{}/{}", name.0, name.1);
        if self.models().entry(name).or_default().ended(verdict, number, now_ms) {
            Counters::add(&shared.counters.ai_breaks, 1);
            tracing::error!(
                model,
                "a model does not answer reliably, and each such call is charged in full: calls wait"
            );
        }
    }

    /// A call cost more than its price list allows: the charge has put its model in quarantine.
    pub fn forget_quarantines(&self) {
        *self.kept_quarantines() = None;
    }

    fn kept_quarantines(&self) -> MutexGuard<'_, Option<(Instant, Arc<BTreeSet<Name>>)>> {
        self.quarantined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn quarantined(&self, shared: &Shared) -> Result<Arc<BTreeSet<Name>>, NotHeld> {
        let kept = self.kept_quarantines().clone();
        if let Some((until, names)) = kept
            && Instant::now() < until
        {
            return Ok(names);
        }
        let all = shared.store.list_quarantines().await?;
        let names: BTreeSet<Name> = all.into_iter().map(|it| (it.provider, it.model)).collect();
        let names = Arc::new(names);
        *self.kept_quarantines() = Some((Instant::now() + GOOD_FOR, names.clone()));
        Ok(names)
    }

    /// A place in the payer's minute, counted among those of all nodes. Nothing is counted where its provider has no limits.
    pub async fn take(&self, shared: &Arc<Shared>, payer: &Payer, tokens: u64) -> Result<Taken, NotHeld> {
        let taken_as = |slot| Taken { shared: shared.clone(), slot };
        let Some(limits) = self.limits.get(payer.provider.vendor()).copied() else {
            return Ok(taken_as(None));
        };
        let name = &payer.name;
        let taken = if shared.store.has_nodes() {
            shared.store.take_minute(name, limits, tokens).await?
        } else {
            let now_ms = shared.clock.now_ms();
            match self.minutes().entry(name.clone()).or_default().take(&limits, tokens, now_ms) {
                Ok(second) => MinuteTaken::In(second),
                Err(ms) => MinuteTaken::Wait { ms },
            }
        };
        match taken {
            MinuteTaken::In(second) => {
                let counts_tokens = limits.tokens.is_some();
                Ok(taken_as(Some(Slot { payer: name.clone(), second, tokens, counts_tokens })))
            }
            MinuteTaken::Wait { ms } => Err(NotHeld::Busy {
                pause: Pause::Limit { provider: name.clone() },
                until_ms: Some(shared.clock.now_ms().saturating_add(ms)),
            }),
        }
    }

    /// Says how many tokens the call used in place of those that were counted for it; `None`: it was never sent.
    pub async fn correct(&self, shared: &Shared, slot: &Slot, used: Option<u64>) {
        if used == Some(slot.tokens) || (used.is_some() && !slot.counts_tokens) {
            return;
        }
        if !shared.store.has_nodes() {
            let mut minutes = self.minutes();
            minutes.entry(slot.payer.clone()).or_default().correct(slot.second, slot.tokens, used);
            return;
        }
        // It makes room a little sooner, and is forgotten in a minute: not worth a second try.
        let corrected = shared.store.correct_minute(&slot.payer, slot.second, slot.tokens, used);
        if let Err(error) = corrected.await {
            tracing::debug!(error = %crate::chain::chain(&error), "the tokens of an AI call were not corrected");
        }
    }

    fn minutes(&self) -> MutexGuard<'_, BTreeMap<String, Minute>> {
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
