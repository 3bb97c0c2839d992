//! A receiver of callbacks on loopback: records every request as it came, and answers each path by its own script.
//!
//! It verifies nothing: what a signature must look like is the test's business.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// More than any body that Levqor sends; a test that meets it has found a bug.
const BODY_MAX_BYTES: usize = 64 << 20;

/// One request, as it came in.
#[derive(Clone, Debug)]
pub struct Received {
    pub method: Method,
    pub path: String,
    /// Without the question mark; empty when there was none.
    pub query: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Received {
    /// The text of a header, or `""`.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The body as JSON; panics with the body when it is none.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => {
                panic!(
                    "{} got a body that is no JSON ({error}): {:?}",
                    self.path,
                    String::from_utf8_lossy(&self.body)
                )
            }
        }
    }
}

/// How to answer one request.
#[derive(Clone, Debug)]
pub struct Answer {
    status: StatusCode,
    headers: Vec<(String, String)>,
    body: Bytes,
    delay: Duration,
    hang: bool,
}

impl Answer {
    /// Panics on a number that is no HTTP status.
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("a status is a number from 100 to 999");
        Self { status, headers: Vec::new(), body: Bytes::new(), delay: Duration::ZERO, hang: false }
    }

    /// 200 with a JSON body.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::status(200).header("content-type", "application/json").body(value.to_string())
    }

    /// Take the request and never answer; the caller must give up by itself.
    pub fn hang() -> Self {
        Self { hang: true, ..Self::status(200) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Retry-After`, in seconds or as an HTTP date.
    pub fn retry_after(self, value: &str) -> Self {
        self.header("retry-after", value)
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Wait this long before answering.
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }
}

#[derive(Debug, Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    scripts: Mutex<HashMap<String, VecDeque<Answer>>>,
    arrived: Notify,
}

/// A listening receiver on 127.0.0.1; it ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl Receiver {
    /// Answers 200 with an empty body wherever no script says otherwise.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let app = Router::new().fallback(receive).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // Ends only with the task: axum's accept loop never gives up.
            let _ = axum::serve(listener, app).await;
        });
        Self { address, shared, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:<port><path>`; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers requests to `path` in this order; the last answer stays. Replaces an earlier script.
    pub fn script(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.shared.scripts).insert(path.to_owned(), answers.into_iter().collect());
    }

    /// [`Self::script`] with bare statuses.
    pub fn statuses(&self, path: &str, statuses: &[u16]) {
        self.script(path, statuses.iter().map(|status| Answer::status(*status)));
    }

    /// Everything received so far, oldest first.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// What `path` received so far, oldest first.
    pub fn received_at(&self, path: &str) -> Vec<Received> {
        self.received().into_iter().filter(|request| request.path == path).collect()
    }

    /// Waits until at least `count` requests came in, on any path, and returns all of them; panics with what did come when
    /// `limit` is over.
    pub async fn wait_for(&self, count: usize, limit: Duration) -> Vec<Received> {
        let arrived = async {
            loop {
                let next = self.shared.arrived.notified();
                tokio::pin!(next);
                // Registered before the look, so that an arrival between the two is not missed.
                next.as_mut().enable();
                if lock(&self.shared.received).len() >= count {
                    return;
                }
                next.await;
            }
        };
        let in_time = tokio::time::timeout(limit, arrived).await.is_ok();
        let received = self.received();
        if !in_time && received.len() < count {
            let paths: Vec<_> = received.iter().map(|request| request.path.as_str()).collect();
            panic!("{} of {count} requests came within {limit:?}: {paths:?}", received.len());
        }
        received
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn receive(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let at = Instant::now();
    // A body that breaks off is no request: its sender will say so itself.
    let Ok(body) = to_bytes(body, BODY_MAX_BYTES).await else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    // The answer is taken in the same breath as the request is recorded: two requests at once meet the script in the order
    // in which `received` shows them.
    let answer = {
        let mut received = lock(&shared.received);
        let answer = next_answer(&mut lock(&shared.scripts), &path);
        received.push(Received { method: parts.method, path, query, headers: parts.headers, body, at });
        answer
    };
    shared.arrived.notify_waiters();
    let Some(answer) = answer else { return plain(StatusCode::OK) };
    if answer.hang {
        return std::future::pending().await;
    }
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(answer.body)).expect("a test's headers are valid")
}

fn next_answer(scripts: &mut HashMap<String, VecDeque<Answer>>, path: &str) -> Option<Answer> {
    let script = scripts.get_mut(path)?;
    if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
}

fn plain(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
