//! One throw-away PostgreSQL server: made in a temporary folder, on a free loopback port, stopped and removed on drop.
//!
//! Everybody on this machine may connect to it while it runs (trust): never put anything in it that matters.

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{PostgresError, binaries};
use crate::TempDir;
use crate::debian::is_root;

/// Two servers that look for a free port at the same time may find the same one; more than a few times is no accident.
const PORT_ATTEMPTS: u32 = 5;

/// How the server is set up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// True: commits reach the disk, as in production (for benchmarks). False: as fast as it goes.
    pub durable: bool,
    pub max_connections: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { durable: false, max_connections: 600 }
    }
}

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    account: Account,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    /// Makes and starts a server, which takes about two seconds. Blocks the thread.
    pub fn start(options: Options) -> Result<Self, PostgresError> {
        let programs = binaries::find().ok_or(PostgresError::Missing)?;
        let account = Account::find()?;
        let folder = TempDir::new();
        if let Account::Postgres(_) = account {
            check("chown", Command::new("chown").arg("postgres").arg(folder.path()))?;
        }
        let mut server = Self { programs, account, folder, port: 0 };
        server.init(options)?;
        server.listen()?;
        Ok(server)
    }

    /// The URL of its database `postgres`, as superuser.
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn init(&self, options: Options) -> Result<(), PostgresError> {
        let mut initdb = self.account.command(&self.programs.join("initdb"), self.folder.path());
        initdb.arg("-D").arg(self.data());
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]);
        check("initdb", &mut initdb)?;
        let durable = if options.durable { "on" } else { "off" };
        let settings = format!(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nmax_connections = {}\nfsync = {durable}\n\
             synchronous_commit = {durable}\nfull_page_writes = {durable}\nshared_buffers = 128MB\nmax_wal_size = 2GB\n",
            options.max_connections
        );
        let file = std::fs::OpenOptions::new().append(true).open(self.data().join("postgresql.conf"));
        file.and_then(|mut file| file.write_all(settings.as_bytes())).map_err(PostgresError::Folder)
    }

    fn listen(&mut self) -> Result<(), PostgresError> {
        for attempt in 1..=PORT_ATTEMPTS {
            self.port = free_port().map_err(PostgresError::Folder)?;
            let log = self.folder.join(format!("server-{attempt}.log"));
            let mut start = self.account.command(&self.programs.join("pg_ctl"), self.folder.path());
            start.arg("-D").arg(self.data()).arg("-l").arg(&log);
            start.args(["-o", &format!("-p {}", self.port), "-w", "-t", "60", "start"]);
            // Not through a pipe: the server would inherit it and keep it open for as long as it runs.
            start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let status = start.status().map_err(|source| unrunnable("pg_ctl", source))?;
            if status.success() {
                return Ok(());
            }
            let output = std::fs::read_to_string(&log).unwrap_or_default();
            let port_was_taken =
                output.contains("could not bind") || output.contains("Address already in use");
            if attempt == PORT_ATTEMPTS || !port_was_taken {
                return Err(PostgresError::Failed { program: "pg_ctl".to_owned(), output });
            }
        }
        unreachable!("the last attempt returns")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.port == 0 {
            return;
        }
        let mut stop = self.account.command(&self.programs.join("pg_ctl"), self.folder.path());
        stop.arg("-D").arg(self.data()).args(["-m", "immediate", "-w", "-t", "30", "stop"]);
        // Without a running server there is nothing to stop; the folder goes either way.
        let _ = stop.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// Whom the server runs as: it refuses to be root.
#[derive(Debug)]
enum Account {
    Me,
    /// We are root; this program becomes `postgres`.
    Postgres(&'static str),
}

impl Account {
    fn find() -> Result<Self, PostgresError> {
        if !is_root() {
            return Ok(Self::Me);
        }
        let knows_postgres = Command::new("id").args(["-u", "postgres"]).output();
        if !knows_postgres.is_ok_and(|output| output.status.success()) {
            return Err(PostgresError::NoAccount);
        }
        // setpriv and runuser come with util-linux; su is everywhere, but may ask PAM.
        let runs = |program: &&str| Command::new(program).arg("--version").output().is_ok();
        Ok(Self::Postgres(["setpriv", "runuser"].into_iter().find(runs).unwrap_or("su")))
    }

    fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = match self {
            Self::Me => Command::new(program),
            Self::Postgres("setpriv") => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
                command
            }
            // `sh -c 'exec "$0" "$@"'` hands the arguments on untouched, which `su -c` alone cannot.
            Self::Postgres(program_of_root) => {
                let mut command = Command::new(program_of_root);
                command.args(["postgres", "-s", "/bin/sh", "-c", r#"exec "$0" "$@""#, "--"]).arg(program);
                command
            }
        };
        // The caller's folder may be closed to that user, and its locale unknown to PostgreSQL.
        command.current_dir(folder).env("LC_ALL", "C");
        command
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Runs a command to its end; its output becomes part of the error.
fn check(program: &str, command: &mut Command) -> Result<(), PostgresError> {
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|source| unrunnable(program, source))?;
    if status.success() {
        return Ok(());
    }
    let output = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    Err(PostgresError::Failed { program: program.to_owned(), output: output.trim().to_owned() })
}

fn unrunnable(program: &str, source: std::io::Error) -> PostgresError {
    PostgresError::Unrunnable { program: program.to_owned(), source }
}
