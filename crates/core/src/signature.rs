//! Signatures of callbacks as Standard Webhooks has them: HMAC-SHA256 over `<id>.<timestamp>.<body>`, in base64.
//!
//! Secrets never show themselves: only [`Secret::expose`] gives the text, for the one command that prints it.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

const PREFIX: &str = "whsec_";

/// Secrets are copied by hand, and the padding gets lost then.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A key for signing, 24 to 64 bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// The text is no secret. It is not repeated here, because it may be one with a slip in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSecret {
    #[error("a secret begins with whsec_, and base64 of 24 to 64 bytes follows")]
    Form,
    #[error("a secret holds 24 to 64 bytes, this one {bytes}")]
    Length { bytes: usize },
    #[error("at most two secrets, parted by a comma: the current one and the one it replaces")]
    TooMany,
}

impl Secret {
    /// A secret from bytes of a cryptographic source.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        Secret(bytes.to_vec())
    }

    /// Reads `whsec_<base64>`.
    pub fn parse(text: &str) -> Result<Self, BadSecret> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(BadSecret::Form)?;
        let key = BASE64.decode(encoded).map_err(|_| BadSecret::Form)?;
        match key.len() {
            24..=64 => Ok(Secret(key)),
            bytes => Err(BadSecret::Length { bytes }),
        }
    }

    /// The secret in clear, as receivers need it.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}", BASE64.encode(&self.0))
    }

    fn digest(&self, msg_id: &str, timestamp_secs: i64, body: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of every length");
        mac.update(format!("{msg_id}.{timestamp_secs}.").as_bytes());
        mac.update(body);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Reads one secret, or two parted by a comma while they are exchanged. The empty text gives none.
pub fn parse_secrets(list: &str) -> Result<Vec<Secret>, BadSecret> {
    let texts = list.split(',').map(str::trim).filter(|text| !text.is_empty());
    let secrets = texts.map(Secret::parse).collect::<Result<Vec<_>, _>>()?;
    if secrets.len() > 2 { Err(BadSecret::TooMany) } else { Ok(secrets) }
}

/// The value of `webhook-signature`: one `v1,…` for each secret, parted by blanks.
pub fn sign(secrets: &[Secret], msg_id: &str, timestamp_secs: i64, body: &[u8]) -> String {
    let signature =
        |secret: &Secret| format!("v1,{}", BASE64.encode(secret.digest(msg_id, timestamp_secs, body)));
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
}

/// What a receiver got, beside the body.
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a> {
    /// `webhook-id`.
    pub id: &'a str,
    /// `webhook-timestamp`.
    pub timestamp: &'a str,
    /// `webhook-signature`.
    pub signature: &'a str,
}

/// Why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    #[error("webhook-timestamp is not a number of seconds")]
    BadTimestamp,
    #[error("webhook-timestamp is too old or too far ahead")]
    OutsideTolerance,
    #[error("no signature matches")]
    NoMatch,
}

