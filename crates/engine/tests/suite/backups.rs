//! Backups by the schedule and by hand: one a day for all nodes, made up for, tried again, pruned, copied to a bucket.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use levqor_connectors::bucket::Bucket;
use levqor_core::backup::{BackupName, DAY_MS, Form, Kind, midnight_before};
use levqor_core::clock::Clock;
use levqor_engine::Settings;
use levqor_engine::backup::{BackupError, BackupSettings, Backups};
use levqor_store::BackupRunState;
use levqor_store::backup::{Stop, create_scratch};
use levqor_testkit::{FakeBucket, TempDir, wait_until};

use crate::support::{Database, LIMIT, Node, TestClock, ask, settings};

each_engine!(
    a_backup_is_made_at_midnight_and_not_twice,
    a_midnight_that_was_missed_is_made_up_for,
    what_fails_is_told_and_tried_again,
    a_backup_by_hand_is_answered_at_once_and_made,
    what_is_too_much_is_deleted_and_nothing_else,
    a_drill_restores_the_newest_backup_and_leaves_nothing_behind,
    a_drill_takes_away_what_a_killed_one_left_and_leaves_one_that_runs,
    a_bit_that_flipped_inside_a_value_is_found_by_the_checksum,
    a_copy_goes_to_the_bucket,
    a_bucket_that_fails_costs_no_backup,
    a_loop_that_runs_by_itself_makes_it_too,
);

/// A database and a folder for its backups.
struct World {
    database: Database,
    dir: TempDir,
    clock: Arc<TestClock>,
    bucket: Option<Bucket>,
}

const HOUR_MS: i64 = 3_600_000;

impl World {
    fn new(database: Database) -> World {
        let clock = TestClock::still();
        // One o'clock in the morning.
        clock.advance(midnight_before(clock.now_ms()) + HOUR_MS - clock.now_ms());
        World { database, dir: TempDir::new(), clock, bucket: None }
    }

    fn folder(&self) -> PathBuf {
        self.dir.join("backups")
    }

    fn backup_settings(&self) -> BackupSettings {
        BackupSettings {
            location: self.database.location(),
            dir: self.folder(),
            keep: 3,
            is_daily: true,
            bucket: self.bucket.clone(),
        }
    }

    fn settings(&self) -> Settings {
        Settings { backups: Some(self.backup_settings()), ..settings() }
    }

    fn backups(&self) -> Backups {
        Backups::new(self.backup_settings(), self.clock.clone())
    }

    async fn node(&self) -> Node {
        Node::by_hand(&self.database, self.settings(), self.clock.clone()).await
    }

    /// A node of an installation that began yesterday.
    async fn old_node(&self) -> Node {
        let node = self.node().await;
        node.store().beat(self.clock.now_ms() - DAY_MS).await.unwrap();
        node.store().beat(self.clock.now_ms()).await.unwrap();
        node
    }

