//! No secret ever comes out: every configured one is marked, everything that can be asked for is asked for, and then nothing
//! that was answered, logged or written holds a mark.

use std::path::Path;

use levqor_testkit::{Answer, Receiver, Say, SmtpServer, TempDir};
use serde_json::{Value, json};

use crate::program::{Running, levqor};

const API_KEY: &str = "c4n4ry-api-key";
const SECRETS: [(&str, &str); 14] = [
    ("API_KEYS", API_KEY),
    ("API_KEYS_NEXT", "c4n4ry-next-key"),
    ("SECRET_CRM", "c4n4ry-crm-token"),
    ("SECRET_KEY", "abc4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4"),
    ("SECRET_KEY_OLD", "abd5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5"),
    ("CALLBACK_SECRET", "whsec_YzRuNHJ5YzRuNHJ5YzRuNHJ5YzRuNHJ5YzRuNHI="),
    ("RESEND_API_KEY", "re_c4n4ry"),
    ("STRIPE_SECRET_KEY", "sk_test_c4n4ry"),
    ("STRIPE_WEBHOOK_SECRET", "whsec_c4n4ry_stripe"),
    ("BACKUP_S3_URL", "https://c4n4ry-s3-id:c4n4ry-s3-secret@127.0.0.1:9/bucket"),
    ("RECEIVING_EMAIL", "ada@example.org"),
    ("OPENAI_API_KEY", "sk-c4n4ry"),
    ("AI_PROVIDERS", "own=http://127.0.0.1:9/v1"),
    ("AI_KEY_OWN", "c4n4ry-own-key"),
];
/// What is looked for.
const MARKS: [&str; 6] = [
    "c4n4ry",
    "c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4c4",
    "d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5",
    "YzRuNHJ5YzRuNHJ5YzRuNHJ5",
    "xoxb-given-mark",
    "xoxb-stored-mark",
];

const WORKFLOW: &str = r#"
name: ask-crm
steps:
  - id: ask
    http:
      method: POST
      url: "{{ payload.url }}"
      headers: { authorization: "Bearer {{ secrets.CRM }}" }
      json: { n: 1 }
  - id: tell
    connect: slack.post_message
    connection: team
    with: { channel: "C1", text: "hello" }
"#;

/// Fails when a mark stands anywhere in it.
fn check(what: &str, bytes: &[u8]) {
    for mark in MARKS {
        let found = bytes.windows(mark.len()).position(|window| window == mark.as_bytes());
        if let Some(place) = found {
            let around = &bytes[place.saturating_sub(80)..(place + 40).min(bytes.len())];
            panic!("{what} holds {mark:?}: …{}…", String::from_utf8_lossy(around));
        }
    }
}

fn check_files(dir: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            count += check_files(&path);
        } else {
            check(&path.display().to_string(), &std::fs::read(&path).unwrap());
            count += 1;
        }
    }
    count
}

/// Asks with the key and looks at the answer.
fn ask(server: &Running, what: &str, body: &Value) -> (u16, Value) {
    let key = format!("X-Api-Key: {API_KEY}");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, answer) = server.ask(what, &[&key, "Content-Type: application/json"], &body);
    check(what, answer.as_bytes());
    (status, serde_json::from_str(&answer).unwrap_or(Value::Null))
}

