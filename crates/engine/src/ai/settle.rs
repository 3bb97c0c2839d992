//! A charge on its way to the database, and what this process remembers once it is there.
//!
//! Charging twice changes nothing, so whoever is in doubt charges again.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use levqor_core::money::{Alarm, Charge, Nano};
use levqor_store::{Error, Settled, Settlement};

use super::call::Placed;
use crate::Shared;
use crate::chain::chain;
use crate::figures::Counters;

/// The same charge is refused so often before it counts as one that will never do.
const REFUSALS: usize = 3;

/// Charges until it is charged. An error: the database refuses it time after time, or the process ends; the sweep then
/// charges what was held.
pub(super) async fn until_charged(shared: &Shared, settlement: &Settlement) -> Result<Settled, Error> {
    let (mut failures, mut refusals) = (0u64, 0);
    loop {
        let error = match shared.store.settle_call(settlement.clone()).await {
            Ok(settled) => return Ok(settled),
            Err(error) => error,
        };
        if failures == 0 {
            tracing::warn!(error = %chain(&error), call = %settlement.call, "the charge of an AI call waits for the database");
        }
        refusals += usize::from(!matches!(error, Error::Unavailable(_)));
        if refusals >= REFUSALS {
            tracing::error!(error = %chain(&error), call = %settlement.call, "the charge of an AI call is refused by the database; what was held will be charged");
            return Err(error);
        }
        failures += 1;
        let pause = Duration::from_millis((50 * failures).min(1_000));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.giving_up.cancelled() => return Err(error),
        }
    }
}

/// What this process remembers of a call once its charge is committed.
pub(super) fn charged(placed: &Placed, settlement: &Settlement) {
    placed.shared.short.freed();
    let counters = &placed.shared.counters;
    let (alarm, counter) = match &settlement.charge {
        Charge::Release => (None, &counters.ai_released),
        Charge::Settle { alarm, .. } => (alarm.as_ref(), &counters.ai_settled),
        Charge::Assume { alarm } => (alarm.as_ref(), &counters.ai_assumed),
    };
    Counters::add(counter, 1);
    let took_ms = settlement.sent_at_ms.map(|sent_at_ms| settlement.at_ms - sent_at_ms);
    let (provider, model) = (&placed.price.provider, &placed.price.model);
    placed.shared.ai_figures.charged(provider, model, &settlement.charge, placed.held, took_ms);
    let health = &placed.shared.ai.health;
    if placed.is_model {
        let name = (placed.payer.clone(), model.clone());
        health.ended(&placed.shared, name, settlement, placed.trying.as_deref());
    }
    // Of what is in doubt the whole counts; what never got there takes no place either.
    let used = match &settlement.charge {
        Charge::Settle { usage, .. } => Some(Some(usage.input_total().saturating_add(usage.output_total()))),
        Charge::Release if settlement.http_status.is_none() => Some(None),
        Charge::Release => Some(Some(0)),
        Charge::Assume { .. } => None,
    };
    let (shared, slot) = (placed.shared.clone(), placed.slot.clone());
    if let (Some(slot), Some(used)) = (slot, used) {
        in_background(&placed.shared, async move { shared.ai.health.correct(&shared, &slot, used).await });
    }
    if matches!(alarm, Some(Alarm::Overrun { .. })) {
        health.forget_quarantines();
    }
    if let Some(alarm) = alarm {
        Counters::add(&counters.ai_alarms, 1);
        tracing::error!(call = %placed.call, model = placed.price.name(), %alarm, "an AI call was not charged as it should be");
    }
}

/// Runs what nobody waits for, unless the process gives up before it is done. What is left then is for the sweep.
pub(super) fn in_background(shared: &Arc<Shared>, work: impl Future<Output = ()> + Send + 'static) {
    // None: the runtime is gone, and the process with it.
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let giving_up = shared.giving_up.clone();
    shared.tasks.spawn_on(
        async move {
            tokio::select! {
                () = work => {}
                () = giving_up.cancelled() => {}
            }
        },
        &runtime,
    );
}

/// A call that was over and is not yet charged: dropped so, it is charged by a task.
pub(super) struct Uncharged {
    call: Option<(Placed, Settlement)>,
    is_armed: AtomicBool,
}

impl Uncharged {
    pub fn new(placed: Placed, settlement: Settlement) -> Self {
        Uncharged { call: Some((placed, settlement)), is_armed: AtomicBool::new(true) }
    }

    pub fn held(&self) -> Nano {
        self.call.as_ref().map_or(Nano::ZERO, |(placed, _)| placed.held)
    }

    /// Its charge is committed: what this process remembers of it.
    pub fn settled(&self) {
        if self.disarm()
            && let Some((placed, settlement)) = &self.call
        {
            charged(placed, settlement);
        }
    }

    /// Somebody has charged it. True for the first who says so.
    pub fn disarm(&self) -> bool {
        self.is_armed.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Uncharged {
    fn drop(&mut self) {
        let Some((placed, settlement)) = self.call.take().filter(|_| *self.is_armed.get_mut()) else {
            return;
        };
        let shared = placed.shared.clone();
        in_background(&shared.clone(), async move {
            if until_charged(&shared, &settlement).await.is_ok() {
                charged(&placed, &settlement);
            }
        });
    }
}
