//! `POST /api/v1/costs/simulate`: past calls at other prices, with other models or under other limits. Changes nothing, asks
//! nobody, spends nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use levqor_core::budget::Zone;
use levqor_core::costs::Span;
use levqor_core::duration::parse_time_ms;
use levqor_core::id::JobId;
use levqor_core::money::{Nano, PastCall, PriceBook, Scenario, Simulated, Sums, parse_price_list, simulate};
use levqor_store::{CallRow, CostFilter, PAST_MOST};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::NamedError;

/// Which calls, and what would have been otherwise.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SimulateBody {
    /// Calls held at or after this day or time (UTC); with `until`. Without it: the last thirty days.
    #[schema(nullable = false)]
    from: Option<String>,
    /// Before this day or time.
    #[schema(nullable = false)]
    until: Option<String>,
    /// Or: the calls of this job and of its children.
    #[schema(nullable = false)]
    job: Option<String>,
    #[schema(nullable = false)]
    workflow: Option<String>,
    /// `provider/model`.
    #[schema(nullable = false)]
    model: Option<String>,
    #[schema(nullable = false)]
    key: Option<String>,
    #[schema(nullable = false)]
    user: Option<String>,
    /// Models called instead, by the name of those that were called.
    #[serde(default)]
    #[schema(example = json!({"openai/gpt-6-sol": "openai/gpt-5-mini"}))]
    models: BTreeMap<String, String>,
    /// A price list as CSV; its prices hold for its models.
    #[schema(nullable = false)]
    prices: Option<String>,
    /// What a job may cost with its children, in dollars as a text.
    #[schema(nullable = false, example = "0.20")]
    per_job: Option<String>,
    /// What everything may cost in a day (UTC).
    #[schema(nullable = false, example = "5")]
    per_day: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub struct SimulatedView {
    /// What past calls cannot tell, in sentences.
    cannot_know: Vec<String>,
    /// By the model that is called in the simulation.
    models: BTreeMap<String, SumsView>,
    refused: RefusedView,
    /// Calls whose price is another one.
    repriced: u64,
    total: SumsView,
    /// Repriced calls that told no usage; they stay at what they were charged.
    unmeasured: SumsView,
    /// Models without a price for what was used, with their calls; they stay at what they were charged.
    unpriced: BTreeMap<String, u64>,
}

#[derive(Serialize, ToSchema)]
pub struct SumsView {
    calls: u64,
    #[schema(example = "-0.0042")]
    difference_usd: String,
    #[schema(example = "0.0076")]
    past_usd: String,
    #[schema(example = "0.0034")]
    simulated_usd: String,
}

/// Calls that the limits would have refused.
#[derive(Serialize, ToSchema)]
pub struct RefusedView {
    calls: u64,
    first_at: Option<f64>,
    jobs: u64,
}

/// Replay past AI calls at other prices, with other models or under other limits, without spending anything.
#[utoipa::path(post, path = "/api/v1/costs/simulate", tag = "costs", security(("ApiKey" = [])), request_body = SimulateBody,
    responses((status = 200, body = SimulatedView),
        (status = 400, description = "Not JSON, or a member that cannot be", body = NamedError)))]
pub async fn simulate_costs(
    State(app): State<Arc<App>>,
    context: Context,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    app.require_write(&context, &parts.headers).await?;
    Query::parse(&parts.uri, &[], &[])?;
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    if !body::is_json(&parts.headers) {
        return Err(ApiError::content_type("application/json"));
    }
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let asked: SimulateBody = serde_json::from_slice(&body).map_err(|error| wrong("", error.to_string()))?;
    let scenario = Scenario { current: app.engine.store().price_book().await?, ..scenario(&asked)? };
    let rows = past(&app, &asked).await?.ok_or_else(|| {
        wrong("/from", format!("more than {PAST_MOST} calls were made in this time; narrow it"))
    })?;
    let calls: Vec<PastCall> = rows.iter().map(past_call).collect();
    // Some milliseconds for each thousand calls.
    let simulated = tokio::task::spawn_blocking(move || simulate(&calls, &scenario)).await;
    let simulated = simulated.map_err(|_| ApiError::internal())?;
    Ok(json(StatusCode::OK, &SimulatedView::from(simulated)))
}

fn wrong(at: &str, what: String) -> ApiError {
    let name = at.trim_start_matches('/');
    let message = if name.is_empty() { what.clone() } else { format!("{name}: {what}") };
    ApiError::invalid("invalid_request", message).field(at, what)
}

