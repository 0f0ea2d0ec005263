//! IDX files, the format of MNIST.
//!
//! Format: <http://yann.lecun.com/exdb/mnist/>. Two zero bytes, a type, the number of axes, each size as a big-endian
//! `u32`, then the values in row-major order, big-endian.

use std::{
    io::{BufRead, BufReader, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use super::{
    number::{Encoding, NumberType, most_unpacked},
    samples::Samples,
};
use crate::error::{Error, Result};
use crate::formats::regular::open_file;

/// More than any data set has, and few enough for every array library.
const MOST_AXES: u8 = 16;

/// Reads an IDX file, plain or gzipped, independent of its name.
///
/// The first axis counts the samples: MNIST's images come as `[60000, 28, 28]`, its labels as `[60000]`.
///
/// # Errors
/// [`Error::Io`] if the file cannot be opened, [`Error::Broken`] if it is not exactly one complete IDX file.
pub fn load_idx(path: impl AsRef<Path>) -> Result<Samples> {
    let path = path.as_ref();
    let (file, size) = open_file(path)?;
    let mut reader = BufReader::new(file);
    let gzipped = reader.fill_buf().map_err(Error::io("read", path))?.starts_with(&[0x1f, 0x8b]);
    let parsed =
        if gzipped { parse(&mut MultiGzDecoder::new(reader), most_unpacked(size)) } else { parse(&mut reader, size) };
    parsed.map_err(|(at, reason)| Error::broken(path.display().to_string(), at, reason))
}

/// The place and the reason of a flaw in a file.
type Flaw = (&'static str, String);

/// Parses an IDX file of at most `most` bytes.
fn parse(reader: &mut dyn Read, most: u64) -> Result<Samples, Flaw> {
    let header = |error: std::io::Error| ("its header", error.to_string());

    let mut magic = [0; 4];
    reader.read_exact(&mut magic).map_err(header)?;
    let [0, 0, type_code, axes @ 1..=MOST_AXES] = magic else {
        let expected = format!("0, 0, a type, and 1 to {MOST_AXES} axes");
        return Err(("its first four bytes", format!("expected an IDX file ({expected}), received {magic:?}")));
    };
    let kind = match type_code {
        0x08 => NumberType::U8,
        0x09 => NumberType::I8,
        0x0b => NumberType::I16,
        0x0c => NumberType::I32,
        0x0d => NumberType::F32,
        0x0e => NumberType::F64,
        _ => {
            let reason = format!("expected 0x08, 0x09, 0x0b, 0x0c, 0x0d or 0x0e, received {type_code:#04x}");
            return Err(("its type of values", reason));
        }
    };

    let mut shape = Vec::new();
    for _ in 0..axes {
        let mut size = [0; 4];
        reader.read_exact(&mut size).map_err(header)?;
        shape.push(u32::from_be_bytes(size) as usize);
    }

    let encoding = Encoding { kind, big_endian: true };
    if encoding.bytes_of(&shape).is_none_or(|bytes| bytes as u64 > most) {
        return Err(("its sizes", format!("{shape:?} is more than a file of this length can hold")));
    }
    encoding.read(shape, false, reader).map_err(|reason| ("its values", reason))
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    /// An IDX file.
    pub fn idx(type_code: u8, shape: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, type_code, shape.len() as u8];
        shape.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    pub fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn load(bytes: &[u8]) -> Result<Samples> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        load_idx(file.path())
    }

    #[test]
    fn every_type_is_read_big_endian() {
        let read = |type_code, shape: &[u32], values: &[u8]| load(&idx(type_code, shape, values)).unwrap();
        let bytes = read(0x08, &[2, 1, 2], &[1, 2, 3, 255]);
        assert_eq!((bytes.shape(), bytes.dtype()), (&[2, 1, 2][..], "uint8"));
        assert_eq!(bytes.to_vec_f32(), [1.0, 2.0, 3.0, 255.0]);
        assert_eq!(read(0x09, &[1], &[0xff]).to_vec_f32(), [-1.0]);
        assert_eq!(read(0x0b, &[1], &[0xff, 0xfe]).to_vec_f32(), [-2.0]);
        assert_eq!(read(0x0c, &[1], &[0, 1, 0, 0]).to_vec_f32(), [65536.0]);
        assert_eq!(read(0x0d, &[1], &1.5_f32.to_be_bytes()).to_vec_f32(), [1.5]);
        assert_eq!(read(0x0e, &[1], &2.5_f64.to_be_bytes()).dtype(), "float64");
        assert_eq!(read(0x08, &[0, 28, 28], &[]).shape(), [0, 28, 28]);
    }

    #[test]
    fn a_file_cut_anywhere_is_broken() {
        let plain = idx(0x08, &[40, 5, 5], &(0..1000).map(|i| (i * 7 % 256) as u8).collect::<Vec<_>>());
        let packed = gzip(&plain);
        assert!(load(&plain).is_ok() && load(&packed).is_ok());
        for file in [&plain, &packed] {
            for percent in (0..100).step_by(5) {
                let cut = &file[..file.len() * percent / 100];
                assert!(matches!(load(cut), Err(Error::Broken { .. })), "cut at {percent} %");
            }
            assert!(matches!(load(&file[..file.len() - 1]), Err(Error::Broken { .. })));
            assert!(matches!(load(&[file, &b"more"[..]].concat()), Err(Error::Broken { .. })), "bytes after the end");
        }
    }

    #[test]
    fn damage_inside_a_packed_file_is_noticed() {
        let mut packed = gzip(&idx(0x08, &[1000], &[3; 1000]));
        let checksum = packed.len() - 8;
        packed[checksum] ^= 1;
        assert!(matches!(load(&packed), Err(Error::Broken { .. })));
    }

    #[test]
    fn false_sizes_are_refused_before_allocation() {
        for shape in [&[u32::MAX][..], &[u32::MAX; 16], &[0, u32::MAX, u32::MAX, u32::MAX], &[1 << 30, 8]] {
            let file = idx(0x0e, shape, &[0; 64]);
            for file in [gzip(&file), file] {
                let error = load(&file).unwrap_err().to_string();
                assert!(error.contains("is more than a file of this length can hold"), "{error}");
            }
        }
        // Decompression stops at the size that the header declares.
        let bomb = gzip(&idx(0x08, &[10], &vec![0; 50_000_000]));
        assert!(load(&bomb).unwrap_err().to_string().contains("expected 10 bytes of values, received more"));
    }

    #[test]
    fn other_files_are_refused() {
        for file in
            [&b"P5 28 28 255"[..], &[0, 0, 7, 1, 0, 0, 0, 0], &[0, 0, 8, 0], &[0, 0, 8, 17], &[0, 1, 8, 1, 0, 0, 0, 0]]
        {
            assert!(matches!(load(file), Err(Error::Broken { .. })), "{file:?}");
        }
        let error = load_idx("no/such/file").unwrap_err();
        assert!(matches!(error, Error::Io { action: "open", .. }), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), code in 7_u8..16, axes in 0_u8..4) {
            for start in [&[][..], &[0, 0, code, axes]] {
                let _ = parse(&mut &[start, &bytes].concat()[..], 64);
            }
        }
    }
}
