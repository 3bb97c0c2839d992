//! What only a file can meet: links, locks, strangers, sudden death, a crowd of writers.

use std::path::Path;
use std::sync::Arc;

use levqor_core::job::Intake;
use levqor_store::{Error, Location, Store};
use levqor_testkit::TempDir;

use crate::world::*;

async fn refusal(path: &Path) -> String {
    match Store::open(&Location::Sqlite(path.to_owned()), "node").await {
        Err(Error::Refused { what }) => {
            assert!(what.starts_with("the database file "), "{what}");
            what
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("{} was opened", path.display()),
    }
}

#[tokio::test]
async fn a_second_process_on_the_same_file_is_refused_whatever_path_it_takes() {
    let world = World::sqlite().await;
    let link = world.dir.join("link.db");
    std::os::unix::fs::symlink(world.dir.join("levqor.db"), &link).unwrap();

    for path in [world.dir.join("levqor.db"), link, world.dir.join("./levqor.db")] {
        let what = refusal(&path).await;
        assert!(what.contains("levqor.db ") && what.contains("another Levqor process"), "{what}");
    }
    drop(world.store);
    Store::open(&world.location, "node-2").await.unwrap();
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_hard_link_to_a_file_in_use_is_refused_and_the_owner_goes_on() {
    let world = World::sqlite().await;
    let elsewhere = world.dir.join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let link = elsewhere.join("other.db");
    std::fs::hard_link(world.dir.join("levqor.db"), &link).unwrap();

    let what = refusal(&link).await;

    assert!(what.contains("other.db ") && what.contains("another Levqor process"), "{what}");
    world.put(job(NOON)).await;
    assert_eq!(world.number("select count(*) from jobs").await, 1);
    world.store.close().await;
    Store::open(&Location::Sqlite(link), "node-2").await.unwrap();
}

#[tokio::test]
async fn folders_are_made_and_impossible_paths_are_named() {
    let dir = TempDir::new();
    Store::open(&Location::Sqlite(dir.join("a/b/levqor.db")), "node").await.unwrap();
    assert!(dir.join("a/b/levqor.db").exists());

    assert!(refusal(dir.path()).await.contains("folder"));
    std::fs::write(dir.join("file"), "").unwrap();
    assert!(refusal(&dir.join("file/levqor.db")).await.contains("folder"));
    assert!(refusal(Path::new(":memory:")).await.contains("not the path of a file"));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = TempDir::new();
    let text = "Dear diary, this is certainly not a database. ".repeat(100);
    std::fs::write(dir.join("diary.txt"), &text).unwrap();

    assert!(refusal(&dir.join("diary.txt")).await.contains("not a SQLite database"));
    assert_eq!(std::fs::read_to_string(dir.join("diary.txt")).unwrap(), text);
}

#[tokio::test]
async fn asking_what_is_pending_changes_nothing() {
    let dir = TempDir::new();
    let location = Location::Sqlite(dir.join("none.db"));

    assert_eq!(Store::pending_migrations(&location).await.unwrap()[..2], ["0001_core", "0002_users"]);

    assert!(!dir.join("none.db").exists());
}

#[tokio::test]
async fn what_was_acknowledged_is_in_the_file_as_it_lies_there() {
    let world = World::sqlite().await;
    let id = world.put(job(NOON)).await;

    // What a power cut leaves: the file and its WAL at this moment. The page before its acknowledgement is on disk.
    let copy = TempDir::new();
    for name in ["levqor.db", "levqor.db-wal"] {
        std::fs::copy(world.dir.join(name), copy.join(name)).unwrap();
    }

    let after = Store::open(&Location::Sqlite(copy.join("levqor.db")), "node-2").await.unwrap();
    assert!(after.find_job(id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_close_leaves_one_tidy_file() {
    let world = World::sqlite().await;
    world.put(job(NOON)).await;

    world.store.close().await;
    drop(world.store);

    let wal = std::fs::metadata(world.dir.join("levqor.db-wal")).map_or(0, |it| it.len());
    assert_eq!(wal, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_intakes_at_once_share_few_commits() {
    let world = World::sqlite().await;
    let before = commits(&world.dir.join("levqor.db-wal"));
    let store = Arc::new(world.store);

    let asks: Vec<_> = (0..1_000)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.intake(job(NOON)).await.unwrap() })
        })
        .collect();
    for ask in asks {
        assert_eq!(ask.await.unwrap(), Intake::Created);
    }

    let made = commits(&world.dir.join("levqor.db-wal")) - before;
    assert!((1..=250).contains(&made), "{made} commits for 1,000 intakes");
}

/// Counts the frames of the WAL that end a transaction, as the file format defines them.
fn commits(wal: &Path) -> usize {
    let bytes = std::fs::read(wal).unwrap();
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let page_bytes = word(8) as usize;
    let salt = &bytes[16..24];
    let frames =
        (32..bytes.len()).step_by(24 + page_bytes).take_while(|at| bytes.get(at + 8..at + 16) == Some(salt));
    frames.filter(|at| word(at + 4) != 0).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_program_may_read_the_live_file() {
    let world = World::sqlite().await;
    world.put(job(NOON)).await;

    let other = rusqlite::Connection::open(world.dir.join("levqor.db")).unwrap();
    other.execute_batch("begin").unwrap();
    let seen: i64 = other.query_row("select count(*) from jobs", [], |row| row.get(0)).unwrap();
    world.store.intake_many((0..5_000).map(|_| job(NOON)).collect()).await.unwrap();
    let still: i64 = other.query_row("select count(*) from jobs", [], |row| row.get(0)).unwrap();

    assert_eq!((seen, still), (1, 1), "its snapshot holds while we write");
}

const FITTING_USERS_AND_MORE: &str = "create table users (id text primary key, email text unique not null, name text, locale text, \
    currency text, meta text, created_at real, updated_at real); create unique index by_email on users (email); \
    create table invoices (id integer primary key, user text references users (id))";
const FITTING_USERS_AND_A_TRIGGER: &str = "create table users (id text primary key, email text unique not null, name text, \
    locale text, currency text, meta text, created_at real, updated_at real); \
    create trigger watch after delete on users begin select 1; end";

#[tokio::test]
async fn the_file_of_another_program_is_refused_in_one_line_and_left_alone() {
    let cases = [
        ("create table jobs (id integer primary key, title text)", "the table jobs"),
        ("create table Steps (n integer)", "the table Steps"),
        ("create table a (x); create view settings as select * from a", "the table a"),
        ("create view settings as select 1 as one", "the view settings"),
        ("create table migrations (id integer, batch integer)", "the table migrations"),
        ("create table users (id text, email text)", "the table users without a column name"),
        ("create view users as select 1 as id", "the view users"),
        (FITTING_USERS_AND_MORE, "the table invoices"),
        (FITTING_USERS_AND_A_TRIGGER, "the trigger watch"),
        ("create table bookmarks (url text); create index urls on bookmarks (url)", "the table bookmarks"),
    ];
    for (script, named) in cases {
        for journal in ["delete", "wal"] {
            let dir = TempDir::new();
            let path = dir.join("their data?#%.db");
            let theirs = rusqlite::Connection::open(&path).unwrap();
            theirs.pragma_update(None, "journal_mode", journal).unwrap();
            theirs.execute_batch(script).unwrap();
            drop(theirs);
            let before = std::fs::read(&path).unwrap();

            let what = refusal(&path).await;

            assert!(
                what.contains("their data?#%.db") && what.contains(named) && what.contains("another program"),
                "{what}"
            );
            assert!(!what.contains('\n') && what.len() < 300, "{what}");
            assert!(Store::pending_migrations(&Location::Sqlite(path.clone())).await.is_err());
            assert!(before == std::fs::read(&path).unwrap(), "{script}: a byte of the file was changed");
        }
    }
}

#[tokio::test]
async fn a_file_that_another_program_left_in_the_middle_of_its_work_is_not_changed_either() {
    let dir = TempDir::new();
    let theirs = rusqlite::Connection::open(dir.join("open.db")).unwrap();
    theirs.pragma_update(None, "journal_mode", "wal").unwrap();
    theirs.execute_batch("create table people (x); insert into people values (1)").unwrap();
    // What a killed program leaves: nothing in the file itself, all of it in the log beside.
    for name in ["db", "db-wal"] {
        std::fs::copy(dir.join(format!("open.{name}")), dir.join(format!("left.{name}"))).unwrap();
    }
    let read = |name: &str| std::fs::read(dir.join(name)).unwrap();
    let before = (read("left.db"), read("left.db-wal"));

    let what = refusal(&dir.join("left.db")).await;

    assert!(what.contains("the table people"), "{what}");
    assert!(before == (read("left.db"), read("left.db-wal")), "the file or its log was changed");
    let again = rusqlite::Connection::open(dir.join("left.db")).unwrap();
    assert_eq!(again.query_row("select x from people", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
}

#[tokio::test]
async fn the_file_of_a_newer_program_is_refused_without_a_change() {
    let world = World::sqlite().await;
    world.store.close().await;
    drop(world.store);
    let path = world.dir.join("levqor.db");
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer
        .execute_batch("insert into migrations values ('9999_later', 'x'); pragma wal_checkpoint(truncate)")
        .unwrap();
    drop(newer);
    let before = std::fs::read(&path).unwrap();

    assert!(refusal(&path).await.contains("newer version"));

    assert!(before == std::fs::read(&path).unwrap());
}
