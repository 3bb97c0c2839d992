//! What the steps of a definition say about each other: needs without cycles, and templates that read only what is there
//! by then.

use super::http::Body;
use super::parse::{Parsed, unknown_step};
use super::problem::Problems;
use super::step::{Step, StepKind};
use super::wait::WaitStep;
use crate::duration;
use crate::expression::Expression;
use crate::json;
use crate::template::Template;

pub(super) fn definition(parsed: &Parsed, problems: &mut Problems<'_>) {
    // With a step missing, its ids and indices would be wrong in every message.
    let complete = parsed.places.iter().enumerate().all(|(index, place)| index == *place);
    if !complete || parsed.definition.steps.is_empty() {
        return;
    }
    let steps = &parsed.definition.steps;
    if let Some(cycle) = find_cycle(steps) {
        let names: Vec<&str> = cycle.iter().map(|index| steps[*index].id.as_str()).collect();
        let message = format!("the steps wait for each other: {}", names.join(" needs "));
        problems.add(&format!("/steps/{}/needs", cycle[0]), message);
        return;
    }
    let before = ancestors(steps);
    for (index, step) in steps.iter().enumerate() {
        let mut reader = Reader { steps, before: Some((step, &before[index])), problems };
        reader.step(step, &format!("/steps/{index}"));
        check_wait(step, index, parsed.definition.timeout_ms, problems);
    }
    if let Some(output) = &parsed.definition.output {
        let mut reader = Reader { steps, before: None, problems };
        reader.template(output, "/output", Secrets::Refused);
    }
}

fn check_wait(step: &Step, index: usize, timeout_ms: i64, problems: &mut Problems<'_>) {
    let StepKind::Wait(WaitStep::For(template)) = &step.kind else { return };
    let Some(text) = template.constant().and_then(json::decode) else { return };
    if duration::parse_duration_ms(&text).is_ok_and(|wait_ms| wait_ms > timeout_ms) {
        let timeout = duration::format_duration(timeout_ms);
        problems.add(
            &format!("/steps/{index}/wait"),
            format!("waits longer than the job may take; its `timeout` is {timeout}"),
        );
    }
}

/// The indices of steps that need each other, the first one again at the end.
fn find_cycle(steps: &[Step]) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Closed,
    }
    let mut marks = vec![Mark::New; steps.len()];
    for start in 0..steps.len() {
        // Each entry: a step and how many of its needs were followed. No recursion on what a caller wrote.
        let mut trail: Vec<(usize, usize)> = Vec::new();
        if marks[start] == Mark::New {
            marks[start] = Mark::Open;
            trail.push((start, 0));
        }
        while let Some((index, followed)) = trail.last_mut() {
            let Some(&need) = steps[*index].needs.get(*followed) else {
                marks[*index] = Mark::Closed;
                trail.pop();
                continue;
            };
            *followed += 1;
            match marks[need] {
                Mark::Closed => {}
                Mark::New => {
                    marks[need] = Mark::Open;
                    trail.push((need, 0));
                }
                Mark::Open => {
                    let from = trail.iter().position(|(index, _)| *index == need).unwrap_or(0);
                    let mut cycle: Vec<usize> = trail[from..].iter().map(|(index, _)| *index).collect();
                    cycle.push(need);
                    return Some(cycle);
                }
            }
        }
    }
    None
}

/// For each step which others are surely finished when it runs. The needs have no cycle.
fn ancestors(steps: &[Step]) -> Vec<Vec<bool>> {
    let mut before = vec![vec![false; steps.len()]; steps.len()];
    let mut settled = vec![false; steps.len()];
    while let Some(index) = (0..steps.len())
        .find(|index| !settled[*index] && steps[*index].needs.iter().all(|need| settled[*need]))
    {
        for &need in &steps[index].needs {
            let inherited = before[need].clone();
            before[index][need] = true;
            for (own, theirs) in before[index].iter_mut().zip(inherited) {
                *own |= theirs;
            }
        }
        settled[index] = true;
    }
    before
}

#[derive(Clone, Copy, PartialEq)]
enum Secrets {
    Allowed,
    Refused,
}

/// Looks at every expression of a step, or of `output`.
struct Reader<'r, 'p> {
    steps: &'r [Step],
    /// The step and its ancestors; `None` for `output`, which runs after all.
    before: Option<(&'r Step, &'r [bool])>,
    problems: &'r mut Problems<'p>,
}

impl Reader<'_, '_> {
    fn step(&mut self, step: &Step, path: &str) {
        if let Some(condition) = &step.condition {
            self.template(condition, &format!("{path}/if"), Secrets::Refused);
        }
        match &step.kind {
            StepKind::Http(http) => {
                let path = format!("{path}/http");
                self.template(&http.url, &format!("{path}/url"), Secrets::Allowed);
                for (field, pairs) in [("headers", &http.headers), ("query", &http.query)] {
                    for (name, value) in pairs {
                        let path = super::join(&format!("{path}/{field}"), name);
                        self.template(value, &path, Secrets::Allowed);
                    }
                }
                match &http.body {
                    Some(Body::Json(body)) => self.template(body, &format!("{path}/json"), Secrets::Allowed),
                    Some(Body::Text(body)) => self.template(body, &format!("{path}/body"), Secrets::Allowed),
                    None => {}
                }
            }
            StepKind::Connect(connect) => {
                for (name, value) in &connect.params {
                    let path = super::join(&format!("{path}/with"), name);
                    self.template(value, &path, Secrets::Refused);
                }
            }
            StepKind::Ai(step) => {
                for (at, template) in step.templates() {
                    self.template(template, &format!("{path}/ai/{at}"), Secrets::Refused);
                }
            }
            StepKind::Email(step) => self.template(&step.0, &format!("{path}/email"), Secrets::Refused),
            StepKind::Transform(value) => {
                self.template(value, &format!("{path}/transform"), Secrets::Refused)
            }
            StepKind::Wait(WaitStep::For(time) | WaitStep::Until(time)) => {
                self.template(time, &format!("{path}/wait"), Secrets::Refused);
            }
        }
    }

    fn template(&mut self, template: &Template, path: &str, secrets: Secrets) {
        let mut found: Vec<(String, String)> = Vec::new();
        template.visit(path, &mut |path, expression| {
            found.extend(self.wrong(expression, secrets).map(|message| (path.to_owned(), message)));
        });
        for (path, message) in found {
            self.problems.add(&path, message);
        }
    }

    fn wrong(&self, expression: &Expression, secrets: Secrets) -> Option<String> {
        if secrets == Secrets::Refused && expression.reads_secrets() {
            return Some(
                "secrets can be used in `http` only, since everything else is stored and shown".to_owned(),
            );
        }
        expression.steps().find_map(|id| self.wrong_step(id))
    }

    fn wrong_step(&self, id: &str) -> Option<String> {
        let Some(index) = self.steps.iter().position(|step| step.id == id) else {
            return Some(unknown_step(id, self.steps.iter().map(|step| step.id.as_str())));
        };
        match self.before {
            Some((step, _)) if step.id == id => Some(format!("step `{id}` cannot read its own output")),
            Some((_, before)) if !before[index] => {
                Some(format!("step `{id}` need not have run by then; name it in `needs`"))
            }
            _ => None,
        }
    }
}
