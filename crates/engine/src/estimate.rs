//! `dry_run`: what the steps of a job may cost that ask models or have a price, what that does to each budget, and whether the first call would be held
//! now. Nothing is held, sent or stored.

use std::sync::Arc;

use levqor_core::budget::Facts;
use levqor_core::money::{CallId, Nano, Terms, Usage, Wish, bill};
use levqor_core::scope::StepOutputs;
use levqor_core::workflow::ai::ModelName;
use levqor_core::workflow::{AiStep, Definition, Step, StepKind};
use levqor_store::Room;

use crate::ai::{Ai, Fare, Order};
use crate::steps::ai::{Forecast, Place, budget_key, forecast};
use crate::steps::{Attempt, Begun, View, begin, fare};
use crate::{Engine, Shared};

/// A text of so many bytes is one token at least.
const BYTES_A_TOKEN: u64 = 16;

/// What a job's steps may cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    pub steps: Vec<StepEstimate>,
    /// Of all steps together.
    pub least: Nano,
    /// Never more than one job may cost.
    pub most: Nano,
    pub budgets: Vec<BudgetEffect>,
    /// Whether the first call of each step whose words are known would be held at this moment.
    pub starts_now: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StepEstimate {
    pub id: String,
    /// Of a step with a price of its own: `http`, or the connector and its action.
    pub model: String,
    pub least: Nano,
    pub most: Nano,
    /// What its first call would hold; `None`: what it says is known only when the job runs.
    pub first_hold: Option<Nano>,
    /// Why its first call would not be held now.
    pub problem: Option<String>,
}

/// A budget that binds the job.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetEffect {
    pub id: String,
    pub scope: &'static str,
    pub subject: String,
    pub limit: Nano,
    pub spent: Nano,
    pub held: Nano,
    /// What is left now, and what would be if the job cost the most.
    pub left: Nano,
    pub left_after: Nano,
}

impl Engine {
    /// The estimate for a job that is not stored; `None` where no step costs anything.
    pub(crate) async fn estimate(
        &self,
        definition: &Definition,
        job: &levqor_core::job::NewJob,
    ) -> levqor_store::Result<Option<Estimate>> {
        let cap = self.shared.settings.ai.per_job;
        let (mut told, mut steps) = (Vec::new(), Vec::new());
        for step in &definition.steps {
            match (&step.kind, step.cost) {
                (StepKind::Ai(ai), _) => {
                    told.push(self.step_estimate(definition, step, ai, job, cap).await);
                    let ModelName { provider, model } = ai.model.clone();
                    steps.push(Spends { step: &step.id, provider, model });
                }
                (_, Some(amount)) => {
                    let (estimate, spends) = self.priced_step(definition, step, amount, job, cap).await;
                    told.push(estimate);
                    steps.push(spends);
                }
                _ => {}
            }
        }
        if steps.is_empty() {
            return Ok(None);
        }
        let sum = |amounts: &mut dyn Iterator<Item = Nano>| {
            amounts.fold(Nano::ZERO, |sum, amount| sum.checked_add(amount).unwrap_or(cap)).min(cap)
        };
        let least = sum(&mut told.iter().map(|step| step.least));
        let most = sum(&mut told.iter().map(|step| step.most));
        let budgets = self.effects(&steps, job, most).await?;
        let starts_now = told.iter().all(|step| step.problem.is_none());
        Ok(Some(Estimate { steps: told, least, most, budgets, starts_now }))
    }

