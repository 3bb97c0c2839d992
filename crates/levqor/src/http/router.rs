//! All routes in one place, grouped by who calls them, each with the scope that it needs. The OpenAPI document is made from the same list.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum::Router;
use axum::extract::MatchedPath;
use axum::response::{IntoResponse as _, Response};
use http::{Method, Request, Uri};
use levqor_core::key::Scope::{Admin, Ai, Budgets, Operate, Read, Submit};
use levqor_core::money::Wire;
use tower::{Layer, Service};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::api::{
    ai, ai_calls, audit, backups, batch, billing, budgets, completion, connect, connections, costs,
    documents, emails, figures, health, intake, job_costs, jobs, keys, meter, models, prices, quarantine,
    reconcile, simulate, status, users, workflows,
};
use super::context::Context;
use super::error::ApiError;
use super::openapi::ApiDoc;
use super::pages;
use super::scopes::{self, Route, needs};
use crate::config::Environment;

/// Every route with its handler and description. In production there are no `_dev` routes.
pub fn routes(environment: Environment) -> OpenApiRouter<Arc<App>> {
    let routes = OpenApiRouter::with_openapi(ApiDoc::openapi())
        // Anybody.
        .routes(routes!(health::get_root))
        .routes(routes!(health::get_health))
        .routes(routes!(figures::get_public_metrics))
        .routes(routes!(status::get_status))
        .routes(routes!(documents::get_openapi))
        .routes(routes!(documents::get_openapi_3_1))
        // Holders of a key: submitting work.
        .routes(needs(Submit, routes!(intake::submit_job)))
        .routes(needs(Submit, routes!(batch::submit_batch)))
        // Holders of a key: asking a vendor for something.
        .routes(needs(Submit, routes!(connect::call_connector)))
        .routes(needs(Read, routes!(connect::list_connectors)))
        .routes(needs(Admin, routes!(connections::list_connections, connections::put_connection)))
        .routes(needs(Admin, routes!(connections::get_connection, connections::delete_connection)))
        // Holders of a key: calls to AI models, in our words and in those of two vendors.
        .routes(needs(Ai, routes!(ai::complete)))
        .routes(needs(Ai, routes!(ai::chat_completions)))
        .routes(needs(Ai, routes!(ai::messages)))
        .routes(needs(Ai, routes!(ai::count_tokens)))
        .routes(needs(Ai, routes!(models::list_models)))
        .routes(needs(Ai, routes!(models::get_model)))
        // Holders of a key: looking after it.
        .routes(needs(Read, routes!(jobs::list_jobs)))
        .routes(needs(Read, routes!(jobs::get_job)))
        .routes(needs(Operate, routes!(jobs::delete_job)))
        .routes(needs(Operate, routes!(jobs::cancel_job)))
        .routes(needs(Operate, routes!(jobs::retry_job)))
        .routes(needs(Operate, routes!(jobs::redeliver_callback)))
        .routes(needs(Read, routes!(workflows::list_workflows)))
        .routes(needs(Read, routes!(workflows::get_workflow)))
        .routes(needs(Operate, routes!(workflows::put_workflow, workflows::delete_workflow)))
        // Holders of a key: what AI calls cost.
        .routes(needs(Read, routes!(costs::get_costs)))
        .routes(needs(Read, routes!(costs::get_usage)))
        .routes(needs(Read, routes!(job_costs::get_job_costs)))
        .routes(needs(Read, routes!(simulate::simulate_costs)))
        .routes(needs(Read, routes!(reconcile::list_statements)))
        .routes(needs(Operate, routes!(reconcile::reconcile_costs)))
        .routes(needs(Operate, routes!(meter::get_meter)))
        .routes(needs(Operate, routes!(meter::settle_meter_event)))
        // Holders of a key: what became of mails.
        .routes(needs(Read, routes!(emails::list_emails)))
        // Holders of a key: people. Anybody may look them up, unless that was closed.
        .routes(needs(Operate, routes!(users::upsert_user)))
        .routes(needs(Read, routes!(users::find_user)))
        .routes(needs(Read, routes!(users::get_user)))
        .routes(needs(Operate, routes!(users::patch_user, users::delete_user)))
        .routes(needs(Read, routes!(users::export_user)))
        .routes(needs(Read, routes!(users::list_payments)))
        // Holders of a key, or everybody if that was opened: paying.
        .routes(needs(Submit, routes!(billing::create_checkout)))
        .routes(needs(Submit, routes!(billing::create_portal)))
        // Stripe.
        .routes(routes!(billing::receive_event))
        // Holders of a key: what AI may cost, and did cost.
        .routes(needs(Read, routes!(budgets::list_budgets)))
        .routes(needs(Read, routes!(budgets::get_budget)))
        .routes(needs(Budgets, routes!(budgets::put_budget, budgets::delete_budget)))
        .routes(needs(Budgets, routes!(budgets::stop_ai)))
        .routes(needs(Budgets, routes!(budgets::start_ai)))
        .routes(needs(Read, routes!(ai_calls::list_calls)))
        .routes(needs(Read, routes!(ai_calls::get_call)))
        .routes(needs(Budgets, routes!(ai_calls::correct_call)))
        .routes(needs(Read, routes!(quarantine::list_quarantine)))
        .routes(needs(Budgets, routes!(quarantine::lift_quarantine)))
        .routes(needs(Read, routes!(prices::list_prices)))
        .routes(needs(Budgets, routes!(prices::import_prices)))
        .routes(needs(Read, routes!(prices::get_prices)))
        .routes(needs(Budgets, routes!(prices::activate_prices)))
        // Operators.
        .routes(needs(Operate, routes!(health::get_ops_health)))
        .routes(needs(Admin, routes!(backups::create_backup)))
        .routes(needs(Admin, routes!(backups::list_backups)))
        .routes(needs(Read, routes!(figures::get_metrics)))
        // Who may do all this, and who did.
        .routes(needs(Admin, routes!(keys::create_key, keys::list_keys)))
        .routes(needs(Admin, routes!(keys::rotate_key)))
        .routes(needs(Admin, routes!(keys::revoke_key)))
        .routes(needs(Admin, routes!(audit::list_audit)));
    match environment {
        Environment::Development => routes.routes(needs(Operate, routes!(completion::complete_job))),
        Environment::Production => routes,
    }
}

