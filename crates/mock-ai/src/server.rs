//! The sockets. HTTP is read and written by hand here, because a provider that fails does so below HTTP: it resets a
//! connection before or after it took the request, and ends an answer in the middle.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::ask::{self, Ask, Refused, Wire};
use crate::bill::{self, Bill, Entry, KNOWN, Rates};
use crate::fault::{Fault, Faults};
use crate::reply::{self, Script, Served};
use crate::{control, wire};

const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_BODY_BYTES: usize = 64 * 1024 * 1024;
/// Kept of a question on the bill.
const ASKED_CHARS: usize = 60;

/// How the mock behaves.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Models beside the known ones; one of the same name replaces it.
    pub models: BTreeMap<String, Rates>,
    /// How long it thinks before it answers.
    pub delay: Duration,
    /// How long it takes between two pieces of a stream.
    pub pace: Duration,
}

pub(crate) struct State {
    pub bill: Bill,
    pub faults: Faults,
    pub replies: VecDeque<Script>,
    models: BTreeMap<String, Rates>,
    served: u64,
}

struct Mock {
    state: Mutex<State>,
    delay: Duration,
    pace: Duration,
}

/// A listening provider; it ends when dropped.
pub struct MockAi {
    address: SocketAddr,
    mock: Arc<Mock>,
    accept: JoinHandle<()>,
}

impl MockAi {
    /// Listens on `address`; port 0 takes a free one.
    pub async fn start(address: SocketAddr, settings: Settings) -> std::io::Result<MockAi> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let mut models: BTreeMap<String, Rates> =
            KNOWN.iter().map(|(name, rates)| ((*name).to_owned(), *rates)).collect();
        models.extend(settings.models);
        let state = State {
            bill: Bill::default(),
            faults: Faults::default(),
            replies: VecDeque::new(),
            models,
            served: 0,
        };
        let mock = Arc::new(Mock { state: Mutex::new(state), delay: settings.delay, pace: settings.pace });
        let accept = tokio::spawn(accept(listener, mock.clone()));
        Ok(MockAi { address, mock, accept })
    }

    /// `http://127.0.0.1:<port>`; each vendor's path comes after it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn bill(&self) -> Bill {
        self.mock.state().bill.clone()
    }

    /// The next calls meet these, in order; `None` is a call that goes well.
    pub fn queue_faults(&self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.mock.state().faults.queue(faults);
    }

    /// Each call without a queued fault meets one with a probability, given in millionths.
    pub fn set_fault_rates(&self, rates: Vec<(Fault, u32)>, seed: u64) {
        self.mock.state().faults.set_rates(rates, seed);
    }

    /// The next calls are answered by these, in order.
    pub fn queue_replies(&self, replies: impl IntoIterator<Item = Script>) {
        self.mock.state().replies.extend(replies);
    }

    /// The models it serves, with their rates.
    pub fn models(&self) -> BTreeMap<String, Rates> {
        self.mock.state().models.clone()
    }
}

impl Drop for MockAi {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

impl Mock {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn accept(listener: TcpListener, mock: Arc<Mock>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let mock = mock.clone();
                // A peer that breaks off has nobody left to tell.
                tokio::spawn(async move { converse(stream, &mock).await.ok() });
            }
            // Out of descriptors, say: others may be closed soon.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }
}

async fn converse(mut stream: TcpStream, mock: &Mock) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await? {
        if !respond(&mut stream, mock, &request).await? {
            break;
        }
    }
    Ok(())
}

/// The next request of a connection; `None` when the peer is done or sends what is no request.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Request>> {
    loop {
        let mut slots = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut slots);
        match head.parse(buffer) {
            Ok(httparse::Status::Complete(head_bytes)) => {
                let headers: Vec<(String, String)> = head
                    .headers
                    .iter()
                    .map(|header| {
                        (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
                    })
                    .collect();
                let mut request = Request {
                    method: head.method.unwrap_or_default().to_owned(),
                    path: head.path.unwrap_or_default().to_owned(),
                    headers,
                    body: Vec::new(),
                };
                let body_bytes = request.header("content-length").trim().parse().unwrap_or(0usize);
                if body_bytes > MAX_BODY_BYTES {
                    return Ok(None);
                }
                while buffer.len() < head_bytes + body_bytes {
                    if stream.read_buf(buffer).await? == 0 {
                        return Ok(None);
                    }
                }
                request.body = buffer[head_bytes..head_bytes + body_bytes].to_vec();
                buffer.drain(..head_bytes + body_bytes);
                return Ok(Some(request));
            }
            Ok(httparse::Status::Partial) if buffer.len() < MAX_HEAD_BYTES => {
                if stream.read_buf(buffer).await? == 0 {
                    return Ok(None);
                }
            }
            _ => return Ok(None),
        }
    }
}

