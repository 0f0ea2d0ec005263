//! A pair of arrays in memory: inputs and targets.

use std::ops::RangeBounds;

use super::fields::{Field, IntoFields};
use super::samples::{IntoSamples, Samples, split_index};
use super::source::{Source, checked_weights};
use super::{Column, Fingerprint};
use crate::error::{Error, Result};

/// Inputs `x` and targets `y` in memory, equally many. Cloning and slicing share the memory.
///
/// ```
/// use brasa::datasets::Dataset;
/// use ndarray::array;
/// let xor = Dataset::new(array![[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], vec![0, 1, 1, 0])?;
/// assert_eq!((xor.len(), xor.x().sample_shape()), (4, &[2][..]));
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// For models of several inputs or outputs there are several of each, in order or by name ([`IntoFields`]):
///
/// ```
/// use brasa::datasets::{Dataset, Samples};
/// let (image, size) = (Samples::new([2, 4], vec![0.0f32; 8])?, Samples::from(vec![1.0f32, 2.0]));
/// let data = Dataset::new([("image", image), ("size", size)], [("class", vec![0, 1])])?;
/// assert_eq!(data.len(), 2);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Dataset {
    /// At least one of each.
    x: Vec<Named>,
    y: Vec<Named>,
    /// Empty, one for all targets, or one for each.
    weights: Vec<Option<Samples>>,
}

/// A block of samples and the name of its input or output, if it has one.
type Named = (Option<String>, Samples);

impl Dataset {
    /// A pair of inputs and targets, or of lists of them.
    ///
    /// # Errors
    /// [`Error::Data`] if `x` and `y` differ in length or are empty, and for texts as targets; [`Error::Device`] for a
    /// tensor that cannot be read.
    pub fn new(x: impl IntoFields, y: impl IntoFields) -> Result<Self> {
        Self::of_fields(x.into_fields()?, y.into_fields()?)
    }

    /// As [`new`](Self::new).
    pub(super) fn of_fields(x: Vec<Named>, y: Vec<Named>) -> Result<Self> {
        let Some((_, first)) = x.first() else { return Err(Error::data("x", "at least one input", "none")) };
        if y.is_empty() {
            return Err(Error::data("y", "at least one target", "none"));
        }
        let rest = x.iter().map(|field| ("x", field)).chain(y.iter().map(|field| ("y", field)));
        for (what, (name, samples)) in rest {
            if samples.len() != first.len() {
                let what = name.as_ref().map_or_else(|| what.to_owned(), |name| format!("{what}/{name}"));
                let received = format!("{} of shape {:?}", samples.len(), samples.shape());
                return Err(Error::data(what, format!("{} samples, as many as x has", first.len()), received));
            }
        }
        y.iter().try_for_each(|(_, samples)| samples.expect_numbers("y"))?;
        Ok(Self { x, y, weights: Vec::new() })
    }

