//! Image augmentation: layers that change images during training.
//!
//! For given random numbers each layer is a function on the host: every backend gets the same bits. The random numbers
//! are drawn for each image from its own stream, and are the same when a run is repeated or resumed. At a model's inputs
//! these layers run in training on the threads that load batches, and the numbers are a function of seed, layer, pass and
//! sample. In inference the images are unchanged, except where a layer says otherwise.
//!
//! These layers have no gradient: they must precede the first trainable layer, otherwise training is refused.

mod aug_mix;
mod auto_contrast;
mod colour;
mod equalization;
mod factor;
#[cfg(test)]
mod goldens;
mod images;
mod pipeline;
mod policy;
mod projection;
mod rand_augment;
mod random_brightness;
mod random_color_degeneration;
mod random_color_jitter;
mod random_contrast;
mod random_crop;
mod random_elastic_transform;
mod random_erasing;
mod random_flip;
mod random_gaussian_blur;
mod random_grayscale;
mod random_hue;
mod random_invert;
mod random_perspective;
mod random_posterization;
mod random_rotation;
mod random_saturation;
mod random_sharpness;
mod random_shear;
mod random_translation;
mod random_zoom;
mod solarization;

pub use self::aug_mix::AugMix;
pub use self::auto_contrast::AutoContrast;
pub use self::equalization::Equalization;
pub use self::factor::{Factor, ValueRange};
pub use self::pipeline::Pipeline;
pub use self::projection::{FillMode, Sampling};
pub use self::rand_augment::RandAugment;
pub use self::random_brightness::RandomBrightness;
pub use self::random_color_degeneration::RandomColorDegeneration;
pub use self::random_color_jitter::RandomColorJitter;
pub use self::random_contrast::RandomContrast;
pub use self::random_crop::RandomCrop;
pub use self::random_elastic_transform::RandomElasticTransform;
pub use self::random_erasing::{Cover, RandomErasing};
pub use self::random_flip::{FlipMode, RandomFlip};
pub use self::random_gaussian_blur::RandomGaussianBlur;
pub use self::random_grayscale::RandomGrayscale;
pub use self::random_hue::RandomHue;
pub use self::random_invert::RandomInvert;
pub use self::random_perspective::RandomPerspective;
pub use self::random_posterization::{Bits, RandomPosterization};
pub use self::random_rotation::RandomRotation;
pub use self::random_saturation::RandomSaturation;
pub use self::random_sharpness::RandomSharpness;
pub use self::random_shear::{RandomShear, Slant};
pub use self::random_translation::RandomTranslation;
pub use self::random_zoom::RandomZoom;
pub use self::solarization::Solarization;

use rand::TryRng;

use self::images::{Images, Size};
use crate::error::{Error, Result};
use crate::layers::Streams;
use crate::ops::{self, Value};
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

/// A random transformation that is drawn for each image.
trait Augmentation {
    /// The random parameters of an image.
    type Draw: Sync;

    /// The number of copies of an image held by each thread during the transformation: of all images, if there are as
    /// many threads as images.
    const COPIES: usize = 0;

    /// Refuses invalid arguments and unsupported images; `channels` is their number of channels, if known.
    fn check(&self, channels: Option<usize>) -> Result<()>;

    /// Draws the parameters of each image of a batch, from its own stream.
    fn draw(&self, images: &Images, streams: &Streams) -> Vec<Self::Draw>;

    /// Transforms each image by its parameters.
    fn apply(&self, images: &mut Images, draws: &[Self::Draw]);
}

/// A transformation of a batch of images on the host: an [`Augmentation`], or several of them.
trait Change {
    /// As [`Augmentation::check`].
    fn check(&self, channels: Option<usize>) -> Result<()>;

    /// Draws parameters and transforms the images.
    fn change(&self, images: &mut Images, streams: &Streams);

    /// The number of copies of the images held at once besides input and output.
    fn copies(&self) -> usize {
        0
    }
}

impl<A: Augmentation> Change for A {
    fn check(&self, channels: Option<usize>) -> Result<()> {
        Augmentation::check(self, channels)
    }

