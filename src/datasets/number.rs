//! Numbers as stored in files: twelve types, two byte orders.

use std::io::Read;

use half::f16;

use super::samples::{Number, Samples, count_of, is_whole};
use crate::error::Result;

/// The buffer size in bytes, a multiple of every type's size.
const PIECE: usize = 1 << 16;

/// The number types of NumPy and IDX files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NumberType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

/// The encoding of the numbers in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    pub kind: NumberType,
    pub big_endian: bool,
}

impl Encoding {
    /// Bytes per number.
    pub fn size(self) -> usize {
        match self.kind {
            NumberType::Bool | NumberType::U8 | NumberType::I8 => 1,
            NumberType::U16 | NumberType::I16 | NumberType::F16 => 2,
            NumberType::U32 | NumberType::I32 | NumberType::F32 => 4,
            NumberType::U64 | NumberType::I64 | NumberType::F64 => 8,
        }
    }

    /// Bytes of an array of this shape; `None` if that exceeds the limit of one array.
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        count_of(shape)?.checked_mul(self.size())
    }

    /// Reads an array of this shape up to the end of the input, in the nearest type that [`Samples`] stores; `Err` has
    /// the reason. The encoded array is never held in full; unsigned 64-bit numbers and Fortran order temporarily need
    /// a second array.
    ///
    /// With `columns_first` the numbers are in Fortran order. An array without axes is one sample.
    pub fn read(self, shape: Vec<usize>, columns_first: bool, reader: &mut dyn Read) -> Result<Samples, String> {
        let count = count_of(&shape).ok_or_else(|| format!("{shape:?} is more than memory can hold"))?;
        let mut source = Pieces { encoding: self, count, reader };
        let array = RawArray { shape, columns_first };
        let samples = match self.kind {
            NumberType::U8 => array.samples(source.numbers(|[byte]: [u8; 1]| byte)?),
            NumberType::Bool => array.samples(source.numbers(|[byte]: [u8; 1]| u8::from(byte != 0))?),
            NumberType::I8 => array.samples(source.numbers(|b| i32::from(i8::from_ne_bytes(b)))?),
            NumberType::U16 => array.samples(source.numbers(|b| i32::from(u16::from_ne_bytes(b)))?),
            NumberType::I16 => array.samples(source.numbers(|b| i32::from(i16::from_ne_bytes(b)))?),
            NumberType::I32 => array.samples(source.numbers(i32::from_ne_bytes)?),
            NumberType::U32 => array.samples(source.numbers(|b| i64::from(u32::from_ne_bytes(b)))?),
            NumberType::I64 => array.samples(source.numbers(i64::from_ne_bytes)?),
            NumberType::U64 => {
                let values = source.numbers(u64::from_ne_bytes)?;
                match values.iter().map(|&value| i64::try_from(value)).collect::<Result<Vec<_>, _>>() {
                    Ok(integers) => array.samples(integers),
                    Err(_) => array.samples(values.into_iter().map(|value| value as f64).collect()),
                }
            }
            NumberType::F16 => array.samples(source.numbers(|b| f16::from_ne_bytes(b).to_f32())?),
            NumberType::F32 => array.samples(source.numbers(f32::from_ne_bytes)?),
            NumberType::F64 => array.samples(source.numbers(f64::from_ne_bytes)?),
        };
        samples.map_err(|error| error.to_string())
    }

    /// Decodes `bytes` into `out` as `f32`; `bytes` is used as scratch memory.
    pub fn decode_f32(self, bytes: &mut [u8], out: &mut [f32]) {
        self.to_native(bytes);
        match self.kind {
            NumberType::Bool => fill(bytes, out, |[byte]: [u8; 1]| f32::from(u8::from(byte != 0))),
            NumberType::U8 => fill(bytes, out, |[byte]: [u8; 1]| f32::from(byte)),
            NumberType::I8 => fill(bytes, out, |b| f32::from(i8::from_ne_bytes(b))),
            NumberType::U16 => fill(bytes, out, |b| f32::from(u16::from_ne_bytes(b))),
            NumberType::I16 => fill(bytes, out, |b| f32::from(i16::from_ne_bytes(b))),
            NumberType::U32 => fill(bytes, out, |b| u32::from_ne_bytes(b) as f32),
            NumberType::I32 => fill(bytes, out, |b| i32::from_ne_bytes(b) as f32),
            NumberType::U64 => fill(bytes, out, |b| u64::from_ne_bytes(b) as f32),
            NumberType::I64 => fill(bytes, out, |b| i64::from_ne_bytes(b) as f32),
            NumberType::F16 => fill(bytes, out, |b| f16::from_ne_bytes(b).to_f32()),
            NumberType::F32 => fill(bytes, out, f32::from_ne_bytes),
            NumberType::F64 => fill(bytes, out, |b| f64::from_ne_bytes(b) as f32),
        }
    }

    /// Appends the numbers in `bytes` to `out` as integers; `false` if one is not an integer. `bytes` is used as
    /// scratch memory.
    pub fn decode_i64(self, bytes: &mut [u8], out: &mut Vec<i64>) -> bool {
        self.to_native(bytes);
        match self.kind {
            NumberType::Bool => extend(bytes, out, |[byte]: [u8; 1]| Some(i64::from(byte != 0))),
            NumberType::U8 => extend(bytes, out, |[byte]: [u8; 1]| Some(i64::from(byte))),
            NumberType::I8 => extend(bytes, out, |b| Some(i64::from(i8::from_ne_bytes(b)))),
            NumberType::U16 => extend(bytes, out, |b| Some(i64::from(u16::from_ne_bytes(b)))),
            NumberType::I16 => extend(bytes, out, |b| Some(i64::from(i16::from_ne_bytes(b)))),
            NumberType::U32 => extend(bytes, out, |b| Some(i64::from(u32::from_ne_bytes(b)))),
            NumberType::I32 => extend(bytes, out, |b| Some(i64::from(i32::from_ne_bytes(b)))),
            NumberType::U64 => extend(bytes, out, |b| i64::try_from(u64::from_ne_bytes(b)).ok()),
            NumberType::I64 => extend(bytes, out, |b| Some(i64::from_ne_bytes(b))),
            NumberType::F64 => {
                extend(bytes, out, |b| Some(f64::from_ne_bytes(b)).filter(|n| is_whole(*n)).map(|n| n as i64))
            }
            NumberType::F16 | NumberType::F32 => false,
        }
    }

    /// Converts the numbers to native byte order.
    fn to_native(self, bytes: &mut [u8]) {
        if self.big_endian != cfg!(target_endian = "big") && self.size() > 1 {
            bytes.chunks_exact_mut(self.size()).for_each(<[u8]>::reverse);
        }
    }
}

