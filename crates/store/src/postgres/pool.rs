//! The pool: a few connections for everything that is not hot, opened when needed and closed when idle.

use std::time::Duration;

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime, Timeouts,
};
use futures_util::future::BoxFuture;
use tokio_postgres::IsolationLevel;
use tokio_util::sync::CancellationToken;

use super::connect::{CONNECT_LIMIT, Connector, SESSION};
use super::news::News;
use super::pulse::Pulse;
use crate::tx::{Conn, Tx};
use crate::{Error, Result};

/// Cold verbs at the same time; more wait.
const CONNECTIONS: usize = 4;
/// A transaction that lost against another one is run again so often.
const TRIES: usize = 5;
/// A server process costs the database several megabytes: unused ones go.
const IDLE_KEPT: Duration = Duration::from_secs(60);

pub(super) struct Cold {
    pool: Pool,
    pulse: Pulse,
}

impl Cold {
    /// For a process that looks once and goes.
    pub fn for_one_look(url: &str) -> Result<Self> {
        let connector = Connector::new(url)?;
        Cold::new(&connector, &Pulse::new(&connector, &CancellationToken::new()))
    }

    pub fn new(connector: &Connector, pulse: &Pulse) -> Result<Self> {
        let target = connector.target();
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let limits =
            Timeouts { wait: Some(CONNECT_LIMIT), create: Some(CONNECT_LIMIT), recycle: Some(CONNECT_LIMIT) };
        let settings = Hook::async_fn(|client: &mut deadpool_postgres::ClientWrapper, _| {
            Box::pin(async move { client.batch_execute(SESSION).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(Manager::from_config(target.config, target.tls, config))
            .max_size(CONNECTIONS)
            .timeouts(limits)
            .runtime(Runtime::Tokio1)
            .post_create(settings)
            .build()
            .map_err(|error| Error::Bug(error.into()))?;
        Ok(Cold { pool, pulse: pulse.clone() })
    }

    /// For whoever needs a transaction of a kind of its own.
    pub async fn client(&self) -> Result<Object> {
        Ok(self.pool.get().await?)
    }

    /// Runs a verb in a transaction and tells its effects after the commit. The verb may run more than once; only its
    /// last run counts.
    pub async fn write<T, F>(&self, news: &News, verb: F) -> Result<T>
    where
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>>,
    {
        let mut tries = 1;
        loop {
            match self.watched(async |client| transact(client, news, &verb).await).await {
                Err(error) if error.wants_retry() && tries < TRIES => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// The same once, for as long as it takes.
    pub async fn write_patiently<T, F>(&self, news: &News, verb: F) -> Result<T>
    where
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>>,
    {
        transact(&mut self.pool.get().await?, news, &verb).await
    }

    /// Runs a reading verb, each statement on its own snapshot.
    pub async fn read<T, F>(&self, verb: F) -> Result<T>
    where
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>>,
    {
        self.watched(async |client| verb(&mut Tx::new(Conn::PostgresRead(client))).await).await
    }

    /// Runs a reading verb whose statements all see one snapshot.
    pub async fn read_snapshot<T, F>(&self, verb: F) -> Result<T>
    where
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>>,
    {
        self.watched(async |client| {
            let begin = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead);
            // Dropped at the end, which rolls back what was only read.
            let transaction = begin.read_only(true).start().await?;
            verb(&mut Tx::new(Conn::Postgres(&transaction))).await
        })
        .await
    }

    /// Does `work` with a connection as long as the database lives. One that it does not answer on is not used again.
    async fn watched<T>(&self, work: impl AsyncFnOnce(&mut Object) -> Result<T>) -> Result<T> {
        let mut client = self.pulse.wait(self.pool.get()).await??;
        match self.pulse.watch(work(&mut client)).await {
            Ok(outcome) => outcome,
            Err(silent) => {
                drop(Object::take(client));
                Err(silent.into())
            }
        }
    }

    /// The database's own upkeep, all of it at once. Each of these statements refuses to stand in a transaction.
    pub async fn maintain(&self) -> Result<()> {
        // A connection of its own, not given back: the setting would stay on it.
        let client = Object::take(self.pool.get().await?);
        for statement in ["set statement_timeout = 0", "vacuum (analyze)", "checkpoint"] {
            client.batch_execute(statement).await?;
        }
        Ok(())
    }

    /// Closes connections that were not used for a while.
    pub fn trim(&self) {
        self.pool.retain(|_, metrics| metrics.last_used() < IDLE_KEPT);
        self.pulse.trim();
    }

    pub fn close(&self) {
        self.pool.close();
    }
}

async fn transact<T, F>(client: &mut Object, news: &News, verb: &F) -> Result<T>
where
    F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>>,
{
    let transaction = client.transaction().await?;
    let mut tx = Tx::new(Conn::Postgres(&transaction));
    // On an error the transaction is dropped, which rolls it back.
    let output = verb(&mut tx).await?;
    let effects = std::mem::take(&mut tx.effects);
    drop(tx);
    transaction.commit().await?;
    news.tell(&effects);
    Ok(output)
}
