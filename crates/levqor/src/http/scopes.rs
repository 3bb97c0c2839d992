//! Which scope each guarded route needs: declared where the route is listed, told by the OpenAPI document as `x-scope`, and
//! read from there for the check. So nothing is described otherwise than it is enforced.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use levqor_core::key::Scope;
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa_axum::router::UtoipaMethodRouter;

use super::App;

/// Where the document has the scope of an operation.
pub const EXTENSION: &str = "x-scope";

/// What is known of one path: its label for figures, and the scope that each of its guarded methods needs.
#[derive(Clone, Debug)]
pub struct Route {
    pub label: Arc<str>,
    scopes: Vec<(Method, Scope)>,
}

impl Route {
    /// A path of pages, which need no key.
    pub fn open(path: &str) -> Route {
        Route { label: path.into(), scopes: Vec::new() }
    }

    /// What a request must be allowed. Admin where nothing was declared: what was forgotten is closed.
    pub fn scope(&self, method: &Method) -> Scope {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.scopes.iter().find(|(known, _)| known == method).map_or(Scope::Admin, |(_, scope)| *scope)
    }
}

/// Declares the scope of these routes.
pub fn needs(scope: Scope, routes: UtoipaMethodRouter<Arc<App>>) -> UtoipaMethodRouter<Arc<App>> {
    let (schemas, mut paths, router) = routes;
    for operation in paths.paths.values_mut().flat_map(operations) {
        let extensions = operation.1.extensions.get_or_insert_default();
        extensions.insert(EXTENSION.to_owned(), Value::from(scope.as_str()));
    }
    (schemas, paths, router)
}

/// Every described path.
pub fn routes(document: &OpenApi) -> HashMap<String, Route> {
    let route = |(path, item): (&String, &PathItem)| {
        let mut item = item.clone();
        let scopes = operations(&mut item).into_iter().filter_map(|(method, operation)| {
            let word = operation.extensions.as_ref()?.get(EXTENSION)?.as_str()?;
            Some((method, Scope::parse(word)?))
        });
        (path.clone(), Route { label: path.as_str().into(), scopes: scopes.collect() })
    };
    document.paths.paths.iter().map(route).collect()
}

fn operations(item: &mut PathItem) -> Vec<(Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
        (Method::PATCH, &mut item.patch),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?))).collect()
}
