//! How fast the store alone is: `cargo run --release -p levqor-store --example throughput -- <file or postgres URL> [jobs]`.
//! Intake by 64 callers, then claim and finish by one loop with up to 1,024 jobs in hand. Nothing is looked up but the verbs.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Finish, NewJob, Priority, Record, StepRow, StepStatus, Tags, Then};
use levqor_core::state::State;
use levqor_store::{Location, Store};
use tokio::sync::Semaphore;

const CALLERS: usize = 64;
const IN_HAND: usize = 1_024;
const CLAIM: usize = 512;

struct Wall;

impl Clock for Wall {
    #[allow(clippy::disallowed_methods, reason = "this program is its own composition root")]
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }
}

fn job(now_ms: i64) -> NewJob {
    NewJob {
        id: JobId::new(now_ms, rand::random::<[u8; 10]>()),
        workflow: "throughput".to_owned(),
        version: Some(1),
        payload: format!(r#"{{"text":"{}"}}"#, "x".repeat(250)),
        callback_url: None,
        priority: Priority::Normal,
        tags: Tags::new(),
        run_at_ms: None,
        caller: "throughput".to_owned(),
        created_at_ms: now_ms,
        idempotency: None,
    }
}

fn finish(job: &ClaimedJob, now_ms: i64) -> Record {
    let step = StepRow {
        step: "only".to_owned(),
        attempt: 1,
        status: StepStatus::Succeeded,
        started_at_ms: now_ms,
        finished_at_ms: Some(now_ms),
        until_ms: None,
        output: Some(r#"{"ok":true}"#.to_owned()),
        error: None,
    };
    let then = Then::Finish(Finish {
        state: State::Succeeded,
        finished_at_ms: now_ms,
        result: Some(r#"{"only":{"ok":true}}"#.to_owned()),
        error: None,
        callback: None,
    });
    Record { id: job.id, claim: job.claim, pin: None, steps: vec![step], then }
}

async fn intake(store: &Arc<Store>, jobs: usize) {
    let left = Arc::new(AtomicUsize::new(jobs));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (store, left) = (store.clone(), left.clone());
            tokio::spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    store.intake(job(Wall.now_ms())).await.expect("intake");
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.expect("a caller");
    }
}

async fn drain(store: &Arc<Store>, jobs: usize) {
    let clock: Arc<dyn Clock> = Arc::new(Wall);
    let room = Arc::new(Semaphore::new(IN_HAND));
    let mut claimed = 0;
    while claimed < jobs {
        let space = room.clone().acquire_many_owned(CLAIM as u32).await.expect("room");
        space.forget();
        let batch = store.claim(CLAIM, &clock).await.expect("claim");
        claimed += batch.len();
        room.add_permits(CLAIM - batch.len());
        for job in batch {
            let (store, room) = (store.clone(), room.clone());
            tokio::spawn(async move {
                store.record(finish(&job, Wall.now_ms())).await.expect("record");
                room.add_permits(1);
            });
        }
    }
    room.acquire_many(IN_HAND as u32).await.expect("room").forget();
}

async fn latency(store: &Arc<Store>) -> (Duration, Duration) {
    let clock: Arc<dyn Clock> = Arc::new(Wall);
    let mut times = Vec::new();
    for _ in 0..200 {
        let claiming = {
            let (store, clock) = (store.clone(), clock.clone());
            tokio::spawn(async move { store.claim(1, &clock).await.expect("claim") })
        };
        tokio::time::sleep(Duration::from_millis(2)).await;
        let began = Instant::now();
        store.intake(job(Wall.now_ms())).await.expect("intake");
        let claimed = claiming.await.expect("a claim");
        times.push(began.elapsed());
        store.record(finish(&claimed[0], Wall.now_ms())).await.expect("record");
    }
    times.sort();
    (times[100], times[198])
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let place = args.next().expect("a file or a postgres URL");
    let jobs = args.next().map_or(50_000, |jobs| jobs.parse().expect("a number of jobs"));
    let location = if place.starts_with("postgres") {
        Location::Postgres(place)
    } else {
        Location::Sqlite(PathBuf::from(place))
    };
    let store = Arc::new(Store::open(&location, "throughput").await.expect("open"));

    for (name, work) in [("intake", true), ("claim+finish", false)] {
        let began = Instant::now();
        if work {
            intake(&store, jobs).await
        } else {
            drain(&store, jobs).await
        }
        let rate = jobs as f64 / began.elapsed().as_secs_f64();
        println!("{name}: {rate:.0} jobs/s");
    }
    let (p50, p99) = latency(&store).await;
    println!("intake to claimed, one at a time: p50 {p50:?}, p99 {p99:?}");
    store.close().await;
}
