//! Starts and stops, and the commands that work on a database or a configuration.

use levqor_testkit::TempDir;

use crate::program::{Running, levqor};

const GOOD: &str = "name: good\nsteps:\n  - { id: only, transform: 1 }\n";

#[test]
fn the_demo_plays_its_whole_story() {
    let dir = TempDir::new();

    let demo = levqor(dir.path(), &[], &["demo"]);

    assert_eq!(demo.code, Some(0), "{}{}", demo.out, demo.err);
    for words in [
        "stock: failed",
        "(attempt 3)",
        "review: skipped",
        "\"gift\":\"chocolate\"",
        "job.succeeded",
        "Second act: AI steps meet their budget.",
        "budget_exceeded",
        "the budget `max-cost-per-day` (everything, per day) allows $0.05",
        "through /v1/chat/completions gets 402: budget max-cost-per-day",
        "held $0.00",
        "All of it held",
    ] {
        assert!(demo.out.contains(words), "{words:?} is missing in\n{}", demo.out);
    }
}

#[test]
fn without_keys_it_listens_for_this_machine_only_says_so_and_gives_a_line_to_try() {
    let server = Running::start(&[], |dir| {
        let hello = "name: hello\nsteps:\n  - id: greet\n    transform: \"Hello, {{ payload.name }}\"\n";
        std::fs::write(dir.join("hello.yaml"), hello).unwrap();
    });

    let said = server.hear("Try: ");

    assert!(
        said.contains("Development mode: there are no keys, so everybody on this machine is let in."),
        "{said}"
    );
    let port = server.url.strip_prefix("http://127.0.0.1:").expect("loopback");
    // All of 127.0.0.0/8 is this machine, but it listens on one address of it.
    assert!(std::net::TcpStream::connect(format!("127.0.0.2:{port}")).is_err());
    let line = said.lines().find_map(|line| line.strip_prefix("Try: ")).unwrap();
    let to = format!("curl -s {}/api/v1/intake -H 'Content-Type: application/json' -d '", server.url);
    let body =
        line.strip_prefix(&to).and_then(|rest| rest.strip_suffix('\'')).unwrap_or_else(|| panic!("{line}"));
    let (status, answer) = server.ask("POST /api/v1/intake", &["Content-Type: application/json"], body);
    assert_eq!(status, 202, "{line}: {answer}");
}

#[test]
fn a_broken_workflow_file_is_named_with_its_place_and_stops_nothing() {
    let server = Running::start(&[], |dir| {
        std::fs::write(
            dir.join("a-broken.yaml"),
            "name: broken\nsteps:\n  - id: x\n    http: { metod: GET }\n",
        )
        .unwrap();
        std::fs::write(dir.join("b-good.yaml"), GOOD).unwrap();
        std::fs::write(dir.join("c-again.yml"), GOOD).unwrap();
        std::fs::write(dir.join("notes.txt"), "no definition").unwrap();
    });

    let listed = server.levqor(&["workflows"]);
    assert!(listed.out.contains("good"), "{}", listed.out);
    assert!(!listed.out.contains("broken"), "{}", listed.out);
    let log = server.log();
    assert!(log.contains("a-broken.yaml was not loaded: line 4 column"), "{log}");
    assert!(
        log.contains("c-again.yml was not loaded: it defines `good`, which b-good.yaml defines already"),
        "{log}"
    );
    assert!(!log.contains("notes.txt"), "{log}");
}

#[test]
fn a_second_process_on_the_same_file_is_refused_with_one_clear_line() {
    let server = Running::start(&[], |_| {});

    let second = levqor(server.dir.path(), &[], &["serve", "--port", "0"]);

    assert_eq!(second.code, Some(1));
    assert!(second.err.contains("another Levqor process is using it"), "{}", second.err);
}

#[test]
fn a_taken_port_is_told_with_the_settings_that_change_it() {
    let server = Running::start(&[], |_| {});
    let port = server.url.rsplit(':').next().unwrap();

    let second = levqor(server.dir.path(), &[], &["serve", "--port", port, "--db", "other.db"]);

    assert_eq!(second.code, Some(1));
    let last = second.err.lines().last().unwrap_or_default();
    assert!(last.contains(port) && last.contains("PORT"), "{}", second.err);
    assert!(!server.dir.join("other.db").exists(), "a start that fails leaves no database behind");
}

#[test]
fn a_wrong_setting_or_folder_stops_the_start_as_wrong_usage() {
    let dir = TempDir::new();

    let setting = levqor(dir.path(), &[("RATE_BURST", "many")], &["serve"]);
    assert_eq!((setting.code, setting.err.lines().count()), (Some(2), 1), "{}", setting.err);
    assert!(setting.err.contains("RATE_BURST=\"many\""), "{}", setting.err);

    let folder = levqor(dir.path(), &[], &["serve", "--workflows", "nowhere"]);
    assert_eq!(folder.code, Some(2));
    assert!(folder.err.contains("nowhere"), "{}", folder.err);

    let workflows = levqor(dir.path(), &[("WORKFLOWS_DIR", "nowhere")], &["serve"]);
    assert_eq!((workflows.code, workflows.err.lines().count()), (Some(2), 1), "{}", workflows.err);
    assert!(workflows.err.contains("WORKFLOWS_DIR=nowhere"), "{}", workflows.err);

    let content = levqor(dir.path(), &[("CONTENT_DIR", "nowhere")], &["serve"]);
    assert_eq!((content.code, content.err.lines().count()), (Some(2), 1), "{}", content.err);
    assert!(content.err.contains("CONTENT_DIR=nowhere"), "{}", content.err);
}

#[test]
fn a_termination_is_a_success() {
    let server = Running::start(&[], |_| {});

    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn the_callback_secret_is_kept_and_can_be_read_while_the_server_runs() {
    let dir = TempDir::new();
    let none = levqor(dir.path(), &[], &["callbacks", "secret"]);
    assert_eq!(none.code, Some(5), "{}", none.err);
    assert!(!dir.join("levqor.db").exists(), "looking for a secret makes no database");

    let server = Running::start(&[], |_| {});
    let first = levqor(server.dir.path(), &[], &["callbacks", "secret"]);
    assert_eq!(first.code, Some(0), "{}", first.err);
    assert!(first.out.starts_with("whsec_"), "{}", first.out);
    assert!(!server.log().contains(first.out.trim()), "the secret stands in the log");
}

#[test]
fn migrations_are_told_and_then_made() {
    let dir = TempDir::new();

    let pending = levqor(dir.path(), &[], &["migrate", "--check"]);
    assert_eq!(pending.code, Some(1));
    assert!(pending.out.contains("pending  0001_core"), "{}", pending.out);
    assert_eq!(levqor(dir.path(), &[], &["migrate"]).code, Some(0));
    let done = levqor(dir.path(), &[], &["migrate", "--check"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "The database is up to date.\n"));
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let dir = TempDir::new();
    std::fs::write(dir.join(".env"), "PORT=8080\nAPI_KEYS=k3y-one\n").unwrap();

    let shown = levqor(dir.path(), &[("SECRET_CRM", "k3y-two")], &["config", "--json"]);

    let settings: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
    assert_eq!(settings["PORT"], "8080");
    assert_eq!(settings["SECRET_CRM"], "(hidden)");
    assert!(!shown.out.contains("k3y"), "{}", shown.out);
}
