//! The real program as a child process: started, killed, told to stop.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use levqor_testkit::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::client::KEY;
use crate::recorder::SECRET;
use crate::workflows;

/// The words before the address on standard output.
const LISTENING: &str = "Levqor listens on ";
const PROGRAM: &str = env!("CARGO_BIN_EXE_levqor");
const START_LIMIT: Duration = Duration::from_secs(60);

/// Milliseconds since 1970, by the clock that the servers on this machine read too.
#[allow(clippy::disallowed_methods, reason = "the times of the servers are compared with ours")]
pub fn now_ms() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// What servers are started with: a folder, and their environment.
pub struct Site {
    pub dir: TempDir,
    vars: Vec<(&'static str, String)>,
    /// Run before the program takes the shell's place.
    prelude: Option<String>,
}

impl Site {
    fn new(database: (&'static str, String), dir: TempDir) -> Site {
        workflows::write(&dir.join("workflows"));
        let var = |name, value: &str| (name, value.to_owned());
        let vars = vec![
            database,
            var("HOST", "127.0.0.1"),
            var("PORT", "0"),
            var("API_KEYS", KEY),
            var("RATE_BURST", "100000000"),
            var("RATE_GLOBAL", "100000000"),
            var("OUTBOUND_ALLOW", "127.0.0.0/8"),
            var("CALLBACK_SECRET", SECRET),
            var("LOG_LEVEL", "warn"),
            ("WORKFLOWS_DIR", dir.join("workflows").display().to_string()),
        ];
        Site { dir, vars, prelude: None }
    }

    /// The file stands in `folder`, or in the site's own.
    pub fn sqlite(folder: Option<PathBuf>) -> Site {
        let dir = TempDir::new();
        let file = folder.unwrap_or_else(|| dir.join("data")).join("levqor.db");
        Site::new(("SQLITE_PATH", file.display().to_string()), dir)
    }

    pub fn postgres(url: String) -> Site {
        Site::new(("DATABASE_URL", url), TempDir::new())
    }

    pub fn set(mut self, name: &'static str, value: &str) -> Site {
        self.vars.push((name, value.to_owned()));
        self
    }

    /// Starts the program through a shell that does this first.
    pub fn prelude(mut self, script: impl Into<String>) -> Site {
        self.prelude = Some(script.into());
        self
    }

    /// Runs a command with the environment of the servers, and returns what it said. It must succeed.
    pub async fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(PROGRAM)
            .args(arguments)
            .env_clear()
            .envs(self.vars.iter().map(|(name, value)| (*name, value.as_str())))
            // For the programs of PostgreSQL.
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "levqor {arguments:?} ended with {}: {said}{words}", output.status);
        said
    }

    fn command(&self, node: &str) -> Command {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log(node)).unwrap();
        let mut command = match &self.prelude {
            None => Command::new(PROGRAM),
            Some(script) => {
                let mut shell = Command::new("/bin/sh");
                shell.arg("-c").arg(format!("{script}; exec \"$0\" \"$@\"")).arg(PROGRAM);
                shell
            }
        };
        command
            .arg("serve")
            .env_clear()
            .envs(self.vars.iter().map(|(name, value)| (*name, value.as_str())))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true);
        command
    }

    fn log(&self, node: &str) -> PathBuf {
        self.dir.join(format!("{node}.log"))
    }

    /// Starts a server; it may not answer yet.
    pub fn spawn(&self, node: &str) -> Server {
        let child = self.command(node).spawn().unwrap();
        Server { child, base: String::new(), log: self.log(node), began_ms: now_ms() }
    }

    /// Starts a server and waits until it says where it listens.
    pub async fn start(&self, node: &str) -> Server {
        let mut server = self.spawn(node);
        server.listen().await;
        server
    }
}

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:<port>`.
    pub base: String,
    log: PathBuf,
    pub began_ms: i64,
}

impl Server {
    async fn listen(&mut self) {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let said = tokio::time::timeout(START_LIMIT, async {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(base) = line.strip_prefix(LISTENING) {
                    return Some(base.trim().to_owned());
                }
            }
            None
        });
        match said.await {
            Ok(Some(base)) => self.base = base,
            Ok(None) => panic!("the server ended at its start:\n{}", self.last_words()),
            Err(_) => panic!("the server did not listen within {START_LIMIT:?}:\n{}", self.last_words()),
        }
        // What it says later is read and dropped, so that it never meets a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("it was not waited for yet")
    }

    /// SIGKILL; returns when the process is gone. It must not have ended before by itself.
    pub async fn kill(mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("the server ended by itself with {status}:\n{}", self.last_words());
        }
        self.child.kill().await.unwrap();
    }

    /// Sends a signal by its name, such as `STOP`.
    pub async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.id());
        let sent = Command::new("/bin/sh").arg("-c").arg(kill).status().await.unwrap();
        assert!(sent.success(), "SIG{name} could not be sent");
    }

    /// SIGTERM, and how it ended.
    pub async fn terminate(mut self, limit: Duration) -> ExitStatus {
        self.signal("TERM").await;
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => status.unwrap(),
            Err(_) => panic!("the server did not stop within {limit:?} of SIGTERM:\n{}", self.last_words()),
        }
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}
