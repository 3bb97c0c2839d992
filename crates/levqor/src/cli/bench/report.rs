//! What was measured, next to what is asked for: a table for people, JSON for comparisons.

use serde::Serialize;

use super::plan::Plan;
use crate::cli::out;

/// What a figure should reach: the floor below which it is a bug, and the goal.
#[derive(Clone, Copy, Serialize)]
pub struct Aim {
    pub floor: f64,
    pub goal: f64,
}

impl Aim {
    pub const fn new(floor: f64, goal: f64) -> Aim {
        Aim { floor, goal }
    }

    /// One number that is both.
    pub const fn at(value: f64) -> Aim {
        Aim { floor: value, goal: value }
    }

    /// Whether less is better, which the two numbers tell; for a single one the unit does.
    fn less_is_better(self, unit: &str) -> bool {
        self.goal < self.floor || (self.goal == self.floor && matches!(unit, "ms" | "µs" | "MB" | "% CPU"))
    }

    fn verdict(self, value: f64, unit: &str) -> &'static str {
        let reaches = |aim: f64| if self.less_is_better(unit) { value <= aim } else { value >= aim };
        match (reaches(self.goal), reaches(self.floor)) {
            (true, _) => "goal",
            (false, true) => "floor",
            (false, false) => "below",
        }
    }
}

#[derive(Serialize)]
pub struct Figure {
    /// `machine`, `sqlite` or `postgres`.
    pub group: &'static str,
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aim: Option<Aim>,
    /// `goal`, `floor` or `below`, where there is an aim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<&'static str>,
}

#[derive(Serialize)]
pub struct Report {
    version: &'static str,
    optimised: bool,
    quick: bool,
    processors: usize,
    offered_rate: u32,
    figures: Vec<Figure>,
}

impl Report {
    pub fn new(plan: &Plan) -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            quick: plan.quick,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            offered_rate: plan.rate,
            figures: Vec::new(),
        }
    }

    pub fn add(
        &mut self,
        group: &'static str,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        aim: Option<Aim>,
    ) {
        let (name, reached) = (name.into(), aim.map(|aim| aim.verdict(value, unit)));
        out::stderr(&format!("  {group:<9} {name:<52} {:>10} {unit}", number(value)));
        self.figures.push(Figure { group, name, value, unit, aim, reached });
    }

    pub fn value(&self, group: &str, name: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|figure| figure.group == group && figure.name == name)
            .map(|figure| figure.value)
    }

    pub fn table(&self) -> String {
        let head = ["", "figure", "measured", "", "floor", "goal", "reached"].map(str::to_owned).to_vec();
        let rows = self.figures.iter().map(|figure| {
            let aim = |pick: fn(Aim) -> f64| figure.aim.map_or(String::new(), |aim| number(pick(aim)));
            vec![
                figure.group.to_owned(),
                figure.name.clone(),
                number(figure.value),
                figure.unit.to_owned(),
                aim(|aim| aim.floor),
                aim(|aim| aim.goal),
                figure.reached.unwrap_or_default().to_owned(),
            ]
        });
        out::table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
    }

    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => group_thousands(value.round() as i64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.01 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

fn group_thousands(value: i64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0
            && (digits.len() - place).is_multiple_of(3)
            && digit.is_ascii_digit()
            && !text.ends_with('-')
        {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_judged_in_the_direction_of_its_goal() {
        let rate = Aim::new(10_000.0, 25_000.0);
        assert_eq!(
            [9_999.0, 10_000.0, 25_000.0].map(|value| rate.verdict(value, "/s")),
            ["below", "floor", "goal"]
        );

        let time = Aim::new(25.0, 10.0);
        assert_eq!([26.0, 25.0, 10.0].map(|value| time.verdict(value, "ms")), ["below", "floor", "goal"]);

        assert_eq!(Aim::at(100.0).verdict(99.0, "ms"), "goal");
        assert_eq!(Aim::at(0.95).verdict(0.94, "×"), "below");
    }

    #[test]
    fn numbers_are_short() {
        let shown = [1_234_567.0, 123.4, 12.34, 1.234, 0.0012, 0.0].map(number);
        assert_eq!(shown, ["1,234,567", "123", "12.3", "1.23", "0.0012", "0.00"]);
    }
}