    /// The same samples with a weight for each, or with a block of weights: one per step, one per pixel. They count in
    /// the loss and in `weighted_metrics`, in training, validation and evaluation alike, and for each of several
    /// outputs.
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
        Ok(Self { weights: vec![Some(weights)], ..self.clone() })
    }

    /// The same samples with separate weights for each target, in their order; `None` where all count 1.
    ///
    /// ```
    /// use brasa::datasets::{Dataset, Samples};
    /// let y = [Samples::from(vec![0, 1]), Samples::from(vec![0.5f32, 1.5])];
    /// let data = Dataset::new(vec![1.0f32, 2.0], y)?.with_sample_weights([None, Some(vec![1.0f32, 0.0])])?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] as [`with_sample_weight`](Self::with_sample_weight), and unless there is one entry per target.
    pub fn with_sample_weights<W: IntoSamples>(&self, weights: impl IntoIterator<Item = Option<W>>) -> Result<Self> {
        let checked = |weights: Option<W>| {
            weights.map(|weights| checked_weights(weights.into_samples()?, self.len())).transpose()
        };
        let weights: Vec<Option<Samples>> = weights.into_iter().map(checked).collect::<Result<_>>()?;
        if weights.len() != self.y.len() {
            return Err(Error::data(
                "sample_weight",
                format!("one for each of {} targets", self.y.len()),
                weights.len(),
            ));
        }
        Ok(Self { weights, ..self.clone() })
    }

    /// The sample weights, if any; those of the first of several targets.
    pub fn sample_weight(&self) -> Option<Samples> {
        self.weights.first().cloned().flatten()
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.x[0].1.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs, sharing their memory; the first where there are several.
    pub fn x(&self) -> Samples {
        self.x[0].1.clone()
    }

    /// The targets, sharing their memory; the first where there are several.
    pub fn y(&self) -> Samples {
        self.y[0].1.clone()
    }

    /// A range of the samples, sharing their memory.
    ///
    /// # Errors
    /// [`Error::Argument`] if the range reaches beyond the last sample.
    pub fn slice(&self, range: impl RangeBounds<usize> + Clone) -> Result<Self> {
        self.mapped(|samples| samples.slice(range.clone()))
    }

    /// The first `n` samples, or all if there are fewer.
    #[must_use]
    pub fn take(&self, n: usize) -> Self {
        let take = |(name, samples): &Named| (name.clone(), samples.take(n));
        Self {
            x: self.x.iter().map(take).collect(),
            y: self.y.iter().map(take).collect(),
            weights: self.weights.iter().map(|weights| weights.as_ref().map(|weights| weights.take(n))).collect(),
        }
    }

    fn mapped(&self, map: impl Fn(&Samples) -> Result<Samples>) -> Result<Self> {
        let all = |fields: &[Named]| {
            fields.iter().map(|(name, samples)| Ok((name.clone(), map(samples)?))).collect::<Result<Vec<_>>>()
        };
        let weights = self.weights.iter().map(|weights| weights.as_ref().map(&map).transpose());
        Ok(Self { x: all(&self.x)?, y: all(&self.y)?, weights: weights.collect::<Result<_>>()? })
    }

    /// One of the samples, in memory of its own.
    #[cfg(feature = "shards")]
    pub(super) fn copied(&self, index: usize) -> Result<Self> {
        self.mapped(|samples| samples.copied(index))
    }

    /// The samples of several with the same fields, one after another.
    #[cfg(feature = "shards")]
    pub(super) fn joined(parts: &[Self]) -> Result<Self> {
        let Some(first) = parts.first() else { return Err(Error::data("samples", "at least one block", "none")) };
        let blocks = |index: usize, fields: fn(&Self) -> &[Named]| {
            let blocks: Vec<&Samples> =
                parts.iter().filter_map(|part| fields(part).get(index)).map(|(_, samples)| samples).collect();
            Samples::joined(&blocks)
        };
        let named = |fields: fn(&Self) -> &[Named]| {
            let of_field = |(index, (name, _)): (usize, &Named)| Ok((name.clone(), blocks(index, fields)?));
            fields(first).iter().enumerate().map(of_field).collect::<Result<Vec<Named>>>()
        };
        let mut whole = Self::of_fields(named(|part| &part.x)?, named(|part| &part.y)?)?;
        for (index, weights) in first.weights.iter().enumerate() {
            let blocks: Vec<&Samples> = parts.iter().filter_map(|part| part.weights.get(index)?.as_ref()).collect();
            whole.weights.push(weights.as_ref().map(|_| Samples::joined(&blocks)).transpose()?);
        }
        Ok(whole)
    }

    /// The names and shapes of inputs, targets and weights, for comparing and for messages.
    #[cfg(feature = "shards")]
    pub(super) fn layout(&self) -> String {
        let field = |(name, samples): &Named| {
            let name = name.as_ref().map_or_else(String::new, |name| format!("{name} "));
            let texts = if samples.is_text() { " of texts" } else { "" };
            format!("{name}{:?}{texts}", samples.sample_shape())
        };
        let all = |fields: &[Named]| fields.iter().map(field).collect::<Vec<_>>().join(", ");
        let weights = match &self.weights[..] {
            [] => String::new(),
            weights => format!(
                ", weights {:?}",
                weights.iter().map(|weights| weights.as_ref().map(Samples::sample_shape)).collect::<Vec<_>>()
            ),
        };
        format!("inputs {}, targets {}{weights}", all(&self.x), all(&self.y))
    }

    /// The memory that the samples take.
    #[cfg(feature = "shards")]
    pub(super) fn bytes(&self) -> usize {
        let blocks = self.x.iter().chain(&self.y).map(|(_, samples)| samples);
        blocks.chain(self.weights.iter().flatten()).map(Samples::bytes).fold(0, usize::saturating_add)
    }

    /// The training samples, and the last fraction `validation_split` for validation, split as in Keras.
    ///
    /// # Errors
    /// Those of [`split_index`].
    pub fn split_at_fraction(&self, validation_split: f64) -> Result<(Self, Self)> {
        let index = split_index(self.len(), validation_split)?;
        Ok((self.slice(..index)?, self.slice(index..)?))
    }
}

