//! Data to learn from: arrays in memory, and readers of the usual files.
//!
//! * [`Samples`] is a block of numbers whose first axis counts the samples; [`Dataset`] is a pair of them, `x` and `y`.
//! * [`Source`] is what training reads from: a [`Dataset`], or anything that can read samples by their indices,
//!   such as a [`NpySource`] or an [`ImageFolder`], which leave the data on disk.
//! * [`mnist`] and [`fashion_mnist`] are found, or downloaded, by name. Other files: [`load_npy`], [`load_npz`],
//!   [`load_idx`], [`load_csv`] ([`Csv`] with options), [`load_image`].
//!
//! With the cargo feature `dataset` (on by default) any dataset of the crate `burn-dataset` is trained on as a
//! `FromBurn`, and Brasa's data are Burn datasets for Burn's `DataLoader` (`ToBurn`, `Sample`).
//!
//! Files are not trusted: sizes are checked before memory is asked for, and a damaged file is an
//! [`Error::Broken`](crate::Error::Broken) that names it.

#[cfg(feature = "dataset")]
mod burn;
mod cache;
mod column;
mod csv;
mod dataset;
#[cfg(feature = "download")]
mod download;
pub mod fashion_mnist;
mod fields;
mod fingerprint;
mod idx;
mod image;
mod info;
pub mod mnist;
mod npy;
mod npy_file;
mod npz;
mod number;
mod one_hot;
mod pixels;
mod ranged;
mod samples;
mod source;
mod texts;
mod time_series;

#[cfg(feature = "dataset")]
pub use self::burn::{FromBurn, Sample, ToBurn};
pub(crate) use self::csv::class_of_number;
pub(crate) use self::fields::places;
pub(crate) use self::source::{read_all_columns, read_column};
pub(crate) use self::texts::texts_shuffled;
pub use self::{
    cache::cache_dir,
    column::{Cells, Column},
    csv::{ColumnInfo, ColumnProfile, Csv, Fill, Missing, Table, TableInfo, TableRows, load_csv},
    dataset::{Dataset, split_index},
    fields::{Field, IntoFields},
    fingerprint::Fingerprint,
    idx::load_idx,
    image::{ImageFolder, ReadImage, decode_image, image_size, is_picture, is_tree, load_image, load_image_with},
    info::{DataInfo, PixelRange, check_class_names},
    npy::{NpyWriter, decode_npy, load_npy, save_npy},
    npy_file::{NpyFile, NpySource},
    npz::{Npz, decode_npz, load_npz, save_npz},
    one_hot::OneHot,
    ranged::Ranged,
    samples::{IntoSamples, Number, Samples},
    source::{Part, Rows, Source, Weighted, read_samples},
    texts::{Text, TextFolder, load_text_csv, load_texts},
    time_series::{TimeSeries, Window},
};
