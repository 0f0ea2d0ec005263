//! Middleware: request ids, keys, the access log; and the path of a prediction, with its limits.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::Poll;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde_json::json;
use subtle::{Choice, ConstantTimeEq};

use super::Shared;
use super::block::Block;
use super::budget::Allowed;
use super::fault::{Fault, Served};
use super::metrics::{Metrics, Phase};
use super::queue::Done;
use super::registry;
use super::signature::Signature;
use crate::error::{Error, Result};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The address of the client, on connections accepted by Brasa.
#[derive(Clone, Debug)]
pub(super) struct Peer(pub Arc<str>);

/// The model of a request, for the log and the metrics.
#[derive(Clone, Debug)]
pub(super) struct About {
    pub model: String,
    pub version: u64,
    pub samples: usize,
}

/// The route label of the metrics.
fn route_of(path: &str) -> &'static str {
    const ROUTES: [&str; 6] = ["/predict", "/v1", "/v2", "/models", "/metrics", "/openapi.json"];
    let first = path.split('/').nth(1).unwrap_or_default();
    ROUTES.into_iter().find(|route| &route[1..] == first).unwrap_or(if path == "/" { "/" } else { "other" })
}

/// Paths that need no key: health, and the page without any data of the models.
fn is_public(path: &str) -> bool {
    ["/", "/page.js", "/page.css", "/v2/health/live", "/v2/health/ready"].contains(&path)
}

/// The outermost middleware.
pub(super) async fn gate(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_id(id.as_bytes())).cloned();
    let id = given.unwrap_or_else(fresh_id);
    let route = route_of(request.uri().path());
    let line = shared.log.as_ref().map(|_| {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.clone());
        (peer, request.method().clone(), request.uri().path().to_owned())
    });
    let refused = match is_public(request.uri().path()) {
        true => None,
        false => check_key(&shared.options.api_keys, request.headers()).err(),
    };
    let mut response = match refused {
        Some(fault) => fault.into_response(),
        None => without_panic(next.run(request)).await,
    };
    let about = response.extensions_mut().remove::<About>();
    let status = response.status().as_u16();
    shared.metrics.answered(route, about.as_ref().map_or("", |about| about.model.as_str()), status);
    if let (Some(log), Some((peer, method, path))) = (&shared.log, line) {
        log.line(|| {
            json!({
                "time": jiff::Timestamp::now().to_string(),
                "id": id.to_str().unwrap_or_default(),
                "peer": peer,
                "method": method.as_str(),
                "path": crate::error::begun(&path, 300),
                "status": status,
                "model": about.as_ref().map(|about| &about.model),
                "version": about.as_ref().map(|about| about.version),
                "samples": about.as_ref().map(|about| about.samples),
                "milliseconds": begun.elapsed().as_micros() as f64 / 1e3,
            })
        });
    }
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if shared.draining.load(Ordering::Relaxed) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn is_id(bytes: &[u8]) -> bool {
    (1..=100).contains(&bytes.len()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

fn fresh_id() -> HeaderValue {
    HeaderValue::try_from(format!("{:016x}", rand::random::<u64>())).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Compares a request's key with each that there is, in a time that says nothing of them but their lengths.
fn check_key(keys: &[String], headers: &HeaderMap) -> Served<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let unauthorized = |message: &str| Err(Fault::new(StatusCode::UNAUTHORIZED, message));
    let Some(given) = headers.get(header::AUTHORIZATION) else {
        return unauthorized("expected a key as `Authorization: Bearer KEY`, received none");
    };
    let given = given.as_bytes();
    let given = match given.split_at_checked(7) {
        Some((scheme, key)) if scheme.eq_ignore_ascii_case(b"bearer ") => key.trim_ascii(),
        _ => return unauthorized("expected a key as `Authorization: Bearer KEY`, received something else"),
    };
    let found = keys.iter().fold(Choice::from(0), |found, key| found | key.as_bytes().ct_eq(given));
    match bool::from(found) {
        true => Ok(()),
        false => unauthorized("the key is none of this server's"),
    }
}

/// The fallback.
pub(super) async fn nothing(request: Request) -> Fault {
    Fault::not_found(format!(
        "nothing is served at `{}`; see /openapi.json",
        crate::error::begun(request.uri().path(), 200)
    ))
}

/// The fallback for other methods than GET.
pub(super) async fn only_get(method: Method) -> Fault {
    Fault::method("GET", &method)
}

/// Runs a handler. A panic is a defect, and answers 500: the connection and its other requests go on.
async fn without_panic(handler: impl Future<Output = Response>) -> Response {
    let mut handler = std::pin::pin!(handler);
    let poll = |context: &mut std::task::Context<'_>| {
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            Poll::Ready(Fault::internal("a defect of the server; its log says more").into_response())
        })
    };
    std::future::poll_fn(poll).await
}

