//! Finds and runs `pg_dump` and `pg_restore`. Whom to connect to is told in the child's environment, never in its arguments.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStderr, Command};

use crate::backup::{Stop, stopped};
use crate::{Error, Result};

/// Debian keeps each version's programs in a folder of its own.
const DEBIAN: &str = "/usr/lib/postgresql";
/// A server that went away without a word must not hold up the next backup for ever.
const LIMIT: Duration = Duration::from_secs(6 * 3600);
/// Of what a program complains about.
const WORDS_BYTES: u64 = 16 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Dump,
    Restore,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Program::Dump => "pg_dump",
            Program::Restore => "pg_restore",
        }
    }

    /// Runs to the end, or until it is asked to stop.
    pub async fn run(self, arguments: &[String], variables: &[(&str, String)], stop: &Stop) -> Result<()> {
        let mut child = self.start(arguments, variables)?;
        // Neither has anything to say there when it writes to a file or a database.
        drop(child.stdout.take());
        let words = child.stderr.take();
        let running = async {
            let words = complaint(words).await;
            self.verdict(&mut child, words).await
        };
        tokio::select! {
            ended = tokio::time::timeout(LIMIT, running) => ended.unwrap_or_else(|_| {
                Err(Error::away(format!("{} was not done within 6 hours", self.name())))
            }),
            // Dropping the child kills it.
            () = stop.asked() => Err(stopped()),
        }
    }

    pub fn start(self, arguments: &[String], variables: &[(&str, String)]) -> Result<Child> {
        let mut candidates = vec![PathBuf::from(self.name())];
        candidates.extend(newest(DEBIAN).map(|folder| folder.join(self.name())));
        for candidate in candidates {
            let started = Command::new(&candidate)
                .args(arguments)
                .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
                .env("LC_ALL", "C")
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn();
            match started {
                Ok(child) => return Ok(child),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::Unavailable(error.into())),
            }
        }
        Err(Error::Refused {
            what: format!(
                "{} was not found: install PostgreSQL's client programs, not older than the server (on Debian: apt-get install \
                 postgresql-client)",
                self.name()
            ),
        })
    }

    /// What became of a program whose output was read to its end.
    pub async fn verdict(self, child: &mut Child, words: String) -> Result<()> {
        let status = child.wait().await.map_err(|error| Error::Unavailable(error.into()))?;
        if status.success() {
            return Ok(());
        }
        let line = words
            .lines()
            .find(|line| line.contains("error:"))
            .or(words.lines().last())
            .unwrap_or("no reason given");
        Err(Error::Refused { what: format!("{} failed: {}", self.name(), line.trim()) })
    }
}

/// What a program said on its error output, as far as anybody wants to read it.
pub(super) async fn complaint(stderr: Option<ChildStderr>) -> String {
    let mut words = Vec::new();
    if let Some(mut stderr) = stderr {
        (&mut stderr).take(WORDS_BYTES).read_to_end(&mut words).await.ok();
        // The rest is read too, so that the program can end.
        tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.ok();
    }
    String::from_utf8_lossy(&words).into_owned()
}

fn newest(root: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir(root).ok()?.flatten();
    let version = |entry: std::fs::DirEntry| {
        let version: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((version, entry.path().join("bin")))
    };
    versions.filter_map(version).max().map(|(_, folder)| folder)
}
