//! The file of the first version, under the real program: its people are there at once, under their ids, and stay.

use std::path::Path;

use levqor_testkit::TempDir;
use serde_json::{Value, json};

use crate::program::{Running, levqor};

const ADA: &str = "3f0c6e8d5b1a4c7e9d2f1a0b3c4d5e6f";

/// As its last process left the file: in WAL mode, with its index, with a row that nobody ever checked.
fn write_first_version(folder: &Path) {
    let file = rusqlite::Connection::open(folder.join("levqor.db")).unwrap();
    file.execute_batch(&format!(
        "pragma journal_mode = wal; pragma synchronous = normal;
         create table users (id text primary key, email text unique not null, name text, locale text, currency text,
             meta text, created_at real, updated_at real);
         create unique index if not exists idx_users_email on users(email);
         insert into users values ('{ADA}', 'ada@example.org', 'Ada', 'en-GB', 'GBP', '{{\"plan\":\"pro\",\"n\":1.50}}',
             1700000000.25, 1700000001.5);
         insert into users values ('00000000000000000000000000000001', 'not an email', null, null, null, 'NaN', 1, 2);"
    ))
    .unwrap();
}

#[test]
fn people_of_the_first_version_are_found_changed_and_kept_over_restarts() {
    let dir = TempDir::new();
    write_first_version(dir.path());
    let server = Running::start_in(dir, &[]);
    let ada = json!({
        "id": ADA, "email": "ada@example.org", "name": "Ada", "locale": "en-GB", "currency": "GBP",
        "meta": {"plan": "pro", "n": 1.5}, "created_at": 1_700_000_000.25, "updated_at": 1_700_000_001.5
    });
    let json = |body: &str| serde_json::from_str::<Value>(body).unwrap();
    let kind = ["Content-Type: application/json"];

    let (status, found) = server.ask("GET /api/v1/users?email=%20Ada@Example.org", &[], "");
    assert_eq!((status, json(&found)), (200, ada.clone()));
    let (status, got) = server.ask(&format!("GET /api/v1/users/{ADA}"), &[], "");
    assert_eq!((status, json(&got)), (200, ada.clone()));
    assert!(got.contains("1.50"), "numbers keep their digits: {got}");
    let (status, other) = server.ask("GET /api/v1/users/00000000000000000000000000000001", &[], "");
    assert_eq!((status, &json(&other)["meta"]), (200, &json!({})), "what was never checked is readable");

    let body = r#"{"email":"ADA@example.org","name":"A","meta":{"plan":"pro"}}"#;
    let (status, upserted) = server.ask("POST /api/v1/users/upsert", &kind, body);
    let upserted = json(&upserted);
    assert_eq!((status, &upserted["updated"], &upserted["user"]["id"]), (200, &json!(true), &json!(ADA)));
    assert_eq!(upserted["user"]["created_at"], ada["created_at"], "it is the same person");
    let patch = server.ask(&format!("PATCH /api/v1/users/{ADA}"), &kind, r#"{"meta":{"plan":"free"}}"#);
    assert_eq!(patch.0, 200, "{}", patch.1);

    let dir = server.rest();
    let pending = levqor(dir.path(), &[], &["migrate", "--check"]);
    assert_eq!((pending.code, pending.out.as_str()), (Some(0), "The database is up to date.\n"));
    let again = Running::start_in(dir, &[]);
    let (status, kept) = again.ask(&format!("GET /api/v1/users/{ADA}"), &[], "");
    assert_eq!((status, &json(&kept)["meta"]), (200, &json!({"plan": "free"})));
}
