//! Keys of the database: what each may do, from its making to its end, and what is no key at all.

use levqor_core::key::Scope;
use levqor_testkit::wait_until;
use serde_json::{Value, json};

use crate::client::{Client, Connection, LIMIT, Reply};
use crate::server::{TestServer, check};

const FORBIDDEN: &str = "{\"error\":\"forbidden\"}\n";
const ALL: [&str; 6] = ["read", "submit", "operate", "admin", "ai", "budgets"];

async fn make(client: &Client, name: &str, scopes: &[&str]) -> (String, String) {
    let reply = client.post("/api/v1/keys", &json!({"name": name, "scopes": scopes}).to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    let text = |member: &str| reply.json()[member].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

async fn delete(client: &Client, id: &str) -> Reply {
    client.send("DELETE", &format!("/api/v1/keys/{id}"), &[], "").await
}

async fn rotate(client: &Client, id: &str, body: &str) -> Reply {
    client.post(&format!("/api/v1/keys/{id}/rotate"), body).await
}

#[tokio::test]
async fn every_guarded_route_takes_the_one_scope_that_it_names() {
    let server = TestServer::start(&[("API_KEYS", "root"), ("PUBLIC_USER_READS", "false")]).await;
    let document = server.anon().get("/public/openapi-3.1.json").await.json();
    let mut keys = Vec::new();
    for scope in ALL {
        keys.push((scope, server.key(&make(&server.key("root"), scope, &[scope]).await.1)));
    }

    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(needed) = operation["x-scope"].as_str() else { continue };
            assert!(Scope::parse(needed).is_some(), "{path}");
            *seen.entry(needed).or_default() += 1;
            // Names nothing that exists, so that what is allowed changes nothing.
            let asked =
                ["{job_id}", "{name}", "{user_id}", "{key_id}", "{budget_id}", "{call_id}", "{book_id}"]
                    .iter()
                    .fold(path.clone(), |path, variable| path.replace(variable, "none"));
            for (scope, client) in &keys {
                let reply = client.send(&method.to_uppercase(), &asked, &[], "").await;
                assert_eq!(reply.status == 403, *scope != needed, "{scope}: {method} {asked}: {reply:?}");
                if reply.status == 403 {
                    let message =
                        format!("this needs a key with the scope `{needed}`; this one has: {scope}");
                    let own = json!({"error": "forbidden", "message": message});
                    // Vendors' wires have errors of their own shape.
                    let told = reply.json()["error"]["message"].as_str() == Some(&message);
                    assert!(reply.json() == own || (path.starts_with("/v1/") && told), "{path}: {reply:?}");
                }
            }
        }
    }
    assert!(ALL.iter().all(|scope| seen.get(scope).is_some_and(|count| *count >= 2)), "{seen:?}");
}

#[tokio::test]
async fn what_each_scope_is_for_is_as_documented() {
    let server = TestServer::start(&[]).await;
    let document = server.anon().get("/public/openapi-3.1.json").await.json();
    let expected = [
        ("post", "/api/v1/intake", "submit"),
        ("post", "/api/v1/intake/batch", "submit"),
        ("post", "/api/v1/connect/{name}", "submit"),
        ("get", "/api/v1/jobs", "read"),
        ("get", "/metrics", "read"),
        ("get", "/api/v1/users/{user_id}/export", "read"),
        ("post", "/api/v1/jobs/{job_id}/cancel", "operate"),
        ("put", "/api/v1/workflows/{name}", "operate"),
        ("patch", "/api/v1/users/{user_id}", "operate"),
        ("get", "/api/v1/ops/health", "operate"),
        ("post", "/api/v1/_dev/complete/{job_id}", "operate"),
        ("get", "/api/v1/keys", "admin"),
        ("get", "/api/v1/audit", "admin"),
        ("get", "/api/v1/connections", "admin"),
        ("get", "/api/v1/budgets", "read"),
        ("put", "/api/v1/budgets/{budget_id}", "budgets"),
        ("post", "/api/v1/ai/stop", "budgets"),
    ];
    for (method, path, scope) in expected {
        assert_eq!(document["paths"][path][method]["x-scope"], scope, "{method} {path}");
    }
}

