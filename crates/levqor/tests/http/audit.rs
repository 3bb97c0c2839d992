//! The audit log as it is read over HTTP: what was done through the routes, by whom, and a chain that anybody can check.

use levqor_core::audit::{Chain, Entry, Head};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::server::TestServer;

#[derive(Deserialize)]
struct Page {
    entries: Vec<Shown>,
    head: ShownHead,
    next: Option<String>,
}

#[derive(Deserialize)]
struct ShownHead {
    seq: i64,
    hash: String,
}

#[derive(Deserialize)]
struct Shown {
    seq: i64,
    at: f64,
    actor: String,
    action: String,
    object: String,
    detail: Box<RawValue>,
    prev_hash: String,
    hash: String,
}

async fn page(client: &Client, query: &str) -> Page {
    let reply = client.get(&format!("/api/v1/audit?{query}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    serde_json::from_slice(&reply.body).unwrap()
}

fn told(page: &Page) -> Vec<(&str, &str)> {
    page.entries.iter().map(|entry| (entry.action.as_str(), entry.object.as_str())).collect()
}

#[tokio::test]
async fn what_is_done_through_the_routes_is_told_and_forms_a_chain() {
    let server = TestServer::start(&[("API_KEYS", "root")]).await;
    let root = server.key("root");
    let made = root.post("/api/v1/keys", r#"{"name":"ci","scopes":["submit","operate"]}"#).await.json();
    let (id, ci) = (made["id"].as_str().unwrap(), server.key(made["key"].as_str().unwrap()));
    let yaml = [("Content-Type", "application/yaml")];
    let source = "name: hello\nsteps:\n  - { id: only, transform: 1 }\n";
    assert_eq!(ci.send("PUT", "/api/v1/workflows/hello", &yaml, source).await.status, 201);
    let job = server.submit(&ci).await;
    assert_eq!(ci.post(&format!("/api/v1/jobs/{job}/cancel"), "").await.status, 200);
    let user = ci.post("/api/v1/users/upsert", r#"{"email":"ada@example.org"}"#).await.json();
    let user = user["user"]["id"].as_str().unwrap();
    assert_eq!(ci.send("DELETE", &format!("/api/v1/users/{user}"), &[], "").await.status, 200);

    let log = page(&root, "limit=500").await;

    // What the start stores, the built-in workflows and the budgets of the settings, may come at any time beside them.
    let told = told(&log).into_iter().zip(&log.entries).filter(|(_, entry)| entry.actor != "system");
    let (told, by): (Vec<_>, Vec<_>) = told.map(|(what, entry)| (what, entry.actor.as_str())).unzip();
    let expected = [
        ("user.delete", user),
        ("user.upsert", user),
        ("job.cancel", &job),
        ("workflow.put", "hello"),
        ("key.create", id),
    ];
    assert_eq!(told, expected);
    assert!(by[..4].iter().all(|actor| **actor == format!("key:{id}")));
    assert!(by[4].starts_with("env:"));
    let text = root.get("/api/v1/audit").await.text();
    assert!(!text.contains("ada@"), "{text}");
    let count = log.entries.len() as i64;
    assert_eq!((log.head.seq, log.next), (count, None));
    let mut chain = Chain::from_head(Head { seq: count, hash: log.head.hash }, None);
    for shown in log.entries {
        let Shown { seq, at, actor, action, object, detail, prev_hash, hash } = shown;
        let (at_ms, detail) = ((at * 1000.0).round() as i64, detail.get().to_owned());
        chain.check(&Entry { seq, at_ms, actor, action, object, detail, prev_hash, hash });
    }
    assert_eq!(chain.end(), Ok(count));
}

#[tokio::test]
async fn filters_pages_and_refusals() {
    let server = TestServer::start(&[]).await;
    let dev = server.anon();
    for n in 0..5 {
        let body = format!(r#"{{"email":"ada-{n}@example.org"}}"#);
        assert_eq!(dev.post("/api/v1/users/upsert", &body).await.status, 201);
    }
    let all = page(&dev, "actor=dev").await;
    assert_eq!(all.entries.len(), 5);
    let object = &all.entries[2].object;

    assert_eq!(told(&page(&dev, &format!("object={object}")).await), [("user.upsert", object.as_str())]);
    assert_eq!(page(&dev, "action=user.delete").await.entries.len(), 0);
    assert_eq!(page(&dev, "actor=dev&action=user.upsert&from=0&until=99999999999").await.entries.len(), 5);
    assert_eq!(page(&dev, "until=1").await.entries.len(), 0);
    let first = page(&dev, "actor=dev&limit=3").await;
    let rest = page(&dev, &format!("actor=dev&limit=3&cursor={}", first.next.unwrap())).await;
    assert_eq!((first.entries.len(), rest.entries.len(), rest.next), (3, 2, None));
    for query in
        ["limit=0", "limit=501", "cursor=0", "cursor=x", "actor=", "object=%00", "from=then", "who=me"]
    {
        assert_eq!(dev.get(&format!("/api/v1/audit?{query}")).await.error(), "invalid_query", "{query}");
    }
}
