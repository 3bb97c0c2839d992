//! What a callback says, and when it is tried: the body that is fixed with the job's end, and the schedule of its tries.
//!
//! Invariant: a body is below [`MAX_BODY_BYTES`] whatever the job holds. What does not fit is left out and said so.

use std::collections::BTreeMap;

use crate::address::host_port;
use crate::duration::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, rfc3339};
use crate::id::JobId;
use crate::job::{JobError, NewCallback, Tags};
use crate::json::quote;
use crate::state::State;

/// Below 20 KB in either meaning of the word.
pub const MAX_BODY_BYTES: usize = 20_000;

/// The shares of a body that would be too large. Together with what is not listed here (ids, times, names of members:
/// less than 1,500 bytes) they stay below the bound.
const WORKFLOW_BYTES: usize = 1_000;
const TAGS_BYTES: usize = 6_000;
const MESSAGE_BYTES: usize = 4_000;
const FIELDS_BYTES: usize = 4_000;
const WORD_BYTES: usize = 500;

/// Where anybody who has the job's id reads its result and error.
const STATUS_PATH: &str = "/api/v1/status/";

/// The pauses after a failed try, by its number in the round; the last try has none.
pub const SCHEDULE_MS: [i64; 7] =
    [5 * SECOND_MS, 5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 5 * HOUR_MS, 10 * HOUR_MS, 10 * HOUR_MS];

/// How long a receiver may put us off by Retry-After.
pub const MAX_RETRY_AFTER_MS: i64 = DAY_MS;

/// A job as its callback tells of it, beside how it ended.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub job_id: JobId,
    pub claim: i64,
    pub workflow: &'a str,
    pub version: Option<i64>,
    pub tags: &'a Tags,
    pub created_at_ms: i64,
    pub started_at_ms: Option<i64>,
    pub callback_url: &'a str,
}

/// The callback of a job that ends in `state`, which is final. `result` is compact JSON.
pub fn compose(
    facts: &Facts<'_>,
    state: State,
    finished_at_ms: i64,
    result: Option<&str>,
    error: Option<&JobError>,
) -> NewCallback {
    let host = host_port(facts.callback_url).unwrap_or_else(|| facts.callback_url.to_owned());
    NewCallback {
        id: format!("msg_{}_{}", facts.job_id, facts.claim),
        job_id: facts.job_id,
        url: facts.callback_url.to_owned(),
        host,
        body: body(facts, state, finished_at_ms, result, error),
    }
}

