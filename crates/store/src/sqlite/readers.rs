//! The reading side: two threads with read-only connections. A read sees one snapshot and has a time limit, because a
//! snapshot that is held keeps the WAL from starting over.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::file::open_to_read;
use super::op::{Cold, execute};
use crate::tx::{Conn, Tx, lock};
use crate::{Error, Result};

const THREADS: usize = 2;
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Steps of SQLite's machine between two looks at the clock: some tenths of a millisecond.
const STEPS_PER_LOOK: i32 = 20_000;

pub(super) struct Readers {
    inbox: Mutex<Option<mpsc::Sender<Box<dyn Cold>>>>,
}

/// The store is closed.
pub(super) struct Gone;

impl Readers {
    pub fn start(path: &Path) -> Result<Readers> {
        let (inbox, outbox) = mpsc::channel::<Box<dyn Cold>>();
        let outbox = Arc::new(Mutex::new(outbox));
        for number in 1..=THREADS {
            let mut reader = Reader::open(path)?;
            let outbox = outbox.clone();
            std::thread::Builder::new()
                .name(format!("store-reader-{number}"))
                .spawn(move || {
                    loop {
                        // The guard is dropped with this statement: the other thread waits for its turn, not for our read.
                        let next = outbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        match next {
                            Ok(ask) => reader.serve(ask),
                            Err(_) => return,
                        }
                    }
                })
                .map_err(|error| Error::Unavailable(error.into()))?;
        }
        Ok(Readers { inbox: Mutex::new(Some(inbox)) })
    }

    pub fn send(&self, ask: Box<dyn Cold>) -> std::result::Result<(), Gone> {
        let inbox = self.inbox.lock().unwrap_or_else(PoisonError::into_inner);
        inbox.as_ref().ok_or(Gone)?.send(ask).map_err(|_| Gone)
    }

    /// The threads end after what was asked before.
    pub fn stop(&self) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

struct Reader {
    conn: Mutex<Connection>,
    began: Instant,
    /// Milliseconds after `began` at which the running read is interrupted.
    until_ms: Arc<AtomicU64>,
}

impl Reader {
    fn open(path: &Path) -> Result<Reader> {
        let mut conn = open_to_read(path)?;
        let began = Instant::now();
        let until_ms = Arc::new(AtomicU64::new(u64::MAX));
        let limit = until_ms.clone();
        let too_long = move || began.elapsed().as_millis() as u64 >= limit.load(Ordering::Relaxed);
        conn.progress_handler(STEPS_PER_LOOK, Some(too_long))?;
        Ok(Reader { conn: Mutex::new(conn), began, until_ms })
    }

    fn serve(&mut self, mut ask: Box<dyn Cold>) {
        if ask.is_unwanted() {
            return;
        }
        let until = self.began.elapsed() + TIME_LIMIT;
        self.until_ms.store(until.as_millis() as u64, Ordering::Relaxed);
        if let Err(error) = execute(&lock(&self.conn), "begin") {
            return ask.answer(Some(error));
        }
        ask.run(&mut Tx::new(Conn::Sqlite(&self.conn)));
        self.until_ms.store(u64::MAX, Ordering::Relaxed);
        // The snapshot goes whatever the read came to.
        let ended = execute(&lock(&self.conn), "rollback").err();
        ask.answer(ended);
    }
}
