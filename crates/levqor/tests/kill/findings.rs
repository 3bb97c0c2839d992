//! What an audit found, told so that a person sees at once how many things are wrong: each kind once, with its number and an
//! example.

use std::collections::BTreeMap;
use std::fmt;

#[derive(Default)]
pub struct Findings(BTreeMap<String, Vec<String>>);

impl Findings {
    /// `what` is the kind; `about` what it is about, in full.
    pub fn add(&mut self, what: &str, about: impl Into<String>) {
        self.0.entry(what.to_owned()).or_default().push(about.into());
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, about) in &self.0 {
            writeln!(f, "\n{} × {what}, such as\n{}", about.len(), about[0])?;
        }
        Ok(())
    }
}
