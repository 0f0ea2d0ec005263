//! Geometric transformations of images, with interpolation and fill modes.

use super::images::Size;
use crate::config::choice;
use crate::error::{Error, Result};

choice! {
    /// How points beyond the edges of an image are filled.
    pub enum FillMode: "fill_mode" {
        /// Reflected, with the edge pixel repeated: `d c b a | a b c d | d c b a`.
        Reflect = "reflect",
        /// Periodic: `a b c d | a b c d | a b c d`.
        Wrap = "wrap",
        /// One value, `fill_value`.
        Constant = "constant",
        /// The edge pixel: `a a a a | a b c d | d d d d`.
        Nearest = "nearest",
        /// Reflected, without repeating the edge pixel: `d c b | a b c d | c b a`; for `RandomElasticTransform` only.
        Mirror = "mirror",
    }
}

choice! {
    /// The interpolation between pixels.
    pub enum Sampling: "interpolation" {
        /// Bilinear, from the four surrounding pixels.
        Bilinear = "bilinear",
        /// The nearest pixel.
        Nearest = "nearest",
    }
}

impl FillMode {
    /// Refuses unknown names, and `mirror`.
    pub(super) fn check_plain(&self) -> Result<()> {
        self.check()?;
        match self {
            Self::Mirror => Err(Error::unknown("fill_mode", self.name(), ["reflect", "wrap", "constant", "nearest"])),
            _ => Ok(()),
        }
    }
}

/// How an image is sampled between and beyond its pixels.
#[derive(Clone, Debug)]
pub(super) struct Surroundings<'a> {
    pub fill: &'a FillMode,
    pub value: f32,
    pub sampling: &'a Sampling,
}

/// The coefficients of a projective transformation from the output pixel in column `x` and row `y` to its source:
/// `((a0·x + a1·y + a2) / k, (b0·x + b1·y + b2) / k)` with `k = c0·x + c1·y + 1`.
pub(super) type Projection = [f32; 8];

impl Surroundings<'_> {
    /// The index of the pixel at `position` along an axis of `length`; `None` for the fill value.
    fn cell(&self, position: f32, length: usize) -> Option<usize> {
        let count = length as f32;
        if (0.0..count).contains(&position) {
            return Some(position as usize);
        }
        let last = length - 1;
        match self.fill {
            FillMode::Nearest if position < 0.0 => Some(0),
            FillMode::Nearest if position >= count => Some(last),
            FillMode::Wrap if position.is_finite() => Some((position.rem_euclid(count) as usize).min(last)),
            FillMode::Reflect if position.is_finite() => {
                let within = position.rem_euclid(2.0 * count) as usize;
                Some(if within < length { within } else { (2 * length).saturating_sub(within + 1).min(last) })
            }
            FillMode::Mirror if position.is_finite() && length > 1 => {
                let within = position.rem_euclid(2.0 * last as f32) as usize;
                Some(if within < length { within } else { (2 * last).saturating_sub(within).min(last) })
            }
            FillMode::Mirror if position.is_finite() => Some(0),
            _ => None,
        }
    }

    /// The channels of the pixel at a point; `None` for the fill value.
    fn at<'b>(&self, image: &'b [f32], size: Size, column: f32, row: f32) -> Option<&'b [f32]> {
        let (row, column) = (self.cell(row, size.rows)?, self.cell(column, size.columns)?);
        let start = size.at(row, column);
        image.get(start..start + size.channels)
    }

    /// Samples the image at a point (column, row), which can be between pixels and beyond the edges.
    fn sample(&self, image: &[f32], size: Size, [column, row]: [f32; 2], output: &mut [f32]) {
        output.fill(0.0);
        let mut add = |weight: f32, column: f32, row: f32| {
            let cell = self.at(image, size, column, row);
            for (channel, output) in output.iter_mut().enumerate() {
                *output += weight * cell.map_or(self.value, |cell| cell[channel]);
            }
        };
        if !column.is_finite() || !row.is_finite() {
            return output.fill(self.value);
        }
        if *self.sampling == Sampling::Nearest {
            return add(1.0, column.round(), row.round());
        }
        let (left, top) = (column.floor(), row.floor());
        let (right, below) = (column - left, row - top);
        for (row, part) in [(top, 1.0 - below), (top + 1.0, below)] {
            for (column, weight) in [(left, 1.0 - right), (left + 1.0, right)] {
                add(part * weight, column, row);
            }
        }
    }

    /// Warps an image: each pixel is sampled from the point `source(column, row)`.
    pub fn move_cells(&self, image: &mut [f32], size: Size, source: impl Fn(usize, usize) -> [f32; 2]) {
        let before = image.to_vec();
        for (index, cell) in image.chunks_exact_mut(size.channels).enumerate() {
            self.sample(&before, size, source(index % size.columns, index / size.columns), cell);
        }
    }

    /// Warps an image by a projection.
    pub fn project(&self, image: &mut [f32], size: Size, projection: &Projection) {
        let [a0, a1, a2, b0, b1, b2, c0, c1] = *projection;
        self.move_cells(image, size, |column, row| {
            let (x, y) = (column as f32, row as f32);
            let k = c0 * x + c1 * y + 1.0;
            [(a0 * x + a1 * y + a2) / k, (b0 * x + b1 * y + b2) / k]
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_edges() {
        let cells = |fill: FillMode, positions: [i32; 8]| {
            let around = Surroundings { fill: &fill, value: 0.0, sampling: &Sampling::Nearest };
            positions.map(|position| around.cell(position as f32, 3).map_or(9, |cell| cell))
        };
        let positions = [-7, -4, -3, -1, 3, 5, 6, 8];
        assert_eq!(cells(FillMode::Reflect, positions), [0, 2, 2, 0, 2, 0, 0, 2]);
        assert_eq!(cells(FillMode::Wrap, positions), [2, 2, 0, 2, 0, 2, 0, 2]);
        assert_eq!(cells(FillMode::Nearest, positions), [0, 0, 0, 0, 2, 2, 2, 2]);
        assert_eq!(cells(FillMode::Constant, positions), [9; 8]);
        assert_eq!(cells(FillMode::Mirror, positions), [1, 0, 1, 1, 1, 1, 2, 0]);
        for fill in [FillMode::Reflect, FillMode::Wrap, FillMode::Nearest, FillMode::Constant, FillMode::Mirror] {
            let around = Surroundings { fill: &fill, value: 4.0, sampling: &Sampling::Bilinear };
            for far in [1e30, -1e30, f32::MAX, f32::INFINITY, f32::NAN, -1e-30] {
                let mut cell = [0.0];
                let size = Size { rows: 2, columns: 2, channels: 1 };
                around.sample(&[1.0, 2.0, 3.0, 4.0], size, [far, 0.0], &mut cell);
                assert!((1.0..=4.0).contains(&cell[0]), "{far}: {}", cell[0]);
            }
        }
    }
}
