//! Copies of the whole database: made while it is in use, looked at, put back. What is where, and under which name, is the
//! business of the caller.
//!
//! A copy is a moment of the database: all that was committed when it began, and nothing of what came later.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use crate::postgres::dump;
use crate::sqlite::backup as sqlite;
use crate::{Error, Location, Result};

/// Rows by table: of a database, of a copy, or of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    pub rows: BTreeMap<String, i64>,
}

impl Contents {
    pub fn of(&self, table: &str) -> i64 {
        self.rows.get(table).copied().unwrap_or(0)
    }

    pub fn total(&self) -> i64 {
        self.rows.values().sum()
    }

    /// The first table in which two differ, in words.
    pub fn difference(&self, other: &Contents) -> Option<String> {
        let tables = self.rows.keys().chain(other.rows.keys());
        let table = tables.into_iter().find(|table| self.rows.get(*table) != other.rows.get(*table))?;
        Some(format!("{table} has {} rows and should have {}", other.of(table), self.of(table)))
    }
}

/// What would be different if a copy took the place of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// In the database and not in the copy.
    pub jobs: i64,
    pub users: i64,
    /// In both, and changed since.
    pub changed_users: i64,
    /// Unfinished in the copy: they would run, whatever became of them since.
    pub unfinished_jobs: i64,
    /// Of those: finished in the database, so that they would run a second time.
    pub jobs_run_again: i64,
}

/// What stands where a copy is to be put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present {
    Nothing,
    /// It is damaged, or something else; why it cannot be read.
    Unreadable(String),
    Readable(Losses),
}

/// Asks a copy that is being made to stop.
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    pub fn ask(&self) {
        self.0.cancel();
    }

    pub fn is_asked(&self) -> bool {
        self.0.is_cancelled()
    }

    pub(crate) async fn asked(&self) {
        self.0.cancelled().await;
    }
}

/// Copies the database into `target`, an empty file that nobody else may read, and says what is in it. The copy is on disk when
/// this returns; after an error the file holds garbage.
pub async fn copy(location: &Location, target: &Path, stop: &Stop) -> Result<Contents> {
    match location {
        Location::Sqlite(path) => {
            let (path, target, stop) = (path.clone(), target.to_owned(), stop.clone());
            blocking(move || sqlite::copy(&path, &target, &stop)).await
        }
        Location::Postgres(url) => dump::make(url, target, stop).await,
    }
}

/// Reads a whole copy and says what is in it. `Refused` says what is wrong with it.
pub async fn check(file: &Path) -> Result<Contents> {
    match form_of(file)? {
        Form::Sqlite => {
            let file = file.to_owned();
            blocking(move || sqlite::check(&file)).await
        }
        Form::Dump => dump::check(file).await,
    }
}

/// What would be lost if `file` took the place of the database. Refuses a database that is in use, and a file of the other
/// engine.
pub async fn losses(location: &Location, file: &Path) -> Result<Present> {
    match (location, form_of(file)?) {
        (Location::Sqlite(path), Form::Sqlite) => {
            let (path, file) = (path.clone(), file.to_owned());
            blocking(move || sqlite::losses(&path, &file)).await
        }
        (Location::Postgres(url), Form::Dump) => dump::losses(url, file).await,
        (Location::Sqlite(_), Form::Dump) => Err(Error::Refused {
            what: "the file is a dump of PostgreSQL, and SQLITE_PATH names a SQLite file; set DATABASE_URL".to_owned(),
        }),
        (Location::Postgres(_), Form::Sqlite) => Err(Error::Refused {
            what: "the file is a SQLite database, and DATABASE_URL names a PostgreSQL database; put the file where SQLITE_PATH \
                 says, and use `levqor move`"
                .to_owned(),
        }),
    }
}

/// Puts a checked copy in the place of a SQLite database that nobody uses, in one step; what was there is kept as
/// the path with `ending`, which is returned.
pub async fn put_sqlite(path: &Path, file: &Path, ending: &str) -> Result<Option<PathBuf>> {
    let (path, file, ending) = (path.to_owned(), file.to_owned(), ending.to_owned());
    blocking(move || sqlite::put(&path, &file, &ending)).await
}

/// Puts a checked dump in the place of all tables of a PostgreSQL database, in one transaction.
pub async fn put_postgres(url: &str, file: &Path) -> Result<()> {
    dump::restore(url, file).await
}

pub use crate::postgres::dump::ScratchDatabase;

/// A scratch database on the server of `url`, for a drill. Those that drills of this database left when they were killed go.
pub async fn create_scratch(url: &str, name: &str) -> Result<ScratchDatabase> {
    ScratchDatabase::create(url, name).await
}

/// What a database holds now.
pub async fn contents(location: &Location) -> Result<Contents> {
    match location {
        Location::Sqlite(path) => {
            let path = path.clone();
            blocking(move || sqlite::contents(&path)).await
        }
        Location::Postgres(url) => dump::contents(url).await,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Sqlite,
    Dump,
}

/// By its first bytes, whatever its name says.
fn form_of(file: &Path) -> Result<Form> {
    use std::io::Read;
    let mut head = Vec::new();
    std::fs::File::open(file)
        .and_then(|file| file.take(16).read_to_end(&mut head))
        .map_err(|error| refused(file, &format!("it cannot be read: {error}")))?;
    if head == b"SQLite format 3\0" {
        Ok(Form::Sqlite)
    } else if head.starts_with(b"PGDMP") {
        Ok(Form::Dump)
    } else if head.is_empty() {
        Err(refused(file, "it is empty"))
    } else {
        Err(refused(file, "it is neither a SQLite database nor a dump of pg_dump"))
    }
}

pub(crate) fn refused(file: &Path, why: &str) -> Error {
    Error::Refused { what: format!("the backup {} cannot be used: {why}", file.display()) }
}

pub(crate) fn stopped() -> Error {
    Error::away("the backup was stopped")
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Bug(error.into()))?
}

/// The path with an ending.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    PathBuf::from(beside)
}
