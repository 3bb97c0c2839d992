//! `levqor serve`: puts the parts together, and takes them apart again in the right order.
//!
//! Configuration → log → certificate → port → store → callback secret → engine → workflow files → HTTP, and on SIGTERM or SIGINT the way back:
//! requests and running steps get `SHUTDOWN_GRACE`, the rest is handed back, the store closes last. A second signal ends
//! the process at once; a crash at any point costs nothing that was promised.

mod service;
mod workflow_files;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use levqor::config::{Config, Database, Environment};
use levqor::http::{Port, Served, Server, Tls};
use levqor::logging::{self, LogSink};
use levqor::sealing::Sealing;
use levqor_connectors::bucket::Bucket;
use levqor_core::address::OutboundPolicy;
use levqor_core::clock::Clock;
use levqor_core::seal::Keyring;
use levqor_core::signature::Secret;
use levqor_engine::backup::BackupSettings;
use levqor_engine::{Engine, Secrets, Settings};
use levqor_store::{KeyTally, Location, Store};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::child::LISTENING;
use super::exit::{Failure, chain};
use super::out::{self, note, say};

/// Where the secret stands that was made at the first start.
pub const CALLBACK_SECRET: &str = "callback_secret";

/// Start the server
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor serve
  levqor serve --port 8080 --db /var/lib/levqor/levqor.db --workflows ./workflows
  API_KEYS=$(openssl rand -hex 24) LEVQOR_ENV=production levqor serve

Settings come from the environment and a .env file; `levqor config` shows what is in force. Without API_KEYS it is
development mode: everybody is let in, on 127.0.0.1 only. SIGTERM and Ctrl-C stop it gracefully, twice at once.")]
pub struct Serve {
    /// Port to listen on; 0 takes a free one [default: PORT, else 5000]
    #[arg(long)]
    port: Option<u16>,

    /// SQLite file or postgres:// URL [default: SQLITE_PATH or DATABASE_URL, else levqor.db]
    #[arg(long, value_name = "PATH|URL")]
    db: Option<String>,

    /// Folder with workflow definitions [default: WORKFLOWS_DIR, else workflows]
    #[arg(long, value_name = "DIR")]
    workflows: Option<PathBuf>,
}

/// The real clock: the only place of the program that reads the system's.
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the Clock that everything else is handed")]
    fn now_ms(&self) -> i64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The settings in force: arguments over the environment over `.env`. For commands that let nobody in: that a server would not
/// start without keys is not theirs to find out.
pub fn config(arguments: &BTreeMap<String, String>) -> Result<Config, Failure> {
    load(arguments, KeyTally { any: true, usable: true })
}

/// The same for a server: whether the database holds keys decides who is let in, and so where it may listen.
pub async fn config_to_serve(arguments: &BTreeMap<String, String>) -> Result<Config, Failure> {
    let location = location(&config(arguments)?);
    let stored = Store::read_keys(&location, SystemClock.now_ms()).await;
    load(arguments, stored.map_err(|error| Failure::failed(chain(&error)))?)
}

/// The same for looking at it: a database that is away counts as one without keys.
pub async fn config_to_show(arguments: &BTreeMap<String, String>) -> Result<Config, Failure> {
    let location = location(&config(arguments)?);
    let stored = Store::read_keys(&location, SystemClock.now_ms()).await;
    load(arguments, stored.unwrap_or_default())
}

fn load(arguments: &BTreeMap<String, String>, stored: KeyTally) -> Result<Config, Failure> {
    Config::load_with(arguments, stored).map_err(|error| Failure::usage(error.to_string()))
}

pub fn location(config: &Config) -> Location {
    match &config.database {
        Database::Sqlite(path) => Location::Sqlite(path.clone()),
        Database::Postgres(url) => Location::Postgres(url.reveal().to_owned()),
    }
}

