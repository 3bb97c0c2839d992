//! Clients as users have them: many at once, without pause, who send again what they gave a key to, and give up the rest.
//!
//! The number of jobs is bounded by permits that the killer hands out with each life of a server, so that the work is the same
//! on a slow machine and on a fast one.

use std::sync::Arc;
use std::time::Duration;

use levqor_connectors::net::CallError;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::client::{Answer, Call, Caller, Nodes};
use crate::ledger::{Job, Ledger};
use crate::workflows::Kind;

/// What all clients share.
#[derive(Clone)]
pub struct Load {
    pub ledger: Arc<Ledger>,
    pub nodes: Nodes,
    /// Where the recorder listens.
    pub outside: String,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The running clients.
pub struct Clients {
    load: Load,
    tasks: JoinSet<()>,
}

impl Load {
    pub fn new(nodes: Nodes, outside: String) -> Load {
        let (permits, stop) = (Arc::new(Semaphore::new(0)), CancellationToken::new());
        Load { ledger: Arc::default(), nodes, outside, permits, stop }
    }

    pub fn start(&self, clients: usize, chance: &mut Chance) -> Clients {
        let mut tasks = JoinSet::new();
        for number in 0..clients {
            let client = Client {
                load: self.clone(),
                caller: Caller::new(),
                chance: chance.fork(),
                name: format!("c{number}"),
                count: 0,
            };
            tasks.spawn(client.work());
        }
        Clients { load: self.clone(), tasks }
    }

    /// Lets the clients send so many more jobs.
    pub fn allow(&self, jobs: usize) {
        self.permits.add_permits(jobs);
    }

    pub fn job(&self, token: &str, kind: Kind, payload: Value) -> Job {
        let (callback_url, key, priority, delay_ms) = (None, None, None, None);
        Job { token: token.to_owned(), kind, payload, callback_url, key, priority, delay_ms }
    }
}

impl Load {
    /// Submits a job whose first call takes `first`, and every later one `later`.
    pub async fn submit_slow(&self, base: &str, token: &str, first: Duration, later: Duration) -> String {
        let payload = json!({
            "token": token,
            "base": self.outside,
            "first_ms": first.as_millis() as u64,
            "later_ms": later.as_millis() as u64,
        });
        let job = self.job(token, Kind::Slow, payload);
        self.ledger.sent(&job);
        let answer = Caller::new().send(base, &Call::intake(&job.body())).await.unwrap();
        assert_eq!(answer.status, 202, "{}", answer.text());
        let id = answer.json()["job_id"].as_str().unwrap().to_owned();
        self.ledger.acknowledged(token, &id);
        id
    }
}

impl Clients {
    /// No new jobs; what is under way is brought to its end.
    pub async fn stop(mut self) {
        self.load.stop.cancel();
        let done = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(error) = ended {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(90), done)
            .await
            .expect("the clients get their last answers");
    }
}

struct Client {
    load: Load,
    caller: Caller,
    chance: Chance,
    name: String,
    count: usize,
}

impl Client {
    async fn work(mut self) {
        loop {
            tokio::select! {
                biased;
                () = self.load.stop.cancelled() => return,
                permit = self.load.permits.acquire() => permit.unwrap().forget(),
            }
            match self.chance.below(24) {
                0 => self.define_later().await,
                1..=4 => self.batch().await,
                _ => self.single().await,
            }
            // The pace of a client, so that the permits of a life last for most of it.
            tokio::time::sleep(Duration::from_millis(self.chance.below(25))).await;
        }
    }

    /// A job of any kind with any of the options.
    fn next_job(&mut self) -> Job {
        let kind = match self.chance.below(10) {
            0..=4 => Kind::Echo,
            5..=7 => Kind::Walk,
            _ => Kind::Flaky,
        };
        let mut job = self.job_of(kind);
        job.callback_url =
            self.chance.one_in(3).then(|| format!("{}/callback/{}", self.load.outside, job.token));
        job.key = self.chance.one_in(2).then(|| format!("key-{}", job.token));
        job.priority = [None, Some("low"), Some("normal"), Some("high")][self.chance.below(4) as usize];
        job.delay_ms = self.chance.one_in(8).then(|| self.chance.between(50, 800));
        job
    }

    fn job_of(&mut self, kind: Kind) -> Job {
        self.count += 1;
        let token = format!("{}-{}", self.name, self.count);
        let payload = match &kind {
            Kind::Echo | Kind::Later(_) => json!({
                "token": token,
                "n": self.chance.below(u64::MAX),
                "text": "ü\"\\\u{1f980}".repeat(self.chance.below(40) as usize),
            }),
            _ => json!({
                "token": token,
                "base": self.load.outside,
                "rest": format!("{}ms", self.chance.between(1, 150)),
            }),
        };
        self.load.job(&token, kind, payload)
    }

