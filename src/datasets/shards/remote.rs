//! Files in object stores.
//!
//! The stores' interface is asynchronous: a runtime of one thread makes the requests, and readers wait for it.

use std::future::Future;
use std::io::{Error as IoError, ErrorKind, Read};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use glob::Pattern;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use tempfile::NamedTempFile;
use tokio::runtime::{Builder, Runtime};
use url::Url;

use super::pattern::{check_count, expanded, has_wildcards};
use crate::error::{Error, Result};
use crate::formats::Limits;

/// The bytes of one request; the next one is made ahead.
const PIECE: u64 = 4 << 20;

/// An object.
#[derive(Clone, Debug)]
pub(super) struct Remote {
    store: Arc<dyn ObjectStore>,
    path: ObjectPath,
    /// The store's address, before the path.
    address: Arc<str>,
    length: u64,
}

/// Runs a request on the runtime, and returns where its result arrives. Callers can be on threads of another runtime,
/// which may not be blocked by a runtime of their own.
fn begin<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> Result<Receiver<T>> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = match RUNTIME.get() {
        Some(runtime) => runtime,
        None => {
            let made = Builder::new_multi_thread().worker_threads(1).thread_name("brasa-objects").enable_all().build();
            let made = made.map_err(|source| Error::thread("requests to object stores", source))?;
            RUNTIME.get_or_init(|| made)
        }
    };
    let (sender, receiver) = channel();
    runtime.spawn(async move {
        let _ = sender.send(request.await);
    });
    Ok(receiver)
}

/// The result of a request.
fn finish<T>(name: &str, receiver: &Receiver<object_store::Result<T>>) -> Result<T> {
    let result = receiver.recv().unwrap_or_else(|_| {
        Err(object_store::Error::Generic { store: "an object store", source: "the request has panicked".into() })
    });
    result.map_err(|error| Error::io("read", name)(error.into()))
}

