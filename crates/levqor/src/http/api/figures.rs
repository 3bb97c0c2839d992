//! Figures: three for the public, all for operators.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::Number;
use utoipa::ToSchema;

use super::ai_figures;
use crate::http::App;
use crate::http::body::{json, text};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::metrics::{self, Figure};

const DAY_MS: i64 = 86_400_000;
/// Budgets that have figures of their own.
const MOST_BUDGETS: usize = 100;

#[derive(Serialize, ToSchema)]
pub struct PublicMetrics {
    /// Percent of the last seven days' finished jobs whose every step and callback try is on record.
    #[schema(value_type = f64, example = 100)]
    audit_coverage: Number,
    /// Jobs accepted since midnight UTC.
    jobs_today: i64,
    /// Seconds since 1970.
    last_updated: i64,
    /// Percent of the last seven days (or since the first start) in which the service was up.
    #[schema(value_type = f64, example = 99.99)]
    uptime_rolling_7d: Number,
}

/// How the service does.
#[utoipa::path(get, path = "/public/metrics", tag = "health", responses((status = 200, body = PublicMetrics)))]
pub async fn get_public_metrics(State(app): State<Arc<App>>) -> Result<Response> {
    let now_ms = app.clock.now_ms();
    let figures = app.engine.store().figures(now_ms - now_ms.rem_euclid(DAY_MS), now_ms).await?;
    let metrics = PublicMetrics {
        audit_coverage: percent(figures.finished_7d - figures.unrecorded_7d, figures.finished_7d),
        jobs_today: figures.jobs_today,
        last_updated: now_ms / 1000,
        uptime_rolling_7d: percent(figures.minutes_up, figures.minutes_possible),
    };
    Ok(json(StatusCode::OK, &metrics))
}

/// Figures for Prometheus. With keys set it needs one, in `X-Api-Key` or as a bearer token.
#[utoipa::path(get, path = "/metrics", tag = "health", security(("ApiKey" = []), ("BearerKey" = [])),
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String)))]
pub async fn get_metrics(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
) -> Result<Response> {
    app.require_key_or_bearer(&context, &headers)?;
    let live = app.engine.live_counts().await?;
    let counters = app.engine.counters();
    let mut figures = vec![
        Figure::gauge("jobs_queued", "Jobs that wait for a slot", live.queued),
        Figure::gauge("jobs_undefined", "Jobs that wait for a definition of their workflow", live.undefined),
        Figure::gauge("jobs_scheduled", "Jobs that wait for their time", live.scheduled),
        Figure::gauge("jobs_running", "Jobs that run, on all nodes", live.running),
        Figure::gauge("jobs_waiting", "Jobs that rest between steps", live.waiting),
        Figure::gauge("callbacks_due", "Callbacks not yet delivered or given up", live.callbacks_due),
        Figure::gauge("node_jobs_running", "Jobs that run on this node", app.engine.running_jobs() as i64),
    ];
    let health = app.engine.store().backup_health().await?;
    if let Some(last) = health.last_success {
        let took_ms = last.finished_at_ms.unwrap_or(last.started_at_ms) - last.started_at_ms;
        figures.extend([
            Figure::gauge(
                "backup_last_success_timestamp_seconds",
                "When the newest backup of all nodes was begun",
                last.started_at_ms / 1000,
            ),
            Figure::gauge("backup_last_size_bytes", "Its size", last.size_bytes.unwrap_or(0)),
            Figure::gauge("backup_last_duration_ms", "How long it took, upload included", took_ms),
            Figure::gauge(
                "backup_last_uploaded",
                "Whether a checked copy is in the bucket",
                i64::from(last.uploaded),
            ),
        ]);
    }
    let counted = [
        ("jobs_accepted", "Jobs accepted by this node", &counters.accepted),
        ("jobs_replayed", "Intakes answered from their idempotency key", &counters.replayed),
        ("jobs_started", "Claims made by this node", &counters.started),
        ("jobs_succeeded", "Jobs that succeeded on this node", &counters.succeeded),
        ("jobs_failed", "Jobs that failed on this node", &counters.failed),
        ("jobs_cancelled", "Jobs cancelled through this node", &counters.cancelled),
        ("jobs_expired", "Jobs that ran out of time on this node", &counters.expired),
        ("records_stale", "Late answers that changed nothing", &counters.stale),
        ("jobs_handed_back", "Jobs given back at a stop", &counters.handed_back),
        ("jobs_rescued", "Jobs taken from nodes that died", &counters.rescued),
        ("steps_performed", "Attempts of steps made", &counters.steps_performed),
        ("steps_failed", "Attempts of steps that failed", &counters.steps_failed),
        ("callbacks_delivered", "Callbacks delivered by this node", &counters.callbacks_delivered),
        ("callbacks_failed", "Tries of callbacks that failed", &counters.callbacks_failed),
        ("backups_made", "Backups made by this node", &counters.backups_made),
        ("backups_failed", "Backups that failed on this node", &counters.backups_failed),
        ("backup_uploads_failed", "Backups whose copy in the bucket failed", &counters.backup_uploads_failed),
        ("emails_sent", "Mails that a provider took from this node", &counters.emails_sent),
        ("emails_failed", "Tries to send a mail that failed", &counters.emails_failed),
        ("ai_swept", "AI calls that no process ended, charged in full by this node", &counters.ai_swept),
        ("ai_alarms", "Charges of AI calls that deserve a look", &counters.ai_alarms),
        (
            "cost_drifts",
            "Days that a provider says cost something else than the books",
            &counters.statement_drifts,
        ),
        ("meter_events_told", "Amounts told to Stripe by this node", &counters.meter_events_told),
        ("meter_tries_failed", "Tries to tell an amount that failed", &counters.meter_tries_failed),
        ("ai_models_broken", "Times that a model was left alone after trouble in a row", &counters.ai_breaks),
    ];
    figures.extend(
        counted.iter().map(|(name, help, counter)| Figure::counter(name, help, counter.load(Relaxed))),
    );
    let dropped = app.log.as_ref().map_or(0, |log| log.dropped());
    figures.push(Figure::counter(
        "log_lines_dropped",
        "Log lines lost because the output was too slow",
        dropped,
    ));
    let open = app.engine.store().open_calls().await?;
    let budgets = app.engine.store().list_watched_budgets(app.clock.now_ms(), MOST_BUDGETS).await?;
    let ai = ai_figures::lines(app.engine.ai_figures(), &open, &budgets);
    let page = app.metrics.encode(&figures, &ai).map_err(|_| ApiError::internal())?;
    Ok(text(StatusCode::OK, metrics::CONTENT_TYPE, page))
}

/// Two digits after the point, none where it is whole; all of nothing is 100.
fn percent(part: i64, whole: i64) -> Number {
    if whole <= 0 || part >= whole {
        return Number::from(100);
    }
    // Rounded down: a fault in the third digit must not read as 100.
    let hundredths = part.max(0).saturating_mul(10_000) / whole;
    match hundredths % 100 {
        0 => Number::from(hundredths / 100),
        _ => Number::from_f64(hundredths as f64 / 100.0).unwrap_or_else(|| Number::from(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percents_are_rounded_down_and_nothing_counts_as_all() {
        let shown = |part, whole| percent(part, whole).to_string();
        assert_eq!(shown(0, 0), "100");
        assert_eq!(shown(10_080, 10_080), "100");
        assert_eq!(shown(10_079, 10_080), "99.99");
        assert_eq!(shown(999_999, 1_000_000), "99.99");
        assert_eq!(shown(1, 2), "50");
        assert_eq!(shown(0, 5), "0");
    }
}
