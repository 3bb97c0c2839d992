//! Members of a usage object: whole numbers that are there, or not there. And the closed world: a number that may cost
//! money and that nobody here knows is an error, not something to pass over.

use std::borrow::Cow;

use super::UsageError;
use crate::json;

/// A count beyond this is no count of one call. Sums of a dozen of them stay far below the end of a `u64`.
const MAX_COUNT: u64 = 1_000_000_000_000;

/// Words that tell of something counted by providers. A number under another name (a time, a ratio) costs nothing.
const COUNTED: [&str; 8] = ["token", "request", "quer", "search", "source", "call", "tool", "usage"];

#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// In front of names in errors: `prompt_tokens_details.`
    prefix: String,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Fields<'a> {
    pub fn of(prefix: &str, raw: &'a str) -> Result<Self, UsageError> {
        let members = json::members(raw).ok_or_else(|| UsageError::Malformed {
            field: prefix.trim_end_matches('.').to_owned(),
            value: shown(raw),
        })?;
        Ok(Fields { prefix: prefix.to_owned(), members })
    }

    /// The raw value; what is null is not there.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        self.members
            .iter()
            .find(|(it, _)| it == name)
            .map(|(_, value)| *value)
            .filter(|value| *value != "null")
    }

    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.raw(name).and_then(json::decode)
    }

    pub fn count(&self, name: &str) -> Result<Option<u64>, UsageError> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let count = raw.parse::<u64>().ok().filter(|count| *count <= MAX_COUNT && !raw.starts_with('+'));
        count.map(Some).ok_or_else(|| UsageError::Malformed {
            field: format!("{}{name}", self.prefix),
            value: shown(raw),
        })
    }

    /// What is not there counts as none: for parts of a total that is there.
    pub fn part(&self, name: &str) -> Result<u64, UsageError> {
        Ok(self.count(name)?.unwrap_or(0))
    }

    /// An object inside; one that is not there is empty.
    pub fn inside(&self, name: &str) -> Result<Fields<'a>, UsageError> {
        Fields::of(&format!("{}{name}.", self.prefix), self.raw(name).unwrap_or("{}"))
    }

    /// The objects of a list inside; a list that is not there is empty.
    pub fn list(&self, name: &str) -> Result<Vec<Fields<'a>>, UsageError> {
        let Some(raw) = self.raw(name) else { return Ok(Vec::new()) };
        let prefix = format!("{}{name}.", self.prefix);
        if !raw.starts_with('[') {
            return Err(UsageError::Malformed { field: format!("{}{name}", self.prefix), value: shown(raw) });
        }
        let items = (0..=MAX_ITEMS).map_while(|place| json::lookup(raw, &[json::PathSegment::Index(place)]));
        let items = items.map(|item| Fields::of(&prefix, item)).collect::<Result<Vec<_>, _>>()?;
        if items.len() > MAX_ITEMS { Err(UsageError::TooLarge) } else { Ok(items) }
    }

    /// Refuses what is counted, not zero and not among the known names.
    pub fn close(&self, known: &[&str]) -> Result<(), UsageError> {
        for (name, value) in &self.members {
            if known.contains(&name.as_ref()) || !may_cost(name, value) {
                continue;
            }
            return Err(UsageError::Unknown {
                field: format!("{}{}", self.prefix, name.chars().take(60).collect::<String>()),
            });
        }
        Ok(())
    }
}

/// Rounds of one call; no provider makes more.
const MAX_ITEMS: usize = 200;

fn may_cost(name: &str, value: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let is_counted = COUNTED.iter().any(|word| name.contains(word));
    match value.as_bytes().first() {
        Some(b'0'..=b'9' | b'-') => is_counted && value.bytes().any(|byte| (b'1'..=b'9').contains(&byte)),
        // What is not flat may hold anything.
        Some(b'{' | b'[') => is_counted && value.bytes().any(|byte| (b'1'..=b'9').contains(&byte)),
        _ => false,
    }
}

fn shown(raw: &str) -> String {
    raw.chars().take(40).collect()
}
