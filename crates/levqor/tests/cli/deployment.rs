//! The server among others: TLS of its own, a service manager, proxies, health checks.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use levqor_testkit::{TempDir, wait_until};

use crate::program::{Outcome, Running, levqor};

/// Longer than anything here should take.
const LIMIT: Duration = Duration::from_secs(15);

/// Writes a fresh pair for `localhost` and 127.0.0.1.
fn issue(dir: &Path) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(dir.join("key.pem"), PermissionsExt::from_mode(0o600)).unwrap();
}

fn paths(dir: &Path) -> [(&'static str, String); 2] {
    [("TLS_CERT", dir.join("cert.pem")), ("TLS_KEY", dir.join("key.pem"))]
        .map(|(name, path)| (name, path.display().to_string()))
}

fn start(dir: &Path) -> Running {
    let paths = paths(dir);
    let vars: Vec<(&str, &str)> = paths.iter().map(|(name, path)| (*name, path.as_str())).collect();
    Running::start(&vars, |_| {})
}

#[test]
fn what_is_wrong_with_the_files_is_told_in_one_line_that_names_them() {
    let dir = TempDir::new();
    issue(dir.path());
    let other = TempDir::new();
    issue(other.path());
    std::fs::write(dir.join("text.pem"), "no PEM at all").unwrap();
    std::fs::write(
        dir.join("locked.pem"),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    )
    .unwrap();
    std::fs::write(dir.join("huge.pem"), vec![b'x'; (1 << 20) + 1]).unwrap();
    std::fs::write(dir.join("junk.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    let foreign = other.join("key.pem").display().to_string();

    for (certificate, key, words) in [
        ("nowhere.pem", "key.pem", &["TLS_CERT=nowhere.pem", "cannot be read", "No such file"][..]),
        ("cert.pem", "nowhere.pem", &["TLS_KEY=nowhere.pem", "cannot be read"]),
        ("text.pem", "key.pem", &["TLS_CERT=text.pem", "no certificate"]),
        ("key.pem", "key.pem", &["TLS_CERT=key.pem", "no certificate"]),
        ("junk.pem", "key.pem", &["TLS_CERT=junk.pem", "cannot be read"]),
        ("huge.pem", "key.pem", &["TLS_CERT=huge.pem", "1 MiB"]),
        ("cert.pem", "cert.pem", &["TLS_KEY=cert.pem", "no private key"]),
        ("cert.pem", "locked.pem", &["TLS_KEY=locked.pem", "encrypted", "openssl pkey"]),
        ("cert.pem", &foreign, &["TLS_KEY=", "does not belong", "TLS_CERT=cert.pem"]),
        (".", "key.pem", &["TLS_CERT=.", "directory"]),
        ("cert.pem", "", &["TLS_CERT and TLS_KEY", "both"]),
    ] {
        let vars = [("TLS_CERT", certificate), ("TLS_KEY", key)];
        let start = levqor(dir.path(), &vars, &["serve", "--port", "0"]);

        assert_eq!(start.code, Some(2), "{certificate} {key}: {}", start.err);
        let last = start.err.lines().last().unwrap_or_default();
        assert!(words.iter().all(|word| last.contains(word)), "{words:?}: {}", start.err);
    }
    assert!(!dir.join("levqor.db").exists(), "a start that fails leaves no database behind");
}

#[test]
fn a_server_with_tls_says_so_and_is_reached_by_who_trusts_its_certificate() {
    let dir = TempDir::new();
    issue(dir.path());
    let server = start(dir.path());
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    let certificate = dir.join("cert.pem").display().to_string();

    let trusting = levqor(dir.path(), &[("SSL_CERT_FILE", &certificate)], &["health", &server.url]);
    assert_eq!(trusting.code, Some(0), "{}", trusting.err);
    let doubting = levqor(dir.path(), &[], &["health", &server.url]);
    assert_eq!(doubting.code, Some(3), "{}", doubting.out);
    assert!(doubting.err.contains("certificate"), "{}", doubting.err);
    let plain = levqor(dir.path(), &[], &["health", &server.url.replace("https:", "http:")]);
    assert_eq!(plain.code, Some(3), "{}", plain.err);
}

#[test]
fn a_health_check_finds_the_server_of_its_machine_by_the_same_settings() {
    let dir = TempDir::new();
    issue(dir.path());
    let server = start(dir.path());
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let check = |port: &str| -> Outcome {
        let [certificate, key] = paths(dir.path());
        let vars = [(certificate.0, &certificate.1[..]), (key.0, &key.1), ("PORT", port)];
        levqor(dir.path(), &vars, &["health"])
    };

    let healthy = check(&port);
    assert_eq!((healthy.code, healthy.out), (Some(0), format!("https://127.0.0.1:{port} is healthy\n")));
    assert_eq!(server.terminate(), Some(0));
    let gone = check(&port);
    assert_eq!(gone.code, Some(3));
    assert_eq!(check("0").code, Some(2));
}

#[tokio::test]
async fn a_broken_new_pair_is_logged_once_and_a_good_one_is_taken() {
    let dir = TempDir::new();
    issue(dir.path());
    let server = start(dir.path());
    assert!(!server.log().contains("open to others"), "{}", server.log());

    std::fs::write(dir.join("cert.pem"), "half a f").unwrap();
    wait_until(LIMIT, async || server.log().contains("the certificate before stays in use")).await;
    issue(dir.path());
    std::fs::set_permissions(dir.join("key.pem"), PermissionsExt::from_mode(0o644)).unwrap();
    wait_until(LIMIT, async || server.log().contains("a new certificate is in use")).await;

    let log = server.log();
    assert_eq!(log.matches("stays in use").count(), 1, "{log}");
    assert!(log.contains("TLS_CERT=") && log.contains("holds no certificate"), "{log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    let dir = TempDir::new();
    issue(dir.path());
    for (mode, is_warned) in [(0o600, false), (0o640, false), (0o644, true), (0o660, true)] {
        std::fs::set_permissions(dir.join("key.pem"), PermissionsExt::from_mode(mode)).unwrap();
        let mut server = start(dir.path());

        // The end of the process has written all lines.
        assert_eq!(server.stop(), Some(0));
        let told = server.log().contains(&format!("is open to others (mode {mode:04o})"));
        assert_eq!(told, is_warned, "{mode:o}: {}", server.log());
    }
}

#[test]
fn the_service_manager_is_told_when_it_answers_and_when_it_stops() {
    let dir = TempDir::new();
    let manager = UnixDatagram::bind(dir.join("notify")).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let heard = || {
        let mut buffer = [0; 100];
        let count = manager.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };

    let server = Running::start(&[("NOTIFY_SOCKET", dir.join("notify").to_str().unwrap())], |_| {});
    assert_eq!(heard(), "READY=1");
    assert_eq!(server.levqor(&["health", &server.url]).code, Some(0));

    assert_eq!(server.terminate(), Some(0));
    assert_eq!(heard(), "STOPPING=1");
}

#[tokio::test]
async fn a_proxy_that_nobody_listed_is_told_of_once_and_a_listed_one_never() {
    let listed = Running::start(&[("TRUSTED_PROXIES", "127.0.0.1")], |_| {});
    let unlisted = Running::start(&[("TRUSTED_PROXIES", "10.0.0.0/8")], |_| {});

    for server in [&listed, &unlisted] {
        for _ in 0..5 {
            let address = server.url.strip_prefix("http://").unwrap();
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            let request =
                "GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        // The line of a request is written after what was said about it.
        wait_until(LIMIT, async || server.log().matches(" /health ").count() == 5).await;
    }

    let log = unlisted.log();
    assert_eq!(log.matches("X-Forwarded-For is not believed").count(), 1, "{log}");
    assert!(log.contains("peer=127.0.0.1") && log.contains("TRUSTED_PROXIES"), "{log}");
    assert!(!listed.log().contains("not believed"), "{}", listed.log());
}

#[test]
fn the_unit_waits_longer_for_the_end_than_the_server_takes() {
    let unit = include_str!("../../../../deploy/levqor.service");
    let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap();

    let grace = levqor(TempDir::new().path(), &[], &["config", "--json"]).out;
    let grace: serde_json::Value = serde_json::from_str(&grace).unwrap();
    let grace = levqor::config::duration(grace["SHUTDOWN_GRACE"].as_str().unwrap()).unwrap();

    let stop = levqor::config::duration(value("TimeoutStopSec=")).unwrap();
    assert!(stop >= grace + Duration::from_secs(10), "{stop:?} {grace:?}");
    assert_eq!(value("Type="), "notify");
    assert!(value("ExecStart=").ends_with("/levqor serve"));
}

/// The scripts of the first version, and the commands that they are now.
const SCRIPTS: [(&str, &[&str]); 8] = [
    ("validate_levqor", &["validate"]),
    ("validate_levqor.py", &["validate"]),
    ("auto_backup.sh", &["backup", "create"]),
    ("backup_db.sh", &["backup", "create"]),
    ("setup_resend_domain", &["email", "setup-domain"]),
    ("verify_resend", &["email", "verify-domain"]),
    ("test_email", &["email", "test"]),
    ("levqor", &[]),
];

#[test]
fn the_scripts_of_the_first_version_call_commands_that_are_there() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
    let known = levqor(TempDir::new().path(), &[], &["--help"]).out;
    let page = include_str!("../../../../docs/moving.md");

    for (name, words) in SCRIPTS {
        let file = scripts.join(name);
        let is_program = std::fs::metadata(&file).unwrap().permissions().mode() & 0o111 == 0o111;
        assert!(is_program, "{name} can be run");
        assert!(page.contains(name), "docs/moving.md does not know {name}");
        let is_there = words.first().is_none_or(|word| known.contains(&format!("\n  {word} ")));
        if name.ends_with(".py") || !is_there {
            continue;
        }
        let output = std::process::Command::new("sh")
            .arg(&file)
            .arg("--help")
            .env("LEVQOR_BIN", env!("CARGO_BIN_EXE_levqor"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let usage = [&["Usage: levqor"], words].concat().join(" ");
        assert!(output.status.success() && said.contains(&usage), "{name}: {said}");
    }
    for name in ["validate_levqor", "setup_resend_domain", "verify_resend", "test_email"] {
        let shell = std::fs::read_to_string(scripts.join(name)).unwrap();
        let python = std::fs::read_to_string(scripts.join(format!("{name}.py"))).unwrap();
        let words = shell.split("/levqor\" ").nth(1).unwrap().split(" \"$@\"").next().unwrap();
        let listed: String = words.split(' ').map(|word| format!("\"{word}\", ")).collect();
        assert!(python.contains(&listed), "{name}.py calls another command than {name}");
    }
}
