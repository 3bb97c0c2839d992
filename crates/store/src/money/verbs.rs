//! The verbs of money, as everybody calls them.

use std::sync::Arc;

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, default_day, default_job};
use levqor_core::id::JobId;
use levqor_core::job::{Fenced, Record};
use levqor_core::money::{Alarm, CallId, Charge, Nano, Price, PriceBook, parse_price_list};
use sha2::{Digest, Sha256};

use super::batch::Item;
use super::counters::{self, Counters};
use super::permits::Answer;
use super::statements::{self, Range};
use super::work::{Done, Work};
use super::{
    Alert, BookKind, BudgetRow, BudgetView, CallRow, Correction, FROM_SETTING, NewCall, PriceBookRow,
    Reserved, Room, Settled, Settlement, TouchedBudget, alerts, budgets, call_rows, policy, prices, touched,
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

    /// Notes that the request is on its way. False: the call was over, or marked, before.
    pub async fn mark_sent(&self, call: CallId, at_ms: i64) -> Result<bool> {
        match self.one(Item::MarkSent { call, at_ms }).await? {
            Answer::Marked(marked) => Ok(marked),
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

    // ---- budgets -------------------------------------------------------------------------------------------------

    /// Stores the budget; returns its row, and whether anything changed. `origin` is [`crate::FROM_SETTING`] or `api`; what
    /// stands on a setting is changed by nobody else. Scope and window of a budget never change (`Conflict`).
    pub async fn put_budget(
        &self,
        budget: &Budget,
        origin: &'static str,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<(BudgetRow, bool)> {
        // Looked at first: a start with the limits of yesterday needs no write.
        let id = budget.id.to_string();
        let stored = self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { budgets::find(tx, &id).await })
        });
        if let Some(row) = stored.await?.filter(|row| row.budget == *budget && row.origin == origin) {
            return Ok((row, false));
        }
        let (budget, actor, token) = (Arc::new(budget.clone()), actor.clone(), token());
        self.write(move |tx| {
            let (budget, actor, token) = (budget.clone(), actor.clone(), token.clone());
            Box::pin(async move { budgets::put(tx, &budget, origin, &token, &actor, now_ms).await })
        })
        .await
    }

    /// Puts the two budgets in force that stand on settings: what one job may cost with all its children, and what
    /// everything may cost in a day (UTC).
    pub async fn put_default_budgets(&self, per_job: Nano, per_day: Nano, now_ms: i64) -> Result<()> {
        for budget in [default_job(per_job), default_day(per_day)] {
            self.put_budget(&budget, FROM_SETTING, &Actor::system(), now_ms).await?;
        }
        Ok(())
    }

    /// Takes the budget out of force; its counters stay. `NotFound` if there is none.
    pub async fn delete_budget(&self, id: &str, actor: &Actor, now_ms: i64) -> Result<()> {
        let (id, actor, token) = (id.to_owned(), actor.clone(), token());
        self.write(move |tx| {
            let (id, actor, token) = (id.clone(), actor.clone(), token.clone());
            Box::pin(async move { budgets::delete(tx, &id, &token, &actor, now_ms).await })
        })
        .await
    }

    pub async fn list_budgets(&self) -> Result<Vec<BudgetRow>> {
        self.read(|tx| Box::pin(budgets::list(tx))).await
    }

    /// A budget with its figures and its open holds.
    pub async fn find_budget(&self, id: &str, now_ms: i64) -> Result<Option<BudgetView>> {
        if !budgets::is_id(id) {
            return Ok(None);
        }
        let id = id.to_owned();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { budgets::view(tx, &id, now_ms).await })
        })
        .await
    }

    /// Thresholds that were passed and that nobody has told yet, oldest first.
    pub async fn list_alerts(&self, limit: usize) -> Result<Vec<Alert>> {
        self.read(move |tx| Box::pin(alerts::list_open(tx, limit))).await
    }

    /// True for the one who closes it; of two that try, the other has nothing to tell.
    pub async fn close_alert(&self, alert: &Alert, now_ms: i64) -> Result<bool> {
        let alert = alert.clone();
        self.write(move |tx| {
            let alert = alert.clone();
            Box::pin(async move { alerts::close(tx, &alert, now_ms).await })
        })
        .await
    }

    // ---- prices --------------------------------------------------------------------------------------------------

    /// Stores a price list as a draft, to be looked at and activated. The same text again is the same book. `Conflict` for
    /// a text that is no price list, with the first thing that is wrong.
    pub async fn import_prices(
        &self,
        kind: BookKind,
        source: &str,
        content: &str,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<PriceBookRow> {
        let parsed = parse_price_list(content);
        let prices = parsed.map_err(|bad| Error::Conflict {
            what: bad.first().map_or_else(|| "it is no price list".to_owned(), ToString::to_string),
        })?;
        let sha256: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let book = Arc::new(prices::NewBook {
            id: format!("{}-{}", kind.as_str(), &sha256[..16]),
            kind,
            source: source.to_owned(),
            sha256,
            content: content.to_owned(),
            prices,
        });
        let actor = actor.clone();
        self.write(move |tx| {
            let (book, actor) = (book.clone(), actor.clone());
            Box::pin(async move { prices::import(tx, &book, &actor, now_ms).await })
        })
        .await
    }

    /// Puts a book in force instead of the one of its kind that was.
    pub async fn activate_prices(&self, id: &str, actor: &Actor, now_ms: i64) -> Result<PriceBookRow> {
        let (id, actor) = (id.to_owned(), actor.clone());
        self.write(move |tx| {
            let (id, actor) = (id.clone(), actor.clone());
            Box::pin(async move { prices::activate(tx, &id, &actor, now_ms).await })
        })
        .await
    }

    pub async fn find_price_book(&self, id: &str) -> Result<Option<PriceBookRow>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { prices::find(tx, &id).await })
        })
        .await
    }

    /// The prices in force: the active list, or the one that comes with the program, with own prices in front.
    pub async fn price_book(&self) -> Result<PriceBook> {
        let books = self.read(|tx| Box::pin(prices::active(tx))).await?;
        let read = |kind: BookKind| -> Result<Option<Vec<Price>>> {
            let Some(book) = books.iter().find(|book| book.kind == kind) else { return Ok(None) };
            let prices = parse_price_list(&book.content);
            prices.map(Some).map_err(|_| Error::bug(format!("the price book {} cannot be read", book.id)))
        };
        let list = read(BookKind::List)?.map_or_else(|| PriceBook::embedded().clone(), PriceBook::new);
        Ok(list.with_own(read(BookKind::Own)?.unwrap_or_default()))
    }

    /// Keeps a price, so that calls can name it by its id.
    pub async fn keep_price(&self, price: &Price) -> Result<()> {
        let id = price.id();
        if self.find_price(&id).await?.is_some() {
            return Ok(());
        }
        let price = Arc::new(price.clone());
        self.write(move |tx| {
            let price = price.clone();
            Box::pin(async move { prices::put_price(tx, &price).await })
        })
        .await
    }

    /// The price that a call names.
    pub async fn find_price(&self, id: &str) -> Result<Option<Price>> {
        let id = id.to_owned();
        self.read(move |tx| {
            let id = id.clone();
            Box::pin(async move { prices::find_price(tx, &id).await })
        })
        .await
    }

    // ---- the way to the engines ----------------------------------------------------------------------------------

    async fn one(&self, item: Item) -> Result<Answer> {
        let mut done = self.work(Work::one(item)).await?;
        done.answers.pop().unwrap_or_else(unexpected)
    }

    async fn work(&self, work: Work) -> Result<Done> {
        self.engine_work(work).await
    }
}

/// Random, so that a change that was rolled back leaves none behind that could come again.
fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
