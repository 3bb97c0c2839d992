//! Death at each exact point of a call, through the gateway and as a step of a job: after the hold is committed, before and
//! after the first piece of the answer, after the last, inside the transactions that hold, charge and sweep. After each the
//! books agree and no limit is passed; in the end the budgets are spent out, and still none is.

use std::time::{Duration, Instant};

use serde_json::json;

use super::RECOVERY;
use super::books;
use super::failpoint::Failpoint;
use super::gate::{Gates, Point};
use super::house::{House, Limits};
use super::provider::Provider;
use super::spend::KEYS;
use crate::client::{Call, Caller};
use crate::server::Server;

const LIMITS: Limits = Limits { key_nano: 12_000_000, ..Limits::CHAOS };
/// A call meets its moment at once, or when a job that lost its node before is taken up: after 15 s and a look.
const MEET: Duration = Duration::from_secs(40);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Gateway,
    Job,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_point_of_a_call_leaves_exact_books_on_sqlite() {
    let provider = Provider::start(&[], 1).await;
    let gates = Gates::before(&provider.url, 1).await;
    let houses = vec![House::sqlite(LIMITS, &gates.urls[0])];
    Yard::open("points sqlite", provider, gates, houses).await.all_points().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_at_any_point_of_a_call_leaves_exact_books_among_three_nodes_on_postgres() {
    let provider = Provider::start(&[], 1).await;
    let gates = Gates::before(&provider.url, 3).await;
    let url = levqor_testkit::postgres_url().await;
    let houses = gates.urls.iter().map(|gate| House::postgres(url.clone(), LIMITS, gate)).collect();
    Yard::open("points postgres", provider, gates, houses).await.all_points().await;
}

/// Nodes, each with its own way to one provider.
struct Yard {
    run: &'static str,
    provider: Provider,
    gates: Gates,
    houses: Vec<House>,
    servers: Vec<Option<Server>>,
    failpoint: Failpoint,
    caller: Caller,
    asked: usize,
    jobs: Vec<String>,
}

impl Yard {
    async fn open(run: &'static str, provider: Provider, gates: Gates, houses: Vec<House>) -> Yard {
        houses[0].furnish().await;
        let failpoint = Failpoint::install(&houses[0].location).await;
        let servers = houses.iter().map(|_| None).collect();
        let caller = Caller::new();
        let mut yard =
            Yard { run, provider, gates, houses, servers, failpoint, caller, asked: 0, jobs: Vec::new() };
        for node in 0..yard.houses.len() {
            yard.start(node).await;
        }
        yard
    }

    async fn start(&mut self, node: usize) {
        let server = self.houses[node].site.start(&format!("node{node}")).await;
        self.servers[node] = Some(server);
    }

    async fn kill(&mut self, node: usize) {
        self.servers[node].take().expect("it was started").kill().await;
    }

    async fn all_points(mut self) {
        // Jobs first: what is left of theirs is over by the time that nothing may be under way.
        for door in [Door::Job, Door::Gateway] {
            for point in [Point::Arrived, Point::Served, Point::FirstPiece, Point::LastPiece] {
                let reached = self.gates.arm(point);
                self.ask(door).await;
                let node = met(reached, &format!("{point:?}")).await;
                self.kill(node).await;
                self.start(node).await;
                self.check(&format!("{door:?} {point:?}")).await;
            }
            self.inside_settle(door).await;
        }
        self.inside_reserve().await;
        self.inside_sweep().await;
        self.spend_out().await;
    }

    /// All of the answer is there, and its charge is written and not committed.
    async fn inside_settle(&mut self, door: Door) {
        self.failpoint.arm("settle").await;
        let reached = self.gates.arm(Point::LastPiece);
        self.ask(door).await;
        let node = met(reached, "the last piece").await;
        self.failpoint.inside().await;
        self.kill(node).await;
        self.failpoint.disarm().await;
        self.start(node).await;
        self.check(&format!("{door:?} inside settle")).await;
    }

    /// The hold is written and not committed, so nothing may have gone out.
    async fn inside_reserve(&mut self) {
        self.quiet().await;
        let calls = self.provider.bill().await.calls;
        self.failpoint.arm("reserve").await;
        self.ask(Door::Gateway).await;
        self.failpoint.inside().await;
        self.kill(0).await;
        self.failpoint.disarm().await;
        self.start(0).await;
        self.quiet().await;
        assert_eq!(self.provider.bill().await.calls, calls, "{}: sent without a committed hold", self.run);
        self.check("inside reserve").await;
    }

    /// A node dies with an open call, and the next one dies while it charges that.
    async fn inside_sweep(&mut self) {
        if self.houses.len() == 3 {
            let server = self.servers[2].take().expect("it was started");
            assert!(server.terminate(Duration::from_secs(45)).await.success());
        }
        let reached = self.gates.arm(Point::Arrived);
        self.ask(Door::Gateway).await;
        let node = met(reached, "the request").await;
        assert_eq!(node, 0, "jobs are over, so nobody else asks");
        self.kill(0).await;
        self.failpoint.arm("assume").await;
        if self.houses.len() == 1 {
            self.servers[0] = Some(self.houses[0].site.spawn("node0"));
        }
        self.failpoint.inside().await;
        self.kill(self.houses.len().min(2) - 1).await;
        self.failpoint.disarm().await;
        for node in 0..self.houses.len() {
            self.start(node).await;
        }
        self.quiet().await;
        self.check("inside sweep").await;
    }

    /// Sends something that leads to a call, and waits for no answer: it may never come.
    async fn ask(&mut self, door: Door) {
        let base = self.servers[0].as_ref().expect("it was started").base.clone();
        self.asked += 1;
        match door {
            Door::Gateway => {
                let key = self.asked % KEYS.len();
                let call = question(key, self.asked);
                let caller = self.caller.clone();
                tokio::spawn(async move { caller.send(&base, &call).await.ok() });
            }
            Door::Job => {
                let payload = json!({"label": format!("jobs-{}", self.asked)});
                let body = json!({"workflow": "errand", "payload": payload});
                let answer =
                    self.caller.send(&base, &Call::post("/api/v1/intake", KEYS[0], &body)).await.unwrap();
                assert_eq!(answer.status, 202, "{}", answer.text());
                self.jobs.push(answer.json()["job_id"].as_str().unwrap().to_owned());
            }
        }
    }

    /// What must be true at any moment, whatever is open.
    async fn check(&self, point: &str) {
        let (run, house) = (format!("{}, {point}", self.run), &self.houses[0]);
        books::check_now(&run, house, &self.provider.bill().await).await;
    }

    /// Waits until jobs have ended and nothing is open any more.
    async fn quiet(&mut self) {
        let base = self.servers[0].as_ref().expect("it was started").base.clone();
        for id in std::mem::take(&mut self.jobs) {
            let deadline = Instant::now() + RECOVERY;
            loop {
                let status = self.caller.get(&base, &format!("/api/v1/status/{id}?wait=10s")).await.json();
                if status["status"] == "succeeded" || status["status"] == "failed" {
                    break;
                }
                assert!(Instant::now() < deadline, "job {id} is not final: {status}");
            }
        }
        self.houses[0].all_charged(RECOVERY).await;
    }

    /// Each key asks until its budget says no; then all of it is looked at.
    async fn spend_out(mut self) {
        let bases = self.servers.iter().flatten().map(|server| server.base.clone());
        let bases: Vec<_> = bases.collect();
        let spenders = (0..KEYS.len()).map(|key| {
            let (bases, caller, asked) = (bases.clone(), self.caller.clone(), self.asked);
            tokio::spawn(async move {
                for turn in 1..1_000 {
                    let call = question(key, asked + turn);
                    let answer = caller.send(&bases[turn % bases.len()], &call).await.unwrap();
                    match answer.status {
                        200 => {}
                        402 => return,
                        status => panic!("{status} {}", answer.text()),
                    }
                }
                panic!("the budget of {} never ends", KEYS[key]);
            })
        });
        for spender in spenders.collect::<Vec<_>>() {
            spender.await.unwrap();
        }
        self.quiet().await;
        for server in self.servers.into_iter().flatten() {
            let status = server.terminate(Duration::from_secs(45)).await;
            assert!(status.success(), "{}: SIGTERM of an idle node ended with {status}", self.run);
        }
        books::check(self.run, &self.houses[0], &self.provider.bill().await).await;
    }
}

async fn met(reached: tokio::sync::oneshot::Receiver<usize>, what: &str) -> usize {
    let met = tokio::time::timeout(MEET, reached).await;
    met.unwrap_or_else(|_| panic!("no call came to {what}")).expect("the gates are ours")
}

/// Each number once for each key: to the provider it is the name of a job.
fn question(key: usize, number: usize) -> Call {
    let text = format!("k{key}-{number} tell me something");
    let body = json!({"model": "openai/gpt-6-sol", "messages": [{"role": "user", "content": text}],
        "max_completion_tokens": 30, "stream": true});
    Call::post("/v1/chat/completions", KEYS[key], &body)
}
