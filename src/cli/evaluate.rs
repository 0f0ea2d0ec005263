//! `brasa evaluate`: loss and metrics of a saved model.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use brasa::datasets::{Fingerprint, OneHot, Part, Source, read_samples, split_index};
use brasa::distributed::{Communicator, Turns, together};
use brasa::formats::atomic::write_atomically;
use brasa::recipe::{Data, DataSet, Loaded, Reading};
use brasa::report::{Classes, Labels};
use brasa::text::with_commas;
use brasa::training::{Evaluate as Arguments, Predict, Scores, Verbosity};
use brasa::{Error, Model, Result};
use clap::{Args, ValueEnum, ValueHint};
use serde_json::{Value as Json, json};

use super::answers::{Answer, AnswerWriter, Format, Shown};
use super::compute::Compute;
use super::help::{DATA, DATA_SETS, examples, offering};
use super::model_file::{DataOverrides, data_of_run, model_file};
use super::ranks::{Peers, Ranks};
use super::table::Table;
use super::{needs_weights, output};

/// Compute loss and metrics of a model; for a classifier also how well it tells its classes apart.
#[derive(Args, Debug)]
#[command(after_help = examples!(
    "brasa evaluate runs/mnist_cnn-…"
    "brasa evaluate model.keras --data photos/test --output wrong.csv"
    "brasa evaluate model.keras --dataset mnist --json"
))]
pub struct Evaluate {
    /// The model (.keras, .h5 or .safetensors), saved with its loss and metrics, or the directory of a run.
    #[arg(value_name = "MODEL|RUN", value_hint = ValueHint::AnyPath)]
    model: PathBuf,

    /// The data: .npz, .csv, .tsv, .parquet, or a folder with one folder of images or texts per class (default: that of
    /// the model's run).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dataset", "data_dir"], help_heading = DATA)]
    data: Option<PathBuf>,

    #[command(flatten)]
    table: Table,

    /// A published data set.
    #[arg(long, value_name = "NAME", value_parser = offering::<String>(DATA_SETS), help_heading = DATA)]
    dataset: Option<String>,

    /// The folder of the data set's files.
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = DATA)]
    data_dir: Option<PathBuf>,

    /// Which part of the data (default: the test part if there is one, else that to validate with, else all).
    #[arg(long, value_enum, value_name = "NAME", help_heading = DATA)]
    split: Option<DataSplit>,

    #[command(flatten)]
    known: DataOverrides,

    /// Leave out images that cannot be decoded.
    #[arg(long, help_heading = DATA)]
    skip_broken: bool,

    /// Write what the model says of each sample, beside what is true: .csv, .json, .jsonl or .txt.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,

    /// Number of samples at once (default: 128, or what stateful layers need).
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,

    #[command(flatten)]
    ranks: Ranks,

    #[command(flatten)]
    compute: Compute,

    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataSplit {
    /// What is trained on.
    Train,
    /// What is validated with.
    #[value(alias = "val")]
    Validation,
    /// What is tested with.
    Test,
}

