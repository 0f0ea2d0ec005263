//! Requests to a server of small models, in one process and without sockets: the forms of TensorFlow Serving, the Open
//! Inference Protocol in JSON and with binary tensors, and bodies as they are.
//!
//! The first byte chooses what is asked and how the rest becomes a request (see `KINDS`). Findings are a panic, an
//! answer of 500 or above (panics of workers become those), one that is no JSON where it has to be, and 429: one request
//! at a time is never too much, unless an earlier one has kept its place or its memory.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::response::Parts;
use axum::http::{Method, Request, header};
use brasa::datasets::{ColumnInfo, Fill, TableInfo};
use brasa::prelude::*;
use brasa::serve::{Options, Server};
use serde_json::Value as Json;
use tokio::runtime::Runtime;
use tower::Service;

#[allow(dead_code)] // Each target uses some of the readers.
#[path = "../readers.rs"]
mod readers;
#[allow(unused_imports, unused_macros)] // This target has no single reader, for which the macro is.
#[path = "../target.rs"]
mod target;

/// The form of the bytes after the first.
#[derive(Clone, Copy)]
enum Form {
    /// The body.
    Body,
    /// A line of JSON, and tensors: the header says how long the line is.
    Tensors,
    /// The header's value on a line, and the body.
    Length,
    /// An address on a line, and the body.
    Address,
}

/// The address (empty if the input has it), the body's Content-Type, and the form; `A` chooses the first.
const KINDS: [(&str, &str, Form); 27] = [
    ("/v1/models/line:predict", "", Form::Body),        // A
    ("/v1/models/both:predict", "", Form::Body),        // B
    ("/v1/models/words:predict", "", Form::Body),       // C
    ("/v1/models/digits:predict", "", Form::Body),      // D
    ("/v1/models/table:predict", "", Form::Body),       // E
    ("/v1/models/whole:predict", "", Form::Body),       // F
    ("/v2/models/line/infer", "", Form::Body),          // G
    ("/v2/models/both/infer", "", Form::Body),          // H
    ("/v2/models/words/infer", "", Form::Body),         // I
    ("/v2/models/digits/infer", "", Form::Body),        // J
    ("/v2/models/whole/infer", "", Form::Body),         // K
    ("/v2/models/both/infer", "", Form::Tensors),       // L
    ("/v2/models/words/infer", "", Form::Tensors),      // M
    ("/v2/models/digits/infer", "", Form::Tensors),     // N
    ("/v2/models/whole/infer", "", Form::Tensors),      // O
    ("/v2/models/line/infer", "", Form::Length),        // P
    ("/predict/line", "", Form::Body),                  // Q
    ("/predict/both", "application/json", Form::Body),  // R
    ("/predict/words", "text/plain", Form::Body),       // S
    ("/predict/words", "application/json", Form::Body), // T
    ("/predict/table", "text/csv", Form::Body),         // U
    ("/predict/table", "application/json", Form::Body), // V
    ("/predict/digits", "image/png", Form::Body),       // W
    ("/predict/digits", "", Form::Body),                // X
    ("/predict/whole", "text/csv", Form::Body),         // Y
    ("POST", "", Form::Address),                        // Z
    ("GET", "", Form::Address),                         // [
];

/// The server, and what runs it.
struct Served {
    runtime: Runtime,
    router: Router,
}

/// Without the sockets of a server nothing else runs but the threads that compute.
fn served() -> &'static Served {
    static SERVED: OnceLock<Served> = OnceLock::new();
    SERVED.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        Served { runtime, router: server().expect("the models can be served").router() }
    })
}

