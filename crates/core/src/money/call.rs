//! The life of one physical request to a provider, and its id. A retry, a repair or a fallback is another call.

use std::fmt;
use std::str::FromStr;

use super::unit::words;
use crate::id::{BadId, JobId};

/// A call's id: made like a job's, and never mistaken for one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(JobId);

impl CallId {
    /// As [`JobId::new`]: `random` must come from a cryptographic source.
    pub fn new(now_ms: i64, random: [u8; 10]) -> Self {
        CallId(JobId::new(now_ms, random))
    }

    pub fn created_at_ms(self) -> i64 {
        self.0.created_at_ms()
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for CallId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        text.parse().map(CallId)
    }
}

words! {
    /// How a call stands.
    CallState {
        /// Its hold is committed; the request may go out at any moment.
        Reserved = "reserved",
        /// Charged by what the provider says was used.
        Settled = "settled",
        /// Proven not to be charged: nothing was.
        Released = "released",
        /// In doubt, so all that was held is charged, until somebody knows better.
        Assumed = "assumed",
    }
}

impl CallState {
    /// Its hold still stands.
    pub fn is_open(self) -> bool {
        self == CallState::Reserved
    }
}

/// What can happen to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEvent {
    /// A priced usage is there.
    Settle,
    /// There is proof that nothing is charged.
    Release,
    /// There is no way to know.
    Assume,
    /// A person says what it cost.
    Correct,
}

impl CallEvent {
    pub const ALL: [CallEvent; 4] =
        [CallEvent::Settle, CallEvent::Release, CallEvent::Assume, CallEvent::Correct];
}

/// The state after `event`, or `None` where the event changes nothing. What is settled or released stays so, whatever
/// process comes late; what was assumed becomes exact once. A person may correct what is over.
pub fn transition(state: CallState, event: CallEvent) -> Option<CallState> {
    match (state, event) {
        (CallState::Reserved | CallState::Assumed, CallEvent::Settle) => Some(CallState::Settled),
        (CallState::Reserved | CallState::Assumed, CallEvent::Release) => Some(CallState::Released),
        (CallState::Reserved, CallEvent::Assume) => Some(CallState::Assumed),
        (CallState::Settled | CallState::Released | CallState::Assumed, CallEvent::Correct) => {
            Some(CallState::Settled)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_state_meets_every_event_as_the_table_says() {
        let mut table = Vec::new();
        for state in CallState::ALL.iter().copied() {
            for event in CallEvent::ALL {
                if let Some(next) = transition(state, event) {
                    table.push(format!("{} {event:?} -> {}", state.as_str(), next.as_str()));
                }
            }
        }

        assert_eq!(
            table,
            [
                "reserved Settle -> settled",
                "reserved Release -> released",
                "reserved Assume -> assumed",
                "settled Correct -> settled",
                "released Correct -> settled",
                "assumed Settle -> settled",
                "assumed Release -> released",
                "assumed Correct -> settled",
            ]
        );
    }

    #[test]
    fn no_process_moves_money_after_the_truth_is_known() {
        let by_process = |event: &&CallEvent| **event != CallEvent::Correct;
        for end in [CallState::Settled, CallState::Released] {
            let mut events = CallEvent::ALL.iter().filter(by_process);
            assert!(events.all(|event| transition(end, *event).is_none()));
            assert!(!end.is_open());
        }
    }

    #[test]
    fn words_and_ids_round_trip() {
        for state in CallState::ALL {
            assert_eq!(CallState::parse(state.as_str()), Some(*state));
        }
        let id = CallId::new(5, [7; 10]);
        assert_eq!(id.to_string().parse::<CallId>().unwrap(), id);
        assert_eq!(id.created_at_ms(), 5);
    }
}
