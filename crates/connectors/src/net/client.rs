//! The client itself: one call from request to answer, every part of it bounded.
//!
//! HTTP/1.1 only: one connection carries one call at a time, so a slow call holds up no other. Answers are not decompressed
//! and none are asked for that way: the cap on an answer's size is then a cap on what came over the wire *and* on memory.
//! Dropping the future of a call closes its connection.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use levqor_core::address::OutboundPolicy;
use tokio::time::Instant;

use super::dial::{DIALLING, DialLayer, Dialling, Resolver};
use super::request::{Prepared, prepare};
use super::{CallError, Phase, Request, Timeouts, tls};

/// Connections kept for the next call to the same host, and for how long. Few and short: receivers of callbacks are many
/// and mostly called once, and each kept connection is a file descriptor.
const IDLE_MAX_PER_HOST: usize = 8;
const IDLE_FOR: Duration = Duration::from_secs(10);

/// How long a body that nobody wants may take before its connection is closed.
const DRAIN_FOR: Duration = Duration::from_millis(500);

/// One guarded HTTP client; its clones share connections.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    policy: Arc<OutboundPolicy>,
    user_agent: HeaderValue,
    /// Made at the first call: a process that calls nobody keeps no certificates in memory. Measured: 3 MB and 13 ms, once,
    /// in a debug build.
    http: OnceLock<reqwest::Client>,
}

/// What came back, whatever its status. A redirect is an answer like any other: its target was judged by nobody.
#[derive(Clone)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Shows no header and no body: both may hold what is not meant for a log.
impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body_bytes = self.body.len();
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("body_bytes", &body_bytes)
            .finish_non_exhaustive()
    }
}

/// An answer whose body is still coming. Dropping it closes the connection.
pub struct Incoming {
    pub status: StatusCode,
    pub headers: HeaderMap,
    answer: reqwest::Response,
    host: String,
    deadline: Instant,
    timeouts: Timeouts,
    left_bytes: usize,
    limit_bytes: usize,
}

impl Incoming {
    /// The next part of the body, `None` at its end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        let quiet_until = Instant::now() + Duration::from_millis(self.timeouts.first_byte_ms);
        let (until, phase, limit_ms) = if quiet_until < self.deadline {
            (quiet_until, Phase::FirstByte, self.timeouts.first_byte_ms)
        } else {
            (self.deadline, Phase::Total, self.timeouts.total_ms)
        };
        let host = || self.host.clone();
        let part = match tokio::time::timeout_at(until, self.answer.chunk()).await {
            // Nothing is dialled any more, so the connect limit cannot be what failed.
            Ok(part) => part.map_err(|error| CallError::sort(error, &self.host, 0))?,
            Err(_) => return Err(CallError::Timeout { host: host(), phase, limit_ms }),
        };
        if let Some(part) = &part {
            self.left_bytes = self
                .left_bytes
                .checked_sub(part.len())
                .ok_or_else(|| CallError::TooLarge { host: host(), limit_bytes: self.limit_bytes })?;
        }
        Ok(part)
    }
}

impl Client {
    /// Does no work yet. `user_agent` is sent unless a request brings its own.
    pub fn new(policy: OutboundPolicy, user_agent: HeaderValue) -> Self {
        Self { shared: Arc::new(Shared { policy: Arc::new(policy), user_agent, http: OnceLock::new() }) }
    }

    /// Makes one call and reads the whole answer.
    pub async fn send(&self, request: Request) -> Result<Response, CallError> {
        self.call(request, true).await
    }

    /// Makes one call of which only status and headers matter: a body that is too long, cut or slow does not change them.
    /// The body of the response is empty.
    pub async fn send_for_status(&self, request: Request) -> Result<Response, CallError> {
        self.call(request, false).await
    }

