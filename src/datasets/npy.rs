//! NumPy's `.npy` files.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. The header is parsed here rather
//! than by a library because it is untrusted: its length, its shape and the length of the file have to agree before
//! anything is allocated.

use std::{
    io::{BufReader, Read, Write},
    path::{Path, PathBuf},
};

use super::{
    number::{Encoding, NumberType},
    samples::{Samples, count_of},
};
use crate::error::{Error, Result};
use crate::formats::{atomic::write_atomically, regular::open_file};

/// The longest header accepted; NumPy's own limit.
const MOST_HEADER_BYTES: usize = 10_000;

/// The most axes; NumPy's own limit.
const MOST_AXES: usize = 64;

/// The header of an array.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub encoding: Encoding,
    pub columns_first: bool,
    pub shape: Vec<usize>,
    /// The length of the header, including the magic bytes.
    pub length: usize,
}

/// Reads an `.npy` file of any numeric type, byte order and memory order.
///
/// ```no_run
/// let x = brasa::datasets::load_npy("images.npy")?.divided_by(255.0)?;
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, [`Error::Broken`] if it is not exactly one complete array,
/// [`Error::Unsupported`] if its values are not numbers.
pub fn load_npy(path: impl AsRef<Path>) -> Result<Samples> {
    let path = path.as_ref();
    let (file, size) = open_file(path)?;
    read_npy(&mut BufReader::new(file), size, &path.display().to_string())
}

/// As [`load_npy`], for the bytes of a file, such as those of `include_bytes!` or of an upload.
///
/// ```
/// use brasa::datasets::{NpyWriter, decode_npy};
/// let mut bytes = Vec::new();
/// let mut writer = NpyWriter::new(&mut bytes, "y.npy", &[2, 1])?;
/// writer.write(&[1.0, 2.0])?;
/// writer.finish()?;
/// assert_eq!(decode_npy(&bytes)?.shape(), [2, 1]);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// As [`load_npy`], but for those of the system.
pub fn decode_npy(bytes: &[u8]) -> Result<Samples> {
    let mut rest = bytes;
    read_npy(&mut rest, bytes.len() as u64, "the bytes of an array")
}

/// Reads an array of `size` bytes in total, according to its file system or archive.
pub(super) fn read_npy(reader: &mut dyn Read, size: u64, file: &str) -> Result<Samples> {
    let header = Header::read(reader, size, file)?;
    let samples = header.encoding.read(header.shape, header.columns_first, reader);
    samples.map_err(|reason| Error::broken(file, "its values", reason))
}

/// Writes `values` atomically as an `.npy` file of little-endian `float32`; NumPy reads it with `numpy.load`.
///
/// # Errors
/// [`Error::Shape`] if the shape does not match the number of values, [`Error::Io`] if the file cannot be written.
pub fn save_npy(path: impl AsRef<Path>, shape: &[usize], values: &[f32]) -> Result<()> {
    let path = path.as_ref();
    if count_of(shape) != Some(values.len()) {
        return Err(Error::shape(format!("a shape of {} values", values.len()), format!("{shape:?}")));
    }
    write_atomically(path, |file| {
        let mut writer = NpyWriter::new(file, path, shape)?;
        writer.write(values)?;
        writer.finish()
    })
}

/// Writes an `.npy` file of little-endian `float32` incrementally, for arrays larger than memory.
///
/// ```
/// use brasa::datasets::NpyWriter;
/// let mut bytes = Vec::new();
/// let mut writer = NpyWriter::new(&mut bytes, "y.npy", &[2, 3])?;
/// writer.write(&[1.0, 2.0, 3.0])?;
/// writer.write(&[4.0, 5.0, 6.0])?;
/// writer.finish()?;
/// assert_eq!(bytes.len(), 128 + 6 * 4);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug)]
pub struct NpyWriter<W> {
    sink: W,
    path: PathBuf,
    /// The number of values still to be written.
    left: usize,
}

