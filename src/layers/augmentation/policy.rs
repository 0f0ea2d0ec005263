//! The operations of `RandAugment` and `AugMix`.

use super::factor::{Bounds, Factor, ValueRange};
use super::projection::Sampling;
use super::{
    AutoContrast, Change, Equalization, RandomBrightness, RandomColorDegeneration, RandomContrast, RandomPosterization,
    RandomRotation, RandomSharpness, RandomShear, RandomTranslation, Solarization,
};

/// The maximum length of a chain, and the maximum number of chains.
pub(super) const MAX_COUNT: usize = 100;

/// The maximum number of copies of an image that an operation holds.
pub(super) const COPIES: usize = 1;

/// An operation: an augmentation layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Shear,
    Translation,
    Rotation,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterization,
    Solarization,
    AutoContrast,
    Equalization,
}

impl Operation {
    /// All of them, in Keras's order.
    pub const ALL: [Self; 11] = [
        Self::Shear,
        Self::Translation,
        Self::Rotation,
        Self::Brightness,
        Self::Colour,
        Self::Contrast,
        Self::Sharpness,
        Self::Posterization,
        Self::Solarization,
        Self::AutoContrast,
        Self::Equalization,
    ];

    /// Whether it changes brightness, colour, contrast or sharpness, which `AugMix` can exclude.
    pub fn is_of_all_ops(self) -> bool {
        matches!(self, Self::Brightness | Self::Colour | Self::Contrast | Self::Sharpness)
    }
}

/// The arguments shared by all operations.
#[derive(Clone, Debug)]
pub(super) struct Policy<'a> {
    pub factor: Factor,
    pub value_range: ValueRange,
    pub interpolation: &'a Sampling,
}

impl Policy<'_> {
    /// The layer of an operation.
    pub fn layer(&self, operation: Operation) -> Box<dyn Change> {
        let Bounds { least, most } = self.factor.up_to();
        let (factor, range, sampling) = (Factor::Range(least, most), self.value_range, self.interpolation.clone());
        match operation {
            Operation::Shear => Box::new(RandomShear::new(factor, factor).interpolation(sampling)),
            Operation::Translation => Box::new(RandomTranslation::new(factor, factor).interpolation(sampling)),
            Operation::Rotation => Box::new(RandomRotation::new(factor).interpolation(sampling)),
            Operation::Brightness => Box::new(RandomBrightness::new(factor).value_range(range)),
            Operation::Colour => Box::new(RandomColorDegeneration::new(factor).value_range(range)),
            Operation::Contrast => Box::new(RandomContrast::new(factor).value_range(range)),
            Operation::Sharpness => Box::new(RandomSharpness::new(factor).value_range(range)),
            Operation::Posterization => {
                let bits = (8.0 * most).floor().max(1.0) as u32;
                Box::new(RandomPosterization::new(bits).value_range(range))
            }
            Operation::Solarization => Box::new(Solarization::new(factor, factor).value_range(range)),
            Operation::AutoContrast => Box::new(AutoContrast::new().value_range(range)),
            Operation::Equalization => Box::new(Equalization::new().value_range(range)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Streams, goldens};
    use super::*;

    /// The operations in Keras's order and their layers, with the arguments for a factor of 0.1 to 0.4 and bytes.
    #[test]
    fn each_operation_is_the_layer_of_its_name() {
        let (sampling, pair) = (Sampling::Nearest, Factor::Range(0.1, 0.4));
        let policy = Policy { factor: pair, value_range: ValueRange::BYTES, interpolation: &sampling };
        let layers: [Box<dyn Change>; 11] = [
            Box::new(RandomShear::new(pair, pair).interpolation("nearest")),
            Box::new(RandomTranslation::new(pair, pair).interpolation("nearest")),
            Box::new(RandomRotation::new(pair).interpolation("nearest")),
            Box::new(RandomBrightness::new(pair)),
            Box::new(RandomColorDegeneration::new(pair)),
            Box::new(RandomContrast::new(pair)),
            Box::new(RandomSharpness::new(pair)),
            // 8 · 0.4 bits.
            Box::new(RandomPosterization::new(3)),
            Box::new(Solarization::new(pair, pair)),
            Box::new(AutoContrast::new()),
            Box::new(Equalization::new()),
        ];
        let case = goldens::cases::<super::super::RandomHue>().remove(0);
        let mut seen = Vec::new();
        for (operation, layer) in Operation::ALL.into_iter().zip(layers) {
            let (mut found, mut expected) = (case.images(), case.images());
            policy.layer(operation).change(&mut found, &Streams::of(&[5]));
            layer.change(&mut expected, &Streams::of(&[5]));
            let found = found.into_values();
            assert_eq!(found, expected.into_values(), "{operation:?}");
            assert!(!seen.contains(&found), "{operation:?}");
            seen.push(found);
        }
    }
}
