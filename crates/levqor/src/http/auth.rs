//! Keys: who may do what needs one.
//!
//! All keys are one caller, so that a rotation does not change who asks. Keys are compared as SHA-256 digests, all of them,
//! in constant time. A wrong key never costs a right one anything.

use http::{HeaderMap, header};
use levqor_core::audit::Actor;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::headers::X_API_KEY;
use crate::config::Secret;

/// Whoever holds a key; idempotency keys are scoped by it.
const API_CALLER: &str = "api";

/// Everybody, in development mode.
const DEV_CALLER: &str = "dev";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// What idempotency keys are scoped by.
    pub name: &'static str,
    /// Who it is to the audit log.
    pub actor: Actor,
}

/// The accepted keys; none means that everything is allowed.
pub struct Keys(Vec<Key>);

struct Key {
    digest: [u8; 32],
    caller: Caller,
}

impl Keys {
    pub fn new(keys: &[Secret]) -> Self {
        let key = |key: &Secret| {
            let bytes = key.reveal().as_bytes();
            let caller = Caller { name: API_CALLER, actor: Actor::environment(bytes) };
            Key { digest: digest(bytes), caller }
        };
        Keys(keys.iter().map(key).collect())
    }

    /// Whether no key is needed.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// The caller behind a request, by `X-Api-Key` alone; a header that is there twice is no key.
    pub fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        if self.is_open() {
            return Some(Caller { name: DEV_CALLER, actor: Actor::developer() });
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

    /// Looks at every key, whichever it is.
    fn find(&self, key: &[u8]) -> Option<Caller> {
        let asked = digest(key);
        let mut found = None;
        for known in &self.0 {
            if bool::from(known.digest.as_slice().ct_eq(&asked)) {
                found = Some(&known.caller);
            }
        }
        found.filter(|_| !key.is_empty()).cloned()
    }
}

fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(*name, HeaderValue::from_static(value));
        }
        map
    }

    #[test]
    fn only_one_whole_key_in_x_api_key_counts() {
        let keys = Keys::new(&[Secret::new("alpha"), Secret::new("beta")]);
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[("x-api-key", "alpha")], true),
            (&[("x-api-key", "beta")], true),
            (&[("x-api-key", "Alpha")], false),
            (&[("x-api-key", "alph")], false),
            (&[("x-api-key", "alpha,beta")], false),
            (&[("x-api-key", "")], false),
            (&[("x-api-key", "alpha"), ("x-api-key", "alpha")], false),
            (&[("authorization", "Bearer alpha")], false),
            (&[], false),
        ];
        for (pairs, allowed) in cases {
            let pairs: Vec<(&'static str, &'static str)> = pairs.to_vec();
            assert_eq!(keys.caller(&headers(&pairs)).is_some(), *allowed, "{pairs:?}");
        }
        let by_header = keys.caller(&headers(&[("x-api-key", "beta")]));
        assert_eq!(keys.caller_or_bearer(&headers(&[("authorization", "bearer beta")])), by_header);
        assert_eq!(keys.caller_or_bearer(&headers(&[("authorization", "Basic beta")])), None);
    }

    #[test]
    fn without_keys_everybody_is_the_developer() {
        let caller = Keys::new(&[]).caller(&HeaderMap::new()).unwrap();

        assert_eq!((caller.name, caller.actor.as_str()), ("dev", "dev"));
    }
}
