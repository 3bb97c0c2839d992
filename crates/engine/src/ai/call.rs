//! A call with its hold: ready to go, on its way, over.
//!
//! Whoever drops one of these loses nothing but the answer: a call that was not sent gives its hold back, one that is on its
//! way is read to its end and charged by a task, one that is over is charged by a task.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use levqor_connectors::ai::{Answer, Event, Exchange, Gather, Limits, Outgoing, Provider, send};
use levqor_core::money::{Alarm, Bound, CallId, Charge, Ending, Nano, Permit, Price, Terms, charge};
use levqor_store::{Settled, Settlement};

use super::health::{Slot, Taken, Try};
use super::settle::{self, Uncharged};
use super::told;
use crate::Shared;
use crate::figures::Counters;

/// Which call it is, and what it is charged by.
#[derive(Clone)]
pub(super) struct Placed {
    pub shared: Arc<Shared>,
    pub call: CallId,
    pub held: Nano,
    pub price: Arc<Price>,
    pub terms: Terms,
    /// Whose key it goes out under.
    pub payer: String,
    /// False for a step with a price of its own: there is no model whose health it tells of.
    pub is_model: bool,
    /// It tries whether the model answers again.
    pub trying: Option<Arc<Try>>,
    pub slot: Option<Slot>,
}

/// A committed hold with the request that it was made for. Dropped, it gives the hold back.
#[must_use = "it holds money until it is sent or dropped"]
pub struct Ready {
    pub(super) placed: Placed,
    pub(super) provider: Arc<Provider>,
    pub(super) bound: Bound,
    pub(super) permit: Permit,
    pub(super) outgoing: Outgoing,
    pub(super) limits: Limits,
    pub(super) taken: Taken,
}

impl Ready {
    pub fn call(&self) -> CallId {
        self.placed.call
    }

    pub fn bound(&self) -> Bound {
        self.bound
    }

