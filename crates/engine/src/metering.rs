//! Tells the payment service what people's AI calls cost, in whole micro-dollars, each once. What is owed stands in the books;
//! this only carries it: a crash anywhere leaves an event that is sent again under the same id.
//!
//! Micro-dollars, because the service takes whole numbers only and a cent is more than most calls cost. What is less than one
//! waits for more.

use std::sync::Arc;
use std::time::Duration;

use levqor_connectors::{LIMIT_MS, Meter, Metered};
use levqor_store::{MeterEvent, MeterTry};

use crate::chain::chain;
use crate::figures::Counters;
use crate::{Engine, Shared};

/// A look is one read where nothing is due.
const LOOK: Duration = Duration::from_secs(60);
/// Events made or taken at once.
const PIECE: usize = 20;
/// Nobody else tries an event while we may be at it.
const LEASE_MS: i64 = 20 * 60_000;
const FIRST_PAUSE_MS: i64 = 60_000;
const LONGEST_PAUSE_MS: i64 = 6 * 3_600_000;

impl Engine {
    /// Tells what is due. Returns how many events were told.
    pub async fn turn_metering(&self) -> levqor_store::Result<usize> {
        match &self.shared.settings.meter {
            Some(meter) => turn(&self.shared, meter).await,
            None => Ok(0),
        }
    }

    /// Whether anybody is told at all.
    pub fn has_meter(&self) -> bool {
        self.shared.settings.meter.is_some()
    }
}

pub(crate) async fn metering_loop(shared: Arc<Shared>, meter: Arc<Meter>) {
    let mut failing = false;
    while !shared.stopping.is_cancelled() {
        match turn(&shared, &meter).await {
            Ok(_) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %chain(&error), "what is to be metered cannot be read; trying again");
                }
                failing = true;
            }
        }
        tokio::select! {
            _ = tokio::time::sleep(LOOK) => {}
            _ = shared.stopping.cancelled() => {}
        }
    }
}

async fn turn(shared: &Shared, meter: &Meter) -> levqor_store::Result<usize> {
    let store = &shared.store;
    while store.make_meter_events(shared.clock.now_ms(), PIECE).await? == PIECE
        && !shared.stopping.is_cancelled()
    {}
    let mut told = 0;
    loop {
        let now_ms = shared.clock.now_ms();
        let events = store.claim_meter_events(now_ms, now_ms + LEASE_MS, PIECE).await?;
        if events.is_empty() {
            return Ok(told);
        }
        for event in &events {
            // What is left of a piece is due again when its lease is over.
            if shared.stopping.is_cancelled() {
                return Ok(told);
            }
            told += usize::from(tell(shared, meter, event).await?);
        }
    }
}

async fn tell(shared: &Shared, meter: &Meter, event: &MeterEvent) -> levqor_store::Result<bool> {
    let now_ms = shared.clock.now_ms();
    let said = meter
        .tell(
            &shared.connectors,
            &event.id,
            &event.customer,
            event.value_micro,
            event.created_at_ms,
            now_ms,
            LIMIT_MS,
        )
        .await;
    let now_ms = shared.clock.now_ms();
    let pause_ms = (FIRST_PAUSE_MS << event.tries.clamp(1, 20).saturating_sub(1)).min(LONGEST_PAUSE_MS);
    let again_at_ms = now_ms + pause_ms;
    let outcome = match said {
        Metered::Taken => MeterTry::Told,
        Metered::Refused(why) => {
            MeterTry::Refused { error: why.to_string(), in_doubt: event.in_doubt, again_at_ms }
        }
        Metered::Unknown(why) => MeterTry::Unknown { error: why.to_string(), again_at_ms },
    };
    let is_told = outcome == MeterTry::Told;
    let counters = &shared.counters;
    Counters::add(if is_told { &counters.meter_events_told } else { &counters.meter_tries_failed }, 1);
    if let MeterTry::Refused { error, .. } | MeterTry::Unknown { error, .. } = &outcome {
        tracing::warn!(
            event.id = event.id,
            tries = event.tries,
            error,
            "usage could not be metered; trying again"
        );
    }
    shared.store.end_meter_try(&event.id, outcome, now_ms).await?;
    Ok(is_told)
}
