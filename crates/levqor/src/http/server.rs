//! The accept loop: sockets in, one task per connection, and a graceful end.
//!
//! With TLS, the handshake is part of the connection's task: it has a limit of its own, counts against the cap, and waits like
//! a connection without a request does.
//!
//! Connections are capped. When the cap is reached, the one that has waited longest without a request makes room (idle
//! keep-alives, slow heads); when all of them have requests, the newcomer is told so at once.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::gate::{Gate, Slot, Times};
use super::head::MAX_HEAD_BYTES;
use super::tls::{self, Tls};
use super::{Served, error, middleware};
use crate::config::Config;

/// Connections that the kernel may hold ready for us.
const BACKLOG: u32 = 4096;

/// File descriptors that are not for connections: the database, logs, outbound calls.
const RESERVED_FILES: u64 = 256;

/// Refusals of connections that are being written at the same time; beyond that they are closed without a word.
const REFUSALS_AT_ONCE: usize = 64;

/// An address that is ours, while nothing listens there yet: whoever connects is refused at once instead of being kept
/// waiting for a server that still opens its database.
pub struct Port {
    socket: TcpSocket,
    address: SocketAddr,
}

/// A listener with what it serves.
pub struct Server {
    listener: TcpListener,
    served: Arc<Served>,
    connections: Arc<Connections>,
    max_connections: usize,
    refusals: Arc<Semaphore>,
    tls: Option<Arc<Tls>>,
}

/// The open connections.
struct Connections {
    open: Mutex<HashMap<u64, Arc<Slot>>>,
    all_closed: Notify,
    epoch: Instant,
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Slot>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the connection that has been without a request for longest to close.
    fn evict_idlest(&self) -> bool {
        let mut open = self.lock();
        let idlest = open.iter().filter_map(|(id, slot)| Some((slot.waiting_since_ms()?, *id))).min();
        // It leaves the count at once, so that the next newcomer evicts another one.
        match idlest.and_then(|(_, id)| open.remove(&id)) {
            Some(slot) => {
                slot.close.notify_one();
                true
            }
            None => false,
        }
    }

    fn close_all(&self) {
        for slot in self.lock().values() {
            slot.close.notify_one();
        }
    }
}

/// Takes the connection off the list however its task ends.
struct Leave {
    id: u64,
    connections: Arc<Connections>,
    served: Arc<Served>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        self.served.app.metrics.connections.dec();
        let mut open = self.connections.lock();
        open.remove(&self.id);
        if open.is_empty() {
            self.connections.all_closed.notify_waiters();
        }
    }
}

impl Port {
    /// Binds the configured address. Fails with a text for a person when somebody listens there.
    pub fn reserve(config: &Config) -> io::Result<Port> {
        let address = SocketAddr::new(config.host, config.port);
        let bind = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            // A restart must not wait for connections of the process before to time out.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        Ok(Port { socket: bind().map_err(|error| taken(address, &error))?, address })
    }
}

impl Server {
    /// Begins to listen.
    pub fn listen(port: Port, served: Arc<Served>) -> io::Result<Server> {
        // Two sockets can be bound to one address as long as neither listens.
        let listener = port.socket.listen(BACKLOG).map_err(|error| taken(port.address, &error))?;
        let max_connections = allowed_connections(served.app.config.max_connections);
        Ok(Server {
            listener,
            connections: Arc::new(Connections {
                open: Mutex::new(HashMap::new()),
                all_closed: Notify::new(),
                epoch: Instant::now(),
            }),
            max_connections,
            refusals: Arc::new(Semaphore::new(REFUSALS_AT_ONCE)),
            tls: None,
            served,
        })
    }

