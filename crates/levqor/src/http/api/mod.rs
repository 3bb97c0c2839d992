//! The handlers, one file per resource.

pub mod ai;
pub mod ai_calls;
pub mod audit;
pub mod backups;
pub mod batch;
pub mod billing;
pub mod budgets;
pub mod completion;
pub mod connect;
pub mod connections;
pub mod costs;
pub mod documents;
pub mod emails;
pub mod figures;
pub mod health;
pub mod intake;
pub mod job_costs;
pub mod jobs;
pub mod keys;
pub mod meter;
pub mod prices;
pub mod quarantine;
pub mod query;
pub mod reconcile;
pub mod simulate;
pub mod status;
pub mod users;
pub mod workflows;

mod ai_figures;
mod budget_views;
mod cost_csv;
mod cost_views;
mod path;
mod payments;
mod user_costs;
pub mod views;