    async fn step_estimate(
        &self,
        definition: &Definition,
        step: &Step,
        ai: &Arc<AiStep>,
        job: &levqor_core::job::NewJob,
        cap: Nano,
    ) -> StepEstimate {
        let mut told = StepEstimate {
            id: step.id.clone(),
            model: ai.model.to_string(),
            least: Nano::ZERO,
            most: cap,
            first_hold: None,
            problem: None,
        };
        let (claimed, outputs) = (claimed(job), StepOutputs::new());
        let place = Place::of(&claimed, &step.id, 1, 1);
        let found = {
            let view = View::new(&claimed, &[], &self.shared.settings.secrets.0);
            let scope = levqor_core::scope::Scope { steps: &outputs, ..view.scope() };
            forecast(&self.shared, ai, place, &scope)
        };
        // What reads another step's output is known only then.
        let Ok(found) = found else { return told };
        let door = self.ai();
        let bound = match door.bound(found.first.clone()).await {
            Ok(bound) => bound,
            Err(error) => {
                told.problem = Some(error.to_string());
                return told;
            }
        };
        told.first_hold = Some(bound.amount);
        if !found.is_open_ended
            && let Some(most) = most(&door, &found, bound.amount, step.retry.attempts).await
        {
            told.most = most.min(cap);
        }
        if surely_runs(definition, step) && !found.may_be_cached {
            told.least = least(&door, &found).await.min(told.most);
        }
        told.problem = no_room(&door, &found, bound.amount).await;
        told
    }

    /// A step with a price of its own: so much for each attempt.
    async fn priced_step<'d>(
        &self,
        definition: &Definition,
        step: &'d Step,
        amount: Nano,
        job: &levqor_core::job::NewJob,
        cap: Nano,
    ) -> (StepEstimate, Spends<'d>) {
        let claimed = claimed(job);
        let attempt = Attempt { step, number: 1, in_budget: 1, started_at_ms: self.shared.clock.now_ms() };
        let begun = begin(&attempt, &View::new(&claimed, &[], &self.shared.settings.secrets.0));
        // What reads another step's output is known only then.
        let fare = match begun {
            Begun::Call(call) => fare(&attempt, &call, &claimed),
            Begun::Over(_) => None,
        };
        let all = amount.get().saturating_mul(i64::from(step.retry.attempts.max(1)));
        let (provider, model) = match (&fare, &step.kind) {
            (Some(fare), _) => (fare.provider.clone(), fare.model.clone()),
            (None, StepKind::Connect(connect)) => (connect.connector.clone(), connect.action.clone()),
            (None, _) => ("http".to_owned(), String::new()),
        };
        let problem = match &fare {
            Some(fare) => problem_of(&self.shared, fare, amount).await,
            None => None,
        };
        let is_sure = surely_runs(definition, step) && fare.is_some();
        let estimate = StepEstimate {
            id: step.id.clone(),
            model: match &step.kind {
                StepKind::Connect(_) => format!("{provider}/{model}"),
                _ => provider.clone(),
            },
            least: if is_sure { amount.min(cap) } else { Nano::ZERO },
            most: Nano::new(all).min(cap),
            first_hold: fare.is_some().then_some(amount),
            problem,
        };
        (estimate, Spends { step: &step.id, provider, model })
    }

    async fn effects(
        &self,
        steps: &[Spends<'_>],
        job: &levqor_core::job::NewJob,
        most: Nano,
    ) -> levqor_store::Result<Vec<BudgetEffect>> {
        let now_ms = self.shared.clock.now_ms();
        let mut effects: Vec<BudgetEffect> = Vec::new();
        for row in self.shared.store.list_budgets().await? {
            let budget = &row.budget;
            let mut subjects: Vec<String> = steps
                .iter()
                .flat_map(|spends| {
                    budget.scope.counted_as(&Facts {
                        call: CallId::new(now_ms, [0; 10]),
                        root_job: Some(job.id),
                        workflow: Some(&job.workflow),
                        step: Some(spends.step),
                        key: Some(budget_key(&job.caller)),
                        user: None,
                        tags: &job.tags,
                        provider: &spends.provider,
                        model: &spends.model,
                    })
                })
                .collect();
            subjects.sort();
            subjects.dedup();
            if subjects.is_empty() || !budget.enabled {
                continue;
            }
            let view = self.shared.store.find_budget(budget.id.as_str(), now_ms).await?;
            for subject in subjects {
                let rows = view.iter().flat_map(|view| &view.periods).filter(|row| row.subject == subject);
                let (mut spent, mut held) = (0i64, 0i64);
                for row in rows {
                    spent = spent.saturating_add(row.spent.get());
                    held = held.saturating_add(row.held.get());
                }
                let left = budget.limit.get().saturating_sub(spent).saturating_sub(held);
                effects.push(BudgetEffect {
                    id: budget.id.to_string(),
                    scope: budget.scope.kind.as_str(),
                    // The job has no id yet that anybody could look for.
                    subject: if subject == job.id.to_string() { String::new() } else { subject },
                    limit: budget.limit,
                    spent: Nano::new(spent),
                    held: Nano::new(held),
                    left: Nano::new(left),
                    left_after: Nano::new(left.saturating_sub(most.get())),
                });
            }
        }
        Ok(effects)
    }
}