impl DataSplit {
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl Evaluate {
    pub fn run(self, quiet: bool) -> Result<()> {
        super::interrupt::end_quietly()?;
        let peers = self.ranks.join()?;
        together(peers.clone(), || self.evaluated(&peers, quiet))
    }

    fn evaluated(mut self, peers: &Peers, quiet: bool) -> Result<()> {
        self.model = model_file(&self.model)?;
        needs_weights(&self.model)?;
        let format = self.output.as_deref().map(Format::of).transpose()?;
        let device = self.ranks.device(&self.compute)?;
        let mut model = Model::load_on(&self.model, &device)?;
        if !model.is_compiled() {
            let name = self.model.display();
            let needs = match model.compile_fault() {
                Some(fault) => format!("compiled (`{name}`): {fault}"),
                None => format!("compiled: `{name}` was saved without loss and metrics"),
            };
            return Err(Error::state("evaluate", needs));
        }
        self.known.put_into(&mut model)?;
        let (data, of_run) = self.data(&model)?;
        let loaded = data.load(&model, Reading::AsTrained)?;
        output::notes(&loaded.notes);
        let class_names = loaded.info.class_names.clone();
        let (split, part, names) = part(loaded, &data, self.split)?;
        if of_run && self.split.is_none() && !quiet {
            output::note(&format!("evaluating the run's own data ({})", split.name()));
        }
        // Images are read for the scores, the classes and the output file, but decoded only once.
        let mut part: Box<dyn Source> = match &data.set {
            DataSet::ImageFolder { .. } => Box::new(Remembering::new(part)),
            _ => part,
        };
        if let Some(classes) = model.one_hot_classes(part.y_shape()) {
            tracing::info!("class numbers are compared as one-hot rows of {classes}, as the loss needs them");
            part = Box::new(OneHot::new(part, classes)?);
        }
        tracing::info!("{} samples of shape {:?}", part.len(), part.x_shape());
        let batch_size = super::batch_size(self.batch_size, &model);
        let verbosity = if quiet { Verbosity::Silent } else { Verbosity::Auto };
        let arguments = Arguments::new().batch_size(batch_size).verbose(verbosity);
        let arguments = peers.iter().fold(arguments, |arguments, peers| arguments.distributed(peers.clone()));
        let scores = model.evaluate_with(&*part, arguments)?;
        let classes = match peers {
            Some(peers) => Classes::distributed(&model, &*part, batch_size, &class_names, peers)?,
            None => Classes::of(&model, &*part, batch_size, &class_names)?,
        };
        let labels = match (&classes, peers) {
            (Some(_), _) => None,
            (None, Some(peers)) => Labels::distributed(&model, &*part, batch_size, &class_names, peers)?,
            (None, None) => Labels::of(&model, &*part, batch_size, &class_names)?,
        };
        if let (Some(path), Some(format)) = (&self.output, format) {
            let mut model = model.clone();
            model.data_info_mut().class_names = class_names.clone();
            let answers = Answers { model: &model, data: &*part, names: &names, batch_size };
            answers.write(path, format, peers)?;
        }
        if self.json {
            let mut report = to_json(&scores);
            if let Some(classes) = classes {
                report["class_names"] = json!(classes.names);
                report["confusion_matrix"] = json!(classes.counts);
                let scores = |class| (classes.scores(class), classes.support(class));
                report["classes"] = scores_to_json(&classes.names, scores);
            }
            if let Some(labels) = labels {
                report["class_names"] = json!(labels.names);
                let scores = |label| (labels.scores(label), labels.support(label));
                report["classes"] = scores_to_json(&labels.names, scores);
            }
            return output::json(&report);
        }
        for (name, value) in scores.logs() {
            output::line(format!("{name}: {}", output::score(&name, &value)))?;
        }
        output::line(format!("samples: {}", with_commas(scores.samples)))?;
        if let Some(labels) = labels {
            return output::line(format!("\n{labels}"));
        }
        let Some(classes) = classes else { return Ok(()) };
        output::line(format!("\n{classes}"))?;
        mistakes(&classes, &names)
    }

    /// The data, and whether it is that of the model's run.
    fn data(&self, model: &Model) -> Result<(Data, bool)> {
        let mut of_run = false;
        let mut data = if let Some(path) = &self.data {
            let mut set = DataSet::at(path)?;
            let is_table = matches!(set, DataSet::Csv { .. });
            // A model that holds its table's description needs no recipe beside it.
            let known = model.data_info().table.is_some();
            let table = if is_table && !known { self.table.clone().or_of_run(&self.model) } else { self.table.clone() };
            table.put_into(&mut set)?;
            if is_table && known {
                note_table(model, &self.table);
            }
            Data::new(set)
        } else {
            let data = match (&self.dataset, data_of_run(&self.model), &model.data_info().dataset) {
                (Some(name), ..) => Data::new(DataSet::named(name, self.data_dir.clone())?),
                (None, Some(data), _) => {
                    of_run = true;
                    data
                }
                (None, None, Some(name)) => Data::new(DataSet::named(name, self.data_dir.clone())?),
                (None, None, None) => {
                    let expected =
                        "data to evaluate with, as nothing says what the model was trained on (or --dataset)";
                    return Err(Error::argument("--data", expected, "nothing"));
                }
            };
            let mut data = data;
            if let (Some(dir), DataSet::Mnist { data_dir } | DataSet::FashionMnist { data_dir }) =
                (&self.data_dir, &mut data.set)
            {
                *data_dir = Some(dir.clone());
            } else if let Some(dir) = &self.data_dir {
                let expected = "a model of mnist or fashion_mnist, or --dataset";
                return Err(Error::argument("--data-dir", expected, dir.display()));
            }
            self.table.clone().put_into(&mut data.set)?;
            data
        };
        let kind = data.set.name();
        if let (Some(pixels), false) = (self.known.pixels, data.set.has_images()) {
            let expected = format!("images as data, and no {kind}");
            return Err(Error::argument("--pixels", expected, pixels));
        }
        if self.skip_broken && !matches!(data.set, DataSet::ImageFolder { .. }) {
            let expected = format!("a folder of images as data, and no {kind}");
            return Err(Error::argument("--skip-broken", expected, "it"));
        }
        if self.known.pixels.is_some() {
            data.pixels = self.known.pixels;
        }
        if self.known.class_names.is_some() {
            data.class_names = self.known.names()?;
        }
        data.skip_broken |= self.skip_broken;
        Ok((data, of_run))
    }
}

/// Notes how a table is read.
fn note_table(model: &Model, given: &Table) {
    let Some(info) = &model.data_info().table else { return };
    if given.target.is_none() && !info.targets.is_empty() {
        output::note(&format!("target `{}`, as the model was trained on", info.targets.join("`, `")));
    }
}

/// The requested part of the data, else the most informative one, with the names of its samples.
fn part(loaded: Loaded, data: &Data, split: Option<DataSplit>) -> Result<(DataSplit, Box<dyn Source>, Vec<String>)> {
    let [train, validation, test] = loaded.names;
    let held_back = data.validation_split > 0.0 && loaded.validation.is_none();
    let split = match split {
        Some(split) => split,
        None if loaded.test.is_some() => DataSplit::Test,
        None if loaded.validation.is_some() || held_back => DataSplit::Validation,
        None => DataSplit::Train,
    };
    let absent = || {
        let expected = format!("data with a part `{}`", split.name());
        Err(Error::argument("--split", expected, "data without one"))
    };
    if split == DataSplit::Train && loaded.shards.is_some() {
        let expected = "validation or test, as shards to train on are not read into memory (`--data` evaluates others)";
        return Err(Error::argument("--split", expected, split.name()));
    }
    let (source, names) = match split {
        DataSplit::Test => match loaded.test {
            Some(source) => (source, test),
            None => return absent(),
        },
        DataSplit::Validation => match loaded.validation {
            Some(source) => (source, validation),
            None if held_back => {
                let index = split_index(loaded.train.len(), data.validation_split)?;
                let names = train.into_iter().skip(index).collect();
                (Box::new(Part::new(loaded.train, index..)?) as Box<dyn Source>, names)
            }
            None => return absent(),
        },
        DataSplit::Train if held_back => {
            let index = split_index(loaded.train.len(), data.validation_split)?;
            let names = train.into_iter().take(index).collect();
            (Box::new(Part::new(loaded.train, ..index)?) as Box<dyn Source>, names)
        }
        DataSplit::Train => (loaded.train, train),
    };
    Ok((split, source, names))
}

/// The predictions for all samples.
struct Answers<'a> {
    model: &'a Model,
    data: &'a dyn Source,
    /// The names of the samples; those without one have their index.
    names: &'a [String],
    batch_size: usize,
}

