//! The API's description, in two editions of OpenAPI.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, Method};

use crate::http::App;

/// This document as OpenAPI 3.0.3.
#[utoipa::path(get, path = "/public/openapi.json", tag = "documents",
    responses((status = 200, description = "The document", content_type = "application/json", body = Object), (status = 206, description = "The part that `Range` asks for", content_type = "application/json"), (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`")))]
pub async fn get_openapi(State(app): State<Arc<App>>, method: Method, headers: HeaderMap) -> Response {
    app.documents.v3_0.answer(&method, &headers)
}

/// This document as OpenAPI 3.1.0.
#[utoipa::path(get, path = "/public/openapi-3.1.json", tag = "documents",
    responses((status = 200, description = "The document", content_type = "application/json", body = Object), (status = 206, description = "The part that `Range` asks for", content_type = "application/json"), (status = 304, description = "Unchanged since the `ETag` in `If-None-Match`")))]
pub async fn get_openapi_3_1(State(app): State<Arc<App>>, method: Method, headers: HeaderMap) -> Response {
    app.documents.v3_1.answer(&method, &headers)
}
