//! The models that are served: by name and version, each replaceable while requests go on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use serde_json::{Value as Json, json};

use super::block::Block;
use super::engine::Engine;
use super::fault::cause;
use super::metrics::Metrics;
use super::options::Options;
use super::queue::Queue;
use super::signature::Signature;
use crate::error::{Error, Result};
use crate::model::Model;

/// How a model's file is loaded.
pub(super) type Load = Arc<dyn Fn(&Path) -> Result<Model> + Send + Sync>;

/// A version of a model, ready to be asked. Requests hold it as long as they need it; its threads end with the last.
pub(super) struct ServedModel {
    pub name: String,
    pub version: u64,
    pub signature: Signature,
    pub queue: Arc<Queue>,
    pub loaded: SystemTime,
    /// The diagram of the network; none where it cannot be drawn.
    pub network_svg: Option<String>,
    /// Whether it answers zeros, or empty texts, with finite numbers.
    is_finite: bool,
}

impl Drop for ServedModel {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl ServedModel {
    /// Makes a model ready: its threads run, and have answered.
    fn new(name: &str, version: u64, model: Model, options: &Options, metrics: &Arc<Metrics>) -> Result<Self> {
        let signature = Signature::of(&model)?;
        let network_svg = network_svg(&model);
        let engine = Engine::new(&model)?;
        // The engine has weights of its own.
        drop(model);
        let mut is_finite = true;
        for rows in [1, options.max_batch_size] {
            let blanks: Option<Vec<Block>> = signature.inputs.iter().map(|port| Block::blank(port, rows)).collect();
            // With sizes that nobody knows there is nothing to try it on.
            let Some(blanks) = blanks else { break };
            match engine.run(blanks, &|| true) {
                Ok(outputs) => is_finite &= outputs.iter().all(|output| output.iter().all(|value| value.is_finite())),
                // A batch may not fit where one sample does; zeros may be no sample at all.
                Err(error) if rows == 1 && matches!(cause(&error), Error::Memory { .. } | Error::Device { .. }) => {
                    return Err(error);
                }
                Err(error) => tracing::info!("the warm-up of `{name}` with {rows} samples: {error}"),
            }
        }
        let queue = Queue::start(engine, signature.can_batch, options, metrics.clone())?;
        let name = name.to_owned();
        Ok(Self { name, version, signature, queue, loaded: SystemTime::now(), network_svg, is_finite })
    }

    /// Its description as JSON.
    pub fn about(&self) -> Json {
        let mut json = json!({ "name": self.name, "version": self.version.to_string() });
        if let (Json::Object(own), Json::Object(about)) = (&mut json, &self.signature.about) {
            own.extend(about.clone());
            let loaded = jiff::Timestamp::try_from(self.loaded).map(|time| time.to_string()).ok();
            own.insert("loaded".into(), json!(loaded));
        }
        json
    }
}

#[cfg(feature = "report")]
fn network_svg(model: &Model) -> Option<String> {
    crate::report::plot_model(model).svg().ok()
}

#[cfg(not(feature = "report"))]
fn network_svg(_: &Model) -> Option<String> {
    None
}

/// Identifies the state of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    length: u64,
    changed: Option<SystemTime>,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Some(Self { length: metadata.len(), changed: metadata.modified().ok(), inode })
    }
}

/// The file of a version.
pub(super) struct Origin {
    path: PathBuf,
    load: Load,
    /// The file that was loaded or refused last.
    seen: Mutex<(Option<Stamp>, Option<Stamp>)>,
}

impl Origin {
    /// A file that is about to be loaded: if it changes meanwhile, it is loaded again.
    pub fn new(path: PathBuf, load: Load) -> Self {
        let stamp = Stamp::of(&path);
        Self { path, load, seen: Mutex::new((stamp, stamp)) }
    }

    /// Loads the file.
    ///
    /// # Errors
    /// Those of loading it.
    pub fn load(&self) -> Result<Model> {
        (self.load)(&self.path)
    }
}

struct LoadedVersion {
    served: RwLock<Arc<ServedModel>>,
    origin: Option<Origin>,
}

/// All models, by name and version.
#[derive(Default)]
pub(super) struct Registry {
    models: RwLock<BTreeMap<String, BTreeMap<u64, Arc<LoadedVersion>>>>,
    /// One is loaded at a time.
    loading: Mutex<()>,
}

