//! What comes next in a conversation.

use super::{Failed, Finish, Problem, Said, ToolRun, Turn, Wanted};
use crate::answer::shrinks;
use crate::job::JobError;
use crate::schema::Violation;
use crate::workflow::ai::{AiStep, OnInvalid};

/// Calls of one round, whatever its policies multiply to.
const MAX_CALLS: usize = 200;

/// The next move.
#[derive(Clone, Debug, PartialEq)]
pub enum Move<'t> {
    Ask(Ask<'t>),
    /// These tools, in order; each with its place among the calls of the answer.
    Run {
        question: i64,
        wanted: Vec<(usize, &'t Wanted)>,
    },
    /// The answer stands. `flagged`: it does not fit, and is taken all the same.
    Done {
        said: &'t Said,
        flagged: bool,
    },
    /// It failed; with `passes`, another attempt of the step may help.
    Over {
        error: JobError,
        passes: bool,
        retry_after_ms: Option<i64>,
    },
}

/// One more call.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask<'t> {
    pub question: i64,
    /// The least number that is free as far as the records tell.
    pub attempt: i64,
    /// The model to ask; `None`: whichever the conditions say.
    pub candidate: Option<usize>,
    /// How many answers of this model to this question were cut off at their limit: each doubles it.
    pub cuts: u32,
    /// The answer that did not fit, to be told so.
    pub again: Option<Again<'t>>,
    pub why: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Again<'t> {
    pub text: &'t str,
    pub problems: &'t [Problem],
}

/// From all turns of the step so far, in order. `step_attempt` is the number of the attempt that is being made.
pub fn next<'t>(step: &AiStep, turns: &'t [Turn], round: i64, step_attempt: i64) -> Move<'t> {
    let newest = turns.iter().map(Turn::question).max().unwrap_or(0);
    let here: Vec<&Turn> = turns.iter().filter(|turn| turn.round() == round).collect();
    let calls = here.iter().filter(|turn| !matches!(turn, Turn::Tool(_))).count();
    let Some(question) = here.iter().map(|turn| turn.question()).max() else {
        return Move::Ask(Ask {
            question: newest + 1,
            attempt: 1,
            candidate: None,
            cuts: 0,
            again: None,
            why: None,
        });
    };
    let tries: Vec<&Turn> = here.iter().copied().filter(|turn| turn.question() == question).collect();
    let last = tries.iter().copied().rfind(|turn| !matches!(turn, Turn::Tool(_)));
    let talk = Talk { step, question, tries: &tries, calls };
    match last {
        None => talk.ask(None, None, None),
        Some(Turn::Failed(failed)) => talk.after_failure(failed, step_attempt),
        Some(Turn::Said(said)) => talk.after_answer(said, &here),
        Some(Turn::Tool(_)) => talk.ask(None, None, None),
    }
}

struct Talk<'s, 't> {
    step: &'s AiStep,
    question: i64,
    /// The turns of the question.
    tries: &'s [&'t Turn],
    /// Calls of the round.
    calls: usize,
}

