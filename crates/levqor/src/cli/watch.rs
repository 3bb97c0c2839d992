//! `levqor watch`: shows what a job does, step by step, until it ends.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::Value;

use super::client::{Answer, Api, Call, Server, segment};
use super::exit::Failure;
use super::out::{plain, say};
use super::status;

/// Between two looks at a job. The end itself is not polled for.
const LOOK: Duration = Duration::from_millis(150);

/// Follow a job until it ends
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor watch 019ab3c27e507d3c8f1e2a6b9c0d4e5f
  levqor watch 019ab3c27e507d3c8f1e2a6b9c0d4e5f --timeout 10m --json

Shows every attempt of every step as it happens, then the result. The exit code is 0 when the job succeeded, 1 when it
failed, 6 when --timeout was over first. With --json only the last state is printed, as JSON.")]
pub struct Watch {
    /// Id of the job
    id: String,

    /// Give up watching after this time, such as 30s or 10m; the job goes on
    #[arg(long, value_name = "DURATION", value_parser = status::duration)]
    timeout: Option<Duration>,

    /// Print the job as JSON when it has ended
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

impl Watch {
    pub async fn run(&self) -> Result<(), Failure> {
        follow(&Api::new(&self.server)?, &self.id, self.timeout, self.json).await
    }
}

/// Shows a job until it ends; the exit code tells how.
pub async fn follow(api: &Api, id: &str, timeout: Option<Duration>, json: bool) -> Result<(), Failure> {
    let last = until_end(api, id, timeout, |line| {
        if !json {
            say!("{line}");
        }
    });
    let last = last.await?;
    let job = last.json();
    let ended = status::is_final(&job["status"]);
    if json {
        say!("{}", last.text.trim_end());
    } else if ended {
        say!("{}", status::describe(&job));
    }
    status::verdict(&job["status"], true)
}

/// Tells what a job does, line by line, until it ends or the time is over; returns its last state.
pub async fn until_end(
    api: &Api,
    id: &str,
    timeout: Option<Duration>,
    mut tell: impl FnMut(&str),
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let path = format!("/api/v1/jobs/{}", segment(id));
    let mut progress = Progress::default();
    loop {
        let answer = api.ask(Call::get(path.as_str())).await?;
        let job = answer.json();
        progress.news(&job).iter().for_each(|line| tell(line));
        if status::is_final(&job["status"]) || timeout.is_some_and(|limit| started.elapsed() >= limit) {
            return Ok(answer);
        }
        // The wait ends early when the job does, so the last look comes at once.
        let pause = Call::get(format!("/api/v1/status/{}", segment(id)));
        api.ask(pause.query("wait", format!("{}ms", LOOK.as_millis())).waits(LOOK)).await?;
    }
}

/// What has been told of a job, so that everything is told once.
#[derive(Default)]
pub struct Progress {
    told: BTreeSet<String>,
    last_wait: Option<String>,
}

impl Progress {
    /// Lines about what is new since the last look.
    pub fn news(&mut self, job: &Value) -> Vec<String> {
        let created = job["created_at"].as_f64().unwrap_or_default();
        let mut events: Vec<(f64, String)> = Vec::new();
        for step in job["steps"].as_array().into_iter().flatten() {
            let id = plain(step["id"].as_str().unwrap_or("?"));
            let attempts: Vec<&Value> = step["attempts"].as_array().into_iter().flatten().collect();
            for attempt in &attempts {
                events.extend(describe(&id, attempt, created));
            }
            if step["status"] == "skipped" && attempts.is_empty() {
                events.push((f64::MAX, format!("{id}: skipped")));
            }
        }
        events.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut lines = self.waiting(job);
        for (at, text) in events {
            // What was told is known by its words: a wait that became a success is a new event.
            if self.told.insert(text.clone()) {
                let after =
                    if at == f64::MAX { String::new() } else { format!("{:.2}s", (at - created).max(0.0)) };
                lines.push(format!("{after:>8}  {text}"));
            }
        }
        lines
    }

    /// Why the job does not run, when that is new.
    fn waiting(&mut self, job: &Value) -> Vec<String> {
        let reason = job["waits_for"].as_str().map(plain);
        // A timer between two steps is told by the step that waits.
        let told = reason.filter(|_| job["state"] != "waiting");
        if told.is_none() || told == self.last_wait {
            return Vec::new();
        }
        self.last_wait = told.clone();
        told.map(|reason| format!("{:>8}  waits for {reason}", "")).into_iter().collect()
    }
}

/// One attempt as a line, with the time that it is sorted by.
fn describe(step: &str, attempt: &Value, created: f64) -> Option<(f64, String)> {
    let number = attempt["attempt"].as_i64().unwrap_or(1);
    let started = attempt["started_at"].as_f64().unwrap_or_default();
    let finished = attempt["finished_at"].as_f64();
    let until = attempt["until"].as_f64();
    let again = if number > 1 { format!(" (attempt {number})") } else { String::new() };
    let took = finished
        .map_or(String::new(), |finished| format!(" in {:.0} ms", (finished - started).max(0.0) * 1e3));
    let text = match attempt["status"].as_str()? {
        "succeeded" => format!("{step}: done{took}{again}"),
        "skipped" => format!("{step}: skipped"),
        "started" => format!("{step}: started{again}"),
        "waiting" => match until {
            Some(until) => format!("{step}: waits until {:.2}s", (until - created).max(0.0)),
            None => format!("{step}: waits"),
        },
        "failed" | "retried" => {
            let (code, message) = (&attempt["error"]["code"], &attempt["error"]["message"]);
            let reason =
                plain(&format!("{}: {}", code.as_str().unwrap_or("?"), message.as_str().unwrap_or("")));
            let next = match (until, finished) {
                (Some(until), Some(finished)) => {
                    format!("; tries again after {:.0} ms", (until - finished).max(0.0) * 1e3)
                }
                _ => String::new(),
            };
            format!("{step}: failed{took}{again}: {reason}{next}")
        }
        other => format!("{step}: {}{again}", plain(other)),
    };
    Some((finished.unwrap_or(started), text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(attempts: Value) -> Value {
        json!({"created_at": 100.0, "state": "running", "waits_for": null, "steps": [{"id": "fetch", "status": "running", "attempts": attempts}]})
    }

    #[test]
    fn every_attempt_is_told_once_with_what_follows_from_it() {
        let first = json!({"attempt": 1, "status": "failed", "started_at": 100.0, "finished_at": 100.5, "until": 100.8,
            "error": {"code": "http_status", "message": "503"}});
        let second = json!({"attempt": 2, "status": "succeeded", "started_at": 100.8, "finished_at": 100.9});
        let mut progress = Progress::default();

        let told = progress.news(&job(json!([first])));
        assert_eq!(told, ["   0.50s  fetch: failed in 500 ms: http_status: 503; tries again after 300 ms"]);

        let told = progress.news(&job(json!([first, second])));
        assert_eq!(told, ["   0.90s  fetch: done in 100 ms (attempt 2)"]);
        assert!(progress.news(&job(json!([first, second]))).is_empty());
    }

    #[test]
    fn a_job_that_cannot_run_says_why_once() {
        let job = json!({"created_at": 1.0, "state": "queued", "waits_for": "a definition", "steps": []});
        let mut progress = Progress::default();

        assert_eq!(progress.news(&job), ["          waits for a definition"]);
        assert!(progress.news(&job).is_empty());
    }
}
