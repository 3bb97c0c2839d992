//! `levqor connections`: credentials stored at a server, and the change of the key they are sealed with.
//!
//! Credentials and keys never stand on the command line, where every program of the machine can read them.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use levqor::sealing::Sealing;
use levqor_connectors::catalogue::Vendor;
use levqor_core::audit::Actor;
use levqor_core::clock::Clock as _;
use levqor_store::{Location, Store};
use serde_json::{Value, json};

use super::client::{Api, Call, Server, read_source, segment};
use super::exit::{Exit, Failure, chain};
use super::jobs::time;
use super::out::{self, note, plain, say};
use super::serve;

/// List stored connections, add or delete one, or change the key they are sealed with
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  levqor connections
  levqor connections add team-slack --connector slack < token.txt
  levqor connections add office-mail --connector gmail --file authorized_user.json
  levqor connections add research --connector openai < key.txt
  levqor connections delete team-slack
  levqor connections rekey

Credentials come from standard input or a file, never from the command line."
)]
pub struct Connections {
    #[command(subcommand)]
    command: Option<Command>,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Command {
    /// List stored connections
    List {
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Store credentials: a token or API key, or for gmail the JSON that holds them
    Add {
        /// Name of the connection
        name: String,
        /// gmail, notion, slack, telegram, or an AI provider such as openai or anthropic
        #[arg(long)]
        connector: String,
        /// File with the credentials [default: standard input]
        #[arg(long, value_name = "FILE", default_value = "-", hide_default_value = true)]
        file: String,
        /// Replace the credentials of a connection that is there
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a connection: steps that name it fail from now on
    Delete {
        /// Name of the connection
        name: String,
        #[command(flatten)]
        server: Server,
    },
    /// Seal all stored connections with a new key, directly in the database
    ///
    /// On SQLite without SECRET_KEY: stop the server, then run this; the key file is replaced. With SECRET_KEY: set
    /// SECRET_KEY to the new key and SECRET_KEY_OLD to the old one, restart the servers with both, run this with both,
    /// then unset SECRET_KEY_OLD. It can be repeated: after a crash run it again.
    Rekey,
}

impl Connections {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            None => list(&self.server, self.json).await,
            Some(Command::List { json, server }) => list(server, *json).await,
            Some(Command::Add { name, connector, file, replace, server }) => {
                let credentials = credentials(connector, file)?;
                add(name, connector, credentials, *replace, server).await
            }
            Some(Command::Delete { name, server }) => {
                Api::new(server)?.ask(Call::delete(format!("/api/v1/connections/{}", segment(name)))).await?;
                say!("{}: deleted", plain(name));
                Ok(())
            }
            Some(Command::Rekey) => rekey().await,
        }
    }
}

async fn list(server: &Server, json: bool) -> Result<(), Failure> {
    let answer = Api::new(server)?.ask(Call::get("/api/v1/connections")).await?;
    let body = answer.json();
    let lines: Vec<&Value> = body["connections"].as_array().into_iter().flatten().collect();
    if json {
        say!("{}", answer.text.trim_end());
    } else if lines.is_empty() {
        say!("No connections. Store one with `levqor connections add NAME --connector slack < token.txt`.");
    } else {
        say!("{}", table(&lines));
    }
    Ok(())
}

fn table(lines: &[&Value]) -> String {
    let text = |value: &Value| value.as_str().map(plain).unwrap_or_default();
    let time = |value: &Value| if value.is_null() { "never".to_owned() } else { time(value) };
    let head = ["name", "connector", "fingerprint", "put", "last used"].map(str::to_owned).to_vec();
    let rows = lines.iter().map(|line| {
        vec![
            text(&line["name"]),
            text(&line["connector"]),
            text(&line["fingerprint"]),
            time(&line["updated_at"]),
            time(&line["last_used_at"]),
        ]
    });
    out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// The member of the request that holds what the file says, which no message repeats.
fn credentials(connector: &str, file: &str) -> Result<(&'static str, Value), Failure> {
    if file == "-" && std::io::stdin().is_terminal() {
        note!("Paste the credentials, then Ctrl-D on a line of its own:");
    }
    let text = read_source(file)?;
    // Which AI providers there are is known to the server.
    let member = Vendor::named(connector).map_or("token", Vendor::credentials_member);
    if member == "token" {
        return Ok((member, text.trim().into()));
    }
    let object = serde_json::from_str(&text).ok().filter(Value::is_object);
    let expected = "expected a JSON object with access_token, or refresh_token, client_id and client_secret";
    object.map(|object| (member, object)).ok_or_else(|| Failure::usage(expected))
}

async fn add(
    name: &str,
    connector: &str,
    (member, credentials): (&'static str, Value),
    replace: bool,
    server: &Server,
) -> Result<(), Failure> {
    let body = json!({"name": name, "connector": connector, "replace": replace, member: credentials});
    let answer =
        Api::new(server)?.ask(Call::post("/api/v1/connections").json(body.to_string())).await?.json();
    let what = if answer["created"] == true { "stored" } else { "replaced" };
    let fingerprint = answer["connection"]["fingerprint"].as_str().unwrap_or_default();
    say!("{}: {what}, fingerprint {}", plain(name), plain(fingerprint));
    Ok(())
}

async fn rekey() -> Result<(), Failure> {
    let config = serve::config(&BTreeMap::new())?;
    let broken = |error: &dyn std::error::Error| Failure::failed(chain(error));
    let node = format!("{:032x}", rand::random::<u128>());
    let location = serve::location(&config);
    if let Location::Sqlite(path) = &location
        && !path.exists()
    {
        return Err(Failure::new(Exit::NotFound, format!("there is no database at {}", path.display())));
    }
    let store = Store::open(&location, &node).await.map_err(|error| broken(&error))?;
    let sealing = Sealing::of(&config);
    let (by, now_ms) = (Actor::cli(), serve::SystemClock.now_ms());
    let outcome = async {
        let present = sealing.existing_keys().map_err(|error| broken(&error))?;
        let Some(file) = sealing.file() else {
            return levqor_engine::rekey(&store, &present, &by, now_ms).await.map_err(|error| broken(&error));
        };
        // The new key is on disk before anything is sealed with it, and takes the old one's place after everything is.
        let next = file.prepare(rand::random()).map_err(|error| broken(&error))?;
        let done = levqor_engine::rekey(&store, &present.led_by(next), &by, now_ms)
            .await
            .map_err(|error| broken(&error))?;
        file.take_into_use().map_err(|error| broken(&error))?;
        Ok(done)
    };
    let outcome = outcome.await;
    store.close().await;
    let (changed, all) = outcome?;
    say!("{changed} of {} changed; all are sealed with the new key", out::count(all, "connection"));
    if config.secret_key_old.is_some() {
        say!("SECRET_KEY_OLD is not needed any more.");
    }
    if let Some(path) = sealing.unused_file() {
        say!("The key file {} is not needed any more.", path.display());
    }
    Ok(())
}
