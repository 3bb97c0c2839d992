//! The engine for many nodes on one PostgreSQL.
//!
//! The five hot verbs go through collectors to lanes (connections of their own); everything else goes through a small
//! pool. Nodes tell each other by NOTIFY, after commits, what is worth a look. This file is the door to all of them.
//!
//! Invariant: whatever of this is lost at any moment (a connection, a message, the process), the tables tell the truth
//! and the next look finds it.

mod claims;
mod collector;
mod connect;
pub(crate) mod dump;
mod hot;
mod lane;
mod listen;
mod news;
mod nodes;
mod pool;
mod pulse;
mod tls;
mod url;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use levqor_core::clock::Clock;
use levqor_core::job::{ClaimedJob, Fenced, Intake, NewJob, Record, Then};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::callback::Walk;
use crate::money::{Done, Money, Work};
use crate::tx::Tx;
use crate::wake::Wake;
use crate::{
    CallbackEnd, CallbackTry, ClaimedCallback, Error, HostRoom, KeyTally, Result, SharedHit, SharedVerdict,
    figures, keys, migrate, settings,
};
use claims::Claims;
use collector::Collector;
use connect::Connector;
use hot::callback::{Tried, TryVerb};
use hot::finish::{FinishItem, FinishVerb};
use hot::intake::IntakeVerb;
use hot::money::MoneyVerb;
use hot::moving::MoveVerb;
use hot::rate::{self, RateVerb};
pub(crate) use lane::Session;
use lane::{BY_HASH, BY_LOOKUP, Lane};
use news::News;
use pool::Cold;
use pulse::Pulse;

/// Nodes that migrate at the same time go one after the other. The number is this program's, by chance.
pub(crate) const MIGRATION_LOCK: &str = "select pg_advisory_xact_lock(7064411293054182)";

pub(crate) struct Postgres {
    node: String,
    cold: Cold,
    news: Arc<News>,
    intake: Collector<IntakeVerb>,
    finish: Collector<FinishVerb>,
    moving: Collector<MoveVerb>,
    tries: Collector<TryVerb>,
    rates: Collector<RateVerb>,
    money: Collector<MoneyVerb>,
    claims: Claims,
    /// Claims of callbacks; there is one loop that makes them.
    callbacks: tokio::sync::Mutex<Lane>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    closing: CancellationToken,
    /// Without a close the tasks end too.
    _closes: DropGuard,
}

impl Postgres {
    /// Connects, migrates under a lock, says that this node lives and starts the tasks. Connections are made when needed.
    pub(crate) async fn open(url: &str, node: &str, wake: Arc<Wake>, money: Arc<Money>) -> Result<Postgres> {
        let connector = Connector::new(url)?;
        let closing = CancellationToken::new();
        let pulse = Pulse::new(&connector, &closing);
        let cold = Cold::new(&connector, &pulse)?;
        let news = Arc::new(News::new(node, wake));
        // A database that is up to date needs no write to start.
        if !pending(&cold).await?.is_empty() {
            cold.write_patiently(&news, |tx| Box::pin(migrate_under_lock(tx))).await?;
        }

        let lane = |plans, verb| Lane::new(&connector, &pulse, plans, shard(node, verb));
        let (intake, taking_in) =
            Collector::start(IntakeVerb { news: news.clone() }, lane(BY_LOOKUP, 1), &closing);
        let (finish, finishing) =
            Collector::start(FinishVerb { news: news.clone() }, lane(BY_HASH, 2), &closing);
        let (moving, moves) = Collector::start(MoveVerb { news: news.clone() }, lane(BY_HASH, 3), &closing);
        let (tries, recording) = Collector::start(TryVerb, lane(BY_HASH, 4), &closing);
        let (rates, counting) = Collector::start(RateVerb, lane(rate::SETTINGS, 7), &closing);
        let (claims, claiming) = Claims::start(node, lane(BY_LOOKUP, 5), news.clone(), closing.clone());
        let holding = MoneyVerb { news: news.clone(), money: money.clone(), node: node.to_owned() };
        let (holds, charging) = Collector::start(holding, lane(BY_HASH, 8), &closing);
        money.poke_by(hot::money::poke(&holds));
        let listening = tokio::spawn(listen::listen_loop(connector.clone(), news.clone(), closing.clone()));

        let postgres = Postgres {
            node: node.to_owned(),
            cold,
            news,
            intake,
            finish,
            moving,
            tries,
            rates,
            money: holds,
            claims,
            callbacks: tokio::sync::Mutex::new(lane(BY_LOOKUP, 6)),
            tasks: Mutex::new(vec![
                taking_in, finishing, moves, recording, counting, claiming, charging, listening,
            ]),
            _closes: closing.clone().drop_guard(),
            closing,
        };
        // A database that takes no writes just now is no reason not to start; the next beat says it again.
        if let Err(error) = postgres.say_alive(None).await {
            tracing::warn!(%error, "this node could not make itself known to others yet");
        }
        postgres.news.greet();
        Ok(postgres)
    }

    pub(crate) async fn pending_migrations(url: &str) -> Result<Vec<String>> {
        let cold = Cold::for_one_look(url)?;
        pending(&cold).await
    }

    pub(crate) async fn read_setting(url: &str, name: &str) -> Result<Option<String>> {
        let cold = Cold::for_one_look(url)?;
        let name = name.to_owned();
        let found = cold.read(move |tx| {
            let name = name.clone();
            Box::pin(async move { settings::find_if_there(tx, &name).await })
        });
        found.await.map_err(connect::explain)
    }

