//! `RandomTranslation`: shifts images.

use super::factor::Factor;
use super::images::Images;
use super::projection::{FillMode, Sampling, Surroundings};
use super::{Augmentation, Streams, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Shifts each image by random fractions of its height and width in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomTranslation::new(0.1, (0.0, 0.2)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomTranslation {
        /// The shift down, as a fraction of the height: 0.1 shifts by up to a tenth down or up.
        height_factor: Factor,
        /// The shift to the right, as a fraction of the width.
        width_factor: Factor,
        /// How points beyond the edges are filled.
        fill_mode: FillMode = FillMode::Reflect,
        /// The interpolation between pixels.
        interpolation: Sampling = Sampling::Bilinear,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The value beyond the edges with `fill_mode = "constant"`.
        fill_value: f32 = 0.0,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomTranslation {
    /// Shifts images by up to these fractions of their height and width.
    pub fn new(height_factor: impl Into<Factor>, width_factor: impl Into<Factor>) -> Self {
        Self::required(height_factor.into(), width_factor.into())
    }
}

impl Augmentation for RandomTranslation {
    /// Pixels to the right and pixels down.
    type Draw = [f32; 2];

    const COPIES: usize = 1;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.fill_mode.check_plain()?;
        self.interpolation.check()?;
        self.height_factor.check("height_factor", [-1.0, 1.0])?;
        self.width_factor.check("width_factor", [-1.0, 1.0])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<[f32; 2]> {
        let (height, width) = (self.height_factor.around(-1.0), self.width_factor.around(-1.0));
        let (rows, columns) = (images.size().rows as f32, images.size().columns as f32);
        let one = |random: &mut Random| {
            let down = height.draw(random) * rows;
            [width.draw(random) * columns, down]
        };
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[[f32; 2]]) {
        let size = images.size();
        let around = Surroundings { fill: &self.fill_mode, value: self.fill_value, sampling: &self.interpolation };
        images.each(draws, |image, [right, down]| {
            around.project(image, size, &[1.0, 0.0, -right, 0.0, 1.0, -down, 0.0, 0.0]);
        });
    }
}

image_layer!(RandomTranslation);

impl BuiltIn for RandomTranslation {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.2, 0.3), Shape::batch_of((5, 4, 2))),
            (Self::new((-0.5, 0.1), 1.0).fill_mode("constant").fill_value(0.5), Shape::batch_of((4, 4, 1))),
            (Self::new(0.5, 0.5).fill_mode("wrap").interpolation("nearest").seed(2), Shape::batch_of((3, 5, 3))),
            (Self::new(0.5, 0.0).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_translated_as_by_keras() {
        goldens::check::<RandomTranslation>(7, |drawn| {
            goldens::numbers(&drawn["translations"]).chunks(2).map(|pair| [pair[0], pair[1]]).collect()
        });
    }

    #[test]
    fn distances_are_uniform_and_symmetric() {
        let images = goldens::empty(2000);
        let size = images.size();
        let draws = RandomTranslation::new(0.5, (0.0, 1.0)).draw(&images, &Streams::of(&[1]));
        let (right, down): (Vec<f32>, Vec<f32>) = draws.into_iter().map(|[right, down]| (right, down)).unzip();
        goldens::even(&right, 0.0, size.columns as f32);
        goldens::even(&down, -0.5 * size.rows as f32, 0.5 * size.rows as f32);
    }
}
