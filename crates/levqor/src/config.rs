//! The one place that reads the environment. Everything else is handed a [`Config`].
//!
//! Sources, weakest first: defaults, a `.env` file in the working directory, the process environment. A wrong value stops the
//! start with one line that names the variable, the value (never a secret's) and what is allowed. The table of all
//! settings stands in `config/settings.rs`; docs/configuration.md repeats it, and a test compares the two.

mod ai;
mod alerts;
mod cost_reports;
mod email;
mod env_file;
mod parse;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use levqor_connectors::email::Provider;
use levqor_connectors::{Bases, Meter};
use levqor_core::budget::Recipients;
use levqor_core::duration::format_duration;
use levqor_store::KeyTally;

pub use ai::Ai;
pub use cost_reports::CostReports;
pub use email::Email;
use env_file::EnvFile;
use parse::Vars;
pub use parse::{ConfigError, duration};
pub use settings::{SETTINGS, Setting};

/// A value that is never shown: its `Debug` hides it, and reading it takes an explicit call.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    Development,
    Production,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// From quiet to talkative; a level shows itself and all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// Where the data lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite(PathBuf),
    /// A `postgres://` URL; it may hold a password.
    Postgres(Secret),
}

/// The PEM files of a TLS server of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What billing needs. Without a key nothing can be bought, without a secret no event is believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stripe {
    pub secret_key: Option<Secret>,
    /// One, or two while they are exchanged.
    pub webhook_secrets: Vec<Secret>,
    /// What may be bought; the first is the default.
    pub prices: Vec<String>,
    /// Under which name usage is metered.
    pub meter_event: Option<String>,
}

impl Stripe {
    /// Who is told what people's AI calls cost, if anybody.
    pub fn meter(&self) -> Option<Arc<Meter>> {
        let (event_name, key) = self.meter_event.clone().zip(self.secret_key.as_ref())?;
        Some(Arc::new(Meter { event_name, secret_key: key.reveal().to_owned() }))
    }
}

/// All that can be set, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub host: IpAddr,
    pub port: u16,
    /// All of `API_KEYS` and `API_KEYS_NEXT`. Empty, and no key in the database: development mode, everything is allowed, on
    /// loopback only.
    pub api_keys: Vec<Secret>,
    pub environment: Environment,
    pub rate_burst: u32,
    pub rate_global: u32,
    pub max_content_length_bytes: usize,
    pub batch_max_bytes: usize,
    pub max_connections: usize,
    pub trusted_proxies: Vec<IpNet>,
    /// `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    pub database: Database,
    pub build_id: String,
    /// Whether people can be looked up without a key.
    pub public_user_reads: bool,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    pub outbound_allow: Vec<IpNet>,
    /// Where this service is reached from outside, without a slash at the end.
    pub public_base_url: String,
    /// Texts of one's own instead of the embedded ones.
    pub content_dir: Option<PathBuf>,
    /// Where vendors are reached.
    pub vendors: Bases,
    pub email: Email,
    /// Who is told of thresholds where a budget names nobody.
    pub alerts: Recipients,
    pub stripe: Stripe,
    pub cost_reports: CostReports,
    /// Whether a checkout can be begun without a key.
    pub public_checkout: bool,
    pub workflows_dir: PathBuf,
    pub workers: usize,
    pub shutdown_grace: Duration,
    /// Newest first; two during a rotation.
    pub callback_secrets: Vec<Secret>,
    pub retention_days: u32,
    pub retention_jobs: Option<u64>,
    /// Seals stored connections, and the one that it replaces.
    pub secret_key: Option<Secret>,
    pub secret_key_old: Option<Secret>,
    pub backup_daily: bool,
    pub backup_dir: PathBuf,
    /// Of each kind.
    pub backup_keep: usize,
    /// It holds a key: never shown.
    pub backup_s3_url: Option<Secret>,
    pub ai: Ai,
    /// Calls to models that one client may make in any 60 seconds.
    pub ai_rate: u32,
    pub ai_max_body_bytes: usize,
    /// Values for `{{ secrets.NAME }}`, without the `SECRET_` of their variables.
    pub secrets: BTreeMap<String, Secret>,
}

