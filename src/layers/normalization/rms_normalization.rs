//! `RMSNormalization`: normalizes each sample to a mean square of 1.

use crate::constraints::Axes;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::layer_norm;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

use super::{axes_and_sizes, check_epsilon, normalize_rows, row_width};

crate::describe! {
    /// `scale · x / √(mean of x² + epsilon)` with the mean over the given axes of each sample (Zhang and Sennrich
    /// 2019).
    ///
    /// `scale` has the sizes of the axes. As in Keras it is broadcast along the last axes whatever the axes are, so
    /// that axes before others are refused unless their sizes fit there, too.
    ///
    /// # Shapes
    /// `(batch, …)` → the same; weight `scale` of the sizes of the axes.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RMSNormalization::new().input_shape((10, 8)))?;
    /// assert_eq!(model.count_params()?, 8);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RMSNormalization {
        /// The axis or axes to normalize over; negative ones count from the end.
        axis: Axes = Axes::One(-1),
        /// Added to the mean square.
        epsilon: f32 = 1e-6,
    }
}

impl RMSNormalization {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The sizes of `scale`: those of the axes, in the order of the axes' numbers as given.
    fn scale_sizes(&self, input: &Shape) -> Result<Vec<usize>> {
        axes_and_sizes(&self.axis, input)?;
        // By their numbers as given: -1 precedes 1.
        let mut axes = match &self.axis {
            Axes::One(axis) => vec![*axis],
            Axes::Several(axes) => axes.clone(),
        };
        axes.sort_unstable();
        let sizes = axes.iter().map(|axis| Ok(axes_and_sizes(&Axes::One(*axis), input)?.1[0]));
        let sizes = sizes.collect::<Result<Vec<usize>>>()?;
        let last = input.sizes().get(input.rank().saturating_sub(sizes.len())..).unwrap_or_default();
        let fits = |(own, size): (&usize, &Option<usize>)| *own == 1 || size.is_none_or(|size| size == *own);
        if sizes.len() == last.len() && sizes.iter().zip(last).all(fits) {
            return Ok(sizes);
        }
        let expected =
            format!("axes whose sizes fit the last ones of {input}, along which Keras multiplies by `scale`");
        Err(Error::argument("axis", expected, format!("{:?}, sizes {sizes:?}", self.axis)))
    }
}

impl Layer for RMSNormalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_epsilon(self.epsilon)?;
        self.scale_sizes(input)?;
        Ok(input.clone())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        Ok(vec![WeightSpec::new("scale", self.scale_sizes(input)?, Initializer::Ones {})])
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        // The squares, and the product with the factor.
        Ok(input.known_len().saturating_mul(2))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let input = freezing.input()?;
        // `scale` is not along other axes than the last ones.
        let (width, len) = (row_width(&self.axis, input)?, input.iter().product());
        let scale = freezing.weight(0).filter(|scale| scale.len() == width)?;
        Some(FrozenRMSNormalization { width, len, epsilon: self.epsilon, scale }.into())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let axes = self.axis.of_rank(to.rank())?;
        let squares = to.mul(to.input(), to.input());
        let mean = to.reduce("ReduceMean", squares, &axes, true);
        let mean = to.add_number(mean, self.epsilon);
        let root = to.op("Sqrt", &[mean], vec![]);
        let output = to.div(to.input(), root);
        let scale = to.weight(0)?;
        let scale = to.constant("scale", scale);
        Ok(vec![to.mul(output, scale)])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let axes = self.axis.of_rank(sizes.len())?;
        let square = axes.iter().fold(input.clone().square(), |value, axis| value.mean_axis(*axis));
        let factor = square.add_scalar(self.epsilon).sqrt().recip().expand(&sizes);
        let scale = call.weight(0);
        let mut last = vec![1; sizes.len()];
        last[sizes.len() - scale.rank()..].copy_from_slice(&scale.sizes());
        Ok(input * factor * scale.reshape(&last)?.expand(&sizes))
    }
}

/// The layer in a predictor: rows of `width` values.
#[derive(Debug)]
struct FrozenRMSNormalization {
    width: usize,
    len: usize,
    epsilon: f32,
    scale: Vec<f32>,
}

impl FrozenStep for FrozenRMSNormalization {
    fn operations(&self) -> usize {
        self.len.saturating_mul(8)
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        let operations = self.operations().saturating_mul(samples);
        normalize_rows(threads, operations, self.width, (inputs[0], output), |x, y| {
            layer_norm::rms_forward_here(self.width, self.epsilon, x, &self.scale, y);
        });
    }
}

impl BuiltIn for RMSNormalization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(), Shape::batch_of(4)), (Self::new().axis([1, 2]), Shape::batch_of((3, 4)))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Keras 3.15.1 multiplies along the last axis, whatever the axis; the values are its own.
    #[test]
    fn the_scale_is_along_the_last_axis() {
        let layer = RMSNormalization::new().axis(1);
        let input = Value::from_vec(vec![1.0, 2.0, 3.0, 4.0], &[1, 2, 2], &Device::flex()).unwrap();
        let scale = Value::from_vec(vec![1.0, 10.0], &[2], &Device::flex()).unwrap();
        let output = layer.forward(input, &mut Call::inference(&[scale])).unwrap().to_vec().unwrap();
        let wanted = [0.447_213_57, 6.324_555, 1.341_640_7, 12.649_11];
        assert!(output.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-5), "{output:?}");
        assert!(layer.output_shape(&Shape::batch_of((2, 2))).is_ok());
        let error = layer.output_shape(&Shape::batch_of((3, 2))).unwrap_err().to_string();
        assert!(error.contains("axis"), "{error}");
    }
}
