//! Which providers are asked what a day cost, with which admin keys.

use levqor_connectors::CostReport;
use levqor_core::money::Reporter;

use super::parse::{self, Vars};
use super::{ConfigError, Secret};

#[derive(Clone, Debug, PartialEq)]
pub struct CostReports {
    pub openai_key: Option<Secret>,
    pub openai_url: String,
    pub anthropic_key: Option<Secret>,
    pub anthropic_url: String,
}

impl CostReports {
    /// What the engine is told.
    pub fn reports(&self) -> Vec<CostReport> {
        let all = [
            ("openai", Reporter::OpenAi, &self.openai_key, &self.openai_url),
            ("anthropic", Reporter::Anthropic, &self.anthropic_key, &self.anthropic_url),
        ];
        let keyed = all.into_iter().filter_map(|(provider, reporter, key, url)| {
            let admin_key = key.as_ref()?.reveal().to_owned();
            Some(CostReport { provider, reporter, base_url: url.clone(), admin_key })
        });
        keyed.collect()
    }
}

pub(super) fn cost_reports(vars: &Vars<'_>) -> Result<CostReports, ConfigError> {
    let key = |name: &'static str| match vars.get(name) {
        None => Ok(None),
        Some(text) if text.len() <= 500 && text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Some(Secret::new(text)))
        }
        Some(_) => Err(ConfigError::hidden(name, "expected one admin key, visible ASCII without blanks")),
    };
    Ok(CostReports {
        openai_key: key("OPENAI_ADMIN_KEY")?,
        openai_url: parse::address(vars, "OPENAI_ADMIN_URL", "https://api.openai.com")?,
        anthropic_key: key("ANTHROPIC_ADMIN_KEY")?,
        anthropic_url: parse::address(vars, "ANTHROPIC_ADMIN_URL", "https://api.anthropic.com")?,
    })
}