impl Config {
    /// Reads `.env` in the working directory, if there is one, then the environment, which wins, then `arguments` (of the
    /// command line), which win over both; an empty argument unsets what the others say.
    #[allow(clippy::disallowed_methods, reason = "this is the Config that everything else is handed")]
    ///
    /// `stored` is what the database knows of keys: it decides what a configuration without keys means.
    pub fn load_with(arguments: &BTreeMap<String, String>, stored: KeyTally) -> Result<Config, ConfigError> {
        let file = EnvFile::read(Path::new(".env"))?;
        let mut vars = file.vars.clone();
        for (name, value) in std::env::vars_os() {
            let (Some(name), value) = (name.to_str(), value.to_str()) else { continue };
            match value {
                Some(value) => vars.insert(name.to_owned(), value.to_owned()),
                None if settings::is_ours(name) => {
                    return Err(ConfigError::hidden(name, "the value is not valid UTF-8"));
                }
                None => None,
            };
        }
        vars.extend(arguments.iter().map(|(name, value)| (name.clone(), value.clone())));
        Config::from_map_with(&vars, stored).map_err(|error| file.locate(error, &vars))
    }

    /// The same from a map, with a database that holds no keys: what tests and `levqor demo` use. Names that are not ours are
    /// passed over.
    pub fn from_map(map: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
        Config::from_map_with(map, KeyTally::default())
    }

    fn from_map_with(map: &BTreeMap<String, String>, stored: KeyTally) -> Result<Config, ConfigError> {
        let vars = Vars(map);
        let api_keys = parse::api_keys(&vars)?;
        let environment = vars.choice(
            "LEVQOR_ENV",
            &[("development", Environment::Development), ("production", Environment::Production)],
            Environment::Development,
        )?;
        if environment == Environment::Production && api_keys.is_empty() && !stored.usable {
            let allowed = "LEVQOR_ENV=production needs at least one key: set it, or make one in the database with \
                `levqor keys create NAME --scopes admin,operate,submit,read,ai --offline`";
            return Err(ConfigError::hidden("API_KEYS", allowed));
        }
        let database = parse::database(&vars)?;
        Ok(Config {
            backup_daily: vars.choice("BACKUP_DAILY", &[("true", true), ("false", false)], true)?,
            backup_dir: parse::backup_dir(&vars, &database),
            backup_keep: vars.number("BACKUP_KEEP", 1, 100_000, 14)? as usize,
            backup_s3_url: parse::backup_s3_url(&vars)?,
            host: parse::host(&vars, api_keys.is_empty() && !stored.any)?,
            port: vars.number("PORT", 0, 65_535, 5_000)? as u16,
            api_keys,
            environment,
            rate_burst: vars.number("RATE_BURST", 1, 1_000_000_000, 20)? as u32,
            rate_global: vars.number("RATE_GLOBAL", 1, 1_000_000_000, 200)? as u32,
            max_content_length_bytes: vars.number("MAX_CONTENT_LENGTH", 1, 1 << 30, 524_288)? as usize,
            batch_max_bytes: vars.number("BATCH_MAX_BYTES", 1, 1 << 30, 16 << 20)? as usize,
            max_connections: vars.number("MAX_CONNECTIONS", 8, 1_000_000, 4_096)? as usize,
            trusted_proxies: vars.networks("TRUSTED_PROXIES")?,
            tls: parse::tls(&vars)?,
            database,
            build_id: vars.get("BUILD_ID").unwrap_or("dev").to_owned(),
            public_user_reads: vars.choice(
                "PUBLIC_USER_READS",
                &[("true", true), ("false", false)],
                environment == Environment::Development,
            )?,
            log_level: vars.choice(
                "LOG_LEVEL",
                &[
                    ("error", LogLevel::Error),
                    ("warn", LogLevel::Warn),
                    ("info", LogLevel::Info),
                    ("debug", LogLevel::Debug),
                    ("trace", LogLevel::Trace),
                ],
                LogLevel::Info,
            )?,
            log_format: vars.choice(
                "LOG_FORMAT",
                &[("text", LogFormat::Text), ("json", LogFormat::Json)],
                LogFormat::Text,
            )?,
            outbound_allow: vars.networks("OUTBOUND_ALLOW")?,
            public_base_url: parse::public_base_url(&vars)?,
            content_dir: vars.get("CONTENT_DIR").map(PathBuf::from),
            vendors: parse::vendors(&vars)?,
            email: email::email(&vars)?,
            alerts: alerts::alerts(&vars)?,
            stripe: parse::stripe(&vars)?,
            cost_reports: cost_reports::cost_reports(&vars)?,
            public_checkout: vars.choice("PUBLIC_CHECKOUT", &[("true", true), ("false", false)], false)?,
            workflows_dir: vars.get("WORKFLOWS_DIR").unwrap_or("workflows").into(),
            workers: vars.number("WORKERS", 1, 100_000, 64)? as usize,
            shutdown_grace: vars.duration(
                "SHUTDOWN_GRACE",
                Duration::from_secs(3_600),
                Duration::from_secs(30),
            )?,
            callback_secrets: parse::callback_secrets(&vars)?,
            retention_days: vars.number("RETENTION_DAYS", 1, 36_500, 30)? as u32,
            retention_jobs: match vars.get("RETENTION_JOBS") {
                None | Some("none") => None,
                Some(_) => Some(vars.number("RETENTION_JOBS", 1, i64::MAX as u64, 1)?),
            },
            secret_key: parse::seal_key(&vars, "SECRET_KEY")?,
            secret_key_old: parse::seal_key(&vars, "SECRET_KEY_OLD")?,
            ai: ai::ai(&vars)?,
            ai_rate: vars.number("AI_RATE", 1, 1_000_000_000, 600)? as u32,
            ai_max_body_bytes: vars.number("AI_MAX_BODY", 1, 1 << 30, 16 << 20)? as usize,
            secrets: parse::secrets(&vars)?,
        })
    }

