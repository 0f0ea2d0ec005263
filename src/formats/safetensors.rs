//! `.safetensors`: named tensors after a JSON header, with metadata texts.
//!
//! The [`safetensors`] crate checks the header: offsets are contiguous, match the shapes and end with the file. This
//! module adds the limits and the conversion of types.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use safetensors::{SafeTensorError, SafeTensors};

use super::array::{Array, Elements, memory_of, shape_text};
use super::atomic::write_atomically;
use super::keras::{count_values, name_of, read_limited};
use super::limits::{Limits, NAME_BYTES};
use crate::error::{Error, Result};

/// The file begins with the length of the header.
const LENGTH_BYTES: usize = 8;

/// The header's name in messages.
const HEADER: &str = "its header";

const SUPPORTED: &str = "F16, BF16, F32, F64, I8, I16, I32, I64, U8, U16 and U32";

/// A `.safetensors` file in memory, its header read and checked.
///
/// ```
/// use brasa::formats::{Array, Limits, safetensors::{SafetensorsFile, write_safetensors}};
/// let folder = tempfile::tempdir().unwrap();
/// let path = folder.path().join("a.safetensors");
/// write_safetensors(&path, &[("dense/bias".into(), Array::new([2], vec![0.5f32, 1.0])?)], &[])?;
/// let file = SafetensorsFile::open(&path, &Limits::default())?;
/// assert_eq!(file.shape("dense/bias"), Some(&[2][..]));
/// assert_eq!(file.read("dense/bias", &[2])?.into_f32(), [0.5, 1.0]);
/// # Ok::<(), brasa::Error>(())
/// ```
pub struct SafetensorsFile {
    name: String,
    bytes: Vec<u8>,
    /// The offset of the tensors' data.
    start: usize,
    tensors: BTreeMap<String, TensorInfo>,
    texts: BTreeMap<String, String>,
    limits: Limits,
}

impl std::fmt::Debug for SafetensorsFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SafetensorsFile").field("name", &self.name).field("tensors", &self.tensors.len()).finish()
    }
}

impl SafetensorsFile {
    /// Reads a file and checks its header.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Broken`] if it is damaged or of another format,
    /// [`Error::Unsupported`] if it exceeds `limits`.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(path, read_limited(path, limits.file_bytes)?, limits)
    }

    /// Opens the bytes of such a file; `name` is its name in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(name: impl AsRef<Path>, bytes: Vec<u8>, limits: &Limits) -> Result<Self> {
        let name = name_of(name.as_ref());
        let length = bytes.first_chunk::<LENGTH_BYTES>().map(|length| u64::from_le_bytes(*length));
        if let Some(length) = length.filter(|length| *length > limits.json_bytes && *length <= bytes.len() as u64) {
            return Err(Error::unsupported(
                format!("the header of `{name}` with its {length} bytes"),
                format!("up to {} (`Limits::json_bytes`)", limits.json_bytes),
            ));
        }
        check_values(&name, &bytes, limits)?;
        // Huge offsets overflow in the crate's last check, which panics in builds with overflow checks.
        let (length, metadata) = std::panic::catch_unwind(|| SafeTensors::read_metadata(&bytes))
            .map_err(|_| Error::broken(&name, HEADER, "it cannot be parsed"))?
            .map_err(|error| Error::broken(&name, HEADER, error))?;
        let tensors: BTreeMap<String, TensorInfo> =
            metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        if tensors.len() > limits.objects {
            return Err(Error::unsupported(
                format!("the {} tensors of `{name}`", tensors.len()),
                format!("up to {} (`Limits::objects`)", limits.objects),
            ));
        }
        if let Some(name_of_tensor) = tensors.keys().find(|name| name.len() > NAME_BYTES) {
            let reason = format!("a name of {} bytes, more than {NAME_BYTES}", name_of_tensor.len());
            return Err(Error::broken(&name, HEADER, reason));
        }
        let texts = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
        Ok(Self { start: LENGTH_BYTES + length, name, bytes, tensors, texts, limits: limits.clone() })
    }

    /// The file's name in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every tensor's name and shape, sorted by name.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, info)| (name.as_str(), &info.shape[..]))
    }

    /// The shape of the tensor with this name, if it exists.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|info| &info.shape[..])
    }

    /// A metadata text (in `__metadata__`).
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// The limits that the file was opened with.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A tensor, which must have exactly the expected shape.
    ///
    /// # Errors
    /// [`Error::Weights`] if the tensor does not exist or has another shape, [`Error::Unsupported`] for an unsupported
    /// type, and beyond the limit.
    pub fn read(&self, name: &str, expected: &[usize]) -> Result<Array> {
        let Some(info) = self.tensors.get(name) else {
            return Err(Error::Weights { problems: vec![format!("`{name}`: missing")] });
        };
        if info.shape != expected {
            let (expected, found) = (shape_text(expected), shape_text(&info.shape));
            return Err(Error::Weights {
                problems: vec![format!("`{name}`: expected shape {expected}, the file has {found}")],
            });
        }
        if memory_of(expected).is_none_or(|memory| memory > self.limits.weight_bytes) {
            return Err(Error::unsupported(
                format!("the weight `{name}` of `{}`", self.name),
                format!("up to {} bytes (`Limits::weight_bytes`)", self.limits.weight_bytes),
            ));
        }
        // The header was checked: the data are within the file and match the shape.
        let (from, to) = info.data_offsets;
        let data = self.start.checked_add(from).zip(self.start.checked_add(to));
        let data = data
            .and_then(|(from, to)| self.bytes.get(from..to))
            .ok_or_else(|| Error::broken(&self.name, name, "it lies beyond the end of the file"))?;
        let elements = elements(info.dtype, data).ok_or_else(|| {
            Error::unsupported(format!("elements of type {} at `{name}` of `{}`", info.dtype, self.name), SUPPORTED)
        })?;
        Array::new(info.shape.clone(), elements).map_err(|error| Error::broken(&self.name, name, error))
    }
}

