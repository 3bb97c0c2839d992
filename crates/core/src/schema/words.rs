//! The words for what breaks a schema: the library's where they say what is allowed, our own where they do not. Both show what
//! came, and are bounded whatever the value and the schema hold.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use crate::workflow::shorten;

const MAX_VALUE_CHARS: usize = 80;
const MAX_PATTERN_CHARS: usize = 120;
pub(super) const MAX_MESSAGE_CHARS: usize = 240;
/// A choice says of each of its schemas why it does not fit.
pub(super) const MAX_CHOICE_CHARS: usize = 600;
const MAX_REASON_CHARS: usize = 120;
const MAX_NAME_CHARS: usize = 40;
/// How many names, values or schemas a message lists.
const MAX_LISTED: usize = 8;

const TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// What each format of JSON Schema means, with an example.
const FORMATS: [(&str, &str); 18] = [
    ("date-time", "a date and time with its offset, such as 2030-01-31T09:00:00Z"),
    ("date", "a date, such as 2030-01-31"),
    ("time", "a time with its offset, such as 09:00:00Z"),
    ("duration", "a duration of ISO 8601, such as P3D or PT1H30M"),
    ("email", "an e-mail address, such as name@example.org"),
    ("idn-email", "an e-mail address, such as name@example.org"),
    ("hostname", "a host name, such as api.example.org"),
    ("idn-hostname", "a host name, such as api.example.org"),
    ("ipv4", "an IPv4 address, such as 203.0.113.7"),
    ("ipv6", "an IPv6 address, such as 2001:db8::7"),
    ("uri", "a URI with its scheme, such as https://example.org/path"),
    ("iri", "a URI with its scheme, such as https://example.org/path"),
    ("uri-reference", "a URI or a part of one, such as /path"),
    ("iri-reference", "a URI or a part of one, such as /path"),
    ("uri-template", "a template of a URI, such as https://example.org/{id}"),
    ("uuid", "a UUID, such as 0f8fad5b-d9cb-469f-a165-70867728950e"),
    ("json-pointer", "a JSON pointer, such as /items/0"),
    ("regex", "a regular expression, such as ^[a-z]+$"),
];

/// What is wrong with a schema. The library finds most of it by the schema of schemas, whose words help nobody for `type`.
pub(super) fn schema_message(error: &ValidationError<'_>) -> String {
    let pointer = error.instance_path().to_string();
    let is_choice = matches!(error.kind(), ValidationErrorKind::AnyOf { .. });
    if is_choice && pointer.ends_with("/type") {
        let value = shorten(&error.instance().to_string(), MAX_VALUE_CHARS);
        return format!("{value} is no type; there are {}, and lists of different ones", TYPES.join(", "));
    }
    short_message(error)
}

/// What is wrong with a value, which is shortened, and what `schema`, the whole one, allows.
pub(super) fn message(error: &ValidationError<'_>, schema: &Value) -> String {
    match error.kind() {
        ValidationErrorKind::AnyOf { context } => {
            choice(error, schema, context, |all| format!("fits none of the {all} schemas of anyOf"))
        }
        ValidationErrorKind::OneOfNotValid { context } => choice(error, schema, context, |all| {
            format!("fits none of the {all} schemas of oneOf, and must fit exactly one")
        }),
        _ => shorten(&words(error, schema, &shown(error)), MAX_MESSAGE_CHARS),
    }
}

/// The same for who has no schema at hand.
pub(super) fn short_message(error: &ValidationError<'_>) -> String {
    message(error, &Value::Null)
}

fn shown(error: &ValidationError<'_>) -> String {
    shorten(&error.instance().to_string(), MAX_VALUE_CHARS)
}

/// Why a value fits no schema of a choice: the first reason of each.
fn choice(
    error: &ValidationError<'_>,
    schema: &Value,
    context: &[Vec<ValidationError<'static>>],
    verdict: impl Fn(usize) -> String,
) -> String {
    let place = error.instance_path().to_string();
    let mut reasons: Vec<String> = Vec::new();
    for (number, reason) in (1..).zip(context).take(MAX_LISTED) {
        let Some(first) = reason.first() else { continue };
        let at = first.instance_path().to_string();
        // The value of the choice itself was shown already.
        let text = match at.strip_prefix(&place) {
            Some("") => words(first, schema, "it"),
            Some(inner) => {
                format!("{}: {}", shorten(inner, MAX_NAME_CHARS), words(first, schema, &shown(first)))
            }
            None => words(first, schema, &shown(first)),
        };
        reasons.push(format!("{number}: {}", shorten(&text, MAX_REASON_CHARS)));
    }
    let more = context.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        reasons.push(format!("and {more} more"));
    }
    let text = format!("{} {} ({})", shown(error), verdict(context.len()), reasons.join("; "));
    shorten(&text, MAX_CHOICE_CHARS)
}

