//! The document and the router describe the same surface.

use std::collections::BTreeSet;

use crate::server::TestServer;

#[tokio::test]
async fn the_document_and_the_router_have_the_same_routes_and_methods() {
    let server = TestServer::start(&[]).await;
    let document = server.anon().get("/public/openapi-3.1.json").await.json();

    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 17, "{}", paths.len());
    for (path, item) in paths {
        let documented: BTreeSet<String> =
            item.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        let asked = path
            .replace("{job_id}", &"0".repeat(32))
            .replace("{name}", "x")
            .replace("{user_id}", "x")
            .replace("{key_id}", "x")
            .replace("{budget_id}", "x")
            .replace("{call_id}", "x")
            .replace("{book_id}", "x")
            .replace("{model}", "x");
        let options = server.anon().send("OPTIONS", &asked, &[], "").await;
        assert_eq!(options.status, 200, "{path}");
        let allowed: BTreeSet<String> =
            options.header("allow").unwrap().split(", ").map(str::to_owned).collect();
        let implied = ["HEAD", "OPTIONS"].map(str::to_owned);
        let served: BTreeSet<String> =
            allowed.iter().filter(|method| !implied.contains(method)).cloned().collect();
        assert_eq!(served, documented, "{path}");
    }
}

/// The other way round: the router is filled from the list that the document is made of, and in no other way. Pages are the
/// one exception: they are for people, and stand below no path of the API.
#[test]
fn no_route_bypasses_the_document() {
    let router = include_str!("../../src/http/router.rs").replace(".merge(pages::routes())", "");
    let pages = include_str!("../../src/http/pages.rs");

    for bypass in [".route(", ".route_service(", ".nest(", ".nest_service(", ".merge(", "fallback_service("] {
        assert!(
            !router.contains(bypass),
            "router.rs must not call {bypass}: the document would miss the route"
        );
    }
    let list = pages.split("pub const PATHS").nth(1).unwrap().split("];").next().unwrap();
    let paths: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    assert!(paths.len() > 10 && paths.iter().all(|path| path.starts_with('/')), "{paths:?}");
    for path in paths {
        let is_page = path.starts_with("/public/") || path.contains('.');
        assert!(is_page, "{path} is no page: describe it and put it into router.rs");
    }
    assert_eq!(pages.matches(".route(").count(), 1, "pages are routed from PATHS alone");
    assert!(
        !pages.contains("post(get") && pages.contains(".route(path, get(get_page))"),
        "pages are only read"
    );
}

#[tokio::test]
async fn documents_are_served_with_an_etag() {
    let server = TestServer::start(&[]).await;
    for (path, version) in [("/public/openapi.json", "3.0.3"), ("/public/openapi-3.1.json", "3.1.0")] {
        let reply = server.anon().get(path).await;
        assert_eq!(reply.json()["openapi"], version);
        let etag = reply.header("etag").unwrap();
        let again = server.anon().send("GET", path, &[("If-None-Match", etag)], "").await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(etag)), "{path}");
    }
}

