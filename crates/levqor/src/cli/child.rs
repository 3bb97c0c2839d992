//! A real server as a child process, for the demo and the benchmark: the same program, told to `serve`.
//!
//! It gets a clean environment and a scratch folder as its working directory, so that no setting of the user and no `.env`
//! file reaches it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::exit::{Exit, Failure};

/// The line of standard output by which `serve` says that it answers; the address follows.
pub const LISTENING: &str = "Levqor listens on ";

/// How long a start may take before it counts as failed: a file with millions of jobs still opens well within it.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a graceful stop may take before the process is killed.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// A folder that goes away with its owner.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes `levqor-<what>-<random>` in `parent`, or in the system's folder for such things.
    pub fn new(what: &str, parent: Option<&Path>) -> Result<Scratch, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let path = parent.join(format!("levqor-{what}-{:08x}", rand::random::<u32>()));
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::usage(format!("{} cannot be made: {error}", path.display())))?;
        // The child runs inside it, so a relative path would lead elsewhere.
        let path = std::fs::canonicalize(&path).unwrap_or(path);
        Ok(Scratch(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server. Killed when dropped; [`ServerProcess::stop`] ends it properly.
pub struct ServerProcess {
    child: Child,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts `levqor serve` in `dir` with exactly these settings. It may not answer yet.
    pub fn spawn(dir: &Path, settings: &[(&str, String)]) -> Result<ServerProcess, Failure> {
        let cannot =
            |error: std::io::Error| Failure::failed(format!("the server cannot be started: {error}"));
        let program = std::env::current_exe().map_err(cannot)?;
        let log = dir.join("server.log");
        let log_file = std::fs::OpenOptions::new().create(true).append(true).open(&log).map_err(cannot)?;
        let child = Command::new(program)
            .arg("serve")
            .env_clear()
            .envs(settings.iter().map(|(name, value)| (*name, value.as_str())))
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file)
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        Ok(ServerProcess { child, log })
    }

    /// Waits until the server says where it listens.
    pub async fn address(&mut self) -> Result<String, Failure> {
        let Some(out) = self.child.stdout.take() else { return Err(self.did_not_start().await) };
        let mut lines = BufReader::new(out).lines();
        let said = tokio::time::timeout(START_LIMIT, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix(LISTENING) {
                    return Some(address.trim().to_owned());
                }
            }
            None
        });
        let Ok(Some(address)) = said.await else { return Err(self.did_not_start().await) };
        // What it says later is read and dropped, so that it never meets a full or a closed pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(address)
    }

    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and the exit code that follows; killed when it takes too long.
    pub async fn stop(mut self) -> Result<(), Failure> {
        if let Some(id) = self.child.id() {
            // The shell's own kill, as a machine need not have another.
            let _ = Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status().await;
        }
        match tokio::time::timeout(STOP_LIMIT, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(_) => Err(Failure::failed(format!("the server did not stop cleanly:\n{}", self.last_words()))),
            Err(_) => {
                let _ = self.child.kill().await;
                Err(Failure::failed(format!(
                    "the server did not stop within {} s of SIGTERM",
                    STOP_LIMIT.as_secs()
                )))
            }
        }
    }

    pub async fn did_not_start(&mut self) -> Failure {
        let _ = self.child.kill().await;
        Failure::new(Exit::Failed, format!("the server did not start:\n{}", self.last_words()))
    }

    /// The last lines of its log, for a failure.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = &lines[lines.len().saturating_sub(10)..];
        last.iter().map(|line| format!("  {}", super::out::plain(line))).collect::<Vec<_>>().join("\n")
    }
}
