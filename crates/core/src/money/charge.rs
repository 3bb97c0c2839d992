//! What is charged when a call is over, however it ended: one table, no exceptions elsewhere.
//!
//! A hold goes back in full only on proof that the request is not charged. A crash, a cut or a lost answer may waste
//! budget; it never exceeds it.

use super::amount::Nano;
use super::cost::{CostError, Terms, bill};
use super::price::Price;
use super::usage::{Usage, UsageError};

/// Whose word counts about errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// A vendor whose own errors are not charged, by its contract.
    Vendor,
    /// Any other base URL.
    Unknown,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// No byte of the request left: no address, no connection, no TLS, no place in the pool.
    NotSent,
    /// An answer other than 2xx, read whole. `own_error`: its body is an error in the provider's own JSON, so that it was
    /// the provider who answered and not something on the way.
    Refused { status: u16, own_error: bool, usage: Option<Usage> },
    /// A 2xx, read to its end, with what it says was used.
    Answered(Result<Option<Usage>, UsageError>),
    /// A 2xx that did not come to its end.
    Cut,
    /// Bytes left and no answer came: time out, reset, death of the process.
    InDoubt,
}

/// Why a charge deserves a look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    #[error("the answer has no usage")]
    NoUsage,
    #[error("{0}")]
    BadUsage(UsageError),
    #[error("{0}")]
    Unpriced(CostError),
    /// A usage that costs nothing, of a model that is not free.
    #[error("the usage costs nothing, and the model is not free")]
    ZeroCost,
    /// The provider broke its own limit, or its price is another one.
    #[error("it cost {cost}, more than the {held} that were held")]
    Overrun { cost: Nano, held: Nano },
}

/// What to do with the hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Charge {
    Release,
    Settle {
        cost: Nano,
        usage: Usage,
        alarm: Option<Alarm>,
    },
    /// Charge all of it.
    Assume {
        alarm: Option<Alarm>,
    },
}

/// The table.
pub fn charge(ending: &Ending, profile: Profile, price: &Price, terms: &Terms, held: Nano) -> Charge {
    match ending {
        Ending::NotSent => Charge::Release,
        Ending::Refused { usage: Some(usage), .. } => priced(price, usage, terms, held),
        Ending::Refused { status, own_error: true, usage: None } if is_unbilled(*status, profile) => {
            Charge::Release
        }
        Ending::Refused { .. } | Ending::Cut | Ending::InDoubt => Charge::Assume { alarm: None },
        Ending::Answered(Ok(Some(usage))) => priced(price, usage, terms, held),
        Ending::Answered(Ok(None)) if price.is_free() => Charge::Release,
        Ending::Answered(Ok(None)) => Charge::Assume { alarm: Some(Alarm::NoUsage) },
        Ending::Answered(Err(problem)) => Charge::Assume { alarm: Some(Alarm::BadUsage(problem.clone())) },
    }
}

/// A refusal of the request is free with everybody; a failure of the server with those who say so.
fn is_unbilled(status: u16, profile: Profile) -> bool {
    match status {
        400 | 401 | 403 | 404 | 413 | 422 | 429 | 529 => true,
        402 | 405 | 409 | 410 | 415 | 500 | 503 => profile == Profile::Vendor,
        _ => false,
    }
}

fn priced(price: &Price, usage: &Usage, terms: &Terms, held: Nano) -> Charge {
    let cost = match bill(price, usage, terms) {
        Ok(bill) => bill.total,
        Err(error) => return Charge::Assume { alarm: Some(Alarm::Unpriced(error)) },
    };
    if cost == Nano::ZERO && !price.is_free() {
        return Charge::Assume { alarm: Some(Alarm::ZeroCost) };
    }
    // A provider that says less than its price list is believed by nobody; one that says more may be right.
    let said = usage.provider_cost.filter(|_| !price.is_free()).unwrap_or(Nano::ZERO);
    let cost = cost.max(said);
    let alarm = (cost > held).then_some(Alarm::Overrun { cost, held });
    Charge::Settle { cost, usage: usage.clone(), alarm }
}

#[cfg(test)]
mod tests;
