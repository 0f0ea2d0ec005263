//! `LayerNormalization`: normalizes each sample to mean 0 and variance 1.

use crate::constraints::{Axes, Constraint};
use crate::error::Result;
use crate::initializers::Initializer;
use crate::kernels::layer_norm;
use crate::layers::{
    BuiltIn, Call, Edge, Exporting, Freezing, Frozen, FrozenStep, Layer, OnnxNumbers as Numbers, WeightSpec,
};
use crate::ops::{self, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

use super::{axes_and_sizes, check_epsilon, normalize_rows, row_width};

crate::describe! {
    /// `gamma · (x − mean) / √(variance + epsilon) + beta` with mean and variance over the given axes of each sample
    /// (Ba et al. 2016).
    ///
    /// # Shapes
    /// `(batch, …)` → the same; weights `gamma` and `beta` of the sizes of the axes.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(LayerNormalization::new().input_shape((10, 8)))?;
    /// assert_eq!(model.count_params()?, 2 * 8);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct LayerNormalization {
        /// The axis or axes to normalize over; negative ones count from the end.
        axis: Axes = Axes::One(-1),
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

impl LayerNormalization {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for LayerNormalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        check_epsilon(self.epsilon)?;
        axes_and_sizes(&self.axis, input)?;
        Ok(input.clone())
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let (_, sizes) = axes_and_sizes(&self.axis, input)?;
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

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let input = freezing.input()?;
        let (width, len) = (row_width(&self.axis, input)?, input.iter().product());
        let gamma = if self.scale { Some(freezing.weight(0)?) } else { None };
        let beta = if self.center { Some(freezing.weight(usize::from(self.scale))?) } else { None };
        Some(FrozenLayerNormalization { width, len, epsilon: self.epsilon, gamma, beta }.into())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let axes = self.axis.of_rank(to.rank())?;
        let gamma = to.weight_if(self.scale, 0)?;
        let beta = to.weight_if(self.center, usize::from(self.scale))?;
        let (first, rank) = (to.rank() - axes.len(), to.rank());
        let sizes = axes_and_sizes(&self.axis, to.shape())?.1;
        if axes.iter().copied().eq(first..rank) {
            let ones = || Numbers { sizes: sizes.clone(), values: vec![1.0; sizes.iter().product()] };
            let gamma = to.constant("gamma", gamma.unwrap_or_else(ones));
            let mut inputs = vec![to.input(), gamma];
            inputs.extend(beta.map(|beta| to.constant("beta", beta)));
            let attributes = vec![("axis", (first as i64).into()), ("epsilon", self.epsilon.into())];
            return Ok(vec![to.op("LayerNormalization", &inputs, attributes)]);
        }
        let mut row = vec![1; rank];
        axes.iter().zip(&sizes).for_each(|(axis, size)| row[*axis] = *size);
        let mut output = to.normalized(to.input(), &axes, self.epsilon);
        if let Some(gamma) = gamma {
            let gamma = to.constant("gamma", gamma.reshaped(row.clone()));
            output = to.mul(output, gamma);
        }
        if let Some(beta) = beta {
            let beta = to.constant("beta", beta.reshaped(row));
            output = to.add(output, beta);
        }
        Ok(vec![output])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let axes = self.axis.of_rank(sizes.len())?;
        // For trailing axes in order, a row's values and its weights are contiguous.
        if axes.iter().copied().eq(sizes.len() - axes.len()..sizes.len()) && axes.len() < sizes.len() {
            let gamma = self.scale.then(|| call.weight(0));
            let beta = self.center.then(|| call.weight(usize::from(self.scale)));
            let count = axes.len();
            if let Some(output) = ops::fast_layer_norm(&input, count, self.epsilon, gamma.as_ref(), beta.as_ref()) {
                return Ok(output);
            }
        }
        let (mean, variance) = input.clone().moments(&axes);
        let factor = variance.add_scalar(self.epsilon).sqrt().recip().expand(&sizes);
        let mut output = (input - mean.expand(&sizes)) * factor;
        if self.scale {
            output = output * call.weight(0).broadcast(&axes, &sizes)?;
        }
        if self.center {
            output = output + call.weight(usize::from(self.scale)).broadcast(&axes, &sizes)?;
        }
        Ok(output)
    }
}

/// The layer in a predictor: rows of `width` values.
#[derive(Debug)]
struct FrozenLayerNormalization {
    width: usize,
    len: usize,
    epsilon: f32,
    gamma: Option<Vec<f32>>,
    beta: Option<Vec<f32>>,
}

impl FrozenStep for FrozenLayerNormalization {
    fn operations(&self) -> usize {
        self.len.saturating_mul(12)
    }

    fn run(&self, inputs: &[&[f32]], samples: usize, threads: usize, output: &mut [f32]) {
        let (gamma, beta) = (self.gamma.as_deref(), self.beta.as_deref());
        let operations = self.operations().saturating_mul(samples);
        normalize_rows(threads, operations, self.width, (inputs[0], output), |x, y| {
            layer_norm::forward_here(self.width, self.epsilon, x, gamma, beta, y);
        });
    }
}

impl BuiltIn for LayerNormalization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(), Shape::batch_of(4)),
            (Self::new().axis([1, 2]).epsilon(1e-5), Shape::batch_of((3, 4))),
            (Self::new().axis(1).center(false), Shape::batch_of((3, 4))),
            (Self::new().scale(false).center(false), Shape::batch_of((3, 4))),
        ]
    }
}
