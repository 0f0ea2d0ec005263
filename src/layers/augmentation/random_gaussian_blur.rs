//! `RandomGaussianBlur`: blurs images.

use super::factor::{FARTHEST, Factor, ValueRange};
use super::images::{Images, Size};
use super::{Augmentation, Streams, image_layer};
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::shape::{DataFormat, Shape, Spatial};

crate::describe! {
    /// Blurs some of the images, at random, in training, by a Gaussian kernel. As in Keras the padding is 0, so that
    /// borders become darker.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomGaussianBlur::new().kernel_size(5).sigma((0.2, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomGaussianBlur {
        /// The probability of blurring an image, itself drawn per image: from a pair, or from 0 to a number. 1 blurs
        /// half of the images, `(1, 1)` all.
        factor: Factor = Factor::One(1.0),
        /// The columns and rows of the kernel, odd numbers.
        kernel_size: Spatial<2> = Spatial([3; 2]),
        /// The standard deviation in pixels, from 0 to 1, drawn for columns and for rows once per batch; a single
        /// number means from 0 to it. The second number of a pair can go up to 1,000.
        sigma: Factor = Factor::One(1.0),
        /// The range of the images' values; results are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
    }
}

impl RandomGaussianBlur {
    /// Blurs half of the images.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The largest kernel: weights beyond some standard deviations are 0.
const LARGEST: usize = 1 << 10;

/// A Gaussian kernel of this length.
pub(super) fn gaussian(length: usize, sigma: f32) -> Vec<f32> {
    let middle = (length as f32 - 1.0) / 2.0;
    let weight = |cell: usize| {
        let far = (cell as f32 - middle) / sigma;
        f64::from(-0.5 * far * far).exp() as f32
    };
    let weights: Vec<f32> = (0..length).map(weight).collect();
    let sum: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / sum).collect()
}

/// A separable convolution by a horizontal and a vertical kernel, with zero padding.
pub(super) fn blur(image: &mut [f32], size: Size, [across, down]: [&[f32]; 2]) {
    let along = |image: &mut [f32], weights: &[f32], length: usize, step: usize| {
        let before = image.to_vec();
        let half = weights.len() / 2;
        for (index, number) in image.iter_mut().enumerate() {
            let position = index / step % length;
            let first = half.saturating_sub(position);
            let last = weights.len().min(length + half - position);
            *number = (first..last).map(|cell| weights[cell] * before[index + cell * step - half * step]).sum();
        }
    };
    along(image, across, size.columns, size.channels);
    along(image, down, size.rows, size.channels * size.columns);
}

impl Augmentation for RandomGaussianBlur {
    /// The standard deviations along columns and rows, if the image is blurred.
    type Draw = Option<[f32; 2]>;

    const COPIES: usize = 1;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.factor.check("factor", [0.0, 1.0])?;
        self.sigma.check_overlap("sigma", [0.0, 1.0], [0.0, FARTHEST])?;
        if self.kernel_size.0.iter().all(|size| size % 2 == 1 && *size < LARGEST) {
            return Ok(());
        }
        Err(Error::argument("kernel_size", format!("odd numbers below {LARGEST}"), format!("{:?}", self.kernel_size.0)))
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<Option<[f32; 2]>> {
        let bounds = self.sigma.up_to();
        let mut shared = streams.batch();
        let sigma = [(); 2].map(|()| bounds.draw(&mut shared) + 1e-6);
        streams.each(images.count(), |random| self.factor.happens(random).then_some(sigma))
    }

    fn apply(&self, images: &mut Images, draws: &[Option<[f32; 2]>]) {
        let size = images.size();
        images.each(draws, |image, sigma| {
            if let Some([across, down]) = sigma {
                let [columns, rows] = self.kernel_size.0;
                blur(image, size, [&gaussian(columns, *across), &gaussian(rows, *down)]);
            }
            image.iter_mut().for_each(|number| *number = self.value_range.clip(*number));
        });
    }
}

image_layer!(RandomGaussianBlur);

impl BuiltIn for RandomGaussianBlur {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new().value_range((-1.0, 1.0)), Shape::batch_of((5, 4, 3))),
            (Self::new().factor((1.0, 1.0)).kernel_size((5, 3)).sigma((0.5, 1.0)), Shape::batch_of((3, 2, 1))),
            (Self::new().seed(1).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 4, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn images_are_blurred_as_by_keras() {
        goldens::check::<RandomGaussianBlur>(3, |drawn| {
            let sigma = goldens::numbers(&drawn["blur_factor"]);
            let blurred = goldens::booleans(&drawn["should_apply_blur"]);
            blurred.into_iter().map(|blurred| blurred.then_some([sigma[0], sigma[1]])).collect()
        });
    }

    #[test]
    fn deviations_are_drawn_once_per_batch() {
        let layer = RandomGaussianBlur::new().factor((1.0, 1.0)).sigma((0.2, 0.6));
        let draws = layer.draw(&goldens::empty(50), &Streams::of(&[1]));
        assert!(draws.iter().all(|draw| *draw == draws[0] && draw.is_some()));
        let sigmas: Vec<f32> =
            (0..1000).flat_map(|step| layer.draw(&goldens::empty(1), &Streams::of(&[step]))[0].unwrap()).collect();
        goldens::even(&sigmas, 0.2, 0.600_001);
        RandomGaussianBlur::new().sigma((0.1, 2.0)).check(None).unwrap();
        assert!(RandomGaussianBlur::new().kernel_size(4).check(None).is_err());
        assert_eq!(gaussian(3, 1e-6), [0.0, 1.0, 0.0]);
    }
}
