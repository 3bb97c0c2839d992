//! Identifiers: values, never sequences.
//!
//! A job id is a capability (status is public), so all of its random bits must come from a cryptographic source. Core
//! reads neither clock nor randomness; callers hand both in.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A job's id: a UUID of version 7 (RFC 9562), written as 32 lower-case hex digits without dashes.
///
/// Ids sort by creation time (to the millisecond), which is what lists page by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u128);

impl JobId {
    /// An id for a job created at `now_ms` (milliseconds since 1970). All 74 bits that a version 7 UUID leaves open are
    /// taken from `random`, which must come from a cryptographic source.
    pub fn new(now_ms: i64, random: [u8; 10]) -> Self {
        let millis = now_ms.max(0) as u64;
        JobId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid().as_u128())
    }

    /// The smallest id that a job created at `at_ms` could have: the bound for "created before or after" in lists.
    pub fn floor(at_ms: i64) -> Self {
        JobId((at_ms.max(0) as u128) << 80)
    }

    /// When the job was created, in milliseconds since 1970.
    pub fn created_at_ms(self) -> i64 {
        (self.0 >> 80) as i64
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not 32 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job id is 32 lower-case hex digits")]
pub struct BadId;

impl FromStr for JobId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let valid =
            text.len() == 32 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !valid {
            return Err(BadId);
        }
        u128::from_str_radix(text, 16).map(JobId).map_err(|_| BadId)
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_version_7_uuid_that_carries_its_time() {
        let id = JobId::new(1_700_000_000_123, [0xff; 10]);

        let text = id.to_string();
        assert_eq!(text.len(), 32);
        assert_eq!(&text[12..13], "7", "version");
        assert_eq!(&text[16..17], "b", "variant, all random bits set");
        assert_eq!(id.created_at_ms(), 1_700_000_000_123);
        assert_eq!(text.parse::<JobId>(), Ok(id));
    }

    #[test]
    fn only_32_lower_case_hex_digits_are_an_id() {
        for bad in [
            "",
            "0",
            "018BCFE5687B7FFFBFFFFFFFFFFFFFFF",
            "018bcfe5-687b-7fff-bfff-ffffffffffff",
            "+18bcfe5687b7fffbfffffffffffffff",
        ] {
            assert_eq!(bad.parse::<JobId>(), Err(BadId), "{bad}");
        }
    }

    #[test]
    fn ids_of_later_milliseconds_sort_later_whatever_their_random_bits() {
        let early = JobId::new(1000, [0xff; 10]);
        let late = JobId::new(1001, [0; 10]);

        assert!(early < late);
        assert!(early < JobId::floor(1001) && JobId::floor(1001) <= late);
    }
}
