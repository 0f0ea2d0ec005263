//! `[data]`: the samples.

mod load;
mod table;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::load::{Loaded, NamedSource, Reading};
pub use self::table::{Gaps, OneOrMany, TableSettings};
use crate::config::{Arguments, Config, missing};
use crate::datasets::{PixelRange, TextFolder, check_class_names};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::text::extension;

/// A data set and its location. Paths are relative to the current directory, as on the command line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "dataset", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DataSet {
    /// The handwritten digits.
    Mnist {
        /// The folder of its four files; without one the default places of
        /// [`mnist::load`](crate::datasets::mnist::load) are searched.
        #[serde(skip_serializing_if = "Option::is_none")]
        data_dir: Option<PathBuf>,
    },
    /// The images of clothes.
    FashionMnist {
        /// The folder of its four files.
        #[serde(skip_serializing_if = "Option::is_none")]
        data_dir: Option<PathBuf>,
    },
    /// An `.npz` with arrays `x` and `y`, or `x_train`, `y_train`, `x_test` and `y_test`; `sample_weight` (or
    /// `sample_weight_train`, `sample_weight_test`) holds the weights of the samples.
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
    /// A folder with a folder of images for each class, or with folders `train`, `val` and `test` of such folders.
    /// Images are resized to the model's input shape; their order depends on `split_seed`.
    ImageFolder {
        /// The folder.
        path: PathBuf,
    },
    /// A folder with a folder of texts (`.txt`) for each class, or with folders `train`, `val` and `test` of such folders,
    /// in an order that depends on `split_seed`.
    TextFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Samples in many files, which are read one after another: archives of samples, `.npz`, tables.
    Shards {
        /// The pattern of the files.
        path: PathBuf,
        /// The members of an archive that are inputs, by the rest of their names, or columns of a table.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        inputs: Vec<String>,
        /// Those that are targets.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        targets: Vec<String>,
        /// The number of samples out of which the next one is drawn.
        #[serde(skip_serializing_if = "Option::is_none")]
        shuffle_buffer: Option<usize>,
    },
    /// A table.
    Csv {
        /// The file.
        path: PathBuf,
        /// The settings for reading it.
        #[serde(flatten)]
        table: TableSettings,
    },
}

/// `[data]` of a recipe.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Data {
    /// The samples.
    #[serde(flatten)]
    pub set: DataSet,
    /// Validation samples, of the same kind as the training samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<PathBuf>,
    /// Test samples, of the same kind as the training samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// The number of training samples, and of test samples, to use, from the start. All if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// The fraction of the training samples, taken from the end, that is used for validation instead.
    pub validation_split: f64,
    /// The seed for the order of images, and of a table's rows if given, from whose end the validation samples are
    /// taken. It is independent of training, so that a resumed or another run validates with the same samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_seed: Option<u64>,
    /// The range of pixel values; if `None`, [the model's](crate::Model::pixel_range).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelRange>,
    /// The names of the classes by index; if empty, those stored in the model, or else the folders' names or the values
    /// of a table's target, in alphabetical order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// Whether images that cannot be decoded are left out. Otherwise they are an error before training.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip_broken: bool,
}

/// The names of the data sets and their keys. The guide's chapter on recipes lists them all.
pub(super) const SETS: &[(&str, &[&str])] = &[
    ("mnist", &["data_dir", "pixels", "class_names"]),
    ("fashion_mnist", &["data_dir", "pixels", "class_names"]),
    ("npz", &["path", "train", "validation", "test", "class_names"]),
    ("npy", &["x", "y", "sample_weight", "class_names"]),
    ("image_folder", &["path", "train", "validation", "test", "pixels", "class_names", "split_seed", "skip_broken"]),
    ("text_folder", &["path", "train", "validation", "test", "class_names", "split_seed"]),
    (
        "shards",
        &["path", "train", "validation", "test", "inputs", "targets", "shuffle_buffer", "pixels", "class_names"],
    ),
    ("csv", TABLE),
];

