//! `GroupNormalization`: normalizes groups of channels to mean 0 and variance 1.

use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, WeightSpec};
use crate::ops::Value;
use crate::regularizers::Regularizer;
use crate::shape::Shape;

use super::{axes_and_sizes, check_epsilon};

crate::describe! {
    /// `gamma · (x − mean) / √(variance + epsilon) + beta` with mean and variance over each group of channels of each
    /// sample and over all its positions (Wu and He 2018).
    ///
    /// One group normalizes the whole sample, as many groups as channels (−1) each channel by itself.
    ///
    /// # Shapes
    /// `(batch, …)` → the same; weights `gamma` and `beta` (channels).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(GroupNormalization::new().groups(4).input_shape((10, 10, 8)))?;
    /// assert_eq!(model.count_params()?, 2 * 8);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct GroupNormalization {
        /// The number of groups, a divisor of the number of channels; −1 for one channel each.
        groups: isize = 32,
        /// The axis of the channels; a negative one counts from the end.
        axis: isize = -1,
        /// Added to the variance.
        epsilon: f32 = 1e-3,
        /// Whether a learned shift is added.
        center: bool = true,
        /// Whether a learned factor is applied.
        scale: bool = true,
        /// The initializer of the shift.
        beta_initializer: Initializer = Initializer::Zeros {},
        /// The initializer of the factor.
        gamma_initializer: Initializer = Initializer::Ones {},
        /// The penalty on the shift.
        beta_regularizer: Option<Regularizer> = None,
        /// The penalty on the factor.
        gamma_regularizer: Option<Regularizer> = None,
        /// The constraint on the shift.
        beta_constraint: Option<Constraint> = None,
        /// The constraint on the factor.
        gamma_constraint: Option<Constraint> = None,
    }
}

impl GroupNormalization {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The axis, the number of channels and the number of groups.
    fn layout(&self, input: &Shape) -> Result<(usize, usize, usize)> {
        let (axes, sizes) = axes_and_sizes(&self.axis.into(), input)?;
        let channels = sizes[0];
        let groups = if self.groups == -1 { channels } else { usize::try_from(self.groups).unwrap_or(0) };
        if groups == 0 || channels % groups != 0 {
            return Err(Error::argument("groups", format!("a divisor of the {channels} channels"), self.groups));
        }
        Ok((axes[0], channels, groups))
    }
}

impl Layer for GroupNormalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_epsilon(self.epsilon)?;
        self.layout(input)?;
        Ok(input.clone())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let sizes = vec![self.layout(input)?.1];
        let gamma = WeightSpec::new("gamma", sizes.clone(), self.gamma_initializer.clone())
            .regularizer(&self.gamma_regularizer)
            .constraint(&self.gamma_constraint);
        let beta = WeightSpec::new("beta", sizes, self.beta_initializer.clone())
            .regularizer(&self.beta_regularizer)
            .constraint(&self.beta_constraint);
        let mut specs = Vec::new();
        specs.extend(self.scale.then_some(gamma));
        specs.extend(self.center.then_some(beta));
        Ok(specs)
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        // The centered values, their squares, and the product with the factor.
        Ok(input.known_len().saturating_mul(3))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let (axis, channels, groups) = self.layout(to.shape())?;
        let sample = to.known(to.shape())?;
        let before = sample[..axis - 1].iter().product::<usize>();
        let after = sample[axis..].iter().product::<usize>();
        let sizes = [0, before as i64, groups as i64, (channels / groups) as i64, after as i64];
        let grouped = to.reshape(to.input(), sizes);
        let normalized = to.normalized(grouped, &[1, 3, 4], self.epsilon);
        let mut output = to.reshape_to(normalized, &to.shape().clone())?;
        if let Some(gamma) = to.weight_if(self.scale, 0)? {
            let gamma = to.along("gamma", gamma.values, axis, to.rank());
            output = to.mul(output, gamma);
        }
        if let Some(beta) = to.weight_if(self.center, usize::from(self.scale))? {
            let beta = to.along("beta", beta.values, axis, to.rank());
            output = to.add(output, beta);
        }
        Ok(vec![output])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let shape = Shape::known(&sizes);
        let (axis, channels, groups) = self.layout(&shape)?;
        // (batch, positions before, groups, channels of a group, positions after)
        let before = sizes[1..axis].iter().product();
        let after = sizes[axis + 1..].iter().product();
        let grouped = [sizes[0], before, groups, channels / groups, after];
        let input = input.reshape(&grouped)?;
        let (mean, variance) = input.clone().moments(&[1, 3, 4]);
        let factor = variance.add_scalar(self.epsilon).sqrt().recip().expand(&grouped);
        let mut output = (input - mean.expand(&grouped)) * factor;
        if self.scale {
            output = output * call.weight(0).broadcast(&[2, 3], &grouped)?;
        }
        if self.center {
            output = output + call.weight(usize::from(self.scale)).broadcast(&[2, 3], &grouped)?;
        }
        output.reshape(&sizes)
    }
}

impl BuiltIn for GroupNormalization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new().groups(2), Shape::batch_of((3, 4))),
            (Self::new().groups(-1), Shape::batch_of((2, 3, 4))),
            (Self::new().groups(1).axis(1).scale(false), Shape::batch_of((4, 3))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_must_divide_the_channels() {
        for groups in [0, 3, -2, 32] {
            assert!(GroupNormalization::new().groups(groups).output_shape(&Shape::batch_of((2, 4))).is_err());
        }
    }
}
