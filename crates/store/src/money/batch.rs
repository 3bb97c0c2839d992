//! One transaction over many holds and charges, from the first look to the last row.
//!
//! Order: what is refused by a look alone is refused first, without a lock and without a commit. Then locks are taken in
//! one order for all batches of all nodes: the budgets' head, calls by id, counters from narrow to wide. Charges go before
//! holds, because they free room. A batch that changes nothing writes nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use levqor_core::money::{CallId, CallState, Charge, Nano};

use super::calls::{Call, Entry};
use super::counters::{Counters, Key, Want, wants};
use super::permits::Money;
use super::policy::{self, Policy};
use super::rollups;
use super::statements::{self, Range};
use super::types::{Correction, NewCall, Reason, Refusal, Settled, Settlement};
use super::write::{self, Hold, Writes};
use crate::tx::Tx;
use crate::{Error, Result};

/// One thing that is asked of a batch.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Reserve(Box<NewCall>),
    Settle(Box<Settlement>),
    Correct(Box<Correction>),
    /// Nothing but what every batch does: giving back what was never sent.
    Flush,
}

#[derive(Debug)]
pub(crate) enum Outcome {
    /// Not yet a permit: the commit is still to come.
    Granted {
        call: CallId,
        held: Nano,
        output_tokens: u64,
        at_ms: i64,
    },
    Refused(Box<Refusal>),
    Known {
        call: CallId,
        state: CallState,
    },
    Settled(Settled),
    NoCall,
    StillOpen,
    Nothing,
}

/// A hold that is asked for.
struct Asked<'a> {
    /// Its place in the batch.
    item: usize,
    call: &'a NewCall,
    wants: Vec<Want>,
}

/// Runs the batch inside the open transaction. The answers, and whether anything was written.
pub(crate) async fn run(
    tx: &mut Tx<'_>,
    money: &Money,
    node: &str,
    items: &[&Item],
    unsent: &[(CallId, i64)],
) -> Result<(Vec<Outcome>, bool)> {
    let mut outcomes: Vec<Option<Outcome>> = items.iter().map(|_| None).collect();
    let charges: BTreeSet<String> = items
        .iter()
        .filter_map(|item| called(item))
        .chain(unsent.iter().map(|(call, _)| *call))
        .map(|call| call.to_string())
        .collect();

    let mut policy = policy::current(tx, money).await?;
    let mut asked = ask(items, &policy, &outcomes);
    look(tx, &policy, &mut asked, &mut outcomes, charges.is_empty()).await?;
    if asked.is_empty() && charges.is_empty() {
        return Ok((finish(outcomes)?, false));
    }
    let now = policy::locked(tx, money, &policy).await?;
    if now.token != policy.token {
        policy = now;
        asked = ask(items, &policy, &outcomes);
    }

    let mut calls = statements::lock_calls(tx, &charges).await?;
    let mut counters = load(tx, &policy, &asked, &calls).await?;
    let mut ledger = Vec::new();
    for (call, at_ms) in unsent {
        if let Some(call) = calls.get_mut(&call.to_string()) {
            let id = call.id.parse().map_err(|_| Error::bug("a call without an id"))?;
            call.settle(&Settlement::new(id, Charge::Release, *at_ms), &mut counters, &mut ledger);
        }
    }
    for (outcome, item) in outcomes.iter_mut().zip(items) {
        if let Some(charged) = charge(item, &mut calls, &mut counters, &mut ledger) {
            *outcome = Some(charged);
        }
    }
    let granted = grant(&policy, &asked, &mut counters, &mut ledger, &mut outcomes);

    let wrote = !granted.is_empty() || calls.values().any(|call| call.write.is_some());
    if wrote {
        let mut writes = Writes::default();
        if tx.is_sqlite() {
            write::missing_rows(&mut writes, &policy, &asked_keys(&granted), &counters);
        }
        write::counters(&mut writes, tx.is_sqlite(), &policy, &counters, latest(items))?;
        write::new_calls(&mut writes, node, granted.iter().map(|asked| asked.call));
        write::holds(&mut writes, &holds(&granted));
        write::calls(&mut writes, calls.values());
        rollups::write(&mut writes, calls.values(), latest(items));
        write::ledger(&mut writes, &ledger);
        write::quarantines(&mut writes, &ledger);
        write::alerts(&mut writes, &counters.passed(&policy.budgets), latest(items));
        writes.run(tx).await?;
        write::corrections(tx, items, &outcomes).await?;
    }
    Ok((finish(outcomes)?, wrote))
}

