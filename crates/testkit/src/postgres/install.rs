//! Fetches Debian's PostgreSQL where a fresh machine has none. Only for root, only with apt, and without the cluster that
//! the package would otherwise make and start.

use std::path::Path;
use std::process::Command;

use super::PostgresError;
use super::cluster::{check, is_root};

/// Debian reads every file of this folder before it makes a first cluster.
const SWITCH_FOLDER: &str = "/etc/postgresql-common/createcluster.d";
const SWITCH_FILE: &str = "/etc/postgresql-common/createcluster.d/levqor-testkit.conf";

/// True when [`install`] has a chance.
pub fn is_possible() -> bool {
    is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// Installs the package `postgresql`; takes a minute or so.
pub fn install() -> Result<(), PostgresError> {
    check("apt-get", apt().arg("update"))?;
    std::fs::create_dir_all(SWITCH_FOLDER).map_err(PostgresError::Folder)?;
    std::fs::write(SWITCH_FILE, "create_main_cluster = false\n").map_err(PostgresError::Folder)?;
    let installed = check("apt-get", apt().args(["install", "-y", "--no-install-recommends", "postgresql"]));
    // The switch was for this installation alone; what the administrator does later is not ours to decide.
    let _ = std::fs::remove_file(SWITCH_FILE);
    installed
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=120"]);
    command
}
