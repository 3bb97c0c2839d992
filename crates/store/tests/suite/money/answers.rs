//! Answers that are given again: for nothing, once for each place, and not longer than they are kept.

use levqor_core::money::{CallState, Nano};
use levqor_store::{CacheHit, CachedAnswer};

use super::help::*;
use crate::world::*;

fn answer(call: &str) -> CachedAnswer {
    CachedAnswer { call: call.to_owned(), said: r#"{"text":"hi"}"#.to_owned() }
}

each_engine! {
    async fn an_answer_is_found_while_it_is_young_and_the_newest_counts(world: World) {
        let store = &world.store;
        store.put_answer("k", &answer("one"), NOON, NOON + HOUR).await.unwrap();
        store.put_answer("k", &answer("two"), NOON + 10, NOON + HOUR).await.unwrap();

        assert_eq!(store.find_answer("k", NOON + 10).await.unwrap(), Some(answer("two")));
        assert_eq!(store.find_answer("k", NOON + 11).await.unwrap(), None);
        assert_eq!(store.find_answer("other", 0).await.unwrap(), None);
        store.prune(0, None, NOON + HOUR - 1).await.unwrap();
        assert!(store.find_answer("k", 0).await.unwrap().is_some());
        store.prune(0, None, NOON + HOUR).await.unwrap();
        assert_eq!(store.find_answer("k", 0).await.unwrap(), None);
    }

    async fn a_hit_is_a_call_of_its_own_that_costs_nothing(world: World) {
        let store = &world.store;
        put(store, &day(100)).await;
        let paid = sent(store, in_job(id(NOON), 1, call(5))).await;
        settle(store, paid, 3).await;
        let job = id(NOON);
        let place = in_job(job, 1, call(0)).place.unwrap();
        let hit = CacheHit {
            id: call_id(),
            of: paid,
            place: place.clone(),
            key: Some("key-1".to_owned()),
            tags: Default::default(),
            at_ms: NOON + 1,
        };

        let first = store.record_cache_hit(&hit).await.unwrap();
        let again = store.record_cache_hit(&CacheHit { id: call_id(), ..hit.clone() }).await.unwrap();
        let elsewhere = levqor_store::CallPlace { attempt: 9, ..place };
        let unknown = CacheHit { id: call_id(), of: call_id(), place: elsewhere, ..hit.clone() };
        let gone = store.record_cache_hit(&unknown).await.unwrap();

        assert_eq!((first, again, gone), (Some(hit.id), Some(hit.id), None));
        let row = store.find_call(hit.id).await.unwrap().unwrap();
        assert_eq!((row.state, row.settled, row.reserved), (CallState::Settled, Some(Nano::ZERO), Nano::ZERO));
        assert_eq!((row.finish_reason.as_deref(), row.model.as_str()), (Some("cache_hit"), "gpt-6-sol"));
        let kinds: Vec<&str> = row.ledger.iter().map(|row| row.kind.as_str()).collect();
        assert_eq!(kinds, ["cache_hit"]);
        assert_eq!(store.list_calls(job).await.unwrap().len(), 1);
    }

    async fn waiting_jobs_are_made_due_and_no_others(world: World) {
        let store = &world.store;
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        world.record(&claimed, Vec::new(), levqor_core::job::Then::Rest { until_ms: NOON + HOUR }).await;
        let queued = world.put(job(NOON)).await;
        let scheduled = world.put(levqor_core::job::NewJob { run_at_ms: Some(NOON + HOUR), ..job(NOON) }).await;

        assert_eq!(store.hasten(&[claimed.id, queued, scheduled, id(NOON)], NOON + 5).await.unwrap(), 1);

        assert_eq!(store.move_due(NOON + 5, 10).await.unwrap(), (1, Some(NOON + HOUR)));
        assert_eq!(store.hasten(&[claimed.id], NOON + 5).await.unwrap(), 0);
    }

    async fn the_word_for_budgets_changes_with_each_of_them(world: World) {
        let store = &world.store;
        let before = store.budgets_token().await.unwrap();
        put(store, &day(100)).await;
        let after = store.budgets_token().await.unwrap();
        put(store, &day(100)).await;

        assert_ne!(before, after);
        assert_eq!(store.budgets_token().await.unwrap(), after, "nothing changed");
    }
}
