//! Objects of a caller's body, with the place of each value in every error. A name that is there twice is refused: two
//! readers of one body must not see two bodies.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Refused;
use crate::json::{self, Elements};

const MAX_SHOWN_CHARS: usize = 60;
const MAX_USER_CHARS: usize = 256;

pub(super) struct Fields<'a> {
    at: String,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

/// The body without what nobody means by it: spaces.
pub(super) fn compact(body: &str) -> Result<String, Refused> {
    json::compact(body).map_err(|error| refused("", format!("the body is no JSON: {error}")))
}

impl<'a> Fields<'a> {
    /// A whole body. `barred` are members with the reason why they are not taken; beside `allowed` there may be none.
    pub fn of_body(text: &'a str, barred: &[(&str, &str)], allowed: &[&[&str]]) -> Result<Self, Refused> {
        let fields = Fields::of("", text)?;
        for (name, why) in barred {
            if fields.raw(name).is_some() {
                return Err(fields.barred(name, why));
            }
        }
        // They may be there as null.
        let null: Vec<&str> = barred.iter().map(|(name, _)| *name).collect();
        fields.only(&[&allowed.concat()[..], &null[..]].concat())?;
        Ok(fields)
    }

    /// `at` is the place of the object itself, empty for the body.
    pub fn of(at: &str, raw: &'a str) -> Result<Self, Refused> {
        let Some(entries) = json::entries(raw) else {
            return Err(refused(at, format!("{} must be an object, not {}", named(at), shown(raw))));
        };
        let count = entries.count();
        let members = json::members(raw).unwrap_or_default();
        if members.len() < count {
            let twice = twice(raw);
            return Err(refused(at, format!("{} has the member {} twice", named(at), shown(&twice))));
        }
        Ok(Fields { at: at.to_owned(), members })
    }

    /// The place of a member.
    pub fn at(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// Refuses what is none of these.
    pub fn only(&self, allowed: &[&str]) -> Result<(), Refused> {
        let unknown = self.members.iter().find(|(name, _)| !allowed.contains(&name.as_ref()));
        let Some((name, _)) = unknown else { return Ok(()) };
        let name: String = name.chars().take(MAX_SHOWN_CHARS).collect();
        let at = self.at(&name);
        let message =
            format!("{at} is not known here, so what it costs is not known; allowed: {}", allowed.join(", "));
        Err(refused(&at, message))
    }

    /// The raw value. What is null is not there.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        let found = self.members.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| *value).filter(|value| *value != "null")
    }