/// Counts the values of the header before the parser builds a table of them.
fn check_values(name: &str, bytes: &[u8], limits: &Limits) -> Result<()> {
    let header = bytes
        .split_first_chunk::<LENGTH_BYTES>()
        .and_then(|(length, rest)| rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?));
    header.map_or(Ok(()), |header| count_values(name, HEADER, header, limits))
}

/// Converts the data to a supported type; `None` for an unsupported one.
fn elements(dtype: Dtype, data: &[u8]) -> Option<Elements> {
    fn each<const N: usize, T>(data: &[u8], convert: impl Fn([u8; N]) -> T) -> Vec<T> {
        data.as_chunks::<N>().0.iter().map(|bytes| convert(*bytes)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(data, f32::from_le_bytes).into(),
        Dtype::F64 => each(data, |bytes| f64::from_le_bytes(bytes) as f32).into(),
        Dtype::F16 => each(data, |bytes| f16::from_le_bytes(bytes).to_f32()).into(),
        Dtype::BF16 => each(data, |bytes| bf16::from_le_bytes(bytes).to_f32()).into(),
        Dtype::I8 => each(data, |bytes| i32::from(i8::from_le_bytes(bytes))).into(),
        Dtype::U8 => each(data, |bytes| i32::from(u8::from_le_bytes(bytes))).into(),
        Dtype::I16 => each(data, |bytes| i32::from(i16::from_le_bytes(bytes))).into(),
        Dtype::U16 => each(data, |bytes| i32::from(u16::from_le_bytes(bytes))).into(),
        Dtype::I32 => each(data, i32::from_le_bytes).into(),
        Dtype::I64 => each(data, i64::from_le_bytes).into(),
        Dtype::U32 => each(data, u32::from_le_bytes).into(),
        _ => return None,
    })
}

/// Writes a `.safetensors` file atomically: named tensors and metadata texts.
///
/// The same content yields the same bytes.
///
/// # Errors
/// [`Error::Argument`] if two tensors have the same name; [`Error::Io`] if the file cannot be written.
pub fn write_safetensors(path: impl AsRef<Path>, tensors: &[(String, Array)], texts: &[(&str, String)]) -> Result<()> {
    let path = path.as_ref();
    write_atomically(path, |file| write_safetensors_to(file, path, tensors, texts))
}