#[tokio::test]
async fn the_first_key_closes_a_server_that_was_open_and_must_be_able_to_make_others() {
    let server = TestServer::start(&[]).await;
    let weak = json!({"name": "weak", "scopes": ["read", "submit"]}).to_string();
    let refused = server.anon().post("/api/v1/keys", &weak).await;
    assert_eq!((refused.status, refused.error().as_str()), (409, "conflict"));
    assert_eq!(server.anon().get("/api/v1/jobs").await.status, 200, "it is as open as before");

    let (id, key) = make(&server.anon(), "first", &["admin"]).await;

    check("now it is closed", &server.anon().get("/api/v1/jobs").await, 403, FORBIDDEN);
    let (_, weak) = make(&server.key(&key), "weak", &["submit"]).await;
    server.submit(&server.key(&weak)).await;
    assert_eq!(delete(&server.key(&key), &id).await.status, 200);
    check("the last admin", &server.key(&key).get("/api/v1/keys").await, 403, FORBIDDEN);
    check("a revoked key opens nothing", &server.anon().get("/api/v1/jobs").await, 403, FORBIDDEN);

    let server = server.restarted(&[]).await;
    check("nor does a restart", &server.anon().get("/api/v1/jobs").await, 403, FORBIDDEN);
    server.submit(&server.key(&weak)).await;
}

#[tokio::test]
async fn a_key_is_shown_once_and_listed_without_itself() {
    let server = TestServer::start(&[("API_KEYS", "root")]).await;
    let root = server.key("root");
    let body = r#"{"name":"import","scopes":["submit","read"],"expires_at":"2300-01-31T09:00:00Z"}"#;

    let made = root.post("/api/v1/keys", body).await.json();

    let (id, key) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(key.starts_with(&format!("lvq_{id}_")) && key.len() == 4 + 24 + 1 + 64, "{key}");
    assert_eq!(made["scopes"], json!(["read", "submit"]));
    assert_eq!(
        (made["state"].as_str(), made["expires_at"].as_f64()),
        (Some("active"), Some(10_416_416_400.0))
    );
    let by = made["created_by"].as_str().unwrap();
    assert!(by.starts_with("env:") && by.len() == 12, "{by}");
    server.submit(&server.key(key)).await;

    let mut shown = made.clone();
    shown.as_object_mut().unwrap().remove("key");
    let listed = root.get("/api/v1/keys").await.json();
    assert_eq!(listed, json!({"keys": [shown], "next": null}));
    for _ in 0..2 {
        let revoked = delete(&root, id).await;
        assert_eq!((revoked.status, revoked.json()), (200, json!({"id": id, "revoked": true})));
    }
    assert_eq!(root.get("/api/v1/keys").await.json()["keys"][0]["state"], "revoked");
    check("over", &server.key(key).get("/api/v1/jobs").await, 403, FORBIDDEN);
}

#[tokio::test]
async fn lists_have_pages() {
    let server = TestServer::start(&[("API_KEYS", "root")]).await;
    let root = server.key("root");
    for name in ["a", "b", "c"] {
        make(&root, name, &["read"]).await;
    }
    let first = root.get("/api/v1/keys?limit=2").await.json();
    let second =
        root.get(&format!("/api/v1/keys?limit=2&cursor={}", first["next"].as_str().unwrap())).await.json();

    assert_eq!((first["keys"].as_array().unwrap().len(), second["keys"].as_array().unwrap().len()), (2, 1));
    assert_eq!(second["next"], Value::Null);
    for query in ["limit=0", "limit=501", "cursor=", "cursor=%00", "cursor=x", "name=a"] {
        assert_eq!(root.get(&format!("/api/v1/keys?{query}")).await.error(), "invalid_query", "{query}");
    }
}

