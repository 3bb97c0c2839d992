//! Calls to AI models under budgets: who may be called, what a call may cost, and that it is paid for once.
//!
//! The walk of a call: `order` (what is wanted) → `hold` (its price, its upper bound, a committed hold) → `call` (sent, read,
//! charged). `prices` and `providers` are what is known beforehand, `health` (with `breaker` and `told`)
//! which models may be called now, `house` keeps what nobody waits for.
//!
//! Invariants: no byte leaves without a permit, and no permit is made here; whatever was sent is charged, by whoever reads
//! the answer, by a task when nobody reads it any more, or by the sweep; nothing here sends a request twice.

mod breaker;
mod call;
mod health;
mod hold;
mod house;
mod not_held;
mod order;
mod paid;
mod payer;
mod prices;
mod providers;
mod settings;
mod settle;
mod told;

use std::sync::Arc;

use levqor_connectors::ai::Provider;
use levqor_connectors::net::Client;
use levqor_core::address::OutboundPolicy;
use levqor_core::audit::Actor;
use levqor_core::money::{Bound, Price};
use levqor_store::{Quarantine, Room};

pub use call::{Open, Over, Owed, Ready};
pub use not_held::{NotHeld, Pause};
pub use order::{Body, Order, RawBody};
pub use settings::AiSettings;

pub(crate) use hold::hold;
pub(crate) use house::{sweep, until_in_force};
pub(crate) use paid::{Fare, Paid};

use crate::{Engine, Shared};

/// What all calls share.
pub(crate) struct Governor {
    providers: providers::Providers,
    client: Client,
    prices: prices::Prices,
    house: house::House,
    health: health::Health,
}

impl Governor {
    pub fn new(settings: &AiSettings, outbound: &OutboundPolicy, user_agent: http::HeaderValue) -> Self {
        Governor {
            client: levqor_connectors::ai::client(
                outbound,
                user_agent,
                settings.providers.iter().chain(&settings.keyless),
            ),
            providers: providers::Providers::new(&settings.providers, &settings.keyless),
            prices: prices::Prices::default(),
            house: house::House::default(),
            health: health::Health::new(&settings.provider_limits),
        }
    }

    /// A provider by the name that a model is asked under, with a key or without.
    pub fn provider(&self, name: &str) -> Option<&Provider> {
        self.providers.known(name).map(AsRef::as_ref)
    }

    /// Whose keys can be stored.
    pub fn vendors(&self) -> Vec<&str> {
        self.providers.vendors()
    }
}

/// The door to AI calls, for HTTP. Cheap to clone.
#[derive(Clone)]
pub struct Ai {
    shared: Arc<Shared>,
}

/// A model that can be called now.
#[derive(Clone, Debug)]
pub struct Model {
    /// As an order names it: `openai`, or `openai-responses` where it is reached that way.
    pub provider: String,
    pub price: Arc<Price>,
}

impl Engine {
    pub fn ai(&self) -> Ai {
        Ai { shared: self.shared.clone() }
    }
}

impl Ai {
    /// Holds what the call can cost at most. See [`Ready::send`] for what comes then.
    pub async fn hold(&self, order: Order) -> Result<Ready, NotHeld> {
        hold(&self.shared, order).await
    }

    /// What the call can cost at most as it was ordered, without regard to budgets and without a hold.
    pub async fn bound(&self, order: Order) -> Result<Bound, NotHeld> {
        hold::bound(&self.shared, order).await
    }

    /// How much the call may cost just now. Only who, where and what for count.
    pub async fn room(&self, order: &Order) -> Result<Room, NotHeld> {
        hold::room(&self.shared, order).await
    }

    /// The models that have a price and a configured provider, sorted by name.
    pub async fn models(&self) -> levqor_store::Result<Vec<Model>> {
        let book = self.shared.ai.prices.book(&self.shared.store).await?;
        Ok(self.shared.ai.providers.models(&book))
    }

    /// Runs what reads an answer, whoever waits for it; the process waits for it when it stops.
    pub fn spawn(&self, reading: impl Future<Output = ()> + Send + 'static) {
        settle::in_background(&self.shared, reading);
    }

    /// Models that cost more than their price list says, and are not called until somebody lifts that.
    pub async fn quarantines(&self) -> levqor_store::Result<Vec<Quarantine>> {
        self.shared.store.list_quarantines().await
    }

    /// Lets a model be called again. False: it was not in quarantine.
    pub async fn lift_quarantine(
        &self,
        provider: &str,
        model: &str,
        by: &Actor,
    ) -> levqor_store::Result<bool> {
        let now_ms = self.shared.clock.now_ms();
        let lifted = self.shared.store.lift_quarantine(provider, model, by, now_ms).await?;
        self.shared.ai.health.forget_quarantines();
        Ok(lifted)
    }

    /// To be called when a price list was activated: the next call looks at the prices again. Other nodes do within seconds.
    pub async fn forget_prices(&self) {
        self.shared.ai.prices.forget().await;
    }
}
