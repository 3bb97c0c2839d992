//! Members of a request's body as raw text, and what is wrong with one of them: named, with its value and what is allowed.
//! Reads text that passed [`crate::json::compact`].

use std::borrow::Cow;
use std::fmt;

use crate::intake::shown;
use crate::json::{compact, members};

/// What is wrong with a request, and where: a JSON pointer, empty for the body as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    pub at: Cow<'static, str>,
    pub message: String,
}

impl Problem {
    pub(crate) fn body(message: impl Into<String>) -> Problem {
        Problem { at: Cow::Borrowed(""), message: message.into() }
    }

    pub(crate) fn field(at: impl Into<Cow<'static, str>>, raw: &str, allowed: impl fmt::Display) -> Problem {
        let at = at.into();
        let name = at.trim_start_matches('/');
        let message = format!("{name}: {} is not allowed, it {allowed}", shown(raw));
        Problem { at, message }
    }

    pub(crate) fn missing(at: &'static str, what: &str) -> Problem {
        let message = format!("{} is required: {what}", at.trim_start_matches('/'));
        Problem { at: Cow::Borrowed(at), message }
    }
}

/// The body as compact JSON.
pub(crate) fn read(body: &str) -> Result<String, Problem> {
    compact(body).map_err(|error| Problem::body(error.to_string()))
}

/// The raw values of these members, and a refusal of any other. What is null counts as not given.
pub(crate) fn fields_or_null<'a, const N: usize>(
    body: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Problem> {
    fields(body, names).map(|values| values.map(|value| value.filter(|raw| *raw != "null")))
}

/// The raw values of these members, and a refusal of any other.
pub(crate) fn fields<'a, const N: usize>(
    body: &'a str,
    names: [&str; N],
) -> Result<[Option<&'a str>; N], Problem> {
    let found = members(body)
        .ok_or_else(|| Problem::body(format!("the body must be an object, not {}", shown(body))))?;
    let mut values = [None; N];
    for (name, value) in found {
        let Some(place) = names.iter().position(|known| *known == name) else {
            let known = names.join(", ");
            return Err(Problem::body(format!("unknown member `{}`, allowed are {known}", shown(&name))));
        };
        values[place] = Some(value);
    }
    Ok(values)
}
