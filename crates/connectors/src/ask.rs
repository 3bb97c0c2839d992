//! The request for an action, read and checked in the order that clients know: action, credentials, then whether there is such
//! an action, then its parameters.

use levqor_core::json::compact;
use serde_json::{Map, Value};

use crate::catalogue::{Vendor, find};
use crate::connect::Error;

const SHOWN_CHARS: usize = 80;
const CREDENTIAL_MAX_BYTES: usize = 4096;

/// A checked request. Not printable on purpose: it holds credentials.
pub(crate) struct Ask {
    pub action: &'static str,
    credentials: Credentials,
    params: Map<String, Value>,
}

#[derive(Default)]
struct Credentials {
    token: String,
    refresh: Option<Refresh>,
}

/// What renews a token at Google.
pub(crate) struct Refresh {
    pub refresh_token: String,
    pub client_id: String,
    pub client_secret: String,
}

impl Ask {
    /// What cannot be read as JSON asks for no action.
    pub fn read(vendor: Vendor, text: &str) -> Result<Ask, Error> {
        let text = compact(text).map_err(|_| Error::ActionRequired)?;
        let body: Value = serde_json::from_str(&text).map_err(|_| Error::ActionRequired)?;
        let Value::Object(mut body) = body else {
            return Err(Error::invalid("", "the body must be an object"));
        };
        let action = text_member(&body, "action")?.ok_or(Error::ActionRequired)?;
        let credentials = match vendor {
            Vendor::Gmail => google_credentials(&body)?,
            _ => Credentials { token: token(vendor, &body)?, refresh: None },
        };
        let shown: String = action.chars().take(SHOWN_CHARS).collect();
        let known = find(vendor, &action).ok_or(Error::UnknownAction(shown))?;
        let expected = ["action", vendor.credentials_member(), "params"];
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
        known.check(&params)?;
        Ok(Ask { action: known.action.name, credentials, params })
    }

    /// Empty when only [`Self::refresh`] is there.
    pub fn token(&self) -> &str {
        &self.credentials.token
    }

    pub fn refresh(&self) -> Option<&Refresh> {
        self.credentials.refresh.as_ref()
    }

    /// What must never come back in a vendor's words.
    pub fn hidden(&self) -> Vec<&str> {
        let refresh = self.refresh().into_iter();
        let parts =
            refresh.flat_map(|refresh| [refresh.refresh_token.as_str(), refresh.client_secret.as_str()]);
        std::iter::once(self.token()).chain(parts).filter(|secret| !secret.is_empty()).collect()
    }

    /// All parameters. The schema lets only known ones pass, so most go to the vendor as they are.
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// A text, or `""`.
    pub fn text(&self, name: &str) -> &str {
        self.params.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn flag(&self, name: &str) -> bool {
        self.params.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// The named parameters that were given.
    pub fn pick(&self, names: &[&str]) -> Map<String, Value> {
        let given =
            names.iter().filter_map(|name| Some(((*name).to_owned(), self.params.get(*name)?.clone())));
        given.collect()
    }

    /// Parameters as a query: vendor's name, ours, and what holds when it was not given (`""`: nothing is sent).
    pub fn query(&self, names: &[(&'static str, &str, &str)]) -> Vec<(&'static str, String)> {
        let value = |name: &str, default: &str| match self.params.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => default.to_owned(),
        };
        let pairs = names.iter().map(|(theirs, ours, default)| (*theirs, value(ours, default)));
        pairs.filter(|(_, value)| !value.is_empty()).collect()
    }
}

/// A text that is there and not empty.
fn text_member(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(Error::invalid(&format!("/{name}"), format!("{name} must be a text"))),
    }
}

/// A text that a header can carry.
fn secret_member(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    let secret = text_member(members, name)?;
    let is_fine = |secret: &String| {
        secret.len() <= CREDENTIAL_MAX_BYTES && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match secret {
        Some(secret) if !is_fine(&secret) => {
            let what = format!("{name} must be at most {CREDENTIAL_MAX_BYTES} visible ASCII characters");
            Err(Error::invalid(&format!("/{name}"), what))
        }
        other => Ok(other),
    }
}

fn token(vendor: Vendor, body: &Map<String, Value>) -> Result<String, Error> {
    let token = secret_member(body, "token")?.ok_or(Error::CredentialsRequired(vendor))?;
    // It becomes a part of the address there.
    let fits_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-');
    if vendor == Vendor::Telegram && !token.bytes().all(fits_path) {
        return Err(Error::invalid("/token", "token must hold letters, digits, `:`, `_` and `-` only"));
    }
    Ok(token)
}

/// Other members are passed over: clients send Google's own file, and an address to refresh at would be one that a stranger
/// makes us call.
fn google_credentials(body: &Map<String, Value>) -> Result<Credentials, Error> {
    let required = Error::CredentialsRequired(Vendor::Gmail);
    let members = match body.get("credentials") {
        None | Some(Value::Null) => return Err(required),
        Some(Value::Object(members)) => members,
        Some(_) => return Err(Error::invalid("/credentials", "credentials must be an object")),
    };
    let token = match secret_member(members, "access_token")? {
        Some(token) => Some(token),
        None => secret_member(members, "token")?,
    };
    let refresh_token = secret_member(members, "refresh_token")?;
    let client_id = secret_member(members, "client_id")?;
    let client_secret = secret_member(members, "client_secret")?;
    let refresh = match (refresh_token, client_id, client_secret) {
        (Some(refresh_token), Some(client_id), Some(client_secret)) => {
            Some(Refresh { refresh_token, client_id, client_secret })
        }
        _ => None,
    };
    if token.is_none() && refresh.is_none() {
        return Err(required);
    }
    Ok(Credentials { token: token.unwrap_or_default(), refresh })
}
