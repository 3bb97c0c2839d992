//! Mails through the real server: submitted as jobs, listed as tries, exported and erased with the person.

use std::time::Duration;

use levqor_testkit::{Answer, Receiver, wait_until};
use serde_json::{Value, json};

use crate::client::{Client, LIMIT};
use crate::server::TestServer;

const KEY: &str = "re_canary_that_nobody_sees";

async fn start(resend: &Receiver) -> TestServer {
    let url = resend.url("");
    let vars = [
        ("API_KEYS", "k"),
        ("RESEND_API_KEY", KEY),
        ("RESEND_BASE_URL", &url),
        ("EMAIL_DOMAIN", "example.com"),
    ];
    TestServer::start(&vars).await
}

async fn ended(client: &Client, mail: &Value) -> Value {
    let body = json!({"workflow": "levqor-email", "payload": mail});
    let reply = client.post("/api/v1/intake", &body.to_string()).await;
    assert_eq!(reply.status, 202, "{}", reply.text());
    let path = format!("/api/v1/status/{}?wait=10s", reply.json()["job_id"].as_str().unwrap());
    client.get(&path).await.json()
}

fn mail(to: &str) -> Value {
    json!({"from": "support", "to": to, "bcc": ["hidden@example.org"], "subject": "Hi", "text": "Hello"})
}

#[tokio::test]
async fn tries_are_listed_for_holders_of_a_key_with_filters_and_pages() {
    let resend = Receiver::start().await;
    let refusal = json!({"statusCode": 422, "name": "validation_error", "message": "no"}).to_string();
    resend.script("/emails", [Answer::json(&json!({"id": "m-1"})), Answer::status(422).body(refusal)]);
    let server = start(&resend).await;
    let key = server.key("k");
    let sent = ended(&key, &mail("ada+x@example.org")).await;
    let failed = ended(&key, &mail("b@example.org")).await;

    assert_eq!(server.anon().get("/api/v1/emails").await.status, 403);
    assert_eq!((&sent["status"], &failed["status"]), (&json!("succeeded"), &json!("failed")));
    let list = key.get("/api/v1/emails").await.json();
    let of = |query: &str| {
        let (key, path) = (key.clone(), format!("/api/v1/emails?{query}"));
        async move {
            let page = key.get(&path).await.json();
            page["emails"].as_array().unwrap_or_else(|| panic!("{page}")).clone()
        }
    };
    assert_eq!((list["emails"].as_array().unwrap().len(), &list["next"]), (2, &Value::Null));
    let mut newest = list["emails"][0].clone();
    for time in ["at", "finished_at"] {
        assert!(newest[time].is_f64(), "{newest}");
        newest[time] = json!(0);
    }
    let expected = json!({"at": 0, "attempt": 1, "bcc": ["hidden@example.org"], "cc": [], "finished_at": 0,
        "error": {"code": "email_refused", "message": "resend refused the mail: validation_error"},
        "from": "support@example.com", "job_id": failed["job_id"], "message_id": null, "provider": "resend",
        "status": "failed", "step": "send", "subject": "Hi", "to": ["b@example.org"]});
    assert_eq!(newest, expected);
    assert_eq!(of("status=sent").await, [list["emails"][1].clone()]);
    assert_eq!(of("recipient=Ada%2BX@example.org").await, [list["emails"][1].clone()]);
    assert_eq!(of("recipient=hidden@example.org").await.len(), 2);
    assert_eq!(of(&format!("job={}", failed["job_id"].as_str().unwrap())).await, [list["emails"][0].clone()]);
    let first = key.get("/api/v1/emails?limit=1").await.json();
    let next =
        key.get(&format!("/api/v1/emails?limit=1&cursor={}", first["next"].as_str().unwrap())).await.json();
    assert_eq!((&first["emails"][0], &next["emails"][0]), (&list["emails"][0], &list["emails"][1]));
    for query in
        ["status=queued", "job=x", "cursor=x", "limit=0", "limit=501", "recipient=", "recipient=%00", "zzz=1"]
    {
        assert_eq!(key.get(&format!("/api/v1/emails?{query}")).await.error(), "invalid_query", "{query}");
    }

    let metrics = key.get("/metrics").await.text();
    for line in ["levqor_emails_sent_total 1", "levqor_emails_failed_total 1"] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    server.log.close();
    for text in [server.logged.text(), list.to_string(), sent.to_string(), failed.to_string(), metrics] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[tokio::test]
async fn a_mail_that_cannot_be_one_is_refused_with_its_places() {
    let resend = Receiver::start().await;
    let server = start(&resend).await;
    let key = server.key("k");
    for (mail, place) in [
        (mail("a@example.org\r\nBcc: b@example.org"), "/to"),
        (json!({"to": "a@example.org", "subject": "a\nX-Evil: 1", "text": "t"}), "/subject"),
        (json!({"to": "a@example.org", "subject": "s", "text": "t", "headers": {"X-Evil": "1"}}), "/headers"),
        (json!({"to": vec!["a@example.org"; 51], "subject": "s", "text": "t"}), "/to"),
    ] {
        let body = json!({"workflow": "levqor-email", "payload": mail});

        let reply = key.post("/api/v1/intake", &body.to_string()).await;

        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_payload"), "{}", reply.text());
        let fields = reply.json()["fields"].to_string();
        assert!(fields.contains(place) || fields.contains("headers"), "{place}: {fields}");
    }
    assert!(resend.received().is_empty());
}

#[tokio::test]
async fn names_of_built_in_workflows_are_kept() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let yaml = [("Content-Type", "application/yaml")];
    let source = "steps: [{id: only, transform: 1}]";

    for name in ["levqor-email", "levqor-mine"] {
        let path = format!("/api/v1/workflows/{name}");
        let put = anon.send("PUT", &path, &yaml, source).await;
        assert_eq!((put.status, put.error().as_str()), (400, "invalid_workflow"), "{}", put.text());
        let gone = anon.send("DELETE", &path, &[], "").await;
        assert_eq!((gone.status, gone.error().as_str()), (409, "conflict"), "{}", gone.text());
    }
    let built_in = anon.get("/api/v1/workflows/levqor-email").await.json();
    assert_eq!((&built_in["origin"], &built_in["version"]), (&json!("built-in"), &json!(1)));
}

