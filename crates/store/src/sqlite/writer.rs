//! The one thread that writes. It takes all that waits, runs it in one transaction, commits once, then answers: a busy
//! server pays one fsync for hundreds of jobs.
//!
//! A claim is parked until something is runnable and is served at the end of the transaction that made it so; thus an
//! intake and the start of its job share a commit, as do the ends of some jobs and the claim of the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::alone;
use super::checkpoint::Checkpoints;
use super::claim::{self, ClaimAsk, Claimed};
use super::file::{DataFile, Locks};
use super::op::{Closing, Op, Turn, execute, guarded, in_savepoint};
use crate::tx::lock;
use crate::wake::Wake;
use crate::{Error, Result};

/// Ops in one transaction at most: bounds how long the first of them waits for the last.
const BATCH_MOST: usize = 1_024;

struct Writer {
    // Fields are dropped in this order: the locks go last.
    conn: Mutex<Connection>,
    checkpoints: Checkpoints,
    _lock: Locks,
    inbox: mpsc::Receiver<Op>,
    /// For jobs whose claimer went away: they are handed back through the front door.
    outbox: mpsc::Sender<Op>,
    node: String,
    wake: Arc<Wake>,
    parked: VecDeque<ClaimAsk>,
    /// The last transaction met a full disk or the like, and it was said.
    away: bool,
    /// There may be runnable jobs. False is certain: the last claim found fewer than it asked for.
    runnable: bool,
}

/// A pause of the work after which the pages that are cached are given back: up to 8 MB, read again in no time.
const IDLE: Duration = Duration::from_millis(500);

/// Why a transaction is not on disk.
enum Broken {
    /// One op is to blame: the others may do better without it.
    Op(Error),
    /// The transaction could not begin or commit.
    All(Error),
}

pub(super) fn start(
    file: DataFile,
    inbox: mpsc::Receiver<Op>,
    outbox: mpsc::Sender<Op>,
    node: String,
    wake: Arc<Wake>,
) -> Result<JoinHandle<()>> {
    let mut conn = file.conn;
    let checkpoints = Checkpoints::start(&file.path, &mut conn)?;
    let mut writer = Writer {
        conn: Mutex::new(conn),
        checkpoints,
        _lock: file.lock,
        inbox,
        outbox,
        node,
        wake,
        parked: VecDeque::new(),
        away: false,
        runnable: true,
    };
    std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|error| Error::Unavailable(error.into()))
}

impl Writer {
    fn run(&mut self) {
        while let Some(first) = self.next() {
            let mut batch = Vec::new();
            let mut closing = self.sort_in(first, &mut batch);
            while closing.is_none() && batch.len() < BATCH_MOST {
                match self.inbox.try_recv() {
                    Ok(op) => closing = self.sort_in(op, &mut batch),
                    Err(_) => break,
                }
            }
            self.serve(batch);
            if let Some(closing) = closing {
                return self.close(closing);
            }
        }
    }

