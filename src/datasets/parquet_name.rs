//! Recognising Parquet files.

use std::path::Path;

#[cfg(not(feature = "parquet"))]
use crate::error::Error;
use crate::text::extension;

/// Whether a file is read as Parquet, by its name.
pub(super) fn is_parquet(path: &Path) -> bool {
    ["parquet", "pq"].contains(&extension(path).as_str())
}

/// The error for such a file in a build without the feature.
#[cfg(not(feature = "parquet"))]
pub(super) fn without_parquet(path: &Path) -> Error {
    let what = format!("`{}`: this build cannot read Parquet (cargo feature `parquet`)", path.display());
    Error::unsupported(what, "tables in `.csv` and `.tsv` files")
}
