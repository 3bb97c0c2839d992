//! `levqor-testkit-browser`: sees to it that this machine has chromium, which the tests of pages look with.

#![allow(clippy::print_stderr, reason = "a command line tool speaks to its user")]

use std::process::ExitCode;

use levqor_testkit::{browser, debian};

fn main() -> ExitCode {
    if browser::find().is_some() {
        return ExitCode::SUCCESS;
    }
    if !debian::is_possible() {
        eprintln!("levqor-testkit-browser: {}", browser::MISSING);
        return ExitCode::FAILURE;
    }
    eprintln!("levqor-testkit-browser: installing Debian's package chromium");
    match debian::install("chromium") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("levqor-testkit-browser: apt-get failed: {error}");
            ExitCode::FAILURE
        }
    }
}
