//! SMTP (RFC 5321): one connection a mail, encrypted unless the operator said otherwise, spoken by lettre.
//!
//! Where it connects to is configuration, never a payload's. A mail is taken as a whole or not at all: one recipient that is
//! refused ends the conversation before anything was sent. When the connection breaks after the last line and before the
//! answer, nobody knows whether the mail was taken; the next attempt carries the same `Message-ID`.

mod message;
mod stream;
mod url;

use std::error::Error as _;
use std::time::Duration;

use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use levqor_core::mail::Mail;

pub use url::{SmtpUrl, Tls};

use crate::email::{Failure, Sent};

pub(crate) const NAME: &str = "smtp";
const WORD_MAX_CHARS: usize = 160;
/// The mail is taken by then; a server that does not say goodbye is not waited for.
const QUIT_LIMIT: Duration = Duration::from_secs(2);

pub(crate) struct Smtp {
    url: SmtpUrl,
    domain: String,
}

impl Smtp {
    pub fn new(url: SmtpUrl, domain: &str) -> Self {
        Smtp { url, domain: domain.to_owned() }
    }

    pub async fn send(
        &self,
        from: &str,
        mail: &Mail,
        key: &str,
        now_ms: i64,
        limit_ms: u64,
    ) -> Result<Sent, Failure> {
        let (message, message_id) = message::build(from, mail, key, &self.domain, now_ms)?;
        let limit = Duration::from_millis(limit_ms);
        match tokio::time::timeout(limit, self.deliver(message.envelope(), &message.formatted())).await {
            Ok(delivered) => delivered.map(|()| Sent { message_id }),
            Err(_) => Err(Failure::Timeout { provider: NAME, limit_ms }),
        }
    }

    async fn deliver(&self, envelope: &lettre::address::Envelope, message: &[u8]) -> Result<(), Failure> {
        let stream = stream::open(&self.url, &self.domain).await?;
        let hello = ClientId::Domain(self.domain.clone());
        let sorted = |error| self.sort(&error);
        let mut connection =
            AsyncSmtpConnection::connect_with_transport(stream, &hello).await.map_err(sorted)?;
        if let Some((user, password)) = &self.url.credentials {
            let credentials = Credentials::new(user.clone(), password.clone());
            connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await.map_err(sorted)?;
        }
        connection.send(envelope, message).await.map_err(sorted)?;
        let _ = tokio::time::timeout(QUIT_LIMIT, connection.quit()).await;
        Ok(())
    }

    /// The one place where SMTP's answers become ours: 4xx may pass, 5xx will not.
    fn sort(&self, error: &lettre::transport::smtp::Error) -> Failure {
        let provider = NAME;
        let said = error.source().map(ToString::to_string).unwrap_or_default();
        if let Some(code) = error.status() {
            let word = Some(self.shown(&format!("{code} {said}")));
            return match error.is_transient() {
                true => Failure::Busy { provider, word },
                false => Failure::Refused { provider, word },
            };
        }
        // What lettre found out before it asked: no way to log in that both know, an address that the server cannot take.
        if error.is_client() {
            return Failure::Refused { provider, word: Some(self.shown(&said)) };
        }
        match error.is_response() {
            true => Failure::BadAnswer { provider },
            false => Failure::Unreachable { provider, code: "connection_broken" },
        }
    }

    /// A server's words as they may be shown: without addresses, which are somebody's, without our password, on one line.
    fn shown(&self, said: &str) -> String {
        let is_secret = |word: &str| match &self.url.credentials {
            Some((user, password)) => word.contains(password.as_str()) || word.contains(user.as_str()),
            None => false,
        };
        let shown = |word: &str| match word {
            _ if word.contains('@') => "(address)".to_owned(),
            _ if is_secret(word) => "(hidden)".to_owned(),
            _ => word.chars().filter(|char| !char.is_control()).collect(),
        };
        let words: Vec<String> = said.split_whitespace().map(shown).collect();
        words.join(" ").chars().take(WORD_MAX_CHARS).collect()
    }
}