impl<'t> Talk<'_, 't> {
    fn ask(&self, candidate: Option<usize>, again: Option<Again<'t>>, why: Option<String>) -> Move<'t> {
        if self.calls >= MAX_CALLS {
            let message = format!("the step has made {MAX_CALLS} calls; it makes no more");
            return over(JobError::new("ai_too_many_calls", message));
        }
        let attempts = self.tries.iter().filter_map(|turn| match turn {
            Turn::Said(said) => Some(said.spot.attempt),
            Turn::Failed(failed) => Some(failed.spot.attempt),
            Turn::Tool(_) => None,
        });
        let attempt = attempts.max().unwrap_or(0) + 1;
        let cuts = candidate.map_or(0, |candidate| self.cuts(candidate));
        Move::Ask(Ask { question: self.question, attempt, candidate, cuts, again, why })
    }

    fn after_failure(&self, failed: &Failed, step_attempt: i64) -> Move<'t> {
        if failed.step_attempt < step_attempt {
            return self.ask(None, None, None);
        }
        if let Some(next) = self.step.next_candidate(failed.spot.candidate, |when| when.provider_error) {
            return self.ask(Some(next), None, Some(format!("{}: {}", failed.model, failed.error.code)));
        }
        Move::Over {
            error: failed.error.clone(),
            passes: failed.passes,
            retry_after_ms: failed.retry_after_ms,
        }
    }

    fn after_answer(&self, said: &'t Said, here: &[&'t Turn]) -> Move<'t> {
        match said.finish {
            Finish::Refused => return self.after_refusal(said),
            Finish::Length if is_cut(said) => return self.after_cut(said),
            _ => {}
        }
        if !said.calls.is_empty() {
            return self.after_calls(said, here);
        }
        if said.problems.is_empty() {
            return Move::Done { said, flagged: false };
        }
        self.after_unfit(said)
    }

    fn after_refusal(&self, said: &Said) -> Move<'t> {
        if let Some(next) = self.step.next_candidate(said.spot.candidate, |when| when.refused) {
            return self.ask(Some(next), None, Some(format!("{} refused", said.model)));
        }
        over(JobError::new("ai_refused", format!("{} refused to answer", said.model)))
    }

    /// What was cut is neither completed nor asked for again with the same limit.
    fn after_cut(&self, said: &Said) -> Move<'t> {
        let asks_again = matches!(self.step.on_invalid, OnInvalid::Repair | OnInvalid::Retry);
        if asks_again && self.may_ask_again() && self.may_grow(said) {
            let why = format!("{}'s answer was cut off", said.model);
            return self.ask(Some(said.spot.candidate), None, Some(why));
        }
        if let Some(next) = self.step.next_candidate(said.spot.candidate, |when| when.invalid_output) {
            return self.ask(Some(next), None, Some(format!("{}'s answer was cut off", said.model)));
        }
        let message = format!(
            "the answer of {} was cut off after {} tokens; give it a larger `max_tokens`, or a larger budget",
            said.model, said.usage.output
        );
        over(JobError::new("ai_answer_cut", message))
    }

    /// Whether it was the step's own limit that cut the answer: a larger one then helps.
    fn may_grow(&self, said: &Said) -> bool {
        let cuts = self.cuts(said.spot.candidate);
        let Some(model) = self.step.candidate(said.spot.candidate) else { return false };
        match (model.limit_after(cuts.saturating_sub(1)), model.limit_after(cuts)) {
            // Some stop a little before it. Less was said where the model, or what was left of a budget, allowed no more.
            (Some(before), Some(now)) => {
                now > before && said.usage.output.saturating_mul(10) >= before.saturating_mul(9)
            }
            _ => false,
        }
    }

    fn cuts(&self, candidate: usize) -> u32 {
        self.unfit().filter(|said| said.spot.candidate == candidate && is_cut(said)).count() as u32
    }

    /// The answers to the question that could not be used.
    fn unfit(&self) -> impl Iterator<Item = &'t Said> {
        self.tries.iter().filter_map(|turn| match turn {
            Turn::Said(said) if !said.problems.is_empty() || is_cut(said) => Some(said.as_ref()),
            _ => None,
        })
    }

    fn may_ask_again(&self) -> bool {
        self.unfit().count().saturating_sub(1) < self.step.repairs as usize
    }

    fn after_calls(&self, said: &'t Said, here: &[&'t Turn]) -> Move<'t> {
        let runs: Vec<&ToolRun> = here
            .iter()
            .filter_map(|turn| match turn {
                Turn::Tool(run) if run.question == self.question => Some(run.as_ref()),
                _ => None,
            })
            .collect();
        let is_over = |place: usize| runs.iter().any(|run| run.place == place && run.content.is_some());
        let wanted: Vec<(usize, &Wanted)> =
            said.calls.iter().enumerate().filter(|(place, _)| !is_over(*place)).collect();
        if !wanted.is_empty() {
            return Move::Run { question: self.question, wanted };
        }
        let mut answered: Vec<i64> =
            here.iter().filter(|turn| matches!(turn, Turn::Said(_))).map(|turn| turn.question()).collect();
        answered.dedup();
        if answered.len() >= self.step.max_turns as usize {
            let message = format!(
                "the model asked for tools in each of its {} turns; `max_turns` allows no more",
                self.step.max_turns
            );
            return over(JobError::new("ai_too_many_turns", message));
        }
        if self.calls >= MAX_CALLS {
            return self.ask(None, None, None);
        }
        Move::Ask(Ask {
            question: self.question + 1,
            attempt: 1,
            candidate: Some(said.spot.candidate),
            cuts: 0,
            again: None,
            why: None,
        })
    }

    fn after_unfit(&self, said: &'t Said) -> Move<'t> {
        let unfit: Vec<&Said> = self.unfit().collect();
        let here = said.spot.candidate;
        let may_ask = self.may_ask_again();
        match self.step.on_invalid {
            OnInvalid::Accept => return Move::Done { said, flagged: true },
            OnInvalid::Fail => return unfit_over(said),
            OnInvalid::Retry if may_ask => {
                return self.ask(Some(here), None, Some("the answer did not fit".to_owned()));
            }
            OnInvalid::Repair if may_ask && self.helps(&unfit) => {
                let again = Again { text: &said.text, problems: &said.problems };
                return self.ask(Some(here), Some(again), Some("the answer did not fit".to_owned()));
            }
            OnInvalid::Retry | OnInvalid::Repair | OnInvalid::Fallback => {}
        }
        match self.step.next_candidate(here, |when| when.invalid_output) {
            Some(next) => self.ask(Some(next), None, Some(format!("{}'s answer did not fit", said.model))),
            None => unfit_over(said),
        }
    }

    /// Asking again has made it better, or was not tried yet with this model.
    fn helps(&self, unfit: &[&Said]) -> bool {
        match unfit {
            [.., before, now] if before.spot.candidate == now.spot.candidate && !is_cut(before) => {
                let list = |said: &Said| said.problems.iter().map(Violation::from).collect::<Vec<_>>();
                shrinks(&list(before), &list(now))
            }
            _ => true,
        }
    }
}

/// The limit on the answer came before its end.
fn is_cut(said: &Said) -> bool {
    said.finish == Finish::Length && (!said.calls.is_empty() || !said.problems.is_empty())
}

fn over<'t>(error: JobError) -> Move<'t> {
    Move::Over { error, passes: false, retry_after_ms: None }
}

fn unfit_over<'t>(said: &Said) -> Move<'t> {
    let message = format!("the answer of {} does not have the form that `output` asks for", said.model);
    let mut error = JobError::new("ai_output_invalid", message);
    error.fields = Some(said.problems.iter().map(|it| (it.at.clone(), it.what.clone())).collect());
    over(error)
}
