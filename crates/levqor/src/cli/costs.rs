//! `levqor costs`: what AI calls cost, told apart as somebody likes it; and the bill of one job. Sums are the server's: nothing
//! is added up here.

mod meter;
mod reconcile;
mod simulate;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Api, Call, Server, segment};
use super::exit::Failure;
use super::jobs::time;
use super::out::{self, plain, say};

/// Show what AI calls cost
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  levqor costs
  levqor costs --by month,model --from 2030-01-01
  levqor costs --by user --only tag=team:red --csv > costs.csv
  levqor costs --usage --by day,model --zone Europe/Berlin
  levqor costs job 018bcfe5687b7fffbfffffffffffffff
  levqor costs simulate --from 2030-01-01 --model openai/gpt-6-sol=openai/gpt-5-mini --per-job 0.20
  levqor costs reconcile
  levqor costs meter status

Amounts are US dollars, exact to the nano-dollar. A call counts at the time its money was held, also when it was charged or
corrected later; calls that are still open are not in the sums."
)]
pub struct Costs {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    report: Report,
}

#[derive(Subcommand)]
enum Command {
    /// Show what one job cost, call by call
    Job(Job),
    /// Replay past calls at other prices, with other models or under other limits, without spending
    Simulate(simulate::Simulate),
    /// Ask providers what the last days cost, and compare that with the books
    Reconcile(reconcile::Reconcile),
    /// Show how metering to Stripe does
    Meter(meter::Meter),
}

#[derive(Args)]
struct Report {
    /// What to tell apart: hour, day, week or month; workflow, provider, model, key, user; one tag:<name>
    #[arg(long, default_value = "day", value_name = "WORDS")]
    by: String,

    /// The first day, such as 2030-01-31, or a time; 29 days before today where it is left out
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Until before this day or time; the end of today where it is left out
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// Whose days these are, such as Europe/Berlin; UTC where it is left out
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,

    /// Only calls of this workflow=, provider=, model=, key=, user= or tag=name:value; may be given several times
    #[arg(long, value_name = "WHAT=WHICH")]
    only: Vec<String>,

    /// Show what was used instead of what it cost
    #[arg(long)]
    usage: bool,

    /// Print comma-separated values with the columns of FOCUS
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
struct Job {
    /// Id of the job
    id: String,

    /// How many calls to show
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

impl Costs {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Some(Command::Job(job)) => job.run().await,
            Some(Command::Simulate(simulate)) => simulate.run().await,
            Some(Command::Reconcile(reconcile)) => reconcile.run().await,
            Some(Command::Meter(meter)) => meter.run().await,
            None => self.report.run().await,
        }
    }
}

const ONLY: [&str; 6] = ["workflow", "provider", "model", "key", "user", "tag"];

impl Report {
    async fn run(&self) -> Result<(), Failure> {
        let answer = Api::new(&self.server)?.ask(self.call()?).await?;
        if self.csv || self.json {
            say!("{}", answer.text.trim_end());
            return Ok(());
        }
        let body = answer.json();
        let by: Vec<&str> = body["by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let columns: &[(&str, &str)] = match self.usage {
            true => &[
                ("input", "total_input"),
                ("of it cached", "cached_read"),
                ("output", "total_output"),
                ("of it thought", "reasoning"),
                ("searches", "web_searches"),
                ("calls", "calls"),
            ],
            false => &[
                ("usd", "cost_usd"),
                ("assumed", "assumed_usd"),
                ("overrun", "overrun_usd"),
                ("calls", "calls"),
            ],
        };
        let lines = body["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
        let titles = columns.iter().map(|(title, _)| (*title).to_owned());
        let mut rows = vec![by.iter().map(|word| (*word).to_owned()).chain(titles).collect::<Vec<_>>()];
        let figures = |of: &Value| columns.iter().map(|(_, name)| shown(&of[*name])).collect::<Vec<_>>();
        for line in lines {
            rows.push(by.iter().map(|word| name(line, word)).chain(figures(line)).collect());
        }
        let total = by.iter().enumerate().map(|(at, _)| if at == 0 { "total" } else { "" }.to_owned());
        rows.push(total.chain(figures(&body["total"])).collect());
        say!("{}", out::table(&rows));
        Ok(())
    }

    fn call(&self) -> Result<Call<'_>, Failure> {
        let path = if self.usage { "/api/v1/usage" } else { "/api/v1/costs" };
        let mut call = Call::get(path).query("by", &self.by);
        for (name, value) in [("from", &self.from), ("until", &self.until), ("zone", &self.zone)] {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        for only in &self.only {
            let parts = only.split_once('=').filter(|(what, _)| ONLY.contains(what));
            let (what, which) = parts.ok_or_else(|| {
                Failure::usage(format!("--only {only}: expected one of {}=…", ONLY.join("=…, ")))
            })?;
            call = call.query(what, which);
        }
        Ok(if self.csv { call.query("format", "csv") } else { call })
    }
}

/// What a line is of, in this respect.
fn name(line: &Value, word: &str) -> String {
    let value = match word {
        "hour" | "day" | "week" | "month" => return time(&line["period_start"]),
        tag if tag.starts_with("tag:") => &line["tag"],
        other => &line[other],
    };
    value.as_str().map_or_else(|| "-".to_owned(), plain)
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), plain)
}

