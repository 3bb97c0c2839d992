//! The one variable part of our paths, as text: handlers know what to answer when it is no id or name.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use crate::http::error::{ApiError, Result};
use levqor_core::connection;
use levqor_core::id::JobId;
use levqor_core::workflow;

pub struct PathText {
    /// As it is to be shown: what is not UTF-8 once decoded stands here as it was written.
    pub text: String,
    is_utf8: bool,
}

impl PathText {
    /// A job's id; 404 for a text that cannot be one.
    pub fn job_id(&self) -> Result<JobId> {
        self.text.parse().map_err(|_| ApiError::missing("job"))
    }

    /// What may be a person's id. Those of the first version may be any text, but no key of ours holds NUL, and PostgreSQL
    /// could not even compare with it.
    pub fn user_id(&self) -> Option<&str> {
        Some(self.text.as_str()).filter(|id| self.is_utf8 && !id.contains('\0'))
    }

    /// A name that a connection may have.
    pub fn connection_name(&self) -> Option<&str> {
        Some(self.text.as_str()).filter(|name| self.is_utf8 && connection::is_name(name))
    }

    /// A name that a workflow may have.
    pub fn workflow_name(&self) -> Option<&str> {
        Some(self.text.as_str()).filter(|name| self.is_utf8 && workflow::is_name(name))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for PathText {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let decoded = params.ok().and_then(|params| params.iter().next().map(|(_, value)| value.to_owned()));
        let is_utf8 = decoded.is_some();
        let as_asked = || parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        Ok(PathText { text: decoded.unwrap_or_else(as_asked), is_utf8 })
    }
}
