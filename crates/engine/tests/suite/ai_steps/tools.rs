//! Tools: each on record, run once, within the list, the turns and the money.

use levqor_connectors::Bases;
use levqor_core::audit::Actor;
use levqor_core::seal::{Keyring, SealKey};
use levqor_engine::Settings;
use levqor_mock_ai::{MockAi, Script, ToolCall};
use levqor_testkit::{Answer, Receiver};
use serde_json::json;

use super::world::*;
use crate::support::*;

each_engine!(
    a_tool_runs_through_its_connection_with_what_is_fixed_and_its_result_is_data,
    what_is_not_on_the_list_is_not_run_and_the_model_is_told,
    the_loop_of_tools_is_bounded,
    a_workflow_as_a_tool_is_a_job_under_the_same_budgets,
    a_tool_with_a_price_is_held_and_charged_under_the_same_budgets,
);

pub fn wants(name: &str, arguments: &str) -> Script {
    let call = ToolCall { name: name.to_owned(), arguments: arguments.to_owned() };
    Script { calls: vec![call], output_tokens: Some(20), ..Script::default() }
}

pub fn settings_at(mock: &MockAi, vendor: &Receiver) -> Settings {
    let url = vendor.url("");
    let base = url.trim_end_matches('/').to_owned();
    let key = SealKey::from_random(std::array::from_fn(|at| at as u8));
    Settings {
        vendors: Bases { slack: base, ..Bases::default() },
        seal_keys: Keyring::new([key]),
        ..ai_settings(&mock.url())
    }
}

pub async fn connect(node: &Node) {
    let body = json!({"name": "team", "connector": "slack", "token": "xoxb-canary-1234567890"}).to_string();
    node.put_connection(&body, &Actor::developer()).await.unwrap();
}

pub const TOOLS: &str =
    ", tools: [{connect: slack.post_message, connection: team, with: {channel: \"#fixed\"}}], max_turns: 3";

pub fn posted() -> Answer {
    Answer::json(&json!({"ok": true, "channel": "C1", "ts": "1.2"}))
}

