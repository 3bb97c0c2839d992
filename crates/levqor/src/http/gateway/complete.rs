//! One call in our own words: the answer as text or as JSON that fits a schema, what it cost, and the budgets it counted in.

use std::sync::Arc;

use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use levqor_connectors::ai::{Ask, Message, Output, Role, fits_natively};
use levqor_core::gateway::{Complete, USUAL_OUTPUT_TOKENS, parse_complete};
use levqor_core::json;
use levqor_core::money::{Allowances, Ending, Wish};
use levqor_core::schema::{Schema, Violation};
use levqor_engine::ai::{Body, Order, Over, Ready};
use serde_json::{Map, Value};

use super::once::Once;
use super::order::Held;
use super::whole::{about, charged, usage};
use super::{Entered, charge, in_task, tell};
use crate::http::App;
use crate::http::api::views::seconds;
use crate::http::body;
use crate::http::error::{ApiError, Result};
use crate::http::schema::ai::BudgetFigures;

pub async fn complete(app: &Arc<App>, mut entered: Entered) -> Result<Response> {
    let mut asked = parse_complete(&entered.body)?;
    let once = match asked.dry_run {
        // It neither uses nor keeps the key.
        true => None,
        false => Once::of("/api/v1/ai/complete", &entered, asked.user.as_deref(), false)?,
    };
    entered.body = String::new();
    let Entered { key, mut tags, .. } = entered;
    tags.append(&mut asked.tags);
    let schema = asked.output.as_deref().map(compiled).transpose()?;
    let found = app.find_ai_model(&asked.model).await?;
    let model = format!("{}/{}", found.provider, found.model);
    let wish = Wish { requested: asked.max_tokens, usual: Some(USUAL_OUTPUT_TOKENS) };
    let (fit, user) = (asked.fit, asked.user.take());
    let is_dry = asked.dry_run;
    let order = app.ai_order(found, key, app.ai_limits());
    let order = Order { body: Body::Ask(ask(asked)?), wish, user, tags, fit, ..order };
    if is_dry {
        return estimate(app, order, model).await;
    }
    let ready = match app.hold_once(once.as_ref(), order).await? {
        Held::Told(response) => return Ok(response),
        Held::Ready(ready) => ready,
    };
    let answering = app.clone();
    let answer = in_task(app, async move {
        let answer = called(&answering, ready, schema.as_ref(), model).await;
        answering.keep_once(once.as_ref(), answer.unwrap_or_else(ApiError::into_response)).await
    });
    Ok(answer.await)
}

/// Makes the call and answers with all that is known of it.
async fn called(app: &App, ready: Ready, schema: Option<&Schema>, model: String) -> Result<Response> {
    let output_tokens = ready.bound().output_tokens;
    let over = charge(ready.send().await.end().await).await;
    let mut response = match answer(app, &over, schema, model).await {
        Ok(view) => body::json(StatusCode::OK, &view),
        Err(error) => {
            let headers = about(&over, output_tokens);
            return Err(headers.into_iter().fold(error, |error, (name, value)| error.told_of(name, value)));
        }
    };
    tell(&mut response, &about(&over, output_tokens));
    Ok(response)
}

fn compiled(raw: &str) -> Result<Schema> {
    Schema::compile(raw).map_err(|bad| {
        let at = format!("output{}", bad.pointer);
        ApiError::invalid("invalid_request", format!("output is no JSON Schema: {bad}"))
            .field(&at, bad.message)
    })
}

/// The question in words of no vendor.
fn ask(asked: Complete) -> Result<Ask> {
    let turns = asked.turns.into_iter();
    let messages = turns
        .map(|turn| Message::text(if turn.is_model { Role::Assistant } else { Role::User }, turn.text))
        .collect();
    let temperature = asked.temperature.as_deref().map(serde_json::from_str);
    let mut ask = Ask {
        system: asked.system,
        messages,
        temperature: temperature.transpose().map_err(|_| ApiError::internal())?,
        ..Ask::default()
    };
    if let Some(raw) = &asked.output {
        let schema: Value = serde_json::from_str(raw).map_err(|_| ApiError::internal())?;
        if fits_natively(&schema) {
            ask.output = Output::Schema(schema);
        } else {
            // Asked for in words, and checked all the same.
            ask.output = Output::Json;
            let rule = format!("Answer with JSON and nothing else. It must fit this JSON Schema:\n{raw}");
            ask.system = Some(ask.system.map_or(rule.clone(), |system| format!("{system}\n\n{rule}")));
        }
    }
    Ok(ask)
}

