//! Short words for workflows with one step, scripted answers, and what the bill must be.

use levqor_core::id::JobId;
use levqor_core::intake::IntakeRequest;
use levqor_mock_ai::{MockAi, Script};
use levqor_store::JobRow;
use serde_json::Value;

pub use crate::ai::world::{ai_settings, counted, mock, mock_with, spent, with_limits};
use crate::support::{Database, Node, ask, result};

/// The form that most of these tests ask for.
pub const FORM: &str = r#"{"type": "object", "required": ["label"], "additionalProperties": false,
    "properties": {"label": {"type": "string", "enum": ["bug", "question"]}}}"#;

pub const GOOD: &str = r#"{"label":"bug"}"#;
pub const BAD: &str = r#"{"label":"other"}"#;

/// A workflow `w` whose only step asks OpenAI's model about the payload's text.
pub fn one(more: &str) -> String {
    let ai = format!("model: openai/gpt-6-sol, prompt: \"{{{{ payload.text }}}}\", max_tokens: 200{more}");
    format!("{{steps: [{{id: a, ai: {{{ai}}}}}], output: \"{{{{ steps.a.output }}}}\"}}")
}

pub fn formed(more: &str) -> String {
    one(&format!(", output: {FORM}{more}"))
}

pub fn says(text: &str) -> Script {
    Script { text: Some(text.to_owned()), ..Script::default() }
}

pub async fn submit(node: &Node, text: &str) -> JobId {
    let payload = serde_json::json!({ "text": text }).to_string();
    node.submit(IntakeRequest { payload, ..ask("w") }).await
}

/// The job of workflow `w` with this source, once it has ended.
pub async fn run(node: &Node, source: &str) -> JobRow {
    node.put("w", source).await;
    let id = submit(node, "hello").await;
    node.ended(id).await
}

/// The step's output.
pub fn output(row: &JobRow) -> Value {
    assert!(row.error.is_none(), "{row:?}");
    result(row)
}

pub fn kinds(row: &JobRow) -> Vec<String> {
    let turns = row.steps.iter().filter(|step| step.step.contains('/'));
    let mut turns: Vec<(u32, String)> = turns
        .map(|step| {
            let turn: Value = serde_json::from_str(step.output.as_deref().unwrap()).unwrap();
            let number = step.step.split('/').next_back().unwrap().parse().unwrap();
            let shown =
                format!("{} {}", turn["kind"].as_str().unwrap(), turn["model"].as_str().unwrap_or("-"));
            (number, shown.trim_end_matches(" -").to_owned())
        })
        .collect();
    turns.sort();
    turns.into_iter().map(|(_, shown)| shown).collect()
}

/// The mock's bill is the ledger, and nothing is held any more.
pub async fn bill_is_ledger(mock: &MockAi, database: &Database) {
    let bill = i64::try_from(mock.bill().total_nano).unwrap();
    assert_eq!(spent(database).await, bill, "{:?}", mock.bill());
    assert_eq!(counted(database, "spent_nano").await, bill);
    assert_eq!(counted(database, "held_nano").await, 0);
}
