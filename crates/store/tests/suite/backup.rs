//! Copies of the whole database: made under load, looked at, put back; and the record that says who makes one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use levqor_core::id::JobId;
use levqor_core::job::{Fenced, NewJob, StepStatus};
use levqor_store::backup::{self, Present, Stop};
use levqor_store::{BackupEnd, BackupRunState, Error, Location, Store};
use levqor_testkit::TempDir;

use crate::world::*;

impl World {
    /// An empty file for a copy.
    fn target(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        std::fs::write(&path, "").unwrap();
        path
    }

    async fn copied(&self) -> PathBuf {
        let target = self.target("copy");
        let written = backup::copy(&self.location, &target, &Stop::default()).await.unwrap();
        assert_eq!(backup::check(&target).await.unwrap(), written);
        target
    }

    /// As a start 36 hours ago would have left it.
    async fn has_lived_since(&self, first_start_ms: i64) {
        assert_eq!(
            self.store.setting_or_insert("first_start_ms", &first_start_ms.to_string()).await.unwrap(),
            first_start_ms.to_string()
        );
    }
}

fn why(refused: levqor_store::Result<impl std::fmt::Debug>) -> String {
    match refused {
        Err(Error::Refused { what }) => what,
        other => panic!("{other:?}"),
    }
}

