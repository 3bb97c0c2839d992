//! Templates: JSON values whose texts may hold `{{ expression }}`.
//!
//! A text that is exactly one `{{ … }}` becomes the expression's value, whatever its type. In a longer text each
//! expression is filled in: texts as they are, null as nothing, all else as compact JSON. What was filled in is never read
//! again, so a payload cannot smuggle in an expression. Everything is rendered from raw JSON to raw JSON: a value that is
//! only passed on keeps the digits it came with.
//!
//! Limits: [`MAX_RENDERED_BYTES`] for a result, [`json::MAX_DEPTH`] levels of nesting, and the work that one [`Meter`] allows.

use std::borrow::Cow;

use crate::expression::{Expression, ExpressionError, Meter, scan};
use crate::job::JobError;
use crate::json;
use crate::scope::Scope;
use crate::workflow::node::{Node, Value};
use crate::workflow::problem::{Problems, join, shorten};

/// The longest JSON that one template gives.
pub const MAX_RENDERED_BYTES: usize = 4 * 1024 * 1024;

/// A compiled template.
#[derive(Clone, Debug)]
pub struct Template(Part);

#[derive(Clone, Debug)]
enum Part {
    /// Compact JSON without any expression in it.
    Constant(String),
    /// Exactly one expression: keeps its type.
    Whole(Expression),
    /// A text with expressions in it.
    Text(Vec<Piece>),
    List(Vec<Part>),
    /// Names come quoted and escaped.
    Object(Vec<(String, Part)>),
}

#[derive(Clone, Debug)]
enum Piece {
    Literal(String),
    Filled(Expression),
}

/// Why a template could not be rendered. Names the expression, never a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RenderError(pub String);

impl RenderError {
    /// The code that failed jobs show.
    pub const CODE: &'static str = "template_failed";

    fn of(expression: &Expression, error: ExpressionError) -> Self {
        RenderError(format!("{{{{ {} }}}}: {}", shorten(expression.source(), 120), error.0))
    }
}

impl From<RenderError> for JobError {
    fn from(error: RenderError) -> Self {
        JobError::new(RenderError::CODE, error.0)
    }
}

impl Template {
    /// Compiles the value at `path` of a definition. Problems are added with their place; the template given back then
    /// is not used.
    pub(crate) fn compile(node: &Node, path: &str, problems: &mut Problems<'_>) -> Template {
        Template(compile(node, path, problems))
    }

    /// The value as compact JSON.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, RenderError> {
        let mut out = String::new();
        let mut meter = Meter::default();
        render(&self.0, scope, &mut meter, &mut out)?;
        if matches!(self.0, Part::List(_) | Part::Object(_)) && depth(&out) > json::MAX_DEPTH {
            return Err(RenderError(format!("the result is nested deeper than {} levels", json::MAX_DEPTH)));
        }
        Ok(out)
    }

    /// The value as text: texts as they are, null as nothing, all else as compact JSON.
    pub fn render_text(&self, scope: &Scope<'_>) -> Result<String, RenderError> {
        if let Part::Text(pieces) = &self.0 {
            return fill(pieces, scope, &mut Meter::default());
        }
        let rendered = self.render(scope)?;
        Ok(match text_of(&rendered) {
            Cow::Borrowed(text) if text.len() == rendered.len() => rendered,
            text => text.into_owned(),
        })
    }

    /// The compact JSON, if there is nothing to fill in.
    pub fn constant(&self) -> Option<&str> {
        match &self.0 {
            Part::Constant(raw) => Some(raw),
            _ => None,
        }
    }

    /// Whether it is exactly one expression.
    pub fn is_expression(&self) -> bool {
        matches!(self.0, Part::Whole(_))
    }

    /// The text before the first expression, for checks that a beginning can answer.
    pub(crate) fn literal_start(&self) -> Option<Cow<'_, str>> {
        match &self.0 {
            Part::Constant(raw) => json::decode(raw),
            Part::Text(pieces) => match pieces.first() {
                Some(Piece::Literal(text)) => Some(Cow::Borrowed(text)),
                _ => None,
            },
            _ => None,
        }
    }

    /// Calls `visit` with every expression and the pointer of the text it stands in, below `path`.
    pub(crate) fn visit(&self, path: &str, visit: &mut dyn FnMut(&str, &Expression)) {
        visit_part(&self.0, path, visit);
    }
}

fn compile(node: &Node, path: &str, problems: &mut Problems<'_>) -> Part {
    match &node.value {
        Value::Null | Value::Bool(_) | Value::Number(_) => Part::Constant(node.to_json()),
        Value::Text(text) => compile_text(text, path, problems),
        Value::List(items) => {
            let parts: Vec<Part> = items
                .iter()
                .enumerate()
                .map(|(index, item)| compile(item, &join(path, &index.to_string()), problems))
                .collect();
            if parts.iter().all(|part| matches!(part, Part::Constant(_))) {
                return Part::Constant(node.to_json());
            }
            Part::List(parts)
        }
        Value::Map(entries) => {
            let mut parts = Vec::with_capacity(entries.len());
            for entry in entries {
                if entry.key.contains("{{") {
                    problems.add_key(path, &entry.key, "the name of a member cannot hold an expression");
                }
                let part = compile(&entry.node, &join(path, &entry.key), problems);
                parts.push((json::quote(&entry.key), part));
            }
            if parts.iter().all(|(_, part)| matches!(part, Part::Constant(_))) {
                return Part::Constant(node.to_json());
            }
            Part::Object(parts)
        }
    }
}

