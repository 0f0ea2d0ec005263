//! The trait of data that training reads.

use std::{ops::RangeBounds, sync::Arc};

use super::{
    Cells, Column, Field, Fingerprint,
    samples::{IntoSamples, Samples, bounds, check_request, split_index},
};
use crate::error::{Error, Result};
use crate::shape::check_count;

/// Samples that can be read by index, in any order and from several threads, as `fit` and `evaluate` require.
///
/// A [`Dataset`](super::Dataset) holds them in memory. Your own source can read them from anywhere:
///
/// ```
/// use brasa::{Result, datasets::Source};
///
/// /// Learns to double a number.
/// struct Doubles;
///
/// impl Source for Doubles {
///     fn len(&self) -> usize {
///         1000
///     }
///     fn x_shape(&self) -> &[usize] {
///         &[1]
///     }
///     fn y_shape(&self) -> &[usize] {
///         &[1]
///     }
///     fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
///         for (i, index) in indices.iter().enumerate() {
///             x[i] = *index as f32;
///             y[i] = 2.0 * x[i];
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Source: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one input, without the batch: `[28, 28, 1]` for MNIST.
    fn x_shape(&self) -> &[usize];

    /// The shape of one target, without the batch: `[]` for a label.
    fn y_shape(&self) -> &[usize];

    /// Writes the inputs and targets at `indices` one after another into `x` and `y`, which have exactly the needed
    /// size.
    ///
    /// # Errors
    /// Any error of reading the samples; an index out of range.
    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()>;

    /// The shape of one sample's weights, if the samples have weights: `[]` for one number per sample, `[steps]` for
    /// one per step, `[height, width]` for one per pixel. `None` by default.
    ///
    /// A sample of weight 2 counts twice in the loss and in `weighted_metrics`, one of weight 0 does not count.
    fn weight_shape(&self) -> Option<&[usize]> {
        None
    }

    /// Writes the weights of the samples at `indices` one after another into `weights`, which has exactly the needed
    /// size; only called if there is a [`weight_shape`](Self::weight_shape).
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
        let _ = indices;
        weights.fill(1.0);
        Ok(())
    }

    /// The targets, if they are in memory: they are then checked before training begins, not batch by batch.
    fn targets(&self) -> Option<Samples> {
        None
    }

    /// The inputs of a model that has several, by name or in order. By default one, of the shape
    /// [`x_shape`](Self::x_shape).
    ///
    /// A source of several inputs or targets also overrides [`y_fields`](Self::y_fields) and
    /// [`read_fields`](Self::read_fields); its `x_shape`, `y_shape` and `read` then refer to the first of each.
    ///
    /// ```
    /// use brasa::Result;
    /// use brasa::datasets::{Field, Source};
    ///
    /// /// Learns the sum and the product of two numbers.
    /// struct Pairs;
    ///
    /// impl Source for Pairs {
    ///     fn len(&self) -> usize {
    ///         100
    ///     }
    ///     fn x_shape(&self) -> &[usize] {
    ///         &[1]
    ///     }
    ///     fn y_shape(&self) -> &[usize] {
    ///         &[1]
    ///     }
    ///     fn x_fields(&self) -> Vec<Field> {
    ///         vec![Field::named("a", [1]), Field::named("b", [1])]
    ///     }
    ///     fn y_fields(&self) -> Vec<Field> {
    ///         vec![Field::named("sum", [1]), Field::named("product", [1])]
    ///     }
    ///     fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
    ///         let (mut b, mut product) = (vec![0.0; x.len()], vec![0.0; y.len()]);
    ///         self.read_fields(indices, &mut [x, &mut b], &mut [y, &mut product])
    ///     }
    ///     fn read_fields(&self, indices: &[usize], x: &mut [&mut [f32]], y: &mut [&mut [f32]]) -> Result<()> {
    ///         for (row, index) in indices.iter().enumerate() {
    ///             let (a, b) = ((index % 10) as f32, (index / 10) as f32);
    ///             (x[0][row], x[1][row]) = (a, b);
    ///             (y[0][row], y[1][row]) = (a + b, a * b);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// assert_eq!(Pairs.x_fields().len(), 2);
    /// ```
    fn x_fields(&self) -> Vec<Field> {
        vec![Field::new(self.x_shape())]
    }

    /// The targets of a model that has several outputs, as [`x_fields`](Self::x_fields).
    fn y_fields(&self) -> Vec<Field> {
        vec![Field::new(self.y_shape())]
    }

    /// Writes the samples at `indices` of each input and target into the buffers, as [`read`](Self::read) does.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_fields(&self, indices: &[usize], x: &mut [&mut [f32]], y: &mut [&mut [f32]]) -> Result<()> {
        match (x, y) {
            ([x], [y]) => self.read(indices, x, y),
            (x, y) => Err(Error::data("a source", "one input and one target", format!("{} and {}", x.len(), y.len()))),
        }
    }

    /// As [`read_fields`](Self::read_fields), with the inputs in their own type, texts and integers included, for
    /// models whose first layers work on the host. The targets are written to `y`. `None`, the default, if the inputs
    /// are floats, to be read as such.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
        let _ = (indices, y);
        Ok(None)
    }

    /// The shapes of one sample's weights, as [`weight_shape`](Self::weight_shape): empty, one for all targets, or one
    /// for each target, `None` for a target without weights.
    fn weight_fields(&self) -> Vec<Option<Vec<usize>>> {
        self.weight_shape().map(|shape| Some(shape.to_vec())).into_iter().collect()
    }

    /// Writes the weights of the samples at `indices` into a buffer for each of the
    /// [`weight_fields`](Self::weight_fields), which is empty for targets without weights.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_weight_fields(&self, indices: &[usize], weights: &mut [&mut [f32]]) -> Result<()> {
        weights.iter_mut().try_for_each(|weights| self.read_weights(indices, weights))
    }

    /// The targets of each output, if they are in memory, as [`targets`](Self::targets).
    fn all_targets(&self) -> Option<Vec<Samples>> {
        self.targets().map(|targets| vec![targets])
    }

    /// A checksum of the samples (see [`Fingerprint`](super::Fingerprint)): a run resumed from a checkpoint rejects
    /// data with another one. `None`, the default, is not compared.
    ///
    /// # Errors
    /// Any error of reading the samples.
    fn fingerprint(&self) -> Result<Option<u64>> {
        Ok(None)
    }
}

