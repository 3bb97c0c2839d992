//! Many connections, slow ones, and the end of the server.

use std::time::Duration;

use levqor_core::audit::Actor;
use levqor_testkit::wait_until;

use crate::client::{Connection, LIMIT};
use crate::server::TestServer;

#[tokio::test]
async fn a_thousand_slow_clients_do_not_hurt_the_others() {
    let server = TestServer::start(&[]).await;
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut connection = Connection::open(server.address).await;
        connection.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").await;
        slow.push(connection);
    }

    let before = tokio::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(server.anon().get("/health").await.status, 200);
    }

    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
    let reply = slow[0].reply().await;
    assert_eq!((reply.status, reply.error().as_str()), (408, "request_timeout"));
}

#[tokio::test]
async fn at_the_cap_idle_connections_make_room() {
    let server = TestServer::start(&[("MAX_CONNECTIONS", "8")]).await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(server.address).await;
        connection.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(connection.reply().await.status, 200);
        idle.push(connection);
    }

    assert_eq!(server.anon().get("/health").await.status, 200, "the newcomer is served");
    assert!(idle[0].is_closed().await, "the one that waited longest made room");
}

#[tokio::test]
async fn at_the_cap_with_all_at_work_the_newcomer_is_told() {
    let server = TestServer::start(&[("MAX_CONNECTIONS", "8")]).await;
    let id = server.submit(&server.anon()).await;
    let mut busy = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(server.address).await;
        let request = format!("GET /api/v1/status/{id}?wait=60s HTTP/1.1\r\nHost: a\r\n\r\n");
        connection.write(request.as_bytes()).await;
        busy.push(connection);
    }

    wait_until(LIMIT, async || {
        let mut connection = Connection::open(server.address).await;
        connection.write(b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let reply = connection.reply().await;
        assert!(reply.status == 200 || reply.header("x-frame-options") == Some("DENY"));
        reply.status == 503 && reply.error() == "unavailable"
    })
    .await;
    // The last place may be taken by one of these looks, which then waits for nobody.
    server.engine.complete_job(id.parse().unwrap(), "1".to_owned(), &Actor::system()).await.unwrap();
    assert_eq!(busy[0].reply().await.json()["status"], "succeeded");
}

#[tokio::test]
async fn a_graceful_stop_finishes_what_is_in_flight_and_closes_the_idle() {
    let mut server = TestServer::start(&[]).await;
    let id = server.submit(&server.anon()).await;
    let mut idle = Connection::open(server.address).await;
    idle.write(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(idle.reply().await.status, 200);
    let mut waiting = Connection::open(server.address).await;
    waiting.write(format!("GET /api/v1/status/{id}?wait=60s HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes()).await;
    let mut half = Connection::open(server.address).await;
    half.write(b"GET / HTTP/1.1\r\nHo").await;
    let address = server.address;
    wait_until(LIMIT, async || {
        // Once all three are accepted, their count shows.
        server.anon().get("/metrics").await.text().contains("levqor_http_connections 4\n")
    })
    .await;

    server.stop();

    assert!(idle.is_closed().await);
    assert!(half.is_closed().await, "half a head is no request");
    wait_until(LIMIT, async || tokio::net::TcpStream::connect(address).await.is_err()).await;
    server.engine.complete_job(id.parse().unwrap(), "1".to_owned(), &Actor::system()).await.unwrap();
    assert_eq!(waiting.reply().await.json()["status"], "succeeded");
    tokio::time::timeout(LIMIT, server.running.take().unwrap()).await.unwrap().unwrap();
}