    /// The same, speaking TLS.
    pub fn with_tls(self, tls: Tls) -> Server {
        Server { tls: Some(Arc::new(tls)), ..self }
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` resolves; then accepts nothing more, lets requests in flight finish for at most `grace`, and
    /// returns.
    pub async fn run(self, stop: impl Future<Output = ()>, grace: Duration) {
        let mut stop = std::pin::pin!(stop);
        let mut next_id = 0;
        // Ends with this function.
        let mut looking = JoinSet::new();
        if let Some(tls) = &self.tls {
            looking.spawn(tls.clone().keep_looking());
        }
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    next_id += 1;
                    self.admit(next_id, stream, peer);
                }
                Err(error) => pause_after(&error).await,
            }
        }
        drop(self.listener);
        let until = Instant::now() + grace;
        loop {
            let closed = self.connections.all_closed.notified();
            let mut closed = std::pin::pin!(closed);
            closed.as_mut().enable();
            self.connections.close_all();
            if self.connections.lock().is_empty() || tokio::time::timeout_at(until, closed).await.is_err() {
                return;
            }
        }
    }

    fn admit(&self, id: u64, stream: TcpStream, peer: SocketAddr) {
        let metrics = &self.served.app.metrics;
        let is_full = self.connections.lock().len() >= self.max_connections;
        if is_full {
            if !self.connections.evict_idlest() {
                metrics.connections_refused.inc();
                self.refuse(stream);
                return;
            }
            metrics.connections_evicted.inc();
        }
        // Without it, Nagle's algorithm holds back the second small answer of a connection for up to 40 ms.
        let _ = stream.set_nodelay(true);
        let slot = Arc::new(Slot::default());
        let epoch = self.connections.epoch;
        slot.waits_from(Instant::now(), epoch);
        self.connections.lock().insert(id, slot.clone());
        metrics.connections.inc();
        let leave = Leave { id, connections: self.connections.clone(), served: self.served.clone() };
        let times = Times::default();
        match &self.tls {
            None => {
                let gate = Gate::new(stream, slot.clone(), epoch, times);
                tokio::spawn(serve(gate, slot, peer, leave));
            }
            Some(tls) => {
                let config = tls.serving();
                tokio::spawn(async move {
                    match tls::greet(config, stream, &slot, times.head).await {
                        Some(stream) => {
                            let gate = Gate::new(stream, slot.clone(), epoch, times);
                            serve(gate, slot, peer, leave).await;
                        }
                        None => {
                            leave.served.app.metrics.tls_failures.inc();
                        }
                    }
                });
            }
        }
    }

    fn refuse(&self, mut stream: TcpStream) {
        if self.tls.is_some() {
            // It could not read a word before its handshake, for which there is no room.
            return;
        }
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let _permit = permit;
            let talk = async {
                stream.write_all(&error::too_many_connections()).await?;
                stream.shutdown().await?;
                // Reading until the client closes lets it read our answer before its connection is reset.
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = tokio::time::timeout(Duration::from_millis(500), talk).await;
        });
    }
}

async fn serve<S>(gate: Gate<S>, slot: Arc<Slot>, peer: SocketAddr, leave: Leave)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let served = leave.served.clone();
    let service = service_fn(|request| middleware::answer(served.clone(), slot.clone(), peer, request));
    let connection = hyper::server::conn::http1::Builder::new()
        // The gate keeps these times, because it can answer when they are over.
        .header_read_timeout(None)
        // A client that has sent all it wants may close its side and still read the answer.
        .half_close(true)
        .max_buf_size(2 * MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(gate), service);
    let mut connection = std::pin::pin!(connection);
    // Errors here are the client's (a reset, a body cut short); whatever is ours was answered and logged.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = slot.close.notified() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

fn taken(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address} (HOST, PORT): {error}"))
}

/// Raises the limit of open files as far as the system allows, and fits the cap to it.
fn allowed_connections(wanted: usize) -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let room = usize::try_from(files.saturating_sub(RESERVED_FILES).max(files / 2)).unwrap_or(usize::MAX);
    if room < wanted {
        tracing::warn!(
            MAX_CONNECTIONS = wanted,
            in_force = room,
            "the system allows only {files} open files"
        );
    }
    wanted.min(room)
}

/// Errors of one connection (reset before it was accepted) pass; when files or memory run out, a loop would only burn time.
async fn pause_after(error: &io::Error) {
    let is_fleeting = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    );
    if !is_fleeting {
        tracing::warn!(%error, "connections cannot be accepted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
