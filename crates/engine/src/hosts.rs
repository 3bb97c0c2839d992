//! What is known of the receivers of callbacks: how many deliveries each has under way, and how many it may have.
//!
//! A receiver that nobody knows gets a few at first, twice as many with every good answer, and one at a time after a
//! failure: a dead one occupies next to nothing, and even many dead ones at once leave room for the others.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use levqor_store::HostRoom;

/// What a receiver gets before anything is known of it.
const FIRST: usize = 4;
/// Receivers remembered; beyond that the idle ones are forgotten, first those that did well.
const MAX_KNOWN: usize = 1_024;

struct Host {
    under_way: usize,
    cap: usize,
}

#[derive(Default)]
struct Known {
    hosts: HashMap<String, Host>,
    under_way: usize,
}

pub(crate) struct Hosts {
    known: Mutex<Known>,
    /// Deliveries to one receiver at most.
    most: usize,
}

impl Hosts {
    pub fn new(most: usize) -> Self {
        Hosts { known: Mutex::default(), most: most.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Deliveries under way to all.
    pub fn under_way(&self) -> usize {
        self.lock().under_way
    }

    /// How many more each may get now.
    pub fn room(&self) -> HostRoom {
        let known = self.lock();
        let room = |host: &Host| host.cap.saturating_sub(host.under_way);
        HostRoom {
            known: known.hosts.iter().map(|(name, host)| (name.clone(), room(host))).collect(),
            unknown: FIRST.min(self.most),
        }
    }

    pub fn begin(&self, name: &str) {
        let mut known = self.lock();
        known.under_way += 1;
        if let Some(host) = known.hosts.get_mut(name) {
            host.under_way += 1;
            return;
        }
        if known.hosts.len() >= MAX_KNOWN {
            known.hosts.retain(|_, host| host.under_way > 0 || host.cap < FIRST);
        }
        if known.hosts.len() >= MAX_KNOWN {
            known.hosts.retain(|_, host| host.under_way > 0);
        }
        known.hosts.insert(name.to_owned(), Host { under_way: 1, cap: FIRST.min(self.most) });
    }

    pub fn end(&self, name: &str, well: bool) {
        let mut known = self.lock();
        known.under_way -= 1;
        if let Some(host) = known.hosts.get_mut(name) {
            host.under_way -= 1;
            host.cap = if well { (host.cap * 2).min(self.most) } else { 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_receiver_gets_more_while_it_answers_well_and_one_after_a_failure() {
        let hosts = Hosts::new(32);
        let mut caps = vec![hosts.room().of("a")];
        for well in [true, true, true, true, false, true] {
            hosts.begin("a");
            hosts.end("a", well);
            caps.push(hosts.room().of("a"));
        }

        assert_eq!(caps, [4, 8, 16, 32, 32, 1, 2]);
        assert_eq!(Hosts::new(2).room().of("a"), 2, "never more than the most");
    }

    #[test]
    fn what_is_under_way_takes_room() {
        let hosts = Hosts::new(32);
        for _ in 0..3 {
            hosts.begin("a");
        }
        assert_eq!((hosts.room().of("a"), hosts.room().of("b"), hosts.under_way()), (1, 4, 3));

        hosts.end("a", false);
        assert_eq!((hosts.room().of("a"), hosts.under_way()), (0, 2));
    }

    #[test]
    fn of_too_many_receivers_those_that_failed_are_remembered_longest() {
        let hosts = Hosts::new(32);
        hosts.begin("busy");
        hosts.begin("dead");
        hosts.end("dead", false);
        for n in 0..3 * MAX_KNOWN {
            let name = n.to_string();
            hosts.begin(&name);
            hosts.end(&name, true);
        }

        let room = hosts.room();
        assert!(room.known.len() <= MAX_KNOWN);
        assert_eq!((room.of("busy"), room.of("dead")), (3, 1));
    }
}
