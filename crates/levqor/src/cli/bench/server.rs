//! The server under measurement: a child process on a scratch database, with what can be read about it from outside.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use levqor_store::{Location, Store};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::load::{self, Connection};
use crate::cli::child::{LISTENING, ServerProcess};
use crate::cli::exit::{Failure, chain};

/// Which engine is measured, and where its data lies.
pub enum Target {
    Sqlite,
    Postgres(String),
}

impl Target {
    pub fn name(&self) -> &'static str {
        match self {
            Target::Sqlite => "sqlite",
            Target::Postgres(_) => "postgres",
        }
    }

    pub fn location(&self, dir: &Path, file: &str) -> Location {
        match self {
            Target::Sqlite => Location::Sqlite(dir.join(file)),
            Target::Postgres(url) => Location::Postgres(url.clone()),
        }
    }

    /// A database that holds tables of ours may hold jobs of somebody: it is not filled with millions of others.
    pub async fn must_be_empty(&self) -> Result<(), Failure> {
        let Target::Postgres(url) = self else { return Ok(()) };
        let pending = Store::pending_migrations(&Location::Postgres(url.clone())).await;
        match pending.map_err(|error| Failure::failed(chain(&error)))?.is_empty() {
            true => Err(Failure::usage(
                "the PostgreSQL database has tables of Levqor already; give an empty one to measure on",
            )),
            false => Ok(()),
        }
    }

    /// Opens the store in this process; no server may be running on it when it is a file.
    pub async fn open_store(&self, dir: &Path, file: &str) -> Result<Store, Failure> {
        let node = format!("bench-{:08x}", rand::random::<u32>());
        Store::open(&self.location(dir, file), &node).await.map_err(|error| Failure::failed(chain(&error)))
    }

    fn setting(&self, dir: &Path) -> (&'static str, String) {
        match self {
            Target::Sqlite => ("SQLITE_PATH", dir.join("bench.db").display().to_string()),
            Target::Postgres(url) => ("DATABASE_URL", url.clone()),
        }
    }
}

/// A child that prints where it listens.
pub struct Process {
    child: Child,
}

impl Process {
    /// The plain POST server.
    pub fn echo() -> Result<Process, Failure> {
        let cannot = |error: std::io::Error| Failure::failed(format!("a process cannot be started: {error}"));
        let program = std::env::current_exe().map_err(cannot)?;
        let child = Command::new(program)
            .arg("bench-echo")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(cannot)?;
        Ok(Process { child })
    }

    pub async fn listening(&mut self) -> Result<SocketAddr, Failure> {
        let no_address = || Failure::failed("the plain POST server did not start");
        let out = self.child.stdout.take().ok_or_else(no_address)?;
        let line = BufReader::new(out).lines().next_line().await.ok().flatten().ok_or_else(no_address)?;
        let address = line.strip_prefix(LISTENING).and_then(|url| url.strip_prefix("http://")?.parse().ok());
        address.ok_or_else(no_address)
    }
}

/// A running server.
pub struct Server {
    process: ServerProcess,
    pub address: SocketAddr,
    /// From the start of the process to the first 202.
    pub first_accepted: Duration,
}

impl Server {
    pub async fn start(target: &Target, dir: &Path) -> Result<Server, Failure> {
        Server::start_with(target, dir, &[]).await
    }

    /// Starts a server, with these settings beside the usual ones, and submits jobs until one is accepted.
    pub async fn start_with(
        target: &Target,
        dir: &Path,
        more: &[(&'static str, String)],
    ) -> Result<Server, Failure> {
        let cannot =
            |error: std::io::Error| Failure::failed(format!("no port on 127.0.0.1 can be used: {error}"));
        // Taken and given back: the child's own choice would have to be read from its output, which costs time.
        let free = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(cannot)?;
        let address = free.local_addr().map_err(cannot)?;
        drop(free);
        let mut settings = vec![
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", address.port().to_string()),
            ("RATE_BURST", "1000000000".to_owned()),
            ("RATE_GLOBAL", "1000000000".to_owned()),
            ("OUTBOUND_ALLOW", "127.0.0.0/8".to_owned()),
            ("WORKFLOWS_DIR", dir.join("workflows").display().to_string()),
            target.setting(dir),
        ];
        settings.extend_from_slice(more);
        let started = Instant::now();
        let mut process = ServerProcess::spawn(dir, &settings)?;
        let submit = load::post("/api/v1/intake", super::phases::PARKED_BODY);
        loop {
            if let Ok(mut connection) = Connection::open(address).await
                && let Ok(reply) = connection.exchange(&submit).await
                && reply.status == 202
            {
                break;
            }
            if process.has_ended() || started.elapsed() > Duration::from_secs(60) {
                return Err(process.did_not_start().await);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let first_accepted = started.elapsed();
        // Reads its output from now on, so that it never fills the pipe.
        process.address().await?;
        Ok(Server { process, address, first_accepted })
    }

    pub async fn stop(self) -> Result<(), Failure> {
        self.process.stop().await
    }

    /// Waits until a job has succeeded and its result can be read. Whether it had to wait.
    pub async fn wait_for(&self, connection: &mut Connection, id: &str) -> Result<bool, Failure> {
        let path = format!("/api/v1/status/{id}");
        if self.get(connection, &path).await?.contains("\"succeeded\"") {
            return Ok(false);
        }
        for _ in 0..4 {
            if self.get(connection, &format!("{path}?wait=30s")).await?.contains("\"succeeded\"") {
                return Ok(true);
            }
        }
        Err(Failure::failed(format!("job {id} did not succeed within two minutes")))
    }

    pub async fn connect(&self) -> Result<Connection, Failure> {
        Connection::open(self.address)
            .await
            .map_err(|error| Failure::failed(format!("the server is gone: {error}")))
    }

    pub async fn get(&self, connection: &mut Connection, path: &str) -> Result<String, Failure> {
        let reply = connection.exchange(&load::request("GET", path, "text/plain", "")).await;
        match reply {
            Ok(reply) if reply.status == 200 => Ok(String::from_utf8_lossy(&reply.body).into_owned()),
            Ok(reply) => Err(Failure::failed(format!("GET {path} gave status {}", reply.status))),
            Err(error) => Err(Failure::failed(format!("GET {path}: {error}\n{}", self.process.last_words()))),
        }
    }

    /// Resident memory in MB (10^6 bytes).
    pub fn resident_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(self.proc("status")?).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024.0 / 1e6)
    }

    /// Processor time used so far, user and system: to the nanosecond where the kernel tells, since `stat` counts in ticks
    /// of 10 ms, which is about what an idle server uses in ten seconds.
    pub fn cpu(&self) -> Option<Duration> {
        let threads = std::fs::read_dir(self.proc("task")?).ok()?;
        let nanos: Option<Vec<u64>> = threads
            .flatten()
            .map(|thread| {
                let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
                text.split(' ').next()?.parse().ok()
            })
            .collect();
        match nanos {
            Some(nanos) => Some(Duration::from_nanos(nanos.iter().sum())),
            None => cpu_of(&std::fs::read_to_string(self.proc("stat")?).ok()?),
        }
    }

    fn proc(&self, file: &str) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/proc/{}/{file}", self.process.id()?)))
    }
}

/// The program's name may hold blanks and brackets; the fields count from the last closing one. Linux shows ticks of 10 ms
/// whatever its own are.
fn cpu_of(stat: &str) -> Option<Duration> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_hostile_name() {
        let stat = "42 (a b) c) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 5 0 1000 0 0";

        assert_eq!(cpu_of(stat), Some(Duration::from_secs(2)));
    }
}
