//! Whose key a step's calls go out under: the settings' own, or that of a stored connection.

use levqor_connectors::ai::Provider;
use levqor_core::audit::Actor;
use levqor_core::rate::MinuteLimits;
use levqor_core::seal::{Keyring, SealKey};
use levqor_core::state::State;
use levqor_engine::{Engine, Settings};
use levqor_mock_ai::{MockAi, Rates};
use serde_json::json;

use super::world::*;
use crate::support::*;

each_engine!(
    a_step_asks_with_the_key_of_its_connection_and_the_address_of_the_settings,
    a_connection_that_cannot_pay_is_told_and_nothing_is_held,
    each_connection_has_a_minute_of_its_own,
);

/// The settings have no key for anthropic, only its address.
fn settings_for(mock: &MockAi) -> Settings {
    let key = SealKey::from_random(std::array::from_fn(|at| at as u8));
    let mut settings = Settings { seal_keys: Keyring::new([key]), ..ai_settings(&mock.url()) };
    settings.ai.providers.retain(|it| it.name != "anthropic");
    settings.ai.keyless = vec![Provider::known("anthropic", "", Some(&mock.url())).unwrap()];
    settings
}

async fn connect(engine: &Engine, name: &str, connector: &str, token: &str) {
    let body = json!({"name": name, "connector": connector, "token": token}).to_string();
    engine.put_connection(&body, &Actor::developer()).await.unwrap();
}

fn asks(model: &str, more: &str) -> String {
    format!("{{steps: [{{id: a, ai: {{model: {model}, prompt: hi, max_tokens: 200{more}}}}}]}}")
}

fn keys(mock: &MockAi) -> Vec<String> {
    mock.bill().entries.into_iter().map(|entry| entry.key).collect()
}

async fn a_step_asks_with_the_key_of_its_connection_and_the_address_of_the_settings(database: Database) {
    let rates = Rates::new(2_000_000, 200_000, 2_500_000, 4_000_000, 10_000_000);
    let models = [("claude-sonnet-5".to_owned(), rates)].into();
    let mock = mock_with(levqor_mock_ai::Settings { models, ..Default::default() }).await;
    let node = Node::start(&database, settings_for(&mock), TestClock::running()).await;
    connect(&node, "team", "openai", "sk-team-canary").await;
    connect(&node, "claude", "anthropic", "sk-claude-canary").await;

    let mut rows = vec![run(&node, &one(", connection: team")).await];
    rows.push(run(&node, &asks("openai-responses/gpt-6-sol", ", connection: team")).await);
    rows.push(run(&node, &one("")).await);
    rows.push(run(&node, &asks("anthropic/claude-sonnet-5", ", connection: claude")).await);

    for row in &rows {
        assert!(row.error.is_none(), "{row:?}");
        assert!(!format!("{row:?}").contains("canary"), "{row:?}");
    }
    assert_eq!(keys(&mock), ["sk-team-canary", "sk-team-canary", "sk-canary", "sk-claude-canary"]);
    let used = node.store().find_connection("team").await.unwrap().unwrap();
    assert!(used.used_at_ms.is_some());
    bill_is_ledger(&mock, &database).await;
}

async fn a_connection_that_cannot_pay_is_told_and_nothing_is_held(database: Database) {
    let mock = mock().await;
    let node = Node::start(&database, settings_for(&mock), TestClock::running()).await;
    connect(&node, "claude", "anthropic", "sk-claude").await;
    connect(&node, "chat", "slack", "xoxb-1").await;

    for (source, code, words) in [
        (one(", connection: nobody"), "unknown_connection", "`nobody`"),
        (one(", connection: claude"), "connection_mismatch", "anthropic"),
        (one(", connection: chat"), "connection_mismatch", "slack"),
        (asks("anthropic/mock-large", ""), "provider_not_configured", "anthropic"),
    ] {
        let error = run(&node, &source).await.error.unwrap();
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
    }
    let wrong = json!({"name": "x", "connector": "openai-responses", "token": "t"}).to_string();
    let refused = node.put_connection(&wrong, &Actor::developer()).await.unwrap_err();
    assert!(refused.to_string().contains("anthropic, gemini, openai, own"), "{refused}");

    assert_eq!(mock.bill().calls, 0);
    assert_eq!(database.number("select count(*) from ai_calls").await, 0);
}

async fn each_connection_has_a_minute_of_its_own(database: Database) {
    let mock = mock().await;
    let mut settings = settings_for(&mock);
    settings.ai.provider_limits.insert("openai".to_owned(), MinuteLimits { requests: Some(1), tokens: None });
    let node = Node::start(&database, settings, TestClock::running()).await;
    connect(&node, "one", "openai", "sk-1").await;
    connect(&node, "two", "openai", "sk-2").await;

    for more in ["", ", connection: one", ", connection: two"] {
        let row = run(&node, &one(more)).await;
        assert!(row.error.is_none(), "{row:?}");
    }
    node.put("w", &one(", connection: two")).await;
    let id = submit(&node, "hello").await;
    let row = node.when(id, |row| row.line.state == State::Waiting).await;

    let step = row.steps.iter().find(|step| step.step == "a").unwrap();
    let error = step.error.as_ref().unwrap();
    assert_eq!(error.message, "the limit of openai (connection two) for a minute is reached");
    assert_eq!(keys(&mock), ["sk-canary", "sk-1", "sk-2"]);
}
