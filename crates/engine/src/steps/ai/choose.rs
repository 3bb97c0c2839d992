//! One call: which model is asked, what happens when budgets or providers say no, and the turn that it becomes.

use std::time::Duration;

use levqor_connectors::ai::{Answer, Finish as Word, Limits};
use levqor_core::budget::{Facts, Scope, Window};
use levqor_core::id::JobId;
use levqor_core::job::JobError;
use levqor_core::money::{CallId, Ending, Nano, Wish};
use levqor_core::outcome::Outcome;
use levqor_core::talk::{Ask, Failed, Finish, Problem, Said, Spot, Tokens, Turn, Wanted};
use levqor_core::workflow::ai::{Below, Instead, WhenShort};
use levqor_store::{Error, Reason, Refusal};

use super::ask::{Before, build, text_bytes};
use super::render::denied;
use super::{Conversation, Stop, attach, budget_key};
use crate::Shared;
use crate::ai::{Body, NotHeld, Order, Over, Pause, Ready, hold};
use crate::chain::chain;

/// What others hold comes back within moments; this is the look that nobody has to trigger.
const LOOK_HELD_MS: i64 = 5_000;
/// A raised limit is seen within a second by the node where the job came to rest; this look is for when that node has died.
const LOOK_SPENT_MS: i64 = 30_000;
/// Calls of runs that died, at one place.
pub(crate) const MAX_KNOWN: usize = 100;

/// A held call, and which model it is for.
struct Held {
    ready: Ready,
    spot: Spot,
    why: Option<String>,
}

/// A hold that was refused, and what to do about it is not decided here.
enum No {
    Short(Box<Refusal>),
    Busy { pause: Pause, until_ms: Option<i64> },
    Stop(Stop),
}

