//! docs/api.md tells the truth: its codes are those of the sources, it names every route, and its examples are run against
//! the real program and must give the answers that stand there.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use levqor_testkit::TempDir;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn api() -> String {
    read("docs/api.md")
}

// ---- codes -----------------------------------------------------------------------------------------------------------

/// The text of every source file below these folders, up to its tests.
fn sources(folders: &[&str]) -> Vec<String> {
    let mut texts = Vec::new();
    let mut folders: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                texts.push(text.split("#[cfg(test)]").next().unwrap().to_owned());
            }
        }
    }
    texts
}

fn is_code(word: &str) -> bool {
    word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

/// The codes that `texts` hand to one of `makers`: the first argument that is a word of its own, or a constant that holds
/// one. Functions and variables named `code` that choose among words count with each of them.
fn emitted(texts: &[String], makers: &[&str]) -> BTreeSet<String> {
    let constants: BTreeMap<&str, &str> = texts
        .iter()
        .flat_map(|text| text.split("const ").skip(1))
        .filter_map(|rest| {
            let (name, value) = rest.split_once(": &")?;
            let value = value.trim_start_matches("'static ").strip_prefix("str = \"")?;
            Some((name, value.split('"').next()?))
        })
        .collect();
    let mut codes = BTreeSet::new();
    for text in texts {
        for call in makers.iter().flat_map(|maker| text.split(maker).skip(1)) {
            for argument in call.split(';').next().unwrap().split(',').take(2).map(str::trim) {
                let constant = argument.rsplit("::").next().unwrap();
                let quoted = argument.strip_prefix('"').and_then(|rest| rest.split('"').next());
                codes.extend(quoted.or(constants.get(constant).copied()).map(str::to_owned));
            }
        }
        let choices = ["fn code(&self)", "let code = match"].map(|start| text.split(start).skip(1));
        for choice in choices.into_iter().flatten() {
            let arms = choice.lines().skip(1).take_while(|line| !line.trim().starts_with('}'));
            codes.extend(arms.filter_map(|arm| arm.split('"').nth(1)).map(str::to_owned));
        }
    }
    codes.retain(|code| is_code(code));
    codes
}

/// The first cells of the table below this heading, without their quotes.
fn table(document: &str, heading: &str) -> BTreeSet<String> {
    let section = document.split(heading).nth(1).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let rows = section.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
}

#[test]
fn every_code_that_a_request_can_be_refused_with_is_described_and_no_other() {
    let texts = sources(&["crates/levqor/src/http"]);

    let emitted = emitted(&texts, &["::bare(", "::named(", "ApiError::invalid(", "::failed_call("]);

    assert!(emitted.len() > 15, "the sources are not read well any more: {emitted:?}");
    assert_eq!(emitted, table(&api(), "### Refusals of requests"));
}

#[test]
fn every_code_that_a_job_can_fail_with_is_described_and_no_other() {
    let texts = sources(&["crates/core/src", "crates/connectors/src", "crates/engine/src"]);

    let emitted = emitted(&texts, &["JobError::new("]);

    assert!(emitted.len() > 15, "the sources are not read well any more: {emitted:?}");
    assert_eq!(emitted, table(&api(), "### Errors of jobs and steps"));
}

#[test]
fn every_sentence_that_an_intake_can_be_refused_with_is_described() {
    let intake = read("crates/core/src/intake.rs");
    let starts = ["Invalid::plain(\"", "INVALID_BODY: &str = \"", "error: \""];

    let sentences = starts.iter().flat_map(|start| intake.split(start).skip(1));
    let sentences: Vec<&str> = sentences.map(|rest| rest.split('"').next().unwrap()).collect();

    assert!(sentences.len() >= 4, "{sentences:?}");
    for sentence in sentences {
        assert!(api().contains(&format!("| `{sentence}` |")), "{sentence:?}");
    }
}

#[test]
fn every_action_of_the_audit_log_is_described_and_no_other() {
    let quoted = |text: &str| -> BTreeSet<String> {
        let words = text.split('"').skip(1).step_by(2).filter(|word| word.contains('.'));
        words.map(str::to_owned).collect()
    };
    let mut written = BTreeSet::new();
    for text in sources(&["crates/store/src"]) {
        for act in text.split("Act::new(").skip(1) {
            written.extend(quoted(act.split(')').next().unwrap()));
        }
        for choice in text.split("let action = match").skip(1) {
            written.extend(quoted(choice.split("};").next().unwrap()));
        }
    }
    let page = read("docs/keys.md");
    let section = page.split("| Action | When |").nth(1).unwrap();
    let rows = section.lines().take_while(|line| line.is_empty() || line.starts_with('|')).skip(2);
    let described: BTreeSet<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned))
        .collect();

    assert!(written.len() > 15, "the sources are not read well any more: {written:?}");
    assert_eq!(written, described);
}

