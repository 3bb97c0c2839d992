//! Dumps of the database by PostgreSQL's own programs: made in one snapshot, read through to their end, put back in one
//! transaction. Without the programs there is no backup, and the refusal names what to install.
//!
//! Everything in the schema that Levqor works in is in a dump: give Levqor a database or a schema of its own.

mod programs;
mod script;

use std::path::Path;

use tokio_postgres::Client;

use super::connect::{Connector, explain};
use super::url;
use crate::backup::{Contents, Losses, Present, Stop, refused};
use crate::{Error, LEASE_MS, Result, migrate};
use programs::Program;
use script::Dumped;

/// Counting and dumping take as long as they take.
const PATIENT: &str = "set statement_timeout = 0; set idle_in_transaction_session_timeout = 0; set application_name = 'levqor backup'";

/// The tables of the schema that is worked in.
const TABLES: &str = "select cast(c.relname as text) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
    where n.nspname = current_schema() and c.relkind in ('r', 'p') order by 1";

const ALIVE: &str = "select count(*) from nodes where beat_at_ms > (extract(epoch from clock_timestamp()) * 1000)::bigint - $1";

async fn connect(url: &str) -> Result<Client> {
    Connector::new(url)?.connect(PATIENT, None).await.map_err(explain)
}

/// Dumps into `target` what the database holds now.
pub(crate) async fn make(url: &str, target: &Path, stop: &Stop) -> Result<Contents> {
    let client = connect(url).await?;
    // The dump reads in the same snapshot as the counts: a table that differs is a fault, not a job that came in between.
    client.batch_execute("begin isolation level repeatable read, read only").await?;
    let snapshot: String = client.query_one("select pg_export_snapshot()", &[]).await?.get(0);
    let contents = count(&client).await?;
    let schema = schema(&client).await?;
    let arguments = [
        "--format=custom".to_owned(),
        "--no-owner".to_owned(),
        "--no-privileges".to_owned(),
        "--lock-wait-timeout=60s".to_owned(),
        format!("--snapshot={snapshot}"),
        format!("--schema=\"{}\"", schema.replace('"', "\"\"")),
        format!("--file={}", target.display()),
    ];
    Program::Dump.run(&arguments, &url::variables(url)?, stop).await?;
    client.batch_execute("rollback").await?;
    Ok(contents)
}

async fn schema(client: &Client) -> Result<String> {
    let schema: Option<String> = client.query_one("select cast(current_schema() as text)", &[]).await?.get(0);
    schema.ok_or_else(|| Error::Refused {
        what: "the schema that the database's URL names does not exist".to_owned(),
    })
}

async fn count(client: &Client) -> Result<Contents> {
    let mut contents = Contents::default();
    for row in client.query(TABLES, &[]).await? {
        let table: String = row.get(0);
        let sql = format!("select count(*) from \"{}\"", table.replace('"', "\"\""));
        contents.rows.insert(table, client.query_one(&sql, &[]).await?.get(0));
    }
    Ok(contents)
}

pub(crate) async fn contents(url: &str) -> Result<Contents> {
    count(&connect(url).await?).await
}

/// Reads a dump to its end.
pub(crate) async fn check(file: &Path) -> Result<Contents> {
    Ok(read(file).await?.contents)
}

async fn read(file: &Path) -> Result<Dumped> {
    let dumped = script::read(file).await?;
    let known = migrate::names();
    if !dumped.migrations.iter().any(|name| known.contains(name)) {
        return Err(refused(file, "it is a dump of another program's database"));
    }
    if let Some(newer) = dumped.migrations.iter().find(|name| !known.contains(name)) {
        return Err(refused(
            file,
            &format!("it was made by a newer version of this program (it has the migration {newer})"),
        ));
    }
    Ok(dumped)
}

/// What the database has that the dump has not, as far as times of creation tell. Refuses a database that a node works on.
pub(crate) async fn losses(url: &str, file: &Path) -> Result<Present> {
    let client = connect(url).await?;
    refuse_foreign(&client).await?;
    let tables: Vec<String> = client.query(TABLES, &[]).await?.iter().map(|row| row.get(0)).collect();
    if !tables.iter().any(|table| table == "jobs") {
        return Ok(Present::Nothing);
    }
    let alive: i64 = client.query_one(ALIVE, &[&LEASE_MS]).await?.get(0);
    if alive > 0 {
        let what =
            format!("the database is in use: {alive} Levqor nodes work on it; stop them and wait 15 s");
        return Err(Error::Refused { what });
    }
    let dumped = read(file).await?;
    let after = |sql: &'static str, at_ms: i64| {
        let client = &client;
        async move { Ok::<i64, Error>(client.query_one(sql, &[&at_ms]).await?.get(0)) }
    };
    let again = "select count(*) from finished_jobs where id = any ($1)";
    let has_users = tables.iter().any(|table| table == "users");
    let (users, changed_users) = match has_users {
        true => (
            after("select count(*) from users where created_at_ms > $1", dumped.newest_user_ms).await?,
            after(
                "select count(*) from users where updated_at_ms > $1 and created_at_ms <= $1",
                dumped.newest_change_ms,
            )
            .await?,
        ),
        false => (0, 0),
    };
    Ok(Present::Readable(Losses {
        jobs: after("select count(*) from jobs where created_at_ms > $1", dumped.newest_job_ms).await?,
        users,
        changed_users,
        unfinished_jobs: dumped.contents.of("live_jobs"),
        jobs_run_again: client.query_one(again, &[&dumped.live_jobs]).await?.get(0),
    }))
}

