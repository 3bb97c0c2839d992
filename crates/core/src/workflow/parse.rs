//! From the tree to a definition: fields, types and ranges. What one step says about another is left to `check`.

use std::sync::Arc;

use super::ai;
use super::definition::{DEFAULT_TIMEOUT_MS, Definition, MAX_NAME_CHARS, MAX_STEPS, is_name};
use super::fields::{choice, duration_field, is_object, known_fields, text_field};
use super::kinds;
use super::node::{Entry, Node, Value};
use super::problem::{Problems, join, shorten};
use super::step::{Rerun, Step, StepKind};
use crate::duration;
use crate::money::{BadDecimal, Nano};
use crate::retry::{Backoff, RetryPolicy};
use crate::schema::Schema;
use crate::template::Template;

const FIELDS: [&str; 7] = ["name", "description", "input", "timeout", "retry", "steps", "output"];
/// Fields of a step besides its kind key.
const STEP_FIELDS: [&str; 6] = ["id", "if", "needs", "retry", "timeout", "rerun"];
/// Fields that stand beside the kind key `connect`.
const CONNECT_FIELDS: [&str; 2] = ["connection", "with"];
/// What may cost something by itself. An `ai` step has the price of its model.
const KINDS_WITH_COST: [&str; 2] = ["connect", "http"];
const RETRY_FIELDS: [&str; 5] = ["attempts", "backoff", "first", "max", "jitter"];

const MAX_DESCRIPTION_CHARS: usize = 1000;
const MAX_ID_CHARS: usize = 64;
const MAX_ATTEMPTS: u32 = 20;
const MAX_STEP_TIMEOUT_MS: i64 = duration::DAY_MS;
const MAX_PAUSE_MS: i64 = duration::DAY_MS;

/// `retry` without further words: `retry: {}`.
const RETRY: RetryPolicy = RetryPolicy {
    attempts: 3,
    backoff: Backoff::Exponential,
    first_ms: duration::SECOND_MS,
    max_ms: 5 * duration::MINUTE_MS,
    jitter: true,
};

/// A definition whose steps are not yet checked against each other.
pub(super) struct Parsed {
    pub definition: Definition,
    /// For each step the index that it has in the text.
    pub places: Vec<usize>,
}

pub(super) fn definition(
    root: &Node,
    expected_name: Option<&str>,
    problems: &mut Problems<'_>,
) -> Option<Parsed> {
    if !is_object(root, "", "a definition", problems) {
        return None;
    }
    known_fields(root, "", "a definition", &FIELDS, problems);
    let name = name(root, expected_name, problems);
    let description = text_field(root, "", "description", problems).map(str::to_owned);
    if description.as_ref().is_some_and(|text| text.chars().count() > MAX_DESCRIPTION_CHARS) {
        problems.add("/description", format!("must have at most {MAX_DESCRIPTION_CHARS} characters"));
    }
    let input = root.get("input").and_then(|node| schema(node, problems));
    let timeout_ms = duration_field(root, "", "timeout", 1, duration::MAX_DURATION_MS, problems);
    let retry = root.get("retry").map_or(RetryPolicy::NONE, |node| retry(node, "/retry", problems));
    let output = root.get("output").map(|node| Template::compile(node, "/output", problems));
    let (steps, places) = steps(root, &retry, problems);
    let timeout_ms = timeout_ms.unwrap_or(DEFAULT_TIMEOUT_MS);
    Some(Parsed { definition: Definition { name, description, input, timeout_ms, steps, output }, places })
}

fn name(root: &Node, expected: Option<&str>, problems: &mut Problems<'_>) -> String {
    let said = text_field(root, "", "name", problems);
    if let Some(name) = expected.filter(|name| !is_name(name)) {
        let name = shorten(name, 40);
        let allowed = format!("a name has 1 to {MAX_NAME_CHARS} characters without NUL");
        problems.add("", format!("the definition cannot be stored as `{name}`: {allowed}"));
    } else if let Some(name) = said {
        if !is_name(name) {
            problems.add("/name", format!("must have 1 to {MAX_NAME_CHARS} characters without NUL"));
        } else if expected.is_some_and(|expected| expected != name) {
            let expected = expected.unwrap_or_default();
            problems.add(
                "/name",
                format!("is `{name}`, but the definition is stored as `{}`", shorten(expected, 128)),
            );
        }
    }
    match expected.or(said) {
        Some(name) => name.to_owned(),
        None => {
            if root.get("name").is_none() {
                problems.add("", "`name` is missing");
            }
            String::new()
        }
    }
}

fn schema(node: &Node, problems: &mut Problems<'_>) -> Option<Schema> {
    match Schema::compile(&node.to_json()) {
        Ok(schema) => Some(schema),
        Err(error) => {
            problems
                .add(&format!("/input{}", error.pointer), format!("not a JSON Schema: {}", error.message));
            None
        }
    }
}

