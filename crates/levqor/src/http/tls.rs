//! TLS of our own: the pair of PEM files, the handshake, and a look at the files every few seconds.
//!
//! A pair that differs from the one in use is taken for the connections that come after it; those that are open keep theirs. A
//! pair that cannot be used (half written, key and certificate of different pairs) changes nothing and is logged once. What is
//! compared is the content, not the times of the files, so that links that are switched and coarse clocks do no harm.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{InconsistentKeys, ServerConfig};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::error;
use super::gate::Slot;
use crate::config::TlsFiles;

/// Between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// No chain of certificates is longer.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The only protocol that is spoken inside.
const ALPN: &[u8] = b"http/1.1";

/// How long a client that speaks plain HTTP may take to read what is wrong.
const EXPLAIN_LIMIT: Duration = Duration::from_millis(500);

/// Why a pair of files cannot be used; names the variable and the file.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// The files and what was last read from them.
pub struct Tls {
    files: TlsFiles,
    state: Mutex<State>,
}

struct State {
    /// What new connections get.
    serving: Arc<ServerConfig>,
    /// What was looked at last, whether it could be used or not.
    seen: [u8; 32],
}

impl Tls {
    /// Reads the pair. Fails with a text for a person.
    pub fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
        let pair = Pair::read(files)?;
        let serving = Arc::new(pair.config(files)?);
        warn_of_readers(&files.key);
        Ok(Tls { files: files.clone(), state: Mutex::new(State { serving, seen: pair.digest() }) })
    }

    /// What a connection that begins now gets.
    pub fn serving(&self) -> Arc<ServerConfig> {
        self.lock().serving.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One look at the files: whether another pair is in use afterwards. Blocks while it reads.
    pub fn look(&self) -> Result<bool, TlsError> {
        // A file that is missing is told once too: it has a digest like any other content.
        let (seen, read) = match Pair::read(&self.files) {
            Ok(pair) => (pair.digest(), Ok(pair)),
            Err(error) => (Sha256::digest(error.to_string()).into(), Err(error)),
        };
        if std::mem::replace(&mut self.lock().seen, seen) == seen {
            return Ok(false);
        }
        let config = read?.config(&self.files)?;
        self.lock().serving = Arc::new(config);
        warn_of_readers(&self.files.key);
        Ok(true)
    }

    /// Looks for ever.
    pub async fn keep_looking(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let tls = self.clone();
            match tokio::task::spawn_blocking(move || tls.look()).await {
                Ok(Ok(true)) => tracing::info!("a new certificate is in use for new connections"),
                Ok(Err(error)) => tracing::error!(%error, "the certificate before stays in use"),
                // A look cannot be cut short but by the end of the process.
                Ok(Ok(false)) | Err(_) => {}
            }
        }
    }
}

/// The bytes of both files.
struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Pair, TlsError> {
        Ok(Pair { certificate: read("TLS_CERT", &files.certificate)?, key: read("TLS_KEY", &files.key)? })
    }

    fn digest(&self) -> [u8; 32] {
        let length = (self.certificate.len() as u64).to_be_bytes();
        Sha256::new()
            .chain_update(length)
            .chain_update(&self.certificate)
            .chain_update(&self.key)
            .finalize()
            .into()
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let wrong_certificate = |what: &str| wrong("TLS_CERT", &files.certificate, what);
        let wrong_key = |what: &str| wrong("TLS_KEY", &files.key, what);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.map_err(|_| wrong_certificate("is no valid PEM"))?;
        if chain.is_empty() {
            return Err(wrong_certificate(
                "holds no certificate; expected PEM (-----BEGIN CERTIFICATE-----)",
            ));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound if contains(&self.key, b"BEGIN ENCRYPTED PRIVATE KEY") => wrong_key(
                "holds an encrypted key; expected one without a passphrase (openssl pkey -in … -out …)",
            ),
            pem::Error::NoItemsFound => {
                wrong_key("holds no private key; expected PEM (-----BEGIN PRIVATE KEY-----)")
            }
            _ => wrong_key("is no valid PEM"),
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has cipher suites for every TLS version of rustls")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => wrong_key(&format!(
                    "does not belong to the certificate in TLS_CERT={} (its first one, which must be the server's own)",
                    files.certificate.display()
                )),
                rustls::Error::InvalidCertificate(_) => wrong_certificate("holds a certificate that cannot be read"),
                _ => wrong_key("holds a key that cannot be used; expected RSA (2048 bits or more), ECDSA or Ed25519"),
            })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(config)
    }
}

