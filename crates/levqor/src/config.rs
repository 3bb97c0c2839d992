//! The one place that reads the environment. Everything else is handed a [`Config`].
//!
//! Sources, weakest first: defaults, a `.env` file in the working directory, the process environment. A wrong value stops the
//! start with one line that names the variable, the value (never a secret's) and what is allowed. The table of all
//! settings stands in `config/settings.rs`; docs/configuration.md repeats it, and a test compares the two.

mod email;
mod parse;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use levqor_connectors::Bases;
use levqor_connectors::email::Provider;
use levqor_core::duration::format_duration;

pub use email::Email;
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
}

/// All that can be set, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub host: IpAddr,
    pub port: u16,
    /// All of `API_KEYS` and `API_KEYS_NEXT`. Empty: development mode, everything is allowed, on loopback only.
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
    pub stripe: Stripe,
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
    /// Values for `{{ secrets.NAME }}`, without the `SECRET_` of their variables.
    pub secrets: BTreeMap<String, Secret>,
}

impl Config {
    /// Reads `.env` in the working directory, if there is one, then the environment, which wins, then `arguments` (of the
    /// command line), which win over both; an empty argument unsets what the others say.
    #[allow(clippy::disallowed_methods, reason = "this is the Config that everything else is handed")]
    pub fn load_with(arguments: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
        let mut vars = BTreeMap::new();
        match dotenvy::from_path_iter(".env") {
            Ok(entries) => {
                for entry in entries {
                    let (name, value) = entry.map_err(|error| ConfigError::file(&error))?;
                    vars.insert(name, value);
                }
            }
            Err(error) if error.not_found() => {}
            Err(error) => return Err(ConfigError::file(&error)),
        }
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
        Config::from_map(&vars)
    }

    /// The same from a map: what tests and `levqor demo` use. Names that are not ours are passed over.
    pub fn from_map(map: &BTreeMap<String, String>) -> Result<Config, ConfigError> {
        let vars = Vars(map);
        let api_keys = parse::api_keys(&vars)?;
        let environment = vars.choice(
            "LEVQOR_ENV",
            &[("development", Environment::Development), ("production", Environment::Production)],
            Environment::Development,
        )?;
        if environment == Environment::Production && api_keys.is_empty() {
            return Err(ConfigError::hidden("API_KEYS", "LEVQOR_ENV=production needs at least one key"));
        }
        let database = parse::database(&vars)?;
        Ok(Config {
            backup_daily: vars.choice("BACKUP_DAILY", &[("true", true), ("false", false)], true)?,
            backup_dir: parse::backup_dir(&vars, &database),
            backup_keep: vars.number("BACKUP_KEEP", 1, 100_000, 14)? as usize,
            backup_s3_url: parse::backup_s3_url(&vars)?,
            host: parse::host(&vars, api_keys.is_empty())?,
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
            stripe: parse::stripe(&vars)?,
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
            secrets: parse::secrets(&vars)?,
        })
    }

    /// Whether everybody is let in because no key was set.
    pub fn is_open(&self) -> bool {
        self.api_keys.is_empty()
    }

    /// What is in force, in the order of [`SETTINGS`], secrets hidden.
    pub fn describe(&self) -> Vec<(String, String)> {
        let mut lines: Vec<_> = SETTINGS
            .iter()
            .filter(|s| s.name != "SECRET_*")
            .map(|s| (s.name.to_owned(), self.shown(s.name)))
            .collect();
        lines.extend(self.secrets.keys().map(|name| (format!("SECRET_{name}"), "(hidden)".to_owned())));
        lines
    }

