//! `levqor demo`: the whole story of one job, and of a budget that holds, played through the real HTTP API on a scratch
//! database, and told.
//!
//! Every sentence it prints is checked; it ends with exit code 0 only when all of them held.

mod money;
mod shop;

use std::time::{Duration, Instant};

use clap::Args;
use levqor_core::clock::Clock;
use levqor_core::signature::{self, Headers, Secret};
use levqor_store::{Location, Store};
use serde_json::{Value, json};

use super::child::{Scratch, ServerProcess};
use super::client::{Api, Call, Server};
use super::exit::{Failure, chain};
use super::loopback::Seen;
use super::out::say;
use super::serve::{CALLBACK_SECRET, SystemClock};
use super::{status, watch};
use money::Provider;
use shop::Shop;

const WORKFLOW: &str = include_str!("demo/order.yaml");
const JOB_LIMIT: Duration = Duration::from_secs(30);
const CALLBACK_LIMIT: Duration = Duration::from_secs(10);

/// Play and explain the whole story of one job, and of a budget that holds
#[derive(Args)]
#[command(after_help = "\
Example:
  levqor demo

Starts a server on a scratch SQLite file and a free port, puts a workflow, submits a job, shows its steps as they run,
and verifies the signed callback. Then jobs with AI steps meet their budget, on a mock of a provider that costs nothing
and keeps its own bill. Takes a few seconds, leaves nothing behind, and needs no network.")]
pub struct Demo {}

impl Demo {
    pub async fn run(&self) -> Result<(), Failure> {
        let started = Instant::now();
        say!("Levqor demo, first act: one job, from HTTP intake to a signed callback.\n");
        let scratch = Scratch::new("demo", None)?;
        let shop = Shop::open().await?;
        let provider = Provider::open().await?;
        let mut settings = vec![
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", "0".to_owned()),
            ("SQLITE_PATH", scratch.path().join("demo.db").display().to_string()),
            // The shop is on this machine; without this no workflow could call it.
            ("OUTBOUND_ALLOW", "127.0.0.0/8".to_owned()),
        ];
        settings.extend(provider.settings());
        let mut server = ServerProcess::spawn(scratch.path(), &settings)?;
        let url = server.address().await?;
        say!("1. A server runs at {url}, its data in one SQLite file.");
        let outcome = async {
            story(&url, &shop, &scratch).await?;
            say!("\nSecond act: AI steps meet their budget.\n");
            money::story(&url, &provider).await
        };
        let outcome = outcome.await;
        if outcome.is_err() {
            say!("The server's last words:\n{}", server.last_words());
        }
        let stopped = server.stop().await;
        outcome.and(stopped)?;
        say!(
            "\nAll of it held, in {:.1} s. The server has stopped and its file is gone.",
            started.elapsed().as_secs_f64()
        );
        say!(
            "Next: `make run`, and in another terminal: {} submit hello '{{\"name\":\"Ada\"}}' --watch",
            program()
        );
        Ok(())
    }
}

async fn story(url: &str, shop: &Shop, scratch: &Scratch) -> Result<(), Failure> {
    let api = Api::new(&Server { url: url.to_owned(), key: None })?;
    put_workflow(&api).await?;
    let id = submit(&api, shop).await?;
    let job = follow(&api, &id).await?;
    check_steps(&job, shop)?;
    check_result(&job)?;
    let Some(callback) = shop.callback(CALLBACK_LIMIT).await else {
        return Err(Failure::failed("the callback did not arrive within 10 s"));
    };
    check_callback(&callback, &id, scratch).await
}

/// How this program is called from here, for the reader to copy.
fn program() -> String {
    let (Ok(program), Ok(here)) = (std::env::current_exe(), std::env::current_dir()) else {
        return "levqor".to_owned();
    };
    program.strip_prefix(here).map_or("levqor".to_owned(), |path| path.display().to_string())
}

async fn put_workflow(api: &Api) -> Result<(), Failure> {
    let call = Call::put("/api/v1/workflows/order").header("content-type", "application/yaml").body(WORKFLOW);
    let stored = api.ask(call).await?.json();
    let steps: Vec<&str> =
        stored["steps"].as_array().into_iter().flatten().filter_map(|step| step["id"].as_str()).collect();
    say!(
        "2. A workflow is put, checked whole: `order`, version {}, steps {}.",
        stored["version"],
        steps.join(", ")
    );
    hold(
        steps == ["stock", "credit", "rest", "gift", "review", "confirm"],
        "the workflow is stored with its six steps",
    )
}

