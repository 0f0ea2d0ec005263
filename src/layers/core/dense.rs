//! `Dense`: a fully connected layer.

use crate::activations::Activation;
use crate::constraints::Constraint;
use crate::error::{Error, Result};
use crate::initializers::Initializer;
use crate::kernels::activation::Activation as Kernel;
use crate::kernels::aligned::Weights;
use crate::kernels::dense::{Dense as Sizes, Packed};
use crate::layers::{BuiltIn, Call, Edge, Epilogue, Exporting, Freezing, Frozen, FrozenStep, Layer, WeightSpec};
use crate::ops::{self, Value};
use crate::regularizers::Regularizer;
use crate::shape::Shape;

crate::describe! {
    /// `activation(x · kernel + bias)` over the last dimension.
    ///
    /// # Shapes
    /// `(batch, …, features)` → `(batch, …, units)`; weights `kernel` (features, units) and `bias` (units).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(10).activation("softmax").input_shape(1024))?;
    /// assert_eq!(model.count_params()?, 10_250);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Dense {
        /// Number of outputs.
        units: usize,
        /// Applied to the outputs.
        activation: Activation = Activation::Linear,
        /// Whether a bias is added.
        use_bias: bool = true,
        /// The initializer of the kernel.
        kernel_initializer: Initializer = Initializer::GlorotUniform { seed: None },
        /// The initializer of the bias.
        bias_initializer: Initializer = Initializer::Zeros {},
        /// The penalty on the kernel.
        kernel_regularizer: Option<Regularizer> = None,
        /// The penalty on the bias.
        bias_regularizer: Option<Regularizer> = None,
        /// The penalty on the outputs.
        activity_regularizer: Option<Regularizer> = None,
        /// The constraint on the kernel.
        kernel_constraint: Option<Constraint> = None,
        /// The constraint on the bias.
        bias_constraint: Option<Constraint> = None,
    }
}

impl Dense {
    /// A layer with `units` outputs.
    pub fn new(units: usize) -> Self {
        Self::required(units)
    }
}

impl Layer for Dense {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if self.units == 0 {
            return Err(Error::argument("units", "an integer above 0", self.units));
        }
        if input.rank() < 2 {
            return Err(Error::shape("at least ndim=2", format!("ndim={}, full shape {input}", input.rank())));
        }
        input.last()?;
        self.activation.output_shape(&input.with_last(Some(self.units)))
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let kernel = WeightSpec::new("kernel", [input.last()?, self.units], self.kernel_initializer.clone())
            .regularizer(&self.kernel_regularizer)
            .constraint(&self.kernel_constraint);
        let bias = WeightSpec::new("bias", [self.units], self.bias_initializer.clone())
            .regularizer(&self.bias_regularizer)
            .constraint(&self.bias_constraint);
        Ok(if self.use_bias { vec![kernel, bias] } else { vec![kernel] })
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let (kernel, bias) = (to.weight(0)?, to.weight_if(self.use_bias, 1)?);
        let product = to.dense(to.input(), to.rank(), kernel, bias);
        to.activated(&self.activation, product)
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let bias = self.use_bias.then(|| call.weight(1));
        let activation = if call.skip_final_activation() { &Activation::Linear } else { &self.activation };
        let output = ops::dense(input, call.weight(0), bias, activation)?;
        call.add_activity_loss(&self.activity_regularizer, &output)?;
        Ok(output)
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let inputs = freezing.input()?.last().copied()?;
        let rows = freezing.output.iter().rev().skip(1).product();
        let bias = if self.use_bias { Some(freezing.weight(1)?) } else { None };
        FrozenDense::step((inputs, self.units), rows, &freezing.weight(0)?, bias.as_deref(), &self.activation)
    }

    fn final_activation(&self) -> Option<&Activation> {
        // A penalty on the outputs requires the activated outputs.
        self.activity_regularizer.is_none().then_some(&self.activation)
    }
}

/// The layer in a predictor: a product with each of `rows` rows of a sample.
#[derive(Debug)]
pub(in crate::layers) struct FrozenDense {
    packed: Packed,
    rows: usize,
    units: usize,
    epilogue: Epilogue,
    /// Whether the product is added to what the output holds.
    accumulates: bool,
}

impl FrozenDense {
    /// The step for weights of `inputs × units`.
    pub fn step(
        (inputs, units): (usize, usize),
        rows: usize,
        w: &[f32],
        bias: Option<&[f32]>,
        activation: &Activation,
    ) -> Option<Frozen> {
        let epilogue = Epilogue::of(activation)?;
        let packed = Self::packed((inputs, units), rows, w, bias)?;
        Some(Self { packed, rows, units, epilogue, accumulates: false }.into())
    }

    /// Its weights, packed; `None` if the offsets do not fit.
    pub fn packed((inputs, units): (usize, usize), rows: usize, w: &[f32], bias: Option<&[f32]>) -> Option<Packed> {
        Sizes { rows, inputs, units }.fits().then(|| Packed::new((inputs, units), w, bias))
    }
}

impl FrozenStep for FrozenDense {
    fn operations(&self) -> usize {
        self.packed.operations().saturating_mul(self.rows)
    }

    fn weights_mut(&mut self) -> Vec<&mut Weights> {
        vec![self.packed.weights_mut()]
    }

    fn activate(&mut self, activation: Kernel) -> bool {
        self.epilogue.take(activation)
    }

    fn accumulate(&mut self) -> bool {
        self.accumulates = self.epilogue == Epilogue::NONE;
        self.accumulates
    }

    fn run(&self, inputs: &[&[f32]], _: usize, threads: usize, output: &mut [f32]) {
        let activation = self.epilogue.inside();
        match self.accumulates {
            true => self.packed.add_forward(inputs[0], activation, threads, output),
            false => self.packed.forward(inputs[0], activation, threads, output),
        }
        self.epilogue.outside(self.units, output);
    }
}

impl BuiltIn for Dense {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(3), Shape::batch_of(5)),
            (Self::new(4).activation("relu").use_bias(false), Shape::batch_of((2, 5))),
            (
                Self::new(2)
                    .activation("tanh")
                    .kernel_regularizer(Regularizer::L2 { l2: 0.01 })
                    .activity_regularizer(Regularizer::L1 { l1: 0.01 })
                    .bias_constraint(Constraint::NonNeg {}),
                Shape::batch_of((2, 3, 4)),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_units_and_unknown_features_are_refused() {
        let error = Dense::new(0).output_shape(&Shape::batch_of(4)).unwrap_err();
        assert_eq!(error.to_string(), "invalid value for argument `units`: expected an integer above 0, received 0");
        assert!(Dense::new(2).output_shape(&Shape::new([None, None])).is_err());
    }
}
