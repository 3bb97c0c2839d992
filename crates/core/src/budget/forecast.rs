//! What a period will have cost at its end if money goes on being spent as it was. Whole numbers all the way.

use crate::money::Nano;

/// A pace over less than this says nothing.
const MIN_ELAPSED_MS: i64 = 60_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Spent when the period ends.
    pub at_end: Nano,
    /// When the limit is reached at this pace, if that is before the end.
    pub reaches_limit_at_ms: Option<i64>,
}

/// Linear: `spent` between `since_ms` and `now_ms`, and at the same pace until `end_ms`. `None` in the first minute, and when
/// the period is over.
pub fn forecast(spent: Nano, limit: Nano, since_ms: i64, now_ms: i64, end_ms: i64) -> Option<Forecast> {
    let elapsed_ms = now_ms.checked_sub(since_ms).filter(|ms| *ms >= MIN_ELAPSED_MS)?;
    let left_ms = end_ms.checked_sub(now_ms).filter(|ms| *ms >= 0)?;
    let spent = i128::from(spent.get().max(0));
    let more = ceiling(spent * i128::from(left_ms), elapsed_ms.into());
    let at_end = Nano::new(i64::try_from(spent + more).unwrap_or(i64::MAX));
    let lacks = i128::from(limit.get()) - spent;
    let reached = match (lacks, spent) {
        (..=0, _) => Some(now_ms),
        (_, 0) => None,
        (lacks, spent) => i64::try_from(ceiling(lacks * i128::from(elapsed_ms), spent))
            .ok()
            .and_then(|wait_ms| now_ms.checked_add(wait_ms)),
    };
    Some(Forecast { at_end, reaches_limit_at_ms: reached.filter(|at_ms| *at_ms < end_ms) })
}

fn ceiling(part: i128, whole: i128) -> i128 {
    part.div_euclid(whole) + i128::from(part.rem_euclid(whole) != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn of(spent: i64, limit: i64, now_ms: i64) -> Option<(i64, Option<i64>)> {
        let found = forecast(Nano::new(spent), Nano::new(limit), 0, now_ms, 24 * HOUR)?;
        Some((found.at_end.get(), found.reaches_limit_at_ms))
    }

    #[test]
    fn the_pace_goes_on_until_the_end() {
        assert_eq!(of(10, 100, 6 * HOUR), Some((40, None)));
        assert_eq!(of(10, 20, 6 * HOUR), Some((40, Some(12 * HOUR))));
        assert_eq!(of(10, 40, 6 * HOUR), Some((40, None)), "at the very end is not before it");
        assert_eq!(of(0, 100, 6 * HOUR), Some((0, None)));
        assert_eq!(of(100, 100, 6 * HOUR), Some((400, Some(6 * HOUR))), "it is reached");
        assert_eq!(of(5, 0, 6 * HOUR), Some((20, Some(6 * HOUR))));
        assert_eq!(of(1, 100, 7 * HOUR), Some((4, None)), "rounded up");
    }

    #[test]
    fn the_first_minute_and_what_is_over_have_no_forecast() {
        assert_eq!(of(10, 100, 59_999), None);
        assert!(of(10, 100, 60_000).is_some());
        assert_eq!(of(10, 100, 24 * HOUR), Some((10, None)));
        assert_eq!(of(10, 100, 24 * HOUR + 1), None);
    }

    proptest! {
        #[test]
        fn no_numbers_make_it_panic_and_it_never_tells_less_than_was_spent(
            spent in 0..=i64::MAX, limit in 0..=i64::MAX, since in any::<i64>(), now in any::<i64>(), end in any::<i64>(),
        ) {
            if let Some(found) = forecast(Nano::new(spent), Nano::new(limit), since, now, end) {
                prop_assert!(found.at_end.get() >= spent);
                prop_assert!(found.reaches_limit_at_ms.is_none_or(|at| now <= at && at < end));
            }
        }
    }
}
