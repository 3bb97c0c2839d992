//! Reports as comma-separated values, with the columns of FOCUS (the FinOps Open Cost and Usage Specification) where it has
//! one and `x_` before our own, as it says. What comes from outside is no formula when a spreadsheet opens it.

use levqor_core::csv::{Cell, write_line};
use levqor_store::CostLine;
use serde_json::json;

use super::cost_views::model_name;
use super::costs::Report;

const OF: &[&str] = &[
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "ChargeCategory",
    "ServiceCategory",
    "ServiceName",
    "ProviderName",
    "SkuId",
    "Tags",
    "x_Workflow",
    "x_KeyId",
    "x_UserId",
];

/// One line for each line of the report, with its cost and all its tokens.
pub fn costs_csv(report: &Report) -> String {
    let own = [
        "BilledCost",
        "BillingCurrency",
        "ConsumedQuantity",
        "ConsumedUnit",
        "x_Calls",
        "x_AssumedCost",
        "x_OverrunCost",
    ];
    let mut out = String::new();
    head(&mut out, &own);
    for line in &report.lines {
        let sums = &line.sums;
        let tokens = sums.usage.input_total().saturating_add(sums.usage.output_total()).to_string();
        let (cost, calls) = (sums.cost.to_string(), sums.calls.to_string());
        let (assumed, overrun) = (sums.assumed_cost.to_string(), sums.overrun.to_string());
        let own = [&cost, "USD", &tokens, "Tokens", &calls, &assumed, &overrun];
        write(&mut out, report, line, &own);
    }
    out
}

/// One line for each class that was used.
pub fn usage_csv(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, &["ConsumedQuantity", "ConsumedUnit", "x_Class", "x_Calls"]);
    for line in &report.lines {
        let calls = line.sums.calls.to_string();
        for (class, quantity) in line.sums.usage.classes() {
            let unit = if class.is_token() { "Tokens" } else { "Searches" };
            write(&mut out, report, line, &[&quantity.to_string(), unit, class.as_str(), &calls]);
        }
    }
    out
}

fn head(out: &mut String, own: &[&str]) {
    let cells: Vec<Cell<'_>> = OF.iter().chain(own).map(|name| Cell::Plain(name)).collect();
    write_line(out, &cells);
}

fn write(out: &mut String, report: &Report, line: &CostLine, own: &[&str]) {
    let (start_ms, end_ms) = report.periods.get(line.period).copied().unwrap_or((0, 0));
    let (start, end) = (time(start_ms), time(end_ms));
    let tag = report.grouping.tag.as_ref().zip(line.tag.as_ref());
    let tags = tag.map(|(name, value)| json!({ (name.as_str()): value }).to_string());
    let model = model_name(line);
    let text = |text: &'_ Option<String>| text.clone().unwrap_or_default();
    let (provider, model, workflow, key, user) =
        (text(&line.provider), text(&model), text(&line.workflow), text(&line.key), text(&line.user));
    let mut cells = vec![
        Cell::Plain(&start),
        Cell::Plain(&end),
        Cell::Plain("Usage"),
        Cell::Plain("AI and Machine Learning"),
        Cell::Text(&model),
        Cell::Text(&provider),
        Cell::Text(&model),
        tags.as_deref().map_or(Cell::Empty, Cell::Text),
        Cell::Text(&workflow),
        Cell::Text(&key),
        Cell::Text(&user),
    ];
    cells.extend(own.iter().map(|cell| Cell::Plain(cell)));
    write_line(out, &cells);
}

fn time(at_ms: i64) -> String {
    levqor_core::duration::rfc3339(at_ms)
}
