//! The data file: where it is, that it is ours alone, how each connection to it is set up.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use futures_util::FutureExt;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::tx::{Conn, Tx};
use crate::{Error, KeyTally, Result, keys, migrate, settings};

/// A file that this process alone writes, migrated.
pub(super) struct DataFile {
    pub path: PathBuf,
    pub conn: Connection,
    /// Held as long as the file is ours; the system lets go of them when the process dies.
    pub lock: Locks,
}

/// One beside the file, which every system has, and one on the data itself, whatever path led to it.
pub(crate) struct Locks {
    beside: File,
    data: Option<File>,
}

/// Distinct statements on the writer; a statement that falls out is prepared again, which costs tens of microseconds.
const STATEMENTS_KEPT: usize = 96;
/// The WAL file is cut to this when it starts again from its beginning.
const WAL_KEPT_BYTES: i64 = 64 * 1024 * 1024;

impl Drop for Locks {
    /// Let go by word and not only by closing: a child process that is just being started holds copies of both handles until
    /// it runs its program, and a lock lives as long as any copy of its handle.
    fn drop(&mut self) {
        for file in [Some(&self.beside), self.data.as_ref()].into_iter().flatten() {
            // A lock that cannot be let go goes with the handle.
            file.unlock().ok();
        }
    }
}

pub(super) fn open(path: &Path) -> Result<DataFile> {
    let path = resolve(path)?;
    let beside = lock_beside(&path)?;
    refuse_strangers(&path)?;
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(&path, flags).map_err(|error| cannot(&path, error))?;
    let lock = Locks { beside, data: lock_data(&path)? };
    let journal = prepare(&path, &conn).map_err(|error| cannot(&path, error))?;
    if conn.is_readonly("main").map_err(|error| cannot(&path, error))? {
        return Err(refused(&path, "it cannot be written; check its permissions"));
    }
    if journal != "wal" {
        return Err(refused(
            &path,
            "its file system has no shared memory for a write-ahead log; use a local disk",
        ));
    }
    let conn = migrate(conn).map_err(|error| named(&path, error))?;
    Ok(DataFile { path, conn, lock })
}

/// Refuses the file of another program, or of a newer Levqor, before the first byte of it is changed: setting a connection up
/// already writes, and so does closing one.
///
/// Whoever finds nothing wrong here, or cannot look, says nothing: what comes next looks again.
fn refuse_strangers(path: &Path) -> Result<()> {
    if std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(());
    }
    let has_log = std::fs::metadata(with_suffix(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0);
    let seen = match look(path, "immutable=1") {
        // What is in the log of a process that died is part of the file: the rest may be nobody's without it, or make no sense.
        Ok(pending) if has_log && pending == migrate::names().len() => look(path, "mode=ro"),
        Err(_) if has_log => look(path, "mode=ro"),
        seen => seen,
    };
    match seen {
        Err(Error::Refused { what }) => Err(refused(path, &what)),
        _ => Ok(()),
    }
}

/// How many migrations are pending, by a connection that changes nothing: as `immutable=1` not even beside the file, but then it
/// does not see the log; as `mode=ro` it may make a file of shared memory.
fn look(path: &Path, how: &str) -> Result<usize> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let conn = Connection::open_with_flags(format!("file:{}?{how}", in_uri(path)), flags)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    let conn = Mutex::new(conn);
    Ok(at_once(migrate::pending(&mut Tx::new(Conn::Sqlite(&conn))))?.len())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A path as it stands in a URI, with all that could mean something else written as its number.
fn in_uri(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => {
                out.push(char::from(*byte))
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Names of what [`open`] would migrate. Takes no lock: it may be asked while a server runs.
pub(crate) fn pending_migrations(path: &Path) -> Result<Vec<String>> {
    if !path.exists() {
        return Ok(migrate::names());
    }
    let conn = open_to_read(path)?;
    let conn = Mutex::new(conn);
    let mut tx = Tx::new(Conn::Sqlite(&conn));
    let pending = at_once(migrate::pending(&mut tx)).map_err(|error| named(path, error))?;
    Ok(pending.iter().map(|migration| migration.name.to_owned()).collect())
}

/// A setting, also while a server runs.
pub(super) fn read_setting(path: &Path, name: &str) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let conn = Mutex::new(open_to_read(path)?);
    at_once(settings::find_if_there(&mut Tx::new(Conn::Sqlite(&conn)), name))
}

/// Which keys there are, also while a server runs.
pub(super) fn read_keys(path: &Path, now_ms: i64) -> Result<KeyTally> {
    if !path.exists() {
        return Ok(KeyTally::default());
    }
    let conn = Mutex::new(open_to_read(path)?);
    at_once(keys::tally_if_there(&mut Tx::new(Conn::Sqlite(&conn)), now_ms))
}

/// A connection that never writes, with a small cache.
pub(crate) fn open_to_read(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|error| cannot(path, error))?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    conn.execute_batch("pragma cache_size = -2000; pragma mmap_size = 0; pragma temp_store = memory")
        .map_err(|error| cannot(path, error))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(conn)
}

