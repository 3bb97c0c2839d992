//! Whom we trust over TLS: the certificate authorities of this machine, and on a machine without any, those of Mozilla's
//! list that are built in. So https works in an empty container, and a company's own authority works where it is installed.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Names ring as the provider instead of relying on a process-wide one, whose absence would be a panic inside reqwest.
pub(crate) fn config() -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has cipher suites for every TLS version of rustls")
        .with_root_certificates(roots())
        .with_no_client_auth()
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    tracing::debug!(
        added,
        ignored,
        unreadable = found.errors.len(),
        trusted = roots.len(),
        "root certificates loaded"
    );
    roots
}
