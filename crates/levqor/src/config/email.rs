//! How mails are sent, from which domain, and who gets those that come in.

use std::sync::Arc;

use http::HeaderValue;
use levqor_connectors::email::{Mailer, Provider};
use levqor_connectors::smtp::SmtpUrl;
use levqor_core::address::host_port;
use levqor_core::user::{check_email, normalize_email};

use super::parse::Vars;
use super::{Config, ConfigError};

pub const RESEND_BASE_URL: &str = "https://api.resend.com";
pub const EMAIL_DOMAIN: &str = "levqor.ai";

#[derive(Clone, Debug, PartialEq)]
pub struct Email {
    /// `None`: mails are not sent, and their jobs say so.
    pub provider: Option<Provider>,
    pub resend_base_url: String,
    /// What stands after the @ of support, billing, no-reply and security.
    pub domain: String,
    /// Where mails to these four are forwarded, and who gets the test.
    pub receiving: Option<String>,
}

impl Config {
    /// Whoever sends mails as this configuration says; `None` where it says nothing.
    pub fn mailer(&self) -> Option<Arc<Mailer>> {
        let agent = HeaderValue::from_static(concat!("Levqor/", env!("CARGO_PKG_VERSION")));
        let Email { provider, domain, .. } = &self.email;
        Some(Arc::new(Mailer::new(provider.as_ref()?, domain, &self.outbound_allow, agent)))
    }
}

pub(super) fn email(vars: &Vars<'_>) -> Result<Email, ConfigError> {
    let resend_base_url = match vars.get("RESEND_BASE_URL") {
        None => RESEND_BASE_URL.to_owned(),
        Some(text) if host_port(text).is_none() || text.contains(['?', '#']) => {
            let allowed = "expected an address such as https://example.com/path, without ? and #";
            return Err(ConfigError::wrong("RESEND_BASE_URL", text, allowed));
        }
        Some(text) => text.trim_end_matches('/').to_owned(),
    };
    let provider = match (vars.get("RESEND_API_KEY"), vars.get("SMTP_URL")) {
        (Some(_), Some(_)) => {
            let what = "both are set, and mails go one way; unset the one that is not meant";
            return Err(ConfigError::hidden("RESEND_API_KEY and SMTP_URL", what));
        }
        (Some(key), None) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            let what = "expected a key of visible ASCII characters, such as re_…";
            return Err(ConfigError::hidden("RESEND_API_KEY", what));
        }
        (Some(key), None) => {
            Some(Provider::Resend { api_key: key.to_owned(), base_url: resend_base_url.clone() })
        }
        (None, Some(url)) => {
            let url = SmtpUrl::parse(url)
                .map_err(|problem| ConfigError::hidden("SMTP_URL", &problem.to_string()))?;
            Some(Provider::Smtp(url))
        }
        (None, None) => None,
    };
    Ok(Email { provider, resend_base_url, domain: domain(vars)?, receiving: receiving(vars)? })
}

/// It becomes part of addresses, of `Message-ID`s and of DNS records, so only what is a name there will do.
fn domain(vars: &Vars<'_>) -> Result<String, ConfigError> {
    let Some(text) = vars.get("EMAIL_DOMAIN") else { return Ok(EMAIL_DOMAIN.to_owned()) };
    let domain = text.to_ascii_lowercase();
    let is_fine = domain.is_ascii() && check_email(&format!("no-reply@{domain}")).is_ok();
    match is_fine {
        true => Ok(domain),
        false => Err(ConfigError::wrong(
            "EMAIL_DOMAIN",
            text,
            "expected a domain such as example.com (international names in their xn-- form)",
        )),
    }
}

fn receiving(vars: &Vars<'_>) -> Result<Option<String>, ConfigError> {
    let Some(text) = vars.get("RECEIVING_EMAIL") else { return Ok(None) };
    let address = normalize_email(text);
    match check_email(&address) {
        Ok(()) => Ok(Some(address)),
        Err(problem) => Err(ConfigError::wrong("RECEIVING_EMAIL", text, &problem.to_string())),
    }
}
