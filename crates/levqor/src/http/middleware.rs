//! What every request goes through, in one numbered list, around the router.
//!
//! It is one hand-written function and not a stack of layers: a layer costs a boxed future per request, and the order of
//! these steps is easier to see as a list.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use futures_util::FutureExt as _;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use hyper::body::Incoming;
use tower::Service as _;

use super::access_log;
use super::context::Context;
use super::error::ApiError;
use super::gate::Slot;
use super::headers::{self, RATE_LIMIT, RATE_REMAINING, X_REQUEST_ID};
use super::rate_limit::client_address;
use super::{App, Served};
use crate::config::LogLevel;

/// The label of requests that no route took.
const NO_ROUTE: &str = "none";

/// Answers one request of a connection.
pub async fn answer(
    served: Arc<Served>,
    slot: Arc<Slot>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let app = &served.app;
    // 1. A name for the request: the client's own, if it is harmless.
    let started = Instant::now();
    let request_id = request_id(&request);

    // 2. Who asks.
    let client = client_address(peer, request.headers(), &app.config.trusted_proxies);
    app.strangers.mind(peer, request.headers(), &app.config.trusted_proxies);
    let context = Context::new(client);

    // 3. What the gate refused never reaches the router; its head is not this one, but a stand-in.
    let refusal = slot.take_refusal();
    let (method, uri, agent) = match refusal {
        Some(_) => (Method::GET, None, None),
        None => {
            let agent =
                app.logs_requests().then(|| request.headers().get(header::USER_AGENT).cloned()).flatten();
            (request.method().clone(), Some(request.uri().clone()), agent)
        }
    };
    let mut response = match refusal {
        Some(refusal) => {
            app.metrics.refused_heads.inc();
            ApiError::refused_head(refusal.status(), refusal.message()).into_response()
        }
        None => route(&served, &context, request).await,
    };

    // 6. The headers that every answer carries.
    let is_success = response.status().is_success();
    let answer_headers = response.headers_mut();
    headers::apply(answer_headers);
    if let (Some(left), true) = (context.left(), is_success) {
        answer_headers.insert(RATE_LIMIT, HeaderValue::from(left.limit));
        answer_headers.insert(RATE_REMAINING, HeaderValue::from(left.remaining));
    }
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        answer_headers.insert(X_REQUEST_ID, value);
    }

    // 7. Figures and the log.
    let took = started.elapsed();
    let status = response.status().as_u16();
    app.metrics.answered(context.route().unwrap_or_else(|| NO_ROUTE.into()), &method, status, took);
    if let (Some(log), true) = (&app.log, app.logs_requests()) {
        let line = access_log::Line {
            at_ms: app.clock.now_ms(),
            method: if uri.is_some() { method.as_str() } else { "-" },
            path: uri.as_ref().map_or("-", Uri::path),
            status,
            took,
            client,
            peer,
            agent: agent.as_ref().map_or(b"-", HeaderValue::as_bytes),
            request_id: &request_id,
        };
        log.append(|out| line.write(out, app.config.log_format));
    }
    Ok(response)
}

async fn route(served: &Served, context: &Context, request: Request<Incoming>) -> Response {
    let mut request = request.map(Body::new);
    // 4. One spelling of a path: doubled slashes inside lead to the single one.
    match unslashed(request.uri()) {
        Slashes::Fine => {}
        Slashes::Leading(uri) => *request.uri_mut() = uri,
        Slashes::Inside(location) => return redirect(&location),
    }
    if request.uri().path() == "*" {
        return any_options();
    }
    let is_options = request.method() == Method::OPTIONS;
    request.extensions_mut().insert(context.clone());

    // 5. The router. A handler that panics costs its own request and nothing else.
    let answered = call(served.router.clone(), request).await;
    let mut response = answered.unwrap_or_else(|| {
        served.app.metrics.panics.inc();
        tracing::error!(route = context.route().as_deref(), "a handler panicked");
        ApiError::internal().into_response()
    });
    if is_options || response.status() == StatusCode::METHOD_NOT_ALLOWED {
        complete_allow(&mut response);
    }
    response
}

/// The router's answer; `None` when a handler panicked.
async fn call(mut router: Router, request: Request<Body>) -> Option<Response> {
    match AssertUnwindSafe(async move { router.call(request).await }).catch_unwind().await {
        Ok(Ok(response)) => Some(response),
        Ok(Err(never)) => match never {},
        Err(_) => None,
    }
}

fn request_id(request: &Request<Incoming>) -> String {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let given = request.headers().get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=64).contains(&id.len()) && id.bytes().all(is_safe) => id.to_owned(),
        _ => format!("{:032x}", rand::random::<u128>()),
    }
}

enum Slashes {
    Fine,
    Leading(Uri),
    Inside(String),
}

fn unslashed(uri: &Uri) -> Slashes {
    let path = uri.path();
    if !path.contains("//") {
        return Slashes::Fine;
    }
    let mut single = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !single.ends_with('/') {
            single.push(character);
        }
    }
    let is_inside = path.trim_start_matches('/').contains("//");
    if let Some(query) = uri.query() {
        single.push('?');
        single.push_str(query);
    }
    match single.parse() {
        Ok(uri) if !is_inside => Slashes::Leading(uri),
        _ => Slashes::Inside(single),
    }
}

/// The location is a path of our own that begins with exactly one slash, so it cannot lead to another host.
fn redirect(location: &str) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    match HeaderValue::from_str(location) {
        Ok(location) => {
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(_) => ApiError::not_found().into_response(),
    }
}

/// `OPTIONS *` asks about the server as a whole.
fn any_options() -> Response {
    let mut response = Response::new(Body::empty());
    let all = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    response.headers_mut().insert(header::ALLOW, all);
    response
}

/// The router knows which methods have handlers; OPTIONS is answered for all.
fn complete_allow(response: &mut Response) {
    let Some(known) = response.headers().get(header::ALLOW).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let mut methods: Vec<&str> =
        known.split(',').map(str::trim).filter(|method| !method.is_empty()).collect();
    methods.push("OPTIONS");
    if let Ok(value) = HeaderValue::from_str(&methods.join(", ")) {
        response.headers_mut().insert(header::ALLOW, value);
    }
}

impl App {
    /// Whether requests are logged at all: their lines are of level `info`.
    fn logs_requests(&self) -> bool {
        self.log.is_some() && self.config.log_level >= LogLevel::Info
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_handler_that_panics_costs_its_own_request_only() {
        async fn broken(uri: Uri) -> &'static str {
            assert_ne!(uri.query(), Some("now"), "on purpose");
            "fine"
        }
        let router = Router::new().fallback(broken);
        let ask = |uri: &str| call(router.clone(), Request::get(uri).body(Body::empty()).unwrap());

        assert!(ask("/?now").await.is_none());
        assert_eq!(ask("/").await.unwrap().status(), StatusCode::OK);
    }

    #[test]
    fn doubled_slashes_inside_redirect_and_leading_ones_are_passed_over() {
        let case = |path: &str| match unslashed(&path.parse().unwrap()) {
            Slashes::Fine => "fine".to_owned(),
            Slashes::Leading(uri) => format!("as {uri}"),
            Slashes::Inside(location) => format!("to {location}"),
        };
        assert_eq!(case("/a/b?c=//d"), "fine");
        assert_eq!(case("//health"), "as /health");
        assert_eq!(case("///health?x=1"), "as /health?x=1");
        assert_eq!(case("/api//v1///x?y=//z"), "to /api/v1/x?y=//z");
        assert_eq!(case("//evil.example//x"), "to /evil.example/x");
        assert_eq!(case("/a//"), "to /a/");
    }
}
