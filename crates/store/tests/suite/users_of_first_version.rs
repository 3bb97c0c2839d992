//! A file of the first version comes with its table of users: all of them are taken over, whatever their rows hold.

use levqor_core::job::Intake;
use levqor_core::user::UserPatch;
use levqor_store::{Location, Store, UserRow};
use levqor_testkit::TempDir;

use crate::world::*;

const FIRST_VERSION: &str = "pragma journal_mode = wal; \
    create table users (id text primary key, email text unique not null, name text, locale text, currency text, \
    meta text, created_at real, updated_at real); \
    create unique index if not exists idx_users_email on users(email);";

async fn taken_over(rows: &str) -> (TempDir, Store) {
    let dir = TempDir::new();
    let path = dir.join("levqor.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(FIRST_VERSION).unwrap();
    old.execute_batch(rows).unwrap();
    drop(old);
    let location = Location::Sqlite(path);
    assert_eq!(Store::pending_migrations(&location).await.unwrap()[..2], ["0001_core", "0002_users"]);
    let store = Store::open(&location, "node").await.unwrap();
    assert_eq!(store.intake(job(NOON)).await.unwrap(), Intake::Created);
    (dir, store)
}

#[tokio::test]
async fn its_users_keep_id_address_and_times_to_the_millisecond() {
    let id = "3f0c6e8d5b1a4c7e9d2f1a0b3c4d5e6f";
    let rows = format!(
        "insert into users values ('{id}', 'ada@example.org', 'Ada', null, 'EUR', '{{\"a\": 1.50, \"b\": {{\"c\": null}}}}', \
         1700000000.123456, 1700000001.9999)"
    );
    let (_dir, store) = taken_over(&rows).await;

    let user = store.find_user_by_email("ada@example.org").await.unwrap().unwrap();

    let expected = UserRow {
        id: id.to_owned(),
        email: "ada@example.org".to_owned(),
        name: Some("Ada".to_owned()),
        locale: None,
        currency: Some("EUR".to_owned()),
        meta: r#"{"a": 1.50, "b": {"c": null}}"#.to_owned(),
        created_at_ms: 1_700_000_000_123,
        updated_at_ms: 1_700_000_002_000,
        payments: Vec::new(),
    };
    assert_eq!(user, expected);
    let patch = UserPatch { meta: Some(r#"{"d":2}"#.to_owned()), ..UserPatch::default() };
    let patched = store.patch_user(id, patch, by(), NOON).await.unwrap();
    assert_eq!(patched.meta, r#"{"a":1.50,"b":{"c": null},"d":2}"#);
    assert_eq!((patched.created_at_ms, patched.updated_at_ms), (1_700_000_000_123, NOON));
}

#[tokio::test]
async fn garbage_in_its_rows_breaks_no_read() {
    let metas = [
        ("null", "{}"),
        ("''", "{}"),
        ("'no json'", "{}"),
        ("'[1]'", "{}"),
        ("'null'", "{}"),
        ("x'7b7d'", "{}"),
        ("5", "{}"),
        (r#"'{"a": NaN, "b": 1.10}'"#, r#"{"a":null,"b":1.10}"#),
        (
            r#"'{"a": Infinity, "b": [-Infinity, Infinity], "c": "x"}'"#,
            r#"{"a":null,"b":[null,null],"c":"x"}"#,
        ),
        (r#"'{"a": "\ud800"}'"#, r#"{"a": "\ud800"}"#),
    ];
    let mut rows = String::new();
    for (n, (meta, _)) in metas.iter().enumerate() {
        rows += &format!("insert into users values ('m{n}', 'm{n}', null, null, null, {meta}, 1, 2);");
    }
    rows += "insert into users values ('blank', '', null, null, 'BTC', '{}', null, 'yesterday');
        insert into users values ('far', 'not an email', 7, 1.5, null, '{}', 9e999, -5);
        insert into users values ('bytes', 'b', cast(x'41ff42' as text), x'41ff', null, '{}', 1, 2);
        insert into users values ('nul', cast(x'610062' as text), null, null, null, '{}', 1, 2);
        insert into users values (null, 'nobody', null, null, null, '{}', 1, 2);";
    let (_dir, store) = taken_over(&rows).await;

    for (n, (stored, meta)) in metas.iter().enumerate() {
        let user = store.find_user_by_email(&format!("m{n}")).await.unwrap().unwrap();
        assert_eq!(user.meta, *meta, "{stored}");
        assert_eq!((user.created_at_ms, user.updated_at_ms), (1_000, 2_000));
        store.patch_user(&user.id, UserPatch::default(), by(), NOON).await.unwrap();
    }
    let blank = store.find_user("blank").await.unwrap().unwrap();
    assert_eq!((blank.email.as_str(), blank.currency.as_deref(), blank.created_at_ms), ("", Some("BTC"), 0));
    let far = store.find_user_by_email("not an email").await.unwrap().unwrap();
    assert_eq!((far.name.as_deref(), far.locale.as_deref()), (Some("7"), Some("1.5")));
    assert_eq!((far.created_at_ms, far.updated_at_ms), (253_402_300_799_999, 0));
    let bytes = store.find_user("bytes").await.unwrap().unwrap();
    assert_eq!((bytes.name.as_deref(), bytes.locale.as_deref()), (Some("A\u{fffd}B"), Some("A\u{fffd}")));
    assert_eq!(store.find_user("nul").await.unwrap().unwrap().email, "a\0b");
    assert_eq!(store.find_user_by_email("nobody").await.unwrap().unwrap().id.len(), 32);
}

/// `meta.last_payment` is all that it kept of payments, and a caller could write anything there.
#[tokio::test]
async fn its_last_payments_become_history() {
    let good =
        r#"{"a": 1, "last_payment": {"session_id": "cs_1", "amount": 1999, "timestamp": 1700000000.25}}"#;
    let metas = [
        ("good", good, Some(Some(1999))),
        (
            "whole",
            r#"{"last_payment": {"session_id": "cs_2", "amount": null, "timestamp": 1700000000}}"#,
            Some(None),
        ),
        ("text", r#"{"last_payment": {"session_id": "cs_3", "amount": "12", "timestamp": 1}}"#, Some(None)),
        (
            "large",
            r#"{"last_payment": {"session_id": "cs_4", "amount": 99999999999999999999, "timestamp": 1e300}}"#,
            Some(None),
        ),
        ("none", "{}", None),
        ("null", r#"{"last_payment": null}"#, None),
        ("list", r#"{"last_payment": [1]}"#, None),
        ("no session", r#"{"last_payment": {"amount": 5, "timestamp": 1}}"#, None),
        ("no time", r#"{"last_payment": {"session_id": "cs_5", "amount": 5}}"#, None),
        ("nul", r#"{"last_payment": {"session_id": "c\u0000s", "amount": 5, "timestamp": 1}}"#, None),
        (
            "surrogate",
            r#"{"last_payment": {"session_id": "\ud800", "amount": 5, "timestamp": 1}, "b": "\ud800"}"#,
            None,
        ),
        ("nan", r#"{"last_payment": {"session_id": "cs_6", "amount": NaN, "timestamp": 1}}"#, Some(None)),
        ("no json", "no json", None),
    ];
    let mut rows: String = metas
        .iter()
        .enumerate()
        .map(|(n, (id, meta, _))| {
            format!("insert into users values ('{id}', 'm{n}', null, null, null, '{meta}', 1, 2);")
        })
        .collect();
    rows += &format!("insert into users values (x'41', 'blob', null, null, null, '{good}', 1, 2);");
    let (_dir, store) = taken_over(&rows).await;

    for (id, meta, expected) in metas {
        let user = store.find_whole_user(id).await.unwrap().unwrap();
        let amounts: Vec<Option<i64>> = user.payments.iter().map(|line| line.amount).collect();
        assert_eq!(amounts, expected.into_iter().collect::<Vec<_>>(), "{id}: {meta}");
    }
    let user = store.find_whole_user("good").await.unwrap().unwrap();
    let line = &user.payments[0];
    assert_eq!((line.session_id.as_deref(), line.happened_at_ms), (Some("cs_1"), 1_700_000_000_250));
    assert_eq!((line.kind.as_str(), line.event_type.as_str()), ("paid", "first_version.payment"));
    assert!(line.event_id.starts_with("first-version-"), "{}", line.event_id);
}

#[tokio::test]
async fn a_hundred_thousand_of_them_are_taken_over_in_seconds() {
    let rows = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100000) \
        insert into users select lower(hex(randomblob(16))), 'u' || i || '@example.org', null, null, null, '{}', i, i from n";
    let (_dir, store) = taken_over(rows).await;

    let user = store.find_user_by_email("u99999@example.org").await.unwrap().unwrap();

    assert_eq!(user.created_at_ms, 99_999_000);
}