    fn names(&self) -> Vec<String> {
        self.backups().list().unwrap().iter().map(|listed| listed.name.to_string()).collect()
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

async fn a_backup_is_made_at_midnight_and_not_twice(database: Database) {
    let world = World::new(database);
    let node = world.node().await;
    node.store().beat(world.clock.now_ms()).await.unwrap();
    node.submit(ask("nobody")).await;
    assert_eq!(node.turn_backup().await.unwrap(), None, "begun today");

    world.clock.advance(23 * HOUR_MS - 1);
    assert_eq!(node.turn_backup().await.unwrap(), None, "a millisecond before midnight");
    world.clock.advance(1);
    // On PostgreSQL a second node turns at the same moment.
    let second = match world.database.is_postgres() {
        true => Some(world.node().await),
        false => None,
    };
    let also = async {
        match &second {
            Some(node) => node.turn_backup().await.unwrap(),
            None => None,
        }
    };
    let (one, two) = tokio::join!(node.turn_backup(), also);
    let made = [one.unwrap(), two];
    assert_eq!(made.iter().flatten().collect::<Vec<_>>(), [&true], "exactly one");
    assert_eq!(node.turn_backup().await.unwrap(), None);

    let form = if world.database.is_postgres() { Form::Dump } else { Form::Db };
    let name = BackupName::new(Kind::Automatic, form, world.clock.now_ms()).to_string();
    assert!(name.contains("T000000Z"), "{name}");
    assert_eq!(world.files(), [".backups.lock".to_owned(), name.clone(), format!("{name}.sha256")]);
    for file in world.files() {
        let mode = std::fs::metadata(world.folder().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let verified = world.backups().verify(&world.folder().join(&name)).await.unwrap();
    assert_eq!((verified.contents.of("jobs"), verified.checked_sum), (1, true));
    let report = node.backup_report().await.unwrap();
    assert_eq!((report.files.len(), report.runs.len(), report.is_late), (1, 1, false));
    assert_eq!(report.last_success.unwrap().name, name);

    world.clock.advance(26 * HOUR_MS);
    assert!(!node.backup_report().await.unwrap().is_late);
    world.clock.advance(1000);
    assert!(node.backup_report().await.unwrap().is_late);
    assert_eq!(node.turn_backup().await.unwrap(), Some(true), "the next day");
    assert!(!node.backup_report().await.unwrap().is_late);
}

async fn a_midnight_that_was_missed_is_made_up_for(database: Database) {
    let world = World::new(database);
    world.old_node().await.stop().await;
    world.clock.advance(8 * HOUR_MS);

    let node = world.node().await;

    assert_eq!(node.turn_backup().await.unwrap(), Some(true));
    assert!(world.names()[0].contains("T090000Z"), "{:?}", world.names());
    world.clock.advance(15 * HOUR_MS);
    assert_eq!(node.turn_backup().await.unwrap(), Some(true), "and the next one at midnight");
}

async fn what_fails_is_told_and_tried_again(database: Database) {
    let world = World::new(database);
    let node = world.old_node().await;
    std::fs::write(world.folder(), "a file where the folder should be").unwrap();

    assert_eq!(node.turn_backup().await.unwrap(), Some(false));
    let run = node.store().list_backup_runs(1).await.unwrap().remove(0);
    assert_eq!(run.state, BackupRunState::Failed);
    assert!(run.error.as_ref().unwrap().contains("backups"), "{run:?}");
    assert_eq!(node.turn_backup().await.unwrap(), None, "not at once");

    std::fs::remove_file(world.folder()).unwrap();
    world.clock.advance(60_000);
    assert_eq!(node.turn_backup().await.unwrap(), Some(true), "a minute later");
    let run = node.store().list_backup_runs(1).await.unwrap().remove(0);
    assert_eq!((run.state, run.attempt, run.error), (BackupRunState::Succeeded, 2, None));
}

async fn a_backup_by_hand_is_answered_at_once_and_made(database: Database) {
    let world = World::new(database);
    let node = world.node().await;

    let run = node.start_backup().await.unwrap();

    assert_eq!((run.kind, run.state), (Kind::Manual, BackupRunState::Running));
    wait_until(LIMIT, async || node.store().list_backup_runs(1).await.unwrap()[0].finished_at_ms.is_some())
        .await;
    let done = node.store().list_backup_runs(1).await.unwrap().remove(0);
    assert_eq!((done.state, done.error.clone()), (BackupRunState::Succeeded, None), "{done:?}");
    assert_eq!(world.names(), [done.name]);
    // A second one within the same second gets a name of its own.
    world.backups().create(Kind::Manual, &Stop::default()).await.unwrap();
    assert_eq!(world.names().len(), 2);
}

async fn what_is_too_much_is_deleted_and_nothing_else(database: Database) {
    let world = World::new(database);
    let _node = world.node().await;
    std::fs::create_dir(world.folder()).unwrap();
    let foreign = [
        "notes.txt",
        "levqor.db",
        "backup_20200101T000000Z.db.bak",
        "backup_2020.db",
        "my-levqor-2020-01-01-000000.db",
        ".draft-notes",
        "other.sha256",
    ];
    for name in foreign {
        std::fs::write(world.folder().join(name), "mine").unwrap();
    }
    std::fs::create_dir(world.folder().join("backup_20200101T000000Z.db")).unwrap();
    // What a process left that was killed at it.
    for name in [
        ".draft-levqor-2020-01-01-000000.db",
        ".draft-levqor-2020-01-01-000000.db-wal",
        "levqor-2020-01-01-000000.db.sha256",
    ] {
        std::fs::write(world.folder().join(name), "half").unwrap();
    }

    for kind in [Kind::Manual, Kind::Automatic] {
        for _ in 0..5 {
            world.backups().create(kind, &Stop::default()).await.unwrap();
            world.clock.advance(1_000);
        }
    }

    assert_eq!(world.names().len(), 6, "three of each: {:?}", world.names());
    let files = world.files();
    assert_eq!(files.len(), 6 * 2 + 1 + foreign.len() + 1, "{files:?}");
    for name in foreign {
        assert_eq!(std::fs::read(world.folder().join(name)).unwrap(), b"mine", "{name}");
    }
}

async fn a_drill_restores_the_newest_backup_and_leaves_nothing_behind(database: Database) {
    let world = World::new(database);
    let node = world.node().await;
    assert!(matches!(world.backups().drill().await, Err(BackupError::None(_))));
    node.submit(ask("nobody")).await;
    world.backups().create(Kind::Manual, &Stop::default()).await.unwrap();
    let before = world.files();

    let drill = world.backups().drill().await.unwrap();

    assert_eq!((drill.contents.of("jobs"), drill.unfinished_jobs, drill.migrations.len()), (1, 1, 0));
    assert_eq!(world.files(), before);
}

async fn a_drill_takes_away_what_a_killed_one_left_and_leaves_one_that_runs(database: Database) {
    let url = match &database {
        Database::Sqlite(_) => None,
        Database::Postgres(url) => Some(url.clone()),
    };
    let world = World::new(database);
    let node = world.node().await;
    node.submit(ask("nobody")).await;
    world.backups().create(Kind::Manual, &Stop::default()).await.unwrap();
    let name = || format!("levqor_drill_{:016x}", rand::random::<u64>());
    let (dead, alive) = (name(), name());

    match url {
        None => {
            let place = |name: &str| world.folder().join(format!(".{name}"));
            let make = |name: &str| {
                std::fs::create_dir(place(name)).unwrap();
                std::fs::write(place(name).join("levqor.db"), "half").unwrap();
                std::fs::File::create_new(place(name).join("lock")).unwrap()
            };
            drop(make(&dead));
            let held = make(&alive);
            held.try_lock().unwrap();
            std::fs::create_dir(world.folder().join(".levqor_drill_mine")).unwrap();

            world.backups().drill().await.unwrap();

            assert!(!place(&dead).exists() && place(&alive).exists());
            assert!(world.folder().join(".levqor_drill_mine").exists(), "no name of ours");
        }
        Some(url) => {
            // Its connection ends with it, as with a process that is killed.
            drop(create_scratch(&url, &dead).await.unwrap());
            let held = create_scratch(&url, &alive).await.unwrap();
            let is_there = async |name: &str| match create_scratch(&url, name).await {
                Ok(made) => {
                    made.remove().await.unwrap();
                    false
                }
                Err(error) => error.to_string().contains("already exists"),
            };

            wait_until(LIMIT, async || {
                world.backups().drill().await.unwrap();
                !is_there(&dead).await
            })
            .await;

            assert!(levqor_testkit::postgres_rows(held.url()).await.is_empty(), "it is still there");
            held.remove().await.unwrap();
        }
    }
}

async fn a_bit_that_flipped_inside_a_value_is_found_by_the_checksum(database: Database) {
    let world = World::new(database);
    let node = world.node().await;
    node.submit(ask("nobody-of-this-name")).await;
    let made = world.backups().create(Kind::Manual, &Stop::default()).await.unwrap();
    let mut bytes = std::fs::read(&made.path).unwrap();
    let at = bytes.windows(6).position(|six| six == b"nobody").unwrap_or(bytes.len() - 100);
    bytes[at] ^= 1;
    std::fs::write(&made.path, bytes).unwrap();

    let damaged = world.backups().verify(&made.path).await.unwrap_err();

    assert!(matches!(&damaged, BackupError::Damaged { why, .. } if why.contains("SHA-256")), "{damaged}");
    assert!(world.backups().drill().await.is_err());
    assert!(world.backups().restore(&made.path).await.is_err());
}

async fn a_copy_goes_to_the_bucket(database: Database) {
    let store = FakeBucket::start().await;
    let mut world = World::new(database);
    world.bucket = Some(Bucket::parse(&store.url(), &[], http::HeaderValue::from_static("test")).unwrap());
    let node = world.old_node().await;

    assert_eq!(node.turn_backup().await.unwrap(), Some(true));

    let name = world.names().remove(0);
    assert_eq!(store.object(&name).unwrap(), std::fs::read(world.folder().join(&name)).unwrap());
    assert!(store.object(&format!("{name}.sha256")).is_some());
    let run = node.store().list_backup_runs(1).await.unwrap().remove(0);
    assert_eq!((run.uploaded, run.error), (true, None));
}

async fn a_bucket_that_fails_costs_no_backup(database: Database) {
    let store = FakeBucket::start().await;
    let mut world = World::new(database);
    let bucket = Bucket::parse(&store.url(), &[], http::HeaderValue::from_static("test")).unwrap();
    world.bucket = Some(bucket.with_parts(1 << 20, Vec::new()));
    store.fail(&[403]);
    let node = world.old_node().await;

    assert_eq!(node.turn_backup().await.unwrap(), Some(true));

    assert_eq!(world.names().len(), 1);
    let run = node.store().list_backup_runs(1).await.unwrap().remove(0);
    assert_eq!((run.state, run.uploaded), (BackupRunState::Succeeded, false));
    assert_eq!(
        run.error.as_deref(),
        Some("the copy in the bucket failed: the store answered 403 (SlowDown)")
    );
}

async fn a_loop_that_runs_by_itself_makes_it_too(database: Database) {
    let world = World::new(database);
    world.old_node().await.stop().await;

    let node = Node::start(&world.database, world.settings(), world.clock.clone()).await;

    wait_until(LIMIT, async || node.store().backup_health().await.unwrap().last_success.is_some()).await;
    assert_eq!(world.names().len(), 1);
}

#[tokio::test]
async fn while_one_is_made_a_second_is_refused() {
    let world = World::new(Database::sqlite());
    let node = world.node().await;
    std::fs::create_dir(world.folder()).unwrap();
    let lock = std::fs::File::create(world.folder().join(".backups.lock")).unwrap();
    lock.lock().unwrap();

    assert!(matches!(node.start_backup().await, Err(BackupError::Busy(_))));
    drop(lock);
    node.start_backup().await.unwrap();
}
