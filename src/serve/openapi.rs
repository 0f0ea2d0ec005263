//! The interface as an OpenAPI document.

use serde_json::{Map, Value as Json, json};

use super::Shared;

fn reference(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn content(kind: &str, schema: Json) -> Json {
    json!({ kind: { "schema": schema } })
}

/// The answers of an operation: its own, and those that every one may have.
fn responses(ok: Json, more: &[u16], secured: bool) -> Json {
    let mut responses = Map::new();
    responses.insert("200".into(), ok);
    let secured = secured.then_some(401);
    for status in more.iter().copied().chain(secured) {
        let description = match status {
            400 => "The request is not as it should be; the message names the input, what was expected and received.",
            401 => "A key is needed.",
            404 => "There is no such model or version.",
            408 => "The body did not come in time.",
            413 => "The body, or what it would take, is too large.",
            415 => "The body is compressed.",
            429 => "More at once than is served; try again after Retry-After seconds.",
            503 => "The server is about to end.",
            504 => "There was no answer in time.",
            _ => "The server has failed.",
        };
        let body = content("application/json", reference("Error"));
        responses.insert(status.to_string(), json!({ "description": description, "content": body }));
    }
    Json::Object(responses)
}

const PREDICTION: [u16; 8] = [400, 404, 408, 413, 415, 429, 500, 504];

/// The document, with the names of the models that are served.
pub(super) fn document(shared: &Shared) -> Json {
    let secured = !shared.options.api_keys.is_empty();
    let names = shared.registry.names();
    let name_schema =
        if names.is_empty() { json!({ "type": "string" }) } else { json!({ "type": "string", "enum": names }) };
    let name =
        json!({ "name": "name", "in": "path", "required": true, "schema": name_schema, "description": "The model." });
    let version = json!({
        "name": "version", "in": "path", "required": true, "description": "Its version.",
        "schema": { "type": "integer", "minimum": 0 },
    });
    let ok = |description: &str, schema: Json| json!({ "description": description, "content": content("application/json", schema) });
    let get = |id: &str, summary: &str, parameters: &[&Json], ok: Json, more: &[u16]| {
        json!({ "get": {
            "operationId": id, "summary": summary, "parameters": parameters, "responses": responses(ok, more, secured),
        } })
    };
    let public = |id: &str, summary: &str, ok: Json, more: &[u16]| {
        json!({ "get": {
            "operationId": id, "summary": summary, "security": [], "responses": responses(ok, more, false),
        } })
    };
    let post = |id: &str, summary: &str, parameters: &[&Json], body: Json, ok: Json| {
        json!({ "post": {
            "operationId": id, "summary": summary, "parameters": parameters,
            "requestBody": { "required": true, "content": body },
            "responses": responses(ok, &PREDICTION, secured),
        } })
    };
    let object = json!({ "type": "object" });
    let mut paths = Map::new();
    let mut add = |path: &str, operations: Json| paths.insert(path.to_owned(), operations);
    let html = json!({ "description": "The page.", "content": content("text/html", json!({ "type": "string" })) });
    add("/", public("page", "A page on which the models can be tried", html, &[]));
    let list = json!({ "type": "object", "required": ["models"], "properties": { "models": { "type": "array", "items": reference("Model") } } });
    add("/models", get("listModels", "The models", &[], ok("The models.", list), &[]));
    add("/models/{name}", get("describeModel", "A model", &[&name], ok("The model.", reference("Model")), &[404]));
    let svg = json!({ "description": "The network as a drawing.", "content": content("image/svg+xml", json!({ "type": "string" })) });
    add("/models/{name}/network.svg", get("drawModel", "A model's network", &[&name], svg, &[404]));
    let text = json!({ "description": "The counts.", "content": content("text/plain", json!({ "type": "string" })) });
    add("/metrics", get("metrics", "Counts for Prometheus", &[], text, &[]));
    add("/openapi.json", get("openapi", "This document", &[], ok("This document.", object.clone()), &[]));

    let top = json!({ "name": "top", "in": "query", "required": false, "description": "How many classes.", "schema": { "type": "integer", "minimum": 1, "maximum": 1_000_000 } });
    let any = json!({
        "image/png": { "schema": { "type": "string", "format": "binary" } },
        "image/jpeg": { "schema": { "type": "string", "format": "binary" } },
        "text/csv": { "schema": { "type": "string" } },
        "text/plain": { "schema": { "type": "string" } },
        "application/json": { "schema": {} },
    });
    let answers = json!({ "type": "array", "items": reference("Answer") });
    add(
        "/predict/{name}",
        post(
            "predict",
            "The answer for an image, rows, a text or numbers",
            &[&name, &top],
            any,
            ok("An answer for each input.", answers),
        ),
    );

    for (prefix, suffix, with) in [("", "", vec![&name]), ("/versions/{version}", "Version", vec![&name, &version])] {
        let status = ok("The versions and their states.", object.clone());
        let path = format!("/v1/models/{{name}}{prefix}");
        add(
            &path,
            get(
                &format!("tensorflowStatus{suffix}"),
                "TensorFlow Serving: the state of a model",
                &with,
                status,
                &[404],
            ),
        );
        let metadata = ok("Inputs and outputs.", object.clone());
        add(
            &format!("{path}/metadata"),
            get(
                &format!("tensorflowMetadata{suffix}"),
                "TensorFlow Serving: inputs and outputs",
                &with,
                metadata,
                &[404],
            ),
        );
        add(
            &format!("{path}:predict"),
            post(
                &format!("tensorflowPredict{suffix}"),
                "TensorFlow Serving: predict",
                &with,
                content("application/json", reference("TensorFlowRequest")),
                ok("`predictions` by row or `outputs` by column.", object.clone()),
            ),
        );
        let path = format!("/v2/models/{{name}}{prefix}");
        add(
            &path,
            get(
                &format!("inferMetadata{suffix}"),
                "Open Inference Protocol: inputs and outputs",
                &with,
                ok("The model.", object.clone()),
                &[404],
            ),
        );
        add(
            &format!("{path}/ready"),
            get(
                &format!("inferModelReady{suffix}"),
                "Open Inference Protocol: whether a model is ready",
                &with,
                ok("It is.", object.clone()),
                &[404],
            ),
        );
        let body = json!({
            "application/json": { "schema": reference("InferRequest") },
            "application/octet-stream": { "schema": { "type": "string", "format": "binary" } },
        });
        let both = json!({ "description": "The outputs.", "content": {
            "application/json": { "schema": reference("InferResponse") },
            "application/octet-stream": { "schema": { "type": "string", "format": "binary" } },
        } });
        add(
            &format!("{path}/infer"),
            post(&format!("infer{suffix}"), "Open Inference Protocol: infer", &with, body, both),
        );
    }
    add("/v2", get("inferServer", "Open Inference Protocol: the server", &[], ok("The server.", object.clone()), &[]));
    add("/v2/health/live", public("live", "Whether the server lives", ok("It does.", object.clone()), &[]));
    let mut ready = public("ready", "Whether the server takes requests", ok("It does.", object.clone()), &[]);
    ready["get"]["responses"]["503"] = ok("It does not.", object);
    add("/v2/health/ready", ready);

    let mut document = json!({
        "openapi": "3.1.0",
        "servers": [{ "url": "." }],
        "info": {
            "title": "Brasa",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Models behind HTTP.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas() },
    });
    if secured {
        document["components"]["securitySchemes"] = json!({ "key": { "type": "http", "scheme": "bearer" } });
        document["security"] = json!([{ "key": [] }]);
    }
    document
}

fn schemas() -> Json {
    let port = json!({ "type": "object", "required": ["name", "datatype", "shape"], "properties": {
        "name": { "type": "string" },
        "datatype": { "type": "string" },
        "shape": { "type": "array", "items": { "type": "integer" }, "description": "−1 for sizes that are not known." },
    } });
    json!({
        "Error": { "type": "object", "required": ["error"], "properties": { "error": { "type": "string" } } },
        "Model": { "type": "object", "required": ["name", "version", "inputs", "outputs"], "properties": {
            "name": { "type": "string" },
            "version": { "type": "string" },
            "inputs": { "type": "array", "items": port },
            "outputs": { "type": "array", "items": port },
            "class_names": { "type": "array", "items": { "type": "string" } },
        } },
        "Answer": { "type": "object", "required": ["input"], "properties": {
            "input": { "type": "string" },
            "classes": { "type": "array", "items": { "type": "object", "required": ["class", "probability"], "properties": {
                "class": { "type": "integer" }, "name": { "type": "string" }, "probability": { "type": ["number", "null"] },
            } } },
            "output": {},
            "outputs": { "type": "object" },
        } },
        "TensorFlowRequest": { "type": "object", "properties": {
            "signature_name": { "type": "string", "enum": ["serving_default"] },
            "instances": { "type": "array", "description": "A list of samples: values, or objects of them by the inputs' names." },
            "inputs": { "description": "For each input all samples; of a single input without its name." },
        }, "additionalProperties": false },
        "InferRequest": { "type": "object", "required": ["inputs"], "additionalProperties": false, "properties": {
            "id": { "type": "string" },
            "parameters": { "type": "object" },
            "inputs": { "type": "array", "items": { "type": "object", "required": ["name", "shape", "datatype"], "additionalProperties": false, "properties": {
                "name": { "type": "string" },
                "shape": { "type": "array", "items": { "type": "integer", "minimum": 0 } },
                "datatype": { "type": "string" },
                "parameters": { "type": "object" },
                "data": { "type": "array" },
            } } },
            "outputs": { "type": "array", "items": { "type": "object", "required": ["name"], "additionalProperties": false, "properties": {
                "name": { "type": "string" }, "parameters": { "type": "object" },
            } } },
        } },
        "InferResponse": { "type": "object", "required": ["model_name", "model_version", "outputs"], "properties": {
            "model_name": { "type": "string" },
            "model_version": { "type": "string" },
            "id": { "type": "string" },
            "outputs": { "type": "array", "items": { "type": "object", "required": ["name", "datatype", "shape"] } },
        } },
    })
}