/// Writes the numbers in `bytes` into `out`.
fn fill<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, bytes)| *out = read(*bytes));
}

/// Appends the numbers in `bytes` to `out` until one cannot be read.
fn extend<const N: usize>(bytes: &[u8], out: &mut Vec<i64>, read: impl Fn([u8; N]) -> Option<i64>) -> bool {
    bytes.as_chunks().0.iter().all(|bytes| read(*bytes).map(|number| out.push(number)).is_some())
}

/// Numbers of a file, read in pieces.
struct Pieces<'a> {
    encoding: Encoding,
    count: usize,
    reader: &'a mut dyn Read,
}

impl Pieces<'_> {
    /// Reads all numbers and requires the end of the input after them.
    fn numbers<const N: usize, T>(&mut self, read: impl Fn([u8; N]) -> T) -> Result<Vec<T>, String> {
        let bytes = self.count.saturating_mul(N);
        let mut numbers = Vec::new();
        numbers.try_reserve_exact(self.count).map_err(|_| format!("there is no memory for its {bytes} bytes"))?;
        let mut piece = Vec::with_capacity(PIECE.min(bytes));
        while numbers.len() < self.count {
            let before = numbers.len() * N;
            let wanted = (bytes - before).min(PIECE);
            piece.clear();
            self.reader.take(wanted as u64).read_to_end(&mut piece).map_err(|error| error.to_string())?;
            if piece.len() < wanted {
                return Err(format!("expected {bytes} bytes of values, received {}", before + piece.len()));
            }
            self.encoding.to_native(&mut piece);
            numbers.extend(piece.as_chunks().0.iter().map(|bytes| read(*bytes)));
        }
        // Reading to the end makes gzip and zip verify their checksums.
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(numbers),
            Ok(_) => Err(format!("expected {bytes} bytes of values, received more")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Shape and order of an array whose values follow.
struct RawArray {
    shape: Vec<usize>,
    columns_first: bool,
}

impl RawArray {
    fn samples<T: Number>(self, values: Vec<T>) -> Result<Samples> {
        if self.shape.is_empty() {
            return Samples::new([1], values);
        }
        if !self.columns_first {
            return Samples::new(self.shape, values);
        }
        // An array in Fortran order is the transpose of one in C order with the axes reversed.
        let reversed: Vec<usize> = self.shape.into_iter().rev().collect();
        let received = format!("{} values of shape {reversed:?}", values.len());
        let array = ndarray::ArrayD::from_shape_vec(reversed, values)
            .map_err(|error| crate::error::Error::shape(error.to_string(), received))?;
        Ok(array.reversed_axes().into())
    }
}

/// Deflate compresses by a factor of at most 1032, so a compressed file of known size cannot contain more than this; a
/// file that claims to is broken, and nothing is allocated.
pub(super) fn most_unpacked(packed: u64) -> u64 {
    packed.saturating_mul(1032).saturating_add(1024)
}
