//! Figures that nobody counts history for.

use levqor_core::job::{NewJob, Then};
use levqor_store::LiveCounts;

use crate::world::*;

const MINUTE: i64 = 60_000;

each_engine! {
    async fn jobs_are_counted_where_they_were_accepted_and_finished(world: World) {
        world.put(job(NOON - DAY)).await;
        world.store.intake_many(vec![job(NOON), job(NOON), with_key("k", "b", job(NOON)), with_key("k", "b", job(NOON))]).await.unwrap();
        for claimed in world.claim(2, NOON).await {
            world.end(&claimed, NOON).await;
        }

        let figures = world.store.figures(NOON - 12 * HOUR, NOON + HOUR).await.unwrap();

        assert_eq!(figures.jobs_today, 3, "yesterday's and the twin do not count");
        assert_eq!((figures.finished_7d, figures.unrecorded_7d), (2, 0));
        let later = world.store.figures(NOON + 12 * HOUR, NOON + 8 * DAY).await.unwrap();
        assert_eq!((later.jobs_today, later.finished_7d), (0, 0));
    }

    async fn live_work_is_counted_by_state(world: World) {
        for _ in 0..15 {
            world.put(job(NOON)).await;
        }
        for n in 0..3 {
            world.put(NewJob { run_at_ms: Some(NOON + HOUR), ..job(NOON) }).await;
            if n < 2 {
                world.put(undefined("nobody-knows", NOON)).await;
            }
        }
        let claimed = world.claim(10, NOON).await;
        for job in &claimed[..4] {
            world.record(job, Vec::new(), Then::Rest { until_ms: NOON + HOUR }).await;
        }
        world.end(&claimed[4], NOON).await;

        let counts = world.store.live_counts().await.unwrap();

        let expected = LiveCounts { queued: 5, undefined: 2, scheduled: 3, running: 5, waiting: 4, callbacks_due: 0 };
        assert_eq!(counts, expected);
    }

    async fn minutes_are_up_or_not(world: World) {
        assert_eq!(world.store.figures(NOON, NOON).await.unwrap().minutes_possible, 0, "before the first start");

        for minute in [0, 0, 1, 2, 9] {
            world.store.beat(NOON + minute * MINUTE + 17).await.unwrap();
        }

        let figures = world.store.figures(NOON, NOON + 9 * MINUTE + 59_000).await.unwrap();
        assert_eq!((figures.minutes_up, figures.minutes_possible), (4, 10));
        let week = 7 * DAY / MINUTE;
        let figures = world.store.figures(NOON, NOON + 30 * DAY).await.unwrap();
        assert_eq!((figures.minutes_up, figures.minutes_possible), (0, week));
    }
}
