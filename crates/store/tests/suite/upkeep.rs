//! What is due, what is defined, who lives.

use levqor_core::job::{Fenced, NewJob, Then};
use levqor_core::state::State;

use crate::world::*;

each_engine! {
    async fn due_jobs_are_moved_oldest_due_first(world: World) {
        let later = world.put(NewJob { run_at_ms: Some(NOON + 30), ..job(NOON) }).await;
        let sooner = world.put(NewJob { run_at_ms: Some(NOON + 10), ..job(NOON) }).await;
        let middle = world.put(NewJob { run_at_ms: Some(NOON + 20), ..job(NOON) }).await;

        assert_eq!(world.store.move_due(NOON + 9, 10).await.unwrap(), (0, Some(NOON + 10)));
        assert_eq!(world.store.move_due(NOON + 40, 1).await.unwrap(), (1, Some(NOON + 20)));
        assert_eq!(world.state(sooner).await, State::Queued);
        assert_eq!(world.state(middle).await, State::Scheduled);
        assert_eq!(world.store.move_due(NOON + 20, 10).await.unwrap(), (1, Some(NOON + 30)));
        assert_eq!(world.store.move_due(NOON + 30, 10).await.unwrap(), (1, None));

        assert_eq!(ids(&world.claim_all(NOON + 40).await), [sooner, middle, later]);
    }

    async fn a_resting_job_goes_on_when_it_is_due(world: World) {
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        let rest = Then::Rest { until_ms: NOON + HOUR };
        assert_eq!(world.record(&claimed, Vec::new(), rest).await, Fenced::Done);
        let row = world.store.find_job(claimed.id).await.unwrap().unwrap();
        assert_eq!((row.line.state, row.line.due_at_ms), (State::Waiting, Some(NOON + HOUR)));
        assert_eq!(world.store.list_mine().await.unwrap(), []);

        assert_eq!(world.store.move_due(NOON + HOUR, 10).await.unwrap(), (1, None));

        let again = world.claim_one(NOON + HOUR).await;
        assert_eq!((again.id, again.claim, again.started_at_ms), (claimed.id, 2, NOON));
    }

    async fn jobs_start_when_their_workflow_is_defined(world: World) {
        let first = world.put(undefined("report", NOON)).await;
        let second = world.put(undefined("report", NOON + 1)).await;
        let other = world.put(undefined("other", NOON)).await;
        let gone = world.put(undefined("gone", NOON)).await;
        world.store.put_workflow("gone", "x", "api", by(), NOON).await.unwrap();
        world.store.delete_workflow("gone", by(), NOON).await.unwrap();
        assert_eq!(world.store.move_defined(10).await.unwrap(), 0);

        world.store.put_workflow("report", "name: report", "api", by(), NOON).await.unwrap();
        assert_eq!(world.store.move_defined(1).await.unwrap(), 1);
        assert_eq!(world.store.move_defined(10).await.unwrap(), 1);

        assert_eq!(ids(&world.claim_all(NOON).await), [first, second]);
        assert_eq!(world.state(other).await, State::Undefined);
        assert_eq!(world.state(gone).await, State::Undefined);
    }

    async fn moved_jobs_wake_a_parked_claim(world: World) {
        let id = world.put(NewJob { run_at_ms: Some(NOON + SECOND), ..job(NOON) }).await;

        let (claimed, moved) = tokio::join!(world.claim(1, NOON + SECOND), world.store.move_due(NOON + SECOND, 10));

        assert_eq!(moved.unwrap(), (1, None));
        assert_eq!(ids(&claimed), [id]);
    }

    async fn live_work_is_counted_by_state(world: World) {
        world.put(job(NOON)).await;
        world.claim_one(NOON).await;
        world.put(job(NOON)).await;
        world.put(job(NOON)).await;
        world.put(undefined("none", NOON)).await;
        world.put(NewJob { run_at_ms: Some(NOON + DAY), ..job(NOON) }).await;

        let counts = world.store.live_counts().await.unwrap();

        assert_eq!((counts.queued, counts.running, counts.undefined), (2, 1, 1));
        assert_eq!((counts.scheduled, counts.waiting, counts.callbacks_due), (1, 0, 0));
    }

    async fn the_first_value_of_a_setting_stays(world: World) {
        assert_eq!(world.store.find_setting("secret").await.unwrap(), None);

        let (one, other) =
            tokio::join!(world.store.setting_or_insert("secret", "a"), world.store.setting_or_insert("secret", "b"));

        let agreed = one.unwrap();
        assert_eq!(agreed, other.unwrap());
        assert_eq!(world.store.setting_or_insert("secret", "c").await.unwrap(), agreed);
        let world = world.reopened().await;
        assert_eq!(world.store.find_setting("secret").await.unwrap(), Some(agreed));
        world.store.ping().await.unwrap();
    }
}
