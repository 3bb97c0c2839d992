//! Keys and the audit log from the command line: the first key without a server, the rest through one.

use levqor_testkit::TempDir;

use crate::program::{Outcome, Running, levqor};

const ALL: &str = "read,submit,operate,admin";

impl Running {
    /// Runs a command with this key.
    fn with_key(&self, key: &str, arguments: &[&str]) -> Outcome {
        levqor(self.dir.path(), &[("BASE_URL", &self.url), ("API_KEY", key)], arguments)
    }
}

/// The last word of the line that tells of a new key, and the key alone on standard output.
fn made(outcome: &Outcome) -> (String, String) {
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    let key = outcome.out.trim_end().to_owned();
    assert!(key.starts_with("lvq_") && outcome.out.lines().count() == 1, "{}", outcome.out);
    let id = key.split('_').nth(1).unwrap().to_owned();
    assert!(outcome.err.contains(&id) && !outcome.err.contains(&key), "{}", outcome.err);
    (id, key)
}

#[test]
fn production_starts_with_a_key_that_was_made_without_a_server() {
    let dir = TempDir::new();
    let production = [("LEVQOR_ENV", "production"), ("HOST", "127.0.0.1")];
    let refused = levqor(dir.path(), &production, &["serve", "--port", "0"]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("levqor keys create"), "{}", refused.err);
    let weak = levqor(dir.path(), &production, &["keys", "create", "weak", "--scopes", "read", "--offline"]);
    assert_eq!(weak.code, Some(1));
    assert!(weak.err.contains("admin"), "{}", weak.err);
    let (_, admin) =
        made(&levqor(dir.path(), &production, &["keys", "create", "admin", "--scopes", ALL, "--offline"]));

    let server = Running::start_in(dir, &production);

    let busy = server.with_key(&admin, &["keys", "create", "more", "--scopes", "read", "--offline"]);
    assert_eq!(busy.code, Some(1));
    assert!(busy.err.contains("another Levqor process is using it"), "{}", busy.err);
    let none = server.levqor(&["keys", "list"]);
    assert_eq!(none.code, Some(4), "{}", none.err);
    let (id, weak) =
        made(&server.with_key(&admin, &["keys", "create", "ci", "--scopes", "submit", "--expires", "90d"]));
    let listed = server.with_key(&admin, &["keys", "list"]);
    assert!(
        listed.out.contains("ci") && listed.out.contains("active") && !listed.out.contains(&weak),
        "{}",
        listed.out
    );
    let lacking = server.with_key(&weak, &["jobs"]);
    assert_eq!(lacking.code, Some(4));
    assert!(lacking.err.contains("scope `read`"), "{}", lacking.err);
    let (successor, _) = made(&server.with_key(&admin, &["keys", "rotate", &id, "--overlap", "1h"]));
    let revoked = server.with_key(&admin, &["keys", "revoke", &successor]);
    assert_eq!((revoked.code, revoked.out.trim_end()), (Some(0), format!("{successor}: revoked").as_str()));
    assert_eq!(server.with_key(&admin, &["keys", "revoke", "nothing"]).code, Some(5));
    let log = server.with_key(&admin, &["audit", "list"]);
    for words in ["cli", "key.create", "key.rotate", "key.revoke", &successor] {
        assert!(log.out.contains(words), "{words}: {}", log.out);
    }
    assert!(!server.log().contains(&admin) && !server.log().contains(&weak));
}

#[test]
fn a_changed_entry_is_named_and_so_is_a_head_that_does_not_fit() {
    let server = Running::start(&[], |dir| {
        for name in ["a", "b", "c"] {
            let source = format!("name: {name}\nsteps:\n  - {{ id: only, transform: 1 }}\n");
            std::fs::write(dir.join(format!("{name}.yaml")), source).unwrap();
        }
    });
    let fine = server.levqor(&["audit", "verify"]);
    assert_eq!(fine.code, Some(0), "{}", fine.err);
    assert!(fine.out.contains(" entries, unbroken."), "{}", fine.out);
    let head = fine.out.lines().last().unwrap().strip_prefix("Head: ").unwrap().to_owned();
    assert_eq!(server.levqor(&["workflows", "delete", "c"]).code, Some(0));
    let noted = server.levqor(&["audit", "verify", "--head", &head]);
    assert_eq!(noted.code, Some(0), "{}", noted.err);
    assert_eq!(server.levqor(&["audit", "verify", "--head", "3:nothing"]).code, Some(2));
    let forged = format!("1:{}", "0".repeat(64));
    assert_eq!(server.levqor(&["audit", "verify", "--head", &forged]).code, Some(1));

    let db = rusqlite::Connection::open(server.dir.join("levqor.db")).unwrap();
    db.execute("update audit_entries set detail = detail || ' ' where object = 'b'", []).unwrap();
    let broken = server.levqor(&["audit", "verify"]);
    assert_eq!(broken.code, Some(1));
    let shown = server.levqor(&["audit", "list", "--object", "b", "--json"]);
    let entry: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert!(broken.err.contains(&format!("entry {}:", entry["seq"])), "{}: {entry}", broken.err);
}

#[test]
fn the_first_key_of_an_open_server_is_told_to_close_it() {
    let server = Running::start(&[], |_| {});

    let first = server.levqor(&["keys", "create", "me", "--scopes", ALL]);
    let (_, key) = made(&first);

    assert!(first.err.contains("API_KEY"), "{}", first.err);
    assert_eq!(server.levqor(&["jobs"]).code, Some(4));
    assert_eq!(server.with_key(&key, &["jobs"]).code, Some(0));
    assert!(server.log().contains("every request needs a key"), "{}", server.log());
}

#[test]
fn wrong_words_are_wrong_usage() {
    let dir = TempDir::new();
    for arguments in [
        &["keys", "create", "x"][..],
        &["keys", "create", "x", "--scopes", "root"],
        &["keys", "create", "x", "--scopes", "admin", "--expires", "soon", "--offline"],
        &["keys", "create", " ", "--scopes", "admin", "--offline"],
        &["keys", "create", "x", "--scopes", "admin", "--expires", "2001-01-31T08:00:00Z", "--offline"],
    ] {
        assert_eq!(levqor(dir.path(), &[], arguments).code, Some(2), "{arguments:?}");
    }
    assert!(!dir.join("levqor.db").exists());
}
