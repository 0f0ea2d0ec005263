//! `brasa serve`: models behind HTTP.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brasa::formats::read_text;
use brasa::memory::parse_bytes;
use brasa::serve::{Listener, Options, Server, Tls};
use brasa::{Error, Model, Result};
use clap::Args;

use super::compute::Compute;
use super::help::examples;
use super::model_file::{DataOverrides, model_file};
use super::seconds::seconds;
use super::{needs_weights, output};

/// Serve models over HTTP, with a page to try them.
///
/// The models are asked at POST /predict/NAME with an image, rows of a table, a text or numbers; and by the clients of
/// TensorFlow Serving (/v1/models/NAME:predict) and of the Open Inference Protocol (/v2/models/NAME/infer). A model's
/// file that changes is loaded again, and takes the place of the old one when it has answered a first request. SIGTERM
/// and Ctrl-C end the server once everything that was asked is answered.
#[derive(Args, Debug)]
#[command(after_help = examples!("brasa serve model.keras" "brasa serve --model digits=digits.keras --listen 127.0.0.1:8080"))]
pub struct Serve {
    /// Models (.keras, .h5 or .safetensors), or directories of runs; each is called by its file or directory.
    #[arg(value_name = "MODEL|RUN", required_unless_present = "model")]
    models: Vec<PathBuf>,

    /// A model with a name of its own, and perhaps a version; may be given several times.
    #[arg(long, value_name = "NAME[@VERSION]=FILE")]
    model: Vec<String>,

    /// Where to listen: HOST:PORT, where port 0 stands for a free one, or unix:PATH; may be given several times.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8501")]
    listen: Vec<String>,

    #[command(flatten)]
    known: DataOverrides,

    #[command(flatten)]
    compute: Compute,

    #[command(flatten)]
    batches: Batches,

    #[command(flatten)]
    limits: Limits,

    #[command(flatten)]
    access: Access,

    /// How often files of models are looked at for changes, in seconds; 0 for never.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    watch: Duration,

    /// How long requests may go on after the server is asked to end, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    drain_timeout: Duration,
}

/// Options of batching.
#[derive(Args, Debug)]
#[command(next_help_heading = "Batches")]
struct Batches {
    /// The most samples that are computed at once: requests that wait are computed together.
    #[arg(long, value_name = "N", default_value = "64")]
    max_batch_size: NonZeroUsize,

    /// How long a free worker waits for more requests to compute together.
    #[arg(long, value_name = "N", default_value = "0")]
    max_delay_ms: u16,

    /// Threads that compute, for each model (default: one for each processor, up to 4).
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
}

/// Limits of requests.
#[derive(Args, Debug)]
#[command(next_help_heading = "Limits")]
struct Limits {
    /// The largest body of a request.
    #[arg(long, value_name = "BYTES", default_value = "32MiB", value_parser = parse_bytes)]
    max_body: u64,

    /// The memory for all requests at once; more are answered 429.
    #[arg(long, value_name = "BYTES", default_value = "512MiB", value_parser = parse_bytes)]
    max_request_memory: u64,

    /// Predictions at once; more are answered 429.
    #[arg(long, value_name = "N", default_value = "256")]
    max_requests: NonZeroUsize,

    /// The most samples of one request.
    #[arg(long, value_name = "N", default_value = "1024")]
    max_inputs: NonZeroUsize,

    /// Connections at once; more wait.
    #[arg(long, value_name = "N", default_value = "16384")]
    max_connections: NonZeroUsize,

    /// The time for one request, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    timeout: Duration,

    /// How long a client may take to send a request, or to take a MiB of an answer or all of it, and how long a
    /// connection may be idle.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    client_timeout: Duration,
}

/// Options of access.
#[derive(Args, Debug)]
#[command(next_help_heading = "Access")]
struct Access {
    /// A file with keys, one a line, one of which a request has to have as `Authorization: Bearer KEY`.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// The server's certificate and those behind it (PEM), for HTTPS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Log no requests (default: a line of JSON for each on standard error).
    #[arg(long)]
    no_access_log: bool,
}

/// The longest file of keys.
const MOST_KEY_BYTES: u64 = 1 << 20;

impl Serve {
    pub fn run(&self, quiet: bool) -> Result<()> {
        let models = self.named()?;
        let options = self.options(quiet)?;
        let secured = !options.api_keys.is_empty();
        let tls = match (&self.access.tls_cert, &self.access.tls_key) {
            (Some(certificates), Some(key)) => Some(Tls::from_files(certificates, key)?),
            _ => None,
        };
        let device = self.compute.device_for_others()?;
        let server = Server::new(options)?;
        for (name, version, path) in models {
            let (device, known) = (device.clone(), self.known.clone());
            let load = move |path: &Path| {
                needs_weights(path)?;
                let mut model = Model::load_on(path, &device)?;
                known.put_into(&mut model)?;
                Ok(model)
            };
            server.add_file(&name, version, path, load)?;
        }
        // Computing has threads of its own.
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(processors.clamp(2, 8))
            .max_blocking_threads(processors.clamp(2, 8) * 2)
            .thread_name("brasa-http")
            .enable_all()
            .build()
            .map_err(|source| Error::thread("the server", source))?;
        runtime.block_on(async {
            let mut listeners = Vec::new();
            for address in &self.listen {
                listeners.push(Listener::bind(address).await?);
            }
            let signals = Signals::listen(server.clone())?;
            for listener in &listeners {
                let scheme = if tls.is_some() { "https" } else { "http" };
                let address = listener.address();
                let shown = if address.starts_with("unix:") { address } else { format!("{scheme}://{address}") };
                output::line(format!("Listening on {shown}"))?;
                if !listener.is_local() && !secured {
                    output::note("anybody who reaches this address may use the models; --api-key-file asks for a key");
                } else if !listener.is_local() && tls.is_none() {
                    output::note("keys go over the network as they are; --tls-cert and --tls-key encrypt them");
                }
            }
            server.serve(listeners, tls, signals.end()).await
        })?;
        // Requests that were cut off are not waited for.
        runtime.shutdown_background();
        Ok(())
    }

