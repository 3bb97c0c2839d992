//! The load: clients that spend money through every door, again and again, until they are told to stop.
//!
//! Each question begins with a label, `k2-17 ` or `jobs-18 `, which the provider writes on its bill: who pays, and which job it is.
//! A call through the gateway is a job of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use levqor_testkit::wait_until;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::provider::Provider;
use crate::chance::Chance;
use crate::client::{Answer, Call, Caller, Nodes};

/// Spenders' keys, each with a budget of its own.
pub const KEYS: [&str; 3] = ["spender-zero", "spender-one", "spender-two"];

const MODELS: [&str; 6] = [
    "openai/gpt-6-sol",
    "openai/gpt-6.1-terra",
    "openai-responses/gpt-6.1-sol",
    "anthropic/mock-large",
    "gemini/mock-small",
    "own/mock-small",
];

/// `errand` fits into the budget of a job unless much is lost; `folly` asks for more than that.
pub const WORKFLOWS: [(&str, &str); 2] = [
    (
        "errand",
        r#"
steps:
  - id: first
    ai:
      model: openai/gpt-6-sol
      prompt: "{{ payload.label }} what is first?"
      max_tokens: 30
      fallback:
        - { model: anthropic/mock-large, when: provider_error }
        - { model: own/mock-small, when: [provider_error, budget_short] }
    retry: { attempts: 3, first: 50ms, max: 200ms }
  - id: second
    ai:
      model: openai/gpt-6.1-terra
      prompt: "{{ payload.label }} what is second?"
      output: { type: object, required: [n], additionalProperties: false, properties: { n: { type: integer } } }
      max_tokens: 30
      fallback: [{ model: gemini/mock-small }]
    retry: { attempts: 3, first: 50ms, max: 200ms }
output: "{{ steps.second.output.answer }}"
"#,
    ),
    (
        "folly",
        r#"
steps:
  - id: one
    needs: []
    ai: { model: openai/gpt-6-sol, prompt: "{{ payload.label }} one", max_tokens: 120 }
    retry: { attempts: 2, first: 50ms, max: 100ms }
  - id: two
    needs: []
    ai: { model: openai/gpt-6-sol, prompt: "{{ payload.label }} two", max_tokens: 120 }
    retry: { attempts: 2, first: 50ms, max: 100ms }
  - id: three
    needs: [one, two]
    ai: { model: openai/gpt-6-sol, prompt: "{{ payload.label }} three", max_tokens: 900 }
"#,
    ),
];

/// Among so many calls of a spender one is a job.
const ONE_JOB_IN: u64 = 6;
/// Among so many calls one is left by its client before its answer.
const ONE_LEFT_IN: u64 = 12;
/// Refusals come quickly: a spender that met one rests, so that it does not do nothing but ask.
const REST: Duration = Duration::from_millis(30);
/// The budgets have run out when the bill has not grown for so long.
const STILL: Duration = Duration::from_secs(3);

/// Whose budget the question counts in. All keys of the environment are one for jobs.
pub const PAYERS: [&str; 4] = ["k0", "k1", "k2", "jobs"];

/// Who pays for the question.
pub fn payer(asked: &str) -> &str {
    asked.split('-').next().unwrap_or_default()
}

/// The label as a whole.
pub fn label_of_job(asked: &str) -> &str {
    asked.split(' ').next().unwrap_or_default()
}

#[derive(Default)]
struct Seen {
    answered: u64,
    /// Refusals by the code and the budget that they name.
    refused: BTreeMap<(String, String), usize>,
    /// What should not have come.
    strange: Vec<String>,
    jobs: Vec<String>,
}

