//! Rows made for measurements are like those of real jobs.

use levqor_core::state::State;
use levqor_store::JobFilter;

use crate::world::*;

each_engine! {
    async fn filled_jobs_are_claimed_in_order_and_finish_like_others(world: World) {
        let ids = world.store.fill_queued("filled", 3, 5, NOON).await.unwrap();

        let claimed = world.claim(10, NOON + DAY).await;
        assert_eq!(claimed.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
        assert_eq!((claimed[0].workflow.as_str(), claimed[0].version, claimed[0].payload.as_str()), ("filled", Some(3), r#"{"n":1}"#));
        world.end(&claimed[4], NOON + DAY).await;
        assert_eq!(world.state(ids[4]).await, State::Succeeded);
    }

    async fn filled_history_is_read_like_any_other(world: World) {
        world.store.fill_finished("filled", 50_001, NOON).await.unwrap();

        let filter = JobFilter { limit: 1, ..JobFilter::default() };
        let newest = world.store.list_jobs(&filter).await.unwrap().jobs.remove(0);
        assert_eq!((newest.created_at_ms, newest.state), (NOON + 50_000, State::Succeeded));
        assert_eq!(newest.id.created_at_ms(), NOON + 50_000);
        let row = world.store.find_job(newest.id).await.unwrap().unwrap();
        assert_eq!((row.steps.len(), row.result.as_deref()), (1, Some(r#"{"only":{"n":1}}"#)));
        assert_eq!(world.number("select count(*) from finished_jobs").await, 50_001);
        assert_eq!(world.number("select count(*) from live_jobs").await, 0);
    }
}
