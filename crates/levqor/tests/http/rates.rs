//! Rate limits, as their clients see them.

use levqor_store::Location;
use levqor_testkit::{Freezer, wait_until};

use crate::server::{TestServer, check};

const JOB: &str = r#"{"workflow":"w","payload":{}}"#;

#[tokio::test]
async fn writes_are_counted_and_the_limit_tells_when_to_come_back() {
    let server = TestServer::start(&[("API_KEYS", "k"), ("RATE_BURST", "3")]).await;
    let key = server.key("k");

    for remaining in ["2", "1", "0"] {
        let reply = key.post("/api/v1/intake", JOB).await;
        assert_eq!(reply.status, 202);
        assert_eq!(reply.header("x-ratelimit-limit"), Some("3"));
        assert_eq!(reply.header("x-ratelimit-remaining"), Some(remaining));
    }
    let refused = key.post("/api/v1/intake", "{").await;
    check("429 before the body is looked at", &refused, 429, "{\"error\":\"rate_limited\"}\n");
    assert_eq!(refused.header("x-ratelimit-limit"), Some("3"));
    assert_eq!(refused.header("x-ratelimit-remaining"), Some("0"));
    let wait: i64 = refused.header("retry-after").unwrap().parse().unwrap();
    let reset: i64 = refused.header("x-ratelimit-reset").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    let now = server.anon().get("/health").await.json()["ts"].as_i64().unwrap();
    assert!((now..=now + 61).contains(&reset), "{reset} {now}");

    check(
        "a wrong key is told first",
        &server.key("x").post("/api/v1/intake", JOB).await,
        403,
        "{\"error\":\"forbidden\"}\n",
    );
    assert_eq!(key.get("/api/v1/jobs").await.status, 200, "reads are not counted");
    assert_eq!(key.send("OPTIONS", "/api/v1/intake", &[], "").await.status, 200);
    assert_eq!(key.post("/api/v1/_dev/complete/x", "").await.status, 429, "one bucket for all writes");
}

#[tokio::test]
async fn the_limit_of_all_shows_the_clients_own() {
    let server = TestServer::start(&[("RATE_BURST", "50"), ("RATE_GLOBAL", "2")]).await;

    let statuses = [
        server.anon().post("/api/v1/intake", JOB).await.status,
        server.anon().post("/api/v1/intake", JOB).await.status,
    ];
    assert_eq!(statuses, [202, 202]);
    let refused = server.anon().post("/api/v1/intake", JOB).await;
    assert_eq!((refused.status, refused.header("x-ratelimit-limit")), (429, Some("50")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_on_one_postgresql_share_both_limits_and_go_by_their_own_while_it_is_away() {
    let (location, relay) = behind_a_relay().await;
    let vars = [("RATE_BURST", "6"), ("RATE_GLOBAL", "9"), ("TRUSTED_PROXIES", "127.0.0.0/8")];
    let nodes =
        [TestServer::start_on(location.clone(), &vars).await, TestServer::start_on(location, &vars).await];
    let post = async |node: usize, client: &str| {
        let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", client)];
        nodes[node].anon().send("POST", "/api/v1/intake", &headers, JOB).await
    };

    let mut taken = 0;
    for n in 0..10 {
        let reply = post(n % 2, "1.1.1.1").await;
        taken += usize::from(reply.status == 202);
        match reply.status {
            202 => assert_eq!(reply.header("x-ratelimit-remaining"), Some(&*(6 - taken).to_string())),
            _ => assert!((1..=60).contains(&reply.header("retry-after").unwrap().parse::<i64>().unwrap())),
        }
    }
    assert_eq!(taken, 6, "one window for both nodes");
    let mut taken = 0;
    for n in 0..10 {
        taken += usize::from(post(n % 2, &format!("2.2.2.{n}")).await.status == 202);
    }
    assert_eq!(taken, 3, "and one for all clients");

    // What was refused is refused without the database; what would be let through learns that it is away.
    relay.freeze();
    assert_eq!([post(0, "1.1.1.1").await.status, post(1, "1.1.1.1").await.status], [429, 429]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_hangs_is_answered_with_503_within_3_s_and_comes_back() {
    let (location, relay) = behind_a_relay().await;
    let server = TestServer::start_on(location, &[("RATE_BURST", "900")]).await;
    let id = server.submit(&server.anon()).await;
    let status = format!("/api/v1/status/{id}");

    relay.freeze();
    let asked = std::time::Instant::now();
    let (anon, other) = (server.anon(), server.anon());
    let (write, read) = tokio::join!(anon.post("/api/v1/intake", JOB), other.get(&status));
    let took = asked.elapsed();
    for reply in [&write, &read] {
        assert_eq!(reply.status, 503, "{reply:?}");
        assert!(reply.header("retry-after").is_some(), "{reply:?}");
    }
    assert!(took < std::time::Duration::from_millis(3_300), "{took:?}");

    relay.thaw();
    let limit = std::time::Duration::from_secs(20);
    wait_until(limit, async || server.anon().get(&status).await.status == 200).await;
    wait_until(limit, async || server.anon().post("/api/v1/intake", JOB).await.status == 202).await;
}

async fn behind_a_relay() -> (Location, Freezer) {
    let mut url = url::Url::parse(&levqor_testkit::postgres_url().await).unwrap();
    let server = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432));
    let relay = Freezer::start(server.parse().unwrap()).await;
    url.set_port(Some(relay.address().port())).unwrap();
    (Location::Postgres(url.into()), relay)
}

#[tokio::test]
async fn guessing_keys_is_throttled_and_costs_the_right_key_nothing() {
    let server = TestServer::start(&[("API_KEYS", "k"), ("RATE_BURST", "3")]).await;

    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(server.key("guess").get("/api/v1/jobs").await.status);
    }
    assert_eq!(statuses, [403, 403, 403, 429, 429]);
    assert_eq!(server.key("k").post("/api/v1/intake", JOB).await.status, 202);
}

#[tokio::test]
async fn forwarded_addresses_count_only_from_trusted_proxies() {
    let post = async |server: &TestServer, forwarded: &str| {
        let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", forwarded)];
        server.anon().send("POST", "/api/v1/intake", &headers, JOB).await.status
    };
    let open = TestServer::start(&[("RATE_BURST", "1")]).await;
    assert_eq!(
        [post(&open, "1.1.1.1").await, post(&open, "2.2.2.2").await],
        [202, 429],
        "made-up addresses do not help"
    );

    let behind = TestServer::start(&[("RATE_BURST", "1"), ("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    assert_eq!([post(&behind, "1.1.1.1").await, post(&behind, "2.2.2.2").await], [202, 202]);
    assert_eq!(post(&behind, "9.9.9.9, 1.1.1.1").await, 429);
    assert_eq!(
        [post(&behind, "2001:db8::1").await, post(&behind, "2001:db8::2").await],
        [202, 429],
        "one /64 is one client"
    );
    assert_eq!(post(&behind, "2001:db8:0:1::1").await, 202);
}