fn compile_text(text: &str, path: &str, problems: &mut Problems<'_>) -> Part {
    match pieces(text, path, problems) {
        Ok(pieces) => match <[Piece; 1]>::try_from(pieces) {
            Ok([Piece::Literal(literal)]) => Part::Constant(json::quote(&literal)),
            Ok([Piece::Filled(expression)]) => Part::Whole(expression),
            Err(pieces) if pieces.is_empty() => Part::Constant(json::quote(text)),
            Err(pieces) => Part::Text(pieces),
        },
        Err(error) => {
            problems.add(path, error.0);
            Part::Constant("null".to_owned())
        }
    }
}

/// Splits a text at its expressions. A line break after a single expression does not make it a longer text: YAML block
/// scalars end with one.
fn pieces(text: &str, path: &str, problems: &mut Problems<'_>) -> Result<Vec<Piece>, ExpressionError> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        if !problems.count_expression(path) {
            return Ok(Vec::new());
        }
        if at > 0 {
            found.push(Piece::Literal(rest[..at].to_owned()));
        }
        let (scanned, after) = scan(&rest[at + 2..])?;
        found.push(Piece::Filled(Expression::compile(scanned)?));
        rest = after;
    }
    if !rest.is_empty() {
        found.push(Piece::Literal(rest.to_owned()));
    }
    if rest == "\n" && matches!(found.as_slice(), [Piece::Filled(_), Piece::Literal(_)]) {
        found.pop();
    }
    Ok(found)
}

fn render(part: &Part, scope: &Scope<'_>, meter: &mut Meter, out: &mut String) -> Result<(), RenderError> {
    match part {
        Part::Constant(raw) => out.push_str(raw),
        Part::Whole(expression) => out.push_str(&value(expression, scope, meter)?),
        Part::Text(pieces) => json::push_quoted(out, &fill(pieces, scope, meter)?),
        Part::List(parts) => {
            out.push('[');
            for (index, part) in parts.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                render(part, scope, meter, out)?;
            }
            out.push(']');
        }
        Part::Object(parts) => {
            out.push('{');
            for (index, (name, part)) in parts.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(name);
                out.push(':');
                render(part, scope, meter, out)?;
            }
            out.push('}');
        }
    }
    bounded(out)
}

fn fill(pieces: &[Piece], scope: &Scope<'_>, meter: &mut Meter) -> Result<String, RenderError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Filled(expression) => text.push_str(&text_of(&value(expression, scope, meter)?)),
        }
        bounded(&text)?;
    }
    Ok(text)
}

fn value<'a>(
    expression: &Expression,
    scope: &Scope<'a>,
    meter: &mut Meter,
) -> Result<Cow<'a, str>, RenderError> {
    expression.evaluate(scope, meter).map_err(|error| RenderError::of(expression, error))
}

fn bounded(out: &str) -> Result<(), RenderError> {
    if out.len() > MAX_RENDERED_BYTES {
        return Err(RenderError(format!("the result is longer than {MAX_RENDERED_BYTES} bytes")));
    }
    Ok(())
}

/// A JSON value as text.
fn text_of(raw: &str) -> Cow<'_, str> {
    match raw {
        "null" => Cow::Borrowed(""),
        _ => json::decode(raw).unwrap_or(Cow::Borrowed(raw)),
    }
}

/// How deep valid JSON is nested.
fn depth(raw: &str) -> usize {
    let (mut now, mut most) = (0usize, 0usize);
    let (mut inside, mut escaped) = (false, false);
    for byte in raw.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = inside,
            b'"' => inside = !inside,
            b'{' | b'[' if !inside => {
                now += 1;
                most = most.max(now);
            }
            b'}' | b']' if !inside => now = now.saturating_sub(1),
            _ => {}
        }
    }
    most
}

fn visit_part(part: &Part, path: &str, visit: &mut dyn FnMut(&str, &Expression)) {
    match part {
        Part::Constant(_) => {}
        Part::Whole(expression) => visit(path, expression),
        Part::Text(pieces) => {
            for piece in pieces {
                if let Piece::Filled(expression) = piece {
                    visit(path, expression);
                }
            }
        }
        Part::List(parts) => {
            for (index, part) in parts.iter().enumerate() {
                visit_part(part, &join(path, &index.to_string()), visit);
            }
        }
        Part::Object(parts) => {
            for (name, part) in parts {
                let name = json::decode(name).unwrap_or_default();
                visit_part(part, &join(path, &name), visit);
            }
        }
    }
}

#[cfg(test)]
mod tests;
