//! What templates of a running job can see, built from its row and its recorded attempts.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Instant;

use levqor_core::duration::epoch_seconds_json;
use levqor_core::job::{ClaimedJob, StepRow};
use levqor_core::json;
use levqor_core::plan;
use levqor_core::scope::{Scope, StepOutputs};

/// The texts behind a [`Scope`], which only borrows.
pub(crate) struct View<'a> {
    pub job: &'a ClaimedJob,
    pub rows: &'a [StepRow],
    secrets: &'a BTreeMap<String, String>,
    outputs: StepOutputs<'a>,
    meta: String,
    tags: String,
}

impl<'a> View<'a> {
    pub fn new(job: &'a ClaimedJob, rows: &'a [StepRow], secrets: &'a BTreeMap<String, String>) -> Self {
        View { job, rows, secrets, outputs: plan::outputs(rows), meta: meta(job), tags: tags(job) }
    }

    pub fn scope(&self) -> Scope<'_> {
        Scope {
            payload: &self.job.payload,
            job: &self.meta,
            tags: &self.tags,
            steps: &self.outputs,
            secrets: self.secrets,
            monotonic_us,
        }
    }
}

fn meta(job: &ClaimedJob) -> String {
    let mut meta = format!("{{\"id\":\"{}\",\"created_at\":", job.id);
    meta.push_str(&epoch_seconds_json(job.id.created_at_ms()));
    meta.push_str(",\"priority\":\"");
    meta.push_str(job.priority.as_str());
    meta.push_str("\",\"workflow\":");
    json::push_quoted(&mut meta, &job.workflow);
    meta.push('}');
    meta
}

fn tags(job: &ClaimedJob) -> String {
    let mut tags = String::from("{");
    for (place, (key, value)) in job.tags.iter().enumerate() {
        if place > 0 {
            tags.push(',');
        }
        json::push_quoted(&mut tags, key);
        tags.push(':');
        json::push_quoted(&mut tags, value);
    }
    tags.push('}');
    tags
}

/// Stops expressions that take too long; not a clock that anything else may hang on.
fn monotonic_us() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_micros() as u64
}
