//! Data sets: arrays in memory, and readers for common file formats.
//!
//! * [`Samples`] is a block of numbers whose first axis counts the samples; [`Dataset`] is a pair of them, `x` and `y`.
//! * [`Source`] is the trait that training reads from: a [`Dataset`], or anything that reads samples by index,
//!   such as a [`NpySource`] or an [`ImageFolder`], which leave the data on disk.
//! * [`mnist`] and [`fashion_mnist`] are found, or downloaded, by name. Other files: [`load_npy`], [`load_npz`],
//!   [`load_idx`], [`load_csv`] ([`Csv`] with options), [`load_image`].
//!
//! With the cargo feature `dataset` (on by default) any dataset of the crate `burn-dataset` can be trained on through
//! `FromBurn`, and Brasa's data sets are Burn datasets for Burn's `DataLoader` (`ToBurn`, `Sample`).
//!
//! Files are untrusted: sizes are checked before allocation, and a damaged file is an
//! [`Error::Broken`](crate::Error::Broken) that names it.

#[cfg(feature = "dataset")]
mod burn;
mod cache;
mod column;
#[cfg(feature = "csv")]
mod csv;
mod dataset;
mod digest;
#[cfg(feature = "download")]
mod download;
pub mod fashion_mnist;
mod fields;
mod fingerprint;
#[cfg(any(feature = "csv", feature = "images"))]
mod folders;
mod idx;
#[cfg(feature = "images")]
mod image;
mod info;
pub mod mnist;
mod npy;
mod npy_file;
mod npz;
mod number;
mod one_hot;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(any(feature = "parquet", test))]
mod parquet_header;
#[cfg(feature = "csv")]
mod parquet_name;
#[cfg(feature = "images")]
mod pixels;
mod ranged;
mod samples;
#[cfg(feature = "shards")]
mod shards;
#[cfg(any(feature = "csv", feature = "images"))]
mod shuffle;
mod source;
mod stream;
mod table_info;
#[cfg(feature = "csv")]
mod texts;
mod time_series;

#[cfg(feature = "dataset")]
pub use self::burn::{FromBurn, Sample, ToBurn};
#[cfg(feature = "recipes")]
pub(crate) use self::csv::class_of_number;
#[cfg(feature = "serve")]
pub(crate) use self::csv::is_gap;
#[cfg(feature = "csv")]
pub use self::csv::{ColumnProfile, Csv, Missing, Table, TableRows, load_csv};
pub(crate) use self::fields::field_indices;
#[cfg(any(feature = "csv", feature = "images"))]
pub use self::folders::{is_image, is_tree};
#[cfg(feature = "images")]
pub use self::image::{ImageFolder, ReadImage, decode_image, image_size, load_image, load_image_with};
#[cfg(feature = "shards")]
pub use self::shards::Shards;
#[cfg(feature = "object-store")]
pub use self::shards::object_store;
#[cfg(feature = "recipes")]
pub(crate) use self::source::{read_all_columns, read_column};
pub(crate) use self::stream::{Batches, Pending};
#[cfg(feature = "recipes")]
pub(crate) use self::texts::texts_shuffled;
#[cfg(feature = "csv")]
pub use self::texts::{Text, TextFolder, load_text_csv, load_texts};
pub use self::{
    cache::cache_dir,
    column::{Cells, Column},
    dataset::Dataset,
    fields::{Field, IntoFields},
    fingerprint::Fingerprint,
    idx::load_idx,
    info::{DataInfo, PixelRange, check_class_names},
    npy::{NpyWriter, decode_npy, load_npy, save_npy},
    npy_file::{NpyFile, NpySource},
    npz::{Npz, decode_npz, load_npz, save_npz},
    one_hot::OneHot,
    ranged::Ranged,
    samples::{IntoSamples, Number, Samples, split_index},
    source::{Part, Rows, Source, Weighted, read_samples},
    stream::Stream,
    table_info::{ColumnInfo, Fill, TableInfo},
    time_series::{TimeSeries, Window},
};
