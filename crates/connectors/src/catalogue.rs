//! Which vendors, actions and parameters there are. Requests are checked against this, and clients are shown it.

use std::sync::LazyLock;

use levqor_core::schema::Schema;
use levqor_core::workflow::problem::join;
use serde_json::{Map, Value, json};

use crate::connect::Error;
use crate::{gmail, notion, slack, telegram};

/// In the order in which clients are told the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    Gmail,
    Notion,
    Slack,
    Telegram,
}

impl Vendor {
    pub const ALL: [Vendor; 4] = [Vendor::Gmail, Vendor::Notion, Vendor::Slack, Vendor::Telegram];

    pub fn name(self) -> &'static str {
        match self {
            Vendor::Gmail => "gmail",
            Vendor::Notion => "notion",
            Vendor::Slack => "slack",
            Vendor::Telegram => "telegram",
        }
    }

    /// Case matters.
    pub fn named(name: &str) -> Option<Vendor> {
        Vendor::ALL.into_iter().find(|vendor| vendor.name() == name)
    }

    /// What a request without credentials is told.
    pub fn required(self) -> &'static str {
        match self {
            Vendor::Gmail => "credentials required (OAuth2 token)",
            Vendor::Notion => "token required (Notion integration token)",
            Vendor::Slack => "token required (Slack bot token)",
            Vendor::Telegram => "token required (Telegram bot token)",
        }
    }

    /// The member of a request that holds them.
    pub fn credentials_member(self) -> &'static str {
        match self {
            Vendor::Gmail => "credentials",
            _ => "token",
        }
    }

    fn actions(self) -> &'static [Action] {
        match self {
            Vendor::Gmail => gmail::ACTIONS,
            Vendor::Notion => notion::ACTIONS,
            Vendor::Slack => slack::ACTIONS,
            Vendor::Telegram => telegram::ACTIONS,
        }
    }
}

/// One thing that a vendor can be asked to do.
pub struct Action {
    pub name: &'static str,
    pub about: &'static str,
    pub required: &'static [&'static str],
    /// The `properties` of the parameters' JSON Schema.
    pub properties: &'static str,
}

/// An action whose schema is compiled.
pub struct Known {
    pub action: &'static Action,
    /// The JSON Schema of the parameters.
    pub params: Value,
    schema: Schema,
    /// That of each parameter alone.
    members: Vec<(String, Schema)>,
}

static KNOWN: LazyLock<Vec<(Vendor, Vec<Known>)>> = LazyLock::new(|| {
    let known = |action| Known::new(action);
    Vendor::ALL.into_iter().map(|vendor| (vendor, vendor.actions().iter().map(known).collect())).collect()
});

/// Every vendor with its actions.
pub fn all() -> &'static [(Vendor, Vec<Known>)] {
    &KNOWN
}

/// An action by its name.
pub fn find(vendor: Vendor, action: &str) -> Option<&'static Known> {
    let (_, actions) = KNOWN.iter().find(|(known, _)| *known == vendor)?;
    actions.iter().find(|known| known.action.name == action)
}

impl Known {
    fn new(action: &'static Action) -> Self {
        let properties: Value =
            serde_json::from_str(action.properties).expect("every schema is compiled by a test");
        let params = json!({"type": "object", "additionalProperties": false,
            "required": action.required, "properties": properties});
        let schema = Schema::compile(&params.to_string()).expect("every schema is compiled by a test");
        let members = params["properties"].as_object().into_iter().flatten().map(|(name, property)| {
            let schema = Schema::compile(&property.to_string()).expect("every schema is compiled by a test");
            (name.clone(), schema)
        });
        let members = members.collect();
        Known { action, params, schema, members }
    }

    /// Checks parameters of which some will be known only later (`None`): their names, that none is missing, and the values
    /// that are known, as JSON. Places and what is wrong there; `""` is the place of all.
    pub fn check_fixed(&self, params: &[(&str, Option<&str>)]) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let given = |name: &str| params.iter().find(|(given, _)| *given == name).map(|(_, value)| *value);
        let is_missing = |name: &&&str| matches!(given(name), None | Some(Some("null" | "\"\"")));
        if self.action.required.iter().any(|name| is_missing(&name)) {
            wrong.push((String::new(), sentence(self.action.required)));
        }
        for (name, value) in params {
            let at = join("", name);
            let Some((_, schema)) = self.members.iter().find(|(known, _)| known == name) else {
                let names = self.members.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
                let there_are =
                    if names.is_empty() { "there are none".to_owned() } else { format!("there are {names}") };
                wrong.push((at, format!("{} has no such parameter; {there_are}", self.action.name)));
                continue;
            };
            let violations = value.map(|value| schema.validate(value)).and_then(Result::err);
            wrong.extend(
                violations.into_iter().flatten().map(|one| (format!("{at}{}", one.pointer), one.message)),
            );
        }
        wrong
    }

    /// What is required comes first and has a sentence of its own; an empty text counts as missing.
    pub(crate) fn check(&self, params: &Map<String, Value>) -> Result<(), Error> {
        let is_missing = |name: &&&str| match params.get(**name) {
            None | Some(Value::Null) => true,
            Some(value) => value.as_str() == Some(""),
        };
        if self.action.required.iter().any(|name| is_missing(&name)) {
            return Err(Error::ParamsRequired(sentence(self.action.required)));
        }
        let text = Value::Object(params.clone()).to_string();
        self.schema.validate(&text).map_err(|violations| {
            let at = |pointer: String| format!("/params{pointer}");
            Error::Invalid(violations.into_iter().map(|one| (at(one.pointer), one.message)).collect())
        })
    }
}

/// `a required`, `a and b required`, `a, b and c required`.
fn sentence(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => format!("{only} required"),
        [first @ .., last] => format!("{} and {last} required", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_compiles_and_names_what_it_requires() {
        for (vendor, actions) in all() {
            assert!(actions.len() >= 4, "{vendor:?}");
            for known in actions {
                let at = format!("{vendor:?} {}", known.action.name);
                for name in known.action.required {
                    assert!(known.params["properties"][name].is_object(), "{at}: {name}");
                }
                for (name, property) in known.params["properties"].as_object().into_iter().flatten() {
                    assert!(property["description"].is_string(), "{at}: {name} has no description");
                }
            }
        }
    }

    #[test]
    fn what_is_missing_is_told_in_one_sentence() {
        for (names, expected) in [
            (&["a"][..], "a required"),
            (&["a", "b"], "a and b required"),
            (&["a", "b", "c"], "a, b and c required"),
        ] {
            assert_eq!(sentence(names), expected);
        }
    }
}
