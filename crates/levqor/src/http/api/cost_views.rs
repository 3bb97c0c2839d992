//! Reports of costs and usage as they go out. Amounts are decimal texts of dollars, exact to the nano-dollar, with whole
//! micro-dollars (rounded up) beside them for readers of JSON whose numbers are floats.

use levqor_core::money::Usage;
use levqor_store::{CostLine, CostSums};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::costs::Report;
use super::views::seconds;

#[derive(Serialize, ToSchema)]
pub struct CostsView {
    /// What the lines are told apart by.
    #[schema(example = json!(["day", "model"]))]
    by: Vec<String>,
    from: f64,
    lines: Vec<CostLineView>,
    total: CostFigures,
    until: f64,
    #[schema(example = "UTC")]
    zone: String,
}

#[derive(Serialize, ToSchema)]
pub struct UsageView {
    by: Vec<String>,
    from: f64,
    lines: Vec<UsageLineView>,
    total: UsageFigures,
    until: f64,
    zone: String,
}

/// What a line is of. Null where its calls belong to nothing of the kind, left out where that is not told apart.
#[derive(Serialize, ToSchema)]
pub struct LineOf {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Option<String>>,
    /// `provider/model`.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Option<String>>,
    period_end: f64,
    period_start: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider: Option<Option<String>>,
    /// The value of the tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<Option<String>>,
}

#[derive(Serialize, ToSchema)]
pub struct CostLineView {
    #[serde(flatten)]
    of: LineOf,
    #[serde(flatten)]
    figures: CostFigures,
}

#[derive(Serialize, ToSchema)]
pub struct UsageLineView {
    #[serde(flatten)]
    of: LineOf,
    #[serde(flatten)]
    figures: UsageFigures,
}

#[derive(Serialize, ToSchema)]
pub struct CostFigures {
    /// Calls whose cost nobody knows for sure, and that are charged in full.
    assumed: i64,
    /// The part of the cost that they are.
    #[schema(example = "0.00")]
    assumed_usd: String,
    /// Calls that are over.
    calls: i64,
    /// Whole micro-dollars, rounded up.
    #[schema(example = 54399)]
    cost_micro_usd: i64,
    #[schema(example = "0.054399")]
    cost_usd: String,
    /// The part of the cost beyond what was held.
    #[schema(example = "0.00")]
    overrun_usd: String,
    /// Calls that were not charged.
    released: i64,
    /// Calls charged by what their provider says was used.
    settled: i64,
}

#[derive(Serialize, ToSchema)]
pub struct UsageFigures {
    calls: i64,
    #[serde(flatten)]
    tokens: TokenClasses,
}

/// Disjoint classes of what was used.
#[derive(Serialize, ToSchema)]
pub struct TokenClasses {
    audio_in: u64,
    audio_out: u64,
    /// Read from the provider's cache.
    cached_read: u64,
    /// Written to a cache that lives for an hour or longer.
    cache_write_long: u64,
    /// Written to a cache that lives for minutes, or nobody says how long.
    cache_write_short: u64,
    image_in: u64,
    /// Input at its plain price.
    input: u64,
    output: u64,
    /// Output that was thought, not said.
    reasoning: u64,
    /// All tokens that came back.
    total_output: u64,
    /// All tokens that were sent.
    total_input: u64,
    web_searches: u64,
}

impl From<&Usage> for TokenClasses {
    fn from(usage: &Usage) -> Self {
        TokenClasses {
            audio_in: usage.audio_in,
            audio_out: usage.audio_out,
            cached_read: usage.cached_in,
            cache_write_long: usage.write_long,
            cache_write_short: usage.write_short.saturating_add(usage.write_any),
            image_in: usage.image_in,
            input: usage.uncached_in,
            output: usage.out,
            reasoning: usage.reasoning,
            total_output: usage.output_total(),
            total_input: usage.input_total(),
            web_searches: usage.searches,
        }
    }
}

impl CostFigures {
    pub fn of(sums: &CostSums) -> Self {
        CostFigures {
            assumed: sums.assumed,
            assumed_usd: sums.assumed_cost.to_string(),
            calls: sums.calls,
            cost_micro_usd: sums.cost.micro_ceil(),
            cost_usd: sums.cost.to_string(),
            overrun_usd: sums.overrun.to_string(),
            released: sums.released,
            settled: sums.settled,
        }
    }
}

impl UsageFigures {
    fn of(sums: &CostSums) -> Self {
        UsageFigures { calls: sums.calls, tokens: TokenClasses::from(&sums.usage) }
    }
}

impl Report {
    pub fn total(&self) -> CostSums {
        let mut total = CostSums::default();
        self.lines.iter().for_each(|line| total.add(&line.sums));
        total
    }

    fn line_of(&self, line: &CostLine) -> LineOf {
        let (start_ms, end_ms) = self.periods.get(line.period).copied().unwrap_or((0, 0));
        let told = |is_told: bool, name: &Option<String>| is_told.then(|| name.clone());
        let grouping = &self.grouping;
        LineOf {
            key: told(grouping.key, &line.key),
            model: told(grouping.model, &model_name(line)),
            period_end: seconds(end_ms),
            period_start: seconds(start_ms),
            provider: told(grouping.provider, &line.provider),
            tag: told(grouping.tag.is_some(), &line.tag),
            user: told(grouping.user, &line.user),
            workflow: told(grouping.workflow, &line.workflow),
        }
    }
}

/// `provider/model`, as workflows write it.
pub fn model_name(line: &CostLine) -> Option<String> {
    line.model.as_ref().map(|model| format!("{}/{model}", line.provider.as_deref().unwrap_or_default()))
}

impl CostsView {
    pub fn of(report: &Report) -> Self {
        let line = |line| CostLineView { of: report.line_of(line), figures: CostFigures::of(&line.sums) };
        CostsView {
            by: report.grouping.words(),
            from: seconds(report.span.from_ms),
            lines: report.lines.iter().map(line).collect(),
            total: CostFigures::of(&report.total()),
            until: seconds(report.span.until_ms),
            zone: report.span.zone.name().to_owned(),
        }
    }
}

impl UsageView {
    pub fn of(report: &Report) -> Self {
        let line = |line| UsageLineView { of: report.line_of(line), figures: UsageFigures::of(&line.sums) };
        UsageView {
            by: report.grouping.words(),
            from: seconds(report.span.from_ms),
            lines: report.lines.iter().map(line).collect(),
            total: UsageFigures::of(&report.total()),
            until: seconds(report.span.until_ms),
            zone: report.span.zone.name().to_owned(),
        }
    }
}

/// JSON as a provider sent it; a text of it where it is none.
pub fn verbatim(text: &str) -> Option<Box<RawValue>> {
    let as_it_is = RawValue::from_string(text.to_owned()).ok();
    as_it_is.or_else(|| serde_json::value::to_raw_value(text).ok())
}