    /// The models with their names and versions.
    fn named(&self) -> Result<Vec<(String, u64, PathBuf)>> {
        let mut models = Vec::new();
        for path in &self.models {
            let own = path.canonicalize().unwrap_or_else(|_| path.clone());
            let name = if own.is_dir() { own.file_name() } else { own.file_stem() };
            let name = name.unwrap_or_default().to_string_lossy();
            let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
            models.push((name.chars().map(plain).collect(), 1, model_file(path)?));
        }
        for given in &self.model {
            let wrong = || Error::argument("--model", "NAME=FILE or NAME@VERSION=FILE", format!("`{given}`"));
            let (name, path) = given.split_once('=').ok_or_else(wrong)?;
            let (name, version) = match name.split_once('@') {
                Some((name, version)) => (name, version.parse().map_err(|_| wrong())?),
                None => (name, 1),
            };
            models.push((name.to_owned(), version, model_file(Path::new(path))?));
        }
        Ok(models)
    }

    fn options(&self, quiet: bool) -> Result<Options> {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let api_keys = match &self.access.api_key_file {
            None => Vec::new(),
            Some(path) => {
                let text = read_text(path, MOST_KEY_BYTES)?;
                let keys: Vec<String> = text
                    .lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty() && !line.starts_with('#'))
                    .map(str::to_owned)
                    .collect();
                if keys.is_empty() {
                    let received = format!("`{}`, which has none", path.display());
                    return Err(Error::argument("--api-key-file", "a file with a key a line", received));
                }
                keys
            }
        };
        Ok(Options {
            max_batch_size: self.batches.max_batch_size.get(),
            max_delay: Duration::from_millis(self.batches.max_delay_ms.into()),
            workers: self.batches.workers.map_or(0, NonZeroUsize::get),
            max_body_bytes: bytes(self.limits.max_body),
            max_bytes_at_once: bytes(self.limits.max_request_memory),
            max_requests: self.limits.max_requests.get(),
            max_inputs: self.limits.max_inputs.get(),
            timeout: self.limits.timeout,
            client_timeout: self.limits.client_timeout,
            max_connections: connections(self.limits.max_connections.get()),
            drain_timeout: self.drain_timeout,
            watch: self.watch,
            api_keys,
            access_log: !quiet && !self.access.no_access_log,
        })
    }
}

/// Files that may be open beside connections: models that are loaded, listeners, standard streams.
const OTHER_FILES: u64 = 128;

/// Raises the limit of open files as far as the system allows it, since a connection is one and many systems begin with
/// 1024; returns the connections that it leaves, up to those that are wanted. More would wait in vain, and no new model
/// could be opened.
#[cfg(unix)]
fn connections(wanted: usize) -> usize {
    let files = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(OTHER_FILES);
    let Ok(limit) = rlimit::increase_nofile_limit(files) else { return wanted };
    let left = usize::try_from(limit.saturating_sub(OTHER_FILES).max(limit / 2)).unwrap_or(usize::MAX);
    if left < wanted {
        output::note(&format!("up to {left} connections at once: the system allows {limit} open files (`ulimit -n`)"));
    }
    wanted.min(left.max(1))
}

#[cfg(not(unix))]
fn connections(wanted: usize) -> usize {
    wanted
}

/// Signals to the process.
struct Signals(tokio::sync::oneshot::Receiver<()>);

impl Signals {
    /// Listens from here on: SIGHUP loads the models again; SIGTERM and Ctrl-C end the server, a second of them the
    /// process.
    #[cfg(unix)]
    fn listen(server: Server) -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(Error::io("listen for", "signals"));
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hangup = listen(SignalKind::hangup())?;
        let (ended, end) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut ended = Some(ended);
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                    _ = hangup.recv() => {
                        let server = server.clone();
                        // Another signal is not kept waiting by it.
                        tokio::task::spawn_blocking(move || server.reload());
                        continue;
                    }
                }
                match ended.take() {
                    Some(ended) => drop(ended.send(())),
                    None => std::process::exit(i32::from(super::interrupt::INTERRUPTED)),
                }
            }
        });
        Ok(Self(end))
    }

    #[cfg(not(unix))]
    fn listen(_: Server) -> Result<Self> {
        let (ended, end) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let _ = tokio::signal::ctrl_c().await;
            let _ = ended.send(());
        });
        Ok(Self(end))
    }

    async fn end(self) {
        let _ = self.0.await;
    }
}
