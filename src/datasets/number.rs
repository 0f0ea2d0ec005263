//! Numbers as files hold them: twelve types, two byte orders.

use half::f16;

use super::samples::{Number, Samples, count_of};
use crate::error::Result;

/// The types of numbers that NumPy and IDX files hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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

/// How the numbers of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoding {
    pub kind: Kind,
    pub big_endian: bool,
}

impl Encoding {
    /// Bytes of one number.
    pub fn size(self) -> usize {
        match self.kind {
            Kind::Bool | Kind::U8 | Kind::I8 => 1,
            Kind::U16 | Kind::I16 | Kind::F16 => 2,
            Kind::U32 | Kind::I32 | Kind::F32 => 4,
            Kind::U64 | Kind::I64 | Kind::F64 => 8,
        }
    }

    /// Bytes of an array of this shape, unless it is beyond what one array can have.
    pub fn bytes_of(self, shape: &[usize]) -> Option<usize> {
        count_of(shape)?.checked_mul(self.size())
    }

    /// The array of this shape whose numbers are `bytes`, in the nearest type that [`Samples`] stores.
    ///
    /// With `columns_first` the bytes are in Fortran's order. An array without axes is one sample.
    pub fn decode(self, shape: Vec<usize>, columns_first: bool, mut bytes: Vec<u8>) -> Result<Samples> {
        self.to_native(&mut bytes);
        let array = Raw { shape, columns_first };
        match self.kind {
            Kind::U8 => array.samples(bytes),
            Kind::Bool => array.samples(numbers(&bytes, |[byte]: [u8; 1]| u8::from(byte != 0))),
            Kind::I8 => array.samples(numbers(&bytes, |b| i32::from(i8::from_ne_bytes(b)))),
            Kind::U16 => array.samples(numbers(&bytes, |b| i32::from(u16::from_ne_bytes(b)))),
            Kind::I16 => array.samples(numbers(&bytes, |b| i32::from(i16::from_ne_bytes(b)))),
            Kind::I32 => array.samples(numbers(&bytes, i32::from_ne_bytes)),
            Kind::U32 => array.samples(numbers(&bytes, |b| i64::from(u32::from_ne_bytes(b)))),
            Kind::I64 => array.samples(numbers(&bytes, i64::from_ne_bytes)),
            Kind::U64 => {
                let values = numbers(&bytes, u64::from_ne_bytes);
                match values.iter().map(|&value| i64::try_from(value)).collect::<Result<Vec<_>, _>>() {
                    Ok(integers) => array.samples(integers),
                    Err(_) => array.samples(values.into_iter().map(|value| value as f64).collect()),
                }
            }
            Kind::F16 => array.samples(numbers(&bytes, |b| f16::from_ne_bytes(b).to_f32())),
            Kind::F32 => array.samples(numbers(&bytes, f32::from_ne_bytes)),
            Kind::F64 => array.samples(numbers(&bytes, f64::from_ne_bytes)),
        }
    }

    /// The numbers in `bytes` as `f32`, as many as `out` has room for; `bytes` is scratch memory.
    pub fn decode_f32(self, bytes: &mut [u8], out: &mut [f32]) {
        self.to_native(bytes);
        match self.kind {
            Kind::Bool => fill(bytes, out, |[byte]: [u8; 1]| f32::from(u8::from(byte != 0))),
            Kind::U8 => fill(bytes, out, |[byte]: [u8; 1]| f32::from(byte)),
            Kind::I8 => fill(bytes, out, |b| f32::from(i8::from_ne_bytes(b))),
            Kind::U16 => fill(bytes, out, |b| f32::from(u16::from_ne_bytes(b))),
            Kind::I16 => fill(bytes, out, |b| f32::from(i16::from_ne_bytes(b))),
            Kind::U32 => fill(bytes, out, |b| u32::from_ne_bytes(b) as f32),
            Kind::I32 => fill(bytes, out, |b| i32::from_ne_bytes(b) as f32),
            Kind::U64 => fill(bytes, out, |b| u64::from_ne_bytes(b) as f32),
            Kind::I64 => fill(bytes, out, |b| i64::from_ne_bytes(b) as f32),
            Kind::F16 => fill(bytes, out, |b| f16::from_ne_bytes(b).to_f32()),
            Kind::F32 => fill(bytes, out, f32::from_ne_bytes),
            Kind::F64 => fill(bytes, out, |b| f64::from_ne_bytes(b) as f32),
        }
    }

    /// Puts the bytes of each number into this machine's order.
    fn to_native(self, bytes: &mut [u8]) {
        if self.big_endian != cfg!(target_endian = "big") && self.size() > 1 {
            bytes.chunks_exact_mut(self.size()).for_each(<[u8]>::reverse);
        }
    }
}

/// The numbers in `bytes`.
fn numbers<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| read(*bytes)).collect()
}

/// Writes the numbers in `bytes` into `out`.
fn fill<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    out.iter_mut().zip(bytes.as_chunks().0).for_each(|(out, bytes)| *out = read(*bytes));
}

/// Shape and order of an array whose values are still to come.
struct Raw {
    shape: Vec<usize>,
    columns_first: bool,
}

impl Raw {
    fn samples<T: Number>(self, values: Vec<T>) -> Result<Samples> {
        if self.shape.is_empty() {
            return Samples::new([1], values);
        }
        if !self.columns_first {
            return Samples::new(self.shape, values);
        }
        // An array in Fortran's order is the transpose of one in C's order with the axes reversed.
        let reversed: Vec<usize> = self.shape.into_iter().rev().collect();
        let received = format!("{} values of shape {reversed:?}", values.len());
        let array = ndarray::ArrayD::from_shape_vec(reversed, values)
            .map_err(|error| crate::error::Error::shape(error.to_string(), received))?;
        Ok(array.reversed_axes().into())
    }
}

/// Deflate makes nothing smaller than one part in 1032, so that a packed file of a known size
/// cannot hold more than this; a file that claims to is broken, and no memory is asked for.
pub(super) fn most_unpacked(packed: u64) -> u64 {
    packed.saturating_mul(1032).saturating_add(1024)
}

/// Reads exactly `count` bytes and the end after them; `Err` says what came instead.
pub(super) fn read_exactly(reader: &mut dyn std::io::Read, count: usize) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(count).map_err(|_| format!("there is no memory for its {count} bytes"))?;
    reader.take(count as u64).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() < count {
        return Err(format!("expected {count} bytes of values, received {}", bytes.len()));
    }
    // Reading on to the end also makes gzip and zip compare their checksums.
    match reader.read(&mut [0]) {
        Ok(0) => Ok(bytes),
        Ok(_) => Err(format!("expected {count} bytes of values, received more")),
        Err(error) => Err(error.to_string()),
    }
}
