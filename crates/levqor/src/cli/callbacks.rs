//! `levqor callbacks secret`: the secret by which receivers verify callbacks.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use levqor_store::Store;

use super::exit::{Exit, Failure, chain};
use super::out::say;
use super::serve;

/// Look after callbacks
#[derive(Args)]
#[command(
    after_help = "\
Examples:
  levqor callbacks secret
  DATABASE_URL=postgres://levqor@db/levqor levqor callbacks secret",
    arg_required_else_help = true
)]
pub struct Callbacks {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the secret that receivers verify callbacks with, from CALLBACK_SECRET or the database
    ///
    /// Without CALLBACK_SECRET the first start of a server makes a secret and keeps it in its database. This reads it
    /// there, also while the server runs. Two lines mean that a rotation is under way; the first is the newer one.
    Secret,
}

impl Callbacks {
    pub async fn run(&self) -> Result<(), Failure> {
        match self.command {
            Command::Secret => secret().await,
        }
    }
}

async fn secret() -> Result<(), Failure> {
    let config = serve::config(&BTreeMap::new())?;
    if !config.callback_secrets.is_empty() {
        config.callback_secrets.iter().for_each(|secret| say!("{}", secret.reveal()));
        return Ok(());
    }
    let kept = Store::read_setting(&serve::location(&config), serve::CALLBACK_SECRET).await;
    match kept.map_err(|error| Failure::failed(chain(&error)))? {
        Some(secret) => {
            say!("{secret}");
            Ok(())
        }
        None => {
            let message = "there is no secret yet: the first start of a server on this database makes one";
            Err(Failure::new(Exit::NotFound, message))
        }
    }
}
