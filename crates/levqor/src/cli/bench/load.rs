//! The load tool: keep-alive connections that write prepared bytes and read an answer, nothing more, so that as little as
//! possible of the machine goes to the measuring.
//!
//! Two ways to offer load. *Closed*: every connection sends its next request when it has its answer, which finds the
//! highest rate. *Open*: requests have intended times, and latency counts from the intended time even where the
//! connection was late, which is what corrects for coordinated omission.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::exit::{Exit, Failure};

/// An answer larger than this is none of ours.
const ANSWER_MAX_BYTES: usize = 1 << 20;

/// One keep-alive connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Status and body of an answer.
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends the bytes of one request and reads its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> std::io::Result<Reply> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if let Some((status, body)) = parse(&self.buffer)? {
                return Ok(Reply { status, body: self.buffer[body].to_vec() });
            }
            if self.buffer.len() > ANSWER_MAX_BYTES {
                return Err(std::io::Error::other("an answer of more than 1 MB"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::Error::other(
                    "the server closed the connection in the middle of an answer",
                ));
            }
        }
    }
}

/// The status and where the body stands, once all of it is there.
fn parse(bytes: &[u8]) -> std::io::Result<Option<(u16, std::ops::Range<usize>)>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes).map_err(std::io::Error::other)? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length =
        length.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    let Some(length) = length else { return Err(std::io::Error::other("an answer without Content-Length")) };
    let end = head + length;
    Ok((bytes.len() >= end).then_some((response.code.unwrap_or(0), head..end)))
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, kind: &str, body: &str) -> Vec<u8> {
    with_header(method, path, kind, "", body)
}

/// `header` is a whole line with its end, or nothing.
fn with_header(method: &str, path: &str, kind: &str, header: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{header}content-type: {kind}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A POST of JSON by somebody with a key.
pub fn post_as(key: &str, path: &str, body: &str) -> Vec<u8> {
    with_header("POST", path, "application/json", &format!("authorization: Bearer {key}\r\n"), body)
}

/// A POST of JSON.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    request("POST", path, "application/json", body)
}

/// What a run of load came to.
pub struct Run {
    pub answers: u64,
    pub elapsed: Duration,
    /// The body of each connection's last answer.
    pub last: Vec<Vec<u8>>,
    /// Microseconds.
    pub latency_us: Histogram<u64>,
}

impl Run {
    pub fn per_second(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }
}

/// For values up to 600 million: ten minutes in microseconds, or 0.6 s in nanoseconds. A growing histogram would not do:
/// `saturating_record` cuts off at its size of the moment.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3)
        .expect("the bounds are in order and the precision is 0 to 5")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).clamp(1, 600_000_000)
}

/// When a closed run ends.
#[derive(Clone, Copy)]
pub enum Until {
    Time(Duration),
    Count(u64),
}

fn broke(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("the load broke off: {error}"))
}

/// Every connection sends again as soon as it has its answer. All answers must have the status `expected`.
pub async fn closed(
    address: SocketAddr,
    connections: usize,
    until: Until,
    expected: u16,
    request: Vec<u8>,
) -> Result<Run, Failure> {
    let request: Arc<[u8]> = request.into();
    let sent = Arc::new(AtomicU64::new(0));
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::open(address).await.map_err(broke)?);
    }
    let started = Instant::now();
    let tasks: Vec<_> = open
        .into_iter()
        .map(|mut connection| {
            let (request, sent) = (request.clone(), sent.clone());
            tokio::spawn(async move {
                let mut part = Part::default();
                loop {
                    let is_over = match until {
                        Until::Time(limit) => started.elapsed() >= limit,
                        Until::Count(count) => sent.fetch_add(1, Ordering::Relaxed) >= count,
                    };
                    if is_over {
                        return Ok(part);
                    }
                    let at = Instant::now();
                    let reply = connection.exchange(&request).await.map_err(broke)?;
                    check(&reply, expected)?;
                    part.latency_us.saturating_record(micros(at.elapsed()));
                    part.last = reply.body;
                }
            })
        })
        .collect();
    gather(tasks, started).await
}