async fn a_tool_runs_through_its_connection_with_what_is_fixed_and_its_result_is_data(database: Database) {
    let (mock, vendor) = (mock().await, Receiver::start().await);
    vendor.script("/chat.postMessage", [posted()]);
    mock.queue_replies([
        wants("slack_post_message", r##"{"channel": "#evil", "text": "hi"}"##),
        says("I told them"),
    ]);
    let node = Node::start(&database, settings_at(&mock, &vendor), TestClock::running()).await;
    connect(&node).await;

    let row = run(&node, &one(TOOLS)).await;

    let output = output(&row);
    assert_eq!(
        (&output["answer"], &output["tools"], &output["attempts"]),
        (&json!("I told them"), &json!(1), &json!(2))
    );
    let sent = vendor.received()[0].json();
    assert_eq!((&sent["channel"], &sent["text"]), (&json!("#fixed"), &json!("hi")));
    assert_eq!(kinds(&row), ["said openai/gpt-6-sol", "tool", "said openai/gpt-6-sol"]);
    assert!(!format!("{row:?}").contains("canary"));
    bill_is_ledger(&mock, &database).await;
}

async fn what_is_not_on_the_list_is_not_run_and_the_model_is_told(database: Database) {
    let (mock, vendor) = (mock().await, Receiver::start().await);
    mock.queue_replies([
        wants("delete_everything", "{}"),
        wants("slack_post_message", "no JSON"),
        says("sorry"),
    ]);
    let node = Node::start(&database, settings_at(&mock, &vendor), TestClock::running()).await;
    connect(&node).await;

    let row = run(&node, &one(TOOLS)).await;

    assert_eq!(output(&row)["answer"], "sorry");
    let told: Vec<String> = ["a/2", "a/4"]
        .iter()
        .map(|id| row.steps.iter().find(|step| step.step == *id).unwrap().output.clone().unwrap())
        .collect();
    assert!(told[0].contains("unknown_tool") && told[1].contains("invalid_params"), "{told:?}");
    assert!(vendor.received().is_empty());
}

async fn the_loop_of_tools_is_bounded(database: Database) {
    let (mock, vendor) = (mock().await, Receiver::start().await);
    vendor.script("/chat.postMessage", [posted(), posted(), posted(), posted()]);
    mock.queue_replies((0..5).map(|_| wants("slack_post_message", r#"{"text": "again"}"#)));
    let node = Node::start(&database, settings_at(&mock, &vendor), TestClock::running()).await;
    connect(&node).await;

    let row = run(&node, &one(TOOLS)).await;

    assert_eq!((code(&row), mock.bill().calls, vendor.received().len()), ("ai_too_many_turns", 3, 3));
    bill_is_ledger(&mock, &database).await;
}

async fn a_workflow_as_a_tool_is_a_job_under_the_same_budgets(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, ai_settings(&mock.url()), TestClock::running()).await;
    let child = r#"{input: {type: object, required: [q]}, steps: [{id: b, ai: {model: openai/gpt-6-sol, prompt: "{{ payload.q }}", max_tokens: 100}}],
        output: "{{ steps.b.output.answer }}"}"#;
    node.put("look-up", child).await;
    mock.queue_replies([
        wants("look-up", r#"{"wrong": 1}"#),
        wants("look-up", r#"{"q": "who?"}"#),
        says("it was Ada"),
        says("Ada, then"),
    ]);

    let row = run(&node, &one(", tools: [{workflow: look-up}]")).await;

    assert_eq!(output(&row)["answer"], "Ada, then");
    let result = row.steps.iter().find(|step| step.step == "a/4").unwrap().output.clone().unwrap();
    assert!(result.contains("it was Ada"), "{result}");
    assert_eq!(database.number("select count(*) from jobs where workflow = 'look-up'").await, 1);
    let calls = node.store().list_calls(row.line.id).await.unwrap();
    assert_eq!(calls.len(), 4, "the child's calls belong to the tree");
    assert!(calls.iter().all(|call| call.root_job == Some(row.line.id)));
    let subjects = "select count(distinct subject) from budget_periods where budget_id = 'max-cost-per-job'";
    assert_eq!(database.number(subjects).await, 1);
    bill_is_ledger(&mock, &database).await;
}

async fn a_tool_with_a_price_is_held_and_charged_under_the_same_budgets(database: Database) {
    let (mock, vendor) = (mock().await, Receiver::start().await);
    vendor.script("/chat.postMessage", [posted()]);
    let priced = TOOLS.replace("connection: team,", "connection: team, cost: '0.002',");
    let asks = || wants("slack_post_message", r#"{"text": "hi"}"#);
    mock.queue_replies([asks(), says("done")]);
    let node = Node::start(&database, settings_at(&mock, &vendor), TestClock::running()).await;
    connect(&node).await;

    let row = run(&node, &one(&priced)).await;

    let bill = i64::try_from(mock.bill().total_nano).unwrap();
    assert_eq!(spent(&database).await, bill + 2_000_000);
    assert_eq!(counted(&database, "spent_nano").await, bill + 2_000_000);
    assert_eq!(counted(&database, "held_nano").await, 0);
    let told = levqor_core::money::Nano::parse(output(&row)["cost"].as_str().unwrap()).unwrap();
    assert_eq!(told.get(), bill + 2_000_000, "the step says so too");

    // Too dear for a job: refused before the vendor hears of it, and the conversation ends.
    mock.queue_replies([asks()]);
    let row = run(&node, &one(&priced.replace("0.002", "0.4"))).await;
    assert_eq!(code(&row), "budget_exceeded", "{row:?}");
    assert_eq!(vendor.received().len(), 1);
    assert_eq!(counted(&database, "held_nano").await, 0);
}
