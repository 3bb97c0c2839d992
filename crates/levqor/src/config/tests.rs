//! What may be set, what stops the start, and that no secret is shown.

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
    assert!(config.api_keys.is_empty());
    assert_eq!(config.database, Database::Sqlite("levqor.db".into()));
    assert_eq!((config.rate_burst, config.rate_global), (20, 200));
}

#[test]
fn keys_of_the_database_close_a_server_and_let_production_start() {
    let with = |vars: &[(&str, &str)], any, usable| {
        let map = vars.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Config::from_map_with(&map, KeyTally { any, usable }).map_err(|error| error.to_string())
    };

    assert_eq!(with(&[], true, true).unwrap().host.to_string(), "0.0.0.0");
    assert_eq!(with(&[], true, false).unwrap().host.to_string(), "0.0.0.0", "all revoked is not open");
    assert!(with(&[("HOST", "10.0.0.1")], true, false).is_ok());
    assert!(with(&[("LEVQOR_ENV", "production")], true, true).is_ok());
    let refused = with(&[("LEVQOR_ENV", "production")], true, false).unwrap_err();
    assert!(refused.contains("levqor keys create") && refused.contains("API_KEYS"), "{refused}");
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
        (&[("SQLITE_PATH", "x.db"), ("DATABASE_URL", "postgres://h/d")], &["SQLITE_PATH", "DATABASE_URL"]),
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
        (&[("RESEND_API_KEY", "p4ss"), ("SMTP_URL", "smtps://u:p4ss@h")], &["RESEND_API_KEY", "SMTP_URL"]),
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
        (&[("STRIPE_SECRET_KEY", "k"), ("STRIPE_METER_EVENT", "a b")], &["STRIPE_METER_EVENT", "a b"]),
        (&[("STRIPE_METER_EVENT", "ai")], &["STRIPE_METER_EVENT", "STRIPE_SECRET_KEY"]),
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
        ("OPENAI_API_KEY", "k3y-seven"),
        ("AI_PROVIDERS", "vllm=http://10.0.0.5:8000/v1"),
        ("AI_KEY_VLLM", "k3y-eight"),
        ("STRIPE_WEBHOOK_SECRET", "k3y-five,k3y-six"),
        ("CALLBACK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="),
    ])
    .unwrap();

    let other = from_map(&[("RESEND_API_KEY", "k3y-five")]).unwrap();
    let shown = format!("{config:?} {:?} {other:?} {:?}", config.describe(), other.describe());
    assert!(!shown.contains("k3y") && !shown.contains("whsec_"), "{shown}");
    assert!(shown.contains("SECRET_CRM") && shown.contains("AI_KEY_VLLM"));
    assert_eq!(config.secrets["CRM"].reveal(), "k3y-three");
    assert_eq!(config.secrets.len(), 1, "what seals is no secret of workflows");
    assert_eq!(config.secret_key.unwrap().reveal(), KEY);
}

#[test]
fn what_is_in_force_is_listed_in_the_order_of_the_table() {
    let lines = config(&[("PORT", "8080")]).unwrap().describe();

    let names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
    let table: Vec<_> = SETTINGS.iter().map(|s| s.name).filter(|name| !name.ends_with('*')).collect();
    assert_eq!(names, table);
    assert!(lines.contains(&("PORT".to_owned(), "8080".to_owned())));
}

#[test]
fn the_page_about_configuration_says_what_the_table_says() {
    let page = include_str!("../../../../docs/configuration.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();

    let expected: Vec<_> = SETTINGS.iter().map(Setting::row).collect();
    assert_eq!(rows, expected, "docs/configuration.md must hold exactly these rows");
}

#[test]
fn the_example_file_explains_every_setting_and_changes_none() {
    let file = include_str!("../../../../.env.example");
    let explained: Vec<_> = file.trim_end().split("\n\n").skip(1).collect();

    let expected: Vec<_> = SETTINGS.iter().map(Setting::example).collect();
    assert_eq!(explained, expected, ".env.example must hold exactly these lines below its head");
    assert_eq!(dotenvy::from_read_iter(file.as_bytes()).count(), 0, "a copy of it sets nothing");
    let all = file.lines().filter(|line| line.starts_with('#') && !line.starts_with("# "));
    let all: String = all.map(|line| format!("{}\n", &line[1..])).collect();
    let set = dotenvy::from_read_iter(all.as_bytes()).collect::<Result<BTreeMap<_, _>, _>>().unwrap();
    assert_eq!(set.len(), SETTINGS.len());
    // The address goes with keys, and the secret is one that there is not by default.
    let set = set.into_iter().filter(|(name, _)| !matches!(name.as_str(), "HOST" | "SECRET_NAME")).collect();
    assert_eq!(Config::from_map(&set).unwrap().describe(), config(&[]).unwrap().describe());
}

#[test]
fn who_is_told_of_thresholds_is_checked_and_a_callback_is_never_shown() {
    let all = config(&[
        ("ALERT_EMAIL", " Ops@Example.com, b@example.org"),
        ("ALERT_SLACK", "team-slack/#ops"),
        ("ALERT_CALLBACK", "https://example.com/hook?token=canary"),
        ("ALERT_WORKFLOW", "on-alert"),
    ])
    .unwrap();

    assert_eq!(all.alerts.email, ["ops@example.com", "b@example.org"]);
    assert_eq!(all.alerts.slack.as_ref().map(ToString::to_string).as_deref(), Some("team-slack/#ops"));
    assert!(all.describe().iter().all(|(_, value)| !value.contains("canary")));
    assert_eq!(config(&[]).unwrap().alerts, levqor_core::budget::Recipients::default());
    let eleven = ["a@example.com"; 11].join(",");
    for (name, value, what) in [
        ("ALERT_EMAIL", "ops", "ALERT_EMAIL"),
        ("ALERT_EMAIL", &eleven, "10 addresses"),
        ("ALERT_SLACK", "ops", "connection/channel"),
        ("ALERT_CALLBACK", "http://localhost/canary", "ALERT_CALLBACK"),
        ("ALERT_CALLBACK", "canary", "http://"),
    ] {
        let problem = config(&[(name, value)]).unwrap_err().to_string();
        assert!(problem.contains(what) && !problem.contains("canary"), "{name}={value}: {problem}");
    }
}