impl Serve {
    pub async fn run(&self) -> Result<(), Failure> {
        let config = config_to_serve(&self.arguments()).await?;
        if let Some(dir) = self.workflows.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(Failure::usage(format!("--workflows {}: there is no such folder", dir.display())));
        }
        // The default folder may be missing; one that somebody named may not.
        if config.workflows_dir != Path::new("workflows") && !config.workflows_dir.is_dir() {
            let dir = config.workflows_dir.display();
            return Err(Failure::usage(format!("WORKFLOWS_DIR={dir}: there is no such folder")));
        }
        if let Some(dir) = config.content_dir.as_ref().filter(|dir| !dir.is_dir()) {
            return Err(Failure::usage(format!("CONTENT_DIR={}: there is no such folder", dir.display())));
        }
        // From here on a signal is ours, so that one during the start still ends in an orderly way.
        let signals = Signals::listen()?;
        let log = LogSink::start(Box::new(std::io::stderr()))
            .map_err(|error| Failure::failed(format!("the log cannot be started: {error}")))?;
        logging::install(&log, config.log_level, config.log_format);
        let outcome = serve(config, log.clone(), signals).await;
        log.close();
        outcome
    }

    /// The arguments as settings; an empty value unsets what the environment says.
    fn arguments(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
        if let Some(port) = self.port {
            set("PORT", port.to_string());
        }
        if let Some(db) = &self.db {
            let is_url = db.starts_with("postgres://") || db.starts_with("postgresql://");
            let (named, other) =
                if is_url { ("DATABASE_URL", "SQLITE_PATH") } else { ("SQLITE_PATH", "DATABASE_URL") };
            set(named, db.clone());
            set(other, String::new());
        }
        if let Some(dir) = &self.workflows {
            set("WORKFLOWS_DIR", dir.display().to_string());
        }
        settings
    }
}

async fn serve(config: Config, log: LogSink, signals: Signals) -> Result<(), Failure> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tls = config.tls.as_ref().map(Tls::load).transpose();
    let tls = tls.map_err(|error| Failure::usage(error.to_string()))?;
    // Before the store: a start that must fail because the port is taken leaves no database behind and migrates none.
    let port = Port::reserve(&config).map_err(|error| Failure::failed(error.to_string()))?;
    let node = format!("{:032x}", rand::random::<u128>());
    let store =
        Store::open(&location(&config), &node).await.map_err(|error| Failure::failed(chain(&error)))?;
    let store = Arc::new(store);
    let outcome = match callback_secrets(&store, &config).await {
        Ok(secrets) => {
            let parts = Parts { port, tls, config, log, clock, signals };
            run_on(store.clone(), secrets, parts).await
        }
        Err(failure) => Err(failure),
    };
    store.close().await;
    outcome
}

/// What is there before the database is.
struct Parts {
    port: Port,
    tls: Option<Tls>,
    config: Config,
    log: LogSink,
    clock: Arc<dyn Clock>,
    signals: Signals,
}

async fn run_on(store: Arc<Store>, secrets: Vec<Secret>, parts: Parts) -> Result<(), Failure> {
    let keys = seal_keys(&store, &parts.config).await?;
    let settings = settings(&parts.config, secrets, keys, backups(&parts.config)?);
    let engine = Engine::start(store, settings, parts.clock.clone())
        .await
        .map_err(|error| Failure::failed(format!("the engine cannot start: {}", chain(&error))))?;
    let outcome = listen(&engine, parts).await;
    if outcome.is_err() {
        // What it took in the meantime goes back to the queue.
        engine.stop().await;
    }
    outcome
}

async fn listen(engine: &Engine, parts: Parts) -> Result<(), Failure> {
    let Parts { port, tls, config, log, clock, signals } = parts;
    let loaded = workflow_files::load(engine, &config.workflows_dir).await;
    let (environment, grace) = (config.environment, config.shutdown_grace);
    let served = Served::new(config, engine.clone(), clock, Some(log));
    let is_open = served.is_open();
    let server = Server::listen(port, served).map_err(|error| Failure::failed(error.to_string()))?;
    let address = server.local_addr().map_err(|error| Failure::failed(error.to_string()))?;
    let (scheme, server) = match tls {
        Some(tls) => ("https", server.with_tls(tls)),
        None => ("http", server),
    };
    announce(&format!("{scheme}://{address}"), is_open, environment, &loaded);
    service::tell("READY=1");

    let stop = CancellationToken::new();
    let stopped = async {
        let requests = server.run(stop.clone().cancelled_owned(), grace);
        let steps = async {
            stop.cancelled().await;
            engine.stop().await;
        };
        tokio::join!(requests, steps);
    };
    tokio::select! {
        () = stopped => Ok(()),
        () = signals.watch(&stop) => Err(Failure::failed("stopped at once by a second signal; unfinished jobs go on at the next start")),
    }
}

/// `CALLBACK_SECRET`, or the secret that the first start made.
async fn callback_secrets(store: &Store, config: &Config) -> Result<Vec<Secret>, Failure> {
    let broken = |error: levqor_store::Error| Failure::failed(chain(&error));
    let texts: Vec<String> = match config.callback_secrets.as_slice() {
        // Looked up first: a start needs no write.
        [] => match store.find_setting(CALLBACK_SECRET).await.map_err(broken)? {
            Some(secret) => vec![secret],
            None => {
                let fresh = Secret::from_random(rand::random()).expose();
                vec![store.setting_or_insert(CALLBACK_SECRET, &fresh).await.map_err(broken)?]
            }
        },
        secrets => secrets.iter().map(|secret| secret.reveal().to_owned()).collect(),
    };
    let secrets: Result<Vec<_>, _> = texts.iter().map(|text| Secret::parse(text)).collect();
    secrets.map_err(|error| Failure::failed(format!("the callback secret cannot be read: {error}")))
}

