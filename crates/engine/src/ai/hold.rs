//! From an order to a committed hold: who, at which price, how dear at most, and whether the budgets take it.
//!
//! The bound is made from the very body that goes out. In fit mode the answer's limit is lowered until the call fits, and
//! the body is written again with it: what is held and what is sent are one figure.

use std::sync::Arc;

use bytes::Bytes;
use levqor_connectors::ai::{Outgoing, Provider};
use levqor_core::money::{
    Allowances, Bound, CallId, Fit, MAX_AMOUNT, Nano, Permit, Price, Shape, Terms, Tier, Wire, Wish, fit,
};
use levqor_store::{NewCall, Reserved, Room};

use super::call::{Placed, Ready};
use super::health::{Taken, Try};
use super::payer::Payer;
use super::providers::is_served;
use super::{NotHeld, Order};
use crate::Shared;
use crate::figures::Counters;

/// What is asked for where neither the caller nor the price list knows a limit.
const USUAL_OUTPUT_TOKENS: u64 = 4_096;
/// Others may take the room that was seen; then it is looked for again.
const TRIES: usize = 4;
/// No token is longer on average, so a text of this many bytes for each token of the window surely does not fit.
const BYTES_A_TOKEN: u64 = 16;
/// What lies around the call itself: the way to the first byte, and the charge's way to the database.
pub(super) const LEASE_MARGIN_MS: i64 = 30_000;

/// An order whose provider and price are known, with its body and what that can cost.
struct Weighed {
    order: Order,
    payer: Payer,
    price: Arc<Price>,
    body: Bytes,
    shape: Shape,
    terms: Terms,
    /// The terms that the bound is made with.
    dearest: Terms,
    wish: Wish,
    /// As ordered, if no budget bound it.
    bound: Bound,
}

pub(crate) async fn hold(shared: &Arc<Shared>, order: Order) -> Result<Ready, NotHeld> {
    let held = try_hold(shared, order).await;
    if let Err(NotHeld::Budget(refusal)) = &held {
        Counters::add(&shared.counters.ai_refused, 1);
        shared.ai_figures.refused(refusal.scope.kind.as_str());
    }
    held
}

async fn try_hold(shared: &Arc<Shared>, order: Order) -> Result<Ready, NotHeld> {
    // Without the budgets of the settings there would be no ceiling.
    shared.ai.house.in_force(shared).await?;
    let weighed = weigh(shared, order).await?;
    let price_id = shared.ai.prices.keep(&shared.store, &weighed.price).await?;
    let trying = shared.ai.health.gate(shared, &weighed.payer, &weighed.order.model).await?;
    let mut bound = weighed.bound;
    let tokens = bound.input_tokens.saturating_add(bound.output_tokens);
    let taken = shared.ai.health.take(shared, &weighed.payer, tokens).await?;
    let mut tries = 1;
    loop {
        let call = weighed.call(shared, &price_id, bound);
        let refusal = match shared.store.reserve(call.clone()).await? {
            Reserved::Granted(permit) => return Ok(weighed.ready(shared, bound, permit, trying, taken)),
            Reserved::Known { call, state } => return Err(NotHeld::Known { call, state }),
            Reserved::Refused(refusal) => refusal,
        };
        let smaller = match weighed.order.fit && tries < TRIES {
            true => weighed.fit(shared.store.find_room(&call).await?.room.unwrap_or(MAX_AMOUNT))?,
            false => bound,
        };
        // Once more even where nothing fits: the budget's no then speaks of the shortest answer worth having.
        if smaller.amount >= bound.amount {
            return Err(NotHeld::Budget(refusal));
        }
        bound = smaller;
        tries += 1;
    }
}

/// What the call can cost at most as it was ordered.
pub(super) async fn bound(shared: &Arc<Shared>, order: Order) -> Result<Bound, NotHeld> {
    Ok(weigh(shared, order).await?.bound)
}

/// How much the call may cost just now.
pub(super) async fn room(shared: &Arc<Shared>, order: &Order) -> Result<Room, NotHeld> {
    // Before the budgets of the settings there would be room for everything.
    shared.ai.house.in_force(shared).await?;
    let provider = Payer::find(shared, &order.provider, order.connection.as_deref()).await?.provider;
    let nothing = Bound { input_tokens: 0, output_tokens: 0, amount: Nano::ZERO };
    let call = new_call(shared, order, &provider, String::new(), Terms::STANDARD, nothing);
    Ok(shared.store.find_room(&call).await?)
}

