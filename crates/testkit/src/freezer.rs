//! A TCP relay that can be frozen: nothing goes through any more, and no connection is closed.
//!
//! What a hanging server, or a network that swallows packets, looks like to a client.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A relay on 127.0.0.1 to one server; it and its connections end when it is dropped.
#[derive(Debug)]
pub struct Freezer {
    address: SocketAddr,
    frozen: watch::Sender<bool>,
    accept: JoinHandle<()>,
}

impl Freezer {
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let frozen = watch::Sender::new(false);
        let accept = tokio::spawn(accept(listener, server, frozen.subscribe()));
        Self { address, frozen, accept }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on bytes stay where they are, those of new connections too.
    pub fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Everything goes on, what was held back included.
    pub fn thaw(&self) {
        self.frozen.send_replace(false);
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, frozen: watch::Receiver<bool>) {
    let mut relays = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        relays.spawn(relay(client, server, frozen.clone()));
    }
}

async fn relay(client: TcpStream, server: SocketAddr, mut frozen: watch::Receiver<bool>) {
    if frozen.wait_for(|frozen| !frozen).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
    }
    let ((client_reads, client_writes), (server_reads, server_writes)) =
        (client.into_split(), server.into_split());
    tokio::join!(
        pass(client_reads, server_writes, frozen.clone()),
        pass(server_reads, client_writes, frozen),
    );
}

/// Passes bytes on in one direction until either end is over.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
    frozen.wait_for(|frozen| !frozen).await.ok();
    to.shutdown().await.ok();
}
