//! `CustomScaleLayer`: the scaled residual sum of InceptionResNetV2.

use crate::error::{Error, Result};
use crate::layers::merging::{aligned, broadcast, onnx_aligned};
use crate::layers::{Arguments, BuiltIn, Call, Edge, Exporting, Layer};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// The sum of the first input and `scale` times the second, at the end of the residual blocks of InceptionResNetV2
    /// (Szegedy et al. 2016).
    ///
    /// # Shapes
    /// Two inputs of one shape → that shape; they are broadcast as by [`Add`](crate::layers::Add).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (x, residual) = (Input::new((8, 8, 3)).symbol(), Input::new((8, 8, 3)).symbol());
    /// let sum = CustomScaleLayer::new(0.17).call([&x, &residual])?;
    /// assert_eq!(sum.shape().to_string(), "(None, 8, 8, 3)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct CustomScaleLayer {
        /// The factor of the second input.
        scale: f32,
    }
}

impl CustomScaleLayer {
    /// Adds `scale` times the second input to the first.
    pub fn new(scale: f32) -> Self {
        Self::required(scale)
    }
}

impl Layer for CustomScaleLayer {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[])?;
        if inputs.len() != 2 {
            return Err(Error::shape("2 inputs", inputs.len()));
        }
        Ok(vec![broadcast(inputs)?])
    }

    fn takes_a_list(&self, _: usize) -> bool {
        true
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let [x, residual] = onnx_aligned(to)[..] else { return Err(Error::shape("2 inputs", to.inputs().len())) };
        let residual = to.mul_number(residual, self.scale);
        Ok(vec![to.add(x, residual)])
    }

    fn forward_all(&self, inputs: Vec<Value>, _: &mut Call<'_>) -> Result<Vec<Value>> {
        let [x, residual] =
            <[Value; 2]>::try_from(aligned(inputs)?).map_err(|inputs| Error::shape("2 inputs", inputs.len()))?;
        Ok(vec![x + residual.mul_scalar(self.scale)])
    }
}

impl BuiltIn for CustomScaleLayer {
    const MODULE: &'static str = "keras.src.applications.inception_resnet_v2";

    fn examples_of_several() -> Vec<(Self, Vec<Shape>)> {
        let image = Shape::batch_of((2, 3, 4));
        vec![
            (Self::new(0.17), vec![image.clone(), image]),
            (Self::new(-1.0), vec![Shape::batch_of(3), Shape::batch_of(1)]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_second_input_is_scaled() {
        let value = |numbers: [f32; 2]| Value::from_vec(numbers.to_vec(), &[1, 2], &Device::flex()).unwrap();
        let inputs = vec![value([1.0, 2.0]), value([10.0, -20.0])];
        let output = CustomScaleLayer::new(0.5).forward_all(inputs, &mut Call::inference(&[])).unwrap();
        assert_eq!(output[0].to_vec().unwrap(), [6.0, -8.0]);
        let one = [Shape::batch_of(2)];
        assert!(CustomScaleLayer::new(0.5).output_shapes(&one, &Arguments::new()).is_err());
    }
}
