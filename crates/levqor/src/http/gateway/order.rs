//! From a vetted request to a committed hold: which provider it goes to, in its own words or translated.

use axum::response::Response;
use levqor_connectors::ai::{Limits, Provider, hear};
use levqor_core::gateway::{Found, Vetted, find_model, vet_betas, with_provider};
use levqor_core::job::Tags;
use levqor_core::money::Wire;
use levqor_engine::ai::{Body, NotHeld, Order, RawBody, Ready};

use super::Entered;
use super::once::{Once, Turn};
use crate::http::App;
use crate::http::error::{ApiError, Result};

/// Anthropic's header of experiments.
const BETA: &str = "anthropic-beta";

/// So often the same question may be ended without a charge by others while this one asks.
const MAX_KNOWN: usize = 8;

/// A call with its hold, and how its answer is told.
pub struct Asked {
    pub ready: Ready,
    pub wire: Wire,
    pub stream: bool,
    /// It goes out, and comes back, in the caller's own words.
    pub is_raw: bool,
    pub wants_usage: bool,
    /// `provider/name`, of what is called.
    pub model: String,
    pub once: Option<Once>,
}

/// What came of asking.
pub enum Held<T> {
    /// The answer of an earlier time.
    Told(Response),
    Ready(T),
}

impl App {
    /// Holds what the vetted request can cost at most.
    pub async fn hold_vetted(&self, path: &str, entered: Entered, vetted: Vetted) -> Result<Held<Asked>> {
        let once = Once::of(path, &entered, vetted.user.as_deref(), vetted.stream)?;
        let (wire, stream, wants_usage) = (vetted.wire, vetted.stream, vetted.wants_usage);
        let (order, is_raw) = self.order_vetted(entered, vetted).await?;
        let model = format!("{}/{}", order.provider, order.model);
        Ok(match self.hold_once(once.as_ref(), order).await? {
            Held::Told(response) => Held::Told(response),
            Held::Ready(ready) => {
                Held::Ready(Asked { ready, wire, stream, is_raw, wants_usage, model, once })
            }
        })
    }

    /// How many tokens the vetted request has at most. Nobody is called.
    pub async fn count_vetted(&self, entered: Entered, vetted: Vetted) -> Result<u64> {
        let (order, _) = self.order_vetted(entered, vetted).await?;
        let bound = self.engine.ai().bound(order).await;
        let bound = bound.map_err(|not_held| ApiError::not_held(not_held, self.clock.now_ms()))?;
        Ok(bound.input_tokens)
    }

    /// The order for a vetted request, and whether it goes out in the caller's own words.
    async fn order_vetted(&self, entered: Entered, vetted: Vetted) -> Result<(Order, bool)> {
        let Entered { key, tags, headers, .. } = entered;
        let found = self.find_ai_model(&vetted.model).await?;
        let provider = self.find_ai_provider(&found)?;
        let betas = headers.get(BETA).and_then(|value| value.to_str().ok()).unwrap_or_default();
        vet_betas(betas)?;
        let (wire, stream) = (vetted.wire, vetted.stream);
        let is_raw = provider.wire == wire;
        let (wish, terms, user) = (vetted.wish, vetted.terms, vetted.user.clone());
        let body = if is_raw {
            let betas = (BETA.to_owned(), betas.to_owned());
            let headers =
                if betas.1.is_empty() || wire != Wire::Anthropic { Vec::new() } else { vec![betas] };
            Body::Raw(RawBody { vetted, headers })
        } else {
            Body::Ask(hear(wire, vetted.text(), &found.model, provider.wire)?)
        };
        // A whole answer shows no life before its end.
        let limits = if is_raw && !stream { self.ai_limits_whole() } else { self.ai_limits() };
        Ok((Order { body, wish, terms, user, tags, ..self.ai_order(found, key, limits) }, is_raw))
    }

    /// A hold, or the answer that this very question had before.
    pub async fn hold_once(&self, once: Option<&Once>, order: Order) -> Result<Held<Ready>> {
        let told = |not_held| ApiError::not_held(not_held, self.clock.now_ms());
        let Some(once) = once else {
            return Ok(Held::Ready(self.engine.ai().hold(order).await.map_err(told)?));
        };
        for _ in 0..MAX_KNOWN {
            let place = match self.turn(once).await? {
                Turn::Told(response) => return Ok(Held::Told(response)),
                Turn::Ours(place) => place,
            };
            let order = Order { ask: Some(place), ..order.clone() };
            match self.engine.ai().hold(order).await {
                // Somebody else was first, just now.
                Err(NotHeld::Known { .. }) => {}
                held => return Ok(Held::Ready(held.map_err(told)?)),
            }
        }
        Err(ApiError::in_progress())
    }

    /// An order of this model for this key, with nothing in it yet.
    pub fn ai_order(&self, found: Found, key: String, limits: Limits) -> Order {
        let order = Order::of_ask("", Default::default(), limits);
        Order { provider: found.provider, model: found.model, key: Some(key), tags: Tags::new(), ..order }
    }

    /// The model that a name means.
    pub async fn find_ai_model(&self, name: &str) -> Result<Found> {
        let providers: Vec<&str> = self.config.ai.providers.iter().map(|it| it.name.as_str()).collect();
        if let Some(found) = with_provider(&providers, name) {
            return Ok(found);
        }
        let models = self.engine.ai().models().await?;
        let models = models.iter().map(|model| (model.provider.as_str(), model.price.model.as_str()));
        Ok(find_model(&providers, models, name)?)
    }

    pub fn find_ai_provider(&self, found: &Found) -> Result<&Provider> {
        let provider = self.config.ai.providers.iter().find(|it| it.name == found.provider);
        provider.ok_or_else(ApiError::internal)
    }

    pub fn ai_limits(&self) -> Limits {
        self.config.ai.settings().limits
    }

    fn ai_limits_whole(&self) -> Limits {
        let limits = self.ai_limits();
        Limits { first_byte_ms: limits.total_ms, ..limits }
    }
}
