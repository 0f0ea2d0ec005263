//! Conversions to samples.

use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData, kind::Basic};
use ndarray::{Array, ArrayBase, Data, Dimension};

use super::{Number, Samples, Sealed, Stored};
use crate::error::{Error, Result};

/// Anything accepted as samples: whatever [`Samples`] converts from (vectors, arrays), and Burn's tensors on any
/// device.
///
/// ```
/// use brasa::burn::tensor::{Device, Int, Tensor};
/// use brasa::datasets::Dataset;
/// let x = Tensor::<2>::from_data([[0.0, 1.0], [2.0, 3.0]], &Device::flex());
/// let y = Tensor::<1, Int>::from_data([1, 0], &Device::flex());
/// let data = Dataset::new(x, y)?;
/// assert_eq!((data.x().shape(), data.y().to_vec_f32()), (&[2, 2][..], vec![1.0, 0.0]));
/// # Ok::<(), brasa::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be samples",
    note = "samples are made from vectors, slices and arrays of numbers (`Vec<f32>`, `&[u8]`, `[usize; 3]`) or of bool, \
            from `Vec<Vec<f32>>` and `Vec<[f32; N]>`, from `ndarray` arrays, and from Burn's tensors"
)]
pub trait IntoSamples {
    /// The samples.
    ///
    /// # Errors
    /// [`Error::Device`] for a tensor whose device fails.
    fn into_samples(self) -> Result<Samples>;
}

// `Samples: From` in place of `T: Into`, so that lists of pairs provably are not samples.
impl<T> IntoSamples for T
where
    Samples: From<T>,
{
    fn into_samples(self) -> Result<Samples> {
        Ok(self.into())
    }
}

impl<const D: usize, K: Basic> IntoSamples for Tensor<D, K> {
    fn into_samples(self) -> Result<Samples> {
        self.try_into()
    }
}

impl<const D: usize, K: Basic> IntoSamples for &Tensor<D, K> {
    fn into_samples(self) -> Result<Samples> {
        self.try_into()
    }
}

/// One number per sample.
impl<T: Number> From<Vec<T>> for Samples {
    fn from(values: Vec<T>) -> Self {
        Self { shape: vec![values.len()], stored: T::store(values), start: 0, divisor: 1.0 }
    }
}

/// One text per sample.
impl From<Vec<String>> for Samples {
    fn from(texts: Vec<String>) -> Self {
        Self { shape: vec![texts.len()], stored: Stored::Text(Arc::new(texts)), start: 0, divisor: 1.0 }
    }
}

/// One text per sample.
impl From<&[&str]> for Samples {
    fn from(texts: &[&str]) -> Self {
        texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>().into()
    }
}

/// One text per sample.
impl From<Vec<&str>> for Samples {
    fn from(texts: Vec<&str>) -> Self {
        texts[..].into()
    }
}

/// One text per sample.
impl<const N: usize> From<[&str; N]> for Samples {
    fn from(texts: [&str; N]) -> Self {
        texts[..].into()
    }
}

/// One number per sample.
impl<T: Number> From<&[T]> for Samples {
    fn from(values: &[T]) -> Self {
        values.to_vec().into()
    }
}

/// One number per sample.
impl<T: Number> From<&Vec<T>> for Samples {
    fn from(values: &Vec<T>) -> Self {
        values.clone().into()
    }
}

/// One number per sample.
impl<T: Number, const N: usize> From<&[T; N]> for Samples {
    fn from(values: &[T; N]) -> Self {
        values.to_vec().into()
    }
}

/// One number per sample.
impl<T: Number, const N: usize> From<[T; N]> for Samples {
    fn from(values: [T; N]) -> Self {
        values.to_vec().into()
    }
}

/// Types that are stored as a wider one.
macro_rules! stored_as {
    ($($type:ty => $stored:ty, $value:ident => $conversion:expr;)*) => {$(
        /// One number per sample.
        impl From<Vec<$type>> for Samples {
            fn from(values: Vec<$type>) -> Self {
                values.into_iter().map(|$value| -> $stored { $conversion }).collect::<Vec<_>>().into()
            }
        }

        /// One number per sample.
        impl From<&[$type]> for Samples {
            fn from(values: &[$type]) -> Self {
                values.to_vec().into()
            }
        }

        /// One number per sample.
        impl From<&Vec<$type>> for Samples {
            fn from(values: &Vec<$type>) -> Self {
                values.clone().into()
            }
        }

        /// One number per sample.
        impl<const N: usize> From<[$type; N]> for Samples {
            fn from(values: [$type; N]) -> Self {
                values.to_vec().into()
            }
        }
    )*};
}
stored_as! {
    bool => u8, value => value.into();
    i8 => i32, value => value.into();
    i16 => i32, value => value.into();
    u16 => i32, value => value.into();
    u32 => i64, value => value.into();
    // Larger numbers are clamped; no array is that long.
    u64 => i64, value => i64::try_from(value).unwrap_or(i64::MAX);
    usize => i64, value => i64::try_from(value).unwrap_or(i64::MAX);
}