/// A restore drops the tables of its names: those of another program are not ours to drop.
async fn refuse_foreign(client: &Client) -> Result<()> {
    match client.query_opt(migrate::FOREIGN_POSTGRES, &[]).await? {
        Some(row) => {
            let (kind, name): (String, String) = (row.get(0), row.get(1));
            Err(migrate::foreign(&format!("the {kind} {name}")))
        }
        None => Ok(()),
    }
}

/// One transaction: after a crash the database is as it was.
pub(crate) async fn restore(url: &str, file: &Path) -> Result<()> {
    let client = connect(url).await?;
    refuse_foreign(&client).await?;
    let schema = schema(&client).await?;
    drop(client);
    let variables = url::variables(url)?;
    let database =
        variables.iter().find(|(name, _)| *name == "PGDATABASE").map_or("", |(_, value)| value.as_str());
    let arguments = [
        "--clean".to_owned(),
        "--if-exists".to_owned(),
        "--single-transaction".to_owned(),
        "--exit-on-error".to_owned(),
        "--no-owner".to_owned(),
        "--no-privileges".to_owned(),
        format!("--schema={schema}"),
        format!("--dbname={database}"),
        file.display().to_string(),
    ];
    Program::Restore.run(&arguments, &variables, &Stop::default()).await
}

/// A database for a drill. A lock under its name is held by a connection for as long as this lives, so that one whose drill
/// was killed is told from one in use; locks are a database's own, so its comment says whose drill it is.
pub struct ScratchDatabase {
    name: String,
    url: String,
    holder: Client,
}

impl ScratchDatabase {
    pub(crate) async fn create(url: &str, name: &str) -> Result<ScratchDatabase> {
        let holder = connect(url).await?;
        let schema = schema(&holder).await?;
        let whose: String =
            holder.query_one("select 'levqor drill of ' || current_database()", &[]).await?.get(0);
        sweep(&holder, &whose).await?;
        holder.query_one("select pg_advisory_lock(hashtext($1))::text", &[&name]).await?;
        let explained = |error: tokio_postgres::Error| {
            let why =
                error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
            Error::Refused { what: format!("a scratch database cannot be made on the server: {why}") }
        };
        let create = format!("create database \"{name}\" template template0");
        holder.batch_execute(&create).await.map_err(explained)?;
        let comment = format!("comment on database \"{name}\" is '{}'", whose.replace('\'', "''"));
        holder.batch_execute(&comment).await.map_err(explained)?;
        let scratch = ScratchDatabase { name: name.to_owned(), url: url::with_database(url, name), holder };
        if schema != "public" {
            let client = Connector::new(&scratch.url)?.connect(PATIENT, None).await?;
            client.batch_execute(&format!("create schema \"{}\"", schema.replace('"', "\"\""))).await?;
        }
        Ok(scratch)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn remove(self) -> Result<()> {
        let drop = format!("drop database if exists \"{}\" with (force)", self.name);
        Ok(self.holder.batch_execute(&drop).await?)
    }
}

/// Takes away what killed drills of this database left. What may not be dropped stays.
async fn sweep(client: &Client, whose: &str) -> Result<()> {
    let left = client
        .query(
            "select datname::text from pg_database where datname ~ '^levqor_drill_[0-9a-f]{16}$' \
             and shobj_description(oid, 'pg_database') = $1",
            &[&whose],
        )
        .await?;
    for row in left {
        let name: String = row.get(0);
        let is_dead: bool =
            client.query_one("select pg_try_advisory_lock(hashtext($1))", &[&name]).await?.get(0);
        if is_dead {
            let dropped =
                client.batch_execute(&format!("drop database if exists \"{name}\" with (force)")).await;
            tracing::info!(
                database = name,
                is_dropped = dropped.is_ok(),
                "a drill that was killed left a database"
            );
            client.query_one("select pg_advisory_unlock(hashtext($1))", &[&name]).await?;
        }
    }
    Ok(())
}
