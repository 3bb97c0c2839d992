//! When a failed step runs again. Pure: the time and the random number are arguments.

/// What another side may ask for with `Retry-After`; more is cut to this.
pub const MAX_RETRY_AFTER_MS: i64 = 24 * 60 * 60 * 1000;

/// How the pause grows from attempt to attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// Always `first`.
    Fixed,
    /// `first`, then twice the pause before, never above `max`.
    Exponential,
}

impl Backoff {
    pub const NAMES: [&'static str; 2] = ["fixed", "exponential"];

    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "fixed" => Some(Backoff::Fixed),
            "exponential" => Some(Backoff::Exponential),
            _ => None,
        }
    }
}

/// A step's `retry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, the first one included.
    pub attempts: u32,
    pub backoff: Backoff,
    pub first_ms: i64,
    pub max_ms: i64,
    pub jitter: bool,
}

impl RetryPolicy {
    /// One attempt: the policy of a step without `retry`.
    pub const NONE: RetryPolicy =
        RetryPolicy { attempts: 1, backoff: Backoff::Fixed, first_ms: 0, max_ms: 0, jitter: false };

    /// When attempt `attempt_in_budget` (counted from 1) has failed at `now_ms`: the time of the next one, or `None` when
    /// there is none left.
    ///
    /// The pause is `first` (fixed) or `first · 2^(attempt - 1)` capped at `max` (exponential). Jitter shortens it to 50–100 %,
    /// evenly spread by `random` in 0..1, so that jobs that failed together do not come back together. `retry_after_ms` is obeyed
    /// as a minimum after that, up to [`MAX_RETRY_AFTER_MS`], and is not shortened.
    pub fn next(
        &self,
        attempt_in_budget: i64,
        now_ms: i64,
        retry_after_ms: Option<i64>,
        random: f64,
    ) -> Option<i64> {
        if attempt_in_budget >= i64::from(self.attempts) {
            return None;
        }
        let full_ms = self.pause_ms(attempt_in_budget);
        let share = if self.jitter { 0.5 + 0.5 * random.clamp(0.0, 1.0) } else { 1.0 };
        let pause_ms = (full_ms as f64 * share) as i64;
        let asked_ms = retry_after_ms.unwrap_or(0).clamp(0, MAX_RETRY_AFTER_MS);
        Some(now_ms.saturating_add(pause_ms.max(asked_ms)))
    }

    fn pause_ms(&self, attempt_in_budget: i64) -> i64 {
        match self.backoff {
            Backoff::Fixed => self.first_ms,
            Backoff::Exponential => {
                let doublings = attempt_in_budget.saturating_sub(1).clamp(0, 62) as u32;
                self.first_ms.saturating_mul(1i64 << doublings).min(self.max_ms)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn exponential(jitter: bool) -> RetryPolicy {
        RetryPolicy { attempts: 20, backoff: Backoff::Exponential, first_ms: 1000, max_ms: 60_000, jitter }
    }

    #[test]
    fn an_exponential_pause_doubles_up_to_its_maximum() {
        let policy = exponential(false);

        let pauses: Vec<i64> = (1..=8).map(|n| policy.next(n, 0, None, 0.3).unwrap()).collect();

        assert_eq!(pauses, [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    }

    #[test]
    fn a_fixed_pause_stays_the_same() {
        let policy = RetryPolicy { backoff: Backoff::Fixed, ..exponential(false) };

        assert_eq!(policy.next(1, 5, None, 0.0), Some(1005));
        assert_eq!(policy.next(7, 5, None, 0.0), Some(1005));
    }

    #[test]
    fn the_last_attempt_has_no_next_one() {
        let policy = RetryPolicy { attempts: 3, ..exponential(false) };

        assert!(policy.next(2, 0, None, 0.0).is_some());
        assert_eq!(policy.next(3, 0, None, 0.0), None);
        assert_eq!(policy.next(3, 0, Some(5), 0.0), None, "Retry-After adds no attempts");
        assert_eq!(RetryPolicy::NONE.next(1, 0, None, 0.0), None);
    }

    #[test]
    fn jitter_keeps_the_pause_between_half_and_all_of_it() {
        let policy = exponential(true);

        assert_eq!(policy.next(3, 0, None, 0.0), Some(2000));
        assert_eq!(policy.next(3, 0, None, 0.5), Some(3000));
        assert_eq!(policy.next(3, 0, None, 1.0), Some(4000));
        for bad in [-7.0, 9.0, f64::NAN, f64::INFINITY] {
            let pause = policy.next(3, 0, None, bad).unwrap();
            assert!((0..=4000).contains(&pause), "{bad}: {pause}");
        }
    }

    #[test]
    fn retry_after_is_a_minimum_and_is_bounded_to_a_day() {
        let policy = exponential(true);

        assert_eq!(policy.next(1, 0, Some(30_000), 0.0), Some(30_000));
        assert_eq!(policy.next(7, 0, Some(1), 1.0), Some(60_000), "shorter than the pause");
        assert_eq!(policy.next(1, 0, Some(i64::MAX), 0.0), Some(MAX_RETRY_AFTER_MS));
        assert_eq!(policy.next(1, 0, Some(-5), 0.0), Some(500));
    }

    #[test]
    fn absurd_numbers_saturate() {
        let policy = RetryPolicy {
            attempts: 20,
            backoff: Backoff::Exponential,
            first_ms: i64::MAX,
            max_ms: i64::MAX,
            jitter: false,
        };

        assert_eq!(policy.next(19, i64::MAX, None, 0.0), Some(i64::MAX));
    }
}
