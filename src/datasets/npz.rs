//! NumPy's `.npz` archives: a zip of `.npy` files.

use std::io::{Cursor, ErrorKind, Write};
use std::path::Path;

use ndarray::ArrayD;
use zip::{CompressionMethod, ZipArchive, ZipWriter, result::ZipError, write::SimpleFileOptions};

use super::npy::NpyWriter;
use super::{dataset::Dataset, npy::read_npy, number::most_unpacked, samples::Samples};
use crate::error::{Error, Result};
use crate::formats::Limits;
use crate::formats::atomic::write_atomically;
use crate::formats::keras::{Bounded, open_archive};
use crate::formats::regular::{Content, open_file};

/// An `.npz` archive, as written by `numpy.savez` and `numpy.savez_compressed`; arrays are read on demand.
///
/// ```no_run
/// let mut archive = brasa::datasets::Npz::open("data.npz")?;
/// println!("{:?}", archive.names());
/// let x = archive.read("x")?;
/// # Ok::<(), brasa::Error>(())
/// ```
pub struct Npz {
    file: String,
    /// Length of the archive in bytes.
    length: u64,
    archive: ZipArchive<Bounded>,
    names: Vec<String>,
}

impl std::fmt::Debug for Npz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Npz").field("file", &self.file).field("names", &self.names).finish()
    }
}

impl Npz {
    /// Opens an archive and lists its arrays.
    ///
    /// # Errors
    /// [`Error::Io`] if the file cannot be opened, [`Error::Broken`] if it is not a zip archive.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (opened, length) = open_file(path)?;
        Self::from_content(path.display().to_string(), opened, length)
    }

    /// As [`open`](Self::open), for the bytes of a file, such as those of `include_bytes!` or of an upload.
    ///
    /// # Errors
    /// As [`open`](Self::open), but for those of the system.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        Self::from_content("the bytes of an archive".to_owned(), bytes, length)
    }

    fn from_content(file: String, content: impl Into<Content>, length: u64) -> Result<Self> {
        let archive = open_archive(&file, "its list of arrays", content, &Limits::default())?;
        // A name that is not UTF-8 cannot be requested.
        let members = archive.file_names().filter_map(Result::ok);
        let names = members.filter_map(|name| name.strip_suffix(".npy").map(str::to_owned)).collect();
        Ok(Self { file, length, archive, names })
    }

    /// The names of its arrays.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Reads one array.
    ///
    /// # Errors
    /// [`Error::UnknownName`] without an array of that name, [`Error::Broken`] if it is damaged,
    /// [`Error::Unsupported`] if its values are not numbers.
    pub fn read(&mut self, name: &str) -> Result<Samples> {
        if !self.names.iter().any(|known| known == name) {
            return Err(Error::unknown("array", name, &self.names));
        }
        let member = format!("{}: {name}.npy", self.file);
        let mut reader = self
            .archive
            .by_name(&format!("{name}.npy"))
            .map_err(|error| zip_error(&self.file, &format!("array `{name}`"), error))?;
        let size = reader.size();
        // The compressed size is only claimed by the archive, but no member is longer than the archive.
        if size > most_unpacked(reader.compressed_size().min(self.length)) {
            return Err(Error::broken(member, "its size", format!("{size} bytes cannot come from so short a file")));
        }
        read_npy(&mut reader, size, &member)
    }
}

