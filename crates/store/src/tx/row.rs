//! What comes out of a statement, read by position. A column of an unexpected type is a bug, never a panic.

use rusqlite::types::{Value as Cell, ValueRef};
use tokio_postgres::types::{FromSql, Type};

use crate::{Error, Result};

/// One row of an answer.
pub(crate) enum Row {
    Sqlite(Vec<Cell>),
    Postgres(tokio_postgres::Row),
}

impl Row {
    pub(crate) fn text(&self, column: usize) -> Result<String> {
        self.opt_text(column)?.ok_or_else(|| mismatch(column, "text"))
    }

    pub(crate) fn opt_text(&self, column: usize) -> Result<Option<String>> {
        match self {
            Row::Sqlite(cells) => match cells.get(column) {
                Some(Cell::Null) => Ok(None),
                Some(Cell::Text(text)) => Ok(Some(text.clone())),
                _ => Err(mismatch(column, "text")),
            },
            Row::Postgres(row) => get(row, column),
        }
    }

    /// Text of rows that other programs wrote: whatever SQLite holds there is shown as text, as well as can be.
    pub(crate) fn opt_text_of_any(&self, column: usize) -> Result<Option<String>> {
        let Row::Sqlite(cells) = self else { return self.opt_text(column) };
        Ok(match cells.get(column) {
            Some(Cell::Integer(value)) => Some(value.to_string()),
            Some(Cell::Real(value)) => Some(value.to_string()),
            Some(Cell::Blob(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => self.opt_text(column)?,
        })
    }

    pub(crate) fn int(&self, column: usize) -> Result<i64> {
        self.opt_int(column)?.ok_or_else(|| mismatch(column, "an integer"))
    }

    pub(crate) fn opt_int(&self, column: usize) -> Result<Option<i64>> {
        match self {
            Row::Sqlite(cells) => match cells.get(column) {
                Some(Cell::Null) => Ok(None),
                Some(Cell::Integer(value)) => Ok(Some(*value)),
                _ => Err(mismatch(column, "an integer")),
            },
            // A bare `1` in a statement is an int4.
            Row::Postgres(row) if row.columns().get(column).is_some_and(|it| *it.type_() == Type::INT4) => {
                Ok(get::<i32>(row, column)?.map(i64::from))
            }
            Row::Postgres(row) => get(row, column),
        }
    }

    pub(crate) fn bool(&self, column: usize) -> Result<bool> {
        match self {
            Row::Sqlite(_) => Ok(self.int(column)? != 0),
            Row::Postgres(row) => get(row, column)?.ok_or_else(|| mismatch(column, "a boolean")),
        }
    }
}

/// What SQLite holds. Text that is not UTF-8 (only another program can have written it) is handed on as bytes.
pub(super) fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Integer(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Cell::Text(text.to_owned()),
            Err(_) => Cell::Blob(bytes.to_vec()),
        },
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}

fn get<'r, T: FromSql<'r>>(row: &'r tokio_postgres::Row, column: usize) -> Result<Option<T>> {
    Ok(row.try_get(column)?)
}

fn mismatch(column: usize, wanted: &str) -> Error {
    Error::bug(format!("column {column} is not {wanted}"))
}
