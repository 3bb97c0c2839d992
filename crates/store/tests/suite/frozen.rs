//! PostgreSQL that hangs with its connections open: nobody waits long, and everything comes back by itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use levqor_core::job::{Fenced, Intake, Record, StepStatus, Then};
use levqor_store::{CallbackEnd, CallbackTry, Error, Location, Result, Store};
use levqor_testkit::{Freezer, TempDir, wait_until};

use crate::world::*;

/// What docs/configuration.md states, and a little for a busy machine.
const BOUND: Duration = Duration::from_millis(3_300);

async fn behind_a_relay() -> (Arc<World>, Freezer, String) {
    let direct = levqor_testkit::postgres_url().await;
    let mut url = url::Url::parse(&direct).unwrap();
    let host = url.host_str().unwrap();
    let server: SocketAddr = format!("{host}:{}", url.port().unwrap_or(5432)).parse().unwrap();
    let relay = Freezer::start(server).await;
    url.set_port(Some(relay.address().port())).unwrap();
    let location = Location::Postgres(url.into());
    let store = Store::open(&location, "node-1").await.unwrap();
    (Arc::new(World { store, location, dir: TempDir::new() }), relay, direct)
}

/// It fails as unavailable within the bound.
async fn refused_in_time<T>(what: &'static str, work: impl Future<Output = Result<T>>) {
    let asked = Instant::now();
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Err(Error::Unavailable(_))) => assert!(asked.elapsed() < BOUND, "{what}: {:?}", asked.elapsed()),
        Ok(Err(error)) => panic!("{what}: {error:?}"),
        Ok(Ok(_)) => panic!("{what} was done"),
        Err(_) => panic!("{what} hangs"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_away_within_seconds_for_every_verb_and_comes_back() {
    let (world, relay, direct) = behind_a_relay().await;
    let store = &world.store;
    world.finished_with_callback("a.example", NOON).await;
    world.finished_with_callback("b.example", NOON).await;
    let callback = store.claim_callbacks(1, &any_room(), NOON).await.unwrap().remove(0);
    for _ in 0..3 {
        world.put(job(NOON)).await;
    }
    let (ends, stays) = (world.claim_one(NOON).await, world.claim_one(NOON).await);
    let the_end = Record { id: ends.id, claim: 1, pin: None, steps: Vec::new(), then: succeeded(NOON) };
    let steps = vec![step("a", 1, StepStatus::Failed, NOON)];
    let a_step = Record { id: stays.id, claim: 1, pin: None, steps, then: Then::Stay };
    let tried = CallbackTry { attempt: 1, at_ms: NOON, duration_ms: 1, status: Some(200), error: None };
    let asked = with_key("once", "body", job(NOON));

    let (clock, room) = (at(NOON), any_room());
    relay.freeze();
    tokio::join!(
        refused_in_time("intake", store.intake(asked.clone())),
        refused_in_time("end", store.record(the_end.clone())),
        refused_in_time("step", store.record(a_step.clone())),
        refused_in_time("claim", store.claim(10, &clock)),
        refused_in_time("callbacks", store.claim_callbacks(1, &room, NOON)),
        refused_in_time("try", store.record_callback(&callback, tried.clone(), CallbackEnd::Delivered)),
        refused_in_time("read", store.find_status(ends.id)),
        refused_in_time("ping", store.ping()),
        refused_in_time("cold write", store.setting_or_insert("a", "b")),
        refused_in_time("beat", store.beat(NOON)),
    );
    // Now that it is known nobody waits at all.
    let asked_at = Instant::now();
    refused_in_time("intake", store.intake(asked.clone())).await;
    refused_in_time("read", store.find_status(ends.id)).await;
    assert!(asked_at.elapsed() < Duration::from_millis(500), "{:?}", asked_at.elapsed());

    relay.thaw();
    wait_until(LIMIT, async || store.ping().await.is_ok()).await;
    // Whether the first try of each was done nobody knew; its repetition settles it.
    let again = store.intake(asked.clone()).await.unwrap();
    assert!(matches!(again, Intake::Created | Intake::Replayed(_)), "{again:?}");
    assert!(matches!(store.record(the_end).await.unwrap(), Fenced::Done | Fenced::Stale));
    assert!(matches!(store.record(a_step).await.unwrap(), Fenced::Done | Fenced::Stale));
    store.record_callback(&callback, tried, CallbackEnd::Delivered).await.unwrap();
    // The claim that was broken off keeps no job: both that wait are had.
    let mut claimed = Vec::new();
    while claimed.len() < 2 {
        claimed.extend(ids(&world.claim(10, NOON).await));
    }
    assert!(claimed.contains(&asked.id), "{claimed:?}");
    let count = run_postgres(&direct, "select count(*) from jobs").await[0].get::<_, i64>(0);
    assert_eq!(count, 6, "one key made one job");
    assert_eq!(world.state(ends.id).await, levqor_core::state::State::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_slow_while_the_database_lives_is_waited_for() {
    let (world, _relay, direct) = behind_a_relay().await;
    world.put(job(NOON)).await;

    // Nothing at all is answered to this node but that the server lives.
    let slow = tokio::spawn(async move {
        run_postgres(&direct, "do $$ begin lock table jobs; perform pg_sleep(4); end $$").await;
    });
    wait_until(LIMIT, async || {
        let Location::Postgres(url) = &world.location else { unreachable!() };
        let sql = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'jobs'::regclass";
        run_postgres(url, sql).await[0].get::<_, i64>(0) > 0
    })
    .await;
    let asked = Instant::now();

    assert_eq!(world.store.intake(job(NOON)).await.unwrap(), Intake::Created);

    assert!(asked.elapsed() > Duration::from_secs(3), "it was not slow: {:?}", asked.elapsed());
    slow.await.unwrap();
}