    async fn single(&mut self) {
        let job = self.next_job();
        self.submit(&job).await;
        if job.key.is_none() {
            return;
        }
        // What some clients do with an answer that they have: ask again.
        if self.chance.one_in(5) {
            self.submit(&job).await;
        }
        if self.chance.one_in(10) {
            let mut other = job.body();
            other["payload"]["other"] = true.into();
            let call = Call::intake(&other).key(job.key.as_deref().unwrap_or_default());
            if let Some(answer) = self.deliver(&call, true).await
                && answer.status != 422
            {
                self.load.ledger.complain(format!(
                    "{}: its key with another body got {}",
                    job.token,
                    shown(&answer)
                ));
            }
        }
    }

    async fn submit(&mut self, job: &Job) {
        self.load.ledger.sent(job);
        let mut call = Call::intake(&job.body());
        if let Some(key) = &job.key {
            call = call.key(key);
            if self.chance.one_in(6) {
                return self.submit_twins(job, &call).await;
            }
        }
        let answer = self.deliver(&call, job.key.is_some()).await;
        self.note(job, answer.as_ref());
    }

    /// The same job twice at the same time, perhaps to two servers.
    async fn submit_twins(&mut self, job: &Job, call: &Call) {
        let mut twin = Client {
            load: self.load.clone(),
            caller: self.caller.clone(),
            chance: self.chance.fork(),
            name: self.name.clone(),
            count: 0,
        };
        let (one, other) = tokio::join!(self.deliver(call, true), twin.deliver(call, true));
        self.note(job, one.as_ref());
        self.note(job, other.as_ref());
    }

    fn note(&self, job: &Job, answer: Option<&Answer>) {
        match answer {
            None => {}
            Some(answer) if answer.status == 202 => {
                let body = answer.json();
                match body["job_id"].as_str() {
                    Some(id) => self.load.ledger.acknowledged(&job.token, id),
                    None => self.load.ledger.complain(format!("{}: 202 without an id: {body}", job.token)),
                }
            }
            Some(answer) => self.load.ledger.complain(format!("{}: intake got {}", job.token, shown(answer))),
        }
    }

    async fn batch(&mut self) {
        let mut jobs: Vec<_> = (0..self.chance.between(2, 15)).map(|_| self.next_job()).collect();
        let is_keyed = self.chance.one_in(2);
        if is_keyed {
            jobs.iter_mut().for_each(|job| job.key = Some(format!("key-{}", job.token)));
        }
        // They count like jobs sent one by one, but a batch does not wait for its permits.
        let more = self.load.permits.available_permits().min(jobs.len() - 1);
        if let Ok(permits) = self.load.permits.try_acquire_many(more as u32) {
            permits.forget();
        }
        jobs.iter().for_each(|job| self.load.ledger.sent(job));
        let lines: Vec<_> = jobs.iter().map(Job::line).collect();
        let Some(answer) = self.deliver(&Call::batch(&lines), is_keyed).await else { return };
        if answer.status != 200 {
            return self.load.ledger.complain(format!("a batch got {}", shown(&answer)));
        }
        let body = answer.json();
        for (at, job) in jobs.iter().enumerate() {
            let verdict = &body["results"][at];
            match verdict["job_id"].as_str() {
                Some(id) if verdict["line"] == at + 1 => self.load.ledger.acknowledged(&job.token, id),
                _ => self.load.ledger.complain(format!("{}: its line of a batch got {verdict}", job.token)),
            }
        }
    }

    /// Jobs of a workflow that nobody has defined yet, then its definition, then one more.
    async fn define_later(&mut self) {
        let name = format!("later-{}-{}", self.name, self.count);
        let kind = Kind::Later(name.clone());
        for _ in 0..2 {
            let mut job = self.job_of(kind.clone());
            job.key = Some(format!("key-{}", job.token));
            self.submit(&job).await;
        }
        if let Some(answer) = self.deliver(&Call::define(&name, kind.yaml()), true).await
            && !matches!(answer.status, 200 | 201)
        {
            self.load.ledger.complain(format!("the definition of {name} got {}", shown(&answer)));
        }
        let job = self.job_of(kind);
        self.submit(&job).await;
    }

    /// Sends; again and again, to whichever server is alive, if it may be sent `again`. Nothing: its fate is unknown.
    async fn deliver(&mut self, call: &Call, again: bool) -> Option<Answer> {
        loop {
            let base = self.load.nodes.pick(&mut self.chance).await;
            match self.caller.send(&base, call).await {
                Ok(answer) if answer.status != 503 => return Some(answer),
                Ok(answer) => {
                    if !answer.headers.contains_key("retry-after") {
                        self.load.ledger.complain(format!("503 without Retry-After: {}", shown(&answer)));
                    }
                }
                Err(error @ CallError::Timeout { .. }) => {
                    self.load
                        .ledger
                        .complain(format!("a server that was not killed did not answer: {error}"));
                }
                Err(_) => {}
            }
            if !again {
                return None;
            }
            // A client that loses its connection comes back after a breath.
            tokio::time::sleep(Duration::from_millis(self.chance.between(2, 20))).await;
        }
    }
}

fn shown(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.text())
}