/// Inputs that can be read by index, without targets, as [`Model::predict_each`](crate::Model::predict_each) requires.
pub trait Rows: Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there is no sample.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shape of one sample.
    fn sample_shape(&self) -> &[usize];

    /// Writes the samples at `indices` one after another into `out`, which has exactly the needed size.
    ///
    /// # Errors
    /// Any error of reading the samples; an index out of range.
    fn gather(&self, indices: &[usize], out: &mut [f32]) -> Result<()>;

    /// The samples at `indices` in their own type, texts and integers included, for models whose first layers work on
    /// the host.
    ///
    /// # Errors
    /// As [`gather`](Self::gather).
    fn gather_column(&self, indices: &[usize]) -> Result<Column> {
        let shape = [&[indices.len()], self.sample_shape()].concat();
        let mut out = vec![0.0; shape.iter().product()];
        self.gather(indices, &mut out)?;
        Column::new(shape, Cells::Float(out))
    }
}

impl Rows for Samples {
    fn len(&self) -> usize {
        Self::len(self)
    }

    fn sample_shape(&self) -> &[usize] {
        Self::sample_shape(self)
    }

    fn gather(&self, indices: &[usize], out: &mut [f32]) -> Result<()> {
        Self::gather(self, indices, out)
    }

    fn gather_column(&self, indices: &[usize]) -> Result<Column> {
        Self::gather_column(self, indices)
    }
}

/// Implements [`Source`] for a pointer to a source.
macro_rules! pointer_is_source {
    ($($pointer:ty),*) => {$(
        impl<S: Source + ?Sized> Source for $pointer {
            fn len(&self) -> usize {
                (**self).len()
            }
            fn x_shape(&self) -> &[usize] {
                (**self).x_shape()
            }
            fn y_shape(&self) -> &[usize] {
                (**self).y_shape()
            }
            fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
                (**self).read(indices, x, y)
            }
            fn weight_shape(&self) -> Option<&[usize]> {
                (**self).weight_shape()
            }
            fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
                (**self).read_weights(indices, weights)
            }
            fn targets(&self) -> Option<Samples> {
                (**self).targets()
            }
            fn x_fields(&self) -> Vec<Field> {
                (**self).x_fields()
            }
            fn y_fields(&self) -> Vec<Field> {
                (**self).y_fields()
            }
            fn read_fields(&self, indices: &[usize], x: &mut [&mut [f32]], y: &mut [&mut [f32]]) -> Result<()> {
                (**self).read_fields(indices, x, y)
            }
            fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
                (**self).read_columns(indices, y)
            }
            fn weight_fields(&self) -> Vec<Option<Vec<usize>>> {
                (**self).weight_fields()
            }
            fn read_weight_fields(&self, indices: &[usize], weights: &mut [&mut [f32]]) -> Result<()> {
                (**self).read_weight_fields(indices, weights)
            }
            fn all_targets(&self) -> Option<Vec<Samples>> {
                (**self).all_targets()
            }
            fn fingerprint(&self) -> Result<Option<u64>> {
                (**self).fingerprint()
            }
        }
    )*};
}
pointer_is_source!(&S, Box<S>, Arc<S>);

