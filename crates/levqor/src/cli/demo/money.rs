//! The second act: jobs with AI steps until their budget says no. The provider is a mock in this process that costs nothing
//! and keeps a bill of its own; its word is what counts.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use levqor_core::money::Nano;
use levqor_mock_ai::{Bill, MockAi, Script, Settings};
use serde_json::{Value, json};

use super::hold;
use crate::cli::client::{Api, Call, Server};
use crate::cli::exit::Failure;
use crate::cli::out::say;
use crate::cli::status;

const WORKFLOW: &str = include_str!("letters.yaml");
const LIMIT: &str = "0.05";
const JOBS: usize = 12;
/// What each answer is long: most of what it may be.
const ANSWER_TOKENS: u64 = 280;
const JOBS_LIMIT: Duration = Duration::from_secs(60);

/// The mock.
pub struct Provider(MockAi);

impl Provider {
    pub async fn open() -> Result<Provider, Failure> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // It takes its time, as providers do, so that calls overlap and compete for what is left.
        let settings = Settings { delay: Duration::from_millis(40), ..Settings::default() };
        let mock = MockAi::start(address, settings)
            .await
            .map_err(|error| Failure::failed(format!("no mock of a provider can listen: {error}")))?;
        mock.queue_replies(
            (0..2 * JOBS).map(|_| Script { output_tokens: Some(ANSWER_TOKENS), ..Script::default() }),
        );
        Ok(Provider(mock))
    }

    /// How a server reaches it, and what may be spent.
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("OPENAI_API_KEY", "any".to_owned()),
            ("OPENAI_BASE_URL", format!("{}/v1", self.0.url())),
            ("MAX_COST_PER_DAY", LIMIT.to_owned()),
        ]
    }

    fn bill(&self) -> Bill {
        self.0.bill()
    }
}

pub async fn story(url: &str, provider: &Provider) -> Result<(), Failure> {
    let api = Api::new(&Server { url: url.to_owned(), key: None })?;
    say!(
        "8. A provider of AI models listens at {}. It is a mock: it costs nothing, but keeps a bill.",
        provider.0.url()
    );
    say!("   MAX_COST_PER_DAY={LIMIT} is all that may be spent: ${LIMIT}.");
    let call =
        Call::put("/api/v1/workflows/letters").header("content-type", "application/yaml").body(WORKFLOW);
    api.ask(call).await?;
    say!("9. A workflow with two AI steps is put: `letters`, steps sort, draft.");
    let ids = submit(&api).await?;
    say!("10. {JOBS} jobs are submitted at once. Before a question is sent, all that it could cost is held:");
    let jobs = follow(&api, &ids).await?;
    let refused = check_jobs(&jobs)?;
    let spent = check_books(&api, provider).await?;
    check_refusals(&api, provider, refused, spent).await
}

async fn submit(api: &Api) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    for number in 1..=JOBS {
        let letter = format!("Letter {number}: my lamp does not shine any more. What shall I do?");
        let body = json!({"workflow": "letters", "payload": {"letter": letter}}).to_string();
        let taken = api.send(Call::post("/api/v1/intake").json(body)).await?;
        hold(taken.status == 202, "the job is accepted")?;
        ids.push(taken.text_at("job_id"));
    }
    Ok(ids)
}

/// Each job as it ended.
async fn follow(api: &Api, ids: &[String]) -> Result<Vec<Value>, Failure> {
    let started = Instant::now();
    let mut jobs = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        loop {
            let wait = Duration::from_secs(10);
            let asked = Call::get(format!("/api/v1/status/{id}")).query("wait", "10s").waits(wait);
            if status::is_final(&api.ask(asked).await?.json()["status"]) {
                break;
            }
            hold(started.elapsed() < JOBS_LIMIT, "the jobs end within a minute")?;
        }
        let job = api.ask(Call::get(format!("/api/v1/jobs/{id}"))).await?.json();
        let outcome = match job["status"].as_str() {
            Some("succeeded") => format!("succeeded: a {}", job["result"]["kind"].as_str().unwrap_or("?")),
            _ => format!("failed:    {}", job["error"]["code"].as_str().unwrap_or("?")),
        };
        let cost = job["costs"]["own"]["cost_usd"].as_str().unwrap_or("0.00");
        say!("    letter {:>2}  {outcome:<30} cost ${cost}", number + 1);
        jobs.push(job);
    }
    Ok(jobs)
}

