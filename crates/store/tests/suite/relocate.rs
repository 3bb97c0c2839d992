//! The move from a SQLite file to PostgreSQL: every table, every kind of job, nothing lost, nothing half.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use levqor_core::job::StepStatus;
use levqor_core::state::State;
use levqor_store::relocate::to_postgres;
use levqor_store::{Error, Location, Store};
use levqor_testkit::postgres_url;

use crate::world::*;

fn quiet(_: &str, _: u64, _: i64) {}

async fn refusal(path: &Path, url: &str) -> String {
    match to_postgres(path, url, &quiet).await {
        Err(Error::Refused { what }) => what,
        other => panic!("{other:?}"),
    }
}

/// A file that was closed, and the target for it.
async fn closed(world: World) -> (levqor_testkit::TempDir, std::path::PathBuf, String) {
    let World { store, dir, .. } = world;
    store.close().await;
    drop(store);
    let path = dir.join("levqor.db");
    (dir, path, postgres_url().await)
}

/// One row for a table, by the types of its columns, where tests put none.
fn fill(conn: &rusqlite::Connection, table: &str) {
    let sql: String =
        conn.query_row("select sql from sqlite_schema where name = ?1", [table], |row| row.get(0)).unwrap();
    let mut statement = conn.prepare("select name, lower(type) from pragma_table_info(?1)").unwrap();
    let columns = statement.query_map([table], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let columns: Vec<(String, String)> = columns.map(Result::unwrap).collect();
    let names: Vec<&str> = columns.iter().map(|(name, ..)| name.as_str()).collect();
    // Where a constraint lists words, one of them; a value that may be missing is once there and once not.
    let word = |name: &str, choice: usize| {
        let list = sql.split(&format!("{name} in (")).nth(1).and_then(|rest| rest.split(')').next());
        let words: Vec<&str> = list.map_or_else(|| vec!["'x\\\ty'"], |list| list.split(", ").collect());
        words[choice % words.len()].to_owned()
    };
    // Those that a constraint looks at: there or not.
    let is_watched =
        |name: &str| ["is null", "is not null"].iter().any(|end| sql.contains(&format!("{name} {end}")));
    let optional: Vec<&str> =
        columns.iter().map(|(name, ..)| name.as_str()).filter(|name| is_watched(name)).collect();
    let combinations =
        (0..8_usize).flat_map(|choice| (0..1_usize << optional.len().min(8)).map(move |mask| (choice, mask)));
    let tries = combinations.map(|(choice, mask)| {
        let is_missing = |name: &str| {
            optional.iter().position(|known| *known == name).is_some_and(|at| mask >> at & 1 == 1)
        };
        let values: Vec<String> = columns
            .iter()
            .map(|(name, kind)| match kind.as_str() {
                _ if is_missing(name) => "null".to_owned(),
                "text" => word(name, choice),
                "integer" | "boolean" => "1".to_owned(),
                "blob" => "x'00ff'".to_owned(),
                other => panic!("{table}.{name} has the type {other}: the move does not know it"),
            })
            .collect();
        conn.execute(
            &format!("insert into {table} ({}) values ({})", names.join(", "), values.join(", ")),
            [],
        )
    });
    let mut failure = String::new();
    for tried in tries {
        match tried {
            Ok(_) => return,
            Err(error) => failure = error.to_string(),
        }
    }
    panic!("{table} has no row to be moved, and none can be guessed: put one into this test ({failure})");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_table_is_moved_to_the_last_row_and_byte() {
    let world = World::sqlite().await;
    world.finished_with_callback("example.com", NOON).await;
    world
        .put(levqor_core::job::NewJob {
            payload: "{\"a\":\"\\\\ \\t ä \u{1f980}\"}".to_owned(), ..job(NOON)
        })
        .await;
    let (_dir, path, url) = closed(world).await;
    let conn = rusqlite::Connection::open(&path).unwrap();
    let mut statement = conn
        .prepare("select name from sqlite_schema where type = 'table' and name not like 'sqlite%' and name <> 'migrations'")
        .unwrap();
    let tables: Vec<String> =
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let count = |table: &str| {
        conn.query_row(&format!("select count(*) from {table}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    // Its columns depend on each other, which nobody can guess.
    conn.execute(
        "insert into email_tries (id, job_id, step, attempt, at_ms, sender, subject, provider, outcome)
         values ('t', 'j', 's', 1, 1, 'support', 'x', 'resend', 'sending')",
        [],
    )
    .unwrap();
    for table in tables.iter().filter(|table| count(table) == 0) {
        fill(&conn, table);
    }
    let expected: BTreeMap<String, i64> = tables.iter().map(|table| (table.clone(), count(table))).collect();
    assert!(expected.len() > 14 && expected.values().all(|rows| *rows > 0), "{expected:?}");

    let relocated = to_postgres(&path, &url, &quiet).await.unwrap();

    assert_eq!((relocated.contents.rows, relocated.mended), (expected.clone(), 0));
    for (table, rows) in &expected {
        assert_eq!(
            run_postgres(&url, &format!("select count(*) from {table}")).await[0].get::<_, i64>(0),
            *rows,
            "{table}"
        );
    }
    let switched_off = "select count(*) from pg_trigger where tgenabled = 'D'";
    assert_eq!(run_postgres(&url, switched_off).await[0].get::<_, i64>(0), 0, "triggers work again");
    let payloads = run_postgres(&url, "select payload from jobs order by id").await;
    let theirs: Vec<String> = payloads.iter().map(|row| row.get(0)).collect();
    let mut statement = conn.prepare("select payload from jobs order by id").unwrap();
    let ours: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(theirs, ours);
    assert_eq!(Store::pending_migrations(&Location::Postgres(url)).await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_in_every_state_go_on_where_they_were() {
    let world = World::sqlite().await;
    let queued = world.put(job(NOON)).await;
    let scheduled = world.put(levqor_core::job::NewJob { run_at_ms: Some(NOON + HOUR), ..job(NOON) }).await;
    let lost = world.put(undefined("nobody", NOON)).await;
    let ran = world.claim_one(NOON).await;
    assert_eq!(ran.id, queued);
    world.record(&ran, vec![step("one", 1, StepStatus::Succeeded, NOON)], succeeded(NOON)).await;
    let failing = world.put(job(NOON)).await;
    let claimed = world.claim_one(NOON).await;
    world.record(&claimed, Vec::new(), failed(NOON)).await;
    let running = world.put(job(NOON)).await;
    world.claim_one(NOON).await;
    let due = world.finished_with_callback("example.com", NOON).await;
    let (_dir, path, url) = closed(world).await;
    let again = Store::open(&Location::Sqlite(path.clone()), "node-1").await.unwrap();
    let before = [
        again.find_job(queued).await.unwrap(),
        again.find_job(failing).await.unwrap(),
        again.find_job(due).await.unwrap(),
    ];
    again.close().await;
    drop(again);

    to_postgres(&path, &url, &quiet).await.unwrap();

    let location = Location::Postgres(url);
    let world = World {
        store: Store::open(&location, "node-9").await.unwrap(),
        location,
        dir: levqor_testkit::TempDir::new(),
    };
    let after = [
        world.store.find_job(queued).await.unwrap(),
        world.store.find_job(failing).await.unwrap(),
        world.store.find_job(due).await.unwrap(),
    ];
    assert_eq!(after, before);
    let states = [(scheduled, State::Scheduled), (lost, State::Undefined), (running, State::Queued)];
    for (id, state) in states {
        assert_eq!(world.state(id).await, state);
    }
    assert_eq!(world.claim_one(NOON).await.id, running);
    let callbacks = world.store.claim_callbacks(10, &any_room(), NOON + HOUR).await.unwrap();
    assert_eq!(callbacks.iter().map(|claimed| claimed.callback.job_id).collect::<Vec<_>>(), [due]);
    assert_eq!(world.store.move_due(NOON + HOUR, 10).await.unwrap().0, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_moved_is_refused_and_nothing_is_changed() {
    let world = World::sqlite().await;
    world.put(job(NOON)).await;
    let path = world.dir.join("levqor.db");
    let url = postgres_url().await;
    assert!(refusal(&path, &url).await.contains("another Levqor process is using it"));
    assert!(refusal(Path::new("/no/such.db"), &url).await.contains("there is no database /no/such.db"));
    let (_dir, path, _) = closed(world).await;

    let used = World::postgres().await;
    let Location::Postgres(theirs) = used.location.clone() else { unreachable!() };
    assert!(refusal(&path, &theirs).await.contains("the target is not empty"));
    run_postgres(&url, "create table songs (name text)").await;
    let what = refusal(&path, &url).await;
    assert!(what.contains("the target is not empty: it has `songs`"), "{what}");
    assert_eq!(
        run_postgres(&url, "select count(*) from pg_tables where schemaname = 'public'").await[0]
            .get::<_, i64>(0),
        1
    );

    let what = refusal(&path, "postgres://me:hunter2@127.0.0.1:9/x?bad=hunter2").await;
    assert!(!what.contains("hunter2"), "{what}");
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute_batch("create table songs (name text)").unwrap();
    let what = refusal(&path, &postgres_url().await).await;
    assert!(what.contains("`songs`, which is none of Levqor's"), "{what}");
    conn.execute_batch("drop table songs").unwrap();
    drop(conn);
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute("delete from migrations where name <> '0001_core'", [])
        .unwrap();
    assert!(refusal(&path, &postgres_url().await).await.contains("levqor migrate"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_ends_in_the_middle_leaves_the_target_empty() {
    let world = World::sqlite().await;
    world.store.intake_many((0..3_000).map(|_| job(NOON)).collect()).await.unwrap();
    let (_dir, path, url) = closed(world).await;
    let began = std::sync::Arc::new(AtomicBool::new(false));

    let seen = began.clone();
    let (from, to) = (path.clone(), url.clone());
    let moving = tokio::spawn(async move {
        let progress = move |table: &str, _: u64, _: i64| {
            if table == "live_jobs" {
                seen.store(true, Ordering::Release);
                // Where a process would be killed.
                panic!("the move ends here");
            }
        };
        to_postgres(&from, &to, &progress).await.map(drop)
    });
    assert!(moving.await.is_err() && began.load(Ordering::Acquire));

    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    levqor_testkit::wait_until(LIMIT, || async {
        // The server ends the transaction when it notices that nobody is there.
        run_postgres(&url, tables).await[0].get::<_, i64>(0) == 0
    })
    .await;
    levqor_testkit::wait_until(LIMIT, || async { to_postgres(&path, &url, &quiet).await.is_ok() }).await;
    assert_eq!(run_postgres(&url, "select count(*) from jobs").await[0].get::<_, i64>(0), 3_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_were_never_checked_come_over_with_a_mark() {
    let world = World::sqlite().await;
    let (_dir, path, url) = closed(world).await;
    let conn = rusqlite::Connection::open(&path).unwrap();
    conn.execute(
        "insert into users values ('1', 'a@example.org', 'A' || char(0) || 'da', cast(x'66ff' as text), 'GBP', '{}', 1, 2)",
        [],
    )
    .unwrap();

    let relocated = to_postgres(&path, &url, &quiet).await.unwrap();

    assert_eq!(relocated.mended, 2);
    let row = &run_postgres(&url, "select name, locale from users").await[0];
    assert_eq!((row.get::<_, &str>(0), row.get::<_, &str>(1)), ("A\u{fffd}da", "f\u{fffd}"));
}
