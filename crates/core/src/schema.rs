//! JSON Schema 2020-12 for payloads: compiled once, offline, and safe to run on what strangers send.
//!
//! The library is wrapped here alone. Hostile schemas: no remote references; patterns run in linear time and with a
//! bounded size; references that lead back to themselves without going into the value would never end, and references
//! that fan out would take for ever, so both are refused before the library sees them. What multiplies with the depth of a
//! value is bounded in `fan`.

mod fan;
mod words;

use std::collections::HashMap;
use std::fmt;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use self::words::{message, schema_message, short_message};
use crate::workflow::{join, shorten};

/// The longest schema, as compact JSON.
pub const MAX_SCHEMA_BYTES: usize = 64 * 1024;
/// How many violations one answer names.
pub const MAX_VIOLATIONS: usize = 20;
const PATTERN_SIZE_BYTES: usize = 1024 * 1024;
/// How many schemas may apply to one value, references followed.
const MAX_APPLIED: u64 = 5_000;

/// Keywords whose schemas apply to the same value as the schema they stand in.
const IN_PLACE_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const IN_PLACE_SCHEMAS: [&str; 4] = ["not", "if", "then", "else"];

/// A schema that is none, with a JSON pointer into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadSchema {
    pub pointer: String,
    pub message: String,
}

impl BadSchema {
    fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        BadSchema { pointer: pointer.into(), message: message.into() }
    }
}

/// One way in which a value breaks a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// A JSON pointer into the value.
    pub pointer: String,
    pub message: String,
}

/// A compiled schema.
pub struct Schema {
    validator: Validator,
    /// As it was written, to say what is allowed.
    document: Value,
    /// See [`fan::fan`].
    fan: u64,
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

impl Schema {
    /// Compiles a schema from JSON text.
    pub fn compile(raw: &str) -> Result<Self, BadSchema> {
        if raw.len() > MAX_SCHEMA_BYTES {
            let message =
                format!("the schema has {} bytes; at most {MAX_SCHEMA_BYTES} are allowed", raw.len());
            return Err(BadSchema::new("", message));
        }
        let schema: Value =
            serde_json::from_str(raw).map_err(|error| BadSchema::new("", error.to_string()))?;
        check_draft(&schema)?;
        check_references(&schema, "", Names::Keywords)?;
        jsonschema::draft202012::meta::validate(&schema)
            .map_err(|error| BadSchema::new(error.instance_path().to_string(), schema_message(&error)))?;
        Reach { root: &schema, known: HashMap::new() }.check()?;
        let validator = jsonschema::draft202012::options()
            .offline()
            .should_validate_formats(true)
            .with_pattern_options(
                PatternOptions::regex().size_limit(PATTERN_SIZE_BYTES).dfa_size_limit(PATTERN_SIZE_BYTES),
            )
            .build(&schema)
            .map_err(|error| BadSchema::new(error.instance_path().to_string(), short_message(&error)))?;
        Ok(Schema { validator, fan: fan::fan(&schema), document: schema })
    }

    /// Checks a JSON text that passed [`crate::json::compact`]. At most [`MAX_VIOLATIONS`] are named.
    pub fn validate(&self, raw: &str) -> Result<(), Vec<Violation>> {
        if let Some(levels) = fan::too_deep(raw, self.fan) {
            let message = format!(
                "it is nested too deeply for a schema that leads back to itself in {} ways: at most {levels} levels",
                self.fan
            );
            return Err(vec![Violation { pointer: String::new(), message }]);
        }
        let value: Value = serde_json::from_str(raw)
            .map_err(|error| vec![Violation { pointer: String::new(), message: error.to_string() }])?;
        if self.validator.is_valid(&value) {
            return Ok(());
        }
        Err(self
            .validator
            .iter_errors(&value)
            .take(MAX_VIOLATIONS)
            .map(|error| Violation {
                pointer: error.instance_path().to_string(),
                message: message(&error, &self.document),
            })
            .collect())
    }
}

fn check_draft(schema: &Value) -> Result<(), BadSchema> {
    match schema {
        Value::Bool(_) => Ok(()),
        Value::Object(members) => match members.get("$schema") {
            None => Ok(()),
            Some(Value::String(uri))
                if uri.trim_end_matches('#') == "https://json-schema.org/draft/2020-12/schema" =>
            {
                Ok(())
            }
            Some(_) => Err(BadSchema::new(
                "/$schema",
                "only https://json-schema.org/draft/2020-12/schema is known here; leave `$schema` out",
            )),
        },
        _ => Err(BadSchema::new("", "a JSON Schema is an object or a boolean")),
    }
}

/// What the names of an object's members are.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Keywords,
    /// As in `properties`, where a member may well be called `default`.
    Free,
}

