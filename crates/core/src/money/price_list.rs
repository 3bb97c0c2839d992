//! Price lists: CSV with a header, one model a row, decimals in dollars. Reads prices out of it, or says what is wrong in
//! which line. Blank means "nobody knows"; 0 is refused, since a price of nothing must be said in words (`free`).
//!
//! What a list leaves out is filled in only where that cannot be cheaper than the truth, or follows from the vendor's own
//! ratios; [`components`] has the rules.

use std::collections::{HashMap, HashSet};

use super::amount::Rate;
use super::decimal::BadDecimal;
use super::price::{Component, Mode, Price, Status};
use super::unit::{Tier, Unit};

/// A line of a list that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct BadRow {
    /// Counted from 1, the header included.
    pub line: usize,
    pub problem: String,
}

const COLUMNS: [&str; 27] = [
    "provider",
    "model",
    "mode",
    "status",
    "input_usd_per_mtok",
    "output_usd_per_mtok",
    "cached_input_usd_per_mtok",
    "cache_write_usd_per_mtok",
    "cache_write_long_usd_per_mtok",
    "cache_write_long_ttl",
    "reasoning_output_usd_per_mtok",
    "long_context_threshold_tokens",
    "long_input_usd_per_mtok",
    "long_output_usd_per_mtok",
    "batch_input_usd_per_mtok",
    "batch_output_usd_per_mtok",
    "priority_input_usd_per_mtok",
    "priority_output_usd_per_mtok",
    "web_search_usd_per_query",
    "region_multiplier",
    "fast_multiplier",
    "context_window_input_tokens",
    "max_output_tokens",
    "notes",
    "upstream_source",
    "source",
    "retrieved",
];

/// A list may bring these too; the embedded one has no need of them.
const OWN_COLUMNS: [&str; 5] = [
    "tokens_per_byte",
    "audio_in_usd_per_mtok",
    "audio_out_usd_per_mtok",
    "image_in_usd_per_mtok",
    "request_usd_each",
];

/// A larger list is not one that a person looked through.
pub(super) const MAX_ROWS: usize = 10_000;
const MAX_TOKENS: u64 = 1_000_000_000;

/// All rows, or all that is wrong with them.
pub fn parse_price_list(text: &str) -> Result<Vec<Price>, Vec<BadRow>> {
    let whole = |problem: &str| vec![BadRow { line: 1, problem: problem.to_owned() }];
    let mut lines =
        text.trim_start_matches('\u{feff}').lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let Some((_, header)) = lines.next() else { return Err(whole("the list is empty")) };
    let header = header.split(',').map(str::trim).collect::<Vec<_>>();
    for (place, name) in header.iter().enumerate() {
        if !COLUMNS.contains(name) && !OWN_COLUMNS.contains(name) {
            return Err(whole(&format!("there is no column {name:?}; known are {}", COLUMNS.join(", "))));
        }
        if header[..place].contains(name) {
            return Err(whole(&format!("the column {name} is there twice")));
        }
    }
    let (mut prices, mut problems, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (place, text) in lines {
        let line = place + 1;
        if prices.len() + problems.len() >= MAX_ROWS {
            problems.push(BadRow { line, problem: format!("a list has {MAX_ROWS} rows at most") });
            break;
        }
        let price =
            fields(text).and_then(|fields| Cells::new(&header, fields)).and_then(|cells| cells.price());
        let price = price.and_then(|price| {
            let is_new = seen.insert((price.provider.clone(), price.model.clone()));
            if is_new { Ok(price) } else { Err(format!("{} is there twice", price.name())) }
        });
        match price {
            Ok(price) => prices.push(price),
            Err(problem) => problems.push(BadRow { line, problem }),
        }
    }
    if problems.is_empty() { Ok(prices) } else { Err(problems) }
}

/// The fields of one line; a quoted one may hold commas and doubled quotes.
fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, behind) = match rest.strip_prefix('"') {
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
            Some(quoted) => {
                let end = closing_quote(quoted).ok_or("a quote is not closed")?;
                (quoted[..end].replace("\"\"", "\""), &quoted[end + 1..])
            }
        };
        fields.push(field);
        match behind.strip_prefix(',') {
            Some(more) => rest = more,
            None if behind.is_empty() => return Ok(fields),
            None => return Err("there is text behind a closing quote".to_owned()),
        }
    }
}

