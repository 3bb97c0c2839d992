//! An SMTP server on loopback: takes every mail and records the conversation, unless a test dictates other replies.
//!
//! It speaks as much of RFC 5321 as a client needs to see; it encrypts nothing and delivers nothing.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server says to a command, in place of the usual reply.
#[derive(Clone, Debug)]
pub enum Say {
    /// The reply without its line end, such as `550 5.1.1 unknown`.
    Reply(String),
    /// Nothing: close the connection.
    Close,
    /// Nothing at all, until the caller goes away.
    Hang,
    /// The same bytes again and again until the caller goes away.
    Forever(Vec<u8>),
}

impl Say {
    pub fn reply(text: &str) -> Self {
        Say::Reply(text.to_owned())
    }
}

#[derive(Debug, Default)]
struct Shared {
    said: Mutex<HashMap<String, VecDeque<Say>>>,
    commands: Mutex<Vec<String>>,
    messages: Mutex<Vec<String>>,
}

/// A listening server on 127.0.0.1; it ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct SmtpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

impl SmtpServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let server = tokio::spawn(accept(listener, shared.clone()));
        Self { address, shared, server }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to say to `verb` (`GREETING` before anything was said, `BODY` after a mail's text), in this order; the last one
    /// stays.
    pub fn say(&self, verb: &str, says: impl IntoIterator<Item = Say>) {
        lock(&self.shared.said).insert(verb.to_owned(), says.into_iter().collect());
    }

    /// Every command so far, without its line end.
    pub fn commands(&self) -> Vec<String> {
        lock(&self.shared.commands).clone()
    }

    /// Every mail so far as it came, dots at the beginning of lines undoubled.
    pub fn messages(&self) -> Vec<String> {
        lock(&self.shared.messages).clone()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections are children of this task: they end with the server.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = shared.clone();
        connections.spawn(async move {
            // An error is the caller's going away, which is what some tests are about.
            let _ = converse(BufReader::new(stream), &shared).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// What is said where the test dictates nothing.
fn usual(verb: &str) -> &'static str {
    match verb {
        "GREETING" => "220 test ESMTP",
        "EHLO" => "250-test\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN",
        "AUTH" => "235 2.7.0 welcome",
        "MAIL" | "RCPT" => "250 2.1.0 ok",
        "DATA" => "354 go on",
        "BODY" => "250 2.0.0 taken",
        "QUIT" => "221 2.0.0 bye",
        _ => "502 5.5.2 what?",
    }
}

async fn converse(mut stream: BufReader<TcpStream>, shared: &Shared) -> std::io::Result<()> {
    let mut verb = "GREETING".to_owned();
    loop {
        let reply = match next(shared, &verb) {
            Say::Reply(reply) => reply,
            Say::Close => return Ok(()),
            Say::Hang => return drain(&mut stream).await,
            Say::Forever(bytes) => loop {
                stream.get_mut().write_all(&bytes).await?;
            },
        };
        stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await?;
        if verb == "QUIT" {
            return drain(&mut stream).await;
        }
        if verb == "DATA" && reply.starts_with("354") {
            let message = message(&mut stream).await?;
            lock(&shared.messages).push(message);
            verb = "BODY".to_owned();
            continue;
        }
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let line = line.trim_end().to_owned();
        verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        lock(&shared.commands).push(line);
    }
}

fn next(shared: &Shared, verb: &str) -> Say {
    let mut said = lock(&shared.said);
    let dictated = said
        .get_mut(verb)
        .and_then(|says| if says.len() > 1 { says.pop_front() } else { says.front().cloned() });
    dictated.unwrap_or_else(|| Say::reply(usual(verb)))
}

async fn message(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut message = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == ".\r\n" {
            return Ok(message);
        }
        message.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

/// Reads until the caller closes: closing with unread bytes in the buffer would send a reset and destroy the reply.
async fn drain(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).await? > 0 {
        line.clear();
    }
    Ok(())
}
