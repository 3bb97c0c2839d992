//! Which AI providers can be called, with which keys, and what calls may cost.

use std::collections::BTreeMap;
use std::time::Duration;

use levqor_connectors::ai::{Limits, Provider};
use levqor_connectors::catalogue::Vendor;
use levqor_core::duration::format_duration;
use levqor_core::money::{MAX_AMOUNT, Nano};
use levqor_core::rate::MinuteLimits;
use levqor_engine::ai::AiSettings;

use super::ConfigError;
use super::parse::{self, Vars};

/// Providers that are known by name, and their variables.
const KNOWN: [(&str, &str, &str); 8] = [
    ("openai", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ("anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
    ("gemini", "GEMINI_API_KEY", "GEMINI_BASE_URL"),
    ("groq", "GROQ_API_KEY", "GROQ_BASE_URL"),
    ("mistral", "MISTRAL_API_KEY", "MISTRAL_BASE_URL"),
    ("deepseek", "DEEPSEEK_API_KEY", "DEEPSEEK_BASE_URL"),
    ("xai", "XAI_API_KEY", "XAI_BASE_URL"),
    ("openrouter", "OPENROUTER_API_KEY", "OPENROUTER_BASE_URL"),
];

/// The same company, the same key, the other wire.
const RESPONSES: &str = "openai-responses";

/// Variables of providers' keys, by the name in `AI_PROVIDERS` in capitals.
const KEY_PREFIX: &str = "AI_KEY_";

#[derive(Clone, Debug, PartialEq)]
pub struct Ai {
    /// Those that have a key, and those of `AI_PROVIDERS`.
    pub providers: Vec<Provider>,
    /// Those that only stored connections have a key for.
    keyless: Vec<Provider>,
    /// By the variable.
    base_urls: BTreeMap<&'static str, String>,
    /// Of `AI_PROVIDERS`, by name.
    own: BTreeMap<String, String>,
    pub max_cost_per_job: Nano,
    pub max_cost_per_day: Nano,
    pub first_byte: Duration,
    pub timeout: Duration,
    /// By the provider's name.
    pub limits: BTreeMap<String, MinuteLimits>,
    pub assumed_share_percent: u32,
}

impl Ai {
    /// What the engine is told.
    pub fn settings(&self) -> AiSettings {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        AiSettings {
            providers: self.providers.clone(),
            keyless: self.keyless.clone(),
            per_job: self.max_cost_per_job,
            per_day: self.max_cost_per_day,
            limits: Limits { first_byte_ms: ms(self.first_byte), total_ms: ms(self.timeout) },
            provider_limits: self.limits.clone(),
            assumed_share_ppm: self.assumed_share_percent * 10_000,
        }
    }

    /// The value of one of these settings as it may be shown; `None` for another.
    pub(super) fn shown(&self, name: &str) -> Option<String> {
        if let Some(base_url) = self.base_urls.get(name) {
            return Some(base_url.clone());
        }
        let has_key = |provider: &str| self.providers.iter().any(|it| it.name == provider);
        let keys = KNOWN.iter().map(|(provider, key, _)| (*provider, *key));
        let mut keys = keys.chain([("azure", "AZURE_OPENAI_API_KEY")]);
        if let Some((provider, _)) = keys.find(|(_, key)| *key == name) {
            return Some(if has_key(provider) { "(1 hidden)".to_owned() } else { String::new() });
        }
        let duration = |duration: Duration| format_duration(duration.as_millis() as i64);
        Some(match name {
            "AI_PROVIDERS" => {
                self.own.iter().map(|(name, url)| format!("{name}={url}")).collect::<Vec<_>>().join(",")
            }
            "MAX_COST_PER_JOB" => self.max_cost_per_job.to_string(),
            "MAX_COST_PER_DAY" => self.max_cost_per_day.to_string(),
            "AI_FIRST_BYTE" => duration(self.first_byte),
            "AI_TIMEOUT" => duration(self.timeout),
            "AI_LIMITS" => self.limits.iter().map(shown_limits).collect::<Vec<_>>().join(","),
            "AI_ASSUMED_SHARE" => self.assumed_share_percent.to_string(),
            _ => return None,
        })
    }

    /// Variables of keys that are set.
    pub(super) fn key_variables(&self) -> impl Iterator<Item = String> {
        let keyed = self.providers.iter().filter(|it| self.own.contains_key(&it.name) && !it.key.is_empty());
        keyed.map(|provider| key_variable(&provider.name))
    }
}

pub(super) fn ai(vars: &Vars<'_>) -> Result<Ai, ConfigError> {
    let (mut providers, mut keyless, mut base_urls) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (name, key_variable, url_variable) in KNOWN {
        let own_url = Provider::known(name, "", None).map(|known| known.base_url).unwrap_or_default();
        let base_url = parse::address(vars, url_variable, &own_url)?;
        let key = key(vars, key_variable)?;
        let wires = if name == "openai" { vec![name, RESPONSES] } else { vec![name] };
        let known =
            wires.iter().filter_map(|it| Provider::known(it, key.unwrap_or_default(), Some(&base_url)));
        if key.is_some() {
            providers.extend(known)
        } else {
            keyless.extend(known)
        }
        base_urls.insert(url_variable, base_url);
    }
    if let Some(azure) = azure(vars, &mut base_urls)? {
        if azure.key.is_empty() { keyless.push(azure) } else { providers.push(azure) }
    }
    let own = own_providers(vars)?;
    for (name, url) in &own {
        let key = key_of_own(vars, &key_variable(name))?;
        providers.push(Provider::compatible(name, key.unwrap_or_default(), url));
    }
    no_key_without_provider(vars, &own)?;
    let most = Duration::from_secs(3_600);
    Ok(Ai {
        limits: limits(vars, &own)?,
        assumed_share_percent: vars.number("AI_ASSUMED_SHARE", 1, 100, 10)? as u32,
        providers,
        keyless,
        base_urls,
        own,
        max_cost_per_job: amount(vars, "MAX_COST_PER_JOB", Nano::new(350_000_000))?,
        max_cost_per_day: amount(vars, "MAX_COST_PER_DAY", Nano::new(10_000_000_000))?,
        first_byte: vars.duration("AI_FIRST_BYTE", most, Duration::from_secs(120))?,
        timeout: vars.duration("AI_TIMEOUT", most, Duration::from_secs(600))?,
    })
}

/// A resource of Azure has no address that everybody shares.
fn azure(
    vars: &Vars<'_>,
    base_urls: &mut BTreeMap<&'static str, String>,
) -> Result<Option<Provider>, ConfigError> {
    let base_url = parse::address(vars, "AZURE_OPENAI_BASE_URL", "")?;
    let provider = match (key(vars, "AZURE_OPENAI_API_KEY")?, base_url.as_str()) {
        (Some(_), "") => {
            let allowed = "it is set but AZURE_OPENAI_BASE_URL is not; set it to https://NAME.openai.azure.com/openai/v1";
            return Err(ConfigError::hidden("AZURE_OPENAI_API_KEY", allowed));
        }
        (None, "") => None,
        (key, url) => Some(Provider::azure(key.unwrap_or_default(), url)),
    };
    base_urls.insert("AZURE_OPENAI_BASE_URL", base_url);
    Ok(provider)
}

fn key<'a>(vars: &Vars<'a>, name: &str) -> Result<Option<&'a str>, ConfigError> {
    checked_key(name, vars.get(name))
}