#[tokio::test]
async fn what_is_not_exactly_the_key_in_x_api_key_is_no_key() {
    let server = TestServer::start(&[("API_KEYS", "root"), ("RATE_BURST", "100000")]).await;
    let (id, key) = make(&server.key("root"), "k", &ALL).await;
    let bearer = format!("Bearer {key}");
    let huge = format!("{key}{}", "0".repeat(20_000));
    let wrong = [
        key[..key.len() - 1].to_owned(),
        format!("lvq_{id}_"),
        "lvq_".to_owned(),
        id.clone(),
        key.to_uppercase(),
        key.replacen("lvq_", "LVQ_", 1),
        format!("{key}0"),
        format!("{key},{key}"),
        format!("{key} x"),
        format!("Bearer {key}"),
        huge,
    ];
    for key in &wrong {
        check(&key[..key.len().min(120)], &server.key(key).get("/api/v1/jobs").await, 403, FORBIDDEN);
    }
    for (name, value) in [("Authorization", bearer.as_str()), ("X-Api-Keys", &key), ("Cookie", &key)] {
        check(name, &server.anon().send("GET", "/api/v1/jobs", &[(name, value)], "").await, 403, FORBIDDEN);
    }
    let twice = server.key(&key).send("GET", "/api/v1/jobs", &[("X-Api-Key", &key)], "").await;
    check("twice", &twice, 403, FORBIDDEN);
    let in_query = server.anon().get(&format!("/api/v1/jobs?X-Api-Key={key}")).await;
    assert_eq!(in_query.status, 403);
    let scraper = server.anon().send("GET", "/metrics", &[("Authorization", &bearer)], "").await;
    assert_eq!(scraper.status, 200, "scrapers may send a bearer");

    let mut connection = Connection::open(server.address).await;
    connection
        .write(format!("GET /api/v1/jobs HTTP/1.1\r\nHost: x\r\nX-Api-Key: {key}\0\r\n\r\n").as_bytes())
        .await;
    assert_eq!(connection.reply().await.status, 400, "NUL is in no header");
    assert_eq!(server.key(&key).get("/api/v1/jobs").await.status, 200);
}

#[tokio::test]
async fn a_rotation_changes_the_key_and_not_who_asks() {
    let server = TestServer::start(&[("API_KEYS", "root")]).await;
    let root = server.key("root");
    let (id, old) = make(&root, "k", &["submit", "read"]).await;
    let body = r#"{"workflow":"nobody-defined","payload":{"n":1}}"#;
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "one")];
    let submit =
        async |key: &str| server.key(key).send("POST", "/api/v1/intake", &headers, body).await.json();
    let first = submit(&old).await;

    let made = rotate(&root, &id, "{}").await;

    assert_eq!(made.status, 201, "{made:?}");
    let (new_id, new) =
        (made.json()["id"].as_str().unwrap().to_owned(), made.json()["key"].as_str().unwrap().to_owned());
    assert_eq!(made.json()["scopes"], json!(["read", "submit"]));
    assert_eq!(submit(&new).await, first, "the same caller: the same job");
    assert_eq!(submit(&old).await, first, "and the old key lives on");
    assert_ne!(submit("root").await, first, "another caller");
    let listed = root.get("/api/v1/keys").await.json();
    assert_eq!(listed["keys"][1]["replaced_by"], new_id);
    let left =
        listed["keys"][1]["expires_at"].as_f64().unwrap() - made.json()["created_at"].as_f64().unwrap();
    assert!((left - 86_400.0).abs() < 5.0, "{left}");
    assert_eq!(rotate(&root, &id, "{}").await.error(), "conflict");

    // Without a body and its type as well, and with no overlap at all.
    let last = root.send("POST", &format!("/api/v1/keys/{new_id}/rotate"), &[], "").await;
    assert_eq!(last.status, 201, "{last:?}");
    let last_id = last.json()["id"].as_str().unwrap().to_owned();
    let at_once = rotate(&root, &last_id, r#"{"overlap":"0s"}"#).await;
    assert_eq!(at_once.status, 201);
    check(
        "no overlap",
        &server.key(last.json()["key"].as_str().unwrap()).get("/api/v1/jobs").await,
        403,
        FORBIDDEN,
    );
    assert_eq!(submit(at_once.json()["key"].as_str().unwrap()).await, first);
}

