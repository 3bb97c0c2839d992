//! The keys that stored connections are sealed with: `SECRET_KEY`, or a file beside the SQLite file that the first start makes.
//!
//! The file is written once, whole or not at all, for its owner alone. A change of its key writes the new one beside it
//! first, and takes it into use after the database was sealed with it: whenever the process dies, the keys at hand open
//! everything. On PostgreSQL nodes share the key, so it comes from the environment and no file is looked at.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use levqor_core::seal::{Keyring, SealKey};

use crate::config::{Config, Database, Secret};

/// A file that holds more than this holds no key.
const FILE_MAX_BYTES: u64 = 1024;
/// Whoever is not the owner may do nothing with the file.
const OTHERS: u32 = 0o077;

/// Why there are no keys. One line for a person.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("the key file {} cannot be {what}", path.display())]
    Io { path: PathBuf, what: &'static str, source: std::io::Error },
    #[error("the key file {} can be read by others: `chmod 600` it", path.display())]
    Open { path: PathBuf },
    #[error("the key file {} holds no key of 64 hex digits; restore it from where you keep it", path.display())]
    Content { path: PathBuf },
}

/// Where the keys of an installation come from.
pub struct Sealing {
    from_environment: Vec<SealKey>,
    /// Where a file may stand; `None` on PostgreSQL.
    file: Option<KeyFile>,
}

impl Sealing {
    /// Of a database that exists by now.
    pub fn of(config: &Config) -> Sealing {
        let file = match &config.database {
            // The file's own path, whatever links lead to it, as for the lock beside it.
            Database::Sqlite(path) => Some(KeyFile::beside(&path.canonicalize().unwrap_or(path.clone()))),
            Database::Postgres(_) => None,
        };
        let keys = config.secret_key.iter().chain(&config.secret_key_old);
        Sealing { from_environment: keys.filter_map(parsed).collect(), file }
    }

    /// The keys in force; a first start on SQLite without `SECRET_KEY` makes one. `random` is for that.
    pub fn keys(&self, random: [u8; 32]) -> Result<Keyring, KeyFileError> {
        if let (true, Some(file)) = (self.from_environment.is_empty(), &self.file)
            && file.read()?.is_none()
        {
            // A change of the key that was cut short before there was anything to change.
            let key = file.read_next()?.unwrap_or_else(|| SealKey::from_random(random));
            file.write(&key)?;
        }
        self.existing_keys()
    }

    /// The same without making one.
    pub fn existing_keys(&self) -> Result<Keyring, KeyFileError> {
        let mut keys = self.from_environment.clone();
        if let Some(file) = &self.file {
            keys.extend(file.read()?);
            keys.extend(file.read_next()?);
        }
        Ok(Keyring::new(keys))
    }

    /// The file whose key can be changed: there is one where the environment names no key.
    pub fn file(&self) -> Option<&KeyFile> {
        self.file.as_ref().filter(|_| self.from_environment.is_empty())
    }

    /// A file that the environment has replaced.
    pub fn unused_file(&self) -> Option<&Path> {
        let file = self.file.as_ref().filter(|_| !self.from_environment.is_empty())?;
        Some(file.path.as_path()).filter(|path| path.exists())
    }
}

/// Checked when the settings were read.
fn parsed(secret: &Secret) -> Option<SealKey> {
    SealKey::parse(secret.reveal()).ok()
}

/// The key file, and the one that is to replace it.
pub struct KeyFile {
    path: PathBuf,
    next: PathBuf,
}

impl KeyFile {
    fn beside(database: &Path) -> KeyFile {
        KeyFile { path: with_ending(database, ".key"), next: with_ending(database, ".key.next") }
    }

    fn read(&self) -> Result<Option<SealKey>, KeyFileError> {
        read(&self.path)
    }

    fn read_next(&self) -> Result<Option<SealKey>, KeyFileError> {
        read(&self.next)
    }

    fn write(&self, key: &SealKey) -> Result<(), KeyFileError> {
        write(&self.path, key)
    }

    /// The first half of a change: the new key is on disk, beside the one in use. One that an earlier change left is taken.
    pub fn prepare(&self, random: [u8; 32]) -> Result<SealKey, KeyFileError> {
        if let Some(key) = self.read_next()? {
            return Ok(key);
        }
        let key = SealKey::from_random(random);
        write(&self.next, &key)?;
        Ok(key)
    }

    /// The second half, after everything was sealed with the new key: it takes the place of the old one.
    pub fn take_into_use(&self) -> Result<(), KeyFileError> {
        fs::rename(&self.next, &self.path).map_err(failed(&self.path, "replaced"))?;
        sync_folder(&self.path)
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut text = OsString::from(path);
    text.push(ending);
    text.into()
}

fn failed(path: &Path, what: &'static str) -> impl FnOnce(std::io::Error) -> KeyFileError {
    let path = path.to_path_buf();
    move |source| KeyFileError::Io { path, what, source }
}

fn read(path: &Path) -> Result<Option<SealKey>, KeyFileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(path, "read")(error)),
    };
    let about = file.metadata().map_err(failed(path, "read"))?;
    if about.mode() & OTHERS != 0 {
        return Err(KeyFileError::Open { path: path.to_path_buf() });
    }
    let mut text = String::new();
    file.take(FILE_MAX_BYTES).read_to_string(&mut text).map_err(failed(path, "read"))?;
    let key = SealKey::parse(&text).map_err(|_| KeyFileError::Content { path: path.to_path_buf() })?;
    Ok(Some(key))
}

