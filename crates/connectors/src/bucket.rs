//! A bucket of any S3-compatible store, for backups: upload in parts, each tried again, and read back to its last byte.
//!
//! Requests are signed in their address (no crate of a vendor makes our calls), so an error shows neither path nor query. What
//! is in the bucket is never deleted here: stores have rules for that, and a server that was broken into should not be able to.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use jiff::Timestamp;
use levqor_core::address::OutboundPolicy;
use levqor_core::clock::Clock;
use rusty_s3::{Credentials, S3Action, UrlStyle};
use sha2::{Digest, Sha256};
use url::Url;

use crate::connect::addresses;
use crate::net::{CallError, Client, Request, Response, Timeouts};

/// In memory at a time. A store takes parts of 5 MiB and more, but the last, and at most 10,000.
const PART_BYTES: u64 = 16 << 20;
const PARTS_MAX: u64 = 9_000;
/// One request: 16 MiB over a slow line.
const LIMIT_MS: u64 = 300_000;
/// A signature is good for this long.
const SIGNED_FOR: Duration = Duration::from_secs(900);
/// Between tries of one request.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(15), Duration::from_secs(40)];
/// Of an answer that is not the object.
const ANSWER_MAX_BYTES: usize = 1 << 20;

/// The address of a bucket cannot be used. Says nothing of its credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadBucket(&'static str);

/// Why a file is not in the bucket. Safe to show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    #[error("the file cannot be read: {0}")]
    File(String),
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the store answered {status}{}", word.as_deref().map(|word| format!(" ({word})")).unwrap_or_default())]
    Refused { status: u16, word: Option<String> },
    #[error("what the store gives back is not what was sent to it")]
    Different,
}

/// Where copies of backups go.
#[derive(Clone)]
pub struct Bucket {
    client: Client,
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    prefix: String,
    part_bytes: u64,
    pauses: Vec<Duration>,
}

/// Without its credentials.
impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("name", &self.bucket.name()).finish_non_exhaustive()
    }
}

const FORM: &str = "expected https://KEY:SECRET@host/bucket/prefix?region=eu-west-1 (prefix and region may be left out; in key and \
    secret, write / and + as %2F and %2B)";

impl Bucket {
    /// Reads `https://KEY:SECRET@host/bucket/prefix?region=…`.
    pub fn parse(text: &str, outbound_allow: &[IpNet], user_agent: HeaderValue) -> Result<Bucket, BadBucket> {
        let url = Url::parse(text).map_err(|_| BadBucket(FORM))?;
        let decoded = |text: &str| {
            let bytes = percent(text);
            String::from_utf8(bytes)
                .ok()
                .filter(|text| !text.is_empty() && !text.chars().any(char::is_control))
        };
        let key = decoded(url.username()).ok_or(BadBucket(FORM))?;
        let secret = url.password().and_then(decoded).ok_or(BadBucket(FORM))?;
        let mut region = "us-east-1".to_owned();
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "region" if !value.is_empty() => region = value.into_owned(),
                _ => return Err(BadBucket(FORM)),
            }
        }
        let path = decoded(url.path()).ok_or(BadBucket(FORM))?;
        let (name, prefix) = path.trim_matches('/').split_once('/').unwrap_or((path.trim_matches('/'), ""));
        let origin = Url::parse(&url.origin().ascii_serialization()).map_err(|_| BadBucket(FORM))?;
        if name.is_empty() || url.fragment().is_some() {
            return Err(BadBucket(FORM));
        }
        // The operator named this address, so it may be called, also inside.
        let own = addresses(origin.as_str()).into_iter().map(IpNet::from);
        let policy = OutboundPolicy::new(outbound_allow.iter().copied().chain(own).collect());
        let bucket = rusty_s3::Bucket::new(origin, UrlStyle::Path, name.to_owned(), region)
            .map_err(|_| BadBucket(FORM))?;
        Ok(Bucket {
            client: Client::new(policy, user_agent),
            bucket,
            credentials: Credentials::new(key, secret),
            prefix: prefix.to_owned(),
            part_bytes: PART_BYTES,
            pauses: PAUSES.to_vec(),
        })
    }

    /// The same with small parts and other pauses between tries.
    pub fn with_parts(self, part_bytes: u64, pauses: Vec<Duration>) -> Bucket {
        Bucket { part_bytes, pauses, ..self }
    }

    /// Puts the file into the bucket under `name`, reads it back, and compares.
    pub async fn upload(&self, file: &Path, name: &str, clock: &dyn Clock) -> Result<(), UploadError> {
        let unreadable = |error: std::io::Error| UploadError::File(error.to_string());
        let size = file.metadata().map_err(unreadable)?.len();
        let file = File::open(file).map_err(unreadable)?;
        let object = if self.prefix.is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        let upload = Upload { bucket: self, file, size, object, clock };
        let sent = if size <= self.part_bytes { upload.whole().await? } else { upload.in_parts().await? };
        if upload.read_back().await? == sent { Ok(()) } else { Err(UploadError::Different) }
    }

    async fn call(
        &self,
        method: Method,
        sign: impl Fn(&Timestamp) -> Url,
        headers: &[(&str, String)],
        body: Bytes,
        clock: &dyn Clock,
    ) -> Result<Response, UploadError> {
        let mut pauses = self.pauses.iter();
        loop {
            let now = Timestamp::from_millisecond(clock.now_ms()).unwrap_or(Timestamp::UNIX_EPOCH);
            let request = Request {
                method: method.clone(),
                url: sign(&now).into(),
                headers: headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
                body: body.clone(),
                timeouts: Timeouts::within(LIMIT_MS),
                max_response_bytes: ANSWER_MAX_BYTES + usize::try_from(self.part_bytes).unwrap_or(0),
            };
            let (error, again) = match self.client.send(request).await {
                Ok(answer) if answer.status.is_success() => return Ok(answer),
                Ok(answer) => {
                    let again = answer.status.is_server_error()
                        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT]
                            .contains(&answer.status);
                    (refusal(&answer), again)
                }
                Err(error) => {
                    let again = error.is_retryable();
                    (error.into(), again)
                }
            };
            match pauses.next() {
                Some(pause) if again => tokio::time::sleep(*pause).await,
                _ => return Err(error),
            }
        }
    }
}

