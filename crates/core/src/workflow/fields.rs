//! Reading the fields of a definition: types, choices and durations, each with the message that says what is allowed.

use super::node::{Node, Value};
use super::problem::{Problems, join, shorten};
use crate::duration;

pub(super) fn is_object(node: &Node, path: &str, what: &str, problems: &mut Problems<'_>) -> bool {
    let object = matches!(node.value, Value::Map(_));
    if !object {
        problems.add(path, format!("{what} must be an object, not {}", node.kind()));
    }
    object
}

pub(super) fn known_fields(
    node: &Node,
    path: &str,
    what: &str,
    allowed: &[&str],
    problems: &mut Problems<'_>,
) {
    for entry in node.entries().iter().filter(|entry| !allowed.contains(&entry.key.as_str())) {
        let key = shorten(&entry.key, 80);
        problems.add_key(path, &entry.key, format!("{what} has no `{key}`; it has {}", allowed.join(", ")));
    }
}

pub(super) fn text_field<'n>(
    node: &'n Node,
    path: &str,
    field: &str,
    problems: &mut Problems<'_>,
) -> Option<&'n str> {
    let value = node.get(field)?;
    if value.text().is_none() {
        problems.add(&join(path, field), format!("must be a text, not {}", value.kind()));
    }
    value.text()
}

pub(super) fn choice<T>(
    node: &Node,
    path: &str,
    field: &str,
    allowed: &[&str],
    parse: impl Fn(&str) -> Option<T>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let chosen = node.get(field)?.text().and_then(parse);
    if chosen.is_none() {
        problems.add(&join(path, field), format!("must be one of {}", allowed.join(", ")));
    }
    chosen
}

pub(super) fn duration_field(
    node: &Node,
    path: &str,
    field: &str,
    min_ms: i64,
    max_ms: i64,
    problems: &mut Problems<'_>,
) -> Option<i64> {
    let value = node.get(field)?;
    let path = join(path, field);
    let Some(text) = value.text() else {
        problems
            .add(&path, format!("must be a duration such as 500ms, 30s, 5m, 2h or 7d, not {}", value.kind()));
        return None;
    };
    match duration::parse_duration_ms(text) {
        Ok(ms) if ms < min_ms => problems.add(&path, "must be longer than 0"),
        Ok(ms) if ms > max_ms => {
            problems.add(&path, format!("must be {} at most", duration::format_duration(max_ms)));
        }
        Ok(ms) => return Some(ms),
        Err(error) => problems.add(&path, error.to_string()),
    }
    None
}
