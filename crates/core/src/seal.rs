//! Sealing: credentials at rest, by XChaCha20-Poly1305 with a random nonce of 24 bytes.
//!
//! A sealed text names the key it was sealed with, so that keys can be rotated, and holds only where it was put: the record
//! it belongs to is authenticated with it. Neither keys nor what was opened can show themselves.
//!
//! Invariant: a nonce is never used twice with one key. It comes from the caller, who has randomness.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// What the form of a sealed text is called; another form gets another word.
const FORM: &str = "x1";
const NONCE_BYTES: usize = 24;

/// A secret text: not printable, wiped when it is dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SecretText(String);

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        SecretText(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A key for sealing.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; 32]);

/// The text is no key. It is not repeated here, because it may be one with a slip in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is 32 random bytes as 64 hex digits or in base64; `openssl rand -hex 32` makes one")]
pub struct BadKey;

impl SealKey {
    /// A key from bytes of a cryptographic source.
    pub fn from_random(bytes: [u8; 32]) -> Self {
        SealKey(bytes)
    }

    /// Reads 64 hex digits, or base64 of 32 bytes.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        let text = text.trim();
        let mut bytes = match text.len() {
            64 => unhex(text).ok_or(BadKey)?,
            _ => STANDARD.decode(text).map_err(|_| BadKey)?,
        };
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| BadKey)?;
        bytes.zeroize();
        // A key of one byte repeated is what a placeholder looks like.
        if key.iter().all(|byte| *byte == key[0]) {
            return Err(BadKey);
        }
        Ok(SealKey(key))
    }

    /// The key in hex, as its file holds it.
    pub fn to_text(&self) -> SecretText {
        SecretText(hex(&self.0))
    }

    /// Tells keys apart, and says nothing about them.
    pub fn id(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(b"levqor seal key\0");
        hash.update(self.0);
        hex(&hash.finalize()[..4])
    }

    /// Seals `plain` for this record.
    pub fn seal(&self, record: &str, nonce: [u8; NONCE_BYTES], plain: &SecretText) -> String {
        let payload = Payload { msg: plain.0.as_bytes(), aad: record.as_bytes() };
        let sealed = self
            .cipher()
            .encrypt(&XNonce::from(nonce), payload)
            .expect("the cipher takes everything below 256 GiB");
        let body = [nonce.as_slice(), &sealed].concat();
        format!("{FORM}.{}.{}", self.id(), STANDARD.encode(body))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&self.0).into())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.id())
    }
}

/// Why a sealed text cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotOpen {
    #[error("it was sealed with the key {id}, which is not among those at hand")]
    OtherKey { id: String },
    /// Changed, cut, or moved here from another record.
    #[error("it is damaged, or belongs to another record")]
    Damaged,
}

/// The key that seals, and those that may still open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyring {
    keys: Vec<SealKey>,
}

impl Keyring {
    /// The first key seals; all of them open. None: nothing can be sealed.
    pub fn new(keys: impl IntoIterator<Item = SealKey>) -> Self {
        Keyring { keys: keys.into_iter().collect() }
    }

    /// The same, with this key before the others.
    pub fn led_by(&self, key: SealKey) -> Self {
        let others = self.keys.iter().filter(|other| **other != key).cloned();
        Keyring { keys: std::iter::once(key.clone()).chain(others).collect() }
    }

    pub fn newest(&self) -> Option<&SealKey> {
        self.keys.first()
    }

    /// Whether the key that this text was sealed with is here.
    pub fn knows(&self, sealed: &str) -> bool {
        self.key_of(sealed).is_ok()
    }

    /// Opens what was sealed for this record.
    pub fn open(&self, record: &str, sealed: &str) -> Result<SecretText, CannotOpen> {
        let (key, body) = self.key_of(sealed)?;
        let body = STANDARD.decode(body).map_err(|_| CannotOpen::Damaged)?;
        let (nonce, sealed) = body.split_first_chunk::<NONCE_BYTES>().ok_or(CannotOpen::Damaged)?;
        let payload = Payload { msg: sealed, aad: record.as_bytes() };
        let plain = key.cipher().decrypt(&XNonce::from(*nonce), payload).map_err(|_| CannotOpen::Damaged)?;
        String::from_utf8(plain).map(SecretText).map_err(|error| {
            error.into_bytes().zeroize();
            CannotOpen::Damaged
        })
    }

