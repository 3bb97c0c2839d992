//! The headers that every answer carries, whatever its status: security, CORS. Built once.

use std::sync::LazyLock;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Name and value of each standard header, as the contract lists them.
pub const STANDARD: [(HeaderName, &str); 11] = [
    (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains; preload"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; connect-src https://levqor.ai https://api.levqor.ai https://checkout.stripe.com \
         https://js.stripe.com; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    ),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-embedder-policy"), "require-corp"),
    (HeaderName::from_static("permissions-policy"), "geolocation=(), microphone=()"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, "https://levqor.ai"),
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET,POST,OPTIONS,PATCH"),
    (header::ACCESS_CONTROL_ALLOW_HEADERS, "Content-Type, Authorization, X-Api-Key"),
];

pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub const STRIPE_SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
pub const RATE_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
pub const RATE_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
pub const RATE_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

pub const JSON: HeaderValue = HeaderValue::from_static("application/json");

static VALUES: LazyLock<Vec<(HeaderName, HeaderValue)>> = LazyLock::new(|| {
    STANDARD.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
});

/// The policy of pages that people read, which the API's own would strip of more than they can do without.
pub const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; script-src 'self'; \
     frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
);

/// Adds the standard headers to an answer. Only a policy of its own is left to it.
pub fn apply(headers: &mut HeaderMap) {
    headers.reserve(VALUES.len() + 1);
    for (name, value) in VALUES.iter() {
        if name == header::CONTENT_SECURITY_POLICY && headers.contains_key(name) {
            continue;
        }
        headers.insert(name.clone(), value.clone());
    }
}

/// The standard headers as they go over the wire, for answers that are written without hyper.
pub fn as_text() -> String {
    STANDARD.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}