async fn weigh(shared: &Arc<Shared>, mut order: Order) -> Result<Weighed, NotHeld> {
    let payer = Payer::find(shared, &order.provider, order.connection.as_deref()).await?;
    let provider = &payer.provider;
    let price = shared.ai.prices.find(&shared.store, provider.vendor(), &order.model).await?;
    let Some(price) = price else {
        let (provider, model) = (provider.vendor().to_owned(), order.model);
        return Err(NotHeld::NoPrice { provider, model: model.chars().take(200).collect() });
    };
    if !is_served(provider, &price) {
        return Err(NotHeld::NotServed { provider: provider.name.clone(), model: order.model });
    }
    let usual = order.wish.usual.or(price.max_output_tokens).unwrap_or(USUAL_OUTPUT_TOKENS);
    let wish = Wish { usual: Some(usual), ..order.wish };
    let most = price.max_output_tokens.unwrap_or(u64::MAX);
    let wanted = wish.requested.unwrap_or(usual).clamp(1, most.max(1));
    let body = order.body.render(provider, &order.model, wanted);
    let shape = order.body.shape(body.len());
    if let Some(most_tokens) = price.max_input_tokens
        && shape.text_bytes > most_tokens.saturating_mul(BYTES_A_TOKEN)
    {
        return Err(NotHeld::InputTooLong { bytes: shape.text_bytes, most_tokens });
    }
    let region = order.terms.region || provider.is_regional() && price.region_ppm.is_some();
    let terms = Terms { tier: Tier::Standard, region, ..order.terms };
    let dearest = dearest(provider, &price, terms);
    let bound = fit(&price, &shape, &dearest, &Allowances::default(), &wish, MAX_AMOUNT);
    let (Fit::Fits(bound) | Fit::TooDear(bound)) = bound.map_err(NotHeld::Unpriced)?;
    let mut weighed = Weighed { order, payer, price, body, shape, terms, dearest, wish, bound };
    if bound.output_tokens != wanted {
        weighed.write(bound.output_tokens);
    }
    Ok(weighed)
}

/// Anthropic's customers may pin all their calls to a region by a setting of theirs, which no request shows.
fn dearest(provider: &Provider, price: &Price, terms: Terms) -> Terms {
    let may_be_pinned = provider.wire == Wire::Anthropic && price.region_ppm.is_some();
    Terms { region: terms.region || may_be_pinned, ..terms }
}

impl Weighed {
    /// The call with a limit on its answer that costs no more than `room`, or the shortest worth having. A shorter limit makes
    /// no longer body, so the shape stays a bound.
    fn fit(&self, room: Nano) -> Result<Bound, NotHeld> {
        let fitted = fit(&self.price, &self.shape, &self.dearest, &Allowances::default(), &self.wish, room);
        let (Fit::Fits(bound) | Fit::TooDear(bound)) = fitted.map_err(NotHeld::Unpriced)?;
        Ok(bound)
    }

    fn call(&self, shared: &Shared, price_id: &str, bound: Bound) -> NewCall {
        new_call(shared, &self.order, &self.payer.provider, price_id.to_owned(), self.terms, bound)
    }

    fn write(&mut self, output_tokens: u64) {
        self.body = self.order.body.render(&self.payer.provider, &self.order.model, output_tokens);
    }

    fn ready(
        mut self,
        shared: &Arc<Shared>,
        bound: Bound,
        permit: Permit,
        trying: Option<Arc<Try>>,
        taken: Taken,
    ) -> Ready {
        // What the permit allows, and nothing else, is what goes out.
        if permit.output_tokens() != self.bound.output_tokens {
            self.write(permit.output_tokens());
        }
        let outgoing = Outgoing {
            model: self.order.model.clone(),
            body: self.body,
            stream: self.order.body.is_stream(),
            headers: self.order.body.into_headers(),
        };
        let placed = Placed {
            shared: shared.clone(),
            call: permit.call(),
            held: permit.held(),
            price: self.price,
            terms: self.terms,
            payer: self.payer.name,
            is_model: true,
            trying,
            slot: None,
        };
        let limits = self.order.limits;
        Ready { placed, provider: self.payer.provider, bound, permit, outgoing, limits, taken }
    }
}

fn new_call(
    shared: &Shared,
    order: &Order,
    provider: &Provider,
    price_id: String,
    terms: Terms,
    bound: Bound,
) -> NewCall {
    let now_ms = shared.clock.now_ms();
    NewCall {
        id: CallId::new(now_ms, rand::random()),
        place: order.place.clone(),
        ask: order.ask.clone(),
        key: order.key.clone(),
        user: order.user.clone(),
        tags: order.tags.clone(),
        provider: provider.vendor().to_owned(),
        model: order.model.clone(),
        price_id,
        terms,
        bound,
        at_ms: now_ms,
        lease_ms: i64::try_from(order.limits.total_ms).unwrap_or(i64::MAX).saturating_add(LEASE_MARGIN_MS),
    }
}
