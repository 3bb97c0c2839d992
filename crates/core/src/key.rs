//! API keys: what they look like, what they may do, and what may be asked about them. Pure.
//!
//! A key is `lvq_<24 hex digits of its id>_<64 hex digits>`: the prefix lets scanners recognise a leaked one, the id lets its
//! owner find it in the list, and the rest are 256 random bits. It is kept as its SHA-256: a slow hash (argon2) protects
//! what people can guess, and nobody guesses 256 random bits; it would only make every request slow.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::duration::{
    DAY_MS, HOUR_MS, parse_duration_ms, parse_epoch_ms, parse_rfc3339_ms, parse_seconds_ms,
};
use crate::fields::{self, fields};
use crate::intake::text;
use crate::json::{decode, element};

pub use crate::fields::Problem;

pub const MAX_NAME_CHARS: usize = 100;
/// How long the old key lives on after a rotation, unless the request says otherwise.
pub const OVERLAP_MS: i64 = 24 * HOUR_MS;
pub const MAX_OVERLAP_MS: i64 = 30 * DAY_MS;

const PREFIX: &str = "lvq_";
const ID_DIGITS: usize = 24;

/// What a key is good for. None includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Looking.
    Read,
    /// Handing in work.
    Submit,
    /// Steering jobs, workflows and people.
    Operate,
    /// Keys, connections, the audit log, backups.
    Admin,
    /// Calling AI models, within the budgets.
    Ai,
    /// Deciding about money: budgets, prices, corrections, the switch that stops AI calls.
    Budgets,
}

impl Scope {
    pub const ALL: [Scope; 6] =
        [Scope::Read, Scope::Submit, Scope::Operate, Scope::Admin, Scope::Ai, Scope::Budgets];

    pub fn as_str(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Submit => "submit",
            Scope::Operate => "operate",
            Scope::Admin => "admin",
            Scope::Ai => "ai",
            Scope::Budgets => "budgets",
        }
    }

    pub fn parse(word: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|scope| scope.as_str() == word)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    pub fn all() -> Scopes {
        Scope::ALL.into_iter().collect()
    }

    pub fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Reads what [`fmt::Display`] writes; `None` for an unknown word, and for none at all.
    pub fn parse(text: &str) -> Option<Scopes> {
        text.split(',').map(Scope::parse).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Scopes(scopes.into_iter().fold(0, |set, scope| set | 1 << scope as u8))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.iter().map(Scope::as_str).collect();
        f.write_str(&words.join(","))
    }
}

/// A key that was just made. Its text is shown once and kept nowhere; `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Minted {
    pub id: String,
    text: String,
}

impl Minted {
    /// `random` must come from a cryptographic source. Ids sort by the time of their making.
    pub fn new(now_ms: i64, random: [u8; 38]) -> Minted {
        let (of_id, secret) = random.split_at(6);
        let id = format!("{:012x}{}", now_ms.max(0) as u64 & 0xffff_ffff_ffff, hex(of_id));
        Minted { text: format!("{PREFIX}{id}_{}", hex(secret)), id }
    }

    /// The key itself, for the one answer that shows it.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is kept of it.
    pub fn hash(&self) -> String {
        hex(&digest(self.text.as_bytes()))
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}", self.id)
    }
}

/// SHA-256 of a key as it was sent.
pub fn digest(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Reads [`Minted::hash`].
pub fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(hash)
}

/// Whether a text can be the id of a key.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRequest {
    pub name: String,
    pub scopes: Scopes,
    pub expires_at_ms: Option<i64>,
}

/// What is to become of a key and its successor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// How long the old key lives on.
    pub overlap_ms: i64,
    /// When the new one ends; `None`: it lives as long as the old one was meant to.
    pub expires_at_ms: Option<i64>,
}

/// Reads the body of a request for a new key.
pub fn parse_request(body: &str, now_ms: i64) -> Result<KeyRequest, Problem> {
    let body = fields::read(body)?;
    let [name, scopes, expires_at] = fields(&body, ["name", "scopes", "expires_at"])?;
    let name = name.ok_or_else(|| Problem::missing("/name", "a string of 1 to 100 characters"))?;
    let scopes = scopes
        .ok_or_else(|| Problem::missing("/scopes", "a list of read, submit, operate, admin, ai, budgets"))?;
    Ok(KeyRequest {
        name: parse_name(name)?,
        scopes: parse_scopes(scopes)?,
        expires_at_ms: expires_at.map(|raw| parse_expiry(raw, now_ms)).transpose()?,
    })
}

/// Reads the body of a rotation. An empty one is fine.
pub fn parse_rotation(body: &str, now_ms: i64) -> Result<Rotation, Problem> {
    if body.is_empty() {
        return Ok(Rotation { overlap_ms: OVERLAP_MS, expires_at_ms: None });
    }
    let body = fields::read(body)?;
    let [overlap, expires_at] = fields(&body, ["overlap", "expires_at"])?;
    Ok(Rotation {
        overlap_ms: overlap.map_or(Ok(OVERLAP_MS), parse_overlap)?,
        expires_at_ms: expires_at.map(|raw| parse_expiry(raw, now_ms)).transpose()?,
    })
}

fn parse_name(raw: &str) -> Result<String, Problem> {
    let allowed = "must be a string of 1 to 100 characters, not all blank, without control characters";
    let name = text(raw, 1, MAX_NAME_CHARS).filter(|name| is_name(name));
    name.map(|name| name.into_owned()).ok_or_else(|| Problem::field("/name", raw, allowed))
}

/// Whether a key may be called so.
pub fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_CHARS).contains(&name.chars().take(MAX_NAME_CHARS + 1).count())
        && !name.chars().any(char::is_control)
        && !name.trim().is_empty()
}

fn parse_scopes(raw: &str) -> Result<Scopes, Problem> {
    let wrong = || {
        Problem::field("/scopes", raw, "must be a list of some of read, submit, operate, admin, ai, budgets")
    };
    let mut found = Vec::new();
    if !raw.starts_with('[') {
        return Err(wrong());
    }
    // One more than there are is one too many, whatever it says.
    for place in 0..=Scope::ALL.len() {
        let Some(item) = element(raw, place) else { break };
        let scope = decode(item).and_then(|word| Scope::parse(&word)).filter(|scope| !found.contains(scope));
        found.push(scope.ok_or_else(wrong)?);
    }
    if found.is_empty() { Err(wrong()) } else { Ok(found.into_iter().collect()) }
}

fn parse_expiry(raw: &str, now_ms: i64) -> Result<i64, Problem> {
    let at_ms = match decode(raw) {
        Some(text) => parse_rfc3339_ms(&text),
        None => parse_epoch_ms(raw),
    };
    let at_ms = at_ms.map_err(|problem| Problem::field("/expires_at", raw, problem))?;
    if at_ms <= now_ms {
        return Err(Problem::field("/expires_at", raw, "must lie in the future"));
    }
    Ok(at_ms)
}

fn parse_overlap(raw: &str) -> Result<i64, Problem> {
    let overlap_ms = match decode(raw) {
        Some(text) => parse_duration_ms(&text),
        None => parse_seconds_ms(raw),
    };
    match overlap_ms {
        Ok(ms) if ms <= MAX_OVERLAP_MS => Ok(ms),
        Ok(_) => Err(Problem::field("/overlap", raw, "must be 30d at most")),
        Err(problem) => Err(Problem::field("/overlap", raw, problem)),
    }
}

#[cfg(test)]
mod tests;
