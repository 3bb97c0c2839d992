//! The `connect` step: which action of which connector, through which stored connection, with which parameters. Which ones
//! there are is known elsewhere.

use crate::json;
use crate::scope::Scope;
use crate::template::{MAX_RENDERED_BYTES, RenderError, Template};

/// The `connect` of a step, with its `connection` and `with`.
#[derive(Clone, Debug)]
pub struct ConnectStep {
    pub connector: String,
    pub action: String,
    /// Never a template: a payload must not choose whose credentials are used.
    pub connection: String,
    pub params: Vec<(String, Template)>,
    /// A model gives what is not fixed here, so nothing counts as missing.
    pub is_tool: bool,
}

impl ConnectStep {
    /// The parameters as a JSON object, everything filled in.
    pub fn render(&self, scope: &Scope<'_>) -> Result<String, RenderError> {
        let mut out = String::from("{");
        for (place, (name, value)) in self.params.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            json::push_quoted(&mut out, name);
            out.push(':');
            out.push_str(&value.render(scope)?);
            if out.len() > MAX_RENDERED_BYTES {
                return Err(RenderError(format!("`with` is longer than {MAX_RENDERED_BYTES} bytes")));
            }
        }
        out.push('}');
        Ok(out)
    }
}