    fn shown(&self, name: &str) -> String {
        let networks = |nets: &[IpNet]| nets.iter().map(IpNet::to_string).collect::<Vec<_>>().join(",");
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
            "STRIPE_BASE_URL" => self.vendors.stripe.clone(),
            "STRIPE_SECRET_KEY" => hidden(usize::from(self.stripe.secret_key.is_some())),
            "STRIPE_WEBHOOK_SECRET" => hidden(self.stripe.webhook_secrets.len()),
            "STRIPE_PRICES" => self.stripe.prices.join(","),
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Base64 of 32 bytes.
    const KEY: &str = "k3yAABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmquxA=";

    fn config(vars: &[(&str, &str)]) -> Result<Config, String> {
        let map = vars.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Config::from_map(&map).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_set_is_development_on_loopback() {
        let config = config(&[]).unwrap();

        assert_eq!(config.host.to_string(), "127.0.0.1");
        assert_eq!(config.port, 5000);
        assert!(config.is_open());
        assert_eq!(config.database, Database::Sqlite("levqor.db".into()));
        assert_eq!((config.rate_burst, config.rate_global), (20, 200));
    }

    #[test]
    fn keys_are_trimmed_and_both_lists_count() {
        let config = config(&[("API_KEYS", "a, b,,"), ("API_KEYS_NEXT", " c ")]).unwrap();

        let keys: Vec<_> = config.api_keys.iter().map(Secret::reveal).collect();
        assert_eq!(keys, ["a", "b", "c"]);
        assert_eq!(config.host.to_string(), "0.0.0.0");
    }

    #[test]
    fn a_wrong_value_stops_the_start_with_one_line_that_names_it() {
        type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);
        let cases: &[Case] = &[
            (&[("PORT", "http")], &["PORT", "http", "0 to 65535"]),
            (&[("PORT", "70000")], &["PORT", "70000", "0 to 65535"]),
            (&[("RATE_BURST", "0")], &["RATE_BURST", "\"0\"", "1 to"]),
            (&[("MAX_CONTENT_LENGTH", "512K")], &["MAX_CONTENT_LENGTH", "512K"]),
            (&[("LEVQOR_ENV", "prod")], &["LEVQOR_ENV", "prod", "development, production"]),
            (&[("PUBLIC_USER_READS", "no")], &["PUBLIC_USER_READS", "\"no\"", "true, false"]),
            (&[("LOG_LEVEL", "loud")], &["LOG_LEVEL", "loud", "error, warn, info"]),
            (&[("LOG_FORMAT", "xml")], &["LOG_FORMAT", "xml", "text, json"]),
            (&[("TRUSTED_PROXIES", "10.0.0.0/8,nonsense")], &["TRUSTED_PROXIES", "nonsense", "network"]),
            (&[("TLS_CERT", "cert.pem")], &["TLS_CERT", "TLS_KEY", "both"]),
            (&[("TLS_KEY", "key.pem")], &["TLS_CERT", "TLS_KEY", "both"]),
            (&[("SHUTDOWN_GRACE", "30")], &["SHUTDOWN_GRACE", "\"30\"", "30s"]),
            (&[("HOST", "example.com"), ("API_KEYS", "k")], &["HOST", "example.com", "address"]),
            (&[("HOST", "0.0.0.0")], &["HOST", "0.0.0.0", "API_KEYS", "loopback"]),
            (&[("API_KEYS", ",")], &["API_KEYS"]),
            (&[("API_KEYS_NEXT", "k")], &["API_KEYS_NEXT", "API_KEYS"]),
            (&[("API_KEYS", "k"), ("API_KEYS_NEXT", " , ")], &["API_KEYS_NEXT"]),
            (&[("LEVQOR_ENV", "production")], &["API_KEYS", "production"]),
            (
                &[("SQLITE_PATH", "x.db"), ("DATABASE_URL", "postgres://h/d")],
                &["SQLITE_PATH", "DATABASE_URL"],
            ),
            (&[("DATABASE_URL", "mysql://u:p4ss@h/d")], &["DATABASE_URL", "postgres://"]),
            (&[("CALLBACK_SECRET", "p4ss")], &["CALLBACK_SECRET", "whsec_"]),
            (&[("PUBLIC_BASE_URL", "api.levqor.ai")], &["PUBLIC_BASE_URL", "api.levqor.ai", "https://"]),
            (&[("PUBLIC_BASE_URL", "https://levqor.ai/x")], &["PUBLIC_BASE_URL", "/x", "https://"]),
            (&[("PUBLIC_BASE_URL", "https://u:p4ss@levqor.ai")], &["PUBLIC_BASE_URL", "https://"]),
            (&[("SLACK_BASE_URL", "slack.com")], &["SLACK_BASE_URL", "slack.com", "https://"]),
            (&[("GOOGLE_TOKEN_URL", "http://a/b?c")], &["GOOGLE_TOKEN_URL", "http://a/b?c"]),
            (&[("SECRET_KEY", "p4ss")], &["SECRET_KEY", "64 hex digits"]),
            (&[("SECRET_KEY_OLD", "p4ss")], &["SECRET_KEY_OLD", "64 hex digits"]),
            (&[("SECRET_KEY_OLD", KEY)], &["SECRET_KEY_OLD", "SECRET_KEY is not"]),
            (
                &[("RESEND_API_KEY", "p4ss"), ("SMTP_URL", "smtps://u:p4ss@h")],
                &["RESEND_API_KEY", "SMTP_URL"],
            ),
            (&[("RESEND_API_KEY", "re p4ss")], &["RESEND_API_KEY", "visible"]),
            (&[("SMTP_URL", "mail.example.com:p4ss")], &["SMTP_URL", "smtps://"]),
            (&[("SMTP_URL", "smtp://u:p4ss@h?tls=none")], &["SMTP_URL", "unencrypted"]),
            (&[("RESEND_BASE_URL", "api.resend.com")], &["RESEND_BASE_URL", "api.resend.com", "https://"]),
            (&[("EMAIL_DOMAIN", "localhost")], &["EMAIL_DOMAIN", "localhost", "example.com"]),
            (&[("EMAIL_DOMAIN", "a@b.org")], &["EMAIL_DOMAIN", "a@b.org"]),
            (&[("RECEIVING_EMAIL", "me")], &["RECEIVING_EMAIL", "\"me\"", "@"]),
            (&[("STRIPE_BASE_URL", "stripe")], &["STRIPE_BASE_URL", "stripe", "https://"]),
            (&[("STRIPE_SECRET_KEY", "p4ss p4ss")], &["STRIPE_SECRET_KEY", "blanks"]),
            (&[("STRIPE_WEBHOOK_SECRET", "p4ss,p4ss,p4ss")], &["STRIPE_WEBHOOK_SECRET", "two"]),
            (&[("STRIPE_PRICES", "price_1,a b")], &["STRIPE_PRICES", "a b"]),
            (&[("PUBLIC_CHECKOUT", "yes")], &["PUBLIC_CHECKOUT", "yes", "true"]),
            (&[("RETENTION_JOBS", "-1")], &["RETENTION_JOBS", "-1"]),
            (&[("BACKUP_KEEP", "0")], &["BACKUP_KEEP", "\"0\"", "1 to"]),
            (&[("BACKUP_DAILY", "never")], &["BACKUP_DAILY", "never", "true, false"]),
            (
                &[("BACKUP_S3_URL", "https://k:p4ss@s3.example.com")],
                &["BACKUP_S3_URL", "https://KEY:SECRET@host/bucket"],
            ),
            (&[("SECRET_a-b", "p4ss")], &["SECRET_a-b", "letters"]),
        ];

        for (vars, words) in cases {
            let error = config(vars).expect_err(&format!("{vars:?} must be refused"));
            for word in *words {
                assert!(error.contains(word), "{vars:?}: {error:?} must contain {word:?}");
            }
            assert!(!error.contains("p4ss"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn people_can_be_looked_up_without_a_key_unless_it_is_production_or_closed() {
        let production = [("LEVQOR_ENV", "production"), ("API_KEYS", "k")];
        let open = [&production[..], &[("PUBLIC_USER_READS", "true")]].concat();

        assert!(config(&[]).unwrap().public_user_reads);
        assert!(config(&[("API_KEYS", "k")]).unwrap().public_user_reads);
        assert!(!config(&[("PUBLIC_USER_READS", "false")]).unwrap().public_user_reads);
        assert!(!config(&production).unwrap().public_user_reads);
        assert!(config(&open).unwrap().public_user_reads);
    }

    #[test]
    fn backups_stand_beside_the_database_unless_said_otherwise() {
        let dir = |vars: &[(&str, &str)]| config(vars).unwrap().backup_dir.display().to_string();

        assert_eq!(dir(&[]), "backups");
        assert_eq!(dir(&[("SQLITE_PATH", "/var/lib/levqor/levqor.db")]), "/var/lib/levqor/backups");
        assert_eq!(dir(&[("DATABASE_URL", "postgres://h/d")]), "backups");
        assert_eq!(dir(&[("BACKUP_DIR", "/mnt/b"), ("SQLITE_PATH", "/a/b.db")]), "/mnt/b");
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let from_map = config;
        let config = from_map(&[
            ("API_KEYS", "k3y-one"),
            ("DATABASE_URL", "postgres://u:k3y-two@h/d"),
            ("SECRET_CRM", "k3y-three"),
            ("SECRET_KEY", KEY),
            ("SECRET_KEY_OLD", KEY),
            ("BACKUP_S3_URL", "https://ak:k3y-four@s3.example.com/bucket"),
            ("SMTP_URL", "smtps://k3y-user:k3y-four@h"),
            ("STRIPE_SECRET_KEY", "k3y-four"),
            ("STRIPE_WEBHOOK_SECRET", "k3y-five,k3y-six"),
            ("CALLBACK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
        ])
        .unwrap();

        let other = from_map(&[("RESEND_API_KEY", "k3y-five")]).unwrap();
        let shown = format!("{config:?} {:?} {other:?} {:?}", config.describe(), other.describe());
        assert!(!shown.contains("k3y") && !shown.contains("whsec_"), "{shown}");
        assert!(shown.contains("SECRET_CRM"));
        assert_eq!(config.secrets["CRM"].reveal(), "k3y-three");
        assert_eq!(config.secrets.len(), 1, "what seals is no secret of workflows");
        assert_eq!(config.secret_key.unwrap().reveal(), KEY);
    }

    #[test]
    fn what_is_in_force_is_listed_in_the_order_of_the_table() {
        let lines = config(&[("PORT", "8080")]).unwrap().describe();

        let names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
        let table: Vec<_> = SETTINGS.iter().map(|s| s.name).filter(|name| *name != "SECRET_*").collect();
        assert_eq!(names, table);
        assert!(lines.contains(&("PORT".to_owned(), "8080".to_owned())));
    }

    #[test]
    fn the_page_about_configuration_says_what_the_table_says() {
        let page = include_str!("../../../docs/configuration.md");
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();

        let expected: Vec<_> = SETTINGS.iter().map(Setting::row).collect();
        assert_eq!(rows, expected, "docs/configuration.md must hold exactly these rows");
    }

    #[test]
    fn the_example_file_explains_every_setting_and_changes_none() {
        let file = include_str!("../../../.env.example");
        let explained: Vec<_> = file.trim_end().split("\n\n").skip(1).collect();

        let expected: Vec<_> = SETTINGS.iter().map(Setting::example).collect();
        assert_eq!(explained, expected, ".env.example must hold exactly these lines below its head");
        assert_eq!(dotenvy::from_read_iter(file.as_bytes()).count(), 0, "a copy of it sets nothing");
        let all = file.lines().filter(|line| line.starts_with('#') && !line.starts_with("# "));
        let all: String = all.map(|line| format!("{}\n", &line[1..])).collect();
        let set = dotenvy::from_read_iter(all.as_bytes()).collect::<Result<BTreeMap<_, _>, _>>().unwrap();
        assert_eq!(set.len(), SETTINGS.len());
        // The address goes with keys, and the secret is one that there is not by default.
        let set =
            set.into_iter().filter(|(name, _)| !matches!(name.as_str(), "HOST" | "SECRET_NAME")).collect();
        assert_eq!(Config::from_map(&set).unwrap().describe(), config(&[]).unwrap().describe());
    }
}
