//! The `.env` file: its variables, and on which line each stands, so that a mistake is told by file, line and variable.
//!
//! The file's own text is never repeated: a line that does not parse may hold a secret.

use std::collections::BTreeMap;
use std::path::Path;

use super::ConfigError;

#[derive(Debug, Default)]
pub(super) struct EnvFile {
    pub vars: BTreeMap<String, String>,
    lines: BTreeMap<String, usize>,
}

impl EnvFile {
    /// Nothing where there is no file.
    pub fn read(path: &Path) -> Result<EnvFile, ConfigError> {
        match std::fs::read_to_string(path) {
            Ok(text) => EnvFile::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(EnvFile::default()),
            Err(error) => Err(ConfigError::new(format!(".env: cannot be read: {error}"))),
        }
    }

    fn parse(text: &str) -> Result<EnvFile, ConfigError> {
        let mut file = EnvFile::default();
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(name) = name_of(line) {
                // The last one wins, as it does in the reader.
                file.lines.insert(name.to_owned(), number);
            }
        }
        let mut last = 0;
        for entry in dotenvy::from_read_iter(text.as_bytes()) {
            let (name, value) = entry.map_err(|error| match error {
                dotenvy::Error::LineParse(line, _) => unreadable(text, &line, last),
                _ => ConfigError::new(".env: cannot be read: expected lines of NAME=value".to_owned()),
            })?;
            last = file.lines.get(&name).copied().unwrap_or(last).max(last);
            file.vars.insert(name, value);
        }
        Ok(file)
    }

    /// The same mistake, with the place where its value stands, if that is this file.
    pub fn locate(&self, error: ConfigError, in_force: &BTreeMap<String, String>) -> ConfigError {
        let text = error.to_string();
        let name: String = text.chars().take_while(|&it| it.is_ascii_alphanumeric() || it == '_').collect();
        match self.lines.get(&name) {
            Some(line) if self.vars.get(&name) == in_force.get(&name) => {
                ConfigError::new(format!("{text} (.env, line {line})"))
            }
            _ => error,
        }
    }
}

/// The variable that a line sets.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let name = line.split_once('=')?.0.trim_end();
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(name)
}

/// `last` is the line of the last variable that could be read: of quotes that never end the reader keeps no text.
fn unreadable(text: &str, broken: &str, last: usize) -> ConfigError {
    let first = broken.lines().next().unwrap_or_default().trim();
    let is_line = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let mut lines = (1..).zip(text.lines()).filter(|(number, line)| *number > last && is_line(line));
    let after = lines.clone().next();
    let (place, line) = lines.find(|(_, line)| line.trim() == first).or(after).unwrap_or_default();
    let what = name_of(line)
        .map_or_else(|| "it is no variable".to_owned(), |name| format!("the value of {name} cannot be read"));
    ConfigError::new(format!(
        ".env, line {place}: {what}: expected NAME=value, in single quotes if it holds spaces, quotes, # or $"
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_is_named_without_its_text() {
        for (text, told) in [
            ("PORT=1\n\nSECRET_CRM=hunter2 and more\n", ".env, line 3: the value of SECRET_CRM"),
            ("# fine\nexport API_KEYS='hunter2\n", ".env, line 2: the value of API_KEYS"),
            ("PORT=1\nhunter2 hunter2\n", ".env, line 2: it is no variable"),
        ] {
            let error = EnvFile::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(told) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_its_line_unless_it_came_from_elsewhere() {
        let file = EnvFile::parse("PORT=1\nRATE_BURST=1\nPORT=many\n").unwrap();
        let mistake = || ConfigError::new("PORT=\"many\" is not valid: expected a number".to_owned());

        let here = file.locate(mistake(), &file.vars);
        let elsewhere = file.locate(mistake(), &BTreeMap::from([("PORT".to_owned(), "lots".to_owned())]));

        assert_eq!(here.to_string(), "PORT=\"many\" is not valid: expected a number (.env, line 3)");
        assert!(!elsewhere.to_string().contains(".env"));
    }
}
