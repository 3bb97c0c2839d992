//! What calls cost, summed: every way to tell it apart adds up to the ledger.

use levqor_core::audit::Actor;
use levqor_core::budget::{Scope, ScopeKind, Window};
use levqor_core::job::Tags;
use levqor_core::money::{CallState, Charge, Nano, Usage};
use levqor_core::user::parse_upsert;
use levqor_store::{
    BillTotals, Correction, CostBy, CostFilter, CostLine, CostQuestion, CostReport, NewCall, Settlement,
    Store,
};

use super::help::*;
use crate::world::*;

const QUARTER: i64 = 900_000;
const MIDNIGHT: i64 = NOON / DAY * DAY;

fn tagged(tags: &[(&str, &str)]) -> Tags {
    tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn lines(store: &Store, question: CostQuestion) -> Vec<CostLine> {
    match store.cost_report(&question).await.unwrap() {
        CostReport::Lines(lines) => lines,
        other => panic!("{other:?}"),
    }
}

fn whole(by: CostBy) -> CostQuestion {
    CostQuestion { periods: vec![(MIDNIGHT - DAY, MIDNIGHT + 2 * DAY)], by, only: CostFilter::default() }
}

fn shown(lines: &[CostLine], name: fn(&CostLine) -> &Option<String>) -> Vec<(usize, &str, i64)> {
    lines
        .iter()
        .map(|line| (line.period, name(line).as_deref().unwrap_or("-"), line.sums.cost.get() / CENT))
        .collect()
}

/// Five calls of several kinds: 1, 2, 4, 8 and 16 cents.
async fn five(world: &World) {
    let job = id(NOON);
    let calls = [
        (
            1,
            NewCall {
                user: Some("ada".to_owned()),
                tags: tagged(&[("team", "red"), ("env", "x")]),
                ..call(1)
            },
        ),
        (2, NewCall { at_ms: MIDNIGHT - 1, tags: tagged(&[("team", "blue")]), ..call(2) }),
        (
            4,
            NewCall {
                provider: "anthropic".to_owned(),
                model: "sonnet".to_owned(),
                ..in_job(job, 1, call(4))
            },
        ),
        (8, NewCall { at_ms: MIDNIGHT + DAY, key: None, tags: tagged(&[("team", "")]), ..call(8) }),
        (16, NewCall { user: Some("bob".to_owned()), ..in_job(job, 2, call(20)) }),
    ];
    for (cost, new) in calls {
        let id = sent(&world.store, new).await;
        settle(&world.store, id, cost).await;
    }
}

each_engine! {
    async fn each_way_to_tell_costs_apart_adds_up_to_the_ledger(world: World) {
        five(&world).await;
        let by = |make: fn(&mut CostBy)| {
            let mut by = CostBy::default();
            make(&mut by);
            by
        };
        let ledger = world.number("select cast(sum(amount_nano) as bigint) from cost_ledger where kind in ('settle', 'assume', 'adjust', 'overrun')").await;
        let ways = [
            by(|_| {}),
            by(|by| by.workflow = true),
            by(|by| by.provider = true),
            by(|by| by.model = true),
            by(|by| by.key = true),
            by(|by| by.user = true),
            by(|by| by.tag = Some("team".to_owned())),
            by(|by| by.tag = Some("no such \"tag'".to_owned())),
            CostBy { workflow: true, provider: true, model: true, key: true, user: true, tag: Some("env".to_owned()) },
        ];

        for way in ways {
            for periods in [vec![(MIDNIGHT - DAY, MIDNIGHT + 2 * DAY)], (-24..48).map(|n| (MIDNIGHT + n * HOUR, MIDNIGHT + (n + 1) * HOUR)).collect()] {
                let lines = lines(&world.store, CostQuestion { periods, ..whole(way.clone()) }).await;
                assert_eq!(lines.iter().map(|line| line.sums.cost.get()).sum::<i64>(), ledger, "{way:?}");
                assert_eq!(lines.iter().map(|line| line.sums.calls).sum::<i64>(), 5, "{way:?}");
                assert_eq!(lines.iter().map(|line| line.sums.usage.out).sum::<u64>(), 200, "{way:?}");
            }
        }
        world.books_agree().await;
    }

    async fn lines_name_what_they_are_of(world: World) {
        five(&world).await;
        let of = |by| lines(&world.store, whole(by));

        let tags = of(CostBy { tag: Some("team".to_owned()), ..CostBy::default() }).await;
        let mut found = shown(&tags, |line| &line.tag);
        found.sort_unstable();
        assert_eq!(found, [(0, "", 8), (0, "-", 20), (0, "blue", 2), (0, "red", 1)], "no tag is not an empty one");
        let models = of(CostBy { model: true, ..CostBy::default() }).await;
        assert_eq!(shown(&models, |line| &line.model), [(0, "sonnet", 4), (0, "gpt-6-sol", 27)]);
        assert_eq!(models[0].provider.as_deref(), Some("anthropic"));
        let days = (-1..2).map(|day| (MIDNIGHT + day * DAY, MIDNIGHT + (day + 1) * DAY)).collect();
        let days = lines(&world.store, CostQuestion { periods: days, ..CostQuestion::default() }).await;
        assert_eq!(shown(&days, |line| &line.user), [(0, "-", 2), (1, "-", 21), (2, "-", 8)]);
        // A day that begins a quarter before midnight, as it does in some zone.
        let shifted = vec![(MIDNIGHT - QUARTER, MIDNIGHT + DAY - QUARTER), (MIDNIGHT + DAY - QUARTER, MIDNIGHT + 2 * DAY)];
        let shifted = lines(&world.store, CostQuestion { periods: shifted, ..CostQuestion::default() }).await;
        assert_eq!(shown(&shifted, |line| &line.user), [(0, "-", 23), (1, "-", 8)]);
        let sums = &days[1].sums;
        assert_eq!((sums.calls, sums.settled, sums.released, sums.assumed), (3, 3, 0, 0));
        assert_eq!(sums.usage, Usage { uncached_in: 270, cached_in: 30, out: 120, reasoning: 6, ..Usage::default() });
    }

    async fn a_filter_leaves_the_others_out(world: World) {
        five(&world).await;
        let text = |text: &str| Some(text.to_owned());
        for (only, cents) in [
            (CostFilter { workflow: text("greet"), ..CostFilter::default() }, 20),
            (CostFilter { provider: text("anthropic"), ..CostFilter::default() }, 4),
            (CostFilter { provider: text("openai"), model: text("gpt-6-sol"), ..CostFilter::default() }, 27),
            (CostFilter { key: text("key-1"), ..CostFilter::default() }, 23),
            (CostFilter { user: text("ada"), ..CostFilter::default() }, 1),
            (CostFilter { user: text("' or 1=1 --"), ..CostFilter::default() }, 0),
            (CostFilter { tag: Some(("team".to_owned(), "red".to_owned())), ..CostFilter::default() }, 1),
            (CostFilter { tag: Some(("team".to_owned(), String::new())), ..CostFilter::default() }, 8),
            (CostFilter { tag: Some(("$.team".to_owned(), "red".to_owned())), ..CostFilter::default() }, 0),
            (CostFilter { workflow: text("greet"), user: text("bob"), ..CostFilter::default() }, 16),
        ] {
            let lines = lines(&world.store, CostQuestion { only: only.clone(), ..whole(CostBy::default()) }).await;
            assert_eq!(lines.iter().map(|line| line.sums.cost.get() / CENT).sum::<i64>(), cents, "{only:?}");
        }
    }

    async fn what_is_learnt_later_counts_where_the_call_was_held(world: World) {
        let old = NewCall { at_ms: NOON - DAY, user: Some("ada".to_owned()), ..call(30) };
        let id = sent(&world.store, old).await;
        assume(&world.store, id).await;
        let day = |n: i64| CostQuestion { periods: vec![(MIDNIGHT + n * DAY, MIDNIGHT + (n + 1) * DAY)], ..CostQuestion::default() };
        let sums = lines(&world.store, day(-1)).await.remove(0).sums;
        assert_eq!((sums.cost, sums.assumed_cost, sums.assumed, sums.settled), (cents(30), cents(30), 1, 0));
        world.books_agree().await;

        settle(&world.store, id, 33).await;
        let sums = lines(&world.store, day(-1)).await.remove(0).sums;
        assert_eq!((sums.cost, sums.assumed_cost, sums.overrun), (cents(33), Nano::ZERO, cents(3)));
        assert_eq!((sums.calls, sums.assumed, sums.settled, sums.usage.out), (1, 0, 1, 40));
        let correction = Correction { call: id, cost: cents(5), reason: "invoice".to_owned(), actor: Actor::cli(), at_ms: NOON };
        world.store.correct_call(correction).await.unwrap();
        let sums = lines(&world.store, day(-1)).await.remove(0).sums;
        assert_eq!((sums.cost, sums.overrun, sums.calls, sums.usage.out), (cents(5), Nano::ZERO, 1, 40));
        assert_eq!(lines(&world.store, day(0)).await, []);
        assert_eq!(world.store.user_costs("ada").await.unwrap().cost, cents(5));
        world.books_agree().await;
    }

    async fn a_usage_that_nobody_can_have_had_still_settles(world: World) {
        for _ in 0..3 {
            let id = sent(&world.store, call(1)).await;
            let usage = Usage { out: u64::MAX / 4, ..Usage::default() };
            let charge = Charge::Settle { cost: cents(1), usage, alarm: None };
            world.store.settle_call(Settlement::new(id, charge, NOON)).await.unwrap();
        }

        let sums = lines(&world.store, whole(CostBy::default())).await.remove(0).sums;
        assert_eq!((sums.cost, sums.usage.out), (cents(3), 3_000_000_000_000));
    }

    async fn the_comparison_of_a_day_is_made_by_one_and_again_when_it_failed(world: World) {
        let claims = futures_util::future::join_all((0..8).map(|_| world.store.claim_statements(MIDNIGHT, NOON))).await;
        assert_eq!(claims.into_iter().filter_map(|claim| claim.unwrap()).collect::<Vec<_>>(), [1]);
        assert_eq!(world.store.claim_statements(MIDNIGHT, NOON + HOUR).await.unwrap(), Some(2), "who died at it is followed");
        world.store.end_statements(MIDNIGHT, 1, None).await.unwrap();
        world.store.end_statements(MIDNIGHT, 2, Some(NOON + 2 * HOUR)).await.unwrap();
        assert_eq!(world.store.claim_statements(MIDNIGHT, NOON + 2 * HOUR - 1).await.unwrap(), None);
        assert_eq!(world.store.claim_statements(MIDNIGHT, NOON + 2 * HOUR).await.unwrap(), Some(3));
        world.store.end_statements(MIDNIGHT, 3, None).await.unwrap();

        assert_eq!(world.store.claim_statements(MIDNIGHT, NOON + 9 * DAY).await.unwrap(), None, "done is done");
        assert_eq!(world.store.claim_statements(MIDNIGHT + DAY, NOON + DAY).await.unwrap(), Some(1));
    }

    async fn what_a_provider_says_later_replaces_what_it_said(world: World) {
        five(&world).await;
        let put = async |stated: i64| world.store.put_statements("openai", &[(MIDNIGHT, cents(stated))], NOON).await.unwrap();

        assert_eq!((put(20).await[0].booked, put(20).await[0].drift_ppm), (cents(17), 150_000));
        assert_eq!(put(17).await[0].drift_ppm, 0);

        let listed = world.store.list_statements(10).await.unwrap();
        assert_eq!((listed.len(), listed[0].stated, listed[0].provider.as_str()), (1, cents(17), "openai"));
    }

    async fn too_much_to_read_is_refused_and_not_read(world: World) {
        let fill = match &world.location {
            levqor_store::Location::Sqlite(_) => {
                "with recursive n (i) as (select 0 union all select i + 1 from n where i < 250000) \
                 insert into cost_rollups select 900000, i * 900000, 'g', 1,1,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0 from n"
            }
            levqor_store::Location::Postgres(_) => {
                "insert into cost_rollups select 900000, i * 900000, 'g', 1,1,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0 \
                 from generate_series(0::bigint, 250000) as n (i)"
            }
        };
        world.try_execute(fill).await.unwrap();
        world.try_execute("insert into cost_groups values ('g', '', 'p', 'm', '', '', '{}')").await.unwrap();
        // Each period is a quarter short of a day: nothing of it can be read as a day.
        let periods = |days: i64| (0..days).map(|day| (day * DAY + QUARTER, (day + 1) * DAY)).collect();

        let most = CostQuestion { periods: periods(2_000), ..CostQuestion::default() };
        let lines = lines(&world.store, most).await;
        assert_eq!((lines.len(), lines[0].sums.cost.get()), (2_000, 95));
        let more = CostQuestion { periods: periods(2_200), ..CostQuestion::default() };
        assert_eq!(world.store.cost_report(&more).await.unwrap(), CostReport::TooWide);
    }

    async fn a_job_is_explained_call_by_call(world: World) {
        put(&world.store, &per_job(100)).await;
        let (root, child) = (id(NOON), id(NOON));
        let step = |step: &str, attempt, amount| {
            let mut call = in_job(root, attempt, call(amount));
            call.place.as_mut().unwrap().step = step.to_owned();
            call
        };
        let done = sent(&world.store, step("ask", 1, 10)).await;
        settle(&world.store, done, 12).await;
        let lost = sent(&world.store, step("ask", 2, 7)).await;
        assume(&world.store, lost).await;
        sent(&world.store, step("sum", 1, 5)).await;
        let mut of_child = in_job(root, 1, call(3));
        of_child.place.as_mut().unwrap().job = child;
        let of_child = sent(&world.store, of_child).await;
        settle(&world.store, of_child, 1).await;
        sent(&world.store, in_job(id(NOON), 1, call(50))).await;

        let bill = world.store.job_bill(root, None, 2).await.unwrap();
        let own = BillTotals { calls: 3, open: 1, cost: cents(19), held: cents(5), assumed: cents(7), overrun: cents(2) };
        assert_eq!(bill.costs.own, own);
        assert_eq!((bill.costs.tree.calls, bill.costs.tree.cost, bill.costs.root), (4, cents(20), Some(root)));
        let steps: Vec<_> = bill.costs.steps.iter().map(|(step, sums)| (step.as_str(), sums.calls, sums.cost)).collect();
        assert_eq!(steps, [("ask", 2, cents(19)), ("sum", 1, Nano::ZERO)]);
        assert_eq!(bill.calls.iter().map(|call| call.state).collect::<Vec<_>>(), [CallState::Settled, CallState::Assumed]);
        let kinds: Vec<_> = bill.calls[0].ledger.iter().map(|it| it.kind.as_str()).collect();
        assert_eq!(kinds, ["reserve", "settle", "overrun"]);
        let rest = world.store.job_bill(root, bill.next, 2).await.unwrap();
        assert_eq!((rest.calls.len(), rest.next), (1, None));
        let bill = world.store.job_bill(child, None, 10).await.unwrap();
        assert_eq!((bill.costs.own.cost, bill.costs.tree.cost, bill.costs.root), (cents(1), cents(20), Some(root)));
        let none = world.store.job_bill(id(NOON), None, 10).await.unwrap();
        assert_eq!(none, levqor_store::JobBill::default());
    }

    async fn a_job_that_is_forgotten_leaves_the_books_as_they_are(world: World) {
        put(&world.store, &day(100)).await;
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        let id = sent(&world.store, in_job(claimed.id, 1, call(10))).await;
        settle(&world.store, id, 4).await;
        world.record(&claimed, Vec::new(), succeeded(NOON)).await;

        world.store.delete_job(claimed.id, &Actor::system(), NOON).await.unwrap();

        assert_eq!(world.store.find_job(claimed.id).await.unwrap(), None);
        assert_eq!(world.store.job_costs(claimed.id).await.unwrap().own.cost, cents(4));
        assert_eq!(figures(&world.store, "day", NOON).await, (4, 0));
        world.books_agree().await;
    }

    async fn an_erased_person_leaves_no_trace_and_every_cent(world: World) {
        let users = budget("users", Scope::each(ScopeKind::User), Window::Day, 50);
        put(&world.store, &levqor_core::budget::Budget { thresholds_ppm: vec![100_000], ..users }).await;
        put(&world.store, &day(100)).await;
        let person = "3f0c6e8d5b1a4c7e9d2f1a0b3c4d5e6f";
        let upsert = parse_upsert(br#"{"email":"ada@example.org"}"#).unwrap();
        world.store.upsert_user(person, upsert, &Actor::system(), NOON).await.unwrap();
        let of = |user: &str, at_ms, amount| NewCall { user: Some(user.to_owned()), at_ms, ..call(amount) };
        for (user, at_ms) in [(person, NOON), (person, NOON - DAY), ("bob", NOON)] {
            let id = sent(&world.store, of(user, at_ms, 10)).await;
            settle(&world.store, id, 8).await;
        }
        let open = sent(&world.store, of(person, NOON, 10)).await;
        let costs = world.store.user_costs(person).await.unwrap();
        assert_eq!((costs.calls, costs.cost, costs.newest.len(), costs.newest[0].id), (2, cents(16), 3, open));

        world.store.delete_user(person, &Actor::system(), NOON).await.unwrap();

        for (table, columns) in [
            ("ai_calls", "user_id"),
            ("ai_call_holds", "subject"),
            ("budget_periods", "subject"),
            ("alert_outbox", "subject"),
            ("cost_groups", "user_id"),
            ("user_costs", "user_id"),
        ] {
            let sql = format!("select count(*) from {table} where {columns} like '%{person}%'");
            assert_eq!(world.number(&sql).await, 0, "{table}");
        }
        world.books_agree().await;
        settle(&world.store, open, 5).await;
        world.books_agree().await;
        assert_eq!(world.store.user_costs(person).await.unwrap(), levqor_store::UserCosts::default());
        let users = lines(&world.store, whole(CostBy { user: true, ..CostBy::default() })).await;
        assert_eq!(shown(&users, |line| &line.user), [(0, "-", 21), (0, "bob", 8)]);
        assert_eq!(world.number("select cast(sum(amount_nano) as bigint) from cost_ledger where kind = 'settle'").await, 29 * CENT);
    }
}
