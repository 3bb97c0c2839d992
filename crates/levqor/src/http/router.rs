//! All routes in one place, grouped by who calls them. The OpenAPI document is made from the same list.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use axum::Router;
use axum::extract::MatchedPath;
use axum::response::{IntoResponse as _, Response};
use http::{Method, Request};
use tower::{Layer, Service};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::App;
use super::api::{
    backups, batch, billing, completion, connect, connections, documents, emails, figures, health, intake,
    jobs, status, users, workflows,
};
use super::context::Context;
use super::error::ApiError;
use super::openapi::ApiDoc;
use super::pages;
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
        .routes(routes!(intake::submit_job))
        .routes(routes!(batch::submit_batch))
        // Holders of a key: asking a vendor for something.
        .routes(routes!(connect::call_connector))
        .routes(routes!(connect::list_connectors))
        .routes(routes!(connections::list_connections, connections::put_connection))
        .routes(routes!(connections::get_connection, connections::delete_connection))
        // Holders of a key: looking after it.
        .routes(routes!(jobs::list_jobs))
        .routes(routes!(jobs::get_job, jobs::delete_job))
        .routes(routes!(jobs::cancel_job))
        .routes(routes!(jobs::retry_job))
        .routes(routes!(jobs::redeliver_callback))
        .routes(routes!(workflows::list_workflows))
        .routes(routes!(workflows::get_workflow, workflows::put_workflow, workflows::delete_workflow))
        // Holders of a key: what became of mails.
        .routes(routes!(emails::list_emails))
        // Holders of a key: people. Anybody may look them up, unless that was closed.
        .routes(routes!(users::upsert_user))
        .routes(routes!(users::find_user))
        .routes(routes!(users::get_user, users::patch_user, users::delete_user))
        .routes(routes!(users::export_user))
        .routes(routes!(users::list_payments))
        // Holders of a key, or everybody if that was opened: paying.
        .routes(routes!(billing::create_checkout))
        .routes(routes!(billing::create_portal))
        // Stripe.
        .routes(routes!(billing::receive_event))
        // Operators.
        .routes(routes!(health::get_ops_health))
        .routes(routes!(backups::create_backup))
        .routes(routes!(backups::list_backups))
        .routes(routes!(figures::get_metrics));
    match environment {
        Environment::Development => routes.routes(routes!(completion::complete_job)),
        Environment::Production => routes,
    }
}

/// The router with pages, fallbacks and labels. Pages are for people: they stand in the sitemap, not in the document.
pub fn finish(routes: Router<Arc<App>>, document: &OpenApi, app: Arc<App>) -> Router {
    let described = document.paths.paths.keys().map(String::as_str);
    let labels = described.chain(pages::PATHS).map(|path| (path.to_owned(), Arc::from(path))).collect();
    routes
        .merge(pages::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(other_method)
        .route_layer(Label(Arc::new(labels)))
        .with_state(app)
}

async fn unknown_path() -> ApiError {
    ApiError::not_found()
}

/// A known path with a method that has no handler. The router adds `Allow`.
async fn other_method(method: Method) -> Response {
    match method {
        Method::OPTIONS => Response::default(),
        _ => ApiError::method_not_allowed().into_response(),
    }
}

/// Notes in the request's context which route was chosen, for figures.
#[derive(Clone)]
struct Label(Arc<HashMap<String, Arc<str>>>);

#[derive(Clone)]
struct Labelled<S> {
    inner: S,
    labels: Arc<HashMap<String, Arc<str>>>,
}

impl<S> Layer<S> for Label {
    type Service = Labelled<S>;

    fn layer(&self, inner: S) -> Labelled<S> {
        Labelled { inner, labels: self.0.clone() }
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
            && let Some(label) = self.labels.get(path.as_str())
        {
            context.set_route(label.clone());
        }
        self.inner.call(request)
    }
}
