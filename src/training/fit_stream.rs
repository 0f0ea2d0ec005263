//! `fit_stream`: training on batches whose number is unknown.

use super::batches::{default_workers, values_ahead};
use super::evaluate::{Evaluation, check_not_empty};
use super::fitted::Augmented;
use super::ranks::StreamTraits;
use super::run::Run;
use super::streaming::{Shapes, Streaming};
use super::{Fit, History};
use crate::datasets::{Batches, Source, Stream};
use crate::distributed::together;
use crate::error::{Error, Result};
use crate::model::Model;

impl Model {
    /// As [`fit`](Self::fit), on a [`Stream`]: batches in an unknown number, of the stream's own sizes and in its order.
    ///
    /// An epoch lasts until the batches run out, or for [`steps_per_epoch`](Fit::steps_per_epoch) batches; then the next
    /// continues the stream where the last has stopped. If the batches run out earlier, the epoch ends there, with a
    /// warning, and the next begins a new pass. The first epoch shows no total, as it counts the batches. A pass without any
    /// batch ends the training.
    ///
    /// With [`distributed`](Fit::distributed) each rank reads batches of its own, and the batch of a step is that of all
    /// ranks together. An epoch lasts until the batches of all ranks have run out; ranks whose batches run out earlier
    /// take part in the remaining steps without samples.
    ///
    /// ```no_run
    /// use brasa::datasets::Stream;
    /// use brasa::prelude::*;
    /// # fn main() -> brasa::Result<()> {
    /// # let mut model = Sequential::new();
    /// # let (sender, receiver) = std::sync::mpsc::channel::<brasa::Result<Dataset>>();
    /// // Batches that other threads send through a channel.
    /// let receiver = std::sync::Mutex::new(Some(receiver));
    /// let stream = Stream::new(|_| receiver.lock().unwrap().take().into_iter().flatten());
    /// model.fit_stream(&stream, Fit::new().epochs(10).steps_per_epoch(100))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`fit`](Self::fit); those of the stream; [`Error::Data`] for a batch of other shapes than the first's;
    /// [`Error::Argument`] for arguments that need samples by index: `batch_size`, `validation_split`, `sample_weight`.
    pub fn fit_stream(&mut self, stream: &Stream<'_>, fit: Fit<'_>) -> Result<History> {
        together(fit.peers.clone(), || self.fit_batches(stream, fit))
    }

    fn fit_batches(&mut self, stream: &Stream<'_>, fit: Fit<'_>) -> Result<History> {
        let given = [
            ("batch_size", fit.batch_size.is_some(), "none: a stream has its own batches"),
            (
                "validation_split",
                fit.validation_split > 0.0,
                "none for a stream; `validation_data` takes other samples",
            ),
            ("sample_weight", fit.sample_weight.is_some(), "none: the batches of a stream have their own weights"),
        ];
        if let Some((argument, _, expected)) = given.into_iter().find(|(_, is_given, _)| *is_given) {
            return Err(Error::argument(argument, expected, "one"));
        }
        let (rank, ranks) = fit.peers.as_ref().map_or((0, 1), |peers| (peers.rank(), peers.size()));
        let mut batches = stream.begin(0, rank, ranks);
        let first = match batches.next() {
            Some(first) => first?.decoded()?,
            None if ranks > 1 => return Err(Error::data("a stream", "at least one batch on each rank", "none")),
            None => return Err(Error::data("a stream", "at least one batch", "none")),
        };
        fit.check(first.len())?;
        if fit.class_weight.is_some() && !first.weight_fields().is_empty() {
            let received = "both, as the batches have weights of their own";
            return Err(Error::argument("class_weight", "either class_weight or sample weights", received));
        }
        let fitted = self.fit_shapes(&first, "fit_stream")?;
        self.check_batches(first.len(), first.len())?;
        fit.class_weight.as_ref().map_or(Ok(()), |weights| weights.check_outputs(&fitted))?;
        if let Some(validation) = fit.validation_data {
            let batch_size = self.default_batch_size();
            Evaluation::new(self, validation, batch_size)?.check(self)?;
            check_not_empty(validation.len())?;
            self.check_batches(validation.len(), batch_size)?;
        }
        // Before threads load several such batches.
        let augmented = Augmented::of(self, &fitted, fit.seed.unwrap_or(self.seed()))?;
        let workers = fit.workers.unwrap_or_else(default_workers);
        let ahead = values_ahead(first.len(), &fitted, workers, augmented.as_ref())?;
        self.admit_fed(&fitted.batch(first.len()), true, ahead)?;
        let begin = move |pass| -> Batches<'_> { stream.begin(pass, rank, ranks) };
        let current: Batches<'_> = Box::new(std::iter::once(Ok(first.clone().into())).chain(batches));
        let streaming = Streaming::new(begin, current, fit.steps_per_epoch);
        let traits = StreamTraits { shapes: Shapes::of(&first), fingerprint: stream.fingerprint() };
        Run::new(self, &first, fit, fitted, Some(&traits))?.of_stream(streaming, traits.shapes).run()
    }
}