#[derive(Clone)]
pub struct Spenders {
    nodes: Nodes,
    seen: Arc<Mutex<Seen>>,
    next: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

/// Running clients.
pub struct Load {
    spenders: Spenders,
    tasks: Vec<JoinHandle<()>>,
}

impl Load {
    /// Lets each client end what it does.
    pub async fn stop(self) {
        self.spenders.is_over.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl Spenders {
    pub fn new(nodes: Nodes) -> Spenders {
        Spenders { nodes, seen: Arc::default(), next: Arc::default(), is_over: Arc::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(&self, clients: usize, chance: &mut Chance) -> Load {
        let tasks = (0..clients).map(|_| {
            let (spenders, mut chance) = (self.clone(), chance.fork());
            tokio::spawn(async move {
                let caller = Caller::new();
                while !spenders.is_over.load(Ordering::SeqCst) {
                    spenders.spend(&caller, &mut chance).await;
                }
            })
        });
        Load { spenders: self.clone(), tasks: tasks.collect() }
    }

    async fn spend(&self, caller: &Caller, chance: &mut Chance) {
        let key = chance.below(KEYS.len() as u64) as usize;
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let base = self.nodes.pick(chance).await;
        if chance.one_in(ONE_JOB_IN) {
            let workflow = if chance.one_in(4) { "folly" } else { "errand" };
            let body = json!({"workflow": workflow, "payload": {"label": format!("jobs-{number}")}});
            if let Ok(answer) = caller.send(&base, &Call::post("/api/v1/intake", KEYS[key], &body)).await {
                match (answer.status, answer.json()["job_id"].as_str()) {
                    (202, Some(id)) => self.seen().jobs.push(id.to_owned()),
                    _ => self.strange(&answer),
                }
            }
            return;
        }
        let call = ask(chance, key, &format!("k{key}-{number}"));
        if chance.one_in(ONE_LEFT_IN) {
            let patience = Duration::from_millis(chance.between(1, 60));
            // Dropped in the middle, as a client that loses interest closes its connection.
            let _ = tokio::time::timeout(patience, caller.send(&base, &call)).await;
            return;
        }
        // An error: the node died under it.
        if let Ok(answer) = caller.send(&base, &call).await {
            self.take(&answer);
            if answer.status != 200 {
                tokio::time::sleep(REST).await;
            }
        }
    }

    fn take(&self, answer: &Answer) {
        let text = answer.text();
        match answer.status {
            200 => self.seen().answered += 1,
            402 | 429 | 502 | 503 | 504 => {
                let header = |name: &str| {
                    let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
                    value.unwrap_or_default().to_owned()
                };
                let codes = ["budget_exceeded", "budget_busy", "budget_uncertain"];
                let code = codes.into_iter().find(|code| text.contains(code)).unwrap_or("failed");
                let refused = (code.to_owned(), header("x-levqor-budget"));
                *self.seen().refused.entry(refused).or_default() += 1;
            }
            _ => self.strange(answer),
        }
    }

    fn strange(&self, answer: &Answer) {
        // A node that is told to stop or has lost its database says so with 503.
        if answer.status != 503 {
            self.seen().strange.push(format!("{}: {}", answer.status, answer.text()));
        }
    }

    /// How many calls were answered, and which jobs were acknowledged, until now.
    pub fn promises(&self) -> (i64, Vec<String>) {
        let seen = self.seen();
        (i64::try_from(seen.answered).unwrap(), seen.jobs.clone())
    }

    /// Waits for so many more answers.
    pub async fn answered(&self, more: u64) {
        let wanted = self.seen().answered + more;
        let limit = Instant::now() + Duration::from_secs(10);
        // Less is enough where budgets are nearly gone.
        wait_until(Duration::from_secs(60), async || {
            self.seen().answered >= wanted || Instant::now() > limit
        })
        .await;
    }

    /// Waits until this budget said so often that it is spent.
    pub async fn refused_by(&self, budget: &str, times: usize) {
        let key = ("budget_exceeded".to_owned(), budget.to_owned());
        wait_until(Duration::from_secs(120), async || {
            self.seen().refused.get(&key).is_some_and(|count| *count >= times)
        })
        .await;
    }

    /// Waits until the bill grows no more, because the budgets are gone, or until this time has passed: a model that does not
    /// answer is left alone for half a minute.
    pub async fn spent_out(&self, provider: &Provider, limit: Duration) {
        let (deadline, mut last, mut since) = (Instant::now() + limit, -1, Instant::now());
        while Instant::now() < deadline && since.elapsed() < STILL {
            let total = provider.bill().await.total_nano;
            if total != last {
                (last, since) = (total, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until every acknowledged job is final.
    pub async fn jobs_end(&self, limit: Duration) {
        let (caller, mut chance) = (Caller::new(), Chance::of_seed(0));
        let base = self.nodes.pick(&mut chance).await;
        let jobs = self.seen().jobs.clone();
        let deadline = Instant::now() + limit;
        for id in jobs {
            loop {
                let status = caller.get(&base, &format!("/api/v1/status/{id}?wait=10s")).await.json();
                if status["status"] == "succeeded" || status["status"] == "failed" {
                    self.take_job(&status);
                    break;
                }
                assert!(Instant::now() < deadline, "job {id} is not final after {limit:?}: {status}");
            }
        }
    }

    fn take_job(&self, status: &Value) {
        let error = &status["error"];
        // For want of money, or because the provider failed once too often.
        let known = ["budget_", "ai_", "provider_", "timeout"];
        let code = error["code"].as_str().unwrap_or_default();
        if status["status"] == "failed" && !known.iter().any(|word| code.starts_with(word)) {
            self.seen().strange.push(format!("a job failed otherwise: {status}"));
        }
        if code == "budget_exceeded" {
            let budget = error["fields"]["/budget"].as_str().unwrap_or_default().to_owned();
            *self.seen().refused.entry((code.to_owned(), budget)).or_default() += 1;
        }
    }

    /// The run must have shown something: work was done, each kind of budget refused some of it, nothing strange came.
    pub fn check(&self, run: &str) {
        let seen = self.seen();
        println!("{run}: {} answers, {} jobs; refused: {:?}", seen.answered, seen.jobs.len(), seen.refused);
        assert!(
            seen.strange.is_empty(),
            "{run}: {} strange answers, such as {}",
            seen.strange.len(),
            seen.strange[0]
        );
        assert!(seen.answered > 100 && seen.jobs.len() > 10, "{run}: too little was done to show anything");
        for budget in ["keys", "max-cost-per-job"] {
            let said_no = seen.refused.keys().any(|(code, by)| code == "budget_exceeded" && by == budget);
            assert!(said_no, "{run}: the budget {budget} never ran out: {:?}", seen.refused);
        }
    }
}

/// A question through one of the doors that are not a workflow.
fn ask(chance: &mut Chance, key: usize, label: &str) -> Call {
    let model = MODELS[chance.below(MODELS.len() as u64) as usize];
    let text = format!("{label} tell me something");
    let max_tokens = chance.between(10, 40);
    let user = format!("user-{}", chance.below(3));
    let messages = json!([{"role": "user", "content": text}]);
    match chance.below(4) {
        0 => {
            let body = json!({"model": model, "prompt": text, "max_tokens": max_tokens, "user": user});
            Call::post("/api/v1/ai/complete", KEYS[key], &body)
        }
        1 => {
            let body = json!({"model": model, "messages": messages, "max_tokens": max_tokens,
                "stream": chance.one_in(2)});
            Call::post("/v1/messages", KEYS[key], &body)
        }
        _ => {
            let body = json!({"model": model, "messages": messages, "max_completion_tokens": max_tokens,
                "stream": chance.one_in(2)});
            Call::post("/v1/chat/completions", KEYS[key], &body)
        }
    }
}
