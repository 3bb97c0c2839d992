//! Prices: those in force, lists that were imported, what putting one in force would change, and doing it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri, header};
use levqor_core::json::text_from_body;
use levqor_core::money::{
    Component, Difference, ImportRequest, Price, RateChange, Tier, parse_activation, parse_import,
    price_pointer,
};
use levqor_engine::{Draft, InForce, PricesError};
use levqor_store::{BookKind, PriceBookRow};
use serde::Serialize;
use utoipa::ToSchema;

use super::budgets::invalid;
use super::path::PathText;
use super::query::Query;
use super::views::seconds;
use crate::http::App;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::{ActivationBody, ImportBody, NamedError};

const DEFAULT_LIMIT: i64 = 100;
const MAX_LIMIT: i64 = 1_000;
/// Rows that a refusal names.
const MAX_NAMED: usize = 50;

#[derive(Serialize, ToSchema)]
pub struct PriceList {
    /// The newest that were imported.
    books: Vec<BookView>,
    /// The price list in force; null: the one that comes with the program.
    list: Option<String>,
    /// Send it as `cursor` for the next page; null at the end.
    next: Option<String>,
    /// The book of own models and private prices in force, in front of the list.
    own: Option<String>,
    prices: Vec<PriceView>,
}

/// A price list that was imported.
#[derive(Serialize, ToSchema)]
pub struct BookView {
    activated_at: Option<f64>,
    #[schema(example = "own-9f86d081884c7d65")]
    id: String,
    imported_at: f64,
    /// `list` or `own`.
    kind: &'static str,
    sha256: String,
    source: String,
    /// `draft`, `active` or `retired`.
    status: String,
}

/// What a model costs.
#[derive(Serialize, ToSchema)]
pub struct PriceView {
    /// The book that it stands in; null: the list that comes with the program.
    book: Option<String>,
    components: Vec<ComponentView>,
    max_input_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    mode: &'static str,
    #[schema(example = "gpt-6-sol")]
    model: String,
    notes: String,
    /// Calls name it.
    price_id: String,
    #[schema(example = "openai")]
    provider: String,
    retrieved: String,
    source: String,
    /// `priced`, `free` or `unpriced` (refused).
    status: &'static str,
}

/// What one unit costs in one lane.
#[derive(Serialize, ToSchema)]
pub struct ComponentView {
    /// Where the input is larger than this.
    above_input_tokens: u64,
    /// Dollars for a million tokens; for what is charged by use, for one.
    #[schema(example = "2.50")]
    rate: String,
    #[schema(example = "standard")]
    tier: &'static str,
    #[schema(example = "input")]
    unit: &'static str,
}

/// A book, and what putting it in force would change.
#[derive(Serialize, ToSchema)]
pub struct DraftView {
    book: BookView,
    difference: DifferenceView,
}

#[derive(Serialize, ToSchema)]
pub struct DifferenceView {
    /// Models that are not known now.
    added: Vec<PriceView>,
    changed: Vec<ChangeView>,
    /// Models that would be refused from then on, as `provider/model`.
    removed: Vec<String>,
    /// What is more often a slip than the truth: accept each by its model to put the book in force.
    warnings: Vec<WarningView>,
}

#[derive(Serialize, ToSchema)]
pub struct ChangeView {
    /// What else is different, by name.
    facts: Vec<&'static str>,
    model: String,
    rates: Vec<RateChangeView>,
}

