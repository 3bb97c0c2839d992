//! `levqor bench`: how fast this machine runs Levqor, next to what the machine itself can do.
//!
//! A real server runs as a child process and is driven over HTTP. The machine's own limits are measured in the same run,
//! because only ratios hold on a machine that does other things too. docs/performance.md says how each figure is taken.

mod load;
mod machine;
mod money;
mod phases;
mod plan;
mod report;
mod server;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::child::{LISTENING, Scratch};
use super::exit::{Exit, Failure};
use super::out::{note, say};
use plan::Plan;
use report::Report;
use server::Target;

/// Measure how fast Levqor runs on this machine
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor bench --engine sqlite
  levqor bench --engine sqlite --quick --json quick.json
  levqor bench --engine postgres --database-url postgres://bench@127.0.0.1/empty_scratch_database

`make bench` builds an optimised program and brings a PostgreSQL of its own. The PostgreSQL database must be
empty: it is filled with a million jobs. Takes about three minutes an engine, with --quick under one.
Exit code 0 means that everything was measured, not that every figure is good.")]
pub struct Bench {
    /// Which engine to measure
    #[arg(long, value_enum, default_value_t = Engines::Both)]
    engine: Engines,

    /// An empty scratch database for the PostgreSQL part
    #[arg(long, value_name = "URL", env = "LEVQOR_TEST_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE", default_value = "bench-results.json")]
    json: PathBuf,

    /// Folder for the scratch files; it must be on the disk that is to be measured [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Offered rate, in requests a second, at which latency is measured
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,

    /// Short runs: good for a first look, too short to compare
    #[arg(long)]
    quick: bool,

    /// Fill up to ten million finished jobs as well (takes some minutes and about 10 GB)
    #[arg(long, conflicts_with = "quick")]
    ten_million: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engines {
    Sqlite,
    Postgres,
    Both,
}

/// The plain POST that everything is compared with: the same HTTP stack, parsing and echoing JSON, and nothing else.
#[derive(Args)]
pub struct Echo {}

impl Bench {
    pub async fn run(&self) -> Result<(), Failure> {
        if cfg!(debug_assertions) {
            note!("levqor: this is a debug build, several times slower than `make bench`");
        }
        let targets = self.targets()?;
        for target in &targets {
            target.must_be_empty().await?;
        }
        let plan = Plan { rate: self.rate, quick: self.quick, ten_million: self.ten_million };
        let mut report = Report::new(&plan);
        self.warn_about_memory_disks();

        note!("measuring the machine …");
        let scratch = Scratch::new("bench", self.dir.as_deref())?;
        machine::disk(&mut report, scratch.path())?;
        machine::plain_post(&mut report, &plan).await?;
        for target in &targets {
            let scratch = Scratch::new("bench", self.dir.as_deref())?;
            machine::store(&mut report, &plan, target, scratch.path()).await?;
            phases::all(&mut report, &plan, target, scratch.path()).await?;
            money::all(&mut report, &plan, target, scratch.path()).await?;
        }
        say!("{}", report.table());
        std::fs::write(&self.json, report.to_json()).map_err(|error| {
            Failure::failed(format!("{} cannot be written: {error}", self.json.display()))
        })?;
        note!("figures written to {}", self.json.display());
        Ok(())
    }

    fn targets(&self) -> Result<Vec<Target>, Failure> {
        let mut targets = Vec::new();
        if self.engine != Engines::Postgres {
            targets.push(Target::Sqlite);
        }
        if self.engine != Engines::Sqlite {
            let Some(url) = self.database_url.clone() else {
                let ways = "give --database-url with an empty scratch database, use --engine sqlite, or run `make bench`";
                return Err(Failure::usage(format!("no PostgreSQL to measure: {ways}")));
            };
            targets.push(Target::Postgres(url));
        }
        Ok(targets)
    }

    /// A folder in memory makes every fsync free and every figure about durability worthless.
    fn warn_about_memory_disks(&self) {
        let dir = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        if is_in_memory(&dir, &std::fs::read_to_string("/proc/mounts").unwrap_or_default()) {
            note!(
                "levqor: {} is kept in memory, so nothing here reaches a disk; choose another with --dir",
                dir.display()
            );
        }
    }
}

/// Whether `dir` lies on a file system in memory, by the table of mounts.
fn is_in_memory(dir: &Path, mounts: &str) -> bool {
    let dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    });
    let nearest = mounts.filter(|(point, _)| dir.starts_with(point)).max_by_key(|(point, _)| point.len());
    nearest.is_some_and(|(_, kind)| matches!(kind, "tmpfs" | "ramfs"))
}

impl Echo {
    pub async fn run(&self) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| Failure::new(Exit::Failed, error.to_string());
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(cannot)?;
        say!("{LISTENING}http://{}", listener.local_addr().map_err(cannot)?);
        let echo = |axum::Json(body): axum::Json<serde_json::Value>| async { axum::Json(body) };
        axum::serve(listener, axum::Router::new().route("/echo", axum::routing::post(echo)))
            .await
            .map_err(cannot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_memory_is_found_by_its_nearest_mount() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\ntmpfs /no-such/tmp tmpfs rw 0 0\n/dev/sdb /no-such/tmp/disk ext4 rw 0 0\n";

        assert!(is_in_memory(Path::new("/no-such/tmp/x"), mounts));
        assert!(!is_in_memory(Path::new("/no-such/tmp/disk/x"), mounts));
        assert!(!is_in_memory(Path::new("/no-such/other"), mounts));
    }
}