/// Writes the content of a `.safetensors` file to `sink`; `path` is the file's name in messages.
///
/// # Errors
/// As [`write_safetensors`].
pub fn write_safetensors_to(
    mut sink: impl Write,
    path: impl AsRef<Path>,
    tensors: &[(String, Array)],
    texts: &[(&str, String)],
) -> Result<()> {
    let mut tensors: Vec<_> = tensors.iter().collect();
    // The widest types first, so that all data are aligned; the crate's own order.
    tensors.sort_by(|(a, one), (b, other)| dtype(other).cmp(&dtype(one)).then_with(|| a.cmp(b)));
    if let Some(pair) = tensors.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::argument("tensors", "distinct names", &pair[0].0));
    }
    let mut end = 0usize;
    let infos = tensors.iter().map(|(name, array)| {
        let start = end;
        end += bytes_of(array);
        let info = TensorInfo { dtype: dtype(array), shape: array.shape().to_vec(), data_offsets: (start, end) };
        (name.clone(), info)
    });
    let texts: HashMap<String, String> = texts.iter().map(|(name, text)| ((*name).to_owned(), text.clone())).collect();
    let texts = (!texts.is_empty()).then_some(texts);
    let invalid = |error: SafeTensorError| Error::argument("tensors", "tensors that the header can describe", error);
    let metadata = Metadata::new(texts, infos.collect()).map_err(invalid)?;
    let mut header = serde_json::to_vec(&metadata).map_err(|error| invalid(error.into()))?;
    header.resize(header.len().next_multiple_of(LENGTH_BYTES), b' ');

    let mut write = || -> std::io::Result<()> {
        sink.write_all(&(header.len() as u64).to_le_bytes())?;
        sink.write_all(&header)?;
        for (_, array) in &tensors {
            write_elements(&mut sink, array.elements())?;
        }
        sink.flush()
    };
    write().map_err(Error::io("write", path.as_ref()))
}

fn write_elements(sink: &mut impl Write, elements: &Elements) -> std::io::Result<()> {
    /// Values per piece, so that a large tensor is not held twice.
    const STRETCH: usize = 1 << 16;
    fn each<T: Copy, const N: usize>(
        sink: &mut impl Write,
        values: &[T],
        bytes: impl Fn(T) -> [u8; N],
    ) -> std::io::Result<()> {
        let mut buffer = Vec::with_capacity(STRETCH.min(values.len()) * N);
        for values in values.chunks(STRETCH) {
            buffer.clear();
            values.iter().for_each(|value| buffer.extend_from_slice(&bytes(*value)));
            sink.write_all(&buffer)?;
        }
        Ok(())
    }
    match elements {
        Elements::F32(values) => each(sink, values, f32::to_le_bytes),
        Elements::I32(values) => each(sink, values, i32::to_le_bytes),
        Elements::I64(values) => each(sink, values, i64::to_le_bytes),
        Elements::U32(values) => each(sink, values, u32::to_le_bytes),
    }
}

fn dtype(array: &Array) -> Dtype {
    match array.elements() {
        Elements::F32(_) => Dtype::F32,
        Elements::I32(_) => Dtype::I32,
        Elements::I64(_) => Dtype::I64,
        Elements::U32(_) => Dtype::U32,
    }
}

