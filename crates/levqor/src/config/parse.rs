//! Readers of single values: each names the variable, the value and what is allowed when it refuses.
//!
//! An empty or blank value counts as not set, as it does in `.env` files.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderValue;
use ipnet::IpNet;
use levqor_connectors::Bases;
use levqor_connectors::bucket::Bucket;
use levqor_core::address::{host_port, parse_network};
use levqor_core::duration::parse_duration_ms;
use levqor_core::seal::SealKey;
use levqor_core::signature;

use super::{Database, Secret, Stripe, TlsFiles, default_host, settings};

/// Why there is no start: one line for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl ConfigError {
    pub(super) fn wrong(name: &str, value: &str, allowed: &str) -> Self {
        let shown: String = value.chars().take(80).collect();
        ConfigError(format!("{name}={shown:?} is not valid: {allowed}"))
    }

    /// For values that must not be shown.
    pub(super) fn hidden(name: &str, allowed: &str) -> Self {
        ConfigError(format!("{name}: {allowed}"))
    }

    pub(super) fn new(text: String) -> Self {
        ConfigError(text)
    }
}

/// The variables, looked up by name.
pub(super) struct Vars<'a>(pub &'a BTreeMap<String, String>);

impl<'a> Vars<'a> {
    pub fn get(&self, name: &str) -> Option<&'a str> {
        debug_assert!(settings::is_ours(name), "{name} is missing from SETTINGS");
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    pub fn number(&self, name: &str, least: u64, most: u64, default: u64) -> Result<u64, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        number.filter(|number| (least..=most).contains(number)).ok_or_else(|| {
            ConfigError::wrong(name, text, &format!("expected a whole number, {least} to {most}"))
        })
    }

    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)], default: T) -> Result<T, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            ConfigError::wrong(name, text, &format!("expected one of {}", words.join(", ")))
        })
    }

    pub fn duration(&self, name: &str, most: Duration, default: Duration) -> Result<Duration, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        duration(text).filter(|value| *value <= most).ok_or_else(|| {
            let allowed =
                format!("expected a duration such as 500ms, 30s or 5m, at most {}s", most.as_secs());
            ConfigError::wrong(name, text, &allowed)
        })
    }

    /// A comma-separated list of networks; a bare address is a network of one.
    pub fn networks(&self, name: &str) -> Result<Vec<IpNet>, ConfigError> {
        let entries =
            self.get(name).unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries
            .map(|entry| {
                parse_network(entry).map_err(|_| {
                    let allowed = "expected a network such as 10.0.0.0/8 or fd00::/8, or an address";
                    ConfigError::wrong(name, entry, allowed)
                })
            })
            .collect()
    }
}

/// Reads `500ms`, `30s`, `5m`, `2h`, `7d`.
pub fn duration(text: &str) -> Option<Duration> {
    let ms = parse_duration_ms(text).ok()?;
    u64::try_from(ms).ok().map(Duration::from_millis)
}

/// The keys of both lists. A list that is set but holds no key must not open the server to all.
pub(super) fn api_keys(vars: &Vars<'_>) -> Result<Vec<Secret>, ConfigError> {
    let mut keys = Vec::new();
    for name in ["API_KEYS", "API_KEYS_NEXT"] {
        let Some(text) = vars.get(name) else { continue };
        let before = keys.len();
        for key in text.split(',').map(str::trim).filter(|key| !key.is_empty()) {
            if key.chars().any(char::is_control) {
                return Err(ConfigError::hidden(
                    name,
                    "a key holds a control character, which no client can send",
                ));
            }
            keys.push(Secret::new(key));
        }
        if keys.len() == before {
            return Err(ConfigError::hidden(
                name,
                "it is set but holds no key; unset it, or list keys separated by commas",
            ));
        }
        if name == "API_KEYS_NEXT" && before == 0 {
            return Err(ConfigError::hidden(
                name,
                "it is set but API_KEYS is not; move the keys to API_KEYS",
            ));
        }
    }
    Ok(keys)
}

/// Without keys everybody who reaches the port is let in, so nobody from outside may reach it.
pub(super) fn host(vars: &Vars<'_>, is_open: bool) -> Result<IpAddr, ConfigError> {
    let Some(text) = vars.get("HOST") else { return Ok(default_host(is_open)) };
    let address: IpAddr = match text {
        "localhost" => default_host(true),
        _ => text
            .parse()
            .map_err(|_| ConfigError::wrong("HOST", text, "expected an IP address or localhost"))?,
    };
    if is_open && !address.to_canonical().is_loopback() {
        let allowed = "without API_KEYS, and without a key in the database, everybody is let in, so only a loopback address such as 127.0.0.1 is allowed";
        return Err(ConfigError::wrong("HOST", text, allowed));
    }
    Ok(address)
}

