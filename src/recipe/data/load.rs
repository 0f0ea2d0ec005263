//! Loading the samples of `[data]`.

use std::path::{Path, PathBuf};

use super::{Data, DataSet, TableSettings, image_shape};
use crate::datasets::mnist::Mnist;
use crate::datasets::{
    Csv, DataInfo, Dataset, ImageFolder, NpySource, Part, PixelRange, Ranged, ReadImage, Shards, Source, Table,
    TableInfo, TextFolder, TimeSeries, Weighted, check_class_names, class_of_number, fashion_mnist, is_tree, load_npy,
    load_npz, load_text_csv, texts_shuffled,
};
use crate::error::{Error, Result};
use crate::model::Model;

/// The samples of shards that are read before training, for their shapes.
const FIRST: usize = 64;

/// The seed for the order of images if none is given.
const SPLIT_SEED: u64 = 0;

/// The purpose of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reading {
    /// For training: images that cannot be decoded are found before it begins, and the columns of a table are analysed.
    ToTrain,
    /// For evaluation: a table is read like the one that the model was trained on.
    AsTrained,
}

/// Samples, ready to be read.
#[non_exhaustive]
pub struct Loaded {
    /// The training samples; of [`shards`](Self::shards) the first alone.
    pub train: Box<dyn Source>,
    /// The training samples, if they are shards: [`Recipe::stream`](super::super::Recipe::stream) has their batches.
    pub shards: Option<Shards>,
    /// The validation samples, if the data set has its own.
    pub validation: Option<Box<dyn Source>>,
    /// The test samples, if the data set has its own.
    pub test: Option<Box<dyn Source>>,
    /// The description of the data to store in the model.
    pub info: DataInfo,
    /// Notes for the user, a sentence each.
    pub notes: Vec<String>,
    /// The names of the training, validation and test samples; empty if they have none.
    pub names: [Vec<String>; 3],
    /// The number of images left out because they cannot be decoded.
    pub broken: usize,
}

/// Samples with names, such as the files of images.
pub struct NamedSource {
    /// The samples.
    pub source: Box<dyn Source>,
    /// Their names; empty if they have none.
    pub names: Vec<String>,
}

impl NamedSource {
    fn new(source: impl Source + 'static) -> Self {
        Self { source: Box::new(source), names: Vec::new() }
    }

    /// The first `samples` of them.
    fn first(self, samples: Option<usize>) -> Result<Self> {
        let Some(samples) = samples else { return Ok(self) };
        let end = samples.min(self.source.len());
        let names = self.names.into_iter().take(end).collect();
        Ok(Self { source: Box::new(Part::new(self.source, ..end)?), names })
    }
}

/// The state of loading data for one model.
struct DataLoader<'a> {
    data: &'a Data,
    model: &'a Model,
    reading: Reading,
    info: DataInfo,
    notes: Vec<String>,
    broken: usize,
    shards: Option<Shards>,
}

impl Data {
    /// Loads the samples that are to be used. The model determines the size of images, the classes, and the layout of
    /// its table.
    ///
    /// # Errors
    /// Those of the data set's reader; [`Error::Argument`] for images and a model without an input shape of height,
    /// width and channels; [`Error::Data`] for classes that are not the model's.
    pub fn load(&self, model: &Model, reading: Reading) -> Result<Loaded> {
        let mut info = model.data_info().clone();
        info.dataset = None;
        let mut reader = DataLoader { data: self, model, reading, info, notes: Vec::new(), broken: 0, shards: None };
        let [train, validation, test] = reader.all()?;
        let Some(train) = train else {
            let expected = "samples to train on (a folder `train`)";
            return Err(Error::data("[data]", expected, "samples to validate and to test with alone"));
        };
        let train = train.first(self.samples)?;
        let test = test.map(|test| test.first(self.samples)).transpose()?;
        let parts = [Some(train), validation, test].map(UnzipNamed::unzip_named);
        let [(train, train_names), (validation, validation_names), (test, test_names)] = parts;
        let Some(train) = train else { return Err(Error::data("[data]", "samples", "none")) };
        let names = [train_names, validation_names, test_names];
        let DataLoader { info, notes, broken, shards, .. } = reader;
        Ok(Loaded { train, shards, validation, test, info, notes, names, broken })
    }
}

trait UnzipNamed {
    fn unzip_named(self) -> (Option<Box<dyn Source>>, Vec<String>);
}

