//! The HTTP API. A request's way: `server.rs` → `gate.rs` → `middleware.rs` → `router.rs` → `api/` → the engine.
//!
//! A handler extracts, makes one call and answers. Statuses are picked in `error.rs` alone.

mod access_log;
mod api;
mod auth;
mod body;
mod chunked;
mod context;
mod error;
mod file;
mod gate;
mod gateway;
mod guard;
mod head;
mod headers;
mod middleware;
mod openapi;
mod pages;
mod rate_limit;
mod router;
pub mod schema;
mod scopes;
mod server;
mod strangers;
mod tls;

use std::sync::Arc;

use levqor_core::address::OutboundPolicy;
use levqor_core::clock::Clock;
use levqor_engine::Engine;

use crate::config::Config;
use crate::logging::LogSink;
use crate::metrics::Metrics;

pub use server::{Port, Server};
pub use tls::{Tls, TlsError};

/// What handlers share.
pub struct App {
    pub config: Config,
    pub engine: Engine,
    pub clock: Arc<dyn Clock>,
    /// Where the line of each request goes; `None`: nowhere.
    pub log: Option<LogSink>,
    /// Where callbacks may go, as far as their URL tells.
    outbound: OutboundPolicy,
    metrics: Metrics,
    keys: auth::Keys,
    limits: rate_limit::Limits,
    strangers: strangers::Strangers,
    documents: openapi::Documents,
    pages: pages::Pages,
}

/// The application behind its router: what a [`Server`] serves.
pub struct Served {
    app: Arc<App>,
    router: axum::Router,
}

impl Served {
    /// Whether everybody is let in, because there never was a key.
    pub fn is_open(&self) -> bool {
        self.app.keys.is_open()
    }

    pub fn new(config: Config, engine: Engine, clock: Arc<dyn Clock>, log: Option<LogSink>) -> Arc<Served> {
        let (routes, document) = router::routes(config.environment).split_for_parts();
        let program_ms = file::program_ms(clock.now_ms());
        let documents = openapi::Documents::new(&document, program_ms);
        let app = Arc::new(App {
            metrics: Metrics::default(),
            keys: auth::Keys::new(&config.api_keys, engine.clone()),
            limits: rate_limit::Limits::new(&config),
            strangers: strangers::Strangers::default(),
            outbound: OutboundPolicy::new(config.outbound_allow.clone()),
            pages: pages::Pages::new(&config, &documents.v3_1.bytes, program_ms),
            documents,
            config,
            engine,
            clock,
            log,
        });
        Arc::new(Served { router: router::finish(routes, &document, app.clone()), app })
    }
}
