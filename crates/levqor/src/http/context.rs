//! What is known about one request beside what it carries: made by `middleware.rs`, read by handlers, logged at the end.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use axum::extract::FromRequestParts;
use http::request::Parts;
use levqor_core::key::Scope;

use super::error::ApiError;
use super::rate_limit::Left;

#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    client: IpAddr,
    route: OnceLock<(Arc<str>, Scope)>,
    left: OnceLock<Left>,
}

impl Context {
    pub fn new(client: IpAddr) -> Self {
        Context(Arc::new(Inner { client, route: OnceLock::new(), left: OnceLock::new() }))
    }

    /// The address that limits count by.
    pub fn client(&self) -> IpAddr {
        self.0.client
    }

    /// The pattern of the route that was chosen.
    pub fn route(&self) -> Option<Arc<str>> {
        self.0.route.get().map(|(label, _)| label.clone())
    }

    /// What the route needs a key for. Admin where nothing is known: what was forgotten is closed.
    pub fn scope(&self) -> Scope {
        self.0.route.get().map_or(Scope::Admin, |(_, scope)| *scope)
    }

    pub fn set_route(&self, label: Arc<str>, scope: Scope) {
        // A request is routed once; a second route would be a fallback of the first.
        let _ = self.0.route.set((label, scope));
    }

    /// What the limiter left over, if the request was counted.
    pub fn left(&self) -> Option<Left> {
        self.0.left.get().copied()
    }

    pub fn set_left(&self, left: Left) {
        let _ = self.0.left.set(left);
    }
}

impl<S: Sync> FromRequestParts<S> for Context {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Context>().cloned().ok_or_else(ApiError::internal)
    }
}
