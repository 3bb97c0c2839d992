//! Commit 1.

use std::sync::Arc;

use levqor_core::job::{Idempotency, Intake, NewJob, Priority};
use levqor_core::state::State;
use levqor_store::{Error, Hint};

use crate::world::*;

each_engine! {
    async fn a_stored_job_is_found_as_it_came(world: World) {
        let tags = [("customer".to_owned(), "Żółć \"7\"".to_owned())].into();
        let new = NewJob {
            callback_url: Some("https://a.example/hook".to_owned()),
            priority: Priority::High,
            tags,
            payload: r#"{"big":18446744073709551615,"text":"line\nend","null":null}"#.to_owned(),
            ..job(NOON)
        };

        let id = world.put(new.clone()).await;

        let row = world.store.find_job(id).await.unwrap().unwrap();
        assert_eq!(row.payload, new.payload);
        assert_eq!(row.callback_url, new.callback_url);
        assert_eq!(row.caller, "key");
        assert_eq!((row.claim, row.deaths), (0, 0));
        assert_eq!(row.line.tags, new.tags);
        assert_eq!(row.line.priority, Priority::High);
        assert_eq!(row.line.state, State::Queued);
        assert_eq!((row.line.workflow.as_str(), row.line.version), ("greet", Some(1)));
        assert_eq!((row.line.created_at_ms, row.line.started_at_ms, row.line.finished_at_ms), (NOON, None, None));
        let status = world.store.find_status(id).await.unwrap().unwrap();
        assert_eq!((status.state, status.created_at_ms, status.result, status.error), (State::Queued, NOON, None, None));
    }

    async fn an_unknown_job_is_not_found(world: World) {
        assert_eq!(world.store.find_status(id(NOON)).await.unwrap(), None);
        assert_eq!(world.store.find_job(id(NOON)).await.unwrap(), None);
    }

    async fn the_same_request_under_the_same_key_is_the_same_job(world: World) {
        let first = world.put(with_key("k", "body", job(NOON))).await;

        let again = world.store.intake(with_key("k", "body", job(NOON + SECOND))).await.unwrap();
        let other = world.store.intake(with_key("k", "another", job(NOON + SECOND))).await.unwrap();

        assert_eq!(again, Intake::Replayed(first));
        assert_eq!(other, Intake::Conflict);
        assert_eq!(world.number("select count(*) from jobs").await, 1);
    }

    async fn a_key_belongs_to_its_caller(world: World) {
        world.put(with_key("k", "body", job(NOON))).await;

        world.put(NewJob { caller: "another".to_owned(), ..with_key("k", "other body", job(NOON)) }).await;
    }

    async fn a_key_counts_for_a_day_and_survives_a_restart(world: World) {
        let first = world.put(with_key("k", "body", job(NOON))).await;
        let world = world.reopened().await;

        let late = world.store.intake(with_key("k", "other", job(NOON + DAY - 1))).await.unwrap();
        let replayed = world.store.intake(with_key("k", "body", job(NOON + DAY - 1))).await.unwrap();
        let next = with_key("k", "other", job(NOON + DAY));
        let next_id = world.put(next).await;

        assert_eq!(late, Intake::Conflict);
        assert_eq!(replayed, Intake::Replayed(first));
        let now = world.store.intake(with_key("k", "other", job(NOON + DAY + 1))).await.unwrap();
        assert_eq!(now, Intake::Replayed(next_id), "the key is the new job's for another day");
    }

    async fn what_an_intake_would_meet_can_be_asked(world: World) {
        let first = world.put(with_key("k", "body", job(NOON))).await;
        let asked = |hash: &str| Idempotency { key: "k".to_owned(), body_hash: hash.to_owned() };
        let find = async |caller: &str, hash: &str, now_ms: i64| {
            world.store.find_intake(caller, &asked(hash), now_ms).await.unwrap()
        };

        assert_eq!(find("key", "body", NOON + 1).await, Some(Intake::Replayed(first)));
        assert_eq!(find("key", "other", NOON + 1).await, Some(Intake::Conflict));
        assert_eq!(find("another", "body", NOON + 1).await, None);
        assert_eq!(find("key", "body", NOON + DAY).await, None);
    }

    async fn twins_in_one_batch_see_each_other(world: World) {
        let first = with_key("k", "body", job(NOON));
        let batch = vec![
            first.clone(),
            with_key("k", "body", job(NOON)),
            with_key("k", "another", job(NOON)),
            job(NOON),
        ];

        let verdicts = world.store.intake_many(batch).await.unwrap();

        let expected = vec![Intake::Created, Intake::Replayed(first.id), Intake::Conflict, Intake::Created];
        assert_eq!(verdicts, expected);
        assert_eq!(world.number("select count(*) from jobs").await, 2);
    }

    async fn concurrent_twins_make_one_job(world: World) {
        let store = Arc::new(world.store);
        let asks: Vec<_> = (0..40)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { store.intake(with_key("k", "body", job(NOON))).await.unwrap() })
            })
            .collect();

        let mut created = 0;
        let mut replayed = std::collections::BTreeSet::new();
        for ask in asks {
            match ask.await.unwrap() {
                Intake::Created => created += 1,
                Intake::Replayed(id) => {
                    replayed.insert(id);
                }
                other => panic!("{other:?}: the bodies are the same"),
            }
        }

        assert_eq!((created, replayed.len()), (1, 1));
    }

    async fn an_empty_batch_has_no_verdicts(world: World) {
        assert_eq!(world.store.intake_many(Vec::new()).await.unwrap(), Vec::new());
    }

    async fn a_batch_of_five_thousand_is_stored_whole(world: World) {
        let verdicts = world.store.intake_many((0..5_000).map(|_| job(NOON)).collect()).await.unwrap();

        assert!(verdicts.iter().all(|verdict| *verdict == Intake::Created));
        assert_eq!(world.number("select count(*) from live_jobs").await, 5_000);
    }

    async fn one_impossible_job_does_not_take_others_along(world: World) {
        let twice = world.put(job(NOON)).await;
        let store = Arc::new(world.store);
        let asks: Vec<_> = (0..50)
            .map(|n| {
                let store = store.clone();
                let new = if n == 25 { NewJob { id: twice, ..job(NOON) } } else { job(NOON) };
                tokio::spawn(async move { store.intake(new).await })
            })
            .collect();

        for (n, ask) in asks.into_iter().enumerate() {
            let verdict = ask.await.unwrap();
            if n != 25 {
                assert_eq!(verdict.unwrap(), Intake::Created);
            }
        }
        assert!(store.find_job(twice).await.unwrap().is_some());
    }

    async fn jobs_enter_in_the_state_that_their_time_and_definition_give(world: World) {
        let queued = world.put(NewJob { run_at_ms: Some(NOON), ..job(NOON) }).await;
        let scheduled = world.put(NewJob { run_at_ms: Some(NOON + HOUR), ..undefined("later", NOON) }).await;
        let undefined = world.put(undefined("unknown", NOON)).await;

        assert_eq!(world.state(queued).await, State::Queued);
        assert_eq!(world.state(scheduled).await, State::Scheduled);
        assert_eq!(world.state(undefined).await, State::Undefined);
        let row = world.store.find_job(scheduled).await.unwrap().unwrap();
        assert_eq!(row.line.due_at_ms, Some(NOON + HOUR));
        assert_eq!(ids(&world.claim_all(NOON).await), [queued]);
    }

    async fn after_a_close_everything_says_unavailable(world: World) {
        let mut hints = world.store.hints();
        world.store.close().await;

        assert!(matches!(world.store.intake(job(NOON)).await, Err(Error::Unavailable(_))));
        assert!(matches!(world.store.claim(1, &at(NOON)).await, Err(Error::Unavailable(_))));
        assert!(matches!(world.store.ping().await, Err(Error::Unavailable(_))));
        assert!(matches!(world.store.retry_job(id(NOON), by(), NOON).await, Err(Error::Unavailable(_))));
        assert_ne!(hints.try_recv().ok(), Some(Hint::WorkflowsChanged));
    }
}
