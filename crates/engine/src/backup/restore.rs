//! Putting a backup back, and trying whether it could be.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Instant;

use levqor_core::backup::{BackupName, Kind};
use levqor_store::backup::{self, Contents, Present, Stop};
use levqor_store::{Location, Store};

use super::{BackupError, Backups, Result, folder};

/// How the scratch places of drills are called, before 16 hex digits.
const DRILL: &str = "levqor_drill_";
const LOCK: &str = "lock";

/// A backup took the place of the database.
#[derive(Clone, Debug)]
pub struct Restored {
    pub contents: Contents,
    /// Where what was there before is kept; `None`: there was nothing.
    pub kept: Option<PathBuf>,
}

/// A backup was restored to a scratch place, found whole, and thrown away again.
#[derive(Clone, Debug)]
pub struct Drill {
    pub name: BackupName,
    pub contents: Contents,
    /// Migrations that a start of this version would make on it.
    pub migrations: Vec<String>,
    pub unfinished_jobs: i64,
    pub took_ms: u64,
}

impl Backups {
    /// What a restore of `file` would cost. Refuses a database in use.
    pub async fn losses(&self, file: &Path) -> Result<Present> {
        Ok(backup::losses(&self.settings.location, file).await?)
    }

    /// Puts `file` in the place of the database, which nobody may use meanwhile, and keeps what was there: a SQLite file beside it,
    /// a PostgreSQL database as a new backup.
    pub async fn restore(&self, file: &Path) -> Result<Restored> {
        let contents = self.verify(file).await?.contents;
        let kept = match &self.settings.location {
            Location::Sqlite(path) => {
                let ending = format!(".before-{}", self.name(Kind::Automatic));
                backup::put_sqlite(path, file, ending.trim_end_matches(".db")).await?
            }
            Location::Postgres(url) => {
                let kept = match backup::losses(&self.settings.location, file).await? {
                    Present::Nothing => None,
                    // Not pruned: what is about to be restored may be the oldest.
                    _ => Some(self.set_aside().await?),
                };
                backup::put_postgres(url, file).await?;
                kept
            }
        };
        Ok(Restored { contents, kept })
    }

    async fn set_aside(&self) -> Result<PathBuf> {
        let folder = folder::Folder::open(&self.settings.dir)?;
        let draft = folder.draft(self.name(Kind::Manual))?;
        backup::copy(&self.settings.location, draft.path(), &Stop::default()).await?;
        Ok(folder.keep(draft).await?.path)
    }

    /// Restores the newest backup to a scratch place, starts a store on it, and takes both away again.
    pub async fn drill(&self) -> Result<Drill> {
        let began = Instant::now();
        let form = self.name(Kind::Manual).form();
        let newest = self.list()?.into_iter().find(|listed| listed.name.form() == form);
        let newest = newest.ok_or_else(|| BackupError::None(self.settings.dir.clone()))?;
        let contents = self.verify(&newest.path).await?.contents;
        let scratch = format!("{DRILL}{:016x}", rand::random::<u64>());
        let (migrations, unfinished_jobs) = match &self.settings.location {
            Location::Sqlite(_) => self.drill_sqlite(&newest.path, &scratch, &contents).await?,
            Location::Postgres(url) => {
                let made = backup::create_scratch(url, &scratch).await?;
                let place = Location::Postgres(made.url().to_owned());
                let tried = try_postgres(&place, &newest.path, &contents).await;
                let dropped = made.remove().await;
                let tried = tried?;
                dropped?;
                tried
            }
        };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(Drill { name: newest.name, contents, migrations, unfinished_jobs, took_ms })
    }

    async fn drill_sqlite(
        &self,
        file: &Path,
        scratch: &str,
        contents: &Contents,
    ) -> Result<(Vec<String>, i64)> {
        sweep(&self.settings.dir);
        let place = Scratch::make(&self.settings.dir.join(format!(".{scratch}")))?;
        let path = place.path.join("levqor.db");
        backup::put_sqlite(&path, file, ".before").await?;
        try_out(&Location::Sqlite(path), file, contents).await
    }
}

async fn try_postgres(place: &Location, file: &Path, contents: &Contents) -> Result<(Vec<String>, i64)> {
    if let Location::Postgres(url) = place {
        backup::put_postgres(url, file).await?;
    }
    try_out(place, file, contents).await
}

/// Counts first what came over, then lets this version start on it: migrations, claims and lists see a real database.
async fn try_out(place: &Location, file: &Path, contents: &Contents) -> Result<(Vec<String>, i64)> {
    if let Some(why) = contents.difference(&backup::contents(place).await?) {
        return Err(BackupError::Damaged { path: file.to_owned(), why: format!("restored, {why}") });
    }
    let migrations = Store::pending_migrations(place).await?;
    let store = Store::open(place, "drill").await?;
    let looked = async {
        store.ping().await?;
        store.list_jobs(&levqor_store::JobFilter { limit: 1, ..Default::default() }).await?;
        store.live_counts().await
    };
    let looked = looked.await;
    store.close().await;
    let live = looked?;
    let unfinished = live.queued + live.undefined + live.scheduled + live.running + live.waiting;
    Ok((migrations, unfinished))
}

/// A folder that goes away with its value. As long as that lives, nobody else gets its lock.
struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    fn make(path: &Path) -> Result<Scratch> {
        use std::os::unix::fs::DirBuilderExt;
        let made = || {
            std::fs::DirBuilder::new().mode(0o700).create(path)?;
            let lock = File::create_new(path.join(LOCK))?;
            lock.try_lock()?;
            Ok(lock)
        };
        match made() {
            Ok(lock) => Ok(Scratch { path: path.to_owned(), _lock: lock }),
            Err(source) => {
                Err(BackupError::File { what: "making the folder", path: path.to_owned(), source })
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a scratch folder is left");
        }
    }
}

/// Takes away the folders of drills that were killed: nobody holds their locks. What cannot be removed stays.
fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let random = name.strip_prefix('.').and_then(|name| name.strip_prefix(DRILL));
        let is_ours =
            random.is_some_and(|text| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let is_dead = || File::open(entry.path().join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_dead() {
            let removed = std::fs::remove_dir_all(entry.path());
            tracing::info!(path = %entry.path().display(), is_removed = removed.is_ok(), "a drill that was killed left a folder");
        }
    }
}
