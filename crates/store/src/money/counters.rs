//! Counters in memory, while their rows are locked: what a batch of holds and charges does to them. No SQL here.
//!
//! Invariant: under a hard budget spent and held together never grow beyond the limit by a hold. What a charge adds
//! beyond its hold is the provider's doing; it is counted and told.

use std::collections::BTreeMap;

use levqor_core::budget::{Budget, Mode, Period, Window, crossed, period, rolling_since};
use levqor_core::money::Nano;

use super::policy::Policy;
use super::types::{NewCall, Reason, Refusal};

/// A row of counters. Sorts in the order of locks: narrow before wide.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub rank: i64,
    pub budget: String,
    pub subject: String,
    pub period: String,
}

/// The row that stands for a rolling window as a whole: who holds money in it takes this row first.
const ROLLING: &str = "R";

/// What a call needs room in.
#[derive(Clone, Debug)]
pub(crate) struct Want {
    /// Its place in the list of budgets.
    pub budget: usize,
    pub key: Key,
    pub period: Period,
}

impl Want {
    /// The keys that are read together with its own.
    pub fn first_key(&self) -> &str {
        self.period.since.as_deref().unwrap_or(&self.key.period)
    }

    /// The row to lock beside its own.
    pub fn head(&self) -> Option<Key> {
        self.period.since.as_ref().map(|_| Key { period: ROLLING.to_owned(), ..self.key.clone() })
    }
}

/// All rows that bind the call, in the order of locks.
pub(crate) fn wants(budgets: &[Budget], call: &NewCall) -> Vec<Want> {
    let facts = call.facts();
    let mut wants = Vec::new();
    for (place, budget) in budgets.iter().enumerate().filter(|(_, budget)| budget.enabled) {
        for subject in budget.scope.subjects(&facts) {
            let period = period(budget.window, &budget.zone, call.at_ms, &facts);
            let key = Key {
                rank: budget.scope.kind.rank(),
                budget: budget.id.as_str().to_owned(),
                // A budget for one has one row.
                subject: if budget.scope.is_each() { subject } else { String::new() },
                period: period.key.clone(),
            };
            wants.push(Want { budget: place, key, period });
        }
    }
    wants.sort_by(|a, b| a.key.cmp(&b.key));
    wants
}

/// What is counted, now or as a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub spent: i64,
    pub held: i64,
    pub assumed: i64,
    pub overrun: i64,
    pub calls: i64,
    pub open_holds: i64,
}

impl Counts {
    /// Sums beyond the end of a number are none: the largest there is leaves room for nothing.
    pub fn plus(self, other: Counts) -> Counts {
        Counts {
            spent: self.spent.saturating_add(other.spent),
            held: self.held.saturating_add(other.held),
            assumed: self.assumed.saturating_add(other.assumed),
            overrun: self.overrun.saturating_add(other.overrun),
            calls: self.calls.saturating_add(other.calls),
            open_holds: self.open_holds.saturating_add(other.open_holds),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    is_there: bool,
    before: Counts,
    change: Counts,
    /// Money was newly held under a hard limit: the statement that writes the row checks it once more.
    guard: bool,
}

/// A threshold that was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Passed {
    pub key: Key,
    pub threshold_ppm: u32,
    pub spent: i64,
    pub limit: i64,
}

/// A row to be written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed<'a> {
    pub key: &'a Key,
    /// As it was read; `None`: nobody read it, or it was not there.
    pub before: Option<Counts>,
    pub change: Counts,
    pub guard: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    rows: BTreeMap<Key, Row>,
}

/// Whether an outage eats the budget. Only of windows that end by themselves: of a job's own, one answer that was lost may be
/// much, and its limit is ceiling enough.
fn is_too_uncertain(budget: &Budget, counts: &Counts, most_ppm: u32) -> bool {
    match budget.window {
        Window::Job | Window::Total => false,
        Window::Hour | Window::Day | Window::Week | Window::Month | Window::Rolling { .. } => {
            let limit = i128::from(budget.limit.get());
            i128::from(counts.assumed) * 1_000_000 > limit * i128::from(most_ppm)
        }
    }
}

impl Counters {
    /// What a row holds as the batch begins.
    pub fn load(&mut self, key: Key, before: Counts) {
        let row = self.rows.entry(key).or_default();
        (row.before, row.is_there) = (before, true);
    }

    pub fn is_loaded(&self, key: &Key) -> bool {
        self.rows.get(key).is_some_and(|row| row.is_there)
    }

    /// The counts that are measured against the limit: the row's own, or those of all buckets of a rolling window.
    fn measured(&self, want: &Want) -> Counts {
        self.sum(&want.key, want.first_key(), |row| row.before.plus(row.change))
    }

