//! Reading what the kinds of steps are given: the members of `http` and `email`, the time of `wait`, what stands beside
//! `connect`.

use super::connect::ConnectStep;
use super::email::EmailStep;
use super::fields::{is_object, known_fields, text_field};
use super::http::{Body, HttpStep, REFUSED_HEADERS, is_header_value, is_token};
use super::node::{Entry, Node, Value};
use super::problem::{Problems, join};
use super::wait::WaitStep;
use crate::connection;
use crate::duration;
use crate::json;
use crate::mail;
use crate::template::Template;

const HTTP_FIELDS: [&str; 7] = ["method", "url", "headers", "query", "json", "body", "ok"];
const MAX_PAIRS: usize = 50;

pub(super) fn http(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<HttpStep> {
    if !is_object(node, path, "http", problems) {
        return None;
    }
    known_fields(node, path, "http", &HTTP_FIELDS, problems);
    let method = text_field(node, path, "method", problems).unwrap_or("GET");
    if !is_token(method) || method.len() > 32 || method.bytes().any(|byte| byte.is_ascii_lowercase()) {
        problems.add(&join(path, "method"), "must be a method in upper case, such as GET or POST");
    } else if matches!(method, "CONNECT" | "TRACE") {
        problems.add(&join(path, "method"), format!("{method} is not allowed"));
    }
    let Some(url) = node.get("url") else {
        problems.add(path, "`url` is missing");
        return None;
    };
    let url = self::url(url, &join(path, "url"), problems);
    let headers = pairs(node, path, "headers", problems);
    for (name, value) in &headers {
        let fixed = value.constant().and_then(json::decode);
        if !is_token(name) {
            problems.add_key(&join(path, "headers"), name, "is not the name of a header");
        } else if REFUSED_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
            problems.add_key(&join(path, "headers"), name, "is set by the connection and cannot be given");
        } else if fixed.is_some_and(|text| !is_header_value(&text)) {
            problems
                .add(&join(&join(path, "headers"), name), "holds a line break or another control character");
        }
    }
    let query = pairs(node, path, "query", problems);
    let body = match (node.get("json"), node.get("body")) {
        (Some(_), Some(_)) => {
            problems.add_key(path, "body", "only one of `json` and `body` can be sent");
            None
        }
        (Some(json), None) => Some(Body::Json(Template::compile(json, &join(path, "json"), problems))),
        (None, Some(body)) => {
            if body.text().is_none() {
                problems.add(
                    &join(path, "body"),
                    format!("must be a text, not {}; `json` sends values", body.kind()),
                );
            }
            Some(Body::Text(Template::compile(body, &join(path, "body"), problems)))
        }
        (None, None) => None,
    };
    let ok = node.get("ok").and_then(|node| statuses(node, &join(path, "ok"), problems));
    Some(HttpStep { method: method.to_owned(), url, headers, query, body, ok })
}

/// A whole mail may be one expression; of an object each member that is fixed is looked at now.
pub(super) fn email(node: &Node, path: &str, problems: &mut Problems<'_>) -> EmailStep {
    let template = Template::compile(node, path, problems);
    if template.is_expression() {
        return EmailStep(template);
    }
    if !is_object(node, path, "email", problems) {
        return EmailStep(template);
    }
    known_fields(node, path, "email", &mail::MEMBERS, problems);
    let is_missing = |field: &str| node.get(field).is_none_or(|node| node.value == Value::Null);
    if is_missing("to") {
        problems.add(path, "`to` is missing: an address, or a list of them");
    }
    if is_missing("template") && (is_missing("subject") || is_missing("text") && is_missing("html")) {
        problems.add(path, "a mail has a `template`, or a `subject` with `text`, `html` or both");
    }
    for field in mail::MEMBERS {
        let Some(member) = node.get(field).filter(|member| !holds_expression(member)) else { continue };
        let Ok(value) = serde_json::from_str(&member.to_json()) else { continue };
        for (at, what) in mail::check_member(field, &value) {
            problems.add(&format!("{path}{at}"), what);
        }
    }
    EmailStep(template)
}

