//! `levqor-testkit-python`: sees to it that this machine has a Python that can hold packages, which the tests of SDKs need.

#![allow(clippy::print_stderr, reason = "a command line tool speaks to its user")]

use std::process::ExitCode;

use levqor_testkit::{debian, python};

fn main() -> ExitCode {
    if python::is_there() {
        return ExitCode::SUCCESS;
    }
    if !debian::is_possible() {
        eprintln!("levqor-testkit-python: {}", python::MISSING);
        return ExitCode::FAILURE;
    }
    eprintln!("levqor-testkit-python: installing Debian's package python3-venv");
    match debian::install("python3-venv") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("levqor-testkit-python: apt-get failed: {error}");
            ExitCode::FAILURE
        }
    }
}
