//! `RandomPosterization`: images of few shades.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{Augmentation, image_layer};
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Leaves each image a random number of bits for each of its numbers in training.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomPosterization::new((4.0, 8.0)).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomPosterization {
        /// How many bits, from 1 to 8. Of a pair the upper end is never drawn, unless both are the same: `(4, 8)` leaves 4 to
        /// 7. One number means from 1 to it: 5 leaves 1 to 4.
        factor: Factor,
        /// The least and the most of the numbers that the images hold.
        value_range: ValueRange = ValueRange::BYTES,
        /// Where the channels stand in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// A seed of its own, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl RandomPosterization {
    /// Leaves as many bits as `factor` says.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::required(factor.into())
    }

    /// The fewest and the most bits.
    fn bits(&self) -> [u32; 2] {
        let bounds = self.factor.around(1.0);
        [bounds.least as u32, bounds.most as u32]
    }
}

impl Augmentation for RandomPosterization {
    /// Bits that are set to 0.
    type Draw = u32;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.factor.check("factor", [1.0, 8.0])?;
        let whole = |number: f32| number.fract() == 0.0;
        match self.factor {
            Factor::One(number) if !whole(number) => Err(Error::argument("factor", "whole numbers", number)),
            Factor::Range(from, to) if !whole(from) || !whole(to) => {
                Err(Error::argument("factor", "whole numbers", format!("({from}, {to})")))
            }
            _ => Ok(()),
        }
    }

    fn draw(&self, images: &Images, random: &mut Random) -> Vec<u32> {
        let [fewest, most] = self.bits();
        let mut one = || 8 - (fewest + random.below(most.saturating_sub(fewest) as usize) as u32).min(8);
        (0..images.count()).map(|_| one()).collect()
    }

    fn apply(&self, images: &mut Images, draws: &[u32]) {
        images.each(draws, |image, zeros| {
            for number in image {
                // Beyond the range of bytes: their ends.
                let byte = self.value_range.to_byte(*number) as u8;
                let kept = byte.checked_shr(*zeros).unwrap_or(0).checked_shl(*zeros).unwrap_or(0);
                *number = self.value_range.of_byte(kept.into());
            }
        });
    }
}

image_layer!(RandomPosterization);

impl BuiltIn for RandomPosterization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new(5.0).value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 2))),
            (Self::new((2.0, 2.0)).seed(2).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn shades_are_those_of_keras() {
        let shifts = |drawn: &goldens::Json| {
            goldens::numbers(&drawn["shift_factor"]).into_iter().map(|shift| shift as u32).collect()
        };
        goldens::check::<RandomPosterization>(4, shifts);
    }

    #[test]
    fn the_upper_end_is_not_drawn() {
        let drawn = |factor: Factor| {
            let layer = RandomPosterization::new(factor);
            layer.check(None).unwrap();
            let mut draws = layer.draw(&goldens::empty(500), &mut crate::random::random(&[1]));
            draws.sort_unstable();
            draws.dedup();
            draws.into_iter().rev().map(|zeros| 8 - zeros).collect::<Vec<_>>()
        };
        assert_eq!(drawn(5.0.into()), [1, 2, 3, 4]);
        assert_eq!(drawn((3.0, 3.0).into()), [3]);
        assert_eq!(drawn((8.0, 6.0).into()), [6, 7]);
        assert!(RandomPosterization::new(2.5).check(None).is_err());
    }
}