fn zip_error(file: &str, at: &str, error: ZipError) -> Error {
    match error {
        ZipError::Io(source) if !matches!(source.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => {
            Error::Io { action: "read", path: file.into(), source: source.into() }
        }
        ZipError::UnsupportedArchive(what) => {
            Error::unsupported(format!("{what} in `{file}`"), "archives that are stored or deflated")
        }
        error => Error::broken(file, at, error),
    }
}

/// Saves arrays by name in an `.npz` archive, like NumPy's `savez`. The write is atomic: if it fails, an existing file
/// stays unchanged.
///
/// ```no_run
/// use brasa::ndarray::ArrayD;
/// let (a, b) = (ArrayD::zeros(vec![2, 3]), ArrayD::zeros(vec![4]));
/// brasa::datasets::save_npz("ab.npz", [("a", &a), ("b", &b)])?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be written, [`Error::Shape`] if the size of a shape overflows.
pub fn save_npz<'a>(
    path: impl AsRef<Path>,
    arrays: impl IntoIterator<Item = (&'a str, &'a ArrayD<f32>)>,
) -> Result<()> {
    let path = path.as_ref();
    let failed = |error: ZipError| Error::io("write", path)(error.into());
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, array) in arrays {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        archive.start_file(format!("{name}.npy"), options).map_err(failed)?;
        let mut writer = NpyWriter::new(&mut archive, path, array.shape())?;
        writer.write(&array.iter().copied().collect::<Vec<_>>())?;
        writer.finish()?;
    }
    let bytes = archive.finish().map_err(failed)?.into_inner();
    write_atomically(path, |file| file.write_all(&bytes).map_err(Error::io("write", path)))
}

/// Reads a data set from an `.npz` file: arrays `x` and `y`, or `x_train`, `y_train` and optionally `x_test`, `y_test`,
/// the names in Keras's own `mnist.npz`. The second data set is for testing. An array `sample_weight`
/// (`sample_weight_train`, `sample_weight_test`) contains the weights of the samples.
///
/// Models of several inputs or outputs use arrays `x/NAME`, `y/NAME` and `sample_weight/NAME`, with the names of the
/// inputs and outputs.
///
/// ```no_run
/// let (train, test) = brasa::datasets::load_npz("xy.npz")?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// Those of [`Npz::open`] and [`Npz::read`]; [`Error::Data`] if the arrays have other names or unequal lengths.
pub fn load_npz(path: impl AsRef<Path>) -> Result<(Dataset, Option<Dataset>)> {
    datasets_of(Npz::open(path)?)
}

/// As [`load_npz`], for the bytes of a file, such as those of `include_bytes!` or of an upload.
///
/// ```no_run
/// # let upload: Vec<u8> = Vec::new();
/// let (train, test) = brasa::datasets::decode_npz(upload)?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// As [`load_npz`], but for those of the system.
pub fn decode_npz(bytes: impl Into<Vec<u8>>) -> Result<(Dataset, Option<Dataset>)> {
    datasets_of(Npz::from_bytes(bytes)?)
}

/// The data sets to train and to test with that an archive holds.
fn datasets_of(mut archive: Npz) -> Result<(Dataset, Option<Dataset>)> {
    let has = |key: &str| archive.names.iter().any(|name| is_of(name, key));
    let (train, test) = match (has("x") && has("y"), has("x_train") && has("y_train")) {
        (true, false) => (["x", "y", "sample_weight"], None),
        (false, true) => (
            ["x_train", "y_train", "sample_weight_train"],
            (has("x_test") || has("y_test")).then_some(["x_test", "y_test", "sample_weight_test"]),
        ),
        _ => {
            let what = format!("the arrays in `{}`", archive.file);
            let expected = "`x` and `y` (or `x/NAME`, `y/NAME` for each of several inputs and outputs), or `x_train` and \
                            `y_train` and perhaps `x_test` and `y_test`";
            return Err(Error::data(what, expected, archive.names.join(", ")));
        }
    };
    let used = [Some(train), test];
    let weights = archive.names.iter().filter(|name| name.starts_with("sample_weight"));
    let unused = weights.into_iter().find(|name| !used.iter().flatten().any(|[.., key]| is_of(name, key)));
    if let Some(name) = unused {
        let what = format!("the array `{name}` in `{}`", archive.file);
        let expected = "`sample_weight` beside `x`, `sample_weight_train` beside `x_train`, `sample_weight_test` beside \
                        `x_test`";
        return Err(Error::data(what, expected, archive.names.join(", ")));
    }
    Ok((archive.dataset(train)?, test.map(|keys| archive.dataset(keys)).transpose()?))
}