/// The call that is charged.
fn called(item: &Item) -> Option<CallId> {
    match item {
        Item::Settle(settlement) => Some(settlement.call),
        Item::Correct(correction) => Some(correction.call),
        Item::Reserve(_) | Item::Flush => None,
    }
}

fn latest(items: &[&Item]) -> i64 {
    let at_ms = |item: &&Item| match item {
        Item::Reserve(call) => call.at_ms,
        Item::Settle(settlement) => settlement.at_ms,
        Item::Correct(correction) => correction.at_ms,
        Item::Flush => 0,
    };
    items.iter().map(at_ms).max().unwrap_or(0)
}

fn ask<'a>(items: &[&'a Item], policy: &Policy, outcomes: &[Option<Outcome>]) -> Vec<Asked<'a>> {
    let open = items.iter().enumerate().filter(|(item, _)| outcomes[*item].is_none());
    let asked = open.filter_map(|(item, it)| match it {
        Item::Reserve(call) => Some(Asked { item, call: call.as_ref(), wants: wants(&policy.budgets, call) }),
        _ => None,
    });
    asked.collect()
}

/// Answers what needs no lock: places that have a call already, and calls that do not fit by what anybody can see.
async fn look(
    tx: &mut Tx<'_>,
    policy: &Policy,
    asked: &mut Vec<Asked<'_>>,
    outcomes: &mut [Option<Outcome>],
    nothing_is_freed: bool,
) -> Result<()> {
    if asked.is_empty() {
        return Ok(());
    }
    let places: Vec<String> = asked.iter().map(|it| it.call.place_text()).collect();
    let known = statements::find_places(tx, &places).await?;
    let mut counters = Counters::default();
    for (key, counts) in statements::read_counters(tx, &ranges(asked)).await? {
        counters.load(key, counts);
    }
    let mut place = places.iter();
    asked.retain(|it| {
        let known = place.next().and_then(|place| known.get(place));
        let answer = match known {
            Some((call, state)) => Some(Outcome::Known { call: *call, state: *state }),
            None => counters
                .refusal(policy, &it.wants, it.call.bound.amount)
                // What others hold may be freed by this very batch.
                .filter(|refusal| nothing_is_freed || refusal.reason == Reason::SpentOut)
                .map(|refusal| Outcome::Refused(Box::new(refusal))),
        };
        let is_open = answer.is_none();
        outcomes[it.item] = answer;
        is_open
    });
    Ok(())
}

