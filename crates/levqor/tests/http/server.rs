//! A server of a test's own, on a free port, with a database of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use levqor::config::Config;
use levqor::http::{Port, Served, Server, Tls};
use levqor::logging::LogSink;
use levqor::sealing::Sealing;
use levqor_core::address::OutboundPolicy;
use levqor_core::clock::Clock;
use levqor_core::signature::Secret;
use levqor_engine::backup::BackupSettings;
use levqor_engine::{Engine, Settings};
use levqor_store::{Location, Store};
use levqor_testkit::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::{Client, Reply};
use crate::marks;

struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the Clock that everything else is handed")]
    fn now_ms(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
    }
}

/// The time that the server goes by.
pub fn now_ms() -> i64 {
    SystemClock.now_ms()
}

/// What was logged so far.
#[derive(Clone, Default)]
pub struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub struct TestServer {
    pub address: SocketAddr,
    pub engine: Engine,
    pub logged: Logged,
    pub log: LogSink,
    stop: Option<oneshot::Sender<()>>,
    pub running: Option<JoinHandle<()>>,
    pub location: Location,
    dir: Arc<TempDir>,
}

/// The whole suite runs on SQLite, and once more on PostgreSQL with this variable set to `postgres`.
const ENGINE_VARIABLE: &str = "LEVQOR_TEST_HTTP_ENGINE";

/// A new database of the engine that this run is for.
#[allow(clippy::disallowed_methods, reason = "a test has no Config")]
pub async fn new_location(dir: &TempDir) -> Location {
    match std::env::var(ENGINE_VARIABLE).as_deref() {
        Ok("postgres") => Location::Postgres(levqor_testkit::postgres_url().await),
        Ok("sqlite") | Err(_) => Location::Sqlite(dir.join("test.db")),
        Ok(other) => panic!("{ENGINE_VARIABLE} must be sqlite or postgres, not {other:?}"),
    }
}

impl TestServer {
    /// With these variables beside generous limits.
    pub async fn start(vars: &[(&str, &str)]) -> TestServer {
        let dir = Arc::new(TempDir::new());
        let location = match vars.iter().find(|(name, _)| *name == "DATABASE_URL") {
            Some((_, url)) => Location::Postgres((*url).to_owned()),
            None => new_location(&dir).await,
        };
        TestServer::start_in(dir, location, vars).await
    }

    /// On a database that is there already.
    pub async fn start_on(location: Location, vars: &[(&str, &str)]) -> TestServer {
        TestServer::start_in(Arc::new(TempDir::new()), location, vars).await
    }

    /// Ends, and starts again with the same database.
    pub async fn restarted(mut self, vars: &[(&str, &str)]) -> TestServer {
        self.stop();
        self.running.take().unwrap().await.unwrap();
        self.engine.stop().await;
        self.engine.store().close().await;
        TestServer::start_in(self.dir.clone(), self.location.clone(), vars).await
    }

    async fn start_in(dir: Arc<TempDir>, location: Location, vars: &[(&str, &str)]) -> TestServer {
        let mut map: BTreeMap<String, String> = BTreeMap::new();
        let defaults =
            [("PORT", "0"), ("HOST", "127.0.0.1"), ("RATE_BURST", "100000"), ("RATE_GLOBAL", "100000")];
        for (name, value) in defaults.iter().chain(vars) {
            map.insert(name.to_string(), marks::marked(name, value));
        }
        let config = Config::from_map(&map).unwrap();
        let port = Port::reserve(&config).unwrap();
        let tls = config.tls.as_ref().map(|files| Tls::load(files).unwrap());
        let store = Store::open(&location, &format!("node-{:016x}", rand::random::<u64>())).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut settings = Settings::with_callback_secrets(vec![Secret::from_random(*marks::CALLBACK)]);
        settings.outbound = OutboundPolicy::new(config.outbound_allow.clone());
        settings.vendors = config.vendors.clone();
        settings.seal_keys = Sealing::of(&config).existing_keys().unwrap();
        settings.backups = Some(BackupSettings {
            location: location.clone(),
            dir: dir.join("backups"),
            keep: 2,
            is_daily: true,
            bucket: None,
        });
        settings.mailer = config.mailer();
        settings.ai = config.ai.settings();
        settings.meter = config.stripe.meter();
        settings.cost_reports = config.cost_reports.reports();
        settings.alerts = config.alerts.clone();
        let engine = Engine::start(Arc::new(store), settings, clock.clone()).await.unwrap();
        let logged = Logged::default();
        let log = LogSink::start(Box::new(logged.clone())).unwrap();
        let served = Served::new(config, engine.clone(), clock, Some(log.clone()));
        let server = Server::listen(port, served).unwrap();
        let server = match tls {
            Some(tls) => server.with_tls(tls),
            None => server,
        };
        let address = server.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let until = async {
            let _ = stopped.await;
        };
        let running = Some(tokio::spawn(server.run(until, Duration::from_secs(5))));
        TestServer { address, engine, logged, log, stop: Some(stop), running, location, dir }
    }

    /// The folder of its database.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// By the clock that it goes by.
    pub fn now_ms(&self) -> i64 {
        SystemClock.now_ms()
    }

    /// Without a key.
    pub fn anon(&self) -> Client {
        Client::new(self.address, None)
    }

    pub fn key(&self, key: &str) -> Client {
        Client::new(self.address, Some(&marks::key(key)))
    }

    /// Submits a job of a workflow that nobody defined: it stays queued. Returns its id.
    pub async fn submit(&self, client: &Client) -> String {
        let reply = client.post("/api/v1/intake", r#"{"workflow":"nobody-defined","payload":{}}"#).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        reply.json()["job_id"].as_str().unwrap().to_owned()
    }

    /// Begins a graceful stop.
    pub fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        // One failure is enough to look into.
        if std::thread::panicking() {
            return;
        }
        self.log.close();
        marks::check("the log", &self.logged.0.lock().unwrap());
        marks::check_folder(self.dir.path());
    }
}

/// Checks one line of a table.
pub fn check(what: &str, reply: &Reply, status: u16, body: &str) {
    assert_eq!((reply.status, reply.text().as_str()), (status, body), "{what}");
}