impl Conversation<'_> {
    /// Asks, and keeps the turn that came of it.
    pub(super) async fn ask(&mut self, ask: &Ask<'_>) -> Result<(), Stop> {
        self.attach().await?;
        let (first, mut why) = match ask.candidate {
            Some(place) => (place, ask.why.clone()),
            None => self.first_candidate().await,
        };
        if ask.why.is_some() {
            why = ask.why.clone();
        }
        let began_ms = self.shared.clock.now_ms();
        let spot =
            Spot { round: self.place.round, question: ask.question, attempt: ask.attempt, candidate: first };
        if let Some(said) = self.find_cached(ask, spot).await? {
            self.turns.keep(Turn::Said(Box::new(said)), None, began_ms, self.shared.clock.now_ms());
            return Ok(());
        }
        let held = self.held(ask, spot, why).await?;
        let over = held.ready.send().await.end().await;
        let turn = self.turn_of(&over, held.spot, held.why);
        self.turns.keep(turn, Some(over), began_ms, self.shared.clock.now_ms());
        Ok(())
    }

    pub(super) async fn attach(&mut self) -> Result<(), Stop> {
        if self.attached.is_none() {
            let attached = attach::fetch(self.shared, &self.rendered.attachments).await?;
            for text in attached.iter().filter_map(attach::Attached::text) {
                denied(&self.step, text)?;
            }
            self.attached = Some(attached);
        }
        Ok(())
    }

    /// The first fallback that is asked instead, since a condition holds that is known beforehand; else the step's own model.
    async fn first_candidate(&self) -> (usize, Option<String>) {
        for (at, fallback) in self.step.fallback.iter().enumerate() {
            for instead in &fallback.when.instead {
                let why = match instead {
                    Instead::Below(below) => self.is_below(below).await,
                    Instead::InputOver(bytes) => {
                        let has = self.input_bytes();
                        (has > *bytes).then(|| format!("the input has {has} bytes of text"))
                    }
                    Instead::Priority(priority) => (self.place.priority == *priority)
                        .then(|| format!("the job's priority is {}", priority.as_str())),
                };
                if why.is_some() {
                    return (at + 1, why);
                }
            }
        }
        (0, None)
    }

    /// The text that the author and the payload give, with that of documents.
    fn input_bytes(&self) -> u64 {
        let attached = self.attached.iter().flatten().filter_map(attach::Attached::text);
        let said = self.rendered.messages.iter().map(|(_, text)| text.as_str());
        let all = self.rendered.system.iter().map(String::as_str).chain(said).chain(attached);
        all.map(|text| text.len() as u64).sum()
    }

    async fn is_below(&self, below: &Below) -> Option<String> {
        let view = match self.shared.store.find_budget(&below.budget, self.shared.clock.now_ms()).await {
            Ok(view) => view,
            Err(error) => {
                tracing::warn!(error = %chain(&error), budget = below.budget, "a budget cannot be looked at");
                None
            }
        };
        let Some(view) = view else {
            tracing::warn!(
                budget = below.budget,
                step = self.place.step,
                "a fallback names a budget that there is not"
            );
            return None;
        };
        let (limit, mine) = (view.row.budget.limit, self.subjects(&view.row.budget.scope));
        let taken = view.periods.iter().filter(|period| mine.contains(&period.subject));
        let taken: i64 = taken.map(|period| period.spent.get().saturating_add(period.held.get())).sum();
        let left = Nano::new(limit.get().saturating_sub(taken));
        below
            .holds(limit, left)
            .then(|| format!("${left} of ${limit} are left of the budget {}", below.budget))
    }

    /// Under which names a scope counts the step's calls.
    fn subjects(&self, scope: &Scope) -> Vec<String> {
        let place = &self.place;
        scope.counted_as(&Facts {
            call: CallId::new(0, [0; 10]),
            root_job: Some(place.root_job),
            workflow: Some(&place.workflow),
            step: Some(&place.step),
            key: Some(budget_key(&place.caller)),
            user: None,
            tags: &place.tags,
            provider: &self.step.model.provider,
            model: &self.step.model.model,
        })
    }

    pub(super) fn order(&self, ask: &Ask<'_>, spot: Spot, is_smaller: bool) -> Result<Order, Stop> {
        let Some(candidate) = self.step.candidate(spot.candidate) else {
            return Err(JobError::new("internal_error", "there is no such model in the step").into());
        };
        let before = Before { turns: self.turns.all(), round: spot.round, question: spot.question };
        let cuts = if ask.candidate == Some(spot.candidate) { ask.cuts } else { 0 };
        let (name, max_tokens) = (candidate.model, candidate.limit_after(cuts));
        let provider = self.shared.ai.provider(&name.provider);
        let holds_schemas = provider.is_none_or(|provider| provider.dialect.has_schemas);
        let attached = self.attached.as_deref().unwrap_or_default();
        let request = build(&self.step, &self.rendered, attached, before, ask.again, holds_schemas);
        let (bytes, most) = (text_bytes(&request), self.step.max_input_bytes);
        // The words that we add ourselves do not count against the author.
        if bytes > most.saturating_add(levqor_core::schema::MAX_SCHEMA_BYTES + 8_192) {
            let message =
                format!("the conversation has {bytes} bytes by now; `max_input_bytes` allows {most}");
            return Err(JobError::new("ai_input_too_large", message).into());
        }
        Ok(Order {
            provider: name.provider.clone(),
            model: name.model.clone(),
            connection: candidate.connection.map(str::to_owned),
            body: Body::Ask(request),
            wish: Wish { requested: max_tokens, usual: None },
            place: Some(self.place.call(spot.question, spot.attempt)),
            key: Some(budget_key(&self.place.caller).to_owned()),
            tags: self.place.tags.clone(),
            fit: is_smaller || max_tokens.is_none(),
            ..Order::of_ask("", Default::default(), self.limits())
        })
    }

    fn limits(&self) -> Limits {
        self.shared.settings.ai.limits
    }

    /// A hold for this candidate. Places that an earlier run has used are passed over: what it held is charged, whatever
    /// came of it.
    async fn try_hold(&self, ask: &Ask<'_>, spot: &mut Spot, is_smaller: bool) -> Result<Ready, No> {
        for _ in 0..MAX_KNOWN {
            let order = self.order(ask, *spot, is_smaller).map_err(No::Stop)?;
            match hold(self.shared, order).await {
                Ok(ready) => return Ok(ready),
                Err(NotHeld::Known { .. }) => spot.attempt += 1,
                Err(NotHeld::Store(Error::Unavailable(_))) => {
                    spot.attempt += 1;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(NotHeld::Budget(refusal)) => return Err(No::Short(refusal)),
                Err(NotHeld::Busy { pause, until_ms }) => return Err(No::Busy { pause, until_ms }),
                Err(NotHeld::Store(error)) => {
                    tracing::error!(error = %chain(&error), job.id = %self.place.job, "a hold is refused by the database");
                    let error =
                        JobError::new("internal_error", "the call could not be put under its budgets");
                    return Err(No::Stop(error.into()));
                }
                Err(other) => {
                    let error = JobError::new(other.code(), other.to_string());
                    return Err(No::Stop(error.into()));
                }
            }
        }
        let error = JobError::new("ai_too_many_calls", "too many calls were lost at one place of the step");
        Err(No::Stop(error.into()))
    }

    /// A hold, by the policies of the step.
    async fn held(&self, ask: &Ask<'_>, mut spot: Spot, mut why: Option<String>) -> Result<Held, Stop> {
        loop {
            let (pause, until_ms) = match self.try_hold(ask, &mut spot, false).await {
                Ok(ready) => return Ok(Held { ready, spot, why }),
                Err(No::Stop(stop)) => return Err(stop),
                Err(No::Short(refusal)) => return self.when_short(ask, spot, why, *refusal).await,
                Err(No::Busy { pause, until_ms }) => (pause, until_ms),
            };
            match self.step.next_candidate(spot.candidate, |when| when.provider_error) {
                Some(next) => {
                    why = Some(pause.to_string());
                    spot = Spot { candidate: next, ..spot };
                }
                None => return Err(self.rest_for(&pause, until_ms)),
            }
        }
    }

    fn rest_for(&self, pause: &Pause, until_ms: Option<i64>) -> Stop {
        let error = JobError::new("ai_busy", pause.to_string());
        if matches!(pause, Pause::Quarantine { .. }) {
            // Only a person ends it.
            return error.into();
        }
        let now_ms = self.shared.clock.now_ms();
        let until_ms = until_ms.unwrap_or(now_ms + LOOK_SPENT_MS).max(now_ms + 100);
        Stop::Outcome(Outcome::Pause { until_ms, error })
    }

    async fn when_short(
        &self,
        ask: &Ask<'_>,
        first: Spot,
        why: Option<String>,
        refusal: Refusal,
    ) -> Result<Held, Stop> {
        if refusal.reason != Reason::SpentOut {
            return self.wait_for_money(ask, first, why, refusal).await;
        }
        let mut spot = first;
        for policy in &self.step.when_short {
            match policy {
                WhenShort::Cheaper => {
                    while let Some(next) = self.step.next_candidate(spot.candidate, |when| when.budget_short)
                    {
                        spot.candidate = next;
                        match self.try_hold(ask, &mut spot, false).await {
                            Ok(ready) => {
                                let why = Some(format!("the budget {} is short", refusal.budget));
                                return Ok(Held { ready, spot, why });
                            }
                            Err(No::Stop(stop)) => return Err(stop),
                            Err(No::Short(other)) if other.reason != Reason::SpentOut => {
                                return self.wait_for_money(ask, spot, why, *other).await;
                            }
                            Err(No::Short(_) | No::Busy { .. }) => {}
                        }
                    }
                    spot.candidate = first.candidate;
                }
                WhenShort::Smaller => match self.try_hold(ask, &mut spot, true).await {
                    Ok(ready) => {
                        let why = why.or(Some(format!("shortened for the budget {}", refusal.budget)));
                        return Ok(Held { ready, spot, why });
                    }
                    Err(No::Stop(stop)) => return Err(stop),
                    Err(No::Short(_) | No::Busy { .. }) => {}
                },
                WhenShort::Wait if may_come_back(&refusal) => {
                    return self.wait_for_money(ask, first, why, refusal).await;
                }
                WhenShort::Wait => {}
                WhenShort::Fail => break,
            }
        }
        Err(budget_error(&refusal).into())
    }

    /// Rests without a slot. Money that comes back or a raised limit wakes the job; a look now and then is the fallback.
    async fn wait_for_money(
        &self,
        ask: &Ask<'_>,
        mut spot: Spot,
        why: Option<String>,
        refusal: Refusal,
    ) -> Result<Held, Stop> {
        // Once more, after the look at the budgets' word: a limit that is raised from here on is seen.
        let token = self.shared.store.budgets_token().await.ok();
        let refusal = match self.try_hold(ask, &mut spot, false).await {
            Ok(ready) => return Ok(Held { ready, spot, why }),
            Err(No::Short(refusal)) => *refusal,
            Err(No::Stop(stop)) => return Err(stop),
            Err(No::Busy { .. }) => refusal,
        };
        Err(Stop::Outcome(rest_for_money(self.shared, self.place.job, &refusal, token)))
    }

    fn turn_of(&self, over: &Over, spot: Spot, why: Option<String>) -> Turn {
        let answer = &over.answer;
        let (model, call, cost_nano) = (over.model(), over.call().to_string(), over.cost);
        if !matches!(answer.ending, Ending::Answered(_)) {
            let (error, passes) = failure(answer, &model);
            return Turn::Failed(Box::new(Failed {
                spot,
                step_attempt: self.place.step_attempt,
                model,
                call,
                error,
                passes,
                retry_after_ms: answer.retry_after_ms,
                cost_nano,
            }));
        }
        let calls = answer.gather.calls.iter().enumerate().map(|(place, call)| Wanted {
            // Not every wire names its calls.
            id: if call.id.is_empty() { format!("call_{}_{place}", spot.question) } else { call.id.clone() },
            name: call.name.clone(),
            arguments: call.arguments.clone(),
        });
        let usage = answer.gather.usage().ok().flatten();
        let mut said = Said {
            spot,
            model,
            call,
            cached: false,
            text: answer.gather.text.clone(),
            calls: calls.collect(),
            finish: finish(answer.gather.finish.as_ref()),
            problems: Vec::new(),
            mended: false,
            cost_nano,
            usage: usage.as_ref().map(Tokens::of).unwrap_or_default(),
            why,
        };
        let judged = self.judge(&said);
        (said.problems, said.mended) = judged;
        Turn::Said(Box::new(said))
    }

    /// What is wrong with an answer, and whether it was mended.
    fn judge(&self, said: &Said) -> (Vec<Problem>, bool) {
        use levqor_core::answer::{Verdict, judge};
        let Some(form) = self.step.output.as_ref().filter(|_| said.calls.is_empty()) else {
            return (Vec::new(), false);
        };
        let vault = self.vault(said.spot.question);
        let is_whole = said.finish != Finish::Length;
        match judge(&said.text, is_whole, &form.schema, |json| vault.restore_json(json)) {
            Verdict::Fits { mended, .. } => (Vec::new(), mended),
            Verdict::Unfit { problems, .. } => (problems.into_iter().map(Problem::from).collect(), false),
        }
    }
}

