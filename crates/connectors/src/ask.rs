//! The request for an action, read and checked in the order that clients know: action, credentials, then whether there is such
//! an action, then its parameters.

use levqor_core::connection;
use levqor_core::json::compact;
use serde_json::{Map, Value};

use crate::catalogue::{Known, Vendor, find};
use crate::connect::Error;
use crate::credentials::{Credentials, text_member};

const SHOWN_CHARS: usize = 80;

/// A checked request for one action.
pub struct Ask {
    vendor: Vendor,
    pub(crate) action: &'static str,
    params: Map<String, Value>,
}

/// Where the credentials come from.
pub enum Source {
    Given(Credentials),
    /// The name of a stored connection.
    Stored(String),
}

impl Ask {
    /// The action with these parameters.
    pub fn new(vendor: Vendor, action: &str, params: Map<String, Value>) -> Result<Ask, Error> {
        Ask::of(vendor, known(vendor, action)?, params)
    }

    fn of(vendor: Vendor, known: &'static Known, params: Map<String, Value>) -> Result<Ask, Error> {
        known.check(&params)?;
        Ok(Ask { vendor, action: known.action.name, params })
    }

    /// Reads the JSON of a request. What cannot be read as JSON asks for no action.
    pub fn read(vendor: Vendor, text: &str) -> Result<(Ask, Source), Error> {
        let text = compact(text).map_err(|_| Error::ActionRequired)?;
        let body: Value = serde_json::from_str(&text).map_err(|_| Error::ActionRequired)?;
        let Value::Object(mut body) = body else {
            return Err(Error::invalid("", "the body must be an object"));
        };
        let action = text_member(&body, "action")?.ok_or(Error::ActionRequired)?;
        let source = source(vendor, &body)?;
        let known = known(vendor, &action)?;
        let expected = ["action", vendor.credentials_member(), "connection", "params"];
        if let Some(name) = body.keys().find(|name| !expected.contains(&name.as_str())) {
            let shown: String = name.chars().take(SHOWN_CHARS).collect();
            let what = format!("unknown member `{shown}`; there are {}", expected.join(", "));
            return Err(Error::invalid("", what));
        }
        let params = match body.remove("params").unwrap_or_default() {
            Value::Null => Map::new(),
            Value::Object(params) => params,
            _ => return Err(Error::invalid("/params", "params must be an object")),
        };
        Ok((Ask::of(vendor, known, params)?, source))
    }

    pub fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// All parameters. The schema lets only known ones pass, so most go to the vendor as they are.
    pub(crate) fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// A text, or `""`.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.params.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.params.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The named parameters that were given.
    pub(crate) fn pick(&self, names: &[&str]) -> Map<String, Value> {
        let given =
            names.iter().filter_map(|name| Some(((*name).to_owned(), self.params.get(*name)?.clone())));
        given.collect()
    }

    /// Parameters as a query: vendor's name, ours, and what holds when it was not given (`""`: nothing is sent).
    pub(crate) fn query(&self, names: &[(&'static str, &str, &str)]) -> Vec<(&'static str, String)> {
        let value = |name: &str, default: &str| match self.params.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => default.to_owned(),
        };
        let pairs = names.iter().map(|(theirs, ours, default)| (*theirs, value(ours, default)));
        pairs.filter(|(_, value)| !value.is_empty()).collect()
    }
}

fn known(vendor: Vendor, action: &str) -> Result<&'static Known, Error> {
    let shown: String = action.chars().take(SHOWN_CHARS).collect();
    find(vendor, action).ok_or(Error::UnknownAction(shown))
}

/// Either credentials or the name of a connection. Of two that contradict each other neither is guessed to be meant.
fn source(vendor: Vendor, body: &Map<String, Value>) -> Result<Source, Error> {
    let Some(name) = text_member(body, "connection")? else {
        return Credentials::read(vendor, body).map(Source::Given);
    };
    let member = vendor.credentials_member();
    if body.get(member).is_some_and(|given| !given.is_null()) {
        return Err(Error::invalid(
            "/connection",
            format!("send either `connection` or `{member}`, not both"),
        ));
    }
    if !connection::is_name(&name) {
        return Err(Error::invalid("/connection", format!("connection must be {}", connection::NAME_RULE)));
    }
    Ok(Source::Stored(name))
}