fn checked_key<'a>(name: &str, key: Option<&'a str>) -> Result<Option<&'a str>, ConfigError> {
    match key {
        Some(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Err(ConfigError::hidden(name, "expected a key of visible ASCII characters without blanks"))
        }
        key => Ok(key),
    }
}

fn key_variable(provider: &str) -> String {
    format!("{KEY_PREFIX}{}", provider.to_ascii_uppercase().replace('-', "_"))
}

fn key_of_own<'a>(vars: &Vars<'a>, variable: &str) -> Result<Option<&'a str>, ConfigError> {
    let key = vars.0.get(variable).map(|key| key.trim()).filter(|key| !key.is_empty());
    checked_key(variable, key)
}

/// `name=address`, separated by commas.
fn own_providers(vars: &Vars<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
    let mut own = BTreeMap::new();
    let entries = vars.get("AI_PROVIDERS").unwrap_or_default().split(',').map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let wrong = |allowed: &str| Err(ConfigError::wrong("AI_PROVIDERS", entry, allowed));
        let Some((name, url)) = entry.split_once('=').map(|(name, url)| (name.trim(), url.trim())) else {
            return wrong("expected NAME=ADDRESS with commas between, such as vllm=http://10.0.0.5:8000/v1");
        };
        let is_name = (1..=40).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !is_name {
            return wrong("a name has 1 to 40 of a-z, 0-9 and -");
        }
        if Vendor::named(name).is_some() {
            return wrong("this name is taken by a connector");
        }
        if name == "azure" || Provider::names().any(|known| known == name) {
            return wrong("this name is taken by a provider that is known: set its own variables");
        }
        if !parse::is_address(url) {
            return wrong("expected an address such as https://example.com/v1, without ? and #");
        }
        if own.insert(name.to_owned(), url.trim_end_matches('/').to_owned()).is_some() {
            return wrong("the name is there twice");
        }
    }
    Ok(own)
}

