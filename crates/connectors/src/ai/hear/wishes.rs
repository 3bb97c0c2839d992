//! How the answer is chosen: temperature, `top_p`, where it ends, which tools may be asked for. Each vendor has its own words
//! for these, and not each has all of them.

use levqor_core::money::Wire;
use serde_json::{Map, Number, Value};

use super::super::ask::{Ask, Choice};
use super::{Untold, untold};

/// The most texts to end at that each wire documents; `None`: it says nothing of a number.
fn most_stops(to: Wire) -> Option<usize> {
    match to {
        Wire::OpenAiChat => Some(4),
        Wire::OpenAiResponses => Some(0),
        Wire::Gemini => Some(5),
        Wire::Anthropic => None,
    }
}

/// Reads them from a body of `wire`, once its tools are heard.
pub(super) fn hear(wire: Wire, body: &Map<String, Value>, to: Wire, ask: &mut Ask) -> Result<(), Untold> {
    let is_anthropic = wire == Wire::Anthropic;
    ask.temperature = number(body, "temperature")?;
    ask.top_p = number(body, "top_p")?;
    ask.stop = stops(body, if is_anthropic { "stop_sequences" } else { "stop" }, to)?;
    let said = body.get("tool_choice").filter(|said| !said.is_null());
    let (choice, one_call, place) = match is_anthropic {
        true => {
            let one_call = said.is_some_and(|said| said["disable_parallel_tool_use"] == true);
            (said.map(of_anthropic), one_call, "tool_choice.disable_parallel_tool_use")
        }
        false => {
            let one_call = body.get("parallel_tool_calls") == Some(&Value::Bool(false));
            (said.map(of_chat), one_call, "parallel_tool_calls")
        }
    };
    ask.choice = choice.transpose()?.unwrap_or_default();
    let has_tool = |name: &String| ask.tools.iter().any(|tool| tool.name == *name);
    match &ask.choice {
        Choice::Named(name) if !has_tool(name) => {
            return Err(untold("tool_choice", "it names none of the tools"));
        }
        Choice::Required if ask.tools.is_empty() => {
            return Err(untold("tool_choice", "there are no tools"));
        }
        _ => {}
    }
    ask.one_call = one_call && !ask.tools.is_empty() && ask.choice != Choice::Never;
    if ask.one_call && to == Wire::Gemini {
        return Err(untold(place, "it may always ask for several tools at once"));
    }
    Ok(())
}

fn number(body: &Map<String, Value>, name: &str) -> Result<Option<Number>, Untold> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => Ok(Some(number.clone())),
        Some(_) => Err(untold(name, "it is no number")),
    }
}

fn stops(body: &Map<String, Value>, name: &str, to: Wire) -> Result<Vec<String>, Untold> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let stops: Option<Vec<String>> = match body.get(name) {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::Array(stops)) => stops.iter().map(text).collect(),
        Some(stop) => text(stop).map(|stop| vec![stop]),
    };
    let stops = stops.ok_or_else(|| untold(name, "it is neither a text nor a list of texts"))?;
    match most_stops(to) {
        Some(0) if !stops.is_empty() => Err(untold(name, "OpenAI's responses have no such member")),
        Some(most) if stops.len() > most => Err(untold(name, format!("it takes {most} at most"))),
        _ => Ok(stops),
    }
}

fn of_chat(said: &Value) -> Result<Choice, Untold> {
    match (said.as_str(), said["type"].as_str(), said["function"]["name"].as_str()) {
        (Some("auto"), ..) => Ok(Choice::Auto),
        (Some("none"), ..) => Ok(Choice::Never),
        (Some("required"), ..) => Ok(Choice::Required),
        (None, Some("function"), Some(name)) => Ok(Choice::Named(name.to_owned())),
        _ => Err(untold("tool_choice", "only auto, none, required and one function by its name are")),
    }
}

fn of_anthropic(said: &Value) -> Result<Choice, Untold> {
    match (said["type"].as_str(), said["name"].as_str()) {
        (Some("auto"), _) => Ok(Choice::Auto),
        (Some("none"), _) => Ok(Choice::Never),
        (Some("any"), _) => Ok(Choice::Required),
        (Some("tool"), Some(name)) => Ok(Choice::Named(name.to_owned())),
        _ => Err(untold("tool_choice", "only auto, any, none and one tool by its name are")),
    }
}
