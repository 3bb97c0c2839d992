//! `levqor move` as a person uses it: a server on a file, the move, a server on PostgreSQL that goes on.

use levqor_testkit::{Receiver, postgres_url};

use crate::program::{Running, levqor};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_postgresql_goes_on_where_the_one_on_the_file_stopped() {
    let receiver = Receiver::start().await;
    receiver.statuses("/later", &[503]);
    let url = postgres_url().await;
    let (hook, to, base) = (receiver.url("/hook"), url.clone(), receiver.url("/later"));
    let outbound = ("OUTBOUND_ALLOW", "127.0.0.0/8");
    let (server, waiting, secret) = tokio::task::spawn_blocking(move || {
        let server = Running::start(&[outbound], |_| {});
        let submit = |arguments: &[&str]| {
            let submitted = server.levqor(&[&["submit"], arguments].concat());
            assert_eq!(submitted.code, Some(0), "{}", submitted.err);
            submitted.out.trim().to_owned()
        };
        // Waits for a definition, then posts a callback; and one whose callback is refused for now.
        let waiting = submit(&["later", "{}", "--callback", &hook]);
        std::fs::write(server.dir.join("now.yaml"), "name: now\nsteps:\n  - { id: only, transform: 1 }\n")
            .unwrap();
        assert_eq!(server.levqor(&["workflows", "put", "now.yaml"]).code, Some(0));
        let due = submit(&["now", "{}", "--callback", &base]);
        assert_eq!(server.levqor(&["status", &due, "--wait", "20s"]).code, Some(0));
        let running = levqor(server.dir.path(), &[], &["move", "--to", &to]);
        assert_eq!(running.code, Some(1));
        assert!(running.err.contains("another Levqor process is using it"), "{}", running.err);

        let secret = levqor(server.dir.path(), &[], &["callbacks", "secret"]).out;
        let dir = server.rest();
        let moved = levqor(dir.path(), &[("MOVE_TO", &to)], &["move", "--json"]);
        assert_eq!(moved.code, Some(0), "{}", moved.err);
        let rows: serde_json::Value = serde_json::from_str(&moved.out).unwrap();
        assert_eq!((&rows["rows"]["jobs"], &rows["rows"]["live_jobs"]), (&2.into(), &1.into()), "{rows}");
        assert!(moved.err.contains("DATABASE_URL instead of SQLITE_PATH"), "{}", moved.err);
        let again = levqor(dir.path(), &[("MOVE_TO", &to)], &["move"]);
        assert_eq!(again.code, Some(1));
        assert!(again.err.contains("the target is not empty"), "{}", again.err);

        let vars = [outbound, ("DATABASE_URL", to.as_str())];
        let server = Running::start_in(dir, &vars);
        assert_eq!(levqor(server.dir.path(), &vars, &["callbacks", "secret"]).out, secret);
        std::fs::write(
            server.dir.join("later.yaml"),
            "name: later\nsteps:\n  - { id: only, transform: 1 }\n",
        )
        .unwrap();
        assert_eq!(server.levqor(&["workflows", "put", "later.yaml"]).code, Some(0));
        assert_eq!(server.levqor(&["status", &waiting, "--wait", "20s"]).code, Some(0));
        assert_eq!(server.levqor(&["jobs", "redeliver", &due]).code, Some(0));
        (server, waiting, secret)
    })
    .await
    .unwrap();

    levqor_testkit::wait_until(std::time::Duration::from_secs(20), async || {
        receiver
            .received()
            .iter()
            .any(|callback| callback.path == "/hook" && callback.json()["data"]["job_id"] == *waiting)
    })
    .await;
    levqor_testkit::wait_until(std::time::Duration::from_secs(20), async || {
        receiver.received().iter().filter(|callback| callback.path == "/later").count() >= 2
    })
    .await;
    assert!(secret.starts_with("whsec_"));
    drop(server);
}

#[test]
fn a_target_that_is_none_is_refused_without_its_password() {
    let dir = levqor_testkit::TempDir::new();
    assert_eq!(levqor(dir.path(), &[], &["migrate"]).code, Some(0));

    for (target, code) in [
        ("mysql://me:hunter2@db/x", 2),
        ("postgres://me:hunter2@127.0.0.1:9/x", 1),
        ("postgres://me:hun@ter2@/x", 1),
    ] {
        let outcome = levqor(dir.path(), &[("MOVE_TO", target)], &["move"]);
        assert_eq!(outcome.code, Some(code), "{target}: {}", outcome.err);
        assert!(!outcome.err.contains("hunter2") && !outcome.err.contains("ter2@"), "{}", outcome.err);
    }
    let both =
        levqor(dir.path(), &[("DATABASE_URL", "postgres://h/d"), ("MOVE_TO", "postgres://h/e")], &["move"]);
    assert_eq!(both.code, Some(2));
    assert!(both.err.contains("unset it"), "{}", both.err);
}