fn steps(root: &Node, retry: &RetryPolicy, problems: &mut Problems<'_>) -> (Vec<Step>, Vec<usize>) {
    let items: &[Node] = match root.get("steps").map(|node| &node.value) {
        Some(Value::List(items)) if !items.is_empty() && items.len() <= MAX_STEPS => items,
        Some(Value::List(items)) => {
            problems.add("/steps", format!("must hold 1 to {MAX_STEPS} steps, not {}", items.len()));
            &[]
        }
        Some(_) => {
            problems.add("/steps", format!("must be a list of 1 to {MAX_STEPS} steps"));
            &[]
        }
        None => {
            problems.add("", "`steps` is missing: a list of 1 to 200 steps");
            &[]
        }
    };
    let ids: Vec<Option<&str>> = items.iter().map(|item| item.get("id").and_then(Node::text)).collect();
    let (mut steps, mut places) = (Vec::with_capacity(items.len()), Vec::with_capacity(items.len()));
    for (index, item) in items.iter().enumerate() {
        let path = format!("/steps/{index}");
        if !is_object(item, &path, "a step", problems) {
            continue;
        }
        if let Some(step) = step(item, &path, index, &ids, retry, problems) {
            steps.push(step);
            places.push(index);
        }
    }
    (steps, places)
}

/// A step that is right enough to be checked against the others.
fn step(
    node: &Node,
    path: &str,
    index: usize,
    ids: &[Option<&str>],
    default_retry: &RetryPolicy,
    problems: &mut Problems<'_>,
) -> Option<Step> {
    let id = id(node, path, index, ids, problems);
    let kind = kind(node, path, problems);
    let condition = node.get("if").map(|node| condition(node, &join(path, "if"), problems));
    let needs = needs(node, path, index, ids, problems);
    let retry_path = join(path, "retry");
    let retry =
        node.get("retry").map_or_else(|| default_retry.clone(), |node| retry(node, &retry_path, problems));
    let timeout_ms = duration_field(node, path, "timeout", 1, MAX_STEP_TIMEOUT_MS, problems);
    let rerun = choice(node, path, "rerun", &Rerun::NAMES, Rerun::parse, problems).unwrap_or_default();
    let cost = node.get("cost").and_then(|node| cost(node, &join(path, "cost"), problems));
    let kind = kind?;
    let timeout_ms = timeout_ms.unwrap_or_else(|| kind.default_timeout_ms());
    Some(Step { id: id?.to_owned(), kind, condition, needs, retry, timeout_ms, rerun, cost })
}

fn id<'n>(
    node: &'n Node,
    path: &str,
    index: usize,
    ids: &[Option<&str>],
    problems: &mut Problems<'_>,
) -> Option<&'n str> {
    if node.get("id").is_none() {
        problems.add(path, "`id` is missing: each step has one, of a-z, 0-9, _ and -");
        return None;
    }
    let id = text_field(node, path, "id", problems)?;
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    if id.is_empty() || id.len() > MAX_ID_CHARS || !id.bytes().all(valid) {
        problems
            .add(&join(path, "id"), format!("must have 1 to {MAX_ID_CHARS} characters of a-z, 0-9, _ and -"));
        return None;
    }
    if let Some(first) = ids[..index].iter().position(|other| *other == Some(id)) {
        problems
            .add(&join(path, "id"), format!("`{id}` is the id of step {} too; ids must differ", first + 1));
    }
    Some(id)
}

