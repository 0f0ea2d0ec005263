//! Keras's files: `.keras`, `.weights.h5`, and the legacy `.h5`.
//!
//! | file | read with | written with |
//! | --- | --- | --- |
//! | `.keras` (Keras 3, and Keras 2.13 on) | [`KerasFile`] | [`write_keras`] |
//! | `.weights.h5` | [`WeightsFile`] | [`write_weights_h5`] |
//! | `.h5` (the legacy whole-model file) | [`LegacyFile`] | [`write_legacy_h5`] |
//!
//! [`open`] distinguishes them by content. Written files were checked to load in Keras 3.3 and 3.15, with equal
//! predictions, as long as that version supports the configuration.
//!
//! Files are untrusted: nothing in them is executed, extracted to disk or used as a path; sizes are compared with
//! [`Limits`] before allocation; and a weight is read only after its declared shape was found to match the model's. The
//! error tells what to do: [`Error::Broken`] means get the file again, [`Error::Unsupported`] that Brasa does not
//! support what it contains.

use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::formats::regular::open_file;
use crate::formats::{Limits, limits};

mod archive;
mod dataset;
mod hdf5;
mod json;
mod legacy;
mod node;
mod weights;

pub(crate) use archive::{Bounded, check_members, open_archive, read_member, write_keras_members};
pub use archive::{KerasFile, write_keras, write_keras_to, write_keras_with_info};
pub(crate) use hdf5::{read_limited, too_large};
pub use json::to_python_json;
pub(crate) use json::{count as count_values, parse as parse_json};
pub use legacy::{LegacyFile, LegacyLayer, LegacyModel, LegacyWeight, write_legacy_h5, write_legacy_h5_to};
pub use weights::{Listed, Vars, WeightTree, WeightsFile, write_weights_h5, write_weights_h5_to};

/// A Keras file of any format.
#[derive(Debug)]
#[non_exhaustive]
pub enum Opened {
    /// A `.keras` archive: configuration and weights.
    Keras(KerasFile),
    /// A `.weights.h5` file: weights only.
    Weights(WeightsFile),
    /// A legacy `.h5` file: weights, and the configuration if the whole model was saved.
    Legacy(LegacyFile),
}

/// Opens a Keras file; its format is determined by its content, not its name.
///
/// ```no_run
/// use brasa::formats::Limits;
/// use brasa::formats::keras::{self, Opened};
/// match keras::open("model.keras", &Limits::default())? {
///     Opened::Keras(file) => println!("{}", file.config()["class_name"]),
///     Opened::Weights(file) => println!("{} groups", file.list()?.len()),
///     Opened::Legacy(file) => println!("{} layers", file.layers().len()),
///     _ => {}
/// }
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Broken`] if it is damaged or not a Keras file,
/// [`Error::Unsupported`] if it is of an unsupported format or exceeds `limits`.
pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Opened> {
    let path = path.as_ref();
    let mut start = Vec::new();
    let (file, _) = open_file(path)?;
    file.take(4).read_to_end(&mut start).map_err(Error::io("read", path))?;
    match &start[..] {
        b"PK\x03\x04" | b"PK\x05\x06" => KerasFile::open(path, limits).map(Opened::Keras),
        b"\x89HDF" => of_hdf5(hdf5::Hdf5Reader::open(path, limits)?),
        _ => Err(of_neither(path)),
    }
}

/// As [`open`], for the bytes of a file; `name` is what messages call it.
///
/// # Errors
/// As [`open`].
pub fn open_bytes(name: impl AsRef<Path>, bytes: Vec<u8>, limits: &Limits) -> Result<Opened> {
    let name = name.as_ref();
    if bytes.len() as u64 > limits.file_bytes {
        return Err(too_large(name, limits.file_bytes));
    }
    match bytes.get(..4) {
        Some(b"PK\x03\x04" | b"PK\x05\x06") => KerasFile::from_bytes(name, bytes, limits).map(Opened::Keras),
        Some(b"\x89HDF") => of_hdf5(hdf5::Hdf5Reader::from_bytes(name_of(name), bytes, limits)?),
        _ => Err(of_neither(name)),
    }
}

fn of_hdf5(reader: hdf5::Hdf5Reader) -> Result<Opened> {
    match legacy::is_legacy(&reader)? {
        true => LegacyFile::from_reader(reader).map(Opened::Legacy),
        false => Ok(Opened::Weights(WeightsFile::from_reader(reader))),
    }
}

fn of_neither(path: &Path) -> Error {
    Error::broken(name_of(path), "its first bytes", "neither a `.keras` archive nor an HDF5 file")
}

/// A file's name in messages.
pub(crate) fn name_of(path: &Path) -> String {
    path.display().to_string()
}
