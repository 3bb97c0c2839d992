//! `GET /api/v1/jobs/<id>/costs`: what a job cost, call by call, with all that it takes to check each amount by hand.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_core::money::{Bill, CallId, Line, Nano, Price, bill};
use levqor_store::{BillTotals, CallRow, JobBill, JobCosts, LedgerRow};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::cost_views::{TokenClasses, verbatim};
use super::path::PathText;
use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::NamedError;

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 500;

/// What a job cost so far.
#[derive(Serialize, ToSchema)]
pub struct JobCostsView {
    own: TotalsView,
    /// The job at the root of the tree that it belongs to: itself, where it is no child.
    root_job_id: Option<String>,
    steps: Vec<StepCostsView>,
    /// Of all jobs of that tree.
    tree: TotalsView,
}

#[derive(Serialize, ToSchema)]
pub struct TotalsView {
    /// The part of the cost that nobody knows for sure.
    #[schema(example = "0.00")]
    assumed_usd: String,
    calls: i64,
    /// Whole micro-dollars, rounded up.
    #[schema(example = 7600)]
    cost_micro_usd: i64,
    #[schema(example = "0.0076")]
    cost_usd: String,
    /// Held by calls that are still open.
    #[schema(example = "0.03024")]
    held_usd: String,
    open_calls: i64,
    /// The part of the cost beyond what was held.
    #[schema(example = "0.00")]
    overrun_usd: String,
}

#[derive(Serialize, ToSchema)]
pub struct StepCostsView {
    #[serde(flatten)]
    totals: TotalsView,
    step: String,
}

#[derive(Serialize, ToSchema)]
pub struct JobBillView {
    /// Of this job alone, oldest first.
    calls: Vec<CallBillView>,
    costs: JobCostsView,
    job_id: String,
    /// Hand it in as `cursor` to go on; null at the end.
    next: Option<String>,
}

/// One physical request to a provider.
#[derive(Serialize, ToSchema)]
pub struct CallBillView {
    alarm: Option<String>,
    attempt: Option<i64>,
    call_id: String,
    #[schema(example = "0.0076")]
    cost_usd: Option<String>,
    failure: Option<String>,
    finish_reason: Option<String>,
    hold: HoldView,
    http_status: Option<i64>,
    ledger: Vec<LedgerView>,
    logical_call: Option<i64>,
    #[schema(example = "openai/gpt-6-sol")]
    model: String,
    overrun_usd: String,
    /// Null where the provider told no usage, or the price is not there any more.
    priced: Option<PricedView>,
    provider_request_id: Option<String>,
    sent_at: Option<f64>,
    settled_at: Option<f64>,
    /// `reserved`, `settled`, `released` or `assumed`.
    state: &'static str,
    step: Option<String>,
    usage: Option<TokenClasses>,
    /// As the provider sent it.
    #[schema(value_type = Option<Object>)]
    usage_raw: Option<Box<RawValue>>,
}

/// What was held before the request went out.
#[derive(Serialize, ToSchema)]
pub struct HoldView {
    at: f64,
    /// More than the request can have.
    input_tokens: i64,
    output_tokens: i64,
    #[schema(example = "0.03024")]
    usd: String,
}

/// The way from the usage to the amount: the lines, times the multiplier, rounded up once.
#[derive(Serialize, ToSchema)]
pub struct PricedView {
    /// Whether that is what was charged. Otherwise the provider asked for more, or a person corrected it: see the ledger.
    is_charged: bool,
    lines: Vec<PricedLineView>,
    /// For regions and speed, on tokens.
    #[schema(example = "1.00")]
    multiplier: String,
    price_id: String,
    /// The day on which the price was read, as its list says.
    price_retrieved: String,
    price_source: String,
    tier: &'static str,
    #[schema(example = "0.0076")]
    usd: String,
}

#[derive(Serialize, ToSchema)]
pub struct PricedLineView {
    #[schema(example = "output")]
    class: &'static str,
    quantity: u64,
    /// Exact, before the multiplier.
    #[schema(example = "0.006")]
    usd: String,
    /// What one costs; of tokens, a million of them.
    #[schema(example = "10.00")]
    usd_per_unit: String,
    /// 1000000 for tokens, else 1.
    unit: u32,
}

#[derive(Serialize, ToSchema)]
pub struct LedgerView {
    actor: String,
    at: f64,
    /// `reserve`, `settle`, `release`, `assume`, `adjust` or `overrun`.
    kind: String,
    reason: Option<String>,
    #[schema(example = "-0.02264")]
    usd: String,
}

/// What a job cost, call by call: price, classes, hold, settlement, overrun, and the usage as the provider sent it.
#[utoipa::path(get, path = "/api/v1/jobs/{job_id}/costs", tag = "costs", security(("ApiKey" = [])),
    params(("job_id" = String, Path, description = "32 lower-case hex digits; also of a job that is forgotten"),
        ("limit" = Option<i64>, Query, description = "1 to 500, default 100", minimum = 1, maximum = 500),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = JobBillView), (status = 404, description = "No such job", body = NamedError)))]
