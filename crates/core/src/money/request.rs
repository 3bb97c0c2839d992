//! What may be asked for about money that was spent and about prices: bodies become values, or one named problem.

use std::collections::HashMap;

use serde_json::value::RawValue;

use super::amount::Nano;
use super::price_list::{BadRow, MAX_ROWS};
use crate::budget::parse_amount;
use crate::fields::{self, Problem, fields, fields_or_null};
use crate::intake::{shown, text};
use crate::json::{decode, members};

const MAX_REASON_CHARS: usize = 500;
const MAX_SOURCE_CHARS: usize = 200;
/// More than a list knows; every row has a cell for each.
const MAX_COLUMNS: usize = 64;
/// Models whose warnings one request accepts.
const MAX_ACCEPTED: usize = 1_000;

/// What a call cost in the end, by a person's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrectionRequest {
    pub cost: Nano,
    pub reason: String,
}

/// Reads the body of a correction.
pub fn parse_correction(body: &str) -> Result<CorrectionRequest, Problem> {
    let body = fields::read(body)?;
    let [cost, reason] = fields(&body, ["cost", "reason"])?;
    let cost = cost.ok_or_else(|| {
        Problem::missing("/cost", "all that the call cost, in dollars as a decimal text such as \"0.0123\"")
    })?;
    let reason = reason.ok_or_else(|| Problem::missing("/reason", "why, in 1 to 500 characters"))?;
    Ok(CorrectionRequest {
        cost: parse_amount("/cost", cost)?,
        reason: line("/reason", reason, MAX_REASON_CHARS)?,
    })
}

/// A text without control characters that is not all blank.
fn line(at: &'static str, raw: &str, most: usize) -> Result<String, Problem> {
    let fits = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
    let found = text(raw, 1, most).filter(|text| fits(text));
    let allowed =
        || format!("must be a text of 1 to {most} characters, not all blank, without control characters");
    found.map(|text| text.into_owned()).ok_or_else(|| Problem::field(at, raw, allowed()))
}

/// Prices to be stored as a draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImportRequest {
    /// The installation's own models and private prices, not the public list.
    pub is_own: bool,
    /// Where they come from, in a person's words.
    pub source: String,
    /// A price list as [`super::parse_price_list`] reads it.
    pub list: String,
}

/// Reads a JSON body: `{"kind":"own","source":"…","prices":[{"provider":…}]}`, prices with the columns of a list as members.
pub fn parse_import(body: &str) -> Result<ImportRequest, Problem> {
    let body = fields::read(body)?;
    let [kind, source, prices] = fields_or_null(&body, ["kind", "source", "prices"])?;
    let prices = prices
        .ok_or_else(|| Problem::missing("/prices", "a list of objects with the columns of a price list"))?;
    Ok(ImportRequest {
        is_own: kind.map_or(Ok(false), parse_kind)?,
        source: source.map_or(Ok("api".to_owned()), |raw| line("/source", raw, MAX_SOURCE_CHARS))?,
        list: to_list(prices)?,
    })
}

/// Reads `list` or `own`.
fn parse_kind(raw: &str) -> Result<bool, Problem> {
    match decode(raw).as_deref() {
        Some("list") => Ok(false),
        Some("own") => Ok(true),
        _ => Err(Problem::field(
            "/kind",
            raw,
            "must be list (public prices) or own (own models and private prices)",
        )),
    }
}

/// Objects as rows. What a cell may say is the list's business; what could not be a cell is refused here.
fn to_list(raw: &str) -> Result<String, Problem> {
    let wrong = |raw: &str| Problem::field("/prices", raw, "must be a list of objects");
    let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| wrong(raw))?;
    if items.len() > MAX_ROWS {
        return Err(Problem { at: "/prices".into(), message: format!("prices: {MAX_ROWS} rows at most") });
    }
    let (mut columns, mut places) = (Vec::new(), HashMap::new());
    let mut rows: Vec<HashMap<usize, String>> = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let found = members(item.get()).ok_or_else(|| wrong(item.get()))?;
        let mut row = HashMap::with_capacity(found.len());
        for (name, value) in found {
            let is_plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            if !is_plain {
                let message = format!("prices: there is no column `{}`", shown(&name));
                return Err(Problem { at: format!("/prices/{index}").into(), message });
            }
            if columns.len() > MAX_COLUMNS {
                let message = format!("prices: more than {MAX_COLUMNS} different members");
                return Err(Problem { at: format!("/prices/{index}").into(), message });
            }
            let place = *places.entry(name.clone().into_owned()).or_insert_with(|| {
                columns.push(name.into_owned());
                columns.len() - 1
            });
            row.insert(place, cell(index, &columns[place], value)?);
        }
        rows.push(row);
    }
    if columns.is_empty() {
        columns.push("provider".to_owned());
    }
    let mut list = columns.join(",");
    for row in &rows {
        list.push('\n');
        let cells = (0..columns.len()).map(|place| row.get(&place).map_or("", String::as_str));
        list.push_str(&cells.collect::<Vec<_>>().join(","));
    }
    list.push('\n');
    Ok(list)
}

fn cell(index: usize, column: &str, raw: &str) -> Result<String, Problem> {
    let text = match (decode(raw), raw.as_bytes().first()) {
        (Some(text), _) => text.into_owned(),
        (None, Some(b'-' | b'0'..=b'9')) => raw.to_owned(),
        (None, Some(b'n')) => String::new(),
        _ => return Err(unfit(index, column, raw)),
    };
    if text.chars().any(char::is_control) { Err(unfit(index, column, raw)) } else { Ok(quoted(&text)) }
}

