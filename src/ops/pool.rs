//! Pooling.

use std::sync::Arc;

use burn::tensor::module;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};

use super::Value;
use super::buffers::buffer;
use super::conv_geometry::{flat, in_a_row, out_of_a_row};
use super::cpu::{Gradient, Kernel, recycle, run};
use crate::error::{Error, Result};
use crate::kernels::window::WindowGeometry;
use crate::kernels::{average_pool, pool as max_pool};
use crate::shape::check_count;

/// Geometry of pooling windows over a line, an image or a volume, of `N` spatial dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGeometry<const N: usize> {
    /// The size of the window.
    pub pool_size: [usize; N],
    /// Steps from window to window.
    pub strides: [usize; N],
    /// Padding before and after; its cells do not count.
    pub pads: [(usize, usize); N],
}

impl<const N: usize> PoolGeometry<N> {
    /// The geometry over an image, a line being one of a single row; `None` for a volume.
    pub(crate) fn flat(&self) -> Option<PoolGeometry<2>> {
        Some(PoolGeometry {
            pool_size: flat(self.pool_size, 1)?,
            strides: flat(self.strides, 1)?,
            pads: flat(self.pads, (0, 0))?,
        })
    }

    /// The geometry along `M` of the dimensions.
    fn along<const M: usize>(&self, first: usize) -> PoolGeometry<M> {
        PoolGeometry {
            pool_size: std::array::from_fn(|at| self.pool_size[first + at]),
            strides: std::array::from_fn(|at| self.strides[first + at]),
            pads: std::array::from_fn(|at| self.pads[first + at]),
        }
    }
}

impl PoolGeometry<2> {
    /// The window over a batch of images; `None` if not even one fits.
    pub(crate) fn window(&self, batch: usize, input: [usize; 2]) -> Option<WindowGeometry> {
        let count = |dimension: usize| {
            let (before, after) = self.pads[dimension];
            let length = input[dimension].checked_add(before)?.checked_add(after)?;
            self.pool_size[dimension].checked_sub(1)?;
            Some(length.checked_sub(self.pool_size[dimension])?.checked_div(self.strides[dimension])? + 1)
        };
        let output = [count(0)?, count(1)?];
        // Cells that are outside for every window do not count: a huge window is cut to the others.
        let inside = |dimension: usize| {
            let (size, pad) = (self.pool_size[dimension], self.pads[dimension].0);
            let way = (output[dimension] - 1).saturating_mul(self.strides[dimension]);
            let first = pad.saturating_sub(way).min(size.saturating_sub(1));
            let end = input[dimension].saturating_add(pad).clamp(first + 1, size.max(first + 1));
            (end - first, pad - first)
        };
        let ([rows, above], [columns, left]) = (<[usize; 2]>::from(inside(0)), <[usize; 2]>::from(inside(1)));
        let window = WindowGeometry {
            batch,
            input,
            output,
            size: [rows, columns],
            strides: self.strides,
            dilations: [1, 1],
            pad: [above, left],
        };
        Some(window.with_short_strides())
    }

    /// Refuses an input for which Burn would panic.
    fn check(&self, input: &Value) -> Result<()> {
        match self.over(input) {
            Some((window, channels)) => {
                // Burn makes a copy with the padding.
                let padded = |d: usize| {
                    let (before, after) = self.pads[d];
                    window.input[d].saturating_add(before).saturating_add(after)
                };
                check_count(&[window.batch, padded(0), padded(1), channels])?;
                check_count(&[window.batch, window.output[0], window.output[1], channels]).map(|_| ())
            }
            None => Err(Error::shape(format!("images for windows as {self:?}"), format!("{:?}", input.sizes()))),
        }
    }