pub async fn get_job_costs(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let query = Query::parse(&uri, &["limit", "cursor"], &[])?;
    let limit = query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT);
    let after = query.word("cursor", |text| text.parse::<CallId>().ok(), "`next` of the page before")?;
    let job = id.job_id()?;
    let store = app.engine.store();
    let JobBill { costs, calls, next } = store.job_bill(job, after, limit as usize).await?;
    // Calls outlive their job: the books are kept when it is forgotten.
    if costs.own.calls == 0 && store.find_status(job).await?.is_none() {
        return Err(ApiError::missing("job"));
    }
    let mut prices: HashMap<String, Option<Price>> = HashMap::new();
    for call in &calls {
        if !prices.contains_key(&call.price_id) {
            prices.insert(call.price_id.clone(), store.find_price(&call.price_id).await?);
        }
    }
    let price = |call: &CallRow| prices.get(&call.price_id).and_then(Option::as_ref);
    let view = JobBillView {
        calls: calls.iter().map(|call| call_bill(call, price(call))).collect(),
        costs: JobCostsView::from(&costs),
        job_id: job.to_string(),
        next: next.map(|id| id.to_string()),
    };
    Ok(json(StatusCode::OK, &view))
}

impl From<&JobCosts> for JobCostsView {
    fn from(costs: &JobCosts) -> Self {
        let steps = costs.steps.iter();
        JobCostsView {
            own: TotalsView::from(&costs.own),
            root_job_id: costs.root.map(|id| id.to_string()),
            steps: steps
                .map(|(step, totals)| StepCostsView { totals: totals.into(), step: step.clone() })
                .collect(),
            tree: TotalsView::from(&costs.tree),
        }
    }
}

impl From<&BillTotals> for TotalsView {
    fn from(totals: &BillTotals) -> Self {
        TotalsView {
            assumed_usd: totals.assumed.to_string(),
            calls: totals.calls,
            cost_micro_usd: totals.cost.micro_ceil(),
            cost_usd: totals.cost.to_string(),
            held_usd: totals.held.to_string(),
            open_calls: totals.open,
            overrun_usd: totals.overrun.to_string(),
        }
    }
}

pub fn call_bill(call: &CallRow, price: Option<&Price>) -> CallBillView {
    let beyond = call.settled.and_then(|settled| settled.checked_sub(call.reserved));
    CallBillView {
        alarm: call.alarm.clone(),
        attempt: call.attempt,
        call_id: call.id.to_string(),
        cost_usd: call.settled.map(|cost| cost.to_string()),
        failure: call.failure.clone(),
        finish_reason: call.finish_reason.clone(),
        hold: HoldView {
            at: seconds(call.reserved_at_ms),
            input_tokens: call.est_input,
            output_tokens: call.est_output,
            usd: call.reserved.to_string(),
        },
        http_status: call.http_status,
        ledger: call.ledger.iter().map(LedgerView::from).collect(),
        logical_call: call.logical_call,
        model: format!("{}/{}", call.provider, call.model),
        overrun_usd: beyond.unwrap_or_default().max(Nano::ZERO).to_string(),
        priced: price.and_then(|price| priced(call, price)),
        provider_request_id: call.provider_request_id.clone(),
        sent_at: call.sent_at_ms.map(seconds),
        settled_at: call.settled_at_ms.map(seconds),
        state: call.state.as_str(),
        step: call.step.clone(),
        usage: call.usage.as_ref().map(TokenClasses::from),
        usage_raw: call.usage_raw.as_deref().and_then(verbatim),
    }
}

fn priced(call: &CallRow, price: &Price) -> Option<PricedView> {
    let usage = call.usage.as_ref()?;
    let Bill { lines, multiplier_ppm, total } = bill(price, usage, &call.terms).ok()?;
    let line = |line: &Line| PricedLineView {
        class: line.unit.as_str(),
        quantity: line.quantity,
        usd: line.usd(),
        usd_per_unit: if line.unit.is_token() { line.rate.per_million() } else { line.rate.each() },
        unit: if line.unit.is_token() { 1_000_000 } else { 1 },
    };
    Some(PricedView {
        is_charged: call.settled == Some(total),
        lines: lines.iter().map(line).collect(),
        multiplier: levqor_core::money::show_ppm(multiplier_ppm),
        price_id: call.price_id.clone(),
        price_retrieved: price.retrieved.clone(),
        price_source: price.source.clone(),
        tier: usage.tier.unwrap_or(call.terms.tier).as_str(),
        usd: total.to_string(),
    })
}

impl From<&LedgerRow> for LedgerView {
    fn from(row: &LedgerRow) -> Self {
        LedgerView {
            actor: row.actor.clone(),
            at: seconds(row.at_ms),
            kind: row.kind.clone(),
            reason: row.reason.clone(),
            usd: row.amount.to_string(),
        }
    }
}
