//! One physical call is charged once, however often and from wherever its charge is told: again and again, from two nodes at
//! the same time, and after its lease is over and others have charged it.

use std::sync::Arc;

use levqor_core::money::{CallId, CallState, Nano};
use levqor_store::{Location, Settled, Store};

use super::help::*;
use crate::world::*;

/// How often each charge is told.
const REPLAYS: usize = 100;

/// Two nodes on one PostgreSQL; on SQLite, where one process owns the file, two who ask the same one.
async fn two_nodes(world: World) -> (Vec<Arc<Store>>, Rest) {
    let World { store, location, dir } = world;
    let first = Arc::new(store);
    let second = match &location {
        Location::Postgres(_) => Arc::new(Store::open(&location, "node-2").await.unwrap()),
        Location::Sqlite(_) => first.clone(),
    };
    (vec![first, second], Rest { location, dir })
}

/// The rest of a world whose store went to the nodes.
struct Rest {
    location: Location,
    dir: levqor_testkit::TempDir,
}

impl Rest {
    /// The world again, when all who ask are gone.
    fn with(self, nodes: Vec<Arc<Store>>) -> World {
        let store = nodes.into_iter().next().expect("there are two");
        let store = Arc::into_inner(store).expect("the others are gone");
        World { store, location: self.location, dir: self.dir }
    }
}

/// Tells the charge of every call a hundred times, from both nodes at once; how many of these changed anything, and what
/// each was told.
async fn replay(nodes: &[Arc<Store>], calls: &[CallId], cost_cents: i64) -> (usize, Vec<Settled>) {
    let tellers = (0..8).map(|teller| {
        let (store, calls) = (nodes[teller % nodes.len()].clone(), calls.to_vec());
        tokio::spawn(async move {
            let mut told = Vec::new();
            for turn in (0..REPLAYS).filter(|turn| turn % 8 == teller) {
                // Not all in the same order, so that batches of both nodes meet the same calls crosswise.
                for place in 0..calls.len() {
                    let call = calls[(place * (1 + teller % 2) + turn) % calls.len()];
                    told.push(settle(&store, call, cost_cents).await);
                }
            }
            told
        })
    });
    let mut told = Vec::new();
    for teller in tellers.collect::<Vec<_>>() {
        told.extend(teller.await.unwrap());
    }
    (told.iter().filter(|settled| settled.changed).count(), told)
}

impl World {
    async fn entries(&self, kind: &str) -> i64 {
        self.number(&format!("select count(*) from cost_ledger where kind = '{kind}'")).await
    }
}

each_engine! {
    async fn a_charge_that_two_nodes_tell_a_hundred_times_counts_once(world: World) {
        put(&world.store, &day(1_000)).await;
        put(&world.store, &per_job(35)).await;
        let mut calls = Vec::new();
        for attempt in 0..5 {
            calls.push(sent(&world.store, in_job(id(NOON), attempt, call(10))).await);
        }
        let (nodes, rest) = two_nodes(world).await;

        let (changed, told) = replay(&nodes, &calls, 7).await;

        assert_eq!(changed, calls.len(), "each call moved money once");
        assert!(told.iter().all(|it| (it.state, it.charged) == (CallState::Settled, cents(7))), "{told:?}");
        let world = rest.with(nodes);
        assert_eq!(figures(&world.store, "day", NOON).await, (35, 0));
        assert_eq!((world.entries("settle").await, world.entries("adjust").await), (5, 0));
        world.books_agree().await;
    }

    async fn a_charge_that_is_told_while_others_sweep_the_call_counts_once(world: World) {
        put(&world.store, &day(1_000)).await;
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(sent(&world.store, levqor_store::NewCall { lease_ms: SECOND, ..call(10) }).await);
        }
        let (nodes, rest) = two_nodes(world).await;

        // Their leases are over, so both nodes charge them in full while their charges come in.
        let sweeps = nodes.clone().into_iter().map(|store| tokio::spawn(async move {
            let mut swept = 0;
            for _ in 0..REPLAYS / 4 {
                swept += store.sweep_calls(NOON + HOUR, 100).await.unwrap();
            }
            swept
        })).collect::<Vec<_>>();
        let (_, told) = replay(&nodes, &calls, 7).await;
        let mut swept = 0;
        for sweep in sweeps {
            swept += sweep.await.unwrap();
        }

        assert!(told.iter().all(|it| it.charged == cents(7)), "whoever tells the truth hears it: {told:?}");
        let world = rest.with(nodes);
        let (assumed, adjusted) = (world.entries("assume").await, world.entries("adjust").await);
        assert_eq!((assumed, adjusted), (swept as i64, swept as i64), "what was assumed became exact, once");
        assert_eq!(world.entries("settle").await + assumed, 5);
        assert_eq!(figures(&world.store, "day", NOON).await, (35, 0));
        world.books_agree().await;
    }

    async fn a_late_charge_of_a_call_that_was_swept_corrects_it_once(world: World) {
        put(&world.store, &day(1_000)).await;
        let mut calls = Vec::new();
        for _ in 0..5 {
            calls.push(sent(&world.store, levqor_store::NewCall { lease_ms: SECOND, ..call(10) }).await);
        }
        // The process dies; another one finds its calls beyond their lease.
        let world = world.after_a_crash().await;
        assert_eq!(world.store.sweep_calls(NOON + HOUR, 100).await.unwrap(), 5);
        assert_eq!(figures(&world.store, "day", NOON).await, (50, 0));
        let (nodes, rest) = two_nodes(world).await;

        let (changed, _) = replay(&nodes, &calls, 7).await;
        let (again, _) = replay(&nodes, &calls, 9).await;
        for store in &nodes {
            for _ in 0..REPLAYS {
                assert_eq!(store.sweep_calls(NOON + DAY, 100).await.unwrap(), 0);
            }
        }

        assert_eq!((changed, again), (5, 0), "the first true word is the last");
        let world = rest.with(nodes);
        assert_eq!((world.entries("assume").await, world.entries("adjust").await, world.entries("settle").await), (5, 5, 0));
        assert_eq!(figures(&world.store, "day", NOON).await, (35, 0));
        world.books_agree().await;
        // Nor does it count again for whoever starts next.
        let world = world.reopened().await;
        for call in &calls {
            let settled = settle(&world.store, *call, 7).await;
            assert!(!settled.changed && settled.charged == cents(7), "{settled:?}");
        }
        assert_eq!(world.store.find_budget("day", NOON).await.unwrap().unwrap().periods[0].assumed, Nano::ZERO);
        world.books_agree().await;
    }
}
