//! Backups: made, checked, kept, counted out, put back, and tried out. The same for the schedule, the API and the command line.
//!
//! A backup is a file of a known name with its SHA-256 in a file beside it. It gets its name when it is whole, checked and on
//! disk; before that it is a draft that nobody takes for one.

mod folder;
mod restore;
mod schedule;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use levqor_connectors::bucket::Bucket;
use levqor_core::backup::{BackupName, Form, Kind};
use levqor_core::clock::Clock;
use levqor_store::Location;
use levqor_store::backup::{self, Contents, Stop};

use folder::Folder;
pub use folder::Listed;
pub use restore::{Drill, Restored};
pub use schedule::BackupReport;
pub(crate) use schedule::backup_loop;

/// What is backed up, and where to. Holds a URL with a password: never print it.
#[derive(Clone)]
pub struct BackupSettings {
    pub location: Location,
    pub dir: PathBuf,
    /// Of each kind.
    pub keep: usize,
    /// Whether the schedule makes one each day.
    pub is_daily: bool,
    pub bucket: Option<Bucket>,
}

impl std::fmt::Debug for BackupSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupSettings")
            .field("dir", &self.dir)
            .field("keep", &self.keep)
            .finish_non_exhaustive()
    }
}

/// Why there is no backup, or why one cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database, or the copy of it, is not as it should be. Its words name files and what is wrong with them.
    #[error(transparent)]
    Store(#[from] levqor_store::Error),
    #[error("another backup is being made in {}", .0.display())]
    Busy(PathBuf),
    #[error("{what} {} failed", path.display())]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the backup {} is damaged: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("there is no backup in {}", .0.display())]
    None(PathBuf),
    #[error("backups are not set up in this process")]
    Off,
}

pub type Result<T> = std::result::Result<T, BackupError>;

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct Made {
    pub name: BackupName,
    pub path: PathBuf,
    pub size_bytes: u64,
    pub sha256: String,
    pub contents: Contents,
    pub took_ms: u64,
    /// Names of those that were too many.
    pub pruned: Vec<String>,
    /// Whether a checked copy is in the bucket; the reason where it should be and is not.
    pub uploaded: std::result::Result<bool, String>,
}

/// All that can be done with backups.
#[derive(Clone)]
pub struct Backups {
    settings: BackupSettings,
    clock: Arc<dyn Clock>,
}

impl Backups {
    pub fn new(settings: BackupSettings, clock: Arc<dyn Clock>) -> Self {
        Backups { settings, clock }
    }

    pub fn dir(&self) -> &Path {
        &self.settings.dir
    }

    fn name(&self, kind: Kind) -> BackupName {
        let form = match self.settings.location {
            Location::Sqlite(_) => Form::Db,
            Location::Postgres(_) => Form::Dump,
        };
        BackupName::new(kind, form, self.clock.now_ms())
    }

    /// Makes one. After an error nothing is left of it.
    pub async fn create(&self, kind: Kind, stop: &Stop) -> Result<Made> {
        let folder = Folder::open(&self.settings.dir)?;
        self.create_in(folder, kind, stop).await
    }

    async fn create_in(&self, folder: Folder, kind: Kind, stop: &Stop) -> Result<Made> {
        let began = Instant::now();
        let draft = folder.draft(self.name(kind))?;
        let written = backup::copy(&self.settings.location, draft.path(), stop).await?;
        let found = backup::check(draft.path()).await?;
        if let Some(why) = written.difference(&found) {
            return Err(BackupError::Damaged { path: draft.path().to_owned(), why });
        }
        let kept = folder.keep(draft).await?;
        let pruned = folder.prune(self.settings.keep)?;
        let uploaded = self.upload(&kept.path, &kept.name).await;
        Ok(Made {
            name: kept.name,
            path: kept.path,
            size_bytes: kept.size_bytes,
            sha256: kept.sha256,
            contents: found,
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            pruned,
            uploaded,
        })
    }

    /// To the bucket, if there is one: first the file, then its checksum, so that a checksum stands for a whole file there too.
    async fn upload(&self, path: &Path, name: &BackupName) -> std::result::Result<bool, String> {
        let Some(bucket) = &self.settings.bucket else { return Ok(false) };
        let name = name.to_string();
        let sum = backup::beside(path, folder::SUM);
        for (file, name) in [(path, name.clone()), (&sum, format!("{name}{}", folder::SUM))] {
            let sent = bucket.upload(file, &name, self.clock.as_ref()).await;
            sent.map_err(|error| format!("the copy in the bucket failed: {error}"))?;
        }
        Ok(true)
    }

    /// What is in the folder, newest first.
    pub fn list(&self) -> Result<Vec<Listed>> {
        folder::list(&self.settings.dir)
    }

    /// Reads a whole backup, whatever its name, and compares it with the checksum beside it, if there is one.
    pub async fn verify(&self, file: &Path) -> Result<Verified> {
        let checked_sum = match folder::expected_sum(file)? {
            None => false,
            Some(expected) => {
                let (_, found) = folder::digest(file).await?;
                if found != expected {
                    let why =
                        format!("its SHA-256 is {found} and not {expected}, as the file beside it says");
                    return Err(BackupError::Damaged { path: file.to_owned(), why });
                }
                true
            }
        };
        Ok(Verified { contents: backup::check(file).await?, checked_sum })
    }
}

/// A backup that was found whole.
#[derive(Clone, Debug)]
pub struct Verified {
    pub contents: Contents,
    /// Also by its checksum: a flipped bit in a value is found by nothing else.
    pub checked_sum: bool,
}