/// Some were done and some were refused, by the budget and by nothing else. The words of one refusal.
fn check_jobs(jobs: &[Value]) -> Result<&str, Failure> {
    let done = jobs.iter().filter(|job| job["status"] == "succeeded").count();
    let refused: Vec<_> = jobs.iter().filter(|job| job["error"]["code"] == "budget_exceeded").collect();
    hold(done > 0, "money was there for some letters")?;
    hold(!refused.is_empty(), "the budget was too small for all letters")?;
    hold(done + refused.len() == jobs.len(), "jobs failed for want of money alone")?;
    Ok(refused[0]["error"]["message"].as_str().unwrap_or_default())
}

/// The provider's bill, the ledger, and the limit.
async fn check_books(api: &Api, provider: &Provider) -> Result<Nano, Failure> {
    let bill = provider.bill();
    let billed = Nano::new(i64::try_from(bill.total_nano).unwrap_or(i64::MAX));
    let total = api.ask(Call::get("/api/v1/costs").query("by", "model")).await?.json()["total"].clone();
    let spent = amount(&total["cost_usd"])?;
    let limit = amount(&json!(LIMIT))?;
    say!("11. The books:");
    say!("    the provider answered  {:>14} calls", bill.calls);
    say!("    its bill               {:>14} nanodollars", billed.get());
    say!("    Levqor's ledger        {:>14} nanodollars, {} calls", spent.get(), total["calls"]);
    say!("    the limit              {:>14} nanodollars", limit.get());
    say!("    never spent            {:>14} nanodollars", limit.get() - spent.get());
    hold(billed == spent, "the ledger is the provider's bill, to the nanodollar")?;
    hold(total["calls"] == bill.calls, "each call that was answered is in the ledger, and no other")?;
    hold(billed <= limit, "the bill is not over the limit")?;
    Ok(spent)
}

/// What was refused and why; that it costs nothing; and that a client beside all workflows is refused as well.
async fn check_refusals(api: &Api, provider: &Provider, why: &str, spent: Nano) -> Result<(), Failure> {
    say!("12. Why the others were refused: {why}");
    let before = provider.bill().calls;
    let question = json!({
        "model": "openai/gpt-6-sol",
        "max_completion_tokens": 4000,
        // Long enough to cost more than is left, however short its answer is made.
        "messages": [{"role": "user", "content": "Is there any money left? ".repeat(120)}],
    });
    let answer = api.send(Call::post("/v1/chat/completions").json(question.to_string())).await?;
    let told = |name: &str| {
        let value = answer.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or("?").to_owned()
    };
    say!(
        "13. An OpenAI client that asks something long through /v1/chat/completions gets {}: budget {}, limit ${}, spent ${}, held ${}.",
        answer.status.as_u16(),
        told("x-levqor-budget"),
        told("x-levqor-limit-usd"),
        told("x-levqor-spent-usd"),
        told("x-levqor-held-usd"),
    );
    hold(answer.status == 402, "the gateway refuses under the same budget")?;
    hold(amount(&json!(told("x-levqor-spent-usd")))? == spent, "it knows what was spent")?;
    hold(amount(&json!(told("x-levqor-held-usd")))? == Nano::ZERO, "nothing is held any more")?;
    say!("    The provider was not asked: its bill still has {before} calls.");
    hold(provider.bill().calls == before, "a refusal opens no connection")
}

fn amount(text: &Value) -> Result<Nano, Failure> {
    let parsed = text.as_str().and_then(|text| Nano::parse(text).ok());
    parsed.ok_or_else(|| Failure::failed(format!("{text} is no amount of money")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workflow_of_the_second_act_is_valid() {
        let definition = levqor_core::workflow::Definition::parse(WORKFLOW, Some("letters"));

        assert_eq!(
            definition.map(|known| known.steps.len()).map_err(|problems| format!("{problems:?}")),
            Ok(2)
        );
    }
}
