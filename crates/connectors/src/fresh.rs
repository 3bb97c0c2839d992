//! Fresh tokens of stored credentials, in memory until they run out, so that not each call renews one.
//!
//! Never on disk: what is lost with the process is renewed. Credentials that were replaced have another name here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use levqor_core::seal::SecretText;

/// Taken off what the vendor says, so that a token does not run out on its way.
const MARGIN_MS: i64 = 60_000;
/// More than there can be stored connections.
const KEPT_MAX: usize = 2_000;

#[derive(Default)]
pub(crate) struct FreshTokens(Mutex<HashMap<String, Fresh>>);

struct Fresh {
    token: SecretText,
    until_ms: i64,
}

impl FreshTokens {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Fresh>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn find(&self, name: &str, now_ms: i64) -> Option<SecretText> {
        self.lock().get(name).filter(|fresh| fresh.until_ms > now_ms).map(|fresh| fresh.token.clone())
    }

    /// Keeps a token for as long as its vendor says that it holds.
    pub fn keep(&self, name: &str, token: SecretText, holds_secs: u64, now_ms: i64) {
        let holds_ms = i64::try_from(holds_secs).unwrap_or(i64::MAX).saturating_mul(1000);
        let until_ms = now_ms.saturating_add(holds_ms).saturating_sub(MARGIN_MS);
        let mut kept = self.lock();
        if kept.len() >= KEPT_MAX {
            kept.retain(|_, fresh| fresh.until_ms > now_ms);
        }
        if until_ms > now_ms && kept.len() < KEPT_MAX {
            kept.insert(name.to_owned(), Fresh { token, until_ms });
        }
    }

    /// The vendor does not accept it any more.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_kept_until_a_minute_before_it_runs_out() {
        let fresh = FreshTokens::default();
        fresh.keep("a", SecretText::new("t"), 3_600, 1_000);

        let found = |now_ms| fresh.find("a", now_ms).map(|token| token.expose().to_owned());
        assert_eq!(found(1_000).as_deref(), Some("t"));
        assert_eq!(found(3_540_999).as_deref(), Some("t"));
        assert_eq!(found(3_541_000), None);
        assert!(fresh.find("b", 1_000).is_none());
        fresh.forget("a");
        assert_eq!(found(1_000), None);
    }

    #[test]
    fn odd_times_keep_nothing_and_break_nothing() {
        let fresh = FreshTokens::default();
        for secs in [0, 59, 60] {
            fresh.keep("a", SecretText::new("t"), secs, 0);
            assert!(fresh.find("a", 0).is_none(), "{secs}");
        }
        fresh.keep("a", SecretText::new("t"), u64::MAX, i64::MAX - 5);
        assert!(fresh.lock().len() <= 1);
    }

    #[test]
    fn their_number_is_bounded() {
        let fresh = FreshTokens::default();
        for n in 0..2 * KEPT_MAX {
            fresh.keep(&n.to_string(), SecretText::new("t"), 3_600, 0);
        }
        assert_eq!(fresh.lock().len(), KEPT_MAX);
        fresh.keep("late", SecretText::new("t"), 3_600, 4_000_000);
        assert_eq!(fresh.lock().len(), 1, "those that ran out make room");
    }
}
