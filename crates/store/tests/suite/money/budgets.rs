//! Budgets as they are set up and changed.

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, Mode, Scope, ScopeKind, Window, Zone, default_day, default_job, stop};
use levqor_core::money::{CallState, Nano};
use levqor_store::{Error, FROM_API, FROM_SETTING, MAX_BUDGETS, Reason, SHOWN};

use super::help::*;
use crate::world::*;

fn conflict<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::Conflict { what }) => what,
        other => panic!("{other:?}"),
    }
}

each_engine! {
    async fn what_is_put_is_found_and_counts_its_changes(world: World) {
        let full = Budget {
            zone: Zone::parse("Europe/Berlin").unwrap(),
            mode: Mode::Soft,
            thresholds_ppm: vec![500_000, 1_000_000],
            max_open_holds: Some(7),
            ..budget("blue", Scope { kind: ScopeKind::Tag, id: "team=blue".to_owned() }, Window::Rolling { hours: 24 }, 5)
        };

        let (row, changed) = world.store.put_budget(&full, "api", &Actor::system(), NOON).await.unwrap();
        assert_eq!((&row.budget, row.version, row.origin.as_str(), changed), (&full, 1, "api", true));
        let (same, changed) = world.store.put_budget(&full, "api", &Actor::system(), NOON + 1).await.unwrap();
        assert_eq!((same, changed), (row, false));
        let (row, _) = world.store.put_budget(&Budget { limit: cents(6), ..full.clone() }, "api", &Actor::system(), NOON + 2).await.unwrap();
        assert_eq!((row.version, row.budget.limit, row.created_at_ms, row.updated_at_ms), (2, cents(6), NOON, NOON + 2));

        assert_eq!(world.store.list_budgets().await.unwrap(), [row]);
        assert_eq!(world.store.find_budget("green", NOON).await.unwrap(), None);
        assert_eq!(world.store.find_budget("' or 1=1", NOON).await.unwrap(), None);
        assert_eq!(world.number("select count(*) from audit_entries where action = 'budget.put'").await, 2);
    }

    async fn the_budgets_of_settings_are_changed_by_settings_alone(world: World) {
        let (job, day) = (default_job(Nano::parse("0.35").unwrap()), default_day(Nano::parse("10").unwrap()));
        for _ in 0..2 {
            world.store.put_default_budgets(job.limit, day.limit, NOON).await.unwrap();
        }
        assert_eq!(world.number("select max(version) from budgets").await, 1, "the same limits again are no change");

        let put = world.store.put_budget(&Budget { limit: cents(1), ..day.clone() }, "api", &Actor::system(), NOON).await;
        assert!(conflict(put).contains("stands on a setting"));
        let deleted = world.store.delete_budget(day.id.as_str(), &Actor::system(), NOON).await;
        assert!(conflict(deleted).contains("stands on a setting"));
        let (row, changed) = world.store.put_budget(&Budget { limit: cents(1), ..day.clone() }, FROM_SETTING, &Actor::system(), NOON).await.unwrap();

        assert!(changed && row.version == 2);
        assert_eq!(refused(&world.store, call(2)).await.budget, day.id);
        let order: Vec<_> = world.store.list_budgets().await.unwrap().into_iter().map(|row| row.budget.id).collect();
        assert_eq!(order, [job.id, day.id], "narrow before wide");
    }

    async fn a_change_of_the_limit_counts_at_once(world: World) {
        put(&world.store, &day(100)).await;
        let id = sent(&world.store, call(60)).await;

        put(&world.store, &day(50)).await;
        assert_eq!(refused(&world.store, call(1)).await.reason, Reason::HeldOut);
        let view = world.store.find_budget("day", NOON).await.unwrap().unwrap();
        assert_eq!((view.periods[0].limit, view.periods[0].held), (cents(50), cents(60)), "what is held stays held");
        settle(&world.store, id, 40).await;
        assert_eq!(refused(&world.store, call(11)).await.reason, Reason::SpentOut);
        sent(&world.store, call(10)).await;

        put(&world.store, &day(200)).await;
        sent(&world.store, call(150)).await;
        world.books_agree().await;
    }

    async fn a_budget_that_is_off_or_gone_binds_nobody_and_its_rows_stay(world: World) {
        put(&world.store, &day(10)).await;
        let id = sent(&world.store, call(10)).await;

        put(&world.store, &Budget { enabled: false, ..day(10) }).await;
        sent(&world.store, call(50)).await;
        assert_eq!(figures(&world.store, "day", NOON).await, (0, 10));
        world.store.delete_budget("day", &Actor::system(), NOON).await.unwrap();
        assert_eq!(world.store.find_budget("day", NOON).await.unwrap(), None);
        assert!(matches!(world.store.delete_budget("day", &Actor::system(), NOON).await, Err(Error::NotFound { what: "budget" })));

        settle(&world.store, id, 4).await;
        world.books_agree().await;
        put(&world.store, &day(10)).await;
        assert_eq!(figures(&world.store, "day", NOON).await, (4, 0), "what was spent in this period was spent");
    }

    async fn scope_and_window_never_change(world: World) {
        put(&world.store, &day(10)).await;

        let window = world.store.put_budget(&Budget { window: Window::Week, ..day(10) }, "api", &Actor::system(), NOON).await;
        let scope = world.store.put_budget(&Budget { scope: Scope::each(ScopeKind::User), ..day(10) }, "api", &Actor::system(), NOON).await;
        let nonsense = world.store.put_budget(&Budget { limit: Nano::new(-1), ..day(10) }, "api", &Actor::system(), NOON).await;

        assert!(conflict(window).contains("another scope or window"));
        assert!(conflict(scope).contains("another scope or window"));
        assert_eq!(conflict(nonsense), "limit must not be negative");
        assert_eq!(world.number("select count(*) from audit_entries where action = 'budget.put'").await, 1);
    }

    async fn open_holds_are_shown_with_their_owner_and_their_age(world: World) {
        put(&world.store, &day(100)).await;
        let job = id(NOON);
        let first = sent(&world.store, in_job(job, 1, call(10))).await;
        sent(&world.store, call(20)).await;
        let over = sent(&world.store, call(30)).await;
        settle(&world.store, over, 1).await;

        let holds = world.store.find_budget("day", NOON).await.unwrap().unwrap().holds;

        assert_eq!(holds.iter().map(|hold| hold.amount).collect::<Vec<_>>(), [cents(10), cents(20)]);
        let hold = &holds[0];
        assert_eq!((hold.call, hold.job, hold.step.as_deref(), hold.state), (first, Some(job), Some("ask"), CallState::Reserved));
        assert_eq!((hold.node.as_str(), hold.reserved_at_ms, hold.lease_until_ms), ("node-1", NOON, Some(NOON + 600_000)));
    }

    async fn a_threshold_raises_one_alert_a_period(world: World) {
        put(&world.store, &Budget { thresholds_ppm: vec![500_000, 800_000, 1_000_000], ..day(100) }).await;
        let at = |day: i64, amount| levqor_store::NewCall { at_ms: NOON + day * DAY, ..call(amount) };
        let mut told = Vec::new();
        for (day, cost) in [(0, 49), (0, 1), (0, 1), (0, 29), (0, 20), (1, 50)] {
            let id = sent(&world.store, at(day, cost)).await;
            settle(&world.store, id, cost).await;
            let open = world.store.list_alerts(10).await.unwrap();
            told.push(open.iter().map(|it| (it.threshold_ppm, it.spent.get() / CENT)).collect::<Vec<_>>());
            for alert in open {
                assert!(world.store.close_alert(&alert, Vec::new(), NOON).await.unwrap());
                assert!(!world.store.close_alert(&alert, Vec::new(), NOON).await.unwrap(), "one tells it");
            }
        }

        assert_eq!(told, [vec![], vec![(500_000, 50)], vec![], vec![(800_000, 80)], vec![(1_000_000, 100)], vec![(500_000, 50)]]);
        assert_eq!(world.number("select count(*) from alert_outbox").await, 4);
    }

    async fn money_that_comes_back_and_goes_again_alerts_once(world: World) {
        put(&world.store, &Budget { thresholds_ppm: vec![500_000], ..day(100) }).await;
        for _ in 0..3 {
            let id = sent(&world.store, call(60)).await;
            assume(&world.store, id).await;
            release(&world.store, id).await;
        }

        assert_eq!(world.store.list_alerts(10).await.unwrap().len(), 1);
    }

    async fn budgets_that_belong_to_somebody_are_put_by_nobody_else(world: World) {
        let by = Actor::system();
        for budget in [default_day(cents(1)), default_job(cents(1)), stop()] {
            let put = world.store.put_budget(&budget, FROM_API, &by, NOON).await;
            assert!(conflict(put).contains(budget.id.as_str()), "there is none yet, and it is kept for its owner");
        }
        assert!(world.store.stop_ai(&by, NOON).await.unwrap());
        assert!(!world.store.stop_ai(&by, NOON).await.unwrap());
        let refusal = refused(&world.store, call(0)).await;
        assert_eq!((refusal.budget.as_str(), refusal.reason), ("ai-stop", Reason::SpentOut));
        assert!(conflict(world.store.delete_budget("ai-stop", &by, NOON).await).contains("switch"));
        assert!(world.store.start_ai(&by, NOON).await.unwrap());
        assert!(!world.store.start_ai(&by, NOON).await.unwrap());
        sent(&world.store, call(0)).await;
        assert!(world.store.stop_ai(&by, NOON).await.unwrap(), "and again");
    }

    async fn one_that_was_deleted_comes_back_with_its_counters_or_not_at_all(world: World) {
        put(&world.store, &day(10)).await;
        sent(&world.store, call(4)).await;
        world.store.delete_budget("day", &Actor::system(), NOON).await.unwrap();

        let other = world.store.put_budget(&budget("day", Scope::each(ScopeKind::User), Window::Day, 10), FROM_API, &Actor::system(), NOON).await;
        assert!(conflict(other).contains("or had"));
        put(&world.store, &day(5)).await;
        assert_eq!(figures(&world.store, "day", NOON).await, (0, 4));
        assert_eq!(refused(&world.store, call(2)).await.reason, Reason::HeldOut);
    }

    async fn there_are_so_many_budgets_and_no_more(world: World) {
        let row = |n: usize| format!("('b{n}', 'user', 'u{n}', 40, 'day', 'UTC', 1, 'hard', '[]', true, false, 'api', 1, 0, 0)");
        let rows: Vec<String> = (0..MAX_BUDGETS as usize).map(row).collect();
        let columns = "id, scope_kind, scope_id, scope_rank, time_window, zone, limit_nano, mode, thresholds_ppm, enabled, deleted, origin, version, created_at_ms, updated_at_ms";
        world.try_execute(&format!("insert into budgets ({columns}) values {}", rows.join(","))).await.unwrap();

        let one_more = world.store.put_budget(&day(10), FROM_API, &Actor::system(), NOON).await;
        assert!(conflict(one_more).contains("1000 budgets"));
        world.store.delete_budget("b7", &Actor::system(), NOON).await.unwrap();
        put(&world.store, &day(10)).await;
        assert_eq!(world.store.list_budget_views(NOON).await.unwrap().len(), 1_000);
    }

    async fn a_view_shows_the_fullest_and_says_that_there_are_more(world: World) {
        put(&world.store, &budget("users", Scope::each(ScopeKind::User), Window::Day, 1_000)).await;
        let rolling = budget("rolling", Scope::each(ScopeKind::User), Window::Rolling { hours: 5 }, 1_000);
        put(&world.store, &rolling).await;
        for user in 0..(SHOWN as i64 + 5) {
            let of = |at_ms: i64| levqor_store::NewCall { user: Some(format!("u{user:03}")), at_ms, ..call(user + 1) };
            sent(&world.store, of(NOON)).await;
            if user == 0 {
                sent(&world.store, of(NOON + HOUR)).await;
            }
        }

        for id in ["users", "rolling"] {
            let view = world.store.find_budget(id, NOON + HOUR).await.unwrap().unwrap();
            assert_eq!((view.periods.len(), view.has_more, view.holds.len()), (SHOWN, true, SHOWN), "{id}");
            assert_eq!((view.periods[0].subject.as_str(), view.periods[0].held), ("u204", cents(205)), "{id}");
            let one = world.store.find_budget_for(id, Some("u000"), NOON + HOUR).await.unwrap().unwrap();
            assert_eq!((one.periods.len(), one.periods[0].held, one.holds.len()), (1, cents(2), 2), "{id}: outside of what was shown");
        }
    }

    async fn a_lowered_limit_alerts_for_what_lies_behind_it(world: World) {
        let with = |limit, thresholds: &[u32]| Budget { thresholds_ppm: thresholds.to_vec(), ..day(limit) };
        let rolling = |limit| Budget { thresholds_ppm: vec![500_000], ..budget("rolling", Scope::global(), Window::Rolling { hours: 3 }, limit) };
        put(&world.store, &with(100, &[500_000])).await;
        put(&world.store, &rolling(100)).await;
        put(&world.store, &Budget { thresholds_ppm: vec![500_000], ..per_job(100) }).await;
        for at_ms in [NOON - HOUR, NOON] {
            let id = sent(&world.store, levqor_store::NewCall { at_ms, ..call(20) }).await;
            settle(&world.store, id, 20).await;
        }
        assert_eq!(world.store.list_alerts(10).await.unwrap(), []);

        put(&world.store, &with(80, &[500_000])).await;
        put(&world.store, &rolling(60)).await;
        put(&world.store, &Budget { thresholds_ppm: vec![500_000], ..per_job(30) }).await;
        put(&world.store, &with(80, &[400_000, 500_000])).await;
        put(&world.store, &with(1, &[400_000, 500_000])).await;

        let alerts = world.store.list_alerts(10).await.unwrap();
        let mut told: Vec<_> = alerts.iter().map(|it| (it.budget.as_str(), it.threshold_ppm, it.spent.get() / CENT, it.limit.get() / CENT)).collect();
        told.sort_unstable();
        assert_eq!(told, [("day", 400_000, 40, 80), ("day", 500_000, 40, 80), ("rolling", 500_000, 40, 60)], "jobs are left alone");
    }
}