/// JSON as an answer.
pub(super) fn json_response(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.into()).into_response()
}

/// The name, the version and what is behind them in an address: `NAME`, `NAME/versions/3`, `NAME/metadata`.
pub(super) fn target(address: &str) -> Served<(&str, Option<u64>, &str)> {
    let (name, rest) = address.split_once('/').unwrap_or((address, ""));
    let Some(rest) = rest.strip_prefix("versions/") else { return Ok((name, None, rest)) };
    let (version, rest) = rest.split_once('/').unwrap_or((rest, ""));
    match version.parse() {
        Ok(version) => Ok((name, Some(version), rest)),
        Err(_) => {
            Err(Fault::not_found(format!("no version `{}`: versions are numbers", crate::error::begun(version, 60))))
        }
    }
}

/// The model that a request is about.
pub(super) fn find(shared: &Shared, name: &str, version: Option<u64>) -> Served<Arc<registry::Served>> {
    shared.registry.get(name, version).ok_or_else(|| {
        let versions = shared.registry.versions(name);
        match version {
            Some(version) if !versions.is_empty() => {
                let versions: Vec<String> = versions.iter().map(u64::to_string).collect();
                Fault::not_found(format!("no version {version} of model `{name}`; there are {}", versions.join(", ")))
            }
            _ => {
                let name = crate::error::begun(name, 100);
                Fault::not_found(format!("no model `{name}`; there are {}", shared.registry.names().join(", ")))
            }
        }
    })
}

/// Upper bound of the memory of a parsed JSON body, in multiples of its text.
const PARSED: usize = 8;

/// Bodies up to here are parsed where they are read; what takes longer does so on a thread of its own.
const SMALL: usize = 32 << 10;

/// Serves a prediction: reads the body within the limits, decodes it, has it computed, and encodes what comes out.
pub(super) async fn predict<T, D, E>(
    shared: Arc<Shared>,
    served: Arc<registry::Served>,
    request: Request,
    decode: D,
    encode: E,
) -> Response
where
    T: Send + 'static,
    D: FnOnce(&[u8], &HeaderMap, &Signature, &Allowed) -> Served<(T, Vec<Block>)> + Send + 'static,
    E: FnOnce(T, Done, &registry::Served) -> Served<Response> + Send + 'static,
{
    /// Counts a prediction as long as it goes on, however it ends.
    struct InFlight(Arc<Metrics>);
    impl Drop for InFlight {
        fn drop(&mut self) {
            self.0.in_flight(-1);
        }
    }

    let begun = Instant::now();
    let mut about = About { model: served.name.clone(), version: served.version, samples: 0 };
    let result = async {
        let Ok(_slot) = shared.slots.clone().try_acquire_owned() else {
            let most = shared.options.max_requests;
            return Err(Fault::busy(format!("{most} requests are being served; try again later")));
        };
        shared.metrics.in_flight(1);
        let _counted = InFlight(shared.metrics.clone());
        let work = work(&shared, &served, request, decode, encode, &mut about);
        match tokio::time::timeout(shared.options.timeout, work).await {
            Ok(result) => result,
            Err(_) => {
                let seconds = shared.options.timeout.as_secs_f64();
                Err(Fault::timed_out(format!("expected an answer within {seconds} seconds, received none")))
            }
        }
    };
    let mut response = match result.await {
        Ok(response) => {
            shared.metrics.took(Phase::Total, begun.elapsed());
            response
        }
        Err(fault) => fault.into_response(),
    };
    response.extensions_mut().insert(about);
    response
}