    fn over(&self, input: &Value) -> Option<(WindowGeometry, usize)> {
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
/// [`Error::Shape`](crate::Error::Shape) for another rank, or images in which no window fits.
pub fn max_pool2d(input: Value, geometry: &PoolGeometry<2>) -> Result<Value> {
    if let Some((window, channels)) = geometry.over(&input)
        && let Some(output) = run(&MaxPool { window, channels }, [&input])
    {
        recycle(input);
        return Ok(output);
    }
    geometry.check(&input)?;
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
/// [`Error::Shape`](crate::Error::Shape) for another rank, or images in which no window fits.
pub fn average_pool2d(input: Value, geometry: &PoolGeometry<2>) -> Result<Value> {
    if let Some((window, channels)) = geometry.over(&input)
        && let Some(output) = run(&AveragePool { window, channels }, [&input])
    {
        recycle(input);
        return Ok(output);
    }
    geometry.check(&input)?;
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
struct MaxPool {
    window: WindowGeometry,
    channels: usize,
}

/// Positions of the maxima: in bytes where they fit.
#[derive(Clone, Debug)]
enum Positions {
    Bytes(Arc<Vec<u8>>),
    Words(Arc<Vec<u32>>),
}

impl Kernel<1> for MaxPool {
    type Saved = Positions;
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        vec![self.window.batch, self.window.output[0], self.window.output[1], self.channels]
    }

    fn forward(&self, [x]: [&[f32]; 1], output: &mut [f32], keep: bool) -> Positions {
        let count = if keep { output.len() } else { 0 };
        if self.window.cells() <= 255 {
            let mut positions = vec![0u8; count];
            max_pool::forward(&self.window, self.channels, x, output, &mut positions);
            Positions::Bytes(Arc::new(positions))
        } else {
            let mut positions = vec![0u32; count];
            max_pool::forward(&self.window, self.channels, x, output, &mut positions);
            Positions::Words(Arc::new(positions))
        }
    }

    fn backward(
        &self,
        [x]: [&[f32]; 1],
        _: &[f32],
        positions: &Positions,
        gradient: &mut Gradient<'_>,
        [wanted]: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        [wanted.then(|| {
            let mut dx = buffer(x.len());
            match positions {
                Positions::Bytes(positions) => {
                    max_pool::backward(&self.window, self.channels, gradient, positions.as_slice(), &mut dx);
                }
                Positions::Words(positions) => {
                    max_pool::backward(&self.window, self.channels, gradient, positions.as_slice(), &mut dx);
                }
            }
            dx
        })]
    }
}

#[derive(Clone, Debug)]
struct AveragePool {
    window: WindowGeometry,
    channels: usize,
}

impl Kernel<1> for AveragePool {
    type Saved = ();
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
        gradient: &mut Gradient<'_>,
        [wanted]: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        [wanted.then(|| {
            let mut dx = buffer(x.len());
            average_pool::backward(&self.window, self.channels, gradient, &mut dx);
            dx
        })]
    }
}
/// The reduction of a pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PoolKind {
    /// Its largest value.
    Max,
    /// The mean of its cells inside the input.
    Average,
}

impl PoolKind {
    fn pool2d(self, input: Value, geometry: &PoolGeometry<2>) -> Result<Value> {
        match self {
            Self::Max => max_pool2d(input, geometry),
            Self::Average => average_pool2d(input, geometry),
        }
    }