#[test]
fn no_secret_comes_out_of_answers_pages_metrics_logs_the_database_or_backups() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let vendor = runtime.block_on(Receiver::start());
    vendor.script("/chat.postMessage", [Answer::json(&json!({"ok": true, "ts": "1.2", "channel": "C1"}))]);
    let vendor_url = vendor.url("");
    let mut vars = vec![
        ("OUTBOUND_ALLOW", "127.0.0.0/8"),
        ("LOG_LEVEL", "debug"),
        // Nobody answers where the bucket is said to be, and the end would wait for the copy.
        ("SHUTDOWN_GRACE", "2s"),
        ("HOST", "127.0.0.1"),
        ("RATE_BURST", "1000"),
        ("RATE_GLOBAL", "1000"),
        ("STRIPE_PRICES", "price_1"),
        ("EMAIL_DOMAIN", "example.com"),
        ("PUBLIC_BASE_URL", "https://api.example.com"),
    ];
    for name in
        ["SLACK_BASE_URL", "NOTION_BASE_URL", "TELEGRAM_BASE_URL", "RESEND_BASE_URL", "STRIPE_BASE_URL"]
    {
        vars.push((name, &vendor_url));
    }
    vars.extend(SECRETS);
    let server = Running::start(&vars, |dir| std::fs::write(dir.join("ask-crm.yaml"), WORKFLOW).unwrap());

    let connection = json!({"name": "team", "connector": "slack", "token": "xoxb-stored-mark"});
    let stored = ask(&server, "POST /api/v1/connections", &connection);
    assert_eq!(stored.0, 201, "{stored:?}");
    let given = json!({"action": "post_message", "token": "xoxb-given-mark", "params": {"channel": "C1", "text": "x"}});
    ask(&server, "POST /api/v1/connect/slack", &given);
    ask(
        &server,
        "POST /api/v1/connect/notion",
        &json!({"action": "search", "token": "xoxb-given-mark", "params": {"query": "x"}}),
    );
    ask(&server, "POST /api/v1/connect/telegram", &json!({"action": "get_me", "token": "xoxb-given-mark"}));
    let job = json!({"workflow": "ask-crm", "payload": {"url": vendor.url("/crm")}, "callback_url": vendor.url("/callback")});
    let (status, accepted) = ask(&server, "POST /api/v1/intake", &job);
    assert_eq!(status, 202, "{accepted}");
    let id = accepted["job_id"].as_str().unwrap().to_owned();
    ask(&server, &format!("GET /api/v1/status/{id}?wait=20s"), &Value::Null);
    let mail = json!({"workflow": "levqor-email", "payload": {"from": "support", "to": ["ada@example.org"], "subject": "x", "text": "y"}});
    assert_eq!(ask(&server, "POST /api/v1/intake", &mail).0, 202);
    ask(&server, "POST /billing/create-checkout-session", &json!({}));
    ask(&server, "POST /billing/webhook", &json!({"id": "evt_1"}));
    let user = json!({"email": "ada@example.org", "name": "Ada"});
    let (_, user) = ask(&server, "POST /api/v1/users/upsert", &user);
    let user = user["user"]["id"].as_str().unwrap_or_default().to_owned();
    let (status, key) = ask(&server, "POST /api/v1/keys", &json!({"name": "nightly", "scopes": ["read"]}));
    assert_eq!(status, 201, "{key}");
    runtime.block_on(vendor.wait_for(7, std::time::Duration::from_secs(20)));
    ask(&server, "POST /api/v1/ops/backup", &Value::Null);

    let gets = [
        format!("/api/v1/jobs/{id}"),
        "/api/v1/jobs".to_owned(),
        "/api/v1/workflows".to_owned(),
        "/api/v1/workflows/ask-crm".to_owned(),
        "/api/v1/connections".to_owned(),
        "/api/v1/connections/team".to_owned(),
        "/api/v1/connectors".to_owned(),
        "/api/v1/keys".to_owned(),
        "/api/v1/audit".to_owned(),
        "/api/v1/emails".to_owned(),
        format!("/api/v1/users/{user}/export"),
        "/api/v1/ops/health".to_owned(),
        "/api/v1/ops/backups".to_owned(),
        "/metrics".to_owned(),
        "/public/metrics".to_owned(),
        "/public/openapi.json".to_owned(),
    ];
    for path in gets {
        assert_eq!(ask(&server, &format!("GET {path}"), &Value::Null).0, 200, "{path}");
    }
    let (_, map) = server.ask("GET /sitemap.xml", &[], "");
    let pages: Vec<&str> =
        map.split("<loc>https://api.example.com").skip(1).filter_map(|rest| rest.split('<').next()).collect();
    assert!(pages.len() > 10, "{map}");
    for page in pages {
        let (status, text) = server.ask(&format!("GET {page}"), &[], "");
        assert_eq!(status, 200, "{page}");
        check(page, text.as_bytes());
    }
    let config = levqor(server.dir.path(), &vars, &["config"]);
    check("levqor config", format!("{}{}", config.out, config.err).as_bytes());

    // The secrets were in use: each vendor got its own.
    let sent: Vec<String> = vendor
        .received()
        .iter()
        .map(|request| format!("{} {}", request.path, request.header("authorization")))
        .collect();
    for expected in [
        "/crm Bearer c4n4ry-crm-token",
        "/chat.postMessage Bearer xoxb-stored-mark",
        "/chat.postMessage Bearer xoxb-given-mark",
        "/emails Bearer re_c4n4ry",
    ] {
        assert!(sent.iter().any(|line| line == expected), "{expected} is not in {sent:#?}");
    }
    assert!(sent.iter().any(|line| line.contains("sk_test_c4n4ry")), "Stripe was not asked: {sent:#?}");
    let made = key["key"].as_str().unwrap_or("lvq_").to_owned();
    let dir = server.rest();
    assert!(check_files(dir.path()) >= 4, "the database, the log, a workflow and a backup");
    for name in ["log", "levqor.db"] {
        let bytes = std::fs::read(dir.join(name)).unwrap();
        let found = made.len() > 8 && bytes.windows(made.len()).any(|window| window == made.as_bytes());
        assert!(!found, "{name} holds a key that was made");
    }
}

