//! The one variable part of our paths, as text: ids and names are judged by handlers, which know what to answer.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use crate::http::error::{ApiError, Result};
use levqor_core::id::JobId;

pub struct PathText(pub String);

impl PathText {
    /// A job's id; 404 for a text that cannot be one.
    pub fn job_id(&self) -> Result<JobId> {
        self.0.parse().map_err(|_| ApiError::missing("job"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let decoded = params.ok().and_then(|params| params.iter().next().map(|(_, value)| value.to_owned()));
        // What is not UTF-8 once decoded names nothing; it is shown as it was written.
        let as_asked = || parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        Ok(PathText(decoded.unwrap_or_else(as_asked)))
    }
}