/// A key that nobody uses is a name that was misspelt.
fn no_key_without_provider(vars: &Vars<'_>, own: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    let known: Vec<String> = own.keys().map(|name| key_variable(name)).collect();
    let is_set = |variable: &&String| vars.0.get(*variable).is_some_and(|key| !key.trim().is_empty());
    let mut set = vars.0.keys().filter(|name| name.starts_with(KEY_PREFIX)).filter(is_set);
    match set.find(|variable| !known.contains(variable)) {
        Some(variable) => {
            Err(ConfigError::hidden(variable, "there is no provider of this name in AI_PROVIDERS"))
        }
        None => Ok(()),
    }
}

/// `name=requests/tokens` a minute, separated by commas; either may be left out.
fn limits(
    vars: &Vars<'_>,
    own: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, MinuteLimits>, ConfigError> {
    let mut limits = BTreeMap::new();
    let entries = vars.get("AI_LIMITS").unwrap_or_default().split(',').map(str::trim);
    for entry in entries.filter(|entry| !entry.is_empty()) {
        let wrong = |allowed: &str| ConfigError::wrong("AI_LIMITS", entry, allowed);
        let form = "expected NAME=REQUESTS/TOKENS a minute with commas between, such as openai=500/200000 or groq=30";
        let (name, numbers) = entry.split_once('=').ok_or_else(|| wrong(form))?;
        let (requests, tokens) = numbers.split_once('/').unwrap_or((numbers, ""));
        let number = |text: &str| match text.trim() {
            "" => Ok(None),
            text if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse::<u32>().ok().filter(|number| *number > 0).map(Some).ok_or_else(|| wrong(form))
            }
            _ => Err(wrong(form)),
        };
        let limit = MinuteLimits { requests: number(requests)?, tokens: number(tokens)?.map(u64::from) };
        let name = name.trim();
        let is_known =
            name == "azure" || own.contains_key(name) || KNOWN.iter().any(|(known, ..)| *known == name);
        if !is_known {
            return Err(wrong("there is no provider of this name"));
        }
        if limit == MinuteLimits::default() {
            return Err(wrong(form));
        }
        if limits.insert(name.to_owned(), limit).is_some() {
            return Err(wrong("the name is there twice"));
        }
    }
    Ok(limits)
}

fn shown_limits((name, limits): (&String, &MinuteLimits)) -> String {
    let requests = limits.requests.map_or_else(String::new, |number| number.to_string());
    let tokens = limits.tokens.map_or_else(String::new, |number| format!("/{number}"));
    format!("{name}={requests}{tokens}")
}