#[tokio::test]
async fn nobody_is_refused_while_keys_are_rotated_under_load() {
    let server = TestServer::start(&[("API_KEYS", "root")]).await;
    let root = server.key("root");
    let (mut id, mut key) = make(&root, "k", &["read"]).await;
    for _ in 0..5 {
        let asking = (0..20).map(|_| {
            let client = server.key(&key);
            async move { client.get("/api/v1/jobs").await.status }
        });
        let (statuses, made) = tokio::join!(futures_util::future::join_all(asking), rotate(&root, &id, "{}"));
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        let made = made.json();
        (id, key) = (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned());
        assert_eq!(server.key(&key).get("/api/v1/jobs").await.status, 200);
    }
}

#[tokio::test]
async fn requests_for_keys_that_break_the_rules_make_none() {
    let server = TestServer::start(&[("API_KEYS", "root")]).await;
    let root = server.key("root");
    let cases = [
        ("", ""),
        ("null", ""),
        ("[]", ""),
        (r#"{"name":"x"}"#, "/scopes"),
        (r#"{"name":"x","scopes":["root"]}"#, "/scopes"),
        (r#"{"name":"x\u0000","scopes":["read"]}"#, "/name"),
        (r#"{"name":"x","scopes":["read"],"expires_at":"2001-01-31T09:00:00Z"}"#, "/expires_at"),
        (r#"{"name":"x","scopes":["read"],"id":"mine"}"#, ""),
    ];
    for (body, at) in cases {
        let reply = root.post("/api/v1/keys", body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_key"), "{body}: {reply:?}");
        assert_eq!(reply.json()["fields"].get(at).is_some(), !at.is_empty(), "{body}: {reply:?}");
    }
    let typed = [("Content-Type", "text/plain")];
    let plain = root.send("POST", "/api/v1/keys", &typed, r#"{"name":"x","scopes":["read"]}"#).await;
    assert_eq!(plain.error(), "wrong_content_type");
    assert_eq!(root.get("/api/v1/keys").await.json()["keys"], json!([]));
    for id in ["none", "%00", &"0".repeat(24), &"A".repeat(24), &"0".repeat(5_000)] {
        assert_eq!(delete(&root, id).await.error(), "not_found", "{id}");
        assert_eq!(rotate(&root, id, "{}").await.error(), "not_found", "{id}");
    }
    let (id, _) = make(&root, "x", &["read"]).await;
    for body in [r#"{"overlap":"31d"}"#, r#"{"scopes":["admin"]}"#, "[]", "x"] {
        assert_eq!(rotate(&root, &id, body).await.error(), "invalid_key", "{body}");
    }
}

#[tokio::test]
async fn no_answer_but_the_first_and_no_log_line_holds_a_key() {
    let server = TestServer::start(&[("API_KEYS", "root-canary")]).await;
    let root = server.key("root-canary");
    let (id, key) = make(&root, "k", &ALL).await;
    let client = server.key(&key);
    let secret = key.rsplit('_').next().unwrap();
    let rotated = rotate(&root, &id, "{}").await.json();

    for path in ["/api/v1/keys", "/api/v1/audit", "/api/v1/jobs", "/metrics", "/public/openapi.json"] {
        let text = client.get(path).await.text();
        assert!(!text.contains(secret) && !text.contains("root-canary"), "{path}");
        assert!(!text.contains(rotated["key"].as_str().unwrap()), "{path}");
    }
    let wrong = server.key(&format!("{key}x")).get("/api/v1/keys").await;
    assert!(!wrong.text().contains(secret));
    wait_until(LIMIT, async || server.logged.text().contains("/public/openapi.json")).await;
    let log = server.logged.text();
    assert!(log.contains("/api/v1/keys") && !log.contains(secret) && !log.contains("root-canary"), "{log}");
}
