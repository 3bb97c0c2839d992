//! Copies of backups in a bucket: whole or in parts, tried again, read back; a store that fails or lies is found out.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use levqor_connectors::bucket::{Bucket, UploadError};
use levqor_core::clock::Clock;
use levqor_testkit::{FakeBucket, TempDir};

struct Noon;

impl Clock for Noon {
    fn now_ms(&self) -> i64 {
        1_800_014_400_000
    }
}

struct World {
    store: FakeBucket,
    dir: TempDir,
}

impl World {
    async fn new() -> World {
        World { store: FakeBucket::start().await, dir: TempDir::new() }
    }

    fn bucket(&self, tries: usize) -> Bucket {
        let bucket = Bucket::parse(&self.store.url(), &[], HeaderValue::from_static("test")).unwrap();
        bucket.with_parts(1000, vec![Duration::ZERO; tries - 1])
    }

    fn file(&self, bytes: usize) -> PathBuf {
        let path = self.dir.join("file");
        let content: Vec<u8> = (0..bytes).map(|at| (at * 7 % 251) as u8).collect();
        std::fs::File::create(&path).unwrap().write_all(&content).unwrap();
        path
    }

    /// Uploads so many bytes, in parts of a thousand.
    async fn upload(&self, bytes: usize, tries: usize) -> Result<(), UploadError> {
        self.bucket(tries).upload(&self.file(bytes), "a b.db", &Noon).await
    }
}

#[tokio::test]
async fn a_file_arrives_whole_in_one_piece_or_in_many() {
    for (bytes, requests) in [(1, 2), (1000, 2), (1001, 2 + 2 + 2), (3500, 2 + 4 + 4)] {
        let world = World::new().await;

        world.upload(bytes, 1).await.unwrap();

        let sent = std::fs::read(world.dir.join("file")).unwrap();
        assert_eq!(world.store.object("a%20b.db").unwrap(), sent, "{bytes}");
        assert_eq!(world.store.requests().len(), requests, "{bytes}: {:?}", world.store.requests());
        assert_eq!(world.store.open_uploads(), 0);
    }
}

#[tokio::test]
async fn a_store_that_is_busy_for_a_moment_is_asked_again() {
    let world = World::new().await;
    world.store.fail(&[503, 0, 500, 429, 0, 503, 0, 0, 503]);

    world.upload(2500, 3).await.unwrap();

    assert_eq!(world.store.object("a%20b.db").unwrap().len(), 2500);
}

#[tokio::test]
async fn a_store_that_stays_busy_is_given_up_with_its_own_word_and_no_parts_left() {
    let world = World::new().await;
    world.store.fail(&[0, 0, 503, 503, 503]);

    let error = world.upload(2500, 3).await.unwrap_err();

    assert_eq!(error.to_string(), "the store answered 503 (SlowDown)");
    assert_eq!((world.store.objects(), world.store.open_uploads()), (0, 0), "{:?}", world.store.requests());
}

#[tokio::test]
async fn a_wrong_key_is_told_at_once() {
    let world = World::new().await;
    let url = world.store.url().replace("s3cr", "wr0ng");
    let bucket = Bucket::parse(&url, &[], HeaderValue::from_static("test")).unwrap();

    let error = bucket.upload(&world.file(10), "x", &Noon).await.unwrap_err();

    assert_eq!(error, UploadError::Refused { status: 403, word: Some("SignatureDoesNotMatch".to_owned()) });
    assert_eq!(world.store.requests().len(), 1);
}

#[tokio::test]
async fn bytes_that_changed_on_the_way_are_found() {
    for bytes in [10, 2500] {
        let world = World::new().await;
        world.store.flip();

        assert_eq!(world.upload(bytes, 1).await.unwrap_err(), UploadError::Different);
    }
}

#[tokio::test]
async fn a_completion_that_fails_behind_its_200_is_a_failure() {
    let world = World::new().await;
    world.store.cut_completion();

    let error = world.upload(2500, 1).await.unwrap_err();

    assert_eq!(error, UploadError::Refused { status: 200, word: Some("InternalError".to_owned()) });
    assert_eq!((world.store.objects(), world.store.open_uploads()), (0, 0));
}

#[tokio::test]
async fn a_store_that_is_not_there_is_named_without_key_and_path() {
    let dir = TempDir::new();
    std::fs::write(dir.join("file"), "x").unwrap();
    let bucket =
        Bucket::parse("http://AK:hunter2@127.0.0.1:9/secret-bucket", &[], HeaderValue::from_static("test"))
            .unwrap();

    let error = bucket.with_parts(1000, Vec::new()).upload(&dir.join("file"), "x", &Noon).await.unwrap_err();

    assert_eq!(error.to_string(), "127.0.0.1:9 does not take connections");
}
