//! `RandAugment`: a few operations chosen at random.

use super::factor::{Factor, ValueRange};
use super::images::Images;
use super::policy::{COPIES, MAX_COUNT, Operation, Policy};
use super::projection::Sampling;
use super::{Change, Streams, check_colours, image_layer};
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Applies a few of eleven operations in training, which are chosen at random for each batch: shear, translation,
    /// rotation, brightness, colour, contrast, sharpness, posterization, solarization, automatic contrast and
    /// equalization (Cubuk et al. 2019). The magnitude of each is drawn for each image.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandAugment::new().factor(0.3).value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandAugment {
        /// The range of the images' values.
        value_range: ValueRange = ValueRange::BYTES,
        /// The number of operations applied in sequence, from 1 to 100; one can be chosen twice.
        num_ops: usize = 2,
        /// The magnitude of the operations, from 0 to 1; a single number means from 0 to it.
        factor: Factor = Factor::One(0.5),
        /// The interpolation between pixels.
        interpolation: Sampling = Sampling::Bilinear,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandAugment {
    /// Two operations of up to half their full magnitude.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies these operations; one that is applied twice draws the same both times.
    fn apply(&self, images: &mut Images, operations: &[usize], streams: &Streams) {
        let policy = Policy { factor: self.factor, value_range: self.value_range, interpolation: &self.interpolation };
        for index in operations {
            policy.layer(Operation::ALL[*index]).change(images, &streams.part(*index));
        }
    }
}

impl Change for RandAugment {
    fn check(&self, channels: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.interpolation.check()?;
        self.factor.check("factor", [0.0, 1.0])?;
        if !(1..=MAX_COUNT).contains(&self.num_ops) {
            return Err(Error::argument("num_ops", format!("an integer from 1 to {MAX_COUNT}"), self.num_ops));
        }
        check_colours(channels)
    }

    fn change(&self, images: &mut Images, streams: &Streams) {
        let mut shared = streams.batch();
        let operations: Vec<usize> = (0..self.num_ops).map(|_| shared.below(Operation::ALL.len())).collect();
        self.apply(images, &operations, streams);
    }

    fn copies(&self) -> usize {
        COPIES
    }
}

image_layer!(RandAugment);

impl BuiltIn for RandAugment {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new().value_range((-1.0, 1.0)), Shape::batch_of((5, 4, 3))),
            (Self::new().num_ops(4).factor((0.1, 0.2)).interpolation("nearest"), Shape::batch_of((4, 4, 1))),
            (Self::new().seed(1).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 4, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::{RandomBrightness, RandomRotation, RandomSharpness, goldens};
    use super::*;

    #[test]
    fn operations_follow_one_another() {
        let case = goldens::cases::<super::super::RandomHue>().remove(0);
        let layer = RandAugment::new().factor(0.4);
        let mut images = case.images();
        let streams = Streams::of(&[9]);
        layer.apply(&mut images, &[2, 6, 3, 2], &streams);
        let mut expected = case.images();
        let pair = Factor::Range(0.0, 0.4);
        let rotate = |images: &mut Images| Change::change(&RandomRotation::new(pair), images, &streams.part(2));
        rotate(&mut expected);
        Change::change(&RandomSharpness::new(pair), &mut expected, &streams.part(6));
        Change::change(&RandomBrightness::new(pair), &mut expected, &streams.part(3));
        rotate(&mut expected);
        assert_eq!(images.into_values(), expected.into_values());
    }

    #[test]
    fn every_operation_is_chosen_and_changes_something() {
        let case = goldens::cases::<super::super::RandomHue>().remove(0);
        let before = case.images().into_values();
        let mut seen = Vec::new();
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            let mut images = case.images();
            RandAugment::new().apply(&mut images, &[index], &Streams::of(&[1]));
            let after = images.into_values();
            assert!(after.iter().all(|number| (-1e-3..=255.001).contains(number)), "{operation:?}");
            // Bytes already use the full range.
            assert!(after != before || operation == Operation::AutoContrast, "{operation:?}");
            assert!(!seen.contains(&after), "{operation:?}");
            seen.push(after);
        }
    }
}
