//! Who is told when a budget's threshold is passed and the budget itself names nobody.

use levqor_core::address::{OutboundPolicy, judge_url};
use levqor_core::budget::Recipients;
use levqor_core::user::{check_email, normalize_email};
use levqor_core::workflow;

use super::ConfigError;
use super::parse::Vars;

pub(super) fn alerts(vars: &Vars<'_>) -> Result<Recipients, ConfigError> {
    let mut email = Vec::new();
    for text in vars.get("ALERT_EMAIL").unwrap_or_default().split(',').map(str::trim) {
        if text.is_empty() {
            continue;
        }
        let address = normalize_email(text);
        check_email(&address)
            .map_err(|problem| ConfigError::wrong("ALERT_EMAIL", text, &problem.to_string()))?;
        email.push(address);
    }
    if email.len() > 10 {
        let text = vars.get("ALERT_EMAIL").unwrap_or_default();
        return Err(ConfigError::wrong("ALERT_EMAIL", text, "expected 10 addresses at most"));
    }
    let slack = vars.get("ALERT_SLACK").map(|text| {
        let allowed = "expected connection/channel, such as team-slack/#ops";
        Recipients::parse_slack_text(text).ok_or_else(|| ConfigError::wrong("ALERT_SLACK", text, allowed))
    });
    let policy = OutboundPolicy::new(vars.networks("OUTBOUND_ALLOW")?);
    let callback = vars.get("ALERT_CALLBACK").map(|text| match judge_url(text, &policy) {
        Ok(_) => Ok(text.to_owned()),
        Err(problem) => Err(ConfigError::hidden("ALERT_CALLBACK", &problem.to_string())),
    });
    let workflow = vars.get("ALERT_WORKFLOW").map(|text| match workflow::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(ConfigError::wrong("ALERT_WORKFLOW", text, "expected the name of a workflow")),
    });
    Ok(Recipients {
        callback: callback.transpose()?,
        email,
        slack: slack.transpose()?,
        workflow: workflow.transpose()?,
    })
}