each_engine! {
    async fn a_copy_holds_all_that_was_committed_before_it_began(world: World) {
        for _ in 0..20 {
            world.put(NewJob { payload: "\\.\t\n\r\\N \u{1f980} 'x'".to_owned(), ..job(NOON) }).await;
        }

        let copy = world.copied().await;

        let contents = backup::check(&copy).await.unwrap();
        assert_eq!((contents.of("jobs"), contents.of("live_jobs"), contents.of("finished_jobs")), (20, 20, 0));
        assert_eq!(Some(contents.of("migrations")), Some(world.number("select count(*) from migrations").await));
        assert_eq!(contents, backup::contents(&world.location).await.unwrap());
    }

    async fn a_copy_that_is_asked_to_stop_stops(world: World) {
        let stop = Stop::default();
        stop.ask();

        let stopped = backup::copy(&world.location, &world.target("copy"), &stop).await;

        assert!(matches!(stopped, Err(Error::Unavailable(_))), "{stopped:?}");
    }

    async fn a_damaged_copy_is_told_from_a_whole_one(world: World) {
        world.store.intake_many((0..300).map(|_| job(NOON)).collect()).await.unwrap();
        let whole = std::fs::read(world.copied().await).unwrap();
        let damaged = world.dir.join("damaged");

        for cut in [0, 1, 17, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&damaged, &whole[..cut]).unwrap();
            let what = why(backup::check(&damaged).await);
            assert!(what.contains("the backup ") && what.contains("damaged"), "{cut}: {what}");
        }
        let noise: Vec<u8> = whole.iter().enumerate().map(|(at, byte)| if at > 4096 { byte ^ 0x55 } else { *byte }).collect();
        std::fs::write(&damaged, noise).unwrap();
        why(backup::check(&damaged).await);
        std::fs::write(&damaged, "Dear diary, this is certainly not a database.").unwrap();
        assert!(why(backup::check(&damaged).await).contains("neither a SQLite database nor a dump"));
        assert!(why(backup::check(Path::new("/no/such/file")).await).contains("cannot be read"));
    }

    async fn a_restore_says_what_it_would_lose_and_then_loses_it(world: World) {
        let kept = world.put(job(NOON)).await;
        let ended = world.put(job(NOON)).await;
        let copy = world.copied().await;
        let lost = world.put(job(NOON + SECOND)).await;
        for claimed in world.claim(3, NOON).await {
            if claimed.id == ended {
                world.end(&claimed, NOON).await;
            }
        }
        let World { store, location, dir: _dir } = world;
        let in_use = why(backup::losses(&location, &copy).await);
        assert!(in_use.contains("another Levqor process is using it") || in_use.contains("1 Levqor nodes work on it"), "{in_use}");
        store.close().await;
        drop(store);

        let Present::Readable(losses) = backup::losses(&location, &copy).await.unwrap() else { panic!("unreadable") };
        assert_eq!((losses.jobs, losses.users, losses.unfinished_jobs, losses.jobs_run_again), (1, 0, 2, 1));
        match &location {
            Location::Sqlite(path) => {
                let aside = backup::put_sqlite(path, &copy, ".before").await.unwrap().unwrap();
                assert_eq!(backup::check(&aside).await.unwrap().of("jobs"), 3, "what was there is kept");
            }
            Location::Postgres(url) => backup::put_postgres(url, &copy).await.unwrap(),
        }

        assert_eq!(backup::contents(&location).await.unwrap(), backup::check(&copy).await.unwrap());
        let store = Store::open(&location, "node-2").await.unwrap();
        assert!(store.find_job(kept).await.unwrap().is_some());
        assert!(store.find_job(lost).await.unwrap().is_none());
        store.intake(job(NOON)).await.unwrap();
    }

    async fn a_day_is_claimed_once_and_done_once(world: World) {
        world.has_lived_since(NOON - 2 * DAY).await;

        let run = world.store.claim_backup("a", NOON).await.unwrap().unwrap();
        assert_eq!((run.attempt, run.state, run.node.as_str()), (1, BackupRunState::Running, "node-1"));
        let end = BackupEnd::Succeeded { name: "b".to_owned(), size_bytes: 7, uploaded: false, warning: None };
        assert!(world.store.end_backup(&run, end.clone(), NOON + 5).await.unwrap());
        assert!(!world.store.end_backup(&run, end, NOON + 6).await.unwrap(), "once");

        for later_ms in [0, HOUR, 11 * HOUR] {
            assert_eq!(world.store.claim_backup("c", NOON + later_ms).await.unwrap(), None, "the same day");
        }
        let last = world.store.backup_health().await.unwrap().last_success.unwrap();
        assert_eq!((last.name.as_str(), last.size_bytes, last.finished_at_ms), ("b", Some(7), Some(NOON + 5)));
        let next = world.store.claim_backup("c", NOON + DAY / 2).await.unwrap().unwrap();
        assert_eq!((next.attempt, next.id == run.id), (1, false), "the next day");
    }

    async fn a_new_installation_has_missed_no_midnight(world: World) {
        assert_eq!(world.store.claim_backup("a", NOON).await.unwrap(), None, "no sign of life yet");
        world.store.beat(NOON).await.unwrap();
        assert_eq!(world.store.claim_backup("a", NOON).await.unwrap(), None, "begun at noon");

        assert!(world.store.claim_backup("a", NOON + DAY / 2).await.unwrap().is_some(), "the first midnight");
    }

    async fn a_failure_is_tried_again_when_it_says_and_not_before(world: World) {
        world.has_lived_since(NOON - 2 * DAY).await;
        let run = world.store.claim_backup("a", NOON).await.unwrap().unwrap();
        let end = BackupEnd::Failed { error: "disk full".to_owned(), again_at_ms: Some(NOON + SECOND) };
        assert!(world.store.end_backup(&run, end, NOON).await.unwrap());

        assert_eq!(world.store.claim_backup("b", NOON).await.unwrap(), None);
        let again = world.store.claim_backup("b", NOON + SECOND).await.unwrap().unwrap();

        assert_eq!((again.attempt, again.id == run.id), (2, true));
        let stale = BackupEnd::Failed { error: "late".to_owned(), again_at_ms: None };
        assert!(!world.store.end_backup(&run, stale, NOON).await.unwrap(), "the first try is fenced off");
    }

    async fn what_a_dead_process_was_making_is_made_by_another(world: World) {
        world.has_lived_since(NOON - 2 * DAY).await;
        world.store.claim_backup("a", NOON).await.unwrap().unwrap();
        world.store.begin_backup("by-hand", "m", NOON).await.unwrap();

        let world = world.after_a_crash().await;
        let run = world.store.claim_backup("b", NOON + SECOND).await.unwrap().unwrap();

        assert_eq!((run.attempt, run.node.as_str()), (2, "node-2"));
        let runs = world.store.list_backup_runs(10).await.unwrap();
        let states: Vec<_> = runs.iter().map(|run| (run.name.as_str(), run.state)).collect();
        assert_eq!(states, [("b", BackupRunState::Running), ("m", BackupRunState::Failed)]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_nodes_one_makes_the_backup() {
    let world = World::postgres().await;
    world.has_lived_since(NOON - 2 * DAY).await;
    let other = Store::open(&world.location, "node-2").await.unwrap();

    for day in 0..10 {
        let at_ms = NOON + day * DAY;
        let (one, two) = tokio::join!(world.store.claim_backup("a", at_ms), other.claim_backup("b", at_ms));
        let claims = [one.unwrap(), two.unwrap()];
        assert_eq!(claims.iter().flatten().count(), 1, "{claims:?}");
    }
}

/// What a client was told, and when.
struct Promise {
    id: JobId,
    at: Instant,
    took: Duration,
}

/// Takes jobs in until it is over, and remembers each that was acknowledged.
async fn take_in(world: Arc<World>, payload: String, over: Arc<AtomicBool>) -> Vec<Promise> {
    let mut promises = Vec::new();
    // Not for ever: a test that hangs must not fill the disk.
    while !over.load(Ordering::Relaxed) && promises.len() < 5_000 {
        let began = Instant::now();
        let id = world.put(NewJob { payload: payload.clone(), ..job(NOON) }).await;
        promises.push(Promise { id, at: Instant::now(), took: began.elapsed() });
    }
    promises
}

/// Runs jobs to their end until it is over.
async fn run(world: Arc<World>, over: Arc<AtomicBool>) -> usize {
    let mut ended = 0;
    while !over.load(Ordering::Relaxed) {
        for claimed in world.claim(16, NOON).await {
            let step = step("one", 1, StepStatus::Succeeded, NOON);
            assert_eq!(world.record(&claimed, vec![step], succeeded(NOON)).await, Fenced::Done);
            ended += 1;
        }
    }
    ended
}

each_engine! {
    async fn a_backup_under_load_ends_misses_nothing_and_stops_no_intake(world: World) {
        let payload = format!("{{\"x\":\"{}\"}}", "y".repeat(4_000));
        for _ in 0..15 {
            let jobs = (0..1_000).map(|_| NewJob { payload: payload.clone(), ..job(NOON) });
            world.store.intake_many(jobs.collect()).await.unwrap();
        }
        let target = world.target("copy");
        let (world, over) = (Arc::new(world), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> =
            (0..8).map(|_| tokio::spawn(take_in(world.clone(), payload.clone(), over.clone()))).collect();
        let runners: Vec<_> = (0..2).map(|_| tokio::spawn(run(world.clone(), over.clone()))).collect();
        let count = "select count(*) from finished_jobs";
        levqor_testkit::wait_until(LIMIT, || async { world.number(count).await > 200 }).await;

        let began = Instant::now();
        let written = backup::copy(&world.location, &target, &Stop::default()).await.unwrap();
        let took = began.elapsed();
        over.store(true, Ordering::Relaxed);
        let (mut promises, mut ended) = (Vec::new(), 0);
        for client in clients {
            promises.extend(client.await.unwrap());
        }
        for runner in runners {
            ended += runner.await.unwrap();
        }

        assert_eq!(backup::check(&target).await.unwrap(), written);
        let restored = match &world.location {
            Location::Sqlite(_) => {
                let path = world.dir.join("restored.db");
                backup::put_sqlite(&path, &target, ".before").await.unwrap();
                Location::Sqlite(path)
            }
            Location::Postgres(_) => {
                let url = levqor_testkit::postgres_url().await;
                backup::put_postgres(&url, &target).await.unwrap();
                Location::Postgres(url)
            }
        };
        assert_eq!(backup::contents(&restored).await.unwrap(), written, "what is restored is what was written");
        let restored = World { store: Store::open(&restored, "node-1").await.unwrap(), location: restored, dir: TempDir::new() };
        for promise in promises.iter().filter(|promise| promise.at < began) {
            let found = restored.store.find_status(promise.id).await.unwrap();
            assert!(found.is_some(), "{} was acknowledged before the backup began", promise.id);
        }
        let in_the_copy = restored.number(count).await;
        assert!((200..ended as i64).contains(&in_the_copy), "{in_the_copy} of {ended} ends: the copy is of one moment");
        for (what, wrong) in HALVES {
            assert_eq!(restored.number(&format!("select count(*) from {wrong}")).await, 0, "{what}");
        }
        let during: Vec<_> = promises.iter().filter(|promise| (began..began + took).contains(&promise.at)).collect();
        assert!(during.len() > 20, "{} intakes in {took:?}", during.len());
        let slowest = during.iter().map(|promise| promise.took).max().unwrap();
        assert!(slowest < took.max(Duration::from_secs(2)), "an intake took {slowest:?}, the backup {took:?}");
    }
}

/// What a copy that caught half of a commit would hold.
const HALVES: [(&str, &str); 4] = [
    (
        "a job that is neither live nor finished, or both",
        "jobs j where (select count(*) from live_jobs l where l.id = j.id)
            + (select count(*) from finished_jobs f where f.id = j.id) <> 1",
    ),
    (
        "a live job without what was taken in",
        "live_jobs l where not exists (select 1 from jobs j where j.id = l.id)",
    ),
    (
        "an end without its step",
        "finished_jobs f where not exists (select 1 from steps s where s.job_id = f.id)",
    ),
    (
        "a step of a job that did not end with it",
        "steps s where not exists (select 1 from finished_jobs f where f.id = s.job_id)",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_restored_into_the_database_of_another_program() {
    let world = World::postgres().await;
    let dump = world.copied().await;
    let url = levqor_testkit::postgres_url().await;
    let theirs = Location::Postgres(url.clone());
    run_postgres(&url, "create table users (id bigint); ").await;
    run_postgres(&url, "insert into users values (7)").await;

    let refusals = [why(backup::losses(&theirs, &dump).await), why(backup::put_postgres(&url, &dump).await)];

    for what in refusals {
        assert!(what.contains("another program") && what.contains("the table users"), "{what}");
    }
    assert_eq!(run_postgres(&url, "select id from users").await[0].get::<_, i64>(0), 7);
}

#[tokio::test]
async fn a_copy_is_one_file_that_opens_read_only() {
    let world = World::sqlite().await;
    world.put(job(NOON)).await;
    let copy = world.copied().await;

    let folder = TempDir::new();
    std::fs::copy(&copy, folder.join("copy.db")).unwrap();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let conn = rusqlite::Connection::open_with_flags(folder.join("copy.db"), flags).unwrap();
    let mode: String = conn.query_row("pragma journal_mode", [], |row| row.get(0)).unwrap();

    assert_eq!(mode, "delete");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_database_of_another_program_is_no_backup() {
    let dir = TempDir::new();
    let write = |name: &str, sql: &str| {
        let path = dir.join(name);
        rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        path
    };
    let songs = write("songs.db", "create table songs (name text)");
    let twin =
        write("twin.db", "create table migrations (version integer); insert into migrations values (1)");
    let newer = write(
        "newer.db",
        "create table migrations (name text, checksum text); insert into migrations values ('9999_future', 'x')",
    );

    assert!(why(backup::check(&songs).await).contains("another program"));
    assert!(why(backup::check(&twin).await).contains("another program"));
    assert!(why(backup::check(&newer).await).contains("newer version"));
}

#[tokio::test]
async fn a_backup_of_the_other_engine_is_refused_with_what_to_do() {
    let file = World::sqlite().await;
    let server = World::postgres().await;
    let (copy, dump) = (file.copied().await, server.copied().await);

    assert!(why(backup::losses(&server.location, &copy).await).contains("levqor move"));
    assert!(why(backup::losses(&file.location, &dump).await).contains("DATABASE_URL"));
}

#[tokio::test]
async fn a_damaged_database_can_be_replaced_and_is_kept_with_its_log() {
    let world = World::sqlite().await;
    world.put(job(NOON)).await;
    let copy = world.copied().await;
    let path = world.dir.join("levqor.db");
    let World { store, location, dir } = world;
    store.close().await;
    drop(store);
    std::fs::write(&path, "no database any more").unwrap();
    std::fs::write(dir.join("levqor.db-wal"), "no log any more").unwrap();

    assert!(matches!(backup::losses(&location, &copy).await.unwrap(), Present::Unreadable(_)));
    let aside = backup::put_sqlite(&path, &copy, ".before").await.unwrap().unwrap();

    assert_eq!(std::fs::read(&aside).unwrap(), b"no database any more");
    assert!(dir.join("levqor.db.before-wal").exists() && !dir.join("levqor.db-wal").exists());
    assert_eq!(backup::contents(&location).await.unwrap().of("jobs"), 1);
}

#[tokio::test]
async fn a_database_that_another_program_reads_is_not_replaced() {
    let world = World::sqlite().await;
    world.put(job(NOON)).await;
    let copy = world.copied().await;
    let path = world.dir.join("levqor.db");
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("begin; select count(*) from jobs").ok();
    let _: i64 = reader.query_row("select count(*) from jobs", [], |row| row.get(0)).unwrap();
    let World { store, dir: _dir, .. } = world;
    store.close().await;
    drop(store);

    let what = why(backup::put_sqlite(&path, &copy, ".before").await);

    assert!(what.contains("open in another program"), "{what}");
    assert!(!Path::new(&format!("{}.before", path.display())).exists());
}
