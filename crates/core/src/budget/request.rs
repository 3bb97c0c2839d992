//! A budget as somebody asks for it: the body of a request becomes a [`Budget`], or one named problem.

use super::alert::Recipients;
use super::definition::{BadBudget, Budget, BudgetId, Mode, PPM};
use super::scope::{Scope, ScopeKind};
use super::window::{MAX_ROLLING_HOURS, Window, Zone};
use crate::address::OutboundPolicy;
use crate::fields::{self, Problem, fields_or_null};
use crate::json::{decode, element};
use crate::money::{BadDecimal, MAX_AMOUNT, Nano, parse_percent_ppm};

const MAX_THRESHOLDS: usize = 10;
const MAX_OPEN_HOLDS: i64 = 1_000_000;
const MAX_SCOPE_ID_BYTES: usize = 300;

/// What a request for a budget says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRequest {
    pub budget: Budget,
    /// Who is told of its thresholds; `None`: whoever the settings name.
    pub recipients: Option<Recipients>,
}

/// Reads the body of a request for the budget of this id. What is left out has its default: the zone UTC, mode hard,
/// thresholds at 50, 80 and 100 percent, no limit of open holds, enabled.
pub fn parse_budget(id: &str, body: &str, policy: &OutboundPolicy) -> Result<BudgetRequest, Problem> {
    let id =
        BudgetId::parse(id).map_err(|problem| Problem { at: "/id".into(), message: problem.to_string() })?;
    let body = fields::read(body)?;
    let names = [
        "scope",
        "scope_id",
        "window",
        "zone",
        "limit",
        "mode",
        "thresholds",
        "max_open_holds",
        "enabled",
        "alert",
    ];
    let [kind, scope_id, window, zone, limit, mode, thresholds, holds, enabled, alert] =
        fields_or_null(&body, names)?;
    let kind = kind.ok_or_else(|| Problem::missing("/scope", &format!("one of {}", scopes())))?;
    let window = window.ok_or_else(|| Problem::missing("/window", WINDOWS))?;
    let limit =
        limit.ok_or_else(|| Problem::missing("/limit", "dollars as a decimal text such as \"5.00\""))?;
    let kind = parse_kind(kind)?;
    let budget = Budget {
        id,
        scope: Scope { kind, id: parse_scope_id(kind, scope_id)? },
        window: parse_window(window)?,
        zone: zone.map_or(Ok(Zone::utc()), parse_zone)?,
        limit: parse_amount("/limit", limit)?,
        mode: mode.map_or(Ok(Mode::Hard), parse_mode)?,
        thresholds_ppm: thresholds.map_or(Ok(vec![PPM / 2, PPM / 10 * 8, PPM]), parse_thresholds)?,
        max_open_holds: holds.map(parse_holds).transpose()?,
        enabled: enabled.map_or(Ok(true), parse_flag)?,
    };
    budget.check().map_err(|problem| Problem { at: place(&problem).into(), message: problem.to_string() })?;
    let recipients = alert.map(|raw| Recipients::parse(raw, policy)).transpose()?;
    Ok(BudgetRequest { budget, recipients })
}

/// Where a rule of [`Budget::check`] is broken.
fn place(problem: &BadBudget) -> &'static str {
    match problem {
        BadBudget::Id => "/id",
        BadBudget::GlobalId | BadBudget::NoScopeId(_) | BadBudget::LongScopeId | BadBudget::JobId => {
            "/scope_id"
        }
        BadBudget::Limit => "/limit",
        BadBudget::Thresholds => "/thresholds",
        BadBudget::Holds => "/max_open_holds",
    }
}

const WINDOWS: &str = "one of job, hour, day, week, month, total, rolling:<hours>h";