fn bytes_of(array: &Array) -> usize {
    match array.elements() {
        Elements::I64(values) => values.len() * 8,
        elements => elements.len() * 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensors() -> Vec<(String, Array)> {
        vec![
            ("b/kernel".into(), Array::new([2, 2], vec![1.0f32, -2.0, 3.5, 4.0]).unwrap()),
            ("a".into(), Array::new([], vec![i64::MAX]).unwrap()),
            ("c".into(), Array::new([3], vec![-1i32, 0, i32::MAX]).unwrap()),
            ("d".into(), Array::new([0, 3], Vec::<f32>::new()).unwrap()),
            ("e".into(), Array::new([1], vec![u32::MAX]).unwrap()),
        ]
    }

    fn bytes(tensors: &[(String, Array)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_safetensors_to(&mut bytes, "x", tensors, &[("config", "{}".into())]).unwrap();
        bytes
    }

    fn open(bytes: Vec<u8>) -> Result<SafetensorsFile> {
        SafetensorsFile::from_bytes("x.safetensors", bytes, &Limits::default())
    }

    #[test]
    fn writing_and_reading_round_trips_as_in_the_crate() {
        let written = bytes(&tensors());
        assert_eq!(written, bytes(&tensors()), "the same bytes each time");
        let other = SafeTensors::deserialize(&written).unwrap();
        assert_eq!(other.tensor("b/kernel").unwrap().shape(), [2, 2]);
        let file = open(written).unwrap();
        assert_eq!(file.text("config"), Some("{}"));
        assert_eq!(file.tensors().count(), 5);
        for (name, array) in tensors() {
            assert_eq!(file.read(&name, array.shape()).unwrap(), array);
        }
        assert!(matches!(file.read("b/kernel", &[4]), Err(Error::Weights { .. })));
        assert!(matches!(file.read("none", &[4]), Err(Error::Weights { .. })));
    }

    /// A file with the given header and `data` bytes of data.
    fn with_header(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn other_types_are_converted() {
        let mut file = with_header(
            r#"{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]},"b":{"dtype":"BF16","shape":[1],"data_offsets":[2,4]},"c":{"dtype":"F64","shape":[1],"data_offsets":[4,12]},"d":{"dtype":"BOOL","shape":[1],"data_offsets":[12,13]}}"#,
            0,
        );
        file.extend(f16::from_f32(1.5).to_le_bytes());
        file.extend(bf16::from_f32(-2.5).to_le_bytes());
        file.extend(0.1f64.to_le_bytes());
        file.push(1);
        let file = open(file).unwrap();
        for (name, expected) in [("a", 1.5), ("b", -2.5), ("c", 0.1f32)] {
            assert_eq!(file.read(name, &[1]).unwrap().into_f32(), [expected]);
        }
        assert!(matches!(file.read("d", &[1]), Err(Error::Unsupported { .. })));
    }

    #[test]
    fn false_headers_are_refused() {
        let one = |shape: &str, from: u64, to: u64| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
        };
        for (header, data) in [
            (one("[2]", 0, 8), 4),
            (one("[2]", 0, 8), 12),
            (one("[3]", 0, 8), 8),
            (one("[2]", 4, 12), 12),
            (one("[2]", 8, 0), 8),
            (one("[18446744073709551615, 2]", 0, 8), 8),
            (one("[-1]", 0, 8), 8),
            (one("[4611686018427387903]", 0, u64::MAX - 3), 8),
            (r#"{"a":{"dtype":"F33","shape":[],"data_offsets":[0,4]}}"#.into(), 4),
            ("[]".into(), 0),
            ("{".into(), 0),
            (format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)), 0),
        ] {
            let result = open(with_header(&header, data));
            assert!(matches!(result, Err(Error::Broken { .. })), "{}: {result:?}", &header[..header.len().min(80)]);
        }
        for length in [0u64, 1 << 20, u64::MAX] {
            assert!(matches!(open(length.to_le_bytes().to_vec()), Err(Error::Broken { .. })));
        }
        assert!(matches!(open(vec![1, 2, 3]), Err(Error::Broken { .. })));
    }

    #[test]
    fn limits_are_enforced() {
        let whole = bytes(&tensors());
        let with = |change: fn(&mut Limits)| {
            let mut limits = Limits::default();
            change(&mut limits);
            let file = SafetensorsFile::from_bytes("x", whole.clone(), &limits)?;
            file.read("b/kernel", &[2, 2])
        };
        for change in [
            (|limits: &mut Limits| limits.json_bytes = 20) as fn(&mut Limits),
            |limits| limits.objects = 2,
            |limits| limits.weight_bytes = 8,
        ] {
            assert!(matches!(with(change), Err(Error::Unsupported { .. })));
        }
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let mut twice = tensors();
        twice.push(twice[0].clone());
        let result = write_safetensors_to(Vec::new(), "x", &twice, &[]);
        assert!(matches!(result, Err(Error::Argument { .. })), "{result:?}");
    }
}
