//! Step kind `connect`: through a stored connection to a scripted vendor, on both engines.

use levqor_connectors::Bases;
use levqor_core::audit::Actor;
use levqor_core::seal::{Keyring, SealKey};
use levqor_engine::{ConnectError, DefinitionError, Settings, check_keys, rekey};
use levqor_testkit::{Answer, Receiver};
use serde_json::json;

use crate::support::*;

each_engine!(
    a_step_acts_through_a_stored_connection_and_shows_no_credential,
    a_busy_vendor_is_asked_again_when_it_said_and_with_the_same_key,
    what_cannot_be_connected_fails_with_its_reason,
    a_change_of_the_key_takes_all_connections_with_it_or_none,
);

/// Stands in the credential, and must stand nowhere else.
const CANARY: &str = "xoxb-canary-1234567890";

const POST: &str = r##"{
    retry: {attempts: 2, first: 1s},
    steps: [{id: tell, connect: slack.post_message, connection: team-slack,
        with: {channel: "#support", text: "Urgent: {{ payload.label }}", mrkdwn: false}}]}"##;

fn settings_at(vendor: &Receiver) -> Settings {
    let url = vendor.url("");
    let base = url.trim_end_matches('/').to_owned();
    let key = SealKey::from_random(std::array::from_fn(|at| at as u8));
    Settings {
        vendors: Bases { slack: base.clone(), gmail: base, ..Bases::default() },
        seal_keys: Keyring::new([key]),
        ..settings()
    }
}

async fn put_connection(node: &Node) {
    let body = json!({"name": "team-slack", "connector": "slack", "token": CANARY}).to_string();
    node.put_connection(&body, &Actor::developer()).await.unwrap();
}

async fn a_step_acts_through_a_stored_connection_and_shows_no_credential(database: Database) {
    let vendor = Receiver::start().await;
    vendor.script("/chat.postMessage", [Answer::json(&json!({"ok": true, "channel": "C1", "ts": "1.2"}))]);
    let node = Node::start(&database, settings_at(&vendor), TestClock::running()).await;
    put_connection(&node).await;
    node.put("tell", POST).await;

    let id = node
        .submit(levqor_core::intake::IntakeRequest {
            payload: r#"{"label":"fire"}"#.to_owned(),
            ..ask("tell")
        })
        .await;
    let row = node.ended(id).await;

    assert_eq!(
        result(&row),
        json!({"tell": {"channel": "C1", "message_ts": "1.2", "status": "sent"}}),
        "{row:?}"
    );
    let sent = &vendor.received()[0];
    assert_eq!(sent.header("authorization"), format!("Bearer {CANARY}"));
    let mut body = sent.json();
    assert!(body.as_object_mut().unwrap().remove("client_msg_id").is_some());
    assert_eq!(body, json!({"channel": "#support", "text": "Urgent: fire", "mrkdwn": false}));
    assert!(!format!("{row:?}").contains("canary"));
    let found = database.number("select count(*) from connections where sealed like '%can' || 'ary%'").await;
    assert_eq!(found, 0);
    let used = database.number("select count(*) from connections where used_at_ms is not null").await;
    assert_eq!(used, 1);
}

