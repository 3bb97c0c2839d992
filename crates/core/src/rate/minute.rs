//! What was asked of somebody in the last minute, who allows so many requests and tokens in one: a value that several nodes
//! keep together, read, judged and written back by whoever holds it.
//!
//! Kept in slots of a second, so that it stays small however much is asked. A slot counts until its last moment is a minute
//! old: in no minute is more let through than the limit.

/// A limit on requests and one on tokens; `None`: there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MinuteLimits {
    pub requests: Option<u32>,
    pub tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    second: i64,
    requests: u64,
    tokens: u64,
}

/// The slots, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Minute(Vec<Slot>);

const MINUTE_MS: i64 = 60_000;

impl Slot {
    fn over_ms(&self) -> i64 {
        self.second.saturating_add(1).saturating_mul(1_000).saturating_add(MINUTE_MS)
    }
}

impl Minute {
    /// From its text. What is no slot is passed over: it lives for a minute.
    pub fn parse(text: &str) -> Self {
        let slot = |text: &str| {
            let mut parts = text.split(':');
            let second = parts.next()?.parse().ok()?;
            let mut count = || parts.next()?.parse().ok();
            Some(Slot { second, requests: count()?, tokens: count()? })
        };
        Minute(text.split(',').filter_map(slot).collect())
    }

    pub fn to_text(&self) -> String {
        let slot = |slot: &Slot| format!("{}:{}:{}", slot.second, slot.requests, slot.tokens);
        self.0.iter().map(slot).collect::<Vec<_>>().join(",")
    }

    /// Counts a request with so many tokens and returns its slot, or how long to wait. More tokens than the limit are waited
    /// for until nothing else is counted: they may go, once.
    pub fn take(&mut self, limits: &MinuteLimits, tokens: u64, now_ms: i64) -> Result<i64, i64> {
        self.0.retain(|slot| slot.over_ms() > now_ms);
        let mut requests: u64 = self.0.iter().map(|slot| slot.requests).sum();
        let mut counted = self.0.iter().fold(0u64, |sum, slot| sum.saturating_add(slot.tokens));
        let mut wait_ms = 0;
        for slot in &self.0 {
            let has_requests = limits.requests.is_none_or(|most| requests < u64::from(most));
            let has_tokens =
                limits.tokens.is_none_or(|most| counted == 0 || counted.saturating_add(tokens) <= most);
            if has_requests && has_tokens {
                break;
            }
            requests -= slot.requests;
            counted = counted.saturating_sub(slot.tokens);
            wait_ms = (slot.over_ms() - now_ms).max(1);
        }
        if wait_ms > 0 {
            return Err(wait_ms);
        }
        // Times never go back in it, so that the oldest is the first.
        let second = now_ms.div_euclid(1_000);
        let second = self.0.last().map_or(second, |last| second.max(last.second));
        match self.0.last_mut().filter(|last| last.second == second) {
            Some(last) => {
                last.requests += 1;
                last.tokens = last.tokens.saturating_add(tokens);
            }
            None => self.0.push(Slot { second, requests: 1, tokens }),
        }
        Ok(second)
    }

    /// A request of this slot used other than what was counted for it; `None`: it never went out.
    pub fn correct(&mut self, second: i64, counted: u64, used: Option<u64>) {
        if let Some(slot) = self.0.iter_mut().find(|slot| slot.second == second) {
            slot.tokens = slot.tokens.saturating_sub(counted).saturating_add(used.unwrap_or(0));
            slot.requests = slot.requests.saturating_sub(u64::from(used.is_none()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: u32, tokens: u64) -> MinuteLimits {
        MinuteLimits { requests: Some(requests), tokens: Some(tokens) }
    }

    #[test]
    fn in_no_minute_is_more_let_through_than_either_limit() {
        let (mut minute, mut through) = (Minute::default(), Vec::new());
        for now_ms in (0..600_000).step_by(137) {
            let tokens = (now_ms % 90) as u64;
            if minute.take(&limits(10, 300), tokens, now_ms).is_ok() {
                through.push((now_ms, tokens));
            }
            minute = Minute::parse(&minute.to_text());
        }

        for (from, _) in &through {
            let within = through.iter().filter(|(at, _)| (*from..from + 60_000).contains(at));
            let (count, tokens) = within.fold((0, 0), |(count, sum), (_, tokens)| (count + 1, sum + tokens));
            assert!(count <= 10 && tokens <= 300, "{from}: {count}, {tokens}");
        }
        assert!(through.len() > 50, "{}", through.len());
    }

    #[test]
    fn the_wait_is_as_long_as_it_takes_and_a_correction_makes_room() {
        let mut minute = Minute::default();
        assert_eq!(minute.take(&limits(9, 100), 80, 500), Ok(0));
        assert_eq!(minute.take(&limits(9, 100), 30, 2_500), Err(58_500));

        minute.correct(0, 80, Some(20));
        assert_eq!(minute.take(&limits(9, 100), 30, 2_500), Ok(2));
        assert_eq!(minute.take(&limits(2, 100), 1, 3_000), Err(58_000), "requests are counted as well");
        minute.correct(2, 30, None);
        assert_eq!(
            minute.take(&limits(2, 100), 80, 3_000),
            Ok(3),
            "one that never went out gives all of it back"
        );
        assert_eq!(minute.take(&limits(2, 100), 1, 61_000), Ok(61));
    }

    #[test]
    fn what_is_larger_than_the_limit_goes_alone() {
        let mut minute = Minute::default();
        assert_eq!(minute.take(&limits(9, 100), 5_000, 0), Ok(0));
        assert_eq!(minute.take(&limits(9, 100), 1, 1_000), Err(60_000));
        assert_eq!(minute.take(&MinuteLimits::default(), u64::MAX, 1_000), Ok(1), "no limit, no wait");
    }

    #[test]
    fn nonsense_is_passed_over() {
        assert_eq!(Minute::parse("x,1:2,3:4:5,:::,-1:0:0").to_text(), "3:4:5,-1:0:0");
    }
}
