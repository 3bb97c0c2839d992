//! People: upserts, patches and deletes, one at a time and many at once.

use levqor_core::user::{UserPatch, UserUpsert};
use levqor_store::{Error, UserRow};

use crate::world::*;

fn ada() -> UserUpsert {
    UserUpsert {
        email: "ada@example.org".to_owned(),
        name: Some("Ada".to_owned()),
        locale: None,
        currency: Some("EUR"),
        meta: r#"{"n":12345678901234567890.10}"#.to_owned(),
    }
}

fn meta(text: &str) -> UserPatch {
    UserPatch { meta: Some(text.to_owned()), ..UserPatch::default() }
}

each_engine! {
    async fn an_upsert_creates_and_then_replaces_everything_but_id_and_creation(world: World) {
        let (row, is_new) = world.store.upsert_user("id-1", ada(), by(), NOON).await.unwrap();
        let expected = UserRow {
            id: "id-1".to_owned(),
            email: "ada@example.org".to_owned(),
            name: Some("Ada".to_owned()),
            locale: None,
            currency: Some("EUR".to_owned()),
            meta: r#"{"n":12345678901234567890.10}"#.to_owned(),
            created_at_ms: NOON,
            updated_at_ms: NOON,
            payments: Vec::new(),
        };
        assert_eq!((&row, is_new), (&expected, true));

        let bare = UserUpsert { name: None, locale: Some("en".to_owned()), currency: None, meta: "{}".to_owned(), ..ada() };
        let (row, is_new) = world.store.upsert_user("id-2", bare, by(), NOON + 5).await.unwrap();

        let expected = UserRow {
            name: None,
            locale: Some("en".to_owned()),
            currency: None,
            meta: "{}".to_owned(),
            updated_at_ms: NOON + 5,
            ..expected
        };
        assert_eq!((&row, is_new), (&expected, false));
        assert_eq!(world.store.find_user("id-1").await.unwrap(), Some(expected.clone()));
        assert_eq!(world.store.find_user_by_email("ada@example.org").await.unwrap(), Some(expected));
        assert_eq!(world.store.find_user("id-2").await.unwrap(), None);
        assert_eq!(world.store.find_user_by_email("Ada@example.org").await.unwrap(), None, "the caller normalises");
    }

    async fn of_many_first_upserts_at_once_one_creates(world: World) {
        let ids: Vec<String> = (0..32).map(|n| format!("id-{n}")).collect();
        let upserts = ids.iter().map(|id| world.store.upsert_user(id, ada(), by(), NOON));

        let outcomes: Vec<_> =
            futures_util::future::join_all(upserts).await.into_iter().map(Result::unwrap).collect();

        assert_eq!(outcomes.iter().filter(|(_, is_new)| *is_new).count(), 1);
        assert!(outcomes.iter().all(|(row, _)| row.id == outcomes[0].0.id));
        assert_eq!(world.number("select count(*) from users").await, 1);
    }

    async fn a_patch_changes_what_it_names(world: World) {
        world.store.upsert_user("id-1", ada(), by(), NOON).await.unwrap();

        let patch = UserPatch { locale: Some("de".to_owned()), currency: Some("GBP"), ..meta(r#"{"a":null,"b":[1]}"#) };
        let row = world.store.patch_user("id-1", patch, by(), NOON + 1).await.unwrap();

        assert_eq!((row.name.as_deref(), row.locale.as_deref(), row.currency.as_deref()), (Some("Ada"), Some("de"), Some("GBP")));
        assert_eq!(row.meta, r#"{"a":null,"b":[1],"n":12345678901234567890.10}"#);
        assert_eq!((row.created_at_ms, row.updated_at_ms), (NOON, NOON + 1));
        assert_eq!(world.store.find_user("id-1").await.unwrap(), Some(row.clone()));

        let touched = world.store.patch_user("id-1", UserPatch::default(), by(), NOON - 5).await.unwrap();
        assert_eq!(touched, UserRow { updated_at_ms: NOON + 2, ..row }, "only the time moves, and only forwards");
        let unknown = world.store.patch_user("id-2", UserPatch::default(), by(), NOON).await;
        assert!(matches!(unknown, Err(Error::NotFound { what: "user" })), "{unknown:?}");
    }

    async fn patches_at_once_lose_nothing(world: World) {
        world.store.upsert_user("id-1", ada(), by(), NOON).await.unwrap();
        let patches = (0..24).map(|n| {
            let store = &world.store;
            async move { store.patch_user("id-1", meta(&format!(r#"{{"key-{n}":{n}}}"#)), by(), NOON).await.unwrap() }
        });

        futures_util::future::join_all(patches).await;

        let row = world.store.find_user("id-1").await.unwrap().unwrap();
        for n in 0..24 {
            assert!(row.meta.contains(&format!(r#""key-{n}":{n}"#)), "{}", row.meta);
        }
        assert_eq!(row.updated_at_ms, NOON + 24);
    }

    async fn a_merge_that_grows_too_large_changes_nothing(world: World) {
        world.store.upsert_user("id-1", ada(), by(), NOON).await.unwrap();
        let half = |name: &str| meta(&format!(r#"{{"{name}":"{}"}}"#, "x".repeat(9_000)));
        let before = world.store.patch_user("id-1", half("a"), by(), NOON + 1).await.unwrap();

        let refused = world.store.patch_user("id-1", half("b"), by(), NOON + 2).await;

        assert!(matches!(&refused, Err(Error::Conflict { what }) if what.contains("16384")), "{refused:?}");
        assert_eq!(world.store.find_user("id-1").await.unwrap(), Some(before));
    }

    async fn who_is_deleted_is_gone_and_the_address_is_free(world: World) {
        world.store.upsert_user("id-1", ada(), by(), NOON).await.unwrap();

        world.store.delete_user("id-1", by(), NOON).await.unwrap();

        assert_eq!(world.store.find_user("id-1").await.unwrap(), None);
        assert_eq!(world.number("select count(*) from users").await, 0);
        let again = world.store.delete_user("id-1", by(), NOON).await;
        assert!(matches!(again, Err(Error::NotFound { what: "user" })), "{again:?}");
        assert!(world.store.upsert_user("id-2", ada(), by(), NOON).await.unwrap().1);
    }

    async fn people_outlive_a_crash(world: World) {
        let (row, _) = world.store.upsert_user("id-1", ada(), by(), NOON).await.unwrap();

        let world = world.after_a_crash().await;

        assert_eq!(world.store.find_user("id-1").await.unwrap(), Some(row));
    }
}
