#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

const WINDOW_MS: u64 = 60_000;

fn client(number: u32) -> ClientKey {
    IpAddr::from(number.to_be_bytes()).into()
}

fn key(ip: &str) -> ClientKey {
    ip.parse::<IpAddr>().unwrap().into()
}

#[test]
fn the_burst_is_let_through_and_the_next_one_waits_for_the_oldest_hit() {
    let mut limiter = Limiter::new(3, 100, WINDOW_MS, 10);

    assert_eq!(
        limiter.take(client(1), 1, 1_000),
        Verdict::Allowed { limit: 3, remaining: 2, reset_after_ms: 60_000 }
    );
    assert_eq!(
        limiter.take(client(1), 1, 2_000),
        Verdict::Allowed { limit: 3, remaining: 1, reset_after_ms: 59_000 }
    );
    assert_eq!(
        limiter.take(client(1), 1, 2_000),
        Verdict::Allowed { limit: 3, remaining: 0, reset_after_ms: 59_000 }
    );
    for now in [2_000, 30_000, 60_999] {
        let refused = Verdict::Refused { limit: 3, retry_after_ms: 61_000 - now };
        assert_eq!(limiter.take(client(1), 1, now), refused, "refused requests do not count");
    }
    assert_eq!(
        limiter.take(client(1), 2, 60_000),
        Verdict::Refused { limit: 3, retry_after_ms: 1_001 },
        "time went back"
    );
    assert_eq!(
        limiter.take(client(1), 1, 61_000),
        Verdict::Allowed { limit: 3, remaining: 0, reset_after_ms: 1_000 }
    );
    assert!(
        matches!(limiter.take(client(2), 3, 61_000), Verdict::Allowed { remaining: 0, .. }),
        "another client"
    );
}

#[test]
fn both_limits_are_looked_at_before_either_counts() {
    let mut limiter = Limiter::new(3, 4, WINDOW_MS, 10);

    assert!(matches!(limiter.take(client(1), 3, 0), Verdict::Allowed { remaining: 0, .. }));
    assert_eq!(
        limiter.take(client(2), 2, 10),
        Verdict::Refused { limit: 3, retry_after_ms: 59_990 },
        "global"
    );
    assert!(
        matches!(limiter.take(client(2), 1, 10), Verdict::Allowed { remaining: 0, .. }),
        "global has one left"
    );
    assert_eq!(limiter.take(client(1), 1, 20), Verdict::Refused { limit: 3, retry_after_ms: 59_980 });
    assert!(
        matches!(limiter.take(client(2), 2, 60_000), Verdict::Allowed { .. }),
        "the refused hits left no trace"
    );
}

#[test]
fn what_no_wait_can_help_is_said() {
    let mut limiter = Limiter::new(5, 3, WINDOW_MS, 10);

    assert_eq!(limiter.take(client(1), 6, 0), Verdict::TooMany { limit: 5 });
    assert_eq!(limiter.take(client(1), 4, 0), Verdict::TooMany { limit: 5 }, "more than all clients may");
    assert_eq!(limiter.take(client(1), u32::MAX, 0), Verdict::TooMany { limit: 5 });
    assert_eq!(Limiter::new(0, 0, WINDOW_MS, 1).take(client(1), 1, 0), Verdict::TooMany { limit: 0 });
    assert_eq!(limiter.clients(), 0);
}

#[test]
fn no_hits_is_a_look_without_a_trace() {
    let mut limiter = Limiter::new(2, 9, WINDOW_MS, 10);

    assert_eq!(limiter.take(client(1), 0, 5), Verdict::Allowed { limit: 2, remaining: 2, reset_after_ms: 0 });
    assert_eq!(limiter.clients(), 0);
}

#[test]
fn clients_are_ipv4_addresses_and_ipv6_networks_of_64_bits() {
    assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
    assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
}

#[test]
fn a_million_forged_clients_need_the_memory_of_a_few() {
    let mut limiter = Limiter::new(20, u32::MAX, WINDOW_MS, 1_000);

    for number in 0..100_000 {
        limiter.take(client(number), 1, u64::from(number / 100));
    }

    assert_eq!(limiter.clients(), 1_000);
    assert!(limiter.clients.capacity() <= 2_048 && limiter.places.capacity() <= 4_096);
    assert!(
        matches!(limiter.take(client(99_999), 1, 1_000), Verdict::Allowed { remaining: 18, .. }),
        "the newest are known"
    );
    assert!(
        matches!(limiter.take(client(0), 1, 1_000), Verdict::Allowed { remaining: 19, .. }),
        "the oldest are not"
    );
}

#[test]
fn idle_clients_are_forgotten_two_at_a_time() {
    let mut limiter = Limiter::new(20, 1_000, WINDOW_MS, 100);
    for number in 0..10 {
        limiter.take(client(number), 1, 0);
    }

    limiter.take(client(99), 1, WINDOW_MS);
    assert_eq!(limiter.clients(), 9);
    for _ in 0..4 {
        limiter.take(client(99), 1, WINDOW_MS);
    }
    assert_eq!(limiter.clients(), 1);
}

