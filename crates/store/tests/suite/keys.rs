//! API keys: made, replaced, ended, and found by what is kept of them.

use levqor_core::audit::Actor;
use levqor_core::key::{Minted, Scopes, digest};
use levqor_store::{Error, Hint, KeyRow, KeyTally, NewKey, Store};

use crate::world::*;

fn minted(n: u8, now_ms: i64) -> Minted {
    Minted::new(now_ms, [n; 38])
}

fn key(n: u8, scopes: &str) -> NewKey {
    NewKey {
        minted: minted(n, NOON),
        name: format!("key {n}"),
        scopes: Scopes::parse(scopes).unwrap(),
        expires_at_ms: None,
    }
}

impl World {
    async fn make(&self, n: u8, scopes: &str) -> KeyRow {
        self.store.insert_key(key(n, scopes), false, &Actor::cli(), NOON).await.unwrap()
    }

    async fn live(&self, now_ms: i64) -> Vec<String> {
        let mut ids: Vec<String> = self
            .store
            .live_keys(None, now_ms)
            .await
            .unwrap()
            .unwrap()
            .keys
            .into_iter()
            .map(|key| key.id)
            .collect();
        ids.sort();
        ids
    }

    async fn text(&self, table: &str) -> String {
        let sql = format!("select * from {table}");
        match &self.location {
            levqor_store::Location::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).unwrap();
                let mut statement = conn.prepare(&sql).unwrap();
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| {
                    Ok((0..columns)
                        .map(|at| format!("{:?} ", row.get::<_, rusqlite::types::Value>(at).unwrap()))
                        .collect::<String>())
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            levqor_store::Location::Postgres(url) => {
                let sql = format!("select cast(row_to_json(t) as text) from {table} t");
                run_postgres(url, &sql).await.iter().map(|row| row.get::<_, String>(0)).collect()
            }
        }
    }
}

