//! Batches one after another, without a known number.

use super::Dataset;
use crate::error::Result;

/// The batches of one pass.
pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<Dataset>> + Send + 'a>;

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
pub struct Stream<'a> {
    begin: Box<dyn Fn(usize) -> Batches<'a> + Send + Sync + 'a>,
}

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
        Self { begin: Box::new(move |pass| Box::new(begin(pass).into_iter())) }
    }

    /// The batches of a pass.
    pub(crate) fn begin(&self, pass: usize) -> Batches<'a> {
        (self.begin)(pass)
    }
}

impl std::fmt::Debug for Stream<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Stream")
    }
}