impl Answers<'_> {
    /// Writes the prediction for each sample, and what is true.
    fn write(&self, path: &Path, format: Format, peers: &Peers) -> Result<()> {
        if self.model.input_keys().len() != 1 || self.model.output_keys().len() != 1 {
            let what = "writing the predictions of a model of several inputs or outputs here";
            return Err(Error::unsupported(what, "`brasa predict --input X.npz --output Y.npz`"));
        }
        let shown = Shown::new(self.model, None)?;
        let rank = peers.as_ref().map(Arc::as_ref);
        if rank.is_some_and(|peers| peers.rank() > 0) {
            return self.each(rank, |_, _, _| Ok(()));
        }
        write_atomically(path, |file| {
            let mut file = std::io::BufWriter::new(file);
            let mut writer = AnswerWriter::new(&shown, format, true, path, &mut file)?;
            self.each(rank, |index, row, truth| {
                let input = self.names.get(index).cloned().unwrap_or_else(|| index.to_string());
                writer.write(&Answer { input, truth: Some(truth.to_vec()), output: Ok(row.to_vec()) })
            })?;
            writer.finish()
        })
    }

    /// Calls `each` with the index, the output and the target of each sample, in order.
    fn each(
        &self,
        peers: Option<&dyn Communicator>,
        mut each: impl FnMut(usize, &[f32], &[f32]) -> Result<()>,
    ) -> Result<()> {
        let width = self.data.y_shape().iter().fold(1, |count: usize, size| count.saturating_mul(*size));
        let mut next = 0;
        // Those of a batch: its outputs, then its targets.
        let mut receive = |numbers: &[f32]| {
            let count = self.batch_size.min(self.data.len() - next);
            let (outputs, y) = numbers.split_at(numbers.len().saturating_sub(count.saturating_mul(width)));
            let rows = outputs.chunks((outputs.len() / count.max(1)).max(1));
            for (row, truth) in rows.zip(y.chunks(width.max(1))) {
                each(next, row, truth)?;
                next += 1;
            }
            Ok(())
        };
        let mut turns = peers.map(Turns::new);
        for start in (0..self.data.len()).step_by(self.batch_size) {
            if turns.as_ref().is_none_or(Turns::is_own) {
                let indices: Vec<usize> = (start..self.data.len().min(start + self.batch_size)).collect();
                let (x, y) = read_samples(self.data, &indices)?;
                let arguments = Predict::new().batch_size(self.batch_size);
                let mut numbers = self.model.predict_with(x, arguments)?.into_raw_vec_and_offset().0;
                numbers.extend(y);
                match &mut turns {
                    Some(turns) => turns.put_numbers(&numbers),
                    None => receive(&numbers)?,
                }
            }
            if let Some(turns) = &mut turns {
                turns.next(|bytes| receive(&Turns::numbers(bytes)))?;
            }
        }
        turns.map_or(Ok(()), |mut turns| turns.finish(|bytes| receive(&Turns::numbers(bytes))))
    }
}

