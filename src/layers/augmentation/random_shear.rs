//! `RandomShear`: shears images.

use serde::{Deserialize, Deserializer, Serialize};

use super::factor::{Bounds, Factor};
use super::images::Images;
use super::projection::{FillMode, Sampling, Surroundings};
use super::{Augmentation, Streams, image_layer};
use crate::config::also_argument;
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

/// The range of a shear: ± a number, or a pair in one direction.
///
/// The pair (-0.2, 0.2) is the same as the number 0.2: Keras writes the latter as the former, and does not read the
/// pair.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Slant(Factor);

impl From<Factor> for Slant {
    fn from(factor: Factor) -> Self {
        match factor {
            Factor::Range(from, to) if from == -to && to >= 0.0 => Self(Factor::One(to)),
            other => Self(other),
        }
    }
}

impl From<f32> for Slant {
    fn from(number: f32) -> Self {
        Factor::from(number).into()
    }
}

impl From<(f32, f32)> for Slant {
    fn from(pair: (f32, f32)) -> Self {
        Factor::from(pair).into()
    }
}

impl From<[f32; 2]> for Slant {
    fn from(pair: [f32; 2]) -> Self {
        Factor::from(pair).into()
    }
}

impl<'de> Deserialize<'de> for Slant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Factor::deserialize(deserializer).map(Self::from)
    }
}

also_argument!(f32 => Slant, (f32, f32) => Slant, [f32; 2] => Slant, Factor => Slant);

crate::describe! {
    /// Shears each image by random amounts in training, with its top left corner fixed.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomShear::new(0.2, (0.0, 0.1)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomShear {
        /// The horizontal shift per row, from 0 to 1: ± a number, or a pair in one direction that is drawn once for
        /// both axes.
        x_factor: Slant = Slant(Factor::One(0.0)),
        /// The vertical shift per column.
        y_factor: Slant = Slant(Factor::One(0.0)),
        /// The interpolation between pixels.
        interpolation: Sampling = Sampling::Bilinear,
        /// How points beyond the edges are filled.
        fill_mode: FillMode = FillMode::Reflect,
        /// The value beyond the edges with `fill_mode = "constant"`.
        fill_value: f32 = 0.0,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl RandomShear {
    /// Shears images by up to these factors.
    pub fn new(x_factor: impl Into<Slant>, y_factor: impl Into<Slant>) -> Self {
        Self::default().x_factor(x_factor.into()).y_factor(y_factor.into())
    }
}

impl Augmentation for RandomShear {
    /// Along x and along y.
    type Draw = [f32; 2];

    const COPIES: usize = 1;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.fill_mode.check_plain()?;
        self.interpolation.check()?;
        self.x_factor.0.check("x_factor", [0.0, 1.0])?;
        self.y_factor.0.check("y_factor", [0.0, 1.0])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<[f32; 2]> {
        let (x, y): (Bounds, Bounds) = (self.x_factor.0.around(-1.0), self.y_factor.0.around(-1.0));
        let one = |random: &mut Random| {
            let way = if random.happens(0.5) { -1.0 } else { 1.0 };
            let down = y.draw(random);
            [way * x.draw(random), way * down]
        };
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[[f32; 2]]) {
        let size = images.size();
        let around = Surroundings { fill: &self.fill_mode, value: self.fill_value, sampling: &self.interpolation };
        images.each(draws, |image, [x, y]| around.project(image, size, &[1.0, *x, 0.0, *y, 1.0, 0.0, 0.0, 0.0]));
    }
}

image_layer!(RandomShear);

impl BuiltIn for RandomShear {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(0.5, 0.2), Shape::batch_of((5, 4, 2))),
            (Self::new((0.1, 0.3), 0.0).fill_mode("constant").fill_value(0.5), Shape::batch_of((4, 4, 1))),
            (Self::new(0.0, 0.5).fill_mode("wrap").interpolation("nearest").seed(2), Shape::batch_of((3, 5, 3))),
            (Self::new(0.5, 0.5).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 3, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::goldens;
    use super::*;
    use crate::config::Configure;

    #[test]
    fn images_are_sheared_as_by_keras() {
        goldens::check::<RandomShear>(4, |drawn| {
            goldens::numbers(&drawn["shear_factor"]).chunks(2).map(|pair| [pair[0], pair[1]]).collect()
        });
    }

    #[test]
    fn a_pair_shears_both_axes_in_one_direction() {
        let layer = RandomShear::new((0.2, 0.4), (0.1, 0.3));
        let draws = layer.draw(&goldens::empty(2000), &Streams::of(&[1]));
        assert!(draws.iter().all(|[x, y]| x.signum() == y.signum()));
        goldens::even(&draws.iter().map(|[x, _]| x.abs()).collect::<Vec<_>>(), 0.2, 0.4);
        let both = draws.iter().filter(|[x, _]| *x < 0.0).count();
        assert!((900..1100).contains(&both), "{both}");
        assert!(RandomShear::new((-0.2, 0.3), 0.0).check(None).is_err());
        assert!(
            RandomShear::new(0.0, -0.2).check(None).is_err() && RandomShear::new((0.2, -0.2), 0.0).check(None).is_err()
        );
    }

    /// Keras writes the number 0.2 as a pair that it does not read itself.
    #[test]
    fn a_symmetric_pair_is_written_as_a_number() {
        let config = json!({"x_factor": [-0.2, 0.2], "y_factor": [0.1, 0.3]});
        let read = RandomShear::from_config(config.as_object().unwrap().clone()).unwrap();
        let set = RandomShear::default().x_factor((-0.2, 0.2)).y_factor((0.1, 0.3));
        for layer in [read, RandomShear::new((-0.2, 0.2), (0.1, 0.3)), RandomShear::new(0.2, [0.1, 0.3]), set] {
            layer.check(None).unwrap();
            let written = layer.config().unwrap();
            assert_eq!(written["x_factor"], json!(0.2f32));
            assert_eq!(written["y_factor"], json!([0.1f32, 0.3f32]));
        }
    }
}
