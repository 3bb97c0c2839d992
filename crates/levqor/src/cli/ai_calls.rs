//! `levqor ai calls`, `call`, `correct`, `quarantine`, `lift`, `stop` and `start`: the calls that were made, what they cost, and the
//! switch that stops them all.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::budgets::text;
use super::client::{Api, Call, Server, segment};
use super::exit::Failure;
use super::jobs::time;
use super::out::{self, note, plain, say};

#[derive(Subcommand)]
pub enum Command {
    /// List calls, newest first
    Calls(Box<Calls>),
    /// Explain what one call cost
    Call {
        /// Id of the call
        id: String,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Say what a call that is over cost in the end
    Correct {
        /// Id of the call
        id: String,
        /// All that it cost, in dollars
        #[arg(long)]
        cost: String,
        /// Why; it stands in the ledger for ever
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        server: Server,
    },
    /// List models that may not be called, because a call cost more than its price list allows
    Quarantine {
        /// Print the models as JSON, one a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Let a model that is in quarantine be called again
    Lift {
        /// As provider/model
        model: String,
        #[command(flatten)]
        server: Server,
    },
    /// Stop all AI calls, on every node
    Stop {
        #[command(flatten)]
        server: Server,
    },
    /// Let AI calls be made again
    Start {
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
pub struct Calls {
    /// Made by this job or below it
    #[arg(long)]
    job: Option<String>,
    /// reserved, settled, released or assumed
    #[arg(long)]
    state: Option<String>,
    /// As provider/model
    #[arg(long)]
    model: Option<String>,
    /// Asked for with this key
    #[arg(long = "of-key", value_name = "KEY_ID")]
    of_key: Option<String>,
    /// Asked for by this person
    #[arg(long)]
    user: Option<String>,
    /// How many at most
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Print the calls as JSON, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl Command {
    pub async fn run(&self) -> Result<(), Failure> {
        match self {
            Command::Calls(calls) => calls.run().await,
            Command::Call { id, json, server } => show(id, *json, server).await,
            Command::Correct { id, cost, reason, server } => {
                let body = json!({"cost": cost, "reason": reason}).to_string();
                let call = Call::post(format!("{}/correct", path(id))).json(body);
                let answer = Api::new(server)?.ask(call).await?.json();
                let what = if answer["changed"] == true { "corrected" } else { "as it was" };
                say!("{}: {what}, ${}", plain(id), text(&answer["cost_usd"]));
                Ok(())
            }
            Command::Quarantine { json, server } => quarantine(*json, server).await,
            Command::Lift { model, server } => {
                Api::new(server)?.ask(Call::delete("/api/v1/ai/quarantine").query("model", model)).await?;
                say!("{}: may be called again", plain(model));
                Ok(())
            }
            Command::Stop { server } => switch("stop", server).await,
            Command::Start { server } => switch("start", server).await,
        }
    }
}

fn path(id: &str) -> String {
    format!("/api/v1/ai/calls/{}", segment(id))
}

async fn quarantine(json: bool, server: &Server) -> Result<(), Failure> {
    let body = Api::new(server)?.ask(Call::get("/api/v1/ai/quarantine")).await?.json();
    let models: Vec<&Value> = body["models"].as_array().into_iter().flatten().collect();
    if json {
        models.iter().for_each(|model| say!("{model}"));
    } else if models.is_empty() {
        say!("No model is in quarantine.");
    } else {
        let head = ["model", "since", "call", "reason"].map(str::to_owned).to_vec();
        let rows = models.iter().map(|it| {
            vec![text(&it["model"]), time(&it["since"]), text(&it["call_id"]), text(&it["reason"])]
        });
        say!("{}", out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    }
    Ok(())
}

async fn switch(word: &str, server: &Server) -> Result<(), Failure> {
    let answer = Api::new(server)?.ask(Call::post(format!("/api/v1/ai/{word}"))).await?.json();
    match (answer["stopped"] == true, answer["changed"] == true) {
        (true, true) => say!("AI calls are stopped."),
        (true, false) => say!("AI calls were stopped before."),
        (false, true) => say!("AI calls are made again."),
        (false, false) => say!("AI calls were not stopped."),
    }
    Ok(())
}

impl Calls {
    async fn run(&self) -> Result<(), Failure> {
        let api = Api::new(&self.server)?;
        let (calls, has_more) =
            api.list("calls", self.limit, |limit, cursor| self.page(limit, cursor)).await?;
        if self.json {
            calls.iter().for_each(|call| say!("{call}"));
        } else if calls.is_empty() {
            say!("No such calls.");
        } else {
            say!("{}", table(&calls));
            if has_more {
                note!("There may be more; --limit shows them.");
            }
        }
        Ok(())
    }

    fn page(&self, limit: u32, cursor: Option<&str>) -> Call<'_> {
        let mut call = Call::get("/api/v1/ai/calls").query("limit", limit.min(500).to_string());
        let filters = [
            ("job", self.job.as_deref()),
            ("state", self.state.as_deref()),
            ("model", self.model.as_deref()),
            ("key", self.of_key.as_deref()),
            ("user", self.user.as_deref()),
            ("cursor", cursor),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        call
    }
}

fn table(calls: &[Value]) -> String {
    let head = ["call", "when", "model", "state", "cost", "held", "job", "step"].map(str::to_owned).to_vec();
    let rows = calls.iter().map(|it| {
        vec![
            text(&it["call_id"]),
            time(&it["at"]),
            text(&it["model"]),
            text(&it["state"]),
            text(&it["cost_usd"]),
            text(&it["held_usd"]),
            text(&it["job_id"]),
            text(&it["step"]),
        ]
    });
    out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

async fn show(id: &str, json: bool, server: &Server) -> Result<(), Failure> {
    let answer = Api::new(server)?.ask(Call::get(path(id))).await?;
    if json {
        say!("{}", answer.text.trim_end());
        return Ok(());
    }
    let it = answer.json();
    let cost = it["cost_usd"].as_str().map_or("not known yet".to_owned(), |cost| format!("${}", plain(cost)));
    say!(
        "{} {}: {}, cost {cost}, held ${}",
        text(&it["call_id"]),
        text(&it["model"]),
        text(&it["state"]),
        text(&it["hold"]["usd"])
    );
    for (what, value) in
        [("job", &it["job_id"]), ("step", &it["step"]), ("failure", &it["failure"]), ("alarm", &it["alarm"])]
    {
        if let Some(value) = value.as_str() {
            say!("{what} {}", plain(value));
        }
    }
    let rows = |name: &str, head: &[&str], row: fn(&Value) -> Vec<String>| {
        let found: Vec<Vec<String>> =
            it.pointer(name).and_then(Value::as_array).into_iter().flatten().map(row).collect();
        if !found.is_empty() {
            let head = head.iter().map(|it| (*it).to_owned()).collect();
            say!("\n{}", out::table(&std::iter::once(head).chain(found).collect::<Vec<_>>()));
        }
    };
    rows("/priced/lines", &["what", "quantity", "rate", "cost"], |it| {
        vec![text(&it["class"]), it["quantity"].to_string(), text(&it["usd_per_unit"]), text(&it["usd"])]
    });
    rows("/budgets", &["budget", "period", "of", "held"], |it| {
        vec![text(&it["budget"]), text(&it["period"]), text(&it["subject"]), text(&it["held_usd"])]
    });
    rows("/ledger", &["movement", "amount", "when", "by", "reason"], |it| {
        vec![text(&it["kind"]), text(&it["usd"]), time(&it["at"]), text(&it["actor"]), text(&it["reason"])]
    });
    Ok(())
}
