//! How many writes a client may make in any window of time, and all clients together.
//!
//! A sliding log, not buckets that refill: in no window of `window_ms` is more let through than the limit. Refused
//! requests do not count. Nothing here reads a clock; the caller puts one lock around it.

mod minute;
mod shared;

pub use minute::{Minute, MinuteLimits};
pub use shared::{SHARED_MOST, SharedWindow};

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};

/// Above this limit hits that lie close together share an entry, so a log has about this many entries at most.
const MAX_ENTRIES: u32 = 600;

/// Who is counted: an IPv4 address, or a network of IPv6, because one customer has a whole /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

impl std::fmt::Display for ClientKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<IpAddr> for ClientKey {
    fn from(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(v6) => ClientKey(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into()),
            v4 => ClientKey(v4),
        }
    }
}

/// The answer to one request. `limit` is always the client's, also where the limit of all clients refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allowed {
        limit: u32,
        /// How many more would be let through now.
        remaining: u32,
        /// Until the client's oldest hit leaves the window.
        reset_after_ms: u64,
    },
    /// Nothing was counted. The same request is let through after `retry_after_ms` if nobody else comes first.
    Refused { limit: u32, retry_after_ms: u64 },
    /// It asks for more than a limit ever allows: no wait helps.
    TooMany { limit: u32 },
}

/// The hits of one scope that are still inside the window, oldest first.
#[derive(Debug, Default)]
struct Log {
    entries: VecDeque<Entry>,
    total: u32,
}

#[derive(Debug)]
struct Entry {
    first_ms: u64,
    /// The latest hit: the entry leaves with it, so a hit may leave late but never early.
    last_ms: u64,
    hits: u32,
}

impl Log {
    fn expire(&mut self, now_ms: u64, window_ms: u64) {
        while let Some(oldest) = self.entries.front()
            && oldest.last_ms + window_ms <= now_ms
        {
            self.total -= oldest.hits;
            self.entries.pop_front();
        }
    }

    fn add(&mut self, hits: u32, now_ms: u64, grain_ms: u64) {
        self.total += hits;
        match self.entries.back_mut() {
            Some(entry) if now_ms - entry.first_ms < grain_ms => {
                entry.last_ms = now_ms;
                entry.hits += hits;
            }
            _ => self.entries.push_back(Entry { first_ms: now_ms, last_ms: now_ms, hits }),
        }
    }

    /// Takes the newest hits out again.
    fn take_back(&mut self, mut hits: u32) {
        while hits > 0
            && let Some(entry) = self.entries.back_mut()
        {
            let taken = hits.min(entry.hits);
            entry.hits -= taken;
            self.total -= taken;
            hits -= taken;
            if entry.hits == 0 {
                self.entries.pop_back();
            }
        }
    }

    /// Until `wanted` more hits fit: 0 when they fit now.
    fn wait_ms(&self, wanted: u32, limit: u32, now_ms: u64, window_ms: u64) -> u64 {
        let mut excess = (u64::from(self.total) + u64::from(wanted)).saturating_sub(limit.into());
        let mut entries = self.entries.iter();
        let mut wait_ms = 0;
        while excess > 0
            && let Some(entry) = entries.next()
        {
            wait_ms = entry.last_ms + window_ms - now_ms;
            excess = excess.saturating_sub(entry.hits.into());
        }
        wait_ms
    }
}

#[derive(Debug)]
struct Client {
    key: ClientKey,
    log: Log,
    last_hit_ms: u64,
    /// Neighbours in the order of the last hit.
    older: Option<usize>,
    newer: Option<usize>,
}

/// Two limits that are checked together: one per client and one for all.
#[derive(Debug)]
pub struct Limiter {
    per_client: u32,
    global: u32,
    window_ms: u64,
    max_clients: usize,
    all: Log,
    places: HashMap<ClientKey, usize>,
    /// Invariant: every place in `places` holds the client with that key, and the list by `oldest`, `newest`, `older`
    /// and `newer` visits each of them once.
    clients: Vec<Client>,
    oldest: Option<usize>,
    newest: Option<usize>,
    now_ms: u64,
}

impl Limiter {
    /// Remembers `max_clients` clients at most; beyond that, the one whose last hit is longest ago starts anew.
    pub fn new(per_client: u32, global: u32, window_ms: u64, max_clients: usize) -> Self {
        Limiter {
            per_client,
            global,
            window_ms,
            max_clients: max_clients.max(1),
            all: Log::default(),
            places: HashMap::new(),
            clients: Vec::new(),
            oldest: None,
            newest: None,
            now_ms: 0,
        }
    }

