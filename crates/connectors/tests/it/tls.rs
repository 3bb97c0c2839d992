//! https: whom we do not trust. (Whom we do trust needs an authority of the machine, and is not a test's to install.)

use std::sync::Arc;

use levqor_connectors::net::{CallError, Phase, Request, Timeouts};
use levqor_testkit::{Act, Script};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{get, local};

/// For localhost and 127.0.0.1, valid for a hundred years, trusted by nobody; the key protects nothing.
const CERTIFICATE: &[u8] = include_bytes!("data/self_signed.cert.der");
const KEY: &[u8] = include_bytes!("data/self_signed.key.der");

/// A server that shows this certificate.
pub fn server_config() -> ServerConfig {
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(KEY));
    config.with_no_client_auth().with_single_cert(vec![CertificateDer::from(CERTIFICATE)], key).unwrap()
}

#[tokio::test]
async fn a_certificate_of_nobodys_is_refused_and_the_request_is_not_sent() {
    let config = server_config();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(stream).await.map(|_| ())
    });

    let error = local().send(get(format!("https://{address}/secret"))).await.unwrap_err();

    assert_eq!(error, CallError::Tls { host: address.to_string() });
    assert_eq!(error.to_string(), format!("no trusted TLS connection to {address} is possible"));
    assert!(server.await.unwrap().is_err(), "the handshake went through");
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let server = Script::start(vec![Act::send("HTTP/1.1 400 Bad Request\r\n\r\n"), Act::Hang]).await;

    let error = local().send(get(format!("https://{}/", server.address()))).await.unwrap_err();

    assert_eq!(error.code(), "tls_failed");
}

#[tokio::test]
async fn a_handshake_that_hangs_is_given_up_after_the_connect_limit() {
    let server = Script::start(vec![Act::Hang]).await;
    let timeouts = Timeouts { connect_ms: 100, first_byte_ms: 20_000, total_ms: 20_000 };

    let error = local()
        .send(Request { timeouts, ..get(format!("https://{}/", server.address())) })
        .await
        .unwrap_err();

    let host = server.address().to_string();
    assert_eq!(error, CallError::Timeout { host, phase: Phase::Connect, limit_ms: 100 });
}
