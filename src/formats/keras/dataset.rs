//! Reads a dataset of an HDF5 file into an [`Array`]: checked first, then converted to a supported type.

use half::{bf16, f16};
use hdf5_pure::{Dataset, Datatype, DatatypeByteOrder, Layout};

use super::hdf5::{FILTER_NAMES, Hdf5Reader};
use crate::error::{Error, Result};
use crate::formats::array::{Array, Elements, element_count, memory_of, shape_text};

/// Deflate, shuffle and Fletcher-32: those that h5py offers and every HDF5 library has.
const FILTERS: [u16; 3] = [1, 2, 3];

/// The element type in the file.
#[derive(Clone, Copy, PartialEq)]
enum ElementType {
    F16(Endian),
    Bf16,
    F32(Endian),
    F64,
    /// Every integer type that fits into `i32`.
    I32,
    I64,
    U32,
}

#[derive(Clone, Copy, PartialEq)]
enum Endian {
    Little,
    Big,
}

/// The declared shape of a dataset.
pub(super) fn shape_of(reader: &Hdf5Reader, dataset: &Dataset, at: &str) -> Result<Vec<usize>> {
    reader
        .call(at, || dataset.shape())?
        .into_iter()
        .map(|size| usize::try_from(size).map_err(|_| reader.broken(at, format!("a size of {size}"))))
        .collect()
}

/// Rejects arrays that together exceed the memory budget.
pub(super) fn check_total<'a>(reader: &Hdf5Reader, mut shapes: impl Iterator<Item = &'a Vec<usize>>) -> Result<()> {
    let total = shapes.try_fold(0u64, |total, shape| total.checked_add(memory_of(shape)?));
    match total {
        Some(total) if total <= reader.limits().weight_bytes => Ok(()),
        _ => Err(too_much(reader)),
    }
}

/// Reads a dataset whose shape must be `expected`.
///
/// # Errors
/// [`Error::Shape`] if it is not; [`Error::Broken`] if the file does not contain the declared data;
/// [`Error::Unsupported`] for an unsupported type, filter or storage layout, and beyond the budget.
pub(super) fn read(reader: &Hdf5Reader, dataset: &Dataset, at: &str, expected: &[usize]) -> Result<Array> {
    let shape = shape_of(reader, dataset, at)?;
    if shape != expected {
        return Err(Error::shape(shape_text(expected), shape_text(&shape)));
    }
    if memory_of(&shape).is_none_or(|bytes| bytes > reader.limits().weight_bytes) {
        return Err(too_much(reader));
    }
    let stored = stored_type(reader, dataset, at)?;
    check_storage(reader, dataset, at, &shape)?;
    // Fast path for nearly all weights: contiguous numbers, of which the parser would make two more copies.
    if stored == ElementType::F32(Endian::Little)
        && let Layout::Contiguous { address: Some(address), size } = reader.call(at, || dataset.layout())?
        && let Some(bytes) =
            memory_of(&shape).filter(|memory| *memory == size).and_then(|_| reader.stretch(address, size))
    {
        let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        return Array::new(shape, values).map_err(|error| reader.broken(at, error));
    }
    let elements: Elements = match stored {
        ElementType::F32(_) => reader.call(at, || dataset.read_f32())?.into(),
        ElementType::F64 => narrowed(reader.call(at, || dataset.read_f64())?).into(),
        ElementType::F16(Endian::Little) => {
            halves(reader, dataset, at, |pair| f16::from_le_bytes(pair).to_f32())?.into()
        }
        ElementType::F16(Endian::Big) => halves(reader, dataset, at, |pair| f16::from_be_bytes(pair).to_f32())?.into(),
        ElementType::Bf16 => halves(reader, dataset, at, |pair| bf16::from_le_bytes(pair).to_f32())?.into(),
        ElementType::I32 => reader.call(at, || dataset.read_i32())?.into(),
        ElementType::I64 => reader.call(at, || dataset.read_i64())?.into(),
        ElementType::U32 => reader.call(at, || dataset.read_u32())?.into(),
    };
    Array::new(shape, elements).map_err(|error| reader.broken(at, error))
}

/// The error for weights beyond the budget.
fn too_much(reader: &Hdf5Reader) -> Error {
    Error::unsupported(
        format!("the weights of `{}`", reader.name()),
        format!("up to {} bytes of them (`Limits::weight_bytes`)", reader.limits().weight_bytes),
    )
}

fn narrowed(values: Vec<f64>) -> Vec<f32> {
    values.into_iter().map(|value| value as f32).collect()
}

