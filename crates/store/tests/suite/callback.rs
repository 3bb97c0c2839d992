//! Commit 5.

use levqor_core::job::{Fenced, Finish, NewCallback, NewJob, Then};
use levqor_store::{
    CALLBACK_LEASE_MS, CallbackEnd, CallbackState, CallbackTry, ClaimedCallback, Error, HostRoom,
};

use crate::world::*;

fn tried(attempt: i64, status: i64) -> CallbackTry {
    let error = (status >= 300).then(|| format!("the receiver answered {status}"));
    CallbackTry { attempt, at_ms: NOON, duration_ms: 12, status: Some(status), error }
}

fn hosts(claimed: &[ClaimedCallback]) -> Vec<&str> {
    claimed.iter().map(|it| it.callback.host.split('.').next().unwrap()).collect()
}

impl World {
    async fn due(&self, now_ms: i64) -> Vec<ClaimedCallback> {
        self.store.claim_callbacks(10, &any_room(), now_ms).await.unwrap()
    }
}

each_engine! {
    async fn a_callback_is_claimed_once_and_delivered(world: World) {
        let id = world.finished_with_callback("a.example", NOON).await;
        tokio::time::timeout(LIMIT, world.store.callback_wake()).await.unwrap();

        assert_eq!(world.due(NOON - 1).await, [], "not before the job's end");
        let claimed = world.due(NOON).await;
        assert_eq!(claimed.len(), 1);
        assert_eq!((claimed[0].attempt, claimed[0].round), (1, 1));
        assert_eq!(claimed[0].callback.job_id, id);
        assert_eq!(claimed[0].callback.body, format!(r#"{{"job_id":"{id}"}}"#));
        assert_eq!(world.due(NOON).await, [], "leased");

        let done = world.store.record_callback(&claimed[0], tried(1, 200), CallbackEnd::Delivered).await.unwrap();

        assert_eq!(done, Fenced::Done);
        let row = world.store.find_job(id).await.unwrap().unwrap();
        assert_eq!(row.callbacks[0].state, CallbackState::Delivered);
        assert_eq!((row.callbacks[0].due_at_ms, &row.callbacks[0].tries), (None, &vec![tried(1, 200)]));
        assert_eq!(world.due(NOON + DAY).await, []);
        assert_eq!(world.store.live_counts().await.unwrap().callbacks_due, 0);
    }

    async fn a_failed_try_comes_again_when_it_is_due(world: World) {
        let id = world.finished_with_callback("a.example", NOON).await;
        let first = world.due(NOON).await.remove(0);
        let again = CallbackEnd::Retry { due_at_ms: NOON + 5 * SECOND };
        assert_eq!(world.store.record_callback(&first, tried(1, 500), again).await.unwrap(), Fenced::Done);

        assert_eq!(world.due(NOON + 5 * SECOND - 1).await, []);
        let second = world.due(NOON + 5 * SECOND).await.remove(0);
        assert_eq!((second.attempt, second.round), (2, 2));
        assert_eq!(second.callback, first.callback, "the same bytes");
        let end = world.store.record_callback(&second, tried(2, 410), CallbackEnd::Gone).await.unwrap();

        assert_eq!(end, Fenced::Done);
        let callbacks = world.store.find_job(id).await.unwrap().unwrap().callbacks;
        assert_eq!(callbacks[0].state, CallbackState::Gone);
        assert_eq!(callbacks[0].tries, [tried(1, 500), tried(2, 410)]);
    }

    async fn a_try_whose_process_died_reads_lost_and_its_late_record_is_stale(world: World) {
        let id = world.finished_with_callback("a.example", NOON).await;
        let lost = world.due(NOON).await.remove(0);
        let world = world.after_a_crash().await;

        assert_eq!(world.due(NOON + CALLBACK_LEASE_MS - 1).await, []);
        let again = world.due(NOON + CALLBACK_LEASE_MS).await.remove(0);

        assert_eq!((again.attempt, again.round), (2, 1), "the schedule goes on where it was");
        let late = world.store.record_callback(&lost, tried(1, 200), CallbackEnd::Delivered).await.unwrap();
        assert_eq!(late, Fenced::Stale);
        let callbacks = world.store.find_job(id).await.unwrap().unwrap().callbacks;
        assert_eq!(callbacks[0].state, CallbackState::Due);
        let words = CallbackTry { attempt: 1, at_ms: NOON, duration_ms: CALLBACK_LEASE_MS, status: None, error: Some("lost".to_owned()) };
        assert_eq!(callbacks[0].tries, [words]);
    }

    async fn a_receiver_gets_no_more_than_it_has_room_for(world: World) {
        for (host, callbacks) in [("dead", 30), ("full", 30), ("new", 30), ("well", 10)] {
            for n in 0..callbacks {
                world.finished_with_callback(&format!("{host}.example"), NOON + n).await;
            }
        }
        let known = [("dead", 1), ("full", 0), ("well", 8)];
        let known = known.into_iter().map(|(host, room)| (format!("{host}.example:443"), room)).collect();
        let room = HostRoom { known, unknown: 3 };

        let claimed = world.store.claim_callbacks(100, &room, NOON + 200).await.unwrap();

        assert_eq!(hosts(&claimed), [vec!["dead"], vec!["new"; 3], vec!["well"; 8]].concat());
    }

    async fn of_a_receiver_the_oldest_due_go_first(world: World) {
        let mut jobs = Vec::new();
        for n in [3, 0, 2, 1] {
            jobs.push((n, world.finished_with_callback("a.example", NOON + n).await));
        }
        jobs.sort();

        let mut claimed = Vec::new();
        for _ in 0..4 {
            claimed.extend(world.store.claim_callbacks(1, &any_room(), NOON + 10).await.unwrap());
        }

        assert_eq!(claimed.iter().map(|it| it.callback.job_id).collect::<Vec<_>>(), jobs.iter().map(|it| it.1).collect::<Vec<_>>());
    }

    async fn receivers_take_turns_when_more_is_due_than_is_asked_for(world: World) {
        for host in ["a", "b", "c", "d", "e"] {
            for _ in 0..3 {
                world.finished_with_callback(&format!("{host}.example"), NOON).await;
            }
        }
        let room = HostRoom { unknown: 1, ..HostRoom::default() };

        let mut turns = Vec::new();
        for _ in 0..4 {
            let claimed = world.store.claim_callbacks(3, &room, NOON).await.unwrap();
            turns.push(hosts(&claimed).concat());
        }

        assert_eq!(turns, ["abc", "dea", "bcd", "eab"]);
    }

    async fn what_is_not_due_yet_is_passed_over(world: World) {
        world.finished_with_callback("a.example", NOON + SECOND).await;
        world.finished_with_callback("b.example", NOON).await;

        assert_eq!(hosts(&world.due(NOON).await), ["b"]);
        assert_eq!(hosts(&world.due(NOON + SECOND).await), ["a"]);
    }

    async fn a_redelivery_starts_the_schedule_over_and_counts_on(world: World) {
        let id = world.finished_with_callback("a.example", NOON).await;
        let first = world.due(NOON).await.remove(0);
        world.store.record_callback(&first, tried(1, 500), CallbackEnd::Exhausted).await.unwrap();
        // Takes the wake-up of the job's end, so that the next one is the redelivery's.
        tokio::time::timeout(LIMIT, world.store.callback_wake()).await.unwrap();

        let callback = world.store.redeliver(id, by(), NOON + HOUR).await.unwrap();

        assert_eq!(callback, first.callback.id);
        tokio::time::timeout(LIMIT, world.store.callback_wake()).await.unwrap();
        let again = world.due(NOON + HOUR).await.remove(0);
        assert_eq!((again.attempt, again.round), (2, 1));
        assert_eq!(again.callback, first.callback);
    }

    async fn a_redelivery_is_of_the_newest_callback_also_beyond_the_ninth_claim(world: World) {
        let url = Some("https://a.example/hook".to_owned());
        let id = world.put(NewJob { callback_url: url, ..job(NOON) }).await;
        for claim in 1..=11 {
            let claimed = world.claim_one(NOON).await;
            let Then::Finish(finish) = failed(NOON) else { unreachable!() };
            let callback = NewCallback {
                id: format!("msg_{id}_{claim}"),
                job_id: id,
                url: "https://a.example/hook".to_owned(),
                host: "a.example:443".to_owned(),
                body: "{}".to_owned(),
            };
            let then = Then::Finish(Finish { callback: Some(callback), ..finish });
            assert_eq!((claimed.claim, world.record(&claimed, Vec::new(), then).await), (claim, Fenced::Done));
            if claim < 11 {
                world.store.retry_job(id, by(), NOON).await.unwrap();
            }
        }

        let callback = world.store.redeliver(id, by(), NOON).await.unwrap();

        assert_eq!(callback, format!("msg_{id}_11"));
        let row = world.store.find_job(id).await.unwrap().unwrap();
        let shown: Vec<_> = row.callbacks.into_iter().map(|it| it.id).collect();
        assert_eq!(shown, (1..=11).map(|claim| format!("msg_{id}_{claim}")).collect::<Vec<_>>());
    }

    async fn a_redelivery_asked_for_during_a_try_is_made_all_the_same(world: World) {
        let id = world.finished_with_callback("a.example", NOON).await;
        let under_way = world.due(NOON).await.remove(0);

        world.store.redeliver(id, by(), NOON + 1).await.unwrap();

        let late = world.store.record_callback(&under_way, tried(1, 200), CallbackEnd::Delivered).await.unwrap();
        assert_eq!(late, Fenced::Stale);
        assert_eq!(world.due(NOON + 1).await.len(), 1);
    }

    async fn there_is_nothing_to_redeliver_without_a_callback(world: World) {
        let silent = world.put(job(NOON)).await;

        let conflict = world.store.redeliver(silent, by(), NOON).await;
        let unknown = world.store.redeliver(id(NOON), by(), NOON).await;

        assert!(matches!(conflict, Err(Error::Conflict { .. })), "{conflict:?}");
        assert!(matches!(unknown, Err(Error::NotFound { what: "job" })), "{unknown:?}");
    }

    async fn two_claimers_never_share_a_callback(world: World) {
        for n in 0..20 {
            world.finished_with_callback(["a.example", "b.example"][n % 2], NOON).await;
        }

        let room = any_room();
        let claims = (0..4).map(|_| world.store.claim_callbacks(20, &room, NOON));
        let claimed: Vec<_> = futures_util::future::join_all(claims).await.into_iter().flat_map(Result::unwrap).collect();

        let ids: std::collections::BTreeSet<_> = claimed.iter().map(|it| it.callback.id.clone()).collect();
        assert_eq!((claimed.len(), ids.len()), (20, 20));
    }
}
