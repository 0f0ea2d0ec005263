//! `[data]`: what is trained on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Arguments, Config, missing};
use crate::datasets::mnist::Mnist;
use crate::datasets::{
    Csv, Dataset, ImageFolder, NpySource, Part, Source, TextFolder, Weighted, fashion_mnist, load_npy, load_npz,
    load_text_csv,
};
use crate::error::{Error, Result};
use crate::shape::Shape;

/// Which samples there are, and where. Paths are taken from the current directory, as on the command line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "dataset", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataSet {
    /// The handwritten digits.
    Mnist {
        /// The folder of its four files; without one they are looked for, as
        /// [`mnist::load`](crate::datasets::mnist::load) does.
        #[serde(skip_serializing_if = "Option::is_none")]
        data_dir: Option<PathBuf>,
    },
    /// The pictures of clothes.
    FashionMnist {
        /// The folder of its four files.
        #[serde(skip_serializing_if = "Option::is_none")]
        data_dir: Option<PathBuf>,
    },
    /// An `.npz` with arrays `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test`; `sample_weight` (or
    /// `sample_weight_train`, `sample_weight_test`) has the weights of the samples.
    Npz {
        /// The file.
        path: PathBuf,
    },
    /// Two `.npy` files, which stay on disk.
    Npy {
        /// The inputs.
        x: PathBuf,
        /// The targets.
        y: PathBuf,
        /// The weights of the samples, which are read into memory.
        #[serde(skip_serializing_if = "Option::is_none")]
        sample_weight: Option<PathBuf>,
    },
    /// A folder with a folder of pictures for each class. They are read in the model's input shape, in an order that
    /// depends on the seed.
    ImageFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder with a folder of texts (`.txt`) for each class, in an order that depends on the seed.
    TextFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A table of numbers, or with a column of texts.
    Csv {
        /// The file.
        path: PathBuf,
        /// The column of texts, which then is the only input.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// The column of the targets; without one the last.
        #[serde(skip_serializing_if = "Option::is_none")]
        target: Option<String>,
        /// Whether the first line names the columns; without it the rule of [`Csv`] holds.
        #[serde(skip_serializing_if = "Option::is_none")]
        header: Option<bool>,
    },
}

/// `[data]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Data {
    /// The samples.
    #[serde(flatten)]
    pub set: DataSet,
    /// How many of them to use, the first: of those to train on, and of those to test with. All if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// The part of the samples to train on, taken from the end, that is validated with instead.
    pub validation_split: f64,
}

/// Samples, ready to be read.
pub struct Loaded {
    /// Those to train on.
    pub train: Box<dyn Source>,
    /// Those to test with, if the data set has its own.
    pub test: Option<Box<dyn Source>>,
    /// What the classes are called, if the data set says so.
    pub class_names: Vec<String>,
    /// What was not obvious about the files, a sentence each.
    pub notes: Vec<String>,
}

/// The words for the data sets and the keys that each has.
const SETS: &[(&str, &[&str])] = &[
    ("mnist", &["data_dir"]),
    ("fashion_mnist", &["data_dir"]),
    ("npz", &["path"]),
    ("npy", &["x", "y", "sample_weight"]),
    ("image_folder", &["path"]),
    ("text_folder", &["path"]),
    ("csv", &["path", "text", "target", "header"]),
];

/// The keys that every data set has.
const COMMON: &[&str] = &["dataset", "samples", "validation_split"];

impl DataSet {
    /// The data set of a published name.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the names there are.
    pub fn named(name: &str, data_dir: Option<PathBuf>) -> Result<Self> {
        match name {
            "mnist" => Ok(Self::Mnist { data_dir }),
            "fashion_mnist" => Ok(Self::FashionMnist { data_dir }),
            name => Err(Error::unknown("data set", name, ["mnist", "fashion_mnist"])),
        }
    }

    /// The data set in a file or folder, told by its name: `.npz`, `.csv`, or a folder of pictures.
    ///
    /// # Errors
    /// [`Error::Io`] if it does not exist, [`Error::Unsupported`] if it is something else.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = std::fs::metadata(&path).map_err(Error::io("open", &path))?;
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
        match extension.as_str() {
            _ if file.is_dir() && TextFolder::is_one(&path) => Ok(Self::TextFolder { path }),
            _ if file.is_dir() => Ok(Self::ImageFolder { path }),
            "npz" => Ok(Self::Npz { path }),
            "csv" => Ok(Self::Csv { path, text: None, target: None, header: None }),
            "npy" => {
                let supported = "a recipe's [data] with dataset = \"npy\", x and y; or one `.npz` with both";
                Err(Error::unsupported(format!("inputs without targets, `{}`", path.display()), supported))
            }
            _ => {
                let what = format!("`{}` as a data set", path.display());
                Err(Error::unsupported(what, "`.npz`, `.csv`, or a folder with a folder of pictures for each class"))
            }
        }
    }

    /// The samples. `input` is the model's input shape, which pictures are brought to; `seed` mixes them.
    ///
    /// # Errors
    /// Those of the data set's reader; [`Error::Argument`] if pictures are to be read for a model without an input
    /// shape of height, width and channels.
    pub fn load(&self, input: Option<&Shape>, seed: u64) -> Result<Loaded> {
        let boxed = |data: Dataset| Box::new(data) as Box<dyn Source>;
        let both = |(train, test): (Dataset, Dataset), class_names: Vec<String>| Loaded {
            train: boxed(train),
            test: Some(boxed(test)),
            class_names,
            notes: Vec::new(),
        };
        Ok(match self {
            Self::Mnist { data_dir } => both(in_folder(Mnist::digits(), data_dir).load()?, Vec::new()),
            Self::FashionMnist { data_dir } => {
                let names = fashion_mnist::CLASS_NAMES.map(str::to_owned).to_vec();
                both(in_folder(Mnist::fashion(), data_dir).load()?, names)
            }
            Self::Npz { path } => {
                let (train, test) = load_npz(path)?;
                Loaded { train: boxed(train), test: test.map(boxed), class_names: Vec::new(), notes: Vec::new() }
            }
            Self::Npy { x, y, sample_weight: None } => alone(NpySource::open(x, y)?, Vec::new()),
            Self::Npy { x, y, sample_weight: Some(weights) } => {
                alone(Weighted::new(NpySource::open(x, y)?, load_npy(weights)?)?, Vec::new())
            }
            Self::Csv { path, text: Some(text), target, header } => {
                if *header == Some(false) {
                    return Err(Error::argument("header", "true, as `text` names a column", false));
                }
                let (data, names) = load_text_csv(path, text, target.as_deref())?;
                alone(data, names)
            }
            Self::TextFolder { path } => {
                let folder = TextFolder::open(path)?;
                let names = folder.class_names().to_vec();
                alone(folder.shuffled(seed), names)
            }
            Self::Csv { path, text: None, target, header } => {
                let csv = header.iter().fold(Csv::new(), |csv, header| csv.header(*header));
                let csv = target.iter().fold(csv, |csv, target| csv.target(target));
                let (data, note) = csv.load_with_note(path)?;
                Loaded { notes: note.into_iter().collect(), ..alone(data, Vec::new()) }
            }
            Self::ImageFolder { path } => {
                let folder = ImageFolder::open(path, picture_shape(input)?)?;
                let names = folder.class_names().to_vec();
                alone(folder.shuffled(seed), names)
            }
        })
    }
}