    /// What is in force, in the order of [`SETTINGS`], secrets hidden.
    pub fn describe(&self) -> Vec<(String, String)> {
        let mut lines: Vec<_> = SETTINGS
            .iter()
            .filter(|s| !s.name.ends_with('*'))
            .map(|s| (s.name.to_owned(), self.shown(s.name)))
            .collect();
        lines.extend(self.ai.key_variables().map(|name| (name, "(hidden)".to_owned())));
        lines.extend(self.secrets.keys().map(|name| (format!("SECRET_{name}"), "(hidden)".to_owned())));
        lines
    }

    fn shown(&self, name: &str) -> String {
        let networks = |nets: &[IpNet]| nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",");
        if let Some(shown) = self.ai.shown(name) {
            return shown;
        }
        let hidden = |count: usize| if count == 0 { String::new() } else { format!("({count} hidden)") };
        match name {
            "HOST" => self.host.to_string(),
            "PORT" => self.port.to_string(),
            "API_KEYS" => hidden(self.api_keys.len()),
            "API_KEYS_NEXT" => "(counted with API_KEYS)".to_owned(),
            "LEVQOR_ENV" => format!("{:?}", self.environment).to_lowercase(),
            "RATE_BURST" => self.rate_burst.to_string(),
            "RATE_GLOBAL" => self.rate_global.to_string(),
            "MAX_CONTENT_LENGTH" => self.max_content_length_bytes.to_string(),
            "AI_RATE" => self.ai_rate.to_string(),
            "AI_MAX_BODY" => self.ai_max_body_bytes.to_string(),
            "BATCH_MAX_BYTES" => self.batch_max_bytes.to_string(),
            "MAX_CONNECTIONS" => self.max_connections.to_string(),
            "TRUSTED_PROXIES" => networks(&self.trusted_proxies),
            "TLS_CERT" => {
                self.tls.as_ref().map_or(String::new(), |tls| tls.certificate.display().to_string())
            }
            "TLS_KEY" => self.tls.as_ref().map_or(String::new(), |tls| tls.key.display().to_string()),
            "SQLITE_PATH" => match &self.database {
                Database::Sqlite(path) => path.display().to_string(),
                Database::Postgres(_) => String::new(),
            },
            "DATABASE_URL" => match &self.database {
                Database::Sqlite(_) => String::new(),
                Database::Postgres(_) => "(hidden)".to_owned(),
            },
            "BUILD_ID" => self.build_id.clone(),
            "PUBLIC_USER_READS" => self.public_user_reads.to_string(),
            "LOG_LEVEL" => format!("{:?}", self.log_level).to_lowercase(),
            "LOG_FORMAT" => format!("{:?}", self.log_format).to_lowercase(),
            "OUTBOUND_ALLOW" => networks(&self.outbound_allow),
            "PUBLIC_BASE_URL" => self.public_base_url.clone(),
            "CONTENT_DIR" => {
                self.content_dir.as_ref().map_or_else(String::new, |dir| dir.display().to_string())
            }
            "SLACK_BASE_URL" => self.vendors.slack.clone(),
            "TELEGRAM_BASE_URL" => self.vendors.telegram.clone(),
            "NOTION_BASE_URL" => self.vendors.notion.clone(),
            "GMAIL_BASE_URL" => self.vendors.gmail.clone(),
            "GOOGLE_TOKEN_URL" => self.vendors.google_token.clone(),
            "RESEND_API_KEY" => hidden(matches!(self.email.provider, Some(Provider::Resend { .. })) as usize),
            "RESEND_BASE_URL" => self.email.resend_base_url.clone(),
            "SMTP_URL" => hidden(matches!(self.email.provider, Some(Provider::Smtp(_))) as usize),
            "EMAIL_DOMAIN" => self.email.domain.clone(),
            "RECEIVING_EMAIL" => self.email.receiving.clone().unwrap_or_default(),
            "ALERT_EMAIL" => self.alerts.email.join(","),
            "ALERT_SLACK" => self.alerts.slack.as_ref().map_or_else(String::new, ToString::to_string),
            "ALERT_CALLBACK" => hidden(usize::from(self.alerts.callback.is_some())),
            "ALERT_WORKFLOW" => self.alerts.workflow.clone().unwrap_or_default(),
            "STRIPE_BASE_URL" => self.vendors.stripe.clone(),
            "STRIPE_SECRET_KEY" => hidden(usize::from(self.stripe.secret_key.is_some())),
            "STRIPE_WEBHOOK_SECRET" => hidden(self.stripe.webhook_secrets.len()),
            "STRIPE_PRICES" => self.stripe.prices.join(","),
            "OPENAI_ADMIN_KEY" => hidden(usize::from(self.cost_reports.openai_key.is_some())),
            "OPENAI_ADMIN_URL" => self.cost_reports.openai_url.clone(),
            "ANTHROPIC_ADMIN_KEY" => hidden(usize::from(self.cost_reports.anthropic_key.is_some())),
            "ANTHROPIC_ADMIN_URL" => self.cost_reports.anthropic_url.clone(),
            "STRIPE_METER_EVENT" => self.stripe.meter_event.clone().unwrap_or_default(),
            "PUBLIC_CHECKOUT" => self.public_checkout.to_string(),
            "WORKFLOWS_DIR" => self.workflows_dir.display().to_string(),
            "WORKERS" => self.workers.to_string(),
            "SHUTDOWN_GRACE" => format_duration(self.shutdown_grace.as_millis() as i64),
            "SECRET_KEY" => hidden(usize::from(self.secret_key.is_some())),
            "SECRET_KEY_OLD" => hidden(usize::from(self.secret_key_old.is_some())),
            "CALLBACK_SECRET" => hidden(self.callback_secrets.len()),
            "RETENTION_DAYS" => self.retention_days.to_string(),
            "BACKUP_DAILY" => self.backup_daily.to_string(),
            "BACKUP_DIR" => self.backup_dir.display().to_string(),
            "BACKUP_KEEP" => self.backup_keep.to_string(),
            "BACKUP_S3_URL" => hidden(usize::from(self.backup_s3_url.is_some())),
            "RETENTION_JOBS" => self.retention_jobs.map_or("none".to_owned(), |count| count.to_string()),
            _ => String::new(),
        }
    }
}

/// The address that is listened on when `HOST` says nothing.
fn default_host(is_open: bool) -> IpAddr {
    IpAddr::V4(if is_open { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED })
}

#[cfg(test)]
mod tests;
