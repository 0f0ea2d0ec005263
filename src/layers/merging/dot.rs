//! `Dot`: the tensor product of its two inputs, contracted along an axis of each.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::{Shape, check_rank};

/// The lower bound of the squared norm by whose root a vector is divided.
const EPSILON: f32 = 1e-12;

/// The axes along which [`Dot`] sums: one for both inputs, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum DotAxes {
    /// The same axis of both inputs.
    Same(isize),
    /// An axis of the first input and one of the second.
    Each(isize, isize),
}

impl From<isize> for DotAxes {
    fn from(axis: isize) -> Self {
        Self::Same(axis)
    }
}

impl From<(isize, isize)> for DotAxes {
    fn from((first, second): (isize, isize)) -> Self {
        Self::Each(first, second)
    }
}

crate::describe! {
    /// The product of its two inputs, sample by sample, contracted along an axis of each.
    ///
    /// # Shapes
    /// `(batch, …)` and `(batch, …)` → `(batch, the first's other sizes, the second's other sizes)`, `(batch, 1)` where
    /// no sizes are left.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (a, b) = (Input::new((3, 4)).symbol(), Input::new((4, 5)).symbol());
    /// let products = Dot::new((2, 1)).call([&a, &b])?;
    /// assert_eq!(products.shape().to_string(), "(None, 3, 5)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Dot {
        /// The axes, counted from the batch's, from the end if negative; the batch's is refused.
        axes: DotAxes,
        /// Whether to normalize each input along its axis first: the output is then the cosine similarity.
        normalize: bool = false,
    }
}

impl Dot {
    /// Summed along `axes`: one for both inputs, or a pair.
    pub fn new(axes: impl Into<DotAxes>) -> Self {
        Self::required(axes.into())
    }

    fn axes_of(&self, ranks: [usize; 2]) -> Result<[usize; 2]> {
        let own = match self.axes {
            DotAxes::Same(axis) => [axis, axis],
            DotAxes::Each(first, second) => [first, second],
        };
        let mut axes = [0; 2];
        for (axis, (own, rank)) in axes.iter_mut().zip(own.into_iter().zip(ranks)) {
            let counted = if own < 0 { own + rank as isize } else { own };
            let found = usize::try_from(counted).ok().filter(|axis| *axis < rank && *axis > 0);
            *axis = found
                .ok_or_else(|| Error::argument("axes", format!("an axis of {rank} other than the batch's"), own))?;
        }
        Ok(axes)
    }

    /// The input as a batch of matrices: with `axis` last and all others but the batch's flattened, `(batch, others,
    /// axis)`.
    fn rows(&self, input: Value, axis: usize) -> Result<Value> {
        let sizes = input.sizes();
        let order: Vec<usize> = (0..sizes.len()).filter(|own| *own != axis).chain([axis]).collect();
        let others = sizes.iter().enumerate().filter(|(own, _)| *own != axis && *own != 0).map(|(_, size)| size);
        let others = others.product();
        let rows = input.permute(&order).reshape(&[sizes[0], others, sizes[axis]])?;
        if !self.normalize {
            return Ok(rows);
        }
        let squares = rows.clone().square().sum_axis(2).clamp_min(EPSILON);
        let length = squares.sqrt().expand(&rows.sizes());
        Ok(rows / length)
    }
}

impl Layer for Dot {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[])?;
        let [first, second] = inputs else {
            return Err(Error::shape("a list of 2 inputs", inputs.len()));
        };
        let axes = self.axes_of([first.rank(), second.rank()])?;
        let summed = [first.sizes()[axes[0]], second.sizes()[axes[1]]];
        if let [Some(a), Some(b)] = summed
            && a != b
        {
            let axis = |index: usize| format!("size {} along axis {}", [a, b][index], axes[index]);
            return Err(Error::shape(format!("the same sizes: {}", axis(0)), format!("{} of {second}", axis(1))));
        }
        check_rank((first.rank() + second.rank() - 3).max(2))?;
        let others = |shape: &Shape, axis: usize| {
            let others = shape.sizes().iter().enumerate().filter(move |(own, _)| *own != axis && *own != 0);
            others.map(|(_, size)| *size).collect::<Vec<_>>()
        };
        let mut sizes = vec![first.sizes()[0]];
        sizes.extend(others(first, axes[0]));
        sizes.extend(others(second, axes[1]));
        if sizes.len() == 1 {
            sizes.push(Some(1));
        }
        Ok(vec![Shape::new(sizes)])
    }

    fn takes_a_list(&self, _: usize) -> bool {
        true
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let ([first, second], [first_shape, second_shape]) = (to.inputs(), to.shapes()) else {
            return Err(Error::shape("a list of 2 inputs", to.inputs().len()));
        };
        let (edges, shapes) = ([*first, *second], [first_shape.clone(), second_shape.clone()]);
        let axes = self.axes_of([shapes[0].rank(), shapes[1].rank()])?;
        let mut rows = [edges[0]; 2];
        for (index, row) in rows.iter_mut().enumerate() {
            let (shape, axis) = (&shapes[index], axes[index]);
            let order: Vec<usize> = (0..shape.rank()).filter(|own| *own != axis).chain([axis]).collect();
            let sample = to.known(shape)?;
            let others: usize =
                sample.iter().enumerate().filter(|(own, _)| own + 1 != axis).map(|(_, size)| size).product();
            let turned = to.transpose(edges[index], &order);
            *row = to.reshape(turned, [0, others as i64, sample[axis - 1] as i64]);
            if self.normalize {
                let squares = to.mul(*row, *row);
                let sum = to.reduce("ReduceSum", squares, &[2], true);
                let least = to.number(EPSILON);
                let sum = to.op("Max", &[sum, least], vec![]);
                let length = to.op("Sqrt", &[sum], vec![]);
                *row = to.div(*row, length);
            }
        }
        let turned = to.transpose(rows[1], &[0, 2, 1]);
        let products = to.matmul(rows[0], turned);
        let output = to.output_shapes()[0].clone();
        to.set_masks(vec![None]);
        Ok(vec![to.reshape_to(products, &output)?])
    }

    fn forward_all(&self, inputs: Vec<Value>, _: &mut Call<'_>) -> Result<Vec<Value>> {
        let [first, second] =
            <[Value; 2]>::try_from(inputs).map_err(|inputs| Error::shape("a list of 2 inputs", inputs.len()))?;
        let axes = self.axes_of([first.rank(), second.rank()])?;
        let mut sizes = vec![first.sizes()[0]];
        for (value, axis) in [(&first, axes[0]), (&second, axes[1])] {
            sizes
                .extend(value.sizes().iter().enumerate().filter(|(own, _)| *own != axis && *own != 0).map(|(_, s)| *s));
        }
        if sizes.len() == 1 {
            sizes.push(1);
        }
        let (first, second) = (self.rows(first, axes[0])?, self.rows(second, axes[1])?);
        let products = first.matmul(second.permute(&[0, 2, 1]));
        Ok(vec![products.reshape(&sizes)?])
    }
}

impl BuiltIn for Dot {
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        vec![
            (Self::new((2, 1)), vec![Shape::batch_of((3, 4)), Shape::batch_of((4, 5))]),
            (Self::new(1), vec![Shape::batch_of(4), Shape::batch_of(4)]),
            (Self::new((1, 1)), vec![Shape::batch_of((3, 4)), Shape::batch_of(3)]),
            (Self::new(-1).normalize(true), vec![Shape::batch_of((3, 4)), Shape::batch_of((2, 4))]),
        ]
    }
}
