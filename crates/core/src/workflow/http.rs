//! The `http` step: what is asked, and which answers count as success. The call itself is made elsewhere.

use url::{ParseError, Url};

use super::problem::shorten;
use crate::scope::Scope;
use crate::template::{RenderError, Template};

/// The `http` of a step.
#[derive(Clone, Debug)]
pub struct HttpStep {
    /// Upper case.
    pub method: String,
    pub url: Template,
    pub headers: Vec<(String, Template)>,
    pub query: Vec<(String, Template)>,
    pub body: Option<Body>,
    /// The statuses that count as success; `None` means 200 to 299.
    pub ok: Option<Vec<u16>>,
}

#[derive(Clone, Debug)]
pub enum Body {
    /// Sent as compact JSON, with `Content-Type: application/json` unless a header says otherwise.
    Json(Template),
    /// Sent as it is.
    Text(Template),
}

/// A request with everything filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    pub method: String,
    /// With the query appended.
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
}

/// Headers that belong to the connection and not to the caller.
pub const REFUSED_HEADERS: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

const NO_SCHEME: &str = "`url` must begin with http:// or https://";

impl HttpStep {
    pub fn accepts(&self, status: u16) -> bool {
        match &self.ok {
            None => (200..300).contains(&status),
            Some(list) => list.contains(&status),
        }
    }

    /// The request to make. Whether its address may be called is not judged here.
    pub fn render(&self, scope: &Scope<'_>) -> Result<HttpCall, RenderError> {
        let text = self.url.render_text(scope)?;
        // The text may hold a secret, so errors do not show it.
        let mut url = Url::parse(text.trim()).map_err(|error| {
            RenderError(match error {
                _ if text.trim().is_empty() => "`url` is empty".to_owned(),
                // What the library calls a relative URL.
                ParseError::RelativeUrlWithoutBase => NO_SCHEME.to_owned(),
                error => format!("`url` is not a URL: {error}"),
            })
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(RenderError(NO_SCHEME.to_owned()));
        }
        if !self.query.is_empty() {
            let mut pairs = url.query_pairs_mut();
            for (name, value) in &self.query {
                pairs.append_pair(name, &value.render_text(scope)?);
            }
        }
        let mut headers = Vec::with_capacity(self.headers.len() + 1);
        for (name, value) in &self.headers {
            let value = value.render_text(scope)?;
            if !is_header_value(&value) {
                return Err(RenderError(format!(
                    "header `{}` would hold a line break or another control character",
                    shorten(name, 80)
                )));
            }
            headers.push((name.clone(), value));
        }
        let body = match &self.body {
            None => None,
            Some(Body::Text(template)) => Some(template.render_text(scope)?),
            Some(Body::Json(template)) => {
                if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
                    headers.push(("content-type".to_owned(), "application/json".to_owned()));
                }
                Some(template.render(scope)?)
            }
        };
        Ok(HttpCall { method: self.method.clone(), url: url.into(), headers, body })
    }
}

/// Visible characters, spaces and tabs, as RFC 9110 has it; UTF-8 is let through.
pub fn is_header_value(value: &str) -> bool {
    !value.chars().any(|c| c.is_control() && c != '\t')
}

/// A token as RFC 9110 has it: methods and header names.
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
