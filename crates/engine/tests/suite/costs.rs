//! Steps with a price of their own: each attempt is held and charged exactly, and none goes out without a hold.

use levqor_connectors::Bases;
use levqor_core::audit::Actor;
use levqor_core::clock::Clock as _;
use levqor_core::seal::{Keyring, SealKey};
use levqor_engine::Settings;
use levqor_testkit::{Answer, Receiver, wait_until};
use serde_json::json;

use crate::ai::world::{calls_in, counted, spent, with_limits};
use crate::support::*;

each_engine!(
    every_attempt_is_charged_exactly_once_and_retries_again,
    a_budget_that_says_no_lets_nothing_out,
    an_attempt_that_was_not_sent_costs_nothing,
    an_attempt_in_doubt_is_charged,
    room_that_another_attempt_holds_is_waited_for,
    a_crash_is_charged_by_the_sweep_and_the_step_goes_on,
    an_action_of_a_connector_has_its_price,
);

const MICRO: i64 = 1_000;

fn step(more: &str) -> String {
    format!(
        r#"{{steps: [{{id: call, http: {{method: POST, url: "{{{{ payload.base }}}}/call"}}, cost: "0.002"{more}}}]}}"#
    )
}

fn short_of(per_job: &str) -> Settings {
    with_limits("http://127.0.0.1:1", per_job, "10")
}

/// What was spent, by the ledger and by the counters, with nothing held any more.
async fn books(database: &Database) -> i64 {
    wait_until(LIMIT, async || counted(database, "held_nano").await == 0).await;
    let ledger = spent(database).await;
    assert_eq!(counted(database, "spent_nano").await, ledger);
    ledger
}

async fn every_attempt_is_charged_exactly_once_and_retries_again(database: Database) {
    let receiver = Receiver::start().await;
    receiver.statuses("/call", &[503, 500, 200]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("w", &step(", retry: {attempts: 3, first: 1ms}")).await;

    let row = node.ended(node.submit(ask_with("w", &receiver)).await).await;

    assert!(row.error.is_none(), "{row:?}");
    assert_eq!(receiver.received().len(), 3);
    assert_eq!(books(&database).await, 6_000 * MICRO);
    assert_eq!(calls_in(&database, "settled").await, 3);
    let host = receiver.address();
    let named = format!("select count(*) from ai_calls where provider = 'http' and model = '{host}'");
    assert_eq!(database.number(&named).await, 3);
    let costs = node.store().job_costs(row.line.id).await.unwrap();
    assert_eq!((costs.own.calls, costs.own.cost.get()), (3, 6_000 * MICRO));
}

async fn a_budget_that_says_no_lets_nothing_out(database: Database) {
    let receiver = Receiver::start().await;
    receiver.statuses("/call", &[503, 503, 503]);
    let node = Node::start(&database, short_of("0.003"), TestClock::running()).await;
    node.put("w", &step(", retry: {attempts: 3, first: 1ms}")).await;

    let row = node.ended(node.submit(ask_with("w", &receiver)).await).await;

    assert_eq!(code(&row), "budget_exceeded", "{row:?}");
    let fields = row.error.unwrap().fields.unwrap();
    assert_eq!(fields.get("/budget").map(String::as_str), Some("max-cost-per-job"));
    assert_eq!(fields.get("/wanted").map(String::as_str), Some("0.002"));
    assert_eq!(attempts(&node.row(row.line.id).await, "call"), [("failed", 1), ("failed", 2)]);
    assert_eq!(receiver.received().len(), 1, "the second attempt did not fit");
    assert_eq!(books(&database).await, 2_000 * MICRO);
}

async fn an_attempt_that_was_not_sent_costs_nothing(database: Database) {
    let node = Node::start(&database, settings(), TestClock::running()).await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, base, told) in [
        ("closed", format!("http://{closed}"), "connect_failed"),
        ("inside", "http://10.1.2.3".to_owned(), "address_refused"),
    ] {
        node.put(name, &step("")).await;
        let payload = json!({ "base": base }).to_string();
        let request = levqor_core::intake::IntakeRequest { payload, ..ask(name) };
        let row = node.ended(node.submit(request).await).await;
        assert_eq!(code(&row), told, "{row:?}");
    }
    assert_eq!(books(&database).await, 0);
    assert_eq!(calls_in(&database, "released").await, 2);
}

