//! One transaction, whichever engine runs it: how statements that are the same on both are written once.
//!
//! Statements use `$1` placeholders and what both engines understand; where the engines truly differ two texts stand
//! side by side in [`Sql`] with a comment "Differs because …". On SQLite the async functions never pend.
//! Must not: begin, commit or retry anything; that is the engines' business.

mod row;
mod value;

use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;
use rusqlite::Connection;
use tokio_postgres::types::ToSql;

pub(crate) use row::Row;
pub(crate) use value::Value;

use crate::postgres::Session;
use crate::wake::Effects;
use crate::{Error, Result};

/// Where a statement goes.
pub(crate) enum Conn<'a> {
    /// The mutex is never contended: it only makes the reference `Send`, so that one future fits both engines.
    Sqlite(&'a Mutex<Connection>),
    Postgres(&'a deadpool_postgres::Transaction<'a>),
    /// A lane on which its owner has begun a transaction, and ends it.
    PostgresLane(&'a mut Session),
    /// Outside a transaction, for reads: each statement sees its own snapshot.
    PostgresRead(&'a deadpool_postgres::ClientWrapper),
}

/// An open transaction (or, for reads, a connection) and what must be told to others once it is committed.
pub(crate) struct Tx<'a> {
    conn: Conn<'a>,
    /// Delivered by the engine after the commit, dropped with a rollback.
    pub(crate) effects: Effects,
}

/// A statement, or the two texts of one.
#[derive(Clone, Copy)]
pub(crate) enum Sql {
    Both(&'static str),
    Each { sqlite: &'static str, postgres: &'static str },
}

impl From<&'static str> for Sql {
    fn from(text: &'static str) -> Self {
        Sql::Both(text)
    }
}

impl<'a> Tx<'a> {
    pub(crate) fn new(conn: Conn<'a>) -> Self {
        Tx { conn, effects: Effects::default() }
    }

    /// The connection itself, for tests that make it fail.
    #[cfg(test)]
    pub(crate) fn sqlite(&self) -> &'a Mutex<Connection> {
        match self.conn {
            Conn::Sqlite(conn) => conn,
            Conn::Postgres(_) | Conn::PostgresLane(_) | Conn::PostgresRead(_) => {
                panic!("not a SQLite transaction")
            }
        }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self.conn, Conn::Sqlite(_))
    }

    fn text(&self, sql: Sql) -> &'static str {
        match sql {
            Sql::Both(text) => text,
            Sql::Each { sqlite, postgres } => {
                if self.is_sqlite() {
                    sqlite
                } else {
                    postgres
                }
            }
        }
    }

    /// All rows.
    pub(crate) async fn query(&mut self, sql: impl Into<Sql>, values: &[Value<'_>]) -> Result<Vec<Row>> {
        let text = self.text(sql.into());
        let rows = match &mut self.conn {
            Conn::Sqlite(conn) => return query_sqlite(&lock(conn), text, values),
            Conn::Postgres(tx) => {
                tx.query(&tx.prepare_cached(text).await?, &value::parameters(values)).await?
            }
            Conn::PostgresLane(session) => session.query(text, &value::parameters(values)).await?,
            Conn::PostgresRead(client) => {
                client.query(&client.prepare_cached(text).await?, &value::parameters(values)).await?
            }
        };
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }

    /// The one row, if there is one; more than one is a bug.
    pub(crate) async fn query_opt(
        &mut self,
        sql: impl Into<Sql>,
        values: &[Value<'_>],
    ) -> Result<Option<Row>> {
        let mut rows = self.query(sql, values).await?;
        match rows.len() {
            0 | 1 => Ok(rows.pop()),
            n => Err(Error::bug(format!("{n} rows where one was expected"))),
        }
    }

    /// How many rows were changed.
    pub(crate) async fn execute(&mut self, sql: impl Into<Sql>, values: &[Value<'_>]) -> Result<u64> {
        let text = self.text(sql.into());
        match &mut self.conn {
            Conn::Sqlite(conn) => execute_sqlite(&lock(conn), text, values),
            Conn::Postgres(tx) => {
                Ok(tx.execute(&tx.prepare_cached(text).await?, &value::parameters(values)).await?)
            }
            Conn::PostgresLane(session) => {
                let statement = session.prepare(text).await?;
                Ok(session.client().execute(&statement, &value::parameters(values)).await?)
            }
            Conn::PostgresRead(_) => Err(Error::bug("a write outside a transaction".to_owned())),
        }
    }

    /// Statements of one list each, in their order; how many rows each changed. On a lane none waits for the answer to the one
    /// before, so that all of them cost one round trip; after an error nothing of the transaction can be kept anyway.
    pub(crate) async fn execute_together(&mut self, statements: &[(Sql, String)]) -> Result<Vec<u64>> {
        let texts: Vec<&'static str> = statements.iter().map(|(sql, _)| self.text(*sql)).collect();
        let lists = statements.iter().map(|(_, list)| list);
        if let Conn::PostgresLane(session) = &mut self.conn {
            let mut prepared = Vec::with_capacity(texts.len());
            for text in texts {
                prepared.push(session.prepare(text).await?);
            }
            let values: Vec<[&(dyn ToSql + Sync); 1]> = lists.map(|list| [list as _]).collect();
            let running = prepared.iter().zip(&values);
            let client = session.client();
            return Ok(
                try_join_all(running.map(|(statement, values)| client.execute(statement, values))).await?
            );
        }
        let mut changed = Vec::with_capacity(statements.len());
        for (text, list) in texts.into_iter().zip(lists) {
            changed.push(self.execute(text, &[list.into()]).await?);
        }
        Ok(changed)
    }

    /// Runs a text of many statements, for migrations.
    pub(crate) async fn script(&mut self, text: &str) -> Result<()> {
        match &self.conn {
            Conn::Sqlite(conn) => Ok(lock(conn).execute_batch(text)?),
            Conn::Postgres(tx) => Ok(tx.batch_execute(text).await?),
            Conn::PostgresLane(session) => Ok(session.client().batch_execute(text).await?),
            Conn::PostgresRead(_) => Err(Error::bug("a script outside a transaction".to_owned())),
        }
    }
}

/// A panic while the lock was held left no broken value behind: SQLite's own state is rolled back by the writer.
pub(crate) fn lock(conn: &Mutex<Connection>) -> std::sync::MutexGuard<'_, Connection> {
    conn.lock().unwrap_or_else(PoisonError::into_inner)
}

fn bind_sqlite(statement: &mut rusqlite::CachedStatement<'_>, values: &[Value<'_>]) -> Result<()> {
    for (position, value) in values.iter().enumerate() {
        // SQLite numbers `$1` by its first appearance in the text, so the name is looked up.
        let name = value::PLACEHOLDERS[position];
        match statement.parameter_index(name)? {
            Some(index) => statement.raw_bind_parameter(index, value)?,
            None => return Err(Error::bug(format!("the statement has no {name}"))),
        }
    }
    if statement.parameter_count() != values.len() {
        return Err(Error::bug(format!(
            "{} values for {} places",
            values.len(),
            statement.parameter_count()
        )));
    }
    Ok(())
}

fn query_sqlite(conn: &Connection, text: &str, values: &[Value<'_>]) -> Result<Vec<Row>> {
    let mut statement = conn.prepare_cached(text)?;
    let columns = statement.column_count();
    bind_sqlite(&mut statement, values)?;
    let mut found = statement.raw_query();
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let cells = (0..columns).map(|column| Ok(row::cell(row.get_ref(column)?))).collect::<Result<_>>()?;
        rows.push(Row::Sqlite(cells));
    }
    Ok(rows)
}

fn execute_sqlite(conn: &Connection, text: &str, values: &[Value<'_>]) -> Result<u64> {
    let mut statement = conn.prepare_cached(text)?;
    bind_sqlite(&mut statement, values)?;
    Ok(statement.raw_execute()? as u64)
}
