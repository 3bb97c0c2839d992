//! A visit to a server: it asks, waits where the rate limit says so, notes what it made, and removes that in the end.
//!
//! What was made is known in two ways: from the answers, and by the random name of this visit, under which everything is made.
//! So an answer that got lost leaves nothing behind either.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::client::{Answer, Api, Call};
use super::super::exit::Failure;
use super::super::out::note;

/// A window of the rate limit, and a little.
const WAIT_MOST: Duration = Duration::from_secs(65);

pub struct Visit<'a> {
    api: &'a Api,
    /// Names a workflow without a definition: its job stays queued until it is completed or cancelled here.
    pub workflow: String,
    /// Nobody has this address: it is random, and in a domain that nobody can have.
    pub email: String,
    made: RefCell<Made>,
}

#[derive(Default)]
struct Made {
    jobs: BTreeSet<String>,
    users: BTreeSet<String>,
    /// Whether anything was tried that could have made something.
    is_tried: bool,
}

impl<'a> Visit<'a> {
    pub fn new(api: &'a Api) -> Self {
        let name = format!("validation-{:016x}", rand::random::<u64>());
        Visit { api, email: format!("{name}@levqor.invalid"), workflow: name, made: RefCell::default() }
    }

    pub fn has_key(&self) -> bool {
        self.api.has_key()
    }

    /// Sends a request. Fails only when no answer came.
    pub async fn send(&self, call: Call<'_>) -> Result<Answer, Failure> {
        self.made.borrow_mut().is_tried |= call.is_write();
        let deleted = call.deletes();
        let mut answer = self.api.send(call.clone()).await?;
        if answer.status == 429 {
            let wait = Duration::from_secs(answer.header("retry-after").parse().unwrap_or(u64::MAX));
            if wait <= WAIT_MOST {
                note!("waiting {} s for the rate limit", wait.as_secs());
                tokio::time::sleep(wait).await;
                answer = self.api.send(call).await?;
            }
        }
        let body = answer.json();
        let mut made = self.made.borrow_mut();
        if answer.status == 202 {
            made.jobs.extend(text(&body["job_id"]));
        }
        if body["created"] == json!(true) {
            made.users.extend(text(&body["user"]["id"]));
        }
        if let Some(id) = deleted.filter(|_| answer.status == 200) {
            made.jobs.remove(&id);
            made.users.remove(&id);
        }
        drop(made);
        Ok(answer)
    }

    /// Removes what this visit made; `None` when there was nothing to remove. Tries everything, and tells the first problem.
    pub async fn clean_up(&self) -> Option<Result<(), String>> {
        if !self.made.borrow().is_tried {
            return None;
        }
        self.find_lost().await;
        let Made { jobs, users, .. } = self.made.take();
        let mut outcome = Ok(());
        for id in &jobs {
            // A job that was completed is not cancelled: that is no problem.
            let _ = self.send(Call::post(format!("/api/v1/jobs/{id}/cancel")).json("{}")).await;
            outcome = outcome.and(self.remove(format!("/api/v1/jobs/{id}")).await);
        }
        for id in &users {
            outcome = outcome.and(self.remove(format!("/api/v1/users/{id}")).await);
        }
        (!jobs.is_empty() || !users.is_empty() || outcome.is_err()).then_some(outcome)
    }

    async fn remove(&self, path: String) -> Result<(), String> {
        match self.send(Call::delete(&path)).await {
            Ok(answer) if answer.status == 200 || answer.status == 404 => Ok(()),
            Ok(answer) => {
                Err(format!("DELETE {path}: {} {}", answer.status.as_u16(), answer.text.trim_end()))
            }
            Err(failure) => Err(format!("DELETE {path}: {}", failure.message)),
        }
    }

    /// What was made although its answer never came. Who may not look has made nothing.
    async fn find_lost(&self) {
        if let Ok(page) = self.api.send(Call::get("/api/v1/jobs").query("workflow", &self.workflow)).await {
            let ids = page.json()["jobs"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|job| text(&job["job_id"]))
                .collect::<Vec<_>>();
            self.made.borrow_mut().jobs.extend(ids);
        }
        if let Ok(user) = self.api.send(Call::get("/api/v1/users").query("email", &self.email)).await {
            self.made.borrow_mut().users.extend(text(&user.json()["id"]));
        }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