/// What it would cost, and whether it would start now.
async fn estimate(app: &App, order: Order, model: String) -> Result<Response> {
    let ai = app.engine.ai();
    let told = |not_held| ApiError::not_held(not_held, app.clock.now_ms());
    let bound = ai.bound(order.clone()).await.map_err(told)?;
    let room = ai.room(&order).await.map_err(told)?;
    let affords = |amount| room.room.is_none_or(|room| amount <= room);
    let mut would_start = affords(bound.amount);
    let fits_shortened = !would_start && order.fit && {
        let least = Allowances::default().min_output_tokens.min(bound.output_tokens);
        let shortest = Order { wish: Wish { requested: Some(least), usual: None }, ..order };
        affords(ai.bound(shortest).await.map_err(told)?.amount)
    };
    would_start |= fits_shortened;
    let estimate = serde_json::json!({
        "at_most_usd": bound.amount.to_string(),
        "input_tokens": bound.input_tokens,
        "max_tokens": bound.output_tokens,
        "room_usd": room.room.map(|room| room.to_string()),
        "tightest_budget": room.tightest.map(|id| id.to_string()),
        "would_be_shortened": fits_shortened,
        "would_start": would_start,
    });
    let view = Map::from_iter([
        ("budgets".to_owned(), Value::Array(Vec::new())),
        ("estimate".to_owned(), estimate),
        ("model".to_owned(), model.into()),
    ]);
    Ok(body::json(StatusCode::OK, &view))
}

async fn answer(
    app: &App,
    over: &Over,
    schema: Option<&Schema>,
    model: String,
) -> Result<Map<String, Value>> {
    if !matches!(over.answer.ending, Ending::Answered(_)) {
        return Err(ApiError::no_answer(over));
    }
    let gather = &over.answer.gather;
    let mut view = Map::from_iter([
        ("call".to_owned(), over.call().to_string().into()),
        ("charge".to_owned(), charged(&over.charge).into()),
        ("cost_usd".to_owned(), over.cost.to_string().into()),
        ("finish".to_owned(), gather.finish.as_ref().map(|finish| finish.as_str()).into()),
        ("model".to_owned(), model.into()),
        ("text".to_owned(), gather.text.clone().into()),
    ]);
    if let Some(usage) = usage(over) {
        let figures = serde_json::json!({
            "cached_input_tokens": usage.cached_in,
            "input_tokens": usage.input_total(),
            "output_tokens": usage.output_total(),
            "reasoning_tokens": usage.reasoning,
        });
        view.insert("usage".to_owned(), figures);
    }
    // The answer is there and was paid for: it is not lost because the figures cannot be read.
    let budgets = app.engine.store().budgets_of_call(over.call()).await.unwrap_or_default();
    let budgets = budgets.into_iter().map(|it| BudgetFigures {
        budget: it.budget,
        held_usd: it.held.to_string(),
        limit_usd: it.limit.to_string(),
        resets_at: it.ends_at_ms.map(seconds),
        spent_usd: it.spent.to_string(),
        subject: it.subject,
    });
    let budgets = serde_json::to_value(budgets.collect::<Vec<_>>()).map_err(|_| ApiError::internal())?;
    view.insert("budgets".to_owned(), budgets);
    let Some(schema) = schema else { return Ok(view) };
    match checked(&gather.text, schema) {
        Ok(output) => {
            view.insert("output".to_owned(), output);
            Ok(view)
        }
        Err(problems) => {
            let problems = problems.into_iter().map(|it| (it.pointer, it.message));
            let error = ApiError::unfit_answer(problems);
            // What it said and cost is told all the same.
            Err(view.into_iter().fold(error, |error, (name, value)| error.besides(&name, value)))
        }
    }
}

/// The answer as JSON that fits.
fn checked(text: &str, schema: &Schema) -> Result<Value, Vec<Violation>> {
    let bad = |message: String| vec![Violation { pointer: String::new(), message }];
    let json = json::compact(text).map_err(|error| bad(format!("the answer is no JSON: {error}")))?;
    schema.validate(&json)?;
    serde_json::from_str(&json).map_err(|error| bad(error.to_string()))
}
