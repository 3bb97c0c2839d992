//! What can go wrong with a call, in words that a user may see: the host and what happened, never a path, a query, a
//! credential, an inner address or an inner cause. The cause goes to the log, at debug level.

use std::error::Error as StdError;

use super::dial::{ConnectTimedOut, LookupFailed, RefusedByPolicy};

/// Why there is no answer. An answer with a status of 400 or 500 is an answer, not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The policy forbids the address; nothing was sent.
    #[error("{reason}")]
    Refused { reason: String },
    /// The request itself is malformed; nothing was sent.
    #[error("{reason}")]
    BadRequest { reason: String },
    #[error("the name {host} cannot be resolved")]
    Dns { host: String },
    #[error("{host} does not take connections")]
    Connect { host: String },
    #[error("no trusted TLS connection to {host} is possible")]
    Tls { host: String },
    #[error("{}", timeout_text(host, *phase, *limit_ms))]
    Timeout { host: String, phase: Phase, limit_ms: u64 },
    #[error("the answer of {host} is larger than {limit_bytes} bytes")]
    TooLarge { host: String, limit_bytes: usize },
    /// Cut off, or not HTTP. The other side may have acted on the request.
    #[error("{host} broke off, or did not answer in HTTP")]
    Broken { host: String },
}

/// The part of a call that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Name look-up, TCP and TLS.
    Connect,
    /// From the connection to the end of the answer's head.
    FirstByte,
    /// All of it.
    Total,
}

fn timeout_text(host: &str, phase: Phase, limit_ms: u64) -> String {
    match phase {
        Phase::Connect => format!("no connection to {host} within {limit_ms} ms"),
        Phase::FirstByte => format!("{host} did not answer within {limit_ms} ms"),
        Phase::Total => format!("the call to {host} was not complete within {limit_ms} ms"),
    }
}

impl CallError {
    /// A stable word for records and programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "address_refused",
            Self::BadRequest { .. } => "bad_request",
            Self::Dns { .. } => "dns_failed",
            Self::Connect { .. } => "connect_failed",
            Self::Tls { .. } => "tls_failed",
            Self::Timeout { .. } => "timeout",
            Self::TooLarge { .. } => "response_too_large",
            Self::Broken { .. } => "connection_broken",
        }
    }

    /// No byte of the request can have reached the other side.
    pub fn was_not_sent(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::BadRequest { .. }
            | Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Tls { .. } => true,
            Self::Timeout { phase, .. } => *phase == Phase::Connect,
            Self::TooLarge { .. } | Self::Broken { .. } => false,
        }
    }

    /// Whether the same call may fare better later, without anybody changing it. A look-up or certificate that fails now is
    /// often repaired within the hours over which a callback is tried, so those count.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::BadRequest { .. } | Self::TooLarge { .. } => false,
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Tls { .. }
            | Self::Timeout { .. }
            | Self::Broken { .. } => true,
        }
    }

    /// Sorts an error of the HTTP library. Nothing of its text gets out: it may hold the URL.
    pub(super) fn sort(error: reqwest::Error, host: &str, connect_ms: u64) -> Self {
        let error = error.without_url();
        let host = host.to_owned();
        let sorted = if has::<RefusedByPolicy>(&error) {
            let reason = format!(
                "{host} leads to an address that may not be called; OUTBOUND_ALLOW can permit its network"
            );
            Self::Refused { reason }
        } else if has::<ConnectTimedOut>(&error) {
            Self::Timeout { host, phase: Phase::Connect, limit_ms: connect_ms }
        } else if has::<LookupFailed>(&error) {
            Self::Dns { host }
        } else if error.is_connect() && has::<rustls::Error>(&error) {
            // Only while connecting: later the request may have been read.
            Self::Tls { host }
        } else if error.is_connect() {
            Self::Connect { host }
        } else if error.is_builder() {
            Self::BadRequest { reason: format!("the address on {host} cannot be written as a request") }
        } else {
            Self::Broken { host }
        };
        tracing::debug!(code = sorted.code(), cause = ?error, "call failed");
        sorted
    }
}

/// Whether a `T` stands anywhere in the chain of causes. An `io::Error` hides what it wraps from `source`, so it is opened.
fn has<T: StdError + 'static>(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<T>() {
            return true;
        }
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn broken_tls_after_the_request_says_nothing_about_whether_it_was_read() {
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = own.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(own.signing_key.serialize_der()));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let ring = || Arc::new(rustls::crypto::ring::default_provider());
        let client = rustls::ClientConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = rustls::ServerConfig::builder_with_provider(ring())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let reads = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut tls = tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(stream).await.unwrap();
            let mut head = vec![0; 1_024];
            let read = tls.read(&mut head).await.unwrap();
            // No record of TLS.
            tls.get_mut().0.write_all(&[0x63; 64]).await.unwrap();
            read
        });
        #[allow(clippy::disallowed_methods, reason = "what the guarded client is made of")]
        let client = reqwest::Client::builder().tls_backend_preconfigured(client).no_proxy().build().unwrap();

        let error = client.get(format!("https://{address}/")).send().await.unwrap_err();

        assert!(reads.await.unwrap() > 0, "the request was read");
        assert!(has::<rustls::Error>(&error), "{error:?}");
        assert_eq!(CallError::sort(error, "h", 1), CallError::Broken { host: "h".to_owned() });
    }
}
