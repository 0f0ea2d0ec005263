//! Listeners and connections: TLS, timeouts, graceful shutdown.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, Sleep, sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tower::Service;

use super::Server;
use super::gate::Peer;
use super::registry::watch_interval;
use crate::error::{Error, Result};

/// A listening socket.
#[derive(Debug)]
pub struct Listener(Socket);

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, PathBuf),
}

impl Listener {
    /// Listens at `HOST:PORT`, where port 0 stands for one that is free, or at `unix:PATH`. Within a Tokio runtime.
    ///
    /// # Errors
    /// [`Error::Io`] if the system does not allow it; [`Error::Unsupported`] for `unix:` elsewhere.
    pub async fn bind(address: &str) -> Result<Self> {
        let failed = Error::io("listen at", address);
        if let Some(path) = address.strip_prefix("unix:") {
            return Self::bind_unix(Path::new(path));
        }
        TcpListener::bind(address).await.map(|listener| Self(Socket::Tcp(listener))).map_err(failed)
    }

    #[cfg(unix)]
    fn bind_unix(path: &Path) -> Result<Self> {
        use std::os::unix::fs::FileTypeExt;
        // A stale socket of a killed process is removed; one that answers is not.
        let is_socket = std::fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_socket());
        if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
            std::fs::remove_file(path).map_err(Error::io("remove", path))?;
        }
        let listener = UnixListener::bind(path).map_err(Error::io("listen at", path))?;
        Ok(Self(Socket::Unix(listener, path.to_owned())))
    }

    #[cfg(not(unix))]
    fn bind_unix(_: &Path) -> Result<Self> {
        Err(Error::unsupported("listening at `unix:PATH` on this system", "HOST:PORT"))
    }

    /// Where it listens: `127.0.0.1:8501`, or `unix:PATH`.
    pub fn address(&self) -> String {
        match &self.0 {
            Socket::Tcp(listener) => listener.local_addr().map(|address| address.to_string()).unwrap_or_default(),
            #[cfg(unix)]
            Socket::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        match &self.0 {
            Socket::Tcp(listener) => {
                listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback())
            }
            #[cfg(unix)]
            Socket::Unix(..) => true,
        }
    }

    async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match &self.0 {
            Socket::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // One that has gone already is no failure of the listener.
                let _ = stream.set_nodelay(true);
                Ok((Box::new(stream), Peer(peer.to_string().into())))
            }
            #[cfg(unix)]
            Socket::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Box::new(stream), Peer("unix".into())))
            }
        }
    }
}