impl<W: Write> NpyWriter<W> {
    /// Writes the header for an array of this shape; `path` is the file's name in messages.
    ///
    /// # Errors
    /// [`Error::Io`] with the sink's error, [`Error::Shape`] if the size of the shape overflows.
    pub fn new(mut sink: W, path: impl Into<PathBuf>, shape: &[usize]) -> Result<Self> {
        let path = path.into();
        let left = count_of(shape).ok_or_else(|| Error::shape("a shape that can be held", format!("{shape:?}")))?;
        sink.write_all(&header_bytes("<f4", shape)).map_err(Error::io("write", &path))?;
        Ok(Self { sink, path, left })
    }

    /// Writes the next values.
    ///
    /// # Errors
    /// [`Error::Io`] with the sink's error, [`Error::Shape`] for more values than the array has.
    pub fn write(&mut self, values: &[f32]) -> Result<()> {
        let left = self.left.checked_sub(values.len());
        self.left = left.ok_or_else(|| Error::shape(format!("{} more values", self.left), values.len()))?;
        let mut write = || values.iter().try_for_each(|value| self.sink.write_all(&value.to_le_bytes()));
        write().map_err(Error::io("write", &self.path))
    }

    /// Checks that the array is complete.
    ///
    /// # Errors
    /// [`Error::Shape`] if values are missing, [`Error::Io`] with the sink's error.
    pub fn finish(mut self) -> Result<()> {
        if self.left > 0 {
            return Err(Error::shape("as many values as the shape has", format!("{} fewer", self.left)));
        }
        self.sink.flush().map_err(Error::io("write", &self.path))
    }
}

/// A header of format version 1, padded so that the values begin at a multiple of 64 bytes.
fn header_bytes(descr: &str, shape: &[usize]) -> Vec<u8> {
    // A tuple of one element ends in a comma.
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end_matches(", ") };
    let dictionary = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let length = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dictionary:<width$}\n", width = length - 1).into_bytes());
    bytes
}

impl Header {
    /// Reads the header of an array of `size` bytes in total, and checks it against the size.
    pub fn read(reader: &mut dyn Read, size: u64, file: &str) -> Result<Self> {
        let broken = |reason: String| Error::broken(file, "its header", reason);
        let cut = |error: std::io::Error| broken(error.to_string());

        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(cut)?;
        let [magic @ .., major, minor] = start;
        if magic != *b"\x93NUMPY" {
            return Err(broken("expected a NumPy array, which begins with \\x93NUMPY".into()));
        }
        let mut length = [0; 4];
        let width = if major == 1 { 2 } else { 4 };
        if !(1..=3).contains(&major) || minor != 0 {
            return Err(Error::unsupported(format!("`{file}` of format version {major}.{minor}"), "1.0, 2.0, 3.0"));
        }
        reader.read_exact(&mut length[..width]).map_err(cut)?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MOST_HEADER_BYTES {
            return Err(broken(format!("expected at most {MOST_HEADER_BYTES} bytes, received {length}")));
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text).map_err(cut)?;
        let text = str::from_utf8(&text).map_err(|error| broken(error.to_string()))?;
        let (descr, columns_first, shape) =
            dictionary(text).ok_or_else(|| broken(format!("cannot read {:?}", text.trim_end())))?;

        let encoding = encoding(descr).ok_or_else(|| {
            Error::unsupported(format!("values of type `{descr}` in `{file}`"), "bool, u1 to u8, i1 to i8, f2, f4, f8")
        })?;
        let length = 8 + width + length;
        let declared = encoding.bytes_of(&shape).and_then(|count| count.checked_add(length));
        if declared.is_none_or(|declared| declared as u64 != size) {
            let values = size.saturating_sub(length as u64);
            return Err(broken(format!("shape {shape:?} of type `{descr}` does not fit {values} bytes of values")));
        }
        Ok(Self { encoding, columns_first, shape, length })
    }
}

/// The encoding for NumPy's `descr`.
fn encoding(descr: &str) -> Option<Encoding> {
    let (order, name) = descr.split_at_checked(1)?;
    let kind = match name {
        "b1" => NumberType::Bool,
        "u1" => NumberType::U8,
        "i1" => NumberType::I8,
        "u2" => NumberType::U16,
        "i2" => NumberType::I16,
        "u4" => NumberType::U32,
        "i4" => NumberType::I32,
        "u8" => NumberType::U64,
        "i8" => NumberType::I64,
        "f2" => NumberType::F16,
        "f4" => NumberType::F32,
        "f8" => NumberType::F64,
        _ => return None,
    };
    let big_endian = match order {
        "<" => false,
        ">" => true,
        "|" if matches!(kind, NumberType::Bool | NumberType::U8 | NumberType::I8) => false,
        "=" => cfg!(target_endian = "big"),
        _ => return None,
    };
    Some(Encoding { kind, big_endian })
}

