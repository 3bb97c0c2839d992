//! What an engine is asked for in one piece: an item, or the record of a run with the charges that go with it; and how
//! many pieces become one batch.

use std::sync::Arc;

use levqor_core::job::{Fenced, Record};
use levqor_core::money::CallId;

use super::batch::{self, Item, Outcome};
use super::permits::{Answer, Money, hand_out};
use crate::Result;
use crate::tx::Tx;

/// Done whole or not at all.
#[derive(Debug)]
pub(crate) struct Work {
    pub record: Option<Record>,
    pub items: Vec<Item>,
}

impl Work {
    pub fn one(item: Item) -> Self {
        Work { record: None, items: vec![item] }
    }
}

/// The answers to one piece of work.
#[derive(Debug)]
pub(crate) struct Done {
    pub fenced: Option<Fenced>,
    pub answers: Vec<Result<Answer>>,
}

/// What a transaction did, until it is committed.
#[derive(Debug)]
pub(crate) struct Pending {
    outcomes: Vec<Vec<Outcome>>,
    released: Vec<(CallId, i64)>,
    /// False: the transaction may as well be rolled back.
    pub wrote: bool,
}

/// Runs the items of all pieces as one batch inside the open transaction.
pub(crate) async fn run(tx: &mut Tx<'_>, money: &Money, node: &str, works: &[&Work]) -> Result<Pending> {
    let items: Vec<&Item> = works.iter().flat_map(|work| &work.items).collect();
    let released = money.unsent();
    let (outcomes, wrote) = batch::run(tx, money, node, &items, &released).await?;
    let mut outcomes = outcomes.into_iter();
    let outcomes = works.iter().map(|work| outcomes.by_ref().take(work.items.len()).collect()).collect();
    Ok(Pending { outcomes, released, wrote })
}

/// After the commit: what each piece came to.
pub(crate) fn committed(money: &Arc<Money>, pending: Pending) -> Vec<Vec<Result<Answer>>> {
    money.forget_unsent(&pending.released);
    let each = pending.outcomes.into_iter();
    each.map(|outcomes| outcomes.into_iter().map(|outcome| hand_out(money, outcome)).collect()).collect()
}