    pub(crate) async fn read_keys(url: &str, now_ms: i64) -> Result<KeyTally> {
        let cold = Cold::for_one_look(url)?;
        let tally = cold.read(move |tx| Box::pin(keys::tally_if_there(tx, now_ms)));
        tally.await.map_err(connect::explain)
    }

    /// Waits until all that was accepted is done.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            // A task that panicked has said so; there is nothing to wait for.
            task.await.ok();
        }
        let node = self.node.clone();
        let left = self.cold.write(&self.news, move |tx| {
            let node = node.clone();
            Box::pin(async move { nodes::leave(tx, &node).await })
        });
        if let Err(error) = left.await {
            tracing::debug!(%error, "this node could not sign off; the others will notice");
        }
        self.cold.close();
    }

    pub(crate) async fn intake(&self, job: NewJob) -> Result<Intake> {
        let mut verdicts = self.intake.submit(vec![job]).await?;
        verdicts.pop().ok_or_else(|| Error::bug("no verdict on a job"))
    }

    pub(crate) async fn intake_many(&self, jobs: Vec<NewJob>) -> Result<Vec<Intake>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.intake.submit(jobs).await
    }

    pub(crate) async fn claim(&self, limit: usize, clock: &Arc<dyn Clock>) -> Result<Vec<ClaimedJob>> {
        self.claims.claim(limit, clock).await
    }

    pub(crate) async fn record(&self, record: Record) -> Result<Fenced> {
        match record.then {
            Then::Finish(_) => self.finish.submit(FinishItem::new(record)).await,
            _ => self.moving.submit(record).await,
        }
    }

    pub(crate) async fn claim_callbacks(&self, walk: Walk, room: &HostRoom) -> Result<Vec<ClaimedCallback>> {
        if self.closing.is_cancelled() {
            return Err(collector::closed());
        }
        let mut lane = self.callbacks.lock().await;
        let pulse = lane.pulse.clone();
        // Broken off, what was claimed becomes free when its lease ends.
        let claiming = async { hot::callback::claim(lane.session().await?, &walk, room).await };
        pulse.watch(claiming).await.unwrap_or_else(|silent| {
            lane.hang_up();
            Err(silent.into())
        })
    }

    pub(crate) async fn record_callback(
        &self,
        claimed: &ClaimedCallback,
        tried: CallbackTry,
        end: CallbackEnd,
    ) -> Result<Fenced> {
        let id = claimed.callback.id.clone();
        self.tries.submit(Tried { id, attempt: claimed.attempt, round: claimed.round, tried, end }).await
    }

    pub(crate) async fn count_shared(&self, hit: SharedHit) -> Result<SharedVerdict> {
        self.rates.submit(hit).await
    }

    pub(crate) async fn work(&self, work: Work) -> Result<Done> {
        self.money.submit(work).await
    }

    /// Says that this node lives, by the database's clock, and marks the minute as up.
    pub(crate) async fn beat(&self, now_ms: i64) -> Result<()> {
        self.cold.trim();
        self.say_alive(Some(now_ms)).await
    }

    async fn say_alive(&self, now_ms: Option<i64>) -> Result<()> {
        let node = self.node.clone();
        let beating = self.write(move |tx| {
            let node = node.clone();
            Box::pin(async move {
                if let Some(now_ms) = now_ms {
                    figures::mark_up(tx, now_ms).await?;
                }
                nodes::beat(tx, &node).await
            })
        });
        let others = beating.await?;
        self.news.peers.store(others > 0, Ordering::Relaxed);
        Ok(())
    }

    /// Hands back jobs of nodes that were silent for a lease; returns how many.
    pub(crate) async fn rescue(&self, limit: usize) -> Result<usize> {
        let node = self.node.clone();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.write(move |tx| {
            let node = node.clone();
            Box::pin(async move { nodes::rescue(tx, &node, limit).await })
        })
        .await
    }

    /// See [`Cold::maintain`].
    pub(crate) async fn maintain(&self) -> Result<()> {
        self.cold.maintain().await
    }

    /// Runs a cold verb in a transaction. It may run more than once; only its last run counts.
    pub(crate) async fn write<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.cold.write(&self.news, verb).await
    }

    /// Runs a reading verb; each of its statements sees its own snapshot.
    pub(crate) async fn read<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.cold.read(verb).await
    }

    /// Runs a reading verb whose statements all see one snapshot.
    pub(crate) async fn read_snapshot<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        self.cold.read_snapshot(verb).await
    }
}

/// A connection with a transaction of its own kind to make.
pub(crate) async fn client(url: &str) -> Result<deadpool_postgres::Object> {
    Cold::for_one_look(url)?.client().await.map_err(connect::explain)
}

async fn pending(cold: &Cold) -> Result<Vec<String>> {
    let names = cold.read(|tx| {
        Box::pin(async move {
            let pending = migrate::pending(tx).await?;
            Ok(pending.iter().map(|migration| migration.name.to_owned()).collect())
        })
    });
    names.await.map_err(|error| match connect::explain(error) {
        Error::Refused { what } if !what.starts_with("the ") => {
            Error::Refused { what: format!("the PostgreSQL database cannot be used: {what}") }
        }
        other => other,
    })
}

async fn migrate_under_lock(tx: &mut Tx<'_>) -> Result<()> {
    // A migration may take as long as it takes, and so may the one of another node that is waited for.
    tx.script("set local statement_timeout = 0; set local lock_timeout = 0").await?;
    tx.script(MIGRATION_LOCK).await?;
    migrate::run(tx).await
}

/// A number that hardly any other lane of any node has; 0 is left to the cold verbs.
fn shard(node: &str, verb: u32) -> i64 {
    let mut hasher = DefaultHasher::new();
    (node, verb).hash(&mut hasher);
    i64::from((hasher.finish() >> 33) as u32) + 1
}