impl Registry {
    /// Adds a model.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that no address can have or that is taken with this version.
    pub fn add(
        &self,
        name: &str,
        version: u64,
        model: Model,
        origin: Option<Origin>,
        options: &Options,
        metrics: &Arc<Metrics>,
    ) -> Result<()> {
        check_name(name)?;
        let served = ServedModel::new(name, version, model, options, metrics)?;
        if !served.is_finite {
            tracing::warn!("`{name}` answers zeros with numbers that are not finite");
        }
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        let versions = models.entry(name.to_owned()).or_default();
        if versions.contains_key(&version) {
            let expected = "a name of its own for each model, or a version of its own (NAME@VERSION=FILE)";
            return Err(Error::argument("--model", expected, format!("`{name}` version {version} twice")));
        }
        versions.insert(version, Arc::new(LoadedVersion { served: RwLock::new(Arc::new(served)), origin }));
        Ok(())
    }

    /// A version of a model; without one the newest.
    pub fn get(&self, name: &str, version: Option<u64>) -> Option<Arc<ServedModel>> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        let versions = models.get(name)?;
        let entry = match version {
            Some(version) => versions.get(&version)?,
            None => versions.last_key_value()?.1,
        };
        Some(entry.served.read().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// The versions of a model, the oldest first.
    pub fn versions(&self, name: &str) -> Vec<u64> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get(name).map(|versions| versions.keys().copied().collect()).unwrap_or_default()
    }

    /// The names of the models.
    pub fn names(&self) -> Vec<String> {
        self.models.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// All versions of all models.
    pub fn all(&self) -> Vec<Arc<ServedModel>> {
        self.names()
            .iter()
            .flat_map(|name| self.versions(name).into_iter().filter_map(|version| self.get(name, Some(version))))
            .collect()
    }

    /// Loads files again: all of them, or those that have changed and lie still since they were last looked at. A file
    /// that cannot be loaded changes nothing.
    pub fn reload(&self, all: bool, options: &Options, metrics: &Arc<Metrics>) {
        let _one = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let entries: Vec<Arc<LoadedVersion>> = {
            let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
            models.values().flat_map(|versions| versions.values().cloned()).collect()
        };
        for entry in entries {
            let Some(origin) = &entry.origin else { continue };
            let now = Stamp::of(&origin.path);
            {
                let mut seen = origin.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let (done, before) = *seen;
                *seen = (done, now);
                // Without a file there is nothing new; one that still changes is looked at later.
                let is_new = now.is_some() && now != done && now == before;
                if !all && !is_new {
                    continue;
                }
                *seen = (now, now);
            }
            let old = entry.served.read().unwrap_or_else(PoisonError::into_inner).clone();
            let path = origin.path.display();
            match Self::again(&old, origin, options, metrics) {
                Ok(new) => {
                    *entry.served.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                    metrics.reloaded(&old.name, true);
                    tracing::warn!("`{}` is now served from the new `{path}`", old.name);
                }
                Err(error) => {
                    metrics.reloaded(&old.name, false);
                    tracing::error!("`{}` is served as before, as `{path}` cannot be: {error}", old.name);
                }
            }
        }
    }

    fn again(old: &ServedModel, origin: &Origin, options: &Options, metrics: &Arc<Metrics>) -> Result<ServedModel> {
        let load = || ServedModel::new(&old.name, old.version, origin.load()?, options, metrics);
        let failed = || Error::Syntax("loading it has failed".to_owned());
        let new = std::panic::catch_unwind(std::panic::AssertUnwindSafe(load)).map_err(|_| failed())??;
        // The mean of no words, say, is no number in the old one either.
        if old.is_finite && !new.is_finite {
            let expected = "finite numbers for zeros";
            return Err(Error::data("the warm-up", expected, "others"));
        }
        Ok(new)
    }
}

/// The longest name of a model.
const LONGEST_NAME: usize = 100;

/// Refuses a name that would have to be escaped in an address.
fn check_name(name: &str) -> Result<()> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) || name.starts_with('.') {
        let expected = format!("up to {LONGEST_NAME} letters, digits, `-`, `_` and `.`");
        return Err(Error::argument("--model", format!("a name of {expected}"), format!("`{name}`")));
    }
    Ok(())
}

/// The interval at which files are checked, if they are.
pub(super) fn watch_interval(options: &Options) -> Option<Duration> {
    (!options.watch.is_zero()).then_some(options.watch)
}
