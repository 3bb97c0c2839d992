//! Keys: who may do what needs one.
//!
//! All keys are one caller, so that a rotation does not change who asks. Keys are compared as SHA-256 digests, all of them,
//! in constant time. A wrong key never costs a right one anything.

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::headers::X_API_KEY;
use crate::config::Secret;

/// Whoever holds a key; idempotency keys are scoped by it.
pub const API_CALLER: &str = "api";

/// Everybody, in development mode.
pub const DEV_CALLER: &str = "dev";

/// The digests of the accepted keys; none means that everything is allowed.
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    pub fn new(keys: &[Secret]) -> Self {
        Keys(keys.iter().map(|key| digest(key.reveal().as_bytes())).collect())
    }

    /// Whether no key is needed.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// The caller behind a request, by `X-Api-Key` alone; a header that is there twice is no key.
    pub fn caller(&self, headers: &HeaderMap) -> Option<&'static str> {
        if self.is_open() {
            return Some(DEV_CALLER);
        }
        let mut values = headers.get_all(X_API_KEY).iter();
        let (Some(key), None) = (values.next(), values.next()) else { return None };
        self.accepts(key.as_bytes()).then_some(API_CALLER)
    }

    /// The same for `GET /metrics`, whose scrapers can often send `Authorization: Bearer` only.
    pub fn caller_or_bearer(&self, headers: &HeaderMap) -> Option<&'static str> {
        let bearer = || {
            let value = headers.get(header::AUTHORIZATION)?.as_bytes();
            let (scheme, key) = value.split_at_checked("Bearer ".len())?;
            (scheme.eq_ignore_ascii_case(b"Bearer ") && self.accepts(key)).then_some(API_CALLER)
        };
        self.caller(headers).or_else(bearer)
    }

    fn accepts(&self, key: &[u8]) -> bool {
        let asked = digest(key);
        let found =
            self.0.iter().fold(Choice::from(0), |found, known| found | known.as_slice().ct_eq(&asked));
        !key.is_empty() && bool::from(found)
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
        assert_eq!(keys.caller_or_bearer(&headers(&[("authorization", "bearer beta")])), Some(API_CALLER));
        assert_eq!(keys.caller_or_bearer(&headers(&[("authorization", "Basic beta")])), None);
    }

    #[test]
    fn without_keys_everybody_is_the_developer() {
        assert_eq!(Keys::new(&[]).caller(&HeaderMap::new()), Some(DEV_CALLER));
    }
}
