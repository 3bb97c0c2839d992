//! When money is short: each policy, waiting without a slot, waking, and a cancel in the middle of a call.

use std::time::Duration;

use levqor_core::budget::{Budget, BudgetId, Mode, Scope, ScopeKind, Window, Zone};
use levqor_core::money::Nano;
use levqor_core::state::State;
use levqor_mock_ai::{Fault, Script, Settings as Mock};
use levqor_testkit::wait_until;
use serde_json::json;

use super::world::*;
use crate::support::*;

each_engine!(
    without_a_policy_the_job_fails_and_names_the_budget,
    a_smaller_answer_or_a_cheaper_model_is_asked_for_where_the_step_says_so,
    a_job_that_waits_for_money_holds_no_slot_and_wakes_when_the_limit_is_raised,
    what_others_hold_is_waited_for_whatever_the_policy,
    a_low_budget_moves_the_step_to_another_model,
    a_keys_budget_binds_the_jobs_that_it_submitted,
    what_a_job_may_cost_holds_over_all_its_calls,
    a_cancelled_call_is_read_to_its_end_and_charged,
    a_step_whose_time_is_over_pays_for_what_was_sent,
);

fn day(limit: &str) -> Budget {
    Budget {
        id: BudgetId::parse("team").unwrap(),
        scope: Scope { kind: ScopeKind::Workflow, id: "w".to_owned() },
        window: Window::Day,
        zone: Zone::utc(),
        limit: Nano::parse(limit).unwrap(),
        mode: Mode::Hard,
        thresholds_ppm: Vec::new(),
        max_open_holds: None,
        enabled: true,
    }
}

async fn put_budget(node: &Node, budget: &Budget) {
    node.store().put_budget(budget, "api", by(), 1).await.unwrap();
}

async fn without_a_policy_the_job_fails_and_names_the_budget(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    put_budget(&node, &day("0.0001")).await;

    let row = run(&node, &one("")).await;

    let error = row.error.as_ref().unwrap();
    assert_eq!(error.code, "budget_exceeded");
    let fields = error.fields.as_ref().unwrap();
    assert_eq!(
        (
            fields["/budget"].as_str(),
            fields["/scope"].as_str(),
            fields["/limit"].as_str(),
            fields["/spent"].as_str()
        ),
        ("team", "workflow", "0.0001", "0.00")
    );
    assert!(fields.contains_key("/resets_at"), "{fields:?}");
    assert_eq!(mock.bill().calls, 0);
}

async fn a_smaller_answer_or_a_cheaper_model_is_asked_for_where_the_step_says_so(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    put_budget(&node, &day("0.02")).await;
    let dear = |more: &str| one(more).replace("max_tokens: 200", "max_tokens: 3000");

    let smaller = run(&node, &dear(", when_short: [smaller]")).await;
    let cheaper = ", fallback: [{model: openai/gpt-6.1-terra, when: budget_short, max_tokens: 500}]";
    let cheaper = run(&node, &dear(cheaper)).await;
    let failed = run(&node, &dear("")).await;

    assert!(output(&smaller)["answer"].is_string());
    assert_eq!(output(&cheaper)["model"], "openai/gpt-6.1-terra");
    assert_eq!(code(&failed), "budget_exceeded");
    let why = |row: &levqor_store::JobRow| {
        let turn = row.steps.iter().find(|step| step.step == "a/1").unwrap();
        serde_json::from_str::<serde_json::Value>(turn.output.as_deref().unwrap()).unwrap()["why"].clone()
    };
    assert!(
        why(&smaller).as_str().unwrap().contains("team") && why(&cheaper).as_str().unwrap().contains("team")
    );
    bill_is_ledger(&mock, &database).await;
}

async fn a_job_that_waits_for_money_holds_no_slot_and_wakes_when_the_limit_is_raised(database: Database) {
    let mock = mock().await;
    let settings = levqor_engine::Settings { workers: 1, ..ai_settings(&mock.url()) };
    let clock = TestClock::running();
    let node = Node::start(&database, settings.clone(), clock.clone()).await;
    let spent_out = Script { output_tokens: Some(150), ..says("expensive") };
    mock.queue_replies([spent_out]);
    put_budget(&node, &day("0.004")).await;
    output(&run(&node, &one(", when_short: wait")).await);

    let id = submit(&node, "again").await;
    let waiting = node.when(id, |row| row.line.state == State::Waiting).await;
    let view = node.find_job(id).await.unwrap().unwrap();
    // The only slot is free for others meanwhile.
    node.put("other", CALL.replace("payload.base", "payload.none").as_str()).await;
    let other = node.submit(ask("other")).await;
    node.ended(other).await;
    let still = node.row(id).await;
    // On another node, where nodes share a database: who waits here hears of it within moments too.
    let elsewhere = match database.is_postgres() {
        true => Some(Node::by_hand(&database, settings, clock).await),
        false => None,
    };
    let began = std::time::Instant::now();
    put_budget(elsewhere.as_ref().unwrap_or(&node), &day("1")).await;
    let row = node.ended(id).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());

    assert!(waiting.line.due_at_ms.is_some());
    let told = view.waits_for.unwrap();
    assert!(told.contains("`team`") && told.contains("allows $0.004"), "{told}");
    assert_eq!(still.line.state, State::Waiting);
    let step = waiting.steps.iter().find(|step| step.step == "a").unwrap();
    assert_eq!(
        (step.status.as_str(), step.error.as_ref().unwrap().code.as_str()),
        ("waiting", "budget_exceeded")
    );
    assert_eq!(output(&row)["attempts"], json!(1));
    assert_eq!(attempts(&row, "a"), [("succeeded", 1)]);
    bill_is_ledger(&mock, &database).await;
}