/// Whom a step's money goes to.
struct Spends<'d> {
    step: &'d str,
    provider: String,
    model: String,
}

/// No condition stands in its way.
fn surely_runs(definition: &Definition, step: &Step) -> bool {
    step.condition.is_none() && step.needs.iter().all(|need| definition.steps[*need].condition.is_none())
}

/// Why an attempt would not be held now.
async fn problem_of(shared: &Arc<Shared>, fare: &Fare, amount: Nano) -> Option<String> {
    match fare.room(shared).await {
        Ok(Room { room: Some(left), tightest: Some(budget), .. }) if amount > left => {
            Some(format!("an attempt costs ${amount}, and ${left} are left of the budget `{budget}`"))
        }
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

/// The job as its run would see it.
fn claimed(job: &levqor_core::job::NewJob) -> levqor_core::job::ClaimedJob {
    levqor_core::job::ClaimedJob {
        id: job.id,
        claim: 1,
        workflow: job.workflow.clone(),
        version: job.version,
        payload: job.payload.clone(),
        callback_url: None,
        priority: job.priority,
        tags: job.tags.clone(),
        caller: job.caller.clone(),
        started_at_ms: job.created_at_ms,
        deaths: 0,
        steps: Vec::new(),
    }
}

/// All calls that its policies allow, each as dear as it can be. `None`: one of them cannot be made.
async fn most(door: &Ai, found: &Forecast, first: Nano, attempts: u32) -> Option<Nano> {
    let mut sum = first.get();
    for order in &found.others {
        let bound = door.bound(order.clone()).await.ok()?;
        sum = sum.saturating_add(bound.amount.get());
    }
    Some(Nano::new(sum.saturating_mul(i64::from(attempts.max(1)))))
}

/// One call, its text in as few tokens as it can have, at the lowest rate, and one token said.
async fn least(door: &Ai, found: &Forecast) -> Nano {
    let order = &found.first;
    let Ok(models) = door.models().await else { return Nano::ZERO };
    let Some(model) = models.iter().find(|it| it.price.model == order.model && it.provider == order.provider)
    else {
        return Nano::ZERO;
    };
    let tokens = found.text_bytes / BYTES_A_TOKEN;
    let cached = Usage { cached_in: tokens, out: 1, ..Usage::default() };
    let plain = Usage { uncached_in: tokens, out: 1, ..Usage::default() };
    let cost = |usage: &Usage| bill(&model.price, usage, &Terms::STANDARD).map(|bill| bill.total);
    cost(&cached).or_else(|_| cost(&plain)).unwrap_or(Nano::ZERO)
}

/// Why the first call would not be held now.
async fn no_room(door: &Ai, found: &Forecast, hold: Nano) -> Option<String> {
    let room = match door.room(&found.first).await {
        Ok(room) => room,
        Err(error) => return Some(error.to_string()),
    };
    let (Some(left), Some(budget)) = (room.room, room.tightest) else { return None };
    let mut needed = hold;
    if let Some(tokens) = found.least_tokens {
        let wish = Wish { requested: Some(tokens), usual: None };
        if let Ok(bound) = door.bound(Order { wish, ..found.first.clone() }).await {
            needed = bound.amount;
        }
    }
    (needed > left)
        .then(|| format!("its first call may cost ${needed}, and ${left} are left of the budget `{budget}`"))
}
