//! The checks of what leads to vendors: connectors and billing. Only refusals, so that no vendor is called and nobody pays.

use serde_json::{Value, json};

use super::super::client::{Answer, Call};
use super::super::exit::Failure;
use super::checks::{expect, forbidden, has_path};
use super::visit::Visit;
use super::{Report, Verdict};

const CONNECTORS: [&str; 4] = ["gmail", "notion", "slack", "telegram"];

/// Makes three writes.
pub async fn connectors(visit: &Visit<'_>, report: &mut Report) -> Result<(), Failure> {
    let call = |name: &str, body: Value| Call::post(format!("/api/v1/connect/{name}")).json(body.to_string());

    let unknown = visit.send(call("zzz", json!({}))).await?;
    let good = unknown.json()["error"] == "invalid_connector"
        && CONNECTORS
            .iter()
            .all(|name| unknown.json()["valid"].as_array().is_some_and(|valid| valid.contains(&json!(name))));
    report.check(
        "POST /api/v1/connect/<name> refuses an unknown connector and lists the others",
        expect(&unknown, 400, good),
    );

    let empty = visit.send(call("slack", json!({}))).await?;
    report.check("a connector without an action is 400", error(&empty, 400, "action required"));

    let tokenless = visit.send(call("slack", json!({"action": "post_message", "params": {}}))).await?;
    let good = tokenless.json()["error"].as_str().is_some_and(|error| error.starts_with("token required"));
    report.check("a connector without a token is 400", expect(&tokenless, 400, good));
    Ok(())
}

/// Makes one write that counts.
pub async fn billing(
    visit: &Visit<'_>,
    report: &mut Report,
    document: &Value,
    closed: bool,
) -> Result<(), Failure> {
    let checkout = "/billing/create-checkout-session";
    if !has_path(document, checkout) {
        report.add("billing refuses what it must", Verdict::Skipped("this server has none".to_owned()));
        return Ok(());
    }
    if visit.has_key() || !closed {
        let list = visit.send(Call::post(checkout).json("[]")).await?;
        report.check(
            "a checkout that is no object is 400",
            expect(&list, 400, list.json()["error"].is_string()),
        );
    } else {
        let bare = visit.send(Call::post(checkout).json("[]").without_key()).await?;
        // Open to browsers where PUBLIC_CHECKOUT says so; then the body is looked at.
        let verdict = forbidden(&bare).or_else(|why| expect(&bare, 400, true).map_err(|_| why));
        report.check("a checkout without a key is refused, or open to browsers", verdict);
    }

    let unsigned = visit.send(Call::post("/billing/webhook").json("{}").without_key()).await?;
    let is_refusal = unsigned.status == 400 || unsigned.status == 503;
    let verdict = if is_refusal { Ok(()) } else { expect(&unsigned, 400, true) };
    report.check("POST /billing/webhook refuses what is not signed", verdict);
    let forged =
        Call::post("/billing/webhook").json("{}").without_key().header("stripe-signature", "t=1,v1=00");
    let forged = visit.send(forged).await?;
    let is_refusal = forged.status == 400 || forged.status == 503;
    let verdict = if is_refusal { Ok(()) } else { expect(&forged, 400, true) };
    report.check("POST /billing/webhook refuses a forged signature", verdict);
    Ok(())
}

fn error(answer: &Answer, status: u16, error: &str) -> Result<(), String> {
    expect(answer, status, answer.json()["error"] == json!(error))
}