/// Whole or not at all: written beside its place, synced, moved there. One process owns the database, so nobody else writes.
fn write(path: &Path, key: &SealKey) -> Result<(), KeyFileError> {
    let scratch = with_ending(path, ".tmp");
    match fs::remove_file(&scratch) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed(&scratch, "written")(error));
        }
        _ => {}
    }
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&scratch).and_then(|mut file| {
            file.write_all(format!("{}\n", key.to_text().expose()).as_bytes())?;
            file.sync_all()
        });
    written.and_then(|()| fs::rename(&scratch, path)).map_err(failed(path, "written"))?;
    sync_folder(path)
}

fn sync_folder(path: &Path) -> Result<(), KeyFileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(path, "written"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use levqor_testkit::TempDir;

    use super::*;

    fn sealing(dir: &TempDir, vars: &[(&str, &str)]) -> Sealing {
        let path = dir.join("levqor.db");
        fs::write(&path, "").unwrap();
        let mut map = BTreeMap::from([("SQLITE_PATH".to_owned(), path.display().to_string())]);
        map.extend(vars.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        Sealing::of(&Config::from_map(&map).unwrap())
    }

    fn random(first: u8) -> [u8; 32] {
        std::array::from_fn(|at| at as u8 ^ first)
    }

    fn id(keys: &Keyring) -> String {
        keys.newest().unwrap().id()
    }

    const KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
    const OLD: &str = "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn the_first_start_makes_a_file_that_only_its_owner_reads_and_later_ones_read_it() {
        let dir = TempDir::new();
        assert_eq!(sealing(&dir, &[]).existing_keys().unwrap(), Keyring::default());

        let made = sealing(&dir, &[]).keys(random(7)).unwrap();

        assert_eq!(made, Keyring::new([SealKey::from_random(random(7))]));
        assert_eq!(sealing(&dir, &[]).keys(random(8)).unwrap(), made);
        let mode = fs::metadata(dir.join("levqor.db.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(!dir.join("levqor.db.key.tmp").exists());
    }

    #[test]
    fn a_file_that_others_read_or_that_holds_no_key_stops_the_start() {
        let dir = TempDir::new();
        sealing(&dir, &[]).keys(random(1)).unwrap();
        let path = dir.join("levqor.db.key");
        let error = |mode: u32, text: Option<&str>| {
            text.iter().for_each(|text| fs::write(&path, text).unwrap());
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            sealing(&dir, &[]).keys([8; 32]).unwrap_err().to_string()
        };

        for mode in [0o640, 0o604, 0o660, 0o777] {
            assert!(error(mode, None).contains("chmod 600"), "{mode:o}");
        }
        for text in ["", "canary", &"x".repeat(100_000)] {
            let told = error(0o600, Some(text));
            assert!(told.contains("holds no key") && !told.contains("canary"), "{told}");
        }
    }

    #[test]
    fn the_environment_comes_first_and_the_file_still_opens() {
        let dir = TempDir::new();
        let vars = [("SECRET_KEY", KEY), ("SECRET_KEY_OLD", OLD)];
        let alone = sealing(&dir, &vars).keys([7; 32]).unwrap();
        assert_eq!(alone, Keyring::new([KEY, OLD].map(|text| SealKey::parse(text).unwrap())));
        assert!(!dir.join("levqor.db.key").exists(), "no key is made that nobody needs");

        let own = sealing(&dir, &[]).keys(random(1)).unwrap();
        let both = sealing(&dir, &vars);
        let keys = both.keys([9; 32]).unwrap();
        assert_eq!(id(&keys), id(&alone));
        assert!(keys.knows(&format!("x1.{}.x", id(&own))));
        assert!(both.file().is_none() && both.unused_file().is_some());
    }

    #[test]
    fn a_change_that_is_cut_short_at_any_point_leaves_keys_that_open_everything() {
        let dir = TempDir::new();
        let before = id(&sealing(&dir, &[]).keys(random(1)).unwrap());
        let knows = |key: &str| sealing(&dir, &[]).keys(random(9)).unwrap().knows(&format!("x1.{key}.x"));

        let after = sealing(&dir, &[]).file().unwrap().prepare(random(2)).unwrap().id();
        assert!(knows(&before) && knows(&after));
        assert_eq!(
            id(&sealing(&dir, &[]).keys(random(9)).unwrap()),
            before,
            "the old one seals until the end"
        );
        let again = sealing(&dir, &[]).file().unwrap().prepare(random(3)).unwrap().id();
        assert_eq!(again, after, "begun again, the change goes on with the same key");

        sealing(&dir, &[]).file().unwrap().take_into_use().unwrap();
        assert_eq!(id(&sealing(&dir, &[]).keys(random(9)).unwrap()), after);
        assert!(!knows(&before));
    }
}
