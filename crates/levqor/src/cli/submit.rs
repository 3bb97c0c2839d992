//! `levqor submit`: hands one job to a server.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::client::{Api, Call, Server, read_source, segment};
use super::exit::Failure;
use super::out::{note, plain, say};
use super::{status, watch};

/// Submit a job and print its id
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor submit hello '{\"name\":\"Ada\"}'
  levqor submit hello @payload.json --watch
  levqor submit report '{}' --delay 10m --tag team=blue --callback https://example.com/hook

The exit code is 0 once the job is on the server's disk; with --watch it says how the job ended, and is 6 when --timeout
was over first. The id is printed at once; with --watch and --json it goes to standard error.")]
pub struct Submit {
    /// Name of the workflow
    workflow: String,

    /// Payload: JSON text, @FILE, or - for standard input
    #[arg(default_value = "{}", allow_hyphen_values = true)]
    payload: String,

    /// Where the signed callback goes when the job has ended
    #[arg(long, value_name = "URL")]
    callback: Option<String>,

    /// low, normal or high
    #[arg(long)]
    priority: Option<String>,

    /// A tag to find the job by; may be given again
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,

    /// Start after this time, such as 30s, 10m or 2h
    #[arg(long, value_name = "DURATION", conflicts_with = "run_at")]
    delay: Option<String>,

    /// Start at this time, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    run_at: Option<String>,

    /// The same key with the same job is accepted once, however often it is sent
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Say what would happen; store nothing
    #[arg(long)]
    dry_run: bool,

    /// Follow the job until it ends
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,

    /// With --watch: give up watching after this time, such as 30s or 10m; the job goes on
    #[arg(long, value_name = "DURATION", value_parser = status::duration, requires = "watch")]
    timeout: Option<Duration>,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

/// The body of the intake request.
#[derive(Serialize)]
struct Body<'a> {
    workflow: &'a str,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback_url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<std::collections::BTreeMap<&'a str, &'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

/// Reads `name=value`.
pub fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

impl Submit {
    pub async fn run(&self) -> Result<(), Failure> {
        let api = Api::new(&self.server)?;
        let mut call = Call::post("/api/v1/intake").json(self.body()?);
        if let Some(key) = &self.idempotency_key {
            call = call.header("idempotency-key", key);
        }
        let answer = api.ask(call).await?;
        let id = answer.text_at("job_id");
        match (self.json, self.watch) {
            _ if self.dry_run => say!("{}", answer.text.trim_end()),
            (false, _) => say!("{}", plain(&id)),
            (true, false) => say!("{}", answer.text.trim_end()),
            // Standard output holds the last state alone, for a program.
            (true, true) => note!("{}", plain(&id)),
        }
        self.tell_if_undefined(&api).await;
        if self.watch { watch::follow(&api, &id, self.timeout, self.json).await } else { Ok(()) }
    }

    /// A job may come before its definition. More often its name has a typing error, and nothing else would tell.
    async fn tell_if_undefined(&self, api: &Api) {
        let path = format!("/api/v1/workflows/{}", segment(&self.workflow));
        // The job is accepted whatever comes of this question.
        if api.send(Call::get(path)).await.is_ok_and(|answer| answer.status.as_u16() == 404) {
            let name = plain(&self.workflow);
            note!(
                "levqor: workflow `{name}` has no definition; jobs of it wait for one (see `levqor workflows`)"
            );
        }
    }

    fn body(&self) -> Result<String, Failure> {
        let text = match self.payload.strip_prefix('@') {
            Some(path) => read_source(path)?,
            None if self.payload == "-" => read_source("-")?,
            None => self.payload.clone(),
        };
        let payload: &RawValue = serde_json::from_str(&text).map_err(|error| {
            Failure::usage(format!("the payload is not JSON: {error}; quote it like '{{\"a\":1}}'"))
        })?;
        let tags = self.tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let body = Body {
            workflow: &self.workflow,
            payload,
            callback_url: self.callback.as_deref(),
            priority: self.priority.as_deref(),
            tags: (!self.tags.is_empty()).then(|| tags.collect()),
            delay: self.delay.as_deref(),
            run_at: self.run_at.as_deref(),
            dry_run: self.dry_run,
        };
        serde_json::to_string(&body).map_err(|error| Failure::usage(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        submit: Submit,
    }

    fn body(arguments: &[&str]) -> Result<String, String> {
        let line =
            Line::try_parse_from([&["submit"], arguments].concat()).map_err(|error| error.to_string())?;
        line.submit.body().map_err(|failure| failure.message)
    }

    #[test]
    fn the_payload_travels_as_it_was_written() {
        let sent = body(&["w", r#"{"n":12345678901234567890123,"x":1.0}"#]).unwrap();

        assert_eq!(sent, r#"{"workflow":"w","payload":{"n":12345678901234567890123,"x":1.0}}"#);
    }

    #[test]
    fn options_become_members_and_nothing_else_is_sent() {
        let sent = body(&["w", "--tag", "a=b=c", "--priority", "high", "--delay", "10m"]).unwrap();

        assert_eq!(
            sent,
            r#"{"workflow":"w","payload":{},"priority":"high","tags":{"a":"b=c"},"delay":"10m"}"#
        );
    }

    #[test]
    fn what_is_no_json_or_no_tag_is_refused_here() {
        assert!(body(&["w", "{name: Ada}"]).unwrap_err().contains("not JSON"));
        assert!(body(&["w", "--tag", "novalue"]).unwrap_err().contains("NAME=VALUE"));
    }
}
