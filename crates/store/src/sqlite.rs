//! The embedded engine: one file, one process, one writer.
//!
//! All writes go to a single thread that puts what waits into one transaction and commits it once; a small pool of
//! read-only connections serves reads; checkpoints are made by a third party. This file is the door to the three.

mod alone;
pub(crate) mod backup;
mod callback;
mod checkpoint;
mod claim;
pub(crate) mod file;
mod intake;
mod money;
mod op;
mod readers;
mod record;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use futures_util::future::BoxFuture;
use levqor_core::clock::Clock;
use levqor_core::job::{ClaimedJob, Fenced, Intake, NewJob, Record};
use tokio::sync::oneshot;

use crate::callback::Walk;
use crate::money::{Done, Money, Work};
use crate::tx::Tx;
use crate::wake::Wake;
use crate::{CallbackEnd, CallbackTry, ClaimedCallback, Error, HostRoom, KeyTally, Result};
use op::{Ask, Closing, Cold, ColdAsk, Op};
use readers::Readers;

pub(crate) struct Sqlite {
    node: String,
    inbox: mpsc::Sender<Op>,
    readers: Readers,
    money: Arc<Money>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Sqlite {
    /// Opens or creates the file, migrates it and starts the threads.
    pub(crate) async fn open(path: &Path, node: &str, wake: Arc<Wake>, money: Arc<Money>) -> Result<Sqlite> {
        let (path, node) = (path.to_owned(), node.to_owned());
        // A migration may take as long as it takes: not on a thread that serves requests.
        tokio::task::spawn_blocking(move || Sqlite::start(&path, node, wake, money))
            .await
            .map_err(|error| Error::Bug(error.into()))?
    }

    fn start(path: &Path, node: String, wake: Arc<Wake>, money: Arc<Money>) -> Result<Sqlite> {
        let file = file::open(path)?;
        let readers = Readers::start(&file.path)?;
        let (inbox, outbox) = mpsc::channel();
        let thread = writer::start(file, outbox, inbox.clone(), node.clone(), wake)?;
        money.poke_by(money::poke(&inbox, &money, &node));
        Ok(Sqlite { node, inbox, readers, money, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) async fn pending_migrations(path: &Path) -> Result<Vec<String>> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || file::pending_migrations(&path))
            .await
            .map_err(|error| Error::Bug(error.into()))?
    }

    pub(crate) async fn read_setting(path: &Path, name: &str) -> Result<Option<String>> {
        let (path, name) = (path.to_owned(), name.to_owned());
        tokio::task::spawn_blocking(move || file::read_setting(&path, &name))
            .await
            .map_err(|error| Error::Bug(error.into()))?
    }

    pub(crate) async fn read_keys(path: &Path, now_ms: i64) -> Result<KeyTally> {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || file::read_keys(&path, now_ms))
            .await
            .map_err(|error| Error::Bug(error.into()))?
    }

    pub(crate) async fn close(&self) {
        self.readers.stop();
        let (reply, closed) = oneshot::channel();
        // An error says that it is closed already.
        if self.inbox.send(Op::Close(Closing::Tidy(reply))).is_ok() {
            closed.await.ok();
        }
        // The lock on the file goes with the thread: whoever opens the file after this finds it free.
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            tokio::task::spawn_blocking(move || thread.join()).await.ok();
        }
    }

    async fn ask<I, O>(&self, input: I, op: impl FnOnce(Ask<I, O>) -> Op) -> Result<O> {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(op(Ask::new(input, reply))).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn intake(&self, job: NewJob) -> Result<Intake> {
        self.ask(job, Op::Intake).await
    }

    pub(crate) async fn intake_many(&self, jobs: Vec<NewJob>) -> Result<Vec<Intake>> {
        self.ask(jobs, Op::IntakeMany).await
    }

    pub(crate) async fn claim(&self, limit: usize, clock: &Arc<dyn Clock>) -> Result<Vec<ClaimedJob>> {
        let (reply, answer) = oneshot::channel();
        let ask = claim::ClaimAsk { limit, clock: clock.clone(), reply };
        self.inbox.send(Op::Claim(ask)).map_err(|_| closed())?;
        // If this future is dropped before the next line, the dropped answer hands its jobs back.
        Ok(answer.await.map_err(|_| closed())??.take())
    }

    pub(crate) async fn record(&self, record: Record) -> Result<Fenced> {
        self.ask(record, Op::Record).await
    }

    pub(crate) async fn claim_callbacks(&self, walk: Walk, room: &HostRoom) -> Result<Vec<ClaimedCallback>> {
        self.ask(callback::Wanted { walk, room: room.clone() }, Op::ClaimCallbacks).await
    }

    pub(crate) async fn record_callback(
        &self,
        claimed: &ClaimedCallback,
        tried: CallbackTry,
        end: CallbackEnd,
    ) -> Result<Fenced> {
        let outcome = callback::Outcome {
            id: claimed.callback.id.clone(),
            attempt: claimed.attempt,
            round: claimed.round,
            tried,
            end,
        };
        self.ask(outcome, Op::RecordCallback).await
    }

    /// Holds and charges; what waits for the writer shares a commit.
    pub(crate) async fn work(&self, work: Work) -> Result<Done> {
        let (reply, answer) = oneshot::channel();
        let ask = money::MoneyAsk::new(work, self.money.clone(), &self.node, reply);
        self.inbox.send(Op::Money(Box::new(ask))).map_err(|_| closed())?;
        // If this future is dropped before the next line, the dropped answer gives its holds back.
        answer.await.map_err(|_| closed())?
    }

    /// Marks the minute as up.
    pub(crate) async fn beat(&self, now_ms: i64) -> Result<()> {
        self.write(move |tx| Box::pin(alone::beat(tx, now_ms))).await
    }

    /// Hands back jobs that are running under another node's id: that process is gone.
    pub(crate) async fn rescue(&self, limit: usize) -> Result<usize> {
        let node = self.node.clone();
        self.write(move |tx| {
            let node = node.clone();
            Box::pin(async move { alone::rescue(tx, &node, limit).await })
        })
        .await
    }

    /// Runs a cold verb in the writer. It may run more than once; only its last run counts.
    pub(crate) async fn write<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Op::Cold(Box::new(ColdAsk::new(verb, reply)))).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Runs a reading verb on one snapshot.
    pub(crate) async fn read<T, F>(&self, verb: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let ask: Box<dyn Cold> = Box::new(ColdAsk::new(verb, reply));
        self.readers.send(ask).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for Sqlite {
    /// Without [`Sqlite::close`]: what was accepted is still committed, and the file is free when this returns.
    fn drop(&mut self) {
        self.readers.stop();
        self.inbox.send(Op::Close(Closing::Quick)).ok();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            thread.join().ok();
        }
    }
}

fn closed() -> Error {
    Error::away("the store is closed")
}

#[cfg(test)]
mod tests;
