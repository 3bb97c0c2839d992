//! People, as a table: what the first version's clients rely on, and what ours do better.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::client::{Client, Reply};
use crate::server::{TestServer, check};

const UPSERT: &str = "/api/v1/users/upsert";

async fn patch(client: &Client, id: &str, body: &str) -> Reply {
    let headers = [("Content-Type", "application/json")];
    client.send("PATCH", &format!("/api/v1/users/{id}"), &headers, body).await
}

/// Makes a person and returns the id.
async fn create(client: &Client, body: &Value) -> String {
    let reply = client.post(UPSERT, &body.to_string()).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.json()["user"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_person_is_created_replaced_found_and_patched() {
    let server = TestServer::start(&[("API_KEYS", "k")]).await;
    let (anon, key) = (server.anon(), server.key("k"));

    let body = r#"{"email":" Ada@Example.ORG ","name":"Ada","locale":"en-GB","currency":"GBP",
        "meta":{"z":1,"a":12345678901234567890.10}}"#;
    let created = key.post(UPSERT, body).await;
    let json = created.json();
    let (id, created_at) = (json["user"]["id"].as_str().unwrap(), &json["user"]["created_at"]);
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    assert!(created_at.is_f64(), "{created_at}");
    let user = format!(
        "{{\"created_at\":{created_at},\"currency\":\"GBP\",\"email\":\"ada@example.org\",\"id\":\"{id}\",\"locale\":\"en-GB\",\
         \"meta\":{{\"a\":12345678901234567890.10,\"z\":1}},\"name\":\"Ada\",\"updated_at\":{created_at}}}"
    );
    check("created", &created, 201, &format!("{{\"created\":true,\"user\":{user}}}\n"));
    let by_email = anon.get("/api/v1/users?email=%20ADA@example.org%20&other=1").await;
    check("found", &by_email, 200, &format!("{user}\n"));
    check("got", &anon.get(&format!("/api/v1/users/{id}")).await, 200, &format!("{user}\n"));

    let merged = patch(&key, id, r#"{"locale":"de","meta":{"z":null,"b":{"c":1}}}"#).await;
    let shown = merged.json();
    assert_eq!(
        (merged.status, &shown["updated"], &shown["user"]["name"]),
        (200, &json!(true), &json!("Ada"))
    );
    assert_eq!(shown["user"]["locale"], "de");
    assert!(merged.text().contains(r#""meta":{"a":12345678901234567890.10,"b":{"c":1},"z":null}"#));
    assert_eq!(shown.as_object().unwrap().len(), 2);

    let touched = patch(&key, id, "{}").await;
    let mut expected = shown["user"].clone();
    expected["updated_at"] = touched.json()["user"]["updated_at"].clone();
    assert_eq!((touched.status, &touched.json()["user"]), (200, &expected));
    assert!(expected["updated_at"].as_f64() > shown["user"]["updated_at"].as_f64(), "only the time moves");

    let replaced = key.post(UPSERT, r#"{"email":"ada@example.org"}"#).await;
    let updated_at = &replaced.json()["user"]["updated_at"];
    let bare = format!(
        "{{\"updated\":true,\"user\":{{\"created_at\":{created_at},\"currency\":null,\"email\":\"ada@example.org\",\"id\":\"{id}\",\
         \"locale\":null,\"meta\":{{}},\"name\":null,\"updated_at\":{updated_at}}}}}\n"
    );
    check("replaced", &replaced, 200, &bare);
}

#[tokio::test]
async fn who_is_not_there_is_404_with_what_was_asked() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();

    for (asked, shown) in
        [(" A%2Bb@X.example%20", "a+b@x.example"), ("a+b@x.example", "a b@x.example"), ("a%00b", "a\\u0000b")]
    {
        let path = format!("/api/v1/users?email={}", asked.replace(' ', "%20"));
        let body = format!("{{\"email\":\"{shown}\",\"error\":\"not_found\"}}\n");
        check(asked, &anon.get(&path).await, 404, &body);
    }
    for path in ["/api/v1/users", "/api/v1/users?email=", "/api/v1/users?email=%20+", "/api/v1/users?Email=a"]
    {
        let body = "{\"details\":null,\"error\":\"email query param required\"}\n";
        check(path, &anon.get(path).await, 400, body);
    }
    for (asked, shown) in [("nope", "nope"), ("a%00b", "a\\u0000b"), ("A%20b", "A b"), ("export", "export")] {
        let body = format!("{{\"error\":\"not_found\",\"user_id\":\"{shown}\"}}\n");
        check(asked, &anon.get(&format!("/api/v1/users/{asked}")).await, 404, &body);
        check(asked, &patch(&anon, asked, "{}").await, 404, &body);
        let missing = "{\"error\":\"not_found\",\"message\":\"no such user\"}\n";
        check(asked, &anon.get(&format!("/api/v1/users/{asked}/export")).await, 404, missing);
        check(asked, &anon.send("DELETE", &format!("/api/v1/users/{asked}"), &[], "").await, 404, missing);
    }
    let body = "{\"error\":\"not_found\",\"user_id\":\"%ff\"}\n";
    check("no UTF-8", &anon.get("/api/v1/users/%ff").await, 404, body);
    for path in ["/api/v1/users/", "/api/v1/users/x/", "/api/v1/users/x/payment"] {
        check(path, &anon.get(path).await, 404, "{\"error\":\"not_found\"}\n");
    }
    assert_eq!(anon.post("/api/v1/users", "{}").await.header("allow"), Some("GET, HEAD, OPTIONS"));
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_named_and_nothing_changes() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let id = create(&anon, &json!({"email": "ada@example.org", "name": "Ada", "meta": {"a": 1}})).await;
    let before = anon.get(&format!("/api/v1/users/{id}")).await.text();
    let deep = format!(r#"{{"meta":{{"a":{}{}}}}}"#, "[".repeat(2_000), "]".repeat(2_000));
    let large = format!(r#"{{"meta":{{"a":"{}"}}}}"#, "x".repeat(16_384));
    let grown = format!(r#"{{"meta":{{"b":"{}"}}}}"#, "x".repeat(16_375));
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(201));
    let patches: &[(&str, &str, &str)] = &[
        ("", "invalid JSON", "empty"),
        ("{", "invalid JSON", "line 1"),
        (r#"{"meta":{"a":NaN}}"#, "invalid JSON", "line 1"),
        (r#"{"meta":{"a":1e999}}"#, "invalid JSON", ""),
        (r#"{"name":"\ud800"}"#, "invalid JSON", ""),
        (&deep, "invalid JSON", ""),
        ("null", "Invalid patch payload", "object"),
        ("[]", "Invalid patch payload", "object"),
        ("0", "Invalid patch payload", "object"),
        (r#"{"email":"ada@example.org"}"#, "Invalid patch payload", "email"),
        (r#"{"id":"x"}"#, "Invalid patch payload", "id"),
        (r#"{"name":null}"#, "Invalid patch payload", "name"),
        (r#"{"name":"a\u0000b"}"#, "Invalid patch payload", "NUL"),
        (&long, "Invalid patch payload", "200"),
        (r#"{"currency":"gbp"}"#, "Invalid patch payload", "GBP"),
        (r#"{"meta":[]}"#, "Invalid patch payload", "meta"),
        (&large, "Invalid patch payload", "16384"),
        (&grown, "Invalid patch payload", "with what is stored"),
    ];
    for (body, error, word) in patches {
        let shown: String = body.chars().take(60).collect();
        let reply = patch(&anon, &id, body).await;
        let json = reply.json();
        assert_eq!((reply.status, &json["error"]), (400, &json!(error)), "{shown}");
        assert!(json["details"].as_str().unwrap().contains(word), "{shown}: {json}");
        assert_eq!(json.as_object().unwrap().len(), 2, "{shown}");
        if *body != grown {
            assert_eq!(patch(&anon, "nobody", body).await.status, 400, "a body is judged before existence");
        }
    }
    let upserts = [
        ("{", "invalid JSON"),
        ("null", "Invalid user payload"),
        ("{}", "Invalid user payload"),
        (r#"{"email":null}"#, "Invalid user payload"),
        (r#"{"email":"abc"}"#, "Invalid user payload"),
        (r#"{"email":"   "}"#, "Invalid user payload"),
        (r#"{"email":"a\u0000@b.co"}"#, "Invalid user payload"),
        (r#"{"email":"a@b.co\r\nbcc: c@d.co"}"#, "Invalid user payload"),
        (r#"{"email":"ada@example.org","name":1}"#, "Invalid user payload"),
        (r#"{"email":"ada@example.org","currency":"CHF"}"#, "Invalid user payload"),
        (r#"{"email":"ada@example.org","surprise":1}"#, "Invalid user payload"),
    ];
    for (body, error) in upserts {
        let reply = anon.post(UPSERT, body).await;
        assert_eq!((reply.status, reply.error().as_str()), (400, error), "{body}");
        assert!(reply.json()["details"].is_string(), "{body}");
    }
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let headers = [("Content-Type", "application/json")];
    let wide = anon.send_bytes("PATCH", &format!("/api/v1/users/{id}"), &headers, &utf16).await;
    assert_eq!((wide.status, wide.error().as_str()), (400, "invalid JSON"));
    assert_eq!(anon.get(&format!("/api/v1/users/{id}")).await.text(), before);
    assert_eq!(anon.post(UPSERT, "\u{feff}{\"email\":\"bom@example.org\"}").await.status, 201);
}

#[tokio::test]
async fn checks_come_in_their_order_and_only_writes_are_counted() {
    let server = TestServer::start(&[("API_KEYS", "k"), ("RATE_BURST", "4")]).await;
    let (anon, key) = (server.anon(), server.key("k"));
    let text = [("Content-Type", "text/plain")];

    check("key before body", &anon.post(UPSERT, "{").await, 403, "{\"error\":\"forbidden\"}\n");
    assert_eq!(patch(&anon, "x", "{").await.status, 403);
    assert_eq!(anon.send("DELETE", "/api/v1/users/x", &[], "").await.status, 403);
    assert_eq!(anon.get("/api/v1/users/x/export").await.status, 403);
    let wrong_type = "{\"details\":null,\"error\":\"Content-Type must be application/json\"}\n";
    check("type before body", &key.send("POST", UPSERT, &text, "{").await, 400, wrong_type);

    let id = create(&key, &json!({"email": "ada@example.org"})).await;
    let counted = patch(&key, &id, "{}").await;
    assert_eq!(counted.header("x-ratelimit-remaining"), Some("1"));
    let deleted = key.send("DELETE", &format!("/api/v1/users/{id}"), &[], "").await;
    check("deleted", &deleted, 200, "{\"deleted\":true}\n");
    for refused in [
        key.post(UPSERT, "{").await,
        patch(&key, &id, "{").await,
        key.send("DELETE", &format!("/api/v1/users/{id}"), &[], "").await,
    ] {
        check("limit before body", &refused, 429, "{\"error\":\"rate_limited\"}\n");
    }
    for _ in 0..6 {
        assert_eq!(anon.get("/api/v1/users?email=ada@example.org").await.status, 404);
        assert_eq!(anon.get(&format!("/api/v1/users/{id}")).await.status, 404);
        assert_eq!(key.get(&format!("/api/v1/users/{id}/export")).await.status, 404);
    }
}

#[tokio::test]
async fn closed_reads_need_a_key() {
    let production = &[("API_KEYS", "k"), ("LEVQOR_ENV", "production")][..];
    for vars in [&[("API_KEYS", "k"), ("PUBLIC_USER_READS", "false")][..], production] {
        let server = TestServer::start(vars).await;
        let (anon, key) = (server.anon(), server.key("k"));
        let id = create(&key, &json!({"email": "ada@example.org"})).await;

        for path in ["/api/v1/users?email=ada@example.org", "/api/v1/users", &format!("/api/v1/users/{id}")] {
            check(path, &anon.get(path).await, 403, "{\"error\":\"forbidden\"}\n");
            assert_ne!(key.get(path).await.status, 403, "{path}");
        }
    }
}

#[tokio::test]
async fn of_32_first_upserts_at_once_one_creates() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();

    let replies = join_all((0..32).map(|n| {
        let body = json!({"email": "ada@example.org", "name": format!("Ada {n}")}).to_string();
        let anon = anon.clone();
        async move { anon.post(UPSERT, &body).await }
    }))
    .await;

    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!((count(201), count(200)), (1, 31));
    let id = replies[0].json()["user"]["id"].clone();
    assert!(replies.iter().all(|reply| reply.json()["user"]["id"] == id));
}

#[tokio::test]
async fn patches_at_once_lose_no_member_of_meta() {
    let server = TestServer::start(&[]).await;
    let anon = server.anon();
    let id = create(&anon, &json!({"email": "ada@example.org", "meta": {"kept": true}})).await;

    let replies = join_all((0..32).map(|n| {
        let body = format!(r#"{{"meta":{{"key-{n}":{n}}}}}"#);
        let (anon, id) = (anon.clone(), id.clone());
        async move { patch(&anon, &id, &body).await.status }
    }))
    .await;

    assert!(replies.iter().all(|status| *status == 200), "{replies:?}");
    let user = anon.get(&format!("/api/v1/users/{id}")).await.json();
    assert_eq!(user["meta"].as_object().unwrap().len(), 33, "{user}");
}

#[tokio::test]
async fn people_outlive_a_restart_are_exported_and_erased() {
    let server = TestServer::start(&[]).await;
    let id = create(&server.anon(), &json!({"email": "ada@example.org", "meta": {"plan": "pro"}})).await;
    let before = server.anon().get(&format!("/api/v1/users/{id}")).await.json();

    let server = server.restarted(&[]).await;

    let anon = server.anon();
    assert_eq!(anon.get("/api/v1/users?email=ada@example.org").await.json(), before);
    let export = anon.get(&format!("/api/v1/users/{id}/export")).await.json();
    assert_eq!(export["user"], before);
    assert!(export["exported_at"].is_f64() && export["payments"] == json!([]), "{export}");
    assert_eq!((&export["emails"], &export["mails"]), (&json!([]), &json!([])), "{export}");
    let history = export["history"].as_array().unwrap();
    assert_eq!((history.len(), &history[0]["action"]), (1, &json!("user.upsert")), "{export}");
    assert_eq!((&history[0]["detail"], history[0].get("actor")), (&json!({"created": true}), None));
    assert_eq!(export.as_object().unwrap().len(), 7, "{export}");
    assert_eq!(anon.get(&format!("/api/v1/users/{id}/export?x=1")).await.error(), "invalid_query");

    let path = format!("/api/v1/users/{id}");
    assert_eq!(anon.send("DELETE", &path, &[], "").await.status, 200);
    assert_eq!(anon.get("/api/v1/users?email=ada@example.org").await.status, 404);
    assert_eq!(anon.send("DELETE", &path, &[], "").await.status, 404);
    assert_ne!(create(&anon, &json!({"email": "ada@example.org"})).await, id);
}