fn finish(word: Option<&Word>) -> Finish {
    match word {
        Some(Word::Stop) => Finish::Stop,
        Some(Word::Length) => Finish::Length,
        Some(Word::Tools) => Finish::Tools,
        Some(Word::Refused) => Finish::Refused,
        Some(Word::Other(_)) | None => Finish::Other,
    }
}

/// Why there is no answer, and whether another try may bring one.
fn failure(answer: &Answer, model: &str) -> (JobError, bool) {
    let word = answer.error.as_deref().unwrap_or("no_answer");
    match answer.status.map(|status| status.as_u16()) {
        Some(status) if (400..500).contains(&status) && !matches!(status, 408 | 409 | 425 | 429) => {
            (JobError::new("ai_request_refused", format!("{model} answered {status}: {word}")), false)
        }
        Some(status) if status >= 400 => {
            (JobError::new("ai_provider_failed", format!("{model} answered {status}: {word}")), true)
        }
        _ => {
            let passes = !matches!(word, "address_refused" | "bad_request");
            (JobError::new("ai_provider_failed", format!("{model} gave no whole answer: {word}")), passes)
        }
    }
}

/// Whether waiting can help: what a job has spent does not come back, and what is larger than the limit never fits.
fn may_come_back(refusal: &Refusal) -> bool {
    refusal.window != Window::Job && refusal.wanted <= refusal.limit
}