impl UnzipNamed for Option<NamedSource> {
    fn unzip_named(self) -> (Option<Box<dyn Source>>, Vec<String>) {
        self.map_or((None, Vec::new()), |named| (Some(named.source), named.names))
    }
}

impl DataLoader<'_> {
    /// The training, validation and test samples.
    fn all(&mut self) -> Result<[Option<NamedSource>; 3]> {
        let given = self.data.class_names.clone();
        if !given.is_empty() {
            self.info.class_names = given;
        }
        match &self.data.set {
            DataSet::Mnist { data_dir } => {
                self.info.dataset = Some("mnist".to_owned());
                self.check_names()?;
                self.published(in_folder(Mnist::digits(), data_dir).load()?)
            }
            DataSet::FashionMnist { data_dir } => {
                self.info.dataset = Some("fashion_mnist".to_owned());
                let own = fashion_mnist::CLASS_NAMES.map(str::to_owned);
                if self.data.class_names.is_empty() {
                    self.classes_found(&own, Path::new("fashion_mnist"))?;
                }
                self.published(in_folder(Mnist::fashion(), data_dir).load()?)
            }
            DataSet::Npy { x, y, sample_weight } => {
                let source = NpySource::open(x, y)?;
                let named = match sample_weight {
                    None => NamedSource::new(source),
                    Some(weights) => NamedSource::new(Weighted::new(source, load_npy(weights)?)?),
                };
                self.check_names()?;
                Ok([Some(named), None, None])
            }
            DataSet::Npz { path } => {
                let (train, test) = load_npz(path)?;
                let other = |path: &Option<PathBuf>| {
                    path.as_ref().map(|path| load_npz(path).map(|(data, _)| NamedSource::new(data)))
                };
                let validation = other(&self.data.validation).transpose()?;
                let own_test = other(&self.data.test).transpose()?;
                self.check_names()?;
                Ok([Some(NamedSource::new(train)), validation, own_test.or(test.map(NamedSource::new))])
            }
            DataSet::Shards { path, .. } => self.shards(path),
            DataSet::ImageFolder { path } => self.folders(path),
            DataSet::TextFolder { path } => {
                let [train, validation, test] = is_tree(path)?.unwrap_or([Some(path.clone()), None, None]);
                let validation = self.data.validation.clone().or(validation);
                let test = self.data.test.clone().or(test);
                let mut parts = [const { None }; 3];
                for (part, path) in parts.iter_mut().zip([train, validation, test]) {
                    *part = path.map(|path| self.text_folder(&path)).transpose()?;
                }
                Ok(parts)
            }
            DataSet::Csv { path, table } => match &table.text {
                Some(text) => self.text_tables(path, text, table.target_of_text()?.as_deref()),
                None => self.tables(path, table),
            },
        }
    }

    /// The first training samples of shards; those to validate and to test with in memory.
    fn shards(&mut self, path: &Path) -> Result<[Option<NamedSource>; 3]> {
        let train = self.opened(path)?;
        let found = train.info()?;
        if self.info.class_names.is_empty() {
            self.info.class_names = found.class_names;
        }
        self.info.table = found.table;
        self.check_names()?;
        let first = train.first(FIRST)?;
        self.notes.push(format!("found {} shards `{}`", train.files().len(), path.display()));
        self.shards = Some(train);
        let data = self.data;
        let mut other = |path: &Option<PathBuf>| -> Result<Option<NamedSource>> {
            let Some(path) = path else { return Ok(None) };
            Ok(Some(NamedSource::new(self.opened(path)?.load()?)))
        };
        let (validation, test) = (other(&data.validation)?, other(&data.test)?);
        Ok([Some(NamedSource::new(first)), validation, test])
    }

    /// Shards as the recipe describes them.
    fn opened(&mut self, path: &Path) -> Result<Shards> {
        let mut shards = Shards::open(path)?.class_names(self.info.class_names.clone());
        if let DataSet::Shards { inputs, targets, shuffle_buffer, .. } = &self.data.set {
            shards = shards.inputs(inputs.clone()).targets(targets.clone());
            shards = shuffle_buffer.iter().fold(shards, |shards, samples| shards.shuffle_buffer(*samples));
        }
        // Of the first shards, or of those that the model was trained on.
        let table = self.info.table.as_ref().or(self.model.data_info().table.as_ref());
        if let Some(table) = table {
            shards = shards.table(Csv::new().like(table));
        }
        if !shards.has_images()? {
            return Ok(shards);
        }
        let range = self.data.pixels.unwrap_or_else(|| self.model.pixel_range());
        if self.data.pixels.is_none() && self.model.data_info().pixels.is_none() && self.info.pixels.is_none() {
            self.notes.push(because(range));
        }
        self.info.pixels = Some(range);
        Ok(shards.images(ReadImage::new(image_shape(self.model.input_shape().ok())?).pixels(range)))
    }

    fn text_folder(&mut self, path: &Path) -> Result<NamedSource> {
        let folder = TextFolder::open(path)?;
        self.classes_found(folder.class_names(), path)?;
        let folder = folder.shuffled(self.data.split_seed.unwrap_or(SPLIT_SEED));
        let names = folder.texts().iter().map(|(path, _)| path.display().to_string()).collect();
        Ok(NamedSource { source: Box::new(folder), names })
    }

    /// Tables with a column of texts.
    fn text_tables(&mut self, path: &Path, text: &str, target: Option<&str>) -> Result<[Option<NamedSource>; 3]> {
        let (train, names) = load_text_csv(path, text, target)?;
        self.classes_found(&names, path)?;
        let mut train = as_classes(train, &names, &self.info.class_names, path)?;
        if let Some(seed) = self.data.split_seed {
            train = texts_shuffled(&train, seed)?;
        }
        let own = self.data;
        let mut other = |path: &Option<PathBuf>| -> Result<Option<NamedSource>> {
            let Some(path) = path else { return Ok(None) };
            let (data, names) = load_text_csv(path, text, target)?;
            if self.info.class_names.is_empty() && !names.is_empty() {
                let what = format!("the targets of `{}`", path.display());
                return Err(Error::data(what, "numbers, as of the samples to train on", names.join(", ")));
            }
            self.classes_found(&names, path)?;
            Ok(Some(NamedSource::new(as_classes(data, &names, &self.info.class_names, path)?)))
        };
        let (validation, test) = (other(&own.validation)?, other(&own.test)?);
        Ok([Some(NamedSource::new(train)), validation, test])
    }

    /// Takes the names of the classes found, or refuses them if others are known.
    fn classes_found(&mut self, found: &[String], path: &Path) -> Result<()> {
        if self.info.class_names.is_empty() {
            self.info.class_names = found.to_vec();
        } else if !found.is_empty() && self.info.class_names != found {
            let what = format!("the classes of `{}`", path.display());
            return Err(Error::data(what, self.info.class_names.join(", "), found.join(", ")));
        }
        self.check_names()
    }

    /// Images stored with values from 0 to 1.
    fn published(&mut self, (train, test): (Dataset, Dataset)) -> Result<[Option<NamedSource>; 3]> {
        let range = self.data.pixels.unwrap_or_else(|| self.model.pixel_range());
        self.info.pixels = Some(range);
        if range == PixelRange::ZeroToOne {
            return Ok([Some(NamedSource::new(train)), None, Some(NamedSource::new(test))]);
        }
        if self.data.pixels.is_none() && self.model.data_info().pixels.is_none() {
            self.notes.push(because(range));
        }
        Ok([Some(NamedSource::new(Ranged::new(train, range))), None, Some(NamedSource::new(Ranged::new(test, range)))])
    }

    fn folders(&mut self, path: &Path) -> Result<[Option<NamedSource>; 3]> {
        let [mut train, mut validation, mut test] = match is_tree(path)? {
            Some(parts) => parts,
            None => [Some(path.to_owned()), None, None],
        };
        validation = self.data.validation.clone().or(validation);
        test = self.data.test.clone().or(test);
        let range = self.data.pixels.unwrap_or_else(|| self.model.pixel_range());
        if self.data.pixels.is_none() && self.model.data_info().pixels.is_none() {
            self.notes.push(because(range));
        }
        self.info.pixels = Some(range);
        let mut parts = [const { None }; 3];
        for (part, path) in parts.iter_mut().zip([train.take(), validation, test]) {
            *part = path.map(|path| self.folder(&path, range)).transpose()?;
        }
        Ok(parts)
    }

    fn folder(&mut self, path: &Path, range: PixelRange) -> Result<NamedSource> {
        let shown = path.display();
        let mut folder = ImageFolder::open(path, image_shape(self.model.input_shape().ok())?)?.pixels(range);
        let left_out = match folder.left_out() {
            0 => String::new(),
            1 => "; one file that is hidden or no image was left out".to_owned(),
            count => format!("; {count} files that are hidden or no images were left out"),
        };
        let (images, classes) = (folder.len(), folder.class_names().len());
        self.notes.push(format!("found {images} images of {classes} classes in `{shown}`{left_out}"));
        let expected = self.model.output_shape().ok().and_then(|shape| shape.known_sample().ok());
        let expected = match expected.as_deref() {
            Some([outputs]) => self.model.meaning().classes(*outputs),
            _ => None,
        };
        if self.info.class_names.is_empty() {
            if let Some(expected) = expected.filter(|expected| *expected != classes) {
                let what = format!("the classes of `{shown}`");
                let wanted = format!("{expected} classes (folders), as the model has, or their names (`class_names`)");
                return Err(Error::data(what, wanted, format!("{classes}: {}", folder.class_names().join(", "))));
            }
            self.info.class_names = folder.class_names().to_vec();
        } else {
            if let Some(expected) = expected {
                check_count(&self.info.class_names, expected)?;
            }
            folder = folder.with_class_names(&self.info.class_names)?;
        }
        if self.data.skip_broken || self.reading == Reading::ToTrain {
            let broken = folder.broken();
            if !broken.is_empty() && !self.data.skip_broken {
                return Err(refused(broken));
            }
            for (path, error) in broken.iter().take(MOST_NAMED) {
                self.notes.push(format!("`{}` was left out: {error}", path.display()));
            }
            if broken.len() > MOST_NAMED {
                self.notes.push(format!("{} more broken images were left out", broken.len() - MOST_NAMED));
            }
            self.broken += broken.len();
            let paths: Vec<PathBuf> = broken.into_iter().map(|(path, _)| path).collect();
            folder = folder.without(&paths)?;
        }
        let folder = folder.shuffled(self.data.split_seed.unwrap_or(SPLIT_SEED));
        let names = folder.images().iter().map(|(path, _)| path.display().to_string()).collect();
        Ok(NamedSource { source: Box::new(folder), names })
    }

    fn tables(&mut self, path: &Path, settings: &TableSettings) -> Result<[Option<NamedSource>; 3]> {
        let known = self.model.data_info().table.clone();
        // The model's inputs are fixed by training: other settings would change the numbers of the same columns.
        let as_known = known;
        if let Some(info) = &as_known {
            settings.check_like(info)?;
            self.check_width(info)?;
        }
        let held_back = if self.data.validation.is_some() { 0.0 } else { self.data.validation_split };
        let csv = settings.csv().held_back(held_back);
        let csv = self.data.split_seed.into_iter().fold(csv, Csv::shuffled);
        let csv = match &as_known {
            Some(info) => csv.like(info).targets_too(info.window.is_some()),
            None => csv,
        };
        let window = as_known.as_ref().map_or(settings.window(), |info| info.window);
        if let (Some(_), Some(seed)) = (window, self.data.split_seed) {
            return Err(Error::argument("split_seed", "none, as windows over time need rows in their order", seed));
        }
        let csv = csv.class_names(self.info.class_names.clone());
        let train = csv.read(path)?;
        self.info.class_names = train.class_names.clone();
        let mut info = train.info.clone();
        info.window = window;
        self.info.table = Some(info.clone());
        let like = csv.clone().like(&info).held_back(0.0).class_names(train.class_names.clone());
        if as_known.is_none() {
            self.notes.extend(train.notes.iter().cloned());
        }
        let other = |path: &Option<PathBuf>| -> Result<Option<NamedSource>> {
            let Some(path) = path else { return Ok(None) };
            rows(like.read(path)?, path, window).map(Some)
        };
        let (validation, test) = (other(&self.data.validation)?, other(&self.data.test)?);
        self.check_names()?;
        Ok([Some(rows(train, path, window)?), validation, test])
    }

    /// Refuses a table whose number of inputs differs from the model's.
    fn check_width(&self, info: &TableInfo) -> Result<()> {
        let Some(inputs) = self.model.input_shape().ok().and_then(|shape| shape.known_sample().ok()) else {
            return Ok(());
        };
        let expected = inputs.iter().fold(1usize, |count, size| count.saturating_mul(*size));
        let steps = info.window.map_or(1, |window| window.length());
        let own = info.width().saturating_mul(steps);
        if own != expected {
            let expected = format!("a table of {expected} inputs, as the model has");
            return Err(Error::data("what the model knows of its table", expected, own));
        }
        Ok(())
    }

    /// Refuses a number of class names that differs from the model's classes.
    fn check_names(&self) -> Result<()> {
        if self.info.class_names.is_empty() {
            return Ok(());
        }
        check_class_names(&self.info.class_names)?;
        check_names_of(&self.info.class_names, self.model)
    }
}

