//! What these tests stand on: a mock provider, nodes that call it, short words for orders and for what the ledger says.

use std::net::SocketAddr;
use std::time::Duration;

use levqor_connectors::ai::{Ask, Limits, Message, Provider, Role};
use levqor_core::money::{Nano, Wish};
use levqor_engine::Settings;
use levqor_engine::ai::{AiSettings, NotHeld, Order, Over};
use levqor_mock_ai::{MockAi, Settings as Mock};

use crate::support::{Database, Node, settings};

pub const SOL: &str = "openai/gpt-6-sol";

pub async fn mock() -> MockAi {
    mock_with(Mock::default()).await
}

pub async fn mock_with(settings: Mock) -> MockAi {
    MockAi::start(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap()
}

/// All wires lead to `base`.
pub fn providers(base: &str) -> Vec<Provider> {
    let known = |name: &str| {
        let path = if name.starts_with("openai") { "/v1" } else { "" };
        Provider::known(name, "sk-canary", Some(&format!("{base}{path}"))).unwrap()
    };
    vec![
        known("openai"),
        known("openai-responses"),
        known("anthropic"),
        known("gemini"),
        Provider::compatible("own", "key", &format!("{base}/v1")),
    ]
}

pub fn ai_settings(base: &str) -> Settings {
    Settings { ai: AiSettings { providers: providers(base), ..AiSettings::default() }, ..settings() }
}

/// With this much for a job and for a day, in dollars.
pub fn with_limits(base: &str, per_job: &str, per_day: &str) -> Settings {
    let all = ai_settings(base);
    let dollars = |text| Nano::parse(text).unwrap();
    Settings { ai: AiSettings { per_job: dollars(per_job), per_day: dollars(per_day), ..all.ai }, ..all }
}

pub fn limits() -> Limits {
    Limits { first_byte_ms: 10_000, total_ms: 20_000 }
}

/// A question with a limit on its answer.
pub fn question(model: &str, text: &str, output_tokens: u64) -> Order {
    let ask = Ask { messages: vec![Message::text(Role::User, text)], ..Ask::default() };
    let wish = Wish { requested: Some(output_tokens), usual: None };
    Order { wish, fit: false, ..Order::of_ask(model, ask, limits()) }
}

/// Holds, sends, reads and charges.
pub async fn call(node: &Node, order: Order) -> Result<Over, NotHeld> {
    let over = node.ai().hold(order).await?.send().await.end().await;
    over.settle().await.unwrap();
    Ok(over)
}

/// What the ledger says was spent, in nanodollars.
pub async fn spent(database: &Database) -> i64 {
    let kinds = "'settle', 'assume', 'adjust', 'overrun'";
    let sum = format!("select coalesce(sum(amount_nano), 0) from cost_ledger where kind in ({kinds})");
    database.number(&sum).await
}

/// What the counters of the budget of all days say.
pub async fn counted(database: &Database, column: &str) -> i64 {
    let sum =
        format!("select coalesce(sum({column}), 0) from budget_periods where budget_id = 'max-cost-per-day'");
    database.number(&sum).await
}

pub async fn calls_in(database: &Database, state: &str) -> i64 {
    database.number(&format!("select count(*) from ai_calls where state = '{state}'")).await
}

/// A little longer than it takes to notice that somebody went away.
pub const PACE: Duration = Duration::from_millis(30);