/// The job rests, and is woken when money comes back or the budgets change. `token`: their word before the last refusal.
pub(crate) fn rest_for_money(
    shared: &Shared,
    job: JobId,
    refusal: &Refusal,
    token: Option<String>,
) -> Outcome {
    let now_ms = shared.clock.now_ms();
    let is_held = matches!(refusal.reason, Reason::HeldOut | Reason::TooManyOpen);
    let look_ms = now_ms + if is_held { LOOK_HELD_MS } else { LOOK_SPENT_MS };
    let until_ms = refusal.resets_at_ms.map_or(look_ms, |resets_ms| resets_ms.min(look_ms).max(now_ms + 100));
    shared.short.add(job, is_held, token);
    Outcome::Pause { until_ms, error: budget_error(refusal) }
}

/// Names the budget, its scope, its limit, what is spent, and when it resets.
pub(crate) fn budget_error(refusal: &Refusal) -> JobError {
    let not_held = NotHeld::Budget(Box::new(refusal.clone()));
    let mut error = JobError::new(not_held.code(), not_held.to_string());
    let scope = refusal.scope.kind.as_str().to_owned();
    let mut fields = vec![
        ("/budget", refusal.budget.to_string()),
        ("/scope", scope),
        ("/limit", refusal.limit.to_string()),
        ("/spent", refusal.spent.to_string()),
        ("/held", refusal.held.to_string()),
        ("/wanted", refusal.wanted.to_string()),
    ];
    if !refusal.subject.is_empty() {
        fields.push(("/subject", refusal.subject.clone()));
    }
    if let Some(at_ms) = refusal.resets_at_ms {
        fields.push(("/resets_at", levqor_core::duration::rfc3339(at_ms)));
    }
    error.fields = Some(fields.into_iter().map(|(at, what)| (at.to_owned(), what)).collect());
    error
}