async fn work<T, D, E>(
    shared: &Arc<Shared>,
    served: &Arc<registry::Served>,
    request: Request,
    decode: D,
    encode: E,
    about: &mut About,
) -> Served<Response>
where
    T: Send + 'static,
    D: FnOnce(&[u8], &HeaderMap, &Signature, &Allowed) -> Served<(T, Vec<Block>)> + Send + 'static,
    E: FnOnce(T, Done, &registry::Served) -> Served<Response> + Send + 'static,
{
    let allowed = Allowed { rows: shared.options.max_inputs, share: shared.budget.share() };
    let (parts, body) = request.into_parts();
    if let Some(encoding) = parts.headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let received = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        let message =
            format!("expected a body without Content-Encoding, received {}", crate::error::begun(received, 60));
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let begun = Instant::now();
    let body = read(shared, &parts.headers, body, &allowed).await?;
    let read = Instant::now();
    shared.metrics.took(Phase::Read, read - begun);
    allowed.share.take(body.len().saturating_mul(PARSED))?;
    let pictures = served.signature.inputs.iter().any(|input| input.picture.is_some());
    let (carried, blocks) = if body.len() <= SMALL && !(pictures && body.len() > 1024) {
        decode(&body, &parts.headers, &served.signature, &allowed)?
    } else {
        let (own, allowed) = (served.clone(), allowed.clone());
        let decode = move || decode(&body, &parts.headers, &own.signature, &allowed);
        blocking(decode).await?
    };
    shared.metrics.took(Phase::Decode, read.elapsed());
    let rows = check_rows(&blocks, &served.signature, &allowed)?;
    about.samples = rows;
    take_outputs(&served.signature, rows, &allowed)?;
    let done = served.queue.run(blocks).await?;
    shared.metrics.took(Phase::Queue, done.waited);
    shared.metrics.took(Phase::Compute, done.computed);
    let computed = Instant::now();
    let values: usize = done.outputs.iter().map(|output| output.values.len()).sum();
    let response = if values <= SMALL / size_of::<f32>() {
        encode(carried, done, served)?
    } else {
        let own = served.clone();
        blocking(move || encode(carried, done, &own)).await?
    };
    shared.metrics.took(Phase::Encode, computed.elapsed());
    Ok(response)
}

/// Does what takes long on a thread where that holds up nobody.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Served<T> + Send + 'static) -> Served<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Fault::internal("a defect of the server")))
}

/// The samples of a request: as many of each input, and not too many.
fn check_rows(blocks: &[Block], signature: &Signature, allowed: &Allowed) -> Served<usize> {
    let rows = blocks.first().map_or(0, |block| block.rows);
    if rows == 0 || rows > allowed.rows {
        let name = signature.inputs.first().map(|input| input.name.as_str()).unwrap_or_default();
        return Err(Fault::expected(format!("input `{name}`"), format!("1 to {} samples", allowed.rows), rows));
    }
    match blocks.iter().zip(&signature.inputs).find(|(block, _)| block.rows != rows) {
        Some((block, input)) => {
            let first = &signature.inputs[0].name;
            let expected = format!("{rows} samples, as of input `{first}`");
            Err(Fault::expected(format!("input `{}`", input.name), expected, block.rows))
        }
        None => Ok(rows),
    }
}

