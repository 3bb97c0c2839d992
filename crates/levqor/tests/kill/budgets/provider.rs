//! The other side: `levqor mock-ai` as a process of its own, which nobody kills, and its bill.

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::Caller;

const LISTENING: &str = "An AI provider that costs nothing listens on ";

/// Ends when it is dropped.
pub struct Provider {
    pub url: String,
    _child: Child,
}

/// What the provider charges.
pub struct Bill {
    pub calls: i64,
    pub total_nano: i64,
    pub entries: Vec<Entry>,
}

pub struct Entry {
    pub id: String,
    pub model: String,
    /// How the question begins: with the label of its spender.
    pub asked: String,
    pub amount_nano: i64,
}

impl Provider {
    pub async fn start(faults: &[&str], seed: u64) -> Provider {
        let mut child = Command::new(env!("CARGO_BIN_EXE_levqor"))
            .args(["mock-ai", "--port", "0", "--delay", "15", "--pace", "2"])
            .args(["--seed", &seed.to_string()])
            .args(faults.iter().flat_map(|fault| ["--fault", fault]))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        let line = line.expect("the provider starts within 30 s").unwrap().unwrap_or_default();
        let url = line.strip_prefix(LISTENING).unwrap_or_else(|| panic!("the provider says {line:?}"));
        let url = url.trim().to_owned();
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Provider { url, _child: child }
    }

    pub async fn bill(&self) -> Bill {
        let bill = Caller::new().get(&self.url, "/_mock/bill").await.json();
        let int = |value: &Value| value.as_i64().unwrap_or_else(|| panic!("{value} is no number"));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entries = bill["entries"].as_array().expect("a bill has entries").iter();
        let entries: Vec<_> = entries
            .map(|entry| Entry {
                id: text(&entry["id"]),
                model: text(&entry["model"]),
                asked: text(&entry["asked"]),
                amount_nano: int(&entry["amount_nano"]),
            })
            .collect();
        let sum: i64 = entries.iter().map(|entry| entry.amount_nano).sum();
        assert_eq!(sum, int(&bill["total_nano"]), "the bill does not add up");
        Bill { calls: int(&bill["calls"]), total_nano: sum, entries }
    }
}
