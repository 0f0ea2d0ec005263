//! Operations along one axis of a value of any rank.

use burn::tensor::{Int, Tensor};

use super::{ElementWise, Value};
use crate::error::{Error, Result};
use crate::shape::check_count;

impl Value {
    /// As (before, axis, after): the dimensions before `axis` merged into one, and those after it into another.
    fn around(self, axis: usize) -> Result<(Tensor<3>, Vec<usize>)> {
        let sizes = self.sizes();
        let before = sizes[..axis].iter().product();
        let after = sizes[axis + 1..].iter().product();
        Ok((self.reshape(&[before, sizes[axis], after])?.tensor::<3>()?, sizes))
    }

    fn from_around(value: impl Into<Self>, mut sizes: Vec<usize>, axis: usize, length: usize) -> Result<Self> {
        sizes[axis] = length;
        value.into().reshape(&sizes)
    }

    /// The sizes of a value that must have `D` dimensions.
    pub(super) fn tensor_sizes<const D: usize>(&self) -> Result<[usize; D]> {
        <[usize; D]>::try_from(self.sizes())
            .map_err(|sizes| Error::shape(format!("ndim={D}"), format!("ndim={}, full shape {sizes:?}", sizes.len())))
    }

    /// The cells of dimension `axis` at these positions, in this order.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a position out of range, or if the result had too many values.
    pub fn select(self, axis: usize, positions: &[usize]) -> Result<Self> {
        let (tensor, mut sizes) = self.around(axis)?;
        let length = sizes[axis];
        sizes[axis] = positions.len();
        if check_count(&sizes)? == 0 {
            return Self::empty(&sizes, &tensor.device());
        }
        let position = |position: &usize| i32::try_from(*position).ok().filter(|_| *position < length);
        let numbers = positions.iter().map(position).collect::<Option<Vec<i32>>>();
        let numbers = numbers.ok_or_else(|| Error::shape(format!("positions below {length}"), positions.len()))?;
        let indices = Tensor::<1, Int>::from_ints(numbers.as_slice(), &tensor.device());
        Self::from_around(tensor.select(1, indices), sizes, axis, positions.len())
    }

    /// Repeats each cell of dimension `axis` `times` times in a row.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the result had too many values.
    pub fn repeat(self, axis: usize, times: usize) -> Result<Self> {
        let (tensor, sizes) = self.around(axis)?;
        let [before, length, after] = tensor.dims();
        if check_count(&[before, length, times, after])? == 0 {
            return Self::from_around(
                Self::empty(&[before, length * times, after], &tensor.device())?,
                sizes,
                axis,
                length * times,
            );
        }
        let repeated = tensor.reshape([before, length, 1, after]).expand([before, length, times, after]);
        Self::from_around(repeated, sizes, axis, length * times)
    }

    /// Dimension `axis`, of length n, times a matrix of sizes (n, m).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if `matrix` is not of rank 2.
    pub fn matmul_along(self, axis: usize, matrix: Self) -> Result<Self> {
        let (tensor, sizes) = self.around(axis)?;
        let [before, length, after] = tensor.dims();
        let matrix = matrix.tensor::<2>()?;
        let columns = matrix.dims()[1];
        if check_count(&[before, after, columns])? == 0 || length == 0 {
            let nothing = Self::full(&[before, columns, after], 0.0, &tensor.device())?;
            return Self::from_around(nothing, sizes, axis, columns);
        }
        let rows = tensor.swap_dims(1, 2).reshape([before * after, length]);
        let product = rows.matmul(matrix).reshape([before, after, columns]).swap_dims(1, 2);
        Self::from_around(product, sizes, axis, columns)
    }

    /// 1 where the element differs from `number`, else 0.
    pub fn not_equal_scalar(self, number: f32) -> Self {
        self.equal_scalar(number).mul_scalar(-1.0).add_scalar(1.0)
    }

    /// 1 divided by each element.
    pub fn recip(self) -> Self {
        struct Recip;
        impl ElementWise for Recip {
            fn apply<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
                tensor.recip()
            }
        }
        self.map(Recip)
    }

    /// A weight with the dimensions `axes` of `sizes`, in this order, broadcast over all others.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if it has another number of elements.
    pub fn broadcast(self, axes: &[usize], sizes: &[usize]) -> Result<Self> {
        let mut own = vec![1; sizes.len()];
        axes.iter().for_each(|axis| own[*axis] = sizes[*axis]);
        Ok(self.reshape(&own)?.expand(sizes))
    }

    /// Mean and variance over `axes`, which are kept with size 1; the variance is that of the population (divided by
    /// the number of values, not one less).
    pub fn moments(self, axes: &[usize]) -> (Self, Self) {
        let sizes = self.sizes();
        let mean = axes.iter().fold(self.clone(), |value, axis| value.mean_axis(*axis));
        let variance = (self - mean.clone().expand(&sizes)).square();
        let variance = axes.iter().fold(variance, |value, axis| value.mean_axis(*axis));
        (mean, variance)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn numbers(sizes: &[usize]) -> Value {
        let count = sizes.iter().product::<usize>();
        Value::from_vec((0..count).map(|i| i as f32).collect(), sizes, &Device::flex()).unwrap()
    }

    #[test]
    fn select_and_repeat_keep_the_order() {
        let value = numbers(&[2, 3, 2]);
        let selected = value.clone().select(1, &[2, 0]).unwrap();
        assert_eq!(selected.sizes(), [2, 2, 2]);
        assert_eq!(selected.to_vec().unwrap(), [4., 5., 0., 1., 10., 11., 6., 7.]);
        assert_eq!(numbers(&[2, 2]).repeat(1, 2).unwrap().to_vec().unwrap(), [0., 0., 1., 1., 2., 2., 3., 3.]);
        assert_eq!(numbers(&[2, 2]).repeat(0, 2).unwrap().to_vec().unwrap(), [0., 1., 0., 1., 2., 3., 2., 3.]);
    }

    #[test]
    fn a_matrix_along_the_middle_axis() {
        let sum = Value::full(&[3, 1], 1.0, &Device::flex()).unwrap();
        let summed = numbers(&[2, 3, 2]).matmul_along(1, sum).unwrap();
        assert_eq!(summed.to_vec().unwrap(), [6., 9., 24., 27.]);
    }

    #[test]
    fn moments_are_those_of_the_population() {
        let (mean, variance) = numbers(&[2, 2]).moments(&[0, 1]);
        assert_eq!((mean.to_vec().unwrap(), variance.to_vec().unwrap()), (vec![1.5], vec![1.25]));
    }
}
