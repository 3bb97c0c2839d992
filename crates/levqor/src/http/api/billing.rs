//! Billing with Stripe: a checkout to be sent to, the customer portal, and the events that come back.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, Uri};
use levqor_connectors::LIMIT_MS;
use levqor_connectors::stripe::{Checkout, Stripe};
use levqor_core::checkout::{INVALID_CHECKOUT, parse_checkout, parse_portal};
use levqor_core::intake::body_hash;
use levqor_core::stripe::event::{self, Event};
use levqor_core::stripe::signature;
use serde::Serialize;
use utoipa::ToSchema;

use super::intake::idempotency;
use super::query::Query;
use crate::config::Secret;
use crate::http::App;
use crate::http::body::{self, json};
use crate::http::context::Context;
use crate::http::error::{ApiError, Result};
use crate::http::headers::STRIPE_SIGNATURE;
use crate::http::schema::{BareError, CheckoutBody, NamedError, PortalBody};

/// Where customers come back to: pages that `pages.rs` has.
const SUCCESS_PATH: &str = "/public/billing/success";
const CANCEL_PATH: &str = "/public/billing/cancel";
const RETURN_PATH: &str = "/public/billing/return";

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutView {
    #[schema(example = "cs_test_a1YS1URlnyQCN5fUUduORoQ7Pw41PJqDWkIVQCpJPqkfIhd6tVY8XB1OLY")]
    session_id: String,
    /// Send the customer there.
    #[schema(example = "https://checkout.stripe.com/c/pay/cs_test_a1YS1URlnyQ")]
    url: String,
}

#[derive(Serialize, ToSchema)]
pub struct PortalView {
    /// Send the customer there; it is good for a few minutes.
    #[schema(example = "https://billing.stripe.com/p/session/test_YWNjdF8xTTJ")]
    url: String,
}

#[derive(Serialize, ToSchema)]
pub struct EventReceived {
    received: bool,
}

/// Begin a checkout at Stripe: one item, paid once. Needs no key when `PUBLIC_CHECKOUT=true`.
#[utoipa::path(post, path = "/billing/create-checkout-session", tag = "billing", security((), ("ApiKey" = [])), request_body = CheckoutBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, handed on to Stripe: the same key with the same body gets the same session")),
    responses((status = 200, description = "Made", body = CheckoutView),
        (status = 422, description = "The idempotency key was used before with another body", body = NamedError),
        (status = 502, description = "Stripe refused, cannot be reached, or cannot be understood", body = NamedError),
        (status = 503, description = "Billing is not set up, or try again", body = NamedError),
        (status = 504, description = "Stripe did not answer in time", body = NamedError)))]
pub async fn create_checkout(
    State(app): State<Arc<App>>,
    context: Context,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = match app.config.public_checkout {
        true => app.require_public_write(&context, &parts.headers).await?,
        false => app.require_write(&context, &parts.headers).await?.name.to_string(),
    };
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    if !body::is_json(&parts.headers) {
        return Err(ApiError::legacy_content_type("application/json"));
    }
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let asked = parse_checkout(&body)?;
    let idempotency_key = idempotency_key(&parts.headers, &body, &caller)?;
    let secret_key = app.stripe_secret_key()?;
    let prices = &app.config.stripe.prices;
    let missing = || ApiError::not_configured("STRIPE_PRICES is not set: there is nothing to buy");
    let default_price = prices.first().ok_or_else(missing)?;
    let price_id = asked.price_id.as_ref().unwrap_or(default_price);
    if !prices.contains(price_id) {
        let details = format!("price_id: {price_id:?} is not among STRIPE_PRICES");
        return Err(ApiError::legacy(INVALID_CHECKOUT, Some(details)));
    }
    let base = &app.config.public_base_url;
    let checkout = Checkout {
        price_id,
        email: asked.email.as_deref(),
        user_id: asked.user_id.as_deref(),
        success_url: &format!("{base}{SUCCESS_PATH}"),
        cancel_url: &format!("{base}{CANCEL_PATH}"),
    };
    let session = app.stripe(secret_key).create_checkout(&checkout, &idempotency_key).await;
    let session = session.map_err(|error| ApiError::stripe(&error))?;
    Ok(json(StatusCode::OK, &CheckoutView { session_id: session.id, url: session.url }))
}

/// Open Stripe's customer portal for a person who has paid.
#[utoipa::path(post, path = "/billing/portal", tag = "billing", security(("ApiKey" = [])), request_body = PortalBody,
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters, handed on to Stripe")),
    responses((status = 200, description = "Made", body = PortalView),
        (status = 404, description = "No such person", body = NamedError),
        (status = 409, description = "No payment of this person belongs to a customer", body = NamedError),
        (status = 422, description = "The idempotency key was used before with another body", body = NamedError),
        (status = 502, description = "Stripe refused, cannot be reached, or cannot be understood", body = NamedError),
        (status = 503, description = "Billing is not set up, or try again", body = NamedError),
        (status = 504, description = "Stripe did not answer in time", body = NamedError)))]
