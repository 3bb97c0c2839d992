//! Clients that send or read too slowly, over real sockets and with the times that are in force.

use std::time::{Duration, Instant};

use levqor_testkit::wait_until;

use crate::client::Connection;
use crate::server::TestServer;

/// Between two pieces of a body, as shipped.
const GAP: Duration = Duration::from_secs(10);
/// How long a client may read nothing, as shipped.
const STALL: Duration = Duration::from_secs(15);
/// What a busy machine may add.
const MARGIN: Duration = Duration::from_secs(15);

const HEAD: &str =
    "POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_stop_are_refused_after_ten_seconds_and_hurt_nobody() {
    let server = TestServer::start(&[]).await;
    let began = Instant::now();
    let mut stuck = Vec::new();
    for n in 0..200 {
        let mut connection = Connection::open(server.address).await;
        // With a length and in chunks, with a part of the body and with none.
        let head = if n % 2 == 0 {
            HEAD.to_owned()
        } else {
            HEAD.replace("Content-Length: 29", "Transfer-Encoding: chunked") + "1d\r\n"
        };
        let part = if n % 4 < 2 { r#"{"workflow":"w""# } else { "" };
        connection.write(format!("{head}{part}").as_bytes()).await;
        stuck.push(connection);
    }

    let others = Instant::now();
    for _ in 0..20 {
        server.submit(&server.anon()).await;
    }
    assert!(others.elapsed() < Duration::from_secs(5), "{:?}", others.elapsed());

    for connection in &mut stuck {
        let reply = connection.reply_within(GAP + MARGIN).await;
        assert_eq!((reply.status, reply.error().as_str()), (408, "request_timeout"), "{reply:?}");
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("connection"), Some("close"), "{reply:?}");
    }
    let took = began.elapsed();
    assert!(took >= GAP - Duration::from_millis(100) && took < GAP + MARGIN, "{took:?}");
    assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_read_nothing_lose_their_connection_and_hurt_nobody() {
    let server = TestServer::start(&[]).await;
    let page = server.anon().get("/public/openapi.json").await.body.len();
    // More than the buffers of both sides hold.
    let asked = (64 << 20) / page;
    let began = Instant::now();
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut connection = Connection::open(server.address).await;
        connection
            .write("GET /public/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat(asked).as_bytes())
            .await;
        deaf.push(connection);
    }
    // The one that asks is open too.
    let open = async |count: usize| {
        let figures = server.anon().get("/metrics").await.text();
        figures.contains(&format!("levqor_http_connections {}\n", count + 1))
    };
    wait_until(MARGIN, async || open(10).await).await;
    let id = server.submit(&server.anon()).await;
    assert_eq!(server.anon().get(&format!("/api/v1/status/{id}")).await.status, 200);

    wait_until(STALL + MARGIN, async || open(0).await).await;

    assert!(began.elapsed() >= STALL, "{:?}: they are given their time", began.elapsed());
}
