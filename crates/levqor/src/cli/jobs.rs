//! `levqor jobs`: the list of jobs, and what can be done to one.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Api, Call, Server, segment};
use super::exit::Failure;
use super::out::{self, plain, say};
use super::status::error_text;
use super::submit::tag;

/// List jobs, newest first, or look at and change one
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  levqor jobs --status failed --limit 20
  levqor jobs --workflow hello --tag team=blue --json
  levqor jobs show 019ab3c27e507d3c8f1e2a6b9c0d4e5f
  levqor jobs retry 019ab3c27e507d3c8f1e2a6b9c0d4e5f"
)]
pub struct Jobs {
    #[command(subcommand)]
    command: Option<Command>,

    /// queued, running, succeeded or failed
    #[arg(long)]
    status: Option<String>,

    /// More exactly: queued, scheduled, running, waiting, succeeded, failed, cancelled or expired
    #[arg(long)]
    state: Option<String>,

    /// Only jobs of this workflow
    #[arg(long)]
    workflow: Option<String>,

    /// Only jobs with this tag; may be given again
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,

    /// Created at or after this time, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Created before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// How many to show
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print the jobs as JSON, one a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Command {
    /// Show all there is about a job: steps, attempts, errors, callbacks
    Show(One),
    /// Cancel a job, whatever it is doing
    Cancel(One),
    /// Start a failed, cancelled or expired job again, from its failed step
    Retry(One),
    /// Send a job's callback again
    Redeliver(One),
    /// Forget a job that has ended, with all there is about it
    Delete(One),
}

#[derive(Args)]
struct One {
    /// Id of the job
    id: String,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

/// Lines asked for at once; the server gives no more.
const PAGE_MAX: u32 = 500;

impl Jobs {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            None => self.list().await,
            Some(Command::Show(one)) => one.show().await,
            Some(Command::Cancel(one)) => one.change("cancel", "cancelled").await,
            Some(Command::Retry(one)) => one.change("retry", "queued again").await,
            Some(Command::Redeliver(one)) => {
                one.change("callbacks/redeliver", "the callback is due again").await
            }
            Some(Command::Delete(one)) => one.delete().await,
        }
    }

    async fn list(&self) -> Result<(), Failure> {
        let api = Api::new(&self.server)?;
        let (jobs, has_more) = api.list("jobs", self.limit, |limit, cursor| self.page(limit, cursor)).await?;
        if self.json {
            jobs.iter().for_each(|job| say!("{job}"));
        } else if jobs.is_empty() {
            say!("No jobs.");
        } else {
            say!("{}", table(&jobs));
            if has_more {
                say!("There are more; see --limit.");
            }
        }
        Ok(())
    }

    fn page(&self, limit: u32, cursor: Option<&str>) -> Call<'_> {
        let mut call = Call::get("/api/v1/jobs").query("limit", limit.min(PAGE_MAX).to_string());
        let filters = [
            ("status", &self.status),
            ("state", &self.state),
            ("workflow", &self.workflow),
            ("from", &self.from),
            ("until", &self.until),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        for (name, value) in &self.tags {
            call = call.query("tag", format!("{name}:{value}"));
        }
        match cursor {
            Some(cursor) => call.query("cursor", cursor),
            None => call,
        }
    }
}

impl One {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/jobs/{}{rest}", segment(&self.id))
    }

    async fn show(&self) -> Result<(), Failure> {
        let answer = Api::new(&self.server)?.ask(Call::get(self.path(""))).await?;
        if self.json {
            say!("{}", answer.text.trim_end());
        } else {
            say!("{}", detail(&answer.json()));
        }
        Ok(())
    }

    async fn change(&self, verb: &str, done: &str) -> Result<(), Failure> {
        self.tell(Call::post(self.path(&format!("/{verb}"))).json("{}"), done).await
    }

    async fn delete(&self) -> Result<(), Failure> {
        self.tell(Call::delete(self.path("")), "deleted").await
    }

    async fn tell(&self, call: Call<'_>, done: &str) -> Result<(), Failure> {
        let answer = Api::new(&self.server)?.ask(call).await?;
        if self.json {
            say!("{}", answer.text.trim_end());
        } else {
            say!("{}: {done}", plain(&self.id));
        }
        Ok(())
    }
}

fn text(value: &Value) -> String {
    value.as_str().map(plain).unwrap_or_default()
}

/// Seconds since 1970 as a date.
pub fn time(value: &Value) -> String {
    let Some(secs) = value.as_f64() else { return "–".to_owned() };
    match jiff::Timestamp::from_millisecond((secs * 1e3) as i64) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        Err(_) => secs.to_string(),
    }
}

