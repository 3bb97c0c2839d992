//! Well-behaved peers: what is sent, and what is handed back.

use bytes::Bytes;
use http::{Method, StatusCode};
use levqor_connectors::net::Request;
use levqor_testkit::{Act, Receiver, Script, wait_until};

use crate::{LIMIT, get, local};

#[tokio::test]
async fn a_request_arrives_as_written_and_the_answer_comes_back_whole() {
    let server = Receiver::start().await;
    let answer = levqor_testkit::Answer::status(418)
        .header("x-one", "1")
        .header("set-cookie", "a")
        .header("set-cookie", "b");
    server.script("/path", [answer.body("short and stout")]);
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());

    let request = Request {
        method: Method::POST,
        headers: vec![header("X-Token", "s3cret"), header("x-twice", "a"), header("x-twice", "b")],
        body: Bytes::from_static(b"{\"n\":1}"),
        ..get(server.url("/path?q=%20a"))
    };
    let response = local().send(request).await.unwrap();

    let received = &server.received()[0];
    assert_eq!((received.method.as_str(), received.query.as_str()), ("POST", "q=%20a"));
    assert_eq!(received.body, "{\"n\":1}");
    assert_eq!(received.header("content-length"), "7");
    assert_eq!(received.header("user-agent"), "levqor-test/1");
    assert_eq!(received.header("x-token"), "s3cret");
    assert_eq!(received.headers.get_all("x-twice").iter().count(), 2);
    assert_eq!(received.header("accept-encoding"), "");
    assert_eq!(response.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(response.body, "short and stout");
    assert_eq!(response.headers["x-one"], "1");
    assert_eq!(response.headers.get_all("set-cookie").iter().count(), 2);
    assert!(!format!("{response:?}").contains("stout"));
}

#[tokio::test]
async fn an_agent_of_the_callers_own_is_sent_instead_of_ours() {
    let server = Receiver::start().await;

    let headers = vec![("User-Agent".to_owned(), "mine".to_owned())];
    local().send(Request { headers, ..get(server.url("/")) }).await.unwrap();

    let agents: Vec<_> = server.received()[0].headers.get_all("user-agent").iter().cloned().collect();
    assert_eq!(agents, ["mine"]);
}

#[tokio::test]
async fn a_chunked_answer_is_put_together() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n";
    let server = Script::answer(answer).await;

    assert_eq!(local().send(get(server.url("/"))).await.unwrap().body, "hello world");
}

#[tokio::test]
async fn an_answer_without_length_ends_with_the_connection() {
    let server = Script::answer("HTTP/1.1 200 OK\r\n\r\nall of it").await;

    assert_eq!(local().send(get(server.url("/"))).await.unwrap().body, "all of it");
}

#[tokio::test]
async fn the_size_of_an_answer_to_head_is_not_its_announced_length() {
    let server = Script::answer("HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n").await;

    let response = local().send(Request { method: Method::HEAD, ..get(server.url("/")) }).await.unwrap();

    assert_eq!((response.status, response.body.len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_redirect_is_handed_back_and_nobody_goes_there() {
    let elsewhere = Script::answer("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    for target in
        ["http://169.254.169.254/latest/meta-data/".to_owned(), elsewhere.url("/"), "/again".to_owned()]
    {
        for status in [301, 302, 303, 307, 308] {
            let head = format!("HTTP/1.1 {status} Moved\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
            let server = Script::answer(head).await;

            let response = local().send(get(server.url("/"))).await.unwrap();

            assert_eq!(response.status.as_u16(), status);
            assert_eq!(response.headers["location"], target.as_str());
            assert_eq!((server.requests().len(), elsewhere.accepted()), (1, 0));
        }
    }
}

#[tokio::test]
async fn a_compressed_answer_nobody_asked_for_is_not_unpacked() {
    // A gzip header, and then whatever: it would be an error if it were unpacked.
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 12\r\n\r\n".to_vec();
    let packed = *b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff\xff";
    answer.extend_from_slice(&packed);
    let server = Script::answer(answer).await;

    let response = local().send(get(server.url("/"))).await.unwrap();

    assert_eq!(response.body, packed.as_slice());
    assert_eq!(response.headers["content-encoding"], "gzip");
}

#[tokio::test]
async fn a_connection_is_used_again_by_every_clone() {
    let answer = Act::send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let server = Script::start(vec![Act::ReadRequest, answer, Act::Again]).await;
    let first = local();
    let second = first.clone();

    first.send(get(server.url("/1"))).await.unwrap();
    // The connection returns to the pool in a task of its own, a moment after its answer was read.
    wait_until(LIMIT, || async {
        second.send(get(server.url("/2"))).await.unwrap();
        server.requests().len() > server.accepted()
    })
    .await;
}

#[tokio::test]
async fn a_dropped_call_closes_its_connection() {
    let server = Script::start(vec![Act::ReadRequest, Act::Hang]).await;
    let client = local();
    let url = server.url("/");
    let call = tokio::spawn(async move { client.send(get(url)).await });
    wait_until(LIMIT, || async { server.requests().len() == 1 }).await;

    call.abort();

    wait_until(LIMIT, || async { server.closed() == 1 }).await;
}
