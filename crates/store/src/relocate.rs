//! Moves an installation from a SQLite file to PostgreSQL: every table of the file's schema, in one transaction, compared row by row.
//!
//! The list of tables is the file's own, so a table that is added later is moved without a word here. A crash at any moment leaves
//! the target empty and the file as it was.

mod read;

use std::path::Path;

use bytes::Bytes;
use futures_util::{SinkExt, TryStreamExt};
use rusqlite::Connection;
use tokio::sync::mpsc;

use crate::backup::Contents;
use crate::postgres::{self, MIGRATION_LOCK};
use crate::sqlite::backup::tables;
use crate::sqlite::file::{lock, open_to_read, pending_migrations, resolve};
use crate::tx::{Conn, Tx};
use crate::{Error, Result, migrate};
use read::{Column, Kind, Sum};

/// Pieces of rows between the reader of the file and the writer to the server.
const PIECES_AHEAD: usize = 4;
/// In the target they are made by its own migrations.
const MIGRATIONS: &str = "migrations";

/// Everything is in PostgreSQL now.
#[derive(Clone, Debug, Default)]
pub struct Relocated {
    pub contents: Contents,
    /// Values that are no text PostgreSQL can hold (NUL, no UTF-8): a mark stands in their places.
    pub mended: u64,
}

/// How far it got: table, rows of it so far, rows of it in all.
pub type Progress<'a> = dyn Fn(&str, u64, i64) + Send + Sync + 'a;

/// Copies the file to an empty database. Refuses a file that a server uses or that is not of this version, and a target that holds
/// any table.
pub async fn to_postgres(path: &Path, url: &str, progress: &Progress<'_>) -> Result<Relocated> {
    if !path.exists() {
        return Err(Error::Refused { what: format!("there is no database {}", path.display()) });
    }
    let path = resolve(path)?;
    let _lock = lock(&path)?;
    if !pending_migrations(&path)?.is_empty() {
        let what = format!("{} is of an older version; run `levqor migrate` first", path.display());
        return Err(Error::Refused { what });
    }
    let source = open_to_read(&path)?;
    source.execute_batch("begin")?;
    let names = tables(&source)?;

    let mut client = postgres::client(url).await?;
    let transaction = client.transaction().await?;
    let mut tx = Tx::new(Conn::Postgres(&transaction));
    tx.script("set local statement_timeout = 0; set local lock_timeout = 0; set local idle_in_transaction_session_timeout = 0")
        .await?;
    tx.script(MIGRATION_LOCK).await?;
    refuse_unless_empty(&transaction).await?;
    migrate::run(&mut tx).await?;
    drop(tx);

    let (mut relocated, mut source) = (Relocated::default(), source);
    for table in names.iter().filter(|name| *name != MIGRATIONS) {
        let (moved, back) = move_table(source, &transaction, table, progress).await?;
        source = back;
        relocated.mended += moved.mended;
        relocated.contents.rows.insert(table.clone(), i64::try_from(moved.rows).unwrap_or(i64::MAX));
    }
    transaction.commit().await?;
    // Statistics for its planner; it would gather them by itself sooner or later.
    client.batch_execute("set statement_timeout = 0; analyze").await.ok();
    Ok(relocated)
}

async fn refuse_unless_empty(transaction: &deadpool_postgres::Transaction<'_>) -> Result<()> {
    let sql = "select cast(c.relname as text) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
        where n.nspname = current_schema() and c.relkind in ('r', 'p') order by 1 limit 1";
    match transaction.query_opt(sql, &[]).await? {
        None => Ok(()),
        Some(row) => Err(Error::Refused {
            what: format!(
                "the target is not empty: it has `{}`; make a new database or schema, and start no server on it before",
                row.get::<_, String>(0)
            ),
        }),
    }
}

async fn move_table(
    source: Connection,
    transaction: &deadpool_postgres::Transaction<'_>,
    table: &str,
    progress: &Progress<'_>,
) -> Result<(Sum, Connection)> {
    let names = read::column_names(&source, table)?;
    let columns = columns(names, transaction, table).await?;
    let list = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
    let all: i64 =
        source.query_row(&format!("select count(*) from {}", quoted(table)), [], |row| row.get(0))?;
    // What a migration put there is in the file as well. Triggers are about what the program does to a row (some forbid a delete, some
    // count), not about rows that come over with all that was counted.
    let empty = format!("alter table {0} disable trigger user; delete from {0}", quoted(table));
    transaction.batch_execute(&empty).await?;

    let (pieces, mut ahead) = mpsc::channel::<(Bytes, u64)>(PIECES_AHEAD);
    let name = table.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let sum = read::rows(&source, &name, &columns, &pieces);
        (sum, source)
    });
    let copy =
        transaction.copy_in::<_, Bytes>(&format!("copy {} ({list}) from stdin", quoted(table))).await?;
    let mut copy = std::pin::pin!(copy);
    while let Some((piece, rows)) = ahead.recv().await {
        copy.send(piece).await?;
        progress(table, rows, all);
    }
    let (sum, source) = reading.await.map_err(|error| Error::Bug(error.into()))?;
    let sum = sum?;
    copy.finish().await?;
    transaction.batch_execute(&format!("alter table {} enable trigger user", quoted(table))).await?;

    let found = read_back(transaction, table, &list).await?;
    if (found.rows, found.digest) != (sum.rows, sum.digest) {
        let what = format!(
            "{table} differs after the copy: {} rows came from the file, {} are there",
            sum.rows, found.rows
        );
        return Err(Error::bug(what));
    }
    Ok((sum, source))
}

/// The columns of the file's table with their types at the target, in the file's order.
async fn columns(
    names: Vec<String>,
    transaction: &deadpool_postgres::Transaction<'_>,
    table: &str,
) -> Result<Vec<Column>> {
    if transaction
        .query_one("select to_regclass($1)::text", &[&quoted(table)])
        .await?
        .get::<_, Option<String>>(0)
        .is_none()
    {
        let what =
            format!("the file holds the table `{table}`, which is none of Levqor's; take it away first");
        return Err(Error::Refused { what });
    }
    let target = transaction.prepare(&format!("select * from {} limit 0", quoted(table))).await?;
    let columns = names.into_iter().map(|name| {
        let at_target = target.columns().iter().find(|column| column.name() == name);
        let kind = at_target.and_then(|column| Kind::of(column.type_()));
        kind.map(|kind| Column { name: name.clone(), kind }).ok_or_else(|| {
            Error::bug(format!("{table}.{name} has no counterpart on PostgreSQL that can be moved to"))
        })
    });
    columns.collect()
}

/// The same sum, of what is in the target now.
async fn read_back(transaction: &deadpool_postgres::Transaction<'_>, table: &str, list: &str) -> Result<Sum> {
    let mut sum = Sum::default();
    let rows = transaction.copy_out(&format!("copy {} ({list}) to stdout", quoted(table))).await?;
    let mut rows = std::pin::pin!(rows);
    // A message is a row, but nobody promises it.
    let mut rest = Vec::new();
    while let Some(piece) = rows.try_next().await? {
        rest.extend_from_slice(&piece);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            sum.add(&rest[..=end]);
            rest.drain(..=end);
        }
    }
    Ok(sum)
}

fn quoted(name: &str) -> String {
    crate::sqlite::backup::quoted(name)
}
