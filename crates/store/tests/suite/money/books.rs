//! Where money stands after each turn of a call's life.

use levqor_core::audit::Actor;
use levqor_core::job::{Fenced, Record, StepStatus, Then};
use levqor_core::money::{CallState, Charge, Nano};
use levqor_core::state::State;
use levqor_store::{Correction, Error, Reason, Reserved, Settled, Settlement};
use levqor_testkit::wait_until;

use super::help::*;
use crate::world::*;

fn correction(call: levqor_core::money::CallId, cost: Nano) -> Correction {
    Correction {
        call,
        cost,
        reason: "the invoice says so".to_owned(),
        actor: Actor::key("ops"),
        at_ms: NOON + HOUR,
    }
}

each_engine! {
    async fn a_hold_becomes_its_cost_and_the_rest_comes_back(world: World) {
        put(&world.store, &day(100)).await;
        let permit = granted(&world.store, call(30)).await;
        assert_eq!((permit.held(), permit.output_tokens()), (cents(30), 200));
        assert_eq!(figures(&world.store, "day", NOON).await, (0, 30));
        let id = permit.spend();

        let settled = settle(&world.store, id, 7).await;

        let expected = Settled { state: CallState::Settled, charged: cents(7), changed: true, overrun: Nano::ZERO };
        assert_eq!(settled, expected);
        assert_eq!(figures(&world.store, "day", NOON).await, (7, 0));
        let row = world.store.find_call(id).await.unwrap().unwrap();
        assert_eq!((row.state, row.reserved, row.settled), (CallState::Settled, cents(30), Some(cents(7))));
        assert_eq!(row.usage.unwrap().out, 40);
        assert_eq!(row.usage_raw.as_deref(), Some(r#"{"prompt_tokens":100}"#));
        let kinds: Vec<_> = row.ledger.iter().map(|it| (it.kind.as_str(), it.amount)).collect();
        assert_eq!(kinds, [("reserve", cents(30)), ("settle", cents(7))]);
        world.books_agree().await;
    }

    async fn a_charge_that_comes_again_changes_nothing(world: World) {
        put(&world.store, &day(100)).await;
        let id = sent(&world.store, call(30)).await;
        let first = settle(&world.store, id, 7).await;

        for _ in 0..100 {
            assert_eq!(settle(&world.store, id, 7).await, Settled { changed: false, ..first });
        }
        let at_once = (0..50).map(|n| world.store.settle_call(settlement(id, cents(n))));
        for again in futures_util::future::join_all(at_once).await {
            assert_eq!(again.unwrap(), Settled { changed: false, ..first });
        }
        assert_eq!(release(&world.store, id).await.charged, cents(7));
        assert_eq!(assume(&world.store, id).await.charged, cents(7));

        assert_eq!(figures(&world.store, "day", NOON).await, (7, 0));
        assert_eq!(world.number("select count(*) from cost_ledger").await, 2);
        world.books_agree().await;
    }

    async fn a_release_gives_everything_back(world: World) {
        put(&world.store, &day(100)).await;
        let id = sent(&world.store, call(100)).await;

        assert_eq!(release(&world.store, id).await.state, CallState::Released);

        assert_eq!(figures(&world.store, "day", NOON).await, (0, 0));
        assert_eq!(settle(&world.store, id, 50).await.charged, Nano::ZERO, "there was proof that nothing is charged");
        world.books_agree().await;
    }

    async fn what_is_in_doubt_is_charged_in_full_until_somebody_knows_better(world: World) {
        put(&world.store, &day(100)).await;
        let (late, gone, beyond) =
            (sent(&world.store, call(30)).await, sent(&world.store, call(20)).await, sent(&world.store, call(10)).await);
        for id in [late, gone, beyond] {
            assert_eq!(assume(&world.store, id).await.state, CallState::Assumed);
        }
        assert_eq!(figures(&world.store, "day", NOON).await, (60, 0));
        world.books_agree().await;

        assert_eq!(settle(&world.store, late, 7).await.charged, cents(7));
        assert_eq!(release(&world.store, gone).await.charged, Nano::ZERO);
        assert_eq!(settle(&world.store, beyond, 12).await.overrun, cents(2));

        assert_eq!(figures(&world.store, "day", NOON).await, (19, 0));
        for id in [late, gone, beyond] {
            assert!(!settle(&world.store, id, 1).await.changed, "exact once");
        }
        world.books_agree().await;
    }

    async fn what_a_provider_charges_beyond_the_hold_is_counted_and_told(world: World) {
        put(&world.store, &day(100)).await;
        let id = sent(&world.store, call(90)).await;

        let settled = settle(&world.store, id, 130).await;

        assert_eq!((settled.charged, settled.overrun), (cents(130), cents(40)));
        let view = world.store.find_budget("day", NOON).await.unwrap().unwrap();
        assert_eq!((view.periods[0].spent, view.periods[0].overrun), (cents(130), cents(40)));
        assert_eq!(refused(&world.store, call(1)).await.reason, Reason::SpentOut);
        world.books_agree().await;
    }

    async fn a_person_corrects_what_is_over_and_says_why(world: World) {
        put(&world.store, &day(100)).await;
        let open = sent(&world.store, call(10)).await;
        let early = world.store.correct_call(correction(open, cents(1))).await;
        assert!(matches!(&early, Err(Error::Conflict { what }) if what.contains("still open")), "{early:?}");
        assume(&world.store, open).await;

        let corrected = world.store.correct_call(correction(open, cents(3))).await.unwrap();
        assert_eq!((corrected.state, corrected.charged), (CallState::Settled, cents(3)));
        let again = world.store.correct_call(correction(open, cents(3))).await.unwrap();
        assert!(!again.changed);
        assert!(!settle(&world.store, open, 5).await.changed, "a person's word is the last");
        assert_eq!(world.store.correct_call(correction(open, cents(12))).await.unwrap().overrun, cents(2));

        let row = world.store.find_call(open).await.unwrap().unwrap();
        let last = row.ledger.last().unwrap();
        assert_eq!((last.amount, last.actor.as_str(), last.reason.as_deref()), (cents(9), "key:ops", Some("the invoice says so")));
        assert_eq!(figures(&world.store, "day", NOON).await, (12, 0));
        let released = sent(&world.store, call(10)).await;
        release(&world.store, released).await;
        world.store.correct_call(correction(released, cents(4))).await.unwrap();
        assert_eq!(figures(&world.store, "day", NOON).await, (16, 0));
        world.books_agree().await;
    }

    async fn a_call_that_nobody_knows_is_not_charged(world: World) {
        let unknown = world.store.settle_call(settlement(call_id(), cents(1))).await;
        assert!(matches!(unknown, Err(Error::NotFound { what: "AI call" })), "{unknown:?}");
    }

    async fn a_permit_that_is_dropped_gives_its_hold_back(world: World) {
        put(&world.store, &day(100)).await;

        drop(granted(&world.store, call(100)).await);

        wait_until(LIMIT, async || figures(&world.store, "day", NOON).await == (0, 0)).await;
        assert_eq!(world.number("select count(*) from ai_calls where state = 'released'").await, 1);
        world.books_agree().await;
    }

    async fn a_hold_whose_caller_went_away_comes_back(world: World) {
        put(&world.store, &day(100)).await;

        for _ in 0..20 {
            let reserving = world.store.reserve(call(100));
            // Polled once, then dropped: nobody takes the answer.
            futures_util::future::poll_immediate(Box::pin(reserving)).await;
        }

        wait_until(LIMIT, async || matches!(world.store.reserve(call(100)).await.unwrap(), Reserved::Granted(_))).await;
        wait_until(LIMIT, async || figures(&world.store, "day", NOON).await == (0, 0)).await;
        world.books_agree().await;
    }

    async fn a_crash_is_charged_in_full_and_only_a_crash(world: World) {
        put(&world.store, &day(100)).await;
        let lost = sent(&world.store, call(30)).await;
        let held = granted(&world.store, call(20)).await;
        assert_eq!(world.store.sweep_calls(NOON + SECOND, 10).await.unwrap(), 0, "who lives keeps its calls");
        std::mem::forget(held);

        let world = world.after_a_crash().await;
        assert_eq!(figures(&world.store, "day", NOON).await, (0, 50));
        assert_eq!(world.store.sweep_calls(NOON + SECOND, 10).await.unwrap(), 2);

        assert_eq!(figures(&world.store, "day", NOON).await, (50, 0));
        assert_eq!(world.store.sweep_calls(NOON + SECOND, 10).await.unwrap(), 0);
        let row = world.store.find_call(lost).await.unwrap().unwrap();
        assert_eq!((row.state, row.failure.as_deref()), (CallState::Assumed, Some("lost")));
        assert_eq!(settle(&world.store, lost, 6).await.charged, cents(6), "the answer came after all");
        assert_eq!(figures(&world.store, "day", NOON).await, (26, 0));
        world.books_agree().await;
    }

    async fn a_call_that_outlives_its_lease_is_charged_in_full(world: World) {
        put(&world.store, &day(100)).await;
        let slow = sent(&world.store, NewLease::of(call(30), 5 * SECOND)).await;
        sent(&world.store, call(10)).await;

        assert_eq!(world.store.sweep_calls(NOON + 4 * SECOND, 10).await.unwrap(), 0);
        assert_eq!(world.store.sweep_calls(NOON + 5 * SECOND, 10).await.unwrap(), 1);

        assert_eq!(world.store.find_call(slow).await.unwrap().unwrap().state, CallState::Assumed);
        assert_eq!(figures(&world.store, "day", NOON).await, (30, 10));
        world.books_agree().await;
    }

    async fn the_record_of_a_step_and_its_charge_are_one(world: World) {
        put_job_budgets(&world).await;
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        let (stay, end) = (sent(&world.store, in_job(claimed.id, 1, call(10))).await, sent(&world.store, in_job(claimed.id, 2, call(10))).await);
        let record = |steps, then| Record { id: claimed.id, claim: claimed.claim, pin: None, steps, then };

        let first = record(vec![step("ask", 1, StepStatus::Failed, NOON)], Then::Stay);
        let (fenced, settled) = world.store.record_settling(first, vec![settlement(stay, cents(2))]).await.unwrap();
        assert_eq!((fenced, settled[0].charged), (Fenced::Done, cents(2)));
        let last = record(vec![step("ask", 2, StepStatus::Succeeded, NOON)], succeeded(NOON));
        let (fenced, settled) = world.store.record_settling(last, vec![settlement(end, cents(3)), settlement(stay, cents(9))]).await.unwrap();

        assert_eq!(fenced, Fenced::Done);
        assert_eq!(settled.iter().map(|it| (it.charged, it.changed)).collect::<Vec<_>>(), [(cents(3), true), (cents(2), false)]);
        assert_eq!(world.state(claimed.id).await, State::Succeeded);
        assert_eq!(figures(&world.store, "job", NOON).await, (5, 0));
        assert_eq!(world.store.list_calls(claimed.id).await.unwrap().len(), 2);
        world.books_agree().await;
    }

    async fn who_lost_the_job_still_charges_what_it_cost(world: World) {
        put_job_budgets(&world).await;
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        let id = sent(&world.store, in_job(claimed.id, 1, call(10))).await;
        assert_eq!(world.record(&claimed, Vec::new(), Then::HandBack).await, Fenced::Done);

        for then in [Then::Stay, succeeded(NOON)] {
            let steps = vec![step("ask", 1, StepStatus::Succeeded, NOON)];
            let record = Record { id: claimed.id, claim: claimed.claim, pin: None, steps, then };
            let (fenced, settled) = world.store.record_settling(record, vec![settlement(id, cents(4))]).await.unwrap();
            assert_eq!((fenced, settled[0].charged), (Fenced::Stale, cents(4)));
        }

        assert_eq!(world.number("select count(*) from steps").await, 0);
        assert_eq!(figures(&world.store, "job", NOON).await, (4, 0));
        world.books_agree().await;
    }

    async fn a_record_with_a_charge_of_a_call_that_is_not_there_keeps_the_record(world: World) {
        world.put(job(NOON)).await;
        let claimed = world.claim_one(NOON).await;
        let record = Record { id: claimed.id, claim: claimed.claim, pin: None, steps: Vec::new(), then: succeeded(NOON) };

        let outcome = world.store.record_settling(record, vec![settlement(call_id(), cents(1))]).await;

        assert!(matches!(outcome, Err(Error::NotFound { .. })), "{outcome:?}");
        assert_eq!(world.state(claimed.id).await, State::Succeeded);
    }

    async fn nobody_rewrites_the_ledger(world: World) {
        let id = sent(&world.store, call(1)).await;
        settle(&world.store, id, 1).await;

        for sql in ["update cost_ledger set amount_nano = 0", "delete from cost_ledger"] {
            assert!(world.try_execute(sql).await.unwrap_err().contains("append only"), "{sql}");
        }
        assert_eq!(world.number("select count(*) from cost_ledger").await, 2);
    }

    async fn a_call_with_an_alarm_says_so(world: World) {
        let id = sent(&world.store, call(1)).await;
        let charge = Charge::Assume { alarm: Some(levqor_core::money::Alarm::NoUsage) };
        let settlement = Settlement { http_status: Some(200), finish_reason: Some("stop".to_owned()), ..Settlement::new(id, charge, NOON) };

        world.store.settle_call(settlement).await.unwrap();

        let row = world.store.find_call(id).await.unwrap().unwrap();
        assert_eq!(row.alarm.as_deref(), Some("the answer has no usage"));
        assert_eq!((row.http_status, row.finish_reason.as_deref()), (Some(200), Some("stop")));
    }
}

struct NewLease;

impl NewLease {
    fn of(call: levqor_store::NewCall, lease_ms: i64) -> levqor_store::NewCall {
        levqor_store::NewCall { lease_ms, ..call }
    }
}

async fn put_job_budgets(world: &World) {
    put(&world.store, &per_job(35)).await;
    put(&world.store, &day(1_000)).await;
}