/// The number of mistakes listed.
const MOST_MISTAKES: usize = 5;

/// Lists the samples whose true class got the lowest probability, if samples have names.
fn mistakes(classes: &Classes, names: &[String]) -> Result<()> {
    if names.is_empty() || classes.mistakes.is_empty() {
        return Ok(());
    }
    output::line("\nWorst mistakes")?;
    for mistake in classes.mistakes.iter().take(MOST_MISTAKES) {
        let name =
            names.get(mistake.index).map_or_else(|| mistake.index.to_string(), |name| brasa::text::printable(name));
        let [own, taken] =
            [mistake.class, mistake.predicted].map(|class| brasa::text::printable(&classes.names[class]));
        output::line(format!("{name}: {taken} ({:.2} %), is {own}", mistake.confidence * 100.0))?;
    }
    Ok(())
}

/// Scores in the form that `--json` prints.
pub fn to_json(scores: &Scores) -> Json {
    let metrics: serde_json::Map<String, Json> =
        scores.metrics.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({ "loss": scores.loss, "metrics": metrics, "samples": scores.samples })
}

fn scores_to_json(names: &[String], scores: impl Fn(usize) -> ([Option<f64>; 3], usize)) -> Json {
    let one = |(index, name): (usize, &String)| {
        let ([precision, recall, f1], support) = scores(index);
        json!({ "name": name, "precision": precision, "recall": recall, "f1": f1, "support": support })
    };
    names.iter().enumerate().map(one).collect()
}

/// The most bytes of samples that are cached.
const MOST_REMEMBERED: usize = 1 << 30;

/// A sample's input and target, once read.
type CachedSample = Option<Box<[f32]>>;

/// A source that caches its samples, if all of them fit.
struct Remembering<S> {
    source: S,
    width: usize,
    /// `None` if they do not fit.
    kept: Option<Mutex<Vec<CachedSample>>>,
}

impl<S: Source> Remembering<S> {
    fn new(source: S) -> Self {
        let width: usize = source.x_shape().iter().fold(1, |count, size| count.saturating_mul(*size));
        let bytes = width.saturating_mul(source.len()).saturating_mul(4);
        let kept = (bytes <= MOST_REMEMBERED).then(|| Mutex::new(vec![None; source.len()]));
        Self { source, width, kept }
    }
}

impl<S: Source> Source for Remembering<S> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn x_shape(&self) -> &[usize] {
        self.source.x_shape()
    }

    fn y_shape(&self) -> &[usize] {
        self.source.y_shape()
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        let Some(kept) = &self.kept else { return self.source.read(indices, x, y) };
        // One number per target: the class of an image.
        let width = self.width + 1;
        let lock = || kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let missing: Vec<usize> = {
            let kept = lock();
            indices.iter().copied().filter(|index| kept.get(*index).is_none_or(Option::is_none)).collect()
        };
        if !missing.is_empty() {
            let (mut new_x, mut new_y) = (vec![0.0; missing.len() * self.width], vec![0.0; missing.len()]);
            self.source.read(&missing, &mut new_x, &mut new_y)?;
            let mut kept = lock();
            for ((index, row), target) in missing.iter().zip(new_x.chunks(self.width)).zip(new_y) {
                let mut both = Vec::with_capacity(width);
                both.extend_from_slice(row);
                both.push(target);
                kept[*index] = Some(both.into());
            }
        }
        let kept = lock();
        for ((index, row), target) in indices.iter().zip(x.chunks_mut(self.width)).zip(y) {
            if let Some(both) = &kept[*index] {
                row.copy_from_slice(&both[..self.width]);
                *target = both[self.width];
            }
        }
        Ok(())
    }

    fn fingerprint(&self) -> Result<Option<u64>> {
        let Some(own) = self.source.fingerprint()? else { return Ok(None) };
        let mut sum = Fingerprint::new();
        sum.add(own);
        Ok(Some(sum.finish()))
    }
}