#[tokio::test]
async fn a_person_is_exported_with_their_mails_and_erased_from_the_records() {
    let resend = Receiver::start().await;
    resend.script("/emails", [Answer::json(&json!({"id": "m-1"}))]);
    let server = start(&resend).await;
    let key = server.key("k");
    let user = key.post("/api/v1/users/upsert", r#"{"email":"ada@example.org"}"#).await.json();
    let path = format!("/api/v1/users/{}", user["user"]["id"].as_str().unwrap());
    let job = ended(&key, &mail("Ada@Example.org")).await;
    assert_eq!(job["status"], "succeeded");

    let export = key.get(&format!("{path}/export")).await.json();
    let deleted = key.send("DELETE", &path, &[], "").await;

    assert_eq!(export["emails"][0]["to"], json!(["ada@example.org"]));
    assert_eq!(export["emails"][0]["bcc"], json!([]), "who else got it is not theirs");
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    let left = key.get("/api/v1/emails").await.json();
    assert_eq!((&left["emails"][0]["to"], &left["emails"][0]["subject"]), (&json!([""]), &json!("")));
    let job = key.get(&format!("/api/v1/jobs/{}", job["job_id"].as_str().unwrap())).await.json();
    assert_eq!(job["payload"], json!({}));
}

#[tokio::test]
async fn a_mail_is_never_sent_inside_the_request_that_asks_for_it() {
    let resend = Receiver::start().await;
    resend.script("/emails", [Answer::json(&json!({"id": "m-1"})).after(Duration::from_secs(5))]);
    let server = start(&resend).await;
    let body = json!({"workflow": "levqor-email", "payload": mail("ada@example.org")}).to_string();

    let began = std::time::Instant::now();
    let reply = server.key("k").post("/api/v1/intake", &body).await;

    assert_eq!(reply.status, 202);
    assert!(began.elapsed() < Duration::from_secs(5), "the answer waited for Resend");
    wait_until(LIMIT, async || resend.received().len() == 1).await;
}

#[tokio::test]
async fn security_txt_names_the_address_of_the_configured_domain() {
    let server = TestServer::start(&[("EMAIL_DOMAIN", "example.org")]).await;

    let text = server.anon().get("/.well-known/security.txt").await.text();

    assert!(text.starts_with("Contact: mailto:security@example.org\n"), "{text}");
}
