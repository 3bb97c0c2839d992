//! What is measured on one engine, in order. One database goes through all of it, so the order matters: what needs an
//! empty database comes first.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use levqor_core::clock::Clock;

use super::load::{self, Until};
use super::machine::STORE_ALONE;
use super::plan::{Aims, CONNECTIONS, MILLION, Plan, median};
use super::report::{Aim, Report};
use super::server::{Process, Server, Target};
use crate::cli::exit::{Failure, chain};
use crate::cli::loopback::Loopback;
use crate::cli::out::note;
use crate::cli::serve::SystemClock;

/// Names no definition: the job is stored and stays, so that intake is measured without the work behind it.
pub const PARKED_BODY: &str =
    r#"{"workflow":"bench-parked","payload":{"customer":"c-1042","amount":1999,"note":"one of many"}}"#;

const NOOP_BODY: &str = r#"{"workflow":"bench-noop","payload":{"n":1}}"#;
const NOOP: &str = "name: bench-noop\nsteps:\n  - id: only\n    transform: { n: \"{{ payload.n }}\" }\n";

const CALL: &str = "name: bench-call\nsteps:\n  - id: call\n    http: { method: POST, url: \"{{ payload.url }}\", json: { n: \"{{ payload.n }}\" } }\n";

/// Jobs a second at which the time from commit to start is measured.
const START_RATE: f64 = 50.0;

const BACKLOG: i64 = 50_000;
const QUEUED_AT_START: i64 = 100_000;
/// One engine under measurement.
struct Subject<'a> {
    report: &'a mut Report,
    plan: &'a Plan,
    target: &'a Target,
    dir: &'a Path,
    aims: Aims,
}

/// Time from commit to start, between two bounds, in microseconds.
struct Starts {
    /// From the arrival of the 202. It leaves after the commit, so its way to us is missing; the claim, the rendering of the
    /// step and the call's way to us are in it. A call that overtakes its 202 counts as 0.
    from_answer: Histogram<u64>,
    /// From sending the request: intake and its commit are in it too.
    from_request: Histogram<u64>,
}

/// Rates that are compared with those on a larger database.
#[derive(Clone, Copy)]
struct Rates {
    intake: f64,
    jobs: f64,
    /// Plain POSTs in the same minutes.
    plain: f64,
}

/// Measures everything on one engine.
pub async fn all(report: &mut Report, plan: &Plan, target: &Target, dir: &Path) -> Result<(), Failure> {
    note!("measuring Levqor on {} …", target.name());
    let workflows = dir.join("workflows");
    let write = |name: &str, text: &str| std::fs::write(workflows.join(name), text);
    std::fs::create_dir_all(&workflows)
        .and_then(|()| write("bench-noop.yaml", NOOP))
        .and_then(|()| write("bench-call.yaml", CALL))
        .map_err(|error| Failure::failed(format!("{} cannot be written: {error}", workflows.display())))?;
    let aims = Aims::of(target);
    let mut subject = Subject { report, plan, target, dir, aims };
    let server = subject.empty().await?;
    let rates = subject.rates(&server, "").await?;
    subject.latency(&server).await?;
    server.stop().await?;
    subject.backlog().await?;
    let mut filled = plan.history();
    subject.history(filled, 0, rates, 0.95, 200.0).await?;
    if plan.ten_million {
        let more = 10 * MILLION - filled;
        filled += more;
        subject.history(filled, filled - more, rates, 0.90, 500.0).await?;
    }
    Ok(())
}

