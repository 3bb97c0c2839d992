//! The folder of backups: who may write there, how a draft becomes a backup, what is too much.
//!
//! Nothing is touched whose name is not exactly one of ours, nor anything that is no plain file. Whatever dies here leaves drafts,
//! which the next one takes away.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use levqor_core::backup::{BackupName, surplus};
use levqor_store::backup::beside;
use sha2::{Digest, Sha256};

use super::{BackupError, Result};

/// The file with the checksum, as `sha256sum --check` reads it.
pub(super) const SUM: &str = ".sha256";
const DRAFT: &str = ".draft-";
const LOCK: &str = ".backups.lock";

/// A backup in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: BackupName,
    pub path: PathBuf,
    pub size_bytes: u64,
    /// As it was when the backup was made; not looked at anew.
    pub sha256: Option<String>,
}

/// The folder, for the one who makes a backup there.
pub(super) struct Folder {
    dir: PathBuf,
    lock: File,
}

/// A file that is not a backup yet; it goes away with its value.
pub(super) struct Draft {
    name: BackupName,
    path: PathBuf,
}

pub(super) struct Kept {
    pub name: BackupName,
    pub path: PathBuf,
    pub size_bytes: u64,
    pub sha256: String,
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { what, path, source }
}

impl Folder {
    /// Makes the folder if it is missing, keeps others out, and takes away what a process left that died at it.
    pub fn open(dir: &Path) -> Result<Folder> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(failed("making the folder", dir))?;
        let path = dir.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let lock = lock.map_err(failed("opening", &path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::Busy(dir.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed("locking", &path)(source)),
        }
        let folder = Folder { dir: dir.to_owned(), lock };
        folder.sweep()?;
        Ok(folder)
    }

    fn sweep(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.dir).map_err(failed("reading", &self.dir))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_draft = name.strip_prefix(DRAFT).is_some_and(|rest| {
                // SQLite may have put files of its own beside the draft.
                ["", "-wal", "-shm", "-journal"].iter().any(|end| {
                    rest.strip_suffix(end)
                        .is_some_and(|name| BackupName::parse(name).is_some() || is_sum(name))
                })
            });
            let is_orphan = is_sum(&name) && !self.dir.join(name.trim_end_matches(SUM)).exists();
            if (is_draft || is_orphan) && is_plain(&entry) {
                std::fs::remove_file(entry.path()).map_err(failed("removing", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// An empty file that its owner alone can read, under a name that is free.
    pub fn draft(&self, mut name: BackupName) -> Result<Draft> {
        while self.dir.join(name.to_string()).exists() {
            name = name.next();
        }
        let path = self.dir.join(format!("{DRAFT}{name}"));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.map_err(failed("writing", &path))?;
        Ok(Draft { name, path })
    }

    /// Gives the draft its name. First the checksum, so that no backup is ever without.
    pub async fn keep(&self, draft: Draft) -> Result<Kept> {
        let (size_bytes, sha256) = digest(&draft.path).await?;
        let path = self.dir.join(draft.name.to_string());
        let sum = beside(&path, SUM);
        let draft_sum = Draft { name: draft.name, path: beside(&draft.path, SUM) };
        let write = || {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft_sum.path)?;
            writeln!(file, "{sha256}  {}", draft.name)?;
            file.sync_all()?;
            std::fs::rename(&draft_sum.path, &sum)?;
            std::fs::rename(&draft.path, &path)?;
            File::open(&self.dir)?.sync_all()
        };
        write().map_err(failed("writing", &path))?;
        Ok(Kept { name: draft.name, path, size_bytes, sha256 })
    }

    /// Deletes what is too much, oldest first; returns the names.
    pub fn prune(&self, keep: usize) -> Result<Vec<String>> {
        let names: Vec<BackupName> = list(&self.dir)?.into_iter().map(|listed| listed.name).collect();
        let mut gone = Vec::new();
        for name in surplus(&names, keep).into_iter().rev() {
            let path = self.dir.join(name.to_string());
            std::fs::remove_file(&path).map_err(failed("removing", &path))?;
            let sum = beside(&path, SUM);
            if let Err(error) = std::fs::remove_file(&sum)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                return Err(failed("removing", &sum)(error));
            }
            gone.push(name.to_string());
        }
        Ok(gone)
    }
}

impl Drop for Folder {
    /// Let go by word and not only by closing: a child process that is just being started holds a copy of the handle until it
    /// runs its program, and the next backup would find the folder taken.
    fn drop(&mut self) {
        // A lock that cannot be let go goes with the handle.
        self.lock.unlock().ok();
    }
}

impl Draft {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It is gone when it became a backup; what cannot be removed is swept by the next one.
        for ending in ["", "-wal", "-shm", "-journal"] {
            std::fs::remove_file(beside(&self.path, ending)).ok();
        }
    }
}

fn is_sum(name: &str) -> bool {
    name.strip_suffix(SUM).is_some_and(|name| BackupName::parse(name).is_some())
}

fn is_plain(entry: &std::fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_file())
}

/// Newest first. A folder that is not there holds nothing.
pub(super) fn list(dir: &Path) -> Result<Vec<Listed>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("reading", dir)(error)),
    };
    let mut found = Vec::new();
    for entry in entries.flatten().filter(is_plain) {
        let Some(name) = entry.file_name().to_str().and_then(BackupName::parse) else { continue };
        let path = entry.path();
        // It may be pruned while we look.
        let Ok(metadata) = entry.metadata() else { continue };
        let sha256 = expected_sum(&path).ok().flatten();
        found.push(Listed { name, path, size_bytes: metadata.len(), sha256 });
    }
    found.sort_by_key(|listed| std::cmp::Reverse(listed.name));
    Ok(found)
}

/// What the file beside it says, if there is one.
pub(super) fn expected_sum(file: &Path) -> Result<Option<String>> {
    let path = beside(file, SUM);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(4096).read_to_string(&mut text));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("reading", &path)(error)),
    }
    let sum = text.split_whitespace().next().unwrap_or_default();
    if sum.len() == 64 && sum.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(Some(sum.to_ascii_lowercase()))
    } else {
        let why = format!("{} holds no SHA-256", path.display());
        Err(BackupError::Damaged { path: file.to_owned(), why })
    }
}

/// Size and SHA-256 of a file.
pub(super) async fn digest(file: &Path) -> Result<(u64, String)> {
    let path = file.to_owned();
    let work = move || {
        let mut file = File::open(&path)?;
        let (mut digest, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 20], 0);
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                count => {
                    digest.update(&buffer[..count]);
                    size += count as u64;
                }
            }
        }
        Ok((size, digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()))
    };
    let outcome =
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
    outcome.map_err(failed("reading", file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use levqor_testkit::TempDir;

    use super::*;

    #[test]
    fn the_folder_is_free_again_at_once_while_children_are_being_started() {
        let dir = TempDir::new();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    Command::new("true").status().unwrap();
                }
            });
            let taken = (0..2_000).filter(|_| Folder::open(&dir.join("backups")).is_err()).count();
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(taken, 0, "of 2,000");
        });
    }
}