#[derive(Serialize, ToSchema)]
pub struct RateChangeView {
    above_input_tokens: u64,
    /// Null: it is gone.
    new: Option<String>,
    /// Null: it is new.
    old: Option<String>,
    tier: &'static str,
    unit: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct WarningView {
    /// As `provider/model`.
    model: String,
    text: String,
}

impl BookView {
    fn new(row: &PriceBookRow) -> Self {
        BookView {
            activated_at: row.activated_at_ms.map(seconds),
            id: row.id.clone(),
            imported_at: seconds(row.imported_at_ms),
            kind: row.kind.as_str(),
            sha256: row.sha256.clone(),
            source: row.source.clone(),
            status: row.status.clone(),
        }
    }
}

impl PriceView {
    fn new(price: &Price, book: Option<&str>) -> Self {
        PriceView {
            book: book.map(str::to_owned),
            components: price.components.iter().map(ComponentView::new).collect(),
            max_input_tokens: price.max_input_tokens,
            max_output_tokens: price.max_output_tokens,
            mode: price.mode.as_str(),
            model: price.model.clone(),
            notes: price.notes.clone(),
            price_id: price.id(),
            provider: price.provider.clone(),
            retrieved: price.retrieved.clone(),
            source: price.source.clone(),
            status: price.status.as_str(),
        }
    }
}

impl ComponentView {
    fn new(it: &Component) -> Self {
        ComponentView {
            above_input_tokens: it.above_input_tokens,
            rate: if it.unit.is_token() { it.rate.per_million() } else { it.rate.each() },
            tier: it.tier.as_str(),
            unit: it.unit.as_str(),
        }
    }
}

impl DraftView {
    fn new(draft: &Draft) -> Self {
        DraftView { book: BookView::new(&draft.row), difference: DifferenceView::new(draft) }
    }
}

impl DifferenceView {
    fn new(draft: &Draft) -> Self {
        let Difference { added, changed, removed, warnings } = &draft.difference;
        let rate = |it: &RateChange| RateChangeView {
            above_input_tokens: it.above_input_tokens,
            new: it.new.map(|rate| if it.unit.is_token() { rate.per_million() } else { rate.each() }),
            old: it.old.map(|rate| if it.unit.is_token() { rate.per_million() } else { rate.each() }),
            tier: Tier::as_str(it.tier),
            unit: it.unit.as_str(),
        };
        let change = |it: &levqor_core::money::Change| ChangeView {
            facts: it.facts.clone(),
            model: format!("{}/{}", it.provider, it.model),
            rates: it.rates.iter().map(rate).collect(),
        };
        let warning = |it: &levqor_core::money::Warning| WarningView {
            model: format!("{}/{}", it.provider, it.model),
            text: it.text.clone(),
        };
        DifferenceView {
            added: added.iter().map(|price| PriceView::new(price, Some(&draft.row.id))).collect(),
            changed: changed.iter().map(change).collect(),
            removed: removed.iter().map(|(provider, model)| format!("{provider}/{model}")).collect(),
            warnings: warnings.iter().map(warning).collect(),
        }
    }
}

/// The prices in force by name, and the books that were imported.
#[utoipa::path(get, path = "/api/v1/prices", tag = "budgets", security(("ApiKey" = [])),
    params(("provider" = Option<String>, Query, description = "Exactly"),
        ("model" = Option<String>, Query, description = "Exactly, without the provider"),
        ("limit" = Option<i64>, Query, description = "1 to 1000, default 100", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next` of the page before")),
    responses((status = 200, body = PriceList)))]
pub async fn list_prices(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    let query = Query::parse(&uri, &["provider", "model", "limit", "cursor"], &[])?;
    let (provider, model) = (query.text("provider")?, query.text("model")?);
    let limit = query.number("limit", 1, MAX_LIMIT)?.unwrap_or(DEFAULT_LIMIT) as usize;
    let cursor = |text: &str| text.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned()));
    let after = query.word("cursor", cursor, "`next` of the page before")?;
    let (in_force, books) = app.engine.prices_in_force().await?;
    let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
    let mut shown = in_force.book.list();
    shown.retain(|it| is(&provider, &it.provider) && is(&model, &it.model));
    shown.retain(|it| {
        let name = (it.provider.as_str(), it.model.as_str());
        after.as_ref().is_none_or(|(provider, model)| name > (provider.as_str(), model.as_str()))
    });
    let next = (shown.len() > limit).then(|| shown[limit - 1].name());
    shown.truncate(limit);
    let InForce { list_id, own_id, .. } = &in_force;
    let view = PriceList {
        books: books.iter().map(BookView::new).collect(),
        list: list_id.clone(),
        next,
        own: own_id.clone(),
        prices: shown.iter().map(|price| PriceView::new(price, in_force.book_of(price))).collect(),
    };
    Ok(json(StatusCode::OK, &view))
}

/// Store a price list as a draft: JSON, or CSV with `kind` and `source` as parameters. The answer tells what it would change.
#[utoipa::path(post, path = "/api/v1/prices/import", tag = "budgets", security(("ApiKey" = [])), request_body = ImportBody,
    params(("kind" = Option<String>, Query, description = "Of CSV: `list` (default) or `own`"),
        ("source" = Option<String>, Query, description = "Of CSV: where it comes from")),
    responses((status = 201, description = "A draft; the same list again is the same book", body = DraftView)))]
pub async fn import_prices(
    State(app): State<Arc<App>>,
    context: Context,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    // A whole list is larger than other bodies.
    let most = app.config.batch_max_bytes;
    body::refuse_announced(&parts.headers, most)?;
    let is_json = body::is_json(&parts.headers);
    if !is_json && body::content_type(&parts.headers) != "text/csv" {
        return Err(ApiError::content_type("application/json or text/csv"));
    }
    let allowed: &[&str] = if is_json { &[] } else { &["kind", "source"] };
    let query = Query::parse(&parts.uri, allowed, &[])?;
    let kind = query.word("kind", BookKind::parse, "list or own")?;
    let line = |text: &str| {
        let is_line =
            (1..=200).contains(&text.chars().take(201).count()) && !text.chars().any(char::is_control);
        is_line.then(|| text.to_owned())
    };
    let source = query.word("source", line, "1 to 200 characters without control characters")?;
    let body = body::read(&parts.headers, body, most).await?;
    let text = text_from_body(&body).map_err(|it| ApiError::invalid("invalid_prices", it.to_string()))?;
    let asked = match is_json {
        true => parse_import(text).map_err(|problem| invalid("invalid_prices", problem))?,
        false => ImportRequest {
            is_own: kind == Some(BookKind::Own),
            source: source.unwrap_or_else(|| "api".to_owned()),
            list: text.to_owned(),
        },
    };
    if asked.list.contains('\0') {
        return Err(ApiError::invalid("invalid_prices", "a price list holds no NUL"));
    }
    let kind = if asked.is_own { BookKind::Own } else { BookKind::List };
    let draft = app.engine.import_prices(kind, &asked.source, &asked.list, &caller.actor).await;
    let draft = draft.map_err(|error| refused(error, is_json))?;
    Ok(json(StatusCode::CREATED, &DraftView::new(&draft)))
}

/// A book, and what putting it in force would change now.
#[utoipa::path(get, path = "/api/v1/prices/{book_id}", tag = "budgets", security(("ApiKey" = [])),
    params(("book_id" = String, Path)),
    responses((status = 200, body = DraftView), (status = 404, description = "No such book", body = NamedError)))]
pub async fn get_prices(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    id: PathText,
    uri: Uri,
) -> Result<Response> {
    app.require_key(&context, &headers)?;
    Query::parse(&uri, &[], &[])?;
    let draft = app.engine.find_prices(book_id(&id)?).await?;
    Ok(json(StatusCode::OK, &DraftView::new(&draft.ok_or_else(|| ApiError::missing("price book"))?)))
}

/// Put a book in force instead of the one of its kind. Models that are warned of have to be accepted by name.
#[utoipa::path(post, path = "/api/v1/prices/{book_id}/activate", tag = "budgets", security(("ApiKey" = [])),
    request_body = Option<ActivationBody>, params(("book_id" = String, Path)),
    responses((status = 200, body = BookView), (status = 404, description = "No such book", body = NamedError),
        (status = 409, description = "A warning is not accepted, or other prices were put in force meanwhile", body = NamedError)))]
pub async fn activate_prices(
    State(app): State<Arc<App>>,
    context: Context,
    id: PathText,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    Query::parse(&parts.uri, &[], &[])?;
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let is_nothing = body.is_empty() && !parts.headers.contains_key(header::CONTENT_TYPE);
    if !is_nothing && !body::is_json(&parts.headers) {
        return Err(ApiError::content_type("application/json"));
    }
    let text = text_from_body(&body).map_err(|it| ApiError::invalid("invalid_request", it.to_string()))?;
    let accepted = parse_activation(text).map_err(|problem| invalid("invalid_request", problem))?;
    let row = app.engine.activate_prices(book_id(&id)?, &accepted, &caller.actor).await;
    Ok(json(StatusCode::OK, &BookView::new(&row.map_err(|error| refused(error, true))?)))
}

/// `list-` or `own-`, and 16 hex digits.
fn book_id(id: &PathText) -> Result<&str> {
    let digits = id.text.strip_prefix("list-").or(id.text.strip_prefix("own-"));
    let is_id = digits.is_some_and(|it| it.len() == 16 && it.bytes().all(|b| b.is_ascii_hexdigit()));
    is_id.then_some(id.text.as_str()).ok_or_else(|| ApiError::missing("price book"))
}

fn refused(error: PricesError, is_json: bool) -> ApiError {
    match error {
        PricesError::Invalid(rows) => {
            let first = rows.first().map(ToString::to_string).unwrap_or_default();
            let at = |row: &levqor_core::money::BadRow| match is_json {
                true => price_pointer(row),
                false => format!("line {}", row.line),
            };
            let fields = rows.iter().take(MAX_NAMED).map(|row| (at(row), row.problem.clone()));
            ApiError::invalid("invalid_prices", first).fields(fields)
        }
        PricesError::Unaccepted(warnings) => {
            let message = "some prices look wrong; accept each by its model if it is right";
            let named = warnings.iter().take(MAX_NAMED);
            let fields = named.map(|it| (format!("{}/{}", it.provider, it.model), it.text.clone()));
            ApiError::conflict(message).fields(fields)
        }
        PricesError::Store(error) => error.into(),
    }
}
