//! `Masking`: masks steps of a given value.

use crate::error::{Error, Result};
use crate::formats::onnx::Element;
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// Masks the steps whose features all equal `mask_value`: they become 0, and the following layers get the mask.
    ///
    /// # Shapes
    /// `(batch, steps, features)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Masking::new().input_shape((10, 8)))?.add(LSTM::new(4))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Masking {
        /// The value of masked steps.
        mask_value: f32 = 0.0,
    }
}

impl Masking {
    /// The layer with Keras's defaults.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Layer for Masking {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if input.rank() < 2 {
            return Err(Error::shape("at least ndim=2", format!("ndim={}, full shape {input}", input.rank())));
        }
        Ok(input.clone())
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn scratch(&self, input: &Shape, _: bool) -> Result<usize> {
        // The comparison with the value.
        Ok(input.known_len())
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let last = to.rank() - 1;
        let value = to.number(self.mask_value);
        let same = to.op("Equal", &[to.input(), value], vec![]);
        let other = to.op("Not", &[same], vec![]);
        let other = to.cast(other, Element::Float);
        let counted = to.reduce("ReduceMax", other, &[last], true);
        let mask = to.squeeze(counted, last);
        to.set_masks(vec![Some(mask)]);
        Ok(vec![to.mul(to.input(), counted)])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let last = sizes.len() - 1;
        let mask = input.clone().detach().not_equal_scalar(self.mask_value).max_axis(last);
        call.mask = Some(mask.clone().reshape(&sizes[..last])?);
        Ok(input * mask.expand(&sizes))
    }
}

impl BuiltIn for Masking {
    fn examples() -> Vec<(Self, Shape)> {
        vec![(Self::new(), Shape::batch_of((3, 2))), (Self::new().mask_value(-1.0), Shape::batch_of((3, 2, 2)))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::layers::{Dense, LSTM, LayerArguments};
    use crate::model::{Mode, Sequential};

    #[test]
    fn steps_of_the_mask_value_are_masked() {
        let input = Value::from_vec(vec![-1., -1., -1., 2.], &[1, 2, 2], &Device::flex()).unwrap();
        let mut call = Call::inference(&[]);
        let output = Masking::new().mask_value(-1.0).forward(input, &mut call).unwrap();
        assert_eq!(output.to_vec().unwrap(), [0., 0., -1., 2.]);
        assert_eq!(call.mask.unwrap().to_vec().unwrap(), [0., 1.]);
    }

    /// Masked steps at the end change nothing, through a layer that passes the mask on.
    #[test]
    fn the_mask_reaches_the_following_layers() {
        let mut model = Sequential::new().with_seed(1);
        model.add(Masking::new().input_shape((None, 2))).unwrap();
        model.add(Dense::new(3).activation("sigmoid")).unwrap();
        model.add(LSTM::new(2)).unwrap();
        let run = |numbers: &[f32], steps: usize| {
            let input = Value::from_vec(numbers.to_vec(), &[1, steps, 2], model.device()).unwrap();
            model.forward(input, Mode::Inference).unwrap().output().to_vec().unwrap()
        };
        let short = run(&[1.0, 2.0, 3.0, 4.0], 2);
        assert_eq!(short, run(&[1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0], 4));
        assert_ne!(short, run(&[1.0, 2.0, 3.0, 4.0, 0.0, 0.1, 0.0, 0.0], 4));
    }
}
