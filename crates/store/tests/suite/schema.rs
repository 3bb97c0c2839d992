//! The two schemas are one: the migrations of each engine add up to the same tables.

use levqor_store::{Location, Store};

use crate::world::*;

impl World {
    /// Every column: `table.column type [not null]`, sorted.
    async fn columns(&self) -> Vec<String> {
        let mut columns = match &self.location {
            Location::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).unwrap();
                let sql = "select t.name || '.' || c.name || ' ' || lower(c.type) || iif(c.\"notnull\", ' not null', '') \
                    from sqlite_schema t join pragma_table_info(t.name) c where t.type = 'table' and t.name not like 'sqlite%'";
                let mut statement = conn.prepare(sql).unwrap();
                let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
                rows.map(|row| row.unwrap().replace("integer", "bigint")).collect::<Vec<_>>()
            }
            Location::Postgres(url) => {
                let sql = "select table_name || '.' || column_name || ' ' || data_type || \
                    case is_nullable when 'NO' then ' not null' else '' end \
                    from information_schema.columns where table_schema = 'public'";
                run_postgres(url, sql).await.iter().map(|row| row.get(0)).collect()
            }
        };
        columns.sort();
        columns
    }

    /// Every index that is not a primary key, sorted.
    async fn indexes(&self) -> Vec<String> {
        let mut indexes: Vec<String> = match &self.location {
            Location::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).unwrap();
                let mut statement = conn
                    .prepare("select name from sqlite_schema where type = 'index' and sql is not null")
                    .unwrap();
                let rows = statement.query_map([], |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            }
            Location::Postgres(url) => {
                let sql = "select cast(indexname as text) from pg_indexes where schemaname = 'public' \
                    and indexname not like '%_pkey'";
                run_postgres(url, sql).await.iter().map(|row| row.get(0)).collect()
            }
        };
        indexes.sort();
        indexes
    }
}

each_engine! {
    async fn the_migrations_add_up_to_the_schema_on_record(world: World) {
        let recorded: Vec<&str> = include_str!("schema.txt").lines().filter(|line| !line.starts_with("--")).collect();

        // PostgreSQL alone has other nodes; these tables are theirs.
        let theirs = ["nodes.", "rate_windows.", "ai_minutes."];
        let skip = |line: &String| !theirs.iter().any(|table| line.starts_with(table));
        let found: Vec<_> = world.columns().await.into_iter().filter(skip).chain(world.indexes().await).collect();

        assert_eq!(found, recorded, "write the new schema to schema.txt if it is meant:\n{}", found.join("\n"));
    }

    async fn a_database_that_is_up_to_date_has_nothing_pending(world: World) {
        assert_eq!(Store::pending_migrations(&world.location).await.unwrap(), Vec::<String>::new());
    }

    async fn a_database_of_a_newer_program_is_refused(world: World) {
        let sql = "insert into migrations (name, checksum) values ('9999_future', 'x')";
        match &world.location {
            Location::Sqlite(path) => {
                rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap();
            }
            Location::Postgres(url) => {
                run_postgres(url, sql).await;
            }
        }
        let World { store, location, dir: _dir } = world;
        store.close().await;
        drop(store);

        let refused = Store::open(&location, "node-2").await.err().unwrap().to_string();

        assert!(refused.contains("newer version") && refused.contains("9999_future"), "{refused}");
        assert!(Store::pending_migrations(&location).await.is_err());
    }
}
