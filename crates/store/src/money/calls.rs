//! Calls in memory, while their rows are locked: what a charge does to one of them. No SQL here.
//!
//! Invariant: each movement of money is one row of the ledger, and the amounts that count as spent (settle, assume,
//! adjust, overrun) add up to what the call is charged.

use levqor_core::money::{CallEvent, CallState, Charge, Nano, transition};

use super::counters::{Counters, Counts, Key};
use super::rollups::Belongs;
use super::types::{Correction, Settled, Settlement};

/// A call as its row says, and what this batch makes of it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub id: String,
    pub state: CallState,
    pub reserved: i64,
    /// `None` while it is open.
    pub settled: Option<i64>,
    pub corrections: i64,
    /// State and charge as the batch found them.
    pub before: (CallState, Option<i64>),
    pub belongs: Belongs,
    /// The rows that carry its hold.
    pub holds: Vec<Key>,
    /// What is to be written of it, the last word of each.
    pub write: Option<Write>,
}

/// Columns to write; `None` keeps what is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Write {
    pub settlement: Option<Settlement>,
    pub settled_at_ms: Option<i64>,
}

/// A movement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub call: String,
    pub kind: &'static str,
    pub correction: i64,
    pub amount: i64,
    pub actor: String,
    pub reason: Option<String>,
    pub at_ms: i64,
}

impl Call {
    fn answer(&self, changed: bool) -> Settled {
        let charged = self.settled.unwrap_or(0);
        Settled {
            state: self.state,
            charged: Nano::new(charged),
            changed,
            overrun: Nano::new(charged.saturating_sub(self.reserved).max(0)),
        }
    }

    /// Charges the call once: a replay changes nothing and gets the same answer.
    pub fn settle(
        &mut self,
        settlement: &Settlement,
        counters: &mut Counters,
        ledger: &mut Vec<Entry>,
    ) -> Settled {
        let (event, cost) = match &settlement.charge {
            Charge::Release => (CallEvent::Release, 0),
            Charge::Settle { cost, .. } => (CallEvent::Settle, cost.get()),
            Charge::Assume { .. } => (CallEvent::Assume, self.reserved),
        };
        let Some(next) = transition(self.state, event) else { return self.answer(false) };
        let within = cost.min(self.reserved);
        let mut entry = |kind, correction, amount| {
            ledger.push(Entry {
                call: self.id.clone(),
                kind,
                correction,
                amount,
                actor: settlement.actor.clone(),
                reason: None,
                at_ms: settlement.at_ms,
            });
        };
        match self.settled {
            // Late, but true: the doubt is over.
            Some(assumed) => {
                self.corrections += 1;
                entry("adjust", self.corrections, within - assumed);
            }
            None => match event {
                CallEvent::Release => entry("release", 0, self.reserved),
                CallEvent::Assume => entry("assume", 0, within),
                _ => entry("settle", 0, within),
            },
        }
        if cost > within {
            entry("overrun", 0, cost - within);
        }
        self.count(next, cost, counters);
        let write = self.write.get_or_insert_default();
        write.settlement = Some(settlement.clone());
        write.settled_at_ms = Some(settlement.at_ms);
        self.answer(true)
    }

    /// Corrects what a call that is over was charged; `None` while it is open.
    pub fn correct(
        &mut self,
        correction: &Correction,
        counters: &mut Counters,
        ledger: &mut Vec<Entry>,
    ) -> Option<Settled> {
        let next = transition(self.state, CallEvent::Correct)?;
        let before = self.settled.unwrap_or(0);
        let cost = correction.cost.get();
        if cost == before && self.state == next {
            return Some(self.answer(false));
        }
        self.corrections += 1;
        ledger.push(Entry {
            call: self.id.clone(),
            kind: "adjust",
            correction: self.corrections,
            amount: cost - before,
            actor: correction.actor.as_str().to_owned(),
            reason: Some(correction.reason.clone()),
            at_ms: correction.at_ms,
        });
        self.count(next, cost, counters);
        self.write.get_or_insert_default();
        Some(self.answer(true))
    }

    /// Moves the counters of every row that carries the call.
    fn count(&mut self, next: CallState, cost: i64, counters: &mut Counters) {
        let was_open = self.state.is_open();
        let before = self.settled.unwrap_or(0);
        let beyond = |charged: i64| charged.saturating_sub(self.reserved).max(0);
        let assumed = |state: CallState, charged: i64| if state == CallState::Assumed { charged } else { 0 };
        let change = Counts {
            spent: cost - before,
            held: if was_open { -self.reserved } else { 0 },
            open_holds: if was_open { -1 } else { 0 },
            assumed: assumed(next, cost) - assumed(self.state, before),
            overrun: beyond(cost) - beyond(before),
            calls: 0,
        };
        for key in &self.holds {
            counters.add(key, change);
        }
        self.state = next;
        self.settled = Some(cost);
    }
}