/// The file's own path, whatever links lead to it, so that the lock stands beside the data.
pub(crate) fn resolve(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().filter(|_| !path.as_os_str().to_string_lossy().ends_with('/'));
    let Some(name) = name.filter(|name| !name.to_string_lossy().starts_with(':')) else {
        return Err(refused(path, "it is not the path of a file"));
    };
    if path.is_dir() {
        return Err(refused(path, "it is a folder"));
    }
    if path.exists() {
        return path.canonicalize().map_err(|error| refused(path, &error.to_string()));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .and_then(|()| folder.canonicalize())
        .map(|folder| folder.join(name))
        .map_err(|error| refused(path, &format!("its folder cannot be made: {error}")))
}

/// Takes the file for this process, for as long as the answer is kept; there may be none yet.
pub(crate) fn lock(path: &Path) -> Result<Locks> {
    let beside = lock_beside(path)?;
    Ok(Locks { beside, data: if path.exists() { lock_data(path)? } else { None } })
}

/// Refuses a second process. The lock is advisory and beside the file: other programs may read the live file.
fn lock_beside(path: &Path) -> Result<File> {
    let beside = with_suffix(path, ".lock");
    let lock =
        OpenOptions::new().create(true).truncate(false).write(true).open(&beside).map_err(|error| {
            refused(path, &format!("its lock file {} cannot be opened: {error}", beside.display()))
        })?;
    take(&lock, path)?;
    Ok(lock)
}

/// The same on the data itself: a hard link, or a file that is mounted elsewhere, has another lock beside it.
///
/// Here it is `flock`, which on Linux knows nothing of the `fcntl` locks on ranges that SQLite uses: neither is in the way of the
/// other. Elsewhere the two are one kind of lock, and SQLite would find its own file taken.
///
/// Invariant: the handle lives as long as SQLite's connections do. A process that closes any handle on a file loses all
/// of its `fcntl` locks on it.
#[cfg(target_os = "linux")]
fn lock_data(path: &Path) -> Result<Option<File>> {
    use std::os::unix::fs::MetadataExt;

    let file = File::open(path).map_err(|error| refused(path, &error.to_string()))?;
    take(&file, path)?;
    let links = file.metadata().map_or(1, |metadata| metadata.nlink());
    if links > 1 {
        tracing::warn!(
            path = %path.display(), links,
            "the database file has more than one name; its write-ahead log belongs to this one: always use the same"
        );
    }
    Ok(Some(file))
}

#[cfg(not(target_os = "linux"))]
fn lock_data(_: &Path) -> Result<Option<File>> {
    Ok(None)
}

fn take(lock: &File, path: &Path) -> Result<()> {
    match lock.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(refused(path, "another Levqor process is using it; one process owns the file"))
        }
        Err(TryLockError::Error(error)) => Err(refused(path, &format!("it cannot be locked: {error}"))),
    }
}

/// Sets the connection up; says which journal the file has then.
fn prepare(path: &Path, conn: &Connection) -> rusqlite::Result<String> {
    // Another program may hold the file for a moment; longer, and callers are told to come back.
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    let pages: i64 = conn.query_row("pragma page_count", [], |row| row.get(0))?;
    if pages == 0 {
        tracing::info!(path = %path.display(), "a new data file");
        // Only possible before the first page is written. Pages that retention frees can then be given back bit by bit.
        conn.execute_batch("pragma auto_vacuum = incremental")?;
    }
    let mode = conn.query_row("pragma journal_mode = wal", [], |row| row.get::<_, String>(0))?;
    conn.execute_batch(&format!(
        "pragma synchronous = full; pragma wal_autocheckpoint = 0; pragma journal_size_limit = {WAL_KEPT_BYTES}; \
         pragma cache_size = -4000; pragma mmap_size = 0; pragma temp_store = memory"
    ))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(mode)
}

/// Brings the schema up to date. Writes nothing when it is: a start must do on a full disk.
fn migrate(conn: Connection) -> Result<Connection> {
    let conn = Mutex::new(conn);
    let mut tx = Tx::new(Conn::Sqlite(&conn));
    if !at_once(migrate::pending(&mut tx))?.is_empty() {
        at_once(tx.script("begin immediate"))?;
        match at_once(migrate::run(&mut tx)) {
            Ok(()) => at_once(tx.script("commit"))?,
            Err(error) => {
                at_once(tx.script("rollback")).ok();
                return Err(error);
            }
        }
    }
    Ok(conn.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

pub(crate) fn at_once<T>(verb: impl Future<Output = Result<T>>) -> Result<T> {
    verb.now_or_never().unwrap_or_else(|| Err(Error::bug("a verb waited for something on SQLite")))
}

fn cannot(path: &Path, error: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => refused(path, "it is not a SQLite database"),
        Some(ErrorCode::DatabaseCorrupt) => refused(path, "it is damaged; restore it from a backup"),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            refused(path, "it cannot be written; check the permissions of the file and its folder")
        }
        Some(ErrorCode::CannotOpen) => {
            refused(path, "it cannot be opened; check the permissions of the file and its folder")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            refused(path, "another program has locked it")
        }
        _ => error.into(),
    }
}

/// A refusal of what is in the file, with the file's name before it.
fn named(path: &Path, error: Error) -> Error {
    match error {
        Error::Refused { what } => refused(path, &what),
        other => other,
    }
}

fn refused(path: &Path, why: &str) -> Error {
    Error::Refused { what: format!("the database file {} cannot be used: {why}", path.display()) }
}
