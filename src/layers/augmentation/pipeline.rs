//! `Pipeline`: a sequence of layers without weights.

use crate::error::{Error, Result};
use crate::layers::{
    Arguments, BuiltIn, Call, Edge, Exporting, HasCommon, Layer, Preparation, RandomBrightness, RandomFlip, Resizing,
    WeightSpec, Wrapped,
};
use crate::ops::Value;
use crate::shape::Shape;

crate::describe! {
    /// A sequence of layers without weights, such as image augmentations.
    ///
    /// # Shapes
    /// Those of the layers, one after the other.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// let layers = [RandomFlip::new("horizontal").into(), RandomRotation::new(0.1).into()];
    /// model.add(Pipeline::new(layers).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Pipeline {
        /// The layers; the first one receives the inputs.
        layers: Vec<Wrapped>,
    }
}

impl Pipeline {
    /// A pipeline of these layers; the first one receives the inputs.
    pub fn new(layers: impl Into<Vec<Wrapped>>) -> Self {
        Self::required(layers.into())
    }

    /// Calls `each` with every layer and the shape of its input; returns the shape of the last output.
    fn through(&self, input: &Shape, mut each: impl FnMut(&dyn Layer, &Shape) -> Result<()>) -> Result<Shape> {
        self.layers.iter().try_fold(input.clone(), |input, layer| {
            let layer = layer.layer();
            each(layer, &input)?;
            layer.checked_output(&input)
        })
    }
}

impl Layer for Pipeline {
    fn takes_trainable(&self) -> bool {
        false
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.through(input, |layer, input| {
            if layer.weights(input)?.is_empty() {
                return Ok(());
            }
            let what = format!("`{}`, which has weights, in a Pipeline", layer.class_name());
            Err(Error::unsupported(what, "layers without weights; a `Sequential` takes all"))
        })
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        self.output_shape(input).map(|_| Vec::new())
    }

    fn is_wrapper(&self) -> bool {
        true
    }

    fn apply_trainable(&mut self, trainable: bool) {
        self.common_mut().trainable = trainable;
        self.layers.iter_mut().for_each(|layer| layer.layer_mut().apply_trainable(trainable));
    }

    fn call_count(&self) -> usize {
        self.layers.iter().fold(1, |count: usize, layer| count.saturating_add(layer.layer().call_count()))
    }

    fn supports_masking(&self) -> bool {
        self.layers.iter().all(|layer| layer.layer().supports_masking())
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        for layer in &self.layers {
            if !layer.layer().check_values(values)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let mut all = 0usize;
        self.through(input, |layer, input| {
            let output = layer.checked_output(input)?.known_len();
            all = all.saturating_add(layer.scratch(input, training)?).saturating_add(output);
            Ok(())
        })?;
        Ok(all)
    }

    fn momentary(&self, input: &Shape, training: bool) -> Result<usize> {
        let mut most = 0;
        self.through(input, |layer, input| {
            most = most.max(layer.momentary(input, training)?);
            Ok(())
        })?;
        Ok(most)
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let (mut edge, mut shape) = (to.input(), to.shape().clone());
        for layer in &self.layers {
            let after = layer.layer().checked_output(&shape)?;
            edge = to.part(layer.layer(), vec![edge], vec![shape], &Arguments::new(), &[])?[0];
            shape = after;
        }
        Ok(vec![edge])
    }

    fn resizes_in_training(&self) -> bool {
        self.layers.iter().any(|layer| layer.layer().resizes_in_training())
    }

    fn inference_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Option<Vec<Shape>>> {
        let mut shapes = inputs.to_vec();
        for layer in &self.layers {
            let layer = layer.layer();
            shapes = match layer.inference_shapes(&shapes, arguments)? {
                Some(shapes) => shapes,
                None => layer.checked_outputs(&shapes, arguments)?,
            };
        }
        Ok(Some(shapes).filter(|_| self.resizes_in_training()))
    }

    fn preparation(&self) -> Preparation {
        let each = || self.layers.iter().map(|layer| layer.layer().preparation());
        if each().any(|layer| layer == Preparation::None) {
            Preparation::None
        } else {
            each().max().unwrap_or(Preparation::Possible)
        }
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let mut layers = self.layers.iter().zip(0..);
        layers.try_fold(input, |input, (layer, key)| layer.forward(input, call, 0, key))
    }
}

impl BuiltIn for Pipeline {
    fn examples() -> Vec<(Self, Shape)> {
        let flip = || Wrapped::from(RandomFlip::default());
        vec![
            (Self::new([flip(), RandomBrightness::new(0.2).into()]), Shape::batch_of((3, 4, 3))),
            (Self::new([Resizing::new(3, 3).into(), flip()]), Shape::batch_of((4, 5, 1))),
            (Self::new([]), Shape::batch_of(3)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::layers::Dense;

    #[test]
    fn layers_are_sequential_and_draw_independently() {
        let input = Value::from_vec((0..4000).map(|number| number as f32).collect(), &[1000, 2, 2, 1], &Device::flex());
        let (input, flip) = (input.unwrap(), || Wrapped::from(RandomFlip::new("horizontal")));
        let twice = Pipeline::new([flip(), flip()]);
        let output = twice.forward(input.clone(), &mut Call::training(&[], true, &[1])).unwrap().to_vec().unwrap();
        // If both layers drew the same, nothing would be flipped; otherwise half of the images are.
        let changed = output.chunks(4).zip(input.to_vec().unwrap().chunks(4)).filter(|(a, b)| a != b).count();
        assert!((430..570).contains(&changed), "{changed}");
        let same = twice.forward(input.clone(), &mut Call::inference(&[])).unwrap();
        assert_eq!(same.to_vec().unwrap(), input.to_vec().unwrap());
    }

    #[test]
    fn layers_with_weights_are_refused() {
        let error = Pipeline::new([Dense::new(2).into()]).output_shape(&Shape::batch_of(3)).unwrap_err().to_string();
        assert!(error.contains("`Dense`") && error.contains("Sequential"), "{error}");
    }
}