#[tokio::test]
async fn every_described_success_has_the_members_that_are_sent() {
    let server = TestServer::start(&[]).await;
    let document = server.anon().get("/public/openapi-3.1.json").await.json();
    let id = server.submit(&server.anon()).await;
    let user = server.anon().post("/api/v1/users/upsert", r#"{"email":"ada@example.org"}"#).await;
    assert_eq!(user.status, 201);
    for (path, asked) in [
        ("/", "/".to_owned()),
        ("/health", "/health".to_owned()),
        ("/public/metrics", "/public/metrics".to_owned()),
        ("/api/v1/status/{job_id}", format!("/api/v1/status/{id}")),
        ("/api/v1/jobs", "/api/v1/jobs".to_owned()),
        ("/api/v1/jobs/{job_id}", format!("/api/v1/jobs/{id}")),
        ("/api/v1/workflows", "/api/v1/workflows".to_owned()),
        ("/api/v1/ops/backups", "/api/v1/ops/backups".to_owned()),
        ("/api/v1/users", "/api/v1/users?email=ada@example.org".to_owned()),
        ("/api/v1/budgets", "/api/v1/budgets".to_owned()),
        ("/api/v1/ai/calls", "/api/v1/ai/calls".to_owned()),
        ("/api/v1/prices", "/api/v1/prices?limit=1".to_owned()),
    ] {
        let reference = &document["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            ["$ref"];
        let schema = document.pointer(reference.as_str().unwrap().trim_start_matches('#')).unwrap();
        let described: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
        let reply = server.anon().get(&asked).await.json();
        let sent: BTreeSet<&String> = reply.as_object().unwrap().keys().collect();
        assert_eq!(sent, described, "{path}");
    }
}

#[tokio::test]
async fn every_route_but_the_public_ones_wants_a_key_before_anything_else() {
    let server = TestServer::start(&[("API_KEYS", "k"), ("PUBLIC_USER_READS", "false")]).await;
    let document = server.anon().get("/public/openapi-3.1.json").await.json();
    let id = server.submit(&server.key("k")).await;

    let mut guarded = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let is_public =
            matches!(path.as_str(), "/" | "/health" | "/api/v1/status/{job_id}" | "/billing/webhook")
                || path.starts_with("/public/");
        for method in item.as_object().unwrap().keys().map(|method| method.to_uppercase()) {
            for name in [id.as_str(), "nobody", "%00"] {
                let asked = path
                    .replace("{job_id}", name)
                    .replace("{name}", name)
                    .replace("{user_id}", name)
                    .replace("{key_id}", name)
                    .replace("{budget_id}", name)
                    .replace("{call_id}", name)
                    .replace("{book_id}", name);
                for client in [server.anon(), server.key("wrong"), server.key("")] {
                    let at = format!("{method} {asked}");
                    let reply = client.send(&method, &asked, &[], "").await;
                    // The SDKs of vendors know a missing key by another status.
                    let refusal = if path.starts_with("/v1/") { 401 } else { 403 };
                    assert_eq!(reply.status == refusal, !is_public, "{at}: {}", reply.status);
                    if !is_public && refusal == 401 {
                        assert_eq!(reply.json()["error"]["code"], "invalid_api_key", "{at}");
                    } else if !is_public {
                        assert_eq!(reply.text(), "{\"error\":\"forbidden\"}\n", "{at}");
                    }
                    if !is_public {
                        guarded += 1;
                    }
                    if method == "GET" {
                        let head = client.send("HEAD", &asked, &[], "").await;
                        assert_eq!(head.status, reply.status, "HEAD {asked}");
                    }
                }
            }
        }
    }
    assert!(guarded > 9 * 10, "{guarded}");
    let untouched = server.key("k").get(&format!("/api/v1/status/{id}")).await.json();
    assert_eq!(untouched["status"], "queued");
}

/// What is sent when the Content-Type is wrong is what the document promises for 400.
#[tokio::test]
async fn a_wrong_content_type_is_answered_in_the_described_shape() {
    let server = TestServer::start(&[]).await;
    let document = server.anon().get("/public/openapi-3.1.json").await.json();
    let mut asked = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            // Completing a job and the webhook look at no Content-Type, as in the first version.
            if operation.get("requestBody").is_none() || path.contains("_dev") || path.contains("webhook") {
                continue;
            }
            asked += 1;
            let schema = &operation["responses"]["400"]["content"]["application/json"]["schema"];
            let choices = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
            let headers = [("Content-Type", "application/x-www-form-urlencoded")];
            let target = path
                .replace("connect/{name}", "connect/slack")
                .replace("{name}", "x")
                .replace("{user_id}", "x")
                .replace("{key_id}", "x")
                .replace("{budget_id}", "x")
                .replace("{call_id}", "x")
                .replace("{book_id}", "x");
            let reply = server.anon().send(&method.to_uppercase(), &target, &headers, "a=b").await;
            assert_eq!(reply.status, 400, "{path}");
            let sent = reply.json();
            let fits = choices.iter().any(|choice| {
                let described =
                    &document.pointer(choice["$ref"].as_str().unwrap().trim_start_matches('#')).unwrap();
                let known = described["properties"].as_object().unwrap();
                let required = described["required"].as_array().unwrap();
                sent.as_object().unwrap().keys().all(|member| known.contains_key(member))
                    && required.iter().all(|member| sent.get(member.as_str().unwrap()).is_some())
            });
            assert!(fits, "{method} {path}: {sent}");
        }
    }
    assert_eq!(asked, 21);
}
