//! PostgreSQL for tests. One cluster serves a whole run (`levqor-testkit-pg run -- …` starts it and names it in
//! `LEVQOR_TEST_DATABASE_URL`); each test makes its own database in it.
//!
//! `binaries` finds the server's programs, `cluster` runs one, `install` fetches Debian's package where there are none.

pub mod binaries;
pub mod cluster;
pub mod install;

use tokio_postgres::{Config, NoTls};

pub use cluster::{Options, Postgres};

/// Names a running server, as a superuser or a role that may create databases.
pub const URL_VARIABLE: &str = "LEVQOR_TEST_DATABASE_URL";

/// What could not be done, in a line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    #[error(
        "PostgreSQL's server programs (initdb, pg_ctl, postgres) were not found: install the package postgresql, or name a \
         running server in LEVQOR_TEST_DATABASE_URL"
    )]
    Missing,
    #[error("PostgreSQL refuses to run as root, and this machine has no user postgres")]
    NoAccount,
    #[error("PostgreSQL's {program} failed: {output}")]
    Failed { program: String, output: String },
    #[error("PostgreSQL's {program} cannot be run")]
    Unrunnable { program: String, source: std::io::Error },
    #[error("the folder of the test cluster cannot be prepared")]
    Folder(#[source] std::io::Error),
}

/// The URL of a new, empty database of the server that `LEVQOR_TEST_DATABASE_URL` names.
///
/// Panics without that variable: a test that needs PostgreSQL fails rather than pass without having looked.
#[allow(
    clippy::disallowed_methods,
    reason = "a test has no Config; the variable is the runner's way to name its server"
)]
pub async fn postgres_url() -> String {
    let Ok(server) = std::env::var(URL_VARIABLE) else {
        panic!(
            "{URL_VARIABLE} is not set: run `make test`, or `levqor-testkit-pg run -- cargo test …`, or name a running \
             PostgreSQL server in it"
        );
    };
    create_database(&server).await
}

/// Makes an empty database on `server_url` and returns its URL. Panics when the server refuses.
pub async fn create_database(server_url: &str) -> String {
    let name = format!("levqor_test_{:016x}", rand::random::<u64>());
    let config: Config = match server_url.parse() {
        Ok(config) => config,
        Err(error) => panic!("{URL_VARIABLE} is no PostgreSQL URL: {error}"),
    };
    let (client, connection) = match config.connect(NoTls).await {
        Ok(pair) => pair,
        Err(error) => panic!("the PostgreSQL server of the tests does not answer: {error:?}"),
    };
    let connection = tokio::spawn(connection);
    // template0, because a copy of template1 fails while anybody is connected to it.
    if let Err(error) = client.batch_execute(&format!("create database {name} template template0")).await {
        panic!("the database {name} cannot be made: {error:?}");
    }
    drop(client);
    let _ = connection.await;
    with_database(server_url, &name)
}

/// `url` with another database name.
fn with_database(url: &str, name: &str) -> String {
    let (url, query) = url.split_once('?').map_or((url, None), |(url, query)| (url, Some(query)));
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}/{name}{query}", &url[..end])
}

/// Every row of every table of a database as text, for tests that look for what must not be there.
pub async fn postgres_rows(url: &str) -> String {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("the database can be reached");
    let serving = tokio::spawn(connection);
    let names =
        "select quote_ident(table_name) from information_schema.tables where table_schema = current_schema()";
    let mut rows = String::new();
    for name in client.query(names, &[]).await.expect("tables can be listed") {
        let name: String = name.get(0);
        for row in
            client.query(&format!("select t::text from {name} t"), &[]).await.expect("a table can be read")
        {
            rows.push_str(row.get(0));
            rows.push('\n');
        }
    }
    drop(client);
    serving.abort();
    rows
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn a_database_name_is_put_into_every_form_of_url() {
        for (url, expected) in [
            ("postgres://127.0.0.1:5432/postgres", "postgres://127.0.0.1:5432/new"),
            ("postgres://u:p@host", "postgres://u:p@host/new"),
            ("postgres://u@host/", "postgres://u@host/new"),
            ("postgresql://u@host/old?sslmode=disable", "postgresql://u@host/new?sslmode=disable"),
        ] {
            assert_eq!(with_database(url, "new"), expected);
        }
    }
}