fn seconds_between(from: &Value, to: &Value) -> String {
    match (from.as_f64(), to.as_f64()) {
        (Some(from), Some(to)) => format!("{:.3}s", (to - from).max(0.0)),
        _ => "–".to_owned(),
    }
}

fn table(jobs: &[Value]) -> String {
    let head = ["job", "workflow", "state", "created", "took"].map(str::to_owned).to_vec();
    let rows = jobs.iter().map(|job| {
        vec![
            text(&job["job_id"]),
            text(&job["workflow"]),
            text(&job["state"]),
            time(&job["created_at"]),
            // A job that ended before it began took no time; how long it had waited is another matter.
            seconds_between(&job["started_at"], &job["finished_at"]),
        ]
    });
    out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// A job in full, for a person.
fn detail(job: &Value) -> String {
    let version = job["version"]
        .as_i64()
        .map_or("no definition yet".to_owned(), |version| format!("version {version}"));
    let mut rows = vec![
        vec!["job".to_owned(), text(&job["job_id"])],
        vec!["workflow".to_owned(), format!("{}, {version}", text(&job["workflow"]))],
        vec!["state".to_owned(), text(&job["state"])],
        vec!["priority".to_owned(), text(&job["priority"])],
        vec!["created".to_owned(), time(&job["created_at"])],
        vec!["started".to_owned(), time(&job["started_at"])],
        vec!["finished".to_owned(), time(&job["finished_at"])],
    ];
    let mut add = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    if let Some(reason) = job["waits_for"].as_str() {
        add("waits for", plain(reason));
    }
    for (name, value) in job["tags"].as_object().into_iter().flatten() {
        add("tag", format!("{}={}", plain(name), text(value)));
    }
    add("payload", job["payload"].to_string());
    if !job["result"].is_null() {
        add("result", job["result"].to_string());
    }
    if !job["error"].is_null() {
        add("error", error_text(&job["error"]));
    }
    for step in job["steps"].as_array().into_iter().flatten() {
        add("step", format!("{}  {}", text(&step["id"]), text(&step["status"])));
        for attempt in step["attempts"].as_array().into_iter().flatten() {
            add("", attempt_line(attempt));
        }
    }
    for callback in job["callbacks"].as_array().into_iter().flatten() {
        add("callback", format!("{}  {}", text(&callback["state"]), text(&callback["url"])));
        for tried in callback["tries"].as_array().into_iter().flatten() {
            let came = tried["error"].as_str().map_or_else(|| format!("status {}", tried["status"]), plain);
            add("", format!("  try {}  {}  {came}", tried["attempt"], time(&tried["at"])));
        }
    }
    out::table(&rows)
}

fn attempt_line(attempt: &Value) -> String {
    let took = seconds_between(&attempt["started_at"], &attempt["finished_at"]);
    let error = if attempt["error"].is_null() {
        String::new()
    } else {
        format!("  {}", error_text(&attempt["error"]))
    };
    format!("  attempt {}  {}  {took}{error}", attempt["attempt"], text(&attempt["status"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_shows_what_a_job_is_and_how_long_it_took() {
        let jobs = [
            json!({"job_id": "a1", "workflow": "w", "state": "succeeded", "created_at": 0.25, "started_at": 0.5, "finished_at": 2.0}),
            json!({"job_id": "a2", "workflow": "w", "state": "cancelled", "created_at": 0.5, "started_at": null, "finished_at": 2.0}),
        ];

        assert_eq!(
            table(&jobs),
            "job  workflow  state      created               took\na1   w         succeeded  1970-01-01 00:00:00Z  1.500s\n\
             a2   w         cancelled  1970-01-01 00:00:00Z  –"
        );
    }

    #[test]
    fn a_job_in_full_shows_steps_errors_and_tries() {
        let job = json!({"job_id": "a1", "workflow": "w", "version": 2, "state": "failed", "priority": "normal",
            "created_at": 0.0, "started_at": null, "finished_at": null, "payload": {"n": 1}, "result": null, "tags": {"team": "blue"},
            "error": {"code": "http_status", "message": "status 500", "step": "fetch"},
            "steps": [{"id": "fetch", "status": "failed", "attempts": [{"attempt": 1, "status": "failed", "started_at": 0.0,
                "finished_at": 0.25, "error": {"code": "http_status", "message": "status 500"}}]}],
            "callbacks": [{"state": "due", "url": "http://h/x", "tries": [{"attempt": 1, "at": 0.0, "status": 500, "error": "status 500"}]}]});

        let shown = detail(&job).split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            "version 2",
            "tag team=blue",
            "http_status at step fetch",
            "attempt 1 failed 0.250s",
            "try 1",
            "due http://h/x",
        ] {
            assert!(shown.contains(words), "{words:?} is missing in\n{shown}");
        }
    }
}