#[test]
fn a_huge_limit_keeps_a_small_log_and_never_lets_more_through() {
    let limit = 1_000_000;
    let mut limiter = Limiter::new(limit, limit, WINDOW_MS, 10);
    let mut allowed = 0;
    for now in 0..WINDOW_MS {
        for _ in 0..4 {
            allowed += u32::from(matches!(limiter.take(client(1), 5, now), Verdict::Allowed { .. })) * 5;
        }
    }

    assert_eq!(allowed, limit);
    assert!(limiter.all.entries.len() <= 601, "{}", limiter.all.entries.len());
    assert!(matches!(
        limiter.take(client(1), 1, WINDOW_MS),
        Verdict::Refused { retry_after_ms: 1..=100, .. }
    ));
}

/// Remembers every hit.
#[derive(Default)]
struct Model {
    hits: Vec<(u32, u64)>,
}

impl Model {
    fn inside(&self, who: Option<u32>, now: u64, window: u64) -> u32 {
        let mine = |(client, at): &&(u32, u64)| who.is_none_or(|who| who == *client) && at + window > now;
        self.hits.iter().filter(mine).count() as u32
    }
}

proptest! {
    #[test]
    fn small_limits_are_exact(
        limits in (1..6_u32, 1..12_u32),
        requests in prop::collection::vec((0..4_u32, 1..4_u32, 0..40_u64), 1..120),
    ) {
        let window = 100;
        let mut limiter = Limiter::new(limits.0, limits.1, window, 100);
        let mut model = Model::default();
        let mut now = 0;
        for (who, hits, pause) in requests {
            now += pause;
            let fits = |at: u64| model.inside(Some(who), at, window) + hits <= limits.0
                && model.inside(None, at, window) + hits <= limits.1;
            match limiter.take(client(who), hits, now) {
                Verdict::Allowed { remaining, .. } => {
                    prop_assert!(fits(now));
                    model.hits.extend((0..hits).map(|_| (who, now)));
                    let left = limits.0 - model.inside(Some(who), now, window);
                    prop_assert_eq!(remaining, left.min(limits.1 - model.inside(None, now, window)));
                }
                Verdict::Refused { retry_after_ms, .. } => {
                    prop_assert!(!fits(now) && !fits(now + retry_after_ms - 1) && fits(now + retry_after_ms));
                }
                Verdict::TooMany { .. } => prop_assert!(hits > limits.0.min(limits.1)),
            }
        }
    }

    #[test]
    fn large_limits_never_let_more_through_and_are_late_by_one_grain_at_most(
        requests in prop::collection::vec((1..400_u32, 0..900_u64), 1..150),
    ) {
        let (limit, window, grain) = (5_000, 6_000, 10);
        let mut limiter = Limiter::new(limit, limit, window, 10);
        let mut model = Model::default();
        let mut now = 0;
        for (hits, pause) in requests {
            now += pause;
            match limiter.take(client(1), hits, now) {
                Verdict::Allowed { .. } => {
                    model.hits.extend((0..hits).map(|_| (1, now)));
                    prop_assert!(model.inside(None, now, window) <= limit);
                }
                Verdict::Refused { retry_after_ms, .. } => {
                    // One grain longer remembered, and the model must refuse it too.
                    prop_assert!(model.inside(None, now, window + grain) + hits > limit);
                    prop_assert!(model.inside(None, now + retry_after_ms, window) + hits <= limit);
                }
                Verdict::TooMany { .. } => prop_assert!(false),
            }
        }
    }

    #[test]
    fn a_full_table_never_loses_its_order(requests in prop::collection::vec((0..12_u32, 0..30_u64), 1..200)) {
        let mut limiter = Limiter::new(1_000, 1_000, 100, 5);
        let mut order: Vec<(u32, u64)> = Vec::new();
        let mut now = 0;
        for (who, pause) in requests {
            now += pause;
            limiter.take(client(who), 1, now);
            let idle = order.iter().take(2).take_while(|(_, at)| at + 100 <= now).count();
            order.drain(..idle);
            order.retain(|(known, _)| *known != who);
            if order.len() == 5 {
                order.remove(0);
            }
            order.push((who, now));

            let mut visited = Vec::new();
            let mut next = limiter.oldest;
            while let Some(place) = next {
                visited.push(limiter.clients[place].key);
                prop_assert_eq!(limiter.places[&limiter.clients[place].key], place);
                next = limiter.clients[place].newer;
            }
            let expected: Vec<ClientKey> = order.iter().map(|(who, _)| client(*who)).collect();
            prop_assert_eq!(visited, expected);
            prop_assert_eq!(limiter.places.len(), limiter.clients.len());
        }
    }
}
