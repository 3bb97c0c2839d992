//! `levqor keys`: makes, lists, replaces and ends API keys, through a server; the first one also without.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use levqor_core::audit::Actor;
use levqor_core::clock::Clock;
use levqor_core::duration::{parse_positive_ms, parse_rfc3339_ms, rfc3339};
use levqor_core::key::{Minted, Scope, Scopes, is_name};
use levqor_store::{NewKey, Store};
use serde_json::{Value, json};

use super::client::{Api, Call, Server, segment};
use super::exit::{Failure, chain};
use super::jobs::time;
use super::out::{self, note, plain, say};
use super::serve;

/// Make, list, rotate and revoke API keys
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor keys create admin --scopes read,submit,operate,admin,ai,budgets --offline
  levqor keys create 'nightly import' --scopes submit --expires 90d
  levqor keys list
  levqor keys rotate 019ab3c27e50f1c09ab37d3c --overlap 1h
  levqor keys revoke 019ab3c27e50f1c09ab37d3c

A new key is printed once, alone on standard output, and kept nowhere: KEY=$(levqor keys create …) works.
All but create --offline need a key with the scope admin; see API_KEY.")]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a key; it is shown once
    Create(Create),
    /// List keys, newest first, those that are over included
    List {
        /// Print the keys as JSON, one a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Make a successor of a key; the old one lives on for a while
    Rotate {
        /// Id of the key
        id: String,
        /// How long the old key lives on, 0s to 30d [default: 24h]
        #[arg(long, value_name = "DURATION")]
        overlap: Option<String>,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// End a key at once
    Revoke {
        /// Id of the key
        id: String,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
struct Create {
    /// What the key is for
    name: String,

    /// What it may do: some of read, submit, operate, admin, ai, budgets, separated by commas
    #[arg(long, value_parser = scopes)]
    scopes: Scopes,

    /// When it ends: a duration such as 90d, or a time such as 2030-01-31T08:00:00Z [default: never]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,

    /// Write to the database of the settings (SQLITE_PATH, DATABASE_URL) instead of asking a server: for the first key, or
    /// when all are lost. A SQLite file must not be in use
    #[arg(long)]
    offline: bool,

    /// Print the answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

fn scopes(text: &str) -> Result<Scopes, String> {
    Scopes::parse(text).ok_or_else(|| {
        format!("expected some of {}, separated by commas", Scope::ALL.map(Scope::as_str).join(", "))
    })
}

impl Keys {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::Create(create) if create.offline => create.offline().await,
            Command::Create(create) => create.ask().await,
            Command::List { json, server } => list(*json, server).await,
            Command::Rotate { id, overlap, json, server } => {
                rotate(id, overlap.as_deref(), *json, server).await
            }
            Command::Revoke { id, server } => {
                Api::new(server)?.ask(Call::delete(format!("/api/v1/keys/{}", segment(id)))).await?;
                say!("{}: revoked", plain(id));
                Ok(())
            }
        }
    }
}

impl Create {
    fn expires_at_ms(&self) -> Result<Option<i64>, Failure> {
        let Some(text) = &self.expires else { return Ok(None) };
        let now_ms = serve::SystemClock.now_ms();
        let at_ms = parse_positive_ms(text).map(|ms| now_ms + ms).or_else(|_| parse_rfc3339_ms(text));
        match at_ms {
            Ok(at_ms) if at_ms > now_ms => Ok(Some(at_ms)),
            _ => Err(Failure::usage(format!(
                "--expires {text:?}: expected a duration such as 90d, or a time to come such as 2030-01-31T08:00:00Z"
            ))),
        }
    }

    async fn ask(&self) -> Result<(), Failure> {
        let scopes: Vec<_> = self.scopes.iter().map(Scope::as_str).collect();
        let mut body = json!({"name": self.name, "scopes": scopes});
        if let Some(at_ms) = self.expires_at_ms()? {
            body["expires_at"] = rfc3339(at_ms).into();
        }
        let api = Api::new(&self.server)?;
        let answer = api.ask(Call::post("/api/v1/keys").json(body.to_string())).await?;
        show_made(&answer.json(), self.json.then_some(&answer.text));
        if !api.has_key() {
            note!("Until now this server may have needed no key; from now on it does. Set API_KEY.");
        }
        Ok(())
    }

    /// Straight into the database. That the key lacks the scope admin is refused as by a server without keys of its own.
    async fn offline(&self) -> Result<(), Failure> {
        if !is_name(&self.name) {
            return Err(Failure::usage(
                "NAME: expected 1 to 100 characters, not all blank, without control characters",
            ));
        }
        let expires_at_ms = self.expires_at_ms()?;
        let now_ms = serve::SystemClock.now_ms();
        let config = serve::config(&BTreeMap::new())?;
        let broken = |error: levqor_store::Error| Failure::failed(chain(&error));
        let node = format!("{:032x}", rand::random::<u128>());
        let store = Store::open(&serve::location(&config), &node).await.map_err(broken)?;
        let minted = Minted::new(now_ms, rand::random());
        let key =
            NewKey { minted: minted.clone(), name: self.name.clone(), scopes: self.scopes, expires_at_ms };
        let made = store.insert_key(key, !config.api_keys.is_empty(), &Actor::cli(), now_ms).await;
        store.close().await;
        let row = made.map_err(broken)?;
        let scopes: Vec<_> = row.scopes.iter().map(Scope::as_str).collect();
        let expires_at = row.expires_at_ms.map(|at_ms| at_ms as f64 / 1000.0);
        let body = json!({"expires_at": expires_at, "id": row.id, "key": minted.reveal(), "name": row.name, "scopes": scopes});
        show_made(&body, self.json.then_some(&body.to_string()));
        Ok(())
    }
}

/// The key alone on standard output; the rest is for a person.
fn show_made(body: &Value, json: Option<&String>) {
    if let Some(text) = json {
        say!("{}", text.trim_end());
        return;
    }
    note!(
        "Key {} ({}), scopes: {}. It is shown this once:",
        text(&body["id"]),
        text(&body["name"]),
        words(&body["scopes"])
    );
    say!("{}", text(&body["key"]));
}

async fn list(json: bool, server: &Server) -> Result<(), Failure> {
    let api = Api::new(server)?;
    let page = |_, cursor: Option<&str>| {
        let call = Call::get("/api/v1/keys").query("limit", "500");
        match cursor {
            Some(cursor) => call.query("cursor", cursor),
            None => call,
        }
    };
    let (keys, _) = api.list("keys", u32::MAX, page).await?;
    if json {
        keys.iter().for_each(|key| say!("{key}"));
    } else if keys.is_empty() {
        say!(
            "No keys in the database. Make one with `levqor keys create NAME --scopes read,submit,operate,admin,ai,budgets`."
        );
    } else {
        say!("{}", table(&keys));
    }
    Ok(())
}

fn table(keys: &[Value]) -> String {
    let head =
        ["key", "name", "scopes", "state", "created", "expires", "last used"].map(str::to_owned).to_vec();
    let rows = keys.iter().map(|key| {
        vec![
            text(&key["id"]),
            text(&key["name"]),
            words(&key["scopes"]),
            text(&key["state"]),
            time(&key["created_at"]),
            time(&key["expires_at"]),
            time(&key["last_used_at"]),
        ]
    });
    out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

async fn rotate(id: &str, overlap: Option<&str>, json: bool, server: &Server) -> Result<(), Failure> {
    let body = overlap.map_or(json!({}), |overlap| json!({"overlap": overlap}));
    let call = Call::post(format!("/api/v1/keys/{}/rotate", segment(id))).json(body.to_string());
    let answer = Api::new(server)?.ask(call).await?;
    show_made(&answer.json(), json.then_some(&answer.text));
    if !json {
        note!("{} works until its overlap of {} is over.", plain(id), overlap.unwrap_or("24h"));
    }
    Ok(())
}

fn text(value: &Value) -> String {
    value.as_str().map(plain).unwrap_or_default()
}

fn words(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(",")
}