impl Subject<'_> {
    fn add(&mut self, name: impl Into<String>, value: f64, unit: &'static str, aim: Option<Aim>) {
        self.report.add(self.target.name(), name, value, unit, aim);
    }

    /// Start, memory and processor of a server that has nothing to do.
    async fn empty(&mut self) -> Result<Server, Failure> {
        let program = std::env::current_exe().and_then(std::fs::metadata);
        if let Ok(program) = program {
            self.add("size of the program", program.len() as f64 / 1e6, "MB", Some(Aim::new(28.0, 20.0)));
        }
        let server = Server::start(self.target, self.dir).await?;
        let started_ms = server.first_accepted.as_secs_f64() * 1e3;
        self.add("start to first 202, empty database", started_ms, "ms", Some(Aim::at(100.0)));

        // What a start leaves behind (a first checkpoint, idle threads) is over soon.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (time, before) = (self.plan.idle_time(), server.cpu());
        tokio::time::sleep(time).await;
        if let (Some(before), Some(after)) = (before, server.cpu()) {
            let percent = after.saturating_sub(before).as_secs_f64() / time.as_secs_f64() * 100.0;
            self.add("processor when idle, of one core", percent, "% CPU", Some(Aim::new(0.2, 0.05)));
        }
        if let Some(mb) = server.resident_mb() {
            self.add("resident memory when idle", mb, "MB", Some(Aim::new(30.0, 18.0)));
        }
        Ok(server)
    }

    /// Time from commit to start, jobs a second, intake a second.
    async fn rates(&mut self, server: &Server, suffix: &str) -> Result<Rates, Failure> {
        let starts = self.starts(server).await?;
        let (p50, p99) = (self.aims.start_p50_ms, self.aims.start_p99_ms);
        for (from, times, p50, p99) in [
            ("202", &starts.from_answer, Some(p50), Some(p99)),
            ("request", &starts.from_request, None, None),
        ] {
            let ms = |quantile| times.value_at_quantile(quantile) as f64 / 1e3;
            let name = |what| format!("{from} to first call at 50 jobs/s, {what}{suffix}");
            self.add(name("p50"), ms(0.5), "ms", p50);
            self.add(name("p99"), ms(0.99), "ms", p99);
        }

        let jobs = self.jobs(server).await?;
        let aim = self.aims.jobs;
        self.add(format!("no-op jobs from HTTP to finished{suffix}"), jobs, "jobs/s", Some(aim));

        let (intake, plain) = self.intake(server).await?;
        let aim = self.aims.intake;
        self.add(format!("durable intake, 64 connections{suffix}"), intake, "/s", Some(aim));
        let aim = self.aims.intake_ratio;
        self.add(format!("durable intake to plain POST{suffix}"), intake / plain, "×", Some(aim));
        Ok(Rates { intake, jobs, plain })
    }

    /// Intake a second, and plain POSTs a second between its rounds: on a machine whose speed changes from minute to minute
    /// only their ratio can be compared.
    async fn intake(&mut self, server: &Server) -> Result<(f64, f64), Failure> {
        let mut echo = Process::echo()?;
        let echo_address = echo.listening().await?;
        let (submit, post) = (load::post("/api/v1/intake", PARKED_BODY), load::post("/echo", PARKED_BODY));
        let (mut intake, mut plain) = (Vec::new(), Vec::new());
        let until = Until::Time(self.plan.round());
        for _ in 0..self.plan.rounds() {
            plain.push(load::closed(echo_address, CONNECTIONS, until, 200, post.clone()).await?.per_second());
            intake.push(
                load::closed(server.address, CONNECTIONS, until, 202, submit.clone()).await?.per_second(),
            );
        }
        Ok((median(intake), median(plain)))
    }

    /// Latency of intake at a fixed offered rate.
    async fn latency(&mut self, server: &Server) -> Result<(), Failure> {
        let body = load::post("/api/v1/intake", PARKED_BODY);
        let (rate, time) = (f64::from(self.plan.rate), self.plan.latency_time());
        let run = load::open(server.address, CONNECTIONS, rate, time, 202, move |_| body.clone()).await?;
        let rate = self.plan.rate;
        let aim = self.aims.intake_p99_ms;
        for (name, quantile, aim) in [("p50", 0.5, None), ("p99", 0.99, Some(aim)), ("p99.9", 0.999, None)] {
            let ms = run.latency_us.value_at_quantile(quantile) as f64 / 1e3;
            self.add(format!("latency of intake offered at {rate}/s, {name}"), ms, "ms", aim);
        }
        Ok(())
    }

    /// Until the call of a job's first step arrives at a receiver of ours. All ends are seen by one clock.
    async fn starts(&mut self, server: &Server) -> Result<Starts, Failure> {
        let calls: Arc<Mutex<HashMap<u64, Instant>>> = Arc::default();
        let seen = calls.clone();
        let receiver = Loopback::start(move |request| {
            let n = serde_json::from_slice::<serde_json::Value>(&request.body)
                .ok()
                .and_then(|body| body["n"].as_u64());
            if let Some(n) = n {
                seen.lock().unwrap_or_else(PoisonError::into_inner).insert(n, request.at);
            }
            (200, "{}".to_owned())
        })
        .await?;
        let url = receiver.url();
        let count = (START_RATE * self.plan.idle_time().as_secs_f64()) as u64;
        let mut connection = server.connect().await?;
        let mut accepted = Vec::new();
        let started = Instant::now();
        for n in 0..count {
            let due = started + Duration::from_secs_f64(n as f64 / START_RATE);
            tokio::time::sleep_until(due.into()).await;
            let body = format!(r#"{{"workflow":"bench-call","payload":{{"url":"{url}","n":{n}}}}}"#);
            let sent = Instant::now();
            let reply = connection.exchange(&load::post("/api/v1/intake", &body)).await;
            match reply {
                Ok(reply) if reply.status == 202 => accepted.push((n, sent, Instant::now())),
                Ok(reply) => return Err(Failure::failed(format!("intake gave status {}", reply.status))),
                Err(error) => return Err(Failure::failed(format!("intake broke off: {error}"))),
            }
        }
        let limit = Instant::now() + Duration::from_secs(10);
        while calls.lock().unwrap_or_else(PoisonError::into_inner).len() < accepted.len()
            && Instant::now() < limit
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let calls = calls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut starts = Starts { from_answer: load::histogram(), from_request: load::histogram() };
        for (n, sent, answered) in accepted {
            let Some(called) = calls.get(&n) else {
                return Err(Failure::failed(format!("job {n} of {count} did not start within 10 s")));
            };
            let micros = |from| called.saturating_duration_since(from).as_micros() as u64;
            starts.from_answer.saturating_record(micros(answered));
            starts.from_request.saturating_record(micros(sent));
        }
        Ok(starts)
    }

    /// No-op jobs a second, from the first request to the moment when the results of the last ones have been read: jobs are
    /// taken in order, so those that each connection submitted last are the last to finish.
    async fn jobs(&mut self, server: &Server) -> Result<f64, Failure> {
        let count = self.plan.jobs();
        let started = Instant::now();
        let body = load::post("/api/v1/intake", NOOP_BODY);
        let run = load::closed(server.address, CONNECTIONS, Until::Count(count), 202, body).await?;
        let mut connection = server.connect().await?;
        for body in run.last.iter().filter(|body| !body.is_empty()) {
            let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
            server.wait_for(&mut connection, body["job_id"].as_str().unwrap_or_default()).await?;
        }
        Ok(count as f64 / started.elapsed().as_secs_f64())
    }

    /// A start with 100,000 queued jobs, and how fast the last 50,000 of them are worked off.
    async fn backlog(&mut self) -> Result<(), Failure> {
        let store = self.target.open_store(self.dir, "bench.db").await?;
        let now_ms = SystemClock.now_ms();
        let broken = |error: levqor_store::Error| Failure::failed(chain(&error));
        let ids = store.fill_queued("bench-noop", 1, QUEUED_AT_START, now_ms).await.map_err(broken)?;
        store.close().await;

        let server = Server::start(self.target, self.dir).await?;
        let started_ms = server.first_accepted.as_secs_f64() * 1e3;
        self.add("start to first 202, 100,000 jobs queued", started_ms, "ms", None);
        // Two jobs are waited for, one in the middle and the last: nothing polls while the backlog drains.
        let (middle, last) =
            (ids[(QUEUED_AT_START - BACKLOG) as usize - 1], ids[QUEUED_AT_START as usize - 1]);
        let mut connection = server.connect().await?;
        let mut waited = server.wait_for(&mut connection, &middle.to_string()).await?;
        let began = Instant::now();
        waited &= server.wait_for(&mut connection, &last.to_string()).await?;
        if !waited {
            return Err(Failure::failed("the backlog was gone before its rate could be read"));
        }
        let per_second = BACKLOG as f64 / began.elapsed().as_secs_f64();
        let aim = self.aims.drain;
        self.add("backlog of 50,000 drained", per_second, "jobs/s", Some(aim));
        if let Some(alone) = self.report.value(self.target.name(), STORE_ALONE) {
            self.add("backlog drained to store alone", per_second / alone, "×", None);
        }
        if let Some(mb) = server.resident_mb() {
            self.add("resident memory after the backlog", mb, "MB", Some(Aim::new(60.0, 40.0)));
        }
        server.stop().await
    }

    /// The same rates with so many finished jobs in the database.
    async fn history(
        &mut self,
        total: i64,
        there: i64,
        empty: Rates,
        ratio: f64,
        start_ms: f64,
    ) -> Result<(), Failure> {
        let store = self.target.open_store(self.dir, "bench.db").await?;
        let started = Instant::now();
        let broken = |error: levqor_store::Error| Failure::failed(chain(&error));
        // Finished an hour ago and before: nothing that retention would touch.
        let until_ms = SystemClock.now_ms() - 3_600_000;
        note!("filling {} finished jobs …", total - there);
        store.fill_finished("bench-noop", total - there, until_ms - total).await.map_err(broken)?;
        store.close().await;
        let name = match total {
            total if total % MILLION == 0 => format!("{} million finished jobs", total / MILLION),
            total => format!("{} thousand finished jobs", total / 1000),
        };
        self.add(format!("filling up to {name}"), started.elapsed().as_secs_f64(), "s", None);

        let server = Server::start(self.target, self.dir).await?;
        let started_ms = server.first_accepted.as_secs_f64() * 1e3;
        self.add(format!("start to first 202, {name}"), started_ms, "ms", Some(Aim::at(start_ms)));
        let full = self.rates(&server, &format!(", {name}")).await?;
        let (aim, machine) = (Some(Aim::at(ratio)), full.plain / empty.plain);
        self.add(format!("intake to that on empty, {name}"), full.intake / empty.intake, "×", aim);
        self.add(format!("no-op jobs to those on empty, {name}"), full.jobs / empty.jobs, "×", aim);
        self.add(format!("the machine's plain POST then to before, {name}"), machine, "×", None);
        server.stop().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workflows_of_the_benchmark_are_valid() {
        for (name, text) in [("bench-noop", NOOP), ("bench-call", CALL)] {
            assert!(levqor_core::workflow::Definition::parse(text, Some(name)).is_ok(), "{name}");
        }
    }
}
