//! A hold for a step that has a price of its own: what one attempt costs is known beforehand and needs no provider, no
//! model's health and no answer to read.
//!
//! Invariant: from `spend` on there is a charge under way. Whoever drops it halfway leaves an attempt in doubt, which is
//! charged in full; before that, the permit gives the hold back.

use std::sync::Arc;

use levqor_core::job::Tags;
use levqor_core::money::{
    Bound, CallId, Charge, Component, Mode, Nano, Permit, Price, Rate, Status, Terms, Tier, Unit, Usage,
};
use levqor_store::{CallPlace, NewCall, Reserved, Room, Settlement};

use super::NotHeld;
use super::call::{Owed, Placed};
use super::hold::LEASE_MARGIN_MS;
use crate::Shared;
use crate::figures::Counters;

/// What is to be held, and for whom.
pub(crate) struct Fare {
    pub place: CallPlace,
    pub key: String,
    pub tags: Tags,
    /// As budgets name them.
    pub provider: String,
    pub model: String,
    pub amount: Nano,
    /// How long the attempt may take.
    pub limit_ms: i64,
}

/// A committed hold for one attempt.
pub(crate) struct Paid {
    placed: Placed,
    permit: Option<Permit>,
    /// As far as is known by now.
    owed: Option<Owed>,
}

/// One price for each amount, so that hosts, which may come from payloads, make no prices.
fn price(amount: Nano) -> Price {
    let rate = Rate::from_pico(amount.get().saturating_mul(1_000));
    let each = Component { unit: Unit::Request, tier: Tier::Standard, above_input_tokens: 0, rate };
    Price {
        provider: "step".to_owned(),
        model: "attempt".to_owned(),
        mode: Mode::Chat,
        status: Status::Priced,
        max_input_tokens: None,
        max_output_tokens: None,
        tokens_per_byte_ppm: 1_000_000,
        region_ppm: None,
        fast_ppm: None,
        components: vec![each],
        notes: String::new(),
        source: "the workflow's definition".to_owned(),
        retrieved: String::new(),
    }
}

impl Fare {
    /// Holds it in every budget that binds it.
    pub async fn hold(&self, shared: &Arc<Shared>) -> Result<Paid, NotHeld> {
        shared.ai.house.in_force(shared).await?;
        let price = price(self.amount);
        let price_id = shared.ai.prices.keep(&shared.store, &price).await?;
        let permit = match shared.store.reserve(self.call(shared, price_id, self.amount)).await? {
            Reserved::Granted(permit) => permit,
            Reserved::Known { call, state } => return Err(NotHeld::Known { call, state }),
            Reserved::Refused(refusal) => {
                Counters::add(&shared.counters.ai_refused, 1);
                shared.ai_figures.refused(refusal.scope.kind.as_str());
                return Err(NotHeld::Budget(refusal));
            }
        };
        let placed = Placed {
            shared: shared.clone(),
            call: permit.call(),
            held: permit.held(),
            price: Arc::new(price),
            terms: Terms::STANDARD,
            payer: String::new(),
            is_model: false,
            trying: None,
            slot: None,
        };
        Ok(Paid { placed, permit: Some(permit), owed: None })
    }
}

impl Fare {
    /// How much such an attempt may cost just now.
    pub async fn room(&self, shared: &Arc<Shared>) -> Result<Room, NotHeld> {
        shared.ai.house.in_force(shared).await?;
        Ok(shared.store.find_room(&self.call(shared, String::new(), Nano::ZERO)).await?)
    }

    fn call(&self, shared: &Shared, price_id: String, amount: Nano) -> NewCall {
        let now_ms = shared.clock.now_ms();
        NewCall {
            id: CallId::new(now_ms, rand::random()),
            place: Some(self.place.clone()),
            ask: None,
            key: Some(self.key.clone()),
            user: None,
            tags: self.tags.clone(),
            provider: self.provider.clone(),
            model: self.model.clone(),
            price_id,
            terms: Terms::STANDARD,
            bound: Bound { input_tokens: 0, output_tokens: 0, amount },
            at_ms: now_ms,
            lease_ms: self.limit_ms.saturating_add(LEASE_MARGIN_MS),
        }
    }
}

impl Paid {
    /// To be called just before the request goes out.
    pub fn spend(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.spend();
            let sent_at_ms = self.placed.shared.clock.now_ms();
            let failure = Some("no_answer".to_owned());
            let settlement = self.settlement(Charge::Assume { alarm: None });
            let settlement = Settlement { failure, sent_at_ms: Some(sent_at_ms), ..settlement };
            self.owed = Some(Owed::new(self.placed.clone(), settlement));
        }
    }

    /// An answer came, whatever it says.
    pub fn answered(&mut self, http_status: Option<u16>) {
        let cost = self.placed.held;
        let charge = Charge::Settle { cost, usage: Usage::default(), alarm: None };
        self.charge(charge, |before| Settlement {
            http_status: http_status.map(i64::from),
            failure: None,
            ..before
        });
    }

    /// Surely no byte of the request has reached anybody.
    pub fn not_sent(&mut self) {
        self.charge(Charge::Release, |before| before);
    }

    fn charge(&mut self, charge: Charge, known: impl FnOnce(Settlement) -> Settlement) {
        let Some(owed) = self.owed.take() else { return };
        let at_ms = self.placed.shared.clock.now_ms();
        let settlement = known(Settlement { charge, at_ms, ..owed.settlement.clone() });
        owed.replaced();
        self.owed = Some(Owed::new(self.placed.clone(), settlement));
    }

    fn settlement(&self, charge: Charge) -> Settlement {
        Settlement::new(self.placed.call, charge, self.placed.shared.clock.now_ms())
    }

    /// What is owed for it; `None` where nothing went out: the hold goes back by itself.
    pub fn end(self) -> Option<Owed> {
        self.owed
    }
}
