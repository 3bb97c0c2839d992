//! Reading `ai`: its members, their types and ranges, and what does not go together.

use serde_json::Number;

use super::parse_tools::tools;
use super::{
    AiStep, Below, DEFAULT_INPUT_BYTES, DEFAULT_REPAIRS, DEFAULT_TURNS, Fallback, Form, Instead, Left,
    MAX_INPUT_BYTES, MAX_TOKENS, ModelName, OnInvalid, Talk, When, WhenShort,
};
use crate::budget::BudgetId;
use crate::connection::{NAME_RULE, is_name};
use crate::duration;
use crate::job::Priority;
use crate::money::Nano;
use crate::redact::Kinds;
use crate::schema::Schema;
use crate::template::Template;
use crate::workflow::fields::{choice, duration_field, is_object, known_fields, text_field};
use crate::workflow::node::{Node, Value};
use crate::workflow::problem::{Problems, join};

const FIELDS: [&str; 20] = [
    "model",
    "connection",
    "prompt",
    "messages",
    "system",
    "images",
    "documents",
    "output",
    "max_tokens",
    "temperature",
    "fallback",
    "on_invalid",
    "repairs",
    "cache",
    "tools",
    "max_turns",
    "when_short",
    "redact",
    "deny",
    "max_input_bytes",
];
const FALLBACK_FIELDS: [&str; 4] = ["model", "connection", "when", "max_tokens"];
const PRIORITIES: [&str; 3] = ["low", "normal", "high"];
const CONDITION_FIELDS: [&str; 4] = ["budget", "below", "input_over", "priority"];
const MESSAGE_FIELDS: [&str; 2] = ["role", "content"];

const MAX_FALLBACKS: usize = 8;
const MAX_REPAIRS: i64 = 10;
const MAX_TURNS: i64 = 50;
const MAX_CACHE_MS: i64 = 30 * duration::DAY_MS;
const MAX_DENIED: usize = 200;
const MAX_DENIED_CHARS: usize = 200;

pub(in crate::workflow) fn ai(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<AiStep> {
    if !is_object(node, path, "ai", problems) {
        return None;
    }
    known_fields(node, path, "ai", &FIELDS, problems);
    if node.get("model").is_none() {
        problems.add(path, "`model` is missing: the provider and its model, such as openai/gpt-6-sol");
    }
    let model = node.get("model").and_then(|_| model(node, path, problems));
    let connection = connection(node, path, problems);
    let talk = talk(node, path, problems);
    let template = |field: &str, problems: &mut Problems<'_>| {
        node.get(field).map(|value| Template::compile(value, &join(path, field), problems))
    };
    let system = template("system", problems);
    let images = template("images", problems);
    let documents = template("documents", problems);
    let output = node.get("output").and_then(|node| form(node, &join(path, "output"), problems));
    let fallback = fallbacks(node, path, problems);
    let on_invalid = choice(node, path, "on_invalid", &OnInvalid::NAMES, OnInvalid::parse, problems);
    let tools = tools(node, path, problems);
    let cache_ms = duration_field(node, path, "cache", 1, MAX_CACHE_MS, problems);
    let step = AiStep {
        model: model.unwrap_or_else(|| ModelName { provider: String::new(), model: String::new() }),
        connection,
        system,
        talk: talk?,
        images,
        documents,
        output,
        max_tokens: whole(node, path, "max_tokens", 1, MAX_TOKENS as i64, problems).map(|n| n.unsigned_abs()),
        temperature: temperature(node, path, problems),
        when_short: when_short(node, path, &fallback, problems),
        fallback,
        on_invalid: on_invalid.unwrap_or_default(),
        repairs: whole(node, path, "repairs", 0, MAX_REPAIRS, problems)
            .map_or(DEFAULT_REPAIRS, |n| n.unsigned_abs() as u32),
        cache_ms,
        tools,
        max_turns: whole(node, path, "max_turns", 1, MAX_TURNS, problems)
            .map_or(DEFAULT_TURNS, |n| n.unsigned_abs() as u32),
        redact: redact(node, path, problems),
        deny: deny(node, path, problems),
        max_input_bytes: whole(node, path, "max_input_bytes", 1, MAX_INPUT_BYTES as i64, problems)
            .map_or(DEFAULT_INPUT_BYTES, |n| n.unsigned_abs() as usize),
    };
    together(&step, node, path, problems);
    Some(step)
}

