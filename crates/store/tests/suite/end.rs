//! Jobs ended from outside their run.

use levqor_core::job::{Fenced, Finish, JobError, NewJob};
use levqor_core::state::State;
use levqor_store::{CallbackState, End, Ended, Error, Hint};

use crate::world::*;

fn cancel() -> End {
    End::Cancelled { reason: JobError::new("cancelled", "cancelled by its caller") }
}

fn complete(result: &str) -> End {
    End::Completed { result: result.to_owned() }
}

each_engine! {
    async fn a_job_in_any_live_state_can_be_cancelled(world: World) {
        let queued = world.put(job(NOON)).await;
        let scheduled = world.put(NewJob { run_at_ms: Some(NOON + HOUR), ..job(NOON) }).await;
        let undefined = world.put(undefined("none", NOON)).await;

        for id in [queued, scheduled, undefined] {
            assert_eq!(world.store.end_job(id, cancel(), by(), NOON + 1).await.unwrap(), Ended::Now { children: 0 });
            let status = world.store.find_status(id).await.unwrap().unwrap();
            assert_eq!(status.state, State::Cancelled);
            assert_eq!(status.error.unwrap().code, "cancelled");
        }
        assert_eq!(world.claim_all(NOON).await, []);
    }

    async fn a_cancel_fences_a_running_job_off_and_says_so(world: World) {
        world.put(job(NOON)).await;
        let running = world.claim_one(NOON).await;
        let mut hints = world.store.hints();

        assert_eq!(world.store.end_job(running.id, cancel(), by(), NOON + 1).await.unwrap(), Ended::Now { children: 0 });

        let hint = tokio::time::timeout(LIMIT, hints.recv()).await.unwrap().unwrap();
        assert_eq!(hint, Hint::Ended([running.id].into()));
        assert_eq!(world.end(&running, NOON).await, Fenced::Stale);
        assert_eq!(world.state(running.id).await, State::Cancelled);
        assert_eq!(world.store.list_mine().await.unwrap(), []);
    }

    async fn an_end_from_outside_has_its_callback(world: World) {
        let new = NewJob { callback_url: Some("https://a.example:8443/hook".to_owned()), ..undefined("none", NOON) };
        let id = world.put(new).await;

        assert_eq!(world.store.end_job(id, complete(r#"{"by":"hand"}"#), by(), NOON + 5).await.unwrap(), Ended::Now { children: 0 });

        let row = world.store.find_job(id).await.unwrap().unwrap();
        assert_eq!(row.callbacks.len(), 1);
        assert_eq!((row.callbacks[0].state, row.callbacks[0].due_at_ms), (CallbackState::Due, Some(NOON + 5)));
        let due = world.store.claim_callbacks(10, &any_room(), NOON + 5).await.unwrap();
        assert_eq!(due.len(), 1);
        assert_eq!(due[0].callback.id, format!("msg_{id}_1"));
        assert_eq!(due[0].callback.host, "a.example:8443");
        assert!(due[0].callback.body.contains(r#""result":{"by":"hand"}"#), "{}", due[0].callback.body);
    }

    async fn an_ended_job_says_how_it_ended_and_keeps_it(world: World) {
        let id = world.put(job(NOON)).await;
        assert_eq!(world.store.end_job(id, complete("null"), by(), NOON).await.unwrap(), Ended::Now { children: 0 });

        let again = world.store.end_job(id, complete(r#""other""#), by(), NOON + 1).await.unwrap();
        let cancelled = world.store.end_job(id, cancel(), by(), NOON + 1).await.unwrap();

        let before = Finish {
            state: State::Succeeded,
            finished_at_ms: NOON,
            result: Some("null".to_owned()),
            error: None,
            callback: None,
        };
        assert_eq!(again, Ended::Before(Box::new(before)));
        assert_eq!(again, cancelled);
        assert_eq!(world.number("select cast(sum(n) as bigint) from rollups where kind = 'finished'").await, 1);
    }

    async fn an_unknown_job_cannot_be_ended(world: World) {
        let ended = world.store.end_job(id(NOON), cancel(), by(), NOON).await;

        assert!(matches!(ended, Err(Error::NotFound { what: "job" })), "{ended:?}");
    }

    async fn of_two_ends_at_once_one_counts(world: World) {
        for _ in 0..10 {
            world.put(job(NOON)).await;
            let running = world.claim_one(NOON).await;

            let (by_run, by_hand) = tokio::join!(world.end(&running, NOON), world.store.end_job(running.id, cancel(), by(), NOON));

            let state = world.state(running.id).await;
            match (by_run, by_hand.unwrap()) {
                (Fenced::Done, Ended::Before(_)) => assert_eq!(state, State::Succeeded),
                (Fenced::Stale, Ended::Now { .. }) => assert_eq!(state, State::Cancelled),
                other => panic!("{other:?}"),
            }
        }
    }
}