/// The keys of a table.
const TABLE: &[&str] = &[
    "path",
    "train",
    "validation",
    "test",
    "text",
    "target",
    "header",
    "separator",
    "columns",
    "exclude",
    "missing",
    "window",
    "stride",
    "sampling",
    "ahead",
    "class_names",
    "split_seed",
];

/// The keys that every data set has.
pub(super) const COMMON: &[&str] = &["dataset", "samples", "validation_split"];

/// The data sets that have a key of `[data]`; none for one that all have.
pub(super) fn data_sets_with(key: &str) -> Vec<&'static str> {
    SETS.iter().filter(|(_, keys)| keys.contains(&key)).map(|(name, _)| *name).collect()
}

/// Every key of `[data]`, sorted.
#[cfg(test)]
pub(super) fn all_keys() -> Vec<&'static str> {
    let mut keys: Vec<&str> = SETS.iter().flat_map(|(_, keys)| *keys).chain(COMMON).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl DataSet {
    /// A published data set by name.
    ///
    /// # Errors
    /// [`Error::UnknownName`] with the list of names.
    pub fn named(name: &str, data_dir: Option<PathBuf>) -> Result<Self> {
        match name {
            "mnist" => Ok(Self::Mnist { data_dir }),
            "fashion_mnist" => Ok(Self::FashionMnist { data_dir }),
            name => Err(Error::unknown("data set", name, ["mnist", "fashion_mnist"])),
        }
    }

    /// The data set at a path: `.npz`, `.csv`, `.tsv`, `.parquet`, or a folder with one folder of images or texts per
    /// class.
    ///
    /// # Errors
    /// [`Error::Io`] if it does not exist, [`Error::Unsupported`] for anything else.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let file = std::fs::metadata(&path).map_err(Error::io("open", &path))?;
        match extension(&path).as_str() {
            _ if file.is_dir() && TextFolder::is_one(&path) => Ok(Self::TextFolder { path }),
            _ if file.is_dir() => Ok(Self::ImageFolder { path }),
            "npz" => Ok(Self::Npz { path }),
            "csv" | "tsv" | "tab" | "parquet" | "pq" => Ok(Self::Csv { path, table: TableSettings::default() }),
            "npy" => {
                let supported = "a recipe's [data] with dataset = \"npy\", x and y; or one `.npz` with both";
                Err(Error::unsupported(format!("inputs without targets, `{}`", path.display()), supported))
            }
            _ => {
                let what = format!("`{}` as a data set", path.display());
                let supported =
                    "`.npz`, `.csv`, `.tsv`, `.parquet`, or a folder with one folder of images or texts per class";
                Err(Error::unsupported(what, supported))
            }
        }
    }

    /// Whether its samples are, or can be, images that are brought to a range of numbers.
    pub fn has_images(&self) -> bool {
        matches!(self, Self::Mnist { .. } | Self::FashionMnist { .. } | Self::ImageFolder { .. } | Self::Shards { .. })
    }

    /// Its name in a recipe.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mnist { .. } => "mnist",
            Self::FashionMnist { .. } => "fashion_mnist",
            Self::Npz { .. } => "npz",
            Self::Npy { .. } => "npy",
            Self::ImageFolder { .. } => "image_folder",
            Self::TextFolder { .. } => "text_folder",
            Self::Shards { .. } => "shards",
            Self::Csv { .. } => "csv",
        }
    }
}

/// Height, width and channels of a model's input images; `(height, width)` is one channel.
///
/// # Errors
/// [`Error::Argument`] for another input shape.
pub fn image_shape(input: Option<&Shape>) -> Result<(usize, usize, usize)> {
    match input.map(Shape::sample) {
        Some([Some(height), Some(width), Some(channels)]) => Ok((*height, *width, *channels)),
        Some([Some(height), Some(width)]) => Ok((*height, *width, 1)),
        _ => {
            let received = input.map_or_else(|| "none".to_owned(), Shape::to_string);
            Err(Error::argument("input_shape", "height, width and channels, for images", received))
        }
    }
}

impl Data {
    /// All samples of a data set, without validation.
    pub fn new(set: DataSet) -> Self {
        Self {
            set,
            validation: None,
            test: None,
            samples: None,
            validation_split: 0.0,
            split_seed: None,
            pixels: None,
            class_names: Vec::new(),
            skip_broken: false,
        }
    }

