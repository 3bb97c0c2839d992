//! What keeps the house of money: the budgets of the settings are put in force, and calls that nobody will end are charged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::Shared;
use crate::chain::chain;
use crate::figures::Counters;

const AGAIN: Duration = Duration::from_secs(5);
const BATCH: usize = 500;

#[derive(Default)]
pub(super) struct House {
    is_in_force: AtomicBool,
}

impl House {
    /// Puts the budgets of the settings in force, unless this process has done so. Normally that needs no write.
    pub async fn in_force(&self, shared: &Shared) -> levqor_store::Result<()> {
        if self.is_in_force.load(Ordering::Acquire) {
            return Ok(());
        }
        let settings = &shared.settings.ai;
        let now_ms = shared.clock.now_ms();
        shared.store.put_default_budgets(settings.per_job, settings.per_day, now_ms).await?;
        self.is_in_force.store(true, Ordering::Release);
        Ok(())
    }
}

/// Tries until the budgets of the settings are in force. A start needs no write: until then no AI call is held.
pub(crate) async fn until_in_force(shared: Arc<Shared>) {
    while let Err(error) = shared.ai.house.in_force(&shared).await {
        tracing::warn!(error = %chain(&error), "the budgets of the settings cannot be stored; AI calls wait, trying again");
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = shared.stopping.cancelled() => return,
        }
    }
}

/// Charges the calls whose process died or forgot them.
pub(crate) async fn sweep(shared: Arc<Shared>) -> levqor_store::Result<()> {
    loop {
        let charged = shared.store.sweep_calls(shared.clock.now_ms(), BATCH).await?;
        if charged == 0 {
            return Ok(());
        }
        Counters::add(&shared.counters.ai_swept, charged as u64);
        tracing::warn!(calls = charged, "AI calls that nobody ended were charged with all that they held");
    }
}
