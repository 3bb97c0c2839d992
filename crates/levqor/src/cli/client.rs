//! The HTTP client of the commands: one server, one key, and the server's refusals turned into failures a person can act on.
//!
//! It calls the server that its user names, wherever that is; the guard for outbound calls is about what workflows ask for.

use std::time::Duration;

use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::exit::{Exit, Failure, chain};
use super::out;

/// An answer may take this long; a `wait` comes on top of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which server a client command talks to.
#[derive(Args, Clone)]
pub struct Server {
    /// Address of the server
    #[arg(long = "url", value_name = "URL", env = "BASE_URL", default_value = "http://127.0.0.1:5000")]
    pub url: String,

    /// Key sent as X-Api-Key; a server in development mode needs none
    #[arg(long, value_name = "KEY", env = "API_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

/// Whose certificate is believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    Authorities,
    /// For questions to this machine alone that carry no key: a certificate names the host as others reach it.
    Anyone,
}

/// One server with one key.
pub struct Api {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// What came back, whatever its status. `text` is as sent: numbers keep their digits.
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

/// One request, before it is sent.
#[derive(Clone)]
pub struct Call<'a> {
    method: Method,
    path: String,
    query: Vec<(&'a str, String)>,
    headers: Vec<(&'a str, String)>,
    body: Option<String>,
    patience: Duration,
    with_key: bool,
}

impl<'a> Call<'a> {
    fn new(method: Method, path: impl Into<String>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Call { method, path: path.into(), query, headers, body: None, patience: PATIENCE, with_key: true }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Call::new(Method::GET, path)
    }

    pub fn post(path: impl Into<String>) -> Self {
        Call::new(Method::POST, path)
    }

    pub fn put(path: impl Into<String>) -> Self {
        Call::new(Method::PUT, path)
    }

    pub fn delete(path: impl Into<String>) -> Self {
        Call::new(Method::DELETE, path)
    }

    pub fn method(method: &str, path: impl Into<String>) -> Self {
        Call::new(Method::from_bytes(method.as_bytes()).unwrap_or_default(), path)
    }

    pub fn query(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub fn header(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn json(self, body: impl Into<String>) -> Self {
        self.header("content-type", "application/json").body(body)
    }

    pub fn body(mut self, body: impl Into<String>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// The server was asked to wait this long before it answers.
    pub fn waits(mut self, time: Duration) -> Self {
        self.patience = PATIENCE + time;
        self
    }

    pub fn is_write(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// The last part of the path that is to be deleted.
    pub fn deletes(&self) -> Option<String> {
        let last = self.path.rsplit('/').next().filter(|_| self.method == Method::DELETE);
        last.map(str::to_owned)
    }

    pub fn without_key(mut self) -> Self {
        self.with_key = false;
        self
    }
}

impl Api {
    pub fn new(server: &Server) -> Result<Api, Failure> {
        Api::with(server, Trust::Authorities)
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "this client calls the server its user names, loopback included"
    )]
    pub fn with(server: &Server, trust: Trust) -> Result<Api, Failure> {
        let base = server.url.trim_end_matches('/').to_owned();
        let is_http = base.starts_with("http://") || base.starts_with("https://");
        if !is_http || base.parse::<url::Url>().is_err() {
            let allowed = "expected an address such as http://127.0.0.1:5000";
            return Err(Failure::usage(format!("{:?} is no server: {allowed}", server.url)));
        }
        let client = reqwest::Client::builder()
            .user_agent(concat!("levqor-cli/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .tls_danger_accept_invalid_certs(trust == Trust::Anyone)
            .build()
            .map_err(|error| Failure::failed(chain(&error)))?;
        let key = server.key.clone().filter(|key| !key.is_empty());
        Ok(Api { http: client, base, key })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Sends a request. Fails only when no answer came.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, Failure> {
        let mut url = url::Url::parse(&format!("{}{}", self.base, call.path))
            .map_err(|error| Failure::usage(format!("the request cannot be made: {error}")))?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = self.http.request(call.method, url).timeout(call.patience);
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        if let Some(key) = self.key.as_ref().filter(|_| call.with_key) {
            request = request.header("x-api-key", key);
        }
        if let Some(body) = call.body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.map_err(|error| self.unreachable(&error))?;
        Ok(Answer { status, headers, text })
    }

    /// Sends a request and takes nothing but success.
    pub async fn ask(&self, call: Call<'_>) -> Result<Answer, Failure> {
        self.send(call).await?.accept(self.has_key())
    }

    /// Asks page after page for up to `limit` entries of a list, and whether there are more. `page` makes the request for so
    /// many after a cursor.
    pub async fn list<'a>(
        &self,
        member: &str,
        limit: u32,
        page: impl Fn(u32, Option<&str>) -> Call<'a>,
    ) -> Result<(Vec<Value>, bool), Failure> {
        let (mut cursor, mut entries) = (None::<String>, Vec::new());
        while entries.len() < limit as usize {
            let answer = self.ask(page(limit - entries.len() as u32, cursor.as_deref())).await?.json();
            entries.extend(answer[member].as_array().into_iter().flatten().cloned());
            cursor = answer["next"].as_str().map(str::to_owned);
            // A page looks at a bounded number of rows, so an empty one may be followed by others.
            if cursor.is_none() {
                break;
            }
        }
        Ok((entries, cursor.is_some()))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_builder() {
            return Failure::usage(format!("the request cannot be made: {}", chain(error)));
        }
        let base = &self.base;
        let whole = chain(error);
        let message = match error.is_connect() {
            true if whole.contains("certificate") => format!(
                "{base} has a certificate that is not trusted here ({}); SSL_CERT_FILE names one to trust",
                whole.rsplit(": ").next().unwrap_or(&whole)
            ),
            true => format!(
                "nothing answers at {base}; is the server running (`make run`), and is --url or BASE_URL right?"
            ),
            false => format!("no answer from {base}: {}", chain(&error.without_url_text())),
        };
        Failure::new(Exit::Unreachable, message)
    }
}

/// reqwest's errors name the whole URL; ours name the server once.
trait WithoutUrl {
    fn without_url_text(&self) -> Plain;
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Plain(String);

impl WithoutUrl for reqwest::Error {
    fn without_url_text(&self) -> Plain {
        let reason = if self.is_timeout() { "it took too long".to_owned() } else { chain(self) };
        Plain(reason)
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// A member of the body that is text.
    pub fn text_at(&self, member: &str) -> String {
        self.json()[member].as_str().unwrap_or_default().to_owned()
    }

    /// Success as it is; anything else as a failure with the exit code that fits.
    pub fn accept(self, had_key: bool) -> Result<Answer, Failure> {
        if self.status.is_success() {
            return Ok(self);
        }
        let exit = match self.status.as_u16() {
            404 => Exit::NotFound,
            500.. => Exit::Unreachable,
            _ => Exit::Refused,
        };
        Err(Failure::new(exit, self.refusal(had_key)))
    }

    /// The refusal in words, with what to do about it where that is known.
    fn refusal(&self, had_key: bool) -> String {
        let body = self.json();
        let word = |member: &str| body[member].as_str().map(out::plain);
        match self.status.as_u16() {
            403 if word("message").is_some() => {}
            403 if had_key => return "the server does not accept this key; see --key or API_KEY".to_owned(),
            403 => return "the server wants a key: give --key or set API_KEY".to_owned(),
            429 => {
                let wait =
                    self.header("retry-after").parse::<u32>().map_or(String::new(), |s| format!(" in {s} s"));
                return format!(
                    "the rate limit is used up; try again{wait} (RATE_BURST and RATE_GLOBAL set it)"
                );
            }
            _ => {}
        }
        let mut text = match (word("message").or_else(|| word("details")), word("error")) {
            (Some(message), Some(error)) => {
                // Older refusals may begin both texts with the member: `callback_url is not allowed`, `callback_url: …`.
                let member = error.split(' ').next().unwrap_or_default();
                let rest = message.strip_prefix(member).and_then(|rest| rest.strip_prefix(": "));
                format!("{error}: {}", rest.unwrap_or(&message))
            }
            (None, Some(error)) if error == "not_found" => {
                "not found: the server knows nothing by this name or id".to_owned()
            }
            (None, Some(error)) => error,
            _ => format!("unexpected answer: status {}", self.status.as_u16()),
        };
        if let Some(fields) = body["fields"].as_object() {
            for (pointer, problem) in fields {
                let place = if pointer.is_empty() { "(whole)" } else { pointer };
                text.push_str(&format!(
                    "\n  {}: {}",
                    out::plain(place),
                    out::plain(problem.as_str().unwrap_or_default())
                ));
            }
        }
        if self.status.is_server_error() {
            text = format!("the server cannot answer now ({}): {text}", self.status.as_u16());
        }
        text
    }
}

/// A path segment, escaped, for names that a person typed.
pub fn segment(text: &str) -> String {
    let keep = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if keep(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A file's text, or standard input for `-`.
pub fn read_source(path: &str) -> Result<String, Failure> {
    let text = match path {
        "-" => std::io::read_to_string(std::io::stdin()),
        path => std::fs::read_to_string(path),
    };
    text.map_err(|error| Failure::usage(format!("{path} cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap_or_default();
        Answer { status, headers: Default::default(), text: body.to_owned() }
    }

    fn exit_of(status: u16, body: &str) -> (Option<Exit>, String) {
        match answer(status, body).accept(false) {
            Ok(_) => (None, String::new()),
            Err(failure) => (Some(failure.exit), failure.message),
        }
    }

    #[test]
    fn every_kind_of_refusal_has_its_exit_code() {
        for (status, exit) in [
            (202, None),
            (400, Some(Exit::Refused)),
            (403, Some(Exit::Refused)),
            (404, Some(Exit::NotFound)),
            (409, Some(Exit::Refused)),
            (429, Some(Exit::Refused)),
            (500, Some(Exit::Unreachable)),
            (503, Some(Exit::Unreachable)),
        ] {
            assert_eq!(exit_of(status, "{}").0, exit, "{status}");
        }
    }

    #[test]
    fn a_refusal_names_the_fields_and_cannot_steer_the_terminal() {
        let body = r#"{"error":"invalid_payload","message":"no\u001b[2J","fields":{"/name":"required"}}"#;

        assert_eq!(exit_of(400, body).1, "invalid_payload: no\\u{1b}[2J\n  /name: required");
    }

    #[test]
    fn a_member_is_named_once() {
        let body =
            r#"{"error":"callback_url is not allowed","details":"callback_url: localhost is this machine"}"#;

        assert_eq!(exit_of(400, body).1, "callback_url is not allowed: localhost is this machine");
    }

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(segment("a/b ü"), "a%2Fb%20%C3%BC");
    }
}