    /// Reads the section of a recipe.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown data set or key, [`Error::Argument`] for an invalid value.
    pub(super) fn from_config(config: Config) -> Result<Self> {
        let mut arguments = Arguments::new(config.clone(), COMMON);
        let Some(dataset) = arguments.take::<String>("dataset")? else { return missing("dataset") };
        let own = SETS.iter().find(|(name, _)| *name == dataset);
        let (_, own) = own.ok_or_else(|| Error::unknown("data set", &dataset, SETS.iter().map(|(name, _)| *name)))?;
        super::check_keys(&config, &[COMMON, own].concat())?;
        // `train` is another name for `path`.
        let path_of = |arguments: &mut Arguments| match (arguments.take("path")?, arguments.take("train")?) {
            (Some(path), None) | (None, Some(path)) => Ok(path),
            (Some(_), Some(_)) => Err(Error::argument("train", "either path or train", "both")),
            (None, None) => missing("path"),
        };
        let set = match dataset.as_str() {
            "npz" => DataSet::Npz { path: path_of(&mut arguments)? },
            "npy" => DataSet::Npy {
                x: required(&mut arguments, "x")?,
                y: required(&mut arguments, "y")?,
                sample_weight: arguments.take("sample_weight")?,
            },
            "image_folder" => DataSet::ImageFolder { path: path_of(&mut arguments)? },
            "text_folder" => DataSet::TextFolder { path: path_of(&mut arguments)? },
            "shards" => DataSet::Shards {
                path: path_of(&mut arguments)?,
                inputs: arguments.take("inputs")?.unwrap_or_default(),
                targets: arguments.take("targets")?.unwrap_or_default(),
                shuffle_buffer: arguments.take("shuffle_buffer")?,
            },
            "csv" => DataSet::Csv { path: path_of(&mut arguments)?, table: TableSettings::take(&mut arguments)? },
            name => DataSet::named(name, arguments.take("data_dir")?)?,
        };
        let data = Self {
            set,
            validation: arguments.take("validation")?,
            test: arguments.take("test")?,
            samples: arguments.take("samples")?,
            validation_split: arguments.take("validation_split")?.unwrap_or(0.0),
            split_seed: arguments.take("split_seed")?,
            pixels: arguments.take::<String>("pixels")?.map(|name| name.parse()).transpose()?,
            class_names: arguments.take("class_names")?.unwrap_or_default(),
            skip_broken: arguments.take("skip_broken")?.unwrap_or(false),
        };
        arguments.finish()?;
        data.check()?;
        Ok(data)
    }

    fn check(&self) -> Result<()> {
        if self.samples == Some(0) {
            return Err(Error::argument("samples", "an integer above 0", 0));
        }
        if !(0.0..1.0).contains(&self.validation_split) {
            return Err(Error::argument("validation_split", "a number from 0 to below 1", self.validation_split));
        }
        if let (DataSet::Shards { .. }, true) = (&self.set, self.validation_split > 0.0) {
            let expected = "0 for shards; `validation` names those to validate with";
            return Err(Error::argument("validation_split", expected, self.validation_split));
        }
        if let (DataSet::Shards { .. }, Some(samples)) = (&self.set, self.samples) {
            return Err(Error::argument("samples", "none for shards; `steps_per_epoch` makes epochs shorter", samples));
        }
        if self.validation.is_some() && self.validation_split > 0.0 {
            let expected = "either a part of the samples to train on, or `validation`";
            return Err(Error::argument("validation_split", expected, "both"));
        }
        if !self.class_names.is_empty() {
            check_class_names(&self.class_names)?;
        }
        match &self.set {
            DataSet::Csv { table, .. } => table.check(self.split_seed.is_some()),
            _ => Ok(()),
        }
    }
}

fn required<T: for<'de> Deserialize<'de>>(arguments: &mut Arguments, name: &'static str) -> Result<T> {
    match arguments.take(name)? {
        Some(value) => Ok(value),
        None => missing(name),
    }
}
