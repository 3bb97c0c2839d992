//! What passes the gate, what does not, and when its patience ends.
#![allow(clippy::unwrap_used)]

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Sends `pieces` one by one and returns what comes out of the gate, and the refusal.
async fn pass(pieces: &[&[u8]]) -> (Vec<u8>, Option<Refusal>) {
    let (mut client, server) = tokio::io::duplex(64 * 1024);
    let slot = Arc::new(Slot::default());
    let mut gate = Gate::new(server, slot.clone(), Instant::now(), Times::default());
    let mut out = Vec::new();
    for piece in pieces {
        client.write_all(piece).await.unwrap();
        drain(&mut gate, &mut out).await;
    }
    drop(client);
    drain(&mut gate, &mut out).await;
    (out, slot.take_refusal())
}

/// Reads until the gate waits, fails or ends.
async fn drain(gate: &mut Gate<tokio::io::DuplexStream>, out: &mut Vec<u8>) {
    loop {
        let mut buffer = [0; 64];
        // Without tokio's budget per task, which would make a long test wait for nothing.
        let read = std::pin::pin!(tokio::task::unconstrained(gate.read(&mut buffer)));
        match futures_util::poll!(read) {
            Poll::Ready(Ok(count)) if count > 0 => out.extend_from_slice(&buffer[..count]),
            _ => return,
        }
    }
}

const STREAM: &[u8] = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\
    \r\nPOST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nT: 1\r\n\r\n\
    GET /c HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn clean_requests_pass_unchanged_however_they_are_cut() {
    let expected = String::from_utf8(STREAM.to_vec()).unwrap().replacen("hello\r\n", "hello", 1);
    for split in 0..=STREAM.len() {
        let (first, second) = STREAM.split_at(split);
        let (out, refusal) = pass(&[first, second]).await;

        assert_eq!(String::from_utf8_lossy(&out), expected, "split at {split}");
        assert_eq!(refusal, None, "split at {split}");
    }
    let bytes: Vec<&[u8]> = STREAM.chunks(1).collect();
    assert_eq!(String::from_utf8_lossy(&pass(&bytes).await.0), expected);
}

#[tokio::test]
async fn a_bad_head_behind_good_requests_becomes_a_stand_in() {
    let bad = b"GET /evil HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n";
    let stream: Vec<u8> = STREAM.iter().chain(bad).copied().collect();
    for split in 0..=stream.len() {
        let (first, second) = stream.split_at(split);
        let (out, refusal) = pass(&[first, second]).await;

        assert!(out.ends_with(STAND_IN), "split at {split}: {}", String::from_utf8_lossy(&out));
        assert!(!String::from_utf8_lossy(&out).contains("/evil"), "split at {split}");
        assert_eq!(refusal, Some(Refusal::HostCount), "split at {split}");
    }
}

#[tokio::test]
async fn a_malformed_chunk_ends_the_body_with_an_error() {
    let (out, refusal) =
        pass(&[b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", b"3 \r\nabc\r\nGET /"])
            .await;

    assert!(out.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&out));
    assert_eq!(refusal, None);
}

#[tokio::test]
async fn a_slow_head_is_refused_after_its_time() {
    let (mut client, server) = tokio::io::duplex(1024);
    let slot = Arc::new(Slot::default());
    let times = Times { head: Duration::from_millis(30), idle: Duration::from_secs(60), ..Times::default() };
    let mut gate = Gate::new(server, slot.clone(), Instant::now(), times);
    let mut buffer = [0; 256];

    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(gate.read(&mut buffer).await.unwrap() > 0);
    let before = Instant::now();
    client.write_all(b"GET / HT").await.unwrap();
    let count = gate.read(&mut buffer).await.unwrap();

    assert_eq!(&buffer[..count], STAND_IN);
    assert_eq!(slot.take_refusal(), Some(Refusal::TooSlow));
    assert!(before.elapsed() >= times.head && before.elapsed() < times.idle);
}

#[tokio::test]
async fn a_silent_connection_ends_after_its_time() {
    let times =
        Times { head: Duration::from_millis(30), idle: Duration::from_millis(60), ..Times::default() };
    let (mut client, server) = tokio::io::duplex(1024);
    let slot = Arc::new(Slot::default());
    let mut gate = Gate::new(server, slot.clone(), Instant::now(), times);
    let mut buffer = [0; 256];

    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(gate.read(&mut buffer).await.unwrap() > 0);
    assert_eq!(slot.waiting_since_ms(), None, "it has a request");
    let before = Instant::now();

    assert_eq!(gate.read(&mut buffer).await.unwrap(), 0);
    assert!(before.elapsed() >= times.idle);
    assert!(slot.waiting_since_ms().is_some());
}

#[tokio::test]
async fn a_client_that_reads_nothing_loses_its_connection() {
    let (near, _far) = tokio::io::duplex(64);
    let times = Times { write: Duration::from_millis(30), ..Times::default() };
    let mut gate = Gate::new(near, Arc::new(Slot::default()), Instant::now(), times);

    let ended = tokio::time::timeout(Duration::from_secs(5), gate.write_all(&[0; 1_000])).await.unwrap();

    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

/// A peer behind TLS that takes nothing: bytes are accepted into a buffer that is never sent.
struct Clogged;

impl AsyncRead for Clogged {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Clogged {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn what_is_held_back_for_a_client_that_reads_nothing_ends_too() {
    let times = Times { write: Duration::from_millis(20), ..Times::default() };
    let mut gate = Gate::new(Clogged, Arc::new(Slot::default()), Instant::now(), times);

    gate.write_all(b"an answer").await.unwrap();
    assert_eq!(gate.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(gate.shutdown().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
}
