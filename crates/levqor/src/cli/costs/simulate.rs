//! `levqor costs simulate`: past calls at other prices, with other models or under other limits. The server reckons.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::cli::client::{Api, Call, Server, read_source};
use crate::cli::exit::Failure;
use crate::cli::jobs::time;
use crate::cli::out::{self, plain, say};

#[derive(Args)]
pub struct Simulate {
    /// Calls of the last thirty days, or from this day or time on
    #[arg(long, value_name = "TIME")]
    from: Option<String>,

    /// Before this day or time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// The calls of this job and its children instead
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "until", "only"])]
    job: Option<String>,

    /// Only calls of this workflow=, model=, key= or user=; may be given several times
    #[arg(long, value_name = "WHAT=WHICH")]
    only: Vec<String>,

    /// Call another model: openai/gpt-6-sol=openai/gpt-5-mini; may be given several times
    #[arg(long, value_name = "MODEL=OTHER")]
    model: Vec<String>,

    /// A price list (CSV) whose prices hold for its models; - for standard input
    #[arg(long, value_name = "FILE")]
    prices: Option<String>,

    /// What a job may cost with its children, in dollars
    #[arg(long, value_name = "USD")]
    per_job: Option<String>,

    /// What everything may cost in a day (UTC), in dollars
    #[arg(long, value_name = "USD")]
    per_day: Option<String>,

    /// Print the server's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: Server,
}

const ONLY: [&str; 4] = ["workflow", "model", "key", "user"];

impl Simulate {
    pub async fn run(&self) -> Result<(), Failure> {
        let body = Value::Object(self.body()?).to_string();
        let call = Call::post("/api/v1/costs/simulate").json(body);
        let answer = Api::new(&self.server)?.ask(call).await?;
        if self.json {
            say!("{}", answer.text.trim_end());
            return Ok(());
        }
        show(&answer.json());
        Ok(())
    }

    fn body(&self) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        let texts = [
            ("from", &self.from),
            ("until", &self.until),
            ("job", &self.job),
            ("per_job", &self.per_job),
            ("per_day", &self.per_day),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                body.insert(name.to_owned(), json!(text));
            }
        }
        for only in &self.only {
            let parts = only.split_once('=').filter(|(what, _)| ONLY.contains(what));
            let (what, which) = parts.ok_or_else(|| {
                Failure::usage(format!("--only {only}: expected one of {}=…", ONLY.join("=…, ")))
            })?;
            body.insert(what.to_owned(), json!(which));
        }
        let mut models = Map::new();
        for pair in &self.model {
            let parts = pair.split_once('=');
            let (model, other) =
                parts.ok_or_else(|| Failure::usage(format!("--model {pair}: expected MODEL=OTHER")))?;
            models.insert(model.to_owned(), json!(other));
        }
        body.insert("models".to_owned(), Value::Object(models));
        if let Some(path) = &self.prices {
            body.insert("prices".to_owned(), json!(read_source(path)?));
        }
        Ok(body)
    }
}

fn show(body: &Value) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), plain);
    let head = ["model", "calls", "was", "would be", "difference"].map(str::to_owned).to_vec();
    let row = |name: &str, sums: &Value| {
        let figures = ["calls", "past_usd", "simulated_usd", "difference_usd"].map(|name| text(&sums[name]));
        std::iter::once(plain(name)).chain(figures).collect::<Vec<_>>()
    };
    let models = body["models"].as_object().into_iter().flatten();
    let rows = models.map(|(model, sums)| row(model, sums));
    let rows: Vec<_> =
        std::iter::once(head).chain(rows).chain(std::iter::once(row("total", &body["total"]))).collect();
    say!("{}", out::table(&rows));
    let refused = &body["refused"];
    if refused["calls"].as_u64().unwrap_or(0) > 0 {
        let (calls, jobs) = (text(&refused["calls"]), text(&refused["jobs"]));
        say!("\nRefused: {calls} calls of {jobs} jobs, the first at {}", time(&refused["first_at"]));
    }
    let sentences = body["cannot_know"].as_array().into_iter().flatten().filter_map(Value::as_str);
    say!("\nWhat past calls cannot tell:");
    sentences.for_each(|sentence| say!("- {}", plain(sentence)));
}
