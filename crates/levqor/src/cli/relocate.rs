//! `levqor move`: from a SQLite file to PostgreSQL, once and whole.

use std::collections::BTreeMap;
use std::sync::Mutex;

use clap::Args;
use levqor::config::Database;
use levqor_store::relocate::{self, Relocated};
use serde_json::json;

use super::exit::{Failure, chain};
use super::out::{self, note, say};
use super::serve;

/// Copy a SQLite installation to an empty PostgreSQL database
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor move --to postgres://levqor@db/levqor
  MOVE_TO='postgres://levqor:password@db/levqor' levqor move

Stop the server first. The file is the one of SQLITE_PATH and is not changed. All tables are copied in one transaction and
compared row by row: it works whole or changes nothing. Afterwards start the server with DATABASE_URL in the place of
SQLITE_PATH. A password in --to can be seen by others on the machine; in MOVE_TO it cannot.")]
pub struct Move {
    /// The target, a postgres:// URL
    #[arg(long, value_name = "URL", env = "MOVE_TO", hide_env_values = true)]
    to: String,

    /// Print what was moved as JSON
    #[arg(long)]
    json: bool,
}

impl Move {
    pub async fn run(&self) -> Result<(), Failure> {
        let config = serve::config(&BTreeMap::new())?;
        let Database::Sqlite(path) = &config.database else {
            return Err(Failure::usage(
                "DATABASE_URL is set: what is moved is the SQLite file of SQLITE_PATH; unset it",
            ));
        };
        // Said without the text, which may hold a password.
        if !self.to.starts_with("postgres://") && !self.to.starts_with("postgresql://") {
            return Err(Failure::usage("--to or MOVE_TO: expected a URL that begins with postgres://"));
        }
        let told = Mutex::new(String::new());
        let progress = |table: &str, rows: u64, all: i64| tell(&told, table, rows, all);
        let relocated = relocate::to_postgres(path, &self.to, &progress).await;
        let relocated = relocated.map_err(|error| Failure::failed(chain(&error)))?;
        if self.json {
            say!("{}", json!({"rows": relocated.contents.rows, "mended": relocated.mended}));
        } else {
            let rows =
                relocated.contents.rows.iter().map(|(table, rows)| vec![table.clone(), rows.to_string()]);
            say!("{}", out::table(&rows.collect::<Vec<_>>()));
        }
        let key_file = config.secret_key.is_none().then(|| format!("{}.key", path.display()));
        next_steps(&relocated, key_file);
        Ok(())
    }
}

/// Large tables take a while.
fn tell(told: &Mutex<String>, table: &str, rows: u64, all: i64) {
    let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let percent = rows.saturating_mul(100) / u64::try_from(all).unwrap_or(0).max(1);
    let line = format!("{table}: {}0 %", percent.min(100) / 10);
    if all > 10_000 && *told != line {
        note!("{line}");
        *told = line;
    }
}

/// On standard error: standard output is for the figures.
fn next_steps(relocated: &Relocated, key_file: Option<String>) {
    let rows = out::count(usize::try_from(relocated.contents.total()).unwrap_or_default(), "row");
    note!("moved and compared: {rows}");
    if relocated.mended > 0 {
        note!(
            "{} held what PostgreSQL cannot (NUL, or no UTF-8); U+FFFD stands there now",
            out::count(usize::try_from(relocated.mended).unwrap_or_default(), "value")
        );
    }
    if relocated.contents.of("connections") > 0 {
        match key_file {
            Some(file) => {
                note!("stored connections are sealed: set SECRET_KEY to the text of {file} on every node")
            }
            None => note!("stored connections are sealed: set the same SECRET_KEY on every node"),
        }
    }
    note!("start the server with DATABASE_URL instead of SQLITE_PATH, and no server on the file any more");
}
