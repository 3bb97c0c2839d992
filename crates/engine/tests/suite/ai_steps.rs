//! Steps of kind `ai`, against a provider that keeps a bill of its own: after every test its bill is the ledger, to the
//! nanodollar.

mod bounds;
mod budgets;
mod crashes;
mod estimates;
mod family;
mod payers;
mod policies;
mod tools;
mod words;
mod world;
