//! What the tests stand on: databases, nodes that can crash, a clock that can be set, short words for requests.

use std::future::Future;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use levqor_core::address::OutboundPolicy;
use levqor_core::audit::Actor;
use levqor_core::clock::Clock;
use levqor_core::id::JobId;
use levqor_core::intake::IntakeRequest;
use levqor_core::job::Priority;
use levqor_core::signature::Secret;
use levqor_engine::{Engine, Settings};
use levqor_store::{JobRow, Location, Store};
use levqor_testkit::{Receiver, TempDir, marks, postgres_url, wait_until};
use tokio::runtime::Runtime;

/// Long enough for a machine that does other things as well; reached only by a failing test.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Runs each test on both engines.
macro_rules! each_engine {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::Database::sqlite()).await; })+
        }
        mod on_postgres {
            $(#[tokio::test] async fn $name() { super::$name(crate::support::Database::postgres().await).await; })+
        }
    };
}

/// Whoever does things in these tests.
pub fn by() -> &'static Actor {
    static BY: LazyLock<Actor> = LazyLock::new(Actor::developer);
    &BY
}

/// A database of one test.
pub enum Database {
    Sqlite(TempDir),
    Postgres(String),
}

impl Database {
    pub fn sqlite() -> Self {
        Database::Sqlite(TempDir::new())
    }

    pub async fn postgres() -> Self {
        Database::Postgres(postgres_url().await)
    }

    pub fn is_postgres(&self) -> bool {
        matches!(self, Database::Postgres(_))
    }

    pub fn location(&self) -> Location {
        match self {
            Database::Sqlite(folder) => Location::Sqlite(folder.join("levqor.db")),
            Database::Postgres(url) => Location::Postgres(url.clone()),
        }
    }

    /// Runs statements beside the store.
    pub async fn execute(&self, sql: &str) {
        match self {
            Database::Sqlite(folder) => sqlite(folder).execute_batch(sql).unwrap(),
            Database::Postgres(url) => postgres(url).await.batch_execute(sql).await.unwrap(),
        }
    }

    /// The one number that a query gives; it is cast to `bigint`.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = format!("select cast(({sql}) as bigint)");
        match self {
            Database::Sqlite(folder) => sqlite(folder).query_row(&sql, [], |row| row.get(0)).unwrap(),
            Database::Postgres(url) => postgres(url).await.query_one(&sql, &[]).await.unwrap().get(0),
        }
    }

    /// On PostgreSQL a node that died is taken for alive until its lease is over. This is what the end of the lease means.
    pub async fn bury(&self, node: &str) {
        if self.is_postgres() {
            self.execute(&format!("delete from nodes where id = '{node}'")).await;
        }
    }
}

/// No secret of a test stands in its database. Panics only where nothing else has failed.
impl Drop for Database {
    fn drop(&mut self) {
        match self {
            _ if std::thread::panicking() => {}
            Database::Sqlite(folder) => marks::check_folder(folder.path()),
            Database::Postgres(url) => {
                let url = std::mem::take(url);
                // A test may have frozen its server, or taken it away: then there is nothing to look at.
                let rows = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async {
                        tokio::time::timeout(LIMIT, levqor_testkit::postgres_rows(&url)).await.ok()
                    })
                });
                if let Ok(Some(rows)) = rows.join() {
                    marks::check("a row of the database", rows.as_bytes());
                }
            }
        }
    }
}

fn sqlite(folder: &TempDir) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(folder.join("levqor.db")).unwrap();
    connection.busy_timeout(LIMIT).unwrap();
    connection
}

