//! Stands between a socket and hyper: lets through only requests that have one reading, and keeps the time.
//!
//! The gate follows the framing (head, body, next head), holds a head back until it is complete and judged by `head.rs`, and
//! then hands its bytes over unchanged. When one is refused, hyper gets a tiny clean request instead and the reason
//! stands in the [`Slot`], where the service finds it before anything else: so that refusals are answered like everything
//! else, and the connection closes. The gate knows nothing of routes, and reads no body beyond its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::chunked::Chunked;
use super::head::{self, Framing, Refusal, Scan};

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From the first byte of a head to its last; also what a new connection has to say anything.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// How long a client may read nothing of an answer that waits for it.
    pub write: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times { head: Duration::from_secs(10), idle: Duration::from_secs(75), write: Duration::from_secs(15) }
    }
}

/// After our last word, what the client still sends is read and dropped for so long and so much. Closing at once would make
/// the kernel answer with a reset, and the client would lose the answer it has not read yet.
const LINGER_LIMIT: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 32 << 20;

/// What hyper gets in place of a refused head.
const STAND_IN: &[u8] = b"GET / HTTP/1.1\r\nHost: refused\r\nConnection: close\r\n\r\n";

/// What the gate, the service and the accept loop share about one connection.
#[derive(Default)]
pub struct Slot {
    refusal: AtomicU8,
    /// Since when the connection waits for a request, by the server's own count of milliseconds; 0 while it has one.
    waiting_since_ms: AtomicU64,
    /// Tells the connection's task to finish what it does and close.
    pub close: Notify,
}

impl Slot {
    /// Why the request at hand is to be refused, if it is. Reading it takes it.
    pub fn take_refusal(&self) -> Option<Refusal> {
        // A plain load first: this runs on every request.
        if self.refusal.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Refusal::from_code(self.refusal.swap(0, Ordering::Relaxed))
    }

    /// The connection is without a request from now on.
    pub fn waits_from(&self, now: Instant, epoch: Instant) {
        let waiting_ms = now.duration_since(epoch).as_millis() as u64;
        self.waiting_since_ms.store(waiting_ms.max(1), Ordering::Relaxed);
    }

    /// Since when the connection has been without a request; `None` while it has one.
    pub fn waiting_since_ms(&self) -> Option<u64> {
        Some(self.waiting_since_ms.load(Ordering::Relaxed)).filter(|ms| *ms > 0)
    }
}

#[derive(Debug)]
enum Phase {
    /// Collecting a head; so many bytes of it are scanned.
    Head {
        scanned: usize,
    },
    /// Handing over a judged head.
    Release {
        left: usize,
        then: Body,
    },
    Body(Body),
    /// Nothing that comes is of interest any more.
    Refused,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Length(u64),
    Chunked(Chunked),
    /// After a stand-in.
    Never,
}

pub struct Gate<S> {
    stream: S,
    slot: Arc<Slot>,
    epoch: Instant,
    times: Times,
    input: BytesMut,
    phase: Phase,
    is_fresh: bool,
    is_eof: bool,
    /// When the wait for a head ends, and whether it had begun when that was set.
    until: Option<(Instant, bool)>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Set once our side is shut down: how much was dropped since.
    lingered_bytes: Option<usize>,
    /// Runs while the client takes nothing of what we write.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Gate<S> {
    /// `epoch` is what [`Slot::waiting_since_ms`] counts from.
    pub fn new(stream: S, slot: Arc<Slot>, epoch: Instant, times: Times) -> Self {
        Gate {
            stream,
            slot,
            epoch,
            times,
            input: BytesMut::new(),
            phase: Phase::Head { scanned: 0 },
            is_fresh: true,
            is_eof: false,
            until: None,
            sleep: None,
            lingered_bytes: None,
            stalled: None,
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.slot.refusal.store(refusal as u8, Ordering::Relaxed);
        self.input.clear();
        self.input.extend_from_slice(STAND_IN);
        self.until = None;
        self.phase = Phase::Release { left: STAND_IN.len(), then: Body::Never };
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.is_eof {
            return Poll::Ready(Ok(0));
        }
        if self.input.capacity() - self.input.len() < 1024 {
            self.input.reserve(4096);
        }
        let read = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.input));
        let count = match read {
            // A TLS client that closed without a goodbye. Requests say where they end, so nothing can be cut off unseen.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        self.is_eof = count == 0;
        Poll::Ready(Ok(count))
    }

    /// Ready when the wait for a head has lasted too long.
    fn poll_until(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let has_begun = !self.input.is_empty();
        let until = match self.until {
            Some((until, begun)) if begun == has_begun => until,
            _ => {
                let now = Instant::now();
                let limit = if has_begun || self.is_fresh { self.times.head } else { self.times.idle };
                self.slot.waits_from(now, self.epoch);
                self.until = Some((now + limit, has_begun));
                now + limit
            }
        };
        self.poll_sleep(cx, until)
    }

    /// One timer serves a connection for its life. It is moved only when it would ring too late; when it rings too early it is
    /// set again: so a busy connection does not touch it per request.
    fn poll_sleep(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if sleep.deadline() > until {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(until);
        }
    }

