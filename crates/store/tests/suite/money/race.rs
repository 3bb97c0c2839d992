//! Many who want the last of it at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use levqor_core::budget::{Scope, ScopeKind, Window};
use levqor_store::{Location, Reserved, Store};

use super::help::*;
use crate::world::*;

/// As many stores on one database as the engine allows.
async fn stores(world: &World) -> Vec<Arc<Store>> {
    let mut stores = Vec::new();
    for n in 0..4 {
        if let Location::Postgres(_) = &world.location {
            stores.push(Arc::new(Store::open(&world.location, &format!("racer-{n}")).await.unwrap()));
        }
    }
    stores
}

/// 1,000 tries from 32 tasks; how many were granted. Who is granted settles at once or holds on, by turns.
async fn race(world: World, settles: bool) -> (World, usize) {
    let mut others = stores(&world).await;
    let World { store, location, dir } = world;
    let store = Arc::new(store);
    if others.is_empty() {
        others.push(store.clone());
    }
    let (tries, wins) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let racers = (0..32).map(|racer| {
        let (store, tries, wins) = (others[racer % others.len()].clone(), tries.clone(), wins.clone());
        tokio::spawn(async move {
            while tries.fetch_add(1, Ordering::Relaxed) < 1_000 {
                let asked = in_job(id(NOON), 1, call(3));
                if let Reserved::Granted(permit) = store.reserve(asked).await.unwrap() {
                    wins.fetch_add(1, Ordering::Relaxed);
                    let call = permit.spend();
                    if settles {
                        settle(&store, call, 3).await;
                    }
                }
            }
        })
    });
    for racer in racers.collect::<Vec<_>>() {
        racer.await.unwrap();
    }
    drop(others);
    let store = Arc::into_inner(store).expect("the racers are gone");
    (World { store, location, dir }, wins.load(Ordering::Relaxed))
}

async fn put_budgets(world: &World) {
    // 100 calls of 3 cents, and one cent that is enough for none.
    put(&world.store, &day(301)).await;
    put(&world.store, &per_job(3)).await;
    put(
        &world.store,
        &budget(
            "sol",
            Scope { kind: ScopeKind::Model, id: "openai/gpt-6-sol".to_owned() },
            Window::Total,
            100_000,
        ),
    )
    .await;
    put(&world.store, &budget("rolling", Scope::global(), Window::Rolling { hours: 2 }, 100_000)).await;
}

each_engine! {
    async fn of_a_thousand_who_hold_exactly_as_many_as_fit_are_granted(world: World) {
        put_budgets(&world).await;

        let (world, granted) = race(world, false).await;

        assert_eq!(granted, 100);
        assert_eq!(figures(&world.store, "day", NOON).await, (0, 300));
        world.books_agree().await;
    }

    async fn of_a_thousand_who_spend_exactly_as_many_as_fit_are_granted(world: World) {
        put_budgets(&world).await;

        let (world, granted) = race(world, true).await;

        assert_eq!(granted, 100);
        assert_eq!(figures(&world.store, "day", NOON).await, (300, 0));
        world.books_agree().await;
    }

    async fn a_rolling_window_is_a_ceiling_too(world: World) {
        put(&world.store, &budget("rolling", Scope::global(), Window::Rolling { hours: 2 }, 301)).await;

        let (world, granted) = race(world, false).await;

        assert_eq!(granted, 100);
        world.books_agree().await;
    }

    async fn limits_that_change_meanwhile_are_never_passed(world: World) {
        put(&world.store, &day(30)).await;
        let World { store, location, dir } = world;
        let store = Arc::new(store);
        let racers = (0..16).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut held = 0;
                for _ in 0..40 {
                    if let Reserved::Granted(permit) = store.reserve(call(1)).await.unwrap() {
                        permit.spend();
                        held += 1;
                    }
                }
                held
            })
        });
        let racers: Vec<_> = racers.collect();
        for limit in [60, 20, 90, 45, 120] {
            put(&store, &day(limit)).await;
            let view = store.find_budget("day", NOON).await.unwrap().unwrap();
            assert!(view.periods.iter().all(|it| it.held <= cents(120)));
        }
        let mut held = 0;
        for racer in racers {
            held += racer.await.unwrap();
        }

        assert!((20..=120).contains(&held), "{held}");
        let world = World { store: Arc::into_inner(store).expect("the racers are gone"), location, dir };
        assert_eq!(figures(&world.store, "day", NOON).await, (0, held));
        world.books_agree().await;
    }
}
