//! What can go wrong with a call, and when: faults are queued one by one, or happen with a probability.

use std::collections::VecDeque;

use thiserror::Error;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this status and the vendor's error body; never billed.
    Status(u16),
    /// The connection is reset before anything was taken in; not billed.
    ResetBefore,
    /// Taken in, worked out, billed; then the connection is reset instead of an answer.
    DropReply,
    /// Billed in full; the answer ends in the middle.
    Cut,
    /// Billed in full; the answer stops in the middle and the connection stays open.
    Stall,
    /// The answer says nothing about usage.
    NoUsage,
    /// The usage that is told is half of what is billed.
    WrongUsage,
    /// Twice as many output tokens as were allowed, all of them billed.
    Overlong,
    /// Chunks of a stream come twice.
    Duplicate,
}

#[derive(Debug, Error)]
#[error(
    "unknown fault {0:?}; allowed: a status such as \"429\" or \"500\", reset_before, drop_reply, cut, stall, no_usage, wrong_usage, overlong, duplicate"
)]
pub struct BadFault(String);

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::ResetBefore => "reset_before",
            Self::DropReply => "drop_reply",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::NoUsage => "no_usage",
            Self::WrongUsage => "wrong_usage",
            Self::Overlong => "overlong",
            Self::Duplicate => "duplicate",
        }
    }
}

impl std::str::FromStr for Fault {
    type Err = BadFault;

    fn from_str(text: &str) -> Result<Self, BadFault> {
        let simple = [
            Self::ResetBefore,
            Self::DropReply,
            Self::Cut,
            Self::Stall,
            Self::NoUsage,
            Self::WrongUsage,
            Self::Overlong,
            Self::Duplicate,
        ];
        if let Some(fault) = simple.into_iter().find(|fault| fault.name() == text) {
            return Ok(fault);
        }
        match text.parse::<u16>() {
            Ok(status) if (400..600).contains(&status) => Ok(Self::Status(status)),
            _ => Err(BadFault(text.to_owned())),
        }
    }
}

/// Which fault comes next.
#[derive(Debug, Default)]
pub struct Faults {
    next: VecDeque<Option<Fault>>,
    /// Faults and how many of a million calls meet them.
    rates: Vec<(Fault, u32)>,
    random: u64,
}

impl Faults {
    /// `None` in the queue is a call without a fault.
    pub fn queue(&mut self, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.next.extend(faults);
    }

    pub fn set_rates(&mut self, rates: Vec<(Fault, u32)>, seed: u64) {
        self.rates = rates;
        self.random = seed;
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn take(&mut self) -> Option<Fault> {
        if let Some(queued) = self.next.pop_front() {
            return queued;
        }
        if self.rates.is_empty() {
            return None;
        }
        // SplitMix64: the same seed gives the same run.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let mut drawn = ((mixed ^ (mixed >> 31)) % 1_000_000) as u32;
        for (fault, rate) in &self.rates {
            if drawn < *rate {
                return Some(*fault);
            }
            drawn -= rate;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_fault_is_read_by_its_name_and_others_are_refused() {
        for name in
            ["reset_before", "drop_reply", "cut", "stall", "no_usage", "wrong_usage", "overlong", "duplicate"]
        {
            assert_eq!(name.parse::<Fault>().unwrap().name(), name);
        }
        assert_eq!("529".parse::<Fault>().unwrap(), Fault::Status(529));
        for text in ["", "200", "600", "Cut", "cut "] {
            assert!(text.parse::<Fault>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_queue_comes_first_and_rates_hold_about() {
        let mut faults = Faults::default();
        faults.set_rates(vec![(Fault::Cut, 100_000), (Fault::Stall, 200_000)], 7);
        faults.queue([Some(Fault::DropReply), None]);

        assert_eq!(faults.take(), Some(Fault::DropReply));
        assert_eq!(faults.take(), None);
        let drawn: Vec<_> = (0..10_000).map(|_| faults.take()).collect();
        let count = |wanted| drawn.iter().filter(|fault| **fault == wanted).count();
        assert!((800..1200).contains(&count(Some(Fault::Cut))), "{}", count(Some(Fault::Cut)));
        assert!((1700..2300).contains(&count(Some(Fault::Stall))), "{}", count(Some(Fault::Stall)));
    }
}