    fn sum(&self, last: &Key, first: &str, get: fn(&Row) -> Counts) -> Counts {
        let first = Key { period: first.to_owned(), ..last.clone() };
        self.rows.range(first..=last.clone()).fold(Counts::default(), |sum, (_, row)| sum.plus(get(row)))
    }

    /// What is left under the hard limit of this row.
    pub fn room(&self, budget: &Budget, want: &Want) -> Option<Nano> {
        if budget.mode != Mode::Hard {
            return None;
        }
        let counts = self.measured(want);
        Some(Nano::new(budget.limit.get().saturating_sub(counts.spent).saturating_sub(counts.held)))
    }

    /// Why the call does not fit, if it does not: the first budget that is spent out, or else the first that is held out.
    pub fn refusal(&self, policy: &Policy, wants: &[Want], amount: Nano) -> Option<Refusal> {
        let most_ppm = policy.assumed_share_ppm;
        let all = wants
            .iter()
            .filter_map(|want| self.refusal_of(&policy.budgets[want.budget], want, amount, most_ppm));
        let mut first = None;
        for refusal in all {
            if refusal.reason == Reason::SpentOut {
                return Some(refusal);
            }
            first = first.or(Some(refusal));
        }
        first
    }

    fn refusal_of(&self, budget: &Budget, want: &Want, amount: Nano, most_ppm: u32) -> Option<Refusal> {
        if budget.mode != Mode::Hard {
            return None;
        }
        let counts = self.measured(want);
        let limit = budget.limit.get();
        let with = |used: i64| used.saturating_add(amount.get());
        // A limit of 0 is a switch: it stops what costs nothing, too.
        let reason = if limit == 0 || with(counts.spent) > limit {
            Reason::SpentOut
        } else if is_too_uncertain(budget, &counts, most_ppm) {
            Reason::TooMuchAssumed
        } else if with(counts.spent.saturating_add(counts.held)) > limit {
            Reason::HeldOut
        } else if budget.max_open_holds.is_some_and(|most| counts.open_holds >= most) {
            Reason::TooManyOpen
        } else {
            return None;
        };
        Some(Refusal {
            reason,
            budget: budget.id.clone(),
            scope: budget.scope.clone(),
            subject: want.key.subject.clone(),
            window: budget.window,
            limit: budget.limit,
            spent: Nano::new(counts.spent),
            held: Nano::new(counts.held),
            wanted: amount,
            resets_at_ms: want.period.end_ms,
        })
    }

    /// Holds the amount in every row. The caller has asked for a refusal before.
    pub fn hold(&mut self, budgets: &[Budget], wants: &[Want], amount: Nano) {
        let held = Counts { held: amount.get(), calls: 1, open_holds: 1, ..Counts::default() };
        for want in wants {
            let row = self.rows.entry(want.key.clone()).or_default();
            row.change = row.change.plus(held);
            // A rolling window is measured over many rows, which no one row's statement can check.
            row.guard |= budgets[want.budget].mode == Mode::Hard && want.period.since.is_none();
        }
    }

    pub fn add(&mut self, key: &Key, change: Counts) {
        let row = self.rows.entry(key.clone()).or_default();
        row.change = row.change.plus(change);
    }

    pub fn changed(&self) -> impl Iterator<Item = Changed<'_>> {
        let rows = self.rows.iter().filter(|(_, row)| row.change != Counts::default());
        rows.map(|(key, row)| {
            let before = row.is_there.then_some(row.before);
            Changed { key, before, change: row.change, guard: row.guard }
        })
    }

    /// Thresholds that what was spent in this batch has passed. A budget that only observes has nobody to tell.
    pub fn passed(&self, budgets: &[Budget]) -> Vec<Passed> {
        let mut all = Vec::new();
        for key in self.rows.iter().filter(|(_, row)| row.change.spent > 0).map(|(key, _)| key) {
            let budget = budgets
                .iter()
                .find(|budget| budget.id.as_str() == key.budget && budget.mode != Mode::Observe);
            let Some(budget) = budget else { continue };
            let hours = if let Window::Rolling { hours } = budget.window { hours } else { 0 };
            let first = rolling_since(&key.period, hours).unwrap_or_else(|| key.period.clone());
            let before = self.sum(key, &first, |row| row.before).spent;
            let after = self.sum(key, &first, |row| row.before.plus(row.change)).spent;
            let thresholds =
                crossed(Nano::new(before), Nano::new(after), budget.limit, &budget.thresholds_ppm);
            all.extend(thresholds.into_iter().map(|threshold_ppm| Passed {
                key: key.clone(),
                threshold_ppm,
                spent: after,
                limit: budget.limit.get(),
            }));
        }
        all
    }
}
