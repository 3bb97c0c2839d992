//! An S3-compatible store in memory, on loopback. It checks the signature of every request by itself, from the published
//! algorithm (AWS Signature Version 4, in the query), and can be told to fail, to lie, or to lose bytes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{Method, Request, StatusCode};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

pub const KEY: &str = "AKTEST";
pub const SECRET: &str = "s3cr/et+key";
const REGION: &str = "eu-test-1";
const BODY_MAX_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<String, Bytes>,
    uploads: HashMap<String, BTreeMap<u32, Bytes>>,
    requests: Vec<String>,
    failures: VecDeque<u16>,
    flips: bool,
    cuts_completion: bool,
}

/// Ends when dropped.
#[derive(Debug)]
pub struct FakeBucket {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    serving: JoinHandle<()>,
}

impl FakeBucket {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let inner = Arc::new(Mutex::new(Inner::default()));
        let router = Router::new().fallback(serve).with_state(inner.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, inner, serving }
    }

    /// What `BACKUP_S3_URL` takes: the bucket `backups`, below `daily`.
    pub fn url(&self) -> String {
        let secret = SECRET.replace('/', "%2F").replace('+', "%2B");
        format!("http://{KEY}:{secret}@{}/backups/daily?region={REGION}", self.address)
    }

    pub fn object(&self, name: &str) -> Option<Bytes> {
        self.inner().objects.get(&format!("/backups/daily/{name}")).cloned()
    }

    pub fn objects(&self) -> usize {
        self.inner().objects.len()
    }

    /// Uploads that were begun and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.inner().uploads.len()
    }

    /// `METHOD path?names of the query` of every request.
    pub fn requests(&self) -> Vec<String> {
        self.inner().requests.clone()
    }

    /// The next requests are answered with these, one after the other; 0 is an answer as it should be.
    pub fn fail(&self, statuses: &[u16]) {
        self.inner().failures.extend(statuses);
    }

    /// From now on the first bit of everything that is stored is turned.
    pub fn flip(&self) {
        self.inner().flips = true;
    }

    /// From now on the last answer of an upload in parts is 200 with an error in it.
    pub fn cut_completion(&self) {
        self.inner().cuts_completion = true;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeBucket {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn answer(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
}

fn refusal(status: StatusCode, code: &str) -> Response {
    answer(status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>"))
}

async fn serve(State(inner): State<Arc<Mutex<Inner>>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_MAX_BYTES).await else {
        return refusal(StatusCode::BAD_REQUEST, "Cut");
    };
    let query = pairs(parts.uri.query().unwrap_or_default());
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
    let names: Vec<&str> =
        query.iter().map(|(name, _)| name.as_str()).filter(|name| !name.starts_with("X-Amz")).collect();
    inner.requests.push(format!("{} {}?{}", parts.method, parts.uri.path(), names.join("&")));
    if let Some(status) = inner.failures.pop_front().filter(|status| *status > 0) {
        return refusal(StatusCode::from_u16(status).unwrap_or_default(), "SlowDown");
    }
    if !is_signed(&parts.method, parts.uri.path(), header("host"), &query) {
        return refusal(StatusCode::FORBIDDEN, "SignatureDoesNotMatch");
    }
    let value = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let path = parts.uri.path().to_owned();
    match (parts.method, value("uploadId")) {
        (Method::POST, None) if value("uploads").is_some() => {
            let id = format!("upload-{}&1", inner.requests.len());
            inner.uploads.insert(id.clone(), BTreeMap::new());
            let id = id.replace('&', "&amp;");
            let body = format!(
                "<?xml version=\"1.0\"?><InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            );
            answer(StatusCode::OK, body)
        }
        (Method::PUT, Some(id)) => {
            let number = value("partNumber").and_then(|number| number.parse().ok()).unwrap_or(0);
            match inner.uploads.get_mut(id) {
                Some(parts) => {
                    parts.insert(number, body);
                    let mut response = answer(StatusCode::OK, "");
                    let mark = format!("\"part-{number}\"").parse().expect("a mark is a header");
                    response.headers_mut().insert("etag", mark);
                    response
                }
                None => refusal(StatusCode::NOT_FOUND, "NoSuchUpload"),
            }
        }
        (Method::POST, Some(_)) if inner.cuts_completion => refusal(StatusCode::OK, "InternalError"),
        (Method::POST, Some(id)) => {
            let Some(parts) = inner.uploads.remove(id) else {
                return refusal(StatusCode::NOT_FOUND, "NoSuchUpload");
            };
            let named = String::from_utf8_lossy(&body);
            let are_named = parts.keys().all(|number| {
                named.contains(&format!("<PartNumber>{number}</PartNumber>"))
                    && named.contains(&format!("part-{number}"))
            });
            if !are_named {
                return refusal(StatusCode::BAD_REQUEST, "InvalidPart");
            }
            let whole = parts.values().flat_map(|part| part.iter().copied()).collect::<Vec<u8>>();
            inner.store(path, whole.into());
            answer(
                StatusCode::OK,
                "<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>",
            )
        }
        (Method::DELETE, Some(id)) => {
            inner.uploads.remove(id);
            answer(StatusCode::NO_CONTENT, "")
        }
        (Method::PUT, None) => {
            inner.store(path, body);
            answer(StatusCode::OK, "")
        }
        (Method::GET, None) => match inner.objects.get(&path) {
            Some(object) => range(object, header("range")),
            None => refusal(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        _ => refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

impl Inner {
    fn store(&mut self, path: String, body: Bytes) {
        let mut body = body.to_vec();
        if self.flips
            && let Some(first) = body.first_mut()
        {
            *first ^= 1;
        }
        self.objects.insert(path, body.into());
    }
}

fn range(object: &Bytes, asked: &str) -> Response {
    let bounds = asked.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
    let bounds = bounds.and_then(|(from, to)| Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()?)));
    let Some((from, to)) = bounds.filter(|(from, to)| from <= to && *to < object.len()) else {
        return refusal(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange");
    };
    let mut response = answer(StatusCode::PARTIAL_CONTENT, object.slice(from..=to));
    let value = format!("bytes {from}-{to}/{}", object.len()).parse().expect("a range is a header");
    response.headers_mut().insert("content-range", value);
    response
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex: Option<String> = (byte == b'%').then(|| rest.by_ref().take(2).map(char::from).collect());
        bytes.push(hex.and_then(|hex| u8::from_str_radix(&hex, 16).ok()).unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn is_signed(method: &Method, path: &str, host: &str, query: &[(String, String)]) -> bool {
    let value =
        |name: &str| query.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str());
    let date = value("X-Amz-Date");
    let scope = format!("{}/{REGION}/s3/aws4_request", date.get(..8).unwrap_or_default());
    if value("X-Amz-Credential") != format!("{KEY}/{scope}") || value("X-Amz-Algorithm") != "AWS4-HMAC-SHA256"
    {
        return false;
    }
    let mut named: Vec<String> = query
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    named.sort();
    let canonical = format!("{method}\n{path}\n{}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD", named.join("&"));
    let to_sign =
        format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical.as_bytes())));
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in [&date[..8], REGION, "s3", "aws4_request", to_sign.as_str()] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
        mac.update(part.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    hex(&key) == value("X-Amz-Signature")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