fn scopes() -> String {
    ScopeKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

fn parse_kind(raw: &str) -> Result<ScopeKind, Problem> {
    let kind = decode(raw).and_then(|word| ScopeKind::parse(&word));
    kind.ok_or_else(|| Problem::field("/scope", raw, format!("must be one of {}", scopes())))
}

fn parse_scope_id(kind: ScopeKind, raw: Option<&str>) -> Result<String, Problem> {
    let Some(raw) = raw else {
        // There is only one thing that these can say.
        return Ok(if kind == ScopeKind::Job { Scope::each(kind).id } else { String::new() });
    };
    let wrong = |allowed: &str| Problem::field("/scope_id", raw, allowed);
    let id = decode(raw).filter(|id| id.len() <= MAX_SCOPE_ID_BYTES && !id.chars().any(char::is_control));
    let id = id.ok_or_else(|| wrong("must be a string of 300 bytes at most without control characters"))?;
    let has_both = |mark: char| id.split_once(mark).is_some_and(|(a, b)| !a.is_empty() && !b.is_empty());
    let form = match kind {
        _ if id == "*" || id.is_empty() => None,
        ScopeKind::Step => Some(('/', "must be workflow/step, or * for each by itself")),
        ScopeKind::Tag => Some(('=', "must be name=value, or * for each by itself")),
        ScopeKind::Model => Some(('/', "must be provider/model, or * for each by itself")),
        _ => None,
    };
    match form {
        Some((mark, allowed)) if !has_both(mark) => Err(wrong(allowed)),
        _ => Ok(id.into_owned()),
    }
}

fn parse_window(raw: &str) -> Result<Window, Problem> {
    let window = decode(raw).and_then(|word| Window::parse(&word));
    let allowed = format!("must be {WINDOWS} with 1 to {MAX_ROLLING_HOURS} hours");
    window.ok_or_else(|| Problem::field("/window", raw, allowed))
}

fn parse_zone(raw: &str) -> Result<Zone, Problem> {
    let allowed = "must be the name of a time zone such as UTC or Europe/Berlin";
    let wrong = || Problem::field("/zone", raw, allowed);
    let name = decode(raw).ok_or_else(wrong)?;
    Zone::parse(&name).map_err(|_| wrong())
}

/// Dollars as a decimal: a text, or a plain number, whose digits are read as they stand.
pub(crate) fn parse_amount(at: &'static str, raw: &str) -> Result<Nano, Problem> {
    let text = decode(raw);
    let amount = Nano::parse(text.as_deref().unwrap_or(raw));
    amount.map_err(|problem| match problem {
        BadDecimal::TooLarge => Problem::field(at, raw, format!("is too large; {MAX_AMOUNT} is the most")),
        problem => Problem::field(at, raw, problem),
    })
}

fn parse_mode(raw: &str) -> Result<Mode, Problem> {
    let mode = decode(raw).and_then(|word| Mode::parse(&word));
    mode.ok_or_else(|| Problem::field("/mode", raw, "must be one of hard, soft, observe"))
}

/// Percent, as numbers or texts.
fn parse_thresholds(raw: &str) -> Result<Vec<u32>, Problem> {
    let allowed = "must be a list of at most 10 percentages, ascending, each more than 0 and at most 1000, such as [50, 80, 100]";
    let wrong = || Problem::field("/thresholds", raw, allowed);
    if !raw.starts_with('[') {
        return Err(wrong());
    }
    let mut all = Vec::new();
    // One more than there may be is one too many, whatever it says.
    for place in 0..=MAX_THRESHOLDS {
        let Some(item) = element(raw, place) else { break };
        let text = decode(item);
        let ppm = parse_percent_ppm(text.as_deref().unwrap_or(item)).ok();
        let ppm = ppm.filter(|ppm| (1..=10 * PPM).contains(ppm) && all.last().is_none_or(|last| last < ppm));
        all.push(ppm.ok_or_else(wrong)?);
    }
    if all.len() > MAX_THRESHOLDS { Err(wrong()) } else { Ok(all) }
}

fn parse_holds(raw: &str) -> Result<i64, Problem> {
    let most = raw.parse().ok().filter(|most| (1..=MAX_OPEN_HOLDS).contains(most));
    let allowed = format!("must be a whole number from 1 to {MAX_OPEN_HOLDS}, or null");
    most.ok_or_else(|| Problem::field("/max_open_holds", raw, allowed))
}

fn parse_flag(raw: &str) -> Result<bool, Problem> {
    raw.parse().map_err(|_| Problem::field("/enabled", raw, "must be true or false"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn parse(body: &str) -> Result<BudgetRequest, Problem> {
        parse_budget("blue", body, &OutboundPolicy::default())
    }

    #[test]
    fn a_whole_budget_is_read() {
        let body = r#"{"scope":"tag","scope_id":"team=blue","window":"rolling:24h","zone":"Europe/Berlin","limit":"5.50",
            "mode":"soft","thresholds":[50,"99.5",100],"max_open_holds":7,"enabled":false,"alert":{"workflow":"w"}}"#;

        let BudgetRequest { budget, recipients } = parse(body).unwrap();

        assert_eq!(
            (budget.id.as_str(), budget.scope.kind, budget.scope.id.as_str()),
            ("blue", ScopeKind::Tag, "team=blue")
        );
        assert_eq!((budget.window, budget.zone.name()), (Window::Rolling { hours: 24 }, "Europe/Berlin"));
        assert_eq!((budget.limit, budget.mode), (Nano::new(5_500_000_000), Mode::Soft));
        assert_eq!(
            (&budget.thresholds_ppm[..], budget.max_open_holds),
            (&[500_000, 995_000, PPM][..], Some(7))
        );
        assert!(!budget.enabled);
        assert_eq!(recipients.unwrap().workflow.as_deref(), Some("w"));
    }

    #[test]
    fn what_is_left_out_or_null_has_its_default() {
        for body in [
            r#"{"scope":"global","window":"day","limit":5.5}"#,
            r#"{"scope":"global","scope_id":null,"window":"day","limit":"5.5","zone":null,"mode":null,"thresholds":null,"max_open_holds":null,"enabled":null,"alert":null}"#,
        ] {
            let BudgetRequest { budget, recipients } = parse(body).unwrap();
            assert_eq!((budget.zone, budget.mode, budget.enabled), (Zone::utc(), Mode::Hard, true));
            assert_eq!((budget.thresholds_ppm, budget.max_open_holds), (vec![500_000, 800_000, PPM], None));
            assert_eq!(
                (budget.scope, budget.limit, recipients),
                (Scope::global(), Nano::new(5_500_000_000), None)
            );
        }
        let job = parse(r#"{"scope":"job","window":"job","limit":"1"}"#).unwrap();
        assert_eq!(job.budget.scope, Scope::each(ScopeKind::Job));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_value_and_what_is_allowed() {
        let with = |member: &str| {
            let rest = [r#""scope":"global""#, r#""window":"day""#, r#""limit":"1""#];
            let name = member.split(':').next().unwrap();
            let kept = rest.iter().filter(|it| !it.starts_with(name)).copied();
            format!("{{{}}}", kept.chain([member]).collect::<Vec<_>>().join(","))
        };
        let long = format!(r#""scope_id":"{}""#, "x".repeat(301));
        let eleven =
            format!(r#""thresholds":[{}]"#, (1..=11).map(|n| n.to_string()).collect::<Vec<_>>().join(","));
        for (member, at, value, allowed) in [
            (r#""scope":"team""#, "/scope", "\"team\"", "one of job, step"),
            (r#""scope":7"#, "/scope", "7", "one of job"),
            (r#""scope_id":"x""#, "/scope_id", "", "empty for the scope global"),
            (&long, "/scope_id", "xxx", "300 bytes"),
            (r#""scope_id":"a\u0000b""#, "/scope_id", "", "control characters"),
            (r#""window":"year""#, "/window", "\"year\"", "rolling:<hours>h"),
            (r#""window":"rolling:745h""#, "/window", "rolling:745h", "1 to 744"),
            (r#""zone":"Mars/Base""#, "/zone", "Mars/Base", "Europe/Berlin"),
            (r#""limit":"-1""#, "/limit", "\"-1\"", "must not be negative"),
            (r#""limit":"1e3""#, "/limit", "\"1e3\"", "a decimal number such as 0.35"),
            (r#""limit":1e3"#, "/limit", "1e3", "a decimal number"),
            (r#""limit":"0.0000000001""#, "/limit", "0.0000000001", "9 digits"),
            (r#""limit":"1000000.01""#, "/limit", "1000000.01", "1000000.00 is the most"),
            (r#""limit":true"#, "/limit", "true", "a decimal number"),
            (r#""mode":"strict""#, "/mode", "\"strict\"", "hard, soft, observe"),
            (r#""thresholds":80"#, "/thresholds", "80", "a list"),
            (r#""thresholds":[80,50]"#, "/thresholds", "[80,50]", "ascending"),
            (r#""thresholds":[0]"#, "/thresholds", "[0]", "more than 0"),
            (r#""thresholds":[1000.1]"#, "/thresholds", "[1000.1]", "1000"),
            (&eleven, "/thresholds", "11", "at most 10"),
            (r#""max_open_holds":0"#, "/max_open_holds", "0", "1 to 1000000"),
            (r#""max_open_holds":1.5"#, "/max_open_holds", "1.5", "whole number"),
            (r#""enabled":"yes""#, "/enabled", "\"yes\"", "true or false"),
            (r#""alert":true"#, "/alert", "true", "an object"),
            (r#""owner":"me""#, "", "owner", "allowed are scope, scope_id"),
        ] {
            let problem = parse(&with(member)).unwrap_err();
            assert_eq!(problem.at, at, "{member}: {problem}");
            assert!(
                problem.message.contains(value) && problem.message.contains(allowed),
                "{member}: {problem}"
            );
        }
        for (scope, id, allowed) in [
            ("step", "ask", "workflow/step"),
            ("tag", "blue", "name=value"),
            ("model", "gpt", "provider/model"),
            ("job", "x", "*"),
        ] {
            let body = format!(r#"{{"scope":"{scope}","scope_id":"{id}","window":"day","limit":"1"}}"#);
            let problem = parse(&body).unwrap_err();
            assert_eq!(
                (problem.at.as_ref(), problem.message.contains(allowed)),
                ("/scope_id", true),
                "{problem}"
            );
        }
        assert_eq!(parse(r#"{"scope":"user","window":"day","limit":"1"}"#).unwrap_err().at, "/scope_id");
        for (body, at) in [
            (r#"{"window":"day","limit":"1"}"#, "/scope"),
            (r#"{"scope":"global","limit":"1"}"#, "/window"),
            ("{}", "/scope"),
            ("[]", ""),
            ("{", ""),
        ] {
            assert_eq!(parse(body).unwrap_err().at, at, "{body}");
        }
        assert_eq!(parse_budget("Blue", "{}", &OutboundPolicy::default()).unwrap_err().at, "/id");
    }
}