fn server() -> brasa::Result<Server> {
    let hour = Duration::from_secs(3600);
    let server = Server::new(Options {
        workers: 1,
        // Small, so that a place or memory that is kept is soon missing.
        max_requests: 8,
        max_body_bytes: 1 << 20,
        max_bytes_at_once: 64 << 20,
        max_inputs: 64,
        // The sanitizer makes everything slow.
        timeout: hour,
        client_timeout: hour,
        ..Options::default()
    })?;

    let mut digits = Sequential::new().with_seed(7);
    digits.add(Flatten::new().input_shape((28, 28, 1)))?.add(Dense::new(10).activation("softmax"))?;
    digits.data_info_mut().class_names = (0..10).map(|digit| format!("digit {digit}")).collect();
    server.add("digits", 1, digits.into())?;

    let (a, b) = (Input::new(2).name("a").symbol(), Input::new(2).name("b").symbol());
    let sum = Add::new().name("sum").call([&a, &b])?;
    let product = Multiply::new().name("product").call([&a, &b])?;
    server.add("both", 1, Model::new([&a, &b], [&sum, &product])?)?;

    let mut table = Sequential::new();
    table.add(Rescaling::new(1.0).input_shape(4))?;
    let (mut age, mut city, mut info) = (ColumnInfo::default(), ColumnInfo::default(), TableInfo::default());
    (age.name, age.fill) = ("age".into(), Some(Fill::Number(30.0)));
    (city.name, city.categories) = ("city".into(), Some(["Bonn", "Köln", "Mainz"].map(str::to_owned).to_vec()));
    (info.columns, info.targets, info.header, info.separator) = (vec![age, city], vec!["price".into()], true, ',');
    table.data_info_mut().table = Some(info);
    server.add("table", 1, table.into())?;

    let mut words = Sequential::new();
    words.add(Input::new(1).dtype("string"))?;
    words.add(StringLookup::default().vocabulary(["red", "green"]))?.add(Rescaling::new(1.0))?;
    server.add("words", 1, words.into())?;

    let mut whole = Sequential::new();
    whole.add(Input::new(2).dtype("int32"))?.add(Embedding::new(4, 3))?;
    server.add("whole", 1, whole.into())?;

    for (version, scale) in [(1, 1.0), (2, 2.0)] {
        let mut line = Sequential::new();
        line.add(Rescaling::new(scale).input_shape(3))?;
        server.add("line", version, line.into())?;
    }
    Ok(server)
}

/// The first line, and what is behind it.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

/// The request of an input; none for one that HTTP cannot carry.
fn request(bytes: &[u8]) -> Option<Request<Body>> {
    const LENGTH: &str = "Inference-Header-Content-Length";
    let (first, rest) = bytes.split_first()?;
    let (address, content_type, form) = KINDS[usize::from(first.wrapping_sub(b'A')) % KINDS.len()];
    let (first_line, behind) = line(rest);
    let mut request = Request::builder();
    if !content_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request = match form {
        Form::Address => request.method(Method::from_bytes(address.as_bytes()).ok()?).uri(first_line),
        _ => request.method(Method::POST).uri(address),
    };
    let body = match form {
        Form::Body => rest.to_vec(),
        Form::Address => behind.to_vec(),
        Form::Length => {
            request = request.header(LENGTH, first_line);
            behind.to_vec()
        }
        Form::Tensors => {
            request = request.header(LENGTH, first_line.len());
            [first_line, behind].concat()
        }
    };
    request.body(Body::from(body)).ok()
}

/// Asks, and checks the answer.
fn serve(bytes: &[u8]) {
    let Some(request) = request(bytes) else { return };
    let own = served();
    let mut router = own.router.clone();
    let (parts, body) = own.runtime.block_on(async {
        let Ok(answer) = router.call(request).await;
        let (parts, body) = answer.into_parts();
        (parts, to_bytes(body, usize::MAX).await)
    });
    check(&parts, &body.expect("an answer's body"));
}

fn check(parts: &Parts, body: &Bytes) {
    let status = parts.status.as_u16();
    let shown = String::from_utf8_lossy(body);
    assert!(status < 500 && status != 429, "{status}: {shown}");
    if status != 200 {
        let json: Json = serde_json::from_slice(body).unwrap_or_default();
        assert!(json["error"].is_string(), "{status} without a message: {shown}");
        return;
    }
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    // Tensors are behind their JSON.
    let length = header("inference-header-content-length").map(|length| length.parse::<usize>());
    let json = match length {
        Some(length) => body.get(..length.expect("a length")).expect("a length within the body"),
        None if header("content-type") == Some("application/json") => &body[..],
        None => return,
    };
    assert!(serde_json::from_slice::<Json>(json).is_ok(), "no JSON: {shown}");
}

libfuzzer_sys::fuzz_target!(init: target::show_each_panic_once(), |bytes: &[u8]| {
    target::run(serve, bytes)
});
