//! `levqor workflows`: the definitions of a server, and a check of a file without one.

use clap::{Args, Subcommand};
use levqor_engine::parse_definition;
use serde_json::Value;

use super::client::{Api, Call, Server, read_source, segment};
use super::exit::{Exit, Failure};
use super::out::{self, note, plain, say};

/// List workflows, or look at, put, check and delete one
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  levqor workflows
  levqor workflows check workflows/hello.yaml
  levqor workflows put workflows/hello.yaml
  levqor workflows show hello --version 1"
)]
pub struct Workflows {
    #[command(subcommand)]
    command: Option<Command>,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Command {
    /// Print the definition of a workflow as it was put
    Show {
        /// Name of the workflow
        name: String,
        /// Which version [default: the current one]
        #[arg(long)]
        version: Option<u32>,
        #[command(flatten)]
        server: Server,
    },
    /// Check definitions without a server; mistakes are told with line and column
    Check {
        /// YAML or JSON files, or - for standard input
        #[arg(required = true)]
        files: Vec<String>,
    },
    /// Put a definition; it becomes a new version if it differs from the current one
    Put {
        /// YAML or JSON file, or - for standard input
        file: String,
        #[command(flatten)]
        server: Server,
    },
    /// Delete a workflow: new jobs of its name are refused, running ones go on
    Delete {
        /// Name of the workflow
        name: String,
        #[command(flatten)]
        server: Server,
    },
}

impl Workflows {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            None => self.list().await,
            Some(Command::Show { name, version, server }) => show(name, *version, server).await,
            Some(Command::Check { files }) => check(files),
            Some(Command::Put { file, server }) => put(file, server).await,
            Some(Command::Delete { name, server }) => delete(name, server).await,
        }
    }

    async fn list(&self) -> Result<(), Failure> {
        let answer = Api::new(&self.server)?.ask(Call::get("/api/v1/workflows")).await?;
        let body = answer.json();
        let lines: Vec<&Value> = body["workflows"].as_array().into_iter().flatten().collect();
        if self.json {
            say!("{}", answer.text.trim_end());
        } else if lines.is_empty() {
            say!(
                "No workflows. Put one with `levqor workflows put FILE`, or start the server in a folder with workflows/."
            );
        } else {
            say!("{}", table(&lines));
        }
        Ok(())
    }
}

fn table(lines: &[&Value]) -> String {
    let text = |value: &Value| value.as_str().map(plain).unwrap_or_default();
    let head = ["workflow", "version", "steps", ""].map(str::to_owned).to_vec();
    let rows = lines.iter().map(|line| {
        let steps = line["steps"].as_array().into_iter().flatten().map(|step| text(&step["id"]));
        vec![
            text(&line["name"]),
            line["version"].to_string(),
            steps.collect::<Vec<_>>().join(" "),
            text(&line["description"]),
        ]
    });
    out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

async fn show(name: &str, version: Option<u32>, server: &Server) -> Result<(), Failure> {
    let mut call = Call::get(format!("/api/v1/workflows/{}", segment(name)));
    if let Some(version) = version {
        call = call.query("version", version.to_string());
    }
    let body = Api::new(server)?.ask(call).await?.json();
    // The text is the author's own and may be many lines; only what steers a terminal is taken out.
    let source = body["source"].as_str().unwrap_or_default();
    for line in source.lines() {
        say!("{}", line.split('\t').map(plain).collect::<Vec<_>>().join("\t"));
    }
    Ok(())
}

async fn put(file: &str, server: &Server) -> Result<(), Failure> {
    let source = read_source(file)?;
    // The name stands in the definition; reading it here also finds mistakes without a server.
    let definition = parse_definition(&source, None).map_err(|problems| mistakes(file, &problems))?;
    let call = Call::put(format!("/api/v1/workflows/{}", segment(&definition.name)));
    let body =
        Api::new(server)?.ask(call.header("content-type", "application/yaml").body(source)).await?.json();
    let what = if body["created"] == true { "put as" } else { "unchanged, it is" };
    say!("{}: {what} version {}", plain(&definition.name), body["version"]);
    Ok(())
}

async fn delete(name: &str, server: &Server) -> Result<(), Failure> {
    Api::new(server)?.ask(Call::delete(format!("/api/v1/workflows/{}", segment(name)))).await?;
    say!("{}: deleted", plain(name));
    Ok(())
}

fn check(files: &[String]) -> Result<(), Failure> {
    let mut broken = 0;
    for file in files {
        match parse_definition(&read_source(file)?, None) {
            Ok(definition) => {
                let steps = out::count(definition.steps.len(), "step");
                say!("{file}: {} is valid, {steps}", plain(&definition.name));
            }
            Err(problems) => {
                broken += 1;
                note!("{}", mistakes(file, &problems).message);
            }
        }
    }
    if broken > 0 { Err(Failure::silent(Exit::Usage)) } else { Ok(()) }
}

/// `file:line:column: what`, one a line, as editors understand it.
fn mistakes(file: &str, problems: &[levqor_core::workflow::Problem]) -> Failure {
    let line = |problem: &levqor_core::workflow::Problem| {
        let place = match (problem.line, problem.column) {
            (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
            _ => file.to_owned(),
        };
        let path = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        plain(&format!("{place}: {path}{}", problem.message))
    };
    let lines: Vec<String> = problems.iter().map(line).collect();
    Failure::usage(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn mistakes_stand_where_editors_look_for_them() {
        let source = "name: x\nsteps:\n  - id: a\n    http: { metod: GET }\n";

        let failure = mistakes("x.yaml", &parse_definition(source, None).unwrap_err());
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.starts_with("x.yaml:4:"), "{}", failure.message);
    }

    #[test]
    fn the_example_workflows_of_the_repository_are_valid() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../workflows");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let source = std::fs::read_to_string(&path).unwrap();
            let definition =
                parse_definition(&source, None).unwrap_or_else(|problems| panic!("{path:?}: {problems:?}"));
            assert_eq!(Some(definition.name.as_str()), path.file_stem().and_then(|stem| stem.to_str()));
            names.push(definition.name);
        }
        assert!(names.contains(&"hello".to_owned()), "{names:?}");
    }
}
