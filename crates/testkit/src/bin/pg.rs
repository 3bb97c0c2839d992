//! `levqor-testkit-pg run [--durable] -- <command…>`: runs a command with a PostgreSQL server of its own, named to it in
//! `LEVQOR_TEST_DATABASE_URL`, and exits with the command's code. A server that the variable names already is used as it is.

#![allow(clippy::print_stderr, reason = "a command line tool speaks to its user")]

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use levqor_testkit::postgres::{Options, Postgres, PostgresError, URL_VARIABLE, binaries, install};
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

const USAGE: &str = "usage: levqor-testkit-pg run [--durable] -- <command…>

Runs the command with LEVQOR_TEST_DATABASE_URL naming a PostgreSQL server of its own, and stops the server afterwards.
  --durable   commits reach the disk, as in production (for benchmarks)";

/// How long a command may take to end after it was told to.
const GRACE: Duration = Duration::from_secs(10);

/// Exit code for failures of this program itself, apart from those of the command.
const FAILED: u8 = 1;
const USAGE_ERROR: u8 = 2;

struct Arguments {
    durable: bool,
    command: Vec<OsString>,
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Option<Arguments> {
    if arguments.next()? != "run" {
        return None;
    }
    let mut durable = false;
    loop {
        match arguments.next()?.to_str() {
            Some("--durable") => durable = true,
            Some("--") => break,
            _ => return None,
        }
    }
    let command: Vec<_> = arguments.collect();
    (!command.is_empty()).then_some(Arguments { durable, command })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(arguments) = parse(std::env::args_os().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(USAGE_ERROR);
    };
    match run(arguments).await {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("levqor-testkit-pg: {message}");
            ExitCode::from(FAILED)
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "reads the one variable that it hands on")]
async fn run(arguments: Arguments) -> Result<u8, String> {
    // Before the server starts, so that a signal in the meantime waits for the clean-up instead of preventing it.
    let mut stop = Stop::listen().map_err(|error| error.to_string())?;
    let (server, url) = match std::env::var(URL_VARIABLE) {
        Ok(url) => (None, url),
        Err(_) => {
            let server = tokio::task::spawn_blocking(move || start(arguments.durable))
                .await
                .map_err(|error| error.to_string())?
                .map_err(|error| explain(&error))?;
            let url = server.url();
            (Some(server), url)
        }
    };
    let code = if stop.is_requested() { Ok(FAILED) } else { play(&arguments.command, &url, &mut stop).await };
    // Stopping waits for another process; nothing else is left to do on this thread.
    drop(server);
    code
}

fn start(durable: bool) -> Result<Postgres, PostgresError> {
    if binaries::find().is_none() && install::is_possible() {
        eprintln!("levqor-testkit-pg: no PostgreSQL server here, installing Debian's package");
        install::install()?;
    }
    Postgres::start(Options { durable, ..Options::default() })
}

/// The error with its causes, on one line.
fn explain(error: &PostgresError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

async fn play(command: &[OsString], url: &str, stop: &mut Stop) -> Result<u8, String> {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .env(URL_VARIABLE, url)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{} cannot be run: {error}", command[0].to_string_lossy()))?;
    let status = tokio::select! {
        status = child.wait() => status,
        () = stop.requested() => end(&mut child).await,
    };
    status.map(code).map_err(|error| error.to_string())
}

/// Asks the command to end; kills it when it does not. (A Ctrl-C has reached it already, being in the same group.)
async fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Some(id) = child.id() {
        // The shell's own kill, as a machine need not have another; a command that is gone needs none.
        let _ = Command::new("sh").args(["-c", &format!("kill -TERM {id}")]).status().await;
    }
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_) => {
            child.kill().await?;
            child.wait().await
        }
    }
}

/// A command that died of a signal gives 128 and the signal's number, as in a shell.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED)
}

/// SIGINT and SIGTERM.
struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Whether a signal has come, without waiting for one.
    fn is_requested(&mut self) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        self.interrupt.poll_recv(&mut context).is_ready() || self.terminate.poll_recv(&mut context).is_ready()
    }
}
