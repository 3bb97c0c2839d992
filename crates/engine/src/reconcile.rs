//! Once a day one node asks the providers what the last days cost them to us, and compares it with the books. The books charge
//! by price lists; this is how a wrong price, or a call that nobody booked, comes to light.

use std::sync::Arc;
use std::time::Duration;

use levqor_connectors::{CostReport, LIMIT_MS};
use levqor_core::backup::{DAY_MS, midnight_before};
use levqor_core::money::{Nano, Stated, stated_nano};
use levqor_store::Statement;

use crate::chain::chain;
use crate::figures::Counters;
use crate::{Engine, Shared};

const LOOK: Duration = Duration::from_secs(60);
/// Providers close a day some hours after it ended.
const AFTER_MIDNIGHT_MS: i64 = 6 * 3_600_000;
/// Days that are asked for again each time: what was said of them may have changed.
const DAYS: i64 = 7;
const AGAIN_MS: i64 = 3_600_000;
/// Half a percent apart is worth a look.
pub const DRIFT_ALARM_PPM: i64 = 5_000;

/// What a comparison came to.
#[derive(Clone, Debug, Default)]
pub struct Reconciled {
    pub statements: Vec<Statement>,
    /// Providers that gave no report, and why.
    pub failures: Vec<(&'static str, String)>,
}

impl Engine {
    /// Makes the comparison of the day if it is due and nobody else does.
    pub async fn turn_reconcile(&self) -> levqor_store::Result<Option<Reconciled>> {
        turn(&self.shared).await
    }

    /// Compares now, whatever was compared before.
    pub async fn reconcile(&self) -> levqor_store::Result<Reconciled> {
        reconcile(&self.shared).await
    }

    /// The providers that can be asked.
    pub fn reporters(&self) -> Vec<&'static str> {
        self.shared.settings.cost_reports.iter().map(|report| report.provider).collect()
    }
}

pub(crate) async fn reconcile_loop(shared: Arc<Shared>) {
    let mut failing = false;
    while !shared.stopping.is_cancelled() {
        match turn(&shared).await {
            Ok(_) => failing = false,
            Err(error) => {
                if !failing {
                    tracing::warn!(error = %chain(&error), "whether statements are due cannot be told; trying again");
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

async fn turn(shared: &Shared) -> levqor_store::Result<Option<Reconciled>> {
    let now_ms = shared.clock.now_ms();
    let day_ms = midnight_before(now_ms);
    if shared.settings.cost_reports.is_empty() || now_ms < day_ms + AFTER_MIDNIGHT_MS {
        return Ok(None);
    }
    let Some(attempt) = shared.store.claim_statements(day_ms, now_ms).await? else { return Ok(None) };
    let done = tokio::select! {
        done = reconcile(shared) => done?,
        // The lease lets another node, or the next start, take it over.
        _ = shared.stopping.cancelled() => return Ok(None),
    };
    let again_at_ms = (!done.failures.is_empty()).then_some(now_ms + AGAIN_MS);
    shared.store.end_statements(day_ms, attempt, again_at_ms).await?;
    Ok(Some(done))
}

async fn reconcile(shared: &Shared) -> levqor_store::Result<Reconciled> {
    let until_ms = midnight_before(shared.clock.now_ms());
    let from_ms = until_ms - DAYS * DAY_MS;
    let mut done = Reconciled::default();
    for report in &shared.settings.cost_reports {
        match report.fetch(&shared.connectors, from_ms, until_ms, LIMIT_MS).await {
            Ok(stated) => done.statements.extend(compare(shared, report, &stated).await?),
            Err(why) => {
                tracing::warn!(provider = report.provider, why, "a provider gave no cost report");
                done.failures.push((report.provider, why));
            }
        }
    }
    Ok(done)
}

async fn compare(
    shared: &Shared,
    report: &CostReport,
    stated: &Stated,
) -> levqor_store::Result<Vec<Statement>> {
    let days: Vec<(i64, Nano)> =
        stated.iter().filter_map(|(day_ms, atto)| Some((*day_ms, stated_nano(*atto)?))).collect();
    let statements = shared.store.put_statements(report.provider, &days, shared.clock.now_ms()).await?;
    for it in statements.iter().filter(|it| it.drift_ppm > DRIFT_ALARM_PPM) {
        Counters::add(&shared.counters.statement_drifts, 1);
        let (stated, booked) = (it.stated.to_string(), it.booked.to_string());
        tracing::error!(
            provider = it.provider,
            day_ms = it.day_ms,
            stated_usd = stated,
            booked_usd = booked,
            drift_ppm = it.drift_ppm,
            "what a provider says a day cost is not what the books say"
        );
    }
    Ok(statements)
}
