//! The operations from which `RandAugment` and `AugMix` choose.

use super::factor::{Bounds, Factor, ValueRange};
use super::projection::Sampling;
use super::{
    AutoContrast, Change, Equalization, RandomBrightness, RandomColorDegeneration, RandomContrast, RandomPosterization,
    RandomRotation, RandomSharpness, RandomShear, RandomTranslation, Solarization,
};

/// The most operations in a row, and the most chains of them.
pub(super) const MOST: usize = 100;

/// Names of operations, in Keras's words.
pub(super) const GEOMETRY: [&str; 3] = ["random_shear", "random_translation", "random_rotation"];
pub(super) const SHADES: [&str; 4] = ["random_posterization", "solarization", "auto_contrast", "equalization"];
pub(super) const COLOURS: [&str; 4] =
    ["random_brightness", "random_color_degeneration", "random_contrast", "random_sharpness"];

/// What all operations share.
#[derive(Clone, Debug)]
pub(super) struct Policy<'a> {
    pub factor: Factor,
    pub value_range: ValueRange,
    pub interpolation: &'a Sampling,
}

impl Policy<'_> {
    /// The operation of this name.
    pub fn operation(&self, name: &str) -> Box<dyn Change> {
        let Bounds { least, most } = self.factor.up_to();
        let (factor, range, sampling) = (Factor::Range(least, most), self.value_range, self.interpolation.clone());
        match name {
            "random_shear" => Box::new(RandomShear::new(factor, factor).interpolation(sampling)),
            "random_translation" => Box::new(RandomTranslation::new(factor, factor).interpolation(sampling)),
            "random_rotation" => Box::new(RandomRotation::new(factor).interpolation(sampling)),
            "random_brightness" => Box::new(RandomBrightness::new(factor).value_range(range)),
            "random_color_degeneration" => Box::new(RandomColorDegeneration::new(factor).value_range(range)),
            "random_contrast" => Box::new(RandomContrast::new(factor).value_range(range)),
            "random_sharpness" => Box::new(RandomSharpness::new(factor).value_range(range)),
            "random_posterization" => {
                let bits = (8.0 * most).floor().max(1.0) as u32;
                Box::new(RandomPosterization::new(bits).value_range(range))
            }
            "solarization" => Box::new(Solarization::new(factor, factor).value_range(range)),
            "auto_contrast" => Box::new(AutoContrast::new().value_range(range)),
            _ => Box::new(Equalization::new().value_range(range)),
        }
    }
}
