//! Runs the real program: commands to their end, servers as children that end with their test.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use levqor_testkit::TempDir;

/// What a command came to.
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command in `dir` with exactly these variables.
pub fn levqor(dir: &Path, vars: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    let output = command(dir, vars, arguments).stdin(Stdio::null()).output().unwrap();
    Outcome {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The same with something on standard input.
pub fn levqor_with_input(dir: &Path, vars: &[(&str, &str)], arguments: &[&str], input: &str) -> Outcome {
    let mut command = command(dir, vars, arguments);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Outcome {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

fn command(dir: &Path, vars: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_levqor"));
    command.args(arguments).env_clear().envs(vars.iter().copied()).current_dir(dir);
    command
}

/// A running server in a folder of its own.
pub struct Running {
    pub dir: TempDir,
    pub url: String,
    child: Child,
    /// What it said on standard output after the line with its address.
    said: Arc<Mutex<String>>,
}

impl Running {
    /// Starts a server with an empty database and the workflow files that `prepare` writes.
    pub fn start(vars: &[(&str, &str)], prepare: impl FnOnce(&Path)) -> Running {
        let dir = TempDir::new();
        std::fs::create_dir(dir.join("workflows")).unwrap();
        prepare(&dir.join("workflows"));
        Running::start_in(dir, vars)
    }

    /// Starts a server with the database of this folder.
    pub fn start_in(dir: TempDir, vars: &[(&str, &str)]) -> Running {
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut child = command(dir.path(), vars, &["serve", "--port", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| line.ok()?.strip_prefix("Levqor listens on ").map(str::to_owned));
        let log = std::fs::read_to_string(dir.join("log")).unwrap();
        let url = url.unwrap_or_else(|| panic!("the server did not start:\n{log}"));
        // The rest is read to its end, so that the server never meets a closed pipe.
        let said = Arc::new(Mutex::new(String::new()));
        let heard = said.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| heard.lock().unwrap().push_str(&(line + "\n")));
        });
        Running { dir, url, child, said }
    }

    /// Waits until it has said this on standard output, and returns all that it said.
    pub fn hear(&self, words: &str) -> String {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let said = self.said.lock().unwrap().clone();
            if said.contains(words) {
                return said;
            }
            assert!(Instant::now() < until, "it did not say {words:?}: {said}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs a command against this server.
    pub fn levqor(&self, arguments: &[&str]) -> Outcome {
        levqor(self.dir.path(), &[("BASE_URL", &self.url)], arguments)
    }

    /// One request over plain HTTP: `GET /path`, with further header lines and a body. Returns status and body.
    pub fn ask(&self, what: &str, headers: &[&str], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.url.strip_prefix("http://").unwrap()).unwrap();
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let head = format!(
            "{what} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// Ends the server; what it kept stays.
    pub fn rest(mut self) -> TempDir {
        self.stop();
        std::mem::replace(&mut self.dir, TempDir::new())
    }

    /// SIGTERM, and the exit code that follows.
    pub fn stop(&mut self) -> Option<i32> {
        let kill =
            Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap().code()
    }

    pub fn terminate(mut self) -> Option<i32> {
        self.stop()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
