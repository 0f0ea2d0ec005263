//! Models behind HTTP: `brasa serve`, and the same as a router for a server of one's own.
//!
//! ```no_run
//! use brasa::prelude::*;
//! use brasa::serve::{Options, Server};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = Server::new(Options::default())?;
//! server.add("digits", 1, Model::load("digits.keras")?)?;
//! let app = axum::Router::new().nest("/models", server.router());
//! # let _ = app; Ok(())
//! # }
//! ```
//!
//! | | |
//! | --- | --- |
//! | `GET /` | a page on which the models can be tried |
//! | `POST /predict/NAME` | an image, rows of a table (CSV or JSON), a text, or numbers in JSON; the answer is that of `brasa predict --json` |
//! | `GET /v1/models/NAME`, `…/metadata`, `POST …:predict` | TensorFlow Serving's REST |
//! | `/v2`, `/v2/health/live`, `/v2/health/ready`, `/v2/models/NAME`, `…/ready`, `POST …/infer` | the Open Inference Protocol, with binary tensors |
//! | `GET /models`, `/models/NAME`, `/models/NAME/network.svg` | what the models are |
//! | `GET /metrics`, `/openapi.json` | for Prometheus; for programs |
//!
//! `…/versions/V` names a version of a model; without it the newest is asked.
//!
//! Every request gets a response: 400 naming the input and what was expected, 413 if it can never fit, 429 if the
//! server is full (limits: [`Options`]). Memory is accounted for before it is allocated. Waiting requests are batched;
//! a request whose client has disconnected is skipped.

mod block;
mod budget;
mod describe;
mod direct;
mod engine;
mod fault;
mod gate;
mod infer;
mod json;
mod metrics;
mod net;
mod openapi;
mod options;
mod page;
mod queue;
mod registry;
mod signature;
mod table;
mod tensorflow;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{any, get};
use tokio::sync::Semaphore;

use self::budget::Budget;
use self::metrics::Metrics;
pub use self::net::{Listener, Tls};
pub use self::options::Options;
use self::registry::Registry;
use crate::error::Result;
use crate::model::Model;

/// State shared by all requests.
struct Shared {
    options: Options,
    registry: Registry,
    metrics: Arc<Metrics>,
    budget: Arc<Budget>,
    permits: Arc<Semaphore>,
    log: Option<gate::Log>,
    /// Whether the server is shutting down.
    draining: AtomicBool,
}

/// Models that are served. Clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("models", &self.0.registry.names()).finish_non_exhaustive()
    }
}

impl Server {
    /// A server without models.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for options with which nothing could be served.
    pub fn new(options: Options) -> Result<Self> {
        options.check()?;
        let metrics = Arc::new(Metrics::default());
        let log = options.access_log.then(|| gate::Log::start(metrics.clone())).transpose()?;
        Ok(Self(Arc::new(Shared {
            registry: Registry::default(),
            metrics,
            budget: Budget::new(options.max_bytes_at_once),
            permits: Arc::new(Semaphore::new(options.max_requests.min(Semaphore::MAX_PERMITS))),
            log,
            draining: AtomicBool::new(false),
            options,
        })))
    }

    /// Serves a model under a name, once it has answered a first request.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) for a name that no address can have, or that is taken with this
    /// version; [`Error::State`](crate::Error::State) for a model without an input shape;
    /// [`Error::Unsupported`](crate::Error::Unsupported) for one with stateful layers.
    pub fn add(&self, name: &str, version: u64, model: Model) -> Result<()> {
        self.0.registry.add(name, version, model, None, &self.0.options, &self.0.metrics)
    }

    /// Serves the model that `load` makes of a file, and loads it again when the file has changed or
    /// [`reload`](Self::reload) is called: the new one takes the place of the old when it has answered a first request.
    ///
    /// # Errors
    /// As [`add`](Self::add), and those of `load`.
    pub fn add_file(
        &self,
        name: &str,
        version: u64,
        path: impl Into<PathBuf>,
        load: impl Fn(&Path) -> Result<Model> + Send + Sync + 'static,
    ) -> Result<()> {
        let origin = registry::Origin::new(path.into(), Arc::new(load));
        let model = origin.load()?;
        self.0.registry.add(name, version, model, Some(origin), &self.0.options, &self.0.metrics)
    }

    /// Loads every file again. One that cannot be loaded changes nothing, and is logged. This takes as long as loading
    /// does.
    pub fn reload(&self) {
        self.0.registry.reload(true, &self.0.options, &self.0.metrics);
    }

    /// The names of the models.
    pub fn names(&self) -> Vec<String> {
        self.0.registry.names()
    }

    /// Says that the server is about to end: `/v2/health/ready` answers 503, and each answer closes its connection.
    pub fn begin_to_end(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// Everything that is served, to be mounted where one likes. Within a Tokio runtime with timers.
    pub fn router(&self) -> Router {
        let shared = self.0.clone();
        let routes = Router::new()
            .route("/", get(page::html))
            .route("/page.js", get(page::script))
            .route("/page.css", get(page::style))
            .route("/predict/{*target}", any(direct::predict))
            .route("/v1/models/{*target}", any(tensorflow::models))
            .route("/v2", get(infer::server))
            .route("/v2/", get(infer::server))
            .route("/v2/health/{which}", get(infer::health))
            .route("/v2/models/{*target}", any(infer::models))
            .route("/models", get(describe::models))
            .route("/models/{*target}", get(describe::model))
            .route("/metrics", get(describe::metrics))
            .route("/openapi.json", get(describe::openapi))
            .fallback(gate::nothing)
            .method_not_allowed_fallback(gate::only_get)
            .layer(axum::middleware::from_fn_with_state(shared.clone(), gate::gate));
        routes.with_state(shared)
    }
}