impl Job {
    async fn run(&self) -> Result<(), Failure> {
        let api = Api::new(&self.server)?;
        let path = format!("/api/v1/jobs/{}/costs", segment(&self.id));
        let page = Call::get(path).query("limit", self.limit.min(500).to_string());
        let answer = api.ask(page).await?;
        if self.json {
            say!("{}", answer.text.trim_end());
            return Ok(());
        }
        let body = answer.json();
        let calls = body["calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        for call in calls {
            show_call(call);
        }
        if !calls.is_empty() {
            say!("");
        }
        show_totals(&body["costs"]);
        if body["next"].is_string() {
            say!("There are more calls; see --limit and --json.");
        }
        Ok(())
    }
}

fn show_call(call: &Value) {
    let text = |value: &Value| shown(value);
    say!(
        "{} {} try {} · {} · {}",
        text(&call["step"]),
        text(&call["logical_call"]),
        text(&call["attempt"]),
        text(&call["model"]),
        text(&call["state"])
    );
    let hold = &call["hold"];
    let mut rows = vec![vec![
        "  held".to_owned(),
        text(&hold["usd"]),
        format!("for up to {} tokens in, {} out", text(&hold["input_tokens"]), text(&hold["output_tokens"])),
    ]];
    let priced = &call["priced"];
    for line in priced["lines"].as_array().into_iter().flatten() {
        let each = match line["unit"].as_i64() {
            Some(1_000_000) => "a million",
            _ => "each",
        };
        rows.push(vec![
            format!("  {}", text(&line["class"])),
            text(&line["usd"]),
            format!("{} at {} {each}", text(&line["quantity"]), text(&line["usd_per_unit"])),
        ]);
    }
    if priced["multiplier"].as_str().is_some_and(|factor| factor != "1.00") {
        rows.push(vec!["  tokens times".to_owned(), text(&priced["multiplier"]), String::new()]);
    }
    if let Some(cost) = call["cost_usd"].as_str() {
        let alarm = call["alarm"].as_str().or(call["failure"].as_str()).map(plain).unwrap_or_default();
        rows.push(vec!["  charged".to_owned(), plain(cost), alarm]);
    }
    say!("{}", out::table(&rows));
}

fn show_totals(costs: &Value) {
    let mut rows = vec![["", "usd", "held", "assumed", "calls"].map(str::to_owned).to_vec()];
    let mut row = |name: String, of: &Value| {
        let figures = ["cost_usd", "held_usd", "assumed_usd", "calls"].map(|figure| shown(&of[figure]));
        rows.push(std::iter::once(name).chain(figures).collect());
    };
    for step in costs["steps"].as_array().into_iter().flatten() {
        row(format!("step {}", shown(&step["step"])), step);
    }
    row("job".to_owned(), &costs["own"]);
    if costs["tree"]["calls"] != costs["own"]["calls"] {
        row("with all of its tree".to_owned(), &costs["tree"]);
    }
    say!("{}", out::table(&rows));
}
