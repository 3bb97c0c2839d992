//! Bodies that are too large, cut short or chunked.

use crate::client::Connection;
use crate::server::TestServer;

#[tokio::test]
async fn exactly_the_limit_is_accepted_and_one_more_is_not() {
    let server = TestServer::start(&[("MAX_CONTENT_LENGTH", "1000")]).await;
    let body = |length: usize| {
        let frame = r#"{"workflow":"w","payload":{"a":""}}"#.len();
        format!(r#"{{"workflow":"w","payload":{{"a":"{}"}}}}"#, "x".repeat(length - frame))
    };

    assert_eq!(server.anon().post("/api/v1/intake", &body(1000)).await.status, 202);
    let reply = server.anon().post("/api/v1/intake", &body(1001)).await;
    assert_eq!((reply.status, reply.error().as_str()), (413, "body_too_large"));
    assert_eq!(server.anon().send("GET", "/health", &[], &body(5000)).await.status, 200, "ignored on a GET");
}

#[tokio::test]
async fn a_body_that_announces_too_much_is_refused_before_it_is_sent() {
    let server = TestServer::start(&[]).await;
    let mut connection = Connection::open(server.address).await;

    connection.write(b"POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n").await;

    let reply = connection.reply().await;
    assert_eq!(reply.status, 413);
    assert_eq!(reply.header("connection"), Some("close"));
    connection.close_write().await;
    assert!(connection.is_closed().await);
}

#[tokio::test]
async fn a_client_that_sends_its_large_body_first_still_gets_the_answer() {
    let server = TestServer::start(&[]).await;
    let body = "x".repeat(8 << 20);

    let reply = server.anon().post("/api/v1/intake", &body).await;

    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn a_chunked_body_is_refused_where_it_passes_the_limit() {
    let server = TestServer::start(&[("MAX_CONTENT_LENGTH", "1000")]).await;
    let mut connection = Connection::open(server.address).await;

    connection
        .write(b"POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..3 {
        connection.write(format!("200\r\n{}\r\n", " ".repeat(512)).as_bytes()).await;
    }

    assert_eq!(connection.reply().await.status, 413, "though the body has not ended");
}

#[tokio::test]
async fn a_chunked_body_is_read_whole() {
    let server = TestServer::start(&[]).await;
    let mut connection = Connection::open(server.address).await;

    connection
        .write(b"POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for piece in [r#"{"workflow":"#, r#""w","pay"#, r#"load":{}}"#] {
        connection.write(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await;
    }
    connection.write(b"0\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n\r\n").await;

    assert_eq!(connection.reply().await.status, 202);
    assert_eq!(connection.reply().await.status, 200, "the connection goes on");
}

#[tokio::test]
async fn a_body_that_ends_early_or_has_bad_chunks_is_a_bad_request() {
    let server = TestServer::start(&[]).await;
    let head = "POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n";
    for (framing, body) in [
        ("Content-Length: 100", r#"{"workflow":"w","payload":{}}"#),
        ("Transfer-Encoding: chunked", "1d\r\n{\"workflow\":\"w\",\"payload\":{}}\r\n"),
        ("Transfer-Encoding: chunked", "zz\r\n"),
        ("Transfer-Encoding: chunked", "1d \r\n{\"workflow\":\"w\",\"payload\":{}}\r\n0\r\n\r\n"),
    ] {
        let mut connection = Connection::open(server.address).await;
        connection.write(format!("{head}{framing}\r\n\r\n{body}").as_bytes()).await;
        connection.close_write().await;

        assert_eq!(connection.reply().await.status, 400, "{framing} {body:?}");
        assert!(connection.is_closed().await, "{framing} {body:?}");
    }
    assert_eq!(server.anon().get("/public/metrics").await.json()["jobs_today"], 0);
}
