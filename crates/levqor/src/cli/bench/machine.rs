//! What the machine can do by itself, measured in the same run: its disk, its HTTP, and the store without either a server
//! or an engine around it.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::job::{ClaimedJob, Finish, NewJob, Priority, Record, StepRow, StepStatus, Then};
use levqor_core::state::State;
use levqor_store::Store;

use super::load::{self, Until};
use super::plan::{CONNECTIONS, Plan, median};
use super::report::Report;
use super::server::{Process, Target};
use crate::cli::exit::{Failure, chain};
use crate::cli::serve::SystemClock;

const APPENDS: usize = 200;
const BLOCK_BYTES: usize = 4096;
const BATCH: usize = 256;

/// The names of the figures that waits for the disk are compared with.
pub const DISK_P50: &str = "fdatasync of a 4 KB append, p50";
pub const DISK_P99: &str = "fdatasync of a 4 KB append, p99";

/// The time of an append of 4 KB that reaches the disk.
pub fn disk(report: &mut Report, dir: &Path) -> Result<(), Failure> {
    let cannot =
        |error: std::io::Error| Failure::failed(format!("{} cannot be written: {error}", dir.display()));
    let mut file = File::create(dir.join("fdatasync")).map_err(cannot)?;
    let mut nanos = load::histogram();
    for _ in 0..APPENDS {
        let started = Instant::now();
        file.write_all(&[0x5a; BLOCK_BYTES]).map_err(cannot)?;
        file.sync_data().map_err(cannot)?;
        nanos.saturating_record(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    let ms = |quantile| nanos.value_at_quantile(quantile) as f64 / 1e6;
    report.add("machine", DISK_P50, ms(0.5), "ms", None);
    report.add("machine", DISK_P99, ms(0.99), "ms", None);
    Ok(())
}

/// What a POST costs without Levqor.
pub async fn plain_post(report: &mut Report, plan: &Plan) -> Result<(), Failure> {
    let mut echo = Process::echo()?;
    let address = echo.listening().await?;
    let body = load::post("/echo", super::phases::PARKED_BODY);
    let mut rates = Vec::new();
    for _ in 0..plan.rounds() {
        let run = load::closed(address, CONNECTIONS, Until::Time(plan.round()), 200, body.clone()).await?;
        rates.push(run.per_second());
    }
    report.add("machine", "plain POST, parsed and echoed, 64 connections", median(rates), "/s", None);
    Ok(())
}

/// The store's hot verbs in batches of 256, called in this process.
pub async fn store(report: &mut Report, plan: &Plan, target: &Target, dir: &Path) -> Result<(), Failure> {
    let store = target.open_store(dir, "bare.db").await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let broken = |error: levqor_store::Error| Failure::failed(chain(&error));
    let limit = if plan.quick { Duration::from_secs(1) } else { Duration::from_secs(3) };
    let started = Instant::now();
    let (mut jobs, mut insert, mut claim, mut finish) =
        (0_usize, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    while started.elapsed() < limit {
        let now_ms = clock.now_ms();
        let batch = (0..BATCH).map(|_| new_job(now_ms)).collect();
        let at = Instant::now();
        store.intake_many(batch).await.map_err(broken)?;
        insert += at.elapsed();

        let (mut claimed, at) = (Vec::with_capacity(BATCH), Instant::now());
        while claimed.len() < BATCH {
            claimed.extend(store.claim(BATCH - claimed.len(), &clock).await.map_err(broken)?);
        }
        claim += at.elapsed();

        let at = Instant::now();
        try_join_all(claimed.into_iter().map(|job| finish_job(&store, job, now_ms))).await.map_err(broken)?;
        finish += at.elapsed();
        jobs += BATCH;
    }
    store.close().await;
    let rate = |time: Duration| jobs as f64 / time.as_secs_f64();
    let group = target.name();
    report.add(group, "store alone: insert in batches of 256", rate(insert), "/s", None);
    report.add(group, "store alone: claim in batches of 256", rate(claim), "/s", None);
    report.add(group, "store alone: record and finish in batches of 256", rate(finish), "/s", None);
    report.add(group, STORE_ALONE, rate(insert + claim + finish), "jobs/s", None);
    Ok(())
}

/// The name of the figure that draining is compared with.
pub const STORE_ALONE: &str = "store alone: insert, claim and finish";

fn new_job(now_ms: i64) -> NewJob {
    NewJob {
        id: JobId::new(now_ms, rand::random::<[u8; 10]>()),
        workflow: "bench-store".to_owned(),
        version: Some(1),
        payload: "{\"n\":1}".to_owned(),
        callback_url: None,
        priority: Priority::Normal,
        tags: Default::default(),
        run_at_ms: None,
        caller: "bench".to_owned(),
        created_at_ms: now_ms,
        idempotency: None,
    }
}

async fn finish_job(store: &Store, job: ClaimedJob, now_ms: i64) -> levqor_store::Result<()> {
    let step = StepRow {
        step: "only".to_owned(),
        attempt: 1,
        status: StepStatus::Succeeded,
        started_at_ms: now_ms,
        finished_at_ms: Some(now_ms),
        until_ms: None,
        output: Some("{\"n\":1}".to_owned()),
        error: None,
    };
    let finish = Finish {
        state: State::Succeeded,
        finished_at_ms: now_ms,
        result: Some("{\"only\":{\"n\":1}}".to_owned()),
        error: None,
        callback: None,
    };
    let record =
        Record { id: job.id, claim: job.claim, pin: None, steps: vec![step], then: Then::Finish(finish) };
    store.record(record).await.map(|_| ())
}