/// The first quote that is not one of two.
fn closing_quote(quoted: &str) -> Option<usize> {
    let bytes = quoted.as_bytes();
    let mut at = 0;
    loop {
        at += quoted[at..].find('"')?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// One row by column name. What is blank is not there.
struct Cells<'a> {
    cells: HashMap<&'a str, String>,
}

impl<'a> Cells<'a> {
    fn new(header: &[&'a str], fields: Vec<String>) -> Result<Self, String> {
        if fields.len() != header.len() {
            return Err(format!("{} fields for {} columns", fields.len(), header.len()));
        }
        let cells = header.iter().copied().zip(fields).filter(|(_, field)| !field.is_empty());
        Ok(Cells { cells: cells.collect() })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.cells.get(name).map(String::as_str)
    }

    fn name(&self, column: &str) -> Result<String, String> {
        let name = self.text(column).ok_or_else(|| format!("{column} is missing"))?;
        let is_plain = name.len() <= 200 && !name.chars().any(|c| c.is_control() || c.is_whitespace());
        if is_plain {
            Ok(name.to_owned())
        } else {
            Err(format!("{column} must be 1 to 200 characters without blanks"))
        }
    }

    fn word<T>(
        &self,
        column: &str,
        known: &[T],
        parse: fn(&str) -> Option<T>,
        default: T,
    ) -> Result<T, String>
    where
        T: Copy + std::fmt::Debug,
    {
        let Some(text) = self.text(column) else { return Ok(default) };
        parse(text).ok_or_else(|| format!("{column} {text:?} is none of {known:?}").to_lowercase())
    }

    fn rate(
        &self,
        column: &str,
        parse: fn(&str) -> Result<Rate, BadDecimal>,
    ) -> Result<Option<Rate>, String> {
        let Some(text) = self.text(column) else { return Ok(None) };
        match parse(text) {
            Ok(rate) if rate > Rate::ZERO => Ok(Some(rate)),
            Ok(_) => Err(format!(
                "{column} is 0: leave it blank if it is not known; for a model that costs nothing write the status free"
            )),
            Err(problem) => Err(format!("{column} {text:?} {problem}")),
        }
    }

    fn per_million(&self, column: &str) -> Result<Option<Rate>, String> {
        self.rate(column, Rate::parse_per_million)
    }

    fn count(&self, column: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.text(column) else { return Ok(None) };
        let count = text.parse().ok().filter(|count| (1..=MAX_TOKENS).contains(count));
        count
            .map(Some)
            .ok_or_else(|| format!("{column} {text:?} must be a whole number from 1 to {MAX_TOKENS}"))
    }

    /// A factor of one or more, in millionths.
    fn factor_ppm(&self, column: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.text(column) else { return Ok(None) };
        let ppm = super::decimal::parse(text, 6).ok().filter(|ppm| (1_000_000..=100_000_000).contains(ppm));
        let ppm = ppm.and_then(|ppm| u64::try_from(ppm).ok());
        ppm.map(Some).ok_or_else(|| format!("{column} {text:?} must be a factor from 1 to 100"))
    }

    fn price(&self) -> Result<Price, String> {
        let mode = self.word("mode", Mode::ALL, Mode::parse, Mode::Chat)?;
        let status = self.word("status", Status::ALL, Status::parse, Status::Priced)?;
        let components = components(self)?;
        let has = |unit| components.iter().any(|it: &Component| it.unit == unit);
        if status != Status::Priced && !components.is_empty() {
            return Err(format!("a model that is {} has no prices", status.as_str()));
        }
        if status == Status::Priced && !has(Unit::Input) {
            return Err(
                "input_usd_per_mtok is missing; a model without a price has the status unpriced or free"
                    .to_owned(),
            );
        }
        let max_output_tokens = self.count("max_output_tokens")?;
        if mode != Mode::Embedding && status == Status::Priced {
            if !has(Unit::Output) {
                return Err("output_usd_per_mtok is missing".to_owned());
            }
            if max_output_tokens.is_none() {
                return Err("max_output_tokens is missing: without it a call has no upper bound".to_owned());
            }
        }
        Ok(Price {
            provider: self.name("provider")?,
            model: self.name("model")?,
            mode,
            status,
            max_input_tokens: self.count("context_window_input_tokens")?,
            max_output_tokens,
            tokens_per_byte_ppm: self.factor_ppm("tokens_per_byte")?.unwrap_or(1_000_000),
            region_ppm: self.factor_ppm("region_multiplier")?,
            fast_ppm: self.factor_ppm("fast_multiplier")?,
            components,
            notes: self.text("notes").unwrap_or_default().to_owned(),
            source: self.text("upstream_source").or(self.text("source")).unwrap_or_default().to_owned(),
            retrieved: self.text("retrieved").unwrap_or_default().to_owned(),
        })
    }
}

/// The components of a row.
///
/// - Reads from a cache cost what input costs, unless the list says less; so do images. Thoughts cost what output costs,
///   unless the list says more. Writes to a cache and audio are priced only by the list: they cost more than input.
/// - Beyond the long-context step all kinds of input grow like input, and all kinds of output like output.
/// - A lane's cache classes keep the ratio to its input. A lane has the dearer of its own and the long price beyond the step.
fn components(cells: &Cells<'_>) -> Result<Vec<Component>, String> {
    let Some(input) = cells.per_million("input_usd_per_mtok")? else { return each(cells) };
    let output = cells.per_million("output_usd_per_mtok")?;
    let base = [
        (Unit::Input, Some(input)),
        (Unit::CachedRead, cells.per_million("cached_input_usd_per_mtok")?.or(Some(input))),
        (Unit::CacheWriteShort, cells.per_million("cache_write_usd_per_mtok")?),
        (Unit::CacheWriteLong, cells.per_million("cache_write_long_usd_per_mtok")?),
        (Unit::ImageIn, cells.per_million("image_in_usd_per_mtok")?.or(Some(input))),
        (Unit::AudioIn, cells.per_million("audio_in_usd_per_mtok")?),
        (Unit::Output, output),
        (Unit::Reasoning, cells.per_million("reasoning_output_usd_per_mtok")?.max(output)),
        (Unit::AudioOut, cells.per_million("audio_out_usd_per_mtok")?),
    ];
    let is_out = |unit| matches!(unit, Unit::Output | Unit::Reasoning | Unit::AudioOut);
    // What a unit costs where input and output cost this.
    let follow = |(unit, rate): (Unit, Option<Rate>), new_input: Rate, new_output: Option<Rate>| {
        let (part, whole) = if is_out(unit) { (new_output?, output?) } else { (new_input, input) };
        rate?.scaled(part, whole)
    };

    let step = cells.count("long_context_threshold_tokens")?;
    let long =
        (cells.per_million("long_input_usd_per_mtok")?, cells.per_million("long_output_usd_per_mtok")?);
    let long = match (step, long) {
        (Some(step), (Some(long_input), long_output)) if long_output.is_some() == output.is_some() => {
            Some((step, long_input, long_output))
        }
        (None, (None, None)) => None,
        _ => return Err(
            "long_context_threshold_tokens, long_input_usd_per_mtok and long_output_usd_per_mtok go together"
                .to_owned(),
        ),
    };

    let mut all = each(cells)?;
    for (tier, column) in
        [(Tier::Standard, "input"), (Tier::Batch, "batch_input"), (Tier::Priority, "priority_input")]
    {
        let tier_input = cells.per_million(&format!("{column}_usd_per_mtok"))?;
        let tier_output =
            cells.per_million(&format!("{}_usd_per_mtok", column.replace("input", "output")))?;
        let Some(tier_input) = tier_input else { continue };
        if tier_output.is_some() != output.is_some() {
            return Err(format!("the prices of {} for input and output go together", tier.as_str()));
        }
        for part in base {
            let Some(rate) = follow(part, tier_input, tier_output) else { continue };
            all.push(Component { unit: part.0, tier, above_input_tokens: 0, rate });
            if let Some((step, long_input, long_output)) = long {
                let long_rate =
                    follow(part, long_input, long_output).ok_or("a long-context price is too large")?;
                all.push(Component {
                    unit: part.0,
                    tier,
                    above_input_tokens: step,
                    rate: rate.max(long_rate),
                });
            }
        }
    }
    Ok(all)
}

/// What is charged for each use costs the same in every lane.
fn each(cells: &Cells<'_>) -> Result<Vec<Component>, String> {
    let mut all = Vec::new();
    for (unit, column) in [(Unit::WebSearch, "web_search_usd_per_query"), (Unit::Request, "request_usd_each")]
    {
        let Some(rate) = cells.rate(column, Rate::parse_each)? else { continue };
        all.extend(Tier::ALL.iter().map(|tier| Component { unit, tier: *tier, above_input_tokens: 0, rate }));
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
