//! The pixel range of a model's images.

use serde_json::Value as Json;

use super::as_model::nested_model;
use super::{Model, graph::ValueId};
use crate::datasets::PixelRange;
use crate::layers::Layer;

/// Layers that do not change the range of an image.
const KEEP: [&str; 6] = ["CenterCrop", "Cropping2D", "Identity", "Reshape", "Resizing", "ZeroPadding2D"];

impl Model {
    /// The range of the images that the model expects: as stored in its [data info](Self::data_info), else derived from
    /// its first layers. A [`Rescaling`](crate::layers::Rescaling) that would make numbers from 0 to 1 vanish, or a
    /// [`Normalization`](crate::layers::Normalization) for numbers as large as bytes, implies 0..255; otherwise the
    /// range is 0..1.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// use brasa::datasets::PixelRange;
    /// let mut model = Sequential::new();
    /// model.add(Rescaling::new(1.0 / 255.0).input_shape((8, 8, 3)))?.add(Flatten::new())?;
    /// assert_eq!(model.pixel_range(), PixelRange::ZeroTo255);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn pixel_range(&self) -> PixelRange {
        self.data_info.pixels.unwrap_or_else(|| self.pixels_of_layers())
    }

    fn pixels_of_layers(&self) -> PixelRange {
        // From the first input through layers that keep the range, as long as each value has a single use.
        let mut id: ValueId = 0;
        for node in self.graph.nodes() {
            if node.inputs != [id] {
                continue;
            }
            let layer = &*self.layers[node.layer];
            if let Some(nested) = nested_model(layer) {
                return nested.pixel_range();
            }
            let class = layer.class_name();
            if class == "Rescaling" || class == "Normalization" {
                return if self.takes_bytes(node.layer) { PixelRange::ZeroTo255 } else { PixelRange::ZeroToOne };
            }
            // Augmentation changes positions and, slightly, the brightness.
            if !KEEP.contains(&class) && !class.starts_with("Random") {
                break;
            }
            id = node.output;
        }
        PixelRange::ZeroToOne
    }

    /// Whether a Rescaling or Normalization expects bytes.
    fn takes_bytes(&self, index: usize) -> bool {
        let layer: &dyn Layer = &*self.layers[index];
        let config = layer.full_config().unwrap_or_default();
        let largest = |json: Option<&Json>| -> Option<f64> {
            match json? {
                Json::Array(list) => list.iter().filter_map(Json::as_f64).map(f64::abs).reduce(f64::max),
                one => one.as_f64().map(f64::abs),
            }
        };
        if layer.class_name() == "Rescaling" {
            // 1/255 and 1/127.5 for bytes; 2 for numbers from 0 to 1.
            return largest(config.get("scale")).is_some_and(|scale| scale < 0.1);
        }
        // The mean and variance of numbers from −1 to 1 are at most 1.
        let given = [largest(config.get("mean")), largest(config.get("variance"))];
        let found = self.weights_if_built().ok().flatten().map(|weights| &weights[index]);
        let found = found.into_iter().flatten().take(2).filter_map(|weight| weight.value.to_vec().ok());
        let found = found.flatten().map(|value| f64::from(value.abs())).reduce(f64::max);
        given.into_iter().flatten().chain(found).any(|value| value > 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prelude::*;

    fn range(layers: Vec<Box<dyn Layer>>) -> PixelRange {
        let mut model = Sequential::new();
        model.add(Input::new((8, 8, 3))).unwrap();
        for layer in layers {
            model.add(layer).unwrap();
        }
        model.pixel_range()
    }

    #[test]
    fn the_first_layers_determine_the_range() {
        assert_eq!(range(vec![Rescaling::new(1.0 / 255.0).into()]), PixelRange::ZeroTo255);
        assert_eq!(range(vec![Rescaling::new([0.017, 0.018, 0.017]).into()]), PixelRange::ZeroTo255);
        assert_eq!(range(vec![Rescaling::new(2.0).offset(-1.0).into()]), PixelRange::ZeroToOne);
        assert_eq!(range(vec![Resizing::new(4, 4).into(), Rescaling::new(1.0 / 127.5).into()]), PixelRange::ZeroTo255);
        assert_eq!(range(vec![Conv2D::new(1, 1).into(), Rescaling::new(0.01).into()]), PixelRange::ZeroToOne);
        let moments = |mean: f32, variance: f32| range(vec![Normalization::new().moments(mean, variance).into()]);
        assert_eq!((moments(120.0, 3000.0), moments(0.5, 0.08)), (PixelRange::ZeroTo255, PixelRange::ZeroToOne));
        let light = ndarray::Array::from_shape_fn((4, 3), |(row, _)| row as f32 * 80.0);
        assert_eq!(range(vec![Normalization::new().adapt(&light).unwrap().into()]), PixelRange::ZeroTo255);
    }

    #[test]
    fn the_data_info_takes_precedence() {
        let mut model = Sequential::new();
        model.add(Rescaling::new(1.0 / 255.0).input_shape((8, 8, 3))).unwrap();
        let mut outer = Sequential::new();
        outer.add(Input::new((8, 8, 3))).unwrap().add(model).unwrap();
        assert_eq!(outer.pixel_range(), PixelRange::ZeroTo255);
        outer.data_info_mut().pixels = Some(PixelRange::MinusOneToOne);
        assert_eq!(outer.pixel_range(), PixelRange::MinusOneToOne);
    }
}