async fn a_busy_vendor_is_asked_again_when_it_said_and_with_the_same_key(database: Database) {
    let vendor = Receiver::start().await;
    let busy =
        Answer::status(429).retry_after("7").body(format!("{{\"ok\":false,\"error\":\"no {CANARY}\"}}"));
    let fine = Answer::json(&json!({"ok": true, "channel": "C1", "ts": "1.2"}));
    vendor.script("/chat.postMessage", [busy, fine]);
    let clock = TestClock::still();
    let node = Node::start(&database, settings_at(&vendor), clock.clone()).await;
    put_connection(&node).await;
    node.put("tell", POST).await;
    let id = node
        .submit(levqor_core::intake::IntakeRequest {
            payload: r#"{"label":"fire"}"#.to_owned(),
            ..ask("tell")
        })
        .await;

    let rests = node.when(id, |row| row.line.due_at_ms.is_some()).await;
    let failed = &rests.steps[0];
    assert_eq!(failed.error.as_ref().map(|error| error.code.as_str()), Some("connector_rate_limited"));
    assert!(rests.line.due_at_ms.unwrap() >= clock_ms(&clock) + 7_000, "Retry-After is obeyed");
    assert!(!format!("{rests:?}").contains("canary"));
    clock.advance(8_000);
    node.move_due(&clock).await;
    let row = node.ended(id).await;

    assert_eq!(attempts(&row, "tell"), [("failed", 1), ("succeeded", 2)]);
    let ids: Vec<_> = vendor.received().iter().map(|sent| sent.json()["client_msg_id"].clone()).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1] && ids[0].is_string(), "{ids:?}");
}

fn clock_ms(clock: &TestClock) -> i64 {
    levqor_core::clock::Clock::now_ms(clock)
}

async fn what_cannot_be_connected_fails_with_its_reason(database: Database) {
    let vendor = Receiver::start().await;
    let refused = |word: &str| Answer::json(&json!({"ok": false, "error": word}));
    vendor.script("/chat.postMessage", [refused("channel_not_found"), refused("invalid_auth")]);
    let node = Node::start(&database, settings_at(&vendor), TestClock::running()).await;
    put_connection(&node).await;
    let retry = "retry: {attempts: 3, first: 1ms, jitter: false}";
    let post = |connection: &str, text: &str| {
        format!(
            "{{{retry}, steps: [{{id: tell, connect: slack.post_message, connection: {connection}, with: {{channel: C1, text: \"{text}\"}}}}]}}"
        )
    };
    node.put("refused", &post("team-slack", "hi")).await;
    node.put("unknown", &post("nobody", "hi")).await;
    node.put("empty", &post("team-slack", "{{ payload?.text }}")).await;
    node.put("number", &post("team-slack", "{{ 7 }}")).await;
    let other =
        format!("{{{retry}, steps: [{{id: tell, connect: gmail.list_labels, connection: team-slack}}]}}");
    node.put("other", &other).await;

    for (workflow, expected, words) in [
        ("refused", "connector_refused", "channel_not_found"),
        ("refused", "connector_unauthorized", "invalid_auth"),
        ("unknown", "unknown_connection", "there is no connection `nobody`"),
        ("other", "connection_mismatch", "is one of slack"),
        ("empty", "invalid_params", "channel and text required"),
        ("number", "invalid_params", "not of type"),
    ] {
        let row = node.ended(node.submit(ask(workflow)).await).await;
        let error = row.error.as_ref().unwrap();
        assert_eq!((code(&row), attempts(&row, "tell").len()), (expected, 1), "{workflow}: {error:?}");
        assert!(error.message.contains(words), "{workflow}: {error:?}");
    }
    database.execute("update connections set sealed = 'x1.00000000.AAAA'").await;
    let row = node.ended(node.submit(ask("refused")).await).await;
    assert_eq!(code(&row), "connection_unreadable");
    assert_eq!(vendor.received().len(), 2);
}