/// Answers one request. Returns whether the connection goes on.
async fn respond(stream: &mut TcpStream, mock: &Mock, request: &Request) -> std::io::Result<bool> {
    if let Some(name) = request.path.strip_prefix("/_mock/") {
        let (status, body) = control::answer(&request.method, name, &request.body, &mut mock.state());
        return send_json(stream, status, &body).await;
    }
    let Some((wire, in_path)) = ask::route(&request.path).filter(|_| request.method == "POST") else {
        let error = wire::error(Wire::Chat, 404, "not_found_error", "there is no such path");
        return send_json(stream, 404, &error).await;
    };
    let (header, prefix) = wire::key_header(wire);
    let key = request.header(header).strip_prefix(prefix).unwrap_or_default().trim().to_owned();
    let refused = |refused: Refused| {
        (refused.status, wire::error(wire, refused.status, refused.kind, &refused.message))
    };
    let ask = match ask::read(wire, in_path, key, &request.body) {
        Ok(ask) => ask,
        Err(error) => {
            let (status, body) = refused(error);
            return send_json(stream, status, &body).await;
        }
    };
    let fault = mock.state().faults.take();
    match fault {
        Some(Fault::ResetBefore) => return reset(stream),
        Some(Fault::Status(status)) => {
            let body = wire::error(wire, status, status_kind(status), "a fault that was asked for");
            return send_json(stream, status, &body).await;
        }
        _ => {}
    }
    // From here on it costs money, whoever goes away.
    let served = match serve(mock, &ask, fault) {
        Ok(served) => served,
        Err(error) => {
            let (status, body) = refused(error);
            return send_json(stream, status, &body).await;
        }
    };
    if !mock.delay.is_zero() {
        pause(mock.delay).await;
    }
    if fault == Some(Fault::DropReply) {
        return reset(stream);
    }
    match ask.stream {
        true => send_stream(stream, &ask, &served, fault, mock.pace).await,
        false => send_whole(stream, &ask, &served, fault).await,
    }
}

/// Works out the reply and writes it on the bill.
fn serve(mock: &Mock, ask: &Ask, fault: Option<Fault>) -> Result<Served, Refused> {
    let mut state = mock.state();
    let Some(rates) = state.models.get(&ask.model).copied() else {
        let message = format!("The model `{}` does not exist", ask.model);
        return Err(Refused::new(404, "model_not_found", message));
    };
    state.served += 1;
    let id = format!("mock-{}", state.served);
    let script = state.replies.pop_front().unwrap_or_default();
    let mut served = reply::work_out(ask, script, id.clone());
    match fault {
        Some(Fault::Overlong) => {
            served.tokens.output = ask.max_output.unwrap_or(served.tokens.output) * 2 * ask.choices;
            served.told = Some(served.tokens);
        }
        Some(Fault::NoUsage) => served.told = None,
        Some(Fault::WrongUsage) => {
            let mut told = served.tokens;
            (told.input, told.output) = (told.input / 2, told.output / 2);
            served.told = Some(told);
        }
        _ => {}
    }
    let entry = Entry {
        id,
        key: ask.key.clone(),
        model: ask.model.clone(),
        asked: ask.prompt.chars().take(ASKED_CHARS).collect(),
        tokens: served.tokens,
        amount_nano: bill::amount_nano(&served.tokens, &rates),
        fault: fault.map(Fault::name),
    };
    state.bill.add(entry);
    Ok(served)
}

async fn send_whole(
    stream: &mut TcpStream,
    ask: &Ask,
    served: &Served,
    fault: Option<Fault>,
) -> std::io::Result<bool> {
    let body = wire::body(ask, served);
    let text = body.to_string();
    let half = text.len() / 2;
    match fault {
        Some(Fault::Cut) => {
            stream.write_all(head(200, "application/json", Some(text.len())).as_bytes()).await?;
            stream.write_all(&text.as_bytes()[..half]).await?;
            Ok(false)
        }
        Some(Fault::Stall) => {
            stream.write_all(head(200, "application/json", Some(text.len())).as_bytes()).await?;
            stream.write_all(&text.as_bytes()[..half]).await?;
            hang(stream).await
        }
        _ => send_json(stream, 200, &body).await,
    }
}

async fn send_stream(
    stream: &mut TcpStream,
    ask: &Ask,
    served: &Served,
    fault: Option<Fault>,
    pace: Duration,
) -> std::io::Result<bool> {
    let events = wire::events(ask, served);
    stream.write_all(head(200, "text/event-stream", None).as_bytes()).await?;
    let middle = events.len() / 2;
    for (place, event) in events.iter().enumerate() {
        match fault {
            Some(Fault::Cut) if place == middle => return Ok(false),
            Some(Fault::Stall) if place == middle => return hang(stream).await,
            _ => {}
        }
        let times = if fault == Some(Fault::Duplicate) { 2 } else { 1 };
        for _ in 0..times {
            stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes()).await?;
        }
        if !pace.is_zero() {
            pause(pace).await;
        }
    }
    stream.write_all(b"0\r\n\r\n").await?;
    Ok(true)
}

async fn send_json(stream: &mut TcpStream, status: u16, body: &Value) -> std::io::Result<bool> {
    let text = body.to_string();
    let mut answer = head(status, "application/json", Some(text.len()));
    answer.push_str(&text);
    stream.write_all(answer.as_bytes()).await?;
    Ok(true)
}

fn head(status: u16, kind: &str, length: Option<usize>) -> String {
    let length = match length {
        Some(bytes) => format!("content-length: {bytes}"),
        None => "transfer-encoding: chunked".to_owned(),
    };
    let retry = if status == 429 || status == 529 { "retry-after: 1\r\n" } else { "" };
    format!("HTTP/1.1 {status} Mock\r\ncontent-type: {kind}\r\n{retry}{length}\r\n\r\n")
}

fn status_kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        400..500 => "invalid_request_error",
        _ => "api_error",
    }
}

/// Ends the connection with a reset instead of an orderly close.
fn reset(stream: &TcpStream) -> std::io::Result<bool> {
    stream.set_zero_linger()?;
    Ok(false)
}

/// Keeps the connection open and silent until the peer goes away.
async fn hang(stream: &mut TcpStream) -> std::io::Result<bool> {
    let mut sink = [0u8; 1024];
    while stream.read(&mut sink).await? > 0 {}
    Ok(false)
}

#[allow(clippy::disallowed_methods, reason = "a provider takes its time: that is what is imitated here")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}
