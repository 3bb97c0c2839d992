//! TLS of our own: what a client sees, certificates that change, and peers that do not mean well.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use levqor_testkit::{TempDir, wait_until};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Connection, LIMIT};
use crate::server::TestServer;

/// A certificate for `localhost` and its key, as PEM.
struct Issued {
    certificate: String,
    key: String,
    der: rustls::pki_types::CertificateDer<'static>,
}

fn issue() -> Issued {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Issued {
        certificate: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        der: made.cert.der().clone(),
    }
}

/// The files that a server is told of.
struct Files(TempDir);

impl Files {
    fn with(issued: &Issued) -> Files {
        let files = Files(TempDir::new());
        files.put(issued);
        files
    }

    fn put(&self, issued: &Issued) {
        fs::write(self.0.join("cert.pem"), &issued.certificate).unwrap();
        fs::write(self.0.join("key.pem"), &issued.key).unwrap();
    }

    async fn serve(&self, more: &[(&str, &str)]) -> TestServer {
        let (certificate, key) = (self.0.join("cert.pem"), self.0.join("key.pem"));
        let files = [("TLS_CERT", certificate.to_str().unwrap()), ("TLS_KEY", key.to_str().unwrap())];
        TestServer::start(&[&files, more].concat()).await
    }
}

/// Greets the server as a client that trusts this certificate alone.
async fn greet(
    address: SocketAddr,
    trusted: &Issued,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    tokio::time::timeout(LIMIT, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.unwrap()
}

/// Asks, and reads the answer by its length; the connection stays open.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &str) -> (u16, String) {
    let talk = async {
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        let mut text = Vec::new();
        loop {
            assert!(stream.read_buf(&mut text).await.unwrap() > 0, "closed before an answer");
            let answer = String::from_utf8_lossy(&text);
            let Some((head, body)) = answer.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() == length.parse::<usize>().unwrap() {
                return (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned());
            }
        }
    };
    tokio::time::timeout(LIMIT, talk).await.unwrap()
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn requests_small_and_large_are_answered_over_one_connection() {
    let issued = issue();
    let server = Files::with(&issued).serve(&[]).await;

    let mut stream = greet(server.address, &issued, &["h2", "http/1.1"]).await.unwrap();

    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(ask(&mut stream, HEALTH).await.0, 200);
    let body = format!(r#"{{"workflow":"nobody-defined","payload":{{"text":"{}"}}}}"#, "x".repeat(150_000));
    let request = format!(
        "POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(ask(&mut stream, &request).await.0, 202);
    let large = ask(&mut stream, "GET /public/docs/reference HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(large.0 == 200 && large.1.len() > 64 << 10, "{}", large.1.len());
    assert_eq!(ask(&mut stream, HEALTH).await.0, 200);
}

#[tokio::test]
async fn a_client_that_speaks_no_protocol_of_ours_is_refused_in_the_handshake() {
    let issued = issue();
    let server = Files::with(&issued).serve(&[]).await;

    let error = greet(server.address, &issued, &["h2"]).await.expect_err("h2 is not spoken");

    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert!(greet(server.address, &issued, &[]).await.is_ok(), "who names none speaks HTTP/1.1");
}

#[tokio::test]
async fn a_new_pair_is_for_new_connections_and_open_ones_go_on() {
    let (first, second, third) = (issue(), issue(), issue());
    let files = Files::with(&first);
    let server = files.serve(&[]).await;
    let mut open = greet(server.address, &first, &[]).await.unwrap();

    files.put(&second);
    wait_until(LIMIT, async || greet(server.address, &second, &[]).await.is_ok()).await;
    assert_eq!(ask(&mut open, HEALTH).await.0, 200, "an open connection goes on");
    assert!(greet(server.address, &first, &[]).await.is_err(), "the old certificate is gone");

    // The certificate of another pair beside this key, until the key follows.
    fs::write(files.0.join("cert.pem"), &third.certificate).unwrap();
    assert!(greet(server.address, &second, &[]).await.is_ok());
    files.put(&third);
    wait_until(LIMIT, async || greet(server.address, &third, &[]).await.is_ok()).await;
    assert_eq!(ask(&mut open, HEALTH).await.0, 200);
}

#[tokio::test]
async fn plain_http_is_told_to_speak_tls() {
    let server = Files::with(&issue()).serve(&[]).await;
    let mut connection = Connection::open(server.address).await;

    connection.write(HEALTH.as_bytes()).await;

    let reply = connection.reply().await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "https_required"));
    assert_eq!(reply.header("connection"), Some("close"));
    assert!(reply.header("strict-transport-security").is_some());
    connection.close_write().await;
    assert!(connection.is_closed().await);
}

/// The first bytes of a greeting that never comes to its end.
const HALF_A_HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];

#[tokio::test]
async fn handshakes_that_lead_nowhere_end_in_time_and_hurt_nobody() {
    let issued = issue();
    let server = Files::with(&issued).serve(&[]).await;
    let mut slow = Vec::new();
    for number in 0..600 {
        let mut connection = Connection::open(server.address).await;
        match number % 3 {
            0 => {}
            1 => connection.write(&HALF_A_HELLO[..1]).await,
            _ => connection.write(HALF_A_HELLO).await,
        }
        slow.push(connection);
    }
    for garbage in [&[0; 100][..], &[0x80, 0x2e, 1, 0, 2], &[0x16, 3, 1, 0xff, 0xff], &[0xff; 70_000]] {
        let mut connection = Connection::open(server.address).await;
        connection.write(garbage).await;
        connection.close_write().await;
        // At most an alert, then the end.
        assert!(connection.all().await.len() < 16, "{garbage:?}");
    }

    let before = tokio::time::Instant::now();
    for _ in 0..20 {
        let mut stream = greet(server.address, &issued, &[]).await.unwrap();
        assert_eq!(ask(&mut stream, HEALTH).await.0, 200);
    }
    assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());

    for connection in &mut slow {
        assert!(connection.is_closed().await, "a handshake has ten seconds");
    }
    let mut stream = greet(server.address, &issued, &[]).await.unwrap();
    let metrics = ask(&mut stream, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.1;
    assert!(metrics.contains("levqor_http_connections 1\n"), "all their places are free again: {metrics}");
    assert!(metrics.contains("levqor_tls_failures_total 604\n"), "{metrics}");
}

#[tokio::test]
async fn handshakes_count_against_the_cap_and_make_room_for_newcomers() {
    let issued = issue();
    let server = Files::with(&issued).serve(&[("MAX_CONNECTIONS", "8")]).await;
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut connection = Connection::open(server.address).await;
        connection.write(HALF_A_HELLO).await;
        slow.push(connection);
    }

    let mut stream = greet(server.address, &issued, &[]).await.unwrap();

    assert_eq!(ask(&mut stream, HEALTH).await.0, 200);
    assert!(slow[0].is_closed().await, "the one that waited longest made room");
}

#[tokio::test]
async fn a_graceful_stop_waits_for_no_handshake() {
    let mut server = Files::with(&issue()).serve(&[]).await;
    let mut half = Connection::open(server.address).await;
    half.write(HALF_A_HELLO).await;

    server.stop();

    assert!(half.is_closed().await);
    tokio::time::timeout(Duration::from_secs(5), server.running.take().unwrap()).await.unwrap().unwrap();
}
