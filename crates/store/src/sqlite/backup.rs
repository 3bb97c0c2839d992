//! Copies of the file: made while it is written, looked at, put back.
//!
//! The online backup API starts over whenever its source changes between two steps; under constant writes it would never end.
//! So its source is a reading connection that holds one snapshot all the while: in a write-ahead log that keeps nobody from
//! writing, every step sees the same moment, and nothing starts over. The price: the log cannot begin anew until the copy is
//! done, and grows by what is written meanwhile.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::file::{at_once, lock, open_to_read, resolve};
use crate::backup::{Contents, Losses, Present, Stop, beside, refused, stopped};
use crate::tx::{Conn, Tx};
use crate::{Error, Result, migrate};

/// 1 MB a step, so that a stop is heard soon.
const PAGES_PER_STEP: i32 = 256;
/// The disk is the server's first.
const PAUSE: Duration = Duration::from_millis(1);

pub(crate) fn copy(path: &Path, target: &Path, stop: &Stop) -> Result<Contents> {
    if !path.exists() {
        return Err(Error::Refused { what: format!("there is no database {} to back up", path.display()) });
    }
    let source = open_to_read(path)?;
    source.execute_batch("begin")?;
    // The first read takes the snapshot: what was committed before is in it, what comes later is not.
    let contents = count(&source)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(target, flags)?;
    // Nobody relies on the file before it is whole, checked and on disk: no journal, no fsync on the way.
    copy.execute_batch("pragma journal_mode = off; pragma synchronous = off; pragma cache_size = -2000")?;
    {
        let backup = Backup::new(&source, &mut copy)?;
        loop {
            if stop.is_asked() {
                return Err(stopped());
            }
            if backup.step(PAGES_PER_STEP)? == StepResult::Done {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
    source.execute_batch("rollback")?;
    close(copy)?;
    // The copy says of itself that it has a write-ahead log. Without that it is one file, which opens on any disk, read-only too.
    let copy = Connection::open_with_flags(target, flags)?;
    let mode: String = copy.query_row("pragma journal_mode = delete", [], |row| row.get(0))?;
    close(copy)?;
    if mode != "delete" {
        return Err(Error::bug(format!("the copy keeps its journal mode {mode}")));
    }
    File::open(target).and_then(|file| file.sync_all()).map_err(|error| Error::Unavailable(error.into()))?;
    Ok(contents)
}

/// Looks at every page of a copy.
pub(crate) fn check(path: &Path) -> Result<Contents> {
    is_whole(path)?;
    let conn = open_to_read(path).and_then(|conn| {
        // The file may be anybody's.
        conn.execute_batch("pragma trusted_schema = off; pragma cell_size_check = on")?;
        Ok(conn)
    });
    let conn = conn.map_err(|error| damaged(path, &error))?;
    let problems = integrity(&conn).map_err(|error| damaged(path, &error.into()))?;
    if !problems.is_empty() {
        return Err(refused(path, &format!("it is damaged: {}", problems.join("; "))));
    }
    let conn = Mutex::new(conn);
    let pending = match at_once(migrate::pending(&mut Tx::new(Conn::Sqlite(&conn)))) {
        Ok(pending) => pending.len(),
        Err(Error::Refused { what }) => return Err(refused(path, &what)),
        // It has a table of this name and other columns.
        Err(_) => migrate::names().len(),
    };
    if pending == migrate::names().len() {
        return Err(refused(path, "it is a database of another program"));
    }
    let conn = conn.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    count(&conn).map_err(|error| damaged(path, &error))
}

/// As long as its first page says: SQLite takes what is missing at the end for zeros.
fn is_whole(path: &Path) -> Result<()> {
    let unreadable = |error: std::io::Error| refused(path, &format!("it cannot be read: {error}"));
    let file = File::open(path).map_err(unreadable)?;
    let mut head = [0; 32];
    file.read_exact_at(&mut head, 0).map_err(|_| refused(path, "it is damaged: it is cut off"))?;
    // A page of 65,536 bytes is written as 1.
    let page_bytes = match u16::from_be_bytes([head[16], head[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let pages = u64::from(u32::from_be_bytes([head[28], head[29], head[30], head[31]]));
    let size = file.metadata().map_err(unreadable)?.len();
    if size != pages * page_bytes {
        let what = format!("it is damaged: it has {size} bytes and says that it has {}", pages * page_bytes);
        return Err(refused(path, &what));
    }
    Ok(())
}

/// The first few things that are wrong, in SQLite's words.
fn integrity(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("pragma integrity_check(5)")?;
    let lines =
        statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").map(|line| line.replace('\n', " ")).collect())
}

fn damaged(path: &Path, error: &Error) -> Error {
    let cause =
        std::error::Error::source(error).map(ToString::to_string).unwrap_or_else(|| error.to_string());
    refused(path, &format!("it is damaged: {cause}"))
}

pub(crate) fn contents(path: &Path) -> Result<Contents> {
    count(&open_to_read(path)?)
}

/// The tables of a file, in the order of their names.
pub(crate) fn tables(conn: &Connection) -> Result<Vec<String>> {
    let mut statement = conn.prepare(
        "select name from sqlite_schema where type = 'table' and name not like 'sqlite\\_%' escape '\\' order by name",
    )?;
    let names = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(names)
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn count(conn: &Connection) -> Result<Contents> {
    let mut contents = Contents::default();
    for table in tables(conn)? {
        let sql = format!("select count(*) from {}", quoted(&table));
        let rows = conn.query_row(&sql, [], |row| row.get(0))?;
        contents.rows.insert(table, rows);
    }
    Ok(contents)
}

/// What the file has that the copy has not. Refuses a file that a server uses.
pub(crate) fn losses(path: &Path, copy: &Path) -> Result<Present> {
    if !path.exists() {
        return Ok(Present::Nothing);
    }
    let path = resolve(path)?;
    let _lock = lock(&path)?;
    Ok(compare(&path, copy).map_or_else(|error| Present::Unreadable(reason(&error)), Present::Readable))
}

fn reason(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn compare(path: &Path, copy: &Path) -> Result<Losses> {
    let conn = open_to_read(path)?;
    conn.execute("attach database ?1 as copy", [copy.to_string_lossy()])?;
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(Error::from);
    // A copy of an older version may lack a table that the file has.
    let has_users =
        number("select count(*) from copy.sqlite_schema where type = 'table' and name = 'users'")? > 0;
    let (users, changed_users) = if has_users {
        let changed = "select count(*) from main.users u join copy.users c on c.id = u.id \
            where c.updated_at_ms <> u.updated_at_ms";
        (
            number("select count(*) from main.users where id not in (select id from copy.users)")?,
            number(changed)?,
        )
    } else {
        (number("select count(*) from main.users")?, 0)
    };
    let again = "select count(*) from copy.live_jobs where id in (select id from main.finished_jobs)";
    Ok(Losses {
        jobs: number("select count(*) from main.jobs where id not in (select id from copy.jobs)")?,
        users,
        changed_users,
        unfinished_jobs: number("select count(*) from copy.live_jobs")?,
        jobs_run_again: number(again)?,
    })
}

/// Puts `copy` in the place of the file. A crash at any moment leaves either the one or the other there.
pub(crate) fn put(path: &Path, copy: &Path, ending: &str) -> Result<Option<PathBuf>> {
    let path = resolve(path)?;
    let _lock = lock(&path)?;
    let aside = beside(&path, ending);
    let present = path.exists();
    // Anything but our own file would be followed or overwritten.
    let fresh = beside(&path, ".restoring");
    let away = |error: std::io::Error| Error::Unavailable(error.into());
    let mode = if present { path.metadata().map_err(away)?.permissions().mode() & 0o777 } else { 0o600 };
    remove_if_there(&fresh).map_err(away)?;
    let written = write_copy(copy, &fresh, mode);
    if let Err(error) = written {
        remove_if_there(&fresh).ok();
        return Err(away(error));
    }
    if present {
        settle(&path, &aside)?;
        // A second name for the old file: from here on it is safe, and its first name can be taken over in one step.
        std::fs::hard_link(&path, &aside).map_err(|error| Error::Refused {
            what: format!("the present file cannot be kept as {}: {error}", aside.display()),
        })?;
    }
    std::fs::rename(&fresh, &path).map_err(away)?;
    if let Some(folder) = path.parent() {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(away)?;
    }
    Ok(present.then_some(aside))
}

fn write_copy(copy: &Path, fresh: &Path, mode: u32) -> std::io::Result<()> {
    let mut from = File::open(copy)?;
    let mut to = OpenOptions::new().write(true).create_new(true).mode(mode).open(fresh)?;
    std::io::copy(&mut from, &mut to)?;
    to.sync_all()
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// Brings what stands in the old file's write-ahead log into it: a log that stayed would be applied to the new file. Where that
/// cannot be done (the file is damaged), the log goes aside with it.
fn settle(path: &Path, aside: &Path) -> Result<()> {
    // Looked at read-only first: SQLite deletes the log of a file in which it finds no page.
    let is_readable = open_to_read(path).is_ok_and(|conn| tables(&conn).is_ok());
    if is_readable {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let settled = conn.query_row("pragma journal_mode = delete", [], |row| row.get::<_, String>(0));
        if let Err(error) = &settled
            && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
        {
            let what =
                format!("the database file {} is open in another program; end that first", path.display());
            return Err(Error::Refused { what });
        }
    }
    let away = |error: std::io::Error| Error::Unavailable(error.into());
    let log = beside(path, "-wal");
    if log.exists() {
        std::fs::rename(&log, beside(aside, "-wal")).map_err(away)?;
    }
    remove_if_there(&beside(path, "-shm")).map_err(away)
}

fn close(conn: Connection) -> Result<()> {
    conn.close().map_err(|(_, error)| error.into())
}
