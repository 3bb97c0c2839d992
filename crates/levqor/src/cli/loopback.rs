//! A small HTTP server on loopback that the demo and the benchmark let Levqor call: every request goes to one function.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::exit::Failure;

/// One request, as it came in.
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: Instant,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

/// Status and JSON body of an answer.
pub type Reply = (u16, String);

/// A listening server; it ends when dropped.
pub struct Loopback {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Loopback {
    pub async fn start(answer: impl Fn(Seen) -> Reply + Send + Sync + 'static) -> Result<Loopback, Failure> {
        let cannot =
            |error: std::io::Error| Failure::failed(format!("no port on 127.0.0.1 can be used: {error}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(cannot)?;
        let address = listener.local_addr().map_err(cannot)?;
        let task = tokio::spawn(accept(listener, Arc::new(answer)));
        Ok(Loopback { address, task })
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept<F>(listener: TcpListener, answer: Arc<F>)
where
    F: Fn(Seen) -> Reply + Send + Sync + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(request, answer.clone()));
            // A peer that breaks off has nobody left to tell.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn handle<F>(request: Request<Incoming>, answer: Arc<F>) -> Result<Response<Full<Bytes>>, Infallible>
where
    F: Fn(Seen) -> Reply,
{
    let at = Instant::now();
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(response((400, "{}".to_owned())));
    };
    let path = parts.uri.path().to_owned();
    Ok(response(answer(Seen { path, headers: parts.headers, body: body.to_bytes(), at })))
}

fn response((status, body): Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}
