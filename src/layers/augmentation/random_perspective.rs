//! `RandomPerspective`: perspective transformations of images.

use super::factor::{Bounds, Factor};
use super::images::{Images, Size};
use super::projection::{FillMode, Projection, Sampling, Surroundings};
use super::{Augmentation, Streams, image_layer};
use crate::error::{Error, Result};
use crate::layers::BuiltIn;
use crate::random::Random;
use crate::shape::{DataFormat, Shape};

crate::describe! {
    /// Distorts the perspective of some images, at random, in training, by moving their corners. As in Keras the top
    /// left corner stays, and the others move in proportion to their distance from it.
    ///
    /// # Shapes
    /// `(batch, rows, columns, channels)` → the same.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(RandomPerspective::new((1.0, 1.0)).scale(0.3).input_shape((32, 32, 3)))?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct RandomPerspective {
        /// The probability of changing an image, itself drawn per image: from a pair, or from 0 to a number.
        factor: Factor = Factor::One(1.0),
        /// The maximum displacement of corners, from 0 to 1: up to half of it, relative to their coordinates.
        scale: f32 = 1.0,
        /// The interpolation between pixels.
        interpolation: Sampling = Sampling::Bilinear,
        /// The value beyond the edges.
        fill_value: f32 = 0.0,
        /// The layer's seed, in place of the run's.
        seed: Option<u64> = None,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

impl RandomPerspective {
    /// Changes images with probabilities of up to `factor`.
    pub fn new(factor: impl Into<Factor>) -> Self {
        Self::default().factor(factor.into())
    }
}

/// Column and row of top left, top right, bottom left and bottom right.
type Corners = [[f32; 2]; 4];

fn corners(size: Size) -> Corners {
    let (right, bottom) = (size.columns as f32 - 1.0, size.rows as f32 - 1.0);
    [[0.0, 0.0], [right, 0.0], [0.0, bottom], [right, bottom]]
}

/// The projection from the corners `to` to the corners `from`; `None` if there is none, as for collinear corners.
fn projection(from: &Corners, to: &Corners) -> Option<Projection> {
    // Eight equations, with the right-hand side in the last column.
    let mut rows = [[0.0f64; 9]; 8];
    for corner in 0..4 {
        let ([x, y], [u, v]) = (from[corner].map(f64::from), to[corner].map(f64::from));
        rows[corner] = [u, v, 1.0, 0.0, 0.0, 0.0, -x * u, -x * v, x];
        rows[corner + 4] = [0.0, 0.0, 0.0, u, v, 1.0, -y * u, -y * v, y];
    }
    for column in 0..8 {
        let greatest = (column..8).max_by(|a, b| rows[*a][column].abs().total_cmp(&rows[*b][column].abs()))?;
        rows.swap(column, greatest);
        let pivot = rows[column];
        if pivot[column].abs() < 1e-9 {
            return None;
        }
        for (index, row) in rows.iter_mut().enumerate() {
            if index != column {
                let factor = row[column] / pivot[column];
                row.iter_mut().zip(pivot).for_each(|(number, of_pivot)| *number -= factor * of_pivot);
            }
        }
    }
    Some(std::array::from_fn(|index| (rows[index][8] / rows[index][index]) as f32))
}

impl Augmentation for RandomPerspective {
    /// The displaced corners, if the image is changed.
    type Draw = Option<Corners>;

    const COPIES: usize = 1;

    fn check(&self, _: Option<usize>) -> Result<()> {
        self.interpolation.check()?;
        if !(0.0..=1.0).contains(&self.scale) {
            return Err(Error::argument("scale", "a number from 0 to 1", self.scale));
        }
        self.factor.check("factor", [0.0, 1.0])
    }

    fn draw(&self, images: &Images, streams: &Streams) -> Vec<Option<Corners>> {
        let corners = corners(images.size());
        let part = Bounds { least: -0.5 * self.scale, most: 0.5 * self.scale };
        let one = |random: &mut Random| {
            let changed = self.factor.happens(random);
            let moved = corners.map(|corner| corner.map(|number| number + number * part.draw(random)));
            changed.then_some(moved)
        };
        streams.each(images.count(), one)
    }

    fn apply(&self, images: &mut Images, draws: &[Option<Corners>]) {
        let size = images.size();
        let around = Surroundings { fill: &FillMode::Constant, value: self.fill_value, sampling: &self.interpolation };
        images.each(draws, |image, moved| {
            // Images of one row or column have no corners to move.
            let projection = moved.as_ref().and_then(|moved| projection(&corners(size), moved));
            if let Some(projection) = projection {
                around.project(image, size, &projection);
            }
        });
    }
}

image_layer!(RandomPerspective);

impl BuiltIn for RandomPerspective {
    fn examples() -> Vec<(Self, Shape)> {
        vec![
            (Self::new((1.0, 1.0)), Shape::batch_of((5, 4, 2))),
            (Self::default().scale(0.2).interpolation("nearest").fill_value(0.5), Shape::batch_of((4, 4, 1))),
            (Self::new(0.9).seed(1).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 1, 5))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::goldens;
    use super::*;

    #[test]
    fn perspective_changes_as_by_keras() {
        goldens::check::<RandomPerspective>(3, |drawn| {
            let corner = |numbers: &[f32]| [numbers[0], numbers[1]];
            let corners = goldens::numbers(&drawn["end_points"]);
            let of_image = corners.chunks(8).map(|image| std::array::from_fn(|index| corner(&image[2 * index..])));
            let changed = goldens::booleans(&drawn["apply_perspective"]);
            changed.into_iter().zip(of_image).map(|(changed, corners)| changed.then_some(corners)).collect()
        });
    }

    #[test]
    fn corners_move_by_up_to_half_of_the_scale() {
        let images = goldens::empty(2000);
        let layer = RandomPerspective::new((1.0, 1.0)).scale(0.4);
        let draws: Vec<Corners> = layer.draw(&images, &Streams::of(&[1])).into_iter().map(Option::unwrap).collect();
        assert!(draws.iter().all(|corners| corners[0] == [0.0, 0.0] && corners[1][1] == 0.0));
        goldens::even(&draws.iter().map(|corners| corners[3][0]).collect::<Vec<_>>(), 4.0 * 0.8, 4.0 * 1.2);
        let some = RandomPerspective::default().draw(&images, &Streams::of(&[1]));
        assert!((900..1100).contains(&some.iter().flatten().count()));
        // Only the identity leaves the corners in place.
        let corners = corners(images.size());
        let same = projection(&corners, &corners).unwrap();
        assert!(same.iter().zip([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(projection(&[[0.0, 0.0]; 4], &[[0.0, 0.0]; 4]).is_none());
    }
}
