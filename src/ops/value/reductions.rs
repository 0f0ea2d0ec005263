//! Reductions, products, one-hot codes and rows of a table.

use burn::tensor::{Int, Tensor};

use super::{Value, assert_count, check_sizes};
use crate::error::Result;
use crate::ops::fast_softmax;

impl Value {
    /// The result of a reduction of an empty value along `axis`, filled with `nothing`; `None` if the value is not
    /// empty.
    fn of_nothing(&self, axis: usize, nothing: f32) -> Option<Self> {
        if !self.is_empty() {
            return None;
        }
        let mut sizes = self.sizes();
        sizes[axis] = 1;
        Self::from_vec(vec![nothing; check_sizes(&sizes).ok()?], &sizes, &self.device()).ok()
    }

    /// The sum along `axis`, which is kept with size 1; 0 for an empty axis.
    pub fn sum_axis(self, axis: usize) -> Self {
        if let Some(sum) = self.of_nothing(axis, 0.0) {
            return sum;
        }
        with_rank!(self, |tensor| tensor.sum_dim(axis).into())
    }

    /// The mean along `axis`, which is kept with size 1; NaN for an empty axis.
    pub fn mean_axis(self, axis: usize) -> Self {
        if let Some(mean) = self.of_nothing(axis, f32::NAN) {
            return mean;
        }
        with_rank!(self, |tensor| tensor.mean_dim(axis).into())
    }

    /// The maximum along `axis`, which is kept with size 1; −∞ for an empty axis.
    pub fn max_axis(self, axis: usize) -> Self {
        if let Some(max) = self.of_nothing(axis, f32::NEG_INFINITY) {
            return max;
        }
        with_rank!(self, |tensor| tensor.max_dim(axis).into())
    }

    /// The position of the first maximum along `axis`, which is kept with size 1.
    pub fn argmax(self, axis: usize) -> Self {
        with_rank!(self, |tensor| tensor.argmax(axis).float().into())
    }

    /// The sum of all elements, as a value of rank 1.
    pub fn sum(self) -> Self {
        with_rank!(self, |tensor| tensor.sum().into())
    }

    /// The mean of all elements, as a value of rank 1.
    pub fn mean(self) -> Self {
        with_rank!(self, |tensor| tensor.mean().into())
    }

    /// The matrix product over the last two dimensions; zeros if there is nothing to sum.
    pub fn matmul(self, other: Self) -> Self {
        if let ([own @ .., rows, _], [others @ .., _, columns]) = (&self.sizes()[..], &other.sizes()[..]) {
            let leading = own.iter().zip(others).map(|(own, other)| *own.max(other));
            let sizes: Vec<usize> = leading.chain([*rows, *columns]).collect();
            assert_count(&sizes);
            if (self.is_empty() || other.is_empty())
                && let Ok(nothing) = Self::full(&sizes, 0.0, &self.device())
            {
                return nothing;
            }
        }
        with_rank!(self, |tensor, D| tensor.matmul(Tensor::<D>::from_dispatch(other.0)).into())
    }

    /// `softmax` along `axis`.
    pub fn softmax(self, axis: usize) -> Self {
        if axis + 1 == self.rank()
            && let Some(output) = fast_softmax(&self)
        {
            return output;
        }
        with_rank!(self, |tensor| burn::tensor::activation::softmax(tensor, axis).into())
    }

    /// `log(softmax)` along `axis`.
    pub fn log_softmax(self, axis: usize) -> Self {
        with_rank!(self, |tensor| burn::tensor::activation::log_softmax(tensor, axis).into())
    }

    /// A last dimension of size `classes`, 1 at the class that each element names and 0 elsewhere.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the value already has six dimensions, or the result had too many
    /// values.
    pub fn one_hot(self, classes: usize) -> Result<Self> {
        let mut sizes = self.sizes();
        sizes.push(classes);
        check_sizes(&sizes)?;
        let mut row = vec![1; sizes.len()];
        row[sizes.len() - 1] = classes;
        let numbers = Self::from_vec((0..classes).map(|class| class as f32).collect(), &row, &self.device())?;
        let mut column = self.sizes();
        column.push(1);
        Ok(self.reshape(&column)?.expand(&sizes).equal(numbers.expand(&sizes)))
    }

    /// Rows of a table `(rows, features)`, one for each element, which must be whole numbers below `rows`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if the table is not of rank 2 or the result had more than six dimensions.
    pub fn gather_rows(self, table: Self) -> Result<Self> {
        let table = table.tensor::<2>()?;
        let mut sizes = self.sizes();
        sizes.push(table.dims()[1]);
        check_sizes(&sizes)?;
        let indices: Tensor<1, Int> = self.detach().flatten()?.int();
        Self::from(table.select(0, indices)).reshape(&sizes)
    }

    fn flatten(self) -> Result<Tensor<1>> {
        let length = self.len();
        self.reshape(&[length])?.tensor::<1>()
    }
}
