//! Middleware: request ids, keys, the access log; and the path of a prediction, with its limits.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use serde_json::json;
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::oneshot;

use super::Shared;
use super::block::Block;
use super::budget::{RequestLimits, Share};
use super::fault::{Fault, FaultResult};
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

/// What becomes known of a request while it is served.
#[derive(Clone, Debug, Default)]
struct Known(Arc<Mutex<Option<About>>>);

impl Known {
    fn lock(&self) -> MutexGuard<'_, Option<About>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status that is counted where the client has gone before its answer.
const GONE: u16 = 499;

/// Counts and logs a request, however it ends.
struct Ending {
    shared: Arc<Shared>,
    begun: Instant,
    id: HeaderValue,
    route: &'static str,
    known: Known,
    line: Option<(Option<Arc<str>>, Method, String)>,
    status: u16,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let about = self.known.lock().take();
        let model = about.as_ref().map_or("", |about| about.model.as_str());
        self.shared.metrics.answered(self.route, model, self.status);
        if let (Some(log), Some((peer, method, path))) = (&self.shared.log, &self.line) {
            log.line(|| {
                json!({
                    "time": jiff::Timestamp::now().to_string(),
                    "id": self.id.to_str().unwrap_or_default(),
                    "peer": peer.as_deref(),
                    "method": method.as_str(),
                    "path": crate::error::begun(path, 300),
                    "status": self.status,
                    "model": about.as_ref().map(|about| &about.model),
                    "version": about.as_ref().map(|about| about.version),
                    "samples": about.as_ref().map(|about| about.samples),
                    "milliseconds": self.begun.elapsed().as_micros() as f64 / 1e3,
                })
            });
        }
    }
}

/// The outermost middleware.
pub(super) async fn gate(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(&REQUEST_ID).filter(|id| is_id(id.as_bytes())).cloned();
    let id = given.unwrap_or_else(fresh_id);
    let line = shared.log.as_ref().map(|_| {
        let peer = request.extensions().get::<Peer>().map(|peer| peer.0.clone());
        (peer, request.method().clone(), request.uri().path().to_owned())
    });
    let known = Known::default();
    let mut ending = Ending {
        shared: shared.clone(),
        begun: Instant::now(),
        id: id.clone(),
        route: route_of(request.uri().path()),
        known: known.clone(),
        line,
        status: GONE,
    };
    let (mut request, unread) = Unread::of(request);
    request.extensions_mut().insert(known);
    let refused = match is_public(request.uri().path()) {
        true => None,
        false => check_key(&shared.options.api_keys, request.headers()).err(),
    };
    let mut response = match refused {
        Some(fault) => fault.into_response(),
        None => without_panic(next.run(request)).await,
    };
    if let Some(unread) = unread.filter(|_| !response.status().is_success()) {
        unread.discard(shared.options.max_body_bytes);
    }
    ending.status = response.status().as_u16();
    drop(ending);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if shared.draining.load(Ordering::Relaxed) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The rest of a body that was refused is read for so long, and thrown away: where a connection ends with bytes that
/// nobody read, the client may not see its answer.
const DISCARDED: Duration = Duration::from_secs(5);

/// The body of a request, of which a part may be left when the answer is there.
struct Unread(Arc<Mutex<Body>>);

impl Unread {
    /// Keeps hold of a request's body, unless it is empty, or the client waits to be asked for it.
    fn of(request: Request) -> (Request, Option<Self>) {
        if request.body().is_end_stream() || request.headers().contains_key(header::EXPECT) {
            return (request, None);
        }
        let (parts, body) = request.into_parts();
        let body = Arc::new(Mutex::new(body));
        (Request::from_parts(parts, Body::new(Lent(body.clone()))), Some(Self(body)))
    }

    /// Reads the rest while the answer is sent, within limits.
    fn discard(self, most: usize) {
        let mut body = Lent(self.0);
        if body.is_end_stream() {
            return;
        }
        let all = async move {
            let mut left = most.saturating_mul(4);
            while let Some(Ok(frame)) = body.frame().await {
                left = left.saturating_sub(frame.data_ref().map_or(0, |data| data.len()));
                if left == 0 {
                    return;
                }
            }
        };
        tokio::spawn(tokio::time::timeout(DISCARDED, all));
    }
}

/// A body that others have, too.
struct Lent(Arc<Mutex<Body>>);

impl Lent {
    fn lock(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpBody for Lent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<std::result::Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().size_hint()
    }
}

fn is_id(bytes: &[u8]) -> bool {
    (1..=100).contains(&bytes.len()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(byte))
}

fn fresh_id() -> HeaderValue {
    HeaderValue::try_from(format!("{:016x}", rand::random::<u64>())).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Compares a request's key with each that there is, in a time that says nothing of them but their lengths.
fn check_key(keys: &[String], headers: &HeaderMap) -> FaultResult<()> {
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
        false => unauthorized("invalid API key"),
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
    let poll = |context: &mut Context<'_>| {
        let polled = catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            Poll::Ready(Fault::internal("internal server error; see the server's log").into_response())
        })
    };
    std::future::poll_fn(poll).await
}