impl Remote {
    /// The objects that an address with a pattern stands for, in alphabetical order. Credentials and settings come from
    /// the environment, as `AWS_ACCESS_KEY_ID` does.
    pub fn matching(pattern: &str) -> Result<Vec<Self>> {
        let wrong =
            |reason: String| Error::argument("path", "the address of objects, as in s3://bucket/train-*.tar", reason);
        // A question mark is a wildcard here.
        let (folder, file) = pattern
            .rsplit_once('/')
            .filter(|(folder, _)| !folder.ends_with(":/"))
            .ok_or_else(|| wrong(format!("`{pattern}`")))?;
        if has_wildcards(folder) {
            return Err(wrong(format!("`{pattern}`, with wildcards before the name of the object")));
        }
        let url = Url::parse(&format!("{folder}/")).map_err(|error| wrong(format!("`{pattern}`: {error}")))?;
        let variables =
            std::env::vars_os().filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)));
        // Whoever writes `http` means it.
        let plain = (url.scheme() == "http").then(|| ("allow_http".to_owned(), "true".to_owned()));
        let (store, path) = object_store::parse_url_opts(&url, variables.chain(plain))
            .map_err(|error| wrong(format!("`{pattern}`: {error}")))?;
        let path_length = url.path().trim_end_matches('/').len();
        let address = url.as_str().trim_end_matches('/');
        let address = address[..address.len().saturating_sub(path_length)].to_owned() + "/";
        Self::found(&Arc::from(store), &address.into(), &path, file)
    }

    /// The objects of a store that a pattern stands for, in alphabetical order.
    pub fn in_store(store: &Arc<dyn ObjectStore>, pattern: &str) -> Result<Vec<Self>> {
        let mut found = Vec::new();
        for pattern in expanded(pattern)? {
            let (folder, file) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
            if has_wildcards(folder) {
                let expected = "wildcards in the name of the object alone";
                return Err(Error::argument("pattern", expected, format!("`{pattern}`")));
            }
            let path =
                ObjectPath::parse(folder).map_err(|error| Error::argument("pattern", "a path of objects", error))?;
            found.extend(Self::found(store, &Arc::from(""), &path, file)?);
            check_count(found.len())?;
        }
        match found.is_empty() {
            true => Err(Error::data(format!("the objects `{pattern}`"), "at least one", "none")),
            false => Ok(found),
        }
    }

    /// The objects in a folder whose names match.
    fn found(store: &Arc<dyn ObjectStore>, address: &Arc<str>, folder: &ObjectPath, file: &str) -> Result<Vec<Self>> {
        let remote = |path, length| Self { store: store.clone(), path, address: address.clone(), length };
        let (own, path) = (store.clone(), folder.clone());
        if !has_wildcards(file) {
            let path = folder.clone().join(file);
            let name = format!("{address}{path}");
            let wanted = path.clone();
            let found = finish(&name, &begin(async move { own.head(&wanted).await })?)?;
            return Ok(vec![remote(path, found.size)]);
        }
        let pattern = Pattern::new(file)
            .map_err(|error| Error::argument("path", "a pattern of object names", format!("`{file}`: {error}")))?;
        let listed = begin(async move { own.list_with_delimiter(Some(&path)).await })?;
        let listed = finish(&format!("{address}{folder}"), &listed)?;
        check_count(listed.objects.len())?;
        let matching = listed.objects.into_iter().filter(|object| {
            object.location.filename().is_some_and(|name| pattern.matches(name) && !name.starts_with('.'))
        });
        let mut found: Vec<Self> = matching.map(|object| remote(object.location, object.size)).collect();
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// Its address.
    pub fn name(&self) -> String {
        format!("{}{}", self.address, self.path)
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Its content, which is requested in pieces, each while the one before is read.
    pub fn open(&self) -> Pieces {
        Pieces { remote: self.clone(), next: 0, piece: Bytes::new(), coming: None }
    }

    /// A temporary file with its content, for readers that go back and forth.
    pub fn copied(&self) -> Result<NamedTempFile> {
        let most = Limits::default().file_bytes;
        if self.length > most {
            let what = format!("an object of {} bytes, `{}`", self.length, self.name());
            return Err(Error::unsupported(what, format!("up to {most}, except of archives")));
        }
        let name = self.name();
        let ending = name.rsplit('.').next().unwrap_or_default();
        let mut file = tempfile::Builder::new()
            .prefix("brasa-")
            .suffix(&format!(".{ending}"))
            .tempfile()
            .map_err(Error::io("create", std::env::temp_dir()))?;
        std::io::copy(&mut self.open(), &mut file).map_err(Error::io("read", name))?;
        Ok(file)
    }
}

/// The content of an object, one piece after another.
pub(super) struct Pieces {
    remote: Remote,
    /// The offset of the next request.
    next: u64,
    piece: Bytes,
    /// The piece that has been requested, and its length.
    coming: Option<(Receiver<object_store::Result<Bytes>>, u64)>,
}

impl Pieces {
    fn request(&mut self) -> Result<()> {
        let end = self.next.saturating_add(PIECE).min(self.remote.length);
        if self.next < end {
            let (store, path, range) = (self.remote.store.clone(), self.remote.path.clone(), self.next..end);
            let length = end - self.next;
            self.coming = Some((begin(async move { store.get_range(&path, range).await })?, length));
            self.next = end;
        }
        Ok(())
    }

    fn advance(&mut self) -> Result<()> {
        if self.coming.is_none() {
            self.request()?;
        }
        if let Some((receiver, length)) = self.coming.take() {
            self.request()?;
            let name = self.remote.name();
            self.piece = finish(&name, &receiver)?;
            if self.piece.len() as u64 != length {
                let reason = format!("expected {length} bytes, received {}", self.piece.len());
                return Err(Error::broken(name, "a range of it", reason));
            }
        }
        Ok(())
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() {
            // The kind tells a store that does not answer from content that is damaged.
            self.advance().map_err(|error| IoError::new(ErrorKind::NetworkDown, error))?;
        }
        let count = buffer.len().min(self.piece.len());
        buffer[..count].copy_from_slice(&self.piece.split_to(count));
        Ok(count)
    }
}
