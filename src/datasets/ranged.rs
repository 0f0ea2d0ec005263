//! Images in another range than the stored one.

use super::{PixelRange, Samples, Source};
use crate::error::Result;

/// The samples of a source of images with values from 0 to 1, mapped to another range.
///
/// ```
/// use brasa::datasets::{Dataset, PixelRange, Ranged, Source};
/// let data = Dataset::new(ndarray::array![[0.0f32, 0.2]], vec![0])?;
/// let mut x = [0.0; 2];
/// Ranged::new(data, PixelRange::ZeroTo255).read(&[0], &mut x, &mut [0.0])?;
/// assert_eq!(x, [0.0, 51.0]);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Ranged<S> {
    source: S,
    range: PixelRange,
}

impl<S: Source> Ranged<S> {
    /// The samples of `source`, which are from 0 to 1, in `range`.
    pub fn new(source: S, range: PixelRange) -> Self {
        Self { source, range }
    }
}

impl<S: Source> Source for Ranged<S> {
    fn len(&self) -> usize {
        self.source.len()
    }

    fn x_shape(&self) -> &[usize] {
        self.source.x_shape()
    }

    fn y_shape(&self) -> &[usize] {
        self.source.y_shape()
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        self.source.read(indices, x, y)?;
        x.iter_mut().for_each(|value| *value = self.range.of_share(*value));
        Ok(())
    }

    fn weight_shape(&self) -> Option<&[usize]> {
        self.source.weight_shape()
    }

    fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
        self.source.read_weights(indices, weights)
    }

    fn targets(&self) -> Option<Samples> {
        self.source.targets()
    }

    fn fingerprint(&self) -> Result<Option<u64>> {
        let Some(own) = self.source.fingerprint()? else { return Ok(None) };
        let mut sum = super::Fingerprint::new();
        sum.add(own);
        sum.add_bytes(self.range.name().as_bytes());
        Ok(Some(sum.finish()))
    }
}
