//! A client that sends exactly what it is told, and reads one answer by its framing.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::marks;

/// Longer than anything in these tests should take.
pub const LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The member `error`.
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    key: Option<String>,
}

impl Client {
    pub fn new(address: SocketAddr, key: Option<&str>) -> Self {
        Client { address, key: key.map(str::to_owned) }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Reply {
        self.send("POST", path, &[("Content-Type", "application/json")], body).await
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.send_bytes(method, path, headers, body.as_bytes()).await
    }

    pub async fn send_bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
        if let Some(key) = &self.key {
            head.push_str(&format!("X-Api-Key: {key}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut connection = Connection::open(self.address).await;
        connection.write(&[head.as_bytes(), body].concat()).await;
        connection.reply_to(method).await
    }
}

/// A raw connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        Connection { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// From an address of our own choice: on Linux all of 127.0.0.0/8 is this machine.
    pub async fn open_from(from: IpAddr, address: SocketAddr) -> Self {
        let socket = if from.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        Connection { stream: socket.connect(address).await.unwrap(), buffer: Vec::new() }
    }

    /// Writes; that the server has closed already is no failure of the client's.
    pub async fn write(&mut self, bytes: &[u8]) {
        let _ = timeout(LIMIT, self.stream.write_all(bytes)).await.unwrap();
    }

    pub async fn close_write(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub async fn reply(&mut self) -> Reply {
        self.reply_to("GET").await
    }

    /// One that may take longer than others.
    pub async fn reply_within(&mut self, limit: Duration) -> Reply {
        timeout(limit, self.stream.readable()).await.expect("an answer in its time").unwrap();
        self.reply().await
    }

    pub async fn reply_to(&mut self, method: &str) -> Reply {
        loop {
            let end = self.buffer.windows(4).position(|window| window == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
                return self.rest(method, &head).await;
            }
            assert!(
                self.fill().await > 0,
                "closed before an answer: {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        }
    }

    /// Whether the server closes the connection without another byte.
    pub async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && self.fill().await == 0
    }

    /// Everything that comes until the server closes.
    pub async fn all(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    async fn fill(&mut self) -> usize {
        timeout(LIMIT, self.stream.read_buf(&mut self.buffer))
            .await
            .expect("the server answers in time")
            .unwrap_or(0)
    }

    async fn rest(&mut self, method: &str, head: &str) -> Reply {
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers
            .iter()
            .find(|(name, _)| name == "content-length")
            .map_or(0, |(_, value)| value.parse().unwrap());
        let length = if method == "HEAD" || status == 304 { 0 } else { length };
        while self.buffer.len() < length {
            assert!(self.fill().await > 0, "the answer is cut short");
        }
        let is_chunked =
            headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        let body: Vec<u8> =
            if is_chunked { self.chunks().await } else { self.buffer.drain(..length).collect() };
        marks::check("the head of an answer", head.as_bytes());
        marks::check("an answer", &body);
        Reply { status, headers, body }
    }

    async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let Some(end) = self.buffer.windows(2).position(|window| window == b"\r\n") else {
                assert!(self.fill().await > 0, "the answer is cut short");
                continue;
            };
            let size = String::from_utf8(self.buffer[..end].to_vec()).unwrap();
            let size = usize::from_str_radix(&size, 16).unwrap();
            while self.buffer.len() < end + 2 + size + 2 {
                assert!(self.fill().await > 0, "the answer is cut short");
            }
            body.extend_from_slice(&self.buffer[end + 2..end + 2 + size]);
            self.buffer.drain(..end + 2 + size + 2);
            if size == 0 {
                return body;
            }
        }
    }
}
