//! `RandomZoom`: zooms images.

use super::factor::Factor;
use super::images::Images;
use super::projection::{FillMode, Sampling, Surroundings};
use super::{Augmentation, Streams, image_layer};
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Zooms each image in or out, at random, in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomZoom::new(0.2).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomZoom {
        /// The relative change of the visible height, above -1: 0.2 shows from 0.8 to 1.2 of it.
        height_factor: Factor,
        /// The same for the width; `None` preserves the aspect ratio.
        width_factor: Option<Factor> = None,
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

impl RandomZoom {
    /// Shows up to this fraction more or less of the height, and the same of the width.
    pub fn new(height_factor: impl Into<Factor>) -> Self {
        Self::required(height_factor.into())
    }
}

/// The expected values of factors.
const ABOVE: &str = "numbers above -1";

/// Refuses factors that would show nothing.
fn check(argument: &str, factor: Factor) -> Result<()> {
    factor.check(argument, [-1.0, 1.0])?;
    match factor {
        // As a single number, 1 ranges from nothing to twice the image.
        Factor::One(number) if number > -1.0 => Ok(()),
        Factor::Range(from, to) if from.min(to) > -1.0 => Ok(()),
        Factor::One(number) => Err(Error::argument(argument, ABOVE, number)),
        Factor::Range(from, to) => Err(Error::argument(argument, ABOVE, format!("({from}, {to})"))),
    }
}

impl Augmentation for RandomZoom {
    /// The visible fraction of the width and of the height.
    type Draw = [f32; 2];

    const COPIES: usize = 1;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.fill_mode.check_plain()?;
        self.interpolation.check()?;
        check("height_factor", self.height_factor)?;
        self.width_factor.map_or(Ok(()), |factor| check("width_factor", factor))
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<[f32; 2]> {
        let height = self.height_factor.around(-1.0);
        let width = self.width_factor.map(|factor| factor.around(-1.0));
        let one = |random: &mut Random| {
            let down = 1.0 + height.draw(random);
            [width.map_or(down, |width| 1.0 + width.draw(random)), down]
        };
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[[f32; 2]]) {
        let size = images.size();
        let around = Surroundings { fill: &self.fill_mode, value: self.fill_value, sampling: &self.interpolation };
        images.each(draws, |image, [across, down]| {
            let middle = |length: usize, zoom: f32| (length as f32 - 1.0) / 2.0 * (1.0 - zoom);
            let (left, top) = (middle(size.columns, *across), middle(size.rows, *down));
            around.project(image, size, &[*across, 0.0, left, 0.0, *down, top, 0.0, 0.0]);
        });
    }
}

image_layer!(RandomZoom);

impl BuiltIn for RandomZoom {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.2), Shape::batch_of((5, 4, 2))),
            (Self::new((-0.5, 0.1)).width_factor(0.3).fill_mode("constant"), Shape::batch_of((4, 4, 1))),
            (Self::new(0.5).fill_mode("wrap").interpolation("nearest").seed(2), Shape::batch_of((3, 5, 3))),
            (Self::new(0.5).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_zoomed_as_by_keras() {
        goldens::check::<RandomZoom>(6, |drawn| {
            let (height, width) = (goldens::numbers(&drawn["height_zoom"]), goldens::numbers(&drawn["width_zoom"]));
            width.into_iter().zip(height).map(|(width, height)| [width, height]).collect()
        });
    }

    #[test]
    fn the_aspect_ratio_is_kept_unless_both_factors_are_given() {
        let images = goldens::empty(2000);
        let draws = RandomZoom::new(0.5).draw(&images, &Streams::of(&[1]));
        assert!(draws.iter().all(|[width, height]| width == height));
        goldens::even(&draws.iter().map(|draw| draw[0]).collect::<Vec<_>>(), 0.5, 1.5);
        let draws = RandomZoom::new(0.5).width_factor((0.2, 0.4)).draw(&images, &Streams::of(&[1]));
        goldens::even(&draws.iter().map(|draw| draw[0]).collect::<Vec<_>>(), 1.2, 1.4);
        assert!(check("height_factor", Factor::Range(-1.0, 0.0)).is_err() && check("a", Factor::One(-1.0)).is_err());
        assert!(check("height_factor", Factor::One(1.0)).is_ok());
    }
}
