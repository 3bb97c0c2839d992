//! Stored connections: sealed before they reach the store, opened for one call, sealed anew when the key is changed. And the
//! one door to a vendor, for the API and for steps.

use levqor_connectors::catalogue::Vendor;
use levqor_connectors::{Ask, Credentials, Error as CallError, Source, Terms, ai_key_to_stored, read_ai_key};
use levqor_core::audit::Actor;
use levqor_core::connection::{NAME_RULE, is_name, record};
use levqor_core::json::compact;
use levqor_core::seal::{Keyring, SecretText, fingerprint};
use levqor_store::{ConnectionRow, NewConnection, PutConnection, Resealed, Store};
use serde_json::{Map, Value};

use crate::chain::chain;
use crate::{Engine, Shared};

/// How often a change of the key begins again because connections were changed under it.
const REKEY_TRIES: usize = 10;

/// Why there is no connection, or no result through one.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The request breaks the rules, or the vendor gave no result.
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("there is no connection `{name}`")]
    UnknownConnection { name: String },
    #[error("the connection `{name}` is one of {connector}")]
    OtherConnector { name: String, connector: String },
    /// Sealed with a key that is not at hand, or damaged.
    #[error("the connection `{name}` cannot be opened: {cause}")]
    CannotOpen { name: String, cause: String },
    /// No key to seal with.
    #[error("connections cannot be stored before SECRET_KEY is set: all nodes seal with the same key")]
    NoKey,
    #[error(transparent)]
    Store(#[from] levqor_store::Error),
}

impl ConnectError {
    /// A stable word for records.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            ConnectError::UnknownConnection { .. } => "unknown_connection",
            ConnectError::OtherConnector { .. } => "connection_mismatch",
            ConnectError::CannotOpen { .. } => "connection_unreadable",
            ConnectError::Call(_) | ConnectError::NoKey | ConnectError::Store(_) => "internal_error",
        }
    }
}

/// What a request to store a connection says.
struct Put {
    name: String,
    connector: String,
    /// As they are sealed.
    plain: SecretText,
    fingerprint: String,
    put: PutConnection,
}

fn invalid(at: &str, what: impl Into<String>) -> ConnectError {
    CallError::Invalid(vec![(at.to_owned(), what.into())]).into()
}

impl Engine {
    /// Does what `text`, the JSON of a request, asks a vendor for, with its credentials or those of a stored connection.
    pub async fn connect(&self, vendor: Vendor, text: &str) -> Result<Value, ConnectError> {
        let (ask, source) = Ask::read(vendor, text)?;
        let credentials = match source {
            Source::Given(credentials) => credentials,
            Source::Stored(name) => open(&self.shared, vendor, &name).await?,
        };
        let now_ms = self.shared.clock.now_ms();
        let terms =
            Terms { now_ms, limit_ms: levqor_connectors::LIMIT_MS, idempotency_key: None, went_out: None };
        Ok(self.shared.connectors.run(&ask, &credentials, terms).await?)
    }

    /// Seals and stores the connection that `text`, the JSON of a request, describes. Returns the row, and whether it is new.
    pub async fn put_connection(
        &self,
        text: &str,
        by: &Actor,
    ) -> Result<(ConnectionRow, bool), ConnectError> {
        let Put { name, connector, plain, fingerprint, put } = read(text, &self.shared.ai.vendors())?;
        let key = self.shared.settings.seal_keys.newest().ok_or(ConnectError::NoKey)?;
        let sealed = key.seal(&record(&connector, &name), rand::random(), &plain);
        let new = NewConnection { name, connector, sealed, fingerprint, put };
        Ok(self.shared.store.put_connection(new, by, self.shared.clock.now_ms()).await?)
    }
}

