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
        let asked =
            path.replace("{job_id}", &"0".repeat(32)).replace("{name}", "x").replace("{user_id}", "x");
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

/// The other way round: the router is filled from the list that the document is made of, and in no other way.
#[test]
fn no_route_bypasses_the_document() {
    let router = include_str!("../../src/http/router.rs");

    for bypass in [".route(", ".route_service(", ".nest(", ".nest_service(", ".merge(", "fallback_service("] {
        assert!(
            !router.contains(bypass),
            "router.rs must not call {bypass}: the document would miss the route"
        );
    }
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
        ("/api/v1/users", "/api/v1/users?email=ada@example.org".to_owned()),
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
