//! From JSON to a mail. Everything that is wrong is told, each with its JSON pointer; members that are null count as not
//! given, so that a workflow can hand on what may be missing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::template::Template;
use super::{MAX_BODY_BYTES, MAX_RECIPIENTS, MAX_REPLY_TO, MAX_SUBJECT_CHARS, Mail, Sender};
use crate::user::check_email;

/// JSON pointer → what is wrong there.
pub type Problems = BTreeMap<String, String>;

/// What a mail may say.
pub(crate) const MEMBERS: [&str; 10] =
    ["from", "to", "cc", "bcc", "reply_to", "subject", "text", "html", "template", "values"];

const FROM: &str = "must be one of support, billing, no-reply, security";
const ADDRESSES: &str = "must be an address such as ada@example.com, or a list of them";
const MAX_VALUE_CHARS: usize = 500;
const MAX_VALUES: usize = 20;

/// The mail that `json` describes.
pub fn read(json: &str) -> Result<Mail, Problems> {
    let Ok(Value::Object(mut members)) = serde_json::from_str(json) else {
        return Err(one("", "must be an object"));
    };
    members.retain(|_, value| !value.is_null());
    let mut problems = Problems::new();
    for (name, value) in &members {
        problems.extend(check_member(name, value));
    }
    let lists = ["to", "cc", "bcc", "reply_to"].map(|name| addresses(&members, name));
    let [to, cc, bcc, reply_to] = lists;
    if to.is_empty() && !problems.keys().any(|at| at.starts_with("/to")) {
        problems.insert("/to".to_owned(), "is missing: at least one address".to_owned());
    }
    if to.len() + cc.len() + bcc.len() > MAX_RECIPIENTS {
        let what = format!("to, cc and bcc together may hold {MAX_RECIPIENTS} addresses at most");
        problems.entry("/to".to_owned()).or_insert(what);
    }
    let said = said(&members, &mut problems);
    match said {
        Some((subject, text, html)) if problems.is_empty() => {
            let from = members
                .get("from")
                .and_then(Value::as_str)
                .and_then(Sender::parse)
                .unwrap_or(Sender::NoReply);
            Ok(Mail { from, to, cc, bcc, reply_to, subject, text, html })
        }
        _ => Err(problems),
    }
}

/// Subject, text and HTML: as given, or from the template.
fn said(
    members: &Map<String, Value>,
    problems: &mut Problems,
) -> Option<(String, Option<String>, Option<String>)> {
    let Some(template) = members.get("template") else {
        if members.contains_key("values") {
            problems.insert("/values".to_owned(), "goes with `template` only".to_owned());
        }
        let text = |name: &str| members.get(name).and_then(text_of);
        let subject = text("subject");
        if !members.contains_key("subject") {
            problems.insert("/subject".to_owned(), "is missing".to_owned());
        }
        if !members.contains_key("text") && !members.contains_key("html") {
            problems.insert("/text".to_owned(), "is missing: a mail has `text`, `html` or both".to_owned());
        }
        return Some((subject?, text("text"), text("html")));
    };
    for name in ["subject", "text", "html"].into_iter().filter(|name| members.contains_key(*name)) {
        problems
            .insert(format!("/{name}"), "comes from the template and cannot be given beside it".to_owned());
    }
    let template = template.as_str().and_then(Template::parse)?;
    let empty = Map::new();
    let given = members.get("values").and_then(Value::as_object).unwrap_or(&empty);
    let values: BTreeMap<&str, String> =
        given.iter().filter_map(|(name, value)| Some((name.as_str(), text_of(value)?))).collect();
    for name in template.required().iter().filter(|name| !values.contains_key(*name)) {
        let what = format!("the template {} needs it", template.as_str());
        problems.entry(format!("/values/{name}")).or_insert(what);
    }
    for name in values.keys().filter(|name| !template.takes(name)) {
        let what = format!("the template {} takes {}", template.as_str(), template.names().join(", "));
        problems.insert(crate::workflow::join("/values", name), what);
    }
    let letter = template.write(&values);
    Some((letter.subject.clone(), Some(letter.text()), Some(letter.html())))
}

