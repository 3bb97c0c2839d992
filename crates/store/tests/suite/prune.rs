//! Retention.

use levqor_core::job::{Fenced, Finish, Intake, NewJob, StepStatus, Then};
use levqor_store::{CallbackEnd, Error};

use crate::world::*;

impl World {
    async fn prune(&self, before_ms: i64, keep_newest: Option<i64>, now_ms: i64) -> usize {
        let mut deleted = 0;
        // Two empty turns in a row: a search that came to its end starts over.
        let mut empty = 0;
        while empty < 2 {
            let turn = self.store.prune(before_ms, keep_newest, now_ms).await.unwrap();
            empty = if turn == 0 { empty + 1 } else { 0 };
            deleted += turn;
        }
        deleted
    }

    async fn finish_at(&self, created_ms: i64, finished_ms: i64) -> levqor_core::id::JobId {
        self.put(job(created_ms)).await;
        let claimed = self.claim_one(created_ms).await;
        let steps = vec![step("a", 1, StepStatus::Succeeded, created_ms)];
        assert_eq!(self.record(&claimed, steps, succeeded(finished_ms)).await, Fenced::Done);
        claimed.id
    }
}

each_engine! {
    async fn one_job_is_forgotten_with_all_that_hangs_on_it_and_others_stay(world: World) {
        let other = world.finish_at(NOON, NOON + 1).await;
        let named = world.finished_with_callback("a.example", NOON).await;
        let claimed = world.store.claim_callbacks(1, &any_room(), NOON).await.unwrap().remove(0);
        let tried = levqor_store::CallbackTry { attempt: 1, at_ms: NOON, duration_ms: 1, status: Some(200), error: None };

        let due = world.store.delete_job(named, by(), NOON).await;
        assert!(matches!(due, Err(Error::Conflict { ref what }) if what.contains("callback")), "{due:?}");
        world.store.record_callback(&claimed, tried, CallbackEnd::Delivered).await.unwrap();
        world.store.delete_job(named, by(), NOON).await.unwrap();

        assert_eq!(world.store.find_job(named).await.unwrap(), None);
        assert!(world.store.find_job(other).await.unwrap().is_some());
        for (table, left) in [("jobs", 1), ("finished_jobs", 1), ("steps", 1), ("callbacks", 0), ("callback_tries", 0)] {
            assert_eq!(world.number(&format!("select count(*) from {table}")).await, left, "{table}");
        }
        let entries = "select count(*) from audit_entries where action = 'job.delete'";
        assert_eq!(world.number(entries).await, 1, "a refusal leaves no entry");
        let again = world.store.delete_job(named, by(), NOON).await;
        assert!(matches!(again, Err(Error::NotFound { .. })), "{again:?}");
    }

    async fn a_job_that_lives_is_not_forgotten(world: World) {
        let queued = world.put(undefined("never", NOON)).await;
        world.put(job(NOON)).await;
        let running = world.claim_one(NOON).await;

        for id in [queued, running.id] {
            let refused = world.store.delete_job(id, by(), NOON).await;
            assert!(matches!(refused, Err(Error::Conflict { ref what }) if what.contains("cancel")), "{refused:?}");
            assert!(world.store.find_job(id).await.unwrap().is_some());
        }
        assert_eq!(world.end(&running, NOON).await, Fenced::Done);
    }

    async fn old_finished_jobs_go_with_all_that_hangs_on_them(world: World) {
        let old = world.finish_at(NOON, NOON + 1).await;
        let delivered = world.finished_with_callback("a.example", NOON).await;
        let claimed = world.store.claim_callbacks(1, &any_room(), NOON).await.unwrap().remove(0);
        let tried = levqor_store::CallbackTry { attempt: 1, at_ms: NOON, duration_ms: 1, status: Some(200), error: None };
        world.store.record_callback(&claimed, tried, CallbackEnd::Delivered).await.unwrap();
        let young = world.finish_at(NOON + DAY, NOON + DAY).await;

        assert_eq!(world.prune(NOON + HOUR, None, NOON + 2 * DAY).await, 2);

        for gone in [old, delivered] {
            assert_eq!(world.store.find_job(gone).await.unwrap(), None);
        }
        assert!(world.store.find_job(young).await.unwrap().is_some());
        for table in ["jobs", "finished_jobs", "steps"] {
            assert_eq!(world.number(&format!("select count(*) from {table}")).await, 1, "{table}");
        }
        assert_eq!(world.number("select count(*) from callbacks").await, 0);
        assert_eq!(world.number("select count(*) from callback_tries").await, 0);
    }

    async fn what_lives_or_finished_late_or_has_a_callback_due_stays(world: World) {
        let late = world.finish_at(NOON, NOON + 2 * DAY).await;
        let due = world.finished_with_callback("a.example", NOON).await;
        let live = world.put(undefined("never", NOON)).await;
        let old = world.finish_at(NOON + 1, NOON + 1).await;

        assert_eq!(world.prune(NOON + HOUR, None, NOON + 3 * DAY).await, 1);

        assert_eq!(world.store.find_job(old).await.unwrap(), None);
        for kept in [late, due, live] {
            assert!(world.store.find_job(kept).await.unwrap().is_some());
        }
    }

    async fn a_count_keeps_at_least_the_newest(world: World) {
        for n in 0..6 {
            let at_ms = NOON + n * HOUR;
            world.finish_at(at_ms, at_ms).await;
        }

        assert_eq!(world.prune(0, Some(4), NOON + DAY).await, 2);
        assert_eq!(world.prune(0, Some(4), NOON + DAY).await, 0);
        assert_eq!(world.prune(0, None, NOON + DAY).await, 0);
        assert_eq!(world.prune(0, Some(1_000), NOON + DAY).await, 0);
    }

    async fn a_turn_is_bounded(world: World) {
        world.store.intake_many((0..700).map(|_| job(NOON)).collect()).await.unwrap();
        let mut left = 700;
        while left > 0 {
            let claimed = world.claim(left, NOON).await;
            left -= claimed.len();
            let ends = claimed.iter().map(|job| world.end(job, NOON));
            futures_util::future::join_all(ends).await;
        }

        let first = world.store.prune(NOON + HOUR, None, NOON + DAY).await.unwrap();

        assert!((1..700).contains(&first), "{first}");
        assert_eq!(first + world.prune(NOON + HOUR, None, NOON + DAY).await, 700);
        assert_eq!(world.number("select count(*) from jobs").await, 0);
    }

    async fn idempotency_keys_go_after_a_day(world: World) {
        world.put(with_key("old", "body", job(NOON))).await;
        world.put(with_key("new", "body", job(NOON + DAY))).await;

        world.prune(0, None, NOON + DAY + HOUR).await;

        assert_eq!(world.number("select count(*) from idempotency_keys").await, 1);
        let twin = world.store.intake(with_key("new", "body", job(NOON + DAY + HOUR))).await.unwrap();
        assert!(matches!(twin, Intake::Replayed(_)));
    }

    async fn a_job_that_was_retried_is_not_deleted(world: World) {
        let new = NewJob { ..job(NOON) };
        world.put(new).await;
        let claimed = world.claim_one(NOON).await;
        let Then::Finish(finish) = failed(NOON) else { unreachable!() };
        let steps = vec![step("a", 1, StepStatus::Failed, NOON)];
        world.record(&claimed, steps, Then::Finish(Finish { ..finish })).await;
        world.store.retry_job(claimed.id, by(), NOON + DAY).await.unwrap();

        assert_eq!(world.prune(NOON + HOUR, None, NOON + DAY).await, 0);

        assert_eq!(world.claim_one(NOON + DAY).await.steps.len(), 1);
    }
}
