//! Who a client is, and how often it may write or guess keys.
//!
//! The windows themselves are `levqor_core::rate`; this file holds the two of them (writes, wrong keys), gives them the time,
//! and finds the address that counts: the peer's, unless a trusted proxy says for whom it speaks.
//!
//! Nodes on one PostgreSQL count writes together. A request goes to the database only if this node's own window lets it
//! through, and a refusal of the database is remembered until it ends: a flood costs the database nothing. While the database is
//! away each node goes by its own window.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::{HeaderMap, HeaderValue, header};
use ipnet::IpNet;
use levqor_core::rate::{ClientKey, Limiter, SHARED_MOST, Verdict};
use levqor_store::{SharedHit, SharedVerdict, Store};

use super::error::{ApiError, Result};
use super::headers::{RATE_LIMIT, RATE_REMAINING, RATE_RESET, X_FORWARDED_FOR};
use crate::config::Config;

const WINDOW_MS: u64 = 60_000;

/// Clients remembered at the same time; beyond that the one that was quiet longest starts anew.
const MAX_CLIENTS: usize = 20_000;

/// What a counted request has left, for its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub limit: u32,
    pub remaining: u32,
}

/// Until when the database has refused whom, by this process's clock.
#[derive(Default)]
struct Refused {
    all_until_ms: u64,
    clients: HashMap<ClientKey, u64>,
}

impl Refused {
    /// How long this client still has to wait.
    fn wait_ms(&mut self, client: ClientKey, now_ms: u64) -> u64 {
        let own = match self.clients.get(&client) {
            Some(until_ms) if *until_ms > now_ms => *until_ms,
            Some(_) => self.clients.remove(&client).unwrap_or_default(),
            None => 0,
        };
        own.max(self.all_until_ms).saturating_sub(now_ms)
    }

    fn remember(&mut self, client: ClientKey, until_ms: u64, everybody: bool, now_ms: u64) {
        if everybody {
            self.all_until_ms = until_ms;
            return;
        }
        if self.clients.len() >= MAX_CLIENTS {
            self.clients.retain(|_, until_ms| *until_ms > now_ms);
        }
        if self.clients.len() < MAX_CLIENTS {
            self.clients.insert(client, until_ms);
        }
    }
}

pub struct Limits {
    epoch: Instant,
    writes: Mutex<Limiter>,
    refused: Mutex<Refused>,
    burst: u32,
    global: u32,
    wrong_keys: Mutex<Limiter>,
    ai: Mutex<Limiter>,
}

impl Limits {
    pub fn new(config: &Config) -> Self {
        let (burst, global) = (config.rate_burst, config.rate_global);
        Limits {
            epoch: Instant::now(),
            refused: Mutex::default(),
            burst,
            global,
            writes: Mutex::new(Limiter::new(burst, global, WINDOW_MS, MAX_CLIENTS)),
            wrong_keys: Mutex::new(Limiter::new(burst, u32::MAX, WINDOW_MS, MAX_CLIENTS)),
            ai: Mutex::new(Limiter::new(config.ai_rate, u32::MAX, WINDOW_MS, MAX_CLIENTS)),
        }
    }

    /// Counts a write, or refuses it.
    pub async fn count_write(&self, store: &Store, client: IpAddr, now_ms: i64) -> Result<Left> {
        let shared = |limit: u32| (limit <= SHARED_MOST).then_some(limit);
        let (client_limit, global_limit) = (shared(self.burst), shared(self.global));
        if !store.has_nodes() || (client_limit, global_limit) == (None, None) {
            return self.take(&self.writes, client, now_ms);
        }
        let key = ClientKey::from(client);
        let wait_ms = lock(&self.refused).wait_ms(key, self.elapsed_ms());
        if wait_ms > 0 {
            return Err(refusal(self.burst, wait_ms, now_ms));
        }
        let left = self.take(&self.writes, client, now_ms)?;
        let hit =
            SharedHit { client: key.to_string(), client_limit, global_limit, window_ms: WINDOW_MS as i64 };
        match store.count_shared(hit).await {
            Ok(SharedVerdict::Counted { left: of_all }) => {
                Ok(Left { remaining: left.remaining.min(of_all), ..left })
            }
            Ok(SharedVerdict::Refused { retry_after_ms, everybody_waits }) => {
                lock(&self.writes).give_back(key, 1);
                let elapsed_ms = self.elapsed_ms();
                let until_ms = elapsed_ms + retry_after_ms;
                lock(&self.refused).remember(key, until_ms, everybody_waits, elapsed_ms);
                Err(refusal(self.burst, retry_after_ms, now_ms))
            }
            // The own window has allowed it; what comes of the write the database will say itself.
            Err(error) => {
                tracing::debug!(%error, "a write was counted by this node alone");
                Ok(left)
            }
        }
    }

