//! The `wait` step: how long, or until when.

use crate::duration;
use crate::job::JobError;
use crate::json;
use crate::scope::Scope;
use crate::template::Template;

use super::problem::shorten;

/// What a `wait` step waits for.
#[derive(Clone, Debug)]
pub enum WaitStep {
    /// A duration such as `5m`.
    For(Template),
    /// RFC 3339 or epoch seconds.
    Until(Template),
}

impl WaitStep {
    /// The code of a failed step whose template gave no time.
    pub const BAD_WAIT: &'static str = "bad_wait";

    /// When the wait that begins at `now_ms` is over. A time that has passed is over at once.
    pub fn until_ms(&self, scope: &Scope<'_>, now_ms: i64) -> Result<i64, JobError> {
        match self {
            WaitStep::For(template) => {
                let raw = template.render(scope)?;
                let text = json::decode(&raw).ok_or_else(|| bad(&raw, "a duration is a text such as 30s"))?;
                let wait_ms = duration::parse_duration_ms(&text).map_err(|error| bad(&raw, error))?;
                Ok(now_ms.saturating_add(wait_ms))
            }
            WaitStep::Until(template) => {
                let raw = template.render(scope)?;
                let parsed = match json::decode(&raw) {
                    Some(text) => duration::parse_time_ms(&text),
                    None => duration::parse_epoch_ms(&raw),
                };
                let until_ms = parsed.map_err(|error| bad(&raw, error))?;
                if until_ms > now_ms.saturating_add(duration::MAX_DURATION_MS) {
                    return Err(bad(&raw, "must be 366d from now at most"));
                }
                Ok(until_ms.max(now_ms))
            }
        }
    }
}

fn bad(raw: &str, why: impl std::fmt::Display) -> JobError {
    JobError::new(WaitStep::BAD_WAIT, format!("cannot wait for {}: {why}", shorten(raw, 80)))
}
