//! Says now and then that a peer which is no trusted proxy hands on `X-Forwarded-For`: usually that is a proxy which somebody
//! forgot to list, and then all who come through it share one rate limit.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::HeaderMap;
use ipnet::IpNet;

use super::headers::X_FORWARDED_FOR;

/// Between two lines about it, whoever they are about: anybody can send the header.
const QUIET: Duration = Duration::from_secs(300);

pub struct Strangers {
    epoch: Instant,
    /// By the count of milliseconds since the epoch.
    quiet_until_ms: AtomicU64,
    /// Requests since the last line.
    unsaid: AtomicU64,
}

impl Default for Strangers {
    fn default() -> Self {
        Strangers { epoch: Instant::now(), quiet_until_ms: AtomicU64::new(0), unsaid: AtomicU64::new(0) }
    }
}

impl Strangers {
    /// Looks at one request.
    pub fn mind(&self, peer: SocketAddr, headers: &HeaderMap, trusted: &[IpNet]) {
        if !headers.contains_key(X_FORWARDED_FOR) {
            return;
        }
        let peer = peer.ip().to_canonical();
        if trusted.iter().any(|network| network.contains(&peer)) {
            return;
        }
        if let Some(requests) = self.speak(self.epoch.elapsed()) {
            tracing::warn!(
                %peer,
                requests,
                "X-Forwarded-For is not believed: its sender is not in TRUSTED_PROXIES. If that is your proxy, list it; until \
                 then all its users share one rate limit"
            );
        }
    }

    /// Counts one request; how many there were since the last line, if it is time for another.
    fn speak(&self, since_epoch: Duration) -> Option<u64> {
        self.unsaid.fetch_add(1, Ordering::Relaxed);
        let now_ms = since_epoch.as_millis() as u64;
        let until_ms = self.quiet_until_ms.load(Ordering::Relaxed);
        if now_ms < until_ms {
            return None;
        }
        let next_ms = now_ms + QUIET.as_millis() as u64;
        // Of several that come at once, one speaks.
        let is_ours = self
            .quiet_until_ms
            .compare_exchange(until_ms, next_ms, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        is_ours.then(|| self.unsaid.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_in_five_minutes_tells_how_many_there_were() {
        let strangers = Strangers::default();
        let at = |secs| strangers.speak(Duration::from_secs(secs));

        assert_eq!(at(0), Some(1));
        assert_eq!([at(0), at(100), at(299)], [None; 3]);
        assert_eq!(at(300), Some(4));
        assert_eq!(at(301), None);
    }
}