fn halves(reader: &Hdf5Reader, dataset: &Dataset, at: &str, convert: impl Fn([u8; 2]) -> f32) -> Result<Vec<f32>> {
    let bytes = reader.call(at, || dataset.read_raw())?;
    let (pairs, _) = bytes.as_chunks::<2>();
    Ok(pairs.iter().map(|&pair| convert(pair)).collect())
}

/// The element type, if Keras saves it.
fn stored_type(reader: &Hdf5Reader, dataset: &Dataset, at: &str) -> Result<ElementType> {
    let datatype = reader.call(at, || dataset.datatype())?;
    let known = match &datatype {
        Datatype::FloatingPoint { size, byte_order, layout } => match (size, layout.exponent_size, byte_order) {
            (8, 11, _) => Some(ElementType::F64),
            (4, 8, DatatypeByteOrder::LittleEndian) => Some(ElementType::F32(Endian::Little)),
            (4, 8, _) => Some(ElementType::F32(Endian::Big)),
            (2, 5, DatatypeByteOrder::LittleEndian) => Some(ElementType::F16(Endian::Little)),
            (2, 5, DatatypeByteOrder::BigEndian) => Some(ElementType::F16(Endian::Big)),
            (2, 8, DatatypeByteOrder::LittleEndian) => Some(ElementType::Bf16),
            _ => None,
        },
        Datatype::FixedPoint { size, layout, .. } => match (size, layout.signed) {
            (1 | 2, _) | (4, true) => Some(ElementType::I32),
            (4, false) => Some(ElementType::U32),
            (8, true) => Some(ElementType::I64),
            _ => None,
        },
        // HDF5 had no bfloat16: Keras stores the two raw bytes and marks them in an attribute.
        Datatype::Opaque { size: 2, .. } => {
            let attributes = reader.call(at, || dataset.attrs())?;
            let named = attributes.get("dtype").and_then(|value| value.as_str()) == Some("bfloat16");
            named.then_some(ElementType::Bf16)
        }
        _ => None,
    };
    known.ok_or_else(|| {
        Error::unsupported(
            format!("elements of type {datatype} at {at} of `{}`", reader.name()),
            "float16, bfloat16, float32, float64, and integers of up to 32 bits or int64",
        )
    })
}

/// Checks that the file contains what the dataset declares.
fn check_storage(reader: &Hdf5Reader, dataset: &Dataset, at: &str, shape: &[usize]) -> Result<()> {
    let element = reader.call(at, || dataset.element_size())?;
    let declared = element_count(shape)
        .and_then(|count| u64::try_from(count).ok())
        .and_then(|count| count.checked_mul(element))
        .ok_or_else(|| too_much(reader))?;
    if declared == 0 {
        return Ok(());
    }
    reader.expand(at, declared)?;
    match reader.call(at, || dataset.layout())? {
        Layout::Compact { size } if size >= declared => Ok(()),
        Layout::Contiguous { address: Some(address), size }
            if size >= declared && address.checked_add(declared).is_some_and(|end| end <= reader.bytes()) =>
        {
            Ok(())
        }
        Layout::Chunked { chunk_shape, .. } => check_chunks(reader, dataset, at, &chunk_shape, shape),
        Layout::Virtual => Err(Error::unsupported(
            format!("a virtual dataset at {at} of `{}`", reader.name()),
            "data inside the dataset itself",
        )),
        // Data in external files has no address here; reading gives an error that says so, rather than that it is
        // missing.
        Layout::Contiguous { address: None, .. } => {
            reader.call(at, || dataset.read_raw_rows(0, 1))?;
            Err(reader.broken(at, format!("it declares {declared} bytes and holds none")))
        }
        _ => Err(reader.broken(at, format!("it declares {declared} bytes and the file does not hold them"))),
    }
}

/// Checks the size of the chunks and that they lie within the file.
fn check_chunks(reader: &Hdf5Reader, dataset: &Dataset, at: &str, chunk: &[u64], shape: &[usize]) -> Result<()> {
    // Chunks are decompressed whole, so one larger than the dataset would take memory that no shape accounts for.
    if chunk.len() != shape.len() || chunk.iter().zip(shape).any(|(&chunk, &size)| chunk > size as u64) {
        return Err(reader.broken(at, "its chunks are larger than the dataset"));
    }
    if let Some(filter) = dataset.filters().into_iter().find(|filter| !FILTERS.contains(filter)) {
        return Err(Error::unsupported(format!("HDF5 filter {filter} at {at} of `{}`", reader.name()), FILTER_NAMES));
    }
    for chunk in reader.call(at, || dataset.chunks())? {
        if chunk.address.checked_add(chunk.storage_size).is_none_or(|end| end > reader.bytes()) {
            return Err(reader.broken(at, "a chunk of it lies beyond the end of the file"));
        }
    }
    Ok(())
}
