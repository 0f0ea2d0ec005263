//! Class indices as one-hot rows.

use super::samples::count_of;
use super::{Column, Field, Source};
use crate::error::{Error, Result};

/// A source whose class indices are read as one-hot rows: 1 at the class, 0 elsewhere.
///
/// ```
/// use brasa::datasets::{Dataset, OneHot, Source};
/// let data = OneHot::new(Dataset::new(vec![0.5f32, 0.25], vec![2, 0])?, 3)?;
/// let (mut x, mut y) = ([0.0; 2], [0.0; 6]);
/// data.read(&[0, 1], &mut x, &mut y)?;
/// assert_eq!(y, [0., 0., 1., 1., 0., 0.]);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OneHot<S> {
    source: S,
    /// The number of classes.
    shape: [usize; 1],
}

impl<S: Source> OneHot<S> {
    /// The samples of `source`, whose targets are indices of `classes` classes, from 0.
    ///
    /// # Errors
    /// [`Error::Data`] for targets of more than one number per sample.
    pub fn new(source: S, classes: usize) -> Result<Self> {
        let targets = source.y_fields();
        if targets.len() != 1 || count_of(&targets[0].shape) != Some(1) {
            let received: Vec<&[usize]> = targets.iter().map(|field| &*field.shape).collect();
            return Err(Error::data("targets y", "one class number a sample", format!("{received:?}")));
        }
        Ok(Self { source, shape: [classes] })
    }

    fn write_rows(&self, labels: &[f32], y: &mut [f32]) -> Result<()> {
        let [classes] = self.shape;
        y.fill(0.0);
        for (row, label) in y.chunks_mut(classes.max(1)).zip(labels) {
            let class = Some(*label as usize).filter(|class| *class as f32 == *label);
            match class.and_then(|class| row.get_mut(class)) {
                Some(cell) => *cell = 1.0,
                None => {
                    let expected = format!("class numbers from 0 to {}", classes.saturating_sub(1));
                    return Err(Error::data("targets y", expected, label));
                }
            }
        }
        Ok(())
    }
}

impl<S: Source> Source for OneHot<S> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn x_shape(&self) -> &[usize] {
        self.source.x_shape()
    }

    fn y_shape(&self) -> &[usize] {
        &self.shape
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        let mut labels = vec![0.0; indices.len()];
        self.source.read(indices, x, &mut labels)?;
        self.write_rows(&labels, y)
    }

    fn x_fields(&self) -> Vec<Field> {
        self.source.x_fields()
    }

    fn y_fields(&self) -> Vec<Field> {
        let name = self.source.y_fields().swap_remove(0).name;
        vec![Field { name, shape: self.shape.to_vec() }]
    }

    fn read_fields(&self, indices: &[usize], x: &mut [&mut [f32]], y: &mut [&mut [f32]]) -> Result<()> {
        let mut labels = vec![0.0; indices.len()];
        self.source.read_fields(indices, x, &mut [&mut labels])?;
        y.iter_mut().try_for_each(|y| self.write_rows(&labels, y))
    }

    fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
        let mut labels = vec![0.0; indices.len()];
        let columns = self.source.read_columns(indices, &mut [&mut labels])?;
        if columns.is_some() {
            y.iter_mut().try_for_each(|y| self.write_rows(&labels, y))?;
        }
        Ok(columns)
    }

    fn weight_shape(&self) -> Option<&[usize]> {
        self.source.weight_shape()
    }

    fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
        self.source.read_weights(indices, weights)
    }

    fn weight_fields(&self) -> Vec<Option<Vec<usize>>> {
        self.source.weight_fields()
    }

    fn read_weight_fields(&self, indices: &[usize], weights: &mut [&mut [f32]]) -> Result<()> {
        self.source.read_weight_fields(indices, weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;

    #[test]
    fn class_indices_out_of_range_are_refused() {
        let of = |label: f32| OneHot::new(Dataset::new(vec![1.0f32], vec![label]).unwrap(), 3).unwrap();
        for label in [3.0, -1.0, 0.5, f32::NAN] {
            let error = of(label).read(&[0], &mut [0.0], &mut [0.0; 3]).unwrap_err().to_string();
            assert!(error.contains("class numbers from 0 to 2"), "{error}");
        }
        let rows = Dataset::new(vec![1.0f32], vec![1.0f32]).unwrap();
        assert!(OneHot::new(OneHot::new(rows, 2).unwrap(), 2).is_err());
    }

    /// A source whose claimed sample size exceeds any memory.
    struct Vast([usize; 2]);

    impl Source for Vast {
        fn len(&self) -> usize {
            1
        }

        fn x_shape(&self) -> &[usize] {
            &self.0
        }

        fn y_shape(&self) -> &[usize] {
            &self.0
        }

        fn read(&self, indices: &[usize], x: &mut [f32], _: &mut [f32]) -> Result<()> {
            crate::datasets::samples::check_request(indices, 1, &self.0, x.len())
        }
    }

    #[test]
    fn shapes_whose_product_overflows_are_refused() {
        let vast = Vast([1 << 40, 1 << 40]);
        assert!(vast.read(&[0], &mut [0.0], &mut []).is_err());
        assert!(OneHot::new(vast, 2).is_err());
    }
}
