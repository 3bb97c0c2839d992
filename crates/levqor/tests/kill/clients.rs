//! A graceful stop among clients that will never be done: they read nothing, or send half of what they announced.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::client::{Call, Caller, KEY};
use crate::server::Site;

const GRACE: Duration = Duration::from_secs(2);
/// Beyond the grace: the last checkpoint, a slow machine.
const AFTER_GRACE: Duration = Duration::from_secs(8);
const OF_EACH: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_ends_the_program_in_time_whatever_its_clients_do() {
    let site = Site::sqlite(None).set("SHUTDOWN_GRACE", "2s");
    let server = site.start("node").await;
    let caller = Caller::new();
    let page = caller.get(&server.base, "/public/openapi.json").await.body.len();
    let waits = Call::intake(&json!({"workflow": "nobody-defined", "payload": {}}));
    let id = caller.send(&server.base, &waits).await.unwrap().json()["job_id"].as_str().unwrap().to_owned();
    let requests = [
        // Answers of more bytes than both sides can hold, which nobody reads.
        "GET /public/openapi.json HTTP/1.1\r\nHost: a\r\n\r\n".repeat((32 << 20) / page),
        "GET / HTTP/1.1\r\nHost: a\r\nX-Half: ".to_owned(),
        format!(
            "POST /api/v1/intake HTTP/1.1\r\nHost: a\r\nX-Api-Key: {KEY}\r\nContent-Type: application/json\r\n\
             Content-Length: 1000\r\n\r\n{{\"workflow\":"
        ),
        format!("GET /api/v1/status/{id}?wait=60s HTTP/1.1\r\nHost: a\r\n\r\n"),
        String::new(),
    ];
    let mut clients = Vec::new();
    for request in &requests {
        for _ in 0..OF_EACH {
            let mut stream = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            clients.push(stream);
        }
    }
    // All of them are at the server, and it serves others.
    levqor_testkit::wait_until(Duration::from_secs(20), async || {
        let figures = caller.get(&server.base, "/metrics").await.text();
        let open = figures.lines().find_map(|line| line.strip_prefix("levqor_http_connections "));
        open.is_some_and(|open| open.parse::<usize>().unwrap() > requests.len() * OF_EACH)
    })
    .await;

    let began = Instant::now();
    let log = site.dir.join("node.log");
    let status = server.terminate(GRACE + AFTER_GRACE).await;

    println!("clients: exit after {:?}, with {GRACE:?} of grace", began.elapsed());
    let log = std::fs::read_to_string(log).unwrap_or_default();
    assert_eq!(status.code(), Some(0), "SIGTERM ended with {status}:\n{log}");
    drop(clients);
    let server = site.start("node").await;
    assert_eq!(caller.get(&server.base, &format!("/api/v1/status/{id}")).await.json()["status"], "queued");
}
