//! Calls to AI models: one route in our own words, and the wires of OpenAI and Anthropic.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::StatusCode;
use levqor_core::gateway::{Refused, Vetted, vet_chat, vet_messages};
use levqor_core::money::Wire;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::gateway::{self, Held, answer_stream, answer_whole};
use crate::http::schema::NamedError;
use crate::http::schema::ai::{CompleteBody, CompleteView, WireError};

/// Make one call to an AI model, under all budgets that bind it.
#[utoipa::path(post, path = "/api/v1/ai/complete", tag = "ai", security(("ApiKey" = []), ("BearerKey" = [])), request_body = CompleteBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same key with the same request gets the same answer for 24 hours, without a second charge; with another request 422"),
        ("x-levqor-tags" = Option<String>, Header, description = "More tags: `team=a,env=prod`")),
    responses((status = 200, body = CompleteView),
        (status = 402, description = "A budget is spent: `x-levqor-*` headers say which, and when it resets", body = NamedError),
        (status = 404, description = "No such model", body = NamedError),
        (status = 409, description = "This Idempotency-Key is being answered, or its answer is lost", body = NamedError),
        (status = 422, description = "Nobody knows what the model costs, the provider refused the request, or the Idempotency-Key was used before with another request", body = NamedError),
        (status = 429, description = "Others hold the money, the provider takes no more calls, or too many calls; see `Retry-After`", body = NamedError),
        (status = 502, description = "The provider failed, or its answer does not fit the schema", body = NamedError),
        (status = 504, description = "The provider did not answer in time", body = NamedError)))]
pub async fn complete(State(app): State<Arc<App>>, context: Context, request: Request) -> Result<Response> {
    let entered = app.enter_ai(&context, request, false).await?;
    gateway::complete(&app, entered).await
}

/// OpenAI's chat completions: change the base URL of a client to this server's `/v1`.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "ai", security(("BearerKey" = []), ("ApiKey" = [])), request_body = Object,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same key with the same request gets the same answer for 24 hours, without a second charge; with another request 422"),
        ("x-levqor-tags" = Option<String>, Header, description = "What budgets of tags count it for: `team=a,env=prod`")),
    responses((status = 200, description = "As OpenAI answers; with `stream` as server-sent events", body = Object),
        (status = 400, description = "A member has no bound, or is wrong", body = WireError),
        (status = 401, description = "No valid key", body = WireError),
        (status = 402, description = "A budget is spent: `x-levqor-*` headers say which, and when it resets", body = WireError),
        (status = 403, description = "A key without the scope `ai`", body = WireError),
        (status = 404, description = "No such model", body = WireError),
        (status = 408, description = "The body came too slowly", body = WireError),
        (status = 409, description = "This Idempotency-Key is being answered, or its answer is lost", body = WireError),
        (status = 413, description = "The body is too large", body = WireError),
        (status = 422, description = "Nobody knows what the model costs, or the Idempotency-Key was used before with another request", body = WireError),
        (status = 429, description = "Others hold the money, the provider takes no more calls, or too many calls; see `Retry-After`", body = WireError),
        (status = 502, description = "The provider failed", body = WireError),
        (status = 503, description = "Try again; see `Retry-After`", body = WireError),
        (status = 504, description = "The provider did not answer in time", body = WireError)))]
pub async fn chat_completions(State(app): State<Arc<App>>, context: Context, request: Request) -> Response {
    on_wire(&app, &context, request, Wire::OpenAiChat, vet_chat).await
}

/// Anthropic's messages: change the base URL of a client to this server.
#[utoipa::path(post, path = "/v1/messages", tag = "ai", security(("ApiKey" = []), ("BearerKey" = [])), request_body = Object,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters. The same key with the same request gets the same answer for 24 hours, without a second charge; with another request 422"),
        ("x-levqor-tags" = Option<String>, Header, description = "What budgets of tags count it for: `team=a,env=prod`")),
    responses((status = 200, description = "As Anthropic answers; with `stream` as server-sent events", body = Object),
        (status = 400, description = "A member has no bound, or is wrong", body = WireError),
        (status = 401, description = "No valid key", body = WireError),
        (status = 402, description = "A budget is spent: `x-levqor-*` headers say which, and when it resets", body = WireError),
        (status = 403, description = "A key without the scope `ai`", body = WireError),
        (status = 404, description = "No such model", body = WireError),
        (status = 408, description = "The body came too slowly", body = WireError),
        (status = 409, description = "This Idempotency-Key is being answered, or its answer is lost", body = WireError),
        (status = 413, description = "The body is too large", body = WireError),
        (status = 422, description = "Nobody knows what the model costs, or the Idempotency-Key was used before with another request", body = WireError),
        (status = 429, description = "Others hold the money, the provider takes no more calls, or too many calls; see `Retry-After`", body = WireError),
        (status = 502, description = "The provider failed", body = WireError),
        (status = 503, description = "Try again; see `Retry-After`", body = WireError),
        (status = 504, description = "The provider did not answer in time", body = WireError)))]
pub async fn messages(State(app): State<Arc<App>>, context: Context, request: Request) -> Response {
    on_wire(&app, &context, request, Wire::Anthropic, vet_messages).await
}

async fn on_wire(
    app: &Arc<App>,
    context: &Context,
    request: Request,
    wire: Wire,
    vet: fn(&str) -> Result<Vetted, Refused>,
) -> Response {
    let answered = async {
        let path = request.uri().path().to_owned();
        let entered = app.enter_ai(context, request, true).await?;
        let vetted = vet(&entered.body)?;
        Ok(match app.hold_vetted(&path, entered, vetted).await? {
            Held::Told(response) => response,
            Held::Ready(asked) if asked.stream => answer_stream(app, asked).await,
            Held::Ready(asked) => answer_whole(app, asked).await,
        })
    };
    answered.await.unwrap_or_else(|error: ApiError| error.on_wire(wire))
}

/// How many tokens a body of `POST /v1/messages` has at most.
#[derive(Serialize, ToSchema)]
pub struct TokenCount {
    #[schema(example = 211)]
    input_tokens: u64,
}

/// Say how many tokens a request of Anthropic's wire has at most, as budgets count them. Nobody is called and nothing charged.
#[utoipa::path(post, path = "/v1/messages/count_tokens", tag = "ai", security(("ApiKey" = []), ("BearerKey" = [])), request_body = Object,
    responses((status = 200, body = TokenCount),
        (status = 400, description = "A member has no bound, or is wrong", body = WireError),
        (status = 401, description = "No valid key", body = WireError),
        (status = 403, description = "A key without the scope `ai`", body = WireError),
        (status = 404, description = "No such model", body = WireError),
        (status = 408, description = "The body came too slowly", body = WireError),
        (status = 413, description = "The body is too large", body = WireError),
        (status = 422, description = "Nobody knows what the model costs", body = WireError),
        (status = 429, description = "Too many calls; see `Retry-After`", body = WireError)))]
pub async fn count_tokens(State(app): State<Arc<App>>, context: Context, request: Request) -> Response {
    let counted = async {
        let entered = app.enter_ai(&context, request, true).await?;
        let vetted = vet_messages(&entered.body)?;
        let input_tokens = app.count_vetted(entered, vetted).await?;
        Ok(json(StatusCode::OK, &TokenCount { input_tokens }))
    };
    counted.await.unwrap_or_else(|error: ApiError| error.on_wire(Wire::Anthropic))
}
