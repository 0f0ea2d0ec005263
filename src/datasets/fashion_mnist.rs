//! Fashion-MNIST: 70,000 images of clothes in MNIST's format.
//!
//! Source: H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
//! Algorithms", arXiv:1708.07747.

use std::path::PathBuf;

use super::{dataset::Dataset, mnist::Mnist};
use crate::error::Result;

/// The names of the labels 0 to 9.
pub const CLASS_NAMES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

/// Loads Fashion-MNIST as [`mnist::load`](super::mnist::load) loads MNIST, from `data/fashion_mnist`, the cache or the
/// network: 60,000 images to train on and 10,000 to test with.
///
/// # Errors
/// Those of [`Mnist::load`].
pub fn load() -> Result<(Dataset, Dataset)> {
    Mnist::fashion().load()
}

/// Loads the four files in a folder, gzipped or not.
///
/// # Errors
/// Those of [`Mnist::load`].
pub fn load_from(folder: impl Into<PathBuf>) -> Result<(Dataset, Dataset)> {
    Mnist::fashion().data_dir(folder).load()
}
