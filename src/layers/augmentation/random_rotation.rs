//! `RandomRotation`: rotates images about their center.

use super::factor::{Bounds, FARTHEST, Factor};
use super::images::{Images, Size};
use super::projection::{FillMode, Projection, Sampling, Surroundings};
use super::{Augmentation, Streams, image_layer};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Rotates each image about its center by a random angle in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomRotation::new(0.1).fill_mode("constant").input_shape((32, 32, 3)))?; // up to 36° either way
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomRotation {
        /// The angle as a fraction of a full turn, counter-clockwise if positive: 0.25 turns by up to a quarter either
        /// way, `(0.0, 0.25)` only counter-clockwise. One end of a pair can be up to 1,000 turns away. `None` is 0.
        factor: Option<Factor>,
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

impl RandomRotation {
    /// Rotates images by up to `factor` of a full turn.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::required(Some(factor.into()))
    }

    fn farthest(&self) -> Factor {
        self.factor.unwrap_or(Factor::One(0.0))
    }

    fn bounds(&self) -> Bounds {
        self.farthest().around(-1.0)
    }
}

/// The projection for a rotation by a fraction of a full turn, counter-clockwise.
fn rotation(turn: f32, size: Size) -> Projection {
    // The angle is rounded as in Keras; sine and cosine are computed to be the same on every machine.
    let angle = turn * (2.0 * std::f32::consts::PI);
    let (sin, cos) = (f64::from(angle).sin() as f32, f64::from(angle).cos() as f32);
    let (width, height) = (size.columns as f32 - 1.0, size.rows as f32 - 1.0);
    let across = (width - (cos * width - sin * height)) / 2.0;
    let down = (height - (sin * width + cos * height)) / 2.0;
    [cos, -sin, across, sin, cos, down, 0.0, 0.0]
}

impl Augmentation for RandomRotation {
    /// The angle as a fraction of a full turn.
    type Draw = f32;

    const COPIES: usize = 1;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.fill_mode.check_plain()?;
        self.interpolation.check()?;
        self.farthest().check_overlap("factor", [-1.0, 1.0], [-FARTHEST, FARTHEST])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<f32> {
        streams.each(images.count(), |random| self.bounds().draw(random))
    }

    fn apply(&self, images: &mut Images, draws: &[f32]) {
        let size = images.size();
        let around = Surroundings { fill: &self.fill_mode, value: self.fill_value, sampling: &self.interpolation };
        images.each(draws, |image, turn| around.project(image, size, &rotation(*turn, size)));
    }
}

image_layer!(RandomRotation);

impl BuiltIn for RandomRotation {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.2), Shape::batch_of((5, 4, 2))),
            (Self::new((0.1, 0.3)).fill_mode("constant").fill_value(0.5).seed(1), Shape::batch_of((4, 4, 1))),
            (Self::new(0.5).fill_mode("wrap").interpolation("nearest"), Shape::batch_of((3, 5, 3))),
            (Self::new(1.0).fill_mode("nearest").data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_rotated_as_by_keras() {
        goldens::check::<RandomRotation>(10, |drawn| {
            goldens::numbers(&drawn["angle"]).into_iter().map(|angle| angle / 360.0).collect()
        });
    }

    #[test]
    fn angles_are_uniform_and_symmetric() {
        let turns = RandomRotation::new(0.25).draw(&goldens::empty(2000), &Streams::of(&[1]));
        goldens::even(&turns, -0.25, 0.25);
        let layer = RandomRotation::new((0.5, 1.5));
        layer.check(None).unwrap();
        goldens::even(&layer.draw(&goldens::empty(2000), &Streams::of(&[1])), 0.5, 1.5);
    }
}
