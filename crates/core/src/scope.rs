//! What templates and expressions can see: raw JSON texts, found by path. Nothing is parsed before it is asked for.
//!
//! Invariant: a secret's value never stands in an error of this file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::{self, PathSegment};
use crate::workflow::shorten;

/// Outputs of finished steps by id; `None` for a skipped step.
pub type StepOutputs<'a> = BTreeMap<&'a str, Option<&'a str>>;

/// The values that stand behind the five names of the template language. All texts are compact JSON.
#[derive(Clone, Copy)]
pub struct Scope<'a> {
    pub payload: &'a str,
    /// An object with [`JOB_MEMBERS`].
    pub job: &'a str,
    pub tags: &'a str,
    pub steps: &'a StepOutputs<'a>,
    pub secrets: &'a BTreeMap<String, String>,
    /// Microseconds of any clock that only moves forward: it stops expressions that take too long, and nothing else
    /// depends on it. `|| 0` switches that limit off.
    pub monotonic_us: fn() -> u64,
}

/// The members of `job`.
pub const JOB_MEMBERS: [&str; 4] = ["id", "workflow", "created_at", "priority"];

/// The names that an expression may use.
pub const ROOTS: [&str; 5] = ["payload", "steps", "job", "secrets", "tags"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    Payload,
    Steps,
    Job,
    Secrets,
    Tags,
}

impl Root {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "payload" => Some(Root::Payload),
            "steps" => Some(Root::Steps),
            "job" => Some(Root::Job),
            "secrets" => Some(Root::Secrets),
            "tags" => Some(Root::Tags),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Root::Payload => "payload",
            Root::Steps => "steps",
            Root::Job => "job",
            Root::Secrets => "secrets",
            Root::Tags => "tags",
        }
    }
}

/// One `.name` or `[0]` of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub at: PathSegment,
    /// Written with `?.` or `?[`: what is not there is null.
    pub optional: bool,
}

/// A path that an expression names in full, such as `payload.items[0].name` or `steps.x.output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub root: Root,
    pub segments: Vec<Segment>,
}

/// Nothing stands at a path. The text names the path, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Missing(pub String);

impl Path {
    /// The id of the step whose output the path reads.
    pub fn step(&self) -> Option<&str> {
        match (self.root, self.segments.first()) {
            (Root::Steps, Some(Segment { at: PathSegment::Name(id), .. })) => Some(id),
            _ => None,
        }
    }

    /// The raw value at the path.
    ///
    /// Below the output of a skipped step, and below an output that is null itself, everything is null.
    pub fn lookup<'a>(&self, scope: &Scope<'a>) -> Result<Cow<'a, str>, Missing> {
        let value = match self.root {
            Root::Payload => self.walk(scope.payload, 0),
            Root::Job => self.walk(scope.job, 0),
            Root::Tags => self.walk(scope.tags, 0),
            Root::Secrets => return self.secret(scope),
            Root::Steps => {
                let id = self.step().unwrap_or_default();
                let output = scope
                    .steps
                    .get(id)
                    .ok_or_else(|| Missing(format!("step `{id}` has no output yet")))?
                    .unwrap_or("null");
                if output == "null" { Ok(output) } else { self.walk(output, 2) }
            }
        };
        value.map(Cow::Borrowed)
    }

    fn walk<'a>(&self, from: &'a str, skip: usize) -> Result<&'a str, Missing> {
        let mut value = from;
        for (index, segment) in self.segments.iter().enumerate().skip(skip) {
            match json::lookup(value, std::slice::from_ref(&segment.at)) {
                Some(found) => value = found,
                None if segment.optional => return Ok("null"),
                None => return Err(self.missing(index, value)),
            }
        }
        Ok(value)
    }

    fn missing(&self, index: usize, value: &str) -> Missing {
        let owner = self.text(index);
        Missing(match (&self.segments[index].at, value.as_bytes().first()) {
            (PathSegment::Name(name), Some(b'{')) => {
                format!("{owner} has no member `{}`", shorten(name, 80))
            }
            (PathSegment::Index(at), Some(b'[')) => format!("{owner} has no element {at}"),
            (PathSegment::Name(name), kind) => {
                format!("{owner} is {}, it has no member `{}`", kind_of(kind), shorten(name, 80))
            }
            (PathSegment::Index(at), kind) => format!("{owner} is {}, it has no element {at}", kind_of(kind)),
        })
    }

    fn secret<'a>(&self, scope: &Scope<'a>) -> Result<Cow<'a, str>, Missing> {
        let Some(Segment { at: PathSegment::Name(name), optional }) = self.segments.first() else {
            return Err(Missing("secrets are read one by one, as `secrets.NAME`".to_owned()));
        };
        match scope.secrets.get(name) {
            Some(secret) => Ok(Cow::Owned(json::quote(secret))),
            None if *optional => Ok(Cow::Borrowed("null")),
            None => Err(Missing(format!("there is no secret `{name}`"))),
        }
    }

    /// The first `count` segments as they are written.
    fn text(&self, count: usize) -> String {
        let mut text = self.root.as_str().to_owned();
        for segment in self.segments.iter().take(count) {
            match &segment.at {
                PathSegment::Name(name) => {
                    text.push('.');
                    text.push_str(&shorten(name, 80));
                }
                PathSegment::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }
}

fn kind_of(first: Option<&u8>) -> &'static str {
    match first {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a text",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') | None => "null",
        Some(_) => "a number",
    }
}
