//! An answer in one piece.

use std::sync::Arc;

use axum::response::Response;
use http::StatusCode;
use levqor_connectors::ai::{Title, say};
use levqor_core::money::{Charge, Ending, Nano, Usage};
use levqor_engine::ai::Over;

use super::order::Asked;
use super::{charge, in_task, tell, with_cost};
use crate::http::App;
use crate::http::body::raw_json;
use crate::http::error::{ApiError, Result};

/// The header that says what became of the hold.
pub const CHARGE: &str = "x-levqor-charge";

/// Sends the call and answers with all of it.
pub async fn answer_whole(app: &Arc<App>, mut asked: Asked) -> Response {
    let (answering, wire, once) = (app.clone(), asked.wire, asked.once.take());
    in_task(app, async move {
        let answer = whole(&answering, asked).await.unwrap_or_else(|error| error.on_wire(wire));
        answering.keep_once(once.as_ref(), answer).await
    })
    .await
}

async fn whole(app: &App, asked: Asked) -> Result<Response> {
    let Asked { ready, wire, is_raw, model, .. } = asked;
    let output_tokens = ready.bound().output_tokens;
    let mut open = ready.send().await;
    let raw = if is_raw { Some(open.whole().await) } else { None };
    let over = charge(open.end().await).await;
    if !matches!(over.answer.ending, Ending::Answered(_)) {
        let mut error = ApiError::no_answer(&over);
        for (name, value) in about(&over, output_tokens) {
            error = error.told_of(name, &value);
        }
        return Err(error);
    }
    let text = match raw {
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        None => {
            let title = title(&over, model, app.clock.now_ms());
            say(wire, &title, &over.answer.gather, usage(&over)).to_string()
        }
    };
    let mut response = raw_json(StatusCode::OK, with_cost(&text, over.cost));
    tell(&mut response, &about(&over, output_tokens));
    Ok(response)
}

/// What an answer that was translated is called.
pub fn title(over: &Over, model: String, now_ms: i64) -> Title {
    Title { id: over.call().to_string(), model, created_secs: now_ms.div_euclid(1_000) }
}

/// What was used, where that is known.
pub fn usage(over: &Over) -> Option<&Usage> {
    match &over.charge {
        Charge::Settle { usage, .. } => Some(usage),
        Charge::Release | Charge::Assume { .. } => None,
    }
}

/// The headers of a call that is over.
pub fn about(over: &Over, output_tokens: u64) -> Vec<(&'static str, String)> {
    vec![
        ("x-levqor-call", over.call().to_string()),
        (CHARGE, charged(&over.charge).to_owned()),
        ("x-levqor-cost-usd", over.cost.to_string()),
        ("x-levqor-max-tokens", output_tokens.to_string()),
    ]
}

/// The headers of a call that has only begun.
pub fn begun(call: String, held: Nano, output_tokens: u64) -> Vec<(&'static str, String)> {
    vec![
        ("x-levqor-call", call),
        ("x-levqor-held-usd", held.to_string()),
        ("x-levqor-max-tokens", output_tokens.to_string()),
    ]
}

/// What became of the hold, in a word.
pub fn charged(charge: &Charge) -> &'static str {
    match charge {
        Charge::Release => "released",
        Charge::Settle { .. } => "settled",
        Charge::Assume { .. } => "assumed",
    }
}
