//! The world outside Levqor in the demo: a shop that the workflow calls, and the receiver of the callback.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::cli::exit::Failure;
use crate::cli::loopback::{Loopback, Reply, Seen};

/// How many times the shop says that it is busy.
pub const BUSY: usize = 2;

#[derive(Default)]
struct Book {
    /// The idempotency key of each call that reserves stock.
    stock_keys: Vec<String>,
    callback: Option<Seen>,
}

/// Listens on loopback until dropped.
pub struct Shop {
    server: Loopback,
    book: Arc<Mutex<Book>>,
    called: Arc<Notify>,
}

fn lock(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shop {
    pub async fn open() -> Result<Shop, Failure> {
        let (book, called) = (Arc::new(Mutex::new(Book::default())), Arc::new(Notify::new()));
        let (ours, notify) = (book.clone(), called.clone());
        let server = Loopback::start(move |seen| {
            let reply = answer(&mut lock(&ours), seen);
            notify.notify_one();
            reply
        });
        Ok(Shop { server: server.await?, book, called })
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn stock_keys(&self) -> Vec<String> {
        lock(&self.book).stock_keys.clone()
    }

    /// The callback, as soon as it came; `None` when `limit` is over.
    pub async fn callback(&self, limit: Duration) -> Option<Seen> {
        let came = async {
            loop {
                // A permit is kept if a call comes between the look and the wait.
                if let Some(seen) = lock(&self.book).callback.take() {
                    return seen;
                }
                self.called.notified().await;
            }
        };
        tokio::time::timeout(limit, came).await.ok()
    }
}

fn answer(book: &mut Book, seen: Seen) -> Reply {
    let (status, body) = match seen.path.as_str() {
        "/stock" => {
            book.stock_keys.push(seen.header("idempotency-key").to_owned());
            match book.stock_keys.len() {
                calls if calls <= BUSY => (503, r#"{"error":"busy"}"#),
                _ => (200, r#"{"reserved":2}"#),
            }
        }
        "/credit" => (200, r#"{"score":742}"#),
        "/confirm" => (200, r#"{"confirmed":true}"#),
        "/callback" => {
            book.callback = Some(seen);
            (204, "")
        }
        _ => (404, "{}"),
    };
    (status, body.to_owned())
}
