//! Mails of the real program to an SMTP server that it trusts: over TLS from the first byte, and by STARTTLS.

use std::net::SocketAddr;
use std::sync::Arc;

use levqor_testkit::{SmtpServer, TempDir};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::program::Running;

/// Writes a certificate for `localhost` to the folder, and speaks TLS with it.
fn issue(dir: &TempDir) -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A line, and not a byte of the next.
async fn line(stream: &mut TcpStream) -> String {
    let mut line = String::new();
    while !line.ends_with('\n') {
        line.push(char::from(stream.read_u8().await.unwrap()));
    }
    line
}

/// Hands on what is said encrypted to a server that speaks in clear; with `asks_first` after a conversation that leads to
/// STARTTLS. Returns its address.
async fn in_front_of(server: SocketAddr, tls: TlsAcceptor, asks_first: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut server = TcpStream::connect(server).await.unwrap();
            if asks_first {
                client.write_all(b"220 test ESMTP\r\n").await.unwrap();
                assert_eq!(line(&mut client).await, "EHLO example.com\r\n");
                client.write_all(b"250-test\r\n250 STARTTLS\r\n").await.unwrap();
                assert_eq!(line(&mut client).await, "STARTTLS\r\n");
                client.write_all(b"220 go\r\n").await.unwrap();
                // It was greeted already.
                line(&mut server).await;
            }
            let Ok(mut client) = tls.accept(client).await else { continue };
            // Either side may end it as it likes.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    });
    address
}

#[test]
fn a_mail_and_a_password_go_to_a_server_that_is_trusted_and_to_no_other() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for (scheme, asks_first) in [("smtps", false), ("smtp", true)] {
        let dir = TempDir::new();
        let tls = issue(&dir);
        let (smtp, address) = runtime.block_on(async {
            let smtp = SmtpServer::start().await;
            let address = in_front_of(smtp.address(), tls, asks_first).await;
            (smtp, address)
        });
        let url = format!("{scheme}://us%40r:canary-pass@localhost:{}", address.port());
        let trusted = dir.join("cert.pem").display().to_string();
        let doubting = [("SMTP_URL", url.as_str()), ("EMAIL_DOMAIN", "example.com")];
        let trusting = [doubting[0], doubting[1], ("SSL_CERT_FILE", &trusted)];

        let server = Running::start(&doubting, |_| {});
        let refused = server.levqor(&["email", "test", "--to", "ada@example.org", "--wait", "1s"]);
        assert_ne!(refused.code, Some(0), "{scheme}: {}", refused.out);
        let log = server.levqor(&["email", "log", "--json"]).out;
        assert!(log.contains("tls_failed"), "{scheme}: {log}");
        assert!(smtp.messages().is_empty(), "{scheme}");
        assert!(!smtp.commands().iter().any(|said| said.starts_with("AUTH")), "{scheme}");
        drop(server);

        let server = Running::start(&trusting, |_| {});
        let sent = server.levqor(&["email", "test", "--to", "ada@example.org"]);
        assert_eq!(sent.code, Some(0), "{scheme}: {}{}{}", sent.out, sent.err, server.log());
        let messages = smtp.messages();
        assert_eq!(messages.len(), 1, "{scheme}");
        assert!(messages[0].contains("Subject: Levqor can send mail\r\n"), "{scheme}: {}", messages[0]);
        // base64 of NUL us@r NUL canary-pass.
        assert!(smtp.commands().contains(&"AUTH PLAIN AHVzQHIAY2FuYXJ5LXBhc3M=".to_owned()), "{scheme}");
        assert!(!server.log().contains("canary"), "{scheme}: {}", server.log());
    }
}
