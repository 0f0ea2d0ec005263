//! `Lambda`: a custom function as a layer.

use std::fmt;
use std::sync::Arc;

use crate::config::{Config, Configure};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Common, HasCommon, Layer, LayerArguments};
use crate::ops::Value;
use crate::shape::{IntoSample, Shape};

/// The alternative named in errors.
const INSTEAD: &str = "a custom layer registered with `brasa::layers::register`";

type LambdaFunction = dyn Fn(Value) -> Result<Value> + Send + Sync;

/// Applies a closure; for models that are not saved.
///
/// Saving a model with it is refused, and so is loading Keras's, which contains Python bytecode.
///
/// # Shapes
/// The same unless set by [`output_shape`](Self::output_shape).
///
/// ```
/// use brasa::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Lambda::new(|x| Ok(x.square())).input_shape(4))?;
/// assert!(model.to_json().unwrap_err().to_string().contains("Lambda"));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone)]
pub struct Lambda {
    common: Common,
    function: Arc<LambdaFunction>,
    output: Option<Shape>,
}

impl Lambda {
    /// A layer that applies `function` to a batch.
    pub fn new(function: impl Fn(Value) -> Result<Value> + Send + Sync + 'static) -> Self {
        Self { common: Common::default(), function: Arc::new(function), output: None }
    }

    /// Sets the shape of one output, if it is not that of the input.
    #[must_use]
    pub fn output_shape(mut self, sample: impl IntoSample) -> Self {
        self.output = Some(Shape::batch_of(sample));
        self
    }
}

impl fmt::Debug for Lambda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lambda").field("common", &self.common).field("output", &self.output).finish_non_exhaustive()
    }
}

impl HasCommon for Lambda {
    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl LayerArguments for Lambda {}

impl Configure for Lambda {
    const CLASS_NAME: &'static str = "Lambda";
    const ARGUMENTS: &'static [&'static str] = &["function", "output_shape", "mask", "arguments"];

    fn config(&self) -> Result<Config> {
        Err(Error::unsupported("saving a `Lambda`, which holds a Rust closure", INSTEAD))
    }

    fn from_config(_: Config) -> Result<Self> {
        Err(Error::unsupported("a `Lambda` in a file, which contains Python bytecode", INSTEAD))
    }
}

impl Layer for Lambda {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Ok(self.output.clone().unwrap_or_else(|| input.clone()))
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let declared = Layer::output_shape(self, &Shape::known(&sizes))?;
        let output = (self.function)(input)?;
        let received = output.sizes();
        if declared.accepts(&received) && received[0] == sizes[0] {
            return Ok(output);
        }
        Err(Error::shape(format!("an output of shape {declared} (say `output_shape`)"), format!("{received:?}")))
    }
}

impl BuiltIn for Lambda {
    fn examples() -> Vec<(Self, Shape)> {
        let last = |x: Value| {
            let steps = x.sizes()[1];
            let sizes = [x.sizes()[0], x.sizes()[2]];
            let last = steps.checked_sub(1).ok_or_else(|| Error::shape("at least one step", "none"))?;
            x.narrow(1, last, 1).reshape(&sizes)
        };
        vec![
            (Self::new(|x| Ok(x.square())), Shape::batch_of(4)),
            (Self::new(last).output_shape(2), Shape::batch_of((3, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// The effect of the function on steps is unknown: as in Keras the mask is dropped.
    #[test]
    fn the_mask_is_dropped() {
        assert!(!Lambda::new(Ok).supports_masking());
    }

    #[test]
    fn a_shape_other_than_declared_is_refused() {
        let layer = Lambda::new(|x| Ok(x.sum_axis(1)));
        let input = Value::full(&[2, 3], 1.0, &Device::flex()).unwrap();
        let error = layer.forward(input, &mut Call::inference(&[])).unwrap_err();
        assert!(error.to_string().contains("output_shape"), "{error}");
    }
}
