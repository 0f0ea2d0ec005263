//! Windows along the spatial dimensions of a convolution or a pooling.

use crate::error::Result;
use crate::shape::{DataFormat, Padding, Shape, SlidingWindow, Spatial, count_windows};

/// The names of the spatial dimensions, by their number.
pub(super) const DIMENSIONS: [&[&str]; 3] = [&["steps"], &["rows", "columns"], &["depth", "rows", "columns"]];

/// The arguments that convolutions and poolings have in common: their windows along `N` spatial dimensions.
pub(super) struct Windows<const N: usize> {
    pub size: Spatial<N>,
    pub strides: Spatial<N>,
    pub dilation_rate: Spatial<N>,
    pub padding: Padding,
    pub data_format: DataFormat,
}

impl<const N: usize> Windows<N> {
    pub fn window(&self, dimension: usize) -> SlidingWindow {
        SlidingWindow {
            size: self.size.0[dimension],
            stride: self.strides.0[dimension],
            dilation: self.dilation_rate.0[dimension],
        }
    }

    /// The shape with the number of windows in place of the spatial sizes, and with `channels` channels, if they differ
    /// from those of the input.
    pub fn output_shape(&self, input: &Shape, channels: Option<usize>) -> Result<Shape> {
        let mut sizes = self.data_format.to_channels_last(input).sizes().to_vec();
        for (dimension, name) in DIMENSIONS[N - 1].iter().enumerate() {
            let size = &mut sizes[1 + dimension];
            *size = count_windows(name, *size, self.window(dimension), self.padding)?;
        }
        sizes[N + 1] = channels.or(sizes[N + 1]);
        Ok(self.data_format.from_channels_last(&Shape::new(sizes)))
    }

    /// The padding along each dimension of an input of these sizes (channels last).
    pub fn pads(&self, sizes: &[usize]) -> [(usize, usize); N] {
        std::array::from_fn(|dimension| self.window(dimension).pads(sizes[1 + dimension], self.padding))
    }
}
