//! Peers that hang, cut, flood or talk garbage: every call ends, in time and in memory, with the right word.

use std::time::Instant;

use levqor_connectors::net::{CallError, Phase, Request, Timeouts};
use levqor_testkit::{Act, Script};

use crate::{LIMIT, get, local};

const PATIENT: Timeouts = Timeouts { connect_ms: 20_000, first_byte_ms: 20_000, total_ms: 20_000 };

async fn fail(server: &Script, timeouts: Timeouts) -> CallError {
    let url = server.url("/secret-path?key=secret");
    let error = local().send(Request { timeouts, ..get(url) }).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&server.address().to_string()) && !text.contains("secret"), "{text}");
    error
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up_after_the_first_byte_limit() {
    let half_a_head = Act::send("HTTP/1.1 200 OK\r\nx-a: ");
    for acts in
        [vec![Act::Hang], vec![Act::ReadRequest, Act::Hang], vec![Act::ReadRequest, half_a_head, Act::Hang]]
    {
        let server = Script::start(acts).await;
        let error = fail(&server, Timeouts { first_byte_ms: 100, ..PATIENT }).await;

        let host = server.address().to_string();
        assert_eq!(error, CallError::Timeout { host, phase: Phase::FirstByte, limit_ms: 100 });
        assert!(error.is_retryable());
    }
}

#[tokio::test]
async fn an_answer_that_never_ends_is_given_up_after_the_whole_limit() {
    let head = Act::send("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
    let server = Script::start(vec![Act::ReadRequest, head, Act::Hang]).await;

    let error = fail(&server, Timeouts { total_ms: 200, ..PATIENT }).await;

    let host = server.address().to_string();
    assert_eq!(error, CallError::Timeout { host, phase: Phase::Total, limit_ms: 200 });
}

#[tokio::test]
async fn interim_answers_without_end_do_not_hold_a_call_up() {
    let forever = Act::SendForever(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".to_vec());
    let server = Script::start(vec![Act::ReadRequest, forever]).await;

    let error = fail(&server, Timeouts { first_byte_ms: 200, ..PATIENT }).await;

    assert_eq!(error.code(), "timeout");
}

#[tokio::test]
async fn a_cut_answer_is_an_error_and_not_a_short_one() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let server = Script::answer(answer).await;
        let error = fail(&server, PATIENT).await;
        assert_eq!((error.code(), error.is_retryable()), ("connection_broken", true), "{answer:?}");
        assert_eq!(server.accepted(), 1, "a call was repeated behind the caller's back");
    }
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    for answer in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\x16\x03\x01\x00\x00garbage",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"<html>an old server</html>",
    ] {
        let server = Script::answer(answer).await;
        let error = fail(&server, PATIENT).await;
        assert_eq!(error.code(), "connection_broken", "{:?}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn a_huge_answer_is_refused_when_announced_and_when_it_grows() {
    let announced = Script::answer("HTTP/1.1 200 OK\r\ncontent-length: 2000000\r\n\r\n").await;
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 0x10000], b"\r\n".to_vec()].concat();
    let growing = Script::start(vec![Act::ReadRequest, Act::Send(chunked), Act::SendForever(chunk)]).await;

    for server in [announced, growing] {
        let error = fail(&server, PATIENT).await;
        let host = server.address().to_string();
        assert_eq!(error, CallError::TooLarge { host, limit_bytes: 1 << 20 });
        assert!(!error.is_retryable());
        levqor_testkit::wait_until(LIMIT, || async { server.closed() == 1 }).await;
    }
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    for (limit, fits) in [(5, true), (4, false), (0, false)] {
        for answer in [
            "content-length: 5\r\n\r\nhello",
            "transfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        ] {
            let server = Script::answer(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
            let result = local().send(Request { max_response_bytes: limit, ..get(server.url("/")) }).await;
            assert_eq!(result.is_ok(), fits, "{limit} {answer:?}");
        }
    }
}

#[tokio::test]
async fn headers_without_end_are_cut_off_long_before_the_time_limit() {
    let start = Act::send("HTTP/1.1 200 OK\r\n");
    let many = Act::SendForever(b"x-a: b\r\n".to_vec());
    let long = Act::SendForever(vec![b'a'; 4096]);
    let started = Instant::now();

    for acts in
        [vec![Act::ReadRequest, start.clone(), many], vec![Act::ReadRequest, start, Act::send("x-a: "), long]]
    {
        let server = Script::start(acts).await;
        assert_eq!(fail(&server, PATIENT).await.code(), "connection_broken");
    }

    assert!(started.elapsed() < LIMIT / 2);
}

#[tokio::test]
async fn a_closed_port_is_told_apart_from_a_silent_server() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();

    let error = local().send(get(format!("http://{closed}/"))).await.unwrap_err();

    assert_eq!(error, CallError::Connect { host: closed.to_string() });
}