/// The names and shapes of blocks of samples.
fn fields(blocks: &[Named]) -> Vec<Field> {
    blocks.iter().map(|(name, samples)| Field { name: name.clone(), shape: samples.sample_shape().to_vec() }).collect()
}

impl Source for Dataset {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn x_shape(&self) -> &[usize] {
        self.x[0].1.sample_shape()
    }

    fn y_shape(&self) -> &[usize] {
        self.y[0].1.sample_shape()
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        self.x[0].1.gather(indices, x)?;
        self.y[0].1.gather(indices, y)
    }

    fn weight_shape(&self) -> Option<&[usize]> {
        self.weights.first()?.as_ref().map(Samples::sample_shape)
    }

    fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
        if let Some(Some(own)) = self.weights.first() {
            return own.gather(indices, weights);
        }
        weights.fill(1.0);
        Ok(())
    }

    fn targets(&self) -> Option<Samples> {
        Some(self.y())
    }

    fn x_fields(&self) -> Vec<Field> {
        fields(&self.x)
    }

    fn y_fields(&self) -> Vec<Field> {
        fields(&self.y)
    }

    fn read_fields(&self, indices: &[usize], x: &mut [&mut [f32]], y: &mut [&mut [f32]]) -> Result<()> {
        let gather = |((_, samples), out): (&Named, &mut &mut [f32])| samples.gather(indices, out);
        self.x.iter().zip(x).try_for_each(gather)?;
        self.y.iter().zip(y).try_for_each(gather)
    }

    fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
        self.y.iter().zip(y).try_for_each(|((_, samples), out)| samples.gather(indices, out))?;
        self.x.iter().map(|(_, samples)| samples.gather_column(indices)).collect::<Result<_>>().map(Some)
    }

    fn weight_fields(&self) -> Vec<Option<Vec<usize>>> {
        let shape = |weights: &Option<Samples>| weights.as_ref().map(|weights| weights.sample_shape().to_vec());
        self.weights.iter().map(shape).collect()
    }

    fn read_weight_fields(&self, indices: &[usize], weights: &mut [&mut [f32]]) -> Result<()> {
        let own = self.weights.iter().zip(weights);
        own.filter_map(|(own, out)| Some((own.as_ref()?, out))).try_for_each(|(own, out)| own.gather(indices, out))
    }

    fn all_targets(&self) -> Option<Vec<Samples>> {
        Some(self.y.iter().map(|(_, samples)| samples.clone()).collect())
    }

    fn fingerprint(&self) -> Result<Option<u64>> {
        let mut sum = Fingerprint::new();
        for (name, samples) in self.x.iter().chain(&self.y) {
            name.iter().flat_map(|name| name.bytes()).for_each(|byte| sum.add(byte.into()));
            samples.add_to(&mut sum);
        }
        for weights in &self.weights {
            match weights {
                Some(weights) => weights.add_to(&mut sum),
                None => sum.add(0),
            }
        }
        Ok(Some(sum.finish()))
    }
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
        // 0.8 is inexact in binary: floor(5 · (1 − 0.8)) is 0 in Python too.
        assert!(matches!(split_index(5, 0.8), Err(Error::Data { .. })));
        assert_eq!(split_index(5, 0.2).unwrap(), 4);
    }
}