fn in_folder(mnist: Mnist, folder: &Option<PathBuf>) -> Mnist {
    match folder {
        Some(folder) => mnist.data_dir(folder),
        None => mnist,
    }
}

fn alone(source: impl Source + 'static, class_names: Vec<String>) -> Loaded {
    Loaded { train: Box::new(source), test: None, class_names, notes: Vec::new() }
}

/// Height, width and channels of the pictures that a model takes; `(height, width)` is one channel.
///
/// # Errors
/// [`Error::Argument`] if it takes something else.
pub fn picture_shape(input: Option<&Shape>) -> Result<(usize, usize, usize)> {
    match input.map(Shape::sample) {
        Some([Some(height), Some(width), Some(channels)]) => Ok((*height, *width, *channels)),
        Some([Some(height), Some(width)]) => Ok((*height, *width, 1)),
        _ => {
            let received = input.map_or_else(|| "none".to_owned(), Shape::to_string);
            Err(Error::argument("input_shape", "height, width and channels, for pictures", received))
        }
    }
}

impl Data {
    /// All samples of a data set, without validation.
    pub fn new(set: DataSet) -> Self {
        Self { set, samples: None, validation_split: 0.0 }
    }

    /// The section that a recipe has.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a data set or key that does not exist, [`Error::Argument`] for a wrong value.
    pub(super) fn from_config(config: Config) -> Result<Self> {
        let mut arguments = Arguments::new(config.clone(), COMMON);
        let Some(dataset) = arguments.take::<String>("dataset")? else { return missing("dataset") };
        let own = SETS.iter().find(|(name, _)| *name == dataset);
        let (_, own) = own.ok_or_else(|| Error::unknown("data set", &dataset, SETS.iter().map(|(name, _)| *name)))?;
        super::check_keys(&config, &[COMMON, own].concat())?;
        let set = match dataset.as_str() {
            "npz" => DataSet::Npz { path: required(&mut arguments, "path")? },
            "npy" => DataSet::Npy {
                x: required(&mut arguments, "x")?,
                y: required(&mut arguments, "y")?,
                sample_weight: arguments.take("sample_weight")?,
            },
            "image_folder" => DataSet::ImageFolder { path: required(&mut arguments, "path")? },
            "text_folder" => DataSet::TextFolder { path: required(&mut arguments, "path")? },
            "csv" => DataSet::Csv {
                path: required(&mut arguments, "path")?,
                text: arguments.take("text")?,
                target: arguments.take("target")?,
                header: arguments.take("header")?,
            },
            name => DataSet::named(name, arguments.take("data_dir")?)?,
        };
        let data = Self {
            set,
            samples: arguments.take("samples")?,
            validation_split: arguments.take("validation_split")?.unwrap_or(0.0),
        };
        arguments.finish()?;
        if data.samples == Some(0) {
            return Err(Error::argument("samples", "an integer above 0", 0));
        }
        if !(0.0..1.0).contains(&data.validation_split) {
            return Err(Error::argument("validation_split", "a number from 0 to below 1", data.validation_split));
        }
        Ok(data)
    }

    /// The samples, as many as are to be used; see [`DataSet::load`].
    ///
    /// # Errors
    /// As [`DataSet::load`].
    pub fn load(&self, input: Option<&Shape>, seed: u64) -> Result<Loaded> {
        let loaded = self.set.load(input, seed)?;
        let Some(samples) = self.samples else { return Ok(loaded) };
        let first = |source: Box<dyn Source>| -> Result<Box<dyn Source>> {
            let end = samples.min(source.len());
            Ok(Box::new(Part::new(source, ..end)?))
        };
        Ok(Loaded { train: first(loaded.train)?, test: loaded.test.map(first).transpose()?, ..loaded })
    }
}

fn required<T: for<'de> Deserialize<'de>>(arguments: &mut Arguments, name: &'static str) -> Result<T> {
    match arguments.take(name)? {
        Some(value) => Ok(value),
        None => missing(name),
    }
}
