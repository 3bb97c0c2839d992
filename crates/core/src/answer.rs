//! What a model said, held against the form that was asked for: mended for free where that takes no guess, then checked.
//!
//! A mended answer says so. What was cut off at its limit is never completed, for nobody knows what was to come.

mod mend;

use crate::json;
use crate::schema::{MAX_VIOLATIONS, Schema, Violation};
use crate::workflow::shorten;

/// How an answer stands against its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Compact JSON that fits.
    Fits { json: String, mended: bool },
    /// What is wrong, [`MAX_VIOLATIONS`] at most; and the JSON, if it was any.
    Unfit { problems: Vec<Violation>, json: Option<String> },
}

/// Reads an answer. `is_whole`: the model came to its end; then brackets that it forgot are closed. `restore` puts back what
/// was taken out before sending; it is given JSON and gives JSON.
pub fn judge(text: &str, is_whole: bool, schema: &Schema, restore: impl Fn(&str) -> String) -> Verdict {
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Ok(json) = json::compact(text) {
        return check(&json, false, schema, &restore);
    }
    let mut best: Option<Verdict> = None;
    for json in mend::candidates(text, is_whole) {
        let verdict = check(&json, true, schema, &restore);
        if matches!(verdict, Verdict::Fits { .. }) {
            return verdict;
        }
        // Of several that do not fit, the longest is the likeliest to be meant.
        let length = |verdict: &Verdict| match verdict {
            Verdict::Unfit { json: Some(json), .. } => json.len(),
            _ => 0,
        };
        if best.as_ref().is_none_or(|best| length(&verdict) > length(best)) {
            best = Some(verdict);
        }
    }
    best.unwrap_or_else(|| {
        let message = match json::compact(text) {
            _ if text.is_empty() => "the answer is empty; it must be JSON".to_owned(),
            Err(error) => format!("the answer is not JSON: {error}"),
            Ok(_) => "the answer is not JSON".to_owned(),
        };
        Verdict::Unfit { problems: vec![Violation { pointer: String::new(), message }], json: None }
    })
}

fn check(raw: &str, mended: bool, schema: &Schema, restore: &impl Fn(&str) -> String) -> Verdict {
    let restored = restore(raw);
    // What was put back may not fit into what JSON we take.
    let Ok(json) = json::compact(&restored) else {
        let message = "the answer is not JSON that can be stored".to_owned();
        return Verdict::Unfit { problems: vec![Violation { pointer: String::new(), message }], json: None };
    };
    match schema.validate(&json) {
        Ok(()) => Verdict::Fits { json, mended },
        Err(problems) => Verdict::Unfit { problems, json: Some(json) },
    }
}

/// Whether asking again helps: fewer things are wrong than before, or other ones and not more.
pub fn shrinks(before: &[Violation], now: &[Violation]) -> bool {
    now.len() < before.len()
}

/// What is wrong, for the model.
pub fn ask_again(problems: &[Violation]) -> String {
    let mut text = String::from("Your answer does not have the form that was asked for:\n");
    for problem in problems.iter().take(MAX_VIOLATIONS) {
        let place = if problem.pointer.is_empty() { "the whole answer" } else { &problem.pointer };
        text.push_str(&format!("- {}: {}\n", shorten(place, 200), shorten(&problem.message, 300)));
    }
    text.push_str("Answer again: the whole JSON with these mended, and nothing else.");
    text
}

/// How the form is asked for where the provider cannot hold an answer to it by itself.
pub fn ask_for(schema: &str) -> String {
    format!(
        "Answer with JSON and nothing else: no fences, no words around it. It must fit this JSON Schema:\n{schema}"
    )
}

#[cfg(test)]
mod tests;
