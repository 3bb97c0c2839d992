//! The verbs of calls, as everybody calls them.

use std::sync::Arc;

use levqor_core::id::JobId;
use levqor_core::job::{Fenced, Record};
use levqor_core::money::{Alarm, CallId, Charge, Nano};

use super::batch::Item;
use super::counters::{self, Counters};
use super::permits::Answer;
use super::statements::{self, Range};
use super::work::{Done, Work};
use super::{
    CallDetail, CallFilter, CallPage, CallRow, Correction, NewCall, Reserved, Room, Settled, Settlement,
    TouchedBudget, call_list, call_rows, policy, touched,
};
use crate::{Error, Result, Store};

fn unexpected<T>() -> Result<T> {
    Err(Error::bug("an answer to another question"))
}

impl Store {
    /// Holds the call's bound in every budget that binds it, or in none. `Granted` means committed; the permit is the
    /// right to send the request.
    ///
    /// `Unavailable`: nothing will be sent under this id, and what may have been held is given back by itself. Ask again
    /// as another attempt.
    pub async fn reserve(&self, call: NewCall) -> Result<Reserved> {
        match self.one(Item::Reserve(Box::new(call))).await? {
            Answer::Reserved(reserved) => Ok(reserved),
            _ => unexpected(),
        }
    }

    /// Charges the call as its [`Charge`] says, once; whoever comes later gets the same answer and changes nothing. What
    /// was assumed becomes exact. `NotFound` for an unknown call.
    pub async fn settle_call(&self, settlement: Settlement) -> Result<Settled> {
        self.charge(Item::Settle(Box::new(settlement))).await
    }

    /// Says what a call that is over cost, with a reason. `Conflict` while it is open.
    pub async fn correct_call(&self, correction: Correction) -> Result<Settled> {
        self.charge(Item::Correct(Box::new(correction))).await
    }

    async fn charge(&self, item: Item) -> Result<Settled> {
        match self.one(item).await? {
            Answer::Settled(settled) => Ok(settled),
            _ => unexpected(),
        }
    }

    /// [`Store::record`] and the charges of the calls that its steps made, in one commit. The charges count even where the
    /// record is stale: the provider has been paid, whoever has the job now.
    pub async fn record_settling(
        &self,
        record: Record,
        settlements: Vec<Settlement>,
    ) -> Result<(Fenced, Vec<Settled>)> {
        let items = settlements.into_iter().map(|settlement| Item::Settle(Box::new(settlement))).collect();
        let done = self.work(Work { record: Some(record), items }).await?;
        let mut settled = Vec::with_capacity(done.answers.len());
        for answer in done.answers {
            match answer? {
                Answer::Settled(it) => settled.push(it),
                _ => return unexpected(),
            }
        }
        Ok((done.fenced.ok_or_else(|| Error::bug("a record without a verdict"))?, settled))
    }

    /// Charges open calls that nobody will end, in full: those whose lease is over and those whose process is gone. Also
    /// gives back what was never sent and could not be given back before. At most `limit`; returns how many were charged.
    pub async fn sweep_calls(&self, now_ms: i64, limit: usize) -> Result<usize> {
        if !self.money.unsent().is_empty() {
            self.one(Item::Flush).await?;
        }
        let node = self.node.clone();
        let orphans = self
            .read(move |tx| {
                let node = node.clone();
                Box::pin(async move { call_rows::orphans(tx, &node, now_ms, limit).await })
            })
            .await?;
        let settlements = orphans.into_iter().map(|call| Settlement {
            failure: Some("lost".to_owned()),
            ..Settlement::new(call, Charge::Assume { alarm: None::<Alarm> }, now_ms)
        });
        let items: Vec<Item> = settlements.map(|settlement| Item::Settle(Box::new(settlement))).collect();
        if items.is_empty() {
            return Ok(0);
        }
        let done = self.work(Work { record: None, items }).await?;
        let changed =
            |answer: &Result<Answer>| matches!(answer, Ok(Answer::Settled(settled)) if settled.changed);
        Ok(done.answers.iter().filter(|answer| changed(answer)).count())
    }

    /// How much a call may cost just now. Only the facts of `call` count, not its bound.
    pub async fn find_room(&self, call: &NewCall) -> Result<Room> {
        let (call, money) = (Arc::new(call.clone()), self.money.clone());
        self.read(move |tx| {
            let (call, money) = (call.clone(), money.clone());
            Box::pin(async move {
                let policy = policy::current(tx, &money).await?;
                let wants = counters::wants(&policy.budgets, &call);
                let ranges = wants
                    .iter()
                    .map(|want| Range { key: want.key.clone(), first: want.first_key().to_owned() });
                let mut counted = Counters::default();
                for (key, counts) in statements::read_counters(tx, &ranges.collect()).await? {
                    counted.load(key, counts);
                }
                let rooms = wants.iter().filter_map(|want| {
                    let budget = &policy.budgets[want.budget];
                    Some((counted.room(budget, want)?, budget.id.clone()))
                });
                let tightest = rooms.min_by_key(|(room, _)| *room);
                let room = tightest.as_ref().map(|(room, _)| (*room).max(Nano::ZERO));
                Ok(Room { room, tightest: tightest.map(|(_, id)| id) })
            })
        })
        .await
    }

    /// A word that is another one as soon as some budget is.
    pub async fn budgets_token(&self) -> Result<String> {
        self.read(|tx| Box::pin(policy::find_token(tx))).await
    }

    pub async fn find_call(&self, id: CallId) -> Result<Option<CallRow>> {
        self.read(move |tx| Box::pin(call_rows::find(tx, id))).await
    }

    /// The budgets that the call counts in, narrow before wide.
    pub async fn budgets_of_call(&self, id: CallId) -> Result<Vec<TouchedBudget>> {
        self.read(move |tx| Box::pin(touched::of_call(tx, id))).await
    }

    /// The calls of a job and its children with their ledgers, oldest first, a thousand at most.
    pub async fn list_calls(&self, root_job: JobId) -> Result<Vec<CallRow>> {
        self.read(move |tx| Box::pin(async move { call_rows::of_tree(tx, &root_job.to_string()).await }))
            .await
    }

    /// Calls of anybody, newest first, without ledgers.
    pub async fn find_calls(&self, filter: &CallFilter) -> Result<CallPage> {
        let filter = filter.clone();
        self.read(move |tx| {
            let filter = filter.clone();
            Box::pin(async move { call_list::page(tx, &filter).await })
        })
        .await
    }

    /// A call with its price and the counters that carry it, all of one moment.
    pub async fn explain_call(&self, id: CallId) -> Result<Option<CallDetail>> {
        self.read_snapshot(move |tx| Box::pin(call_list::explain(tx, id))).await
    }

    async fn one(&self, item: Item) -> Result<Answer> {
        let mut done = self.work(Work::one(item)).await?;
        done.answers.pop().unwrap_or_else(unexpected)
    }

    async fn work(&self, work: Work) -> Result<Done> {
        self.engine_work(work).await
    }
}