/// Reads the request for a connection: at a vendor, or with one of these AI providers.
fn read(text: &str, providers: &[&str]) -> Result<Put, ConnectError> {
    let text = compact(text).map_err(|problem| invalid("", problem.to_string()))?;
    let body = serde_json::from_str::<Map<String, Value>>(&text);
    let body = body.map_err(|_| invalid("", "the body must be an object"))?;
    let word = |member: &str, rule: &str| match body.get(member) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(invalid(&format!("/{member}"), format!("{member} must be {rule}"))),
        None => Err(invalid(&format!("/{member}"), format!("{member} is missing: {rule}"))),
    };
    let name = word("name", NAME_RULE)?;
    if !is_name(&name) {
        return Err(invalid("/name", format!("name must be {NAME_RULE}")));
    }
    let known = [&Vendor::ALL.map(Vendor::name)[..], providers].concat().join(", ");
    let connector = word("connector", &format!("one of {known}"))?;
    let vendor = Vendor::named(&connector);
    if vendor.is_none() && !providers.contains(&connector.as_str()) {
        return Err(invalid("/connector", format!("connector must be one of {known}")));
    }
    let member = vendor.map_or("token", Vendor::credentials_member);
    let expected = ["name", "connector", member, "replace"];
    if let Some(other) = body.keys().find(|member| !expected.contains(&member.as_str())) {
        let shown: String = other.chars().take(80).collect();
        return Err(invalid("", format!("unknown member `{shown}`; there are {}", expected.join(", "))));
    }
    let put = match body.get("replace") {
        None | Some(Value::Null | Value::Bool(false)) => PutConnection::New,
        Some(Value::Bool(true)) => PutConnection::NewOrReplace,
        Some(_) => return Err(invalid("/replace", "replace must be true or false")),
    };
    let Some(vendor) = vendor else {
        let key = read_ai_key(&connector, &body)?;
        let plain = ai_key_to_stored(&key);
        return Ok(Put { name, connector, plain, fingerprint: fingerprint(&key), put });
    };
    let credentials = Credentials::read(vendor, &body).map_err(|error| match error {
        CallError::CredentialsRequired(_) => invalid(&format!("/{member}"), error.to_string()),
        other => other.into(),
    })?;
    let (plain, fingerprint) = (credentials.to_stored(), credentials.fingerprint());
    Ok(Put { name, connector, plain, fingerprint, put })
}

/// The credentials of a stored connection, for one call. That it was used is noted, if that can be.
pub(crate) async fn open(shared: &Shared, vendor: Vendor, name: &str) -> Result<Credentials, ConnectError> {
    open_with(shared, vendor.name(), name, |plain| Credentials::from_stored(vendor, plain).ok()).await
}

/// The key of an AI provider in a stored connection, for one call.
pub(crate) async fn open_ai_key(
    shared: &Shared,
    provider: &str,
    name: &str,
) -> Result<SecretText, ConnectError> {
    let read = |plain: &SecretText| {
        let body = serde_json::from_str(plain.expose()).ok()?;
        read_ai_key(provider, &body).ok()
    };
    open_with(shared, provider, name, read).await
}

async fn open_with<T>(
    shared: &Shared,
    connector: &str,
    name: &str,
    read: impl FnOnce(&SecretText) -> Option<T>,
) -> Result<T, ConnectError> {
    let found = shared.store.find_connection(name).await?;
    let row = found.ok_or_else(|| ConnectError::UnknownConnection { name: name.to_owned() })?;
    if row.connector != connector {
        return Err(ConnectError::OtherConnector { name: row.name, connector: row.connector });
    }
    let plain = unseal(&shared.settings.seal_keys, &row)?;
    let credentials = read(&plain).ok_or_else(|| ConnectError::CannotOpen {
        name: row.name.clone(),
        cause: "it holds no credentials of this connector".to_owned(),
    })?;
    if let Err(error) = shared.store.note_connection_use(&row, shared.clock.now_ms()).await {
        tracing::warn!(connection = name, error = %chain(&error), "that a connection was used could not be noted");
    }
    Ok(credentials)
}

fn unseal(keys: &Keyring, row: &ConnectionRow) -> Result<SecretText, ConnectError> {
    keys.open(&record(&row.connector, &row.name), &row.sealed)
        .map_err(|cause| ConnectError::CannotOpen { name: row.name.clone(), cause: cause.to_string() })
}

/// The names of connections that none of these keys opens.
pub async fn check_keys(store: &Store, keys: &Keyring) -> levqor_store::Result<Vec<String>> {
    let rows = store.list_connections().await?;
    Ok(rows.into_iter().filter(|row| !keys.knows(&row.sealed)).map(|row| row.name).collect())
}

/// Seals all stored connections with the newest key, in one commit. Those that are sealed with it already stay as they are, so
/// it can be done again after a crash. Returns how many were changed, of how many.
pub async fn rekey(
    store: &Store,
    keys: &Keyring,
    by: &Actor,
    now_ms: i64,
) -> Result<(usize, usize), ConnectError> {
    let newest = keys.newest().ok_or(ConnectError::NoKey)?;
    let only_newest = Keyring::new([newest.clone()]);
    for _ in 0..REKEY_TRIES {
        let rows = store.list_connections().await?;
        let mut resealed = Vec::new();
        for row in rows.iter().filter(|row| !only_newest.knows(&row.sealed)) {
            let plain = unseal(keys, row)?;
            let after = newest.seal(&record(&row.connector, &row.name), rand::random(), &plain);
            resealed.push(Resealed { name: row.name.clone(), before: row.sealed.clone(), after });
        }
        let (changed, all) = (resealed.len(), rows.len());
        if changed == 0 {
            return Ok((0, all));
        }
        match store.reseal_connections(resealed, &newest.id(), by, now_ms).await {
            Ok(()) => return Ok((changed, all)),
            // Somebody put or deleted one in between.
            Err(levqor_store::Error::Conflict { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let what = "connections were changed all the time; try again".to_owned();
    Err(levqor_store::Error::Conflict { what }.into())
}