each_engine! {
    async fn a_key_is_kept_as_its_hash_and_found_by_it(world: World) {
        let row = world.make(1, "read,admin").await;

        assert_eq!(world.store.find_key(&row.id).await.unwrap(), Some(row.clone()));
        assert_eq!((row.family.as_str(), row.created_by.as_str()), (row.id.as_str(), "cli"));
        let live = world.store.live_keys(None, NOON).await.unwrap().unwrap();
        assert!(live.any);
        assert_eq!(live.keys[0].hash, digest(minted(1, NOON).reveal().as_bytes()));
        assert_eq!((live.keys[0].id.as_str(), live.keys[0].scopes), (row.id.as_str(), row.scopes));
        let secret = minted(1, NOON).reveal()[29..].to_owned();
        for table in ["api_keys", "audit_entries"] {
            let text = world.text(table).await;
            assert!(text.contains(&row.id) && !text.contains(&secret), "{table}: {text}");
        }
    }

    async fn the_first_key_must_be_able_to_make_others_unless_there_are_others(world: World) {
        let refused = world.store.insert_key(key(1, "read,submit"), false, by(), NOON).await;
        assert!(matches!(&refused, Err(Error::Conflict { what }) if what.contains("admin")), "{refused:?}");
        assert!(!world.store.live_keys(None, NOON).await.unwrap().unwrap().any, "and the server stays as it was");

        world.store.insert_key(key(2, "read"), true, by(), NOON).await.unwrap();
        world.make(3, "admin").await;
        world.make(4, "submit").await;
        assert_eq!(world.live(NOON).await.len(), 3);
    }

    async fn a_revoked_key_is_over_at_once_and_for_ever(world: World) {
        let row = world.make(1, "admin").await;
        let mut hints = world.store.hints();

        let revoked = world.store.revoke_key(&row.id, by(), NOON + 5).await.unwrap();
        assert_eq!(hints.try_recv().unwrap(), Hint::KeysChanged);
        let again = world.store.revoke_key(&row.id, by(), NOON + 9).await.unwrap();

        assert_eq!((revoked.revoked_at_ms, again.revoked_at_ms), (Some(NOON + 5), Some(NOON + 5)));
        assert_eq!(world.live(NOON + 5).await, Vec::<String>::new());
        assert!(world.store.live_keys(None, NOON).await.unwrap().unwrap().any, "there was a key once");
        let rotated = world.store.rotate_key(&row.id, minted(2, NOON), None, NOON, by(), NOON + 9).await;
        assert!(matches!(&rotated, Err(Error::Conflict { what }) if what.contains("revoked")), "{rotated:?}");
        let unknown = world.store.revoke_key("none", by(), NOON).await;
        assert!(matches!(unknown, Err(Error::NotFound { what: "key" })), "{unknown:?}");
    }

    async fn a_successor_has_the_same_family_and_the_old_key_lives_on_for_a_while(world: World) {
        let old = world.make(1, "read,admin").await;

        let new = world.store.rotate_key(&old.id, minted(2, NOON + 1), None, NOON + DAY, by(), NOON + 1).await.unwrap();

        assert_eq!((&new.family, &new.name, new.scopes, new.expires_at_ms), (&old.family, &old.name, old.scopes, None));
        assert_eq!(world.live(NOON + DAY - 1).await, [old.id.clone(), new.id.clone()]);
        assert_eq!(world.live(NOON + DAY).await, std::slice::from_ref(&new.id));
        let again = world.store.rotate_key(&old.id, minted(3, NOON), None, NOON + DAY, by(), NOON + 2).await;
        assert!(matches!(&again, Err(Error::Conflict { what }) if what.contains(&new.id)), "{again:?}");
        let third = world.store.rotate_key(&new.id, minted(3, NOON + 2), None, NOON + 2, by(), NOON + 2).await.unwrap();
        assert_eq!(third.family, old.family);
        assert_eq!(world.live(NOON + 2).await, [old.id, third.id], "no overlap was asked for");
    }

    async fn a_successor_lives_as_long_as_the_old_key_was_meant_to(world: World) {
        let old = NewKey { expires_at_ms: Some(NOON + 10 * DAY), ..key(1, "admin") };
        let old = world.store.insert_key(old, false, by(), NOON).await.unwrap();

        let late = NOON + 10 * DAY - HOUR;
        let new = world.store.rotate_key(&old.id, minted(2, late), None, late + DAY, by(), late).await.unwrap();

        assert_eq!(new.expires_at_ms, Some(late + 10 * DAY));
        let old = world.store.find_key(&old.id).await.unwrap().unwrap();
        assert_eq!(old.expires_at_ms, Some(NOON + 10 * DAY), "an overlap prolongs nothing");
        let over = world.store.rotate_key(&new.id, minted(3, late), None, late, by(), late + 11 * DAY).await;
        assert!(matches!(&over, Err(Error::Conflict { what }) if what.contains("expired")), "{over:?}");
    }

    async fn of_two_rotations_at_once_one_wins(world: World) {
        let old = world.make(1, "admin").await;
        let rotate = |n| world.store.rotate_key(&old.id, minted(n, NOON), None, NOON + DAY, by(), NOON);

        let (one, other) = tokio::join!(rotate(2), rotate(3));

        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert_eq!(world.live(NOON).await.len(), 2);
    }

    async fn lists_go_from_new_to_old_page_by_page(world: World) {
        let mut ids = Vec::new();
        for n in 1..=5 {
            let key = NewKey { minted: minted(n, NOON + i64::from(n)), ..key(n, "admin") };
            ids.insert(0, world.store.insert_key(key, false, by(), NOON).await.unwrap().id);
        }
        let first = world.store.list_keys(None, 3).await.unwrap();
        let second = world.store.list_keys(first.next.as_deref(), 3).await.unwrap();

        let listed: Vec<String> = first.keys.iter().chain(&second.keys).map(|key| key.id.clone()).collect();
        assert_eq!((listed, second.next), (ids, None));
    }

    async fn nothing_is_read_while_nothing_can_have_changed(world: World) {
        world.make(1, "admin").await;
        let live = world.store.live_keys(None, NOON).await.unwrap().unwrap();

        assert_eq!(world.store.live_keys(Some(live.seen), NOON).await.unwrap(), None);
        world.store.touch_keys(vec![(live.keys[0].id.clone(), NOON)]).await.unwrap();
        assert_eq!(world.store.live_keys(Some(live.seen), NOON).await.unwrap(), None, "a use is no change");
        world.make(2, "read").await;
        assert_eq!(world.store.live_keys(Some(live.seen), NOON).await.unwrap().unwrap().keys.len(), 2);
    }

    async fn the_last_use_never_moves_back(world: World) {
        let row = world.make(1, "admin").await;
        for at_ms in [NOON + 5, NOON + 3] {
            world.store.touch_keys(vec![(row.id.clone(), at_ms), ("none".to_owned(), at_ms)]).await.unwrap();
        }
        let last = world.store.find_key(&row.id).await.unwrap().unwrap().last_used_at_ms;
        assert_eq!(last, Some(NOON + 5));
    }

    async fn who_asks_from_outside_learns_whether_there_are_keys(world: World) {
        let tally = |any, usable| KeyTally { any, usable };
        assert_eq!(Store::read_keys(&world.location, NOON).await.unwrap(), tally(false, false));
        let row = world.make(1, "admin").await;
        assert_eq!(Store::read_keys(&world.location, NOON).await.unwrap(), tally(true, true));
        world.store.revoke_key(&row.id, by(), NOON).await.unwrap();
        assert_eq!(Store::read_keys(&world.location, NOON).await.unwrap(), tally(true, false));
    }
}

#[tokio::test]
async fn where_there_is_no_database_there_are_no_keys_and_none_is_made() {
    let dir = levqor_testkit::TempDir::new();
    let location = levqor_store::Location::Sqlite(dir.join("none.db"));

    assert_eq!(Store::read_keys(&location, NOON).await.unwrap(), KeyTally::default());
    assert!(!dir.join("none.db").exists());
}
