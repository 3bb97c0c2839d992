//! A budget as somebody set it up, the two that are in force from the first start, and when a threshold is crossed.

use std::fmt;

use super::scope::{Scope, ScopeKind};
use super::window::{Window, Zone};
use crate::money::{Nano, words};

words! {
    /// What a spent budget does.
    Mode {
        /// Refuses the call.
        Hard = "hard",
        /// Lets it pass, and tells.
        Soft = "soft",
        /// Counts, and tells nobody.
        Observe = "observe",
    }
}

/// A name that an operator gave: 1 to 64 lower-case letters, digits, `-` and `_`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BudgetId(String);

impl BudgetId {
    pub fn parse(text: &str) -> Result<Self, BadBudget> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        let is_fine = (1..=64).contains(&text.len()) && text.bytes().all(is_plain);
        if is_fine { Ok(BudgetId(text.to_owned())) } else { Err(BadBudget::Id) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BudgetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for BudgetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The two budgets that stand on settings.
pub const DEFAULT_JOB_ID: &str = "max-cost-per-job";
pub const DEFAULT_DAY_ID: &str = "max-cost-per-day";

/// The budget that is there while AI calls are stopped: nothing, for everybody, for ever.
pub const STOP_ID: &str = "ai-stop";

/// The setting that a budget stands on.
pub fn setting_of(id: &str) -> Option<&'static str> {
    match id {
        DEFAULT_JOB_ID => Some("MAX_COST_PER_JOB"),
        DEFAULT_DAY_ID => Some("MAX_COST_PER_DAY"),
        _ => None,
    }
}

/// A limit for somebody over some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    pub id: BudgetId,
    pub scope: Scope,
    pub window: Window,
    pub zone: Zone,
    /// 0 closes the scope: a switch that stops everything.
    pub limit: Nano,
    pub mode: Mode,
    /// Parts of the limit, in millionths, ascending: passing one raises an alert, once a period.
    pub thresholds_ppm: Vec<u32>,
    /// Calls that may be open at the same time.
    pub max_open_holds: Option<i64>,
    pub enabled: bool,
}

/// What is wrong with a budget.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBudget {
    #[error("id must be 1 to 64 lower-case letters, digits, - and _")]
    Id,
    #[error("scope_id must be empty for the scope global")]
    GlobalId,
    #[error("scope_id is missing: name one {0}, or write * for each by itself")]
    NoScopeId(&'static str),
    #[error("scope_id must have 300 bytes at most")]
    LongScopeId,
    #[error("scope_id must be * for the scope job: each job counts for itself")]
    JobId,
    #[error("limit must not be negative")]
    Limit,
    #[error("thresholds must be at most 10, ascending, each more than 0 and at most 1000 percent")]
    Thresholds,
    #[error("max_open_holds must be 1 or more")]
    Holds,
}

/// A whole, in millionths.
pub const PPM: u32 = 1_000_000;

impl Budget {
    pub fn check(&self) -> Result<(), BadBudget> {
        let id = self.scope.id.as_str();
        match self.scope.kind {
            ScopeKind::Global if !id.is_empty() => return Err(BadBudget::GlobalId),
            ScopeKind::Global => {}
            kind if id.is_empty() => return Err(BadBudget::NoScopeId(kind.as_str())),
            ScopeKind::Job if !self.scope.is_each() => return Err(BadBudget::JobId),
            _ if id.len() > 300 => return Err(BadBudget::LongScopeId),
            _ => {}
        }
        let ascending = self.thresholds_ppm.windows(2).all(|pair| pair[0] < pair[1]);
        let in_range = self.thresholds_ppm.iter().all(|ppm| (1..=10 * PPM).contains(ppm));
        if self.thresholds_ppm.len() > 10 || !ascending || !in_range {
            return Err(BadBudget::Thresholds);
        }
        if self.limit < Nano::ZERO {
            return Err(BadBudget::Limit);
        }
        if self.max_open_holds.is_some_and(|most| most < 1) {
            return Err(BadBudget::Holds);
        }
        Ok(())
    }
}

/// What one job may cost with its children, retries, repairs and fallbacks.
pub fn default_job(limit: Nano) -> Budget {
    default(DEFAULT_JOB_ID, Scope::each(ScopeKind::Job), Window::Job, limit)
}

/// What everything may cost in a day (UTC).
pub fn default_day(limit: Nano) -> Budget {
    default(DEFAULT_DAY_ID, Scope::global(), Window::Day, limit)
}

