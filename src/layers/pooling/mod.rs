//! The pooling layers.

mod adaptive_pooling;
mod average_pooling;
mod average_pooling2d;
mod frozen;
mod global_average_pooling2d;
mod global_pooling;
mod max_pooling;
mod max_pooling2d;

pub use adaptive_pooling::{
    AdaptiveAveragePooling1D, AdaptiveAveragePooling2D, AdaptiveAveragePooling3D, AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D, AdaptiveMaxPooling3D,
};
pub use average_pooling::{AveragePooling1D, AveragePooling3D};
pub use average_pooling2d::AveragePooling2D;
pub use global_average_pooling2d::GlobalAveragePooling2D;
pub use global_pooling::{
    GlobalAveragePooling1D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D, GlobalMaxPooling3D,
};
pub use max_pooling::{MaxPooling1D, MaxPooling3D};
pub use max_pooling2d::MaxPooling2D;

use super::convolution::DIMENSIONS;
use crate::error::Result;
use crate::ops::{self, PoolGeometry, PoolKind, Value};
use crate::shape::{DataFormat, Padding, Shape, Spatial, Window, count_windows};

/// Shared by max and average pooling: their windows along `N` spatial dimensions.
struct Pool<const N: usize> {
    pool_size: Spatial<N>,
    strides: Spatial<N>,
    padding: Padding,
    data_format: DataFormat,
}

impl<const N: usize> Pool<N> {
    fn window(&self, dimension: usize) -> Window {
        Window { size: self.pool_size.0[dimension], stride: self.strides.0[dimension], dilation: 1 }
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.padding.refuse_causal()?;
        self.pool_size.check_positive("pool_size")?;
        self.strides.check_positive("strides")?;
        input.expect_rank(N + 2)?;
        let mut sizes = self.data_format.to_channels_last(input).sizes().to_vec();
        for (dimension, name) in DIMENSIONS[N - 1].iter().enumerate() {
            let size = &mut sizes[1 + dimension];
            *size = count_windows(name, *size, self.window(dimension), self.padding)?;
        }
        Ok(self.data_format.from_channels_last(&Shape::new(sizes)))
    }

    fn apply(&self, input: Value, kind: PoolKind) -> Result<Value> {
        let input = ops::to_channels_last(input, self.data_format);
        let sizes = input.sizes();
        let pads: [_; N] = std::array::from_fn(|i| self.window(i).pads(sizes[1 + i], self.padding));
        let output = ops::pool(input, kind, &self.pool_size.0, &self.strides.0, &pads)?;
        Ok(ops::from_channels_last(output, self.data_format))
    }
}

impl<const N: usize> Pool<N> {
    /// How the windows go over a line, as over an image of one row; `None` where there are more dimensions.
    fn of_line(&self, steps: usize) -> Option<PoolGeometry> {
        (N == 1).then(|| PoolGeometry {
            pool_size: [1, self.pool_size.0[0]],
            strides: [1, self.strides.0[0]],
            pads: [(0, 0), self.window(0).pads(steps, self.padding)],
        })
    }
}

impl Pool<2> {
    fn geometry(&self, rows: usize, columns: usize) -> PoolGeometry {
        PoolGeometry {
            pool_size: self.pool_size.0,
            strides: self.strides.0,
            pads: [self.window(0).pads(rows, self.padding), self.window(1).pads(columns, self.padding)],
        }
    }
}
