//! Budgets: whom they bind, over which time, how strictly. Words and rules; the counting is the store's.
//!
//! Invariant: where several budgets bind a call they are locked in one order, narrow before wide, so that the row that
//! everybody shares is held for the shortest time and no two calls wait for each other.

mod alert;
mod definition;
mod forecast;
mod request;
mod scope;
mod window;

pub use alert::{Passed, Recipients, SlackChannel};
pub use definition::{
    BadBudget, Budget, BudgetId, DEFAULT_DAY_ID, DEFAULT_JOB_ID, Mode, PPM, STOP_ID, crossed, default_day,
    default_job, passed_at, setting_of, stop,
};
pub use forecast::{Forecast, forecast};
pub(crate) use request::parse_amount;
pub use request::{BudgetRequest, parse_budget};
pub use scope::{Facts, Scope, ScopeKind};
pub use window::{BadZone, MAX_ROLLING_HOURS, Period, Window, Zone, clock_period, period, rolling_since};