fn body(
    facts: &Facts<'_>,
    state: State,
    finished_at_ms: i64,
    result: Option<&str>,
    error: Option<&JobError>,
) -> String {
    debug_assert!(state.is_final(), "only the end of a job is called back");
    let finished_at = rfc3339(finished_at_ms);
    let head = format!(
        r#"{{"type":"job.{end}","timestamp":"{finished_at}","data":{{"job_id":"{id}","status":"{status}","state":"{end}","workflow":{workflow}{version}"#,
        end = state.as_str(),
        id = facts.job_id,
        status = state.status().as_str(),
        workflow = quote_capped(facts.workflow, WORKFLOW_BYTES),
        version = facts.version.map_or(String::new(), |version| format!(r#","version":{version}"#)),
    );
    let tail = format!(
        r#","created_at":"{}","started_at":{},"finished_at":"{finished_at}"}}}}"#,
        rfc3339(facts.created_at_ms),
        facts.started_at_ms.map_or("null".to_owned(), |at_ms| quote(&rfc3339(at_ms))),
    );
    let room = MAX_BODY_BYTES - head.len() - tail.len();

    let mut outcome = match (state, error) {
        (State::Succeeded, _) => format!(r#","result":{}"#, result.unwrap_or("null")),
        (_, Some(error)) => format!(r#","error":{}"#, error_json(error, usize::MAX)),
        (_, None) => r#","error":null"#.to_owned(),
    };
    let mut tags = map_member("tags", facts.tags, usize::MAX);
    if tags.len() + outcome.len() >= room {
        tags = map_member("tags", facts.tags, TAGS_BYTES);
    }
    if tags.len() + outcome.len() >= room {
        let status_url = format!("{STATUS_PATH}{}", facts.job_id);
        outcome = match error.filter(|_| state != State::Succeeded) {
            Some(error) => {
                format!(r#","error":{},"error_url":"{status_url}""#, error_json(error, MESSAGE_BYTES))
            }
            None => {
                let bytes = result.map_or(0, str::len);
                format!(r#","result":null,"result_url":"{status_url}","result_bytes":{bytes}"#)
            }
        };
    }
    [head, outcome, tags, tail].concat()
}

/// The error as the API shows it; with less than everything for its message, all other parts are capped as well.
fn error_json(error: &JobError, message_bytes: usize) -> String {
    let cap = |bytes| if message_bytes == usize::MAX { usize::MAX } else { bytes };
    let mut out = format!(
        r#"{{"code":{},"message":{}"#,
        quote_capped(&error.code, cap(WORD_BYTES)),
        quote_capped(&error.message, message_bytes)
    );
    if let Some(step) = &error.step {
        out.push_str(r#","step":"#);
        out.push_str(&quote_capped(step, cap(WORD_BYTES)));
    }
    if let Some(fields) = &error.fields {
        out.push_str(&map_member("fields", fields, cap(FIELDS_BYTES)));
    }
    out.push('}');
    out
}

/// `,"<name>":{…}` with as many pairs as fit, and `,"<name>_omitted":<count>` if not all did.
fn map_member(name: &str, map: &BTreeMap<String, String>, max_bytes: usize) -> String {
    let mut out = format!(r#","{name}":{{"#);
    let mut omitted = 0;
    let mut separator = "";
    for (key, value) in map {
        let pair = format!("{separator}{}:{}", quote(key), quote(value));
        if out.len() + pair.len() > max_bytes {
            omitted += 1;
        } else {
            out.push_str(&pair);
            separator = ",";
        }
    }
    out.push('}');
    if omitted > 0 {
        out.push_str(&format!(r#","{name}_omitted":{omitted}"#));
    }
    out
}

/// `text` as a JSON string of at most `max_bytes`; cut where it must, with `…` at the end.
fn quote_capped(text: &str, max_bytes: usize) -> String {
    let whole = quote(text);
    if whole.len() <= max_bytes {
        return whole;
    }
    let frame = "\"…\"".len();
    let mut spent = frame;
    let kept: String = text
        .chars()
        .take_while(|c| {
            spent += quoted_bytes(*c);
            spent <= max_bytes
        })
        .collect();
    quote(&(kept + "…"))
}

fn quoted_bytes(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' => 6,
        other => other.len_utf8(),
    }
}

/// When to try again after try number `round` (from 1) failed at `now_ms`; `None` when that was the last one.
///
/// `jitter` is random from 0 to 1 and adds up to a fifth, so that a receiver that comes back is not met by all at once.
/// A Retry-After puts the try off, never forward.
pub fn next_try(round: i64, now_ms: i64, retry_after_ms: Option<i64>, jitter: f64) -> Option<i64> {
    let place = usize::try_from(round.max(1) - 1).ok()?;
    let pause_ms = *SCHEDULE_MS.get(place)?;
    let jitter_ms = (pause_ms as f64 * 0.2 * jitter.clamp(0.0, 1.0)) as i64;
    let asked_ms = retry_after_ms.unwrap_or(0).clamp(0, MAX_RETRY_AFTER_MS);
    Some(now_ms + (pause_ms + jitter_ms).max(asked_ms))
}

/// What a receiver's status means for the callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// The receiver wants no more of it.
    Gone,
    /// Try again by the schedule, and not before its Retry-After.
    Busy,
    /// Try again by the schedule. Redirects count here: where they lead was not agreed.
    Failed,
}

pub fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Delivered,
        410 => Verdict::Gone,
        429 | 503 => Verdict::Busy,
        _ => Verdict::Failed,
    }
}

#[cfg(test)]
mod tests;
