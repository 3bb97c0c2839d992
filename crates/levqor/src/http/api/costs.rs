//! `GET /api/v1/costs` and `GET /api/v1/usage`: what AI calls cost and used, by time and by what they belong to, as JSON or as
//! comma-separated values. Sums of whole quarters of an hour; open calls are not in them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::header::CONTENT_DISPOSITION;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use levqor_core::budget::Zone;
use levqor_core::costs::{BadSpan, Grouping, Span};
use levqor_store::{CostBy, CostFilter, CostQuestion, CostReport, LINES_MOST};

use super::cost_csv::{costs_csv, usage_csv};
use super::cost_views::{CostsView, UsageView};
use super::query::{Query, invalid, wrong};
use crate::http::App;
use crate::http::body::{json, text};
use crate::http::context::Context;
use crate::http::error::Result;

/// What was asked, and what the store says to it.
pub struct Report {
    pub span: Span,
    pub grouping: Grouping,
    pub periods: Vec<(i64, i64)>,
    pub lines: Vec<levqor_store::CostLine>,
    is_csv: bool,
}

/// What AI calls cost, in sums that are exact to the nano-dollar. A call counts where it was held, also when it was charged
/// or corrected later.
#[utoipa::path(get, path = "/api/v1/costs", tag = "costs", security(("ApiKey" = [])),
    params(("by" = Option<String>, Query, description = "Commas between: `hour`, `day`, `week` or `month`; `workflow`, `provider`, `model`, `key`, `user`; one `tag:<name>`. Default `day`"),
        ("from" = Option<String>, Query, description = "A day such as 2026-11-22, RFC 3339, or seconds since 1970; a whole quarter of an hour. Default: 29 days before today"),
        ("until" = Option<String>, Query, description = "The same, not included. Default: the end of today"),
        ("zone" = Option<String>, Query, description = "Whose days these are, such as `Europe/Berlin`; default `UTC`"),
        ("workflow" = Option<String>, Query, description = "Only calls of this workflow"),
        ("provider" = Option<String>, Query, description = "Only calls to this provider"),
        ("model" = Option<String>, Query, description = "Only calls of this model, as `provider/model`"),
        ("key" = Option<String>, Query, description = "Only calls with the key of this id"),
        ("user" = Option<String>, Query, description = "Only calls for the person of this id"),
        ("tag" = Option<String>, Query, description = "Only calls with this tag, as `name:value`"),
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`, with the columns of FOCUS")),
    responses((status = 200, body = CostsView)))]
pub async fn get_costs(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let report = app.cost_report(&uri).await?;
    Ok(match report.is_csv {
        true => csv("costs", costs_csv(&report)),
        false => json(StatusCode::OK, &CostsView::of(&report)),
    })
}

/// What AI calls used: tokens by class, searches, calls.
#[utoipa::path(get, path = "/api/v1/usage", tag = "costs", security(("ApiKey" = [])),
    params(("by" = Option<String>, Query, description = "As for costs"), ("from" = Option<String>, Query, description = "As for costs"),
        ("until" = Option<String>, Query, description = "As for costs"), ("zone" = Option<String>, Query, description = "As for costs"),
        ("workflow" = Option<String>, Query, description = "As for costs"), ("provider" = Option<String>, Query, description = "As for costs"),
        ("model" = Option<String>, Query, description = "As for costs"), ("key" = Option<String>, Query, description = "As for costs"),
        ("user" = Option<String>, Query, description = "As for costs"), ("tag" = Option<String>, Query, description = "As for costs"),
        ("format" = Option<String>, Query, description = "`json` (default) or `csv`: a line for each class that was used")),
    responses((status = 200, body = UsageView)))]
pub async fn get_usage(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let report = app.cost_report(&uri).await?;
    Ok(match report.is_csv {
        true => csv("usage", usage_csv(&report)),
        false => json(StatusCode::OK, &UsageView::of(&report)),
    })
}

impl App {
    async fn cost_report(&self, uri: &Uri) -> Result<Report> {
        let allowed =
            ["by", "from", "until", "zone", "workflow", "provider", "model", "key", "user", "tag", "format"];
        let query = Query::parse(uri, &allowed, &[])?;
        let grouping = match query.get("by") {
            Some(text) => Grouping::parse(text).map_err(|bad| invalid(format!("parameter `by`: {bad}")))?,
            None => Grouping::parse("day").unwrap_or_default(),
        };
        let is_csv = query.word(
            "format",
            |word| ["json", "csv"].contains(&word).then_some(word == "csv"),
            "json or csv",
        )?;
        let span = span(&query, self.clock.now_ms())?;
        let periods = span.periods(grouping.window).map_err(bad_span)?;
        let question = CostQuestion { periods, by: by(&grouping), only: filter(&query)? };
        match self.engine.store().cost_report(&question).await? {
            CostReport::Lines(lines) => {
                let periods = question.periods;
                Ok(Report { span, grouping, periods, lines, is_csv: is_csv.unwrap_or(false) })
            }
            CostReport::TooLong => Err(invalid(format!(
                "the report would have more than {LINES_MOST} lines: group by less, or narrow `from` and `until`"
            ))),
            CostReport::TooWide => Err(invalid(
                "there is too much between `from` and `until` to be read at once: narrow them, or use whole days of UTC"
                    .to_owned(),
            )),
        }
    }
}

fn bad_span(bad: BadSpan) -> crate::http::error::ApiError {
    invalid(bad.to_string())
}

/// The time that a query names; the last thirty days where it names none.
pub fn span(query: &Query, now_ms: i64) -> Result<Span> {
    let zone = match query.get("zone") {
        Some(name) => Zone::parse(name).map_err(|bad| invalid(format!("parameter `zone`: {bad}")))?,
        None => Zone::utc(),
    };
    let usual = Span::last_days(zone.clone(), now_ms);
    let at = |name: &str, usual_ms: i64| -> Result<i64> {
        match query.get(name).and_then(|day| zone.day_start_ms(day)) {
            Some(start_ms) => Ok(start_ms),
            None => Ok(query.time_ms(name)?.unwrap_or(usual_ms)),
        }
    };
    let (from_ms, until_ms) = (at("from", usual.from_ms)?, at("until", usual.until_ms)?);
    Span::new(zone, from_ms, until_ms).map_err(bad_span)
}

fn by(grouping: &Grouping) -> CostBy {
    CostBy {
        workflow: grouping.workflow,
        provider: grouping.provider,
        model: grouping.model,
        key: grouping.key,
        user: grouping.user,
        tag: grouping.tag.clone(),
    }
}

/// Whose calls a query names.
pub fn filter(query: &Query) -> Result<CostFilter> {
    let tag = query.text("tag")?.map(|tag| match tag.split_once(':') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(wrong("tag", &tag, "name:value")),
    });
    let (mut provider, mut model) = (query.text("provider")?, None);
    if let Some(name) = query.text("model")? {
        let parts =
            name.split_once('/').filter(|(provider, model)| !provider.is_empty() && !model.is_empty());
        let (of, named) = parts.ok_or_else(|| wrong("model", &name, "provider/model"))?;
        if provider.as_deref().is_some_and(|provider| provider != of) {
            return Err(wrong("model", &name, "a model of the `provider` that is given"));
        }
        (provider, model) = (Some(of.to_owned()), Some(named.to_owned()));
    }
    Ok(CostFilter {
        workflow: query.text("workflow")?,
        provider,
        model,
        key: query.text("key")?,
        user: query.text("user")?,
        tag: tag.transpose()?,
    })
}

/// A file for a spreadsheet.
fn csv(name: &str, content: String) -> Response {
    let mut response = text(StatusCode::OK, "text/csv; charset=utf-8; header=present", content);
    let disposition = format!("attachment; filename=\"levqor-{name}.csv\"");
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert(CONTENT_DISPOSITION, value);
    }
    response
}
