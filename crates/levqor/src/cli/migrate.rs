//! `levqor migrate`: brings the database to this program's schema, or says what that would be.

use std::collections::BTreeMap;

use clap::Args;
use levqor_store::Store;

use super::exit::{Exit, Failure, chain};
use super::out::say;
use super::serve;

/// Bring the database up to date, or see what that would do
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor migrate --check
  DATABASE_URL=postgres://levqor@db/levqor levqor migrate

A server migrates by itself when it starts; this is for doing it before. With --check nothing is changed, and the
exit code is 1 when something is pending.")]
pub struct Migrate {
    /// Only say what is pending
    #[arg(long)]
    check: bool,

    /// Print the pending migrations as JSON
    #[arg(long)]
    json: bool,
}

impl Migrate {
    pub async fn run(&self) -> Result<(), Failure> {
        let location = serve::location(&serve::config(&BTreeMap::new())?);
        let broken = |error: levqor_store::Error| Failure::failed(chain(&error));
        let pending = Store::pending_migrations(&location).await.map_err(broken)?;
        if !self.check && !pending.is_empty() {
            let node = format!("{:032x}", rand::random::<u128>());
            Store::open(&location, &node).await.map_err(broken)?.close().await;
        }
        if self.json {
            say!("{}", serde_json::json!({"pending": pending, "applied": !self.check}));
        } else if pending.is_empty() {
            say!("The database is up to date.");
        } else {
            let word = if self.check { "pending" } else { "applied" };
            pending.iter().for_each(|name| say!("{word}  {name}"));
        }
        if self.check && !pending.is_empty() { Err(Failure::silent(Exit::Failed)) } else { Ok(()) }
    }
}
