//! The header `Stripe-Signature`: `t=<seconds>,v1=<hex>`, HMAC-SHA256 over `<t>.<body>` under the whole text of the secret.
//!
//! Stripe's libraries differ on headers that Stripe never sends (doubled `t`, blanks, upper-case hex). Where they do, the verdict
//! is that of the Python library, which the first version used.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// How old a signature may be. One from the future is fine: clocks differ, and only Stripe can have made it.
pub const TOLERANCE_MS: i64 = 300_000;

/// Why a delivery is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    #[error("the header Stripe-Signature is missing or malformed")]
    Header,
    #[error("no v1 signature matches")]
    NoMatch,
    #[error("the signature is older than 300 s")]
    TooOld,
}

/// Judges a delivery. `header` is the value of `Stripe-Signature`, several joined by commas; one secret has to match. How long
/// that takes does not tell which signature was nearly right.
pub fn verify(secrets: &[&str], header: &[u8], body: &[u8], now_ms: i64) -> Result<(), Unverified> {
    let signed = Signed::parse(header).ok_or(Unverified::Header)?;
    let mut matches = Choice::from(0);
    for secret in secrets {
        let expected = digest_hex(secret, signed.at_secs, body);
        for given in &signed.signatures {
            matches |= expected.as_bytes().ct_eq(given);
        }
    }
    if !bool::from(matches) {
        return Err(Unverified::NoMatch);
    }
    match signed.at_secs.saturating_mul(1000) < now_ms.saturating_sub(TOLERANCE_MS) {
        true => Err(Unverified::TooOld),
        false => Ok(()),
    }
}

struct Signed<'a> {
    at_secs: i64,
    signatures: Vec<&'a [u8]>,
}

impl<'a> Signed<'a> {
    /// Of several `t` the first counts. Items of other names are passed over.
    fn parse(header: &'a [u8]) -> Option<Self> {
        let mut at_secs = None;
        let mut signatures = Vec::new();
        for item in header.split(|byte| *byte == b',') {
            let mut parts = item.splitn(3, |byte| *byte == b'=');
            match parts.next() {
                Some(b"t") => {
                    let value = parts.next()?;
                    if at_secs.is_none() {
                        at_secs = Some(integer(value)?);
                    }
                }
                Some(b"v1") => signatures.push(parts.next()?),
                _ => {}
            }
        }
        Some(Signed { at_secs: at_secs?, signatures })
    }
}

/// A whole number as Python reads it: blanks around it, a sign, single underscores between digits.
fn integer(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let well_formed =
        digits.split('_').all(|group| !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()));
    well_formed.then(|| text.replace('_', "").parse().ok()).flatten()
}

fn digest_hex(secret: &str, at_secs: i64, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of every length");
    mac.update(format!("{at_secs}.").as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