/// One file on its way.
struct Upload<'a> {
    bucket: &'a Bucket,
    file: File,
    size: u64,
    object: String,
    clock: &'a dyn Clock,
}

impl Upload<'_> {
    fn piece(&self, from: u64, part_bytes: u64) -> Result<Bytes, UploadError> {
        let length = usize::try_from(part_bytes.min(self.size - from)).unwrap_or(usize::MAX);
        let mut piece = vec![0; length];
        self.file.read_exact_at(&mut piece, from).map_err(|error| UploadError::File(error.to_string()))?;
        Ok(piece.into())
    }

    /// Returns the digest of what was sent.
    async fn whole(&self) -> Result<[u8; 32], UploadError> {
        let Bucket { bucket, credentials, .. } = self.bucket;
        let body = self.piece(0, self.size)?;
        let digest = Sha256::digest(&body).into();
        let put = bucket.put_object(Some(credentials), &self.object);
        let sign = |now: &Timestamp| put.sign_with_time(SIGNED_FOR, now);
        self.bucket.call(Method::PUT, sign, &[], body, self.clock).await?;
        Ok(digest)
    }

    async fn in_parts(&self) -> Result<[u8; 32], UploadError> {
        let Bucket { bucket, credentials, .. } = self.bucket;
        let create = bucket.create_multipart_upload(Some(credentials), &self.object);
        let sign = |now: &Timestamp| create.sign_with_time(SIGNED_FOR, now);
        let answer = self.bucket.call(Method::POST, sign, &[], Bytes::new(), self.clock).await?;
        let id = element(&answer.body, "UploadId").ok_or_else(|| refusal(&answer))?;
        match self.parts(&id).await {
            Ok(digest) => Ok(digest),
            Err(error) => {
                // Parts that stay are paid for.
                let abort = bucket.abort_multipart_upload(Some(credentials), &self.object, &id);
                let sign = |now: &Timestamp| abort.sign_with_time(SIGNED_FOR, now);
                if let Err(error) =
                    self.bucket.call(Method::DELETE, sign, &[], Bytes::new(), self.clock).await
                {
                    tracing::warn!(%error, "parts of a backup are left in the bucket");
                }
                Err(error)
            }
        }
    }

    async fn parts(&self, id: &str) -> Result<[u8; 32], UploadError> {
        let Bucket { bucket, credentials, .. } = self.bucket;
        let part_bytes = self.bucket.part_bytes.max(self.size.div_ceil(PARTS_MAX));
        let (mut from, mut number, mut marks) = (0, 1u16, Vec::new());
        let mut digest = Sha256::new();
        while from < self.size {
            let piece = self.piece(from, part_bytes)?;
            digest.update(&piece);
            from += piece.len() as u64;
            let put = bucket.upload_part(Some(credentials), &self.object, number, id);
            let sign = |now: &Timestamp| put.sign_with_time(SIGNED_FOR, now);
            let answer = self.bucket.call(Method::PUT, sign, &[], piece, self.clock).await?;
            let mark = answer.headers.get("etag").and_then(|mark| mark.to_str().ok());
            marks.push(mark.ok_or_else(|| refusal(&answer))?.to_owned());
            number += 1;
        }
        let complete = || {
            bucket.complete_multipart_upload(
                Some(credentials),
                &self.object,
                id,
                marks.iter().map(String::as_str),
            )
        };
        let sign = |now: &Timestamp| complete().sign_with_time(SIGNED_FOR, now);
        let body = Bytes::from(complete().body());
        let answer = self.bucket.call(Method::POST, sign, &[], body, self.clock).await?;
        // A store may say 200 first and then that it failed.
        match String::from_utf8_lossy(&answer.body).contains("<CompleteMultipartUploadResult") {
            true => Ok(digest.finalize().into()),
            false => Err(refusal(&answer)),
        }
    }

    /// The digest of what is there now, if it is as long as it should be.
    async fn read_back(&self) -> Result<[u8; 32], UploadError> {
        let Bucket { bucket, credentials, .. } = self.bucket;
        let get = bucket.get_object(Some(credentials), &self.object);
        let mut digest = Sha256::new();
        let mut from = 0;
        while from < self.size {
            let until = (from + self.bucket.part_bytes).min(self.size);
            let range = [("range", format!("bytes={from}-{}", until - 1))];
            let sign = |now: &Timestamp| get.sign_with_time(SIGNED_FOR, now);
            let answer = self.bucket.call(Method::GET, sign, &range, Bytes::new(), self.clock).await?;
            let all = answer.headers.get("content-range").and_then(|range| range.to_str().ok());
            let all = all.and_then(|range| range.rsplit('/').next()?.parse::<u64>().ok());
            let is_whole = all == Some(self.size) || (all.is_none() && until - from == self.size);
            if answer.body.len() as u64 != until - from || !is_whole {
                return Err(UploadError::Different);
            }
            digest.update(&answer.body);
            from = until;
        }
        Ok(digest.finalize().into())
    }
}

