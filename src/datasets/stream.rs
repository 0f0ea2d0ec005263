//! Batches one after another, without a known number.

use super::Dataset;
use crate::error::Result;

/// The batches of one pass.
pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<Pending>> + Send + 'a>;

/// A batch that has been read but not decoded: threads decode several at a time, and none that is skipped.
pub(crate) struct Pending {
    len: usize,
    decode: Box<dyn FnOnce() -> Result<Dataset> + Send>,
}

impl Pending {
    /// A batch of `len` samples that `decode` returns.
    #[cfg(feature = "shards")]
    pub fn new(len: usize, decode: impl FnOnce() -> Result<Dataset> + Send + 'static) -> Self {
        Self { len, decode: Box::new(decode) }
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The samples.
    ///
    /// # Errors
    /// Those of decoding.
    pub fn decoded(self) -> Result<Dataset> {
        (self.decode)()
    }
}

impl From<Dataset> for Pending {
    fn from(data: Dataset) -> Self {
        Self { len: data.len(), decode: Box::new(move || Ok(data)) }
    }
}

/// Batches that are produced one after another, in an unknown number, like a Python generator for Keras's `fit`. Trained
/// on by [`Model::fit_stream`](crate::Model::fit_stream).
///
/// Each batch is a [`Dataset`] of any number of samples, with the same inputs and targets in all. They are produced on a
/// thread that loads batches, while the model computes.
///
/// ```
/// use brasa::datasets::Stream;
/// use brasa::prelude::*;
///
/// // Learns to double numbers. Nobody has counted the batches.
/// let stream = Stream::new(|_pass| {
///     (0..20).map(|batch| {
///         let x: Vec<f32> = (0..8).map(|index| (batch * 8 + index) as f32 / 160.0).collect();
///         let y: Vec<f32> = x.iter().map(|x| 2.0 * x).collect();
///         Dataset::new(x, y)
///     })
/// });
/// let mut model = Sequential::new();
/// model.add(Dense::new(1).input_shape(1))?.compile(Compile::new("adam", "mse"))?;
/// let history = model.fit_stream(&stream, Fit::new().epochs(2).verbose(Verbosity::Silent))?;
/// assert_eq!(history.epoch.len(), 2);
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// In [distributed](crate::distributed) training each rank has a stream of its own batches, and the batch of a step is
/// that of all ranks together: a stream made by [`new`](Self::new) has to produce other samples on each rank, one of
/// `Shards` does.
pub struct Stream<'a> {
    begin: Begin<'a>,
    fingerprint: Option<u64>,
}

/// Begins a pass, given its number, the rank and the number of ranks.
type Begin<'a> = Box<dyn Fn(usize, usize, usize) -> Batches<'a> + Send + Sync + 'a>;

impl<'a> Stream<'a> {
    /// A stream whose batches `begin` produces from the start, given the number of the pass from 0: at each epoch, or where
    /// epochs have a number of steps, whenever the batches have run out. A run is only resumed exactly if they are the same
    /// each time.
    ///
    /// A source that can be read once, such as a channel, has no batches in later passes, with which training ends.
    pub fn new<I>(begin: impl Fn(usize) -> I + Send + Sync + 'a) -> Self
    where
        I: IntoIterator<Item = Result<Dataset>>,
        I::IntoIter: Send + 'a,
    {
        let begin = move |pass, _, _| -> Batches<'a> {
            Box::new(begin(pass).into_iter().map(|batch: Result<Dataset>| batch.map(Pending::from)))
        };
        Self { begin: Box::new(begin), fingerprint: None }
    }

    /// A stream whose batches `begin` produces, given the number of the pass, the rank and the number of ranks. The
    /// fingerprint distinguishes it from streams of other batches.
    #[cfg(feature = "shards")]
    pub(crate) fn of_ranks(
        fingerprint: Option<u64>,
        begin: impl Fn(usize, usize, usize) -> Batches<'a> + Send + Sync + 'a,
    ) -> Self {
        Self { begin: Box::new(begin), fingerprint }
    }

    /// The batches of a pass that are this rank's.
    pub(crate) fn begin(&self, pass: usize, rank: usize, ranks: usize) -> Batches<'a> {
        (self.begin)(pass, rank, ranks)
    }

    /// A number that distinguishes the stream from those of other batches, if it has one.
    pub(crate) fn fingerprint(&self) -> Option<u64> {
        self.fingerprint
    }
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Stream")
    }
}
