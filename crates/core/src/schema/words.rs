//! The words for what breaks a schema: the library's where they say what is allowed, our own where they do not.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;

use crate::workflow::shorten;

const MAX_VALUE_CHARS: usize = 80;
const MAX_PATTERN_CHARS: usize = 120;
pub(super) const MAX_MESSAGE_CHARS: usize = 240;

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

/// What is wrong with a value, which is shortened, and what is allowed.
pub(super) fn short_message(error: &ValidationError<'_>) -> String {
    let value = error.instance().to_string();
    let shown = shorten(&value, MAX_VALUE_CHARS);
    let text = match error.kind() {
        ValidationErrorKind::Pattern { pattern } => {
            format!("{shown} does not match the pattern {}", shorten(pattern, MAX_PATTERN_CHARS))
        }
        ValidationErrorKind::Format { format } => match FORMATS.iter().find(|(name, _)| name == format) {
            Some((_, meaning)) => format!("{shown} is not {meaning}"),
            None => format!("{shown} is not a valid {}", shorten(format, MAX_VALUE_CHARS)),
        },
        _ if value.chars().nth(MAX_VALUE_CHARS).is_some() => error.masked_with(shown).to_string(),
        _ => error.to_string(),
    };
    shorten(&text, MAX_MESSAGE_CHARS)
}
