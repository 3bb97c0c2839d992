//! Fetches Debian's PostgreSQL where a fresh machine has none, without the cluster that the package would otherwise make and
//! start.

use super::PostgresError;
use crate::debian;

/// Debian reads every file of this folder before it makes a first cluster.
const SWITCH_FOLDER: &str = "/etc/postgresql-common/createcluster.d";
const SWITCH_FILE: &str = "/etc/postgresql-common/createcluster.d/levqor-testkit.conf";

/// True when [`install`] has a chance.
pub fn is_possible() -> bool {
    debian::is_possible()
}

/// Installs the package `postgresql`; takes a minute or so.
pub fn install() -> Result<(), PostgresError> {
    std::fs::create_dir_all(SWITCH_FOLDER).map_err(PostgresError::Folder)?;
    std::fs::write(SWITCH_FILE, "create_main_cluster = false\n").map_err(PostgresError::Folder)?;
    let installed = debian::install("postgresql");
    // The switch was for this installation alone; what the administrator does later is not ours to decide.
    let _ = std::fs::remove_file(SWITCH_FILE);
    installed.map_err(|output| PostgresError::Failed { program: "apt-get".to_owned(), output })
}
