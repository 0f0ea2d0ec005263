//! `predict`: the model's outputs for inputs.

use std::sync::Arc;

use ndarray::ArrayD;

use super::evaluate::check_not_empty;
use super::hooks::Hooks;
use super::progress::{Progress, Verbosity};
use crate::callbacks::{Callback, Context, Params};
use crate::datasets::{Column, IntoSamples, Rows};
use crate::distributed::{Communicator, Turns, agree, together};
use crate::error::{Error, Result};
use crate::layers::Layer;
use crate::memory::check_room;
use crate::model::{Feed, Model, PredictedShapes};
use crate::ops;
use crate::shape::check_count;

/// The arguments of [`Model::predict_with`].
#[derive(Default)]
pub struct Predict<'a> {
    batch_size: Option<usize>,
    verbose: Option<Verbosity>,
    callbacks: Vec<Box<dyn Callback + 'a>>,
    peers: Option<Arc<dyn Communicator>>,
}

impl<'a> Predict<'a> {
    /// Batches of 32 as in Keras, or of the size that stateful layers need; without output.
    pub fn new() -> Self {
        Self::default()
    }

    /// The batch size (default 32, or that of stateful layers).
    #[must_use]
    pub fn batch_size(mut self, batch_size: usize) -> Self {
        self.batch_size = Some(batch_size);
        self
    }

    /// The output on stderr (default: none).
    #[must_use]
    pub fn verbose(mut self, verbose: Verbosity) -> Self {
        self.verbose = Some(verbose);
        self
    }

    /// Adds a callback, by value or by reference (`&mut callback`). It gets a copy of the model: changes to it are
    /// discarded after this prediction.
    #[must_use]
    pub fn callback(mut self, callback: impl Callback + 'a) -> Self {
        self.callbacks.push(Box::new(callback));
        self
    }

    /// Predicts together with other processes, which compute the batches in turn; see
    /// [`distributed`](crate::distributed). All ranks pass the same inputs and get all outputs, with the bits of one
    /// process. Callbacks see the batches of their own rank.
    ///
    /// ```
    /// use brasa::distributed::threads;
    /// use brasa::prelude::*;
    /// use brasa::training::Predict;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(1).input_shape(2))?;
    /// let x = ndarray::Array::<f32, _>::ones((5, 2));
    /// let alone = model.predict(&x)?;
    /// std::thread::scope(|scope| {
    ///     for rank in threads(2) {
    ///         let (model, x, alone) = (model.clone(), &x, &alone);
    ///         scope.spawn(move || {
    ///             let together = model.predict_with(x, Predict::new().batch_size(2).distributed(rank)).unwrap();
    ///             assert_eq!(together, *alone);
    ///         });
    ///     }
    /// });
    /// # Ok::<(), brasa::Error>(())
    /// ```
    #[must_use]
    pub fn distributed(mut self, communicator: Arc<dyn Communicator>) -> Self {
        self.peers = Some(communicator);
        self
    }
}

impl Model {
    /// The batch size if none is given.
    pub(crate) fn default_batch_size(&self) -> usize {
        self.batch_size().filter(|_| self.is_stateful()).unwrap_or(32)
    }

    /// Refuses samples that do not fill whole batches of the size that stateful layers need.
    pub(crate) fn check_batches(&self, samples: usize, batch_size: usize) -> Result<()> {
        match self.batch_size().filter(|_| self.is_stateful()) {
            Some(fixed) if batch_size != fixed || !samples.is_multiple_of(fixed) => {
                let expected = format!("batches of {fixed} samples, the fixed size of a model with stateful layers");
                Err(Error::data("the data", expected, format!("{samples} samples in batches of {batch_size}")))
            }
            _ => Ok(()),
        }
    }

    /// The outputs for inputs whose first axis is the batch.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).activation("softmax").input_shape(3))?;
    /// let x = ndarray::array![[0.0f32, 1.0, 2.0], [3.0, 4.0, 5.0]];
    /// let probabilities = model.predict(&x)?;
    /// assert_eq!(probabilities.shape(), [2, 2]);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for inputs that do not fit, [`Error::State`] for a model without layers.
    pub fn predict(&self, x: impl IntoSamples) -> Result<ArrayD<f32>> {
        self.predict_with(x, Predict::new())
    }

