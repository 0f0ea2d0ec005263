//! `Solarization`: inverts the light parts of images.

use super::factor::{Bounds, Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, Streams, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Adds a random amount to each image in training, and inverts values that are not below a random threshold. With
    /// the defaults no value is below it: the whole image is inverted.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Solarization::new(0.0, (0.5, 0.5)).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Solarization {
        /// The amount to add, from 0 to 1. A single number means from 0 to it. As in Keras, the upper end is multiplied
        /// by 255 and the lower end is not: `(0.2, 0.4)` adds from 0.2 to 102, on a scale of 0 to 255.
        addition_factor: Factor = Factor::One(0.0),
        /// The threshold below which values are not inverted, drawn like `addition_factor`.
        threshold_factor: Factor = Factor::One(0.0),
        /// The range of the images' values.
        value_range: ValueRange = ValueRange::BYTES,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl Solarization {
    /// Adds up to `addition_factor`, and inverts values not below a threshold of up to `threshold_factor`.
    pub fn new(addition_factor: impl Into<Factor>, threshold_factor: impl Into<Factor>) -> Self {
        Self::default().addition_factor(addition_factor.into()).threshold_factor(threshold_factor.into())
    }
}

/// The range on a scale of bytes; only its upper end is scaled, as in Keras.
fn bounds(factor: Factor) -> Bounds {
    let Bounds { least, most } = factor.up_to();
    Bounds { least, most: most * 255.0 }
}

impl Augmentation for Solarization {
    /// The summand and the threshold, on a scale of bytes.
    type Draw = [f32; 2];

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.addition_factor.check("addition_factor", [0.0, 1.0])?;
        self.threshold_factor.check("threshold_factor", [0.0, 1.0])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<[f32; 2]> {
        let (addition, threshold) = (bounds(self.addition_factor), bounds(self.threshold_factor));
        streams.each(images.count(), |random| [addition.draw(random), threshold.draw(random)])
    }

    fn apply(&self, images: &mut Images, draws: &[[f32; 2]]) {
        images.each(draws, |image, [added, threshold]| {
            for number in image {
                let byte = ValueRange::BYTES.clip(self.value_range.to_byte(*number) + added);
                *number = self.value_range.of_byte(if byte < *threshold { byte } else { 255.0 - byte });
            }
        });
    }
}

image_layer!(Solarization);

impl BuiltIn for Solarization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.1, (0.2, 0.8)).value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 2))),
            (Self::default().seed(2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_inverted_as_by_keras() {
        let draws = |drawn: &goldens::Json| -> Vec<[f32; 2]> {
            let (additions, thresholds) =
                (goldens::numbers(&drawn["additions"]), goldens::numbers(&drawn["thresholds"]));
            additions.into_iter().zip(thresholds).map(|(addition, threshold)| [addition, threshold]).collect()
        };
        goldens::check::<Solarization>(2, draws);
    }

    #[test]
    fn only_the_upper_end_is_on_the_scale_of_bytes() {
        let draws = Solarization::new((0.2, 0.4), 0.5).draw(&goldens::empty(2000), &Streams::of(&[1]));
        let (additions, thresholds): (Vec<f32>, Vec<f32>) = draws.into_iter().map(|[a, b]| (a, b)).unzip();
        goldens::even(&additions, 0.2, 102.0);
        goldens::even(&thresholds, 0.0, 127.5);
    }
}