    /// The key that a text names, and what is sealed in it.
    fn key_of<'a>(&self, sealed: &'a str) -> Result<(&SealKey, &'a str), CannotOpen> {
        let mut parts = sealed.splitn(3, '.');
        let (Some(FORM), Some(id), Some(body)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(CannotOpen::Damaged);
        };
        match self.keys.iter().find(|key| key.id() == id) {
            Some(key) => Ok((key, body)),
            None => Err(CannotOpen::OtherKey { id: id.chars().take(16).collect() }),
        }
    }
}

/// A name for a secret that says nothing about it.
pub fn digest(secret: &SecretText) -> String {
    hex(&Sha256::digest(secret.0.as_bytes()))
}

/// Eight hex digits by which a person can tell whether two secrets are the same.
pub fn fingerprint(secret: &SecretText) -> String {
    digest(secret)[..8].to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn key(byte: u8) -> SealKey {
        let mut bytes = [byte; 32];
        bytes[0] = 0xff;
        SealKey::from_random(bytes)
    }

    fn ring(keys: &[u8]) -> Keyring {
        Keyring::new(keys.iter().map(|byte| key(*byte)))
    }

    #[test]
    fn what_was_sealed_is_opened_by_its_key_for_its_record_alone() {
        let plain = SecretText::new("xoxb-canary ü");
        let sealed = key(1).seal("slack/team", [7; 24], &plain);

        assert!(!sealed.contains("canary"), "{sealed}");
        assert_eq!(ring(&[1]).open("slack/team", &sealed), Ok(plain.clone()));
        assert_eq!(ring(&[2, 1]).open("slack/team", &sealed), Ok(plain), "an older key opens too");
        assert_eq!(ring(&[1]).open("slack/other", &sealed), Err(CannotOpen::Damaged));
        let id = key(1).id();
        assert_eq!(ring(&[2]).open("slack/team", &sealed), Err(CannotOpen::OtherKey { id }));
        assert!(ring(&[2, 1]).knows(&sealed) && !ring(&[2]).knows(&sealed));
        assert_eq!(ring(&[]).newest(), None);
    }

    #[test]
    fn the_cipher_is_the_one_of_the_draft() {
        // Test vector of draft-irtf-cfrg-xchacha, appendix A.3.1.
        let bytes: [u8; 32] = std::array::from_fn(|at| 0x80 + at as u8);
        let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + at as u8);
        let text = "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.";
        let payload = Payload {
            msg: text.as_bytes(),
            aad: &[0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7],
        };

        let sealed = SealKey::from_random(bytes).cipher().encrypt(&XNonce::from(nonce), payload).unwrap();

        assert_eq!(hex(&sealed[..16]), "bd6d179d3e83d43b9576579493c0e939");
        assert_eq!(hex(&sealed[sealed.len() - 16..]), "c0875924c1c7987947deafd8780acf49");
    }

    #[test]
    fn no_change_of_a_sealed_text_goes_unnoticed() {
        let sealed = key(1).seal("r", [7; 24], &SecretText::new("secret"));
        let ring = ring(&[1]);
        for at in 0..sealed.len() {
            for byte in [b'A', b'f', b'.', b'0'] {
                let mut bytes = sealed.clone().into_bytes();
                if bytes[at] == byte {
                    continue;
                }
                bytes[at] = byte;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(ring.open("r", &changed).is_err(), "{changed}");
            }
            assert!(ring.open("r", &sealed[..at]).is_err(), "cut at {at}");
        }
        for text in ["", ".", "..", "x1..", "x1", "x2.00000000.AAAA", &format!("x1.{}.", key(1).id())] {
            assert!(ring.open("r", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn keys_are_read_in_hex_and_base64_and_shown_by_their_id_alone() {
        let text = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let hexed = SealKey::parse(&format!(" {text}\n")).unwrap();
        let based = SealKey::parse("ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=").unwrap();
        assert_eq!(hexed, based);
        assert_eq!(hexed.to_text().expose(), text.to_ascii_lowercase());

        for bad in ["", "secret", &text[..62], &text.replace('0', "g"), &"0".repeat(64), "AAAA"] {
            assert_eq!(SealKey::parse(bad), Err(BadKey), "{bad}");
        }
        let shown = format!("{hexed:?} {:?} {:?}", hexed.to_text(), Keyring::new([hexed.clone()]));
        assert!(!shown.contains("00112233") && shown.contains("(hidden)"), "{shown}");
        assert_eq!(hexed.id().len(), 8);
    }

    #[test]
    fn a_fingerprint_tells_secrets_apart_and_nothing_more() {
        let print = |text: &str| fingerprint(&SecretText::new(text));

        assert_eq!(print("a"), "ca978112");
        assert_ne!(print("a"), print("b"));
    }
}
