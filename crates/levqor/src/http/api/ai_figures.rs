//! Figures about AI calls as lines of OpenMetrics. Money is shown as an exact decimal; who reads it as a float loses digits
//! that no graph shows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use levqor_core::money::Nano;
use levqor_engine::{AiFigures, LATENCY_BUCKETS_MS, ModelFigures};
use levqor_store::{BudgetView, OpenCalls, PeriodRow};

/// All lines, families together as the format wants them.
pub fn lines(figures: &AiFigures, open: &OpenCalls, watched: &[BudgetView]) -> String {
    let models = figures.models();
    let mut out = String::new();
    head(&mut out, "ai_calls", "counter", "AI calls charged by this node, by how they ended");
    for ((provider, model), of) in &models {
        for (state, calls) in of.states() {
            line(
                &mut out,
                "ai_calls_total",
                &[("provider", provider), ("model", model), ("state", state)],
                calls,
            );
        }
    }
    head(&mut out, "ai_cost_usd", "counter", "What AI calls charged by this node cost, in US dollars");
    each(&mut out, &models, "ai_cost_usd_total", |of| {
        Nano::new(i64::try_from(of.cost_nano).unwrap_or(i64::MAX)).to_string()
    });
    head(&mut out, "ai_tokens", "counter", "What AI calls charged by this node used, by class");
    for ((provider, model), of) in &models {
        for (class, tokens) in &of.tokens {
            line(
                &mut out,
                "ai_tokens_total",
                &[("provider", provider), ("model", model), ("class", class)],
                tokens,
            );
        }
    }
    head(&mut out, "ai_call_seconds", "histogram", "Time from the request to the end of its answer");
    for ((provider, model), of) in &models {
        latencies(&mut out, provider, model, of);
    }
    head(
        &mut out,
        "ai_refused",
        "counter",
        "Holds that a budget refused on this node, by the kind of its scope",
    );
    for (scope, refused) in figures.refusals() {
        line(&mut out, "ai_refused_total", &[("scope", scope)], refused);
    }
    head(&mut out, "ai_open_holds", "gauge", "AI calls that hold money, on all nodes");
    line(&mut out, "ai_open_holds", &[], open.calls);
    head(&mut out, "ai_held_usd", "gauge", "What they hold, in US dollars");
    line(&mut out, "ai_held_usd", &[], open.held);
    budgets(&mut out, watched);
    out
}

/// Three lines for each. Of a budget for each subject the fullest: no figure has a person's name.
fn budgets(out: &mut String, watched: &[BudgetView]) {
    let mut family = |name: &str, help: &str, value: fn(&BudgetView) -> Nano| {
        head(out, name, "gauge", help);
        for view in watched {
            let budget = &view.row.budget;
            let (id, window) = (budget.id.to_string(), budget.window.to_string());
            let labels =
                [("budget", id.as_str()), ("scope", budget.scope.kind.as_str()), ("window", &window)];
            line(out, name, &labels, value(view));
        }
    };
    family("budget_limit_usd", "The limits of budgets that go by the clock, in US dollars", |view| {
        view.row.budget.limit
    });
    family("budget_spent_usd", "What budgets have spent in the period of now, in US dollars", |view| {
        fullest(view).map_or(Nano::ZERO, |period| period.spent)
    });
    family("budget_held_usd", "What open calls hold of budgets, in US dollars", |view| {
        fullest(view).map_or(Nano::ZERO, |period| period.held)
    });
}

fn fullest(view: &BudgetView) -> Option<&PeriodRow> {
    view.periods.iter().max_by_key(|period| period.spent.get().saturating_add(period.held.get()))
}

type Models = BTreeMap<(String, String), ModelFigures>;

fn each(out: &mut String, models: &Models, name: &str, value: impl Fn(&ModelFigures) -> String) {
    for ((provider, model), of) in models {
        line(out, name, &[("provider", provider), ("model", model)], value(of));
    }
}

fn latencies(out: &mut String, provider: &str, model: &str, of: &ModelFigures) {
    let labels = [("provider", provider), ("model", model)];
    for (end_ms, within) in LATENCY_BUCKETS_MS.iter().zip(of.within) {
        let end = seconds(*end_ms);
        line(out, "ai_call_seconds_bucket", &[labels[0], labels[1], ("le", &end)], within);
    }
    line(out, "ai_call_seconds_bucket", &[labels[0], labels[1], ("le", "+Inf")], of.timed);
    line(out, "ai_call_seconds_sum", &labels, seconds(i64::try_from(of.took_ms).unwrap_or(i64::MAX)));
    line(out, "ai_call_seconds_count", &labels, of.timed);
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms / 1000, ms % 1000)
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(out, "# HELP levqor_{name} {help}.\n# TYPE levqor_{name} {kind}\n");
}

fn line(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let labels: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(out, "levqor_{name}{labels} {value}");
}

/// As the format wants it; names of models come from price lists.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use levqor_core::money::{Charge, Usage};

    use super::*;

    #[test]
    fn lines_are_exact_and_no_name_ends_one() {
        let figures = AiFigures::default();
        let usage = Usage { out: 40, ..Usage::default() };
        let charge = Charge::Settle { cost: Nano::new(7_600_000), usage, alarm: None };
        figures.charged("local", "a\"b\\\nc", &charge, Nano::ZERO, Some(1_500));
        figures.refused("job");

        let text = lines(&figures, &OpenCalls { calls: 2, held: Nano::new(5) }, &[]);

        let label = r#"provider="local",model="a\"b\\\nc""#;
        for wanted in [
            format!("levqor_ai_calls_total{{{label},state=\"settled\"}} 1"),
            format!("levqor_ai_cost_usd_total{{{label}}} 0.0076"),
            format!("levqor_ai_tokens_total{{{label},class=\"output\"}} 40"),
            format!("levqor_ai_call_seconds_bucket{{{label},le=\"1.000\"}} 0"),
            format!("levqor_ai_call_seconds_bucket{{{label},le=\"2.500\"}} 1"),
            format!("levqor_ai_call_seconds_sum{{{label}}} 1.500"),
            "levqor_ai_refused_total{scope=\"job\"} 1".to_owned(),
            "levqor_ai_open_holds 2".to_owned(),
            "levqor_ai_held_usd 0.000000005".to_owned(),
        ] {
            assert!(text.lines().any(|line| line == wanted), "{wanted} is not in\n{text}");
        }
    }
}
