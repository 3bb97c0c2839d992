//! The audit log's meaning: who did what to what, and the hash that chains each entry to the one before. Pure.
//!
//! An entry's hash is SHA-256 over the compact JSON array
//! `["levqor-audit-1",seq,at_ms,actor,action,object,detail,prev_hash]`, so whoever holds the rows can recompute it with
//! nothing of ours. What an entry tells must be neither a secret nor what erasing a person has to remove: entries are never
//! changed and never deleted.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// `prev_hash` of the first entry, and the head's hash while there is none.
pub const ORIGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Who did something. Never the key itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor(Arc<str>);

impl Actor {
    /// The program itself: files at the start, its own clocks.
    pub fn system() -> Self {
        Actor("system".into())
    }

    /// A command that worked on the database without a server.
    pub fn cli() -> Self {
        Actor("cli".into())
    }

    /// Whoever asks a server that demands no key.
    pub fn developer() -> Self {
        Actor("dev".into())
    }

    /// A key of the database, by its id.
    pub fn key(id: &str) -> Self {
        Actor(format!("key:{id}").into())
    }

    /// A key of the environment. It has no name, so 32 bits of a hash tell it from others: enough for that, and not enough
    /// to find out a random key.
    pub fn environment(key: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"levqor-audit-actor\0");
        hasher.update(key);
        Actor(format!("env:{}", &hex(&hasher.finalize())[..8]).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Something that was done, before it has its place in the chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    pub at_ms: i64,
    pub actor: Actor,
    /// `<noun>.<verb>`, such as `key.create`.
    pub action: &'static str,
    /// The id or name of what it was done to.
    pub object: String,
    /// A small JSON object.
    pub detail: Value,
}

impl Act {
    pub fn new(actor: &Actor, action: &'static str, object: impl Into<String>, at_ms: i64) -> Self {
        Act { at_ms, actor: actor.clone(), action, object: object.into(), detail: json!({}) }
    }

    pub fn detail(self, detail: Value) -> Self {
        Act { detail, ..self }
    }
}

/// One entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Counts from 1 without gaps.
    pub seq: i64,
    pub at_ms: i64,
    pub actor: String,
    pub action: String,
    pub object: String,
    /// Compact JSON; the hash is over this very text.
    pub detail: String,
    pub prev_hash: String,
    pub hash: String,
}

impl Entry {
    /// The entry that follows `head`.
    pub fn after(head: &Head, act: &Act) -> Entry {
        let mut entry = Entry {
            seq: head.seq + 1,
            at_ms: act.at_ms,
            actor: act.actor.as_str().to_owned(),
            action: act.action.to_owned(),
            object: act.object.clone(),
            detail: act.detail.to_string(),
            prev_hash: head.hash.clone(),
            hash: String::new(),
        };
        entry.hash = entry.computed_hash();
        entry
    }

    /// The hash that the entry should have.
    pub fn computed_hash(&self) -> String {
        let form = json!([
            "levqor-audit-1",
            self.seq,
            self.at_ms,
            self.actor,
            self.action,
            self.object,
            self.detail,
            self.prev_hash
        ]);
        hex(&Sha256::digest(form.to_string().as_bytes()))
    }
}

/// The end of the chain: an entry's number and hash. Noted elsewhere it proves later that nothing up to it was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// 0: the log is empty.
    pub seq: i64,
    pub hash: String,
}

impl Head {
    pub fn origin() -> Head {
        Head { seq: 0, hash: ORIGIN.to_owned() }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

/// The text is not `<number>:<64 hex digits>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a head is the number of an entry, a colon, and its hash of 64 lower-case hex digits")]
pub struct BadHead;

impl FromStr for Head {
    type Err = BadHead;

    fn from_str(text: &str) -> Result<Self, BadHead> {
        let (seq, hash) = text.split_once(':').ok_or(BadHead)?;
        let is_hash =
            hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let seq = seq.parse().ok().filter(|seq| *seq >= 0 && is_hash).ok_or(BadHead)?;
        Ok(Head { seq, hash: hash.to_owned() })
    }
}

/// Where a chain is broken, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {seq}: {what}")]
pub struct Broken {
    pub seq: i64,
    pub what: &'static str,
}

/// A check of the chain from its newest entry back to the first, in pieces of any size.
pub struct Chain {
    /// What the next older entry must be.
    expected: Head,
    noted: Option<Head>,
    checked: i64,
    first_broken: Option<Broken>,
}

impl Chain {
    /// `head` as the log keeps it now; `noted` as it was noted some time before.
    pub fn from_head(head: Head, noted: Option<Head>) -> Chain {
        let mut chain = Chain { expected: head, noted, checked: 0, first_broken: None };
        if let Some(noted) = chain.noted.take_if(|noted| noted.seq > chain.expected.seq) {
            chain.broken(noted.seq, "it was noted as the head, but the log ends before it");
        }
        chain
    }

    /// Takes the next older entry.
    pub fn check(&mut self, entry: &Entry) {
        self.checked += 1;
        if entry.seq > self.expected.seq {
            self.broken(entry.seq, "it lies beyond the head of the log");
            return;
        }
        if entry.seq < self.expected.seq {
            self.missing_after(entry.seq);
        }
        if entry.computed_hash() != entry.hash {
            self.broken(entry.seq, "its hash is not that of its content");
        } else if entry.seq == self.expected.seq && entry.hash != self.expected.hash {
            self.broken(
                entry.seq,
                "its hash is not the one that the entry after it, or the head, was chained to",
            );
        }
        if self.noted.take_if(|noted| noted.seq == entry.seq).is_some_and(|noted| noted.hash != entry.hash) {
            self.broken(entry.seq, "its hash is not the one that was noted");
        }
        self.expected = Head { seq: entry.seq - 1, hash: entry.prev_hash.clone() };
    }

    /// After the oldest entry: how many were checked, or the first that is broken.
    pub fn end(mut self) -> Result<i64, Broken> {
        if self.expected.seq > 0 {
            self.missing_after(0);
        } else if self.expected.hash != ORIGIN {
            self.broken(1, "it does not begin the chain");
        }
        self.first_broken.map_or(Ok(self.checked), Err)
    }

    fn missing_after(&mut self, seq: i64) {
        self.broken(seq + 1, "it is missing");
    }

    /// The walk goes from new to old, so what is found later is nearer to the beginning.
    fn broken(&mut self, seq: i64, what: &'static str) {
        if self.first_broken.as_ref().is_none_or(|known| seq < known.seq) {
            self.first_broken = Some(Broken { seq, what });
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
