//! Exit codes, one meaning each, and the failure that carries one up to `main`.

use std::process::ExitCode;

/// Shown under `levqor --help`, and in docs/cli.md.
pub const HELP: &str = "\
Exit codes:
  0  it worked; a job that was waited for succeeded
  1  it failed: the job failed, a check did not hold, the server did not start
  2  wrong usage: an argument, a setting or a file that cannot be read
  3  the server cannot be reached, or cannot answer now
  4  the server refused: no valid key, a rate limit, invalid input, a wrong state
  5  not found
  6  the time given with --timeout or --wait is over; the job goes on

Client commands talk to BASE_URL (default http://127.0.0.1:5000) with the key in API_KEY.
Try `make run` in one terminal and `levqor submit hello '{\"name\":\"Ada\"}' --watch` in another.";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Failed = 1,
    Usage = 2,
    Unreachable = 3,
    Refused = 4,
    NotFound = 5,
    TimedOut = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not do what it was asked: one exit code, and words for a person. Empty words: all was said before.
#[derive(Debug, PartialEq)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    pub fn failed(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }

    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// The command has printed what there was to say.
    pub fn silent(exit: Exit) -> Failure {
        Failure::new(exit, "")
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Many errors repeat their source's text.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}
