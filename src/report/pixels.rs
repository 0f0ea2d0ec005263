//! Arrays as images: inputs and kernels.

use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::{ImageFormat, Rgba, RgbaImage, imageops};

use super::cannot_draw;
use crate::error::Result;
use crate::layers::Conv2D;
use crate::model::Model;

/// Images with a longer side than this are reduced.
const LARGEST_SIDE: u32 = 256;

/// The most kernels shown.
const MOST_KERNELS: usize = 64;

/// An image as a data URI.
pub(super) fn data_uri(image: &RgbaImage) -> Result<String> {
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png).map_err(cannot_draw)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png.into_inner())))
}

/// Height, width and channels of an input that looks like an image; `(height, width)` has one channel.
pub(super) fn image_sizes(shape: &[usize]) -> Option<[usize; 3]> {
    match *shape {
        [height, width, channels @ (1 | 3 | 4)] if height > 1 && width > 1 => Some([height, width, channels]),
        [height, width] if height > 1 && width > 1 => Some([height, width, 1]),
        _ => None,
    }
}

/// An input as an image. Its values are from 0 to 1 or bytes; other ranges are stretched from minimum to maximum.
pub(super) fn input(values: &[f32], [height, width, channels]: [usize; 3]) -> Result<RgbaImage> {
    let (low, high) = range(values);
    let (low, high) = match () {
        () if low >= 0.0 && high <= 1.0 => (0.0, 1.0),
        () if low >= 0.0 && high <= 255.0 => (0.0, 255.0),
        () => (low, high),
    };
    let byte = |value: f32| (255.0 * (value - low) / (high - low).max(f32::MIN_POSITIVE)).round() as u8;
    let image = paint(height, width, |row, column| {
        let first = (row * width + column) * channels;
        let at = |channel: usize| byte(values.get(first + channel).copied().unwrap_or(low));
        match channels {
            1 => Rgba([at(0), at(0), at(0), 255]),
            3 => Rgba([at(0), at(1), at(2), 255]),
            _ => Rgba([at(0), at(1), at(2), at(3)]),
        }
    })?;
    let (width, height) = image.dimensions();
    if width.max(height) <= LARGEST_SIDE {
        return Ok(image);
    }
    let side = |own: u32| (u64::from(own) * u64::from(LARGEST_SIDE) / u64::from(width.max(height))).max(1) as u32;
    Ok(imageops::thumbnail(&image, side(width), side(height)))
}

/// The kernels of a model's first layer.
#[derive(Clone, Debug)]
pub(super) struct Kernels {
    /// The layer.
    pub layer: String,
    /// The kernels side by side, a pixel apart.
    pub image: RgbaImage,
    /// The number of kernels, and of those shown.
    pub count: usize,
    pub shown: usize,
    /// The colours of their input channels.
    pub channels: &'static str,
}

/// The kernels of the first layer with weights, if it is a [`Conv2D`].
pub(super) fn kernels(model: &Model) -> Result<Option<Kernels>> {
    let weights = model.layer_weights("a report")?;
    let first = model.layers().iter().zip(weights).find(|(_, weights)| !weights.is_empty());
    let Some((layer, weights)) = first.filter(|(layer, _)| layer.as_any().is::<Conv2D>()) else { return Ok(None) };
    let [height, width, depth, count] = weights[0].value.sizes()[..] else { return Ok(None) };
    let values = weights[0].value.to_vec()?;
    // 0 is grey, so that signs are visible; all kernels share one scale.
    let largest = values.iter().map(|value| value.abs()).filter(|value| value.is_finite()).fold(0.0, f32::max);
    let byte = |value: f32| (127.5 + 127.5 * value / largest.max(f32::MIN_POSITIVE)).round() as u8;
    let at = |row: usize, column: usize, channel: usize, kernel: usize| {
        values.get(((row * width + column) * depth + channel) * count + kernel).copied().unwrap_or(0.0)
    };
    let shown = count.min(MOST_KERNELS);
    let columns = (shown as f64).sqrt().mul_add(2.0, -0.5).round().clamp(1.0, 16.0) as usize;
    let rows = shown.div_ceil(columns);
    let image = paint(rows * (height + 1) - 1, columns.min(shown) * (width + 1) - 1, |row, column| {
        let kernel = row / (height + 1) * columns + column / (width + 1);
        let (row, column) = (row % (height + 1), column % (width + 1));
        if row == height || column == width || kernel >= shown {
            return Rgba([0, 0, 0, 0]);
        }
        if depth == 3 {
            let [red, green, blue] = [0, 1, 2].map(|channel| byte(at(row, column, channel, kernel)));
            return Rgba([red, green, blue, 255]);
        }
        let grey = byte((0..depth).map(|channel| at(row, column, channel, kernel)).sum::<f32>() / depth as f32);
        Rgba([grey, grey, grey, 255])
    })?;
    let channels = match depth {
        1 => "grey is 0, white positive, black negative",
        3 => "the three channels as red, green and blue; grey is 0",
        _ => "the mean of all input channels; grey is 0",
    };
    Ok(Some(Kernels { layer: layer.name().to_owned(), image, count, shown, channels }))
}

