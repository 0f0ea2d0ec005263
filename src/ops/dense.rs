//! The product with a matrix of weights.

use super::Value;
use crate::activations::Activation;
use crate::error::Result;

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
    let rows = input.len() / features.max(1);
    let mut output = input.reshape(&[rows, features])?.matmul(kernel);
    if let Some(bias) = bias {
        output = output + bias.reshape(&[1, units])?.expand(&[rows, units]);
    }
    if let Some(last) = sizes.last_mut() {
        *last = units;
    }
    activation.apply(output.reshape(&sizes)?)
}
