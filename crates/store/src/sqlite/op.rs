//! What the writer is asked to do. Each ask can be run again until its transaction has committed, and is answered after
//! that; an ask whose caller went away is done all the same.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use levqor_core::job::{Fenced, Intake, NewJob, Record};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{callback, claim, intake, money, record};
use crate::tx::{Conn, Tx, lock};
use crate::wake::Effects;
use crate::{ClaimedCallback, Error, Result};

pub(super) enum Op {
    Intake(Ask<NewJob, Intake>),
    IntakeMany(Ask<Vec<NewJob>, Vec<Intake>>),
    Record(Ask<Record, Fenced>),
    ClaimCallbacks(Ask<callback::Wanted, Vec<ClaimedCallback>>),
    RecordCallback(Ask<callback::Outcome, Fenced>),
    Money(Box<money::MoneyAsk>),
    Cold(Box<dyn Cold>),
    /// Parked by the writer until something is runnable.
    Claim(claim::ClaimAsk),
    Close(Closing),
}

pub(super) enum Closing {
    /// Leaves one tidy file behind and says when it is done.
    Tidy(oneshot::Sender<()>),
    Quick,
}

/// What one transaction gathers while its ops run: written or told once for all of them.
#[derive(Default)]
pub(super) struct Turn {
    pub effects: Effects,
    pub counts: HashMap<(i64, &'static str), i64>,
}

impl Turn {
    /// Adds to a figure of the hour that `at_ms` lies in.
    pub fn count(&mut self, at_ms: i64, kind: &'static str) {
        *self.counts.entry((crate::figures::hour_of(at_ms), kind)).or_default() += 1;
    }
}

/// A question with a place for its answer.
pub(super) struct Ask<I, O> {
    input: I,
    output: Option<O>,
    reply: oneshot::Sender<Result<O>>,
}

impl<I, O> Ask<I, O> {
    pub fn new(input: I, reply: oneshot::Sender<Result<O>>) -> Self {
        Ask { input, output: None, reply }
    }

    fn run(&mut self, verb: impl FnOnce(&I) -> Result<O>) -> Result<()> {
        self.output = Some(verb(&self.input)?);
        Ok(())
    }

    fn answer(self, failure: Option<Error>) {
        let answer = match (failure, self.output) {
            (Some(failure), _) => Err(failure),
            (None, Some(output)) => Ok(output),
            (None, None) => Err(Error::bug("an op was answered before it ran")),
        };
        self.reply.send(answer).ok();
    }
}

impl Op {
    /// Runs inside the open transaction. An error asks for the transaction to be rolled back.
    pub fn run(&mut self, conn: &Mutex<Connection>, turn: &mut Turn) -> Result<()> {
        guarded(|| match self {
            Op::Intake(ask) => ask.run(|job| intake::intake(&lock(conn), turn, job)),
            Op::IntakeMany(ask) => ask.run(|jobs| {
                let conn = lock(conn);
                jobs.iter().map(|job| intake::intake(&conn, turn, job)).collect()
            }),
            Op::Record(ask) => ask.run(|record| record::record(&lock(conn), turn, record)),
            Op::ClaimCallbacks(ask) => ask.run(|wanted| callback::claim(&lock(conn), wanted)),
            Op::RecordCallback(ask) => ask.run(|outcome| callback::record(&lock(conn), outcome)),
            Op::Money(ask) => ask.run(conn, turn),
            Op::Cold(ask) => run_in_savepoint(ask.as_mut(), conn, turn),
            Op::Claim(_) | Op::Close(_) => Ok(()),
        })
    }

    /// Tells the caller what became of it: its output, or why its transaction is not on disk.
    pub fn answer(self, failure: Option<Error>) {
        match self {
            Op::Intake(ask) => ask.answer(failure),
            Op::IntakeMany(ask) => ask.answer(failure),
            Op::Record(ask) => ask.answer(failure),
            Op::ClaimCallbacks(ask) => ask.answer(failure),
            Op::RecordCallback(ask) => ask.answer(failure),
            Op::Money(ask) => ask.answer(failure),
            Op::Cold(ask) => ask.answer(failure),
            // Answered by the writer itself.
            Op::Claim(_) | Op::Close(_) => {}
        }
    }
}

/// A verb written once for both engines, with its type erased.
pub(super) trait Cold: Send {
    /// True when the verb's writes are to be kept.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    fn answer(self: Box<Self>, failure: Option<Error>);
    fn is_unwanted(&self) -> bool;
}

pub(super) struct ColdAsk<T, F> {
    verb: F,
    output: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, F> ColdAsk<T, F> {
    pub fn new(verb: F, reply: oneshot::Sender<Result<T>>) -> Self {
        ColdAsk { verb, output: None, reply }
    }
}

impl<T, F> Cold for ColdAsk<T, F>
where
    T: Send,
    F: for<'t> Fn(&'t mut Tx<'_>) -> BoxFuture<'t, Result<T>> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let output = guarded(|| {
            (self.verb)(tx)
                .now_or_never()
                .unwrap_or_else(|| Err(Error::bug("a verb waited for something on SQLite")))
        });
        self.output.insert(output).is_ok()
    }

    fn answer(self: Box<Self>, failure: Option<Error>) {
        let answer = match (failure, self.output) {
            // A verb that changed nothing does not care what became of the others.
            (_, Some(Err(own))) => Err(own),
            (Some(failure), _) => Err(failure),
            (None, Some(output)) => output,
            (None, None) => Err(Error::bug("a verb was answered before it ran")),
        };
        self.reply.send(answer).ok();
    }

    fn is_unwanted(&self) -> bool {
        self.reply.is_closed()
    }
}

/// A cold verb may say no (not found, conflict) in the middle of its writes: they are taken back, the others' stay.
fn run_in_savepoint(ask: &mut dyn Cold, conn: &Mutex<Connection>, turn: &mut Turn) -> Result<()> {
    let mut tx = Tx::new(Conn::Sqlite(conn));
    let effects =
        in_savepoint(conn, || if ask.run(&mut tx) { Some(std::mem::take(&mut tx.effects)) } else { None })?;
    if let Some(effects) = effects {
        turn.effects.merge(effects);
    }
    Ok(())
}

/// Runs `part`; keeps its writes if it gives something. An error: the transaction itself is broken.
pub(super) fn in_savepoint<T>(
    conn: &Mutex<Connection>,
    part: impl FnOnce() -> Option<T>,
) -> Result<Option<T>> {
    execute(&lock(conn), "savepoint part")?;
    let kept = part();
    let conn = lock(conn);
    if conn.is_autocommit() {
        // SQLite rolls the whole transaction back by itself on a full disk and other faults of its kind.
        return Err(Error::away("the transaction was rolled back by the database"));
    }
    if kept.is_none() {
        execute(&conn, "rollback to part")?;
    }
    execute(&conn, "release part")?;
    Ok(kept)
}

pub(super) fn execute(conn: &Connection, text: &str) -> Result<()> {
    conn.prepare_cached(text)?.raw_execute()?;
    Ok(())
}

/// A panic is that op's fault, not the end of the thread.
pub(super) fn guarded<T>(verb: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(verb)).unwrap_or_else(|_| Err(Error::bug("a panic in the store")))
}
