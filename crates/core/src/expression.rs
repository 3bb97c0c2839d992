//! Expressions between `{{` and `}}`: read once, run often, bounded in time and memory.
//!
//! Every path that an expression names in full (`payload.a.b`, `steps.x.output[0]`) is cut out when it is read. An
//! expression that is nothing but such a path never meets the engine: its raw JSON is handed over as it stands. In all
//! others each path becomes a call that fetches the value when it is needed, so `payload.kind == "x" && payload.size > 1`
//! asks for `size` only then, and only what is used is turned into the engine's values.
//!
//! Read on in `expression/scan.rs` and `expression/paths.rs` (cutting out), `expression/run.rs` (the engine and its limits),
//! `expression/functions.rs` (what it can call beyond the library) and `expression/convert.rs` (values in and out).

mod convert;
mod functions;
mod paths;
mod run;
mod scan;

use std::borrow::Cow;

use crate::scope::{Path, Root, Scope};

pub use run::Meter;
pub(crate) use scan::scan;

/// The longest expression.
pub const MAX_EXPRESSION_BYTES: usize = 4096;

/// Why an expression has no value. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExpressionError(pub String);

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    /// As it was written, without the braces.
    source: String,
    /// What it reads. Indices are the arguments of the fetching calls in `code`.
    paths: Vec<Path>,
    /// `None` when the expression is exactly its first path.
    code: Option<Box<rhai::AST>>,
}

impl Expression {
    /// Compiles what [`scan`] found.
    pub(crate) fn compile(found: scan::Scanned) -> Result<Self, ExpressionError> {
        let code = if found.is_plain_path { None } else { Some(Box::new(run::compile(&found.code)?)) };
        Ok(Expression { source: found.source, paths: found.paths, code })
    }

    /// An expression without braces, as tests write it.
    #[cfg(test)]
    pub fn parse(source: &str) -> Result<Self, ExpressionError> {
        let closed = format!("{source}}}}}");
        let (found, rest) = scan::scan(&closed)?;
        assert_eq!(rest, "", "more than one expression: {source}");
        Expression::compile(found)
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// The ids of the steps whose outputs it reads.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().filter_map(Path::step)
    }

    pub fn reads_secrets(&self) -> bool {
        self.paths.iter().any(|path| path.root == Root::Secrets)
    }

    /// The value as compact JSON.
    pub fn evaluate<'a>(
        &self,
        scope: &Scope<'a>,
        meter: &mut Meter,
    ) -> Result<Cow<'a, str>, ExpressionError> {
        match &self.code {
            None => {
                let value = self.paths[0].lookup(scope).map_err(|missing| ExpressionError(missing.0))?;
                meter.read(scope_size(&self.paths[0], scope))?;
                Ok(value)
            }
            Some(code) => run::evaluate(code, &self.paths, scope, meter).map(Cow::Owned),
        }
    }
}

/// An upper bound of what a lookup had to scan. A path without segments is handed over without a look.
fn scope_size(path: &Path, scope: &Scope<'_>) -> usize {
    match path.root {
        Root::Payload if path.segments.is_empty() => 0,
        Root::Payload => scope.payload.len(),
        Root::Steps if path.segments.len() <= 2 => 0,
        Root::Steps => {
            let output = path.step().and_then(|id| scope.steps.get(id).copied().flatten());
            output.map_or(0, str::len)
        }
        Root::Tags => scope.tags.len(),
        Root::Job | Root::Secrets => 0,
    }
}

#[cfg(test)]
mod tests;
