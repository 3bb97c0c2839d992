//! What may be called. The table of hostile URLs stands with the policy in core; here: that the client asks it, every time,
//! before a byte leaves.

use levqor_connectors::net::{CallError, Request};
use levqor_testkit::Script;

use crate::{client, get, local};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn loopback_in_every_spelling_is_refused_unless_it_is_allowed() {
    let server = Script::answer(OK).await;
    let port = server.address().port();
    let spellings = [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "2130706433",
        "0177.0.0.1",
        "0x7f.1",
        "0x7f000001",
        "127.1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ];
    for host in spellings {
        let url = format!("http://{host}:{port}/path?key=secret");

        let error = client("").send(get(&url)).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("address_refused", false), "{host}: {error}");
        assert!(
            error.to_string().contains("OUTBOUND_ALLOW") && !error.to_string().contains("secret"),
            "{error}"
        );
        assert_eq!(server.accepted(), 0, "{host}");
    }
    // Not every machine can look the dotted form up.
    for host in spellings.into_iter().filter(|host| *host != "localhost.") {
        let response = local().send(get(format!("http://{host}:{port}/"))).await;
        assert_eq!(response.unwrap().body, "ok", "{host}");
    }
}

#[tokio::test]
async fn a_network_that_is_allowed_opens_no_other() {
    let server = Script::answer(OK).await;
    let port = server.address().port();

    for (allow, url) in [
        ("10.0.0.0/8", format!("http://127.0.0.1:{port}/")),
        ("127.0.0.2", format!("http://127.0.0.1:{port}/")),
        ("127.0.0.0/8", "http://169.254.169.254/latest/meta-data/".to_owned()),
        ("127.0.0.0/8", "http://[fd00:ec2::254]/latest/meta-data/".to_owned()),
        ("127.0.0.0/8", "http://0.0.0.0/".to_owned()),
    ] {
        let error = client(allow).send(get(&url)).await.unwrap_err();
        assert_eq!(error.code(), "address_refused", "{allow} {url}");
    }
    assert_eq!(server.accepted(), 0);
}

/// The URL passes, since localhost may mean ::1; what it resolves to decides.
#[tokio::test]
async fn a_name_is_judged_again_by_the_addresses_it_leads_to() {
    let server = Script::answer(OK).await;
    let url = format!("http://localhost:{}/", server.address().port());

    let error = client("::1").send(get(&url)).await.unwrap_err();

    // Where ::1 is an address of localhost it is dialled, and nobody listens there.
    assert!(matches!(error, CallError::Refused { .. } | CallError::Connect { .. }), "{error:?}");
    assert_eq!(server.accepted(), 0);
    assert_eq!(client("127.0.0.1").send(get(&url)).await.unwrap().body, "ok");
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_told_as_such() {
    let error = local().send(get("http://no-such-host.invalid/")).await.unwrap_err();

    assert_eq!(error, CallError::Dns { host: "no-such-host.invalid".to_owned() });
    assert_eq!(error.to_string(), "the name no-such-host.invalid cannot be resolved");
}

#[tokio::test]
async fn what_is_no_url_is_a_bad_request_and_is_not_repeated_in_the_message() {
    for url in [
        "",
        "secret",
        "ftp://secret/",
        "http://",
        "http://user:secret@127.0.0.1/",
        "http://a b/secret",
        "file:///secret",
    ] {
        let error = local().send(get(url)).await.unwrap_err();
        assert_eq!((error.code(), error.is_retryable()), ("bad_request", false), "{url:?}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    let error = local().send(get(format!("http://127.0.0.1:1/{}", "a".repeat(70_000)))).await.unwrap_err();
    assert_eq!(error.code(), "bad_request");
    let connect = Request { method: http::Method::CONNECT, ..get("http://127.0.0.1:1/") };
    assert_eq!(local().send(connect).await.unwrap_err().code(), "bad_request");
}