/// JSON as an answer.
pub(super) fn json_response(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.into()).into_response()
}

/// The part of the path matched by the route's wildcard.
pub(super) struct Address(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Address {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> FaultResult<Self> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(address)) => Ok(Self(address)),
            Err(error) => Err(Fault::bad(format!("the address: {}", error.body_text()))),
        }
    }
}

/// The name, the version and what is behind them in an address: `NAME`, `NAME/versions/3`, `NAME/metadata`.
pub(super) fn target(address: &str) -> FaultResult<(&str, Option<u64>, &str)> {
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
pub(super) fn find(shared: &Shared, name: &str, version: Option<u64>) -> FaultResult<Arc<registry::ServedModel>> {
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

/// Counts a prediction as long as it goes on, however it ends.
struct InFlight(Arc<Metrics>);

impl InFlight {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.in_flight(1);
        Self(metrics.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight(-1);
    }
}

/// An answer's bytes, which are counted until the last of them is sent.
struct Counted(Bytes, #[expect(dead_code, reason = "held for its drop")] Arc<Share>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Serves a prediction: reads the body within the limits, decodes it, has it computed, and encodes what comes out.
pub(super) async fn predict<T, D, E>(
    shared: Arc<Shared>,
    served: Arc<registry::ServedModel>,
    request: Request,
    decode: D,
    encode: E,
) -> Response
where
    T: Send + 'static,
    D: FnOnce(&[u8], &HeaderMap, &Signature, &RequestLimits) -> FaultResult<(T, Vec<Block>)> + Send + 'static,
    E: FnOnce(T, Done, &registry::ServedModel) -> FaultResult<Response> + Send + 'static,
{
    let begun = Instant::now();
    let _counted = InFlight::new(&shared.metrics);
    let known = request.extensions().get::<Known>().cloned().unwrap_or_default();
    *known.lock() = Some(About { model: served.name.clone(), version: served.version, samples: 0 });
    let allowed = RequestLimits::new(shared.options.max_inputs, shared.budget.share(), begun, shared.options.timeout);
    let _asker = allowed.asker();
    let result = async {
        let (parts, body) = request.into_parts();
        let body = read(&shared, &parts.headers, body, &allowed, begun).await?;
        shared.metrics.took(Phase::Read, begun.elapsed());
        let Ok(permit) = shared.permits.clone().try_acquire_owned() else {
            let most = shared.options.max_requests;
            return Err(Fault::busy(format!("{most} requests are being served; try again later")));
        };
        let limits = allowed.clone().with_permit(permit);
        let work = Work { shared: &shared, served: &served, known: &known, allowed: limits };
        let left = shared.options.timeout.saturating_sub(begun.elapsed());
        let answered = tokio::time::timeout(left, work.run(body, parts.headers, decode, encode)).await;
        answered.unwrap_or_else(|_| Err(allowed.too_late()))
    };
    match result.await {
        Ok(response) => {
            shared.metrics.took(Phase::Total, begun.elapsed());
            sent_by(response, allowed.share.clone()).await
        }
        Err(fault) => fault.into_response(),
    }
}

/// An answer whose bytes are counted until they are sent.
async fn sent_by(response: Response, share: Arc<Share>) -> Response {
    let (parts, body) = response.into_parts();
    // All of it is there already.
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    share.becomes(bytes.len());
    Response::from_parts(parts, Body::from(Bytes::from_owner(Counted(bytes, share))))
}

/// A prediction whose body has been read.
struct Work<'a> {
    shared: &'a Arc<Shared>,
    served: &'a Arc<registry::ServedModel>,
    known: &'a Known,
    allowed: RequestLimits,
}

impl Work<'_> {
    async fn run<T, D, E>(self, body: Vec<u8>, headers: HeaderMap, decode: D, encode: E) -> FaultResult<Response>
    where
        T: Send + 'static,
        D: FnOnce(&[u8], &HeaderMap, &Signature, &RequestLimits) -> FaultResult<(T, Vec<Block>)> + Send + 'static,
        E: FnOnce(T, Done, &registry::ServedModel) -> FaultResult<Response> + Send + 'static,
    {
        let Self { shared, served, known, allowed } = self;
        let begun = Instant::now();
        allowed.share.take(body.len().saturating_mul(PARSED))?;
        let takes_images = served.signature.inputs.iter().any(|input| input.image.is_some());
        let is_short = body.len() <= SMALL && !(takes_images && may_hold_an_image(&body));
        let (carried, blocks) = if is_short {
            decode(&body, &headers, &served.signature, &allowed)?
        } else {
            let (own, allowed) = (served.clone(), allowed.clone());
            let decode = move || {
                allowed.goes_on().map_err(|message| allowed.refused().unwrap_or_else(|| Fault::bad(message)))?;
                decode(&body, &headers, &own.signature, &allowed)
            };
            blocking(decode).await?
        };
        shared.metrics.took(Phase::Decode, begun.elapsed());
        let rows = check_rows(&blocks, &served.signature, &allowed)?;
        if let Some(about) = known.lock().as_mut() {
            about.samples = rows;
        }
        take_outputs(&served.signature, rows, &allowed)?;
        let done = served.queue.run(blocks, allowed.clone()).await?;
        shared.metrics.took(Phase::Queue, done.waited);
        shared.metrics.took(Phase::Compute, done.computed);
        let computed = Instant::now();
        let values: usize = done.outputs.iter().map(|output| output.values.len()).sum();
        let response = if values <= SMALL / size_of::<f32>() {
            encode(carried, done, served)?
        } else {
            let own = served.clone();
            let encode = move || {
                let _held = allowed;
                encode(carried, done, &own)
            };
            blocking(encode).await?
        };
        shared.metrics.took(Phase::Encode, computed.elapsed());
        Ok(response)
    }
}

/// Whether a body may hold an image, of which a few bytes can be millions of pixels: any that is not JSON, and JSON with
/// `b64` or `BYTES` in it, or with an escape, which may hide one of them.
fn may_hold_an_image(body: &[u8]) -> bool {
    let holds = |word: &[u8]| body.windows(word.len()).any(|bytes| bytes == word);
    !matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
        || [&b"b64"[..], b"BYTES", b"\\u"].into_iter().any(holds)
}

/// Does slow work on a thread of its own, so that other requests go on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> FaultResult<T> + Send + 'static) -> FaultResult<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(Fault::internal("internal server error")))
}