    /// Waits for the next op; `None` when nobody is left to ask anything.
    fn next(&mut self) -> Option<Op> {
        match self.inbox.recv_timeout(IDLE) {
            Ok(op) => Some(op),
            Err(mpsc::RecvTimeoutError::Disconnected) => None,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // Nothing depends on it.
                lock(&self.conn).execute_batch("pragma shrink_memory").ok();
                self.inbox.recv().ok()
            }
        }
    }

    /// Claims are parked, a close is noted, everything else is for the transaction.
    fn sort_in(&mut self, op: Op, batch: &mut Vec<Op>) -> Option<Closing> {
        match op {
            Op::Claim(ask) => self.parked.push_back(ask),
            Op::Close(closing) => return Some(closing),
            op => batch.push(op),
        }
        None
    }

    fn serve(&mut self, mut batch: Vec<Op>) {
        self.parked.retain(|ask| !ask.reply.is_closed());
        let claims = self.runnable && !self.parked.is_empty();
        if batch.is_empty() && !claims {
            return;
        }
        match self.transact(&mut batch) {
            Ok(()) => batch.into_iter().for_each(|op| op.answer(None)),
            Err(Broken::Op(_)) if batch.len() > 1 => batch.into_iter().for_each(|op| self.serve(vec![op])),
            Err(Broken::Op(error)) if batch.len() == 1 => {
                self.say(&error);
                batch.into_iter().for_each(|op| op.answer(Some(error.copy())));
                // Claims that wait are not to blame.
                self.serve(Vec::new());
            }
            Err(Broken::Op(error) | Broken::All(error)) => {
                self.say(&error);
                batch.into_iter().for_each(|op| op.answer(Some(error.copy())));
                self.parked.drain(..).for_each(|ask| ask.answer(Err(error.copy())));
            }
        }
    }

    fn transact(&mut self, batch: &mut [Op]) -> std::result::Result<(), Broken> {
        execute(&lock(&self.conn), "begin immediate").map_err(Broken::All)?;
        let mut turn = Turn::default();
        let mut served = Vec::new();
        let outcome = self.fill(batch, &mut turn, &mut served).map_err(Broken::Op).and_then(|left| {
            execute(&lock(&self.conn), "commit").map_err(Broken::All)?;
            Ok(left)
        });
        match outcome {
            Ok(left) => {
                if std::mem::take(&mut self.away) {
                    tracing::info!("the database file can be written again");
                }
                self.runnable = left;
                self.wake.deliver(&turn.effects);
                for (ask, claimed) in served {
                    ask.answer(claimed.map(|jobs| Claimed::new(jobs, self.outbox.clone())));
                }
                self.checkpoints.after_commit();
                Ok(())
            }
            Err(broken) => {
                self.roll_back();
                self.runnable = true;
                for (ask, _) in served.into_iter().rev() {
                    self.parked.push_front(ask);
                }
                Err(broken)
            }
        }
    }

    /// Everything between begin and commit. Says whether runnable jobs may be left.
    fn fill(
        &mut self,
        batch: &mut [Op],
        turn: &mut Turn,
        served: &mut Vec<(ClaimAsk, Result<Vec<levqor_core::job::ClaimedJob>>)>,
    ) -> Result<bool> {
        for op in batch {
            op.run(&self.conn, turn)?;
        }
        let mut left = self.runnable || turn.effects.runnable;
        while left {
            let Some(ask) = self.parked.pop_front() else { break };
            let mut failure = None;
            let claimed = in_savepoint(&self.conn, || {
                guarded(|| claim::claim(&lock(&self.conn), &self.node, ask.limit, ask.clock.now_ms()))
                    .map_err(|error| failure = Some(error))
                    .ok()
            });
            match (claimed, failure) {
                (Err(broken), _) => {
                    self.parked.push_front(ask);
                    return Err(broken);
                }
                (Ok(_), Some(error)) => served.push((ask, Err(error))),
                (Ok(claimed), None) => {
                    let jobs = claimed.unwrap_or_default();
                    left = jobs.len() >= ask.limit;
                    if jobs.is_empty() {
                        self.parked.push_front(ask);
                        break;
                    }
                    served.push((ask, Ok(jobs)));
                }
            }
        }
        write_counts(&lock(&self.conn), turn)?;
        Ok(left)
    }

    /// A full disk is said once, not once per request; a bug each time.
    fn say(&mut self, error: &Error) {
        match error {
            Error::Unavailable(source) if !self.away => {
                self.away = true;
                tracing::warn!(error = %source, "the database file cannot be written; requests are refused until it can");
            }
            Error::Unavailable(_) => {}
            other => tracing::error!(error = ?other, "a transaction failed"),
        }
    }

    fn roll_back(&self) {
        let conn = lock(&self.conn);
        if !conn.is_autocommit()
            && let Err(error) = execute(&conn, "rollback")
        {
            tracing::error!(error = ?error, "a transaction could not be rolled back");
        }
    }

    /// Does what was sent before the close was seen, then leaves one tidy file behind.
    fn close(&mut self, closing: Closing) {
        let mut rest = Vec::new();
        while let Ok(op) = self.inbox.try_recv() {
            self.sort_in(op, &mut rest);
        }
        self.serve(rest);
        self.parked.clear();
        self.checkpoints.stop();
        if let Closing::Tidy(reply) = closing {
            if let Err(error) = alone::hand_back(&lock(&self.conn), &self.node) {
                tracing::warn!(%error, "jobs could not be handed back; the next start rescues them");
            }
            if let Err(error) = lock(&self.conn).query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))
            {
                tracing::warn!(%error, "the last checkpoint failed; the next start makes up for it");
            }
            reply.send(()).ok();
        }
    }
}

fn write_counts(conn: &Connection, turn: &mut Turn) -> Result<()> {
    for ((hour_ms, kind), n) in turn.counts.drain() {
        conn.prepare_cached(crate::figures::ADD)?.execute((hour_ms, kind, 0, n))?;
    }
    Ok(())
}
