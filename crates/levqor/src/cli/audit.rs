//! `levqor audit`: shows who did what, and recomputes the chain of hashes. The check trusts nothing that the server says
//! about it: every hash is computed here, from what the entries hold.

use clap::{Args, Subcommand};
use levqor_core::audit::{Chain, Entry, Head};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Api, Call, Server};
use super::exit::Failure;
use super::jobs::time;
use super::out::{self, plain, say};

/// Show who did what, or check that nobody changed the record
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor audit list --object hello
  levqor audit list --action key.create --from 2030-01-31T00:00:00Z --json
  levqor audit verify
  levqor audit verify --head 1234:5f1c…

verify recomputes every hash, from the newest entry to the first, and names the first broken one; its exit code is 1
then. Note the head that it prints, outside this machine: with --head it proves later that nothing up to there was
rewritten or cut off, not even by somebody who could write the whole database. Both need the scope admin.")]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List entries, newest first
    List(List),
    /// Recompute the chain of hashes
    Verify {
        /// A head that was noted before, as <number>:<hash>
        #[arg(long, value_name = "HEAD")]
        head: Option<Head>,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
struct List {
    /// Only what this caller did, such as key:<id>, cli or system
    #[arg(long)]
    actor: Option<String>,

    /// Only this action, such as workflow.put
    #[arg(long)]
    action: Option<String>,

    /// Only what was done to this id or name
    #[arg(long)]
    object: Option<String>,

    /// At or after this time, such as 2030-01-31T08:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// How many to show
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print the entries as JSON, one a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

/// Entries asked for at once; the server gives no more.
const PAGE_MOST: usize = 500;

#[derive(Deserialize)]
struct Page {
    entries: Vec<Box<RawValue>>,
    head: PageHead,
    next: Option<String>,
}

#[derive(Deserialize)]
struct PageHead {
    seq: i64,
    hash: String,
}

#[derive(Deserialize)]
struct Shown {
    seq: i64,
    at: f64,
    actor: String,
    action: String,
    object: String,
    detail: Box<RawValue>,
    prev_hash: String,
    hash: String,
}

impl From<Shown> for Entry {
    fn from(shown: Shown) -> Entry {
        Entry {
            seq: shown.seq,
            // Seconds with a fraction hold milliseconds exactly for the next 200,000 years.
            at_ms: (shown.at * 1000.0).round() as i64,
            actor: shown.actor,
            action: shown.action,
            object: shown.object,
            detail: shown.detail.get().to_owned(),
            prev_hash: shown.prev_hash,
            hash: shown.hash,
        }
    }
}

impl Audit {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::List(list) => list.run().await,
            Command::Verify { head, server } => verify(head.clone(), server).await,
        }
    }
}

fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::failed(format!("the server's answer cannot be read: {error}")))
}

impl List {
    async fn run(&self) -> Result<(), Failure> {
        let api = Api::new(&self.server)?;
        let wanted = self.limit as usize;
        let mut lines: Vec<Box<RawValue>> = Vec::new();
        let mut cursor = None;
        loop {
            let text = api.ask(self.page(wanted - lines.len(), cursor.as_deref())).await?.text;
            let page: Page = read(&text)?;
            lines.extend(page.entries);
            cursor = page.next;
            if cursor.is_none() || lines.len() >= wanted {
                break;
            }
        }
        if self.json {
            lines.iter().for_each(|line| say!("{}", line.get()));
            return Ok(());
        }
        if lines.is_empty() {
            say!("No entries.");
            return Ok(());
        }
        let head = ["entry", "time", "actor", "action", "object", "detail"].map(str::to_owned).to_vec();
        let mut rows = vec![head];
        for line in &lines {
            let shown: Shown = read(line.get())?;
            rows.push(vec![
                shown.seq.to_string(),
                time(&shown.at.into()),
                plain(&shown.actor),
                plain(&shown.action),
                plain(&shown.object),
                plain(shown.detail.get()),
            ]);
        }
        say!("{}", out::table(&rows));
        if cursor.is_some() {
            say!("There are more; see --limit.");
        }
        Ok(())
    }

    fn page(&self, most: usize, cursor: Option<&str>) -> Call<'_> {
        let mut call = Call::get("/api/v1/audit").query("limit", most.clamp(1, PAGE_MOST).to_string());
        let filters = [
            ("actor", &self.actor),
            ("action", &self.action),
            ("object", &self.object),
            ("from", &self.from),
            ("until", &self.until),
        ];
        for (name, value) in filters {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        match cursor {
            Some(cursor) => call.query("cursor", cursor),
            None => call,
        }
    }
}

async fn verify(noted: Option<Head>, server: &Server) -> Result<(), Failure> {
    let api = Api::new(server)?;
    let mut walk: Option<(Chain, Head)> = None;
    let mut cursor: Option<String> = None;
    loop {
        let mut call = Call::get("/api/v1/audit").query("limit", PAGE_MOST.to_string());
        if let Some(cursor) = &cursor {
            call = call.query("cursor", cursor);
        }
        let text = api.ask(call).await?.text;
        let page: Page = read(&text)?;
        // The head of the first page: entries that come while this walks back are another time's business.
        let (chain, _) = walk.get_or_insert_with(|| {
            let head = Head { seq: page.head.seq, hash: page.head.hash };
            (Chain::from_head(head.clone(), noted.clone()), head)
        });
        for line in &page.entries {
            chain.check(&Entry::from(read::<Shown>(line.get())?));
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let (chain, head) = walk.ok_or_else(|| Failure::failed("the server gave no page"))?;
    match chain.end() {
        Ok(checked) => {
            let what = if checked == 1 { "entry" } else { "entries" };
            say!("{checked} {what}, unbroken.");
            say!("Head: {head}");
            Ok(())
        }
        Err(broken) => Err(Failure::failed(format!("the audit log is broken at {broken}"))),
    }
}
