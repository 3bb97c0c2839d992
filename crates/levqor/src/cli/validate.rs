//! `levqor validate`: asks a running server what its clients rely on, check by check.
//!
//! It makes some writes (fewer than the default rate limit allows) and removes what it made, also when a check does not hold,
//! the server goes away for a moment, or somebody presses Ctrl-C.

mod checks;
mod pages;
mod users;
mod vendors;
mod visit;

use clap::Args;

use super::client::{Api, Server};
use super::exit::{Exit, Failure};
use super::out::{note, plain, say};

const GREEN: &str = "🟢 COCKPIT GREEN — Levqor backend validated";

/// Check that a running server does what its clients rely on
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor validate
  levqor validate https://api.example.com --key \"$MY_KEY\"

Without a key, a server that wants one is checked as far as its public routes and refusals go.
On success the last line is: 🟢 COCKPIT GREEN — Levqor backend validated")]
pub struct Validate {
    /// Address of the server [default: BASE_URL, else http://127.0.0.1:5000]
    #[arg(value_name = "BASE_URL")]
    base_url: Option<String>,

    /// Print the checks as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

/// What one check came to.
pub enum Verdict {
    Passed,
    /// Not asked, and why.
    Skipped(String),
    Failed(String),
}

/// All checks so far, printed as they come.
pub struct Report {
    quiet: bool,
    lines: Vec<(String, Verdict)>,
}

impl Report {
    pub fn add(&mut self, name: &str, verdict: Verdict) {
        if !self.quiet {
            match &verdict {
                Verdict::Passed => say!("  ok    {name}"),
                Verdict::Skipped(why) => say!("  –     {name}: {}", plain(why)),
                Verdict::Failed(why) => say!("  FAIL  {name}: {}", plain(why)),
            }
        }
        self.lines.push((name.to_owned(), verdict));
    }

    /// A check that holds when nothing is wrong.
    pub fn check(&mut self, name: &str, outcome: Result<(), String>) {
        let verdict = outcome.map_or_else(Verdict::Failed, |()| Verdict::Passed);
        self.add(name, verdict);
    }

    fn failed(&self) -> usize {
        self.lines.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Failed(_))).count()
    }

    fn to_json(&self, base: &str) -> String {
        let checks: Vec<_> = self
            .lines
            .iter()
            .map(|(name, verdict)| match verdict {
                Verdict::Passed => serde_json::json!({"check": name, "verdict": "passed"}),
                Verdict::Skipped(why) => {
                    serde_json::json!({"check": name, "verdict": "skipped", "reason": why})
                }
                Verdict::Failed(why) => {
                    serde_json::json!({"check": name, "verdict": "failed", "reason": why})
                }
            })
            .collect();
        serde_json::json!({"base_url": base, "ok": self.failed() == 0, "checks": checks}).to_string()
    }
}

impl Validate {
    pub async fn run(&self) -> Result<(), Failure> {
        let mut server = self.server.clone();
        if let Some(url) = &self.base_url {
            server.url = url.clone();
        }
        let api = Api::new(&server)?;
        let mut report = Report { quiet: self.json, lines: Vec::new() };
        if !self.json {
            say!("Checking {}", api.base());
        }
        let visit = visit::Visit::new(&api);
        let outcome = tokio::select! {
            outcome = checks::all(&visit, &mut report) => outcome,
            _ = tokio::signal::ctrl_c() => Err(Failure::failed("stopped before all was checked")),
        };
        if let Some(removed) = visit.clean_up().await {
            report.check("what was left of these checks is removed", removed);
        }
        outcome?;
        let failed = report.failed();
        if self.json {
            say!("{}", report.to_json(api.base()));
        } else if failed == 0 {
            say!("{GREEN}");
        } else {
            note!("{failed} of {} checks failed", report.lines.len());
        }
        if failed > 0 { Err(Failure::silent(Exit::Failed)) } else { Ok(()) }
    }
}
