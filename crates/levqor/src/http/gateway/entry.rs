//! Who asks, and what: the checks before anything is known of models. The order is that of all routes: key, scope, rate, size,
//! type, text.

use std::sync::Arc;

use axum::extract::Request;
use http::HeaderMap;
use levqor_core::gateway::parse_tags;
use levqor_core::job::Tags;
use levqor_core::json::text_from_body;

use crate::http::App;
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};

/// A header of tags that the budgets count by.
const TAGS: &str = "x-levqor-tags";

/// A request that may be looked at.
pub struct Entered {
    /// What budgets of keys go by.
    pub key: String,
    /// What idempotency keys are scoped by.
    pub caller: Arc<str>,
    pub tags: Tags,
    pub headers: HeaderMap,
    pub body: String,
}

impl App {
    /// A call to a model: key, scope, a place in the window, then the body. `on_wire`: a missing key is 401, as the vendors'
    /// SDKs expect, and not 403 as everywhere else.
    pub async fn enter_ai(&self, context: &Context, request: Request, on_wire: bool) -> Result<Entered> {
        let (parts, body) = request.into_parts();
        let caller = self.require_ai_key(context, &parts.headers, on_wire)?;
        context.set_left(self.limits.count_ai(context.client(), self.clock.now_ms())?);
        let limit_bytes = self.config.ai_max_body_bytes;
        body::refuse_announced(&parts.headers, limit_bytes)?;
        if !body::is_json(&parts.headers) {
            return Err(ApiError::content_type("application/json"));
        }
        let body = body::read(&parts.headers, body, limit_bytes).await?;
        let text = text_from_body(&body)
            .map_err(|problem| ApiError::invalid("invalid_request", problem.to_string()))?;
        let tags = match parts.headers.get(TAGS) {
            None => Tags::new(),
            Some(value) => {
                let text = std::str::from_utf8(value.as_bytes())
                    .map_err(|_| ApiError::invalid("invalid_request", "x-levqor-tags must be UTF-8"))?;
                parse_tags(text)?
            }
        };
        let (key, body) = (budget_key(&caller), text.to_owned());
        Ok(Entered { key, caller: caller.name, tags, headers: parts.headers, body })
    }

    /// The caller behind a key in either of the two headers that SDKs use.
    pub fn require_ai_key(&self, context: &Context, headers: &HeaderMap, on_wire: bool) -> Result<Caller> {
        match self.require_key_or_bearer(context, headers) {
            Err(error) if on_wire && error.is_wrong_key() => Err(ApiError::wrong_ai_key()),
            other => other,
        }
    }
}

/// The id of a key, the same after a rotation; of a key of the environment, what the audit log calls it.
fn budget_key(caller: &Caller) -> String {
    match caller.name.strip_prefix("key:") {
        Some(family) => family.to_owned(),
        None => caller.actor.as_str().to_owned(),
    }
}
