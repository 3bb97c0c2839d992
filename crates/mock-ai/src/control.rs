//! What an operator or a test may ask of the mock itself, under `/_mock/`.
//!
//! `GET bill`; `POST faults {"next":["cut",null],"rates":{"drop_reply":0.05},"seed":1}`; `POST replies [{"text":…}]`;
//! `POST reset` (forgets the bill, faults and replies).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::fault::Fault;
use crate::reply::Script;
use crate::server::State;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Wanted {
    next: Vec<Option<String>>,
    rates: BTreeMap<String, f64>,
    seed: u64,
}

/// Status and body of the answer.
pub fn answer(method: &str, name: &str, body: &[u8], state: &mut State) -> (u16, Value) {
    let done = match (method, name) {
        ("GET", "bill") => return (200, json!(state.bill)),
        ("POST", "reset") => {
            state.bill = Default::default();
            state.faults.clear();
            state.replies.clear();
            Ok(())
        }
        ("POST", "faults") => set_faults(body, state),
        ("POST", "replies") => match serde_json::from_slice::<Vec<Script>>(body) {
            Ok(replies) => {
                state.replies.extend(replies);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        },
        _ => {
            let known = "GET bill, POST faults, POST replies, POST reset";
            return (404, json!({"error": format!("no {method} /_mock/{name}; there are {known}")}));
        }
    };
    match done {
        Ok(()) => (200, json!({"ok": true})),
        Err(error) => (400, json!({"error": error})),
    }
}

fn set_faults(body: &[u8], state: &mut State) -> Result<(), String> {
    let wanted: Wanted = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let read = |name: &String| name.parse::<Fault>().map_err(|error| error.to_string());
    let mut rates = Vec::new();
    for (name, share) in &wanted.rates {
        if !(0.0..=1.0).contains(share) {
            return Err(format!("rates.{name} is {share}; allowed: 0 to 1"));
        }
        rates.push((read(name)?, (share * 1e6) as u32));
    }
    let next: Result<Vec<Option<Fault>>, String> =
        wanted.next.iter().map(|name| name.as_ref().map(read).transpose()).collect();
    state.faults.queue(next?);
    state.faults.set_rates(rates, wanted.seed);
    Ok(())
}