/// A range of the samples of a source.
#[derive(Debug, Clone)]
pub struct Part<S> {
    source: S,
    start: usize,
    len: usize,
}

impl<S: Source> Part<S> {
    /// The samples of `source` in `range`.
    ///
    /// # Errors
    /// [`Error::Argument`](crate::Error::Argument) if the range reaches beyond the last sample.
    pub fn new(source: S, range: impl RangeBounds<usize>) -> Result<Self> {
        let (start, end) = bounds(range, source.len())?;
        Ok(Self { source, start, len: end - start })
    }

    /// The training samples, and the last fraction `validation_split` for validation, split as in Keras.
    ///
    /// # Errors
    /// Those of [`split_index`].
    pub fn split(source: S, validation_split: f64) -> Result<(Self, Self)>
    where
        S: Clone,
    {
        let index = split_index(source.len(), validation_split)?;
        Ok((Self::new(source.clone(), ..index)?, Self::new(source, index..)?))
    }

    /// The indices of these samples in the source.
    fn source_indices(&self, indices: &[usize]) -> Result<Vec<usize>> {
        match indices.iter().find(|index| **index >= self.len) {
            None => Ok(indices.iter().map(|index| self.start + index).collect()),
            Some(index) => Err(Error::data("an index", format!("below {}", self.len), index)),
        }
    }
}

impl<S: Source> Source for Part<S> {
    fn len(&self) -> usize {
        self.len
    }

    fn x_shape(&self) -> &[usize] {
        self.source.x_shape()
    }

    fn y_shape(&self) -> &[usize] {
        self.source.y_shape()
    }

    fn read(&self, indices: &[usize], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        check_request(indices, self.len, self.x_shape(), x.len())?;
        let indices: Vec<usize> = indices.iter().map(|index| self.start + index).collect();
        self.source.read(&indices, x, y)
    }

    fn weight_shape(&self) -> Option<&[usize]> {
        self.source.weight_shape()
    }

    fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
        let shape = self.weight_shape().unwrap_or_default();
        check_request(indices, self.len, shape, weights.len())?;
        let indices: Vec<usize> = indices.iter().map(|index| self.start + index).collect();
        self.source.read_weights(&indices, weights)
    }

    fn targets(&self) -> Option<Samples> {
        self.source.targets()?.slice(self.start..self.start + self.len).ok()
    }

    fn x_fields(&self) -> Vec<Field> {
        self.source.x_fields()
    }

    fn y_fields(&self) -> Vec<Field> {
        self.source.y_fields()
    }

    fn read_fields(&self, indices: &[usize], x: &mut [&mut [f32]], y: &mut [&mut [f32]]) -> Result<()> {
        self.source.read_fields(&self.source_indices(indices)?, x, y)
    }

    fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
        self.source.read_columns(&self.source_indices(indices)?, y)
    }

    fn weight_fields(&self) -> Vec<Option<Vec<usize>>> {
        self.source.weight_fields()
    }

    fn read_weight_fields(&self, indices: &[usize], weights: &mut [&mut [f32]]) -> Result<()> {
        self.source.read_weight_fields(&self.source_indices(indices)?, weights)
    }

    fn all_targets(&self) -> Option<Vec<Samples>> {
        let range = self.start..self.start + self.len;
        self.source.all_targets()?.iter().map(|targets| targets.slice(range.clone()).ok()).collect()
    }

    fn fingerprint(&self) -> Result<Option<u64>> {
        let Some(whole) = self.source.fingerprint()? else { return Ok(None) };
        let mut sum = Fingerprint::new();
        sum.add_all([whole, self.start as u64, self.len as u64]);
        Ok(Some(sum.finish()))
    }
}

/// The samples of a source with weights: see [`Source::weight_shape`].
///
/// ```
/// use brasa::datasets::{Dataset, Source, Weighted};
/// let data = Dataset::new(vec![1.0f32, 2.0, 3.0], vec![0, 1, 0])?;
/// let weighted = Weighted::new(&data, vec![1.0f32, 0.5, 2.0])?;
/// assert_eq!(weighted.weight_shape(), Some(&[][..]));
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Weighted<S> {
    source: S,
    weights: Samples,
}

