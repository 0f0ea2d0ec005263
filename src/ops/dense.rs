//! The product with a matrix of weights.

use super::Value;
use super::activations::Activation;
use super::activations::kernel_activation;
use super::cpu::{Gradient, Kernel, recycle, run};
use super::weighted::{before_activation, weighted_gradients};
use crate::error::Result;
use crate::kernels::activation::Activation as Fast;
use crate::kernels::dense::{Dense, backward, forward};

/// `activation(input · kernel + bias)` over the last dimension.
///
/// # Shapes
/// input (…, features), kernel (features, units), bias (units) → (…, units).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) if the sizes do not fit.
pub fn dense(input: Value, kernel: Value, bias: Option<Value>, activation: &Activation) -> Result<Value> {
    let mut sizes = input.sizes();
    let (features, units) = (kernel.sizes()[0], kernel.sizes()[1]);
    let rows = sizes.iter().rev().skip(1).product();
    if let Some(last) = sizes.last_mut().filter(|last| **last == features) {
        *last = units;
    } else {
        return Err(crate::Error::shape(format!("a last dimension of {features}"), format!("{sizes:?}")));
    }
    let fused = kernel_activation(activation).filter(|activation| activation.gradient_needs_only_output());
    let product = Product {
        dense: Dense { rows, inputs: features, units },
        activation: fused.unwrap_or(Fast::Linear),
        sizes: sizes.clone(),
    };
    let output = match &bias {
        _ if !product.dense.fits() => None,
        Some(bias) => run(&product, [&input, &kernel, bias]),
        None => run(&product, [&input, &kernel]),
    };
    if let Some(output) = output {
        recycle(input);
        return if fused.is_some() { Ok(output) } else { activation.apply(output) };
    }
    let mut output = input.reshape(&[rows, features])?.matmul(kernel);
    if let Some(bias) = bias {
        output = output + bias.reshape(&[1, units])?.expand(&[rows, units]);
    }
    activation.apply(output.reshape(&sizes)?)
}

/// The product with its activation, as an operation on input, kernel and optional bias.
#[derive(Clone, Debug)]
struct Product {
    dense: Dense,
    activation: Fast,
    sizes: Vec<usize>,
}

impl<const N: usize> Kernel<N> for Product {
    type Saved = ();
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, inputs: [&[f32]; N], output: &mut [f32], _: bool) {
        forward(&self.dense, inputs[0], inputs[1], inputs.get(2).copied(), self.activation, output);
    }

    fn backward(
        &self,
        inputs: [&[f32]; N],
        output: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N] {
        before_activation(self.activation, output, gradient, |dy| {
            weighted_gradients(self.dense.units, inputs, wanted, |dx, dw, db| {
                backward(&self.dense, inputs[0], inputs[1], dy, dx, dw, db);
            })
        })
    }
}