    /// As [`predict`](Self::predict), with arguments.
    ///
    /// # Errors
    /// As [`predict`](Self::predict).
    pub fn predict_with(&self, x: impl IntoSamples, predict: Predict<'_>) -> Result<ArrayD<f32>> {
        let x = x.into_samples()?;
        let mut values = Vec::new();
        let sizes = self.predicted_each(&x, predict, x.len(), |sizes, outputs| {
            if values.is_empty() {
                let count = sizes.iter().fold(1, |count: usize, size| count.saturating_mul(*size));
                check_room("the outputs", count)?;
                values.reserve_exact(count);
            }
            values.extend_from_slice(outputs);
            Ok(())
        })?;
        ArrayD::from_shape_vec(sizes.clone(), values).map_err(|error| Error::shape(format!("{sizes:?}"), error))
    }

    /// The shapes of one sample for the model and of its output (unless it depends on the data), and the batch size.
    /// Checks that a batch fits in memory together with the outputs of `kept` samples.
    fn prediction_sizes(
        &self,
        x: &dyn Rows,
        batch_size: Option<usize>,
        kept: usize,
    ) -> Result<(Vec<usize>, Option<Vec<usize>>, usize)> {
        let batch_size = batch_size.unwrap_or_else(|| self.default_batch_size());
        if batch_size == 0 {
            return Err(Error::argument("batch_size", "an integer above 0", 0));
        }
        check_not_empty(x.len())?;
        self.check_batches(x.len(), batch_size)?;
        let sample = self.accept_sample(x.sample_shape())?;
        let shapes = self.predicted_shapes(&sample)?;
        let PredictedShapes { output, differs, fed } = &*shapes;
        let (Some(fed), Some(output)) = (fed, output) else { return Ok((sample, output.clone(), batch_size)) };
        let rows = x.len().min(batch_size);
        let results = kept.saturating_mul(check_count(output)?);
        let fed: Vec<Vec<usize>> = fed.iter().map(|sizes| [&[rows], sizes.as_slice()].concat()).collect();
        self.admit_all(&fed, false, results)?;
        // Otherwise the first batch tells.
        Ok((sample, Some(output.clone()).filter(|_| !differs), batch_size))
    }

