//! The product with a matrix of weights.

use super::Value;
use super::activation::kernel_activation;
use super::buffers::{buffer, give_back};
use super::cpu::{Gradient, Kernel, recycle, run};
use crate::activations::Activation;
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

/// The product with its activation, as an operation on input, kernel and perhaps bias.
#[derive(Clone, Debug)]
struct Product {
    dense: Dense,
    activation: Fast,
    sizes: Vec<usize>,
}

impl<const N: usize> Kernel<N> for Product {
    type Kept = ();
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
        let before = (self.activation != Fast::Linear).then(|| {
            let mut before = gradient.take();
            self.activation.gradient_from_output(output, &mut before);
            before
        });
        let known: &[f32] = before.as_deref().unwrap_or(gradient);
        let mut dx = wanted[0].then(|| buffer(inputs[0].len()));
        let mut dw = buffer(inputs[1].len());
        let mut db = (N > 2).then(|| vec![0.0; self.dense.units]);
        backward(&self.dense, inputs[0], inputs[1], known, dx.as_deref_mut(), &mut dw, db.as_deref_mut());
        before.into_iter().for_each(give_back);
        let mut gradients = [dx, Some(dw), db].into_iter();
        std::array::from_fn(|_| gradients.next().flatten())
    }
}
