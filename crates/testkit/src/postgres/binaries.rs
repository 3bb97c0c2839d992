//! Finds the folder that holds PostgreSQL's server programs: the one on PATH, else the newest of Debian's.

use std::path::{Path, PathBuf};

const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// Debian keeps server programs off PATH, one folder for each version.
const DEBIAN_ROOT: &str = "/usr/lib/postgresql";

/// `None`: this machine has no PostgreSQL server.
#[allow(clippy::disallowed_methods, reason = "PATH is how programs are found")]
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    on_path(std::env::split_paths(&path)).or_else(|| newest(Path::new(DEBIAN_ROOT)))
}

fn on_path(folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    folders.map(|folder| follow(&folder)).find(|folder| is_complete(folder))
}

/// A link to one program leads to the folder where its brothers are.
fn follow(folder: &Path) -> PathBuf {
    let real = std::fs::canonicalize(folder.join("initdb")).ok();
    real.and_then(|initdb| initdb.parent().map(Path::to_owned)).unwrap_or_else(|| folder.to_owned())
}

fn newest(root: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(root).ok()?.flatten();
    versions
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| is_complete(folder))
        .max()
        .map(|(_, folder)| folder)
}

fn is_complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|program| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempDir;

    fn install(root: &TempDir, folder: &str, programs: &[&str]) {
        std::fs::create_dir_all(root.join(folder)).expect("folder");
        for program in programs {
            std::fs::write(root.join(folder).join(program), "").expect("program");
        }
    }

    #[test]
    fn the_newest_complete_version_is_taken() {
        let root = TempDir::new();
        install(&root, "9/bin", &PROGRAMS);
        install(&root, "15/bin", &PROGRAMS);
        install(&root, "17/bin", &["initdb"]);
        install(&root, "latest/bin", &PROGRAMS);

        assert_eq!(newest(root.path()), Some(root.join("15/bin")));
        assert_eq!(newest(&root.join("nowhere")), None);
    }

    #[test]
    fn a_folder_with_the_client_programs_alone_is_no_server() {
        let root = TempDir::new();
        install(&root, "client", &["pg_ctl"]);
        install(&root, "server", &PROGRAMS);

        assert_eq!(on_path([root.join("client")].into_iter()), None);
        let found = on_path([root.join("client"), root.join("server")].into_iter());
        assert_eq!(found, std::fs::canonicalize(root.join("server")).ok());
    }
}
