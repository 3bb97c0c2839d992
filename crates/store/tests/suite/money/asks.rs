//! Questions under a key of their caller's: one call for each, whoever asks, until a day is over.

use levqor_core::audit::Actor;
use levqor_core::money::{CallId, Permit};
use levqor_core::user::parse_upsert;
use levqor_store::{AskPlace, Asked, NewCall, Reserved, Store};

use super::help::*;
use crate::world::*;

async fn ask(store: &Store, print: &str, now_ms: i64) -> Asked {
    store.ask("k", print, Some("u-1"), now_ms, now_ms + DAY).await.unwrap()
}

async fn free(store: &Store, now_ms: i64) -> AskPlace {
    match ask(store, "one", now_ms).await {
        Asked::Free(place) => place,
        other => panic!("{other:?}"),
    }
}

async fn reserve(store: &Store, place: &AskPlace, at_ms: i64) -> Result<Permit, CallId> {
    let call = NewCall { ask: Some(place.clone()), at_ms, ..call(5) };
    match store.reserve(call).await.unwrap() {
        Reserved::Granted(permit) => Ok(permit),
        Reserved::Known { call, .. } => Err(call),
        other => panic!("{other:?}"),
    }
}

each_engine! {
    async fn a_key_is_one_call_and_another_question_is_not_its(world: World) {
        let store = &world.store;
        put(store, &day(100)).await;
        let place = free(store, NOON).await;
        assert_eq!(free(store, NOON).await, place, "nobody has asked yet");
        let permit = reserve(store, &place, NOON).await.unwrap();
        let call = permit.call();

        assert_eq!(reserve(store, &place, NOON).await.unwrap_err(), call, "the place is taken");
        assert_eq!(ask(store, "one", NOON).await, Asked::Open(call));
        assert_eq!(ask(store, "two", NOON).await, Asked::Other);
        let call = permit.spend();
        assert_eq!(ask(store, "one", NOON).await, Asked::Open(call));
        settle(store, call, 3).await;
        assert_eq!(ask(store, "one", NOON).await, Asked::Charged(call));

        assert!(store.keep_ask("k", "one", "said", NOON + DAY).await.unwrap());
        assert!(!store.keep_ask("k", "one", "else", NOON + DAY).await.unwrap(), "the first word stands");
        assert!(!store.keep_ask("k", "two", "else", NOON + DAY).await.unwrap());
        assert_eq!(ask(store, "one", NOON + DAY - 1).await, Asked::Answered("said".to_owned()));
        assert_eq!(ask(store, "two", NOON).await, Asked::Other);
        assert_eq!(store.find_ask("other", "one", NOON).await.unwrap(), None);
    }

    async fn a_call_that_cost_nothing_leaves_the_key_free(world: World) {
        let store = &world.store;
        put(store, &day(100)).await;
        let first = free(store, NOON).await;
        for _ in 0..12 {
            let place = free(store, NOON).await;
            let call = reserve(store, &place, NOON).await.unwrap().spend();
            release(store, call).await;
        }
        let place = free(store, NOON).await;
        assert_ne!(place, first);

        let call = reserve(store, &place, NOON).await.unwrap().spend();
        settle(store, call, 3).await;
        assert_eq!(ask(store, "one", NOON).await, Asked::Charged(call), "the last try is found, not the first");
    }

    async fn after_a_day_the_key_is_new_and_a_charge_of_just_now_still_counts(world: World) {
        let store = &world.store;
        put(store, &day(100)).await;
        let place = free(store, NOON).await;
        let call = reserve(store, &place, NOON).await.unwrap().spend();
        settle(store, call, 3).await;
        store.keep_ask("k", "one", "said", NOON + DAY).await.unwrap();

        // Not yet swept, and yet over.
        assert!(matches!(ask(store, "two", NOON + DAY).await, Asked::Free(_)));
        store.prune(0, None, NOON + 2 * DAY).await.unwrap();
        assert_eq!(store.find_ask("k", "two", NOON).await.unwrap(), None);
        let Asked::Free(place) = ask(store, "two", NOON + 2 * DAY).await else { panic!() };
        let late = NOON + 3 * DAY - 1;
        let call = reserve(store, &place, late).await.unwrap().spend();
        settle(store, call, 3).await;
        assert_eq!(ask(store, "two", late + 2).await, Asked::Charged(call), "its answer may be on its way");
    }

    async fn a_person_who_is_erased_takes_their_answers_along(world: World) {
        let store = &world.store;
        put(store, &day(100)).await;
        let place = free(store, NOON).await;
        let call = reserve(store, &place, NOON).await.unwrap().spend();
        settle(store, call, 3).await;
        store.keep_ask("k", "one", "said", NOON + DAY).await.unwrap();
        let upsert = parse_upsert(br#"{"email":"ada@example.org"}"#).unwrap();
        store.upsert_user("u-1", upsert, &Actor::system(), NOON).await.unwrap();
        store.delete_user("u-1", &Actor::system(), NOON).await.unwrap();

        assert_eq!(store.find_ask("k", "one", NOON).await.unwrap(), None);
        assert_eq!(ask(store, "one", NOON).await, Asked::Charged(call), "and is not paid for again");
    }
}