/// Type, order and shape from the Python dictionary of a header, which has exactly these three keys.
fn dictionary(text: &str) -> Option<(&str, bool, Vec<usize>)> {
    let mut rest = text.trim_end_matches(['\n', ' ', '\0']).strip_prefix('{')?;
    let (mut descr, mut columns_first, mut shape) = (None, None, None);
    loop {
        rest = rest.trim_start();
        if let Some(end) = rest.strip_prefix('}') {
            return if end.is_empty() { Some((descr?, columns_first?, shape?)) } else { None };
        }
        let key;
        (key, rest) = quoted(rest)?;
        rest = rest.trim_start().strip_prefix(':')?.trim_start();
        match key {
            "descr" if descr.is_none() => {
                // A list is a structured dtype, reported as unsupported.
                let value;
                (value, rest) = if rest.starts_with('[') { ("record", after_list(rest)?) } else { quoted(rest)? };
                descr = Some(value);
            }
            "fortran_order" if columns_first.is_none() => {
                let (value, after) = match rest.strip_prefix("True") {
                    Some(after) => (true, after),
                    None => (false, rest.strip_prefix("False")?),
                };
                (columns_first, rest) = (Some(value), after);
            }
            "shape" if shape.is_none() => {
                let (sizes, after) = rest.strip_prefix('(')?.split_once(')')?;
                (shape, rest) = (Some(tuple(sizes)?), after);
            }
            _ => return None,
        }
        rest = rest.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None => rest.starts_with('}').then_some(rest)?,
        };
    }
}

/// A string in single or double quotes, and the text after it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    text[1..].split_once(quote)
}

/// The text after the list that begins here.
fn after_list(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    for (index, character) in text.char_indices() {
        match character {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(index + 1..);
        }
    }
    None
}

/// The sizes inside a tuple's parentheses; Python 2 wrote them as `3L`.
fn tuple(text: &str) -> Option<Vec<usize>> {
    let text = text.trim();
    if text.is_empty() {
        return Some(Vec::new());
    }
    let several = text.contains(',');
    let text = text.strip_suffix(',').unwrap_or(text);
    let sizes: Option<Vec<usize>> = text
        .split(',')
        .map(|size| size.trim())
        .map(|size| size.strip_suffix('L').unwrap_or(size))
        .map(|size| size.bytes().all(|byte| byte.is_ascii_digit()).then(|| size.parse().ok())?)
        .collect();
    sizes.filter(|sizes| several && sizes.len() <= MOST_AXES)
}

#[cfg(test)]
pub(super) mod tests {
    use half::f16;
    use proptest::prelude::*;

    use super::*;

    /// An `.npy` file in C order.
    pub fn npy(descr: &str, shape: &[usize], values: &[u8]) -> Vec<u8> {
        [&header_bytes(descr, shape)[..], values].concat()
    }

    fn read(bytes: &[u8]) -> Result<Samples> {
        read_npy(&mut &bytes[..], bytes.len() as u64, "f.npy")
    }

    /// An `.npy` file with this text as header.
    fn with_header(text: &str, values: &[u8]) -> Vec<u8> {
        let length = (text.len() as u16).to_le_bytes();
        [&b"\x93NUMPY\x01\x00"[..], &length, text.as_bytes(), values].concat()
    }

