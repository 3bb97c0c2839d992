//! The models that can be called, as OpenAI's and Anthropic's SDKs both read them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use levqor_core::money::Wire;
use levqor_engine::ai::Model;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::PathText;
use crate::http::App;
use crate::http::body::json;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::schema::ai::WireError;

/// A model, with the members of both vendors.
#[derive(Serialize, ToSchema)]
pub struct ModelView {
    created: i64,
    #[schema(example = "1970-01-01T00:00:00Z")]
    created_at: &'static str,
    display_name: String,
    #[schema(example = "openai/gpt-6-sol")]
    id: String,
    max_input_tokens: Option<u64>,
    /// The longest answer.
    max_tokens: Option<u64>,
    #[schema(example = "model")]
    object: &'static str,
    #[schema(example = "openai")]
    owned_by: String,
    r#type: &'static str,
}

#[derive(Serialize, ToSchema)]
pub struct ModelList {
    data: Vec<ModelView>,
    first_id: Option<String>,
    has_more: bool,
    last_id: Option<String>,
    #[schema(example = "list")]
    object: &'static str,
}

impl From<Model> for ModelView {
    fn from(model: Model) -> Self {
        let id = format!("{}/{}", model.provider, model.price.model);
        ModelView {
            created: 0,
            created_at: "1970-01-01T00:00:00Z",
            display_name: id.clone(),
            id,
            max_input_tokens: model.price.max_input_tokens,
            max_tokens: model.price.max_output_tokens,
            object: "model",
            owned_by: model.provider,
            r#type: "model",
        }
    }
}

/// List the models that have a price and a configured provider.
#[utoipa::path(get, path = "/v1/models", tag = "ai", security(("BearerKey" = []), ("ApiKey" = [])),
    responses((status = 200, body = ModelList),
        (status = 401, description = "No valid key", body = WireError),
        (status = 403, description = "A key without the scope `ai`", body = WireError)))]
pub async fn list_models(State(app): State<Arc<App>>, context: Context, headers: HeaderMap) -> Response {
    let listed = async {
        app.require_ai_key(&context, &headers, true)?;
        let models = app.engine.ai().models().await?;
        let data: Vec<ModelView> = models.into_iter().map(ModelView::from).collect();
        let (first_id, last_id) = (data.first().map(|it| it.id.clone()), data.last().map(|it| it.id.clone()));
        let list = ModelList { data, first_id, has_more: false, last_id, object: "list" };
        Ok(json(StatusCode::OK, &list))
    };
    listed.await.unwrap_or_else(|error: ApiError| error.on_wire(wire_of(&headers)))
}

/// Show one of them. The slash in its name may stand as it is, or as `%2F`.
#[utoipa::path(get, path = "/v1/models/{*model}", tag = "ai", security(("BearerKey" = []), ("ApiKey" = [])),
    params(("model" = String, Path, description = "`provider/name`, or the name where only one provider has it")),
    responses((status = 200, body = ModelView),
        (status = 401, description = "No valid key", body = WireError),
        (status = 403, description = "A key without the scope `ai`", body = WireError),
        (status = 404, description = "No such model", body = WireError)))]
pub async fn get_model(
    State(app): State<Arc<App>>,
    context: Context,
    headers: HeaderMap,
    name: PathText,
) -> Response {
    let found: Result<Response> = async {
        app.require_ai_key(&context, &headers, true)?;
        let found = app.find_ai_model(&name.text).await?;
        let models = app.engine.ai().models().await?;
        let is_it = |model: &Model| model.provider == found.provider && model.price.model == found.model;
        let model = models.into_iter().find(is_it).ok_or_else(|| ApiError::unknown_model(&name.text))?;
        Ok(json(StatusCode::OK, &ModelView::from(model)))
    }
    .await;
    found.unwrap_or_else(|error| error.on_wire(wire_of(&headers)))
}

/// Whose SDK asks: only Anthropic's say a version.
fn wire_of(headers: &HeaderMap) -> Wire {
    if headers.contains_key("anthropic-version") { Wire::Anthropic } else { Wire::OpenAiChat }
}
