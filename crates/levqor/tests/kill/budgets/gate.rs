//! What stands between a node and the provider, so that a test can end the node at an exact moment of a call: the request is
//! there, the provider has served it, the first piece of the answer is out, the last one is.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// The hold is committed and the request came, but nobody has served it.
    Arrived,
    /// The provider has served and billed it; nothing of that was passed on.
    Served,
    /// The node has the first piece of the answer, and gets no other.
    FirstPiece,
    /// The node has all of it.
    LastPiece,
}

/// The moment that is waited for, and who is told the number of the node.
type Armed = Arc<Mutex<Option<(Point, oneshot::Sender<usize>)>>>;

/// One way to the provider for each node. A call that meets its moment goes no further; others pass.
pub struct Gates {
    pub urls: Vec<String>,
    armed: Armed,
}

impl Gates {
    pub async fn before(provider: &str, nodes: usize) -> Gates {
        let (mut urls, armed) = (Vec::new(), Armed::default());
        let provider = provider.trim_start_matches("http://").to_owned();
        for node in 0..nodes {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            urls.push(format!("http://{}", listener.local_addr().unwrap()));
            let gate = Gate { node, provider: provider.clone(), armed: armed.clone() };
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let gate = gate.clone();
                    // A node that dies breaks off in the middle of anything.
                    tokio::spawn(async move { gate.converse(stream).await.ok() });
                }
            });
        }
        Gates { urls, armed }
    }

    /// The next call that comes to this moment tells its node, and stays there until the node is gone.
    pub fn arm(&self, point: Point) -> oneshot::Receiver<usize> {
        let (sender, receiver) = oneshot::channel();
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some((point, sender));
        receiver
    }
}

#[derive(Clone)]
struct Gate {
    node: usize,
    provider: String,
    armed: Armed,
}

impl Gate {
    async fn converse(&self, mut node: TcpStream) -> std::io::Result<()> {
        node.set_nodelay(true)?;
        while let Some(request) = read_request(&mut node).await? {
            if self.is_at(Point::Arrived) {
                return hang(&mut node).await;
            }
            let mut provider = TcpStream::connect(&self.provider).await?;
            provider.write_all(&request).await?;
            // Nothing more comes: the provider answers this and closes, which is how the end of the answer is known.
            provider.shutdown().await?;
            let (mut piece, mut pieces) = ([0; 16 * 1024], 0);
            loop {
                let bytes = provider.read(&mut piece).await?;
                if bytes == 0 {
                    break;
                }
                if pieces == 0 && self.is_at(Point::Served) {
                    return hang(&mut node).await;
                }
                node.write_all(&piece[..bytes]).await?;
                pieces += 1;
                if pieces == 1 && self.is_at(Point::FirstPiece) {
                    return hang(&mut node).await;
                }
            }
            self.is_at(Point::LastPiece);
        }
        Ok(())
    }

    /// Whether this is the moment; whoever waits for it is told.
    fn is_at(&self, point: Point) -> bool {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        match armed.take_if(|(wanted, _)| *wanted == point) {
            Some((_, sender)) => sender.send(self.node).is_ok(),
            None => false,
        }
    }
}

/// Head and body of the next request as they came; `None` when the node closes.
async fn read_request(node: &mut TcpStream) -> std::io::Result<Option<Vec<u8>>> {
    let mut read = Vec::new();
    loop {
        if let Some(end) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let body_bytes: usize = length.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            if read.len() >= end + 4 + body_bytes {
                return Ok(Some(read));
            }
        }
        if node.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
}

/// Open and silent until the node is gone.
async fn hang(node: &mut TcpStream) -> std::io::Result<()> {
    let mut sink = [0; 1024];
    while node.read(&mut sink).await? > 0 {}
    Ok(())
}
