//! No room on the disk: refusals that say when to come back, nothing promised is lost, reading goes on, also after a kill and a
//! start in the middle of it; and when there is room again, work goes on without a restart.
//!
//! Two ways to run out. A limit on the size of files needs no privileges and makes the system refuse writes as it would on a
//! full quota; it is moved from outside. A small file system gives the real error, where the machine lets us mount one, if only for
//! ourselves.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use levqor_testkit::TempDir;
use serde_json::json;

use crate::audit::Audit;
use crate::chance::Chance;
use crate::client::{Answer, Call, Caller, Nodes};
use crate::load::Load;
use crate::recorder::Recorder;
use crate::server::{Server, Site};
use crate::workflows::Kind;

const ROOM_BYTES: u64 = 6 << 20;
/// So many refusals in a row: there is no room, not only a hiccup.
const REFUSALS: usize = 8;

/// What runs out.
enum Room {
    /// The size that a file may have, for processes that ignore the signal which comes with it.
    Files,
    Disk(Mounted),
}

impl Room {
    fn widen(&self, server: &Server) {
        match self {
            Room::Files => {
                let process = i32::try_from(server.id()).unwrap();
                let (mut soft, mut hard) = (0, 0);
                rlimit::prlimit(process, rlimit::Resource::FSIZE, None, Some((&mut soft, &mut hard)))
                    .unwrap();
                assert_eq!(soft, ROOM_BYTES, "the shell has set another limit");
                rlimit::prlimit(process, rlimit::Resource::FSIZE, Some((hard, hard)), None).unwrap();
            }
            Room::Disk(mounted) => mounted.resize(64 * ROOM_BYTES),
        }
    }
}

/// A small file system in memory; gone when dropped.
struct Mounted {
    dir: TempDir,
    /// Holds a namespace of its own in which it is mounted, where this process may mount nothing itself.
    holder: Option<Child>,
}

