//! Workflows with AI steps over HTTP: what they would cost, told before anything is stored, and their turns afterwards.

use levqor_mock_ai::{Fault, Script};

use super::*;

const INTAKE: &str = "/api/v1/intake";

/// Two questions of which the second needs the first.
const TRIAGE: &str = r#"
steps:
  - id: label
    ai:
      model: openai/gpt-6-sol
      prompt: "What is this? {{ payload.text }}"
      output: { type: object, required: [n], additionalProperties: false, properties: { n: { type: integer } } }
      on_invalid: retry
      max_tokens: 200
      fallback: [{ model: openai/gpt-6.1-terra }]
  - id: sum
    transform: { twice: "{{ steps.label.output.answer.n }}" }
  - id: answer
    ai: { model: anthropic/claude-sonnet-5, prompt: "Say {{ payload.text }}", max_tokens: 100 }
output: "{{ steps.answer.output.answer }}"
"#;

impl World {
    async fn define(&self, name: &str, yaml: &str) {
        let yaml = format!("name: {name}\n{yaml}");
        let path = format!("/api/v1/workflows/{name}");
        let reply = self.client().send("PUT", &path, &[("Content-Type", "application/yaml")], &yaml).await;
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    }

    /// A budget of the day for a workflow.
    async fn limit(&self, id: &str, workflow: &str, usd: &str) {
        let body =
            json!({"scope": "workflow", "scope_id": workflow, "window": "day", "limit": usd}).to_string();
        let path = format!("/api/v1/budgets/{id}");
        let reply = self.client().send("PUT", &path, &[("Content-Type", "application/json")], &body).await;
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
    }

    async fn dry(&self, workflow: &str) -> Value {
        let body = json!({"workflow": workflow, "payload": {"text": "a parrot"}, "dry_run": true});
        let reply = self.client().post(INTAKE, &body.to_string()).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        let body = reply.json();
        assert_eq!((&body["dry_run"], &body["workflow"]), (&json!(true), &json!(workflow)));
        body["cost"].clone()
    }

    /// The job's page when it has ended.
    async fn done(&self, workflow: &str) -> Value {
        let body = json!({"workflow": workflow, "payload": {"text": "a parrot"}}).to_string();
        let reply = self.client().post(INTAKE, &body).await;
        assert_eq!(reply.status, 202, "{reply:?}");
        let id = reply.json()["job_id"].as_str().unwrap().to_owned();
        let ended = self.client().get(&format!("/api/v1/status/{id}?wait=12s")).await.json();
        assert!(ended["status"] == "succeeded" || ended["status"] == "failed", "{ended}");
        self.client().get(&format!("/api/v1/jobs/{id}")).await.json()
    }
}

fn usd(value: &Value) -> i64 {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no amount"));
    match text.strip_prefix('-') {
        Some(rest) => -Nano::parse(rest).unwrap().get(),
        None => Nano::parse(text).unwrap().get(),
    }
}

fn budget<'a>(cost: &'a Value, id: &str) -> &'a Value {
    let found = cost["budgets"].as_array().unwrap().iter().find(|effect| effect["id"] == id);
    found.unwrap_or_else(|| panic!("no budget {id} in {cost}"))
}

#[tokio::test]
async fn a_dry_run_tells_the_range_each_budget_and_whether_it_would_start() {
    let world = World::start(&[("MAX_COST_PER_JOB", "0.05"), ("MAX_COST_PER_DAY", "2")]).await;
    world.define("triage", TRIAGE).await;
    world.limit("team", "triage", "0.04").await;

    let cost = world.dry("triage").await;

    let (least, most) = (usd(&cost["least_usd"]), usd(&cost["most_usd"]));
    assert!(0 < least && least < most && most <= 50_000_000, "{cost}");
    assert_eq!(cost["starts_now"], json!(true));
    let steps = cost["steps"].as_array().unwrap();
    let named: Vec<_> = steps.iter().map(|step| (&step["id"], &step["model"])).collect();
    assert_eq!(
        named,
        [
            (&json!("label"), &json!("openai/gpt-6-sol")),
            (&json!("answer"), &json!("anthropic/claude-sonnet-5"))
        ]
    );
    for step in steps {
        let (least, hold, most) =
            (usd(&step["least_usd"]), usd(&step["first_hold_usd"]), usd(&step["most_usd"]));
        assert!(0 < least && least < hold && hold <= most, "{step}");
        assert_eq!(step["problem"], Value::Null);
    }
    for (id, scope, limit) in [
        ("max-cost-per-job", "job", 50_000_000),
        ("max-cost-per-day", "global", 2_000_000_000),
        ("team", "workflow", 40_000_000),
    ] {
        let effect = budget(&cost, id);
        assert_eq!((&effect["scope"], usd(&effect["limit_usd"])), (&json!(scope), limit), "{effect}");
        assert_eq!((usd(&effect["spent_usd"]), usd(&effect["held_usd"])), (0, 0));
        assert_eq!((usd(&effect["left_usd"]), usd(&effect["left_after_usd"])), (limit, limit - most));
    }
    // Nothing came of it: no call, no hold, no job.
    assert_eq!((world.mock.bill().calls, world.day().await), (0, (Nano::ZERO, Nano::ZERO)));
    assert_eq!(world.client().get("/api/v1/jobs").await.json()["jobs"], json!([]));

    // The job itself costs something in that range, and the next dry run knows what it cost.
    let page = world.done("triage").await;
    assert_eq!(page["status"], "succeeded", "{page}");
    let billed = world.billed().get();
    assert!(least <= billed && billed <= most, "{least} <= {billed} <= {most}");
    let cost = world.dry("triage").await;
    assert_eq!(usd(&budget(&cost, "team")["spent_usd"]), billed);
    assert_eq!(usd(&budget(&cost, "team")["left_usd"]), 40_000_000 - billed);
    assert_eq!(usd(&budget(&cost, "max-cost-per-job")["spent_usd"]), 0, "the next job is another one");
}

