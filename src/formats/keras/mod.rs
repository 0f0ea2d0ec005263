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

pub(crate) use archive::{Bounded, check_members, open_archive, read_member};
pub use archive::{KerasFile, write_keras, write_keras_to, write_keras_with_info};
pub(crate) use hdf5::{read_limited, too_large};
pub use json::to_python_json;
pub(crate) use json::{count as count_values, parse as parse_json};
pub use legacy::{LegacyFile, LegacyLayer, LegacyModel, LegacyWeight, write_legacy_h5, write_legacy_h5_to};
pub use weights::{Listed, Vars, WeightTree, WeightsFile, write_weights_h5};

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
        b"\x89HDF" => {
            let reader = hdf5::Reader::open(path, limits)?;
            if legacy::is_legacy(&reader)? {
                LegacyFile::from_reader(reader).map(Opened::Legacy)
            } else {
                Ok(Opened::Weights(WeightsFile::from_reader(reader)))
            }
        }
        _ => Err(Error::broken(name_of(path), "its first bytes", "neither a `.keras` archive nor an HDF5 file")),
    }
}

/// A file's name in messages.
pub(crate) fn name_of(path: &Path) -> String {
    path.display().to_string()
}
