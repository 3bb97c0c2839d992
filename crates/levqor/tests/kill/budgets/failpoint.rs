//! Moments inside a transaction of a node: a trigger of the test's own makes the insert into the ledger slow, so the node can
//! be killed between its first write and its commit. Nothing of this is in the program.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use levqor_store::Location;
use levqor_testkit::wait_until;

/// While `failpoint` holds a kind of movement, whoever writes one stays where it is: for as long as a test could need on
/// SQLite, where the dead let go at once, and for two seconds on PostgreSQL, where the server sees the dead only afterwards.
const ON_SQLITE: &str = "create table failpoint (kind text not null); \
    create view ages as with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000000000) select count(*) from n; \
    create trigger failpoint before insert on cost_ledger when exists (select 1 from failpoint where kind = new.kind) \
    begin select * from ages; end";
const ON_POSTGRES: &str = "create table failpoint (kind text not null); \
    create function failpoint() returns trigger language plpgsql as $$ begin \
      if exists (select from failpoint where kind = new.kind) then perform pg_sleep(2); end if; return new; end $$; \
    create trigger failpoint before insert on cost_ledger for each row execute function failpoint()";

const INSIDE_LIMIT: Duration = Duration::from_secs(40);

pub struct Failpoint(Location);

impl Failpoint {
    /// In a database that has its tables.
    pub async fn install(location: &Location) -> Failpoint {
        let failpoint = Failpoint(location.clone());
        failpoint
            .execute(if matches!(location, Location::Sqlite(_)) { ON_SQLITE } else { ON_POSTGRES })
            .await;
        failpoint
    }

    /// The next transaction that writes such a movement does not come to its end.
    pub async fn arm(&self, kind: &str) {
        self.execute(&format!("insert into failpoint values ('{kind}')")).await;
    }

    pub async fn disarm(&self) {
        self.execute("delete from failpoint").await;
    }

    /// Waits until a node is inside of such a transaction.
    pub async fn inside(&self) {
        match &self.0 {
            Location::Sqlite(file) => {
                let other = rusqlite::Connection::open(file).unwrap();
                other.busy_timeout(Duration::ZERO).unwrap();
                let looks = AtomicUsize::new(0);
                // Any other transaction is over in a moment; a hundred looks are half a second and more.
                wait_until(INSIDE_LIMIT, async || {
                    let is_held = other.execute_batch("begin immediate; rollback").is_err();
                    let held = if is_held { looks.load(Ordering::Relaxed) + 1 } else { 0 };
                    looks.store(held, Ordering::Relaxed);
                    held == 100
                })
                .await;
            }
            Location::Postgres(url) => {
                let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                let asleep = "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'";
                wait_until(INSIDE_LIMIT, async || {
                    client.query_one(asleep, &[]).await.unwrap().get::<_, i64>(0) > 0
                })
                .await;
            }
        }
    }

    async fn execute(&self, sql: &str) {
        match &self.0 {
            Location::Sqlite(file) => {
                let open = rusqlite::Connection::open(file).unwrap();
                open.busy_timeout(Duration::from_secs(10)).unwrap();
                open.execute_batch(sql).unwrap();
            }
            Location::Postgres(url) => {
                let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                client.batch_execute(sql).await.unwrap();
            }
        }
    }
}