async fn what_others_hold_is_waited_for_whatever_the_policy(database: Database) {
    let mock = mock_with(Mock { delay: Duration::from_millis(1_000), ..Mock::default() }).await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    put_budget(&node, &day("0.004")).await;
    node.put("w", &one(", when_short: fail")).await;

    let first = submit(&node, "one").await;
    wait_until(LIMIT, async || counted(&database, "held_nano").await > 0).await;
    let second = submit(&node, "two").await;
    let waiting = node.when(second, |row| row.line.state == State::Waiting).await;

    assert!(output(&node.ended(first).await)["answer"].is_string());
    let row = node.ended(second).await;
    assert!(output(&row)["answer"].is_string());
    assert!(row.line.finished_at_ms < waiting.line.due_at_ms, "woken by what came back");
    bill_is_ledger(&mock, &database).await;
}

async fn a_low_budget_moves_the_step_to_another_model(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    put_budget(&node, &day("0.01")).await;
    let low = ", fallback: [{model: openai/gpt-6.1-terra, when: {budget: team, below: 85%}}]";
    mock.queue_replies([Script { output_tokens: Some(190), ..says("much") }]);

    let plenty = output(&run(&node, &one(low)).await);
    let little = output(&run(&node, &one(low)).await);

    assert_eq!(plenty["model"], "openai/gpt-6-sol");
    assert_eq!(little["model"], "openai/gpt-6.1-terra");
}

async fn a_keys_budget_binds_the_jobs_that_it_submitted(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let scope = Scope { kind: ScopeKind::Key, id: "abc".to_owned() };
    put_budget(&node, &Budget { scope, ..day("0.0001") }).await;
    node.put("w", &one("")).await;

    let mut ends = Vec::new();
    for caller in ["key:abc", "key:other"] {
        let request =
            levqor_core::intake::IntakeRequest { payload: r#"{"text":"hi"}"#.to_owned(), ..ask("w") };
        let id = node.intake(request, caller, None).await.unwrap().job_id;
        ends.push(code(&node.ended(id).await).to_owned());
    }

    assert_eq!(ends, ["budget_exceeded", ""]);
}

async fn what_a_job_may_cost_holds_over_all_its_calls(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, with_limits(&mock.url(), "0.009", "10"), TestClock::running()).await;
    let bad = || Script { output_tokens: Some(180), ..says(BAD) };
    mock.queue_replies((0..12).map(|_| bad()));

    let row = run(&node, &formed(", on_invalid: retry, repairs: 10")).await;

    assert_eq!(code(&row), "budget_exceeded", "{row:?}");
    assert!(mock.bill().total_nano <= 9_000_000 && mock.bill().calls >= 2, "{:?}", mock.bill());
    bill_is_ledger(&mock, &database).await;
}

async fn a_cancelled_call_is_read_to_its_end_and_charged(database: Database) {
    let mock = mock_with(Mock { delay: Duration::from_millis(200), ..Mock::default() }).await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    node.put("w", &one("")).await;
    let id = submit(&node, "hello").await;
    wait_until(LIMIT, async || counted(&database, "held_nano").await > 0).await;

    node.cancel_job(id, by()).await.unwrap();
    wait_until(LIMIT, async || counted(&database, "held_nano").await == 0).await;

    assert_eq!(node.row(id).await.line.state, State::Cancelled);
    bill_is_ledger(&mock, &database).await;
}

async fn a_step_whose_time_is_over_pays_for_what_was_sent(database: Database) {
    let mock = mock_with(Mock { delay: Duration::from_secs(3), ..Mock::default() }).await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    mock.queue_faults([None::<Fault>]);

    let row = run(&node, &one("").replace("id: a,", "id: a, timeout: 1s,")).await;

    assert_eq!(code(&row), "timeout");
    wait_until(LIMIT, async || counted(&database, "held_nano").await == 0 && mock.bill().calls == 1).await;
    bill_is_ledger(&mock, &database).await;
}