fn wrong(name: &str, path: &Path, what: &str) -> TlsError {
    TlsError(format!("{name}={} {what}", path.display()))
}

fn contains(text: &[u8], words: &[u8]) -> bool {
    text.windows(words.len()).any(|window| window == words)
}

fn read(name: &str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error: io::Error| wrong(name, path, &format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong(name, path, "is larger than 1 MiB, so it is no PEM file"));
    }
    Ok(bytes)
}

/// A group may read a key (as `ssl-cert` does on Debian); that everybody may is hardly ever meant.
fn warn_of_readers(key: &Path) {
    let Ok(metadata) = fs::metadata(key) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 != 0 {
        tracing::warn!(
            TLS_KEY = %key.display(),
            "the key's file is open to others (mode {mode:04o}); 0600 or 0640 is enough"
        );
    }
}

/// The handshake of a new connection; `None` when it came to nothing.
async fn handshake(config: Arc<ServerConfig>, mut stream: TcpStream) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await.ok()? == 1 && first[0].is_ascii_uppercase() {
        // No record of TLS begins with a letter: this is a request in plain HTTP.
        let explain = async {
            stream.write_all(&error::plain_http()).await?;
            stream.shutdown().await?;
            // Reading until the client closes lets it read our answer before its connection is reset.
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(EXPLAIN_LIMIT, explain).await;
        return None;
    }
    TlsAcceptor::from(config)
        .accept(stream)
        .await
        .inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))
        .ok()
}

/// The handshake, within a limit; gives way when the connection is asked to close.
pub async fn greet(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    slot: &Slot,
    limit: Duration,
) -> Option<TlsStream<TcpStream>> {
    tokio::select! {
        greeted = tokio::time::timeout(limit, handshake(config, stream)) => greeted.ok().flatten(),
        () = slot.close.notified() => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use levqor_testkit::TempDir;

    use super::*;

    fn issue() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_that_cannot_be_used_is_told_once_and_the_one_before_stays() {
        let dir = TempDir::new();
        let files = TlsFiles { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        let ((certificate, key), (next_certificate, next_key)) = (issue(), issue());
        fs::write(&files.certificate, &certificate).unwrap();
        fs::write(&files.key, &key).unwrap();
        let tls = Tls::load(&files).unwrap();
        let first = tls.serving();
        assert!(!tls.look().unwrap(), "nothing has changed");

        let broken: [&dyn Fn(); 4] = [
            &|| fs::write(&files.certificate, &next_certificate).unwrap(),
            &|| fs::write(&files.certificate, &next_certificate[..200]).unwrap(),
            &|| fs::write(&files.certificate, "").unwrap(),
            &|| fs::remove_file(&files.certificate).unwrap(),
        ];
        for spoil in broken {
            spoil();
            assert!(tls.look().is_err());
            assert!(!tls.look().unwrap(), "it is told once");
            assert!(Arc::ptr_eq(&tls.serving(), &first));
        }

        fs::write(&files.certificate, &next_certificate).unwrap();
        fs::write(&files.key, &next_key).unwrap();
        assert!(tls.look().unwrap());
        assert!(!Arc::ptr_eq(&tls.serving(), &first));
        fs::write(&files.certificate, &certificate).unwrap();
        fs::write(&files.key, &key).unwrap();
        assert!(tls.look().unwrap(), "back to the pair before");
    }
}