/// Whether the array's name is the key or `KEY/NAME`.
fn is_of(name: &str, key: &str) -> bool {
    name.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Npz {
    /// The data set of the arrays with these keys: inputs, targets, and optional weights.
    fn dataset(&mut self, [x, y, weights]: [&str; 3]) -> Result<Dataset> {
        let (inputs, targets, weights) = (self.blocks(x)?, self.blocks(y)?, self.blocks(weights)?);
        if let Some((key, _)) = [(x, &inputs), (y, &targets)].into_iter().find(|(_, blocks)| blocks.is_empty()) {
            return Err(Error::unknown("array", key, &self.names));
        }
        let count = inputs.first().map_or(0, |(_, _, samples)| samples.len());
        for (array, _, samples) in inputs.iter().chain(&targets) {
            if samples.len() != count {
                let expected = format!("{count} samples, as many as `{}` has", inputs[0].0);
                return Err(Error::data(format!("`{array}` in `{}`", self.file), expected, samples.len()));
            }
        }
        let names: Vec<Option<String>> = targets.iter().map(|(_, name, _)| name.clone()).collect();
        let fields = |blocks: Vec<Block>| blocks.into_iter().map(|(_, name, samples)| (name, samples)).collect();
        let data = Dataset::of_fields(fields(inputs), fields(targets))?;
        let arrays: Vec<String> = weights.iter().map(|(array, _, _)| format!("`{array}`")).collect();
        let file = &self.file;
        let of_file = |error| match error {
            Error::Data { expected, received, .. } => {
                Error::data(format!("{} in `{file}`", arrays.join(", ")), expected, received)
            }
            error => error,
        };
        match &weights[..] {
            [] => Ok(data),
            [(_, None, all)] => data.with_sample_weight(all.clone()).map_err(of_file),
            named => {
                if let Some((array, _, _)) = named.iter().find(|(_, name, _)| !names.contains(name)) {
                    let what = format!("`{array}` in `{file}`");
                    return Err(Error::data(what, "weights for one of the targets", "weights for no target"));
                }
                let of = |name: &Option<String>| named.iter().find(|(_, own, _)| own == name);
                let weights = names.iter().map(|name| of(name).map(|(_, _, samples)| samples.clone()));
                data.with_sample_weights(weights).map_err(of_file)
            }
        }
    }

    /// The array with this key, or the arrays `KEY/NAME`, sorted.
    fn blocks(&mut self, key: &str) -> Result<Vec<Block>> {
        let mut names: Vec<String> = self.names.iter().filter(|name| is_of(name, key)).cloned().collect();
        names.sort();
        if names.len() > 1 && names[0] == key {
            let what = format!("the arrays in `{}`", self.file);
            return Err(Error::data(what, format!("either `{key}` or `{key}/NAME`"), names.join(", ")));
        }
        let block = |array: String| {
            let name = array.strip_prefix(key).and_then(|rest| rest.strip_prefix('/')).map(str::to_owned);
            let samples = self.read(&array)?;
            Ok((array, name, samples))
        };
        names.into_iter().map(block).collect()
    }
}

/// An array's name, the name of its input or output, and its samples.
type Block = (String, Option<String>, Samples);

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::datasets::npy::tests::npy;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new("tests/fixtures/data").join(name)
    }

    /// A deflated archive of byte arrays.
    fn npz(arrays: &[(&str, &[usize], &[u8])]) -> Vec<u8> {
        let mut writer = ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, shape, values) in arrays {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            writer.start_file(format!("{name}.npy"), options).unwrap();
            writer.write_all(&npy("|u1", shape, values)).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn load(bytes: &[u8]) -> Result<(Dataset, Option<Dataset>)> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        load_npz(file.path())
    }

    #[test]
    fn archives_that_numpy_wrote() {
        let (data, none) = load_npz(fixture("xy.npz")).unwrap();
        assert!(none.is_none());
        assert_eq!((data.x().shape(), data.y().dtype()), (&[3, 4][..], "int64"));
        assert_eq!(data.x().to_vec_f32(), (0..12).map(|i| i as f32 / 8.0).collect::<Vec<_>>());
        assert_eq!(data.y().to_vec_f32(), [0.0, 1.0, 2.0]);

        let (train, test) = load_npz(fixture("keras_names.npz")).unwrap();
        let test = test.unwrap();
        assert_eq!((train.x().shape(), train.y().to_vec_f32()), (&[2, 2, 2][..], vec![5.0, 0.0]));
        assert_eq!((test.x().to_vec_f32(), test.y().to_vec_f32()), (vec![255.0; 4], vec![7.0]));
    }

    #[test]
    fn one_array_by_name() {
        let mut archive = Npz::open(fixture("xy.npz")).unwrap();
        assert_eq!(archive.names(), ["x", "y"]);
        assert_eq!(archive.read("y").unwrap().to_vec_f32(), [0.0, 1.0, 2.0]);
        let error = archive.read("z").unwrap_err().to_string();
        assert_eq!(error, "unknown array `z`; valid: x, y");
    }

    #[test]
    fn arrays_that_do_not_form_a_data_set() {
        for arrays in [
            &[("x", &[1_usize][..], &[0_u8][..])][..],
            &[("a", &[1], &[0]), ("b", &[1], &[0])],
            &[("x", &[2], &[0, 0]), ("y", &[1], &[0])],
            &[("x", &[1], &[0]), ("y", &[1], &[0]), ("x_train", &[1], &[0]), ("y_train", &[1], &[0])],
        ] {
            assert!(matches!(load(&npz(arrays)), Err(Error::Data { .. })), "{arrays:?}");
        }
        let half_a_test = npz(&[("x_train", &[1], &[0]), ("y_train", &[1], &[0]), ("x_test", &[1], &[0])]);
        assert!(matches!(load(&half_a_test), Err(Error::UnknownName { .. })));
    }

    #[test]
    fn an_archive_cut_or_damaged_anywhere_is_an_error() {
        let values: Vec<u8> = (0..300).map(|i| (i * i % 251) as u8).collect();
        let whole = npz(&[("x", &[100, 3], &values), ("y", &[100], &values[..100])]);
        let (expected, _) = load(&whole).unwrap();
        for percent in (0..100).step_by(5) {
            let cut = &whole[..whole.len() * percent / 100];
            assert!(matches!(load(cut), Err(Error::Broken { .. })), "cut at {percent} %");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            // A corrupt date can go unnoticed, a corrupt value cannot.
            if let Ok((data, _)) = load(&damaged) {
                assert_eq!(data.x().to_vec_f32(), expected.x().to_vec_f32(), "byte {at}");
                assert_eq!(data.y().to_vec_f32(), expected.y().to_vec_f32(), "byte {at}");
            }
        }
    }

    #[test]
    fn a_false_size_is_refused_before_allocation() {
        let mut archive = npz(&[("x", &[4], &[1, 2, 3, 4]), ("y", &[4], &[0; 4])]);
        // The uncompressed size is at byte 24 of each entry of the central directory.
        let entry = archive.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
        archive[entry + 24..entry + 28].copy_from_slice(&0xfff0_0000_u32.to_le_bytes());
        let error = load(&archive).unwrap_err().to_string();
        assert!(error.contains("cannot come from so short a file"), "{error}");
        // A false compressed size before it, which bounds the uncompressed one, is rejected too.
        archive[entry + 20..entry + 24].copy_from_slice(&0xfff0_0000_u32.to_le_bytes());
        let error = load(&archive).unwrap_err().to_string();
        assert!(error.contains("cannot come from so short a file"), "{error}");
    }
}
