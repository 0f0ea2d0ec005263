//! `RandomElasticTransform`: elastic deformations of images.

use super::factor::{Factor, ValueRange};
use super::images::{Images, Size};
use super::projection::{FillMode, Sampling, Surroundings};
use super::random_gaussian_blur::{blur, gaussian};
use super::{Augmentation, Streams, image_layer, key};
use crate::error::Result;
use crate::layers::BuiltIn;
use crate::random::{Random, random};
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Applies smooth random displacements to some of the images in training (Simard et al. 2003).
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomElasticTransform::new().scale((0.5, 1.0)).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomElasticTransform {
        /// The probability of changing an image, itself drawn per image: from a pair, or from 0 to a number.
        factor: Factor = Factor::One(1.0),
        /// The strength, from 0 to 1, drawn once per batch; a single number means from 0 to it.
        scale: Factor = Factor::One(1.0),
        /// The interpolation between pixels.
        interpolation: Sampling = Sampling::Bilinear,
        /// How points beyond the edges are filled.
        fill_mode: FillMode = FillMode::Reflect,
        /// The value beyond the edges with `fill_mode = "constant"`.
        fill_value: f32 = 0.0,
        /// The range of the images' values; results are clipped to it.
        value_range: ValueRange = ValueRange::BYTES,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomElasticTransform {
    /// Changes half of the images.
    pub fn new() -> Self {
        Self::default()
    }

    /// Displaces the pixels of an image by noise, one number per pixel, for columns and for rows.
    fn distort(&self, image: &mut [f32], size: Size, strength: f32, noise: [Vec<f32>; 2]) {
        let (rows, columns) = (size.rows as f32, size.columns as f32);
        let (most, sigma) = (rows.max(columns) * 0.1 * strength, rows.min(columns) * 0.05 * strength);
        // Kernel weights beyond three standard deviations are left out.
        let weights = gaussian((6.0 * sigma) as usize | 1, sigma);
        let plane = Size { channels: 1, ..size };
        let [right, down] = noise.map(|mut noise| {
            noise.iter_mut().for_each(|number| *number *= sigma);
            blur(&mut noise, plane, [&weights, &weights]);
            noise
        });
        let around = Surroundings { fill: &self.fill_mode, value: self.fill_value, sampling: &self.interpolation };
        around.move_cells(image, size, |column, row| {
            let cell = plane.at(row, column);
            [column as f32 + most * right[cell], row as f32 + most * down[cell]]
        });
    }
}

impl Augmentation for RandomElasticTransform {
    /// The strength and the rng key of the noise, if the image is changed.
    type Draw = Option<(f32, u64)>;

    /// Two planes of noise, at most as large as an image, and either a third one or the original image.
    const COPIES: usize = 3;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.value_range.check()?;
        self.fill_mode.check()?;
        self.interpolation.check()?;
        self.factor.check("factor", [0.0, 1.0])?;
        self.scale.check("scale", [0.0, 1.0])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<Option<(f32, u64)>> {
        let strength = self.scale.up_to().draw(&mut streams.batch());
        let one = |random: &mut Random| {
            let key = key(random);
            self.factor.happens(random).then_some((strength, key))
        };
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[Option<(f32, u64)>]) {
        let (size, most) = (images.size(), |factor: Factor| factor.up_to().most);
        if most(self.scale) == 0.0 || most(self.factor) == 0.0 {
            return;
        }
        images.each(draws, |image, draw| {
            // Without any strength there are no weights.
            if let Some((strength, key)) = draw.filter(|(strength, _)| *strength > 0.0) {
                let mut random = random(&[key]);
                let noise = [(); 2].map(|()| (0..size.rows * size.columns).map(|_| random.normal(0.0, 1.0)).collect());
                self.distort(image, size, strength, noise);
            }
            image.iter_mut().for_each(|number| *number = self.value_range.clip(*number));
        });
    }
}

image_layer!(RandomElasticTransform);

impl BuiltIn for RandomElasticTransform {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new().factor((1.0, 1.0)).value_range((-1.0, 1.0)), Shape::batch_of((5, 4, 3))),
            (Self::new().fill_mode("mirror").interpolation("nearest").scale((0.5, 1.0)), Shape::batch_of((9, 8, 1))),
            (Self::new().seed(1).data_format(DataFormat::ChannelsFirst), Shape::batch_of((3, 4, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn pixels_move_as_by_keras_for_the_same_noise() {
        let cases = goldens::cases::<RandomElasticTransform>();
        assert_eq!(cases.len(), 4);
        for case in cases {
            let (mut images, size) = (case.images(), case.images().size());
            let noise = goldens::numbers(&case.drawn["noise"]);
            let strength = goldens::numbers(&case.drawn["distortion_factor"])[0];
            let of_image: Vec<Vec<f32>> = noise.chunks(size.rows * size.columns).map(<[f32]>::to_vec).collect();
            images.each(&of_image, |image, noise| {
                // Keras's JAX backend displaces columns and rows by the same noise.
                case.layer.distort(image, size, strength, [noise.clone(), noise.clone()]);
                image.iter_mut().for_each(|number| *number = case.layer.value_range.clip(*number));
            });
            case.compare_numbers(images.values(), 1e-4);
        }
    }

    #[test]
    fn strength_is_drawn_per_batch_and_noise_per_image() {
        let images = goldens::empty(2000);
        let draws = RandomElasticTransform::new().draw(&images, &Streams::of(&[1]));
        let changed: Vec<(f32, u64)> = draws.iter().copied().flatten().collect();
        assert!((900..1100).contains(&changed.len()) && changed.iter().all(|draw| draw.0 == changed[0].0));
        assert_ne!(changed[0].1, changed[1].1);
        let none = RandomElasticTransform::new().factor(0.0).draw(&images, &Streams::of(&[1]));
        assert!(none.iter().all(Option::is_none));
    }
}
