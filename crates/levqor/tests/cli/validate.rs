//! `levqor validate` against servers of every kind, and what it leaves behind: nothing.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use levqor_testkit::TempDir;

use crate::program::{Running, levqor};

const GREEN: &str = "🟢 COCKPIT GREEN — Levqor backend validated";

/// What a holder of the key finds on the server afterwards.
fn left(server: &Running) -> String {
    let jobs = server.levqor(&["jobs", "--key", "right", "--json"]);
    assert_eq!(jobs.code, Some(0), "{}", jobs.err);
    jobs.out
}

#[test]
fn a_server_is_green_with_its_key_without_it_and_in_production_and_nothing_is_left_of_it() {
    for (vars, arguments) in [
        (&[][..], &["validate"][..]),
        (&[("API_KEYS", "right")], &["validate", "--key", "right"]),
        (&[("API_KEYS", "right")], &["validate"]),
        (&[("API_KEYS", "right"), ("LEVQOR_ENV", "production")], &["validate", "--key", "right"]),
        (&[("API_KEYS", "right"), ("LEVQOR_ENV", "production")], &["validate"]),
    ] {
        let server = Running::start(vars, |_| {});
        let outcome = server.levqor(arguments);

        assert_eq!(outcome.code, Some(0), "{vars:?}: {}{}", outcome.out, outcome.err);
        assert_eq!(outcome.out.lines().last(), Some(GREEN), "{vars:?}");
        assert_eq!(outcome.err, "", "the default rate limit is enough");
        assert!(!outcome.out.contains("what was left"), "{}", outcome.out);
        assert_eq!(left(&server), "", "{vars:?}");
    }
}

#[test]
fn the_report_is_json_for_programs() {
    let server = Running::start(&[], |_| {});

    let outcome = server.levqor(&["validate", "--json"]);

    let report: serde_json::Value = serde_json::from_str(&outcome.out).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    let names: Vec<&str> =
        report["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    for part in [
        "GET / ",
        "/health",
        "/public/metrics",
        "/api/v1/intake",
        "/api/v1/status",
        "/_dev/complete",
        "/ops/health",
        "/users/upsert",
        "/users?email=",
        "PATCH /api/v1/users",
        "/connect/<name>",
        "illing",
        "/public/legal/privacy.html",
        "/public/faq/index.html",
        "/public/docs/",
        "/public/blog/",
        "/public/robots.txt",
        "/public/.well-known/security.txt",
        "/public/openapi.json",
    ] {
        assert!(names.iter().any(|name| name.contains(part)), "no check of {part}: {names:?}");
    }
}

/// Hands connections on to a server, but loses the answer to the first request that holds this: the server has done it
/// when the client's connection ends.
fn proxy(server: &Running, cut: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = server.url.strip_prefix("http://").unwrap().to_owned();
    let has_cut = Arc::new(AtomicBool::new(false));
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, has_cut) = (client.unwrap(), has_cut.clone());
            let upstream = TcpStream::connect(&target).unwrap();
            let ends = (upstream.try_clone().unwrap(), client.try_clone().unwrap());
            let is_mute = Arc::new(AtomicBool::new(false));
            let mute = is_mute.clone();
            let is_cut = move |request: &[u8]| {
                if String::from_utf8_lossy(request).contains(cut) && !has_cut.swap(true, Ordering::SeqCst) {
                    mute.store(true, Ordering::SeqCst);
                }
                true
            };
            std::thread::spawn(move || hand_on(client, upstream, is_cut));
            std::thread::spawn(move || hand_on(ends.0, ends.1, |_| !is_mute.load(Ordering::SeqCst)));
        }
    });
    url
}

/// Copies until an end, or until something must not go on.
fn hand_on(mut from: TcpStream, mut to: TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !goes_on(&buffer[..count]) || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    // Either may have ended already.
    let _ = to.shutdown(Shutdown::Both);
}

#[test]
fn what_was_made_is_removed_when_the_connection_fails_midway() {
    for cut in ["POST /api/v1/_dev/complete", "PATCH /api/v1/users/", "DELETE /api/v1/users/"] {
        let server = Running::start(&[], |_| {});
        let url = proxy(&server, cut);

        let outcome = levqor(server.dir.path(), &[], &["validate", &url]);

        assert_eq!(outcome.code, Some(3), "{cut}: {}{}", outcome.out, outcome.err);
        assert!(!outcome.out.contains("GREEN"), "{cut}: {}", outcome.out);
        assert_eq!(left(&server), "", "{cut}");
        assert_no_people(&server, cut);
    }
}

#[test]
fn what_was_made_is_removed_when_the_answer_that_named_it_was_lost() {
    // The job, and the user.
    for cut in ["\"from\":\"levqor validate\"", "\"currency\":\"EUR\""] {
        let server = Running::start(&[("API_KEYS", "right")], |_| {});
        let url = proxy(&server, cut);

        let outcome = levqor(server.dir.path(), &[], &["validate", &url, "--key", "right"]);

        assert_eq!(outcome.code, Some(3), "{cut}: {}{}", outcome.out, outcome.err);
        assert!(
            outcome.out.contains("ok    what was left of these checks is removed"),
            "{cut}: {}",
            outcome.out
        );
        assert_eq!(left(&server), "", "{cut}");
        assert_no_people(&server, cut);
    }
}

fn assert_no_people(server: &Running, what: &str) {
    let file = server.dir.join("levqor.db");
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(file, flags).unwrap();
    let people: i64 = database.query_row("select count(*) from users", [], |row| row.get(0)).unwrap();
    assert_eq!(people, 0, "{what}");
}

#[test]
fn a_server_that_is_another_program_is_not_green() {
    let dir = TempDir::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}");
        }
    });

    let outcome = levqor(dir.path(), &[], &["validate", &url]);

    assert_eq!(outcome.code, Some(1), "{}{}", outcome.out, outcome.err);
    assert!(outcome.out.contains("FAIL") && !outcome.out.contains("GREEN"), "{}", outcome.out);
}
