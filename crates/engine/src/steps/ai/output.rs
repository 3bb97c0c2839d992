//! The output of an `ai` step: the answer, and what it took.

use levqor_core::answer::{Verdict, judge};
use levqor_core::job::JobError;
use levqor_core::json;
use levqor_core::money::Nano;
use levqor_core::redact::Vault;
use levqor_core::talk::{Finish, Said, Tokens, Turn};
use levqor_core::workflow::AiStep;

use crate::steps::http::MAX_ANSWER_BYTES;

pub(super) fn output(
    step: &AiStep,
    said: &Said,
    flagged: bool,
    turns: &[Turn],
    vault: &Vault,
) -> Result<String, JobError> {
    let mut out = String::from("{\"answer\":");
    out.push_str(&answer(step, said, vault));
    let mine: Vec<&Turn> = turns.iter().filter(|turn| turn.round() == said.spot.round).collect();
    let calls = mine.iter().filter(|turn| match turn {
        Turn::Said(said) => !said.cached,
        Turn::Failed(_) => true,
        Turn::Tool(_) => false,
    });
    let (mut usage, mut cost) = (Tokens::default(), Nano::ZERO);
    for turn in &mine {
        cost = cost.checked_add(turn.cost()).unwrap_or(cost);
        if let Turn::Said(said) = turn {
            usage.add(said.usage);
        }
    }
    let asked_again = mine.iter().any(|turn| match turn {
        Turn::Said(other) => other.spot.question == said.spot.question && !other.problems.is_empty(),
        _ => false,
    });
    out.push_str(&format!(",\"attempts\":{}", calls.count()));
    out.push_str(&format!(",\"cached\":{}", said.cached));
    out.push_str(&format!(",\"cost\":\"{cost}\""));
    out.push_str(&format!(",\"finish\":\"{}\"", said.finish.as_str()));
    out.push_str(",\"model\":");
    json::push_quoted(&mut out, &said.model);
    if flagged {
        out.push_str(",\"problems\":{");
        for (place, problem) in said.problems.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            json::push_quoted(&mut out, &problem.at);
            out.push(':');
            json::push_quoted(&mut out, &problem.what);
        }
        out.push('}');
    }
    out.push_str(&format!(",\"repaired\":{}", said.mended || asked_again && !flagged));
    let tools = mine.iter().filter(|turn| matches!(turn, Turn::Tool(_))).count();
    out.push_str(&format!(",\"tools\":{tools}"));
    let Tokens { input, cached_input, output } = usage;
    out.push_str(&format!(
        ",\"usage\":{{\"cached_input_tokens\":{cached_input},\"input_tokens\":{input},\"output_tokens\":{output}}}"
    ));
    out.push_str(&format!(",\"valid\":{}}}", !flagged));
    if out.len() > MAX_ANSWER_BYTES {
        let message = format!("the answer is larger than {MAX_ANSWER_BYTES} bytes; ask for less");
        return Err(JobError::new("response_too_large", message));
    }
    Ok(out)
}

/// As JSON: what fits the form, or the text as it was said.
fn answer(step: &AiStep, said: &Said, vault: &Vault) -> String {
    let text = || json::quote(&vault.restore(&said.text).replace('\0', "\u{fffd}"));
    let Some(form) = &step.output else { return text() };
    let is_whole = said.finish != Finish::Length;
    match judge(&said.text, is_whole, &form.schema, |raw| vault.restore_json(raw)) {
        Verdict::Fits { json, .. } | Verdict::Unfit { json: Some(json), .. } => json,
        Verdict::Unfit { json: None, .. } => text(),
    }
}
