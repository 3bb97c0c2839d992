//! A TCP server that plays a list of acts to every caller: for answers that no HTTP library would ever send.
//!
//! It knows just enough HTTP to tell where a request ends.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// One thing that the server does on a connection, in order. After the last one it closes the connection.
#[derive(Clone, Debug)]
pub enum Act {
    /// Read one request: its head, and a body as long as its Content-Length says.
    ReadRequest,
    Send(Vec<u8>),
    /// Send the same bytes again and again until the caller goes away.
    SendForever(Vec<u8>),
    /// Go silent until the caller goes away.
    Hang,
    /// Play the whole list again on the same connection (keep-alive).
    Again,
}

impl Act {
    /// Bytes to send, from text.
    pub fn send(text: impl AsRef<[u8]>) -> Self {
        Self::Send(text.as_ref().to_vec())
    }
}

#[derive(Debug, Default)]
struct Seen {
    accepted: usize,
    closed: usize,
    requests: Vec<String>,
}

/// A listening server on 127.0.0.1; it ends when dropped.
#[derive(Debug)]
pub struct Script {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accept: JoinHandle<()>,
}

impl Script {
    /// Plays `acts` to every connection.
    pub async fn start(acts: Vec<Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let accept = tokio::spawn(accept(listener, acts.into(), seen.clone()));
        Self { address, seen, accept }
    }

    /// Reads one request and sends `answer`, then closes.
    pub async fn answer(answer: impl AsRef<[u8]>) -> Self {
        Self::start(vec![Act::ReadRequest, Act::send(answer)]).await
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:<port><path>`; `path` begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How many connections came in so far.
    pub fn accepted(&self) -> usize {
        lock(&self.seen).accepted
    }

    /// How many connections are over, whoever ended them.
    pub fn closed(&self) -> usize {
        lock(&self.seen).closed
    }

    /// Every request read so far, head and body as they came.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.seen).requests.clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.accept.abort();
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, acts: Arc<[Act]>, seen: Arc<Mutex<Seen>>) {
    // Connections are children of this task: they end with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        lock(&seen).accepted += 1;
        let (acts, seen) = (acts.clone(), seen.clone());
        connections.spawn(async move {
            // An error is the caller's going away, which is what many tests are about.
            let _ = play(stream, &acts, &seen).await;
            lock(&seen).closed += 1;
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn play(mut stream: TcpStream, acts: &[Act], seen: &Mutex<Seen>) -> std::io::Result<()> {
    loop {
        let mut again = false;
        for act in acts {
            match act {
                Act::ReadRequest => match read_request(&mut stream).await? {
                    Some(request) => lock(seen).requests.push(request),
                    None => return Ok(()),
                },
                Act::Send(bytes) => stream.write_all(bytes).await?,
                Act::SendForever(bytes) => loop {
                    stream.write_all(bytes).await?;
                },
                Act::Hang => return drain(&mut stream).await,
                Act::Again => again = true,
            }
        }
        if !again {
            stream.shutdown().await?;
            return drain(&mut stream).await;
        }
    }
}

/// Reads until the caller closes. Closing with unread bytes in the buffer would send a reset and destroy the answer.
async fn drain(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// `None`: the caller closed the connection instead.
async fn read_request(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut request = Vec::new();
    let mut wanted = usize::MAX;
    let mut buffer = [0; 4096];
    while request.len() < wanted {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(None);
        }
        request.extend_from_slice(&buffer[..count]);
        if wanted == usize::MAX
            && let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            wanted = end + 4 + length.unwrap_or(0);
        }
    }
    Ok(Some(String::from_utf8_lossy(&request).into_owned()))
}