/// A row of numbers per sample.
impl<T: Number, const N: usize> From<Vec<[T; N]>> for Samples {
    fn from(rows: Vec<[T; N]>) -> Self {
        let shape = vec![rows.len(), N];
        Self { shape, stored: T::store(rows.into_iter().flatten().collect()), start: 0, divisor: 1.0 }
    }
}

/// A row of numbers per sample.
impl<T: Number, const N: usize> From<&[[T; N]]> for Samples {
    fn from(rows: &[[T; N]]) -> Self {
        rows.to_vec().into()
    }
}

/// A row of numbers a sample.
impl<T: Number, const N: usize, const M: usize> From<[[T; N]; M]> for Samples {
    fn from(rows: [[T; N]; M]) -> Self {
        Vec::from(rows).into()
    }
}

/// A row of numbers a sample.
impl<T: Number, const N: usize> From<&Vec<[T; N]>> for Samples {
    fn from(rows: &Vec<[T; N]>) -> Self {
        rows.clone().into()
    }
}

/// A row of numbers per sample, each as long as the first.
impl<T: Number> IntoSamples for Vec<Vec<T>> {
    /// # Errors
    /// [`Error::Data`] for rows of different lengths.
    fn into_samples(self) -> Result<Samples> {
        let width = self.first().map_or(0, Vec::len);
        if let Some((index, row)) = self.iter().enumerate().find(|(_, row)| row.len() != width) {
            return Err(Error::data(format!("row {index}"), format!("{width} numbers, as in the first"), row.len()));
        }
        Samples::new([self.len(), width], self.into_iter().flatten().collect())
    }
}

/// A row of numbers per sample, each as long as the first.
impl<T: Number> IntoSamples for &Vec<Vec<T>> {
    /// # Errors
    /// [`Error::Data`] for rows of different lengths.
    fn into_samples(self) -> Result<Samples> {
        self.clone().into_samples()
    }
}

/// An array in any memory order. An owned one in row-major order is moved, any other is copied once. An array without
/// axes is one sample.
impl<T: Number, S: Data<Elem = T>, D: Dimension> From<ArrayBase<S, D>> for Samples {
    fn from(array: ArrayBase<S, D>) -> Self {
        let shape = if array.ndim() == 0 { vec![1] } else { array.shape().to_vec() };
        let count = array.len();
        let array: Array<T, D> = array.into_owned();
        let (values, start) = if array.is_standard_layout() {
            let (values, offset) = array.into_raw_vec_and_offset();
            (values, offset.unwrap_or(0))
        } else {
            (array.iter().copied().collect(), 0)
        };
        debug_assert!(values.len() >= start + count);
        Self { shape, stored: T::store(values), start, divisor: 1.0 }
    }
}

/// A copy of an array in any memory order.
impl<T: Number, S: Data<Elem = T>, D: Dimension> From<&ArrayBase<S, D>> for Samples {
    fn from(array: &ArrayBase<S, D>) -> Self {
        Self::from(array.view())
    }
}

/// A Burn tensor's data, of any type that Burn has. A tensor without axes is one sample.
impl From<TensorData> for Samples {
    fn from(data: TensorData) -> Self {
        let shape = if data.rank() == 0 { vec![1] } else { data.shape().to_vec() };
        let stored = match data.dtype() {
            DType::U8 | DType::Bool(_) => u8::store(data.iter::<u8>().collect()),
            DType::I8 | DType::I16 | DType::U16 | DType::I32 => i32::store(data.iter::<i32>().collect()),
            DType::U32 | DType::I64 | DType::U64 => i64::store(data.iter::<i64>().collect()),
            DType::F64 => f64::store(data.iter::<f64>().collect()),
            _ => f32::store(data.iter::<f32>().collect()),
        };
        Self { shape, stored, start: 0, divisor: 1.0 }
    }
}

/// A Burn tensor on any device, the first axis counting the samples. Waits for the device.
impl<const D: usize, K: Basic> TryFrom<Tensor<D, K>> for Samples {
    type Error = Error;

    /// # Errors
    /// [`Error::Device`] if the device fails.
    fn try_from(tensor: Tensor<D, K>) -> Result<Self> {
        let device = tensor.device();
        let data = tensor.try_into_data().map_err(|error| Error::failed_device(&device, error))?;
        Ok(data.into())
    }
}

