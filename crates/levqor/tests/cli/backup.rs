//! `levqor backup` as a person uses it: beside a running server, after a loss, on a full disk, without programs it needs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use levqor_testkit::TempDir;
use serde_json::Value;

use crate::program::{Outcome, Running, levqor};

fn json(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, Some(0), "{}{}", outcome.out, outcome.err);
    serde_json::from_str(&outcome.out).unwrap()
}

fn submit(server: &Running) -> String {
    let submitted = server.levqor(&["submit", "nobody-defined", "{}"]);
    assert_eq!(submitted.code, Some(0), "{}", submitted.err);
    submitted.out.trim().to_owned()
}

#[test]
fn a_backup_is_made_beside_a_running_server_checked_tried_and_put_back() {
    let server = Running::start(&[], |_| {});
    let kept = submit(&server);
    let dir = server.dir.path().to_owned();

    let made = levqor(&dir, &[], &["backup", "create"]);
    assert_eq!(made.code, Some(0), "{}", made.err);
    let file = made.out.trim().to_owned();
    assert!(file.starts_with("backups/levqor-2") && file.ends_with(".db"), "{file}");
    assert!(made.err.contains("checked: 1 job, 0 users"), "{}", made.err);
    assert_eq!(std::fs::metadata(dir.join(&file)).unwrap().permissions().mode() & 0o777, 0o600);
    let lost = submit(&server);

    let listed = json(&levqor(&dir, &[], &["backup", "list", "--json"]));
    assert_eq!(listed[0]["path"], file);
    let bare = file.trim_start_matches("backups/");
    let verified = json(&levqor(&dir, &[], &["backup", "verify", bare, "--json"]));
    assert_eq!((&verified["ok"], &verified["checked_sum"]), (&Value::from(true), &Value::from(true)));
    let drill = levqor(&dir, &[], &["backup", "drill"]);
    assert_eq!(drill.code, Some(0), "{}", drill.err);
    assert!(
        drill.out.contains("restored to a scratch place in ")
            && drill.out.contains("1 unfinished job would go on"),
        "{}",
        drill.out
    );

    let in_use = levqor(&dir, &[], &["backup", "restore", &file, "--yes"]);
    assert_eq!(in_use.code, Some(1));
    assert!(in_use.err.contains("another Levqor process is using it"), "{}", in_use.err);
    let dir = server.rest();

    let asked = levqor(dir.path(), &[], &["backup", "restore", &file]);
    assert_eq!(asked.code, Some(2), "{}", asked.out);
    assert!(asked.out.contains("1 job came after the backup and is lost"), "{}", asked.out);
    assert!(asked.err.contains("--yes"), "{}", asked.err);
    let restored = levqor(dir.path(), &[], &["backup", "restore", &file, "--yes"]);
    assert_eq!(restored.code, Some(0), "{}", restored.err);
    let aside = restored.out.lines().last().unwrap().rsplit(' ').next().unwrap();
    assert!(aside.contains("levqor.db.before-"), "{}", restored.out);
    assert!(Path::new(aside).exists());

    let server = Running::start_in(dir, &[]);
    assert_eq!(server.levqor(&["status", &kept]).code, Some(0));
    assert_eq!(server.levqor(&["status", &lost]).code, Some(5));
}

#[test]
fn a_damaged_backup_is_reported_and_never_restored() {
    let dir = TempDir::new();
    assert_eq!(levqor(dir.path(), &[], &["migrate"]).code, Some(0));
    let made = json(&levqor(dir.path(), &[], &["backup", "create", "--automatic", "--json"]));
    let file = dir.join(made["path"].as_str().unwrap());
    assert!(made["name"].as_str().unwrap().starts_with("backup_2"));
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();

    for command in ["verify", "restore"] {
        let outcome = levqor(dir.path(), &[], &["backup", command, file.to_str().unwrap()]);
        assert_eq!(outcome.code, Some(1), "{}", outcome.out);
        assert!(outcome.err.contains("is damaged: its SHA-256 is"), "{}", outcome.err);
    }
    assert_eq!(levqor(dir.path(), &[], &["backup", "drill"]).code, Some(1));
}

#[test]
fn without_a_database_or_a_backup_it_says_so_and_leaves_nothing() {
    let dir = TempDir::new();

    let none = levqor(dir.path(), &[], &["backup", "create"]);
    assert_eq!(none.code, Some(1));
    assert!(none.err.contains("there is no database levqor.db"), "{}", none.err);
    assert_eq!(levqor(dir.path(), &[], &["backup", "drill"]).code, Some(5));
    assert_eq!(levqor(dir.path(), &[], &["backup", "list"]).code, Some(0));
    assert!(!dir.join("levqor.db").exists());
    let left: Vec<_> =
        std::fs::read_dir(dir.join("backups")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, [".backups.lock"]);
}

#[test]
fn a_full_disk_leaves_no_half_file() {
    let server = Running::start(&[], |_| {});
    let payload = format!("{{\"x\":\"{}\"}}", "y".repeat(150_000));
    std::fs::write(server.dir.join("payload.json"), payload).unwrap();
    for _ in 0..10 {
        assert_eq!(server.levqor(&["submit", "nobody-defined", "@payload.json"]).code, Some(0));
    }

    // Files may have 1 MB, and the signal that comes with it is ignored: writes fail as on a full quota.
    let program = env!("CARGO_BIN_EXE_levqor");
    let limited = format!("trap '' XFSZ; ulimit -f 1000; exec '{program}' backup create");
    let output = Command::new("bash")
        .args(["-c", &limited])
        .env_clear()
        .current_dir(server.dir.path())
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let left: Vec<_> =
        std::fs::read_dir(server.dir.join("backups")).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, [".backups.lock"]);
    assert_eq!(levqor(server.dir.path(), &[], &["backup", "create"]).code, Some(0), "with room again");
}

#[test]
fn the_password_of_postgresql_and_the_key_of_the_bucket_are_never_shown() {
    let dir = TempDir::new();
    let vars = [
        ("DATABASE_URL", "postgres://me:hunter2@127.0.0.1:9/levqor"),
        ("BACKUP_S3_URL", "https://AK:hunter3@s3.example.com/bucket"),
    ];

    for arguments in [&["backup", "create"][..], &["backup", "list"], &["backup", "drill"], &["config"]] {
        let outcome = levqor(dir.path(), &vars, arguments);
        let said = format!("{}{}", outcome.out, outcome.err);
        assert!(!said.contains("hunter"), "{arguments:?}: {said}");
    }
}
