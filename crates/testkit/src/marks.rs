//! Secrets of tests hold a mark, and no mark may stand in anything that comes out: not in a line of the log of a whole test binary, nor in
//! its files, errors and answers.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What every secret that a test configures holds.
pub const MARK: &str = "canary";
/// Bytes of a secret that callbacks are signed with, and how they begin when they are written.
pub const CALLBACK: &[u8; 32] = b"canary-of-callbacks-canary-canar";
pub const CALLBACK_WRITTEN: &str = "Y2FuYXJ5LW9mLWNhbGxiYWNr";
/// How the keys that connections are sealed with begin, and what of it is looked for: the first digits are their name.
pub const SEALING: &str = "00112233445566778899aabbccddeeff";
const SEALING_NAME_CHARS: usize = 8;

/// How much of the log is kept for [`heard`].
const KEPT_BYTES: usize = 4 << 20;

/// The end of what was logged.
static LOG: OnceLock<Mutex<String>> = OnceLock::new();

fn place_of_mark(bytes: &[u8]) -> Option<usize> {
    [MARK, CALLBACK_WRITTEN, &SEALING[SEALING_NAME_CHARS..]]
        .iter()
        .find_map(|mark| bytes.windows(mark.len()).position(|window| window == mark.as_bytes()))
}

/// Fails when a mark stands anywhere in it.
pub fn check(what: &str, bytes: &[u8]) {
    if let Some(place) = place_of_mark(bytes) {
        let around = &bytes[place.saturating_sub(80)..(place + 60).min(bytes.len())];
        panic!("a secret stands in {what}: …{}…", String::from_utf8_lossy(around));
    }
}

/// The same for every file in a folder.
pub fn check_folder(folder: &Path) {
    // A file may go away while it is looked at: the server still runs.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => check_folder(&path),
            false => check(&path.display().to_string(), &std::fs::read(&path).unwrap_or_default()),
        }
    }
}

/// From now on every line that this process logs, at every level, is looked at. A mark in one ends the whole test binary: a panic
/// in the task that logged would be taken for a job that broke.
pub fn listen() {
    LOG.get_or_init(|| {
        let lines = tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false);
        lines.with_writer(Listener).try_init().expect("nobody else listens in this process");
        Mutex::default()
    });
}

/// Whether these words were logged lately. [`listen`] comes first.
pub fn heard(words: &str) -> bool {
    LOG.get().is_some_and(|log| log.lock().unwrap_or_else(PoisonError::into_inner).contains(words))
}

#[derive(Clone, Copy)]
struct Listener;

impl Write for Listener {
    /// Gets a whole line.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        if place_of_mark(line).is_some() {
            // Past the capture of the runner, which would be lost with the process.
            writeln!(std::io::stderr(), "a secret stands in a line of the log: {text}")?;
            std::process::abort();
        }
        if let Some(log) = LOG.get() {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() > KEPT_BYTES {
                log.clear();
            }
            log.push_str(&text);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Listener {
    type Writer = Listener;

    fn make_writer(&self) -> Listener {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_wherever_it_stands() {
        assert_eq!(place_of_mark(b"can ary, c4nary"), None);
        for mark in [
            b"xx canary-1 xx".as_slice(),
            b"\0\xffwhsec_Y2FuYXJ5LW9mLWNhbGxiYWNr",
            b"445566778899aabbccddeeff",
        ] {
            assert!(place_of_mark(mark).is_some(), "{}", String::from_utf8_lossy(mark));
        }
    }
}