pub(super) fn database(vars: &Vars<'_>) -> Result<Database, ConfigError> {
    match (vars.get("SQLITE_PATH"), vars.get("DATABASE_URL")) {
        (Some(_), Some(_)) => Err(ConfigError::hidden(
            "SQLITE_PATH and DATABASE_URL",
            "both are set; unset the one that is not meant",
        )),
        (path, None) => Ok(Database::Sqlite(path.unwrap_or("levqor.db").into())),
        (None, Some(url)) if url.starts_with("postgres://") || url.starts_with("postgresql://") => {
            Ok(Database::Postgres(Secret::new(url)))
        }
        (None, Some(_)) => Err(ConfigError::hidden(
            "DATABASE_URL",
            "expected a URL that begins with postgres://; SQLite files go to SQLITE_PATH",
        )),
    }
}

/// A certificate without its key is no use, and plain HTTP where TLS was meant would be worse.
pub(super) fn tls(vars: &Vars<'_>) -> Result<Option<TlsFiles>, ConfigError> {
    match (vars.get("TLS_CERT"), vars.get("TLS_KEY")) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            Ok(Some(TlsFiles { certificate: certificate.into(), key: key.into() }))
        }
        _ => {
            Err(ConfigError::hidden("TLS_CERT and TLS_KEY", "only one of them is set; set both, or neither"))
        }
    }
}

/// Beside the data file; on PostgreSQL in the working directory.
pub(super) fn backup_dir(vars: &Vars<'_>, database: &Database) -> PathBuf {
    match (vars.get("BACKUP_DIR"), database) {
        (Some(dir), _) => dir.into(),
        (None, Database::Sqlite(path)) => path.parent().unwrap_or(Path::new("")).join("backups"),
        (None, Database::Postgres(_)) => "backups".into(),
    }
}

/// Read here only to say early what is wrong with it.
pub(super) fn backup_s3_url(vars: &Vars<'_>) -> Result<Option<Secret>, ConfigError> {
    let Some(text) = vars.get("BACKUP_S3_URL") else { return Ok(None) };
    Bucket::parse(text, &[], HeaderValue::from_static("levqor"))
        .map(|_| Some(Secret::new(text)))
        .map_err(|problem| ConfigError::hidden("BACKUP_S3_URL", &problem.to_string()))
}

/// An origin and nothing more: addresses are put together by appending a path.
pub(super) fn public_base_url(vars: &Vars<'_>) -> Result<String, ConfigError> {
    let Some(text) = vars.get("PUBLIC_BASE_URL") else { return Ok("https://api.levqor.ai".to_owned()) };
    let allowed =
        "expected where this service is reached, such as https://api.example.com, without path or query";
    let url = url::Url::parse(text).map_err(|_| ConfigError::wrong("PUBLIC_BASE_URL", text, allowed))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(ConfigError::hidden(
            "PUBLIC_BASE_URL",
            &format!("it holds a user or password; {allowed}"),
        ));
    }
    let is_origin = matches!(url.scheme(), "http" | "https")
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none();
    match is_origin {
        true => Ok(url.origin().ascii_serialization()),
        false => Err(ConfigError::wrong("PUBLIC_BASE_URL", text, allowed)),
    }
}

/// One secret of the Standard Webhooks form, or two (newest first) during a rotation.
pub(super) fn callback_secrets(vars: &Vars<'_>) -> Result<Vec<Secret>, ConfigError> {
    signature::parse_secrets(vars.get("CALLBACK_SECRET").unwrap_or_default())
        .map(|secrets| secrets.iter().map(|secret| Secret::new(secret.expose())).collect())
        .map_err(|problem| ConfigError::hidden("CALLBACK_SECRET", &problem.to_string()))
}

/// What calls can be made below.
pub(super) fn is_address(text: &str) -> bool {
    host_port(text).is_some() && !text.contains(['?', '#'])
}