pub async fn create_portal(
    State(app): State<Arc<App>>,
    context: Context,
    uri: Uri,
    request: Request,
) -> Result<Response> {
    let (parts, body) = request.into_parts();
    let caller = app.require_write(&context, &parts.headers).await?;
    Query::parse(&uri, &[], &[])?;
    body::refuse_announced(&parts.headers, app.config.max_content_length_bytes)?;
    if !body::is_json(&parts.headers) {
        return Err(ApiError::content_type("application/json"));
    }
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    let user_id = parse_portal(&body).map_err(|problem| ApiError::invalid("invalid_request", problem))?;
    let idempotency_key = idempotency_key(&parts.headers, &body, &caller.name)?;
    let secret_key = app.stripe_secret_key()?;
    let customer = app.engine.store().get_customer(&user_id).await?;
    let return_url = format!("{}{RETURN_PATH}", app.config.public_base_url);
    let session = app.stripe(secret_key).create_portal(&customer, &return_url, &idempotency_key).await;
    let session = session.map_err(|error| ApiError::stripe(&error))?;
    Ok(json(StatusCode::OK, &PortalView { url: session.url }))
}

/// Take an event of Stripe's. It is believed by its signature alone, handled once by its id, and answered when it is on disk.
#[utoipa::path(post, path = "/billing/webhook", tag = "billing",
    request_body(content = Object, description = "An event as Stripe signs it"),
    params(("Stripe-Signature" = String, Header, description = "`t=<seconds>,v1=<hex>`")),
    responses((status = 200, description = "Taken, now or before; or of a type that means nothing here", body = EventReceived),
        (status = 400, description = "The signature does not fit, or the body is no event", body = BareError),
        (status = 503, description = "No signing secret is set, or try again", body = NamedError)))]
pub async fn receive_event(State(app): State<Arc<App>>, request: Request) -> Result<Response> {
    let secrets: Vec<&str> = app.config.stripe.webhook_secrets.iter().map(Secret::reveal).collect();
    if secrets.is_empty() {
        return Err(ApiError::not_configured("STRIPE_WEBHOOK_SECRET is not set: no event can be believed"));
    }
    let (parts, body) = request.into_parts();
    let body = body::read(&parts.headers, body, app.config.max_content_length_bytes).await?;
    // A header that came several times is one list, as everywhere in HTTP.
    let signatures: Vec<&[u8]> =
        parts.headers.get_all(STRIPE_SIGNATURE).iter().map(|value| value.as_bytes()).collect();
    let now_ms = app.clock.now_ms();
    if let Err(why) = signature::verify(&secrets, &signatures.join(&b','), &body, now_ms) {
        app.metrics.webhook_event("invalid_signature");
        tracing::warn!(%why, "a delivery to the webhook is not believed");
        return Err(ApiError::invalid_signature());
    }
    let verdict = match event::read(&body, now_ms) {
        Err(why) => {
            app.metrics.webhook_event("invalid_payload");
            tracing::warn!(%why, "a signed delivery to the webhook cannot be read");
            return Err(ApiError::invalid_event());
        }
        Ok(Event::Other) => "ignored",
        Ok(Event::Payment { payment, email }) => {
            let notice = email.and_then(|address| payment.mail_to(&address));
            let recorded = app.engine.record_payment(*payment, notice).await;
            // A refusal makes Stripe send the event again.
            let is_new = recorded.inspect_err(|_| app.metrics.webhook_event("failed"))?;
            if is_new { "recorded" } else { "repeated" }
        }
    };
    app.metrics.webhook_event(verdict);
    Ok(json(StatusCode::OK, &EventReceived { received: true }))
}

impl App {
    fn stripe_secret_key(&self) -> Result<&str> {
        let missing = || ApiError::not_configured("STRIPE_SECRET_KEY is not set: nothing can be bought");
        self.config.stripe.secret_key.as_ref().map(Secret::reveal).ok_or_else(missing)
    }

    fn stripe<'a>(&'a self, secret_key: &'a str) -> Stripe<'a> {
        Stripe {
            connectors: self.engine.connectors(),
            secret_key,
            limit_ms: LIMIT_MS,
            now_ms: self.clock.now_ms(),
        }
    }
}

/// What Stripe knows the request by: the caller's own key within the caller's own space, else one for this request.
fn idempotency_key(headers: &HeaderMap, body: &[u8], caller: &str) -> Result<String> {
    Ok(match idempotency(headers, body)? {
        Some(given) => format!("levqor-{}", body_hash(format!("{caller}\n{}", given.key).as_bytes())),
        None => format!("levqor-{:032x}", rand::random::<u128>()),
    })
}
