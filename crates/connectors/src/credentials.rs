//! Credentials at a vendor: read from a request or from what was stored, checked in one place.

use levqor_core::seal::{SecretText, fingerprint};
use serde_json::{Map, Value, json};

use crate::catalogue::Vendor;
use crate::connect::Error;

const CREDENTIAL_MAX_BYTES: usize = 4096;

/// What a vendor knows a caller by. Not printable on purpose.
pub struct Credentials {
    vendor: Vendor,
    /// Empty when only `refresh` is there.
    token: SecretText,
    refresh: Option<Refresh>,
    /// Under which fresh tokens are kept, for credentials that come again.
    kept_as: Option<String>,
}

/// What renews a token at Google.
pub(crate) struct Refresh {
    pub refresh_token: SecretText,
    pub client_id: SecretText,
    pub client_secret: SecretText,
}

impl Credentials {
    /// Reads the member of a request that holds them: `token` or `credentials`.
    pub fn read(vendor: Vendor, body: &Map<String, Value>) -> Result<Credentials, Error> {
        match vendor {
            Vendor::Gmail => google(body),
            _ => {
                let token = token(vendor, body)?;
                Ok(Credentials { vendor, token, refresh: None, kept_as: None })
            }
        }
    }

    /// Reads what [`Self::to_stored`] gave. Fresh tokens of credentials that were stored are kept until they run out.
    pub fn from_stored(vendor: Vendor, stored: &SecretText) -> Result<Credentials, Error> {
        let body = serde_json::from_str::<Map<String, Value>>(stored.expose());
        let body = body.map_err(|_| Error::CredentialsRequired(vendor))?;
        Ok(Credentials { kept_as: Some(stored_name(vendor, stored)), ..Credentials::read(vendor, &body)? })
    }

    /// All of them, as they are sealed.
    pub fn to_stored(&self) -> SecretText {
        let Some(refresh) = &self.refresh else {
            let body = match self.vendor {
                Vendor::Gmail => json!({"credentials": {"access_token": self.token.expose()}}),
                _ => json!({"token": self.token.expose()}),
            };
            return SecretText::new(body.to_string());
        };
        let mut credentials = json!({"refresh_token": refresh.refresh_token.expose(),
            "client_id": refresh.client_id.expose(), "client_secret": refresh.client_secret.expose()});
        if !self.token().is_empty() {
            credentials["access_token"] = self.token().into();
        }
        SecretText::new(json!({"credentials": credentials}).to_string())
    }

    /// Tells credentials apart: of the token, or of the one that renews it.
    pub fn fingerprint(&self) -> String {
        fingerprint(self.refresh.as_ref().map_or(&self.token, |refresh| &refresh.refresh_token))
    }

    pub(crate) fn token(&self) -> &str {
        self.token.expose()
    }

    pub(crate) fn refresh(&self) -> Option<&Refresh> {
        self.refresh.as_ref()
    }

    pub(crate) fn kept_as(&self) -> Option<&str> {
        self.kept_as.as_deref()
    }

    /// What must never come back in a vendor's words.
    pub(crate) fn hidden(&self) -> Vec<&str> {
        let refresh = self.refresh.iter();
        let parts =
            refresh.flat_map(|refresh| [refresh.refresh_token.expose(), refresh.client_secret.expose()]);
        std::iter::once(self.token()).chain(parts).filter(|secret| !secret.is_empty()).collect()
    }
}

/// Other credentials under the same name have another one.
fn stored_name(vendor: Vendor, stored: &SecretText) -> String {
    format!("{} {}", vendor.name(), levqor_core::seal::digest(stored))
}

/// The key of an AI provider: the member `token` of a request, or of what [`ai_key_to_stored`] gave.
pub fn read_ai_key(provider: &str, body: &Map<String, Value>) -> Result<SecretText, Error> {
    secret_member(body, "token")?
        .ok_or_else(|| Error::invalid("/token", format!("token required (API key of {provider})")))
}

