//! Compares what the servers say in the end with what was promised. All findings are told, with the pages of the jobs.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::Value;

use crate::client::Caller;
use crate::detail::{faults, items};
use crate::findings::Findings;
use crate::ledger::Ledger;
use crate::load::Load;
use crate::recorder::{Delivery, Recorder};
use crate::server::now_ms;

const DAY_MS: i64 = 86_400_000;
/// A figure of live work may be as old as this.
const FIGURES_AGE: Duration = Duration::from_secs(3);
/// Jobs shown that did not settle.
const SHOWN: usize = 5;

/// A job as it ended.
pub struct Ended {
    pub started_ms: i64,
    pub finished_ms: i64,
    pub deaths: i64,
}

pub struct Audit<'a> {
    /// Names the run in a failure.
    pub run: String,
    pub base: &'a str,
    pub ledger: &'a Ledger,
    pub recorder: &'a Recorder,
    pub caller: Caller,
}

impl<'a> Audit<'a> {
    pub fn new(test: &str, seed: u64, base: &'a str, load: &'a Load, recorder: &'a Recorder) -> Audit<'a> {
        let run = format!("{test} (LEVQOR_KILL_SEED={seed})");
        Audit { run, base, ledger: &load.ledger, recorder, caller: Caller::new() }
    }

    /// Waits until every job is final and every callback delivered, then checks all there is.
    pub async fn settle_and_check(&self, limit: Duration) -> Vec<Ended> {
        let today = now_ms() / DAY_MS;
        let lines = self.settled(limit).await;
        let mut findings = Findings::default();
        self.ledger
            .complaints()
            .into_iter()
            .for_each(|complaint| findings.add("a client complained", complaint));
        self.recorder
            .broken_keys()
            .into_iter()
            .for_each(|keys| findings.add("idempotency keys of steps are mixed up", keys));
        let ids = self.check_list(&lines, &mut findings);
        let ended = self.check_pages(&lines, &mut findings).await;
        self.check_callbacks(&ids, &mut findings);
        self.check_figures(today, &mut findings).await;

        let (sent, promised) = (self.ledger.sent_count(), self.ledger.promises().len());
        let deaths: i64 = ended.iter().map(|job| job.deaths).sum();
        let most = ended.iter().map(|job| job.deaths).max().unwrap_or(0);
        println!(
            "{}: {sent} jobs sent, {promised} acknowledged, {} finished; {deaths} deaths of processes under them, at most {most} under one",
            self.run,
            lines.len()
        );
        assert!(findings.is_empty(), "{}:\n{findings}", self.run);
        ended
    }

    /// The lines of all jobs, when all are final and no callback is due.
    async fn settled(&self, limit: Duration) -> Vec<Value> {
        let deadline = Instant::now() + limit;
        let mut calm_since = None;
        loop {
            let lines = self.list().await;
            let live: Vec<_> = lines.iter().filter(|line| !is_final(line)).collect();
            let due = self.figure("levqor_callbacks_due").await;
            if !live.is_empty() || due > 0 {
                calm_since = None;
            } else if calm_since.get_or_insert_with(Instant::now).elapsed() > FIGURES_AGE {
                return lines;
            }
            if calm_since.is_none() && Instant::now() > deadline {
                let unsettled = self.unsettled(&lines).await;
                panic!(
                    "{}: after {limit:?} {} of {} jobs are not final and {due} callbacks are due, among them:\n\n{unsettled}",
                    self.run,
                    live.len(),
                    lines.len()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Pages of jobs that are not final or whose callback is due.
    async fn unsettled(&self, lines: &[Value]) -> String {
        let mut pages = Vec::new();
        for line in lines {
            let page =
                self.caller.get(self.base, &format!("/api/v1/jobs/{}", text(&line["job_id"]))).await.json();
            if !is_final(&page) || items(&page["callbacks"]).iter().any(|callback| callback["state"] == "due")
            {
                pages.push(page.to_string());
            }
            if pages.len() == SHOWN {
                break;
            }
        }
        pages.join("\n\n")
    }

    /// All pages of the list.
    async fn list(&self) -> Vec<Value> {
        let mut lines = Vec::new();
        let mut path = "/api/v1/jobs?limit=500".to_owned();
        loop {
            let answer = self.caller.get(self.base, &path).await;
            assert_eq!(answer.status, 200, "{}: {path} got {}", self.run, answer.text());
            let page = answer.json();
            lines.extend_from_slice(items(&page["jobs"]));
            match page["next"].as_str() {
                Some(next) => path = format!("/api/v1/jobs?limit=500&cursor={next}"),
                None => return lines,
            }
        }
    }

    async fn figure(&self, name: &str) -> i64 {
        let page = self.caller.get(self.base, "/metrics").await.text();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("/metrics has no {name}:\n{page}"))
    }

    /// Every promise is in the list, nothing is there twice, and nothing that nobody sent. Returns the ids by token.
    fn check_list(&self, lines: &[Value], findings: &mut Findings) -> HashMap<String, String> {
        let mut ids = HashMap::new();
        let mut seen = HashSet::new();
        for line in lines {
            let (id, token) = (text(&line["job_id"]), text(&line["tags"]["token"]));
            if !seen.insert(id.clone()) {
                findings.add("the list shows a job twice", id.clone());
            }
            if self.ledger.job(&token).is_none() {
                findings.add("nobody sent this job", line.to_string());
            }
            // With a key it was sent again until it was answered, without one it was sent once.
            if let Some(other) = ids.insert(token.clone(), id.clone()) {
                findings.add("one request became two jobs", format!("{token}: {other} and {id}"));
            }
        }
        for (token, id) in self.ledger.promises() {
            if ids.get(&token) != Some(&id) {
                findings.add(
                    "an acknowledged job is lost",
                    format!("{token} {id}, the list has {:?}", ids.get(&token)),
                );
            }
        }
        let newest_first = lines.windows(2).all(|pair| text(&pair[0]["job_id"]) > text(&pair[1]["job_id"]));
        if !newest_first {
            findings.add("the list is not newest first", "");
        }
        ids
    }

    /// Every job's own page, and its public status.
    async fn check_pages(&self, lines: &[Value], findings: &mut Findings) -> Vec<Ended> {
        let pages = futures_util::stream::iter(lines).map(|line| async {
            let id = text(&line["job_id"]);
            let page = self.caller.get(self.base, &format!("/api/v1/jobs/{id}")).await;
            let status = self.caller.get(self.base, &format!("/api/v1/status/{id}")).await;
            (id, page, status)
        });
        let mut pages = pages.buffer_unordered(8);
        let mut ended = Vec::with_capacity(lines.len());
        while let Some((id, page, status)) = pages.next().await {
            if page.status != 200 || status.status != 200 {
                findings.add("a job has no page", format!("{id}: {} {}", page.text(), status.text()));
                continue;
            }
            let (page, status) = (page.json(), status.json());
            let Some(job) = self.ledger.job(&text(&page["tags"]["token"])) else { continue };
            faults(&page, &job).into_iter().for_each(|fault| findings.add(&fault, page.to_string()));
            if status["status"] != page["status"] || status["result"] != page["result"] {
                findings.add("the public status says something else", format!("{status}\n{page}"));
            }
            let ms = |time: &Value| (time.as_f64().unwrap_or(0.0) * 1000.0).round() as i64;
            ended.push(Ended {
                started_ms: ms(&page["started_at"]),
                finished_ms: ms(&page["finished_at"]),
                deaths: page["deaths"].as_i64().unwrap_or(0),
            });
        }
        ended
    }

    /// One event a job: each delivery under one id, with the same bytes, signed.
    fn check_callbacks(&self, ids: &HashMap<String, String>, findings: &mut Findings) {
        let deliveries = self.recorder.deliveries();
        for (token, id) in ids {
            let wanted = self.ledger.job(token).is_some_and(|job| job.callback_url.is_some());
            if wanted && !deliveries.contains_key(token) {
                findings.add("no callback arrived", format!("{token} {id}"));
            }
        }
        for (token, deliveries) in &deliveries {
            let Some((id, job)) = ids.get(token).zip(self.ledger.job(token)) else {
                findings.add("a callback of a job that is not there", format!("{token}: {deliveries:?}"));
                continue;
            };
            let first = &deliveries[0];
            let mut wrong = |what: &str, delivery: &Delivery| {
                findings.add(what, format!("{token} {id}: {delivery:?}, the first one was {first:?}"));
            };
            for delivery in deliveries {
                if let Some(doubt) = &delivery.doubt {
                    wrong(doubt, delivery);
                }
                if delivery.webhook_id != first.webhook_id || delivery.body != first.body {
                    wrong("two deliveries differ in id or body", delivery);
                }
            }
            let body: Value = serde_json::from_slice(&first.body).unwrap_or_default();
            let data = &body["data"];
            let says_it = body["type"] == "job.succeeded"
                && data["job_id"] == id.as_str()
                && data["status"] == "succeeded"
                && data["result"] == job.kind.result(&job.payload);
            if !says_it {
                wrong("the callback does not say what the job came to", first);
            }
        }
    }

    async fn check_figures(&self, today: i64, findings: &mut Findings) {
        let figures = self.caller.get(self.base, "/public/metrics").await.json();
        let promised = self.ledger.promises().len() as i64;
        // A run over midnight has its jobs on two days.
        let is_one_day = today == now_ms() / DAY_MS && today == self.first_day();
        if is_one_day && figures["jobs_today"].as_i64().is_none_or(|count| count < promised) {
            findings.add("jobs_today is too small", format!("{promised} were acknowledged: {figures}"));
        }
        if !figures["audit_coverage"].as_f64().is_some_and(|share| (0.0..=100.0).contains(&share)) {
            findings.add("audit_coverage is no share", figures.to_string());
        }
    }

    /// The day of the first promise: ids begin with their time.
    fn first_day(&self) -> i64 {
        let ids = self.ledger.promises().into_iter().map(|(_, id)| id).min().unwrap_or_default();
        i64::from_str_radix(ids.get(..12).unwrap_or_default(), 16).unwrap_or(0) / DAY_MS
    }
}

fn is_final(line: &Value) -> bool {
    line["status"] == "succeeded" || line["status"] == "failed"
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
