//! When a model is not asked: after trouble in a row, and while its provider wants to be left alone. No clock and no lock here.
//!
//! Trouble is an answer whose cost nobody knows: each is charged in full, so an outage would eat the budget. After three in a
//! row calls wait; when the pause is over one call tries, and its end decides.

const TROUBLE_IN_A_ROW: u32 = 3;
const FIRST_PAUSE_MS: i64 = 30_000;
const LONGEST_PAUSE_MS: i64 = 300_000;
/// While somebody else tries.
const LOOK_AGAIN_MS: i64 = 1_000;

/// How a call ended, as far as it says something about the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It answers, if only with a refusal.
    Answers,
    /// Nobody knows what became of the request.
    InDoubt,
    /// The request never got there.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Open for this one call, which tells what comes next; its number goes with it.
    Try(u64),
    /// Its provider wants no calls until then.
    Told {
        until_ms: i64,
    },
    Broken {
        until_ms: i64,
    },
}

/// What is known of one model.
#[derive(Clone, Debug, Default)]
pub(super) struct Breaker {
    in_a_row: u32,
    pause_ms: i64,
    /// `None`: calls go out.
    broken_until_ms: Option<i64>,
    trying: Option<u64>,
    tries: u64,
    told_until_ms: i64,
}

impl Breaker {
    pub fn gate(&mut self, now_ms: i64) -> Gate {
        if self.told_until_ms > now_ms {
            return Gate::Told { until_ms: self.told_until_ms };
        }
        match self.broken_until_ms {
            None => Gate::Open,
            Some(until_ms) if until_ms > now_ms => Gate::Broken { until_ms },
            Some(_) if self.trying.is_some() => Gate::Broken { until_ms: now_ms + LOOK_AGAIN_MS },
            Some(_) => {
                self.tries += 1;
                self.trying = Some(self.tries);
                Gate::Try(self.tries)
            }
        }
    }

    /// Takes a call's end. True: calls wait from now on, and did not before.
    pub fn ended(&mut self, verdict: Verdict, trying: Option<u64>, now_ms: i64) -> bool {
        let was_try = trying.is_some() && self.trying == trying;
        if was_try {
            self.trying = None;
        }
        match verdict {
            Verdict::Answers => {
                (self.in_a_row, self.pause_ms, self.broken_until_ms) = (0, 0, None);
                false
            }
            Verdict::Nothing => {
                if was_try {
                    self.broken_until_ms = Some(now_ms + self.pause_ms);
                }
                false
            }
            Verdict::InDoubt => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                let was_broken = self.broken_until_ms.is_some();
                // Those that were out when it broke say nothing new.
                if was_try || (!was_broken && self.in_a_row >= TROUBLE_IN_A_ROW) {
                    self.pause_ms = (self.pause_ms * 2).clamp(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
                    self.broken_until_ms = Some(now_ms + self.pause_ms);
                }
                !was_broken && self.broken_until_ms.is_some()
            }
        }
    }

    /// The try was given up before it was sent, or nobody knows any more: another one may try.
    pub fn given_up(&mut self, trying: u64) {
        if self.trying == Some(trying) {
            self.trying = None;
        }
    }

    /// The provider wants no calls until then.
    pub fn told(&mut self, until_ms: i64) {
        self.told_until_ms = self.told_until_ms.max(until_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken() -> Breaker {
        let mut breaker = Breaker::default();
        assert!(!breaker.ended(Verdict::InDoubt, None, 0));
        assert!(!breaker.ended(Verdict::InDoubt, None, 0));
        assert!(breaker.ended(Verdict::InDoubt, None, 0));
        breaker
    }

    #[test]
    fn three_in_a_row_break_it_and_fewer_do_not() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.ended(Verdict::InDoubt, None, 0);
            breaker.ended(Verdict::Nothing, None, 0);
            breaker.ended(Verdict::InDoubt, None, 0);
            breaker.ended(Verdict::Answers, None, 0);
        }
        assert_eq!(breaker.gate(0), Gate::Open);
        assert_eq!(broken().gate(29_999), Gate::Broken { until_ms: 30_000 });
    }

    #[test]
    fn one_call_tries_and_its_end_decides() {
        let mut breaker = broken();
        assert_eq!(breaker.gate(30_000), Gate::Try(1));
        assert_eq!(breaker.gate(30_000), Gate::Broken { until_ms: 31_000 }, "one at a time");
        assert!(!breaker.ended(Verdict::InDoubt, None, 30_000), "one that was out before says nothing new");
        assert_eq!(breaker.gate(30_500), Gate::Broken { until_ms: 31_500 });

        breaker.ended(Verdict::InDoubt, Some(1), 40_000);
        assert_eq!(breaker.gate(99_999), Gate::Broken { until_ms: 100_000 }, "the pause doubles");
        assert_eq!(breaker.gate(100_000), Gate::Try(2));
        breaker.given_up(1);
        assert_eq!(
            breaker.gate(100_000),
            Gate::Broken { until_ms: 101_000 },
            "another's word does not count"
        );
        breaker.given_up(2);
        assert_eq!(breaker.gate(100_000), Gate::Try(3));
        breaker.ended(Verdict::Nothing, Some(3), 100_000);
        assert_eq!(breaker.gate(159_999), Gate::Broken { until_ms: 160_000 }, "the pause again");
        assert_eq!(breaker.gate(160_000), Gate::Try(4));
        breaker.ended(Verdict::Answers, Some(4), 160_000);
        assert_eq!(breaker.gate(160_000), Gate::Open);
    }

    #[test]
    fn the_pause_grows_to_five_minutes() {
        let (mut breaker, mut now_ms, mut pauses) = (broken(), 0, Vec::new());
        for _ in 0..6 {
            let Gate::Broken { until_ms } = breaker.gate(now_ms) else { panic!() };
            pauses.push((until_ms - now_ms) / 1_000);
            now_ms = until_ms;
            let Gate::Try(number) = breaker.gate(now_ms) else { panic!() };
            breaker.ended(Verdict::InDoubt, Some(number), now_ms);
        }
        assert_eq!(pauses, [30, 60, 120, 240, 300, 300]);
    }

    #[test]
    fn a_provider_is_left_alone_as_long_as_it_says() {
        let mut breaker = Breaker::default();
        breaker.told(5_000);
        breaker.told(3_000);
        assert_eq!(breaker.gate(4_999), Gate::Told { until_ms: 5_000 });
        assert_eq!(breaker.gate(5_000), Gate::Open);
    }
}
