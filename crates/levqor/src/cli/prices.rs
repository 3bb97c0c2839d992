//! `levqor prices`: what models cost, as a server goes by it.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::budgets::text;
use super::client::{Answer, Api, Call, Server, read_source, segment};
use super::exit::Failure;
use super::jobs::time;
use super::out::{self, count, note, plain, say};

/// List prices, import a list, look at its difference, put it in force
#[derive(Args)]
#[command(after_help = "\
Examples:
  levqor prices list --provider openai
  levqor prices import prices.csv --source 'vendor pages, 2030-01-31'
  levqor prices import own.csv --kind own --source 'contract 17'
  levqor prices diff list-9f86d081884c7d65
  levqor prices activate list-9f86d081884c7d65 --accept openai/gpt-6-sol
  levqor prices books

An import is a draft: nothing changes before it is activated. What looks like a slip is warned of and has to be accepted by name.
Reading needs a key with the scope read, changing one with the scope budgets.")]
pub struct Prices {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the prices in force, in dollars for a million tokens
    List {
        /// Of this provider only
        #[arg(long)]
        provider: Option<String>,
        /// Of this model only
        #[arg(long)]
        model: Option<String>,
        /// Print the prices as JSON, one a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// List the lists that were imported, newest first
    Books {
        /// Print the books as JSON, one a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Store a list (CSV, or JSON as the API takes it) as a draft, and show what it would change
    Import {
        /// File, or - for standard input
        file: String,
        /// Public prices, or own models and private prices in front of them
        #[arg(long, value_enum, default_value = "list")]
        kind: Kind,
        /// Where the prices come from
        #[arg(long)]
        source: Option<String>,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Show what putting a book in force would change now
    Diff {
        /// Id of the book
        id: String,
        /// Print the server's answer as JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        server: Server,
    },
    /// Put a book in force
    Activate {
        /// Id of the book
        id: String,
        /// A model (provider/model) whose warnings are right; may be given more than once; '*' for all
        #[arg(long, value_name = "MODEL")]
        accept: Vec<String>,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    List,
    Own,
}

impl Prices {
    pub async fn run(&self) -> Result<(), Failure> {
        match &self.command {
            Command::List { provider, model, json, server } => {
                list(provider.as_deref(), model.as_deref(), *json, server).await
            }
            Command::Books { json, server } => books(*json, server).await,
            Command::Import { file, kind, source, json, server } => {
                import(file, *kind, source.as_deref(), *json, server).await
            }
            Command::Diff { id, json, server } => {
                let answer = Api::new(server)?.ask(Call::get(path(id))).await?;
                show_draft(&answer, *json);
                Ok(())
            }
            Command::Activate { id, accept, server } => activate(id, accept, server).await,
        }
    }
}

fn path(id: &str) -> String {
    format!("/api/v1/prices/{}", segment(id))
}

async fn list(
    provider: Option<&str>,
    model: Option<&str>,
    json: bool,
    server: &Server,
) -> Result<(), Failure> {
    let api = Api::new(server)?;
    let page = |_, cursor: Option<&str>| {
        let mut call = Call::get("/api/v1/prices").query("limit", "1000");
        for (name, value) in [("provider", provider), ("model", model), ("cursor", cursor)] {
            if let Some(value) = value {
                call = call.query(name, value);
            }
        }
        call
    };
    let (prices, _) = api.list("prices", u32::MAX, page).await?;
    if json {
        prices.iter().for_each(|price| say!("{price}"));
    } else if prices.is_empty() {
        say!("No such price: calls of such a model are refused.");
    } else {
        let head = ["model", "status", "input", "output", "cached input", "output tokens", "from"];
        let rows = prices.iter().map(row);
        let head = head.map(str::to_owned).to_vec();
        say!("{}", out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    }
    Ok(())
}

fn row(price: &Value) -> Vec<String> {
    let rate = |unit: &str| {
        let all = price["components"].as_array().into_iter().flatten();
        let mut base = all.filter(|it| it["tier"] == "standard" && it["above_input_tokens"] == 0);
        base.find(|it| it["unit"] == unit).map(|it| text(&it["rate"])).unwrap_or_default()
    };
    vec![
        format!("{}/{}", text(&price["provider"]), text(&price["model"])),
        text(&price["status"]),
        rate("input"),
        rate("output"),
        rate("cached_read"),
        price["max_output_tokens"].as_u64().map(|it| it.to_string()).unwrap_or_default(),
        price["book"].as_str().map_or("built in".to_owned(), plain),
    ]
}

async fn books(json: bool, server: &Server) -> Result<(), Failure> {
    let call = Call::get("/api/v1/prices").query("limit", "1");
    let body = Api::new(server)?.ask(call).await?.json();
    let books: Vec<&Value> = body["books"].as_array().into_iter().flatten().collect();
    if json {
        books.iter().for_each(|book| say!("{book}"));
    } else if books.is_empty() {
        say!("Nothing was imported: the list that comes with the program is in force.");
    } else {
        let head = ["book", "status", "imported", "activated", "source"].map(str::to_owned).to_vec();
        let at = |value: &Value| if value.is_null() { String::new() } else { time(value) };
        let rows = books.iter().map(|it| {
            vec![
                text(&it["id"]),
                text(&it["status"]),
                at(&it["imported_at"]),
                at(&it["activated_at"]),
                text(&it["source"]),
            ]
        });
        say!("{}", out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    }
    Ok(())
}

async fn import(
    file: &str,
    kind: Kind,
    source: Option<&str>,
    json: bool,
    server: &Server,
) -> Result<(), Failure> {
    let content = read_source(file)?;
    let kind = match kind {
        Kind::List => "list",
        Kind::Own => "own",
    };
    let source = source.unwrap_or(if file == "-" { "standard input" } else { file });
    let call = Call::post("/api/v1/prices/import");
    // What begins like an object is none of a list's headers.
    let call = match content.trim_start().starts_with('{') {
        true => {
            let mut body: Value = serde_json::from_str(&content)
                .map_err(|error| Failure::usage(format!("{file} is not JSON: {error}")))?;
            body["kind"] = kind.into();
            body["source"] = source.into();
            call.json(body.to_string())
        }
        false => {
            let call = call.query("kind", kind).query("source", source);
            call.header("content-type", "text/csv").body(content)
        }
    };
    let answer = Api::new(server)?.ask(call).await?;
    show_draft(&answer, json);
    Ok(())
}

fn show_draft(answer: &Answer, json: bool) {
    if json {
        say!("{}", answer.text.trim_end());
        return;
    }
    let body = answer.json();
    let (book, difference) = (&body["book"], &body["difference"]);
    let all = |name: &str| difference[name].as_array().cloned().unwrap_or_default();
    say!("{} ({})", text(&book["id"]), text(&book["status"]));
    for price in all("added") {
        say!("  + {}/{}", text(&price["provider"]), text(&price["model"]));
    }
    for change in all("changed") {
        say!("  ~ {}", text(&change["model"]));
        for rate in change["rates"].as_array().into_iter().flatten() {
            let or_none = |value: &Value| value.as_str().map_or("none".to_owned(), plain);
            let above = match rate["above_input_tokens"].as_u64() {
                Some(tokens) if tokens > 0 => format!(" above {tokens}"),
                _ => String::new(),
            };
            let (unit, tier) = (text(&rate["unit"]), text(&rate["tier"]));
            say!("      {unit} ({tier}){above}: {} → {}", or_none(&rate["old"]), or_none(&rate["new"]));
        }
    }
    for name in all("removed") {
        say!("  - {} (would be refused)", text(&name));
    }
    for warning in all("warnings") {
        say!("  ! {}: {}", text(&warning["model"]), text(&warning["text"]));
    }
    let [added, changed, removed, warnings] =
        ["added", "changed", "removed", "warnings"].map(|name| all(name).len());
    let warned = count(warnings, "warning");
    say!("{added} added, {changed} changed, {removed} removed, {warned}");
    if book["status"] != "active" {
        note!("Put it in force with `levqor prices activate {}`.", text(&book["id"]));
    }
}

async fn activate(id: &str, accept: &[String], server: &Server) -> Result<(), Failure> {
    let call = Call::post(format!("{}/activate", path(id))).json(json!({"accept": accept}).to_string());
    Api::new(server)?.ask(call).await?;
    say!("{}: in force", plain(id));
    Ok(())
}
