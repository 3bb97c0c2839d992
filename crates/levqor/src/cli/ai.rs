//! `levqor ai`: one question to a model through a server and its budgets, and which models there are.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::client::{Api, Call, Server, read_source};
use super::exit::Failure;
use super::out::{note, plain, say};

/// Models think before they speak; a server gives them ten minutes unless it was told otherwise.
const PATIENCE: Duration = Duration::from_secs(600);

/// Ask an AI model through a server, under its budgets
#[derive(Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  levqor ai ask openai/gpt-6-sol 'Say hello'
  levqor ai ask claude-sonnet-5 @letter.txt --system 'Sum up in one line' --max-tokens 200
  levqor ai ask gpt-6-sol @mail.txt --output schema.json
  levqor ai ask gpt-6-sol 'Say hello' --dry-run
  levqor ai models
  levqor ai calls --state assumed --limit 20
  levqor ai stop

The key needs the scope `ai`. What it cost goes to standard error; --json prints everything that the server says."
)]
pub struct Ai {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Money(super::ai_calls::Command),
    /// Ask one question, print the answer
    Ask(Ask),
    /// List the models that have a price and a configured provider
    Models {
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
struct Ask {
    /// provider/name, or the name where only one provider has it
    model: String,

    /// The question; @FILE reads it from a file, - from standard input
    prompt: String,

    /// What the model is told before
    #[arg(long)]
    system: Option<String>,

    /// File with the JSON Schema that the answer must fit
    #[arg(long, value_name = "FILE")]
    output: Option<String>,

    /// The longest answer, in tokens
    #[arg(long, value_name = "N")]
    max_tokens: Option<u64>,

    /// Whom budgets of users count it for
    #[arg(long)]
    user: Option<String>,

    /// A tag that budgets count it for; may be given several times
    #[arg(long = "tag", value_name = "NAME=VALUE")]
    tags: Vec<String>,

    /// Sent again within 24 hours, the same question is paid for once
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,

    /// Fail where the budgets do not afford the whole answer, instead of a shorter one
    #[arg(long)]
    no_fit: bool,

    /// Say what it would cost at most, and call nobody
    #[arg(long)]
    dry_run: bool,

    /// Print the server's whole answer
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

impl Ai {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Money(command) => command.run().await,
            Command::Ask(ask) => ask.run().await,
            Command::Models { server } => models(server).await,
        }
    }
}

impl Ask {
    async fn run(&self) -> Result<(), Failure> {
        let mut call = Call::post("/api/v1/ai/complete").json(self.body()?.to_string()).waits(PATIENCE);
        if let Some(key) = &self.idempotency_key {
            call = call.header("idempotency-key", key);
        }
        let api = Api::new(&self.server)?;
        let answer = api.send(call).await?;
        if answer.text_at("error") == "invalid_output" {
            // The server did what it could; the model did not.
            note!("{}", lines(&answer.text_at("text")));
            return Err(Failure::failed(answer.text_at("message")));
        }
        let answer = answer.accept(api.has_key())?;
        if self.json {
            say!("{}", answer.text.trim_end());
            return Ok(());
        }
        let body = answer.json();
        if self.dry_run {
            say!("{}", estimate(&body["estimate"]));
            return Ok(());
        }
        match body.get("output") {
            Some(output) => say!("{output}"),
            None => say!("{}", lines(body["text"].as_str().unwrap_or_default())),
        }
        let word = |name: &str| plain(body[name].as_str().unwrap_or("?"));
        note!(
            "levqor: {} cost ${} ({}), call {}",
            word("model"),
            word("cost_usd"),
            word("charge"),
            word("call")
        );
        if body["finish"] == "length" {
            note!("levqor: the answer ends at its limit");
        }
        Ok(())
    }

    fn body(&self) -> Result<Value, Failure> {
        let prompt = match self.prompt.strip_prefix('@') {
            Some(path) => read_source(path)?,
            None if self.prompt == "-" => read_source("-")?,
            None => self.prompt.clone(),
        };
        let mut body =
            json!({"model": self.model, "prompt": prompt, "fit": !self.no_fit, "dry_run": self.dry_run});
        let mut set = |name: &str, value: Value| body[name] = value;
        if let Some(system) = &self.system {
            set("system", json!(system));
        }
        if let Some(path) = &self.output {
            let schema = serde_json::from_str(&read_source(path)?);
            set("output", schema.map_err(|error| Failure::usage(format!("--output {path}: {error}")))?);
        }
        if let Some(tokens) = self.max_tokens {
            set("max_tokens", json!(tokens));
        }
        if let Some(user) = &self.user {
            set("user", json!(user));
        }
        let mut tags = Map::new();
        for tag in &self.tags {
            let (name, value) = tag
                .split_once('=')
                .ok_or_else(|| Failure::usage(format!("--tag {tag:?}: expected NAME=VALUE")))?;
            tags.insert(name.to_owned(), json!(value));
        }
        if !tags.is_empty() {
            set("tags", Value::Object(tags));
        }
        Ok(body)
    }
}

/// Text of a model that must not steer the terminal; its line ends are its own.
fn lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn estimate(estimate: &Value) -> String {
    let word = |name: &str| plain(estimate[name].as_str().unwrap_or("?"));
    let starts = match (estimate["would_start"] == true, estimate["would_be_shortened"] == true) {
        (true, false) => "it would start now".to_owned(),
        (true, true) => "it would start now, with a shorter answer".to_owned(),
        (false, _) => "it would be refused now".to_owned(),
    };
    let room = match estimate["room_usd"].as_str() {
        Some(room) => format!("${} left in the budget {}", plain(room), word("tightest_budget")),
        None => "no budget binds it".to_owned(),
    };
    format!(
        "at most ${} for {} tokens of answer; {room}; {starts}",
        word("at_most_usd"),
        estimate["max_tokens"]
    )
}

async fn models(server: &Server) -> Result<(), Failure> {
    let body = Api::new(server)?.ask(Call::get("/v1/models")).await?.json();
    let models = body["data"].as_array().cloned().unwrap_or_default();
    if models.is_empty() {
        note!("levqor: no provider is configured; set OPENAI_API_KEY or another, see docs/gateway.md");
    }
    for model in models {
        say!("{}", plain(model["id"].as_str().unwrap_or_default()));
    }
    Ok(())
}