async fn an_attempt_in_doubt_is_charged(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang()]);
    let node = Node::start(&database, settings(), TestClock::running()).await;
    node.put("w", &step(", timeout: 2s")).await;

    let row = node.ended(node.submit(ask_with("w", &receiver)).await).await;

    assert_eq!(code(&row), "timeout", "{row:?}");
    assert_eq!(books(&database).await, 2_000 * MICRO);
    assert_eq!(calls_in(&database, "assumed").await, 1);
}

async fn room_that_another_attempt_holds_is_waited_for(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang()]);
    let settings = with_limits("http://127.0.0.1:1", "0.003", "0.003");
    let node = Node::start(&database, settings, TestClock::running()).await;
    node.put("w", &step(", timeout: 2s")).await;
    let first = node.submit(ask_with("w", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;

    let second = node.submit(ask_with("w", &receiver)).await;
    let rests = node.when(second, |row| row.line.due_at_ms.is_some() || row.line.state.is_final()).await;
    assert_eq!(attempts(&rests, "call"), [("waiting", 1)], "{rests:?}");

    assert_eq!(code(&node.ended(first).await), "timeout");
    assert_eq!(code(&node.ended(second).await), "budget_exceeded", "the first was charged in full");
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(books(&database).await, 2_000 * MICRO);
}

async fn a_crash_is_charged_by_the_sweep_and_the_step_goes_on(database: Database) {
    let receiver = Receiver::start().await;
    receiver.script("/call", [Answer::hang(), Answer::status(200)]);
    let clock = TestClock::running();
    let node = Node::start(&database, settings(), clock.clone()).await;
    node.put("w", &step("")).await;
    let id = node.submit(ask_with("w", &receiver)).await;
    receiver.wait_for(1, LIMIT).await;
    node.crash(&database).await;
    clock.advance(1_000_000);

    let node = Node::start(&database, settings(), clock.clone()).await;
    let row = node.ended(id).await;
    assert!(row.error.is_none(), "{row:?}");
    wait_until(LIMIT, async || {
        node.store().sweep_calls(clock.now_ms(), 100).await.unwrap();
        counted(&database, "held_nano").await == 0
    })
    .await;

    assert_eq!(receiver.received().len(), 2);
    assert_eq!(books(&database).await, 4_000 * MICRO);
    assert_eq!((calls_in(&database, "assumed").await, calls_in(&database, "settled").await), (1, 1));
}

async fn an_action_of_a_connector_has_its_price(database: Database) {
    let vendor = Receiver::start().await;
    vendor.script("/chat.postMessage", [Answer::json(&json!({"ok": true, "channel": "C1", "ts": "1.2"}))]);
    let slack = vendor.url("").trim_end_matches('/').to_owned();
    let seal_keys = Keyring::new([SealKey::from_random(std::array::from_fn(|at| at as u8))]);
    let settings = Settings { vendors: Bases { slack, ..Bases::default() }, seal_keys, ..settings() };
    let node = Node::start(&database, settings, TestClock::running()).await;
    let body = json!({"name": "team", "connector": "slack", "token": "xoxb-canary-1"}).to_string();
    node.put_connection(&body, &Actor::developer()).await.unwrap();
    let tell = |connection: &str, cost: &str| {
        let post = "connect: slack.post_message, with: {channel: C1, text: hi}";
        format!("{{steps: [{{id: tell, {post}, connection: {connection}, cost: '{cost}'}}]}}")
    };
    node.put("dear", &tell("team", "0.5")).await;
    node.put("known", &tell("team", "0.05")).await;
    node.put("unknown", &tell("other", "0.05")).await;

    let dear = node.ended(node.submit(ask("dear")).await).await;
    assert_eq!(code(&dear), "budget_exceeded", "more than a job may cost");
    assert!(vendor.received().is_empty());
    let sent = node.ended(node.submit(ask("known")).await).await;
    let unknown = node.ended(node.submit(ask("unknown")).await).await;

    assert!(sent.error.is_none(), "{sent:?}");
    assert_eq!(code(&unknown), "unknown_connection");
    assert_eq!(books(&database).await, 50_000 * MICRO);
    let named = "select count(*) from ai_calls where provider = 'slack' and model = 'post_message' and state = 'settled'";
    assert_eq!(database.number(named).await, 1);
}