fn paint(height: usize, width: usize, pixel: impl Fn(usize, usize) -> Rgba<u8>) -> Result<RgbaImage> {
    let side = |side: usize| u32::try_from(side).map_err(cannot_draw);
    Ok(RgbaImage::from_fn(side(width)?, side(height)?, |x, y| pixel(y as usize, x as usize)))
}

fn range(values: &[f32]) -> (f32, f32) {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Sequential;
    use crate::prelude::*;

    #[test]
    fn inputs_of_every_range_use_all_brightnesses() {
        let grey = |values: &[f32]| -> Vec<u8> {
            input(values, [1, values.len(), 1]).unwrap().pixels().map(|pixel| pixel.0[0]).collect()
        };
        assert_eq!(grey(&[0.0, 0.5, 1.0]), [0, 128, 255]);
        assert_eq!(grey(&[0.0, 128.0, 255.0]), [0, 128, 255]);
        assert_eq!(grey(&[-1.0, 0.0, 3.0]), [0, 64, 255]);
        assert_eq!(grey(&[0.0, 0.0]), [0, 0]);
        assert_eq!(grey(&[f32::NAN, -1.0, 1.0])[1..], [0, 255]);
        let colour = input(&[1.0, 0.0, 0.5, 0.0, 1.0, 0.0], [1, 2, 3]).unwrap();
        assert_eq!(colour.get_pixel(0, 0).0, [255, 0, 128, 255]);
        assert_eq!(input(&vec![0.5; 600 * 300], [300, 600, 1]).unwrap().dimensions(), (256, 128));
    }

    #[test]
    fn shapes_that_are_images() {
        assert_eq!(image_sizes(&[28, 28, 1]), Some([28, 28, 1]));
        assert_eq!(image_sizes(&[28, 28]), Some([28, 28, 1]));
        assert_eq!((image_sizes(&[28, 28, 2]), image_sizes(&[784]), image_sizes(&[])), (None, None, None));
    }

    #[test]
    fn kernels_are_side_by_side() {
        let mut model = Sequential::new();
        model.add(Rescaling::new(1.0 / 255.0).input_shape((6, 6, 1))).unwrap();
        model.add(Conv2D::new(3, (2, 2))).unwrap();
        let mut weights = model.get_weights().unwrap();
        weights[0].fill(0.0);
        weights[0][[1, 0, 0, 2]] = 2.0;
        weights[0][[0, 1, 0, 0]] = -2.0;
        model.set_weights(&weights).unwrap();
        let kernels = kernels(&model).unwrap().unwrap();
        assert_eq!((kernels.count, kernels.shown, kernels.image.dimensions()), (3, 3, (8, 2)));
        assert_eq!(kernels.image.get_pixel(6, 1).0, [255; 4], "the third kernel's");
        assert_eq!(kernels.image.get_pixel(1, 0).0, [0, 0, 0, 255], "the first kernel's");
        assert_eq!(kernels.image.get_pixel(2, 0).0, [0; 4], "between two");

        let mut model = Sequential::new();
        model.add(Dense::new(3).input_shape(2)).unwrap();
        assert!(super::kernels(&model).unwrap().is_none());
    }
}