impl Mounted {
    /// For all to see, as root; else in a namespace of users and mounts, which many systems let anybody have.
    fn new() -> Result<Mounted, String> {
        let dir = TempDir::new();
        let size = format!("size={ROOM_BYTES}");
        let Err(for_all) =
            mount(&mut Command::new("mount"), &["-t", "tmpfs", "-o", &size, "levqor-test"], dir.path())
        else {
            return Ok(Mounted { dir, holder: None });
        };
        let script = format!("mount -t tmpfs -o {size} levqor-test \"$0\" && echo mounted && exec sleep 600");
        let holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .arg(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut holder = holder.map_err(|error| format!("{for_all}; unshare: {error}"))?;
        let mut said = String::new();
        // It says one line and sleeps, or ends.
        let told = holder.stdout.take().map(BufReader::new).map(|mut out| out.read_line(&mut said));
        let mounted = Mounted { dir, holder: Some(holder) };
        match told {
            Some(Ok(_)) if said == "mounted\n" => Ok(mounted),
            _ => Err(format!("{for_all}; nor in a namespace of its own")),
        }
    }

    /// How to get to where it is mounted.
    fn enter(&self) -> Option<String> {
        let holder = self.holder.as_ref()?.id();
        Some(format!("nsenter --target {holder} --user --mount --preserve-credentials"))
    }

    fn resize(&self, bytes: u64) {
        let enter =
            self.enter().map_or("exec mount \"$@\"".to_owned(), |enter| format!("exec {enter} mount \"$@\""));
        let mut shell = Command::new("/bin/sh");
        mount(shell.args(["-c", &enter, "sh"]), &["-o", &format!("remount,size={bytes}")], self.dir.path())
            .unwrap();
    }

    fn site(&self) -> Site {
        let site = Site::sqlite(Some(self.dir.path().to_owned()));
        match self.enter() {
            None => site,
            // The program takes its place, so that signals reach the program.
            Some(enter) => site.prelude(format!("exec {enter} \"$0\" \"$@\"")),
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        match &mut self.holder {
            None => drop(Command::new("umount").arg("--lazy").arg(self.dir.path()).status()),
            // The namespace ends with the last process in it.
            Some(holder) => {
                let _ = holder.kill();
                let _ = holder.wait();
            }
        }
    }
}

fn mount(command: &mut Command, arguments: &[&str], at: &Path) -> Result<(), String> {
    let output = command.args(arguments).arg(at).output().map_err(|error| error.to_string())?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_may_not_grow_lose_nothing_and_work_goes_on_when_they_may_again() {
    // In blocks of 512 bytes. The signal that comes with the limit would end the process.
    let site = Site::sqlite(None).prelude("trap '' XFSZ && ulimit -S -f 12288");
    run_out("full files", site, Room::Files).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing_and_work_goes_on_when_there_is_room_again() {
    match Mounted::new() {
        Ok(mounted) => {
            run_out("full disk", mounted.site(), Room::Disk(mounted)).await;
        }
        // Written past the test runner, which hides what a passing test prints: nobody shall take this for a full test.
        Err(error) => {
            let told = format!(
                "full disk NOT TESTED, nothing can be mounted here ({error}); the limit on files was, and SQLite's own word for a \
                 full disk is by the store's tests"
            );
            writeln!(std::io::stderr(), "{told}").unwrap();
        }
    }
}

async fn run_out(test: &str, site: Site, room: Room) {
    let (mut chance, seed) = Chance::of_run(test);
    let recorder = Recorder::start(chance.fork()).await;
    let load = Load::new(Nodes::new(1), recorder.base.clone());
    let mut filler = Filler { load: &load, caller: Caller::new(), chance, count: 0 };

    let server = site.start("node").await;
    filler.fill(&server, 64 << 10).await;
    filler.check_reads(&server).await;
    server.kill().await;

    // A start needs no room.
    let server = site.start("node").await;
    filler.check_reads(&server).await;
    // It may have made a little: the log of changes is tidied at a start.
    filler.fill(&server, 4 << 10).await;
    filler.check_reads(&server).await;

    room.widen(&server);
    filler.accepted_again(&server).await;
    Audit::new(test, seed, &server.base, &load, &recorder).settle_and_check(Duration::from_secs(60)).await;
    let status = server.terminate(Duration::from_secs(45)).await;
    assert!(status.success(), "seed {seed}: the stop ended with {status}");
}

struct Filler<'a> {
    load: &'a Load,
    caller: Caller,
    chance: Chance,
    count: usize,
}

impl Filler<'_> {
    async fn submit(&mut self, server: &Server, bytes: usize) -> Answer {
        self.count += 1;
        let token = format!("full-{}", self.count);
        let kind = if self.chance.one_in(4) { Kind::Walk } else { Kind::Echo };
        let fat = "x".repeat(bytes);
        let payload = json!({"token": token, "base": self.load.outside, "rest": "20ms", "fat": fat});
        let mut job = self.load.job(&token, kind, payload);
        // A small result, so that the callback holds it.
        if job.kind == Kind::Walk {
            job.callback_url = Some(format!("{}/callback/{token}", self.load.outside));
        }
        self.load.ledger.sent(&job);
        let answer = match self.caller.send(&server.base, &Call::intake(&job.body())).await {
            Ok(answer) => answer,
            Err(error) => panic!("intake got no answer ({error}):\n{}", server.last_words()),
        };
        match answer.status {
            202 => self.load.ledger.acknowledged(&token, answer.json()["job_id"].as_str().unwrap()),
            503 => {
                let retry_after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok());
                let is_number = retry_after.is_some_and(|value| value.parse::<u32>().is_ok());
                assert!(is_number, "503 without a time to come back: {:?}", answer.headers);
                assert_eq!(answer.json()["error"], "unavailable", "{}", answer.text());
            }
            status => panic!("intake without room got {status} {}:\n{}", answer.text(), server.last_words()),
        }
        answer
    }

    /// Submits until there is no room for a job of this size.
    async fn fill(&mut self, server: &Server, bytes: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let (mut accepted, mut refused) = (0, 0);
        while refused < REFUSALS {
            assert!(Instant::now() < deadline, "the room did not run out: {accepted} jobs were accepted");
            match self.submit(server, bytes).await.status {
                202 => (accepted, refused) = (accepted + 1, 0),
                _ => refused += 1,
            }
        }
        println!("full: {accepted} jobs of {bytes} bytes were accepted before there was no room");
    }

    /// Everything promised can be read.
    async fn check_reads(&self, server: &Server) {
        for path in ["/health", "/public/metrics", "/api/v1/jobs?limit=100", "/api/v1/workflows"] {
            let answer = self.caller.get(&server.base, path).await;
            assert_eq!(answer.status, 200, "{path} without room: {}\n{}", answer.text(), server.last_words());
        }
        for (token, id) in self.load.ledger.promises() {
            let answer = self.caller.get(&server.base, &format!("/api/v1/status/{id}")).await;
            assert_eq!(answer.status, 200, "{token} was acknowledged, its status is {}", answer.text());
            let job = self.caller.get(&server.base, &format!("/api/v1/jobs/{id}")).await;
            assert_eq!(job.status, 200, "{token}: {}", job.text());
        }
    }

    async fn accepted_again(&mut self, server: &Server) {
        let began = Instant::now();
        while self.submit(server, 100).await.status != 202 {
            assert!(began.elapsed() < Duration::from_secs(30), "still refused:\n{}", server.last_words());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("full: accepted again {:?} after there was room", began.elapsed());
    }
}