// ---- a server --------------------------------------------------------------------------------------------------------

struct Running {
    url: String,
    child: Child,
    _dir: TempDir,
}

impl Running {
    /// The program as a reader of the document starts it.
    fn start() -> Running {
        Running::with(&[])
    }

    fn with(vars: &[(&str, &str)]) -> Running {
        let dir = TempDir::new();
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_levqor"))
            .args(["serve", "--port", "0"])
            .env_clear()
            .env("OUTBOUND_ALLOW", "127.0.0.0/8")
            // A reader takes longer than a minute for all the examples; a test does not.
            .env("RATE_BURST", "1000")
            .env("RATE_GLOBAL", "1000")
            .env("WORKFLOWS_DIR", root().join("workflows"))
            .envs(vars.iter().copied())
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.find_map(|line| line.ok()?.strip_prefix("Levqor listens on ").map(str::to_owned));
        let url = url.unwrap_or_else(|| panic!("{}", fs::read_to_string(dir.join("log")).unwrap()));
        std::thread::spawn(move || lines.for_each(drop));
        Running { url, child, _dir: dir }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[allow(clippy::disallowed_methods, reason = "the test's own client, on loopback")]
fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(Duration::from_secs(40)).no_proxy().build().unwrap()
}

// ---- routes ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_route_is_described() {
    let server = Running::start();
    let document = client().get(format!("{}/public/openapi.json", server.url)).send().await.unwrap();
    let document: Value = document.json().await.unwrap();
    let page = api();
    let overview = page.split("To try the examples").next().unwrap();

    let paths = document["paths"].as_object().unwrap();

    assert!(paths.len() > 15);
    for (path, item) in paths {
        let row = overview.lines().find(|line| line.contains(&format!("[`{path}`]")));
        let row = row.unwrap_or_else(|| panic!("docs/api.md does not list {path}"));
        for (method, operation) in item.as_object().unwrap() {
            let method = method.to_uppercase();
            assert!(row.contains(&format!("`{method}`")), "docs/api.md does not list {method} {path}");
            let scope = operation["x-scope"].as_str().map_or(String::new(), |scope| format!("`{scope}`"));
            assert!(row.contains(&scope), "docs/api.md does not say that {method} {path} needs {scope}");
        }
    }
    let listed = overview.matches("[`/").count();
    assert_eq!(listed, paths.len(), "docs/api.md lists a path that is none");
}

// ---- examples --------------------------------------------------------------------------------------------------------

/// A block of commands that is marked to be run, with the answer that stands below it.
struct Example {
    command: String,
    status: u16,
    answer: String,
    /// Only the status counts.
    is_shortened: bool,
}

fn examples(document: &str) -> Vec<Example> {
    let marked = document.split("<!-- run").skip(1);
    let example = |part: &str| {
        let mut fenced = part.split("```");
        let command = fenced.nth(1).unwrap().strip_prefix("sh\n").expect("a block of sh").to_owned();
        let (status, answer) =
            fenced.nth(1).expect("an answer below the command").trim().split_once(' ').unwrap();
        Example {
            command,
            status: status.parse().expect("an answer begins with its status"),
            answer: answer.to_owned(),
            is_shortened: part.starts_with(", shortened -->"),
        }
    };
    marked.map(example).collect()
}

/// Splits a command as a shell does, as far as the examples need it: quotes, escaped line ends, `$NAME`.
fn words(command: &str, variables: &BTreeMap<&str, String>) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = command.trim().chars().peekable();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (None, '\\') => assert_eq!(chars.next(), Some('\n'), "only line ends are escaped: {command}"),
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (Some(open), close) if open == close => quote = None,
            (None | Some('"'), '$') => {
                let mut name = String::new();
                while let Some(next) = chars.next_if(|next| next.is_ascii_uppercase() || *next == '_') {
                    name.push(next);
                }
                let value = variables.get(name.as_str()).unwrap_or_else(|| panic!("no ${name}: {command}"));
                word.get_or_insert_default().push_str(value);
            }
            (None, space) if space.is_whitespace() => words.extend(word.take()),
            (_, char) => word.get_or_insert_default().push(char),
        }
    }
    assert!(quote.is_none(), "an open quote: {command}");
    words.extend(word);
    words
}