impl<S: Source> Weighted<S> {
    /// The samples of `source` with a weight (or a block of weights) for each.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) if the number of weights differs, or for weights that are not finite;
    /// [`Error::Argument`](crate::Error::Argument) if the source already has weights.
    pub fn new(source: S, weights: impl IntoSamples) -> Result<Self> {
        let weights = checked_weights(weights.into_samples()?, source.len())?;
        if !source.weight_fields().is_empty() {
            return Err(Error::argument("sample_weight", "weights given once", "weights, and data with its own"));
        }
        Ok(Self { source, weights })
    }
}

impl<S: Source> Source for Weighted<S> {
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
        self.source.read(indices, x, y)
    }

    fn weight_shape(&self) -> Option<&[usize]> {
        Some(self.weights.sample_shape())
    }

    fn read_weights(&self, indices: &[usize], weights: &mut [f32]) -> Result<()> {
        self.weights.gather(indices, weights)
    }

    fn targets(&self) -> Option<Samples> {
        self.source.targets()
    }

    fn x_fields(&self) -> Vec<Field> {
        self.source.x_fields()
    }

    fn y_fields(&self) -> Vec<Field> {
        self.source.y_fields()
    }

    fn read_fields(&self, indices: &[usize], x: &mut [&mut [f32]], y: &mut [&mut [f32]]) -> Result<()> {
        self.source.read_fields(indices, x, y)
    }

    fn read_columns(&self, indices: &[usize], y: &mut [&mut [f32]]) -> Result<Option<Vec<Column>>> {
        self.source.read_columns(indices, y)
    }

    fn all_targets(&self) -> Option<Vec<Samples>> {
        self.source.all_targets()
    }

    fn fingerprint(&self) -> Result<Option<u64>> {
        let Some(samples) = self.source.fingerprint()? else { return Ok(None) };
        let mut sum = Fingerprint::new();
        sum.add(samples);
        self.weights.add_to(&mut sum);
        Ok(Some(sum.finish()))
    }
}

/// All inputs of some samples as they are.
///
/// # Errors
/// Those of reading.
#[cfg(feature = "recipes")]
pub(crate) fn read_all_columns<S: Source + ?Sized>(data: &S, indices: &[usize]) -> Result<Vec<Column>> {
    let shape_of = |sample: &[usize]| [&[indices.len()], sample].concat();
    let room = |fields: &[Field]| -> Result<Vec<Vec<f32>>> {
        fields.iter().map(|field| Ok(vec![0.0; check_count(&shape_of(&field.shape))?])).collect()
    };
    let fields = data.x_fields();
    let mut targets = room(&data.y_fields())?;
    let mut rows: Vec<&mut [f32]> = targets.iter_mut().map(Vec::as_mut_slice).collect();
    if let Some(columns) = data.read_columns(indices, &mut rows)? {
        return Ok(columns);
    }
    let mut x = room(&fields)?;
    data.read_fields(indices, &mut x.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(), &mut rows)?;
    let column = |(field, numbers): (&Field, Vec<f32>)| Column::new(shape_of(&field.shape), Cells::Float(numbers));
    fields.iter().zip(x).map(column).collect()
}

/// The inputs of some samples in their own type, texts and 64-bit integers included, and their targets, one row of
/// numbers per field; for sources with one input.
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for several inputs, and those of reading.
pub(crate) fn read_column<S: Source + ?Sized>(data: &S, indices: &[usize]) -> Result<(Column, Vec<Vec<f32>>)> {
    let shape_of = |sample: &[usize]| [&[indices.len()], sample].concat();
    let room = |sample: &[usize]| Ok(vec![0.0; check_count(&shape_of(sample))?]);
    let mut targets = data.y_fields().iter().map(|field| room(&field.shape)).collect::<Result<Vec<_>>>()?;
    let mut rows: Vec<&mut [f32]> = targets.iter_mut().map(Vec::as_mut_slice).collect();
    let inputs = data.x_fields().len();
    if inputs != 1 {
        return Err(Error::data("the data", "one input", inputs));
    }
    let column = match data.read_columns(indices, &mut rows)?.and_then(|mut columns| columns.pop()) {
        Some(column) => column,
        None => {
            let mut x = room(data.x_shape())?;
            data.read_fields(indices, &mut [&mut x], &mut rows)?;
            Column::new(shape_of(data.x_shape()), Cells::Float(x))?
        }
    };
    Ok((column, targets))
}

