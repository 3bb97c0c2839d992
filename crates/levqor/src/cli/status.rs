//! `levqor status`: the public status of one job.

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::client::{Api, Call, Server, segment};
use super::exit::{Exit, Failure};
use super::out::{plain, say};

/// The longest wait in one request.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Show a job's status and result
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor status 019ab3c27e507d3c8f1e2a6b9c0d4e5f
  levqor status 019ab3c27e507d3c8f1e2a6b9c0d4e5f --wait 5m --json

The exit code is 1 when the job has failed, and 6 when it had not ended within --wait.")]
pub struct Status {
    /// Id of the job
    id: String,

    /// Wait up to this long for the end, such as 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    wait: Option<Duration>,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

/// Reads a duration argument.
pub fn duration(text: &str) -> Result<Duration, String> {
    levqor::config::duration(text)
        .ok_or_else(|| "expected a duration such as 500ms, 30s, 5m or 2h".to_owned())
}

impl Status {
    pub async fn run(&self) -> Result<(), Failure> {
        let api = Api::new(&self.server)?;
        let answer = wait(&api, &self.id, self.wait.unwrap_or_default()).await?;
        if self.json {
            say!("{}", answer.text.trim_end());
        } else {
            let body = answer.json();
            say!("{}", describe(&body));
        }
        verdict(&answer.json()["status"], self.wait.is_some())
    }
}

/// The status of a job, as soon as it has ended or `time` is over.
pub async fn wait(api: &Api, id: &str, time: Duration) -> Result<super::client::Answer, Failure> {
    let started = std::time::Instant::now();
    loop {
        let left = time.saturating_sub(started.elapsed());
        let mut call = Call::get(format!("/api/v1/status/{}", segment(id)));
        if !left.is_zero() {
            let turn = left.min(WAIT_MAX);
            call = call.query("wait", format!("{}ms", turn.as_millis().max(1))).waits(turn);
        }
        let answer = api.ask(call).await?;
        if is_final(&answer.json()["status"]) || left <= WAIT_MAX {
            return Ok(answer);
        }
    }
}

pub fn is_final(status: &Value) -> bool {
    matches!(status.as_str(), Some("succeeded" | "failed"))
}

/// The exit code of a job's status.
pub fn verdict(status: &Value, waited: bool) -> Result<(), Failure> {
    match status.as_str() {
        Some("failed") => Err(Failure::silent(Exit::Failed)),
        Some("succeeded") => Ok(()),
        _ if waited => Err(Failure::new(Exit::TimedOut, "the job has not ended yet; it goes on")),
        _ => Ok(()),
    }
}

/// Status, result or error, for a person.
pub fn describe(body: &Value) -> String {
    let status = plain(body["status"].as_str().unwrap_or("?"));
    let mut lines = vec![status];
    if !body["result"].is_null() {
        lines.push(format!("result  {}", body["result"]));
    }
    if !body["error"].is_null() {
        lines.push(format!("error   {}", error_text(&body["error"])));
    }
    lines.join("\n")
}

/// `code at step: message`, with what is wrong where.
pub fn error_text(error: &Value) -> String {
    let word = |member: &str| error[member].as_str().map(plain);
    let Some(code) = word("code") else { return error.to_string() };
    let step = word("step").map_or(String::new(), |step| format!(" at step {step}"));
    let message = word("message").unwrap_or_default();
    let fields = error["fields"].as_object().into_iter().flatten();
    let fields: String = fields
        .map(|(pointer, problem)| {
            format!("\n        {}: {}", plain(pointer), plain(problem.as_str().unwrap_or("")))
        })
        .collect();
    format!("{code}{step}: {message}{fields}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_has_the_exit_code_a_script_expects() {
        let exit = |status: &str, waited| verdict(&json!(status), waited).err().map(|failure| failure.exit);

        assert_eq!(exit("succeeded", true), None);
        assert_eq!(exit("queued", false), None);
        assert_eq!(exit("running", true), Some(Exit::TimedOut));
        assert_eq!(exit("failed", false), Some(Exit::Failed));
    }

    #[test]
    fn an_error_is_shown_with_its_step_and_its_fields() {
        let error =
            json!({"code":"http_error","message":"status 500","step":"fetch","fields":{"/a":"required"}});

        assert_eq!(error_text(&error), "http_error at step fetch: status 500\n        /a: required");
    }
}
