//! The pooling layers.

mod average_pooling2d;
mod global_average_pooling2d;
mod max_pooling2d;

pub use average_pooling2d::AveragePooling2D;
pub use global_average_pooling2d::GlobalAveragePooling2D;
pub use max_pooling2d::MaxPooling2D;

use crate::error::Result;
use crate::ops::PoolGeometry;
use crate::shape::{DataFormat, Padding, Shape, Spatial, Window, count_windows};

/// What max and average pooling have in common: their windows.
struct Pool {
    pool_size: Spatial<2>,
    strides: Spatial<2>,
    padding: Padding,
    data_format: DataFormat,
}

impl Pool {
    fn window(&self, dimension: usize) -> Window {
        Window { size: self.pool_size.0[dimension], stride: self.strides.0[dimension], dilation: 1 }
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.pool_size.check_positive("pool_size")?;
        self.strides.check_positive("strides")?;
        input.expect_rank(4)?;
        let last = self.data_format.to_channels_last(input);
        let rows = count_windows("rows", last.sizes()[1], self.window(0), self.padding)?;
        let columns = count_windows("columns", last.sizes()[2], self.window(1), self.padding)?;
        let output = Shape::new([last.sizes()[0], rows, columns, last.sizes()[3]]);
        Ok(self.data_format.from_channels_last(&output))
    }

    fn geometry(&self, rows: usize, columns: usize) -> PoolGeometry {
        PoolGeometry {
            pool_size: self.pool_size.0,
            strides: self.strides.0,
            pads: [self.window(0).pads(rows, self.padding), self.window(1).pads(columns, self.padding)],
        }
    }
}