/// Takes the memory of the outputs, as far as it is known: their values and their text.
fn take_outputs(signature: &Signature, rows: usize, allowed: &Allowed) -> Served<()> {
    /// Bytes of a number in memory and as text.
    const BYTES: usize = 4 + 14;
    let values = |sample: &[Option<usize>]| sample.iter().flatten().fold(rows, |sum, size| sum.saturating_mul(*size));
    let values = signature.outputs.iter().map(|output| values(&output.sample)).fold(0, usize::saturating_add);
    allowed.share.take(values.saturating_mul(BYTES))
}

/// Reads a body within the limits.
async fn read(shared: &Shared, headers: &HeaderMap, body: Body, allowed: &Allowed) -> Served<Vec<u8>> {
    let most = shared.options.max_body_bytes;
    let too_large =
        |received: String| Fault::too_large(format!("expected a body of up to {most} bytes, received {received}"));
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = told {
        if length > most {
            return Err(too_large(format!("one of {length}")));
        }
        // Room for all of it, before any of it is read.
        allowed.share.take(length)?;
    }
    let collect = async {
        let mut body = body;
        let mut bytes = Vec::with_capacity(told.unwrap_or(0).min(1 << 16));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Fault::bad(format!("the body cannot be read: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(too_large("more".into()));
            }
            if told.is_none() {
                allowed.share.take(data.len())?;
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    match tokio::time::timeout(shared.options.client_timeout, collect).await {
        Ok(result) => result,
        Err(_) => {
            let seconds = shared.options.client_timeout.as_secs_f64();
            let message = format!("expected the body within {seconds} seconds, received a part of it");
            Err(Fault::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// The access log: lines for standard error, written by a thread of its own so that nobody waits for a slow reader.
pub(super) struct Log(SyncSender<String>, Arc<Metrics>);

/// The most lines that wait to be written; more are lost, and counted.
const MOST_LINES: usize = 10_000;

impl Log {
    /// Starts the thread, which ends with the server.
    pub fn start(metrics: Arc<Metrics>) -> Result<Self> {
        let (sender, receiver) = sync_channel::<String>(MOST_LINES);
        let write = move || {
            use std::io::Write;
            let stderr = std::io::stderr();
            for line in receiver {
                let _ = stderr.lock().write_all(line.as_bytes());
            }
        };
        let thread = std::thread::Builder::new().name("brasa-log".into()).spawn(write);
        thread.map_err(|source| Error::Thread { purpose: "the access log", source: source.into() })?;
        Ok(Self(sender, metrics))
    }

    fn line(&self, json: impl FnOnce() -> serde_json::Value) {
        let line = crate::text::escaped_json(&json().to_string()) + "\n";
        if self.0.try_send(line).is_err() {
            self.1.log_lost();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_name_model_version_and_more() {
        assert_eq!(target("a").unwrap(), ("a", None, ""));
        assert_eq!(target("a/metadata").unwrap(), ("a", None, "metadata"));
        assert_eq!(target("a/versions/3/infer").unwrap(), ("a", Some(3), "infer"));
        assert!(target("a/versions/x").is_err() && target("a/versions/99999999999999999999").is_err());
    }

    #[test]
    fn a_key_is_one_of_the_server() {
        let keys = vec!["0123456789abcdef".to_owned(), "fedcba9876543210".to_owned()];
        let check = |value: Option<&str>| {
            let mut headers = HeaderMap::new();
            value.map(|value| headers.insert(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap()));
            check_key(&keys, &headers).is_ok()
        };
        assert!(check(Some("Bearer fedcba9876543210")) && check(Some("bearer 0123456789abcdef")));
        for wrong in [None, Some(""), Some("Bearer "), Some("Basic 0123456789abcdef"), Some("Bearer 0123456789abcde")] {
            assert!(!check(wrong), "{wrong:?}");
        }
        assert!(check_key(&[], &HeaderMap::new()).is_ok());
    }

    #[test]
    fn routes_are_few() {
        assert_eq!(["/v1/models/x", "/v2", "/", "/nothing/here"].map(route_of), ["/v1", "/v2", "/", "other"]);
    }
}
