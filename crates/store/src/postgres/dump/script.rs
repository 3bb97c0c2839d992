//! Reads a dump as the script that `pg_restore` makes of it: every block of it is unpacked, rows are counted by table, and a few
//! of their values are noted. No server is needed.

use std::path::Path;

use tokio::io::{AsyncBufReadExt, BufReader};

use super::programs::{Program, complaint};
use crate::backup::{Contents, refused};
use crate::{Error, Result};

#[derive(Default)]
pub(super) struct Dumped {
    pub contents: Contents,
    pub migrations: Vec<String>,
    pub newest_job_ms: i64,
    pub newest_user_ms: i64,
    pub newest_change_ms: i64,
    /// Ids of unfinished jobs.
    pub live_jobs: Vec<String>,
}

/// The rows that follow a `COPY … FROM stdin;`.
struct Table {
    name: String,
    columns: Vec<String>,
}

pub(super) async fn read(file: &Path) -> Result<Dumped> {
    let arguments = ["--file=-".to_owned(), file.display().to_string()];
    let mut child = Program::Restore.start(&arguments, &[])?;
    let words = tokio::spawn(complaint(child.stderr.take()));
    let out = child.stdout.take().ok_or_else(|| Error::bug("pg_restore has no output"))?;
    let mut lines = BufReader::new(out);
    let mut dumped = Dumped::default();
    let mut table: Option<Table> = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let read =
            lines.read_until(b'\n', &mut line).await.map_err(|error| Error::Unavailable(error.into()))?;
        if read == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches('\n');
        match &table {
            Some(_) if text == "\\." => table = None,
            Some(open) => dumped.note(open, text),
            None => {
                table = begins(text);
                if let Some(table) = &table {
                    dumped.contents.rows.entry(table.name.clone()).or_default();
                }
            }
        }
    }
    let words = words.await.unwrap_or_default();
    match Program::Restore.verdict(&mut child, words).await {
        Ok(()) if table.is_some() => Err(refused(file, "it is cut off in the middle of a table")),
        Ok(()) => Ok(dumped),
        Err(Error::Refused { what }) => Err(refused(file, &what)),
        Err(other) => Err(other),
    }
}

impl Dumped {
    fn note(&mut self, table: &Table, row: &str) {
        if let Some(rows) = self.contents.rows.get_mut(&table.name) {
            *rows += 1;
        }
        let value = |column: &str| {
            let at = table.columns.iter().position(|name| name == column)?;
            row.split('\t').nth(at)
        };
        let number = |column: &str| value(column).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        match table.name.as_str() {
            "migrations" => self.migrations.extend(value("name").map(str::to_owned)),
            "jobs" => self.newest_job_ms = self.newest_job_ms.max(number("created_at_ms")),
            "users" => {
                self.newest_user_ms = self.newest_user_ms.max(number("created_at_ms"));
                self.newest_change_ms = self.newest_change_ms.max(number("updated_at_ms"));
            }
            "live_jobs" => self.live_jobs.extend(value("id").map(str::to_owned)),
            _ => {}
        }
    }
}

/// `COPY public.jobs (id, workflow) FROM stdin;`
fn begins(line: &str) -> Option<Table> {
    let (name, columns) = line.strip_prefix("COPY ")?.strip_suffix(") FROM stdin;")?.split_once(" (")?;
    let bare = |name: &str| name.trim().trim_matches('"').to_owned();
    let name = name.rsplit_once('.').map_or(name, |(_, name)| name);
    Some(Table { name: bare(name), columns: columns.split(',').map(bare).collect() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn rows_are_counted_and_noted_by_table() {
        let mut dumped = Dumped::default();
        let jobs = begins("COPY public.jobs (id, \"created_at_ms\", payload) FROM stdin;").unwrap();
        dumped.contents.rows.insert("jobs".to_owned(), 0);
        dumped.note(&jobs, "a\t20\tCOPY public.users (id) FROM stdin;");
        dumped.note(&jobs, "b\t10\t\\\\.");

        assert_eq!((dumped.contents.of("jobs"), dumped.newest_job_ms), (2, 20));
        assert!(begins("CREATE TABLE public.jobs (").is_none());
        assert!(begins("COPY").is_none());
    }
}
