//! Small values that the installation keeps.

use crate::tx::Tx;
use crate::{Error, Result, Store, migrate};

impl Store {
    /// A small value kept by the installation (the callback secret made at first start).
    pub async fn find_setting(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.read(move |tx| {
            let name = name.clone();
            Box::pin(async move { find(tx, &name).await })
        })
        .await
    }

    /// Stores `value` unless there is one; returns the one in force. Two nodes at their first start agree.
    pub async fn setting_or_insert(&self, name: &str, value: &str) -> Result<String> {
        if let Some(present) = self.find_setting(name).await? {
            return Ok(present);
        }
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write(move |tx| {
            let (name, value) = (name.clone(), value.clone());
            Box::pin(async move { or_insert(tx, &name, &value).await })
        })
        .await
    }
}

pub(crate) async fn find(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>> {
    let row = tx.query_opt("select value from settings where name = $1", &[name.into()]).await?;
    row.map(|row| row.text(0)).transpose()
}

/// The same where there may be no tables yet.
pub(crate) async fn find_if_there(tx: &mut Tx<'_>, name: &str) -> Result<Option<String>> {
    let is_empty = migrate::pending(tx).await?.len() == migrate::names().len();
    if is_empty { Ok(None) } else { find(tx, name).await }
}

/// The first one wins: nodes that start at the same time agree.
pub(crate) async fn or_insert(tx: &mut Tx<'_>, name: &str, value: &str) -> Result<String> {
    tx.execute(
        "insert into settings (name, value) values ($1, $2) on conflict (name) do nothing",
        &[name.into(), value.into()],
    )
    .await?;
    find(tx, name).await?.ok_or_else(|| Error::bug("a setting vanished"))
}
