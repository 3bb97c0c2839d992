//! Fetches a package of Debian where a fresh machine lacks a program that tests need. Only for root, only with apt.

use std::path::Path;
use std::process::{Command, Stdio};

/// True when [`install`] has a chance.
pub fn is_possible() -> bool {
    is_root() && Path::new("/usr/bin/apt-get").exists()
}

/// True when the process has root's rights.
pub fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Installs a package with what it cannot do without; takes a minute or so. Fails with what apt said.
pub fn install(package: &str) -> Result<(), String> {
    run(apt().arg("update"))?;
    run(apt().args(["install", "-y", "--no-install-recommends", package]))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=120"]);
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = [output.stdout, output.stderr].concat();
            Err(String::from_utf8_lossy(&said).trim().to_owned())
        }
    }
}