/// The key as it is sealed.
pub fn ai_key_to_stored(key: &SecretText) -> SecretText {
    SecretText::new(json!({"token": key.expose()}).to_string())
}

/// A text that is there and not empty.
pub(crate) fn text_member(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Error> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(_) => Err(Error::invalid(&format!("/{name}"), format!("{name} must be a text"))),
    }
}

/// A text that a header can carry.
fn secret_member(members: &Map<String, Value>, name: &str) -> Result<Option<SecretText>, Error> {
    let secret = text_member(members, name)?;
    let is_fine = |secret: &String| {
        secret.len() <= CREDENTIAL_MAX_BYTES && secret.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match secret {
        Some(secret) if !is_fine(&secret) => {
            let what = format!("{name} must be at most {CREDENTIAL_MAX_BYTES} visible ASCII characters");
            Err(Error::invalid(&format!("/{name}"), what))
        }
        other => Ok(other.map(SecretText::new)),
    }
}

fn token(vendor: Vendor, body: &Map<String, Value>) -> Result<SecretText, Error> {
    let token = secret_member(body, "token")?.ok_or(Error::CredentialsRequired(vendor))?;
    // It becomes a part of the address there.
    let fits_path = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-');
    if vendor == Vendor::Telegram && !token.expose().bytes().all(fits_path) {
        return Err(Error::invalid("/token", "token must hold letters, digits, `:`, `_` and `-` only"));
    }
    Ok(token)
}

/// Other members are passed over: clients send Google's own file, and an address to refresh at would be one that a stranger
/// makes us call.
fn google(body: &Map<String, Value>) -> Result<Credentials, Error> {
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
    let token = token.unwrap_or_else(|| SecretText::new(""));
    Ok(Credentials { vendor: Vendor::Gmail, token, refresh, kept_as: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(vendor: Vendor, body: Value) -> Credentials {
        let Value::Object(body) = body else { panic!("an object") };
        Credentials::read(vendor, &body).map_err(|error| error.to_string()).unwrap()
    }

    #[test]
    fn what_is_stored_is_what_was_given_and_nothing_of_the_rest() {
        let whole = json!({"credentials": {"access_token": "a", "refresh_token": "r", "client_id": "i",
            "client_secret": "s", "token_uri": "https://evil.example/token", "type": "authorized_user"}});
        for (vendor, body, stored) in [
            (Vendor::Slack, json!({"token": "xoxb-1", "action": "x"}), r#"{"token":"xoxb-1"}"#),
            (
                Vendor::Gmail,
                json!({"credentials": {"token": "a"}}),
                r#"{"credentials":{"access_token":"a"}}"#,
            ),
            (
                Vendor::Gmail,
                whole,
                r#"{"credentials":{"access_token":"a","client_id":"i","client_secret":"s","refresh_token":"r"}}"#,
            ),
        ] {
            let given = read(vendor, body);
            assert_eq!(given.to_stored().expose(), stored);
            assert_eq!(given.kept_as(), None);

            let again =
                Credentials::from_stored(vendor, &given.to_stored()).map_err(|_| "unreadable").unwrap();
            assert_eq!(again.to_stored().expose(), stored);
            assert_eq!(again.fingerprint(), given.fingerprint());
            assert_eq!(again.hidden(), given.hidden());
            assert!(again.kept_as().unwrap().starts_with(vendor.name()));
        }
    }

    #[test]
    fn the_fingerprint_of_googles_is_that_of_what_stays() {
        let with = |token: &str| {
            let renewed =
                json!({"access_token": token, "refresh_token": "r", "client_id": "i", "client_secret": "s"});
            read(Vendor::Gmail, json!({ "credentials": renewed })).fingerprint()
        };

        assert_eq!(with("a"), with("b"));
    }

    #[test]
    fn what_cannot_be_read_back_is_no_credentials() {
        for text in ["", "[]", "{}", r#"{"token":7}"#] {
            assert!(Credentials::from_stored(Vendor::Slack, &SecretText::new(text)).is_err(), "{text}");
        }
    }
}
