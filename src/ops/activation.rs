//! Which kernels compute which activations.

use super::Value;
use super::cpu::{Gradient, Kernel, run};
use crate::activations::Activation;
use crate::kernels::activation::{Activation as Fast, backward, forward};

/// The kernels' form of an activation, if they have one.
pub(crate) fn kernel_activation(activation: &Activation) -> Option<Fast> {
    Some(match activation {
        Activation::Linear => Fast::Linear,
        Activation::Relu => Fast::Relu,
        Activation::Relu6 => Fast::Relu6,
        Activation::LeakyRelu => Fast::LeakyRelu(0.2),
        Activation::Elu | Activation::Celu => Fast::Elu(1.0),
        Activation::Selu => Fast::Selu,
        Activation::Sigmoid => Fast::Sigmoid,
        Activation::HardSigmoid => Fast::HardSigmoid,
        Activation::Tanh => Fast::Tanh,
        Activation::Softplus => Fast::Softplus,
        Activation::Softsign => Fast::Softsign,
        Activation::Exponential => Fast::Exponential,
        Activation::Silu => Fast::Silu,
        Activation::Gelu => Fast::Gelu,
        _ => return None,
    })
}

/// Applies an activation by a kernel, where there is one for it.
pub(crate) fn fast_activation(activation: &Activation, value: &Value) -> Option<Value> {
    let activation = kernel_activation(activation)?;
    run(&Elementwise { activation, sizes: value.sizes() }, [value])
}

#[derive(Clone, Debug)]
struct Elementwise {
    activation: Fast,
    sizes: Vec<usize>,
}

impl Kernel<1> for Elementwise {
    type Kept = ();
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, [x]: [&[f32]; 1], output: &mut [f32], _: bool) {
        forward(self.activation, x, output);
    }

    fn backward(
        &self,
        [x]: [&[f32]; 1],
        output: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        [wanted]: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        let known = if self.activation.gradient_needs_only_output() { output } else { x };
        [wanted.then(|| {
            let mut dx = gradient.take();
            backward(self.activation, known, &mut dx);
            dx
        })]
    }
}
