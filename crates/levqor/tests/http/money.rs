//! Short words for AI calls in these tests: made in the store itself, as the engine makes them.

use levqor_core::id::JobId;
use levqor_core::job::Tags;
use levqor_core::money::{Bound, CallId, Charge, Nano, Permit, Terms, Usage};
use levqor_store::{CallPlace, NewCall, Reserved, Settled, Settlement, Store};

pub fn cents(cents: i64) -> Nano {
    Nano::new(cents * 10_000_000)
}

/// A call outside of any job.
pub fn call(now_ms: i64, amount_cents: i64) -> NewCall {
    NewCall {
        id: CallId::new(now_ms, rand::random()),
        place: None,
        ask: None,
        key: Some("key-1".to_owned()),
        user: None,
        tags: Tags::new(),
        provider: "openai".to_owned(),
        model: "gpt-6-sol".to_owned(),
        price_id: "price".to_owned(),
        terms: Terms::STANDARD,
        bound: Bound { input_tokens: 100, output_tokens: 200, amount: cents(amount_cents) },
        at_ms: now_ms,
        lease_ms: 600_000,
    }
}

/// The same made by a step of a job.
pub fn in_job(call: NewCall) -> NewCall {
    let job = JobId::new(call.at_ms, rand::random());
    let place = CallPlace {
        job,
        root_job: job,
        workflow: "greet".to_owned(),
        step: "ask".to_owned(),
        logical_call: 1,
        attempt: 1,
    };
    NewCall { place: Some(place), ..call }
}

pub async fn granted(store: &Store, call: NewCall) -> Permit {
    match store.reserve(call).await.unwrap() {
        Reserved::Granted(permit) => permit,
        other => panic!("{other:?}"),
    }
}

/// Charged by a usage.
pub async fn settled(store: &Store, call: CallId, cost: Nano, now_ms: i64) -> Settled {
    let usage = Usage { uncached_in: 90, cached_in: 10, out: 40, reasoning: 2, ..Usage::default() };
    let settlement = Settlement {
        usage_raw: Some(r#"{"prompt_tokens":100}"#.to_owned()),
        ..Settlement::new(call, Charge::Settle { cost, usage, alarm: None }, now_ms)
    };
    store.settle_call(settlement).await.unwrap()
}
