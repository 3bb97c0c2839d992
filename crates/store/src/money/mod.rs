//! Money: budgets as a ceiling, calls with their holds, the ledger, prices.
//!
//! A batch of holds and charges is one transaction: its rows are locked in one order, what fits is decided in memory
//! ([`counters`], [`calls`]), and everything is written at once ([`batch`]). The rules themselves stand in core.
//!
//! Invariants, at every commit: spent and held of a hard budget together grow by no hold beyond the limit; what is held is
//! the sum of the open holds, what is spent the sum of the ledger over the calls that a row carries; a call moves money
//! once, and a replay changes nothing.

mod alerts;
pub(crate) mod answers;
pub(crate) mod asks;
mod batch;
mod bills;
mod budget_verbs;
mod budgets;
mod call_list;
mod call_rows;
mod calls;
mod counters;
mod figures;
mod health;
mod meter;
mod past;
mod people;
mod permits;
mod policy;
mod price_verbs;
mod prices;
mod reconcile;
mod reports;
mod rollups;
mod statements;
mod touched;
mod types;
mod verbs;
mod work;
mod write;

pub use asks::Asked;
pub(crate) use batch::Item;
pub use bills::{BillTotals, JobBill, JobCosts, OpenCalls};
pub use budgets::{FROM_API, FROM_SETTING, FROM_SWITCH, MAX_BUDGETS};
pub use figures::SHOWN;
pub use health::{MinuteTaken, Quarantine};
pub use meter::{MeterEvent, MeterEventRow, MeterStatus, MeterTry};
pub use past::PAST_MOST;
pub(crate) use people::erase;
pub use people::{CALLS_SHOWN, UserCosts};
pub(crate) use permits::{Money, Poke};
pub use reconcile::Statement;
pub use reports::{CostBy, CostFilter, CostLine, CostQuestion, CostReport, CostSums, LINES_MOST, ROWS_MOST};
pub use types::*;
pub(crate) use work::{Done, Pending, Work, committed, run};
