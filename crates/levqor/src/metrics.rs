//! What this process counts about its HTTP side, and the text of `GET /metrics`.
//!
//! Labels are bounded: routes are patterns, never paths as asked; unknown methods and paths share one label each.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The content type of the text that [`Metrics::encode`] makes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: Arc<str>,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: Arc<str>,
}

/// What became of a delivery of a payment service's event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Verdict {
    verdict: &'static str,
}

pub struct Metrics {
    registry: Registry,
    webhook_events: Family<Verdict, Counter>,
    requests: Family<Request, Counter>,
    durations: Family<Route, Histogram>,
    /// Open connections.
    pub connections: Gauge<i64, AtomicI64>,
    /// Connections that were turned away because there were too many.
    pub connections_refused: Counter,
    /// Connections that were idle and closed to make room.
    pub connections_evicted: Counter,
    /// Requests that were not well-formed HTTP.
    pub refused_heads: Counter,
    /// TLS handshakes that came to nothing.
    pub tls_failures: Counter,
    /// Handlers that panicked.
    pub panics: Counter,
}

fn histogram() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("levqor");
        let requests = Family::<Request, Counter>::default();
        let durations = Family::<Route, Histogram>::new_with_constructor(histogram);
        let webhook_events = Family::<Verdict, Counter>::default();
        registry.register(
            "billing_webhook_events",
            "Deliveries of Stripe's events by what became of them",
            webhook_events.clone(),
        );
        let (connections, connections_refused) = (Gauge::default(), Counter::default());
        let (connections_evicted, refused_heads, panics) =
            (Counter::default(), Counter::default(), Counter::default());
        let tls_failures = Counter::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        registry.register("http_request_seconds", "Time from head to answer", durations.clone());
        registry.register("http_connections", "Open connections", connections.clone());
        registry.register("http_connections_refused", "Turned away: too many", connections_refused.clone());
        registry.register(
            "http_connections_evicted",
            "Idle ones closed to make room",
            connections_evicted.clone(),
        );
        registry.register(
            "http_refused_heads",
            "Requests that were not well-formed HTTP",
            refused_heads.clone(),
        );
        registry.register("tls_failures", "TLS handshakes that came to nothing", tls_failures.clone());
        registry.register("http_panics", "Handlers that panicked", panics.clone());
        Metrics {
            registry,
            webhook_events,
            requests,
            durations,
            connections,
            connections_refused,
            connections_evicted,
            refused_heads,
            tls_failures,
            panics,
        }
    }
}

impl Metrics {
    /// Counts one answered request.
    pub fn answered(&self, route: Arc<str>, method: &http::Method, status: u16, took: Duration) {
        let method = match *method {
            http::Method::GET => "GET",
            http::Method::POST => "POST",
            http::Method::PUT => "PUT",
            http::Method::PATCH => "PATCH",
            http::Method::DELETE => "DELETE",
            http::Method::HEAD => "HEAD",
            http::Method::OPTIONS => "OPTIONS",
            _ => "other",
        };
        self.requests.get_or_create(&Request { route: route.clone(), method, status }).inc();
        self.durations.get_or_create(&Route { route }).observe(took.as_secs_f64());
    }

    /// Counts one delivery of an event: `recorded`, `repeated`, `ignored`, `invalid_signature`, `invalid_payload` or `failed`.
    pub fn webhook_event(&self, verdict: &'static str) {
        self.webhook_events.get_or_create(&Verdict { verdict }).inc();
    }

    /// The figures as OpenMetrics text; `more` are figures from elsewhere, `lines` whole families of them.
    pub fn encode(&self, more: &[Figure], lines: &str) -> Result<String, std::fmt::Error> {
        let mut text = String::with_capacity(8 * 1024);
        prometheus_client::encoding::text::encode_registry(&mut text, &self.registry)?;
        for figure in more {
            let (kind, suffix) = if figure.is_counter { ("counter", "_total") } else { ("gauge", "") };
            writeln!(text, "# HELP levqor_{} {}.", figure.name, figure.help)?;
            writeln!(text, "# TYPE levqor_{} {kind}", figure.name)?;
            writeln!(text, "levqor_{}{suffix} {}", figure.name, figure.value)?;
        }
        text.push_str(lines);
        prometheus_client::encoding::text::encode_eof(&mut text)?;
        Ok(text)
    }
}

/// One figure that lives elsewhere and is read when somebody asks.
pub struct Figure {
    pub name: &'static str,
    pub help: &'static str,
    pub is_counter: bool,
    pub value: i64,
}

impl Figure {
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Figure { name, help, is_counter: true, value: i64::try_from(value).unwrap_or(i64::MAX) }
    }

    pub fn gauge(name: &'static str, help: &'static str, value: i64) -> Self {
        Figure { name, help, is_counter: false, value }
    }
}
