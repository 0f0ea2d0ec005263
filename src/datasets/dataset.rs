//! A pair of arrays in memory: inputs and targets.

use std::ops::RangeBounds;

use super::Fingerprint;
use super::samples::{IntoSamples, Samples};
use super::source::{Source, checked_weights};
use crate::error::{Error, Result};

/// Inputs `x` and targets `y` in memory, as many of one as of the other. Cloning and slicing share the memory.
///
/// ```
/// use brasa::datasets::Dataset;
/// use ndarray::array;
/// let xor = Dataset::new(array![[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], vec![0, 1, 1, 0])?;
/// assert_eq!((xor.len(), xor.x().sample_shape()), (4, &[2][..]));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dataset {
    x: Samples,
    y: Samples,
    weights: Option<Samples>,
}

impl Dataset {
    /// A pair of inputs and targets.
    ///
    /// # Errors
    /// [`Error::Data`] if there are more of one than of the other; [`Error::Device`] for a tensor that cannot be read.
    pub fn new(x: impl IntoSamples, y: impl IntoSamples) -> Result<Self> {
        let (x, y) = (x.into_samples()?, y.into_samples()?);
        if x.len() != y.len() {
            let received = format!("{} of shape {:?}", y.len(), y.shape());
            return Err(Error::data("y", format!("{} samples, as many as x has", x.len()), received));
        }
        Ok(Self { x, y, weights: None })
    }

    /// The same samples with a weight for each, or with a block of weights: one a step, one a pixel. They count in the
    /// loss and in `weighted_metrics`, of training, validation and evaluation alike.
    ///
    /// ```
    /// use brasa::datasets::Dataset;
    /// let data = Dataset::new(vec![1.0f32, 2.0, 3.0], vec![0, 1, 0])?.with_sample_weight(vec![1.0f32, 0.5, 2.0])?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for another number of weights, or weights that are not finite.
    pub fn with_sample_weight(&self, weights: impl IntoSamples) -> Result<Self> {
        let weights = checked_weights(weights.into_samples()?, self.len())?;
        Ok(Self { weights: Some(weights), ..self.clone() })
    }

    /// The weights of the samples, if they have some.
    pub fn sample_weight(&self) -> Option<Samples> {
        self.weights.clone()
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.x.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs, sharing their memory.
    pub fn x(&self) -> Samples {
        self.x.clone()
    }

    /// The targets, sharing their memory.
    pub fn y(&self) -> Samples {
        self.y.clone()
    }

    /// A range of the samples, sharing their memory.
    ///
    /// # Errors
    /// [`Error::Argument`] if the range reaches beyond the last sample.
    pub fn slice(&self, range: impl RangeBounds<usize> + Clone) -> Result<Self> {
        let weights = self.weights.as_ref().map(|weights| weights.slice(range.clone())).transpose()?;
        Ok(Self { x: self.x.slice(range.clone())?, y: self.y.slice(range)?, weights })
    }

    /// The first `n` samples, or all if there are fewer.
    pub fn take(&self, n: usize) -> Self {
        Self { x: self.x.take(n), y: self.y.take(n), weights: self.weights.as_ref().map(|weights| weights.take(n)) }
    }

    /// The samples to train on, and the last fraction `validation_split` to validate with, as Keras parts them.
    ///
    /// # Errors
    /// Those of [`split_index`].
    pub fn split_at_fraction(&self, validation_split: f64) -> Result<(Self, Self)> {
        let index = split_index(self.len(), validation_split)?;
        Ok((self.slice(..index)?, self.slice(index..)?))
    }
}

impl Source for Dataset {
    fn len(&self) -> usize {
        self.x.len()
    }

    fn x_shape(&self) -> &[usize] {
        self.x.sample_shape()
    }

    fn y_shape(&self) -> &[usize] {
        self.y.sample_shape()
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        self.x.gather(indices, x)?;
        self.y.gather(indices, y)
    }

    fn weight_shape(&self) -> Option<&[usize]> {
        self.weights.as_ref().map(Samples::sample_shape)
    }

    fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
        if let Some(own) = &self.weights {
            return own.gather(indices, weights);
        }
        weights.fill(1.0);
        Ok(())
    }

    fn targets(&self) -> Option<Samples> {
        Some(self.y())
    }

    fn fingerprint(&self) -> Result<Option<u64>> {
        let mut sum = Fingerprint::new();
        self.x.add_to(&mut sum);
        self.y.add_to(&mut sum);
        if let Some(weights) = &self.weights {
            weights.add_to(&mut sum);
        }
        Ok(Some(sum.finish()))
    }
}

/// The index of the first validation sample: `floor(samples · (1 − validation_split))`, Keras's rule.
///
/// ```
/// use brasa::datasets::split_index;
/// assert_eq!(split_index(60_000, 0.1)?, 54_000);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] if the fraction is not between 0 and 1, [`Error::Data`] if either part would be empty.
pub fn split_index(samples: usize, validation_split: f64) -> Result<usize> {
    if !(validation_split > 0.0 && validation_split < 1.0) {
        return Err(Error::argument("validation_split", "a number between 0 and 1, both excluded", validation_split));
    }
    let index = (samples as f64 * (1.0 - validation_split)).floor() as usize;
    if index == 0 || index >= samples {
        let expected = format!("enough samples to split off a fraction of {validation_split}");
        return Err(Error::data("samples to train and validate with", expected, samples));
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_targets_as_inputs() {
        let error = Dataset::new(vec![1_u8, 2, 3], vec![1_u8]).unwrap_err().to_string();
        assert_eq!(error, "data: y: expected 3 samples, as many as x has, received 1 of shape [1]");
    }

    #[test]
    fn the_last_fraction_validates() {
        let data = Dataset::new((0..10).collect::<Vec<i32>>(), (0..10).collect::<Vec<i64>>()).unwrap();
        let (train, validation) = data.split_at_fraction(0.25).unwrap();
        assert_eq!(train.x().to_vec_f32(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(validation.y().to_vec_f32(), [7.0, 8.0, 9.0]);
        assert_eq!((data.take(3).len(), data.take(99).len()), (3, 10));
    }

    #[test]
    fn splits_that_keras_refuses_are_refused() {
        for split in [0.0, 1.0, -0.1, 1.5, f64::NAN] {
            assert!(matches!(split_index(10, split), Err(Error::Argument { .. })), "{split}");
        }
        assert!(matches!(split_index(1, 0.5), Err(Error::Data { .. })));
        assert!(matches!(split_index(0, 0.5), Err(Error::Data { .. })));
        assert!(matches!(split_index(10, 1e-17), Err(Error::Data { .. })));
        // 0.8 is not exact in binary: floor(5 · (1 − 0.8)) is 0 in Python too.
        assert!(matches!(split_index(5, 0.8), Err(Error::Data { .. })));
        assert_eq!(split_index(5, 0.2).unwrap(), 4);
    }
}
