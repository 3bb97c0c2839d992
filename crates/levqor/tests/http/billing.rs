//! Billing through the real server: what is sent to Stripe, what its events do, who may see payments.

mod checkout;
mod events;
mod history;

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::client::{Client, Reply};
use crate::server::TestServer;

const SECRET: &str = "whsec_canary-77";
const WEBHOOK: &str = "/billing/webhook";

/// The variables of a server that takes events.
const TAKING: [(&str, &str); 2] = [("API_KEYS", "k"), ("STRIPE_WEBHOOK_SECRET", SECRET)];

#[allow(clippy::disallowed_methods, reason = "Stripe signs with its own clock")]
fn now_secs() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// HMAC-SHA256 as RFC 2104 has it, apart from the one that is tested.
fn hmac_hex(key: &[u8], text: &[u8]) -> String {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |byte: u8| block.map(|own| own ^ byte).to_vec();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    let outer = Sha256::digest([pad(0x5c), inner.to_vec()].concat());
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn signed_at(at_secs: i64, body: &[u8], secret: &str) -> String {
    let text = [format!("{at_secs}.").as_bytes(), body].concat();
    format!("t={at_secs},v1={}", hmac_hex(secret.as_bytes(), &text))
}

async fn post(client: &Client, signature: &str, body: &[u8]) -> Reply {
    client.send_bytes("POST", WEBHOOK, &[("Stripe-Signature", signature)], body).await
}

/// Delivers as Stripe does.
async fn deliver(server: &TestServer, event: &Value) -> Reply {
    let body = event.to_string();
    post(&server.anon(), &signed_at(now_secs(), body.as_bytes(), SECRET), body.as_bytes()).await
}

/// A checkout that was paid, or whatever `changes` makes of it.
fn completed(event_id: &str, user_id: &str, changes: Value) -> Value {
    let mut session = json!({"id": "cs_1", "object": "checkout.session", "amount_total": 1250, "currency": "eur",
        "client_reference_id": user_id, "customer": "cus_1", "payment_intent": "pi_1", "payment_status": "paid",
        "customer_details": {"email": "ada@example.org"}});
    for (name, value) in changes.as_object().unwrap() {
        session[name] = value.clone();
    }
    event(event_id, "checkout.session.completed", 1_790_000_000, session)
}

fn event(event_id: &str, event_type: &str, created: i64, object: Value) -> Value {
    json!({"id": event_id, "object": "event", "type": event_type, "created": created, "data": {"object": object}})
}

async fn create_user(server: &TestServer, email: &str) -> String {
    let reply = server.key("k").post("/api/v1/users/upsert", &json!({"email": email}).to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["user"]["id"].as_str().unwrap().to_owned()
}

async fn payments(server: &TestServer, id: &str) -> Vec<Value> {
    let reply = server.key("k").get(&format!("/api/v1/users/{id}/payments")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["payments"].as_array().unwrap().clone()
}

/// The payloads of the mails that were submitted.
async fn mails(server: &TestServer) -> Vec<Value> {
    let key = server.key("k");
    let jobs = key.get("/api/v1/jobs?workflow=levqor-email&limit=500").await.json();
    let mut payloads = Vec::new();
    for job in jobs["jobs"].as_array().unwrap() {
        let id = job["job_id"].as_str().unwrap();
        payloads.push(key.get(&format!("/api/v1/jobs/{id}")).await.json()["payload"].clone());
    }
    payloads
}
