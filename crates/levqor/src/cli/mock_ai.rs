//! `levqor mock-ai`: an AI provider that costs nothing, for trying out AI steps and budgets without a provider's key.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use clap::Args;
use levqor_mock_ai::{Fault, MockAi, Settings};

use super::exit::Failure;
use super::out::say;

/// Play an AI provider on this machine that costs nothing and keeps a bill
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor mock-ai
  levqor mock-ai --port 9292 --fault drop_reply=0.05 --fault 429=0.1 --seed 7
  curl -s http://127.0.0.1:9191/_mock/bill

It speaks OpenAI chat completions and responses, Anthropic messages and Gemini. Any key is accepted. A fault happens
with the given probability: a status such as 429, reset_before, drop_reply, cut, stall, no_usage, wrong_usage,
overlong or duplicate. More is said to it under /_mock/ (docs/cli.md). Ends with Ctrl-C.")]
pub struct MockAiCommand {
    /// The port on 127.0.0.1
    #[arg(long, default_value_t = 9191)]
    port: u16,

    /// A fault and its probability, such as cut=0.05; may be given several times
    #[arg(long = "fault", value_name = "NAME=SHARE", value_parser = read_fault)]
    faults: Vec<(Fault, u32)>,

    /// The same seed gives the same faults
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Milliseconds from a request to its answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    delay: u64,

    /// Milliseconds between two pieces of a stream
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pace: u64,
}

impl MockAiCommand {
    pub async fn run(&self) -> Result<(), Failure> {
        let settings = Settings {
            delay: Duration::from_millis(self.delay),
            pace: Duration::from_millis(self.pace),
            ..Settings::default()
        };
        let address = (IpAddr::V4(Ipv4Addr::LOCALHOST), self.port).into();
        let mock = MockAi::start(address, settings)
            .await
            .map_err(|error| Failure::failed(format!("port {} cannot be used: {error}", self.port)))?;
        mock.set_fault_rates(self.faults.clone(), self.seed);
        say!("An AI provider that costs nothing listens on {}", mock.url());
        let models: Vec<String> = mock.models().into_keys().collect();
        say!("Models: {}. The bill: {}/_mock/bill", models.join(", "), mock.url());
        tokio::signal::ctrl_c()
            .await
            .map_err(|error| Failure::failed(format!("signals cannot be heard: {error}")))
    }
}

/// `NAME=SHARE`, the share as millionths.
fn read_fault(text: &str) -> Result<(Fault, u32), String> {
    let (name, share) =
        text.split_once('=').ok_or_else(|| "write NAME=SHARE, such as cut=0.05".to_owned())?;
    let fault: Fault = name.parse().map_err(|error: levqor_mock_ai::BadFault| error.to_string())?;
    match share.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok((fault, (share * 1e6) as u32)),
        _ => Err(format!("{share:?} is no share; allowed: 0 to 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_a_name_and_a_share() {
        assert_eq!(read_fault("cut=0.05"), Ok((Fault::Cut, 50_000)));
        assert_eq!(read_fault("429=1"), Ok((Fault::Status(429), 1_000_000)));
        for text in ["cut", "cut=", "cut=2", "cut=-0.1", "fire=0.5", "=0.5", "cut=NaN"] {
            assert!(read_fault(text).is_err(), "{text}");
        }
    }
}