    /// Counts a call to a model, on this node alone: what holds across nodes is the budget.
    pub fn count_ai(&self, client: IpAddr, now_ms: i64) -> Result<Left> {
        self.take(&self.ai, client, now_ms)
    }

    fn elapsed_ms(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    /// Counts a wrong key: the error says whether the client is told so, or to wait.
    pub fn count_wrong_key(&self, client: IpAddr, now_ms: i64) -> ApiError {
        self.allow_wrong_key(client, now_ms).err().unwrap_or_else(ApiError::forbidden)
    }

    /// The same where a wrong key is no reason to refuse: an error only says to wait.
    pub fn allow_wrong_key(&self, client: IpAddr, now_ms: i64) -> Result<()> {
        self.take(&self.wrong_keys, client, now_ms).map(drop)
    }

    fn take(&self, limiter: &Mutex<Limiter>, client: IpAddr, now_ms: i64) -> Result<Left> {
        match lock(limiter).take(ClientKey::from(client), 1, self.elapsed_ms()) {
            Verdict::Allowed { limit, remaining, .. } => Ok(Left { limit, remaining }),
            Verdict::Refused { limit, retry_after_ms } => Err(refusal(limit, retry_after_ms, now_ms)),
            // One hit fits every limit, because limits are at least 1.
            Verdict::TooMany { limit } => Err(refusal(limit, WINDOW_MS, now_ms)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(limit: u32, retry_after_ms: u64, now_ms: i64) -> ApiError {
    let wait_secs = retry_after_ms.div_ceil(1000).max(1);
    let reset_at_secs = (now_ms.max(0) as u64 + retry_after_ms).div_ceil(1000);
    ApiError::rate_limited()
        .header(RATE_LIMIT, HeaderValue::from(limit))
        .header(RATE_REMAINING, HeaderValue::from(0))
        .header(RATE_RESET, HeaderValue::from(reset_at_secs))
        .header(header::RETRY_AFTER, HeaderValue::from(wait_secs))
}

/// The address of the client behind `peer`. Each proxy appends the address it saw, so the list is read from the right, past
/// those that are trusted; what a client wrote itself stands further left and is never reached.
pub fn client_address(peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|network| network.contains(&ip));
    let mut client = peer.ip().to_canonical();
    if trusted.is_empty() || !is_trusted(client) {
        return client;
    }
    let lines: Vec<_> =
        headers.get_all(X_FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or_default()).collect();
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(ip) = parse_forwarded(entry.trim()) else { return client };
        client = ip;
        if !is_trusted(ip) {
            return client;
        }
    }
    client
}

/// An address, with a port or brackets as some proxies write them.
fn parse_forwarded(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let address = bare.parse().ok().or_else(|| entry.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn client(peer: &str, forwarded: &[&'static str], trusted: &str) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(line));
        }
        let trusted: Vec<IpNet> =
            trusted.split(',').filter(|net| !net.is_empty()).map(|net| net.parse().unwrap()).collect();
        client_address(SocketAddr::new(peer.parse().unwrap(), 1), &headers, &trusted).to_string()
    }

    #[test]
    fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
        assert_eq!(client("9.9.9.9", &["1.2.3.4"], ""), "9.9.9.9");
        assert_eq!(client("9.9.9.9", &["1.2.3.4"], "10.0.0.0/8"), "9.9.9.9");
        assert_eq!(client("10.0.0.1", &["1.2.3.4"], "10.0.0.0/8"), "1.2.3.4");
        assert_eq!(client("::ffff:10.0.0.1", &["1.2.3.4"], "10.0.0.0/8"), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &[], "10.0.0.0/8"), "10.0.0.1");
    }

    #[test]
    fn what_the_client_wrote_itself_is_never_reached() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "10.0.0.0/8"), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.2.3.4"], "10.0.0.0/8"), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["1.2.3.4, nonsense"], "10.0.0.0/8"), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["1.2.3.4:5678"], "10.0.0.0/8"), "1.2.3.4");
        assert_eq!(client("10.0.0.1", &["[2001:db8::1]:443"], "10.0.0.0/8"), "2001:db8::1");
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.0/8"), "10.0.0.3");
    }
}
