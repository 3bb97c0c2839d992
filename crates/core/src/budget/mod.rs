//! Budgets: whom they bind, over which time, how strictly. Words and rules; the counting is the store's.
//!
//! Invariant: where several budgets bind a call they are locked in one order, narrow before wide, so that the row that
//! everybody shares is held for the shortest time and no two calls wait for each other.

mod definition;
mod scope;
mod window;

pub use definition::{
    BadBudget, Budget, BudgetId, DEFAULT_DAY_ID, DEFAULT_JOB_ID, Mode, PPM, crossed, default_day, default_job,
};
pub use scope::{Facts, Scope, ScopeKind};
pub use window::{BadZone, MAX_ROLLING_HOURS, Period, Window, Zone, clock_period, period, rolling_since};
