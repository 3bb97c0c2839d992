//! `levqor costs meter`: how metering to Stripe does, and a person's word on events that are in doubt.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::cli::client::{Api, Call, Server, segment};
use crate::cli::exit::Failure;
use crate::cli::jobs::time;
use crate::cli::out::{self, plain, say};

#[derive(Args)]
pub struct Meter {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what was told, what is still to be told, and what is in doubt
    Status {
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Say of an event in doubt whether it is at Stripe
    Settle {
        /// Id of the event
        id: String,
        /// It is there
        #[arg(long, conflicts_with = "lost", required_unless_present = "lost")]
        arrived: bool,
        /// It is not: its amount goes into a later event
        #[arg(long)]
        lost: bool,
        #[command(flatten)]
        server: Server,
    },
}

impl Meter {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Status { json, server } => {
                let answer = Api::new(server)?.ask(Call::get("/api/v1/costs/meter")).await?;
                if *json {
                    say!("{}", answer.text.trim_end());
                } else {
                    show(&answer.json());
                }
                Ok(())
            }
            Command::Settle { id, arrived, server, .. } => {
                let call = Call::post(format!("/api/v1/costs/meter/{}/settle", segment(id)));
                let body = json!({ "arrived": arrived }).to_string();
                Api::new(server)?.ask(call.json(body)).await?;
                say!("Settled.");
                Ok(())
            }
        }
    }
}

fn show(body: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), plain);
    if body["enabled"] == false {
        say!("STRIPE_METER_EVENT is not set: nobody is told.");
    }
    let rows = [
        ("cost", format!("{} USD", text(&body["cost_usd"]))),
        ("told", format!("{} micro-dollars", text(&body["told_micro_usd"]))),
        ("pending", format!("{} micro-dollars", text(&body["pending_micro_usd"]))),
        ("in doubt", format!("{} micro-dollars", text(&body["doubted_micro_usd"]))),
        ("waiting", format!("{} USD", text(&body["waiting_usd"]))),
    ];
    say!("{}", out::table(&rows.map(|(name, value)| vec![name.to_owned(), value])));
    let events = body["events"].as_array().map(Vec::as_slice).unwrap_or_default();
    if events.is_empty() {
        return;
    }
    let head = ["event", "made", "state", "tries", "micro-dollars", "error"].map(str::to_owned).to_vec();
    let row = |event: &Value| {
        let error = event["error"].as_str().map(plain).unwrap_or_default();
        let (id, state) = (text(&event["id"]), text(&event["state"]));
        vec![
            id,
            time(&event["created_at"]),
            state,
            text(&event["tries"]),
            text(&event["value_micro_usd"]),
            error,
        ]
    };
    let rows: Vec<_> = std::iter::once(head).chain(events.iter().map(row)).collect();
    say!("\n{}", out::table(&rows));
}