/// What is wrong with one member by itself; also for the members of a definition that hold no expression.
pub(crate) fn check_member(name: &str, value: &Value) -> Problems {
    let at = format!("/{name}");
    let bad = |what: String| one(&at, &what);
    match name {
        "from" if value.as_str().and_then(Sender::parse).is_none() => one(&at, FROM),
        "to" | "cc" | "bcc" => check_addresses(&at, value, MAX_RECIPIENTS),
        "reply_to" => check_addresses(&at, value, MAX_REPLY_TO),
        "subject" => match text_of(value) {
            Some(text) if is_line(&text, MAX_SUBJECT_CHARS) => Problems::new(),
            _ => bad(format!(
                "must be one line of 1 to {MAX_SUBJECT_CHARS} characters, without control characters"
            )),
        },
        "text" | "html" => match text_of(value) {
            Some(text) if !text.is_empty() && text.len() <= MAX_BODY_BYTES && !text.contains('\0') => {
                Problems::new()
            }
            _ => bad(format!("must be a text of 1 to {MAX_BODY_BYTES} bytes without NUL")),
        },
        "template" if value.as_str().and_then(Template::parse).is_none() => {
            bad(format!("must be one of {}", Template::NAMES.join(", ")))
        }
        "values" => check_values(&at, value),
        _ if MEMBERS.contains(&name) => Problems::new(),
        _ => bad(format!("is unknown; a mail has {}", MEMBERS.join(", "))),
    }
}

fn check_values(at: &str, value: &Value) -> Problems {
    let Value::Object(values) = value else { return one(at, "must be an object") };
    if values.len() > MAX_VALUES {
        return one(at, &format!("may have {MAX_VALUES} members at most"));
    }
    let what = format!("must be one line of 1 to {MAX_VALUE_CHARS} characters, without control characters");
    let is_bad = |value: &Value| {
        !value.is_null() && !text_of(value).is_some_and(|text| is_line(&text, MAX_VALUE_CHARS))
    };
    let bad = values.iter().filter(|(_, value)| is_bad(value));
    bad.map(|(name, _)| (crate::workflow::join(at, name), what.clone())).collect()
}

fn check_addresses(at: &str, value: &Value, most: usize) -> Problems {
    match value {
        Value::String(text) => check_address(text).map(|what| (at.to_owned(), what)).into_iter().collect(),
        Value::Array(items) if items.len() > most => one(at, &format!("may hold {most} addresses at most")),
        Value::Array(items) => {
            let wrong = |(index, item): (usize, &Value)| {
                let what = match item.as_str() {
                    Some(text) => check_address(text)?,
                    None => "must be an address such as ada@example.com".to_owned(),
                };
                Some((format!("{at}/{index}"), what))
            };
            items.iter().enumerate().filter_map(wrong).collect()
        }
        _ => one(at, ADDRESSES),
    }
}

/// Names beside an address (`Ada <ada@example.com>`) are not taken: what cannot be written cannot be abused.
fn check_address(text: &str) -> Option<String> {
    check_email(text.trim()).err().map(|problem| problem.to_string())
}

fn addresses(members: &Map<String, Value>, name: &str) -> Vec<String> {
    match members.get(name) {
        Some(Value::String(text)) => vec![text.trim().to_owned()],
        Some(Value::Array(items)) => {
            items.iter().filter_map(Value::as_str).map(|text| text.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// Numbers and booleans are written out: a template that is one expression keeps their type.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

fn is_line(text: &str, most: usize) -> bool {
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    !text.trim().is_empty() && text.chars().count() <= most && !text.contains(breaks)
}

fn one(at: &str, what: &str) -> Problems {
    Problems::from([(at.to_owned(), what.to_owned())])
}