    pub fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Refused> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        json::decode(raw).map(Some).ok_or_else(|| self.wrong(name, "a text"))
    }

    /// A text that must be there.
    pub fn required(&self, name: &str) -> Result<Cow<'a, str>, Refused> {
        self.text(name)?.ok_or_else(|| self.missing(name))
    }

    /// A text that is one of these.
    pub fn word(&self, name: &str, allowed: &[&str]) -> Result<Option<Cow<'a, str>>, Refused> {
        match self.text(name)? {
            Some(word) if !allowed.contains(&word.as_ref()) => {
                Err(self.wrong(name, &format!("one of {}", allowed.join(", "))))
            }
            word => Ok(word),
        }
    }

    pub fn count(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Refused> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let count = raw.bytes().all(|byte| byte.is_ascii_digit()).then(|| raw.parse().ok()).flatten();
        let count = count.filter(|count| (least..=most).contains(count));
        count.map(Some).ok_or_else(|| self.wrong(name, &format!("a whole number, {least} to {most}")))
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>, Refused> {
        match self.raw(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(self.wrong(name, "true or false")),
        }
    }

    /// Checks that it is a number, if it is there.
    pub fn number(&self, name: &str) -> Result<(), Refused> {
        match self.raw(name) {
            Some(raw) if !raw.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => {
                Err(self.wrong(name, "a number"))
            }
            _ => Ok(()),
        }
    }

    /// Checks that it is a list of texts, or, where that is allowed, one text.
    pub fn list_of_texts(&self, name: &str, or_one: bool) -> Result<(), Refused> {
        let is_text = |raw: &str| raw.starts_with('"');
        let fits = match self.raw(name) {
            None => true,
            Some(raw) if is_text(raw) => or_one,
            Some(raw) => json::elements(raw).is_some_and(|mut elements| elements.all(is_text)),
        };
        let allowed = if or_one { "a text, or a list of texts" } else { "a list of texts" };
        if fits { Ok(()) } else { Err(self.wrong(name, allowed)) }
    }

    pub fn object(&self, name: &str) -> Result<Option<Fields<'a>>, Refused> {
        self.raw(name).map(|raw| Fields::of(&self.at(name), raw)).transpose()
    }

    /// The elements of a list, each with its place.
    pub fn list(&self, name: &str) -> Result<Option<Items<'a>>, Refused> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let elements = json::elements(raw).ok_or_else(|| self.wrong(name, "a list"))?;
        Ok(Some(Items { at: self.at(name), elements, place: 0 }))
    }

    pub fn missing(&self, name: &str) -> Refused {
        let at = self.at(name);
        refused(&at, format!("{at} is required"))
    }

    /// All members, which must be texts.
    pub fn texts(&self) -> Result<Vec<(String, Cow<'a, str>)>, Refused> {
        let text = |(name, raw): &(Cow<'a, str>, &'a str)| {
            let value = json::decode(raw).ok_or_else(|| self.wrong(name, "a text"))?;
            Ok((name.clone().into_owned(), value))
        };
        self.members.iter().map(text).collect()
    }

    /// Somebody's name, as budgets count by it; an empty one is none.
    pub fn user(&self, name: &str) -> Result<Option<String>, Refused> {
        match self.text(name)? {
            Some(user) if user.is_empty() => Ok(None),
            Some(user) if user.chars().count() > MAX_USER_CHARS || user.chars().any(char::is_control) => {
                Err(self
                    .wrong(name, &format!("at most {MAX_USER_CHARS} characters, without control characters")))
            }
            user => Ok(user.map(Cow::into_owned)),
        }
    }

    /// The value is not what is allowed.
    pub fn wrong(&self, name: &str, allowed: &str) -> Refused {
        let at = self.at(name);
        let value = self.raw(name).map_or_else(|| "null".to_owned(), shown);
        refused(&at, format!("{at} is {value}; allowed: {allowed}"))
    }

    /// The member as such is not taken.
    pub fn barred(&self, name: &str, why: &str) -> Refused {
        let at = self.at(name);
        refused(&at, format!("{at} is not allowed here: {why}"))
    }
}

/// A list, element by element.
pub(super) struct Items<'a> {
    at: String,
    elements: Elements<'a>,
    place: usize,
}

impl<'a> Iterator for Items<'a> {
    /// The place and the raw value.
    type Item = (String, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let element = self.elements.next()?;
        let at = format!("{}[{}]", self.at, self.place);
        self.place += 1;
        Some((at, element))
    }
}

pub(super) fn refused(at: &str, message: String) -> Refused {
    Refused { at: at.to_owned(), message }
}

/// The first name of an object that comes again, as it is written.
fn twice(raw: &str) -> String {
    let mut seen = HashSet::new();
    let mut names = json::entries(raw).into_iter().flatten().map(|(name, _)| name);
    let again = names.find(|name| !seen.insert(json::decode(name)));
    again.unwrap_or_default().to_owned()
}

fn named(at: &str) -> &str {
    if at.is_empty() { "the body" } else { at }
}

fn shown(raw: &str) -> String {
    match raw.chars().nth(MAX_SHOWN_CHARS) {
        Some(_) => raw.chars().take(MAX_SHOWN_CHARS).chain("…".chars()).collect(),
        None => raw.to_owned(),
    }
}