/// A copy of a Burn tensor.
impl<const D: usize, K: Basic> TryFrom<&Tensor<D, K>> for Samples {
    type Error = Error;

    /// # Errors
    /// [`Error::Device`] if the device fails.
    fn try_from(tensor: &Tensor<D, K>) -> Result<Self> {
        tensor.clone().try_into()
    }
}

/// The same samples, sharing their memory.
impl From<&Samples> for Samples {
    fn from(samples: &Samples) -> Self {
        samples.clone()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Axis, ShapeBuilder, arr0, array, s};

    use super::*;

    #[test]
    fn arrays_of_any_layout_keep_their_logical_order() {
        let rows = array![[1, 2, 3], [4, 5, 6]];
        let fortran = Array2::from_shape_vec((2, 3).f(), vec![1, 4, 2, 5, 3, 6]).unwrap();
        let wanted = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(Samples::from(&rows).to_vec_f32(), wanted);
        assert_eq!(Samples::from(fortran).to_vec_f32(), wanted);
        assert_eq!(Samples::from(rows.view()).to_vec_f32(), wanted);
        assert_eq!(Samples::from(rows.t()).to_vec_f32(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(Samples::from(rows.slice(s![..;-1, 1..])).to_vec_f32(), [5.0, 6.0, 2.0, 3.0]);
        assert_eq!(Samples::from(rows.into_shared().into_dyn()).to_vec_f32(), wanted);
        assert_eq!(Samples::from(array![1, 2].broadcast((2, 2)).unwrap()).to_vec_f32(), [1.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    fn an_owned_array_that_begins_inside_its_memory_keeps_its_values() {
        let mut part = array![[1.0_f64, 2.0], [3.0, 4.0], [5.0, 6.0]];
        part.slice_axis_inplace(Axis(0), (1..2).into());
        let samples = Samples::from(part);
        assert_eq!((samples.shape(), samples.to_vec_f32()), (&[1, 2][..], vec![3.0, 4.0]));
    }

    #[test]
    fn other_types_of_numbers_are_kept_as_wider_ones() {
        let labels = Samples::from(vec![3_usize, 0]);
        assert_eq!((labels.dtype(), labels.to_vec_f32()), ("int64", vec![3.0, 0.0]));
        assert_eq!(Samples::from([true, false]).to_vec_f32(), [1.0, 0.0]);
        assert_eq!(Samples::from(&[7_u32, 9][..]).to_vec_f32(), [7.0, 9.0]);
        assert_eq!(Samples::from(&vec![-7_i8]).to_vec_f32(), [-7.0]);
        let rows = Samples::from(vec![[1.0_f32, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        assert_eq!((rows.shape(), rows.to_vec_f32()), (&[3, 2][..], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let rows = vec![vec![1_u8, 2, 3], vec![4, 5, 6]].into_samples().unwrap();
        assert_eq!((rows.shape(), rows.to_vec_f32()), (&[2, 3][..], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        let ragged = vec![vec![1.0_f32, 2.0], vec![3.0]].into_samples().unwrap_err().to_string();
        assert!(ragged.contains("row 1: expected 2 numbers, as in the first, received 1"), "{ragged}");
    }

    #[test]
    fn an_array_without_axes_is_one_sample() {
        let samples = Samples::from(arr0(7_i64));
        assert_eq!((samples.shape(), samples.dtype(), samples.to_vec_f32()), (&[1][..], "int64", vec![7.0]));
    }

    #[test]
    fn burn_s_tensors_keep_their_type_and_order() {
        use burn::tensor::{Bool, Device, Int};
        let device = Device::flex();
        let tensor = Tensor::<2>::from_data([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &device);
        let turned = Samples::try_from(&tensor.clone().transpose()).unwrap();
        assert_eq!((turned.shape(), turned.dtype()), (&[3, 2][..], "float32"));
        assert_eq!(turned.to_vec_f32(), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let tracked = Samples::try_from(tensor.autodiff().require_grad()).unwrap();
        assert_eq!(tracked.to_vec_f32(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let labels = Samples::try_from(Tensor::<1, Int>::from_data([3, -1], &device)).unwrap();
        assert_eq!((labels.sample_shape(), labels.to_vec_f32()), (&[][..], vec![3.0, -1.0]));
        let flags = Samples::try_from(Tensor::<1, Bool>::from_data([true, false], &device)).unwrap();
        assert_eq!((flags.dtype(), flags.to_vec_f32()), ("uint8", vec![1.0, 0.0]));
        let data = Samples::from(TensorData::from([[0.5_f64], [0.25]]));
        assert_eq!((data.dtype(), data.shape(), data.to_vec_f32()), ("float64", &[2, 1][..], vec![0.5, 0.25]));
    }
}
