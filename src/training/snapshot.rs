//! The state of a run, and its file: a ZIP archive of `state.json` and of the numbers, exact to the bit.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;

use ndarray::ArrayD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::History;
use super::trackers::{SavedTracker, TrackerId};
use crate::callbacks::{CallbackState, exact, number, table_fits};
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::formats::atomic::write_atomically;
use crate::formats::keras::{check_members, open_archive, parse_json, read_member, too_large};
use crate::formats::regular::{Content, open_file};
use crate::layers::LayerPath;

const STATE: &str = "state.json";
const NUMBERS: &str = "numbers.bin";
/// The most members of an archive; only two are used.
const MEMBERS: usize = 16;
/// The version of the file format; others are refused.
const VERSION: u64 = 2;

/// The position of a run: the epoch, and the number of its batches that are done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    pub epoch: usize,
    pub step: usize,
}

/// The parameters that determine the samples of each batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SampleOrder {
    pub seed: u64,
    pub samples: usize,
    pub batch_size: usize,
    pub steps: usize,
    pub shuffle: bool,
    /// The ranks, if there are several and each has its own batches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranks: Option<usize>,
}

/// Fingerprints of the data of a run, if the sources have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DataSums {
    pub train: Option<u64>,
    pub validation: Option<u64>,
}

/// The state of an optimizer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OptimizerSnapshot {
    pub class_name: String,
    pub iterations: u64,
    pub learning_rate: Option<f32>,
    pub shared: Option<f32>,
    pub slots: Vec<Vec<ArrayD<f32>>>,
}

/// The state of a run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Snapshot {
    pub position: Position,
    pub order: SampleOrder,
    pub data: DataSums,
    pub weights: Vec<(String, ArrayD<f32>)>,
    /// The states of stateful layers, by the layers' paths.
    pub states: Vec<(LayerPath, Vec<ArrayD<f32>>)>,
    pub optimizer: OptimizerSnapshot,
    /// The state of loss and metrics in the middle of an epoch.
    pub trackers: Option<Vec<SavedTracker>>,
    pub history: History,
    pub seconds: f64,
    pub trained: usize,
    pub stopped: Option<String>,
    pub callbacks: Vec<(String, CallbackState)>,
    pub recipe: Option<String>,
}

impl Snapshot {
    /// Accepts another recipe, given the changes ([`differences`](crate::recipe::differences)): changed settings are
    /// not restored from here.
    pub fn accept(&mut self, changed: &[String]) {
        if changed.iter().any(|change| change.starts_with("compile.optimizer")) {
            self.optimizer.learning_rate = None;
        }
        if !changed.is_empty() {
            // The cause of the stop can be gone.
            self.stopped = None;
        }
    }

    /// Whether all weights are finite.
    pub fn is_finite(&self) -> bool {
        self.weights.iter().all(|(_, weight)| weight.iter().all(|number| number.is_finite()))
    }

    /// Writes the file, atomically.
    pub fn write(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes().map_err(|error| match error {
            Error::Io { source, .. } => Error::Io { action: "write", path: path.to_owned(), source },
            error => error,
        })?;
        write_atomically(path, |file| file.write_all(&bytes).map_err(Error::io("write", path)))
    }