    #[test]
    fn every_type_in_both_byte_orders() {
        macro_rules! check {
            ($type:ty, $name:literal, $value:expr, $dtype:literal) => {
                let value: $type = $value;
                for (order, bytes) in [("<", value.to_le_bytes()), (">", value.to_be_bytes())] {
                    let samples = read(&npy(&format!("{order}{}", $name), &[1], &bytes)).unwrap();
                    assert_eq!((samples.dtype(), samples.to_vec_f32()), ($dtype, vec![f64::from($value) as f32]));
                }
            };
        }
        check!(u8, "u1", 200_u8, "uint8");
        check!(i8, "i1", -100_i8, "int32");
        check!(u16, "u2", 60_000_u16, "int32");
        check!(i16, "i2", -30_000_i16, "int32");
        check!(u32, "u4", 4_000_000_000_u32, "int64");
        check!(i32, "i4", -70_000_i32, "int32");
        check!(f16, "f2", f16::from_f32(0.25), "float32");
        check!(f32, "f4", 0.1_f32, "float32");
        check!(f64, "f8", 0.1_f64, "float64");
        let i64_file = npy(">i8", &[2], &[(-5_i64).to_be_bytes(), 7_i64.to_be_bytes()].concat());
        assert_eq!(read(&i64_file).unwrap().to_vec_f32(), [-5.0, 7.0]);
        assert_eq!(read(&npy("<u8", &[1], &9_u64.to_le_bytes())).unwrap().dtype(), "int64");
        let huge = read(&npy("<u8", &[1], &u64::MAX.to_le_bytes())).unwrap();
        assert_eq!((huge.dtype(), huge.to_vec_f32()), ("float64", vec![u64::MAX as f32]));
        assert_eq!(read(&npy("|b1", &[3], &[0, 1, 2])).unwrap().to_vec_f32(), [0.0, 1.0, 1.0]);
    }