#[tokio::test]
async fn a_dry_run_names_what_would_stop_the_job() {
    let world = World::start(&[]).await;
    world.define("triage", TRIAGE).await;
    world.limit("team", "triage", "0.0001").await;

    let cost = world.dry("triage").await;

    assert_eq!(cost["starts_now"], json!(false));
    for step in cost["steps"].as_array().unwrap() {
        let problem = step["problem"].as_str().unwrap_or_else(|| panic!("{step}"));
        assert!(problem.contains("`team`") && problem.contains("$0.0001"), "{problem}");
    }
    let team = budget(&cost, "team");
    assert!(usd(&team["left_after_usd"]) < 0 && usd(&team["left_usd"]) == 100_000, "{team}");

    // A price that nobody knows, and words that only the job itself will bring.
    let unknown = "steps: [{id: a, ai: {model: openai/gpt-unknown, prompt: hi}}]";
    let later = r#"steps: [{id: a, transform: 1}, {id: b, ai: {model: openai/gpt-6-sol, prompt: "{{ steps.a.output }}"}}]"#;
    world.define("unknown", unknown).await;
    world.define("later", later).await;
    let cost = world.dry("unknown").await;
    assert_eq!(cost["starts_now"], json!(false));
    assert!(cost["steps"][0]["problem"].as_str().unwrap().contains("openai/gpt-unknown"), "{cost}");
    let cost = world.dry("later").await;
    assert_eq!((&cost["starts_now"], &cost["steps"][0]["first_hold_usd"]), (&json!(true), &Value::Null));
    assert_eq!(usd(&cost["steps"][0]["most_usd"]), 350_000_000, "at most what a job may cost");
    // The switch stops everything, and is named.
    let stop = world.client().send("POST", "/api/v1/ai/stop", &[], "").await;
    assert_eq!(stop.status, 200, "{stop:?}");
    let cost = world.dry("later").await;
    assert!(budget(&cost, "ai-stop")["limit_usd"] == "0.00", "{cost}");
    assert_eq!(world.mock.bill().calls, 0);
}

#[tokio::test]
async fn the_turns_of_an_ai_step_are_told_in_their_order() {
    let world = World::start(&[]).await;
    world.define("triage", TRIAGE).await;
    world.mock.queue_faults([Some(Fault::Status(429))]);
    let says = |text: &str| Script { text: Some(text.to_owned()), ..Script::default() };
    world.mock.queue_replies([says(r#"{"n":"many"}"#), says(r#"{"n":2}"#), says("A parrot.")]);

    let page = world.done("triage").await;

    assert_eq!((&page["status"], &page["result"]), (&json!("succeeded"), &json!("A parrot.")), "{page}");
    let steps = page["steps"].as_array().unwrap();
    let ids: Vec<_> = steps.iter().map(|step| step["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["label", "sum", "answer"], "turns are no steps");
    let turns = steps[0]["turns"].as_array().unwrap();
    let told: Vec<_> = turns
        .iter()
        .map(|turn| (turn["turn"]["kind"].as_str().unwrap(), turn["turn"]["model"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [("failed", "openai/gpt-6-sol"), ("said", "openai/gpt-6.1-terra"), ("said", "openai/gpt-6.1-terra")]
    );
    assert_eq!(turns[0]["turn"]["error"]["code"], "ai_provider_failed");
    assert_eq!(
        (&turns[1]["turn"]["text"], &turns[2]["turn"]["text"]),
        (&json!(r#"{"n":"many"}"#), &json!(r#"{"n":2}"#))
    );
    assert!(turns[1]["turn"]["problems"].to_string().contains("/n"), "{}", turns[1]);
    assert_eq!(turns[2]["turn"]["problems"], Value::Null);
    let mut before = 0.0;
    for turn in turns {
        let (began, ended) = (turn["started_at"].as_f64().unwrap(), turn["finished_at"].as_f64().unwrap());
        assert!(before <= began && began <= ended, "{turn}");
        let status = if turn["turn"]["kind"] == "failed" { "failed" } else { "succeeded" };
        assert_eq!(turn["status"], status, "{turn}");
        before = began;
    }
    assert_eq!((&steps[1]["turns"], steps[2]["turns"].as_array().unwrap().len()), (&Value::Null, 1));
    // Each paid turn names its call, and together they are what the job cost.
    let mut paid = 0;
    for turn in turns.iter().chain(steps[2]["turns"].as_array().unwrap()) {
        let call =
            world.client().get(&format!("/api/v1/ai/calls/{}", turn["turn"]["call"].as_str().unwrap())).await;
        assert_eq!(call.status, 200, "{call:?}");
        paid += turn["turn"]["cost_nano"].as_i64().unwrap_or(0);
    }
    assert_eq!((paid, usd(&page["costs"]["own"]["cost_usd"])), (world.billed().get(), world.billed().get()));
    world.agrees().await;
}
