//! What is known of the receivers of callbacks: how many deliveries each has under way, and how many it may have.
//!
//! A receiver that nobody knows gets a few at first, twice as many with every good answer, and one at a time after a
//! failure. A delivery that has run for [`SLOW`] gives its slot back and stands apart: what hangs occupies a slot for that long
//! and no longer. Receivers that have not answered well and soon share three quarters of the slots, so that the others always
//! find some, however many hang.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use levqor_store::HostRoom;

/// What a receiver gets before anything is known of it.
const FIRST: usize = 4;
/// Receivers remembered; beyond that the idle ones are forgotten, first those that did well.
const MAX_KNOWN: usize = 1_024;
/// A delivery that takes longer is slow.
pub(crate) const SLOW: Duration = Duration::from_secs(2);
/// Slow deliveries at the same time, for each slot: they cost a socket and a few kilobytes each.
const SLOW_PER_SLOT: usize = 4;

#[derive(Clone, Copy)]
struct Host {
    under_way: usize,
    /// Those of them that are slow, and occupy no slot.
    slow: usize,
    cap: usize,
    /// The last answer was good, and came soon.
    proven: bool,
}

#[derive(Default)]
struct Known {
    hosts: HashMap<String, Host>,
    /// Sums over all hosts: slots that are taken, those of them by receivers that are not proven, and slow deliveries.
    taken: usize,
    unproven: usize,
    slow: usize,
}

impl Known {
    /// Changes one host, and the sums with it.
    fn change(&mut self, name: &str, change: impl FnOnce(&mut Host)) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let before = *host;
        change(host);
        let after = *host;
        let slots = |host: Host| host.under_way - host.slow;
        let unproven = |host: Host| if host.proven { 0 } else { slots(host) };
        self.taken = self.taken + slots(after) - slots(before);
        self.unproven = self.unproven + unproven(after) - unproven(before);
        self.slow = self.slow + after.slow - before.slow;
    }
}

pub(crate) struct Hosts {
    known: Mutex<Known>,
    /// Slots in all.
    slots: usize,
    /// Deliveries to one receiver at most.
    most: usize,
}