fn unfit(index: usize, column: &str, raw: &str) -> Problem {
    let allowed = "must be a text without control characters, or a number";
    Problem::field(format!("/prices/{index}/{column}"), raw, allowed)
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// Where in the JSON body a row of the list came from.
pub fn price_pointer(row: &BadRow) -> String {
    match row.line.checked_sub(2) {
        Some(index) => format!("/prices/{index}"),
        None => "/prices".to_owned(),
    }
}

/// Reads which models' warnings are accepted, as `provider/model`; `*` for all that are shown. An empty body accepts none.
pub fn parse_activation(body: &str) -> Result<Vec<String>, Problem> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let body = fields::read(body)?;
    let [accept] = fields_or_null(&body, ["accept"])?;
    let Some(raw) = accept else { return Ok(Vec::new()) };
    let wrong = || Problem::field("/accept", raw, "must be a list of provider/model, or [\"*\"]");
    if !raw.starts_with('[') {
        return Err(wrong());
    }
    let items: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| wrong())?;
    if items.len() > MAX_ACCEPTED {
        return Err(wrong());
    }
    items.iter().map(|item| decode(item.get()).map(|text| text.into_owned()).ok_or_else(wrong)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::money::parse_price_list;

    #[test]
    fn a_correction_is_all_of_the_cost_and_a_reason() {
        let read = parse_correction(r#"{"cost":"0.0123","reason":"as invoiced"}"#).unwrap();
        assert_eq!((read.cost, read.reason.as_str()), (Nano::new(12_300_000), "as invoiced"));

        for (body, at) in [
            (r#"{"reason":"x"}"#, "/cost"),
            (r#"{"cost":"1"}"#, "/reason"),
            (r#"{"cost":null,"reason":"x"}"#, "/cost"),
            (r#"{"cost":"-1","reason":"x"}"#, "/cost"),
            (r#"{"cost":"1","reason":" "}"#, "/reason"),
            (r#"{"cost":"1","reason":"a\nb"}"#, "/reason"),
            (r#"{"cost":"1","reason":"x","by":"me"}"#, ""),
            ("7", ""),
        ] {
            assert_eq!(parse_correction(body).unwrap_err().at, at, "{body}");
        }
    }

    #[test]
    fn objects_become_a_list_that_says_the_same() {
        let body = r#"{"kind":"own","source":"contract, 2026","prices":[
            {"provider":"p","model":"m","status":"priced","input_usd_per_mtok":1.50,"output_usd_per_mtok":"6","max_output_tokens":4096,"notes":"a, \"b\""},
            {"provider":"local","model":"llama","status":"free","max_output_tokens":null}]}"#;

        let request = parse_import(body).unwrap();

        assert_eq!((request.is_own, request.source.as_str()), (true, "contract, 2026"));
        let prices = parse_price_list(&request.list).unwrap();
        assert_eq!(prices.iter().map(|it| it.name()).collect::<Vec<_>>(), ["p/m", "local/llama"]);
        assert_eq!((prices[0].notes.as_str(), prices[0].max_output_tokens), ("a, \"b\"", Some(4096)));
        assert_eq!(parse_price_list(&parse_import(r#"{"prices":[]}"#).unwrap().list), Ok(Vec::new()));
    }

    #[test]
    fn what_could_be_no_cell_is_refused_where_it_stands() {
        let names = (0..70).map(|n| format!("\"{}\":1", "a".repeat(n + 1))).collect::<Vec<_>>().join(",");
        let many = format!("{{\"prices\":[{{{names}}}]}}");
        for (body, at) in [
            ("{}", "/prices"),
            (r#"{"prices":{}}"#, "/prices"),
            (r#"{"prices":[7]}"#, "/prices"),
            (r#"{"kind":"mine","prices":[]}"#, "/kind"),
            (r#"{"source":"","prices":[]}"#, "/source"),
            (r#"{"prices":[{"provider":"p\nq,free"}]}"#, "/prices/0/provider"),
            (r#"{"prices":[{},{"provider":["p"]}]}"#, "/prices/1/provider"),
            (r#"{"prices":[{"a,b":"x"}]}"#, "/prices/0"),
            (r#"{"prices":[{"a\nb":"x"}]}"#, "/prices/0"),
            (&many, "/prices/0"),
        ] {
            assert_eq!(parse_import(body).unwrap_err().at, at, "{body}");
        }
        let bad =
            parse_price_list(&parse_import(r#"{"prices":[{"provider":"p"}]}"#).unwrap().list).unwrap_err();
        assert_eq!(price_pointer(&bad[0]), "/prices/0");
    }

    #[test]
    fn warnings_are_accepted_by_name() {
        assert_eq!(parse_activation("").unwrap(), [""; 0]);
        assert_eq!(parse_activation("{}").unwrap(), [""; 0]);
        assert_eq!(parse_activation(r#"{"accept":["p/m","*"]}"#).unwrap(), ["p/m", "*"]);
        for body in [r#"{"accept":"*"}"#, r#"{"accept":[7]}"#] {
            assert_eq!(parse_activation(body).unwrap_err().at, "/accept");
        }
    }
}