/// The store's word for it, if it is one.
fn refusal(answer: &Response) -> UploadError {
    let is_word = |word: &String| word.len() <= 64 && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
    UploadError::Refused {
        status: answer.status.as_u16(),
        word: element(&answer.body, "Code").filter(is_word),
    }
}

/// The text of the first element of this name: all that is needed of two short answers.
fn element(xml: &[u8], name: &str) -> Option<String> {
    let text = std::str::from_utf8(xml).ok()?;
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    Some(value.replace("&quot;", "\"").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
}

fn percent(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(text: &str) -> Result<Bucket, BadBucket> {
        Bucket::parse(text, &[], HeaderValue::from_static("test"))
    }

    #[test]
    fn an_address_names_store_bucket_prefix_region_and_credentials() {
        let bucket =
            parse("https://AK:se%2Fcr%2Bet@s3.example.com:9000/levqor/a/b?region=eu-west-1").unwrap();

        assert_eq!(
            (bucket.bucket.name(), bucket.bucket.region(), bucket.prefix.as_str()),
            ("levqor", "eu-west-1", "a/b")
        );
        assert_eq!((bucket.credentials.key(), bucket.credentials.secret()), ("AK", "se/cr+et"));
        assert_eq!(bucket.bucket.base_url().as_str(), "https://s3.example.com:9000/levqor/");
        assert!(!format!("{bucket:?}").contains("cr"));
    }

    #[test]
    fn an_address_that_cannot_be_used_is_refused_without_its_secret() {
        for text in [
            "s3://AK:hunter2@levqor",
            "https://s3.example.com/levqor",
            "https://AK@s3.example.com/levqor",
            "https://AK:hunter2@s3.example.com",
            "https://AK:hunter2@s3.example.com/",
            "https://AK:hunter2@s3.example.com/levqor?acl=public",
            "https://AK:hunter2@s3.example.com/levqor#x",
            "ftp://AK:hunter2@s3.example.com/levqor",
            "hunter2",
            "",
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.starts_with("expected https://"), "{text}: {error}");
        }
    }

    #[test]
    fn elements_are_found_and_unescaped() {
        assert_eq!(element(b"<a><UploadId>x&amp;y</UploadId></a>", "UploadId").unwrap(), "x&y");
        assert_eq!(element(b"<a><UploadId>x", "UploadId"), None);
        assert_eq!(element(b"\xff", "Code"), None);
    }
}