    /// Counts `hits` for the client if both limits allow it. `now_ms` is monotonic time; a step back counts as no step.
    pub fn take(&mut self, client: ClientKey, hits: u32, now_ms: u64) -> Verdict {
        let now_ms = now_ms.max(self.now_ms);
        self.now_ms = now_ms;
        let limit = self.per_client;
        if hits > limit.min(self.global) {
            return Verdict::TooMany { limit };
        }
        self.all.expire(now_ms, self.window_ms);
        self.forget_idle();
        let place = self.places.get(&client).copied();
        let client_wait_ms = place.map_or(0, |place| {
            let log = &mut self.clients[place].log;
            log.expire(now_ms, self.window_ms);
            log.wait_ms(hits, limit, now_ms, self.window_ms)
        });
        let retry_after_ms = client_wait_ms.max(self.all.wait_ms(hits, self.global, now_ms, self.window_ms));
        if retry_after_ms > 0 {
            return Verdict::Refused { limit, retry_after_ms };
        }
        if hits == 0 {
            return self.allowed(place);
        }
        let place = self.touch(client, place);
        self.all.add(hits, now_ms, grain_ms(self.global, self.window_ms));
        self.clients[place].log.add(hits, now_ms, grain_ms(limit, self.window_ms));
        self.allowed(Some(place))
    }

    /// Takes back what was counted for a request that somebody else refused: refused requests do not count.
    pub fn give_back(&mut self, client: ClientKey, hits: u32) {
        if let Some(place) = self.places.get(&client) {
            self.clients[*place].log.take_back(hits);
            self.all.take_back(hits);
        }
    }

    /// How many clients are remembered.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    fn allowed(&self, place: Option<usize>) -> Verdict {
        let log = place.map(|place| &self.clients[place].log);
        let left = self.per_client - log.map_or(0, |log| log.total);
        let oldest = log.and_then(|log| log.entries.front());
        Verdict::Allowed {
            limit: self.per_client,
            remaining: left.min(self.global - self.all.total),
            reset_after_ms: oldest.map_or(0, |entry| entry.last_ms + self.window_ms - self.now_ms),
        }
    }

    /// Makes the client the newest one, and remembers it first if need be.
    fn touch(&mut self, key: ClientKey, place: Option<usize>) -> usize {
        let place = match place {
            Some(place) => {
                self.unlink(place);
                place
            }
            None => {
                if self.clients.len() >= self.max_clients {
                    self.forget_oldest();
                }
                self.clients.push(Client {
                    key,
                    log: Log::default(),
                    last_hit_ms: 0,
                    older: None,
                    newer: None,
                });
                self.places.insert(key, self.clients.len() - 1);
                self.clients.len() - 1
            }
        };
        let before = self.newest.replace(place);
        self.relink_newer(before, Some(place));
        let client = &mut self.clients[place];
        (client.older, client.newer, client.last_hit_ms) = (before, None, self.now_ms);
        place
    }

    /// Two a call: more than one can become idle per call, and a pass over all would hold up somebody.
    fn forget_idle(&mut self) {
        for _ in 0..2 {
            match self.oldest {
                Some(place) if self.clients[place].last_hit_ms + self.window_ms <= self.now_ms => {
                    self.forget_oldest()
                }
                _ => return,
            }
        }
    }

    fn forget_oldest(&mut self) {
        let Some(place) = self.oldest else { return };
        self.unlink(place);
        self.places.remove(&self.clients[place].key);
        self.clients.swap_remove(place);
        // The last client moved into the free place: all that pointed at it must follow.
        if let Some(moved) = self.clients.get(place) {
            let (key, older, newer) = (moved.key, moved.older, moved.newer);
            self.places.insert(key, place);
            self.relink_newer(older, Some(place));
            self.relink_older(newer, Some(place));
        }
    }

    fn unlink(&mut self, place: usize) {
        let (older, newer) = (self.clients[place].older, self.clients[place].newer);
        self.relink_newer(older, newer);
        self.relink_older(newer, older);
    }

    /// Sets what is newer than `place`; without a place, what is the oldest of all.
    fn relink_newer(&mut self, place: Option<usize>, newer: Option<usize>) {
        match place {
            Some(place) => self.clients[place].newer = newer,
            None => self.oldest = newer,
        }
    }

    fn relink_older(&mut self, place: Option<usize>, older: Option<usize>) {
        match place {
            Some(place) => self.clients[place].older = older,
            None => self.newest = older,
        }
    }
}

/// How far apart hits may lie and still share an entry. Up to [`MAX_ENTRIES`] every millisecond has its own: exact.
fn grain_ms(limit: u32, window_ms: u64) -> u64 {
    if limit <= MAX_ENTRIES { 1 } else { (window_ms / u64::from(MAX_ENTRIES)).max(1) }
}

#[cfg(test)]
mod tests;