    /// As [`predict_with`](Self::predict_with), batch by batch, for inputs or outputs larger than memory: `each`
    /// receives the shape of all outputs and the values of each batch, in order. Returns the shape of all outputs.
    ///
    /// ```
    /// use brasa::datasets::Samples;
    /// use brasa::prelude::*;
    /// use brasa::training::Predict;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).input_shape(3))?;
    /// let x = Samples::new([5, 3], vec![0.0f32; 15])?;
    /// let mut counts = Vec::new();
    /// let shape = model.predict_each(&x, Predict::new().batch_size(2), |_, outputs| {
    ///     counts.push(outputs.len());
    ///     Ok(())
    /// })?;
    /// assert_eq!((shape, counts), (vec![5, 2], vec![4, 4, 2]));
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`predict`](Self::predict), and the errors of `each`.
    pub fn predict_each(
        &self,
        x: &dyn Rows,
        predict: Predict<'_>,
        each: impl FnMut(&[usize], &[f32]) -> Result<()>,
    ) -> Result<Vec<usize>> {
        self.predicted_each(x, predict, 0, each)
    }

    /// As [`predict_each`](Self::predict_each), for a caller that keeps the outputs of `kept` samples.
    fn predicted_each(
        &self,
        x: &dyn Rows,
        predict: Predict<'_>,
        kept: usize,
        each: impl FnMut(&[usize], &[f32]) -> Result<()>,
    ) -> Result<Vec<usize>> {
        together(predict.peers.clone(), || self.predicted_by_rank(x, predict, kept, each))
    }

    fn predicted_by_rank(
        &self,
        x: &dyn Rows,
        predict: Predict<'_>,
        kept: usize,
        mut each: impl FnMut(&[usize], &[f32]) -> Result<()>,
    ) -> Result<Vec<usize>> {
        let (sample, output, batch_size) = self.prediction_sizes(x, predict.batch_size, kept)?;
        let is_first = predict.peers.as_ref().is_none_or(|peers| peers.rank() == 0);
        let mut turns = None;
        if let Some(peers) = predict.peers.as_deref() {
            if self.is_stateful() {
                return Err(Error::unsupported(
                    "distributed prediction of stateful layers",
                    "layers without `stateful`",
                ));
            }
            if output.is_none() {
                let what = "distributed prediction of outputs whose sizes depend on the data";
                return Err(Error::unsupported(what, "outputs of sizes that the model knows"));
            }
            agree(peers, "the number of samples or the batch size", &[x.len() as f64, batch_size as f64])?;
            turns = Some(Turns::new(peers));
        }
        let params = Params { batch_size, steps: x.len().div_ceil(batch_size), is_first, ..Params::default() };
        let mut hooks = Hooks::new(predict.callbacks, params)?;
        if !is_first {
            hooks.without_writers();
        }
        // Callbacks can change the model, which is borrowed immutably here: they get a copy.
        let mut copy = (!hooks.is_empty()).then(|| self.clone());
        if let Some(model) = &mut copy {
            hooks.call(model, None, None, |callback, context| callback.on_predict_begin(context))?;
        }
        let verbosity = predict.verbose.filter(|_| is_first).unwrap_or(Verbosity::Silent);
        let mut progress = if is_first { hooks.progress(verbosity) } else { Progress::new(verbosity) };
        progress.begin(Some(x.len().div_ceil(batch_size)));
        let mut sizes = output.map(|output| [&[x.len()], output.as_slice()].concat());
        let width: usize = sample.iter().product();
        let stage = self.stage();
        // Callbacks see values of the layers; without them the compiled form computes, where there is one.
        let program = if copy.is_none() { self.program()? } else { None };
        for (index, start) in (0..x.len()).step_by(batch_size).enumerate() {
            if turns.as_ref().is_none_or(Turns::is_own) {
                let indices: Vec<usize> = (start..x.len().min(start + batch_size)).collect();
                let shape = [&[indices.len()], sample.as_slice()].concat();
                let feeds = match &stage {
                    Some(stage) => {
                        let column = Column::new(shape, x.gather_column(&indices)?.into_parts().1)?;
                        stage.run(vec![column])?
                    }
                    None => {
                        let mut numbers = ops::buffer(indices.len() * width);
                        x.gather(&indices, &mut numbers)?;
                        vec![Feed { sizes: shape, numbers }]
                    }
                };
                // Other ranks need them, too.
                let mut put = |sizes: &[usize], outputs: &[f32]| match &mut turns {
                    Some(turns) => {
                        turns.put_numbers(outputs);
                        Ok(())
                    }
                    None => each(sizes, outputs),
                };
                if let (Some(program), Some(sizes)) = (&program, &sizes) {
                    let outputs = self.compute(program, feeds, indices.len())?;
                    outputs.iter().try_for_each(|outputs| put(sizes, outputs))?;
                    outputs.into_iter().for_each(ops::give_back);
                } else {
                    let inputs = self.fed(feeds)?;
                    if let Some(model) = &mut copy {
                        let begin = |callback: &mut dyn Callback, context: &mut Context<'_>| {
                            callback.on_predict_batch_begin(context, index)
                        };
                        hooks.call(model, None, None, begin)?;
                    }
                    let outputs = copy.as_ref().unwrap_or(self).infer_outputs(inputs)?.remove(0);
                    let own = outputs.sizes();
                    let sizes = sizes.get_or_insert_with(|| [&[x.len()], &own[1..]].concat());
                    if own[1..] != sizes[1..] {
                        return Err(of_other_sizes(&own[1..], &sizes[1..]));
                    }
                    if let Some(model) = &mut copy {
                        let end = |callback: &mut dyn Callback, context: &mut Context<'_>| {
                            callback.on_predict_batch_end(context, index, &outputs)
                        };
                        hooks.call(model, None, None, end)?;
                    }
                    put(sizes, &outputs.to_vec()?)?;
                    ops::recycle(outputs);
                }
            }
            if let (Some(turns), Some(sizes)) = (&mut turns, &sizes) {
                turns.next(|outputs| each(sizes, &Turns::numbers(outputs)))?;
            }
            progress.step(index + 1, &[]);
        }
        if let (Some(turns), Some(sizes)) = (&mut turns, &sizes) {
            turns.finish(|outputs| each(sizes, &Turns::numbers(outputs)))?;
        }
        progress.end::<f64>(&[]);
        if let Some(model) = &mut copy {
            hooks.call(model, None, None, |callback, context| callback.on_predict_end(context))?;
            hooks.show(&mut progress);
            self.set_states(model.states());
        }
        Ok(sizes.unwrap_or_default())
    }
}

/// Outputs whose shapes depend on the data must all have the same shape to form one array, as in Keras.
pub(super) fn of_other_sizes(own: &[usize], first: &[usize]) -> Error {
    let expected =
        format!("sizes {first:?} in every batch, as in the first (a layer can fix it by `output_sequence_length`)");
    Error::data("the outputs", expected, format!("{own:?}"))
}
