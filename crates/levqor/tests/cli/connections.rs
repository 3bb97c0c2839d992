//! `levqor connections`: credentials from files and standard input, and changes of the key, cut short and taken up again.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use levqor_testkit::TempDir;

use crate::program::{Outcome, Running, levqor, levqor_with_input};

const KEYS: [&str; 2] = [
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
    "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100",
];

/// What the server says to a call that uses the connection: nobody listens where its vendor is said to be.
fn use_it(server: &Running) -> String {
    let body = r#"{"action":"list_channels","connection":"team"}"#;
    let host = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = "POST /api/v1/connect/slack HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/json";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let answer: serde_json::Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    answer["error"].as_str().unwrap().to_owned()
}

const NOWHERE: (&str, &str) = ("SLACK_BASE_URL", "http://127.0.0.1:9");

fn said(outcome: &Outcome) -> String {
    assert_eq!(outcome.code, Some(0), "{} {}", outcome.out, outcome.err);
    outcome.out.trim().to_owned()
}

fn key_file(dir: &Path) -> String {
    let path = dir.join("levqor.db.key");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn credentials_come_from_standard_input_or_a_file_and_are_listed_without_themselves() {
    let server = Running::start(&[NOWHERE], |_| {});
    let vars = [("BASE_URL", server.url.as_str())];
    let dir = server.dir.path();
    let add = ["connections", "add", "team", "--connector", "slack"];

    let stored = levqor_with_input(dir, &vars, &add, "xoxb-canary\n");
    assert_eq!(said(&stored), "team: stored, fingerprint 8b326051");
    let again = levqor_with_input(dir, &vars, &add, "xoxb-other");
    assert_eq!(again.code, Some(4), "{}", again.err);
    std::fs::write(
        dir.join("user.json"),
        r#"{"refresh_token":"canary","client_id":"i","client_secret":"s","type":"authorized_user"}"#,
    )
    .unwrap();
    let gmail = server.levqor(&["connections", "add", "mail", "--connector", "gmail", "--file", "user.json"]);
    assert!(said(&gmail).starts_with("mail: stored"), "{}", gmail.out);
    let wrong = levqor_with_input(dir, &vars, &["connections", "add", "x", "--connector", "gmail"], "canary");
    assert_eq!(wrong.code, Some(2));

    let list = said(&server.levqor(&["connections"]));
    assert_eq!(list.lines().count(), 3, "{list}");
    assert!(list.contains("team  slack") && list.contains("never"), "{list}");
    assert_eq!(list, said(&server.levqor(&["connections", "list"])));
    assert_eq!(use_it(&server), "connector_unreachable");
    assert!(!said(&server.levqor(&["connections", "list"])).lines().last().unwrap().contains("never"));
    assert_eq!(said(&server.levqor(&["connections", "delete", "mail"])), "mail: deleted");
    assert_eq!(server.levqor(&["connections", "delete", "mail"]).code, Some(5));
    for text in [again.err, wrong.err, list, server.log()] {
        assert!(!text.contains("canary"), "{text}");
    }
}

#[test]
fn the_key_file_is_changed_while_the_server_rests_and_a_change_that_was_cut_short_goes_on() {
    let server = Running::start(&[NOWHERE], |_| {});
    let add = ["connections", "add", "team", "--connector", "slack"];
    said(&levqor_with_input(server.dir.path(), &[("BASE_URL", &server.url)], &add, "xoxb-canary"));
    let first = key_file(server.dir.path());
    let busy = server.levqor(&["connections", "rekey"]);
    assert!(busy.code == Some(1) && busy.err.contains("another Levqor process"), "{}", busy.err);

    let dir = server.rest();
    assert_eq!(
        said(&levqor(dir.path(), &[], &["connections", "rekey"])),
        "1 of 1 connection changed; all are sealed with the new key"
    );
    let second = key_file(dir.path());
    assert_ne!(first, second);
    // As after a crash between the commit and the exchange of the files.
    std::fs::rename(dir.join("levqor.db.key"), dir.join("levqor.db.key.next")).unwrap();
    std::fs::write(dir.join("levqor.db.key"), &first).unwrap();
    std::fs::set_permissions(dir.join("levqor.db.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let server = Running::start_in(dir, &[NOWHERE]);
    assert_eq!(use_it(&server), "connector_unreachable", "it is opened with the next key");

    let dir = server.rest();
    assert_eq!(
        said(&levqor(dir.path(), &[], &["connections", "rekey"])),
        "0 of 1 connection changed; all are sealed with the new key"
    );
    assert_eq!(key_file(dir.path()), second);
    assert!(!dir.join("levqor.db.key.next").exists());
    let server = Running::start_in(dir, &[NOWHERE]);
    assert_eq!(use_it(&server), "connector_unreachable");
}

#[test]
fn the_key_of_the_environment_is_changed_with_both_at_hand() {
    let server = Running::start(&[NOWHERE, ("SECRET_KEY", KEYS[0])], |_| {});
    let add = ["connections", "add", "team", "--connector", "slack"];
    said(&levqor_with_input(server.dir.path(), &[("BASE_URL", &server.url)], &add, "xoxb-canary"));
    let dir = server.rest();
    assert!(!dir.join("levqor.db.key").exists());

    let alone = levqor(dir.path(), &[("SECRET_KEY", KEYS[1])], &["connections", "rekey"]);
    assert!(alone.code == Some(1) && alone.err.contains("`team` cannot be opened"), "{}", alone.err);
    let both = [("SECRET_KEY", KEYS[1]), ("SECRET_KEY_OLD", KEYS[0])];
    let done = said(&levqor(dir.path(), &both, &["connections", "rekey"]));
    assert_eq!(
        done,
        "1 of 1 connection changed; all are sealed with the new key\nSECRET_KEY_OLD is not needed any more."
    );

    let server = Running::start_in(dir, &[NOWHERE, ("SECRET_KEY", KEYS[0])]);
    assert_eq!(use_it(&server), "connection_unreadable");
    assert!(server.log().contains("team"), "a start names what cannot be opened: {}", server.log());
    let server = Running::start_in(server.rest(), &[NOWHERE, ("SECRET_KEY", KEYS[1])]);
    assert_eq!(use_it(&server), "connector_unreachable");
}

#[test]
fn there_is_nothing_to_change_where_there_is_no_database() {
    let dir = TempDir::new();

    let outcome = levqor(dir.path(), &[], &["connections", "rekey"]);

    assert_eq!(outcome.code, Some(5), "{}", outcome.err);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}
