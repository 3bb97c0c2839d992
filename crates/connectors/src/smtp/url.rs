//! `SMTP_URL`: where the server is, how the way there is encrypted, and who we are to it.

use std::fmt;
use std::net::IpAddr;

use url::Url;

/// How the conversation is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// From the first byte (`smtps://`).
    Implicit,
    /// By STARTTLS, and not at all without (`smtp://`).
    Starttls,
    /// Not (`smtp://…?tls=none`).
    None,
}

/// `smtps://user:password@host:465`, `smtp://user:password@host:587`, `smtp://localhost:25?tls=none`.
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpUrl {
    pub tls: Tls,
    pub host: String,
    pub port: u16,
    pub credentials: Option<(String, String)>,
}

/// Shows no credentials.
impl fmt::Debug for SmtpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpUrl")
            .field("tls", &self.tls)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// What is allowed, for a person; the value itself is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSmtpUrl {
    #[error(
        "expected smtps://user:password@host, smtp://user:password@host:587 or smtp://localhost:25?tls=none"
    )]
    Form,
    #[error("the user or the password is missing; give both or neither, special characters as %XX")]
    Credentials,
    #[error(
        "a password is not sent unencrypted to another machine; drop ?tls=none, or the user and password"
    )]
    Unencrypted,
}

impl SmtpUrl {
    pub fn parse(text: &str) -> Result<Self, BadSmtpUrl> {
        let url = Url::parse(text).map_err(|_| BadSmtpUrl::Form)?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(BadSmtpUrl::Form)?;
        let tls = match (url.scheme(), url.query()) {
            ("smtps", None) => Tls::Implicit,
            ("smtp", None) => Tls::Starttls,
            ("smtp", Some("tls=none")) => Tls::None,
            _ => return Err(BadSmtpUrl::Form),
        };
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(BadSmtpUrl::Form);
        }
        let credentials = match (decoded(url.username())?, decoded(url.password().unwrap_or_default())?) {
            (user, password) if user.is_empty() && password.is_empty() => None,
            (user, password) if user.is_empty() || password.is_empty() => {
                return Err(BadSmtpUrl::Credentials);
            }
            pair => Some(pair),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if tls == Tls::None && credentials.is_some() && !is_this_machine(&host) {
            return Err(BadSmtpUrl::Unencrypted);
        }
        let default = if tls == Tls::Implicit { 465 } else { 587 };
        Ok(SmtpUrl { tls, host, port: url.port().unwrap_or(default), credentials })
    }
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// `%XX` as the byte that it stands for. NUL would end a password in the middle of the conversation.
fn decoded(text: &str) -> Result<String, BadSmtpUrl> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(BadSmtpUrl::Credentials) };
        bytes.push((high * 16 + low) as u8);
    }
    let text = String::from_utf8(bytes).map_err(|_| BadSmtpUrl::Credentials)?;
    if text.contains(char::is_control) { Err(BadSmtpUrl::Credentials) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_read_with_their_defaults() {
        for (text, tls, host, port, credentials) in [
            (
                "smtps://u:p%40ss@mail.example.com",
                Tls::Implicit,
                "mail.example.com",
                465,
                Some(("u", "p@ss")),
            ),
            (
                "smtp://u%40x.org:p@mail.example.com",
                Tls::Starttls,
                "mail.example.com",
                587,
                Some(("u@x.org", "p")),
            ),
            ("smtp://mail.example.com:2525/", Tls::Starttls, "mail.example.com", 2525, None),
            ("smtp://u:p@localhost:25?tls=none", Tls::None, "localhost", 25, Some(("u", "p"))),
            ("smtp://[::1]:25?tls=none", Tls::None, "::1", 25, None),
            ("smtp://relay.internal:25?tls=none", Tls::None, "relay.internal", 25, None),
        ] {
            let url = SmtpUrl::parse(text).unwrap();
            let credentials = credentials.map(|(user, password)| (user.to_owned(), password.to_owned()));
            assert_eq!(url, SmtpUrl { tls, host: host.to_owned(), port, credentials }, "{text}");
            assert!(!format!("{url:?}").contains("p@ss"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, expected) in [
            ("mail.example.com", BadSmtpUrl::Form),
            ("https://mail.example.com", BadSmtpUrl::Form),
            ("smtp://", BadSmtpUrl::Form),
            ("smtp://host/path", BadSmtpUrl::Form),
            ("smtp://host?tls=maybe", BadSmtpUrl::Form),
            ("smtps://host?tls=none", BadSmtpUrl::Form),
            ("smtps://user@host", BadSmtpUrl::Credentials),
            ("smtps://:p@host", BadSmtpUrl::Credentials),
            ("smtps://u:%0d%0aMAIL@host", BadSmtpUrl::Credentials),
            ("smtps://u:%f@host", BadSmtpUrl::Credentials),
            ("smtp://u:p@mail.example.com?tls=none", BadSmtpUrl::Unencrypted),
        ] {
            assert_eq!(SmtpUrl::parse(text), Err(expected), "{text}");
        }
    }
}