pub async fn postgres(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A clock that a test sets; it begins at the real time, because signatures are checked against that.
pub struct TestClock {
    base_ms: AtomicI64,
    /// Where it runs on by itself.
    began: Option<Instant>,
}

impl TestClock {
    pub fn still() -> Arc<Self> {
        Arc::new(TestClock { base_ms: AtomicI64::new(real_ms()), began: None })
    }

    pub fn running() -> Arc<Self> {
        Arc::new(TestClock { base_ms: AtomicI64::new(real_ms()), began: Some(Instant::now()) })
    }

    pub fn advance(&self, ms: i64) {
        self.base_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        let run_ms = self.began.map_or(0, |began| began.elapsed().as_millis() as i64);
        self.base_ms.load(Ordering::SeqCst) + run_ms
    }
}

#[allow(clippy::disallowed_methods, reason = "the composition root of a test")]
fn real_ms() -> i64 {
    std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

pub fn secret(byte: u8) -> Secret {
    let mut bytes = *marks::CALLBACK;
    bytes[31] = byte;
    Secret::from_random(bytes)
}

/// Loopback may be called; everything else as in production.
pub fn settings() -> Settings {
    marks::listen();
    Settings {
        outbound: OutboundPolicy::parse("127.0.0.0/8").unwrap(),
        shutdown_grace_ms: 2_000,
        ..Settings::with_callback_secrets(vec![secret(1)])
    }
}

/// A node in a runtime of its own.
pub struct Node {
    pub name: String,
    engine: Option<Engine>,
    runtime: Option<Runtime>,
}

impl Node {
    /// With all its loops.
    pub async fn start(database: &Database, settings: Settings, clock: Arc<TestClock>) -> Node {
        Node::make(database, |store| Engine::start(store, settings, clock)).await
    }

    /// Nothing runs but what the test turns.
    pub async fn by_hand(database: &Database, settings: Settings, clock: Arc<TestClock>) -> Node {
        Node::make(database, |store| Engine::without_loops(store, settings, clock)).await
    }

    async fn make<F>(database: &Database, make: impl FnOnce(Arc<Store>) -> F + Send + 'static) -> Node
    where
        F: Future<Output = levqor_store::Result<Engine>> + Send,
    {
        // One worker, so that a crash is one moment: with two, a task that still runs would see how another's connection
        // is taken away, and put that on record.
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let name = format!("{:?}", Instant::now());
        let (location, node) = (database.location(), name.clone());
        let engine = runtime.spawn(async move {
            let store = Store::open(&location, &node).await.unwrap();
            make(Arc::new(store)).await.unwrap()
        });
        let engine = engine.await.unwrap();
        Node { name, engine: Some(engine), runtime: Some(runtime) }
    }

    /// Ends like a process that is killed: every task stops where it waits, nothing is told to anybody.
    pub async fn crash(self, database: &Database) {
        let name = self.name.clone();
        self.vanish().await;
        database.bury(&name).await;
    }

    /// Runs work in the node's own runtime, where it ends with the node.
    pub async fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        self.runtime.as_ref().unwrap().spawn(work).await.unwrap()
    }

    /// The graceful end of a process.
    pub async fn stop(self) {
        self.engine().stop().await;
        self.engine().store().close().await;
        self.vanish().await;
    }

    async fn vanish(mut self) {
        self.engine = None;
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(LIMIT)).await.unwrap();
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// Submits a request that must be accepted now.
    pub async fn submit(&self, request: IntakeRequest) -> JobId {
        let accepted = self.engine().intake(request, "tester", None).await.unwrap();
        assert!(!accepted.replayed);
        accepted.job_id
    }

    pub async fn put(&self, name: &str, source: &str) {
        if let Err(error) = self.engine().put_workflow(name, source, "api", by()).await {
            panic!("{name}: {error:?}");
        }
    }

    pub async fn row(&self, id: JobId) -> JobRow {
        self.engine().store().find_job(id).await.unwrap().unwrap()
    }

    /// The job once it has ended.
    pub async fn ended(&self, id: JobId) -> JobRow {
        self.when(id, |row| row.line.state.is_final()).await
    }

    /// The job as soon as it looks as `wanted` says.
    pub async fn when(&self, id: JobId, wanted: impl Fn(&JobRow) -> bool) -> JobRow {
        wait_until(LIMIT, async || wanted(&self.row(id).await)).await;
        self.row(id).await
    }

    /// One turn of the loop that moves what is due.
    pub async fn move_due(&self, clock: &TestClock) -> usize {
        self.engine().store().move_due(clock.now_ms(), 500).await.unwrap().0
    }
}

impl Deref for Node {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        self.engine()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.engine = None;
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A request for `workflow` with nothing special.
pub fn ask(workflow: &str) -> IntakeRequest {
    IntakeRequest {
        workflow: workflow.to_owned(),
        payload: "{}".to_owned(),
        callback_url: None,
        priority: Priority::Normal,
        run_at_ms: None,
        tags: Default::default(),
        dry_run: false,
        idempotency_key: None,
    }
}

/// A request whose payload tells where the receiver is, as `base`.
pub fn ask_with(workflow: &str, receiver: &Receiver) -> IntakeRequest {
    IntakeRequest { payload: format!(r#"{{"base":"{}"}}"#, receiver.url("")), ..ask(workflow) }
}

/// One step that needs nothing.
pub const NOOP: &str = "{steps: [{id: only, transform: {done: true}}]}";

/// One call to `/call` of the receiver.
pub const CALL: &str = r#"{steps: [{id: call, http: {method: POST, url: "{{ payload.base }}/call"}}]}"#;

pub fn code(row: &JobRow) -> &str {
    row.error.as_ref().map_or("", |error| error.code.as_str())
}

/// What is on record of a step: status and attempt number.
pub fn attempts(row: &JobRow, step: &str) -> Vec<(&'static str, i64)> {
    let rows = row.steps.iter().filter(|attempt| attempt.step == step);
    rows.map(|attempt| (attempt.status.as_str(), attempt.attempt)).collect()
}

pub fn result(row: &JobRow) -> serde_json::Value {
    serde_json::from_str(row.result.as_deref().unwrap_or("null")).unwrap()
}
