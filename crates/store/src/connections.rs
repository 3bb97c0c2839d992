//! Stored connections: credentials by name, as sealed texts. This file neither seals nor opens anything.

use std::sync::Arc;

use levqor_core::audit::{Act, Actor};
use serde_json::json;

use crate::tx::{Row, Tx};
use crate::{ConnectionRow, Error, NewConnection, PutConnection, Resealed, Result, Store, audit};

/// More than any team has vendors; a list of them is read as a whole.
pub const MAX_CONNECTIONS: i64 = 1_000;
/// A use is noted only when the last one on record is older: a busy connection costs one write a minute.
const USE_NOTED_EVERY_MS: i64 = 60_000;

macro_rules! columns {
    () => {
        "name, connector, sealed, fingerprint, created_at_ms, updated_at_ms, used_at_ms"
    };
}

const BY_NAME: &str = concat!("select ", columns!(), " from connections where name = $1");
const ALL: &str = concat!("select ", columns!(), " from connections order by name");

/// Of two first inserts at once one finds the row of the other, and goes on as one that came later.
const INSERT: &str = concat!(
    "insert into connections (",
    columns!(),
    ") values ($1, $2, $3, $4, $5, $5, null) on conflict (name) do nothing"
);

/// A change moves `updated_at_ms`, also within the same millisecond and when the clock went back.
const REPLACE: &str = "update connections set sealed = $3, fingerprint = $4, \
    updated_at_ms = case when updated_at_ms < $5 then $5 else updated_at_ms + 1 end where name = $1 and connector = $2";

impl Store {
    /// Stores a connection. One of this name that is there is replaced only if the caller says so, and only by one of the same
    /// connector; else `Conflict`. Returns the row, and whether it is new.
    pub async fn put_connection(
        &self,
        new: NewConnection,
        by: &Actor,
        now_ms: i64,
    ) -> Result<(ConnectionRow, bool)> {
        let act = Act::new(by, "connection.put", &new.name, now_ms);
        let new = Arc::new(new);
        self.write(move |tx| {
            let (new, act) = (new.clone(), act.clone());
            Box::pin(async move {
                let (row, is_new) = put(tx, &new, now_ms).await?;
                let about =
                    json!({"connector": row.connector, "created": is_new, "fingerprint": row.fingerprint});
                audit::append(tx, &act.detail(about)).await?;
                Ok((row, is_new))
            })
        })
        .await
    }

    pub async fn find_connection(&self, name: &str) -> Result<Option<ConnectionRow>> {
        let name = name.to_owned();
        self.read(move |tx| {
            let name = name.clone();
            Box::pin(async move { find(tx, &name).await })
        })
        .await
    }

    /// All of them, by name.
    pub async fn list_connections(&self) -> Result<Vec<ConnectionRow>> {
        self.read(move |tx| {
            Box::pin(async move { tx.query(ALL, &[]).await?.iter().map(read).collect::<Result<Vec<_>>>() })
        })
        .await
    }

    /// `NotFound` if there is none of this name.
    pub async fn delete_connection(&self, name: &str, by: &Actor, now_ms: i64) -> Result<()> {
        let act = Act::new(by, "connection.delete", name, now_ms);
        self.write(move |tx| {
            let act = act.clone();
            Box::pin(async move {
                match tx.execute("delete from connections where name = $1", &[(&act.object).into()]).await? {
                    0 => Err(Error::NotFound { what: "connection" }),
                    _ => audit::append(tx, &act).await,
                }
            })
        })
        .await
    }

    /// Notes that the connection was used, if the last use on record is a minute old. One that is gone by now has no use to note.
    pub async fn note_connection_use(&self, row: &ConnectionRow, now_ms: i64) -> Result<()> {
        // Looked at first: most uses write nothing.
        if row.used_at_ms.is_some_and(|used_at_ms| used_at_ms > now_ms - USE_NOTED_EVERY_MS) {
            return Ok(());
        }
        let name = row.name.clone();
        self.write(move |tx| {
            let name = name.clone();
            Box::pin(async move {
                let sql = "update connections set used_at_ms = $2 where name = $1 and (used_at_ms is null or used_at_ms < $2)";
                tx.execute(sql, &[(&name).into(), now_ms.into()]).await?;
                Ok(())
            })
        })
        .await
    }

    /// Puts other sealed texts in the place of those that were read, all of them or none. `Conflict` when one of them is not
    /// there any more as it was read: then read again. `key_id` is that of the key, for the audit log.
    pub async fn reseal_connections(
        &self,
        resealed: Vec<Resealed>,
        key_id: &str,
        by: &Actor,
        now_ms: i64,
    ) -> Result<()> {
        let act = Act::new(by, "connection.rekey", key_id, now_ms).detail(json!({"count": resealed.len()}));
        let resealed = Arc::new(resealed);
        self.write(move |tx| {
            let (resealed, act) = (resealed.clone(), act.clone());
            Box::pin(async move {
                reseal(tx, &resealed).await?;
                audit::append(tx, &act).await
            })
        })
        .await
    }
}

async fn put(tx: &mut Tx<'_>, new: &NewConnection, now_ms: i64) -> Result<(ConnectionRow, bool)> {
    let NewConnection { name, connector, sealed, fingerprint, put } = new;
    let values = [name.into(), connector.into(), sealed.into(), fingerprint.into(), now_ms.into()];
    let is_new = tx.execute(INSERT, &values).await? == 1;
    if is_new {
        let count = tx.query("select count(*) from connections", &[]).await?;
        if count.first().map_or(Ok(0), |row| row.int(0))? > MAX_CONNECTIONS {
            return Err(Error::Conflict {
                what: format!("at most {MAX_CONNECTIONS} connections can be stored"),
            });
        }
    } else {
        if *put == PutConnection::New {
            let what =
                format!("there is a connection `{name}`; say \"replace\": true to give it other credentials");
            return Err(Error::Conflict { what });
        }
        if tx.execute(REPLACE, &values).await? == 0 {
            let what = format!("the connection `{name}` is one of another connector; delete it first");
            return Err(Error::Conflict { what });
        }
    }
    let row =
        find(tx, name).await?.ok_or_else(|| Error::bug("a connection vanished while it was written"))?;
    Ok((row, is_new))
}

async fn find(tx: &mut Tx<'_>, name: &str) -> Result<Option<ConnectionRow>> {
    tx.query_opt(BY_NAME, &[name.into()]).await?.as_ref().map(read).transpose()
}

async fn reseal(tx: &mut Tx<'_>, resealed: &[Resealed]) -> Result<()> {
    for Resealed { name, before, after } in resealed {
        let sql = "update connections set sealed = $3 where name = $1 and sealed = $2";
        if tx.execute(sql, &[name.into(), before.into(), after.into()]).await? == 0 {
            return Err(Error::Conflict { what: format!("the connection `{name}` was changed meanwhile") });
        }
    }
    Ok(())
}

fn read(row: &Row) -> Result<ConnectionRow> {
    Ok(ConnectionRow {
        name: row.text(0)?,
        connector: row.text(1)?,
        sealed: row.text(2)?,
        fingerprint: row.text(3)?,
        created_at_ms: row.int(4)?,
        updated_at_ms: row.int(5)?,
        used_at_ms: row.opt_int(6)?,
    })
}