    /// Collects a head until it is complete, refused, or there is nothing more: `Ready(Ok(false))` at the end of input.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            let Phase::Head { scanned } = &mut self.phase else { return Poll::Ready(Ok(true)) };
            // An empty line before a request line is to be passed over (RFC 9112 §2.2).
            while *scanned <= 2 && self.input.starts_with(b"\r\n") {
                self.input.advance(2);
                *scanned = 0;
            }
            match head::scan(&self.input, scanned) {
                Scan::Complete { head_bytes, framing } => {
                    let then = match framing {
                        Framing::Length(length) => Body::Length(length),
                        Framing::Chunked => Body::Chunked(Chunked::default()),
                    };
                    self.slot.waiting_since_ms.store(0, Ordering::Relaxed);
                    self.until = None;
                    self.is_fresh = false;
                    self.phase = Phase::Release { left: head_bytes, then };
                    return Poll::Ready(Ok(true));
                }
                Scan::Refused(refusal) => {
                    self.refuse(refusal);
                    return Poll::Ready(Ok(true));
                }
                Scan::Incomplete => {}
            }
            let is_over = match self.fill(cx)? {
                Poll::Ready(0) => Refusal::CutShort,
                Poll::Ready(_) => continue,
                Poll::Pending => {
                    ready!(self.poll_until(cx));
                    Refusal::TooSlow
                }
            };
            if self.input.is_empty() {
                return Poll::Ready(Ok(false));
            }
            self.refuse(is_over);
        }
    }

    /// Hands over at most `most` bytes of the input.
    fn release(&mut self, out: &mut ReadBuf<'_>, most: u64) -> u64 {
        let count = most.min(out.remaining() as u64).min(self.input.len() as u64) as usize;
        out.put_slice(&self.input[..count]);
        self.input.advance(count);
        count as u64
    }

    fn poll_body(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>, body: Body) -> Poll<io::Result<()>> {
        match body {
            Body::Length(left) => {
                if self.input.is_empty() {
                    // Nothing is held back: straight into hyper's buffer, but not beyond the end of this body.
                    let room = out.remaining().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let mut part = ReadBuf::new(out.initialize_unfilled_to(room));
                    ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
                    let count = part.filled().len();
                    self.is_eof = count == 0;
                    out.advance(count);
                    self.phase = Phase::after(Body::Length(left - count as u64));
                } else {
                    let count = self.release(out, left);
                    self.phase = Phase::after(Body::Length(left - count));
                }
                Poll::Ready(Ok(()))
            }
            Body::Chunked(mut chunked) => {
                if self.input.is_empty() && ready!(self.fill(cx))? == 0 {
                    return Poll::Ready(Ok(()));
                }
                let seen = out.remaining().min(self.input.len());
                let Ok(count) = chunked.advance(&self.input[..seen]) else {
                    self.phase = Phase::Refused;
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "malformed chunk")));
                };
                self.release(out, count as u64);
                self.phase = Phase::after(Body::Chunked(chunked));
                Poll::Ready(Ok(()))
            }
            Body::Never => {
                self.phase = Phase::Refused;
                Poll::Pending
            }
        }
    }
}

impl Phase {
    /// Where reading goes on after a part of `body`.
    fn after(body: Body) -> Phase {
        match body {
            Body::Length(0) => Phase::Head { scanned: 0 },
            Body::Chunked(chunked) if chunked.is_end() => Phase::Head { scanned: 0 },
            body => Phase::Body(body),
        }
    }
}

impl<S> Gate<S> {
    /// Ends a connection whose client reads nothing: it would hold its place, and what we have for it, for ever.
    fn mind_stall<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.times.write;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gate<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        loop {
            match gate.phase {
                Phase::Head { .. } => {
                    if !ready!(gate.poll_head(cx))? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Phase::Release { left, then } => {
                    let left = left - gate.release(out, left as u64) as usize;
                    gate.phase = if left == 0 { Phase::after(then) } else { Phase::Release { left, then } };
                    return Poll::Ready(Ok(()));
                }
                Phase::Body(body) => return gate.poll_body(cx, out, body),
                Phase::Refused => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Gate<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let written = Pin::new(&mut gate.stream).poll_write(cx, bytes);
        gate.mind_stall(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let gate = self.get_mut();
        let written = Pin::new(&mut gate.stream).poll_write_vectored(cx, parts);
        gate.mind_stall(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TLS holds back what the socket does not take.
        let gate = self.get_mut();
        let flushed = Pin::new(&mut gate.stream).poll_flush(cx);
        gate.mind_stall(cx, flushed)
    }

    /// Shuts our side down, and lingers when the client may still be sending.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let gate = self.get_mut();
        let mut dropped = match gate.lingered_bytes {
            Some(dropped) => dropped,
            None => {
                let shut = Pin::new(&mut gate.stream).poll_shutdown(cx);
                ready!(gate.mind_stall(cx, shut))?;
                gate.until = Some((Instant::now() + LINGER_LIMIT, true));
                0
            }
        };
        let is_clean = matches!(gate.phase, Phase::Head { .. }) && gate.input.is_empty();
        if is_clean || gate.is_eof {
            return Poll::Ready(Ok(()));
        }
        loop {
            gate.input.clear();
            gate.lingered_bytes = Some(dropped);
            match gate.fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(count)) => dropped += count,
                Poll::Pending => {
                    let until = gate.until.map_or_else(Instant::now, |(until, _)| until);
                    ready!(gate.poll_sleep(cx, until));
                    return Poll::Ready(Ok(()));
                }
            }
            if dropped > LINGER_BYTES {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
