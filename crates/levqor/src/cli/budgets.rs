//! `levqor budgets`: limits for what AI may cost, at a server.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::{Api, Call, Server, segment};
use super::exit::Failure;
use super::jobs::time;
use super::out::{self, note, plain, say};

/// List, show, set and delete budgets
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor budgets list
  levqor budgets show max-cost-per-day
  levqor budgets set team-blue --scope tag --id team=blue --window day --limit 5
  levqor budgets set each-user --scope user --id '*' --window month --limit 20 --zone Europe/Berlin
  levqor budgets set blue-alerts --scope tag --id team=blue --window week --limit 30 --mode soft --email ops@example.com
  levqor budgets delete team-blue

Reading needs a key with the scope read, changing one with the scope budgets. `set` sets the whole budget: what is left out
has its default. MAX_COST_PER_JOB and MAX_COST_PER_DAY are budgets too; they are changed where they are set.")]
pub struct Budgets {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List budgets with what they have spent and hold now
    List {
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show a budget with its forecast and its open holds
    Show {
        /// Name of the budget
        name: String,
        /// One of those that a budget for each (`*`) counts
        #[arg(long)]
        subject: Option<String>,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Set a budget; it counts for the next call on every node
    Set(Box<Set>),
    /// Delete a budget: it binds nobody any more
    Delete {
        /// Name of the budget
        name: String,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
struct Set {
    /// Name of the budget: lower-case letters, digits, - and _
    name: String,
    /// Whom it binds: job, step, key, user, tag, workflow, model, provider or global
    #[arg(long)]
    scope: String,
    /// Which one of them, or '*' for each by itself; not for global
    #[arg(long)]
    id: Option<String>,
    /// Over which time: job, hour, day, week, month, total or rolling:24h
    #[arg(long)]
    window: String,
    /// Dollars, such as 5 or 0.35; 0 closes the scope
    #[arg(long)]
    limit: String,
    /// Time zone in which days begin [default: UTC]
    #[arg(long)]
    zone: Option<String>,
    /// hard refuses, soft tells, observe counts [default: hard]
    #[arg(long)]
    mode: Option<String>,
    /// Percentages of the limit that raise an alert [default: 50,80,100]
    #[arg(long, value_name = "PERCENT", value_delimiter = ',')]
    thresholds: Option<Vec<String>>,
    /// Calls that may be open at the same time
    #[arg(long, value_name = "COUNT")]
    max_open_holds: Option<u32>,
    /// Set it, but do not put it in force
    #[arg(long)]
    disabled: bool,
    /// Who gets a mail; may be given more than once [default: ALERT_EMAIL of the server, with the next three]
    #[arg(long, value_name = "ADDRESS")]
    email: Vec<String>,
    /// Where Slack is told, as connection/channel
    #[arg(long, value_name = "CONNECTION/CHANNEL")]
    slack: Option<String>,
    /// A URL that gets a signed callback
    #[arg(long, value_name = "URL")]
    callback: Option<String>,
    /// A workflow that gets the alert as its payload
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Budgets {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::List { json, server } => list(*json, server).await,
            Command::Show { name, subject, json, server } => {
                show(name, subject.as_deref(), *json, server).await
            }
            Command::Set(set) => set.run().await,
            Command::Delete { name, server } => {
                Api::new(server)?.ask(Call::delete(path(name))).await?;
                say!("{}: deleted", plain(name));
                Ok(())
            }
        }
    }
}

fn path(name: &str) -> String {
    format!("/api/v1/budgets/{}", segment(name))
}

async fn list(json: bool, server: &Server) -> Result<(), Failure> {
    let answer = Api::new(server)?.ask(Call::get("/api/v1/budgets")).await?;
    if json {
        say!("{}", answer.text.trim_end());
        return Ok(());
    }
    let body = answer.json();
    let budgets: Vec<&Value> = body["budgets"].as_array().into_iter().flatten().collect();
    if budgets.is_empty() {
        say!(
            "No budgets. Set one with `levqor budgets set everything --scope global --window day --limit 10`."
        );
        return Ok(());
    }
    let head = ["budget", "binds", "window", "limit", "spent", "held", "left", "mode", "resets"];
    let rows = budgets.iter().map(|it| {
        vec![
            text(&it["id"]),
            binds(it),
            text(&it["window"]),
            text(&it["limit"]),
            text(&it["spent"]),
            text(&it["held"]),
            text(&it["left"]),
            if it["enabled"] == true { text(&it["mode"]) } else { "off".to_owned() },
            if it["resets_at"].is_null() { "never".to_owned() } else { time(&it["resets_at"]) },
        ]
    });
    let head = head.map(str::to_owned).to_vec();
    say!("{}", out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    if body["stopped"] == true {
        note!("AI calls are stopped; `levqor ai start` lets them be made again.");
    }
    Ok(())
}

/// `tag team=blue`, `each user`, `everything`.
fn binds(budget: &Value) -> String {
    let (scope, id) = (text(&budget["scope"]), text(&budget["scope_id"]));
    match id.as_str() {
        "" => "everything".to_owned(),
        "*" => format!("each {scope}"),
        id => format!("{scope} {id}"),
    }
}

async fn show(name: &str, subject: Option<&str>, json: bool, server: &Server) -> Result<(), Failure> {
    let mut call = Call::get(path(name));
    if let Some(subject) = subject {
        call = call.query("subject", subject);
    }
    let answer = Api::new(server)?.ask(call).await?;
    if json {
        say!("{}", answer.text.trim_end());
        return Ok(());
    }
    let it = answer.json();
    say!(
        "{}: ${} for {}, window {}, {}",
        text(&it["id"]),
        text(&it["limit"]),
        binds(&it),
        text(&it["window"]),
        text(&it["mode"])
    );
    if let Some(setting) = it["setting"].as_str() {
        say!("It stands on {}.", plain(setting));
    }
    let subject = text(&it["subject"]);
    let of = if subject.is_empty() { String::new() } else { format!(" (of {subject})") };
    say!("spent ${}, held ${}, left ${}{of}", text(&it["spent"]), text(&it["held"]), text(&it["left"]));
    if it["assumed_micro_usd"] != 0 {
        say!("of what was spent ${} is assumed: in doubt, charged in full", text(&it["assumed"]));
    }
    if let Some(at_end) = it["forecast"]["at_end"].as_str() {
        let reached = &it["forecast"]["reaches_limit_at"];
        let when = if reached.is_null() {
            String::new()
        } else {
            format!(", the limit is reached {}", time(reached))
        };
        say!("forecast: ${} at the end of the period at this pace{when}", plain(at_end));
    }
    if !it["resets_at"].is_null() {
        say!("resets {}", time(&it["resets_at"]));
    }
    subjects(&it);
    holds(&it);
    Ok(())
}

fn subjects(budget: &Value) {
    let rows: Vec<Vec<String>> = budget["subjects"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|it| vec![text(&it["subject"]), text(&it["spent"]), text(&it["held"]), it["calls"].to_string()])
        .collect();
    if rows.len() > 1 {
        let head = ["of", "spent", "held", "calls"].map(str::to_owned).to_vec();
        say!("\n{}", out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    }
    if budget["more_subjects"] == true {
        note!("There are more; --subject shows one of them.");
    }
}

fn holds(budget: &Value) {
    let holds: Vec<&Value> = budget["holds"].as_array().into_iter().flatten().collect();
    if holds.is_empty() {
        return;
    }
    let head = ["open call", "held", "age", "model", "job", "step"].map(str::to_owned).to_vec();
    let rows = holds.iter().map(|it| {
        vec![
            text(&it["call_id"]),
            text(&it["amount"]),
            format!("{} s", it["age_secs"]),
            text(&it["model"]),
            text(&it["job_id"]),
            text(&it["step"]),
        ]
    });
    say!("\n{}", out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
}

impl Set {
    async fn run(&self) -> Result<(), Failure> {
        let answer =
            Api::new(&self.server)?.ask(Call::put(path(&self.name)).json(self.body()?.to_string())).await?;
        if self.json {
            say!("{}", answer.text.trim_end());
            return Ok(());
        }
        let body = answer.json();
        let it = &body["budget"];
        let what = match (answer.status.as_u16(), body["changed"] == true) {
            (201, _) => "set",
            (_, true) => "changed",
            _ => "as it was",
        };
        say!(
            "{}: {what}, ${} for {}, window {}, {}",
            text(&it["id"]),
            text(&it["limit"]),
            binds(it),
            text(&it["window"]),
            text(&it["mode"])
        );
        Ok(())
    }

    fn body(&self) -> Result<Value, Failure> {
        let mut body = json!({"scope": self.scope, "window": self.window, "limit": self.limit});
        let given = [("scope_id", &self.id), ("zone", &self.zone), ("mode", &self.mode)];
        for (name, value) in given {
            if let Some(value) = value {
                body[name] = value.as_str().into();
            }
        }
        if let Some(thresholds) = &self.thresholds {
            let given: Vec<&str> =
                thresholds.iter().map(|it| it.trim()).filter(|it| !it.is_empty()).collect();
            body["thresholds"] = given.into();
        }
        if let Some(most) = self.max_open_holds {
            body["max_open_holds"] = most.into();
        }
        if self.disabled {
            body["enabled"] = false.into();
        }
        let mut alert = serde_json::Map::new();
        if !self.email.is_empty() {
            alert.insert("email".to_owned(), self.email.clone().into());
        }
        if let Some(slack) = &self.slack {
            let (connection, channel) = slack.split_once('/').ok_or_else(|| {
                Failure::usage(format!(
                    "--slack {slack:?}: expected connection/channel, such as team-slack/#ops"
                ))
            })?;
            alert.insert("slack".to_owned(), json!({"connection": connection, "channel": channel}));
        }
        for (name, value) in [("callback", &self.callback), ("workflow", &self.workflow)] {
            if let Some(value) = value {
                alert.insert(name.to_owned(), value.as_str().into());
            }
        }
        if !alert.is_empty() {
            body["alert"] = alert.into();
        }
        Ok(body)
    }
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().map(plain).unwrap_or_default()
}
