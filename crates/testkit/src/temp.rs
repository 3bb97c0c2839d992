//! A folder that lives as long as its value. Removing it is best effort: a leftover in the temporary folder of the machine
//! must not turn a passed test into a failed one.

use std::path::{Path, PathBuf};

/// A new empty folder, readable by its owner alone, removed on drop.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
}

impl TempDir {
    /// Panics when the machine's temporary folder cannot be written: no test can go on without it.
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("levqor-test-{:016x}", rand::random::<u64>()));
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        if let Err(error) = builder.create(&path) {
            panic!("cannot make the folder {}: {error}", path.display());
        }
        Self { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of `name` inside the folder.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
