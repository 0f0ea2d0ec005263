//! `RMSNormalization`: each sample at a mean square of 1.

use crate::constraints::Axes;
use crate::error::Result;
use crate::initializers::Initializer;
use crate::layers::{BuiltIn, Call, Layer, WeightSpec};
use crate::ops::Value;
use crate::shape::Shape;

use super::{axes_and_sizes, check_epsilon};

crate::describe! {
    /// `scale · x / √(mean of x² + epsilon)` with the mean over the given axes of each sample (Zhang and Sennrich
    /// 2019).
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
}

impl Layer for RMSNormalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_epsilon(self.epsilon)?;
        axes_and_sizes(&self.axis, input)?;
        Ok(input.clone())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        Ok(vec![WeightSpec::new("scale", axes_and_sizes(&self.axis, input)?.1, Initializer::Ones {})])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let axes = self.axis.of_rank(sizes.len())?;
        let square = axes.iter().fold(input.clone().square(), |value, axis| value.mean_axis(*axis));
        let factor = square.add_scalar(self.epsilon).sqrt().recip().expand(&sizes);
        Ok(input * factor * call.weight(0).broadcast(&axes, &sizes)?)
    }
}

impl BuiltIn for RMSNormalization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(), Shape::batch_of(4)), (Self::new().axis([1, 2]), Shape::batch_of((3, 4)))]
    }
}