/// What does not go together.
fn together(step: &AiStep, node: &Node, path: &str, problems: &mut Problems<'_>) {
    let has = |field: &str| node.get(field).is_some();
    for field in ["on_invalid", "repairs"] {
        if has(field) && !has("output") {
            problems
                .add(&join(path, field), format!("`{field}` needs an `output`: only a schema can be missed"));
        }
    }
    if has("repairs") && !matches!(step.on_invalid, OnInvalid::Repair | OnInvalid::Retry) {
        problems.add(&join(path, "repairs"), "`repairs` counts for `on_invalid` repair and retry only");
    }
    if step.on_invalid == OnInvalid::Fallback && !step.fallback.iter().any(|it| it.when.invalid_output) {
        problems
            .add(&join(path, "on_invalid"), "there is no `fallback` that may be asked for invalid_output");
    }
    if has("max_turns") && !has("tools") {
        problems.add(&join(path, "max_turns"), "`max_turns` counts for `tools` only");
    }
    if has("cache") && has("tools") {
        problems
            .add(&join(path, "cache"), "what tools did cannot be answered from a cache; use one of the two");
    }
}

fn model(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<ModelName> {
    let text = text_field(node, path, "model", problems)?;
    let found = ModelName::parse(text);
    if text.contains("{{") {
        problems
            .add(&join(path, "model"), "holds no template: a payload must not choose what money is spent on");
        return None;
    }
    if found.is_none() {
        problems.add(&join(path, "model"), "must be a provider and its model, such as openai/gpt-6-sol");
    }
    found
}

/// Whose key pays: as with models, a payload must not choose it.
fn connection(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<String> {
    let name = text_field(node, path, "connection", problems)?;
    if !is_name(name) {
        let what = format!("must be the name of a stored connection: {NAME_RULE}; it holds no template");
        problems.add(&join(path, "connection"), what);
        return None;
    }
    Some(name.to_owned())
}

fn talk(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Talk> {
    match (node.get("prompt"), node.get("messages")) {
        (Some(_), Some(_)) => {
            problems.add_key(path, "messages", "only one of `prompt` and `messages` can be said");
            None
        }
        (None, None) => {
            problems.add(path, "`prompt` is missing: what the model is asked; or `messages`");
            None
        }
        (Some(prompt), None) => {
            let path = join(path, "prompt");
            if matches!(prompt.value, Value::Null) || prompt.text().is_some_and(|text| text.trim().is_empty())
            {
                problems.add(&path, "must not be empty");
            }
            Some(Talk::Prompt(Template::compile(prompt, &path, problems)))
        }
        (None, Some(messages)) => {
            let path = join(path, "messages");
            check_messages(messages, &path, problems);
            Some(Talk::Messages(Template::compile(messages, &path, problems)))
        }
    }
}

fn check_messages(node: &Node, path: &str, problems: &mut Problems<'_>) {
    let items = match &node.value {
        Value::List(items) if !items.is_empty() => items,
        Value::Text(text) if text.contains("{{") => return,
        _ => {
            problems.add(path, "must be a list of {role, content}, or an expression that gives one");
            return;
        }
    };
    for (index, item) in items.iter().enumerate() {
        let path = join(path, &index.to_string());
        if item.text().is_some_and(|text| text.contains("{{"))
            || !is_object(item, &path, "a message", problems)
        {
            continue;
        }
        known_fields(item, &path, "a message", &MESSAGE_FIELDS, problems);
        let role = item.get("role").map(|role| role.text().unwrap_or_default());
        if !role.is_some_and(|role| matches!(role, "user" | "assistant") || role.contains("{{")) {
            let what = "`role` must be user or assistant; what holds for the whole talk stands in `system`";
            problems.add(&path, what);
        }
        if item.get("content").is_none() {
            problems.add(&path, "`content` is missing: what is said");
        }
    }
}

fn form(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Form> {
    let raw = node.to_json();
    match Schema::compile(&raw) {
        Ok(schema) => Some(Form { raw, schema }),
        Err(error) => {
            problems
                .add(&format!("{path}{}", error.pointer), format!("not a JSON Schema: {}", error.message));
            None
        }
    }
}

/// A whole number of a range.
pub(super) fn whole(
    node: &Node,
    path: &str,
    field: &str,
    least: i64,
    most: i64,
    problems: &mut Problems<'_>,
) -> Option<i64> {
    let value = node.get(field)?;
    let number = match &value.value {
        Value::Number(number) => number.parse().ok().filter(|n| (least..=most).contains(n)),
        _ => None,
    };
    if number.is_none() {
        problems.add(&join(path, field), format!("must be a whole number from {least} to {most}"));
    }
    number
}

fn temperature(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Number> {
    let value = node.get("temperature")?;
    let number: Option<Number> = match &value.value {
        Value::Number(number) => serde_json::from_str(number).ok(),
        _ => None,
    };
    let fits = number.as_ref().and_then(Number::as_f64).is_some_and(|number| (0.0..=2.0).contains(&number));
    if !fits {
        problems.add(&join(path, "temperature"), "must be a number from 0 to 2");
    }
    number
}

fn fallbacks(node: &Node, path: &str, problems: &mut Problems<'_>) -> Vec<Fallback> {
    let Some(list) = node.get("fallback") else { return Vec::new() };
    let path = join(path, "fallback");
    let items = match &list.value {
        Value::List(items) if (1..=MAX_FALLBACKS).contains(&items.len()) => items,
        _ => {
            problems.add(
                &path,
                format!("must be a list of 1 to {MAX_FALLBACKS} of {{model, connection, when, max_tokens}}"),
            );
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let path = join(&path, &index.to_string());
        if !is_object(item, &path, "a fallback", problems) {
            continue;
        }
        known_fields(item, &path, "a fallback", &FALLBACK_FIELDS, problems);
        if item.get("model").is_none() {
            problems.add(&path, "`model` is missing: the provider and its model, such as openai/gpt-6-sol");
        }
        let when = item.get("when").map_or(When::ALWAYS, |node| when(node, &join(&path, "when"), problems));
        let max_tokens =
            whole(item, &path, "max_tokens", 1, MAX_TOKENS as i64, problems).map(|n| n.unsigned_abs());
        let connection = connection(item, &path, problems);
        if let Some(model) = model(item, &path, problems) {
            found.push(Fallback { model, connection, when, max_tokens });
        }
    }
    found
}

fn when(node: &Node, path: &str, problems: &mut Problems<'_>) -> When {
    let one = std::slice::from_ref(node);
    let items = match &node.value {
        Value::List(items) if !items.is_empty() => items.as_slice(),
        Value::Text(_) | Value::Map(_) => one,
        _ => {
            problems.add(path, wanted_when());
            return When::default();
        }
    };
    let mut when = When::default();
    for (index, item) in items.iter().enumerate() {
        let path =
            if items.as_ptr() == one.as_ptr() { path.to_owned() } else { join(path, &index.to_string()) };
        match &item.value {
            Value::Text(word) if word == "provider_error" => when.provider_error = true,
            Value::Text(word) if word == "budget_short" => when.budget_short = true,
            Value::Text(word) if word == "invalid_output" => when.invalid_output = true,
            Value::Text(word) if word == "refused" => when.refused = true,
            Value::Map(_) => when.instead.extend(instead(item, &path, problems)),
            _ => problems.add(&path, wanted_when()),
        }
    }
    when
}

fn wanted_when() -> String {
    format!(
        "must be {}, or {{budget: <id>, below: 20%}}, {{input_over: <bytes>}}, {{priority: low}}",
        When::NAMES.join(", ")
    )
}

fn instead(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Instead> {
    known_fields(node, path, "a condition", &CONDITION_FIELDS, problems);
    match (node.get("input_over"), node.get("priority")) {
        (None, None) => below(node, path, problems).map(Instead::Below),
        (Some(_), _) | (_, Some(_)) if node.entries().len() > 1 => {
            problems.add(
                path,
                "says one thing: a budget, `input_over` or `priority`; give each an entry of its own",
            );
            None
        }
        (Some(_), _) => {
            let bytes = whole(node, path, "input_over", 1, MAX_INPUT_BYTES as i64, problems)?;
            Some(Instead::InputOver(bytes.unsigned_abs()))
        }
        (None, Some(_)) => {
            choice(node, path, "priority", &PRIORITIES, Priority::parse, problems).map(Instead::Priority)
        }
    }
}

fn below(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Below> {
    let budget = node.get("budget").and_then(Node::text).filter(|id| BudgetId::parse(id).is_ok());
    if budget.is_none() {
        problems.add(path, "`budget` must be the id of a budget");
    }
    let left = node.get("below").and_then(|node| match &node.value {
        Value::Text(text) => match text.strip_suffix('%') {
            Some(share) => {
                share.trim().parse::<u32>().ok().filter(|n| *n <= 100).map(|n| Left::Share(n * 10_000))
            }
            None => Nano::parse(text).ok().map(Left::Amount),
        },
        Value::Number(number) => Nano::parse(number).ok().map(Left::Amount),
        _ => None,
    });
    if left.is_none() {
        problems.add(path, "`below` must be a share such as 20%, or dollars such as 1.50");
    }
    Some(Below { budget: budget?.to_owned(), left: left? })
}

fn when_short(node: &Node, path: &str, fallback: &[Fallback], problems: &mut Problems<'_>) -> Vec<WhenShort> {
    let may_be_cheaper = fallback.iter().any(|it| it.when.budget_short);
    let Some(given) = node.get("when_short") else {
        // A fallback that names it is meant to be used.
        let named = may_be_cheaper && node.get("fallback").is_some_and(names_budget_short);
        return if named { vec![WhenShort::Cheaper] } else { vec![WhenShort::Fail] };
    };
    let path = join(path, "when_short");
    let wanted = format!("must be one of {}, or a list of them", WhenShort::NAMES.join(", "));
    let one = std::slice::from_ref(given);
    let items = match &given.value {
        Value::List(items) if !items.is_empty() && items.len() <= WhenShort::NAMES.len() => items.as_slice(),
        Value::Text(_) => one,
        _ => {
            problems.add(&path, wanted);
            return vec![WhenShort::Fail];
        }
    };
    let mut found = Vec::new();
    for item in items {
        match item.text().and_then(WhenShort::parse) {
            Some(policy) if found.contains(&policy) => problems.add(&path, "names one thing twice"),
            Some(policy) => found.push(policy),
            None => problems.add(&path, wanted.clone()),
        }
    }
    if found.contains(&WhenShort::Cheaper) && !may_be_cheaper {
        problems.add(&path, "there is no `fallback` that may be asked for budget_short");
    }
    if !found.contains(&WhenShort::Cheaper) && node.get("fallback").is_some_and(names_budget_short) {
        problems.add(&path, "must hold cheaper, since a `fallback` names budget_short");
    }
    found
}

fn names_budget_short(fallback: &Node) -> bool {
    let Value::List(items) = &fallback.value else { return false };
    let is_it = |node: &Node| node.text() == Some("budget_short");
    items.iter().filter_map(|item| item.get("when")).any(|when| match &when.value {
        Value::List(words) => words.iter().any(is_it),
        _ => is_it(when),
    })
}

fn redact(node: &Node, path: &str, problems: &mut Problems<'_>) -> Kinds {
    let Some(given) = node.get("redact") else { return Kinds::NONE };
    let path = join(path, "redact");
    let wanted = format!("must be true, false, or a list of {}", Kinds::NAMES.join(", "));
    match &given.value {
        Value::Bool(true) => Kinds::ALL,
        Value::Bool(false) => Kinds::NONE,
        Value::List(items) if !items.is_empty() => {
            let mut kinds = Kinds::NONE;
            for item in items {
                match item.text().and_then(Kinds::named) {
                    Some(kind) => kinds = kinds.and(kind),
                    None => problems.add(&path, wanted.clone()),
                }
            }
            kinds
        }
        _ => {
            problems.add(&path, wanted);
            Kinds::NONE
        }
    }
}

fn deny(node: &Node, path: &str, problems: &mut Problems<'_>) -> Vec<String> {
    let Some(given) = node.get("deny") else { return Vec::new() };
    let path = join(path, "deny");
    let wanted = format!("must be a list of 1 to {MAX_DENIED} texts of 1 to {MAX_DENIED_CHARS} characters");
    let is_fine = |text: &&str| !text.trim().is_empty() && text.chars().count() <= MAX_DENIED_CHARS;
    let texts: Option<Vec<String>> = match &given.value {
        Value::List(items) if (1..=MAX_DENIED).contains(&items.len()) => {
            items.iter().map(|item| item.text().filter(is_fine).map(str::to_lowercase)).collect()
        }
        _ => None,
    };
    if texts.is_none() {
        problems.add(&path, wanted);
    }
    texts.unwrap_or_default()
}