/// The inputs of some samples in their own type, texts and 64-bit integers included, and their targets in a row; for
/// sources with one input and one target.
///
/// ```
/// use brasa::datasets::{Cells, Dataset, read_samples};
/// let data = Dataset::new(vec![3, 16_777_217i64], vec![0, 1])?; // which no float32 is
/// let (x, y) = read_samples(&data, &[1])?;
/// assert_eq!((x.gather_column(&[0])?.cells(), y), (&Cells::Int(vec![16_777_217]), vec![1.0]));
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Errors
/// [`Error::Data`](crate::Error::Data) for several inputs, and those of reading.
pub fn read_samples<S: Source + ?Sized>(data: &S, indices: &[usize]) -> Result<(Samples, Vec<f32>)> {
    let (column, mut targets) = read_column(data, indices)?;
    Ok((Samples::of_column(column)?, targets.pop().unwrap_or_default()))
}

/// Rejects weights whose number differs from that of the samples, and those that are not finite.
pub(crate) fn checked_weights(weights: Samples, samples: usize) -> Result<Samples> {
    if weights.len() != samples {
        let received = format!("{} of shape {:?}", weights.len(), weights.shape());
        return Err(Error::data("sample_weight", format!("weights for {samples} samples"), received));
    }
    let numbers = weights.to_vec_f32();
    match numbers.iter().position(|number| !number.is_finite()) {
        None => Ok(weights),
        Some(index) => {
            let sample = index / (numbers.len() / samples.max(1)).max(1);
            let received = format!("{} for sample {sample}", numbers[index]);
            Err(Error::data("sample_weight", "finite numbers", received))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::Dataset;

    #[test]
    fn weights_stay_with_their_samples() {
        let data = Dataset::new(vec![1.0f32, 2.0, 3.0], vec![0, 1, 0]).unwrap();
        let weights = ndarray::array![[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]];
        let weighted = Weighted::new(&data, &weights).unwrap();
        let mut read = [0.0; 4];
        weighted.read_weights(&[2, 0], &mut read).unwrap();
        assert_eq!((weighted.weight_shape(), read), (Some(&[2][..]), [5.0, 6.0, 1.0, 2.0]));
        let part = Part::new(&weighted, 1..).unwrap();
        part.read_weights(&[1, 0], &mut read).unwrap();
        assert_eq!((part.weight_shape(), read), (Some(&[2][..]), [5.0, 6.0, 3.0, 4.0]));
        assert!(part.read_weights(&[2], &mut read[..2]).is_err(), "the source has it, the part has not");

        let refused = |weights: Vec<f32>| Weighted::new(&data, weights).unwrap_err().to_string();
        assert!(refused(vec![1.0, 2.0]).contains("3 samples"));
        assert!(refused(vec![1.0, f32::NAN, 2.0]).contains("NaN for sample 1"));
        assert!(Weighted::new(&weighted, vec![1.0f32; 3]).unwrap_err().to_string().contains("its own"));
        let owned = data.with_sample_weight(vec![1.0f32, 0.0, 2.0]).unwrap().slice(1..).unwrap();
        owned.read_weights(&[1], &mut read[..1]).unwrap();
        assert_eq!((read[0], data.weight_shape()), (2.0, None));
    }

    #[test]
    fn a_part_reads_its_own_samples_only() {
        let data = Dataset::new(vec![0_u8, 1, 2, 3, 4], vec![0_i32, 10, 20, 30, 40]).unwrap();
        let (train, validation) = Part::split(&data as &dyn Source, 0.4).unwrap();
        assert_eq!((train.len(), validation.len()), (3, 2));

        let (mut x, mut y) = ([0.0; 2], [0.0; 2]);
        validation.read(&[1, 0], &mut x, &mut y).unwrap();
        assert_eq!((x, y), ([4.0, 3.0], [40.0, 30.0]));
        assert!(train.read(&[3], &mut x[..1], &mut y[..1]).is_err(), "the source has it, the part has not");
        assert!(Part::new(&data, 2..6).is_err());
    }

    #[test]
    fn pointers_are_sources() {
        fn len(source: impl Source) -> usize {
            source.len()
        }
        let data = Dataset::new(vec![1_u8, 2], vec![0_u8, 1]).unwrap();
        assert_eq!((len(&data), len(Arc::new(data.clone()))), (2, 2));
        let boxed: Box<dyn Source> = Box::new(data);
        assert_eq!(len(boxed), 2);
    }
}