impl Loaded {
    /// Refuses a number of class names that differs from the model's classes, if its shapes are known. [`Data::load`]
    /// has checked this for a model that was already built.
    ///
    /// # Errors
    /// [`Error::Argument`].
    pub fn check_classes(&self, model: &Model) -> Result<()> {
        if self.info.class_names.is_empty() { Ok(()) } else { check_names_of(&self.info.class_names, model) }
    }
}

fn check_names_of(names: &[String], model: &Model) -> Result<()> {
    let outputs = model.output_shape().ok().and_then(|shape| shape.known_sample().ok());
    match outputs.as_deref() {
        Some([outputs]) => {
            let expected = model.meaning().classes(*outputs);
            expected.map_or(Ok(()), |expected| check_count(names, expected))
        }
        _ => Ok(()),
    }
}

/// Converts numeric targets to class indices, if the classes have names that the targets do not contain.
fn as_classes(data: Dataset, named: &[String], classes: &[String], path: &Path) -> Result<Dataset> {
    if classes.is_empty() || !named.is_empty() {
        return Ok(data);
    }
    let class = |target: f32| match class_of_number(&target.to_string(), classes) {
        Some(class) => Ok(class as f32),
        None => {
            let what = format!("the targets of `{}`", path.display());
            Err(Error::data(what, format!("classes ({})", classes.join(", ")), target))
        }
    };
    let targets = data.y().to_vec_f32().into_iter().map(class).collect::<Result<Vec<f32>>>()?;
    Dataset::new(data.x().clone(), targets)
}

