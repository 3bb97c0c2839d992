//! Keys: who asks, and what they are allowed.
//!
//! Keys of the environment may do everything and are one caller, so that a rotation does not change who asks. They are
//! compared as SHA-256 digests, all of them, in constant time. Keys of the database are found in memory by the same digest.
//! A wrong key never costs a right one anything.

use std::sync::Arc;

use http::{HeaderMap, header};
use levqor_core::audit::Actor;
use levqor_core::key::{Scopes, digest};
use levqor_engine::Engine;
use subtle::ConstantTimeEq;

use super::headers::X_API_KEY;
use crate::config::Secret;

/// Holders of a key of the environment.
const API_CALLER: &str = "api";

/// Everybody, in development mode.
const DEV_CALLER: &str = "dev";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What idempotency keys are scoped by. A rotation does not change it.
    pub name: Arc<str>,
    /// Who it is to the audit log.
    pub actor: Actor,
    pub scopes: Scopes,
}

/// The accepted keys; where there never were any, everything is allowed.
pub struct Keys {
    environment: Vec<Key>,
    engine: Engine,
    developer: Caller,
}

struct Key {
    digest: [u8; 32],
    caller: Caller,
}

impl Keys {
    pub fn new(environment: &[Secret], engine: Engine) -> Self {
        let key = |key: &Secret| {
            let bytes = key.reveal().as_bytes();
            let actor = Actor::environment(bytes);
            Key {
                digest: digest(bytes),
                caller: Caller { name: API_CALLER.into(), actor, scopes: Scopes::all() },
            }
        };
        let developer = Caller { name: DEV_CALLER.into(), actor: Actor::developer(), scopes: Scopes::all() };
        Keys { environment: environment.iter().map(key).collect(), engine, developer }
    }

    /// Whether there are keys in the environment.
    pub fn has_environment(&self) -> bool {
        !self.environment.is_empty()
    }

    /// Whether no key is needed: there is none in the environment, and the database never had one. That all were revoked
    /// opens nothing.
    pub fn is_open(&self) -> bool {
        self.environment.is_empty() && !self.engine.had_keys()
    }

    /// The caller behind a request, by `X-Api-Key` alone; a header that is there twice is no key.
    pub fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        if self.is_open() {
            return Some(self.developer.clone());
        }
        let mut values = headers.get_all(X_API_KEY).iter();
        let (Some(key), None) = (values.next(), values.next()) else { return None };
        self.find(key.as_bytes())
    }

    /// The same for `GET /metrics`, whose scrapers can often send `Authorization: Bearer` only.
    pub fn caller_or_bearer(&self, headers: &HeaderMap) -> Option<Caller> {
        let bearer = || {
            let value = headers.get(header::AUTHORIZATION)?.as_bytes();
            let (scheme, key) = value.split_at_checked("Bearer ".len())?;
            scheme.eq_ignore_ascii_case(b"Bearer ").then(|| self.find(key)).flatten()
        };
        self.caller(headers).or_else(bearer)
    }

    /// Looks at every key of the environment, whichever it is.
    fn find(&self, key: &[u8]) -> Option<Caller> {
        if key.is_empty() {
            return None;
        }
        let asked = digest(key);
        let mut found = None;
        for known in &self.environment {
            if bool::from(known.digest.as_slice().ct_eq(&asked)) {
                found = Some(&known.caller);
            }
        }
        found.cloned().or_else(|| {
            let known = self.engine.find_key(&asked)?;
            Some(Caller { name: known.caller.clone(), actor: known.actor.clone(), scopes: known.scopes })
        })
    }
}