    /// The file's bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let path = Path::new("a checkpoint");
        let mut numbers = NumberBuffer::default();
        let state = self.to_json(&mut numbers);
        let mut archive = ZipWriter::new(Cursor::new(Vec::with_capacity(numbers.bytes.len() + 4096)));
        let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        let mut fill = || -> std::io::Result<()> {
            archive.start_file(STATE, plain)?;
            archive.write_all(state.to_string().as_bytes())?;
            archive.start_file(NUMBERS, plain)?;
            archive.write_all(&numbers.bytes)
        };
        fill().map_err(Error::io("write", path))?;
        Ok(archive.finish().map_err(|error| Error::io("write", path)(error.into()))?.into_inner())
    }

    fn to_json(&self, numbers: &mut NumberBuffer) -> Json {
        let weights: Vec<Json> =
            self.weights.iter().map(|(name, weight)| json!([name, numbers.put_array(weight)])).collect();
        let slots: Vec<Vec<Json>> = self
            .optimizer
            .slots
            .iter()
            .map(|slots| slots.iter().map(|slot| numbers.put_array(slot)).collect())
            .collect();
        let states: Vec<Json> = self
            .states
            .iter()
            .map(|(path, states)| {
                json!([path, states.iter().map(|state| numbers.put_array(state)).collect::<Vec<_>>()])
            })
            .collect();
        let rate = |rate: Option<f32>| rate.map(|rate| exact(f64::from(rate)));
        let history: BTreeMap<&String, Json> =
            self.history.history.iter().map(|(name, values)| (name, numbers.put(values))).collect();
        let lists: BTreeMap<&String, Vec<Json>> = self
            .history
            .lists
            .iter()
            .map(|(name, lists)| (name, lists.iter().map(|list| numbers.put(list)).collect()))
            .collect();
        let trackers = self.trackers.as_ref();
        let trackers: Option<Vec<Json>> = trackers.map(|trackers| {
            let put = |kept: &SavedTracker| json!([kept.kind.name, kept.kind.config, numbers.put(&kept.numbers)]);
            trackers.iter().map(put).collect()
        });
        let callbacks: Vec<Json> = self
            .callbacks
            .iter()
            .map(|(name, state)| {
                let arrays: BTreeMap<&String, Vec<Json>> = state
                    .arrays
                    .iter()
                    .map(|(name, arrays)| (name, arrays.iter().map(|array| numbers.put_array(array)).collect()))
                    .collect();
                json!({"name": name, "values": state.values, "arrays": arrays})
            })
            .collect();
        json!({
            "version": VERSION,
            "position": self.position,
            "order": self.order,
            "data": self.data,
            "weights": weights,
            "states": states,
            "optimizer": {
                "class_name": self.optimizer.class_name,
                "iterations": self.optimizer.iterations,
                "learning_rate": rate(self.optimizer.learning_rate),
                "shared": rate(self.optimizer.shared),
                "slots": slots,
            },
            "trackers": trackers,
            "history": {
                "epoch": self.history.epoch,
                "history": history,
                "lists": lists,
                "epochs": self.history.epochs,
            },
            "seconds": exact(self.seconds),
            "trained": self.trained,
            "stopped": self.stopped,
            "callbacks": callbacks,
            "recipe": self.recipe,
        })
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Broken`] for a file that is damaged or of another kind.
    pub fn read(path: &Path) -> Result<Self> {
        let (opened, length) = open_file(path)?;
        Self::read_from(path, opened, length)
    }

    /// As [`read`](Self::read), from the file's bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let length = bytes.len() as u64;
        Self::read_from(Path::new("the checkpoint of rank 0"), bytes, length)
    }

    fn read_from(path: &Path, opened: impl Into<Content>, length: u64) -> Result<Self> {
        let file = path.display().to_string();
        let broken = |at: &str, reason: &dyn std::fmt::Display| Error::broken(&file, at, reason);
        let limits = Limits {
            file_bytes: crate::memory::available().unwrap_or(u64::MAX),
            members: MEMBERS,
            // Members are stored uncompressed.
            expansion: 1,
            ..Limits::default()
        };
        if length > limits.file_bytes {
            return Err(too_large(path, limits.file_bytes));
        }
        let mut archive = open_archive(&file, "its end", opened, &limits)?;
        check_members(&file, &mut archive, &limits)?;
        let mut member = |name: &str, most: u64, budget: &str| -> Result<Vec<u8>> {
            let bytes = read_member(&file, &mut archive, name, most, budget, &limits, length)?;
            bytes.ok_or_else(|| broken(name, &"the archive has no such member"))
        };
        let state = member(STATE, limits.json_bytes, "json_bytes")?;
        let numbers = member(NUMBERS, limits.file_bytes, "file_bytes")?;
        // Each epoch is a JSON value in the history, and has at least one number.
        let limits = Limits { values: limits.values.saturating_add(numbers.len() / 4), ..limits };
        let state = parse_json(&file, STATE, &state, &limits)?;
        if state["version"] != json!(VERSION) {
            return Err(broken(STATE, &format!("unknown format version {}", state["version"])));
        }
        Self::from_json(&state, &numbers).map_err(|error| match error {
            error @ Error::Io { .. } => error,
            error => broken(STATE, &error),
        })
    }

    fn from_json(state: &Json, numbers: &[u8]) -> Result<Self> {
        let numbers = NumberReader::new(numbers);
        let rate = |rate: &Json| match rate {
            Json::Null => Ok(None),
            rate => number("optimizer", rate).map(|rate| Some(rate as f32)),
        };
        let named = |pair: &Json| -> Result<(String, ArrayD<f32>)> { Ok((read(&pair[0])?, numbers.array(&pair[1])?)) };
        let arrays = |list: &Json| -> Result<Vec<ArrayD<f32>>> {
            list_of(list)?.iter().map(|array| numbers.array(array)).collect()
        };
        let callback = |saved: &Json| -> Result<(String, CallbackState)> {
            let values: crate::config::Config = read(&saved["values"])?;
            let by_name: BTreeMap<String, Json> = read(&saved["arrays"])?;
            let arrays = by_name.iter().map(|(name, list)| Ok((name.clone(), arrays(list)?))).collect::<Result<_>>()?;
            Ok((read(&saved["name"])?, CallbackState { values, arrays }))
        };
        let kept = |saved: &Json| -> Result<SavedTracker> {
            let kind = TrackerId { name: read(&saved[0])?, config: read(&saved[1])? };
            Ok(SavedTracker { kind, numbers: numbers.get(&saved[2])? })
        };
        let optimizer = &state["optimizer"];
        let history: BTreeMap<String, Json> = read(&state["history"]["history"])?;
        let lists: BTreeMap<String, Vec<Json>> = match &state["history"]["lists"] {
            Json::Null => BTreeMap::new(),
            lists => read(lists)?,
        };
        let list = |blocks: &[Json]| blocks.iter().map(|block| numbers.get(block)).collect::<Result<Vec<_>>>();
        Ok(Self {
            position: position(&state["position"], &state["order"])?,
            order: read(&state["order"])?,
            data: read::<Option<DataSums>>(&state["data"])?.unwrap_or_default(),
            weights: list_of(&state["weights"])?.iter().map(named).collect::<Result<_>>()?,
            states: match &state["states"] {
                Json::Null => Vec::new(),
                list => {
                    let states = |pair: &Json| Ok((read(&pair[0])?, arrays(&pair[1])?));
                    list_of(list)?.iter().map(states).collect::<Result<_>>()?
                }
            },
            optimizer: OptimizerSnapshot {
                class_name: read(&optimizer["class_name"])?,
                iterations: count("iterations", &optimizer["iterations"])?,
                learning_rate: rate(&optimizer["learning_rate"])?,
                shared: rate(&optimizer["shared"])?,
                slots: list_of(&optimizer["slots"])?.iter().map(arrays).collect::<Result<_>>()?,
            },
            trackers: match &state["trackers"] {
                Json::Null => None,
                list => Some(list_of(list)?.iter().map(kept).collect::<Result<_>>()?),
            },
            history: checked(History {
                epoch: read(&state["history"]["epoch"])?,
                history: history
                    .iter()
                    .map(|(name, block)| Ok((name.clone(), numbers.get(block)?)))
                    .collect::<Result<_>>()?,
                lists: lists.iter().map(|(name, blocks)| Ok((name.clone(), list(blocks)?))).collect::<Result<_>>()?,
                epochs: read(&state["history"]["epochs"])?,
                ..History::default()
            })?,
            seconds: match number("seconds", &state["seconds"])? {
                seconds if seconds.is_finite() && seconds >= 0.0 => seconds,
                seconds => return Err(Error::Syntax(format!("{seconds} seconds of training"))),
            },
            trained: count("trained", &state["trained"])? as usize,
            stopped: read(&state["stopped"])?,
            callbacks: list_of(&state["callbacks"])?.iter().map(callback).collect::<Result<_>>()?,
            recipe: read(&state["recipe"])?,
        })
    }
}

/// The largest plausible count: beyond it the next one could overflow.
const MOST: u64 = 1 << 53;

fn count(name: &str, value: &Json) -> Result<u64> {
    let number: u64 = read(value)?;
    if number <= MOST {
        return Ok(number);
    }
    Err(Error::Syntax(format!("`{name}` is {number}, which no run can reach")))
}

/// The position of the run, which must be within an epoch.
fn position(position: &Json, order: &Json) -> Result<Position> {
    let steps = count("steps", &order["steps"])?;
    for name in ["samples", "batch_size"] {
        count(name, &order[name])?;
    }
    count("epoch", &position["epoch"])?;
    if count("step", &position["step"])? > steps {
        return Err(Error::Syntax(format!("step {} of an epoch of {steps} steps", position["step"])));
    }
    read(position)
}

/// Refuses a history in which numbers and epochs differ in count, or epochs are not ascending: a run trains each once.
fn checked(history: History) -> Result<History> {
    let named = history.epochs.iter().map(|(name, epochs)| (format!("`{name}`"), epochs));
    for (name, epochs) in named.chain([("all numbers".to_owned(), &history.epoch)]) {
        if let Some(epoch) = epochs.iter().find(|epoch| **epoch as u64 > MOST) {
            return Err(Error::Syntax(format!("epoch {epoch} in the history")));
        }
        if let Some(pair) = epochs.windows(2).find(|pair| pair[0] >= pair[1]) {
            let [before, epoch] = [pair[0], pair[1]];
            return Err(Error::Syntax(format!("the history of {name} has epoch {epoch} after epoch {before}")));
        }
    }
    let numbers = history.history.iter().map(|(name, values)| (name, values.len()));
    let lists = history.lists.iter().map(|(name, lists)| (name, lists.len()));
    for (name, length) in numbers.chain(lists) {
        let epochs = history.epochs.get(name).map_or(0, Vec::len);
        if length != epochs {
            return Err(Error::Syntax(format!("{length} numbers of `{name}` of {epochs} epochs")));
        }
    }
    let epochs = history.epoch.len();
    let (mut read, mut cells) = (0usize, 0usize);
    for (name, lists) in &history.lists {
        let parts = lists.iter().map(Vec::len).max().unwrap_or(0);
        read = lists.iter().map(Vec::len).fold(read.saturating_add(epochs), usize::saturating_add);
        cells = cells.saturating_add(parts.saturating_mul(epochs));
        if !table_fits(read, cells) {
            return Err(Error::Syntax(format!("`{name}` has {parts} numbers in one of {epochs} epochs")));
        }
    }
    Ok(history)
}

fn read<T: DeserializeOwned>(value: &Json) -> Result<T> {
    T::deserialize(value).map_err(|error| Error::Syntax(error.to_string()))
}

fn list_of(value: &Json) -> Result<&Vec<Json>> {
    value.as_array().ok_or_else(|| Error::Syntax(format!("expected a list, received {value}")))
}

/// A buffer of numbers; each block is referred to by its offset and shape.
#[derive(Debug, Default)]
struct NumberBuffer {
    bytes: Vec<u8>,
}

impl NumberBuffer {
    fn put_array(&mut self, array: &ArrayD<f32>) -> Json {
        let offset = self.bytes.len();
        self.bytes.extend(array.iter().flat_map(|number| number.to_le_bytes()));
        json!({"at": offset, "sizes": array.shape()})
    }

    fn put(&mut self, values: &[f64]) -> Json {
        let offset = self.bytes.len();
        self.bytes.extend(values.iter().flat_map(|number| number.to_le_bytes()));
        json!({"at": offset, "length": values.len()})
    }
}

/// The numbers of a file. Every byte can be read only once, so that the result is no larger than the file.
#[derive(Debug)]
struct NumberReader<'a> {
    bytes: &'a [u8],
    /// The number of bytes that can still be read.
    left: Cell<usize>,
}

impl<'a> NumberReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, left: Cell::new(bytes.len()) }
    }

    /// `count` numbers of `width` bytes each, from an offset.
    fn slice(&self, block: &Json, count: usize, width: usize) -> Result<&'a [u8]> {
        let at: usize = read(&block["at"])?;
        let end = count.checked_mul(width).and_then(|length| at.checked_add(length));
        let slice = end.and_then(|end| self.bytes.get(at..end));
        let slice = slice.ok_or_else(|| Error::Syntax(format!("{block} leads beyond the numbers")))?;
        let left = self.left.get().checked_sub(slice.len());
        let twice = || Error::Syntax(format!("`{NUMBERS}` has {} bytes, and more are referred to", self.bytes.len()));
        self.left.set(left.ok_or_else(twice)?);
        Ok(slice)
    }

    fn array(&self, block: &Json) -> Result<ArrayD<f32>> {
        let sizes: Vec<usize> = read(&block["sizes"])?;
        let count = sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size)).unwrap_or(usize::MAX);
        let (numbers, _) = self.slice(block, count, 4)?.as_chunks();
        let numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        ArrayD::from_shape_vec(sizes, numbers).map_err(|error| Error::Syntax(error.to_string()))
    }

    fn get(&self, block: &Json) -> Result<Vec<f64>> {
        let (numbers, _) = self.slice(block, read(&block["length"])?, 8)?.as_chunks();
        Ok(numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::metrics::Score;

    fn snapshot() -> Snapshot {
        let array = |values: &[f32]| ArrayD::from_shape_vec(vec![values.len()], values.to_vec()).unwrap();
        let mut state = CallbackState::default();
        state.put("wait", &2).unwrap();
        state.put_number("best", Some(1.0 / 3.0));
        state.arrays.insert("best_weights".into(), vec![array(&[1e-40, -0.0])]);
        let mut history = History::default();
        history.push(0, &[("loss".into(), Score::One(0.1 + 0.2)), ("recall".into(), vec![0.1, 0.7].into())]);
        history.push(1, &[("loss".into(), f64::INFINITY), ("val_loss".into(), 5e-324)]);
        let kept = |name: &str, numbers: Vec<f64>| {
            let kind = TrackerId { name: name.into(), config: "[\"\",null]".into() };
            SavedTracker { kind, numbers }
        };
        Snapshot {
            position: Position { epoch: 2, step: 5 },
            order: SampleOrder { seed: u64::MAX, samples: 100, batch_size: 8, steps: 13, shuffle: true, ranks: None },
            data: DataSums { train: Some(u64::MAX), validation: None },
            weights: vec![("dense/kernel".into(), array(&[f32::MIN_POSITIVE / 8.0, 0.1])), ("a/b".into(), array(&[]))],
            states: vec![(vec![0, 1], vec![array(&[0.5, -0.0]), array(&[1e-40])])],
            optimizer: OptimizerSnapshot {
                class_name: "Adam".into(),
                iterations: 31,
                learning_rate: Some(0.1),
                shared: Some(f32::INFINITY),
                slots: vec![vec![array(&[0.5, 0.25])], vec![]],
            },
            trackers: Some(vec![kept("loss", vec![1.0 / 3.0]), kept("mae", vec![])]),
            history,
            seconds: 0.3,
            trained: 7,
            stopped: None,
            callbacks: vec![("EarlyStopping".into(), state)],
            recipe: Some("a = 1\n".into()),
        }
    }

    #[test]
    fn a_file_round_trip_keeps_every_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.ckpt");
        let own = snapshot();
        own.write(&path).unwrap();
        let back = Snapshot::read(&path).unwrap();
        assert_eq!(back, own);
        assert!(back.callbacks[0].1.arrays["best_weights"][0][1].is_sign_negative());
    }

    #[test]
    fn impossible_numbers_are_refused() {
        let mut numbers = NumberBuffer::default();
        let state = snapshot().to_json(&mut numbers);
        assert!(Snapshot::from_json(&state, &numbers.bytes).is_ok());
        let forged = |path: &[&str], value: Json| {
            let mut state = state.clone();
            let node = path.iter().fold(&mut state, |node, key| match key.parse::<usize>() {
                Ok(index) => &mut node[index],
                Err(_) => &mut node[*key],
            });
            assert!(!node.is_null(), "{path:?}");
            *node = value;
            Snapshot::from_json(&state, &numbers.bytes)
        };
        for path in [
            &["position", "epoch"][..],
            &["position", "step"],
            &["order", "samples"],
            &["order", "batch_size"],
            &["order", "steps"],
            &["optimizer", "iterations"],
            &["trained"],
            &["history", "epoch", "1"],
            &["history", "epochs", "loss", "0"],
            &["weights", "0", "1", "at"],
            &["weights", "0", "1", "sizes", "0"],
            &["history", "history", "loss", "length"],
        ] {
            for value in [json!(u64::MAX), json!(1u64 << 60), json!(-1), json!(0.5), json!("1"), json!([])] {
                let error = forged(path, value.clone()).unwrap_err();
                assert!(matches!(error, Error::Syntax(_)), "{path:?} {value}: {error}");
            }
        }
        // Beyond the steps of the epoch, and a history with more numbers than epochs.
        assert!(forged(&["position", "step"], json!(14)).is_err());
        assert!(forged(&["position", "step"], json!(13)).is_ok());
        assert!(forged(&["history", "epochs", "loss"], json!([0])).is_err());
        assert!(forged(&["history", "epochs", "recall"], json!([0, 1])).is_err());
        // The same epoch twice, and one that is before the last.
        for epochs in [json!([1, 1]), json!([1, 0])] {
            for path in [&["history", "epochs", "loss"][..], &["history", "epoch"]] {
                let error = forged(path, epochs.clone()).unwrap_err().to_string();
                assert!(error.contains("after epoch 1"), "{error}");
            }
        }
        for value in ["-1.0", "inf", "NaN"] {
            assert!(forged(&["seconds"], json!(value)).is_err(), "{value}");
        }
    }

    /// Thresholds of a single epoch do not justify a table of all epochs.
    #[test]
    fn a_single_list_does_not_make_a_huge_table() {
        let mut long = History { epoch: (0..4096).collect(), ..History::default() };
        long.lists.insert("recall".into(), vec![vec![0.5; 4096]]);
        long.epochs.insert("recall".into(), vec![7]);
        let error = checked(long.clone()).unwrap_err().to_string();
        assert!(error.contains("`recall` has 4096 numbers in one of 4096 epochs"), "{error}");
        long.lists.insert("recall".into(), vec![vec![0.5; 200]]);
        assert!(checked(long).is_ok());
    }

    /// Repeated references to the same numbers are refused.
    #[test]
    fn numbers_are_read_only_once() {
        let mut numbers = NumberBuffer::default();
        let mut state = snapshot().to_json(&mut numbers);
        let weight = state["weights"][0].clone();
        state["weights"].as_array_mut().unwrap().extend(vec![weight; 200]);
        let error = Snapshot::from_json(&state, &numbers.bytes).unwrap_err().to_string();
        assert!(error.contains("numbers.bin") && error.contains("more are referred to"), "{error}");
    }

    /// A crafted archive is refused like a crafted Keras file.
    #[test]
    fn unexpected_members_are_limited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.ckpt");
        let mut numbers = NumberBuffer::default();
        let state = snapshot().to_json(&mut numbers).to_string();
        let write = |others: &[&str]| {
            let mut archive = ZipWriter::new(fs::File::create(&path).unwrap());
            let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
            let own = [(STATE, state.as_bytes()), (NUMBERS, numbers.bytes.as_slice())];
            for (name, bytes) in own.into_iter().chain(others.iter().map(|name| (*name, &b"x"[..]))) {
                archive.start_file(name, plain).unwrap();
                archive.write_all(bytes).unwrap();
            }
            archive.finish().unwrap();
            Snapshot::read(&path)
        };
        assert!(write(&[]).is_ok());
        let names: Vec<String> = (0..6_000).map(|index| format!("{index:0200}")).collect();
        let few: Vec<&str> = names[..20].iter().map(String::as_str).collect();
        let error = write(&few).unwrap_err().to_string();
        assert!(error.contains("an archive of 22 members"), "{error}");
        let many: Vec<&str> = names.iter().map(String::as_str).collect();
        let error = write(&many).unwrap_err().to_string();
        assert!(error.contains("the directory of the archive"), "{error}");
        let error = write(&["../x"]).unwrap_err().to_string();
        assert!(error.contains("leads out of the archive"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.ckpt");
        snapshot().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in (0..whole.len()).step_by(37) {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(matches!(Snapshot::read(&path), Err(Error::Broken { .. })), "cut at {length}");
        }
        // One flipped bit of the numbers is detected by the archive's checksums.
        let at = whole.windows(4).position(|bytes| bytes == 0.1f32.to_le_bytes()).unwrap();
        let mut flipped = whole;
        flipped[at] ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert!(matches!(Snapshot::read(&path), Err(Error::Broken { .. })));
    }
}
