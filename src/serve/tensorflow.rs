//! TensorFlow Serving's REST: `/v1/models/NAME[/versions/V][/metadata]`, `…:predict`.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};

use super::Shared;
use super::budget::RequestLimits;
use super::fault::{Fault, FaultResult};
use super::gate::{Address, find, json_response, predict, target};
use super::json::{self, Layout, write_nested, write_text};
use super::queue::Done;
use super::registry;
use super::signature::{Port, Signature};

/// Everything below `/v1/models/`.
pub(super) async fn models(
    State(shared): State<Arc<Shared>>,
    Address(address): Address,
    method: Method,
    request: Request,
) -> Response {
    answer(shared, &address, method, request).await.unwrap_or_else(Fault::into_response)
}

async fn answer(shared: Arc<Shared>, address: &str, method: Method, request: Request) -> FaultResult<Response> {
    let (address, verb) = match address.rsplit_once(':') {
        Some((address, verb)) => (address, Some(verb)),
        None => (address, None),
    };
    let (name, version, rest) = target(address)?;
    if let Some(verb) = verb {
        if verb != "predict" {
            let verb = crate::error::begun(verb, 60);
            return Err(Fault::not_found(format!("`:{verb}` is not served; `:predict` is")));
        }
        if !rest.is_empty() {
            return Err(Fault::not_found("expected NAME:predict or NAME/versions/V:predict"));
        }
        let served = find(&shared, name, version)?;
        if method != Method::POST {
            return Err(Fault::method("POST", &method));
        }
        return Ok(predict(shared, served, request, decode, encode).await);
    }
    let served = find(&shared, name, version)?;
    if method != Method::GET && method != Method::HEAD {
        return Err(Fault::method("GET", &method));
    }
    match rest {
        "" => {
            let versions = match version {
                Some(version) => vec![version],
                None => shared.registry.versions(name),
            };
            let status = |version: &u64| {
                json!({
                    "version": version.to_string(),
                    "state": "AVAILABLE",
                    "status": { "error_code": "OK", "error_message": "" },
                })
            };
            let versions: Vec<Json> = versions.iter().rev().map(status).collect();
            Ok(json_response(json!({ "model_version_status": versions }).to_string()))
        }
        "metadata" => Ok(json_response(metadata(&served).to_string())),
        _ => {
            Err(Fault::not_found("expected NAME, NAME/metadata or NAME:predict, perhaps with /versions/V behind NAME"))
        }
    }
}

fn metadata(served: &registry::ServedModel) -> Json {
    let ports = |ports: &[Port]| -> Json {
        let tensor = |port: &Port| {
            let size = |size: Option<usize>| json!({ "size": size.map_or_else(|| "-1".to_owned(), |size| size.to_string()), "name": "" });
            let sizes: Vec<Json> = std::iter::once(None).chain(port.sample.iter().copied()).map(size).collect();
            let shape = json!({ "dim": sizes, "unknown_rank": false });
            (port.name.clone(), json!({ "dtype": port.kind.tensorflow(), "tensor_shape": shape, "name": port.name }))
        };
        Json::Object(ports.iter().map(tensor).collect())
    };
    let signature = json!({
        "inputs": ports(&served.signature.inputs),
        "outputs": ports(&served.signature.outputs),
        "method_name": "tensorflow/serving/predict",
    });
    json!({
        "model_spec": { "name": served.name, "signature_name": "", "version": served.version.to_string() },
        "metadata": { "signature_def": { "signature_def": { "serving_default": signature } } },
    })
}

type Blocks = Vec<super::block::Block>;

fn decode(body: &[u8], _: &HeaderMap, signature: &Signature, allowed: &RequestLimits) -> FaultResult<(Layout, Blocks)> {
    json::tensorflow(body, signature, allowed)
}

fn encode(layout: Layout, done: Done, served: &registry::ServedModel) -> FaultResult<Response> {
    let ports = &served.signature.outputs;
    let mut out = Vec::new();
    match layout {
        Layout::Rows => {
            out.extend_from_slice(b"{\"predictions\":[");
            let rows = done.outputs.first().and_then(|output| output.shape.first()).copied().unwrap_or(0);
            for row in 0..rows {
                if row > 0 {
                    out.push(b',');
                }
                match &done.outputs[..] {
                    [output] => write_nested(&mut out, output.row(row), &output.shape[1..]),
                    outputs => {
                        for (index, (output, port)) in outputs.iter().zip(ports).enumerate() {
                            out.push(if index == 0 { b'{' } else { b',' });
                            write_text(&mut out, &port.name);
                            out.push(b':');
                            write_nested(&mut out, output.row(row), &output.shape[1..]);
                        }
                        out.push(b'}');
                    }
                }
            }
            out.extend_from_slice(b"]}");
        }
        Layout::Columns => {
            out.extend_from_slice(b"{\"outputs\":");
            match &done.outputs[..] {
                [output] => write_nested(&mut out, &output.values, &output.shape),
                outputs => {
                    for (index, (output, port)) in outputs.iter().zip(ports).enumerate() {
                        out.push(if index == 0 { b'{' } else { b',' });
                        write_text(&mut out, &port.name);
                        out.push(b':');
                        write_nested(&mut out, &output.values, &output.shape);
                    }
                    out.push(b'}');
                }
            }
            out.push(b'}');
        }
    }
    Ok(json_response(out))
}
