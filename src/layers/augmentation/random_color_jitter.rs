//! `RandomColorJitter`: changes brightness, contrast, saturation and hue.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::{
    Change, RandomBrightness, RandomContrast, RandomHue, RandomSaturation, Streams, check_three, image_layer,
    random_contrast,
};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Changes brightness, contrast, saturation and hue of each image at random in training, in this order, as
    /// [`RandomBrightness`], [`RandomContrast`], [`RandomSaturation`] and [`RandomHue`] do; those without a factor are left
    /// out.
    ///
    /// # Shapes
    /// `(batch, rows, columns, 3)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// let jitter = RandomColorJitter::new().value_range((0.0, 1.0)).brightness_factor(0.1).hue_factor(0.1);
    /// model.add(jitter.input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomColorJitter {
        /// The range of the images' values.
        value_range: ValueRange = ValueRange::BYTES,
        /// The factor of `RandomBrightness`.
        brightness_factor: Option<Factor> = None,
        /// The factor of `RandomContrast`.
        contrast_factor: Option<Factor> = None,
        /// The factor of `RandomSaturation`.
        saturation_factor: Option<Factor> = None,
        /// The factor of `RandomHue`.
        hue_factor: Option<Factor> = None,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomColorJitter {
    /// Changes nothing until factors are given.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Change for RandomColorJitter {
    fn check(&self, channels: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        let factors = [
            ("brightness_factor", self.brightness_factor, [-1.0, 1.0]),
            ("saturation_factor", self.saturation_factor, [-1.0, 1.0]),
            ("hue_factor", self.hue_factor, [0.0, 1.0]),
        ];
        for (argument, factor, bounds) in factors {
            factor.map_or(Ok(()), |factor| factor.check(argument, bounds))?;
        }
        self.contrast_factor.map_or(Ok(()), |factor| random_contrast::check_factor("contrast_factor", factor))?;
        check_three(channels)
    }

    fn change(&self, images: &mut Images, streams: &Streams) {
        let range = self.value_range;
        if let Some(factor) = self.brightness_factor {
            Change::change(&RandomBrightness::new(factor).value_range(range), images, &streams.part(0));
        }
        if let Some(factor) = self.contrast_factor {
            Change::change(&RandomContrast::new(factor).value_range(range), images, &streams.part(1));
        }
        if let Some(factor) = self.saturation_factor {
            Change::change(&RandomSaturation::new(factor).value_range(range), images, &streams.part(2));
        }
        if let Some(factor) = self.hue_factor {
            Change::change(&RandomHue::new(factor).value_range(range), images, &streams.part(3));
        }
    }
}

image_layer!(RandomColorJitter);

impl BuiltIn for RandomColorJitter {
    fn examples() -> Vec<(Self, Shape)> {
        let all = Self::new().brightness_factor(0.2).contrast_factor((0.2, 0.3)).saturation_factor(0.4).hue_factor(0.5);
        vec![
            (all.value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 3))),
            (Self::new().hue_factor(0.3).seed(1).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Augmentation, goldens};
    use super::*;

    #[test]
    fn the_parts_follow_one_another() {
        let case = goldens::cases::<RandomHue>().remove(0);
        let factors = |layer: RandomColorJitter| {
            let mut images = case.images();
            Change::change(&layer, &mut images, &Streams::of(&[1]));
            images.into_values()
        };
        let all = RandomColorJitter::new().brightness_factor((0.2, 0.2)).contrast_factor((-0.5, 0.5));
        assert!(all.check(Some(3)).is_err(), "a contrast of less than 0");
        // Constant parts do not depend on the draws; a hue can turn either way, by the same draws.
        let all = RandomColorJitter::new().brightness_factor((0.2, 0.2)).contrast_factor((0.0, 0.0));
        let all = all.saturation_factor((0.3, 0.3)).hue_factor((0.4, 0.4));
        let mut expected = case.images();
        let streams = Streams::of(&[1]);
        Change::change(&RandomBrightness::new((0.2, 0.2)), &mut expected, &streams.part(0));
        Change::change(&RandomContrast::new((0.0, 0.0)), &mut expected, &streams.part(1));
        Change::change(&RandomSaturation::new((0.3, 0.3)), &mut expected, &streams.part(2));
        Change::change(&RandomHue::new((0.4, 0.4)), &mut expected, &streams.part(3));
        assert_eq!(factors(all), expected.into_values());
        // Only contrast, by a factor of 0.5 to 1.5, and then hue, which does not commute with it.
        let some = RandomColorJitter::new().contrast_factor((0.5, 0.5)).hue_factor((0.4, 0.4));
        let (mut expected, mut other) = (case.images(), case.images());
        let (contrast, hue) = (RandomContrast::new((0.5, 0.5)), RandomHue::new((0.4, 0.4)));
        let draws = {
            let streams = Streams::of(&[1]);
            (contrast.draw(&expected, &streams.part(1)), hue.draw(&expected, &streams.part(3)))
        };
        contrast.apply(&mut expected, &draws.0);
        hue.apply(&mut expected, &draws.1);
        let found = factors(some);
        assert_eq!(found, expected.into_values());
        hue.apply(&mut other, &draws.1);
        contrast.apply(&mut other, &draws.0);
        assert_ne!(found, other.into_values());
        assert_eq!(factors(RandomColorJitter::new()), case.images().into_values());
    }
}