#[cfg(unix)]
impl Drop for Listener {
    fn drop(&mut self) {
        if let Socket::Unix(_, path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A byte stream: TCP, Unix or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A certificate and its key.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads the files of a chain of certificates, the server's first, and of its key, both in PEM.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be read, [`Error::Broken`] for one that holds something else.
    pub fn from_files(certificates: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self> {
        let (certificates, key) = (certificates.as_ref(), key.as_ref());
        let broken = |path: &Path, reason: &dyn std::fmt::Display| {
            Error::broken(path.display().to_string(), "its PEM", reason.to_string())
        };
        let bytes = std::fs::read(certificates).map_err(Error::io("read", certificates))?;
        let chain = CertificateDer::pem_slice_iter(&bytes).collect::<std::result::Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| broken(certificates, &error))?;
        if chain.is_empty() {
            return Err(broken(certificates, &"expected certificates, received none"));
        }
        let bytes = std::fs::read(key).map_err(Error::io("read", key))?;
        let private = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| broken(key, &error))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| broken(certificates, &error))?;
        let config = builder.with_no_client_auth().with_single_cert(chain, private);
        let mut config = config.map_err(|error| broken(key, &error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// The stages of a shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Not,
    /// No connection is taken any more, and each ends with its next answer.
    Begun,
    /// Connections that are idle are closed, and those that have not got so far.
    Idle,
    /// All are.
    All,
}

/// The time in which idle connections may still send a request after a shutdown has begun.
const LAST_REQUESTS: Duration = Duration::from_millis(300);

/// The bytes of a request's header, and of a connection's buffer.
const BUFFER: usize = 64 << 10;

impl Server {
    /// Serves what comes until `end` is there; then answers what has been asked, and returns. Files of models that
    /// change are loaded again meanwhile.
    ///
    /// # Errors
    /// None yet.
    pub async fn serve(&self, listeners: Vec<Listener>, tls: Option<Tls>, end: impl Future<Output = ()>) -> Result<()> {
        let (stage, seen) = watch::channel(End::Not);
        let most = self.0.options.max_connections.min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(most));
        let router = self.router();
        // Listeners and connections have a sender each: nothing comes, but all are gone when the last has ended.
        let (alive, mut all) = mpsc::channel::<Infallible>(1);
        for listener in listeners {
            let taker = Taker {
                server: self.clone(),
                router: router.clone(),
                tls: tls.clone(),
                permits: permits.clone(),
                stage: seen.clone(),
                alive: alive.clone(),
            };
            tokio::spawn(taker.take_all(listener));
        }
        drop(alive);
        let watching = watch_interval(&self.0.options).map(|interval| tokio::spawn(self.clone().watch(interval)));
        end.await;
        self.begin_to_end();
        let _ = stage.send(End::Begun);
        if let Some(task) = watching {
            task.abort();
        }
        if timeout(LAST_REQUESTS, all.recv()).await.is_err() {
            let _ = stage.send(End::Idle);
            if timeout(self.0.options.drain_timeout, all.recv()).await.is_err() {
                let left = most - permits.available_permits();
                tracing::warn!("{left} connections are cut off, as they have not ended in time");
                let _ = stage.send(End::All);
                let _ = timeout(LAST_REQUESTS, all.recv()).await;
            }
        }
        if let Some(log) = &self.0.log {
            log.written().await;
        }
        Ok(())
    }

    async fn watch(self, interval: Duration) {
        loop {
            sleep(interval).await;
            let server = self.clone();
            let look = move || server.0.registry.reload(false, &server.0.options, &server.0.metrics);
            let _ = tokio::task::spawn_blocking(look).await;
        }
    }
}

/// Waits for a stage of the shutdown.
async fn reached(stage: &mut watch::Receiver<End>, end: End) {
    // Without a server it has ended.
    let _ = stage.wait_for(|stage| *stage >= end).await;
}

/// Takes the connections of a listener.
struct Taker {
    server: Server,
    router: Router,
    tls: Option<Tls>,
    permits: Arc<Semaphore>,
    stage: watch::Receiver<End>,
    alive: mpsc::Sender<Infallible>,
}

impl Taker {
    async fn take_all(self, listener: Listener) {
        let mut stage = self.stage.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = reached(&mut stage, End::Begun) => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer).await,
                // Too many open files, say: others have to end first.
                Err(error) => {
                    tracing::warn!("a connection could not be taken: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        // Connections in the backlog are served, too; those that go on coming are not.
        let last = Instant::now() + LAST_REQUESTS;
        loop {
            let next = last.min(Instant::now() + Duration::from_millis(20));
            match timeout_at(next, listener.accept()).await {
                Ok(Ok((stream, peer))) if Instant::now() < last => self.take(stream, peer).await,
                _ => break,
            }
        }
    }

    /// Serves a connection, once there is a permit for it.
    async fn take(&self, stream: Box<dyn Stream>, peer: Peer) {
        let mut stage = self.stage.clone();
        let permit = tokio::select! {
            biased;
            permit = self.permits.clone().acquire_owned() => permit,
            () = reached(&mut stage, End::All) => return,
        };
        let Ok(permit) = permit else { return };
        let (server, router, tls, alive) =
            (self.server.clone(), self.router.clone(), self.tls.clone(), self.alive.clone());
        tokio::spawn(async move {
            let metrics = server.0.metrics.clone();
            metrics.connected(1);
            let patience = server.0.options.client_timeout;
            match tls {
                None => connection(stream, router, peer, stage, patience).await,
                Some(Tls(acceptor)) => {
                    let stream = tokio::select! {
                        stream = timeout(patience, acceptor.accept(stream)) => stream.ok().and_then(io::Result::ok),
                        () = reached(&mut stage, End::Idle) => None,
                    };
                    if let Some(stream) = stream {
                        connection(Box::new(stream), router, peer, stage, patience).await;
                    }
                }
            }
            metrics.connected(-1);
            drop((permit, alive));
        });
    }
}

/// Serves one connection until it ends.
async fn connection(
    stream: Box<dyn Stream>,
    router: Router,
    peer: Peer,
    mut stage: watch::Receiver<End>,
    patience: Duration,
) {
    let io = TokioIo::new(Patient { stream, patience, waiting: None, taken: 0 });
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        let mut router = router.clone();
        async move { Service::call(&mut router, request).await.map_err(|never: Infallible| never) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(BUFFER)
        .serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    if *stage.borrow() == End::Idle {
        // One that had to wait for its permit may still send its request.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = sleep(LAST_REQUESTS) => {}
        }
    }
    loop {
        let next = *stage.borrow_and_update();
        match next {
            End::Not | End::Begun => {}
            End::Idle => connection.as_mut().graceful_shutdown(),
            End::All => return,
        }
        tokio::select! {
            // An error is the client's: nobody is there to be answered.
            _ = connection.as_mut() => return,
            changed = stage.changed() => if changed.is_err() { return },
        }
    }
}

/// A reader has to take so many bytes, or all that there are, in the time for clients.
const LEAST: usize = 1 << 20;

/// A stream whose writes time out when the peer reads nothing, or too slowly.
struct Patient {
    stream: Box<dyn Stream>,
    patience: Duration,
    /// The wait for the peer, and what it has taken since that began.
    waiting: Option<Pin<Box<Sleep>>>,
    taken: usize,
}

impl Patient {
    fn rests(&mut self) {
        (self.waiting, self.taken) = (None, 0);
    }

    /// Ends the wait for a reader that takes too little.
    fn within<T>(&mut self, context: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            return result;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(self.patience)));
        match waiting.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Counts what a write has passed on.
    fn wrote(&mut self, context: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &result {
            self.taken = self.taken.saturating_add(*bytes);
            if self.taken >= LEAST {
                self.rests();
            }
        }
        self.within(context, result)
    }

    /// All that there was has been passed on.
    fn flushed(&mut self, context: &mut Context<'_>, result: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if result.is_ready() {
            self.rests();
        }
        self.within(context, result)
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.wrote(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.flushed(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.flushed(context, result)
    }
}
