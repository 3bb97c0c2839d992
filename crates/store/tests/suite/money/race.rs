//! Many who want the last of it at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use levqor_core::budget::{Scope, ScopeKind, Window};
use levqor_store::{Error, Location, Reserved, Store};
use levqor_testkit::wait_until;

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

    async fn whoever_looks_meanwhile_sees_figures_of_one_moment(world: World) {
        put(&world.store, &day(10_000)).await;
        let World { store, location, dir } = world;
        let store = Arc::new(store);
        let racers = (0..8).map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    let id = sent(&store, call(3)).await;
                    settle(&store, id, 2).await;
                }
            })
        });
        let racers: Vec<_> = racers.collect();
        let mut looks = 0;
        while looks < 20 || racers.iter().any(|racer| !racer.is_finished()) {
            let view = store.find_budget("day", NOON).await.unwrap().unwrap();
            let held: i64 = view.holds.iter().map(|hold| hold.amount.get()).sum();
            let counted = view.periods.first().map_or((0, 0), |it| (it.held.get(), it.open_holds));
            assert_eq!((held, view.holds.len() as i64), counted, "holds and counters are of one snapshot");
            looks += 1;
        }
        for racer in racers {
            racer.await.unwrap();
        }

        let world = World { store: Arc::into_inner(store).expect("the racers are gone"), location, dir };
        assert_eq!(figures(&world.store, "day", NOON).await, (400, 0));
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

/// PostgreSQL alone: nobody cuts the connection to a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_connections_are_cut_nothing_is_held_twice_and_nothing_is_lost() {
    let World { store, location, dir } = World::postgres().await;
    let Location::Postgres(url) = location.clone() else { unreachable!() };
    put(&store, &day(900)).await;
    let store = Arc::new(store);
    let racers = (0..16).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let (mut held, mut failures) = (0, 0);
            for _ in 0..60 {
                match store.reserve(call(1)).await {
                    Ok(Reserved::Granted(permit)) => {
                        permit.spend();
                        held += 1;
                    }
                    Ok(_) => {}
                    Err(Error::Unavailable(_)) => failures += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
            (held, failures)
        })
    });
    let racers: Vec<_> = racers.collect();
    while racers.iter().any(|racer| !racer.is_finished()) {
        let cut = "select pg_terminate_backend(pid) from pg_stat_activity \
            where datname = current_database() and pid <> pg_backend_pid()";
        run_postgres(&url, cut).await;
        // Between two cuts, work goes on.
        wait_until(LIMIT, async || store.find_budget("day", NOON).await.is_ok()).await;
    }
    let (mut held, mut failures) = (0, 0);
    for racer in racers {
        let (more, failed) = racer.await.unwrap();
        held += more;
        failures += failed;
    }

    assert!(failures > 0, "nothing was cut in the middle of anything: the test proves nothing");
    let world = World { store: Arc::into_inner(store).expect("the racers are gone"), location, dir };
    // What was asked for and not answered is given back by itself; what was granted stays held.
    wait_until(LIMIT, async || {
        world.store.sweep_calls(NOON, 100).await.ok();
        figures(&world.store, "day", NOON).await == (0, held)
    })
    .await;
    world.books_agree().await;
}
