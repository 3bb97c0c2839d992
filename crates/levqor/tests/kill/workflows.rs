//! The workflows of the load, and what a job of each must come to.

use std::path::Path;

use serde_json::{Value, json};

/// What a job does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One `transform`: no call outside.
    Echo,
    /// Calls in a row and side by side, a rest between them.
    Walk,
    /// A call that fails at first and is tried again.
    Flaky,
    /// A call that takes as long as the payload says, once for its first try and once for all later ones.
    Slow,
    /// Like `Echo`, defined only after its first jobs came.
    Later(String),
}

const ECHO: &str = r#"
steps:
  - id: copy
    transform: { token: "{{ payload.token }}", payload: "{{ payload }}" }
output: "{{ steps.copy.output }}"
"#;

const WALK: &str = r#"
steps:
  - id: first
    http: { method: POST, url: "{{ payload.base }}/step/{{ payload.token }}/first", json: { n: 1 } }
  - id: left
    needs: [first]
    http: { method: POST, url: "{{ payload.base }}/step/{{ payload.token }}/left", json: "{{ steps.first.output.body }}" }
  - id: right
    needs: [first]
    http: { method: POST, url: "{{ payload.base }}/step/{{ payload.token }}/right" }
  - id: rest
    needs: [left, right]
    wait: "{{ payload.rest }}"
  - id: sum
    transform: ["{{ steps.left.output.body.seen }}", "{{ steps.right.output.body.seen }}"]
  - id: last
    http: { method: POST, url: "{{ payload.base }}/step/{{ payload.token }}/last", json: "{{ steps.sum.output }}" }
output:
  token: "{{ payload.token }}"
  seen: ["{{ steps.first.output.body.seen }}", "{{ steps.sum.output }}", "{{ steps.last.output.body.seen }}"]
"#;

const FLAKY: &str = r#"
steps:
  - id: knock
    http: { method: POST, url: "{{ payload.base }}/flaky/{{ payload.token }}/knock" }
    retry: { attempts: 6, backoff: exponential, first: 40ms, max: 400ms }
output: { token: "{{ payload.token }}", status: "{{ steps.knock.output.status }}" }
"#;

const SLOW: &str = r#"
steps:
  - id: hold
    http:
      method: POST
      url: "{{ payload.base }}/slow/{{ payload.token }}/hold"
      query: { first_ms: "{{ payload.first_ms }}", later_ms: "{{ payload.later_ms }}" }
    timeout: 5m
output: { token: "{{ payload.token }}", status: "{{ steps.hold.output.status }}" }
"#;

impl Kind {
    pub fn workflow(&self) -> &str {
        match self {
            Kind::Echo => "echo",
            Kind::Walk => "walk",
            Kind::Flaky => "flaky",
            Kind::Slow => "slow",
            Kind::Later(name) => name,
        }
    }

    /// The result of a job with this payload.
    pub fn result(&self, payload: &Value) -> Value {
        let token = payload["token"].as_str().unwrap();
        let seen = |step: &str| format!("{token}/{step}");
        match self {
            Kind::Echo | Kind::Later(_) => json!({"token": token, "payload": payload}),
            Kind::Walk => {
                json!({"token": token, "seen": [seen("first"), [seen("left"), seen("right")], seen("last")]})
            }
            Kind::Flaky | Kind::Slow => json!({"token": token, "status": 200}),
        }
    }

    /// The ids of its steps, in their order.
    pub fn steps(&self) -> &'static [&'static str] {
        match self {
            Kind::Echo | Kind::Later(_) => &["copy"],
            Kind::Walk => &["first", "left", "right", "rest", "sum", "last"],
            Kind::Flaky => &["knock"],
            Kind::Slow => &["hold"],
        }
    }

    /// Its definition.
    pub fn yaml(&self) -> String {
        let steps = match self {
            Kind::Echo | Kind::Later(_) => ECHO,
            Kind::Walk => WALK,
            Kind::Flaky => FLAKY,
            Kind::Slow => SLOW,
        };
        format!("name: {}\n{steps}", self.workflow())
    }
}

/// Writes the definitions that are there from the start.
pub fn write(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    for kind in [Kind::Echo, Kind::Walk, Kind::Flaky, Kind::Slow] {
        std::fs::write(dir.join(format!("{}.yaml", kind.workflow())), kind.yaml()).unwrap();
    }
}
