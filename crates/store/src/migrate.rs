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
    "0006_rate_windows",
    "0007_emails",
    "0008_payments",
    "0009_keys",
    "0010_money",
    "0011_costs",
    "0012_mail_erasures",
    "0013_ai_health",
    "0014_metering",
    "0015_answers",
    "0016_statements",
    "0017_budget_recipients",
    "0018_asks"
];

// Differs because each engine keeps its catalogue elsewhere.
const HAS_TABLE: Sql = Sql::Each {
    sqlite: "select 1 from sqlite_schema where type = 'table' and name = 'migrations'",
    postgres: "select 1 where to_regclass('migrations') is not null",
};

/// Whatever somebody made in a database without our table of migrations: it is another program's. (`users` of the first version
/// is taken over, on SQLite, with its indexes.)
// Differs because each engine keeps its catalogue elsewhere.
const FOREIGN: Sql = Sql::Each {
    sqlite: "select type, name from sqlite_schema where substr(name, 1, 7) <> 'sqlite_'
        and not (type = 'table' and lower(name) = 'users') and not (type = 'index' and lower(tbl_name) = 'users')
        order by type = 'table' desc, name limit 1",
    postgres: FOREIGN_POSTGRES,
};

/// What came with an extension is nobody's data. Another node may just have migrated: one snapshot shows both or neither.
pub(crate) const FOREIGN_POSTGRES: &str = "select
    case relkind when 'v' then 'view' when 'm' then 'view' when 'S' then 'sequence' else 'table' end, relname::text
    from pg_class c where relnamespace = current_schema()::regnamespace and relkind in ('r', 'p', 'f', 'v', 'm', 'S')
    and not exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    and not exists (
        select from pg_class where relnamespace = current_schema()::regnamespace and relname = 'migrations'
    )
    order by relkind = 'S', relname limit 1";

/// The columns that the first version gave its people.
const FIRST_USERS: [&str; 8] =
    ["id", "email", "name", "locale", "currency", "meta", "created_at", "updated_at"];

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
        let rows = tx.query("select name, checksum from migrations order by name", &[]).await;
        for row in rows.map_err(|error| match error {
            Error::Bug(_) => foreign("the table migrations"),
            other => other,
        })? {
            applied.push((row.text(0)?, row.text(1)?));
        }
    } else {
        refuse_foreign(tx).await?;
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
        tx.script(text).await.map_err(|error| briefly(migration.name, error))?;
        let sum = checksum(text);
        tx.execute(
            "insert into migrations (name, checksum) values ($1, $2)",
            &[migration.name.into(), (&sum).into()],
        )
        .await?;
    }
    Ok(())
}

/// Refuses a database that is not ours: to migrate it would mix our tables with those of somebody else.
async fn refuse_foreign(tx: &mut Tx<'_>) -> Result<()> {
    if let Some(row) = tx.query_opt(FOREIGN, &[]).await? {
        return Err(foreign(&format!("the {} {}", row.text(0)?, row.text(1)?)));
    }
    if !tx.is_sqlite() {
        return Ok(());
    }
    let columns = tx.query("select lower(name) from pragma_table_info('users')", &[]).await?;
    let columns = columns.iter().map(|row| row.text(0)).collect::<Result<Vec<_>>>()?;
    let is_missing = |column: &&&str| columns.iter().all(|found| found != **column);
    match FIRST_USERS.iter().find(is_missing) {
        Some(missing) if !columns.is_empty() => {
            Err(foreign(&format!("the table users without a column {missing}")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn foreign(what: &str) -> Error {
    // A name of theirs may be long, or no text for a line.
    let what: String = what.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect();
    Error::Refused {
        what: format!(
            "it belongs to another program: it has {what}, which Levqor did not make; name another one, or an empty one"
        ),
    }
}

/// The driver repeats the whole script in its error; its first words say what is wrong.
fn briefly(name: &str, error: Error) -> Error {
    let Error::Bug(source) = error else { return error };
    let words = source.to_string();
    let line = words.lines().next().unwrap_or_default();
    let line = line.split_once(" in --").map_or(line, |(first, _)| first);
    Error::Refused {
        what: format!("the migration {name} cannot be applied to it, and nothing was changed: {line}"),
    }
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
