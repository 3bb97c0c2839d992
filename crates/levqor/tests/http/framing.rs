//! Requests that other servers read in two ways.

use crate::client::Connection;
use crate::server::TestServer;

#[tokio::test]
async fn hostile_heads_are_answered_and_the_connection_closes() {
    let server = TestServer::start(&[]).await;
    let cases: &[(&str, u16)] = &[
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/../b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (
            "POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        ("POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Length: 0x10\r\n\r\n", 400),
        ("POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400),
        ("GET /\r\n\r\n", 400),
        ("GET /<> HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ("\u{16}\u{3}\u{1}\u{2}\n", 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ];
    for (request, status) in cases {
        let mut connection = Connection::open(server.address).await;
        connection.write(request.as_bytes()).await;

        let reply = connection.reply().await;
        assert_eq!(reply.status, *status, "{request:?}");
        assert!(!reply.json()["message"].as_str().unwrap().is_empty(), "{request:?}");
        assert_eq!(reply.header("x-frame-options"), Some("DENY"), "{request:?}");
        assert_eq!(reply.header("connection"), Some("close"), "{request:?}");
        connection.close_write().await;
        assert!(connection.is_closed().await, "{request:?}");
    }
    assert_eq!(server.anon().get("/health").await.status, 200);
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let server = TestServer::start(&[]).await;
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(200));
    for request in [long, many] {
        let mut connection = Connection::open(server.address).await;
        connection.write(request.as_bytes()).await;
        assert_eq!(connection.reply().await.status, 431);
    }
    let fits = format!("GET /health HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(30_000));
    let mut connection = Connection::open(server.address).await;
    connection.write(fits.as_bytes()).await;
    assert_eq!(connection.reply().await.status, 200);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_up_to_the_first_bad_one() {
    let server = TestServer::start(&[]).await;
    let mut connection = Connection::open(server.address).await;

    let good = "GET /health HTTP/1.1\r\nHost: a\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n";
    let smuggled =
        "GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n";
    connection.write(format!("{good}{smuggled}").as_bytes()).await;

    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(connection.reply().await.status);
    }
    assert_eq!(statuses, [200, 404, 400]);
    connection.close_write().await;
    assert!(connection.is_closed().await, "what follows a bad request is not served");
}

#[tokio::test]
async fn requests_may_come_in_any_pieces() {
    let server = TestServer::start(&[]).await;
    let mut connection = Connection::open(server.address).await;
    let body = r#"{"workflow":"w","payload":{}}"#;
    let request = format!(
        "POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for byte in request.as_bytes() {
        connection.write(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(connection.reply().await.status, 202);
}

#[tokio::test]
async fn http_1_0_needs_no_host_and_a_half_closed_client_gets_its_answer() {
    let server = TestServer::start(&[]).await;
    let mut connection = Connection::open(server.address).await;

    connection.write(b"GET /health HTTP/1.0\r\n\r\n").await;
    connection.close_write().await;

    assert_eq!(connection.reply().await.status, 200);
    assert!(connection.is_closed().await);
}

/// A small generator of its own: the same bytes in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[tokio::test]
async fn garbled_requests_are_answered_with_all_headers_or_not_at_all() {
    let server = TestServer::start(&[]).await;
    let valid = b"POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n\
        {\"workflow\":\"w\",\"payload\":{}}POST /api/v1/intake HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;a=b\r\nhello\r\n0\r\n\r\nGET http://a/health?x=%20 HTTP/1.1\r\nHost: a\r\n\r\n";
    let bytes = b"\0\r\n \t:;,/?#@[]<>\"%AaZz09-+\x7f\x80\xff";
    let mut random = Random(7);
    for round in 0..600 {
        let mut garbled = valid.to_vec();
        for _ in 0..=random.below(3) {
            let at = random.below(garbled.len());
            match random.below(4) {
                0 => garbled[at] = bytes[random.below(bytes.len())],
                1 => garbled.insert(at, bytes[random.below(bytes.len())]),
                2 => drop(garbled.remove(at)),
                _ => garbled.truncate(at.max(1)),
            }
        }
        let mut connection = Connection::open(server.address).await;
        connection.write(&garbled).await;
        connection.close_write().await;

        let answers = String::from_utf8(connection.all().await).unwrap();
        let count = answers.lines().filter(|line| line.starts_with("HTTP/1.1 ")).count();
        let shown = String::from_utf8_lossy(&garbled);
        assert_eq!(
            answers.matches("x-frame-options: DENY\r\n").count(),
            count,
            "round {round}: {shown:?} {answers}"
        );
        assert!(!answers.contains("HTTP/1.1 500"), "round {round}: {shown:?}");
    }
    assert_eq!(server.anon().get("/health").await.status, 200);
    assert!(server.anon().get("/metrics").await.text().contains("levqor_http_panics_total 0\n"));
}