/// Whether what it will be is not known yet; null counts, since it is as if it were not there.
fn holds_expression(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.contains("{{"),
        Value::List(items) => items.iter().any(holds_expression),
        Value::Map(entries) => entries.iter().any(|entry| holds_expression(&entry.node)),
        Value::Null => true,
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn url(node: &Node, path: &str, problems: &mut Problems<'_>) -> Template {
    let template = Template::compile(node, path, problems);
    if node.text().is_none() {
        problems.add(path, format!("must be a text, not {}", node.kind()));
    } else if let Some(start) = template.literal_start() {
        let lower = start.to_ascii_lowercase();
        let scheme = lower.starts_with("http://") || lower.starts_with("https://");
        let open = template.constant().is_none()
            && ("https://".starts_with(&lower) || "http://".starts_with(&lower));
        if !scheme && !open {
            problems.add(path, "must begin with http:// or https://");
        } else if template.constant().is_some() && url::Url::parse(&start).is_err() {
            problems.add(path, "is not a URL");
        }
    }
    template
}

fn pairs(node: &Node, path: &str, field: &str, problems: &mut Problems<'_>) -> Vec<(String, Template)> {
    let Some(map) = node.get(field) else { return Vec::new() };
    let path = join(path, field);
    if !is_object(map, &path, field, problems) {
        return Vec::new();
    }
    if map.entries().len() > MAX_PAIRS {
        problems.add(&path, format!("must have at most {MAX_PAIRS} members"));
    }
    let pair = |entry: &Entry| {
        let path = join(&path, &entry.key);
        if matches!(entry.node.value, Value::Null | Value::List(_) | Value::Map(_)) {
            problems.add(&path, format!("must be a text, a number or a boolean, not {}", entry.node.kind()));
        }
        (entry.key.clone(), Template::compile(&entry.node, &path, problems))
    };
    map.entries().iter().map(pair).collect()
}

fn statuses(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<Vec<u16>> {
    let status = |node: &Node| match &node.value {
        Value::Number(number) => number.parse().ok().filter(|status| (100..=599).contains(status)),
        _ => None,
    };
    let list: Option<Vec<u16>> = match &node.value {
        Value::List(items) if !items.is_empty() => items.iter().map(status).collect(),
        _ => None,
    };
    if list.is_none() {
        problems.add(path, "must be a list of statuses from 100 to 599, such as [200, 404]");
    }
    list
}

/// `connect` is a text; `connection` and `with` stand beside it, so this reads the whole step.
pub(super) fn connect(
    step: &Node,
    action: &Node,
    path: &str,
    problems: &mut Problems<'_>,
) -> Option<ConnectStep> {
    let (connector, action) = match action.text().and_then(|text| text.split_once('.')) {
        Some((connector, action)) if !connector.is_empty() && !action.is_empty() => (connector, action),
        _ => {
            let wanted = "must be a connector and its action, such as slack.post_message";
            problems.add(&join(path, "connect"), wanted);
            ("", "")
        }
    };
    if step.get("connection").is_none() {
        problems.add(path, "`connection` is missing: the name of a stored connection");
    }
    let connection = text_field(step, path, "connection", problems).unwrap_or_default();
    if step.get("connection").is_some_and(|node| node.text().is_some()) && !connection::is_name(connection) {
        let what = format!("must be {}; it holds no template", connection::NAME_RULE);
        problems.add(&join(path, "connection"), what);
    }
    let params = step.get("with").map(|with| params(with, &join(path, "with"), problems));
    (!connector.is_empty()).then(|| ConnectStep {
        connector: connector.to_owned(),
        action: action.to_owned(),
        connection: connection.to_owned(),
        params: params.unwrap_or_default(),
        is_tool: false,
    })
}

fn params(node: &Node, path: &str, problems: &mut Problems<'_>) -> Vec<(String, Template)> {
    if !is_object(node, path, "with", problems) {
        return Vec::new();
    }
    if node.entries().len() > MAX_PAIRS {
        problems.add(path, format!("must have at most {MAX_PAIRS} members"));
    }
    let param = |entry: &Entry| {
        (entry.key.clone(), Template::compile(&entry.node, &join(path, &entry.key), problems))
    };
    node.entries().iter().map(param).collect()
}

pub(super) fn wait(node: &Node, path: &str, problems: &mut Problems<'_>) -> Option<WaitStep> {
    const WANTED: &str = "must be a duration such as 5m, {for: <duration>} or {until: <time>}";
    match &node.value {
        Value::Text(_) => Some(wait_for(node, path, problems)),
        Value::Map(entries) => match entries.as_slice() {
            [entry] if entry.key == "for" => Some(wait_for(&entry.node, &join(path, "for"), problems)),
            [entry] if entry.key == "until" => Some(wait_until(&entry.node, &join(path, "until"), problems)),
            _ => {
                problems.add(path, WANTED);
                None
            }
        },
        _ => {
            problems.add(path, WANTED);
            None
        }
    }
}

fn wait_for(node: &Node, path: &str, problems: &mut Problems<'_>) -> WaitStep {
    let template = Template::compile(node, path, problems);
    match (node.text(), template.constant()) {
        (None, _) => problems.add(path, format!("must be a duration such as 5m, not {}", node.kind())),
        (Some(text), Some(_)) => {
            if let Err(error) = duration::parse_duration_ms(text) {
                problems.add(path, error.to_string());
            }
        }
        (Some(_), None) => {}
    }
    WaitStep::For(template)
}

fn wait_until(node: &Node, path: &str, problems: &mut Problems<'_>) -> WaitStep {
    let template = Template::compile(node, path, problems);
    let bad = match (&node.value, template.constant()) {
        (Value::Text(text), Some(_)) => duration::parse_time_ms(text).err(),
        (Value::Number(number), _) => duration::parse_epoch_ms(number).err(),
        (Value::Text(_), None) => None,
        _ => Some(duration::BadTime::Form),
    };
    if let Some(error) = bad {
        problems.add(path, error.to_string());
    }
    WaitStep::Until(template)
}
