//! A job's states, and the one function that says which event may move which state where.
//!
//! `status` is the seed's public word with four values; `state` says more. The CHECK constraints of both engines repeat
//! this file. Invariant: a job has a row of live work exactly while its state is not final.

use serde::{Deserialize, Serialize};

/// The public status of a job: the four values that the first version had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Queued,
    Running,
    Succeeded,
    Failed,
}

impl Status {
    pub const ALL: [Status; 4] = [Status::Queued, Status::Running, Status::Succeeded, Status::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Queued => "queued",
            Status::Running => "running",
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Status::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// What a job is doing, in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Runnable: waits for a free slot.
    Queued,
    /// Its workflow has no definition: waits for one, for `_dev/complete` or for a cancel. Shown as `queued`.
    Undefined,
    /// Waits for its `run_at`.
    Scheduled,
    /// A node works on it, under the current claim number.
    Running,
    /// Rests between steps until a time; holds no slot.
    Waiting,
    Succeeded,
    Failed,
    Cancelled,
    /// The job's own `timeout` ran out.
    Expired,
}

impl State {
    pub const ALL: [State; 9] = [
        State::Queued,
        State::Undefined,
        State::Scheduled,
        State::Running,
        State::Waiting,
        State::Succeeded,
        State::Failed,
        State::Cancelled,
        State::Expired,
    ];

    /// The word stored in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Undefined => "undefined",
            State::Scheduled => "scheduled",
            State::Running => "running",
            State::Waiting => "waiting",
            State::Succeeded => "succeeded",
            State::Failed => "failed",
            State::Cancelled => "cancelled",
            State::Expired => "expired",
        }
    }

    /// The word shown by the API: a job without a definition is plainly `queued`, and another member says why.
    pub fn public(self) -> &'static str {
        match self {
            State::Undefined => "queued",
            other => other.as_str(),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        State::ALL.into_iter().find(|state| state.as_str() == text)
    }

    pub fn status(self) -> Status {
        match self {
            State::Queued | State::Undefined | State::Scheduled => Status::Queued,
            State::Running | State::Waiting => Status::Running,
            State::Succeeded => Status::Succeeded,
            State::Failed | State::Cancelled | State::Expired => Status::Failed,
        }
    }

    pub fn is_final(self) -> bool {
        matches!(self, State::Succeeded | State::Failed | State::Cancelled | State::Expired)
    }
}

/// What can happen to a job. `Claim`, `Rest`, `HandBack`, `Park` and `End` by a run are fenced by the claim number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A node takes the job.
    Claim,
    /// The run has nothing to do before a time.
    Rest,
    /// The run gives the job back unfinished (graceful stop), or its node died.
    HandBack,
    /// The run found that the workflow has no definition any more.
    Park,
    /// The definition came.
    Define,
    /// The time came.
    Due,
    /// The job ends in this final state, by its run, by a person (`cancel`) or by `_dev/complete`.
    End(State),
    /// A failed job starts again from its failed step.
    Retry,
}

/// The state after `event`, or `None` where the event changes nothing because it may not happen in `state`.
pub fn transition(state: State, event: Event) -> Option<State> {
    match (state, event) {
        (State::Queued, Event::Claim) => Some(State::Running),
        (State::Running, Event::Rest) => Some(State::Waiting),
        (State::Running, Event::HandBack) => Some(State::Queued),
        (State::Running, Event::Park) => Some(State::Undefined),
        (State::Undefined, Event::Define) => Some(State::Queued),
        (State::Scheduled | State::Waiting, Event::Due) => Some(State::Queued),
        (State::Failed | State::Cancelled | State::Expired, Event::Retry) => Some(State::Queued),
        (live, Event::End(end)) if !live.is_final() && end.is_final() => Some(end),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 12] = [
        Event::Claim,
        Event::Rest,
        Event::HandBack,
        Event::Park,
        Event::Define,
        Event::Due,
        Event::Retry,
        Event::End(State::Succeeded),
        Event::End(State::Failed),
        Event::End(State::Cancelled),
        Event::End(State::Expired),
        Event::End(State::Queued),
    ];

    #[test]
    fn every_state_meets_every_event_as_the_table_says() {
        let mut table = String::new();
        for state in State::ALL {
            for event in EVENTS {
                if let Some(next) = transition(state, event) {
                    table.push_str(&format!("{} {event:?} -> {}\n", state.as_str(), next.as_str()));
                }
            }
        }

        let live = ["queued", "undefined", "scheduled", "running", "waiting"];
        let own = |state: &str| match state {
            "queued" => "queued Claim -> running\n",
            "undefined" => "undefined Define -> queued\n",
            "scheduled" => "scheduled Due -> queued\n",
            "running" => "running Rest -> waiting\nrunning HandBack -> queued\nrunning Park -> undefined\n",
            _ => "waiting Due -> queued\n",
        };
        let mut expected = String::new();
        for state in live {
            expected.push_str(own(state));
            for (end, word) in [
                ("Succeeded", "succeeded"),
                ("Failed", "failed"),
                ("Cancelled", "cancelled"),
                ("Expired", "expired"),
            ] {
                expected.push_str(&format!("{state} End({end}) -> {word}\n"));
            }
        }
        expected.push_str("failed Retry -> queued\ncancelled Retry -> queued\nexpired Retry -> queued\n");
        assert_eq!(table, expected);
    }

    #[test]
    fn words_of_states_round_trip() {
        for state in State::ALL {
            assert_eq!(State::parse(state.as_str()), Some(state));
        }
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(State::parse("Queued"), None);
    }

    #[test]
    fn a_success_is_never_undone() {
        for event in EVENTS {
            assert_eq!(transition(State::Succeeded, event), None, "{event:?}");
        }
    }
}
