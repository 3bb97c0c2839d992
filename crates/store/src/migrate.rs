//! Brings a database to this program's schema: ordered steps in pairs, one text per engine, each applied once and known
//! by name and checksum. The caller holds the transaction and the lock.

use sha2::{Digest, Sha256};

use crate::tx::{Sql, Tx};
use crate::{Error, Result};

pub(crate) struct Migration {
    pub(crate) name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! migrations {
    ($($name:literal),+ $(,)?) => {
        &[$(Migration {
            name: $name,
            sqlite: include_str!(concat!("../migrations/sqlite/", $name, ".sql")),
            postgres: include_str!(concat!("../migrations/postgres/", $name, ".sql")),
        }),+]
    };
}

/// In order. A step that was released is never edited: its checksum is in every database.
const ALL: &[Migration] = migrations![
    "0001_core",
    "0002_users",
    "0003_audit",
    "0004_connections",
    "0005_backups",
    "0006_emails",
    "0007_payments"
];

// Differs because each engine keeps its catalogue elsewhere.
const HAS_TABLE: Sql = Sql::Each {
    sqlite: "select 1 from sqlite_schema where type = 'table' and name = 'migrations'",
    postgres: "select 1 where to_regclass('migrations') is not null",
};

impl Migration {
    fn text(&self, tx: &Tx<'_>) -> &'static str {
        if tx.is_sqlite() { self.sqlite } else { self.postgres }
    }
}

pub(crate) fn names() -> Vec<String> {
    ALL.iter().map(|migration| migration.name.to_owned()).collect()
}

/// What is still to be applied, in order. Refuses a database that a newer program made or another one changed.
pub(crate) async fn pending(tx: &mut Tx<'_>) -> Result<Vec<&'static Migration>> {
    let mut applied = Vec::new();
    if tx.query_opt(HAS_TABLE, &[]).await?.is_some() {
        for row in tx.query("select name, checksum from migrations order by name", &[]).await? {
            applied.push((row.text(0)?, row.text(1)?));
        }
    }
    for (name, sum) in &applied {
        match ALL.iter().find(|migration| migration.name == name) {
            None => {
                return Err(Error::Refused {
                    what: format!(
                        "the database was made by a newer version of this program (it has the migration {name}); use that version"
                    ),
                });
            }
            Some(migration) if checksum(migration.text(tx)) != *sum => {
                return Err(Error::Refused {
                    what: format!(
                        "the database was migrated by another text of {name} than this program's; restore a backup"
                    ),
                });
            }
            Some(_) => {}
        }
    }
    Ok(ALL.iter().filter(|migration| applied.iter().all(|(name, _)| name != migration.name)).collect())
}

/// Applies what is pending.
pub(crate) async fn run(tx: &mut Tx<'_>) -> Result<()> {
    tx.script(
        "create table if not exists migrations (name text not null primary key, checksum text not null)",
    )
    .await?;
    for migration in pending(tx).await? {
        tracing::info!(migration = migration.name, "migrating the database");
        let text = migration.text(tx);
        tx.script(text).await?;
        let sum = checksum(text);
        tx.execute(
            "insert into migrations (name, checksum) values ($1, $2)",
            &[migration.name.into(), (&sum).into()],
        )
        .await?;
    }
    Ok(())
}

fn checksum(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn both_folders_hold_exactly_the_listed_migrations_in_order() {
        for engine in ["sqlite", "postgres"] {
            let folder = format!("{}/migrations/{engine}", env!("CARGO_MANIFEST_DIR"));
            let mut files: Vec<String> = std::fs::read_dir(folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.sort();

            let listed: Vec<String> = ALL.iter().map(|migration| format!("{}.sql", migration.name)).collect();
            assert_eq!(files, listed, "{engine}");
        }
    }
}
