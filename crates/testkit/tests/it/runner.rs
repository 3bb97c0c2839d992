//! `levqor-testkit-pg`, and the databases that tests make in its server.

use std::process::Stdio;
use std::time::Duration;

use levqor_testkit::{postgres_url, wait_until};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio_postgres::NoTls;

const LIMIT: Duration = Duration::from_secs(60);

/// The runner, with a server of its own whatever this test itself runs under.
fn runner(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_levqor-testkit-pg"));
    command
        .args(arguments)
        .env_remove("LEVQOR_TEST_DATABASE_URL")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn answers(url: &str) -> bool {
    tokio_postgres::connect(url, NoTls).await.is_ok()
}

#[tokio::test]
async fn every_database_is_new_and_empty() {
    let (one, other) = (postgres_url().await, postgres_url().await);

    assert_ne!(one, other);
    for url in [one, other] {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("create table only_here (id int)").await.unwrap();
    }
}

#[tokio::test]
async fn the_runner_hands_on_the_code_of_its_command_and_leaves_no_server() {
    let script = "echo $LEVQOR_TEST_DATABASE_URL; exit 7";
    let output = runner(&["run", "--durable", "--", "sh", "-c", script]).output().await.unwrap();

    let url = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(url.starts_with("postgres://postgres@127.0.0.1:"), "{url}");
    assert!(!answers(url.trim()).await);
}

#[tokio::test]
async fn a_terminated_runner_ends_its_command_and_its_server() {
    let script = "echo $LEVQOR_TEST_DATABASE_URL; exec sleep 1000";
    let mut child = runner(&["run", "--", "sh", "-c", script]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let url = lines.next_line().await.unwrap().unwrap();
    assert!(answers(&url).await, "{url}");

    let kill = format!("kill -TERM {}", child.id().unwrap());
    Command::new("sh").args(["-c", &kill]).status().await.unwrap();

    wait_until(LIMIT, || async { !answers(&url).await }).await;
    let status = tokio::time::timeout(LIMIT, child.wait()).await.unwrap().unwrap();
    assert_eq!(status.code(), Some(128 + 15));
    assert_eq!(lines.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn the_runner_uses_a_server_that_is_named_already() {
    let named = "postgres://somebody@127.0.0.1:1/named";
    let mut command = runner(&["run", "--", "sh", "-c", "echo $LEVQOR_TEST_DATABASE_URL"]);
    let output = command.env("LEVQOR_TEST_DATABASE_URL", named).output().await.unwrap();

    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), named);
}

#[tokio::test]
async fn arguments_that_make_no_sense_get_the_usage() {
    for arguments in [&[][..], &["stop"], &["run"], &["run", "--"], &["run", "--fast", "--", "true"]] {
        let output = runner(arguments).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("usage:"), "{arguments:?}");
    }
    let output = runner(&["run", "--", "/nowhere/program"]).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nowhere/program cannot be run"));
}