fn amount(vars: &Vars<'_>, name: &str, default: Nano) -> Result<Nano, ConfigError> {
    let Some(text) = vars.get(name) else { return Ok(default) };
    Nano::parse(text).map_err(|problem| {
        let allowed = format!(
            "{problem}; expected an amount in US dollars such as 0.35, nine digits after the point at most, up to {MAX_AMOUNT}; 0 lets no AI call happen"
        );
        ConfigError::wrong(name, text, &allowed)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::{Config, SETTINGS};

    /// Variables, and words of the refusal.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);

    fn config(vars: &[(&str, &str)]) -> Result<Ai, String> {
        let map = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Config::from_map(&map).map(|config| config.ai).map_err(|error| error.to_string())
    }

    fn names(ai: &Ai) -> Vec<&str> {
        ai.providers.iter().map(|provider| provider.name.as_str()).collect()
    }

    #[test]
    fn a_provider_can_be_called_once_it_has_a_key() {
        assert_eq!(names(&config(&[]).unwrap()), [""; 0]);

        let ai = config(&[
            ("OPENAI_API_KEY", "sk-1"),
            ("GROQ_API_KEY", "gsk-1"),
            ("GROQ_BASE_URL", "http://127.0.0.1:9/"),
            ("AZURE_OPENAI_API_KEY", "az-1"),
            ("AZURE_OPENAI_BASE_URL", "https://x.openai.azure.com/openai/v1"),
            ("AI_PROVIDERS", "vllm=http://10.0.0.5:8000/v1/, my-ollama=http://localhost:11434/v1"),
            ("AI_KEY_MY_OLLAMA", "o-1"),
        ])
        .unwrap();

        assert_eq!(names(&ai), ["openai", "openai-responses", "groq", "azure", "my-ollama", "vllm"]);
        let find = |name: &str| ai.providers.iter().find(|it| it.name == name).unwrap();
        assert_eq!(find("groq").base_url, "http://127.0.0.1:9");
        assert_eq!(
            (find("vllm").base_url.as_str(), find("vllm").key.as_str()),
            ("http://10.0.0.5:8000/v1", "")
        );
        assert_eq!(find("my-ollama").key, "o-1");
        assert_eq!(find("azure").dialect.key_header, ("api-key", ""));
    }

    #[test]
    fn limits_of_providers_are_read_and_shown() {
        let ai = config(&[("AI_LIMITS", "openai=500/200000, groq=30,anthropic=/40000")]).unwrap();

        let limit = |requests, tokens| MinuteLimits { requests, tokens };
        assert_eq!(ai.limits["openai"], limit(Some(500), Some(200_000)));
        assert_eq!(ai.limits["groq"], limit(Some(30), None));
        assert_eq!(ai.limits["anthropic"], limit(None, Some(40_000)));
        assert_eq!(ai.shown("AI_LIMITS").unwrap(), "anthropic=/40000,groq=30,openai=500/200000");
    }

    #[test]
    fn every_known_provider_has_variables_and_its_own_address_as_default() {
        for name in Provider::names().filter(|name| *name != RESPONSES) {
            let (_, key, url) = KNOWN.iter().find(|(known, ..)| *known == name).unwrap();
            let setting = |name: &str| SETTINGS.iter().find(|setting| setting.name == name).unwrap();
            assert_eq!(setting(key).default, "");
            assert_eq!(setting(url).default, Provider::known(name, "", None).unwrap().base_url);
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_its_name_and_without_a_key() {
        let cases: &[Case] = &[
            (&[("MAX_COST_PER_JOB", "0,35")], &["MAX_COST_PER_JOB", "0,35", "such as 0.35"]),
            (&[("MAX_COST_PER_JOB", "1e3")], &["MAX_COST_PER_JOB", "1e3"]),
            (&[("MAX_COST_PER_DAY", "-1")], &["MAX_COST_PER_DAY", "-1"]),
            (&[("MAX_COST_PER_DAY", "$10")], &["MAX_COST_PER_DAY", "$10"]),
            (&[("MAX_COST_PER_DAY", "1000001")], &["MAX_COST_PER_DAY", "1000000"]),
            (&[("MAX_COST_PER_DAY", "0.0000000001")], &["MAX_COST_PER_DAY", "nine digits"]),
            (&[("OPENAI_API_KEY", "p4ss p4ss")], &["OPENAI_API_KEY", "visible"]),
            (&[("OPENAI_BASE_URL", "api.openai.com")], &["OPENAI_BASE_URL", "https://"]),
            (&[("AZURE_OPENAI_API_KEY", "p4ss")], &["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_BASE_URL"]),
            (&[("AI_PROVIDERS", "vllm")], &["AI_PROVIDERS", "vllm", "NAME=ADDRESS"]),
            (&[("AI_PROVIDERS", "vLLM=http://h/v1")], &["AI_PROVIDERS", "a-z"]),
            (&[("AI_PROVIDERS", "openai=http://h/v1")], &["AI_PROVIDERS", "taken"]),
            (&[("AI_PROVIDERS", "a=h/v1")], &["AI_PROVIDERS", "a=h/v1", "https://"]),
            (&[("AI_PROVIDERS", "a=http://h,a=http://i")], &["AI_PROVIDERS", "twice"]),
            (&[("AI_KEY_VLMM", "p4ss"), ("AI_PROVIDERS", "vllm=http://h")], &["AI_KEY_VLMM", "AI_PROVIDERS"]),
            (&[("AI_KEY_VLLM", "p4 ss"), ("AI_PROVIDERS", "vllm=http://h")], &["AI_KEY_VLLM", "visible"]),
            (&[("AI_LIMITS", "openai")], &["AI_LIMITS", "NAME=REQUESTS/TOKENS"]),
            (&[("AI_LIMITS", "openai=/")], &["AI_LIMITS", "openai=/"]),
            (&[("AI_LIMITS", "openai=0")], &["AI_LIMITS", "openai=0"]),
            (&[("AI_LIMITS", "openai=5,openai=6")], &["AI_LIMITS", "twice"]),
            (&[("AI_LIMITS", "acme=5")], &["AI_LIMITS", "acme", "no provider"]),
            (&[("AI_LIMITS", "openai=5000000000")], &["AI_LIMITS", "5000000000"]),
            (&[("AI_ASSUMED_SHARE", "0")], &["AI_ASSUMED_SHARE", "1 to 100"]),
            (&[("AI_TIMEOUT", "2h")], &["AI_TIMEOUT", "2h", "3600s"]),
        ];

        for (vars, words) in cases {
            let error = config(vars).expect_err(&format!("{vars:?} must be refused"));
            assert!(words.iter().all(|word| error.contains(word)), "{vars:?}: {error}");
            assert!(!error.contains("p4ss") && !error.contains("p4 ss"), "{error}");
        }
    }
}