/// Where somebody is reached. A slash at the end is dropped.
pub(super) fn address(vars: &Vars<'_>, name: &str, default: &str) -> Result<String, ConfigError> {
    let Some(text) = vars.get(name) else { return Ok(default.to_owned()) };
    if !is_address(text) {
        let allowed = "expected an address such as https://example.com/path, without ? and #";
        return Err(ConfigError::wrong(name, text, allowed));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Where vendors are reached.
pub(super) fn vendors(vars: &Vars<'_>) -> Result<Bases, ConfigError> {
    let own = Bases::default();
    Ok(Bases {
        slack: address(vars, "SLACK_BASE_URL", &own.slack)?,
        telegram: address(vars, "TELEGRAM_BASE_URL", &own.telegram)?,
        notion: address(vars, "NOTION_BASE_URL", &own.notion)?,
        gmail: address(vars, "GMAIL_BASE_URL", &own.gmail)?,
        google_token: address(vars, "GOOGLE_TOKEN_URL", &own.google_token)?,
        stripe: address(vars, "STRIPE_BASE_URL", &own.stripe)?,
    })
}

/// What billing needs.
pub(super) fn stripe(vars: &Vars<'_>) -> Result<Stripe, ConfigError> {
    let entries = |name: &str| -> Vec<&str> {
        let entries = vars.get(name).unwrap_or_default().split(',').map(str::trim);
        entries.filter(|entry| !entry.is_empty()).collect()
    };
    // What goes into a header or a form, and was copied by hand.
    let is_plain = |text: &&str| text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic());
    let secret_key = vars.get("STRIPE_SECRET_KEY");
    if !secret_key.iter().all(is_plain) {
        let allowed = "expected one secret key of Stripe's, visible ASCII without blanks";
        return Err(ConfigError::hidden("STRIPE_SECRET_KEY", allowed));
    }
    let webhook_secrets = entries("STRIPE_WEBHOOK_SECRET");
    if webhook_secrets.len() > 2 || !webhook_secrets.iter().all(is_plain) {
        let allowed =
            "expected a signing secret of Stripe's, or two with a comma between while they are exchanged";
        return Err(ConfigError::hidden("STRIPE_WEBHOOK_SECRET", allowed));
    }
    let prices = entries("STRIPE_PRICES");
    if let Some(price) = prices.iter().find(|price| !is_plain(price)) {
        let allowed = "expected ids of prices with commas between, visible ASCII of at most 255 characters";
        return Err(ConfigError::wrong("STRIPE_PRICES", price, allowed));
    }
    let meter_event = vars.get("STRIPE_METER_EVENT");
    if let Some(name) = meter_event {
        if name.len() > 100 || !is_plain(&name) {
            let allowed = "expected the event name of a meter, visible ASCII of at most 100 characters";
            return Err(ConfigError::wrong("STRIPE_METER_EVENT", name, allowed));
        }
        if secret_key.is_none() {
            let allowed = "it is set but STRIPE_SECRET_KEY is not; set the key that usage is told with";
            return Err(ConfigError::wrong("STRIPE_METER_EVENT", name, allowed));
        }
    }
    Ok(Stripe {
        meter_event: meter_event.map(str::to_owned),
        secret_key: secret_key.map(Secret::new),
        webhook_secrets: webhook_secrets.into_iter().map(Secret::new).collect(),
        prices: prices.into_iter().map(str::to_owned).collect(),
    })
}

/// A key that stored connections are sealed with.
pub(super) fn seal_key(vars: &Vars<'_>, name: &str) -> Result<Option<Secret>, ConfigError> {
    let Some(text) = vars.get(name) else { return Ok(None) };
    SealKey::parse(text).map_err(|problem| ConfigError::hidden(name, &problem.to_string()))?;
    if vars.get("SECRET_KEY").is_none() {
        return Err(ConfigError::hidden(
            name,
            "it is set but SECRET_KEY is not; set the key that replaces it",
        ));
    }
    Ok(Some(Secret::new(text)))
}

/// Settings of their own, not secrets of workflows.
const NOT_OF_WORKFLOWS: [&str; 2] = ["SECRET_KEY", "SECRET_KEY_OLD"];

pub(super) fn secrets(vars: &Vars<'_>) -> Result<BTreeMap<String, Secret>, ConfigError> {
    let mut secrets = BTreeMap::new();
    for (variable, value) in vars.0 {
        let Some(name) = variable.strip_prefix("SECRET_") else { continue };
        if NOT_OF_WORKFLOWS.contains(&variable.as_str()) {
            continue;
        }
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name || name.as_bytes()[0].is_ascii_digit() {
            let allowed = "after SECRET_ only letters, digits and _ are allowed, and no digit at the start";
            return Err(ConfigError::hidden(variable, allowed));
        }
        secrets.insert(name.to_owned(), Secret::new(value.as_str()));
    }
    Ok(secrets)
}
