//! How fast holds and charges are on one row that everybody shares:
//! `cargo run --release -p levqor-store --example holds -- <file or postgres URL> [pairs] [callers]`.
//! Each pair is a hold under a job's budget and the day's, and the charge that settles it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, default_day, default_job};
use levqor_core::id::JobId;
use levqor_core::job::Tags;
use levqor_core::money::{Bound, CallId, Charge, MAX_AMOUNT, Nano, Terms, Usage};
use levqor_store::{CallPlace, Location, NewCall, Reserved, Settlement, Store};

const NOW_MS: i64 = 1_800_000_000_000;

fn call() -> NewCall {
    let job = JobId::new(NOW_MS, rand::random());
    NewCall {
        id: CallId::new(NOW_MS, rand::random()),
        place: Some(CallPlace {
            job,
            root_job: job,
            workflow: "holds".to_owned(),
            step: "ask".to_owned(),
            logical_call: 1,
            attempt: 1,
        }),
        ask: None,
        key: None,
        user: None,
        tags: Tags::new(),
        provider: "openai".to_owned(),
        model: "gpt-6-sol".to_owned(),
        price_id: "price".to_owned(),
        terms: Terms::STANDARD,
        bound: Bound { input_tokens: 1_000, output_tokens: 500, amount: Nano::new(7_500_000) },
        at_ms: NOW_MS,
        lease_ms: 600_000,
    }
}

async fn pair(store: &Store) {
    let Ok(Reserved::Granted(permit)) = store.reserve(call()).await else { panic!("no hold") };
    let usage = Usage { uncached_in: 800, out: 300, ..Usage::default() };
    let charge = Charge::Settle { cost: Nano::new(4_600_000), usage, alarm: None };
    store.settle_call(Settlement::new(permit.spend(), charge, NOW_MS)).await.expect("a charge");
}

async fn run(store: &Arc<Store>, pairs: usize, callers: usize) -> f64 {
    let left = Arc::new(AtomicUsize::new(pairs));
    let began = Instant::now();
    let callers: Vec<_> = (0..callers)
        .map(|_| {
            let (store, left) = (store.clone(), left.clone());
            tokio::spawn(async move {
                let take = |left: usize| left.checked_sub(1);
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
                    pair(&store).await;
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller");
    }
    pairs as f64 / began.elapsed().as_secs_f64()
}

/// Refusals of a budget that is spent: they take no lock and no commit.
async fn refusals(store: &Arc<Store>, tries: usize) -> f64 {
    let began = Instant::now();
    for _ in 0..tries {
        assert!(matches!(store.reserve(call()).await, Ok(Reserved::Refused(_))));
    }
    tries as f64 / began.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let place = args.next().expect("a file or a postgres URL");
    let pairs = args.next().map_or(20_000, |pairs| pairs.parse().expect("a number of pairs"));
    let callers = args.next().map_or(256, |callers| callers.parse().expect("a number of callers"));
    let location = if place.starts_with("postgres") {
        Location::Postgres(place)
    } else {
        Location::Sqlite(PathBuf::from(place))
    };
    let store = Arc::new(Store::open(&location, "holds").await.expect("open"));
    let put = async |budget: Budget| {
        store.put_budget(&budget, "api", &Actor::system(), NOW_MS).await.expect("a budget");
    };
    put(default_job(MAX_AMOUNT)).await;
    put(default_day(MAX_AMOUNT)).await;

    println!("1 caller: {:.0} pairs/s", run(&store, pairs / 40, 1).await);
    println!("{callers} callers: {:.0} pairs/s", run(&store, pairs, callers).await);
    put(default_day(Nano::ZERO)).await;
    println!("1 caller, spent out: {:.0} refusals/s", refusals(&store, pairs / 10).await);
    store.close().await;
}
