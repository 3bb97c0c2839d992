//! Rows of the file as lines of PostgreSQL's text format, and a sum of them that does not depend on their order.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_postgres::types::Type;

use crate::sqlite::backup::quoted;
use crate::{Error, Result};

const PIECE_BYTES: usize = 256 * 1024;

pub(super) struct Column {
    pub name: String,
    pub kind: Kind,
}

/// The types that tables are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Bool,
    Bytes,
}

impl Kind {
    pub fn of(kind: &Type) -> Option<Kind> {
        match *kind {
            Type::TEXT | Type::VARCHAR => Some(Kind::Text),
            Type::INT8 | Type::INT4 => Some(Kind::Int),
            Type::BOOL => Some(Kind::Bool),
            Type::BYTEA => Some(Kind::Bytes),
            _ => None,
        }
    }
}

/// Rows, and the sum of the digests of their lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub rows: u64,
    pub digest: u128,
    /// Values with a mark in the place of what PostgreSQL cannot hold.
    pub mended: u64,
}

impl Sum {
    pub fn add(&mut self, line: &[u8]) {
        let digest = Sha256::digest(line);
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        self.rows += 1;
        self.digest = self.digest.wrapping_add(u128::from_le_bytes(half));
    }
}

pub(super) fn column_names(source: &Connection, table: &str) -> Result<Vec<String>> {
    // Generated columns are computed by the target too.
    let mut statement =
        source.prepare("select name from pragma_table_xinfo(?1) where hidden = 0 order by cid")?;
    let names = statement.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok(names)
}

/// Sends all rows in pieces, each with the number of rows so far.
pub(super) fn rows(
    source: &Connection,
    table: &str,
    columns: &[Column],
    pieces: &mpsc::Sender<(Bytes, u64)>,
) -> Result<Sum> {
    let list = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
    let mut statement = source.prepare(&format!("select {list} from {}", quoted(table)))?;
    let mut found = statement.query([])?;
    let (mut sum, mut piece, mut line) = (Sum::default(), BytesMut::new(), Vec::new());
    while let Some(row) = found.next()? {
        line.clear();
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                line.push(b'\t');
            }
            let written = write(&mut line, row.get_ref(at)?, column.kind);
            sum.mended += u64::from(written.ok_or_else(|| Error::Refused {
                what: format!("{table}.{} holds a value that is no {:?}", column.name, column.kind),
            })?);
        }
        line.push(b'\n');
        sum.add(&line);
        piece.extend_from_slice(&line);
        if piece.len() >= PIECE_BYTES && !send(pieces, &mut piece, sum.rows) {
            return Err(Error::away("the copy was given up"));
        }
    }
    send(pieces, &mut piece, sum.rows);
    Ok(sum)
}

/// False when nobody is there to take it.
fn send(pieces: &mpsc::Sender<(Bytes, u64)>, piece: &mut BytesMut, rows: u64) -> bool {
    pieces.blocking_send((piece.split().freeze(), rows)).is_ok()
}

/// Appends one value as `COPY` writes it. `None`: it does not fit its column; true: something of it could not be kept.
fn write(line: &mut Vec<u8>, value: ValueRef<'_>, kind: Kind) -> Option<bool> {
    let mut mended = false;
    match (kind, value) {
        (_, ValueRef::Null) => line.extend_from_slice(b"\\N"),
        (Kind::Int, ValueRef::Integer(value)) => line.extend_from_slice(value.to_string().as_bytes()),
        (Kind::Bool, ValueRef::Integer(value @ (0 | 1))) => line.push(if value == 1 { b't' } else { b'f' }),
        (Kind::Bytes, ValueRef::Blob(bytes)) => {
            line.extend_from_slice(b"\\\\x");
            bytes.iter().for_each(|byte| line.extend_from_slice(format!("{byte:02x}").as_bytes()));
        }
        // Rows of the first version were never checked: text is what readers are shown of them.
        (Kind::Text, ValueRef::Integer(value)) => line.extend_from_slice(value.to_string().as_bytes()),
        (Kind::Text, ValueRef::Real(value)) => line.extend_from_slice(value.to_string().as_bytes()),
        (Kind::Text, ValueRef::Text(bytes) | ValueRef::Blob(bytes)) => {
            let text = String::from_utf8_lossy(bytes);
            mended = matches!(text, Cow::Owned(_)) || text.contains('\0');
            escape(line, &text.replace('\0', "\u{fffd}"));
        }
        _ => return None,
    }
    Some(mended)
}

/// The same characters that PostgreSQL escapes itself, so that what it gives back can be compared byte by byte.
fn escape(line: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        let letter = match byte {
            b'\\' => b'\\',
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            _ => {
                line.push(byte);
                continue;
            }
        };
        line.extend_from_slice(&[b'\\', letter]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn written(value: ValueRef<'_>, kind: Kind) -> Option<(String, bool)> {
        let mut line = Vec::new();
        let mended = write(&mut line, value, kind)?;
        Some((String::from_utf8(line).unwrap(), mended))
    }

    #[test]
    fn values_are_written_as_copy_reads_and_writes_them() {
        let text = |text: &'static str| ValueRef::Text(text.as_bytes());
        for (value, kind, line, mended) in [
            (ValueRef::Null, Kind::Text, "\\N", false),
            (text("\\N"), Kind::Text, "\\\\N", false),
            (text("a\tb\nc\rd\u{8}\u{b}\u{c}\\."), Kind::Text, "a\\tb\\nc\\rd\\b\\v\\f\\\\.", false),
            (text("ä\u{1f980}"), Kind::Text, "ä\u{1f980}", false),
            (text("a\0b"), Kind::Text, "a\u{fffd}b", true),
            (ValueRef::Blob(&[0x66, 0xff]), Kind::Text, "f\u{fffd}", true),
            (ValueRef::Integer(7), Kind::Text, "7", false),
            (ValueRef::Integer(i64::MIN), Kind::Int, "-9223372036854775808", false),
            (ValueRef::Integer(1), Kind::Bool, "t", false),
            (ValueRef::Blob(&[0, 0xff]), Kind::Bytes, "\\\\x00ff", false),
        ] {
            assert_eq!(written(value, kind), Some((line.to_owned(), mended)), "{line}");
        }
        assert_eq!(written(text("seven"), Kind::Int), None);
        assert_eq!(written(ValueRef::Integer(2), Kind::Bool), None);
    }

    #[test]
    fn a_sum_knows_rows_and_not_their_order() {
        let sum = |lines: &[&str]| {
            let mut sum = Sum::default();
            lines.iter().for_each(|line| sum.add(line.as_bytes()));
            sum
        };

        assert_eq!(sum(&["a", "b", "b"]), sum(&["b", "a", "b"]));
        assert_ne!(sum(&["a", "b", "b"]), sum(&["a", "a", "b"]));
        assert_ne!(sum(&["a"]), sum(&["a", "a"]));
    }
}
