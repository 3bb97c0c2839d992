//! The command line: what can be said, and which file does it. No rule of Levqor lives here: the client commands talk HTTP
//! to a server like any other program, and `serve` only puts the parts together.

mod ai;
mod ai_calls;
mod audit;
mod backup;
mod bench;
mod budgets;
mod callbacks;
mod child;
mod client;
mod config;
mod connections;
mod costs;
mod demo;
mod email;
mod exit;
mod health;
mod jobs;
mod keys;
mod loopback;
mod migrate;
mod mock_ai;
mod out;
mod prices;
mod relocate;
mod serve;
mod status;
mod submit;
mod validate;
mod watch;
mod workflows;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use exit::{Exit, Failure};

#[derive(Parser)]
#[command(
    name = "levqor",
    version,
    about = "Runs jobs you can trust: taken over HTTP, kept on disk, worked off step by step, answered by a signed callback",
    after_help = exit::HELP,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Submit(submit::Submit),
    Status(status::Status),
    Watch(watch::Watch),
    Jobs(jobs::Jobs),
    Workflows(workflows::Workflows),
    Keys(keys::Keys),
    Audit(audit::Audit),
    Validate(validate::Validate),
    Health(health::Health),
    Migrate(migrate::Migrate),
    Config(config::ShowConfig),
    Callbacks(callbacks::Callbacks),
    Email(email::Email),
    Budgets(budgets::Budgets),
    Prices(prices::Prices),
    Ai(ai::Ai),
    Connections(connections::Connections),
    Costs(costs::Costs),
    #[command(name = "mock-ai")]
    MockAi(mock_ai::MockAiCommand),
    Backup(backup::Backup),
    Move(relocate::Move),
    Bench(bench::Bench),
    #[command(name = "bench-echo", hide = true)]
    BenchEcho(bench::Echo),
}

/// Reads the arguments, runs the command, and says in the exit code how it went.
pub fn run() -> ExitCode {
    let command = Cli::parse().command;
    // Outbound TLS has one provider; both the server's and the commands' clients need it installed before they are built.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match start(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                out::note!("levqor: {}", failure.message);
            }
            failure.exit.into()
        }
    }
}

/// The server gets all processors; a command that waits for one answer needs a single thread.
fn start(command: Command) -> Result<(), Failure> {
    let many_threads = matches!(command, Command::Serve(_) | Command::BenchEcho(_));
    let mut builder = match many_threads {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        // A thread for blocking work keeps the memory of its work until it ends.
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("no runtime could be started: {error}")))?;
    runtime.block_on(perform(command))
}

async fn perform(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(command) => command.run().await,
        Command::Demo(command) => command.run().await,
        Command::Submit(command) => command.run().await,
        Command::Status(command) => command.run().await,
        Command::Watch(command) => command.run().await,
        Command::Jobs(command) => command.run().await,
        Command::Workflows(command) => command.run().await,
        Command::Keys(command) => command.run().await,
        Command::Audit(command) => command.run().await,
        Command::Validate(command) => command.run().await,
        Command::Health(command) => command.run().await,
        Command::Migrate(command) => command.run().await,
        Command::Config(command) => command.run().await,
        Command::Callbacks(command) => command.run().await,
        Command::Email(command) => command.run().await,
        Command::Budgets(command) => command.run().await,
        Command::Prices(command) => command.run().await,
        Command::Ai(command) => command.run().await,
        Command::Connections(command) => command.run().await,
        Command::Costs(command) => command.run().await,
        Command::MockAi(command) => command.run().await,
        Command::Backup(command) => command.run().await,
        Command::Move(command) => command.run().await,
        Command::Bench(command) => command.run().await,
        Command::BenchEcho(command) => command.run().await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_page_about_the_command_line_knows_every_command_and_exit_code() {
        let page = include_str!("../../../docs/cli.md");

        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let heading = format!("\n## levqor {}\n", command.get_name());
            assert!(page.contains(&heading), "docs/cli.md has no section{heading}");
        }
        for line in exit::HELP.lines().filter(|line| line.starts_with("  ")) {
            assert!(page.contains(line), "docs/cli.md does not say: {line}");
        }
    }

    #[test]
    fn every_command_says_what_it_does_and_shows_an_example() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();

            assert!(command.get_about().is_some(), "{name} has no line of help");
            assert!(after.contains(&format!("levqor {name}")), "{name} shows no example: {after:?}");
        }
    }
}