#[test]
fn neither_the_password_of_the_database_nor_that_of_the_mail_server_comes_out() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (smtp, database) =
        runtime.block_on(async { (SmtpServer::start().await, levqor_testkit::postgres_url().await) });
    // The server of the tests asks nobody for a password, and takes any.
    let database = database.replacen("postgres@", "postgres:c4n4ry-database@", 1);
    assert!(database.contains("c4n4ry"), "{database}");
    let smtp_url = format!("smtp://c4n4ry-user:c4n4ry-password@{}?tls=none", smtp.address());
    let vars = [
        ("DATABASE_URL", database.as_str()),
        ("SMTP_URL", &smtp_url),
        ("EMAIL_DOMAIN", "example.com"),
        ("API_KEYS", API_KEY),
        ("LOG_LEVEL", "debug"),
        ("HOST", "127.0.0.1"),
    ];
    let server = Running::start(&vars, |_| {});
    smtp.say("AUTH", [Say::reply("535 c4n4ry-password of c4n4ry-user is wrong"), Say::reply("235 welcome")]);

    for status in ["failed", "succeeded"] {
        let mail = json!({"workflow": "levqor-email", "payload": {"to": "ada@example.org", "subject": "x", "text": "y"}});
        let (code, accepted) = ask(&server, "POST /api/v1/intake", &mail);
        assert_eq!(code, 202, "{accepted}");
        let id = accepted["job_id"].as_str().unwrap();
        let (_, ended) = ask(&server, &format!("GET /api/v1/status/{id}?wait=20s"), &Value::Null);
        assert_eq!(ended["status"], status, "{ended}");
        ask(&server, &format!("GET /api/v1/jobs/{id}"), &Value::Null);
    }
    for path in ["/api/v1/emails", "/api/v1/ops/health", "/api/v1/ops/backups", "/metrics", "/api/v1/audit"] {
        assert_eq!(ask(&server, &format!("GET {path}"), &Value::Null).0, 200, "{path}");
    }
    for arguments in [&["config"][..], &["migrate", "--check"], &["backup", "create"], &["audit", "verify"]] {
        let outcome = levqor(server.dir.path(), &vars, arguments);
        check(&arguments.join(" "), format!("{}{}", outcome.out, outcome.err).as_bytes());
    }
    let nobody = [("DATABASE_URL", "postgres://c4n4ry:c4n4ry@127.0.0.1:9/x"), vars[3]];
    for arguments in
        [&["serve", "--port", "0"][..], &["migrate"], &["backup", "create"], &["backup", "drill"]]
    {
        let outcome = levqor(server.dir.path(), &nobody, arguments);
        assert_ne!(outcome.code, Some(0), "{arguments:?}");
        check(&arguments.join(" "), format!("{}{}", outcome.out, outcome.err).as_bytes());
    }
    assert!(smtp.commands().iter().any(|said| said.starts_with("AUTH PLAIN")), "{:?}", smtp.commands());
    assert_eq!(smtp.messages().len(), 1);

    let dir = server.rest();
    check_files(dir.path());
    let rows = runtime.block_on(levqor_testkit::postgres_rows(&database));
    assert!(rows.contains("ada@example.org"), "the database was read");
    check("the database", rows.as_bytes());
}

#[test]
fn nothing_of_the_key_of_tls_comes_out() {
    let pair = TempDir::new();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    std::fs::write(pair.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(pair.join("key.pem"), &key).unwrap();
    let (certificate, key_file) =
        (pair.join("cert.pem").display().to_string(), pair.join("key.pem").display().to_string());
    let vars = [("TLS_CERT", certificate.as_str()), ("TLS_KEY", &key_file), ("LOG_LEVEL", "debug")];
    let marks: Vec<&str> = key.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(marks.len() >= 2, "{key}");
    let check = |what: &str, bytes: &[u8]| {
        for mark in &marks {
            assert!(
                !bytes.windows(mark.len()).any(|window| window == mark.as_bytes()),
                "{what} holds the key"
            );
        }
    };
    let server = Running::start(&vars, |_| {});

    let client = [("BASE_URL", server.url.as_str()), ("SSL_CERT_FILE", &certificate)];
    let validated = levqor(server.dir.path(), &client, &["validate"]);
    assert_eq!(validated.code, Some(0), "{}{}", validated.out, validated.err);
    check("validate", format!("{}{}", validated.out, validated.err).as_bytes());
    for arguments in [&["config"][..], &["backup", "create"]] {
        let outcome = levqor(server.dir.path(), &vars, arguments);
        assert_eq!(outcome.code, Some(0), "{}", outcome.err);
        check(&arguments.join(" "), format!("{}{}", outcome.out, outcome.err).as_bytes());
    }

    let dir = server.rest();
    for name in ["log", "levqor.db"] {
        check(name, &std::fs::read(dir.join(name)).unwrap());
    }
    for entry in std::fs::read_dir(dir.join("backups")).unwrap() {
        let path = entry.unwrap().path();
        check(&path.display().to_string(), &std::fs::read(&path).unwrap());
    }
}
