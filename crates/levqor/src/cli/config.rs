//! `levqor config`: what is in force, secrets hidden.

use std::collections::BTreeMap;

use clap::Args;
use levqor::config::SETTINGS;

use super::exit::Failure;
use super::out::{self, say};
use super::serve;

/// Show the settings in force, secrets hidden
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor config
  PORT=8080 levqor config --json
  levqor config --explain

Sources, weakest first: defaults, a .env file in the working directory, the environment.")]
pub struct ShowConfig {
    /// Print as a JSON object
    #[arg(long)]
    json: bool,

    /// Say what each setting means
    #[arg(long, conflicts_with = "json")]
    explain: bool,
}

impl ShowConfig {
    pub async fn run(&self) -> Result<(), Failure> {
        let lines = serve::config_to_show(&BTreeMap::new()).await?.describe();
        if self.json {
            let object: serde_json::Map<_, _> =
                lines.into_iter().map(|(name, value)| (name, value.into())).collect();
            say!("{}", serde_json::Value::from(object));
            return Ok(());
        }
        let about = |name: &str| {
            SETTINGS.iter().find(|setting| setting.name == name).map_or("", |setting| setting.about)
        };
        let rows: Vec<Vec<String>> = lines
            .into_iter()
            .map(|(name, value)| {
                let about = if self.explain { about(&name).to_owned() } else { String::new() };
                vec![name, value, about]
            })
            .collect();
        say!("{}", out::table(&rows));
        Ok(())
    }
}