/// The keys of stored connections. That some cannot be opened with them is said now, and not first when they are needed.
async fn seal_keys(store: &Store, config: &Config) -> Result<Keyring, Failure> {
    let keys = Sealing::of(config).keys(rand::random()).map_err(|error| Failure::failed(chain(&error)))?;
    let closed =
        levqor_engine::check_keys(store, &keys).await.map_err(|error| Failure::failed(chain(&error)))?;
    if !closed.is_empty() {
        tracing::warn!(
            connections = closed.join(", "),
            "these connections were sealed with a key that is not here: bring back SECRET_KEY or the key file, or store them again"
        );
    }
    Ok(keys)
}

/// What is backed up, and where to.
pub fn backups(config: &Config) -> Result<BackupSettings, Failure> {
    let agent = http::HeaderValue::from_static(concat!("Levqor/", env!("CARGO_PKG_VERSION")));
    let bucket = config.backup_s3_url.as_ref();
    let bucket = bucket.map(|url| Bucket::parse(url.reveal(), &config.outbound_allow, agent)).transpose();
    Ok(BackupSettings {
        location: location(config),
        dir: config.backup_dir.clone(),
        keep: config.backup_keep,
        is_daily: config.backup_daily,
        bucket: bucket.map_err(|problem| Failure::usage(format!("BACKUP_S3_URL: {problem}")))?,
    })
}

fn settings(
    config: &Config,
    callback_secrets: Vec<Secret>,
    seal_keys: Keyring,
    backups: BackupSettings,
) -> Settings {
    let secrets = config.secrets.iter().map(|(name, value)| (name.clone(), value.reveal().to_owned()));
    Settings {
        workers: config.workers,
        shutdown_grace_ms: i64::try_from(config.shutdown_grace.as_millis()).unwrap_or(i64::MAX),
        outbound: OutboundPolicy::new(config.outbound_allow.clone()),
        retention_ms: i64::from(config.retention_days) * 86_400_000,
        retention_jobs: config.retention_jobs.map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
        secrets: Secrets(secrets.collect()),
        vendors: config.vendors.clone(),
        seal_keys,
        backups: Some(backups),
        mailer: config.mailer(),
        ai: config.ai.settings(),
        meter: config.stripe.meter(),
        cost_reports: config.cost_reports.reports(),
        alerts: config.alerts.clone(),
        ..Settings::with_callback_secrets(callback_secrets)
    }
}

/// Says where it listens and what to try. The first line is read by programs too.
fn announce(url: &str, is_open: bool, environment: Environment, loaded: &workflow_files::Loaded) {
    say!("{LISTENING}{url}");
    if !loaded.names.is_empty() {
        say!("Workflows from {}: {}", loaded.dir.display(), loaded.names.join(", "));
    }
    if loaded.broken > 0 {
        note!("levqor: {} not loaded, see above", out::count(loaded.broken, "workflow file"));
    }
    if is_open {
        say!("Development mode: there are no keys, so everybody on this machine is let in.");
        let workflow = loaded.names.iter().find(|name| *name == "hello").map_or("hello", String::as_str);
        let body = format!("{{\"workflow\":\"{workflow}\",\"payload\":{{\"name\":\"Ada\"}}}}");
        say!("Try: curl -s {url}/api/v1/intake -H 'Content-Type: application/json' -d '{body}'");
    } else if environment == Environment::Development {
        say!("Requests need a key in X-Api-Key. Set LEVQOR_ENV=production to switch the _dev routes off.");
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> Result<Signals, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    /// Cancels `stop` at the first signal and resolves at the second.
    async fn watch(mut self, stop: &CancellationToken) {
        self.next().await;
        tracing::info!(
            "stopping: no new work; requests and running steps get SHUTDOWN_GRACE (a second signal stops at once)"
        );
        service::tell("STOPPING=1");
        stop.cancel();
        self.next().await;
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(db: &str) -> Vec<(String, String)> {
        Serve { port: None, db: Some(db.to_owned()), workflows: None }.arguments().into_iter().collect()
    }

    #[test]
    fn the_database_of_the_command_line_replaces_either_kind() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());

        assert_eq!(arguments("x.db"), [pair("DATABASE_URL", ""), pair("SQLITE_PATH", "x.db")]);
        assert_eq!(
            arguments("postgres://h/d"),
            [pair("DATABASE_URL", "postgres://h/d"), pair("SQLITE_PATH", "")]
        );
    }
}
