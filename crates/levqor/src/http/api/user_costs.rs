//! What AI calls for a person cost, for their export.

use levqor_store::{CallRow, UserCosts};
use serde::Serialize;
use utoipa::ToSchema;

use super::cost_views::TokenClasses;
use super::views::seconds;

#[derive(Serialize, ToSchema)]
pub struct UserCostsView {
    /// Calls that are over, all of them.
    calls: i64,
    #[schema(example = "0.0076")]
    cost_usd: String,
    /// Newest first, open ones included; 10,000 at most.
    newest: Vec<UserCallView>,
}

#[derive(Serialize, ToSchema)]
struct UserCallView {
    at: f64,
    call_id: String,
    cost_usd: Option<String>,
    job_id: Option<String>,
    model: String,
    state: &'static str,
    usage: Option<TokenClasses>,
    workflow: Option<String>,
}

impl From<&UserCosts> for UserCostsView {
    fn from(costs: &UserCosts) -> Self {
        UserCostsView {
            calls: costs.calls,
            cost_usd: costs.cost.to_string(),
            newest: costs.newest.iter().map(UserCallView::from).collect(),
        }
    }
}

impl From<&CallRow> for UserCallView {
    fn from(call: &CallRow) -> Self {
        UserCallView {
            at: seconds(call.reserved_at_ms),
            call_id: call.id.to_string(),
            cost_usd: call.settled.map(|cost| cost.to_string()),
            job_id: call.job.map(|job| job.to_string()),
            model: format!("{}/{}", call.provider, call.model),
            state: call.state.as_str(),
            usage: call.usage.as_ref().map(TokenClasses::from),
            workflow: call.workflow.clone(),
        }
    }
}