fn kind(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<StepKind> {
    let is_kind = |entry: &&Entry| StepKind::NAMES.contains(&entry.key.as_str());
    let kinds: Vec<&Entry> = node.entries().iter().filter(is_kind).collect();
    let connects = kinds.iter().any(|entry| entry.key == "connect");
    let is_unknown = |entry: &&Entry| {
        let key = entry.key.as_str();
        let is_beside = connects && CONNECT_FIELDS.contains(&key);
        let is_priced =
            key == "cost" && kinds.iter().any(|kind| KINDS_WITH_COST.contains(&kind.key.as_str()));
        !(is_kind(entry) || STEP_FIELDS.contains(&key) || is_beside || is_priced)
    };
    let names = StepKind::NAMES.join(", ");
    for entry in node.entries().iter().filter(is_unknown) {
        let key = shorten(&entry.key, 80);
        let message = if CONNECT_FIELDS.contains(&entry.key.as_str()) {
            format!("`{key}` stands beside `connect` only")
        } else if key == "cost" {
            "`cost` stands beside `http` and `connect` only".to_owned()
        } else if kinds.is_empty() {
            format!("`{key}` is no kind of step; there are {names}")
        } else {
            format!("a step has no `{key}`; it has one of {names}, and {}", STEP_FIELDS.join(", "))
        };
        problems.add_key(path, &entry.key, message);
    }
    match kinds.as_slice() {
        [entry] if entry.key == "connect" => {
            kinds::connect(node, &entry.node, path, problems).map(|step| StepKind::Connect(Box::new(step)))
        }
        [entry] => kind_of(entry, &join(path, &entry.key), problems),
        [] => {
            if !node.entries().iter().any(|entry| is_unknown(&entry)) {
                problems.add(path, format!("the step does nothing; it needs one of {names}"));
            }
            None
        }
        [_, second, ..] => {
            problems.add_key(path, &second.key, format!("a step does one thing: only one of {names}"));
            None
        }
    }
}

/// Dollars for one attempt. A text, since a number is no exact decimal everywhere.
pub(super) fn cost(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Nano> {
    let Some(text) = node.text() else {
        let kind = node.kind();
        problems.add(path, format!("must be US dollars as a text in quotes, such as \"0.002\", not {kind}"));
        return None;
    };
    match Nano::parse(text) {
        Ok(Nano::ZERO) => problems.add(path, "must be more than 0; a step without `cost` costs nothing"),
        Ok(cost) => return Some(cost),
        Err(BadDecimal::TooLarge) => problems.add(path, "must be 1000000 dollars at most"),
        Err(BadDecimal::Form) => problems.add(path, "must be US dollars as a decimal, such as \"0.002\""),
        Err(error) => problems.add(path, error.to_string()),
    }
    None
}

fn kind_of(entry: &Entry, path: &str, problems: &mut Problems<'_>) -> Option<StepKind> {
    match entry.key.as_str() {
        "http" => kinds::http(&entry.node, path, problems).map(|step| StepKind::Http(Box::new(step))),
        "ai" => ai::parse::ai(&entry.node, path, problems).map(|step| StepKind::Ai(Arc::new(step))),
        "email" => Some(StepKind::Email(kinds::email(&entry.node, path, problems))),
        "transform" => Some(StepKind::Transform(Template::compile(&entry.node, path, problems))),
        "wait" => kinds::wait(&entry.node, path, problems).map(StepKind::Wait),
        _ => None,
    }
}

fn condition(node: &Node, path: &str, problems: &mut Problems<'_>) -> Template {
    let template = Template::compile(node, path, problems);
    let constant = template.constant().is_some_and(|raw| raw != "null" && !matches!(raw, "true" | "false"));
    if constant || node.value == Value::Null || !matches!(node.value, Value::Text(_) | Value::Bool(_)) {
        problems.add(path, "must be one expression, such as \"{{ payload.urgent }}\", or true or false");
    } else if !template.is_expression() && template.constant().is_none() {
        problems.add(path, "must be exactly one {{ expression }}, with nothing around it");
    }
    template
}

fn needs(
    node: &Node,
    path: &str,
    index: usize,
    ids: &[Option<&str>],
    problems: &mut Problems<'_>,
) -> Vec<usize> {
    let Some(list) = node.get("needs") else { return index.checked_sub(1).into_iter().collect() };
    let path = join(path, "needs");
    let Value::List(items) = &list.value else {
        problems.add(
            &path,
            format!("must be a list of step ids, not {}; [] starts the step at once", list.kind()),
        );
        return Vec::new();
    };
    let mut needs = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let path = join(&path, &at.to_string());
        let Some(id) = item.text() else {
            problems.add(&path, format!("must be the id of a step, not {}", item.kind()));
            continue;
        };
        match ids.iter().position(|known| *known == Some(id)) {
            None => problems.add(&path, unknown_step(id, ids.iter().flatten().copied())),
            Some(need) if needs.contains(&need) => problems.add(&path, format!("`{id}` stands here twice")),
            Some(need) => needs.push(need),
        }
    }
    needs
}

/// The message for an id that no step has.
pub(super) fn unknown_step<'a>(id: &str, ids: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = ids.collect();
    format!("there is no step `{}`; there are {}", shorten(id, 64), shorten(&known.join(", "), 200))
}

fn retry(node: &Node, path: &str, problems: &mut Problems<'_>) -> RetryPolicy {
    if !is_object(node, path, "retry", problems) {
        return RetryPolicy::NONE;
    }
    known_fields(node, path, "retry", &RETRY_FIELDS, problems);
    let attempts = node.get("attempts").and_then(|node| match &node.value {
        Value::Number(number) => number.parse().ok().filter(|attempts| (1..=MAX_ATTEMPTS).contains(attempts)),
        _ => None,
    });
    if attempts.is_none() && node.get("attempts").is_some() {
        problems.add(&join(path, "attempts"), format!("must be a whole number from 1 to {MAX_ATTEMPTS}"));
    }
    let backoff = choice(node, path, "backoff", &Backoff::NAMES, Backoff::parse, problems);
    let first_ms = duration_field(node, path, "first", 0, MAX_PAUSE_MS, problems).unwrap_or(RETRY.first_ms);
    let max_ms = duration_field(node, path, "max", 0, MAX_PAUSE_MS, problems);
    if max_ms.is_some_and(|max_ms| max_ms < first_ms) {
        problems.add(&join(path, "max"), "must not be shorter than `first`");
    }
    let jitter = match node.get("jitter").map(|node| &node.value) {
        None => RETRY.jitter,
        Some(Value::Bool(jitter)) => *jitter,
        Some(_) => {
            problems.add(&join(path, "jitter"), "must be true or false");
            RETRY.jitter
        }
    };
    RetryPolicy {
        attempts: attempts.unwrap_or(RETRY.attempts),
        backoff: backoff.unwrap_or(RETRY.backoff),
        first_ms,
        max_ms: max_ms.unwrap_or(RETRY.max_ms.max(first_ms)),
        jitter,
    }
}