/// Verifies a message as its receiver does. How long that takes does not tell which signature was nearly right.
pub fn verify(
    secrets: &[Secret],
    headers: Headers<'_>,
    body: &[u8],
    now_secs: i64,
    tolerance_secs: u32,
) -> Result<(), Unverified> {
    let timestamp_secs: i64 = headers.timestamp.parse().map_err(|_| Unverified::BadTimestamp)?;
    if now_secs.abs_diff(timestamp_secs) > u64::from(tolerance_secs) {
        return Err(Unverified::OutsideTolerance);
    }
    let mut matches = Choice::from(0);
    for secret in secrets {
        let expected = BASE64.encode(secret.digest(headers.id, timestamp_secs, body));
        for given in headers.signature.split(' ').filter_map(|entry| entry.strip_prefix("v1,")) {
            matches |= given.as_bytes().ct_eq(expected.as_bytes());
        }
    }
    if bool::from(matches) { Ok(()) } else { Err(Unverified::NoMatch) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use standardwebhooks::Webhook;

    use super::*;

    const CURRENT: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secrets() -> Vec<Secret> {
        vec![Secret::from_random([7; 32]), Secret::parse(CURRENT).unwrap()]
    }

    #[test]
    fn the_vector_of_the_specification_is_met() {
        // Its key is shorter than the specification itself allows.
        let secret = Secret(BASE64.decode("plJ3nmyCDGBKInavdOK15jsl").unwrap());
        let body = br#"{"event_type":"ping","data":{"success":true}}"#;

        let signature = sign(&[secret], "msg_loFOjxBNrRLzqYUf", 1_731_705_121, body);

        assert_eq!(signature, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
    }

    #[test]
    fn the_published_library_agrees_on_every_signature() {
        for (id, at, body) in [
            ("msg_1", 1_614_265_330, &b"{\"test\": 2432232314}"[..]),
            ("msg_0_9", 0, b""),
            ("é", 7, "ü\n".as_bytes()),
        ] {
            let theirs = Webhook::new(CURRENT).unwrap().sign(id, at, body).unwrap();
            assert_eq!(sign(&[Secret::parse(CURRENT).unwrap()], id, at, body), theirs, "{id}");
        }
    }

    #[test]
    fn during_rotation_each_secret_signs_and_either_verifies() {
        let both = secrets();
        let signature = sign(&both, "msg_1", 1_000, b"{}");

        assert_eq!(signature.split(' ').count(), 2);
        let headers = Headers { id: "msg_1", timestamp: "1000", signature: &signature };
        for secret in &both {
            assert_eq!(verify(std::slice::from_ref(secret), headers, b"{}", 1_000, 0), Ok(()));
        }
    }

    #[test]
    fn any_change_is_noticed() {
        let signature = sign(&secrets(), "msg_1", 1_000, b"{}");
        let good = Headers { id: "msg_1", timestamp: "1000", signature: &signature };
        let v2 = signature.replace("v1,", "v2,");
        type Case<'a> = (Headers<'a>, &'a [u8], i64, Result<(), Unverified>);
        let cases: [Case; 12] = [
            (good, b"{}", 1_000, Ok(())),
            (good, b"{}", 1_300, Ok(())),
            (good, b"{}", 1_301, Err(Unverified::OutsideTolerance)),
            (good, b"{}", 699, Err(Unverified::OutsideTolerance)),
            (good, b"{ }", 1_000, Err(Unverified::NoMatch)),
            (Headers { id: "msg_2", ..good }, b"{}", 1_000, Err(Unverified::NoMatch)),
            (Headers { timestamp: "1001", ..good }, b"{}", 1_000, Err(Unverified::NoMatch)),
            (Headers { timestamp: "", ..good }, b"{}", 1_000, Err(Unverified::BadTimestamp)),
            (
                Headers { timestamp: "-9223372036854775808", ..good },
                b"{}",
                i64::MAX,
                Err(Unverified::OutsideTolerance),
            ),
            (Headers { signature: "", ..good }, b"{}", 1_000, Err(Unverified::NoMatch)),
            (Headers { signature: "v1,", ..good }, b"{}", 1_000, Err(Unverified::NoMatch)),
            (Headers { signature: &v2, ..good }, b"{}", 1_000, Err(Unverified::NoMatch)),
        ];
        for (headers, body, now, expected) in cases {
            assert_eq!(verify(&secrets(), headers, body, now, 300), expected, "{headers:?}");
        }
        assert_eq!(
            verify(&[], good, b"{}", 1_000, 300),
            Err(Unverified::NoMatch),
            "no secret believes nothing"
        );
    }

    #[test]
    fn a_secret_reads_back_and_shows_itself_only_when_asked() {
        let secret = Secret::from_random([0xfb; 32]);

        assert_eq!(Secret::parse(&secret.expose()).as_ref(), Ok(&secret));
        assert_eq!(
            Secret::parse(secret.expose().trim_end_matches('=')).as_ref(),
            Ok(&secret),
            "padding lost"
        );
        assert_eq!(format!("{secret} {secret:?} {:?}", vec![&secret]), "whsec_… whsec_… [whsec_…]");
    }

    #[test]
    fn only_one_or_two_well_formed_secrets_are_taken() {
        let bytes = |count: usize| format!("whsec_{}", BASE64.encode(vec![1; count]));

        assert_eq!(parse_secrets("").unwrap(), vec![]);
        assert_eq!(parse_secrets(&format!(" {CURRENT} ,{}", bytes(64))).unwrap().len(), 2);
        assert_eq!(parse_secrets(&format!("{CURRENT},{CURRENT},{CURRENT}")), Err(BadSecret::TooMany));
        assert_eq!(Secret::parse(&bytes(23)), Err(BadSecret::Length { bytes: 23 }));
        assert_eq!(Secret::parse(&bytes(65)), Err(BadSecret::Length { bytes: 65 }));
        for bad in [
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_not base64!",
            "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        ] {
            let error = Secret::parse(bad).unwrap_err();
            assert!(!error.to_string().contains("MfKQ"), "{error}");
        }
    }
}
