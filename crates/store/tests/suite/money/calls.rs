//! Who gets a hold, and what the others are told.

use levqor_core::budget::{Budget, Mode, Scope, ScopeKind, Window};
use levqor_core::job::Tags;
use levqor_core::money::{CallState, Nano};
use levqor_store::{NewCall, Reason, Reserved};

use super::help::*;
use crate::world::*;

each_engine! {
    async fn the_three_ways_to_be_refused_are_told_apart(world: World) {
        put(&world.store, &Budget { max_open_holds: Some(3), ..day(100) }).await;
        let first = sent(&world.store, call(60)).await;

        let busy = refused(&world.store, call(41)).await;
        assert_eq!((busy.reason, busy.limit, busy.spent, busy.held, busy.wanted), (Reason::HeldOut, cents(100), Nano::ZERO, cents(60), cents(41)));
        assert_eq!((busy.budget.as_str(), busy.scope, busy.window), ("day", Scope::global(), Window::Day));
        assert_eq!(busy.resets_at_ms, Some(NOON / DAY * DAY + DAY));
        assert_eq!(refused(&world.store, call(101)).await.reason, Reason::SpentOut, "no wait will make it fit");

        settle(&world.store, first, 60).await;
        assert_eq!(refused(&world.store, call(41)).await.reason, Reason::SpentOut);
        for _ in 0..3 {
            sent(&world.store, call(10)).await;
        }
        assert_eq!(refused(&world.store, call(10)).await.reason, Reason::TooManyOpen);
        world.books_agree().await;
    }

    async fn to_the_last_nano_dollar_it_fits(world: World) {
        put(&world.store, &day(100)).await;
        sent(&world.store, call(99)).await;
        let exact = NewCall { bound: levqor_core::money::Bound { amount: Nano::new(CENT + 1), ..call(1).bound }, ..call(1) };

        assert_eq!(refused(&world.store, exact).await.reason, Reason::HeldOut);
        sent(&world.store, call(1)).await;

        assert_eq!(figures(&world.store, "day", NOON).await, (0, 100));
    }

    async fn all_budgets_or_none_hold_it(world: World) {
        put(&world.store, &day(100)).await;
        put(&world.store, &per_job(35)).await;
        put(&world.store, &budget("sol", Scope { kind: ScopeKind::Model, id: "openai/gpt-6-sol".to_owned() }, Window::Month, 20)).await;
        put(&world.store, &budget("other", Scope { kind: ScopeKind::Provider, id: "anthropic".to_owned() }, Window::Total, 0)).await;
        let job = id(NOON);

        let refusal = refused(&world.store, in_job(job, 1, call(30))).await;

        assert_eq!((refusal.budget.as_str(), refusal.reason), ("sol", Reason::SpentOut));
        for budget in ["day", "job", "sol"] {
            assert_eq!(figures(&world.store, budget, NOON).await, (0, 0), "{budget}");
        }
        sent(&world.store, in_job(job, 1, call(15))).await;
        for budget in ["day", "job", "sol"] {
            assert_eq!(figures(&world.store, budget, NOON).await, (0, 15), "{budget}");
        }
        world.books_agree().await;
    }

    async fn a_refusal_writes_nothing(world: World) {
        put(&world.store, &day(0)).await;

        let refusal = refused(&world.store, call(1)).await;

        assert_eq!(refusal.reason, Reason::SpentOut);
        for table in ["budget_periods", "ai_calls", "ai_call_holds", "cost_ledger"] {
            assert_eq!(world.number(&format!("select count(*) from {table}")).await, 0, "{table}");
        }
    }

    async fn a_limit_of_nothing_is_a_switch_that_stops_even_what_is_free(world: World) {
        sent(&world.store, call(0)).await;
        put(&world.store, &day(0)).await;

        assert_eq!(refused(&world.store, call(0)).await.reason, Reason::SpentOut);
    }

    async fn what_is_free_is_counted(world: World) {
        put(&world.store, &Budget { max_open_holds: Some(1), ..day(100) }).await;
        let spent = sent(&world.store, call(100)).await;
        settle(&world.store, spent, 100).await;

        sent(&world.store, call(0)).await;

        assert_eq!(refused(&world.store, call(0)).await.reason, Reason::TooManyOpen);
        assert_eq!(refused(&world.store, call(1)).await.reason, Reason::SpentOut);
        world.books_agree().await;
    }

    async fn a_jobs_budget_is_the_whole_trees(world: World) {
        put(&world.store, &per_job(35)).await;
        let (root, child) = (id(NOON), id(NOON));
        let of_child = |attempt, amount| {
            let mut call = in_job(root, attempt, call(amount));
            call.place.as_mut().unwrap().job = child;
            call
        };
        let first = sent(&world.store, in_job(root, 1, call(20))).await;
        settle(&world.store, first, 20).await;

        sent(&world.store, of_child(1, 10)).await;
        let refusal = refused(&world.store, of_child(2, 10)).await;

        assert_eq!((refusal.reason, refusal.spent, refusal.held), (Reason::HeldOut, cents(20), cents(10)));
        assert_eq!(refusal.resets_at_ms, None);
        sent(&world.store, in_job(id(NOON), 1, call(35))).await;
        sent(&world.store, call(35)).await;
        assert_eq!(refused(&world.store, call(36)).await.budget.as_str(), "job", "a call outside of a job is one of its own");
        world.books_agree().await;
    }

    async fn a_budget_for_each_counts_each_by_itself(world: World) {
        put(&world.store, &budget("users", Scope::each(ScopeKind::User), Window::Day, 10)).await;
        put(&world.store, &budget("teams", Scope::each(ScopeKind::Tag), Window::Day, 15)).await;
        let of = |user: &str, team: &str, amount| NewCall {
            user: Some(user.to_owned()),
            tags: Tags::from([("team".to_owned(), team.to_owned())]),
            ..call(amount)
        };

        sent(&world.store, of("ada", "blue", 10)).await;
        assert_eq!(refused(&world.store, of("ada", "red", 1)).await.subject, "ada");
        sent(&world.store, of("bob", "blue", 5)).await;
        assert_eq!(refused(&world.store, of("eve", "blue", 1)).await.subject, "team=blue");
        sent(&world.store, call(99)).await;

        let view = world.store.find_budget("users", NOON).await.unwrap().unwrap();
        let subjects: Vec<_> = view.periods.iter().map(|it| (it.subject.as_str(), it.held)).collect();
        assert_eq!(subjects, [("ada", cents(10)), ("bob", cents(5))]);
        world.books_agree().await;
    }

    async fn only_hard_budgets_refuse(world: World) {
        put(&world.store, &Budget { mode: Mode::Soft, thresholds_ppm: vec![500_000, 1_000_000], ..day(10) }).await;
        put(&world.store, &Budget { mode: Mode::Observe, thresholds_ppm: vec![500_000], ..per_job(10) }).await;

        let id = sent(&world.store, call(100)).await;
        settle(&world.store, id, 100).await;

        assert_eq!(figures(&world.store, "day", NOON).await, (100, 0));
        let alerts: Vec<_> = world.store.list_alerts(10).await.unwrap().into_iter().map(|it| (it.budget.to_string(), it.threshold_ppm)).collect();
        assert_eq!(alerts, [("day".to_owned(), 500_000), ("day".to_owned(), 1_000_000)], "observing tells nobody");
        world.books_agree().await;
    }

    async fn one_place_makes_one_call(world: World) {
        put(&world.store, &day(100)).await;
        let job = id(NOON);
        let first = in_job(job, 1, call(10));
        let twin = NewCall { id: call_id(), ..first.clone() };

        let (a, b) = tokio::join!(world.store.reserve(first.clone()), world.store.reserve(twin.clone()));
        let (granted, known): (Vec<_>, Vec<_>) =
            [a.unwrap(), b.unwrap()].into_iter().partition(|it| matches!(it, Reserved::Granted(_)));

        let Some(Reserved::Granted(permit)) = granted.into_iter().next() else { panic!() };
        let held = permit.spend();
        assert!(matches!(known[..], [Reserved::Known { call, state: CallState::Reserved }] if call == held), "{known:?}");
        settle(&world.store, held, 1).await;
        let after = world.store.reserve(NewCall { id: call_id(), ..first }).await.unwrap();
        assert!(matches!(after, Reserved::Known { state: CallState::Settled, .. }), "{after:?}");
        sent(&world.store, in_job(job, 2, call(10))).await;
        world.books_agree().await;
    }

    async fn the_room_is_what_the_tightest_hard_budget_leaves(world: World) {
        assert_eq!(world.store.find_room(&call(1)).await.unwrap().room, None);
        put(&world.store, &day(100)).await;
        put(&world.store, &per_job(35)).await;
        put(&world.store, &Budget { mode: Mode::Soft, ..budget("soft", Scope::global(), Window::Hour, 1) }).await;
        let job = id(NOON);

        let room = world.store.find_room(&in_job(job, 1, call(1))).await.unwrap();
        assert_eq!((room.room, room.tightest.unwrap().as_str()), (Some(cents(35)), "job"));
        for attempt in 0..3 {
            sent(&world.store, in_job(id(NOON), attempt, call(30))).await;
        }
        let room = world.store.find_room(&in_job(job, 1, call(1))).await.unwrap();
        assert_eq!((room.room, room.tightest.unwrap().as_str()), (Some(cents(10)), "day"));
    }

    async fn a_name_that_an_attacker_chose_is_only_a_name(world: World) {
        put(&world.store, &budget("keys", Scope::each(ScopeKind::Key), Window::Day, 10)).await;
        for name in ["'; drop table ai_calls; --", "\\u0000\"}],[{", "ü💶 \u{7f}\u{202e}", "*", "", "null", "5"] {
            let call = NewCall { key: Some(name.to_owned()), model: name.to_owned(), ..call(10) };
            let id = sent(&world.store, call.clone()).await;
            assert_eq!(refused(&world.store, NewCall { id: call_id(), ..call }).await.subject, name);
            assert_eq!(world.store.find_call(id).await.unwrap().unwrap().key.as_deref(), Some(name));
            settle(&world.store, id, 3).await;
        }
        world.books_agree().await;
    }
}
