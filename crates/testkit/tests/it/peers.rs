//! The receiver, the scripted server, the folder and the wait.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use levqor_testkit::{Act, Answer, Receiver, Script, TempDir, wait_until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const LIMIT: Duration = Duration::from_secs(10);

async fn open(address: SocketAddr, request: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut answer = String::new();
    open(address, request).await.read_to_string(&mut answer).await.unwrap();
    answer
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx-a: 1\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_receiver_records_requests_and_answers_each_path_by_its_script() {
    let receiver = Receiver::start().await;
    receiver.script("/hook", [Answer::status(503).retry_after("7").body("busy"), Answer::status(204)]);

    let first = ask(receiver.address(), &post("/hook?a=b", r#"{"n":1}"#)).await;
    let second = ask(receiver.address(), &post("/hook", "2")).await;
    let third = ask(receiver.address(), &post("/hook", "3")).await;
    let other = ask(receiver.address(), &post("/other", "4")).await;
    let received = receiver.wait_for(4, LIMIT).await;

    assert!(
        first.starts_with("HTTP/1.1 503") && first.contains("retry-after: 7") && first.ends_with("busy"),
        "{first}"
    );
    assert!(second.starts_with("HTTP/1.1 204") && third.starts_with("HTTP/1.1 204"), "{second}{third}");
    assert!(other.starts_with("HTTP/1.1 200"), "{other}");
    assert_eq!(received[0].json(), serde_json::json!({"n": 1}));
    assert_eq!(
        (received[0].query.as_str(), received[0].header("x-a"), received[0].header("x-b")),
        ("a=b", "1", "")
    );
    assert_eq!(receiver.received_at("/hook").len(), 3);
}

#[tokio::test]
async fn a_hanging_answer_is_recorded_and_never_comes() {
    let receiver = Receiver::start().await;
    receiver.script("/", [Answer::hang()]);

    let mut stream = open(receiver.address(), &post("/", "")).await;
    receiver.wait_for(1, LIMIT).await;
    let answer = tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await;

    assert!(answer.is_err(), "it answered: {answer:?}");
}

#[tokio::test]
async fn a_script_plays_its_acts_to_every_connection() {
    let script = Script::start(vec![Act::ReadRequest, Act::send("first "), Act::send("second")]).await;

    assert_eq!(ask(script.address(), &post("/", "body")).await, "first second");
    assert_eq!(ask(script.address(), &post("/", "more")).await, "first second");

    assert!(script.requests()[0].ends_with("\r\n\r\nbody"), "{:?}", script.requests());
    assert_eq!(script.accepted(), 2);
    wait_until(LIMIT, || async { script.closed() == 2 }).await;
}

#[tokio::test]
async fn a_wait_ends_with_its_condition_or_at_its_limit() {
    let asked = AtomicU32::new(0);
    wait_until(LIMIT, || async { asked.fetch_add(1, Ordering::SeqCst) == 2 }).await;
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    for hangs in [false, true] {
        let never = tokio::spawn(wait_until(Duration::from_millis(20), move || async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            false
        }));
        let message = *never.await.unwrap_err().into_panic().downcast::<String>().unwrap();
        assert!(message.contains("peers.rs") && message.contains("20ms"), "{message}");
    }
}

#[test]
fn a_folder_is_gone_with_its_value() {
    let folder = TempDir::new();
    std::fs::write(folder.join("file"), "content").unwrap();
    let path = folder.path().to_owned();

    drop(folder);

    assert!(!path.exists());
}
