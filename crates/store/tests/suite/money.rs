//! Money: budgets as a ceiling, calls and their holds, the ledger. One file a question.

mod answers;
mod asks;
mod books;
mod budgets;
mod calls;
mod costs;
mod help;
mod meter;
mod periods;
mod prices;
mod race;
mod refusals;
mod replays;
mod sequences;