fn scenario(asked: &SimulateBody) -> Result<Scenario> {
    for (from, to) in &asked.models {
        for name in [from, to] {
            if name.split_once('/').is_none_or(|(provider, model)| provider.is_empty() || model.is_empty()) {
                return Err(wrong("/models", format!("`{}` is no provider/model", shown(name))));
            }
        }
    }
    let amount = |at: &str, text: &Option<String>| {
        let read = |text: &String| {
            Nano::parse(text).map_err(|bad| wrong(at, format!("`{}` is no amount: {bad}", shown(text))))
        };
        text.as_ref().map(read).transpose()
    };
    let prices = match &asked.prices {
        Some(list) => parse_price_list(list).map_err(|bad| {
            let first = bad.first().map_or_else(|| "it is no price list".to_owned(), ToString::to_string);
            wrong("/prices", first)
        })?,
        None => Vec::new(),
    };
    Ok(Scenario {
        models: asked.models.clone(),
        prices: PriceBook::new(prices),
        current: PriceBook::default(),
        per_job: amount("/per_job", &asked.per_job)?,
        per_day: amount("/per_day", &asked.per_day)?,
    })
}

fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

async fn past(app: &App, asked: &SimulateBody) -> Result<Option<Vec<CallRow>>> {
    let store = app.engine.store();
    if let Some(job) = &asked.job {
        let filters = [&asked.from, &asked.until, &asked.workflow, &asked.model, &asked.key, &asked.user];
        if filters.iter().any(|filter| filter.is_some()) {
            return Err(wrong("/job", "is given, so nothing else may choose calls".to_owned()));
        }
        let job: JobId = job.parse().map_err(|_| wrong("/job", "must be 32 hex digits".to_owned()))?;
        return Ok(store.past_calls_of(job).await?);
    }
    let usual = Span::last_days(Zone::utc(), app.clock.now_ms());
    let at = |at: &str, text: &Option<String>, usual_ms: i64| match text {
        None => Ok(usual_ms),
        Some(text) => Zone::utc().day_start_ms(text).or_else(|| parse_time_ms(text).ok()).ok_or_else(|| {
            wrong(at, format!("`{}` is no day and no time such as 2026-01-31T09:00:00Z", shown(text)))
        }),
    };
    let (from_ms, until_ms) =
        (at("/from", &asked.from, usual.from_ms)?, at("/until", &asked.until, usual.until_ms)?);
    if until_ms <= from_ms {
        return Err(wrong("/until", "must be after `from`".to_owned()));
    }
    Ok(store.past_calls(from_ms, until_ms, &filter(asked)?).await?)
}

fn filter(asked: &SimulateBody) -> Result<CostFilter> {
    let model = match &asked.model {
        Some(name) => Some(
            name.split_once('/')
                .ok_or_else(|| wrong("/model", format!("`{}` is no provider/model", shown(name))))?,
        ),
        None => None,
    };
    Ok(CostFilter {
        workflow: asked.workflow.clone(),
        provider: model.map(|(provider, _)| provider.to_owned()),
        model: model.map(|(_, model)| model.to_owned()),
        key: asked.key.clone(),
        user: asked.user.clone(),
        tag: None,
    })
}

fn past_call(row: &CallRow) -> PastCall {
    let tokens = |count: i64| u64::try_from(count).unwrap_or(0);
    PastCall {
        // A call outside of any job is a job of its own.
        job: row.root_job.map_or_else(|| row.id.to_string(), |job| job.to_string()),
        provider: row.provider.clone(),
        model: row.model.clone(),
        terms: row.terms,
        state: row.state,
        input_tokens: tokens(row.est_input),
        output_tokens: tokens(row.est_output),
        reserved: row.reserved,
        settled: row.settled,
        usage: row.usage.clone(),
        reserved_at_ms: row.reserved_at_ms,
        settled_at_ms: row.settled_at_ms,
    }
}

impl From<Simulated> for SimulatedView {
    fn from(simulated: Simulated) -> Self {
        let models = simulated.models.iter().map(|(model, sums)| (model.clone(), SumsView::from(sums)));
        SimulatedView {
            cannot_know: simulated.cannot_know,
            models: models.collect(),
            refused: RefusedView {
                calls: simulated.refused.calls,
                first_at: simulated.refused.first_at_ms.map(seconds),
                jobs: simulated.refused.jobs,
            },
            repriced: simulated.repriced,
            total: SumsView::from(&simulated.total),
            unmeasured: SumsView::from(&simulated.unmeasured),
            unpriced: simulated.unpriced,
        }
    }
}

impl From<&Sums> for SumsView {
    fn from(sums: &Sums) -> Self {
        let difference = sums.simulated.checked_sub(sums.past).unwrap_or_default();
        SumsView {
            calls: sums.calls,
            difference_usd: difference.to_string(),
            past_usd: sums.past.to_string(),
            simulated_usd: sums.simulated.to_string(),
        }
    }
}