    /// Makes one call and hands the answer over as it comes. Its parts must come within `first_byte_ms` of each other, and
    /// all of them within `total_ms`.
    pub async fn open(&self, request: Request) -> Result<Incoming, CallError> {
        let Request { method, url, headers, body, timeouts, max_response_bytes } = request;
        let prepared = prepare(method, &url, headers, body, &self.shared.policy)?;
        let host = prepared.host.clone();
        let deadline = Instant::now() + Duration::from_millis(timeouts.total_ms);
        match tokio::time::timeout_at(deadline, self.begin(prepared, timeouts)).await {
            Ok(Ok(mut answer)) => Ok(Incoming {
                status: answer.status(),
                headers: std::mem::take(answer.headers_mut()),
                answer,
                host,
                deadline,
                timeouts,
                left_bytes: max_response_bytes,
                limit_bytes: max_response_bytes,
            }),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(CallError::Timeout { host, phase: Phase::Total, limit_ms: timeouts.total_ms }),
        }
    }

    async fn call(&self, request: Request, wants_body: bool) -> Result<Response, CallError> {
        let Request { method, url, headers, body, timeouts, max_response_bytes } = request;
        let prepared = prepare(method, &url, headers, body, &self.shared.policy)?;
        let host = prepared.host.clone();
        let exchange = self.exchange(prepared, timeouts, wants_body, max_response_bytes);
        match tokio::time::timeout(Duration::from_millis(timeouts.total_ms), exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(CallError::Timeout { host, phase: Phase::Total, limit_ms: timeouts.total_ms }),
        }
    }

    /// From nothing to the head of the answer.
    async fn begin(&self, prepared: Prepared, timeouts: Timeouts) -> Result<reqwest::Response, CallError> {
        let Prepared { host, request } = prepared;
        let dialling = Dialling::new(Duration::from_millis(timeouts.connect_ms));
        let first_byte = Duration::from_millis(timeouts.first_byte_ms);
        let answer = tokio::select! {
            // The call goes first, so that it has begun to dial before anybody asks whether it does.
            biased;
            answer = DIALLING.scope(dialling.clone(), self.shared.http().execute(request)) => answer,
            () = dialling.up_for(first_byte) => {
                return Err(CallError::Timeout { host, phase: Phase::FirstByte, limit_ms: timeouts.first_byte_ms });
            }
        };
        answer.map_err(|error| CallError::sort(error, &host, timeouts.connect_ms))
    }

    async fn exchange(
        &self,
        prepared: Prepared,
        timeouts: Timeouts,
        wants_body: bool,
        limit_bytes: usize,
    ) -> Result<Response, CallError> {
        let host = prepared.host.clone();
        let mut answer = self.begin(prepared, timeouts).await?;
        let status = answer.status();
        let headers = std::mem::take(answer.headers_mut());
        if wants_body {
            let body = read_body(answer, &host, limit_bytes).await?;
            return Ok(Response { status, headers, body });
        }
        // A body that is short and quick is read all the same, so that the connection can be used again.
        tokio::spawn(tokio::time::timeout(DRAIN_FOR, async move {
            read_body(answer, &host, limit_bytes).await.ok();
        }));
        Ok(Response { status, headers, body: Bytes::new() })
    }
}

async fn read_body(
    mut answer: reqwest::Response,
    host: &str,
    limit_bytes: usize,
) -> Result<Bytes, CallError> {
    let too_large = || CallError::TooLarge { host: host.to_owned(), limit_bytes };
    // An announced length is believed only when it is too much; room is made for what has come.
    if answer.content_length().is_some_and(|length| length > limit_bytes as u64) {
        return Err(too_large());
    }
    let mut body = BytesMut::new();
    // Nothing is dialled any more, so the connect limit cannot be what failed.
    while let Some(chunk) = answer.chunk().await.map_err(|error| CallError::sort(error, host, 0))? {
        if chunk.len() > limit_bytes - body.len() {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

impl Shared {
    fn http(&self) -> &reqwest::Client {
        self.http.get_or_init(|| {
            #[allow(clippy::disallowed_methods, reason = "this is the guarded client that the ban points to")]
            let builder = reqwest::Client::builder();
            builder
                .user_agent(self.user_agent.clone())
                .tls_backend_preconfigured(tls::config())
                .dns_resolver(Resolver::new(self.policy.clone()))
                .connector_layer(DialLayer)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .no_proxy()
                .no_gzip()
                .referer(false)
                .http1_only()
                .pool_max_idle_per_host(IDLE_MAX_PER_HOST)
                .pool_idle_timeout(IDLE_FOR)
                .build()
                .expect("every setting is fixed here, and a test builds the same client")
        })
    }
}
