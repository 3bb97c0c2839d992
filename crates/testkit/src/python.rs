//! A Python with packages of PyPI, in a folder of its own that is kept: for tests that look through the eyes of an SDK.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What to do about a machine without it.
pub const MISSING: &str =
    "python3 with venv is missing: install Debian's package python3-venv, or run `make test` as root";

/// Written last: what is in the folder is whole, and of these packages.
const DONE: &str = "packages.txt";

/// Whether this machine can make such folders.
pub fn is_there() -> bool {
    let mut command = Command::new("python3");
    let command = command.args(["-c", "import venv, ensurepip"]).stdin(Stdio::null());
    command.output().is_ok_and(|output| output.status.success())
}

/// The program in `folder` that has these packages, put there if they are not: a download of some seconds. Panics, saying
/// what to do, where that cannot be done.
pub fn with_packages(folder: &Path, packages: &[&str]) -> PathBuf {
    let python = folder.join("bin/python");
    let wanted = packages.join("\n");
    if fs::read_to_string(folder.join(DONE)).is_ok_and(|done| done == wanted) {
        return python;
    }
    assert!(is_there(), "{MISSING}");
    let _ = fs::remove_dir_all(folder);
    run(Command::new("python3").args(["-m", "venv"]).arg(folder));
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    run(pip.args(packages));
    fs::write(folder.join(DONE), wanted).expect("the folder was just made");
    python
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("it was found before");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said).trim());
}
