//! `Concatenate`: concatenates its inputs along an axis.

use super::{expect_several, for_each_value};
use crate::error::{Error, Result};
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Layer, each_part};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Concatenates its inputs along an axis.
    ///
    /// # Shapes
    /// Inputs whose sizes are equal except along `axis` → those sizes, and along `axis` the sum.
    ///
    /// If any input has a mask, one without a mask counts as unmasked.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (a, b) = (Input::new((8, 8, 3)).symbol(), Input::new((8, 8, 5)).symbol());
    /// let both = Concatenate::new().call([&a, &b])?;
    /// assert_eq!(both.shape().to_string(), "(None, 8, 8, 8)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Concatenate {
        /// The axis, counted from the batch's, from the end if negative.
        axis: isize = -1,
    }
}

impl Concatenate {
    /// Concatenates along the last axis.
    pub fn new() -> Self {
        Self::default()
    }

    fn axis_of(&self, rank: usize) -> Result<usize> {
        let axis = if self.axis < 0 { self.axis + rank as isize } else { self.axis };
        let found = usize::try_from(axis).ok().filter(|axis| *axis < rank && *axis > 0);
        found.ok_or_else(|| Error::argument("axis", format!("an axis of {rank} other than the batch's"), self.axis))
    }
}

impl Layer for Concatenate {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[])?;
        let first = expect_several(inputs)?;
        let axis = self.axis_of(first.rank())?;
        let mut sizes = first.sizes().to_vec();
        for input in &inputs[1..] {
            let differs = |(index, pair): (usize, (&Option<usize>, &Option<usize>))| {
                index != axis && matches!(pair, (Some(a), Some(b)) if a != b)
            };
            if input.rank() != first.rank() || sizes.iter().zip(input.sizes()).enumerate().any(differs) {
                return Err(Error::shape(format!("the sizes of {first} but along axis {axis}"), input));
            }
            for (index, (size, other)) in sizes.iter_mut().zip(input.sizes()).enumerate() {
                if index == axis {
                    *size = match (*size, *other) {
                        (Some(a), Some(b)) => Some(
                            a.checked_add(b).ok_or_else(|| Error::shape("sizes whose sum is representable", input))?,
                        ),
                        _ => None,
                    };
                } else {
                    *size = size.or(*other);
                }
            }
        }
        Ok(vec![Shape::new(sizes)])
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn takes_a_list(&self, _: usize) -> bool {
        true
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let axis = self.axis_of(freezing.output.len() + 1).ok()? - 1;
        let rows = freezing.output[..axis].iter().product();
        let widths: Vec<usize> = freezing.inputs.iter().map(|input| input[axis..].iter().product()).collect();
        (rows > 0 && !widths.contains(&0)).then(|| FrozenConcatenate { rows, widths }.into())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        to.refuse_masks()?;
        let (axis, inputs) = (self.axis_of(to.rank())?, to.inputs().to_vec());
        Ok(vec![to.concat(&inputs, axis)])
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        let rank = inputs.first().map_or(0, Value::rank);
        let axis = self.axis_of(rank)?;
        let mut mask = None;
        if call.masks().iter().any(Option::is_some) {
            let masks = inputs.iter().zip(call.masks()).map(|(input, mask)| match mask {
                Some(mask) => for_each_value(mask, input),
                None => Value::full(&input.sizes(), 1.0, &input.device()),
            });
            // A step counts if any of its values does.
            let all = Value::concat(masks.collect::<Result<_>>()?, axis)?;
            let sizes = all.sizes();
            mask = Some(all.max_axis(rank - 1).reshape(&sizes[..rank - 1])?);
        }
        call.set_output_masks(vec![mask]);
        Ok(vec![Value::concat(inputs, axis)?])
    }
}

/// The layer in a predictor: rows, of so many values of each input.
#[derive(Debug)]
struct FrozenConcatenate {
    rows: usize,
    widths: Vec<usize>,
}

impl FrozenStep for FrozenConcatenate {
    fn operations(&self) -> usize {
        self.rows.saturating_mul(self.widths.iter().sum()).saturating_mul(2)
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        let all: usize = self.widths.iter().sum();
        let operations = self.operations().saturating_mul(samples);
        each_part(threads, operations, output, all, |first, output| {
            for (row, output) in (first..).zip(output.chunks_exact_mut(all.max(1))) {
                let mut rest = output;
                for (input, width) in inputs.iter().zip(&self.widths) {
                    let (own, later) = rest.split_at_mut(*width);
                    own.copy_from_slice(&input[row * width..][..*width]);
                    rest = later;
                }
            }
        });
    }
}

impl BuiltIn for Concatenate {
    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        vec![
            (Self::new(), vec![Shape::batch_of((3, 4)), Shape::batch_of((3, 2))]),
            (Self::new().axis(1), vec![Shape::batch_of((3, 4)), Shape::batch_of((2, 4)), Shape::batch_of((1, 4))]),
            (Self::new(), vec![Shape::batch_of(3)]),
        ]
    }
}