/// The router with pages, fallbacks and labels. Pages are for people: they stand in the sitemap, not in the document.
pub fn finish(routes: Router<Arc<App>>, document: &OpenApi, app: Arc<App>) -> Router {
    let mut known = scopes::routes(document);
    known.extend(pages::PATHS.into_iter().map(|path| (path.to_owned(), Route::open(path))));
    routes
        .merge(pages::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(other_method)
        .route_layer(Label(Arc::new(known)))
        .with_state(app)
}

async fn unknown_path(uri: Uri) -> Response {
    match uri.path() {
        path if path.starts_with("/v1/") => ApiError::no_wire_path(path).on_wire(wire_of(path)),
        _ => ApiError::not_found().into_response(),
    }
}

/// Whose SDK asks for such a path.
fn wire_of(path: &str) -> Wire {
    if path.starts_with("/v1/messages") { Wire::Anthropic } else { Wire::OpenAiChat }
}

/// A known path with a method that has no handler. The router adds `Allow`.
async fn other_method(method: Method, uri: Uri) -> Response {
    match (method, uri.path()) {
        (Method::OPTIONS, _) => Response::default(),
        (_, path) if path.starts_with("/v1/") => ApiError::method_not_allowed().on_wire(wire_of(path)),
        _ => ApiError::method_not_allowed().into_response(),
    }
}

/// Notes in the request's context which route was chosen, for figures, and what it needs a key for.
#[derive(Clone)]
struct Label(Arc<HashMap<String, Route>>);

#[derive(Clone)]
struct Labelled<S> {
    inner: S,
    known: Arc<HashMap<String, Route>>,
}

impl<S> Layer<S> for Label {
    type Service = Labelled<S>;

    fn layer(&self, inner: S) -> Labelled<S> {
        Labelled { inner, known: self.0.clone() }
    }
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Labelled<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let extensions = request.extensions();
        if let (Some(path), Some(context)) = (extensions.get::<MatchedPath>(), extensions.get::<Context>())
            && let Some(route) = self.known.get(path.as_str())
        {
            context.set_route(route.label.clone(), route.scope(request.method()));
        }
        self.inner.call(request)
    }
}
