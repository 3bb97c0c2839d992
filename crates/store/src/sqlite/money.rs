//! Holds and charges in the writer: each piece of work is one batch of its own, and what waits shares one commit.

use std::sync::{Arc, Mutex, mpsc};

use futures_util::FutureExt;
use levqor_core::job::Fenced;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::op::{Op, Turn};
use super::record;
use crate::money::{self, Done, Item, Money, Pending, Poke, Work};
use crate::tx::{Conn, Tx, lock};
use crate::{Error, Result};

/// A piece of work with a place for its answer. Permits are made when it is answered, which is after the commit.
pub(super) struct MoneyAsk {
    work: Work,
    money: Arc<Money>,
    node: String,
    done: Option<(Option<Fenced>, Pending)>,
    reply: oneshot::Sender<Result<Done>>,
}

impl MoneyAsk {
    pub fn new(work: Work, money: Arc<Money>, node: &str, reply: oneshot::Sender<Result<Done>>) -> Self {
        MoneyAsk { work, money, node: node.to_owned(), done: None, reply }
    }

    pub fn run(&mut self, conn: &Mutex<Connection>, turn: &mut Turn) -> Result<()> {
        let record = self.work.record.as_ref();
        let fenced = record.map(|it| record::record(&lock(conn), turn, it)).transpose()?;
        let mut tx = Tx::new(Conn::Sqlite(conn));
        let works = [&self.work];
        let pending = money::run(&mut tx, &self.money, &self.node, &works);
        let pending = pending
            .now_or_never()
            .unwrap_or_else(|| Err(Error::bug("a verb waited for something on SQLite")))?;
        self.done = Some((fenced, pending));
        Ok(())
    }

    pub fn answer(self, failure: Option<Error>) {
        let answer = match (failure, self.done) {
            (Some(failure), _) => Err(failure),
            (None, Some((fenced, pending))) => {
                let answers = money::committed(&self.money, pending).into_iter().flatten().collect();
                Ok(Done { fenced, answers })
            }
            (None, None) => Err(Error::bug("an op was answered before it ran")),
        };
        // Nobody waits any more: what was granted is dropped here, and given back.
        self.reply.send(answer).ok();
    }
}

/// Has the writer give back what was never sent. After the store was closed the next start's sweep does it.
pub(super) fn poke(inbox: &mpsc::Sender<Op>, money: &Arc<Money>, node: &str) -> Poke {
    let (inbox, money, node) = (inbox.clone(), Arc::downgrade(money), node.to_owned());
    Box::new(move || {
        let Some(money) = money.upgrade() else { return };
        let ask = MoneyAsk::new(Work::one(Item::Flush), money, &node, oneshot::channel().0);
        inbox.send(Op::Money(Box::new(ask))).ok();
    })
}
