//! From an address to a stream that SMTP can be spoken on: dialled, encrypted, and bounded in what it may say.
//!
//! STARTTLS is done here and not by lettre: with our own trust, and without taking a byte that was sent in clear for one that
//! came encrypted.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::transport::smtp::client::AsyncTokioStream;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::NAME;
use super::url::{SmtpUrl, Tls};
use crate::email::Failure;
use crate::net::tls;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// All that a server may say in one conversation; a long one takes some hundred lines of fifty bytes. Lines are counted too,
/// because lettre reads a reply from its beginning again at each of them: ten thousand keep a processor busy for minutes.
const SAID_MAX_BYTES: usize = 64 << 10;
const SAID_MAX_LINES: usize = 500;
/// A reply before encryption.
const REPLY_MAX_BYTES: usize = 8 << 10;
/// What lettre waits for first. After STARTTLS the server has greeted already.
const GREETED: &[u8] = b"220 encrypted\r\n";

/// Connects, and encrypts as the address says.
pub(super) async fn open(url: &SmtpUrl, hello: &str) -> Result<Box<dyn AsyncTokioStream>, Failure> {
    let dialled = tokio::time::timeout(CONNECT_LIMIT, dial(url)).await;
    let mut tcp = dialled.unwrap_or(Err(unreachable("connect_failed")))?;
    let peer = tcp.peer_addr().map_err(|_| unreachable("connect_failed"))?;
    match url.tls {
        Tls::None => Ok(Box::new(Bounded::new(tcp, peer, b""))),
        Tls::Implicit => Ok(Box::new(Bounded::new(encrypt(tcp, &url.host).await?, peer, b""))),
        Tls::Starttls => {
            ask_for_tls(&mut tcp, hello).await?;
            Ok(Box::new(Bounded::new(encrypt(tcp, &url.host).await?, peer, GREETED)))
        }
    }
}

async fn dial(url: &SmtpUrl) -> Result<TcpStream, Failure> {
    let found = tokio::net::lookup_host((url.host.as_str(), url.port)).await;
    let found = found.map_err(|_| unreachable("dns_failed"))?;
    let mut last = Err(unreachable("dns_failed"));
    for address in found {
        last = TcpStream::connect(address).await.map_err(|_| unreachable("connect_failed"));
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn encrypt(tcp: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, Failure> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| unreachable("tls_failed"))?;
    let connector = TlsConnector::from(Arc::new(tls::config()));
    connector.connect(name, tcp).await.map_err(|_| unreachable("tls_failed"))
}

/// Greeting, EHLO, STARTTLS. A server that offers no encryption gets no mail and no password.
async fn ask_for_tls(tcp: &mut TcpStream, hello: &str) -> Result<(), Failure> {
    let is_ready = |reply: &str| reply.starts_with("220");
    let greeting = read_reply(tcp).await?;
    if !is_ready(&greeting) {
        return Err(not_now(&greeting));
    }
    let offers = ask(tcp, &format!("EHLO {hello}\r\n")).await?;
    let is_offered =
        |line: &str| line.get(4..).is_some_and(|word| word.trim().eq_ignore_ascii_case("STARTTLS"));
    if !offers.starts_with("250") || !offers.lines().any(is_offered) {
        let word = Some("the server offers no STARTTLS".to_owned());
        return Err(Failure::Refused { provider: NAME, word });
    }
    match ask(tcp, "STARTTLS\r\n").await? {
        reply if is_ready(&reply) => Ok(()),
        reply => Err(not_now(&reply)),
    }
}

async fn ask(tcp: &mut TcpStream, command: &str) -> Result<String, Failure> {
    tcp.write_all(command.as_bytes()).await.map_err(|_| unreachable("connection_broken"))?;
    read_reply(tcp).await
}

/// One reply, to its last line and not a byte further: what came behind it in clear is nobody's.
async fn read_reply(tcp: &mut TcpStream) -> Result<String, Failure> {
    let (mut reply, mut line_start) = (Vec::new(), 0);
    while reply.len() < REPLY_MAX_BYTES {
        let byte = tcp.read_u8().await.map_err(|_| unreachable("connection_broken"))?;
        reply.push(byte);
        if byte == b'\n' {
            if reply.get(line_start + 3) != Some(&b'-') {
                let text = String::from_utf8(reply).map_err(|_| Failure::BadAnswer { provider: NAME });
                return text;
            }
            line_start = reply.len();
        }
    }
    Err(Failure::BadAnswer { provider: NAME })
}

/// A refusal before we have said anything: only its code is of use.
fn not_now(reply: &str) -> Failure {
    match reply.get(..3).filter(|code| code.bytes().all(|byte| byte.is_ascii_digit())) {
        Some(code) if code.starts_with('5') => {
            Failure::Refused { provider: NAME, word: Some(code.to_owned()) }
        }
        Some(code) if code.starts_with('4') => Failure::Busy { provider: NAME, word: Some(code.to_owned()) },
        _ => Failure::BadAnswer { provider: NAME },
    }
}

fn unreachable(code: &'static str) -> Failure {
    Failure::Unreachable { provider: NAME, code }
}

/// A stream that says `before` first and ends with an error when the other side never stops talking.
#[derive(Debug)]
struct Bounded<S> {
    inner: S,
    peer: SocketAddr,
    before: &'static [u8],
    left_bytes: usize,
    left_lines: usize,
}

impl<S> Bounded<S> {
    fn new(inner: S, peer: SocketAddr, before: &'static [u8]) -> Self {
        Bounded { inner, peer, before, left_bytes: SAID_MAX_BYTES, left_lines: SAID_MAX_LINES }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if !self.before.is_empty() {
            let (now, later) = self.before.split_at(self.before.len().min(buf.remaining()));
            buf.put_slice(now);
            self.before = later;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        let said = &buf.filled()[before..];
        let lines = said.iter().filter(|byte| **byte == b'\n').count();
        if said.len() > self.left_bytes || lines > self.left_lines {
            return Poll::Ready(Err(Error::new(ErrorKind::InvalidData, "the server says too much")));
        }
        self.left_bytes -= said.len();
        self.left_lines -= lines;
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S> AsyncTokioStream for Bounded<S>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + std::fmt::Debug,
{
    fn peer_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.peer)
    }
}