impl Hosts {
    pub fn new(slots: usize, most: usize) -> Self {
        Hosts { known: Mutex::default(), slots, most: most.max(1) }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How many deliveries may begin now, and how many more each receiver may get.
    pub fn room(&self) -> (usize, HostRoom) {
        let known = self.lock();
        let share = (self.slots * 3 / 4).max(1);
        let for_unproven =
            if known.slow < self.slots * SLOW_PER_SLOT { share.saturating_sub(known.unproven) } else { 0 };
        let room = |host: &Host| {
            let room = host.cap.saturating_sub(host.under_way);
            if host.proven { room } else { room.min(for_unproven) }
        };
        // While many strangers are under way each gets one: they may all hang.
        let first = if known.unproven > self.slots / 8 { 1 } else { FIRST };
        let rooms = HostRoom {
            known: known.hosts.iter().map(|(name, host)| (name.clone(), room(host))).collect(),
            unknown: first.min(self.most).min(for_unproven),
        };
        let free = self.slots.saturating_sub(known.taken);
        // One claim must not exceed the share of those that are not proven, whoever it finds.
        (if for_unproven > 0 { free.min(for_unproven) } else { free }, rooms)
    }

    pub fn begin(&self, name: &str) {
        let mut known = self.lock();
        if !known.hosts.contains_key(name) {
            if known.hosts.len() >= MAX_KNOWN {
                known.hosts.retain(|_, host| host.under_way > 0 || host.cap < FIRST);
            }
            if known.hosts.len() >= MAX_KNOWN {
                known.hosts.retain(|_, host| host.under_way > 0);
            }
            let stranger = Host { under_way: 0, slow: 0, cap: FIRST.min(self.most), proven: false };
            known.hosts.insert(name.to_owned(), stranger);
        }
        known.change(name, |host| host.under_way += 1);
    }

    /// A delivery has run for [`SLOW`]: its slot is free.
    pub fn slow(&self, name: &str) {
        self.lock().change(name, |host| {
            host.slow += 1;
            host.proven = false;
            host.cap = host.cap.min(FIRST);
        });
    }

    /// A delivery ended. `slow`: it was said to be so.
    pub fn end(&self, name: &str, well: bool, slow: bool) {
        let most = self.most;
        self.lock().change(name, |host| {
            host.under_way -= 1;
            host.slow -= usize::from(slow);
            host.proven = well && !slow;
            host.cap = match (well, slow) {
                (true, false) => (host.cap * 2).min(most),
                (true, true) => host.cap.min(FIRST),
                (false, _) => 1,
            };
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn of(hosts: &Hosts, name: &str) -> usize {
        hosts.room().1.of(name)
    }

    #[test]
    fn a_receiver_gets_more_while_it_answers_well_and_one_after_a_failure() {
        let hosts = Hosts::new(512, 32);
        let mut caps = vec![of(&hosts, "a")];
        for well in [true, true, true, true, false, true] {
            hosts.begin("a");
            hosts.end("a", well, false);
            caps.push(of(&hosts, "a"));
        }

        assert_eq!(caps, [4, 8, 16, 32, 32, 1, 2]);
        assert_eq!(of(&Hosts::new(512, 2), "a"), 2, "never more than the most");
    }

    #[test]
    fn a_good_answer_that_comes_late_earns_nothing_more() {
        let hosts = Hosts::new(512, 32);
        for _ in 0..3 {
            hosts.begin("a");
            hosts.end("a", true, false);
        }
        hosts.begin("a");
        hosts.slow("a");
        hosts.end("a", true, true);

        assert_eq!(of(&hosts, "a"), 4);
    }

    #[test]
    fn what_is_under_way_takes_room() {
        let hosts = Hosts::new(512, 32);
        for _ in 0..3 {
            hosts.begin("a");
        }
        assert_eq!((of(&hosts, "a"), of(&hosts, "b"), hosts.lock().taken), (1, 4, 3));

        hosts.end("a", false, false);
        assert_eq!((of(&hosts, "a"), hosts.lock().taken), (0, 2));
    }

    #[test]
    fn what_hangs_keeps_its_host_busy_and_gives_its_slot_back() {
        let hosts = Hosts::new(8, 32);
        for _ in 0..4 {
            hosts.begin("hangs");
        }
        assert_eq!(hosts.lock().taken, 4);

        for _ in 0..4 {
            hosts.slow("hangs");
        }
        assert_eq!((of(&hosts, "hangs"), of(&hosts, "new"), hosts.lock().taken), (0, 4, 0));

        for _ in 0..4 {
            hosts.end("hangs", false, true);
        }
        let known = hosts.lock();
        assert_eq!((known.taken, known.unproven, known.slow), (0, 0, 0));
    }

    #[test]
    fn however_many_hang_those_that_answered_well_find_room() {
        let hosts = Hosts::new(16, 32);
        hosts.begin("well");
        hosts.end("well", true, false);
        let mut strangers = 0;
        // All begin at once, as the loop would claim them.
        while of(&hosts, "new") > 0 {
            hosts.begin(&format!("dead-{strangers}"));
            strangers += 1;
        }
        assert_eq!((strangers, of(&hosts, "well")), (12, 8));
        assert_eq!(hosts.room().0, 4, "a quarter is theirs");

        // They get slow and others like them follow, until there are too many of those too.
        for n in 0..1_000 {
            hosts.slow(&format!("dead-{n}"));
            if of(&hosts, "new") > 0 {
                hosts.begin(&format!("dead-{strangers}"));
                strangers += 1;
            }
        }
        assert!(strangers <= 12 + 16 * SLOW_PER_SLOT, "{strangers}");
        assert_eq!((of(&hosts, "new"), of(&hosts, "well")), (0, 8));
        assert!(hosts.room().0 >= 4);
    }

    #[test]
    fn of_too_many_receivers_those_that_failed_are_remembered_longest() {
        let hosts = Hosts::new(512, 32);
        hosts.begin("busy");
        hosts.begin("dead");
        hosts.end("dead", false, false);
        for n in 0..3 * MAX_KNOWN {
            let name = n.to_string();
            hosts.begin(&name);
            hosts.end(&name, true, false);
        }

        let (_, room) = hosts.room();
        assert!(room.known.len() <= MAX_KNOWN);
        assert_eq!((room.of("busy"), room.of("dead")), (3, 1));
    }
}
