//! The verbs of budgets and of their alerts, as everybody calls them.

use std::sync::Arc;

use levqor_core::audit::Actor;
use levqor_core::budget::{Budget, STOP_ID, default_day, default_job, stop};
use levqor_core::job::NewJob;
use levqor_core::money::Nano;

use super::budgets::Told;
use super::{Alert, BudgetRow, BudgetView, FROM_API, FROM_SETTING, FROM_SWITCH, alerts, budgets, figures};
use crate::{Error, Result, Store};

impl Store {
    /// Stores the budget; returns its row, and whether anything changed. `origin` is [`crate::FROM_SETTING`] or
    /// [`crate::FROM_API`]; what stands on a setting is changed by nobody else. Scope and window of a budget never change
    /// (`Conflict`). Who is told of its thresholds stays.
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
            Box::pin(async move {
                budgets::put(tx, &budget, Told::AsBefore, origin, &token, (&actor, now_ms)).await
            })
        })
        .await
    }

    /// The same for a budget of the API, with who is told of its thresholds (JSON of
    /// [`levqor_core::budget::Recipients`]); `None`: whoever the settings name.
    pub async fn put_budget_telling(
        &self,
        budget: &Budget,
        recipients: Option<String>,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<(BudgetRow, bool)> {
        let (budget, actor, token) = (Arc::new((budget.clone(), recipients)), actor.clone(), token());
        self.write(move |tx| {
            let (budget, actor, token) = (budget.clone(), actor.clone(), token.clone());
            Box::pin(async move {
                let (budget, recipients) = &*budget;
                let told = Told::Now(recipients.as_deref());
                budgets::put(tx, budget, told, FROM_API, &token, (&actor, now_ms)).await
            })
        })
        .await
    }

    /// Stops all AI calls, on every node: the next hold is refused. What is under way goes on. False: they were stopped.
    pub async fn stop_ai(&self, actor: &Actor, now_ms: i64) -> Result<bool> {
        Ok(self.put_budget(&stop(), FROM_SWITCH, actor, now_ms).await?.1)
    }

    /// Lets AI calls be made again. False: they were.
    pub async fn start_ai(&self, actor: &Actor, now_ms: i64) -> Result<bool> {
        match self.delete_budget_of(FROM_SWITCH, STOP_ID, actor, now_ms).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
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
        self.delete_budget_of(FROM_API, id, actor, now_ms).await
    }

    async fn delete_budget_of(
        &self,
        origin: &'static str,
        id: &str,
        actor: &Actor,
        now_ms: i64,
    ) -> Result<()> {
        if !budgets::is_id(id) {
            return Err(Error::NotFound { what: "budget" });
        }
        let (id, actor, token) = (id.to_owned(), actor.clone(), token());
        self.write(move |tx| {
            let (id, actor, token) = (id.clone(), actor.clone(), token.clone());
            Box::pin(async move { budgets::delete(tx, &id, origin, &token, &actor, now_ms).await })
        })
        .await
    }

    pub async fn list_budgets(&self) -> Result<Vec<BudgetRow>> {
        self.read(|tx| Box::pin(budgets::list(tx))).await
    }

    /// All budgets with their figures of one moment, in the order of locks.
    pub async fn list_budget_views(&self, now_ms: i64) -> Result<Vec<BudgetView>> {
        self.read_snapshot(move |tx| Box::pin(figures::list(tx, now_ms))).await
    }

    /// The budgets that go by the clock and bind somebody, by name, `most` at most, with their figures of one moment.
    pub async fn list_watched_budgets(&self, now_ms: i64, most: usize) -> Result<Vec<BudgetView>> {
        self.read_snapshot(move |tx| Box::pin(figures::watched(tx, now_ms, most))).await
    }

    /// A budget with its figures and its open holds, all of one moment.
    pub async fn find_budget(&self, id: &str, now_ms: i64) -> Result<Option<BudgetView>> {
        self.find_budget_for(id, None, now_ms).await
    }

    /// The same for one of those that a budget for each counts; all of them if none is named.
    pub async fn find_budget_for(
        &self,
        id: &str,
        subject: Option<&str>,
        now_ms: i64,
    ) -> Result<Option<BudgetView>> {
        if !budgets::is_id(id) {
            return Ok(None);
        }
        let (id, subject) = (id.to_owned(), subject.map(str::to_owned));
        self.read_snapshot(move |tx| {
            let (id, subject) = (id.clone(), subject.clone());
            Box::pin(async move { figures::find(tx, &id, subject.as_deref(), now_ms).await })
        })
        .await
    }

    /// Thresholds that were passed and that nobody has told yet, oldest first.
    pub async fn list_alerts(&self, limit: usize) -> Result<Vec<Alert>> {
        self.read(move |tx| Box::pin(alerts::list_open(tx, limit))).await
    }

    /// True for the one who closes it; of two that try, the other has nothing to tell. The jobs that tell it are stored in
    /// the same commit.
    pub async fn close_alert(&self, alert: &Alert, jobs: Vec<NewJob>, now_ms: i64) -> Result<bool> {
        let told = Arc::new((alert.clone(), jobs));
        self.write(move |tx| {
            let told = told.clone();
            Box::pin(async move { alerts::close(tx, &told.0, &told.1, now_ms).await })
        })
        .await
    }
}

/// Random, so that a change that was rolled back leaves none behind that could come again.
fn token() -> String {
    format!("{:032x}", rand::random::<u128>())
}