async fn submit(api: &Api, shop: &Shop) -> Result<String, Failure> {
    let body = |payload: Value| {
        let callback = format!("{}/callback", shop.url());
        json!({"workflow": "order", "payload": payload, "callback_url": callback, "tags": {"from": "demo"}})
            .to_string()
    };
    let wrong =
        api.send(Call::post("/api/v1/intake").json(body(json!({"order": "A-17", "items": []})))).await?;
    say!(
        "3. A job with a bad payload is refused, naming the place: {} {}",
        wrong.status.as_u16(),
        wrong.json()["fields"]
    );
    hold(
        wrong.status == 400 && wrong.json()["fields"]["/items"].is_string(),
        "the bad payload is refused at /items",
    )?;

    let payload = json!({"order": "A-17", "items": ["lamp", "cable"], "shop": shop.url()});
    let taken = api.send(Call::post("/api/v1/intake").json(body(payload))).await?;
    let id = taken.text_at("job_id");
    say!("4. A good one is answered with {}: it is on disk now, as job {id}.", taken.status.as_u16());
    hold(taken.status == 202 && id.len() == 32, "the job is accepted with an id")?;
    Ok(id)
}

async fn follow(api: &Api, id: &str) -> Result<Value, Failure> {
    say!("5. Its steps run (seconds since intake):");
    let last = watch::until_end(api, id, Some(JOB_LIMIT), |line| say!("   {line}")).await?;
    hold(status::is_final(&last.json()["status"]), "the job ends within 30 s")?;
    Ok(last.json())
}

fn check_steps(job: &Value, shop: &Shop) -> Result<(), Failure> {
    let step = |id: &str| {
        job["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|step| step["id"] == id)
            .cloned()
            .unwrap_or_default()
    };
    let attempts = step("stock")["attempts"].as_array().map_or(0, Vec::len);
    let keys = shop.stock_keys();
    let one_key = keys.iter().all(|key| !key.is_empty() && *key == keys[0]);
    say!(
        "   The shop was busy {} times, so `stock` took {attempts} tries, all under one Idempotency-Key.",
        shop::BUSY
    );
    hold(
        attempts == shop::BUSY + 1 && keys.len() == attempts && one_key,
        "every try is on record and carries the same key",
    )?;

    say!("   `credit` ran beside it; its score of 742 chose `gift`, and `review` was skipped.");
    let began = |id: &str| step(id)["attempts"][0]["started_at"].as_f64().unwrap_or(f64::MAX);
    let ended = |id: &str| {
        step(id)["attempts"].as_array().and_then(|all| all.last()?["finished_at"].as_f64()).unwrap_or(0.0)
    };
    hold(began("credit") < ended("stock"), "credit and stock ran side by side")?;
    hold(
        step("gift")["status"] == "succeeded" && step("review")["status"] == "skipped",
        "the condition chose the branch",
    )
}

fn check_result(job: &Value) -> Result<(), Failure> {
    say!("6. The job {}: {}", job["status"].as_str().unwrap_or("?"), job["result"]);
    let expected = json!({"order": "A-17", "reserved": 2, "gift": "chocolate", "confirmed": true});
    hold(
        job["status"] == "succeeded" && job["result"] == expected,
        "the result is what the workflow promises",
    )
}

async fn check_callback(seen: &Seen, id: &str, scratch: &Scratch) -> Result<(), Failure> {
    let location = Location::Sqlite(scratch.path().join("demo.db"));
    let kept = Store::read_setting(&location, CALLBACK_SECRET)
        .await
        .map_err(|error| Failure::failed(chain(&error)))?;
    let secret = kept.and_then(|text| Secret::parse(&text).ok());
    let Some(secret) = secret else { return Err(Failure::failed("the server keeps no callback secret")) };
    let headers = Headers {
        id: seen.header("webhook-id"),
        timestamp: seen.header("webhook-timestamp"),
        signature: seen.header("webhook-signature"),
    };
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    say!(
        "7. The callback came: {} for {}, signed (webhook-id {}).",
        body["type"],
        body["data"]["job_id"],
        headers.id
    );
    hold(body["type"] == "job.succeeded" && body["data"]["job_id"] == id, "the callback tells of this job")?;

    let now_secs = SystemClock.now_ms() / 1000;
    let genuine = signature::verify(std::slice::from_ref(&secret), headers, &seen.body, now_secs, 300);
    let forged = signature::verify(&[secret], headers, b"{\"type\":\"job.failed\"}", now_secs, 300);
    say!(
        "   Its signature is genuine by the secret of `levqor callbacks secret`; another body under it is not."
    );
    hold(genuine.is_ok() && forged.is_err(), "the signature proves the body")
}

/// A sentence of the story that must be true.
fn hold(is_true: bool, sentence: &str) -> Result<(), Failure> {
    if is_true { Ok(()) } else { Err(Failure::failed(format!("this did not hold: {sentence}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workflow_of_the_demo_is_valid() {
        let definition = levqor_core::workflow::Definition::parse(WORKFLOW, Some("order"));

        assert_eq!(
            definition.map(|known| known.steps.len()).map_err(|problems| format!("{problems:?}")),
            Ok(6)
        );
    }
}