/// Refuses every call, also those that cost nothing.
pub fn stop() -> Budget {
    let thresholds_ppm = Vec::new();
    Budget { thresholds_ppm, ..default(STOP_ID, Scope::global(), Window::Total, Nano::ZERO) }
}

fn default(id: &str, scope: Scope, window: Window, limit: Nano) -> Budget {
    Budget {
        id: BudgetId(id.to_owned()),
        scope,
        window,
        zone: Zone::utc(),
        limit,
        mode: Mode::Hard,
        thresholds_ppm: vec![PPM / 2, PPM / 10 * 8, PPM],
        max_open_holds: None,
        enabled: true,
    }
}

/// What has to be spent to pass a threshold: the part of the limit, rounded up.
pub fn passed_at(limit: Nano, threshold_ppm: u32) -> Nano {
    let product = i128::from(limit.get()) * i128::from(threshold_ppm);
    let whole = i128::from(PPM);
    let nano = product.div_euclid(whole) + i128::from(product.rem_euclid(whole) != 0);
    Nano::new(i64::try_from(nano).unwrap_or(i64::MAX))
}

/// The thresholds that are passed by what was spent now and were not before. A budget of nothing has none to pass.
pub fn crossed(before: Nano, after: Nano, limit: Nano, thresholds_ppm: &[u32]) -> Vec<u32> {
    let is_passed = |spent: Nano, ppm: u32| spent >= passed_at(limit, ppm);
    if limit <= Nano::ZERO {
        return Vec::new();
    }
    thresholds_ppm.iter().copied().filter(|ppm| is_passed(after, *ppm) && !is_passed(before, *ppm)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_threshold_is_crossed_where_the_spending_reaches_it() {
        let crossed = |before, after| {
            crossed(Nano::new(before), Nano::new(after), Nano::new(3), &[333_333, 500_000, PPM])
        };

        assert_eq!(crossed(0, 0), [0; 0]);
        assert_eq!(crossed(0, 1), [333_333]);
        assert_eq!(crossed(1, 2), [500_000]);
        assert_eq!(crossed(0, 5), [333_333, 500_000, PPM]);
        assert_eq!(crossed(3, 5), [0; 0]);
        assert_eq!(crossed(5, 2), [0; 0], "money that comes back crosses nothing");
    }

    #[test]
    fn a_budget_of_nothing_has_no_thresholds() {
        assert_eq!(crossed(Nano::ZERO, Nano::new(1), Nano::ZERO, &[PPM]), [0; 0]);
    }

    #[test]
    fn the_defaults_hold_from_the_first_start() {
        let (job, day) = (default_job(Nano::parse("0.35").unwrap()), default_day(Nano::parse("10").unwrap()));

        assert_eq!((job.check(), day.check()), (Ok(()), Ok(())));
        assert_eq!((job.mode, day.mode), (Mode::Hard, Mode::Hard));
        assert_eq!(BudgetId::parse(DEFAULT_JOB_ID).unwrap(), job.id);
        assert_eq!(BudgetId::parse(DEFAULT_DAY_ID).unwrap(), day.id);
    }

    #[test]
    fn a_budget_that_makes_no_sense_is_told_why() {
        let good = default_day(Nano::new(1));
        let with = |change: fn(&mut Budget)| {
            let mut budget = good.clone();
            change(&mut budget);
            budget.check().unwrap_err()
        };

        assert_eq!(with(|it| it.scope.id = "x".to_owned()), BadBudget::GlobalId);
        assert_eq!(
            with(|it| it.scope = Scope { kind: ScopeKind::User, id: String::new() }),
            BadBudget::NoScopeId("user")
        );
        assert_eq!(
            with(|it| it.scope = Scope { kind: ScopeKind::Job, id: "x".to_owned() }),
            BadBudget::JobId
        );
        assert_eq!(
            with(|it| it.scope = Scope { kind: ScopeKind::User, id: "x".repeat(301) }),
            BadBudget::LongScopeId
        );
        assert_eq!(with(|it| it.limit = Nano::new(-1)), BadBudget::Limit);
        assert_eq!(with(|it| it.thresholds_ppm = vec![5, 5]), BadBudget::Thresholds);
        assert_eq!(with(|it| it.thresholds_ppm = vec![0]), BadBudget::Thresholds);
        assert_eq!(with(|it| it.max_open_holds = Some(0)), BadBudget::Holds);
        for bad in ["", "A", "a b", "ä", &"x".repeat(65)] {
            assert_eq!(BudgetId::parse(bad), Err(BadBudget::Id), "{bad}");
        }
    }
}