/// The most broken images that are listed.
const MOST_NAMED: usize = 10;

/// The error for broken images.
fn refused(broken: Vec<(PathBuf, Error)>) -> Error {
    let count = broken.len();
    let Some((path, first)) = broken.into_iter().next() else { return Error::data("images", "images", "none") };
    let what = match count {
        1 => format!("`{}`", path.display()),
        count => format!("{count} images, the first of them `{}`,", path.display()),
    };
    let reason = match first {
        Error::Broken { reason, .. } => reason.to_string(),
        error => error.to_string(),
    };
    let expected = "images that can be decoded (`skip_broken` leaves others out)";
    Error::data(what, expected, reason)
}

/// The samples of a table.
fn rows(table: Table, path: &Path, window: Option<crate::datasets::Window>) -> Result<NamedSource> {
    let shown = path.display();
    match window {
        None => {
            let names = table.lines.iter().map(|line| format!("{shown}:{line}")).collect();
            Ok(NamedSource { source: Box::new(table.data), names })
        }
        Some(window) => {
            let series = TimeSeries::ahead(table.data.x(), table.data.y(), window)?;
            // Each is named after the last line of its window.
            let last = (0..series.len()).map(|index| index * window.step() + window.span() - 1);
            let names = last.map(|row| format!("{shown}:{}", table.lines[row])).collect();
            Ok(NamedSource { source: Box::new(series), names })
        }
    }
}

/// Refuses another number of class names.
fn check_count(names: &[String], expected: usize) -> Result<()> {
    if names.len() == expected {
        return Ok(());
    }
    let expected = format!("{expected} names, one for each class of the model");
    Err(Error::argument("class_names", expected, format!("{}: {}", names.len(), names.join(", "))))
}

/// The note on a pixel range that was chosen for the model.
fn because(range: PixelRange) -> String {
    let why = match range {
        PixelRange::ZeroTo255 => "as the model begins with a layer that takes bytes",
        _ => "as no layer at the model's start takes bytes",
    };
    format!("images are read as {range}, {why}; `pixels` overrides it")
}

fn in_folder(mnist: Mnist, folder: &Option<PathBuf>) -> Mnist {
    match folder {
        Some(folder) => mnist.data_dir(folder),
        None => mnist,
    }
}
