//! Checkpoints: moves committed pages from the WAL into the file, on a connection and a thread of its own, so that no
//! commit pays for it. Where writing outruns it, the writer waits: the WAL must not grow without bound.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::{Error, Result};

/// Pages (of 4 KB) written between two passive checkpoints.
const PASSIVE_PAGES: u32 = 1_024;
/// Pages in the WAL at which the writer waits. Measured: smaller values make it wait more often, each time for an fsync.
const WAIT_PAGES: u32 = 16 * 1_024;
/// A reader may hold a snapshot for long: then the WAL grows by as much again before the next wait.
const WAIT: Duration = Duration::from_secs(2);
/// Reads end within milliseconds, and are waited for; a backup holds its snapshot until it is done, and intake does not wait
/// for that.
const READERS: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wish {
    Nothing,
    /// As far as it gets without being in anybody's way.
    Passive,
    /// All of it, and the next commit starts the WAL over. The writer waits for this.
    Restart,
    Stop,
}

struct Desk {
    wish: Wish,
    /// What the last restart came to, until the writer has seen it.
    restarted: Option<bool>,
}

struct Shared {
    desk: Mutex<Desk>,
    changed: Condvar,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writer's end.
pub(super) struct Checkpoints {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Pages in the WAL, told by SQLite at each commit.
    pages: Arc<AtomicU32>,
    asked_at: u32,
    wait_at: u32,
}

impl Checkpoints {
    pub fn start(path: &Path, writer: &mut Connection) -> Result<Checkpoints> {
        let pages = Arc::new(AtomicU32::new(0));
        let told = pages.clone();
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, n: i32| {
            told.store(n.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        let conn = Connection::open(path)?;
        conn.busy_timeout(READERS)?;
        conn.execute_batch(
            "pragma synchronous = normal; pragma wal_autocheckpoint = 0; pragma cache_size = -256",
        )?;
        let desk = Mutex::new(Desk { wish: Wish::Nothing, restarted: None });
        let shared = Arc::new(Shared { desk, changed: Condvar::new() });
        let theirs = shared.clone();
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || serve(&theirs, &conn))
            .map_err(|error| Error::Unavailable(error.into()))?;
        Ok(Checkpoints { shared, thread: Some(thread), pages, asked_at: 0, wait_at: WAIT_PAGES })
    }

    /// Asks for a checkpoint when enough was written, and waits for it when far too much was.
    pub fn after_commit(&mut self) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.asked_at {
            // The WAL started over.
            (self.asked_at, self.wait_at) = (0, WAIT_PAGES);
        }
        if pages >= self.wait_at {
            if self.restart() {
                self.pages.store(0, Ordering::Relaxed);
                (self.asked_at, self.wait_at) = (0, WAIT_PAGES);
            } else {
                self.wait_at = pages + WAIT_PAGES;
            }
        } else if pages - self.asked_at >= PASSIVE_PAGES {
            self.asked_at = pages;
            self.shared.desk().wish = Wish::Passive;
            self.shared.changed.notify_all();
        }
    }

    fn restart(&self) -> bool {
        let mut desk = self.shared.desk();
        (desk.wish, desk.restarted) = (Wish::Restart, None);
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(desk, WAIT, |desk| desk.restarted.is_none());
        let (mut desk, _) = waited.unwrap_or_else(PoisonError::into_inner);
        desk.restarted.take().unwrap_or(false)
    }

    pub fn stop(&mut self) {
        self.shared.desk().wish = Wish::Stop;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(shared: &Shared, conn: &Connection) {
    loop {
        let waited = shared.changed.wait_while(shared.desk(), |desk| desk.wish == Wish::Nothing);
        let mut desk = waited.unwrap_or_else(PoisonError::into_inner);
        let wish = std::mem::replace(&mut desk.wish, Wish::Nothing);
        drop(desk);
        match wish {
            Wish::Nothing => {}
            Wish::Stop => return,
            Wish::Passive => {
                checkpoint(conn, "pragma wal_checkpoint(passive)");
            }
            Wish::Restart => {
                let done = checkpoint(conn, "pragma wal_checkpoint(restart)");
                shared.desk().restarted = Some(done);
                shared.changed.notify_all();
            }
        }
    }
}

/// True when the whole WAL is in the file and nobody stood in the way.
fn checkpoint(conn: &Connection, text: &str) -> bool {
    match conn.query_row(text, [], |row| row.get::<_, i64>(0)) {
        Ok(busy) => busy == 0,
        Err(error) => {
            tracing::warn!(%error, "a checkpoint failed; the next one makes up for it");
            false
        }
    }
}