    fn change(&self, images: &mut Images, streams: &Streams) {
        let draws = self.draw(images, streams);
        self.apply(images, &draws);
    }

    fn copies(&self) -> usize {
        A::COPIES
    }
}

/// Makes a layer for training mode from a [`Change`] with the arguments `seed` and `data_format`.
macro_rules! image_layer {
    ($layer:ident) => {
        impl $crate::layers::Layer for $layer {
            fn output_shape(&self, input: &$crate::Shape) -> $crate::Result<$crate::Shape> {
                let channels = $crate::layers::augmentation::channels(input, self.data_format)?;
                $crate::layers::augmentation::Change::check(self, channels)?;
                Ok(input.clone())
            }

            fn scratch(&self, input: &$crate::Shape, training: bool) -> $crate::Result<usize> {
                let copies = $crate::layers::augmentation::Change::copies(self);
                Ok($crate::layers::augmentation::scratch(input, training, copies))
            }

            fn onnx(&self, to: &mut $crate::layers::Exporting<'_>) -> $crate::Result<Vec<$crate::layers::Edge>> {
                Ok(vec![to.input()])
            }

            fn preparation(&self) -> $crate::layers::Preparation {
                $crate::layers::Preparation::Wanted
            }

            fn forward(
                &self,
                input: $crate::Value,
                call: &mut $crate::layers::Call<'_>,
            ) -> $crate::Result<$crate::Value> {
                if !call.training_mode() {
                    return Ok(input);
                }
                // The number of channels may not have been known earlier.
                let channels = $crate::layers::augmentation::channels_of(&input, self.data_format);
                $crate::layers::augmentation::Change::check(self, channels)?;
                let streams = call.streams(self.seed);
                $crate::layers::augmentation::on_host(input, self.data_format, |images| {
                    $crate::layers::augmentation::Change::change(self, images, &streams);
                })
            }
        }
    };
}
use image_layer;

/// The number of channels of a batch of images, if known.
fn channels(input: &Shape, format: DataFormat) -> Result<Option<usize>> {
    input.expect_rank(4)?;
    Ok(format.to_channels_last(input).sizes()[3])
}

/// The number of channels of actual images.
fn channels_of(images: &Value, format: DataFormat) -> Option<usize> {
    let sizes = images.sizes();
    let axis = if format == DataFormat::ChannelsFirst { 1 } else { sizes.len().checked_sub(1)? };
    sizes.get(axis).copied()
}

/// Refuses images without colours, except those of one channel, which are grey.
fn check_colours(channels: Option<usize>) -> Result<()> {
    match channels {
        Some(1 | 3) | None => Ok(()),
        Some(other) => Err(Error::shape("images of 3 channels, or of 1", format!("{other} channels"))),
    }
}

/// Refuses images without colours.
fn check_three(channels: Option<usize>) -> Result<()> {
    match channels {
        Some(3) | None => Ok(()),
        Some(other) => Err(Error::shape("images of 3 channels", format!("{other} channels"))),
    }
}

/// The images on the host, before and after, and the copies of them.
fn scratch(input: &Shape, training: bool, copies: usize) -> usize {
    if training { input.known_len().saturating_mul(copies.saturating_add(2)) } else { 0 }
}

/// An rng key for random numbers that are drawn later.
fn key(random: &mut Random) -> u64 {
    let Ok(key) = random.try_next_u64();
    key
}

/// Transforms a batch of images on the host.
fn on_host(input: Value, format: DataFormat, change: impl FnOnce(&mut Images)) -> Result<Value> {
    if input.is_tracked() {
        let what = "a gradient through an image augmentation layer";
        return Err(Error::unsupported(what, "augmentation before the first trainable layer"));
    }
    let device = input.device();
    let input = ops::to_channels_last(input, format);
    let sizes = input.sizes();
    let [_, rows, columns, channels] = sizes[..] else {
        return Err(Error::shape("images of three dimensions in a batch", format!("{sizes:?}")));
    };
    let mut images = Images::new(input.to_vec()?, Size { rows, columns, channels });
    change(&mut images);
    Ok(ops::from_channels_last(Value::from_vec(images.into_values(), &sizes, &device)?, format))
}
