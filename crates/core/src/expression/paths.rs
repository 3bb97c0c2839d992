//! Paths inside an expression: how far they reach as written, and whether their beginning makes sense.

use super::ExpressionError;
use super::scan::{FETCH, Scanner, error, name_length};
use crate::json::PathSegment;
use crate::scope::{JOB_MEMBERS, Path, Root, Segment};
use crate::workflow::shorten;

const MAX_PATHS: usize = 64;

impl Scanner<'_> {
    /// Reads the path that begins with `root`, whose name is behind already, and puts a call in its place.
    pub(super) fn path(&mut self, root: Root) -> Result<(), ExpressionError> {
        let mut segments = Vec::new();
        while let Some((segment, length)) = self.segment(root == Root::Steps && segments.is_empty())? {
            segments.push(segment);
            self.pos += length;
        }
        let path = Path { root, segments };
        check_path(&path)?;
        let index = match self.paths.iter().position(|known| *known == path) {
            Some(index) => index,
            None => {
                self.paths.push(path);
                self.paths.len() - 1
            }
        };
        if self.paths.len() > MAX_PATHS {
            return Err(error(format!("an expression reads at most {MAX_PATHS} different paths")));
        }
        self.code.push_str(&format!("{FETCH}({index})"));
        Ok(())
    }

    /// The next segment of a path and its length, unless what follows must be left to the engine (a method call, a
    /// computed index) or is no part of the path.
    fn segment(&self, is_step_id: bool) -> Result<Option<(Segment, usize)>, ExpressionError> {
        // A long path may be broken before a dot.
        let unbroken = self.rest().trim_start();
        let dotted = unbroken.starts_with('.') || unbroken.starts_with("?.");
        let rest = if dotted { unbroken } else { self.rest() };
        let broken = self.rest().len() - rest.len();
        let optional = rest.starts_with("?.") || rest.starts_with("?[");
        let after = &rest[usize::from(optional)..];
        let from = broken + usize::from(optional);
        if let Some(name_on) = after.strip_prefix('.') {
            let length = if is_step_id { id_length(name_on) } else { name_length(name_on) };
            let is_call = name_on[length..].trim_start().starts_with('(');
            if length == 0 || is_call {
                return Ok(None);
            }
            let at = PathSegment::Name(name_on[..length].to_owned());
            return Ok(Some((Segment { at, optional }, from + 1 + length)));
        }
        let Some(inside) = after.strip_prefix('[') else { return Ok(None) };
        let found = if inside.starts_with('"') { quoted(inside) } else { digits(inside) };
        Ok(found.and_then(|(at, length)| {
            let closed = inside[length..].starts_with(']');
            closed.then(|| (Segment { at, optional }, from + 1 + length + 1))
        }))
    }
}

/// A step's id may begin with a digit and hold dashes.
fn id_length(text: &str) -> usize {
    text.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')).count()
}

/// `"name"`, when JSON and the engine read it alike.
fn quoted(text: &str) -> Option<(PathSegment, usize)> {
    let length = text[1..].find('"')? + 2;
    let inner = &text[1..length - 1];
    (!inner.contains('\\')).then(|| (PathSegment::Name(inner.to_owned()), length))
}

fn digits(text: &str) -> Option<(PathSegment, usize)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    text[..length].parse().ok().map(|index| (PathSegment::Index(index), length))
}

fn check_path(path: &Path) -> Result<(), ExpressionError> {
    let name = |index: usize| match path.segments.get(index).map(|segment| &segment.at) {
        Some(PathSegment::Name(name)) => Some(name.as_str()),
        _ => None,
    };
    match path.root {
        Root::Payload | Root::Tags => Ok(()),
        Root::Steps => match (name(0), name(1)) {
            (Some(_), Some("output")) => Ok(()),
            (Some(id), _) => {
                Err(error(format!("write `steps.{}.output` to read a step's output", shorten(id, 64))))
            }
            _ => Err(error("write `steps.<id>.output` to read a step's output")),
        },
        Root::Job => match name(0) {
            None if path.segments.is_empty() => Ok(()),
            Some(member) if JOB_MEMBERS.contains(&member) => Ok(()),
            _ => Err(error(format!("`job` has the members {}", JOB_MEMBERS.join(", ")))),
        },
        Root::Secrets => match (name(0), path.segments.len()) {
            (Some(_), 1) => Ok(()),
            _ => Err(error("secrets are read one by one, as `secrets.NAME`")),
        },
    }
}
