//! Descriptions: models, network diagrams, metrics, the OpenAPI document.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::Shared;
use super::fault::{Fault, FaultResult};
use super::gate::{Address, find, json_response, target};

/// `/models`.
pub(super) async fn models(State(shared): State<Arc<Shared>>) -> Response {
    let models: Vec<Json> = shared.registry.all().iter().map(|served| served.about()).collect();
    json_response(crate::text::escaped_json(&json!({ "models": models }).to_string()))
}

/// `/models/NAME`, and the network's diagram.
pub(super) async fn model(State(shared): State<Arc<Shared>>, Address(address): Address) -> Response {
    one(&shared, &address).unwrap_or_else(Fault::into_response)
}

fn one(shared: &Shared, address: &str) -> FaultResult<Response> {
    let (name, version, rest) = target(address)?;
    let served = find(shared, name, version)?;
    match rest {
        "" => Ok(json_response(crate::text::escaped_json(&served.about().to_string()))),
        "network.svg" => match &served.network_svg {
            Some(svg) => Ok(([(header::CONTENT_TYPE, "image/svg+xml")], svg.clone()).into_response()),
            None => Err(Fault::not_found("this network cannot be drawn")),
        },
        _ => Err(Fault::not_found("expected NAME or NAME/network.svg, perhaps with /versions/V behind NAME")),
    }
}

/// `/metrics`.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.metrics.text(shared.budget.used());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// `/openapi.json`.
pub(super) async fn openapi(State(shared): State<Arc<Shared>>) -> Response {
    json_response(super::openapi::document(&shared).to_string())
}