/// What the names inside of member `name` are; `None` where values stand, in which a `$ref` is data.
fn names_inside(names: Names, name: &str) -> Option<Names> {
    match name {
        _ if names == Names::Free => Some(Names::Keywords),
        "enum" | "const" | "default" | "examples" => None,
        "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
            Some(Names::Free)
        }
        _ => Some(Names::Keywords),
    }
}

/// References stay inside the schema.
fn check_references(schema: &Value, pointer: &str, names: Names) -> Result<(), BadSchema> {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                let at = join(pointer, name);
                match (name.as_str(), member) {
                    ("$ref", Value::String(target)) if !target.starts_with('#') => {
                        let message = "a `$ref` must stay inside the schema (#/$defs/…); nothing is fetched from elsewhere";
                        return Err(BadSchema::new(at, message));
                    }
                    ("$dynamicRef" | "$recursiveRef", Value::String(_)) => {
                        return Err(BadSchema::new(at, format!("`{name}` is not supported; use `$ref`")));
                    }
                    ("$id", Value::String(_)) => {
                        return Err(BadSchema::new(
                            at,
                            "`$id` is not supported; references stay inside the schema",
                        ));
                    }
                    _ => {
                        if let Some(inside) = names_inside(names, name) {
                            check_references(member, &at, inside)?;
                        }
                    }
                }
            }
            Ok(())
        }
        Value::Array(items) => {
            let mut indexed = items.iter().enumerate();
            indexed.try_for_each(|(index, item)| check_references(item, &format!("{pointer}/{index}"), names))
        }
        _ => Ok(()),
    }
}

/// Counts how many schemas apply to one value when references are followed.
struct Reach<'a> {
    root: &'a Value,
    /// By address of the schema; `None` while it is being counted.
    known: HashMap<*const Value, Option<u64>>,
}

impl<'a> Reach<'a> {
    fn check(mut self) -> Result<(), BadSchema> {
        self.every(self.root, "", Names::Keywords)
    }

    fn every(&mut self, schema: &'a Value, pointer: &str, names: Names) -> Result<(), BadSchema> {
        match schema {
            Value::Object(members) => {
                if names == Names::Keywords && self.count(schema, pointer)? > MAX_APPLIED {
                    let message = format!("more than {MAX_APPLIED} schemas apply to one value here");
                    return Err(BadSchema::new(pointer, message));
                }
                for (name, member) in members {
                    if let Some(inside) = names_inside(names, name) {
                        self.every(member, &join(pointer, name), inside)?;
                    }
                }
                Ok(())
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.every(item, &format!("{pointer}/{index}"), names)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, schema: &'a Value, pointer: &str) -> Result<u64, BadSchema> {
        let Value::Object(members) = schema else { return Ok(1) };
        let address: *const Value = schema;
        match self.known.get(&address) {
            Some(Some(count)) => return Ok(*count),
            Some(None) => {
                let message =
                    "this schema refers back to itself without going into the value: it would never end";
                return Err(BadSchema::new(pointer, message));
            }
            None => {}
        }
        self.known.insert(address, None);
        let mut total = 1u64;
        for (name, member) in members {
            let at = join(pointer, name);
            total = total.saturating_add(match (name.as_str(), member) {
                ("$ref", Value::String(target)) => match resolve(self.root, target) {
                    Some(found) => self.count(found, &at)?,
                    None => {
                        return Err(BadSchema::new(
                            at,
                            format!("there is no `{}` here", shorten(target, 80)),
                        ));
                    }
                },
                (name, Value::Array(items)) if IN_PLACE_LISTS.contains(&name) => {
                    self.sum(items.iter(), &at)?
                }
                (name, _) if IN_PLACE_SCHEMAS.contains(&name) => self.count(member, &at)?,
                ("dependentSchemas", Value::Object(schemas)) => self.sum(schemas.values(), &at)?,
                _ => 0,
            });
        }
        self.known.insert(address, Some(total));
        Ok(total)
    }

    fn sum(&mut self, schemas: impl Iterator<Item = &'a Value>, pointer: &str) -> Result<u64, BadSchema> {
        let mut total = 0u64;
        for schema in schemas {
            total = total.saturating_add(self.count(schema, pointer)?);
        }
        Ok(total)
    }
}

/// What a `$ref` inside the schema points to.
fn resolve<'a>(root: &'a Value, target: &str) -> Option<&'a Value> {
    let fragment = target.strip_prefix('#')?;
    if fragment.is_empty() || fragment.starts_with('/') {
        return root.pointer(fragment);
    }
    root.get("$defs")?
        .as_object()?
        .values()
        .find(|schema| schema.get("$anchor").and_then(Value::as_str) == Some(fragment))
}

#[cfg(test)]
mod tests;