/// The samples of a request: as many of each input, and not too many.
fn check_rows(blocks: &[Block], signature: &Signature, allowed: &RequestLimits) -> FaultResult<usize> {
    let rows = blocks.first().map_or(0, |block| block.rows);
    if rows == 0 || rows > allowed.rows {
        let name = signature.inputs.first().map(|input| input.name.as_str()).unwrap_or_default();
        let expected = format!("{} {} samples", if rows == 0 { "1 to" } else { "up to" }, allowed.rows);
        return Err(Fault::expected(format!("input `{name}`"), expected, rows));
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
fn take_outputs(signature: &Signature, rows: usize, allowed: &RequestLimits) -> FaultResult<()> {
    /// Bytes of a number in memory and as text.
    const BYTES: usize = 4 + 14;
    let values = |sample: &[Option<usize>]| sample.iter().flatten().fold(rows, |sum, size| sum.saturating_mul(*size));
    let values = signature.outputs.iter().map(|output| values(&output.sample)).fold(0, usize::saturating_add);
    allowed.share.take(values.saturating_mul(BYTES))
}

/// Memory for a body is taken in steps of so many bytes, as they arrive.
const STEP: usize = 1 << 20;

/// Reads a body within the limits.
async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    mut body: Body,
    allowed: &RequestLimits,
    begun: Instant,
) -> FaultResult<Vec<u8>> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        let received = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        let message =
            format!("expected a body without Content-Encoding, received {}", crate::error::begun(received, 60));
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let most = shared.options.max_body_bytes;
    let too_large =
        |received: String| Fault::too_large(format!("expected a body of up to {most} bytes, received {received}"));
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = told.filter(|length| *length > most) {
        return Err(too_large(format!("one of {length}")));
    }
    let collect = async {
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Fault::bad(format!("the body cannot be read: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(too_large("more".into()));
            }
            if bytes.len() + data.len() > bytes.capacity() {
                let left = told.map_or(bytes.len(), |told| told.saturating_sub(bytes.len()));
                let more = left.min(STEP).max(data.len());
                allowed.share.take(more)?;
                bytes.reserve_exact(more);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(bytes)
    };
    let (client, own) = (shared.options.client_timeout, shared.options.timeout);
    let time = client.min(own.saturating_sub(begun.elapsed()));
    match tokio::time::timeout(time, collect).await {
        Ok(result) => result,
        Err(_) => {
            let seconds = client.min(own).as_secs_f64();
            let message = format!("expected the body within {seconds} seconds, received a part of it");
            Err(Fault::new(StatusCode::REQUEST_TIMEOUT, message))
        }
    }
}

/// The access log: lines for standard error, written by a thread of its own so that nobody waits for a slow reader.
pub(super) struct Log(SyncSender<LogEntry>, Arc<Metrics>);

enum LogEntry {
    Line(String),
    /// What is before it is written; says so.
    Written(oneshot::Sender<()>),
}

/// The most lines that wait to be written; more are lost, and counted.
const MOST_LINES: usize = 10_000;

/// How long the end of the server waits for a slow reader of the log.
const LAST_LINES: Duration = Duration::from_secs(2);

impl Log {
    /// Starts the thread, which ends with the server.
    pub fn start(metrics: Arc<Metrics>) -> Result<Self> {
        let (sender, receiver) = sync_channel::<LogEntry>(MOST_LINES);
        let write = move || {
            use std::io::Write;
            let stderr = std::io::stderr();
            for entry in receiver {
                match entry {
                    LogEntry::Line(line) => drop(stderr.lock().write_all(line.as_bytes())),
                    LogEntry::Written(done) => drop(done.send(())),
                }
            }
        };
        let thread = std::thread::Builder::new().name("brasa-log".into()).spawn(write);
        thread.map_err(|source| Error::Thread { purpose: "the access log", source: source.into() })?;
        Ok(Self(sender, metrics))
    }

    fn line(&self, json: impl FnOnce() -> serde_json::Value) {
        let line = crate::text::escaped_json(&json().to_string()) + "\n";
        if self.0.try_send(LogEntry::Line(line)).is_err() {
            self.1.log_lost();
        }
    }

    /// Waits until all lines so far are written, for a while.
    pub async fn written(&self) {
        let (done, written) = oneshot::channel();
        let wait = async {
            let mut entry = LogEntry::Written(done);
            while let Err(TrySendError::Full(back)) = self.0.try_send(entry) {
                entry = back;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let _ = written.await;
        };
        let _ = tokio::time::timeout(LAST_LINES, wait).await;
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
    fn a_short_body_is_decoded_elsewhere_if_it_may_be_an_image() {
        for numbers in [&br#"{"instances": [[0.5, 1]]}"#[..], b" [1, 2, 3]", br#"{"id": "a\nb", "inputs": []}"#] {
            assert!(!may_hold_an_image(numbers));
        }
        let images = [
            &b"\x89PNG"[..],
            br#"{"instances": [{"b64": "iVBO"}]}"#,
            br#"{"instances": [{"\u0062\u0036\u0034": "iVBO"}]}"#,
            br#"{"inputs": [{"datatype": "BYTES"}]}"#,
            b"",
        ];
        for body in images {
            assert!(may_hold_an_image(body));
        }
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
