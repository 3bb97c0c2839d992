//! What one job's page may and must say when everything is over.

use serde_json::Value;

use crate::ledger::Job;

/// What is wrong with the page of a job that was sent; empty: nothing.
pub fn faults(page: &Value, job: &Job) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    must(page["status"] == "succeeded" && page["state"] == "succeeded", "the job did not succeed");
    must(page["error"].is_null(), "the job has an error");
    must(page["workflow"] == job.kind.workflow(), "the job is of another workflow");
    must(page["payload"] == job.payload, "the payload is not the one that was sent");
    must(page["result"] == job.kind.result(&job.payload), "the result is not what it must be");
    must(page["tags"]["token"] == job.token.as_str(), "the tags are not the ones that were sent");
    must(
        page["waits_for"].is_null() && page["due_at"].is_null(),
        "the job waits for something after its end",
    );
    must(
        in_order(&[&page["created_at"], &page["started_at"], &page["finished_at"]]),
        "the times of the job are out of order",
    );

    let ids: Vec<_> =
        items(&page["steps"]).iter().map(|step| step["id"].as_str().unwrap_or_default()).collect();
    must(ids == job.kind.steps(), "the steps are not those of the workflow");
    for step in items(&page["steps"]) {
        step_faults(step).into_iter().for_each(|fault| must(false, &format!("step {}: {fault}", step["id"])));
    }

    let callbacks = items(&page["callbacks"]);
    must(
        callbacks.len() == usize::from(job.callback_url.is_some()),
        "the job has not one callback for its one end",
    );
    for callback in callbacks {
        let tries = items(&callback["tries"]);
        let numbers: Vec<_> = tries.iter().map(|tried| tried["attempt"].as_i64().unwrap_or(0)).collect();
        must(callback["state"] == "delivered", "the callback is not delivered");
        must(
            numbers == Vec::from_iter(1..=tries.len() as i64),
            "the tries of the callback are not numbered from 1",
        );
        let taken = tries.iter().filter(|tried| tried["error"].is_null()).count();
        must(taken == 1, "not exactly one try of the callback succeeded");
    }
    faults
}

fn step_faults(step: &Value) -> Vec<&'static str> {
    let attempts = items(&step["attempts"]);
    let numbers: Vec<_> = attempts.iter().map(|attempt| attempt["attempt"].as_i64().unwrap_or(0)).collect();
    let mut faults = Vec::new();
    if step["status"] != "succeeded" {
        faults.push("it did not succeed");
    }
    if numbers != Vec::from_iter(1..=attempts.len() as i64) {
        faults.push("its attempts are not numbered from 1");
    }
    let (last, before) = match attempts.split_last() {
        Some((last, before)) => (Some(last), before),
        None => (None, attempts),
    };
    if last.is_none_or(|last| last["status"] != "succeeded") {
        faults.push("its last attempt is not its success");
    }
    if before.iter().any(|attempt| attempt["status"] != "failed" || attempt["until"].is_null()) {
        faults.push("an attempt before the last is not one that failed and was to be tried again");
    }
    if attempts.iter().any(|attempt| !in_order(&[&attempt["started_at"], &attempt["finished_at"]])) {
        faults.push("the times of an attempt are out of order");
    }
    faults
}

pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether all are numbers, none smaller than the one before.
fn in_order(times: &[&Value]) -> bool {
    let times: Option<Vec<f64>> = times.iter().map(|time| time.as_f64()).collect();
    times.is_some_and(|times| times.is_sorted())
}
