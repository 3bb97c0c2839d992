//! What an AI call costs, at most and in the end. Pure and exact: integers all the way, one ceiling at the end.
//!
//! Rates are whole pico-dollars for one unit, amounts whole nano-dollars. Reading order: amounts, prices, what a provider
//! says was used, what that costs, what a call can cost at most, the permit to send it, and what is charged in the end.
//!
//! Invariant: no floating point in any of these files; the lint below makes it an error.
#![deny(clippy::float_arithmetic, clippy::float_cmp)]

mod amount;
mod decimal;
mod unit;

mod book;
mod difference;
mod price;
mod price_list;

mod usage;

mod bound;
mod cost;
mod image;

mod call;
mod charge;
mod permit;
mod simulate;
mod statement;

mod request;

pub use amount::{MAX_AMOUNT, Nano, Rate};
pub use book::{Lookup, PriceBook};
pub use bound::{Allowances, Bound, Fit, Shape, WHOLE_WINDOW_TOKENS, Wish, fit, upper_bound};
pub use call::{CallEvent, CallId, CallState, transition};
pub use charge::{Alarm, Charge, Ending, Profile, charge};
pub use cost::{Bill, CostError, Line, Terms, bill, show_ppm};
pub use decimal::{BadDecimal, parse_percent_ppm, show_percent};
pub use difference::{Change, Difference, RateChange, Warning, difference, sanity};
pub use image::image_tokens;
pub use permit::{Permit, Unused};
pub use price::{Component, Mode, Price, Status};
pub use price_list::{BadRow, parse_price_list};
pub use request::{
    CorrectionRequest, ImportRequest, parse_activation, parse_correction, parse_import, price_pointer,
};
pub use simulate::{PastCall, Refusals, Scenario, Simulated, Sums, simulate};
pub use statement::{BadStatement, Reporter, Stated, drift_ppm, read_statement, stated_nano};
pub(crate) use unit::words;
pub use unit::{Tier, Unit};
pub use usage::{Meter, Usage, UsageError, Wire};
