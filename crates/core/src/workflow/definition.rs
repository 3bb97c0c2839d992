//! A checked workflow definition. Immutable once made; compiled templates are part of it, so one `Arc` per version
//! serves all jobs.

use serde::Serialize;

use super::ai::Runs;
use super::node::Node;
use super::problem::{Problem, Problems};
use super::step::{Step, StepKind};
use super::{ConnectStep, check as rules, parse};
use crate::json;
use crate::schema::Schema;
use crate::scope::Scope;
use crate::template::{MAX_RENDERED_BYTES, RenderError, Template};

pub const DEFAULT_TIMEOUT_MS: i64 = 24 * 60 * 60 * 1000;
pub const MAX_STEPS: usize = 200;
pub const MAX_NAME_CHARS: usize = 128;

/// Whether a workflow may have this name: the one rule for jobs that name it, texts and paths. PostgreSQL cannot store NUL.
pub fn is_name(text: &str) -> bool {
    // Counts no further than needed: the text may be half a megabyte.
    let length = text.chars().take(MAX_NAME_CHARS + 1).count();
    (1..=MAX_NAME_CHARS).contains(&length) && !text.contains('\0')
}

/// A workflow as its author meant it.
#[derive(Debug)]
pub struct Definition {
    pub name: String,
    pub description: Option<String>,
    /// What payloads must look like.
    pub input: Option<Schema>,
    /// How long a job may take from its first start.
    pub timeout_ms: i64,
    /// At least one, at most [`MAX_STEPS`], in the order of the text. Their ids differ.
    pub steps: Vec<Step>,
    pub output: Option<Template>,
}

impl Definition {
    /// Reads and checks a text. All problems are told, up to [`super::MAX_PROBLEMS`].
    ///
    /// `expected_name` is the name that the text is stored under; a name in the text must be the same. One of the two
    /// must be there.
    pub fn parse(text: &str, expected_name: Option<&str>) -> Result<Definition, Vec<Problem>> {
        Definition::parse_with(text, expected_name, &|_| Vec::new())
    }

    /// The same, and `check` looks at each `connect`, also as a tool: it knows which actions there are, and answers places below the step
    /// with what is wrong there.
    pub fn parse_with(
        text: &str,
        expected_name: Option<&str>,
        check: &dyn Fn(&ConnectStep) -> Vec<(String, String)>,
    ) -> Result<Definition, Vec<Problem>> {
        let root = Node::parse(text).map_err(|problem| vec![problem])?;
        let mut problems = Problems::new(&root);
        let definition = parse::definition(&root, expected_name, &mut problems);
        if let Some(definition) = definition {
            rules::definition(&definition, &mut problems);
            for (step, place) in definition.definition.steps.iter().zip(&definition.places) {
                for (below, connect) in connects(&step.kind) {
                    for (at, what) in check(connect) {
                        problems.add(&format!("/steps/{place}{below}{at}"), what);
                    }
                }
            }
            if problems.is_empty() {
                return Ok(definition.definition);
            }
        }
        Err(problems.into_vec())
    }

    pub fn step(&self, id: &str) -> Option<(usize, &Step)> {
        self.steps.iter().enumerate().find(|(_, step)| step.id == id)
    }

    /// The result of a job whose steps are all finished, as compact JSON: `output` if there is one, else an object from
    /// step id to output, null for skipped steps.
    pub fn result(&self, scope: &Scope<'_>) -> Result<String, RenderError> {
        if let Some(output) = &self.output {
            return output.render(scope);
        }
        let mut result = String::from("{");
        for (index, step) in self.steps.iter().enumerate() {
            if index > 0 {
                result.push(',');
            }
            json::push_quoted(&mut result, &step.id);
            result.push(':');
            result.push_str(scope.steps.get(step.id.as_str()).copied().flatten().unwrap_or("null"));
            if result.len() > MAX_RENDERED_BYTES {
                return Err(RenderError(format!(
                    "the outputs of all steps together are longer than {MAX_RENDERED_BYTES} bytes; say in `output` what the result is"
                )));
            }
        }
        result.push('}');
        Ok(result)
    }

    /// What a list of workflows shows.
    pub fn summary(&self) -> Summary<'_> {
        let steps =
            self.steps.iter().map(|step| StepSummary { id: &step.id, kind: step.kind.name() }).collect();
        Summary { name: &self.name, description: self.description.as_deref(), steps }
    }
}

/// The actions that a step may take, each with its place below the step.
fn connects(kind: &StepKind) -> Vec<(String, &ConnectStep)> {
    match kind {
        StepKind::Connect(connect) => vec![(String::new(), connect)],
        StepKind::Ai(step) => {
            let tools = step.tools.iter().enumerate();
            tools
                .filter_map(|(index, tool)| match &tool.runs {
                    Runs::Connect(connect) => Some((format!("/ai/tools/{index}"), connect)),
                    Runs::Workflow(_) => None,
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary<'a> {
    pub name: &'a str,
    pub description: Option<&'a str>,
    pub steps: Vec<StepSummary<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepSummary<'a> {
    pub id: &'a str,
    pub kind: &'static str,
}
