//! Midnight, clocks that are set, and periods that nobody resets: by a clock that the test moves.

use std::sync::Arc;

use levqor_core::budget::{Budget, BudgetId, Mode, Scope, Window, Zone};
use levqor_core::clock::Clock;
use levqor_core::money::Nano;
use levqor_engine::ai::NotHeld;
use levqor_store::{Reason, Refusal};

use super::world::*;
use crate::support::*;

each_engine!(
    a_call_that_spans_midnight_counts_in_the_day_in_which_it_was_held,
    a_day_that_is_spent_is_a_new_one_at_midnight_without_anybodys_doing,
    the_days_on_which_clocks_are_set_have_23_and_25_hours,
);

const DAY_MS: i64 = 86_400_000;
/// The day of Berlin on which an hour is left out, 23 hours of it.
const SPRING: (i64, i64) = (1_806_188_400_000, 1_806_271_200_000);
/// The one on which an hour comes twice, 25 hours of it.
const AUTUMN: (i64, i64) = (1_824_933_600_000, 1_825_023_600_000);

/// A clock that stands at this moment.
fn clock_at(at_ms: i64) -> Arc<TestClock> {
    let clock = TestClock::still();
    set(&clock, at_ms);
    clock
}

fn set(clock: &TestClock, at_ms: i64) {
    clock.advance(at_ms - clock.now_ms());
}

/// A midnight (UTC) that is still to come.
fn midnight() -> i64 {
    (TestClock::still().now_ms() / DAY_MS + 1) * DAY_MS
}

async fn refusal(node: &Node) -> Box<Refusal> {
    match call(node, question(SOL, "Hello", 100)).await {
        Err(NotHeld::Budget(refusal)) => refusal,
        Err(other) => panic!("{other}"),
        Ok(over) => panic!("it was granted, for {}", over.cost),
    }
}

/// Spent, held and calls of the days of this budget, oldest first.
async fn days(database: &Database, budget: &str) -> Vec<(i64, i64, i64)> {
    let rows = format!("budget_periods where budget_id = '{budget}'");
    let count = database.number(&format!("select count(*) from {rows}")).await;
    let mut days = Vec::new();
    for place in 0..count {
        let mut figures = [0; 3];
        for (figure, column) in figures.iter_mut().zip(["spent_nano", "held_nano", "calls"]) {
            let sql = format!("select {column} from {rows} order by period_key limit 1 offset {place}");
            *figure = database.number(&sql).await;
        }
        days.push((figures[0], figures[1], figures[2]));
    }
    days
}

async fn a_call_that_spans_midnight_counts_in_the_day_in_which_it_was_held(database: Database) {
    let mock = mock().await;
    let clock = clock_at(midnight() - 1_000);
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;

    let late = node.ai().hold(question(SOL, "Hello", 100)).await.unwrap();
    let held = late.bound().amount.get();
    clock.advance(2_000);
    assert_eq!(days(&database, "max-cost-per-day").await, [(0, held, 1)]);
    let over = late.send().await.end().await;
    over.settle().await.unwrap();
    let next = call(&node, question(SOL, "Hello again", 100)).await.unwrap();

    let told = [(over.cost.get(), 0, 1), (next.cost.get(), 0, 1)];
    assert_eq!(days(&database, "max-cost-per-day").await, told);
    assert_eq!(i64::try_from(mock.bill().total_nano).unwrap(), over.cost.get() + next.cost.get());
}

async fn a_day_that_is_spent_is_a_new_one_at_midnight_without_anybodys_doing(database: Database) {
    let mock = mock().await;
    let midnight = midnight();
    let clock = clock_at(midnight - 3_600_000);
    let node = Node::start(&database, with_limits(&mock.url(), "0.35", "0.002"), clock.clone()).await;

    while call(&node, question(SOL, "Hello", 100)).await.is_ok() {}
    set(&clock, midnight - 1);
    let last = refusal(&node).await;
    let calls = mock.bill().calls;
    set(&clock, midnight);
    let first = call(&node, question(SOL, "Hello", 100)).await.unwrap();

    assert_eq!((last.reason, last.resets_at_ms), (Reason::SpentOut, Some(midnight)));
    assert_eq!(mock.bill().calls, calls + 1);
    assert_eq!(days(&database, "max-cost-per-day").await[1], (first.cost.get(), 0, 1));
    // A node whose clock is late still finds its own day spent.
    set(&clock, midnight - 1);
    assert_eq!(refusal(&node).await.resets_at_ms, Some(midnight));
}

async fn the_days_on_which_clocks_are_set_have_23_and_25_hours(database: Database) {
    let mock = mock().await;
    let clock = clock_at(SPRING.0);
    let node = Node::start(&database, ai_settings(&mock.url()), clock.clone()).await;
    let budget = Budget {
        id: BudgetId::parse("berlin").unwrap(),
        scope: Scope::global(),
        window: Window::Day,
        zone: Zone::parse("Europe/Berlin").unwrap(),
        limit: Nano::parse("0.002").unwrap(),
        mode: Mode::Hard,
        thresholds_ppm: Vec::new(),
        max_open_holds: None,
        enabled: true,
    };
    node.store().put_budget(&budget, "api", by(), SPRING.0).await.unwrap();

    for (begins_ms, ends_ms) in [SPRING, AUTUMN] {
        set(&clock, begins_ms);
        while call(&node, question(SOL, "Hello", 100)).await.is_ok() {}
        set(&clock, ends_ms - 1);
        let last = refusal(&node).await;
        assert_eq!((last.budget.as_str(), last.resets_at_ms), ("berlin", Some(ends_ms)));
        set(&clock, ends_ms);
        call(&node, question(SOL, "Hello", 100)).await.unwrap();
    }

    assert_eq!(days(&database, "berlin").await.len(), 4);
    assert_eq!(spent(&database).await, i64::try_from(mock.bill().total_nano).unwrap());
}
