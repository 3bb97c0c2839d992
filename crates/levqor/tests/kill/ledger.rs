//! What was asked and what was promised: every job that was sent, and the id under which it was acknowledged.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use crate::workflows::Kind;

/// A job as its client sees it. The token stands in its payload, its tags and its callback's path.
#[derive(Clone, Debug)]
pub struct Job {
    pub token: String,
    pub kind: Kind,
    pub payload: Value,
    pub callback_url: Option<String>,
    /// With a key it is sent until it is answered; without one it is sent once.
    pub key: Option<String>,
    pub priority: Option<&'static str>,
    pub delay_ms: Option<u64>,
}

impl Job {
    /// The body of its intake.
    pub fn body(&self) -> Value {
        let mut body = json!({
            "workflow": self.kind.workflow(),
            "payload": self.payload,
            "tags": {"token": self.token},
        });
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        set("callback_url", self.callback_url.clone().map(Value::from));
        set("priority", self.priority.map(Value::from));
        set("delay", self.delay_ms.map(|ms| format!("{ms}ms").into()));
        body
    }

    /// Its line of a batch.
    pub fn line(&self) -> Value {
        let mut line = self.body();
        if let Some(key) = &self.key {
            line["idempotency_key"] = key.as_str().into();
        }
        line
    }
}

#[derive(Default)]
pub struct Ledger(Mutex<Pages>);

#[derive(Default)]
struct Pages {
    sent: HashMap<String, Job>,
    acknowledged: HashMap<String, String>,
    complaints: Vec<String>,
}

impl Ledger {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before the first byte leaves: the job may exist from now on.
    pub fn sent(&self, job: &Job) {
        self.pages().sent.insert(job.token.clone(), job.clone());
    }

    /// The promise. A job that was promised before must have the same id again.
    pub fn acknowledged(&self, token: &str, id: &str) {
        let earlier = self.pages().acknowledged.insert(token.to_owned(), id.to_owned());
        if let Some(earlier) = earlier.filter(|earlier| earlier != id) {
            self.complain(format!("one key, two jobs: {token} was acknowledged as {earlier} and as {id}"));
        }
    }

    /// Something that must not happen did; the audit fails with it.
    pub fn complain(&self, complaint: String) {
        self.pages().complaints.push(complaint);
    }

    pub fn complaints(&self) -> Vec<String> {
        self.pages().complaints.clone()
    }

    pub fn job(&self, token: &str) -> Option<Job> {
        self.pages().sent.get(token).cloned()
    }

    /// Token and id of every promise so far.
    pub fn promises(&self) -> Vec<(String, String)> {
        self.pages().acknowledged.iter().map(|(token, id)| (token.clone(), id.clone())).collect()
    }

    pub fn sent_count(&self) -> usize {
        self.pages().sent.len()
    }
}