fn ranges(asked: &[Asked<'_>]) -> BTreeSet<Range> {
    let wants = asked.iter().flat_map(|it| &it.wants);
    wants.map(|want| Range { key: want.key.clone(), first: want.first_key().to_owned() }).collect()
}

/// Locks every row that will change and reads every row that is measured.
async fn load(
    tx: &mut Tx<'_>,
    policy: &Policy,
    asked: &[Asked<'_>],
    calls: &BTreeMap<String, Call>,
) -> Result<Counters> {
    let mut keys: BTreeSet<Key> = calls.values().flat_map(|call| call.holds.iter().cloned()).collect();
    let mut ranges: BTreeSet<Range> =
        keys.iter().filter_map(|key| statements::rolling(policy, key)).collect();
    for want in asked.iter().flat_map(|it| &it.wants) {
        keys.insert(want.key.clone());
        keys.extend(want.head());
        if want.period.since.is_some() {
            ranges.insert(Range { key: want.key.clone(), first: want.first_key().to_owned() });
        }
    }
    let ends: HashMap<&Key, Option<i64>> =
        asked.iter().flat_map(|it| &it.wants).map(|want| (&want.key, want.period.end_ms)).collect();
    let mut counters = Counters::default();
    for (key, counts) in statements::lock_counters(tx, policy, &keys, &ends).await? {
        counters.load(key, counts);
    }
    // After the locks: the buckets of a rolling window stand still while its head is held, but for what is charged in
    // them, which never adds to what was held.
    if !ranges.is_empty() {
        for (key, counts) in statements::read_counters(tx, &ranges).await? {
            counters.load(key, counts);
        }
    }
    Ok(counters)
}

fn charge(
    item: &Item,
    calls: &mut BTreeMap<String, Call>,
    counters: &mut Counters,
    ledger: &mut Vec<Entry>,
) -> Option<Outcome> {
    let id = called(item)?;
    let Some(call) = calls.get_mut(&id.to_string()) else { return Some(Outcome::NoCall) };
    Some(match item {
        Item::Settle(settlement) => Outcome::Settled(call.settle(settlement, counters, ledger)),
        Item::Correct(correction) => {
            call.correct(correction, counters, ledger).map_or(Outcome::StillOpen, Outcome::Settled)
        }
        Item::Reserve(_) | Item::Flush => return None,
    })
}

/// Grants in the order of arrival what fits.
fn grant<'a>(
    policy: &Policy,
    asked: &'a [Asked<'a>],
    counters: &mut Counters,
    ledger: &mut Vec<Entry>,
    outcomes: &mut [Option<Outcome>],
) -> Vec<&'a Asked<'a>> {
    let (mut granted, mut places) = (Vec::new(), HashMap::new());
    for it in asked {
        let amount = it.call.bound.amount;
        let place = it.call.place_text();
        let outcome = if let Some(call) = places.get(&place) {
            Outcome::Known { call: *call, state: CallState::Reserved }
        } else if let Some(refusal) = counters.refusal(policy, &it.wants, amount) {
            Outcome::Refused(Box::new(refusal))
        } else {
            counters.hold(&policy.budgets, &it.wants, amount);
            ledger.push(Entry {
                call: it.call.id.to_string(),
                kind: "reserve",
                correction: 0,
                amount: amount.get(),
                actor: "system".to_owned(),
                reason: None,
                at_ms: it.call.at_ms,
            });
            places.insert(place, it.call.id);
            granted.push(it);
            Outcome::Granted {
                call: it.call.id,
                held: amount,
                output_tokens: it.call.bound.output_tokens,
                at_ms: it.call.at_ms,
            }
        };
        outcomes[it.item] = Some(outcome);
    }
    granted
}

fn holds<'a>(granted: &[&'a Asked<'a>]) -> Vec<Hold<'a>> {
    let of_one = |it: &&'a Asked<'a>| {
        let (call, amount) = (it.call.id, it.call.bound.amount);
        it.wants.iter().map(move |want| Hold { call, key: &want.key, amount })
    };
    granted.iter().flat_map(of_one).collect()
}

fn asked_keys(granted: &[&Asked<'_>]) -> BTreeMap<Key, Option<i64>> {
    let wants = granted.iter().flat_map(|it| &it.wants);
    wants
        .flat_map(|want| [Some((want.key.clone(), want.period.end_ms)), want.head().map(|head| (head, None))])
        .flatten()
        .collect()
}

fn finish(outcomes: Vec<Option<Outcome>>) -> Result<Vec<Outcome>> {
    Ok(outcomes.into_iter().map(|outcome| outcome.unwrap_or(Outcome::Nothing)).collect())
}