/// The request that this curl line makes.
fn request(client: &reqwest::Client, words: &[String]) -> reqwest::RequestBuilder {
    let (mut method, mut url, mut headers, mut body) = (None, None, Vec::new(), None);
    assert_eq!(words[0], "curl");
    let mut words = words[1..].iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-s" => {}
            "-X" => method = words.next().cloned(),
            "-H" => headers.push(words.next().unwrap().split_once(": ").unwrap()),
            "-d" | "--data-binary" => body = words.next().cloned(),
            address if address.starts_with("http://") => url = Some(address),
            other => panic!("this test does not know curl's {other}"),
        }
    }
    let method = method.unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
    let mut request = client.request(method.parse().unwrap(), url.expect("an address"));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(body.unwrap_or_default())
}

/// Puts one word for what differs from run to run: ids, and times of our century.
fn settle(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(settle),
        Value::Object(members) => members.values_mut().for_each(settle),
        Value::Number(number) if number.as_f64().is_some_and(|number| number > 1e9) => *value = "TIME".into(),
        Value::String(text) => {
            let is_id = |from: usize| {
                text.get(from..from + 32).filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()))
            };
            if let Some(id) = (0..text.len()).find_map(is_id) {
                *text = text.replace(&id.to_owned(), "ID");
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_examples_give_the_answers_that_stand_below_them() {
    run_examples(&api(), 20).await;
}

#[tokio::test]
async fn so_do_those_about_costs() {
    run_examples(&read("docs/costs.md"), 3).await;
}

#[tokio::test]
async fn so_do_those_about_ai_steps() {
    run_examples(&read("docs/ai-steps.md"), 3).await;
}

#[tokio::test]
async fn so_do_those_about_the_gateway() {
    run_examples(&read("docs/gateway.md"), 2).await;
}

#[tokio::test]
async fn so_do_those_about_budgets() {
    run_examples(&read("docs/budgets.md"), 7).await;
    run_examples(&read("docs/budget-ceiling.md"), 3).await;
}

/// Runs them in their order on a new server; `least` says that they are still found.
async fn run_examples(page: &str, least: usize) {
    let mock = levqor_mock_ai::MockAi::start(([127, 0, 0, 1], 0).into(), Default::default()).await.unwrap();
    let provider = format!("{}/v1", mock.url());
    let server = Running::with(&[("OPENAI_API_KEY", "any"), ("OPENAI_BASE_URL", &provider)]);
    let client = client();
    let mut variables = BTreeMap::from([("LEVQOR", server.url.clone()), ("API_KEY", "any".to_owned())]);
    let examples = examples(page);
    assert!(examples.len() >= least);

    for Example { command, status, answer, is_shortened } in examples {
        let reply = request(&client, &words(&command, &variables)).send().await.unwrap();
        let got = reply.status().as_u16();
        let text = reply.text().await.unwrap();

        assert_eq!(got, status, "{command}\n{text}");
        let made: Value = serde_json::from_str(&text).unwrap_or_default();
        if let (Some(key), Some(id)) = (made["key"].as_str(), made["id"].as_str()) {
            variables.insert("API_KEY", key.to_owned());
            let before = variables.insert("KEY_ID", id.to_owned());
            variables.insert("OLD_KEY_ID", before.unwrap_or_default());
        }
        if is_shortened {
            continue;
        }
        let mut got: Value = serde_json::from_str(&text).unwrap();
        let accepted = got.pointer("/results/0/job_id").unwrap_or(&got["job_id"]);
        if let Some(id) = accepted.as_str() {
            variables.insert("JOB_ID", id.to_owned());
        }
        if let Some(id) = got.pointer("/user/id").and_then(Value::as_str) {
            variables.insert("USER_ID", id.to_owned());
        }
        let mut expected: Value = serde_json::from_str(&answer).unwrap();
        settle(&mut got);
        settle(&mut expected);
        assert_eq!(got, expected, "{command}\nanswered\n{text}");
    }
}
