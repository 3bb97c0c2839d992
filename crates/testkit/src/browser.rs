//! A real browser: one headless chromium, told what to do over a pipe by its DevTools protocol.
//!
//! Its profile is a folder that goes away with it, and it calls nobody by itself. What a page does wrong (an error in its
//! console, a policy that it breaks, a resource that does not come or comes from elsewhere) is collected while it loads.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::TempDir;

/// What to do about a machine without one.
pub const MISSING: &str =
    "chromium is missing: install Debian's package chromium, or run `make test` as root";

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// Longer than anything here takes, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// The program, if this machine has it.
#[allow(clippy::disallowed_methods, reason = "PATH is how programs are found")]
pub fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    candidates.into_iter().find(|program| program.is_file())
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub width: u32,
    pub height: u32,
    pub is_dark: bool,
}

pub struct Browser {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: String,
    last_id: u64,
    /// Events that came since the page began to load.
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    /// Starts it with one empty page. Panics, saying what to do, when there is none.
    pub fn start() -> Browser {
        let program = find().unwrap_or_else(|| panic!("{MISSING}"));
        let profile = TempDir::new();
        let mut child = Command::new("sh")
            // It reads commands from 3 and writes to 4; a safe program can only hand over 0 and 1.
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#])
            .arg(program)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            .args(["--hide-scrollbars", "--disable-background-networking", "--disable-component-update"])
            .args(["--no-proxy-server", "--remote-debugging-pipe"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().expect("piped above");
        let output = BufReader::new(child.stdout.take().expect("piped above"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { continue };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let (session, last_id, events) = (String::new(), 0, Vec::new());
        let mut browser = Browser { child, commands, messages, session, last_id, events, _profile: profile };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = text(&browser.call("Target.attachToTarget", attach)["sessionId"]);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Loads an address to its end.
    pub fn open(&mut self, url: &str, view: View) {
        let metrics =
            json!({"width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let scheme = if view.is_dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", media);
        self.events.clear();
        let began = self.call("Page.navigate", json!({"url": url}));
        assert!(began["errorText"].is_null(), "{url}: {began}");
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.receive();
            self.events.push(event);
        }
    }

    /// What an expression of JavaScript comes to on the page. The page's own policy does not hold for it.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// What the page did wrong since it began to load: one line each. `base` is where everything may come from.
    pub fn complaints(&mut self, base: &str) -> Vec<String> {
        // What was reported before this answer has been read when it comes.
        self.evaluate("0");
        self.events.iter().filter_map(|event| complaint(event, base)).collect()
    }

    /// What is to be seen, as PNG in base64.
    pub fn screenshot(&mut self) -> String {
        text(&self.call("Page.captureScreenshot", json!({"format": "png"}))["data"])
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut command = json!({"id": self.last_id, "method": method, "params": params});
        if !self.session.is_empty() {
            command["sessionId"] = json!(self.session);
        }
        let mut line = command.to_string().into_bytes();
        line.push(0);
        self.commands.write_all(&line).expect("chromium reads commands");
        loop {
            let message = self.receive();
            if message["id"] != self.last_id {
                self.events.push(message);
                continue;
            }
            assert!(message["error"].is_null(), "{method}: {}", message["error"]);
            return message["result"].clone();
        }
    }

    fn receive(&mut self) -> Value {
        self.messages.recv_timeout(LIMIT).expect("chromium answers in time")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // `exec` made the shell chromium itself. It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn complaint(event: &Value, base: &str) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Log.entryAdded" => {
            let entry = &params["entry"];
            let is_bad = matches!(entry["level"].as_str(), Some("error" | "warning"));
            is_bad.then(|| format!("{}: {}", text(&entry["source"]), text(&entry["text"])))
        }
        "Runtime.exceptionThrown" => Some(params["exceptionDetails"].to_string()),
        "Runtime.consoleAPICalled" => Some(params["args"].to_string()),
        "Network.requestWillBeSent" => {
            let url = text(&params["request"]["url"]);
            let is_ours = url.starts_with(&format!("{base}/")) || url.starts_with("data:");
            (!is_ours).then(|| format!("it asks for {url}"))
        }
        "Network.responseReceived" => {
            let status = params["response"]["status"].as_u64()?;
            (status >= 400).then(|| format!("{} is {status}", text(&params["response"]["url"])))
        }
        "Network.loadingFailed" => Some(format!("a resource did not load: {params}")),
        _ => None,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