/// One reason, about a value that is written as `shown`.
fn words(error: &ValidationError<'_>, schema: &Value, shown: &str) -> String {
    match error.kind() {
        ValidationErrorKind::AnyOf { context } => {
            format!("{shown} fits none of the {} schemas of anyOf", context.len())
        }
        ValidationErrorKind::OneOfNotValid { context } => {
            format!("{shown} fits none of the {} schemas of oneOf, and must fit exactly one", context.len())
        }
        ValidationErrorKind::OneOfMultipleValid { context } => {
            let fitting = (1..).zip(context).filter(|(_, reason)| reason.is_empty());
            let fitting = list(fitting.map(|(number, _): (usize, _)| number.to_string()), " and ");
            format!("{shown} fits more than one schema of oneOf ({fitting}), and must fit exactly one")
        }
        ValidationErrorKind::Not { schema } => {
            let excluded = shorten(&schema.to_string(), MAX_PATTERN_CHARS);
            format!("{shown} fits {excluded}, and only what does not fit that is allowed here")
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            format!("{} not known here; {}", these(unexpected), allowed_names(error, schema))
        }
        ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            format!(
                "{} not known here; only members that a schema for this value names are allowed",
                these(unexpected)
            )
        }
        ValidationErrorKind::AdditionalItems { limit } => {
            format!("{shown} has more than {limit} items, and no further ones are allowed")
        }
        ValidationErrorKind::UnevaluatedItems { .. } => {
            format!("{shown} has further items; only those that a schema for this value names are allowed")
        }
        // Differs because the library says this of an object's first member, without its name.
        ValidationErrorKind::FalseSchema
            if error.schema_path().to_string().ends_with("/additionalProperties") =>
        {
            format!("there is a member with the value {shown}, and no members are allowed here")
        }
        ValidationErrorKind::FalseSchema => format!("{shown} is not allowed: there must be nothing here"),
        ValidationErrorKind::Contains => format!("{shown} {}", wanted_items(error, schema)),
        ValidationErrorKind::Constant { expected_value } => {
            let expected = shorten(&expected_value.to_string(), MAX_PATTERN_CHARS);
            format!("{shown} is not {expected}, and nothing else is allowed here")
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map(Vec::as_slice).unwrap_or_default();
            let options = options.iter().map(|option| shorten(&option.to_string(), MAX_NAME_CHARS));
            format!("{shown} is not one of {}", list(options, ", "))
        }
        ValidationErrorKind::PropertyNames { error: name } => {
            let name = words(name, schema, &self::shown(name));
            format!("the name of a member is not allowed: {name}")
        }
        ValidationErrorKind::UniqueItems => {
            format!("{shown} has equal items, and only different ones are allowed")
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!("{shown} does not match the pattern {}", shorten(pattern, MAX_PATTERN_CHARS))
        }
        ValidationErrorKind::Format { format } => match FORMATS.iter().find(|(name, _)| name == format) {
            Some((_, meaning)) => format!("{shown} is not {meaning}"),
            None => format!("{shown} is not a valid {}", shorten(format, MAX_VALUE_CHARS)),
        },
        _ => error.masked_with(shown).to_string(),
    }
}

/// The members of the schema that the broken keyword stands in.
fn keywords<'a>(error: &ValidationError<'_>, schema: &'a Value) -> Option<&'a Map<String, Value>> {
    let path = error.schema_path().to_string();
    let (parent, _) = path.rsplit_once('/')?;
    schema.pointer(parent)?.as_object()
}

fn allowed_names(error: &ValidationError<'_>, schema: &Value) -> String {
    let names = |keyword: &str| -> Vec<String> {
        let members = keywords(error, schema).and_then(|keywords| keywords.get(keyword)?.as_object());
        members.into_iter().flat_map(Map::keys).map(|name| shorten(name, MAX_NAME_CHARS)).collect()
    };
    let (known, patterns) = (names("properties"), names("patternProperties"));
    let patterns = list(patterns.into_iter(), ", ");
    match (known.is_empty(), patterns.is_empty()) {
        (false, true) => format!("allowed: {}", list(known.into_iter(), ", ")),
        (false, false) => {
            format!("allowed: {}, and what matches {patterns}", list(known.into_iter(), ", "))
        }
        (true, false) => format!("allowed is what matches {patterns}"),
        (true, true) => "no members are allowed".to_owned(),
    }
}

/// How many items must fit the schema of `contains`.
fn wanted_items(error: &ValidationError<'_>, schema: &Value) -> String {
    let keywords = keywords(error, schema);
    let number = |name: &str| keywords.and_then(|keywords| keywords.get(name)?.as_u64());
    let at_most = number("maxContains").map(|most| format!(" and at most {most}")).unwrap_or_default();
    let wanted = keywords.and_then(|keywords| keywords.get("contains")).map(Value::to_string);
    let wanted = shorten(wanted.as_deref().unwrap_or("the schema of contains"), MAX_PATTERN_CHARS);
    format!("must have at least {}{at_most} items that fit {wanted}", number("minContains").unwrap_or(1))
}

/// Members by their names, with the verb that follows.
fn these(names: &[String]) -> String {
    let quoted = names.iter().map(|name| format!("{:?}", shorten(name, MAX_NAME_CHARS)));
    format!("{} {}", list(quoted, ", "), if names.len() == 1 { "is" } else { "are" })
}

fn list(all: impl Iterator<Item = String>, separator: &str) -> String {
    let mut all = all;
    let listed: Vec<String> = all.by_ref().take(MAX_LISTED).collect();
    match all.count() {
        0 => listed.join(separator),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}
