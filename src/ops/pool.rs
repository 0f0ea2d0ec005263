//! Pooling.

use std::sync::Arc;

use burn::tensor::module;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use super::Value;
use super::cpu::{Kernel, run};
use crate::error::Result;
use crate::kernels::window::Window;
use crate::kernels::{average_pool, pool};

/// How pooling windows go over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry {
    /// Rows and columns of the window.
    pub pool_size: [usize; 2],
    /// Steps down and across.
    pub strides: [usize; 2],
    /// Cells outside the image (above, below) and (left, right); they do not count.
    pub pads: [(usize, usize); 2],
}

impl PoolGeometry {
    /// The window over a batch of images; `None` if not even one fits.
    pub(super) fn window(&self, batch: usize, input: [usize; 2]) -> Option<Window> {
        let count = |dimension: usize| {
            let (before, after) = self.pads[dimension];
            let room = (input[dimension] + before + after).checked_sub(self.pool_size[dimension])?;
            Some(room.checked_div(self.strides[dimension])? + 1)
        };
        Some(Window {
            batch,
            input,
            output: [count(0)?, count(1)?],
            size: self.pool_size,
            strides: self.strides,
            dilations: [1, 1],
            pad: [self.pads[0].0, self.pads[1].0],
        })
    }

    fn over(&self, input: &Value) -> Option<(Window, usize)> {
        let [batch, rows, columns, channels] = <[usize; 4]>::try_from(input.sizes()).ok()?;
        Some((self.window(batch, [rows, columns])?, channels))
    }
}

/// The largest value of each window.
///
/// # Shapes
/// (batch, rows, columns, channels) → (batch, new rows, new columns, channels).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for another rank.
pub fn max_pool2d(input: Value, geometry: &PoolGeometry) -> Result<Value> {
    if let Some((window, channels)) = geometry.over(&input)
        && let Some(output) = run(&Max { window, channels }, [&input])
    {
        return Ok(output);
    }
    let options = MaxPoolOptions {
        kernel_size: geometry.pool_size,
        stride: geometry.strides,
        padding: geometry.pads,
        dilation: [1, 1],
        ceil_mode: false,
    };
    let output = module::max_pool2d(input.tensor::<4>()?.permute([0, 3, 1, 2]), options);
    Ok(output.permute([0, 2, 3, 1]).into())
}

/// The mean of each window over the cells inside the image.
///
/// # Shapes
/// (batch, rows, columns, channels) → (batch, new rows, new columns, channels).
///
/// # Errors
/// [`Error::Shape`](crate::Error::Shape) for another rank.
pub fn average_pool2d(input: Value, geometry: &PoolGeometry) -> Result<Value> {
    if let Some((window, channels)) = geometry.over(&input)
        && let Some(output) = run(&Average { window, channels }, [&input])
    {
        return Ok(output);
    }
    let options = AvgPoolOptions {
        kernel_size: geometry.pool_size,
        stride: geometry.strides,
        padding: geometry.pads,
        count_include_pad: false,
        ceil_mode: false,
    };
    let output = module::avg_pool2d(input.tensor::<4>()?.permute([0, 3, 1, 2]), options);
    Ok(output.permute([0, 2, 3, 1]).into())
}

#[derive(Clone, Debug)]
struct Max {
    window: Window,
    channels: usize,
}

/// Where the maxima were: in bytes where they fit.
#[derive(Clone, Debug)]
enum Positions {
    Bytes(Arc<Vec<u8>>),
    Words(Arc<Vec<u32>>),
}

impl Kernel<1> for Max {
    type Kept = Positions;
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        vec![self.window.batch, self.window.output[0], self.window.output[1], self.channels]
    }

    fn forward(&self, [x]: [&[f32]; 1], output: &mut [f32], keep: bool) -> Positions {
        let count = if keep { output.len() } else { 0 };
        if self.window.cells() <= 255 {
            let mut positions = vec![0u8; count];
            pool::forward(&self.window, self.channels, x, output, &mut positions);
            Positions::Bytes(Arc::new(positions))
        } else {
            let mut positions = vec![0u32; count];
            pool::forward(&self.window, self.channels, x, output, &mut positions);
            Positions::Words(Arc::new(positions))
        }
    }

    fn backward(
        &self,
        [x]: [&[f32]; 1],
        _: &[f32],
        positions: &Positions,
        gradient: &[f32],
        [wanted]: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        [wanted.then(|| {
            let mut dx = vec![0.0; x.len()];
            match positions {
                Positions::Bytes(positions) => {
                    pool::backward(&self.window, self.channels, gradient, positions.as_slice(), &mut dx);
                }
                Positions::Words(positions) => {
                    pool::backward(&self.window, self.channels, gradient, positions.as_slice(), &mut dx);
                }
            }
            dx
        })]
    }
}

#[derive(Clone, Debug)]
struct Average {
    window: Window,
    channels: usize,
}

impl Kernel<1> for Average {
    type Kept = ();
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        vec![self.window.batch, self.window.output[0], self.window.output[1], self.channels]
    }

    fn forward(&self, [x]: [&[f32]; 1], output: &mut [f32], _: bool) {
        average_pool::forward(&self.window, self.channels, x, output);
    }

    fn backward(
        &self,
        [x]: [&[f32]; 1],
        _: &[f32],
        (): &(),
        gradient: &[f32],
        [wanted]: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        [wanted.then(|| {
            let mut dx = vec![0.0; x.len()];
            average_pool::backward(&self.window, self.channels, gradient, &mut dx);
            dx
        })]
    }
}