    /// Sends the request, once, and waits for the head of the answer. Whoever stops waiting does not stop the call.
    pub async fn send(self) -> Open {
        let shared = self.placed.shared.clone();
        let giving_up = shared.giving_up.clone();
        let sending = shared.tasks.spawn(async move {
            tokio::select! {
                open = self.go() => Some(open),
                () = giving_up.cancelled() => None,
            }
        });
        match sending.await {
            Ok(Some(open)) => open,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The process ends, and whoever waits here with it; the sweep charges the call.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    async fn go(self) -> Open {
        let Ready { mut placed, provider, permit, outgoing, limits, taken, .. } = self;
        placed.slot = taken.keep();
        let shared = placed.shared.clone();
        let sent_at_ms = shared.clock.now_ms();
        Counters::add(&shared.counters.ai_calls, 1);
        let exchange = send(&shared.ai.client, &provider, outgoing, limits, permit, sent_at_ms).await;
        Open { reading: Some(Reading { placed, provider, exchange, sent_at_ms }) }
    }
}

/// An answer that is being read.
pub struct Open {
    reading: Option<Reading>,
}

struct Reading {
    placed: Placed,
    provider: Arc<Provider>,
    exchange: Exchange,
    sent_at_ms: i64,
}

impl Open {
    /// The status of the answer; `None` where none came.
    pub fn status(&self) -> Option<StatusCode> {
        self.reading.as_ref()?.exchange.status()
    }

    /// The next event as the provider sent it, `None` at the end.
    pub async fn next(&mut self) -> Option<Event> {
        self.reading.as_mut()?.exchange.next().await
    }

    /// The answer as far as it has come; `None` once it is over.
    pub fn gather(&self) -> Option<&Gather> {
        Some(self.reading.as_ref()?.exchange.gather())
    }

    /// The answer as it came, for a request that was no stream.
    pub async fn whole(&mut self) -> Bytes {
        match &mut self.reading {
            Some(reading) => reading.exchange.whole().await,
            None => Bytes::new(),
        }
    }

    /// Reads what is left, and says what it cost. Not yet charged: see [`Over`].
    pub async fn end(mut self) -> Over {
        // Read in place, so that somebody who stops waiting here leaves an answer that goes on.
        if let Some(reading) = &mut self.reading {
            reading.exchange.finish_reading().await;
        }
        let reading = self.reading.take().expect("taken here and in drop only");
        reading.over().await
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        let shared = reading.placed.shared.clone();
        settle::in_background(&shared.clone(), async move {
            let over = reading.over().await;
            // Nobody is left to tell; what goes wrong is logged there.
            let _ = over.settle().await;
        });
    }
}

impl Reading {
    async fn over(self) -> Over {
        let Reading { placed, provider, exchange, sent_at_ms } = self;
        let answer = exchange.end().await;
        let Placed { shared, call, held, price, terms, payer, .. } = &placed;
        if let Some(until_ms) = told::until_ms(&answer, shared.clock.now_ms()) {
            shared.ai.health.told(payer, &price.model, until_ms);
        }
        let charge = charge(&answer.ending, provider.profile, price, terms, *held);
        let cost = match &charge {
            Charge::Release => Nano::ZERO,
            Charge::Settle { cost, .. } => *cost,
            Charge::Assume { .. } => *held,
        };
        let settlement = Settlement {
            usage_raw: answer.gather.raw_usage(),
            provider_request_id: answer.gather.id.clone(),
            http_status: answer.status.map(|status| i64::from(status.as_u16())),
            finish_reason: answer.gather.finish.as_ref().map(|finish| finish.as_str().to_owned()),
            failure: failure(&answer),
            sent_at_ms: Some(sent_at_ms),
            ..Settlement::new(*call, charge.clone(), shared.clock.now_ms())
        };
        let uncharged = Uncharged::new(placed.clone(), settlement.clone());
        Over { answer, charge, cost, settlement, placed, uncharged }
    }
}

/// A word for how it failed.
fn failure(answer: &Answer) -> Option<String> {
    answer.error.clone().or_else(|| match &answer.ending {
        Ending::Answered(Ok(Some(_))) => None,
        Ending::Answered(_) => Some("no_usage".to_owned()),
        Ending::Cut => Some("cut".to_owned()),
        Ending::NotSent | Ending::InDoubt | Ending::Refused { .. } => Some("no_answer".to_owned()),
    })
}

/// A call that is over, and not yet charged: [`Over::settle`] does that now, or its settlement rides in somebody's record,
/// who then says [`Over::settled`]. Dropped without either, it is charged by a task.
pub struct Over {
    pub answer: Answer,
    pub charge: Charge,
    /// What it is charged.
    pub cost: Nano,
    pub settlement: Settlement,
    pub(super) placed: Placed,
    uncharged: Uncharged,
}

impl Over {
    pub fn call(&self) -> CallId {
        self.placed.call
    }

    /// `provider/model`, as its price is named.
    pub fn model(&self) -> String {
        self.placed.price.name()
    }

    /// The price that it is charged by.
    pub fn price(&self) -> &Arc<Price> {
        &self.placed.price
    }

    pub fn alarm(&self) -> Option<&Alarm> {
        match &self.charge {
            Charge::Settle { alarm, .. } | Charge::Assume { alarm } => alarm.as_ref(),
            Charge::Release => None,
        }
    }

    /// Charges it now, trying again while the database is away.
    pub async fn settle(&self) -> levqor_store::Result<Settled> {
        let settled = settle::until_charged(&self.placed.shared, &self.settlement).await?;
        self.settled();
        Ok(settled)
    }

    /// Its settlement is committed: what this process remembers of the call.
    pub fn settled(&self) {
        self.uncharged.settled();
    }
}

/// A charge that is due: it rides in somebody's record, who then says [`Owed::settled`]. Dropped without, it is charged by a
/// task.
pub struct Owed {
    pub settlement: Settlement,
    uncharged: Uncharged,
}

impl Owed {
    pub(super) fn new(placed: Placed, settlement: Settlement) -> Self {
        Owed { uncharged: Uncharged::new(placed, settlement.clone()), settlement }
    }

    pub fn settled(&self) {
        self.uncharged.settled();
    }

    /// What it is charged.
    pub fn cost(&self) -> Nano {
        match &self.settlement.charge {
            Charge::Release => Nano::ZERO,
            Charge::Settle { cost, .. } => *cost,
            Charge::Assume { .. } => self.uncharged.held(),
        }
    }

    /// Another charge takes its place.
    pub(super) fn replaced(self) {
        self.uncharged.disarm();
    }
}

impl From<Over> for Owed {
    fn from(over: Over) -> Self {
        Owed { settlement: over.settlement, uncharged: over.uncharged }
    }
}