/// Requests at a fixed rate for a time. `request` makes the bytes of the n-th.
pub async fn open(
    address: SocketAddr,
    connections: usize,
    per_second: f64,
    time: Duration,
    expected: u16,
    request: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
) -> Result<Run, Failure> {
    let request = Arc::new(request);
    let mut senders = Vec::with_capacity(connections);
    let mut tasks = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut connection = Connection::open(address).await.map_err(broke)?;
        let (sender, mut turns) = mpsc::unbounded_channel::<(u64, Instant)>();
        senders.push(sender);
        let request = request.clone();
        tasks.push(tokio::spawn(async move {
            let mut part = Part::default();
            while let Some((n, intended)) = turns.recv().await {
                let reply = connection.exchange(&request(n)).await.map_err(broke)?;
                check(&reply, expected)?;
                part.latency_us.saturating_record(micros(intended.elapsed()));
                part.last = reply.body;
            }
            Ok(part)
        }));
    }
    let started = Instant::now();
    // A thread of its own: it sleeps to some 60 µs, where the runtime's timers are good to a millisecond.
    std::thread::spawn(move || pace(&senders, per_second, time, started));
    gather(tasks, started).await
}

/// Hands every connection its turns at their intended times, one after the other.
fn pace(
    senders: &[mpsc::UnboundedSender<(u64, Instant)>],
    per_second: f64,
    time: Duration,
    started: Instant,
) {
    let count = (per_second * time.as_secs_f64()) as u64;
    for n in 0..count {
        let intended = started + Duration::from_secs_f64(n as f64 / per_second);
        let wait = intended.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        // A connection that broke has its failure told by its own task.
        let _ = senders[(n % senders.len() as u64) as usize].send((n, intended));
    }
}

/// What one connection came to.
struct Part {
    latency_us: Histogram<u64>,
    last: Vec<u8>,
}

impl Default for Part {
    fn default() -> Self {
        Part { latency_us: histogram(), last: Vec::new() }
    }
}

async fn gather(tasks: Vec<JoinHandle<Result<Part, Failure>>>, started: Instant) -> Result<Run, Failure> {
    let (mut latency_us, mut last) = (histogram(), Vec::with_capacity(tasks.len()));
    for task in tasks {
        let part = task.await.map_err(|error| Failure::failed(error.to_string()))??;
        latency_us.add(part.latency_us).map_err(|error| Failure::failed(error.to_string()))?;
        last.push(part.last);
    }
    Ok(Run { answers: latency_us.len(), elapsed: started.elapsed(), last, latency_us })
}

fn check(reply: &Reply, expected: u16) -> Result<(), Failure> {
    if reply.status == expected {
        return Ok(());
    }
    let body = String::from_utf8_lossy(&reply.body);
    Err(Failure::failed(format!(
        "the load met status {} where {expected} was due: {}",
        reply.status,
        body.trim_end()
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_last_byte_is_there() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{}";

        assert_eq!(parse(answer).unwrap(), Some((202, answer.len() - 2..answer.len())));
        for cut in 0..answer.len() {
            assert_eq!(parse(&answer[..cut]).unwrap(), None, "{cut}");
        }
    }

    #[test]
    fn an_answer_without_a_length_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn a_stalled_server_shows_in_the_latency_of_every_request_that_was_due() {
        use std::io::{Read, Write};

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut buffer = [0; 4096];
            let mut first = true;
            while stream.read(&mut buffer).unwrap_or(0) > 0 {
                if std::mem::take(&mut first) {
                    std::thread::sleep(Duration::from_millis(300));
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });

        let run =
            open(address, 1, 100.0, Duration::from_millis(300), 200, |_| post("/", "{}")).await.unwrap();

        assert_eq!(run.answers, 30);
        // One request in thirty was slow; uncorrected, the median would be well under a millisecond.
        assert!(run.latency_us.value_at_quantile(0.5) > 50_000, "{}", run.latency_us.value_at_quantile(0.5));
    }
}
