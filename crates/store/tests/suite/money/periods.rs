//! Midnight, month ends, clocks that are set, windows that roll.

use levqor_core::budget::{Budget, Scope, Window, Zone};
use levqor_store::{NewCall, Reason};

use super::help::*;
use crate::world::*;

/// 2026-10-25T00:00:00Z, the day on which clocks in Berlin are set back at 01:00Z.
const AUTUMN: i64 = 1_792_886_400_000;
/// 2026-11-30T23:59:59Z.
const MONTH_END: i64 = 1_796_083_199_000;

fn at(now_ms: i64, amount: i64) -> NewCall {
    NewCall { at_ms: now_ms, ..call(amount) }
}

each_engine! {
    async fn a_call_that_spans_midnight_counts_where_it_was_held(world: World) {
        put(&world.store, &day(100)).await;
        let midnight = NOON / DAY * DAY + DAY;
        let late = sent(&world.store, at(midnight - 1, 80)).await;

        let early = sent(&world.store, at(midnight, 100)).await;
        settle(&world.store, late, 70).await;

        assert_eq!(figures(&world.store, "day", midnight - 1).await, (70, 0));
        assert_eq!(figures(&world.store, "day", midnight).await, (0, 100));
        settle(&world.store, early, 1).await;
        assert_eq!(refused(&world.store, at(midnight - 1, 31)).await.reason, Reason::SpentOut, "a node whose clock is late");
        world.books_agree().await;
    }

    async fn a_month_ends_where_it_ends(world: World) {
        put(&world.store, &budget("month", Scope::global(), Window::Month, 100)).await;

        sent(&world.store, at(MONTH_END, 100)).await;
        let refusal = refused(&world.store, at(MONTH_END + 999, 1)).await;
        sent(&world.store, at(MONTH_END + 1_000, 100)).await;

        assert_eq!(refusal.resets_at_ms, Some(MONTH_END + 1_000));
        assert_eq!(world.number("select count(*) from budget_periods where period_key in ('M:2026-11', 'M:2026-12')").await, 2);
    }

    async fn the_hour_that_comes_twice_is_two_and_its_day_is_one(world: World) {
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        put(&world.store, &Budget { zone: berlin.clone(), ..budget("hour", Scope::global(), Window::Hour, 10) }).await;
        put(&world.store, &Budget { zone: berlin, ..day(25) }).await;

        sent(&world.store, at(AUTUMN + HOUR / 2, 10)).await;
        assert_eq!(refused(&world.store, at(AUTUMN + HOUR - 1, 1)).await.budget.as_str(), "hour");
        sent(&world.store, at(AUTUMN + HOUR, 10)).await;
        assert_eq!(refused(&world.store, at(AUTUMN + 2 * HOUR - 1, 1)).await.budget.as_str(), "hour");
        // 25 hours after 22:00Z of the day before.
        let last = refused(&world.store, at(AUTUMN + 23 * HOUR - 1, 6)).await;
        assert_eq!((last.budget.as_str(), last.resets_at_ms), ("day", Some(AUTUMN + 23 * HOUR)));
        sent(&world.store, at(AUTUMN + 23 * HOUR, 6)).await;
        world.books_agree().await;
    }

    async fn any_so_many_hours_in_a_row_hold_no_more_than_the_limit(world: World) {
        put(&world.store, &budget("rolling", Scope::global(), Window::Rolling { hours: 3 }, 100)).await;
        let hour = NOON / HOUR * HOUR;
        let spend = async |now_ms: i64, amount: i64| {
            let id = sent(&world.store, at(now_ms, amount)).await;
            settle(&world.store, id, amount).await;
        };

        spend(hour + HOUR - 1, 40).await;
        spend(hour + HOUR, 30).await;
        sent(&world.store, at(hour + 2 * HOUR, 20)).await;
        let busy = refused(&world.store, at(hour + 3 * HOUR, 11)).await;
        assert_eq!((busy.reason, busy.spent, busy.held), (Reason::HeldOut, cents(70), cents(20)));
        assert_eq!(busy.resets_at_ms, Some(hour + 4 * HOUR));
        assert_eq!(refused(&world.store, at(hour + 4 * HOUR - 1, 31)).await.reason, Reason::SpentOut);
        assert_eq!(world.store.find_room(&at(hour + 3 * HOUR, 1)).await.unwrap().room, Some(cents(10)));
        // The first hour has fallen out.
        sent(&world.store, at(hour + 4 * HOUR, 50)).await;
        assert_eq!(refused(&world.store, at(hour + 4 * HOUR, 1)).await.reason, Reason::HeldOut);

        let view = world.store.find_budget("rolling", hour + 4 * HOUR).await.unwrap().unwrap();
        assert_eq!(view.periods.iter().map(|it| it.held.get() / CENT + it.spent.get() / CENT).sum::<i64>(), 100);
        world.books_agree().await;
    }

    async fn a_rolling_window_alerts_by_what_it_holds_in_all(world: World) {
        let rolling = budget("rolling", Scope::global(), Window::Rolling { hours: 3 }, 100);
        put(&world.store, &Budget { thresholds_ppm: vec![500_000], ..rolling }).await;
        for hour in 0..3 {
            let id = sent(&world.store, at(NOON + hour * HOUR, 20)).await;
            settle(&world.store, id, 20).await;
        }

        let alerts = world.store.list_alerts(10).await.unwrap();

        assert_eq!(alerts.iter().map(|it| it.spent).collect::<Vec<_>>(), [cents(60)]);
    }
}
