//! `Equalization`: equalizes images' histograms.

use super::images::Images;
use super::{Change, Streams, channels, factor::ValueRange, on_host, scratch};
use crate::error::{Error, Result};
use crate::layers::{BuiltIn, Call, Edge, Exporting, Layer, Preparation};
use crate::ops::Value;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Equalizes histograms in training: each value becomes the share of values that are not greater, per channel, over
    /// all images of a batch.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Equalization::new().value_range((0.0, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct Equalization {
        /// The range of the images' values.
        value_range: ValueRange = ValueRange::BYTES,
        /// The number of histogram bins, from 1 to 65,536.
        bins: usize = 256,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

/// The maximum number of bins: more than there are distinguishable values.
const MAX_BINS: usize = 1 << 16;

impl Equalization {
    /// Equalizes channels of bytes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bin of a value on a scale of bytes.
    fn bin(&self, byte: f32) -> usize {
        let last = (self.bins - 1) as f32;
        (byte * last / 255.0).clamp(0.0, last) as usize
    }

    /// The lookup table of bins for the values of one channel; `None` if all of them are in one bin.
    fn table(&self, bytes: impl Iterator<Item = f32>) -> Option<Vec<f32>> {
        let mut below = vec![0u64; self.bins];
        bytes.for_each(|byte| below[self.bin(byte)] += 1);
        if below.iter().filter(|count| **count > 0).count() <= 1 {
            return None;
        }
        let (mut sum, mut first) = (0, None);
        for count in &mut below {
            sum += *count;
            *count = sum;
            first = first.or(Some(sum).filter(|sum| *sum > 0));
        }
        let first = first.unwrap_or(0);
        let share = |count: u64| (count.saturating_sub(first) as f32 * 255.0 / (sum - first) as f32).round_ties_even();
        Some(below.into_iter().map(|count| share(count).clamp(0.0, 255.0)).collect())
    }

    /// Equalizes each channel of all images.
    pub(super) fn apply(&self, images: &mut Images) {
        let (channels, range) = (images.size().channels, self.value_range);
        for channel in 0..channels {
            let numbers = images.values().iter().skip(channel).step_by(channels);
            let Some(table) = self.table(numbers.map(|number| range.to_byte(*number))) else { continue };
            for number in images.values_mut().iter_mut().skip(channel).step_by(channels) {
                *number = range.of_byte(table[self.bin(range.to_byte(*number))]);
            }
        }
    }
}

impl Change for Equalization {
    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        if !(1..=MAX_BINS).contains(&self.bins) {
            return Err(Error::argument("bins", format!("an integer from 1 to {MAX_BINS}"), self.bins));
        }
        Ok(())
    }

    fn change(&self, images: &mut Images, _: &Streams) {
        self.apply(images);
    }
}

impl Layer for Equalization {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        Change::check(self, channels(input, self.data_format)?)?;
        Ok(input.clone())
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        Ok(scratch(input, training, 0))
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        Ok(vec![to.input()])
    }

    fn preparation(&self) -> Preparation {
        Preparation::Wanted
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        if !call.training_mode() {
            return Ok(input);
        }
        on_host(input, self.data_format, |images| self.apply(images))
    }
}

impl BuiltIn for Equalization {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new().value_range((-1.0, 1.0)), Shape::batch_of((3, 4, 2))),
            (Self::new().bins(8).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 2, 2))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn histograms_are_equalized_as_by_keras() {
        let cases = goldens::cases::<Equalization>();
        assert_eq!(cases.len(), 4);
        for case in cases {
            let output = case.layer.forward(case.input(), &mut Call::training(&[], true, &[1])).unwrap();
            // Backends differ in rounding halves.
            case.compare_numbers(&output.to_vec().unwrap(), 1.01 / 255.0);
            let same = case.layer.forward(case.input(), &mut Call::inference(&[])).unwrap();
            assert_eq!(same.to_vec().unwrap(), case.input().to_vec().unwrap());
        }
    }
}
