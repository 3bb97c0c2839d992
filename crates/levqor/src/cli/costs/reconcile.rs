//! `levqor costs reconcile`: what providers say the last days cost, beside the books.

use clap::Args;
use serde_json::Value;

use crate::cli::client::{Api, Call, Server};
use crate::cli::exit::Failure;
use crate::cli::jobs::time;
use crate::cli::out::{self, plain, say};

#[derive(Args)]
pub struct Reconcile {
    /// Show what they said before, and ask nobody
    #[arg(long)]
    show: bool,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

impl Reconcile {
    pub async fn run(&self) -> Result<(), Failure> {
        let call = match self.show {
            true => Call::get("/api/v1/costs/statements"),
            false => Call::post("/api/v1/costs/reconcile"),
        };
        let answer = Api::new(&self.server)?.ask(call).await?;
        if self.json {
            say!("{}", answer.text.trim_end());
            return Ok(());
        }
        let body = answer.json();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), plain);
        let statements = body["statements"].as_array().map(Vec::as_slice).unwrap_or_default();
        let head = ["day", "provider", "says", "books", "apart (ppm)", ""].map(str::to_owned).to_vec();
        let row = |it: &Value| {
            let mark = if it["alarming"] == true { "look at this" } else { "" };
            let (says, books) = (text(&it["stated_usd"]), text(&it["booked_usd"]));
            vec![
                time(&it["day"]),
                text(&it["provider"]),
                says,
                books,
                text(&it["drift_ppm"]),
                mark.to_owned(),
            ]
        };
        let rows: Vec<_> = std::iter::once(head).chain(statements.iter().map(row)).collect();
        match statements.is_empty() {
            true => say!("No statements."),
            false => say!("{}", out::table(&rows)),
        }
        let failures = body["failures"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told: Vec<String> = failures.iter().map(|it| text(&it["error"])).collect();
        match told.is_empty() {
            true => Ok(()),
            false => Err(Failure::failed(told.join("; "))),
        }
    }
}