    /// Returns odd numbers of bytes, as a socket or a decompressor can.
    struct Crumbs<'a>(&'a [u8]);

    impl Read for Crumbs<'_> {
        fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
            let most = to.len().min(997);
            self.0.read(&mut to[..most])
        }
    }

    #[test]
    fn long_arrays_are_read_in_pieces() {
        let numbers = 0..100_000_u32;
        let read = |bytes: &[u8], size: usize| read_npy(&mut Crumbs(bytes), size as u64, "f.npy");
        let cases = [
            (">f8", numbers.clone().flat_map(|i| f64::from(i).to_be_bytes()).collect::<Vec<_>>()),
            ("<i2", numbers.clone().flat_map(|i| (i as i16).to_le_bytes()).collect()),
        ];
        for (descr, values) in cases {
            let file = npy(descr, &[1000, 100], &values);
            let samples = read(&file, file.len()).unwrap().to_vec_f32();
            let expected = numbers.clone().map(|i| if descr == "<i2" { f32::from(i as i16) } else { i as f32 });
            assert!(samples.into_iter().eq(expected), "{descr}");
            // The file was truncated while being read.
            let error = read(&file[..file.len() - 1], file.len()).unwrap_err().to_string();
            assert!(error.contains(&(values.len() - 1).to_string()) || error.contains("99999"), "{error}");
        }
        let values: Vec<u8> = numbers.clone().flat_map(|i| (i as f32).to_le_bytes()).collect();
        let file = with_header("{'descr': '<f4', 'fortran_order': True, 'shape': (100000, 1)}", &values);
        assert!(read(&file, file.len()).unwrap().to_vec_f32().into_iter().eq(numbers.map(|i| i as f32)));
    }

    #[test]
    fn files_that_numpy_wrote() {
        let folder = Path::new("tests/fixtures/data");
        let fortran = load_npy(folder.join("fortran_f8.npy")).unwrap();
        assert_eq!(fortran.shape(), [2, 3, 4]);
        assert_eq!(fortran.to_vec_f32(), (0..24).map(|i| i as f32).collect::<Vec<_>>());
        let big_endian = load_npy(folder.join("big_endian_i2.npy")).unwrap();
        assert_eq!((big_endian.shape(), big_endian.to_vec_f32()), (&[3, 2][..], vec![-3., -2., -1., 0., 1., 2.]));
    }

    #[test]
    fn saving_and_loading_round_trips() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.npy");
        let values: Vec<f32> = (0..12).map(|i| 1.0 / (i as f32 + 1.0)).collect();
        for shape in [&[12][..], &[3, 4], &[1, 2, 3, 2], &[12, 1]] {
            save_npy(&path, shape, &values).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            assert_eq!((bytes.len() - 48) % 64, 0, "the values begin at a multiple of 64");
            let loaded = load_npy(&path).unwrap();
            assert_eq!((loaded.shape(), loaded.to_vec_f32()), (shape, values.clone()));
        }
        save_npy(&path, &[], &[2.5]).unwrap();
        assert_eq!(load_npy(&path).unwrap().to_vec_f32(), [2.5]);
        assert!(matches!(save_npy(&path, &[5], &values), Err(Error::Shape { .. })));
        assert!(matches!(save_npy(folder.path(), &[12], &values), Err(Error::Io { action: "write", .. })));
    }

    #[test]
    fn headers_as_other_writers_spell_them() {
        for text in [
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n",
            "{\"shape\": (2L,), \"fortran_order\": True, \"descr\": \"<f4\"}",
            "{ 'fortran_order' :False,'shape':( 2 , 1 ),'descr':'<f4' }   \n",
        ] {
            assert_eq!(read(&with_header(text, &[0; 8])).unwrap().len(), 2, "{text}");
        }
        let version_2 = with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (1,)}", &[9]);
        let version_2 = [&b"\x93NUMPY\x02\x00"[..], &version_2[8..10], &[0, 0], &version_2[10..]].concat();
        assert_eq!(read(&version_2).unwrap().to_vec_f32(), [9.0]);
    }

    #[test]
    fn false_and_malformed_headers_are_errors() {
        let shaped = |shape: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
        for text in [
            shaped("(3,)"),
            shaped("(1,)"),
            shaped("(2)"),
            shaped("(-2,)"),
            shaped("(+2,)"),
            shaped("(2,,)"),
            shaped("(18446744073709551615, 18446744073709551615)"),
            shaped("(0, 18446744073709551615, 18446744073709551615)"),
            shaped("(99999999999999999999999,)"),
            shaped(&format!("({})", "1, ".repeat(65))),
            shaped("[2]"),
            "{'descr': '<f4', 'fortran_order': False}".into(),
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,)}".into(),
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,)}".into(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} + 1".into(),
            "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'more': 1}".into(),
            "{'descr': '<f4".into(),
            "{".repeat(9_000),
            String::new(),
        ] {
            let error = read(&with_header(&text, &[0; 8])).unwrap_err();
            assert!(matches!(error, Error::Broken { .. }), "{text}: {error}");
        }
        for descr in ["'<U4'", "'|O'", "'<c8'", "'<f16'", "''", "'€4'", "[('a', '<f4'), ('b', '<f4', (2,))]"] {
            let text = format!("{{'descr': {descr}, 'fortran_order': False, 'shape': (2,)}}");
            let error = read(&with_header(&text, &[0; 8])).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{descr}: {error}");
        }
        let long = [&b"\x93NUMPY\x02\x00"[..], &u32::MAX.to_le_bytes(), &[b' '; 99]].concat();
        assert!(read(&long).unwrap_err().to_string().contains("expected at most 10000 bytes, received 4294967295"));
        assert!(matches!(read(b"\x93NUMPY\x04\x00\x10\x00"), Err(Error::Unsupported { .. })));
        assert!(matches!(read(b"PK\x03\x04 something else"), Err(Error::Broken { .. })));
    }

    #[test]
    fn a_file_cut_anywhere_is_broken() {
        let whole = npy("<f8", &[10, 3], &[1; 240]);
        assert!(read(&whole).is_ok());
        for percent in (0..100).step_by(5) {
            let cut = &whole[..whole.len() * percent / 100];
            assert!(matches!(read(cut), Err(Error::Broken { .. })), "cut at {percent} %");
        }
        assert!(matches!(read(&[&whole[..], &[0]].concat()), Err(Error::Broken { .. })));
        // The file system's length is right, but the bytes end early.
        assert!(matches!(read_npy(&mut &whole[..200], 368, "f.npy"), Err(Error::Broken { .. })));
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[{}()\\[\\]',:<|0-9a-zA-Z _€]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = dictionary(&text);
            let _ = read(&with_header(&text, &bytes));
            let _ = read(&bytes);
            let descr = format!("{{'descr': {text}, 'fortran_order': False, 'shape': ({text})}}");
            let _ = read(&with_header(&descr, &bytes));
        }
    }
}