async fn a_change_of_the_key_takes_all_connections_with_it_or_none(database: Database) {
    let vendor = Receiver::start().await;
    let node = Node::by_hand(&database, settings_at(&vendor), TestClock::still()).await;
    for name in ["a", "b", "c"] {
        let body = json!({"name": name, "connector": "slack", "token": CANARY}).to_string();
        node.put_connection(&body, &Actor::developer()).await.unwrap();
    }
    let old = settings_at(&vendor).seal_keys;
    let new = SealKey::from_random(std::array::from_fn(|at| 255 - at as u8));
    let (only_new, both) = (Keyring::new([new.clone()]), old.led_by(new));
    let (store, by) = (node.store(), Actor::cli());
    let closed = async |keys: &Keyring| check_keys(store, keys).await.unwrap().len();

    let without_the_old = rekey(store, &only_new, &by, 0).await;
    assert!(matches!(without_the_old, Err(ConnectError::CannotOpen { .. })), "{without_the_old:?}");
    database.execute("update connections set sealed = substr(sealed, 1, 40) where name = 'c'").await;
    assert!(rekey(store, &both, &by, 0).await.is_err(), "one of them is damaged");
    assert_eq!((closed(&old).await, closed(&only_new).await), (0, 3), "nothing was changed");
    database.execute("delete from connections where name = 'c'").await;

    assert_eq!(rekey(store, &both, &by, 0).await.unwrap(), (2, 2));
    assert_eq!((closed(&old).await, closed(&only_new).await), (2, 0));
    assert_eq!(rekey(store, &both, &by, 0).await.unwrap(), (0, 2), "it can be done again");
    let told = database.number("select count(*) from audit_entries where action = 'connection.rekey'").await;
    assert_eq!(told, 1);
}

#[tokio::test]
async fn a_definition_that_no_connector_can_follow_is_refused_with_its_place() {
    let database = Database::sqlite();
    let node = Node::by_hand(&database, settings(), TestClock::still()).await;
    for (step, path, words) in [
        (
            "connect: sklack.post_message, connection: a",
            "/steps/0/connect",
            "no connector `sklack`; there are gmail",
        ),
        ("connect: slack.post, connection: a", "/steps/0/connect", "no action `post`; it has post_message"),
        ("connect: slack, connection: a", "/steps/0/connect", "such as slack.post_message"),
        ("connect: 7, connection: a", "/steps/0/connect", "such as slack.post_message"),
        ("connect: telegram.get_me", "/steps/0", "`connection` is missing"),
        (
            "connect: telegram.get_me, connection: \"{{ payload.c }}\"",
            "/steps/0/connection",
            "holds no template",
        ),
        ("connect: telegram.get_me, connection: 7", "/steps/0/connection", "must be a text"),
        ("connect: telegram.get_me, connection: a, with: [x]", "/steps/0/with", "must be an object"),
        ("connect: telegram.get_me, connection: a, with: {x: 1}", "/steps/0/with/x", "there are none"),
        (
            "connect: slack.post_message, connection: a, with: {channel: C1}",
            "/steps/0/with",
            "channel and text required",
        ),
        (
            "connect: slack.post_message, connection: a, with: {channel: C1, text: \"\"}",
            "/steps/0/with",
            "required",
        ),
        (
            "connect: slack.post_message, connection: a, with: {channel: C1, text: \"{{ payload.t }}\", txt: x}",
            "/steps/0/with/txt",
            "no such parameter",
        ),
        ("connect: slack.list_channels, connection: a, with: {limit: 1000}", "/steps/0/with/limit", "999"),
        (
            "connect: slack.list_channels, connection: a, with: {cursor: \"{{ secrets.X }}\"}",
            "/steps/0/with/cursor",
            "secrets",
        ),
        ("transform: 1, connection: a", "/steps/0/connection", "beside `connect` only"),
        ("transform: 1, with: {}", "/steps/0/with", "beside `connect` only"),
    ] {
        let source = format!("{{steps: [{{id: a, {step}}}]}}");
        let outcome = node.put_workflow("w", &source, "api", &Actor::developer()).await;

        let Err(DefinitionError::Invalid(problems)) = outcome else { panic!("{step} was taken") };
        assert!(
            problems.iter().any(|one| one.path == path && one.message.contains(words) && one.line.is_some()),
            "{step}: {problems:?}"
        );
    }
    let fine = "{steps: [{id: a, connect: slack.list_channels, connection: a.b, with: {limit: \"{{ payload.n }}\"}}]}";
    node.put("w", fine).await;
}