    /// The largest or mean value along `axis`, which is kept with size 1.
    pub(crate) fn reduce(self, value: Value, axis: usize) -> Value {
        match self {
            Self::Max => value.max_axis(axis),
            Self::Average => value.mean_axis(axis),
        }
    }
}

/// Pooling along one to three spatial dimensions.
///
/// A window is the product of its sides, and so is its part inside the input: pooling one dimension after the other is
/// equivalent.
///
/// # Errors
/// [`Error::Shape`] for ranks that do not fit the window.
pub(crate) fn pool<const N: usize>(input: Value, kind: PoolKind, geometry: &PoolGeometry<N>) -> Result<Value> {
    match geometry.flat() {
        Some(flat) if N == 1 => kind.pool2d(in_a_row(input)?, &flat).and_then(out_of_a_row),
        Some(flat) => kind.pool2d(input, &flat),
        None if N == 3 => {
            let [batch, depth, rows, columns, channels] = input.tensor_sizes::<5>()?;
            let images = input.reshape(&[batch * depth, rows, columns, channels])?;
            let images = pool(images, kind, &geometry.along::<2>(1))?;
            let [_, rows, columns, _] = images.tensor_sizes::<4>()?;
            let lines = images.reshape(&[batch, depth, rows * columns * channels])?;
            let lines = pool(lines, kind, &geometry.along::<1>(0))?;
            let [_, depth, _] = lines.tensor_sizes::<3>()?;
            lines.reshape(&[batch, depth, rows, columns, channels])
        }
        None => Err(Error::shape("one to three spatial dimensions", N)),
    }
}

/// The largest or mean value of each channel over all of `space` dimensions, which are kept with size 1.
///
/// # Shapes
/// (batch, …space, channels) → (batch, 1, …, channels).
///
/// # Errors
/// [`Error::Shape`] never for a value with those dimensions.
pub(crate) fn global_pool(value: Value, kind: PoolKind, space: usize) -> Result<Value> {
    let sizes = value.sizes();
    let cells = sizes[1..=space].iter().product();
    // The kernel sees all cells as one window over one row of an image.
    let window = WindowGeometry::valid(sizes[0], [1, cells], [1, cells.max(1)], [1, 1]);
    let channels = sizes[space + 1];
    let row = value.clone().reshape(&[sizes[0], 1, cells, channels])?;
    let pooled = match kind {
        PoolKind::Max => run(&MaxPool { window, channels }, [&row]),
        PoolKind::Average => run(&AveragePool { window, channels }, [&row]),
    };
    drop(row);
    match pooled {
        Some(pooled) => {
            recycle(value);
            pooled.reshape(&[&[sizes[0]], vec![1; space].as_slice(), &[channels]].concat())
        }
        None => Ok((1..=space).fold(value, |value, axis| kind.reduce(value, axis))),
    }
}

/// Adaptive pooling of `axis`: `bins` parts of nearly equal length give one cell each; parts can overlap by a cell.
///
/// # Errors
/// [`Error::Shape`] never for at least one bin and cell.
pub(crate) fn pool_bins(value: Value, kind: PoolKind, axis: usize, bins: usize) -> Result<Value> {
    let length = value.sizes()[axis];
    let part = |(start, end): (usize, usize)| kind.reduce(value.clone().narrow(axis, start, end - start), axis);
    Value::concat(self::bins(length, bins).map(part).collect(), axis)
}

/// The start and the end of each bin of a dimension of this length.
pub(crate) fn bins(length: usize, bins: usize) -> impl Iterator<Item = (usize, usize)> {
    let at = move |bin: usize| bin as u128 * length as u128;
    (0..bins).map(move |bin| ((at(bin) / bins as u128) as usize, at(bin + 1).div_ceil(bins as u128) as usize))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::ops::cpu::portably;

    /// The output of such a window is a single value, but the padded image exceeds all memory.
    #[test]
    fn huge_padding_is_refused_by_the_portable_form_only() {
        let geometry = PoolGeometry {
            pool_size: [1 << 40, 1 << 40],
            strides: [1, 1],
            pads: [(1 << 39, (1 << 39) - 1), (1 << 39, (1 << 39) - 1)],
        };
        let image = || Value::full(&[1, 1, 1, 1], 3.0, &Device::flex()).unwrap();
        for pool in [max_pool2d, average_pool2d] {
            assert!(matches!(portably(|| pool(image(), &geometry)), Err(Error::Shape { .. })));
            assert_eq!(pool(image(), &geometry).unwrap().to_vec().unwrap(), [3.0]);
        }
    }
}
