//! The frozen form of a model, for prediction alone.

mod fusion;
mod general;
mod layout;
mod program;

use std::fmt;
use std::sync::Arc;

use ndarray::{ArrayD, ArrayViewD};

use self::general::General;
pub(crate) use self::program::Program;
use super::Model;
use super::as_model::nested_model;
use super::plan::{PreparedPlan, Purpose};
use super::stage::{Feed, HostSplit, Stage};
use crate::datasets::{Cells, Column};
use crate::error::{Error, Result};
use crate::layers::{Arguments, Layer, in_layer};
use crate::memory::check_room;
use crate::ops;
use crate::shape::Shape;

/// An immutable form of a model, for prediction.
///
/// [`Model::freeze`] makes one. A clone is another handle to the same weights, and any number of threads can predict
/// concurrently with one handle or with clones; no two calls share working memory. The original model can be trained
/// further or dropped.
///
/// ```
/// use brasa::prelude::*;
/// let mut model = Sequential::new();
/// model.add(Dense::new(16).activation("relu").input_shape(4))?;
/// model.add(Dense::new(3).activation("softmax"))?;
///
/// let predictor = model.freeze()?;
/// let x = ndarray::array![[0.0f32, 1.0, 2.0, 3.0], [3.0, 2.0, 1.0, 0.0]];
/// let outputs = predictor.run(&[x.view().into_dyn()])?;
/// assert_eq!(outputs[0].shape(), [2, 3]);
///
/// // From any number of threads, into the caller's memory.
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         let predictor = predictor.clone();
///         scope.spawn(move || {
///             let mut classes = [0.0f32; 3];
///             predictor.run_into(&[&[0.0, 1.0, 2.0, 3.0]], 1, &mut [&mut classes]).expect("inputs that fit");
///         });
///     }
/// });
/// # Ok::<(), brasa::Error>(())
/// ```
///
/// # Two forms
/// A model is compiled if every step can be: batch normalizations are folded into the preceding weights, activations
/// and the sums of residual blocks become part of the step before them, weights are packed for the kernels or
/// transformed for Winograd convolution, offset tables are precomputed, and buffers are allocated by liveness.
/// [`is_compiled`](Self::is_compiled) says whether it was. The steps are those of dense, convolutional (plain,
/// depthwise, separable), attention (multi-head, grouped-query), pooling, normalizing, recurrent (LSTM, GRU),
/// embedding, merging and reshaping layers, of activations, and of sums and products of graph values, on a CPU, for
/// inputs of fixed sizes and without masks but the causal one of an attention. Every other model that predicts can be
/// frozen, too; it is then computed layer by layer, as by [`Model::predict`].
///
/// # Guarantees of the compiled form
/// * **The same bits for a sample**, whatever else is in the batch, however large the batch is, and whatever the number
///   of threads: how a step is computed depends on the sizes of a sample alone. (With another instruction set the last
///   bits can differ.)
/// * **No allocation** in [`run_into`](Self::run_into) for one sample after a first such call, as long as the network
///   is small enough for one thread; calls never wait for a lock. A larger network, or batch, is split between
///   threads, and scheduling can allocate.
/// * The results are those of [`Model::predict`] without callbacks, which runs the same steps.
///
/// # Memory
/// The compiled form has its own copy of the weights, packed for the kernels. Working memory comes from a free list of
/// the predictor, which grows with the number of concurrent calls; dropping the last handle frees it.
///
/// # States
/// A stateful layer starts each call with the states that it had when the model was frozen, and the states after the
/// call are discarded: a predictor's results do not depend on earlier calls.
#[derive(Clone)]
pub struct Predictor {
    inner: Arc<Inner>,
}

struct Inner {
    model: String,
    inputs: Vec<Signature>,
    outputs: Vec<Signature>,
    /// The calls on the host, before the first layer on the device.
    stage: Option<Stage>,
    checks: Checks,
    engine: Engine,
}

/// The name and the shape of an input or output.
struct Signature {
    name: String,
    shape: Shape,
}

enum Engine {
    Compiled(Arc<Program>),
    General(Box<General>),
}

/// The layers that validate their input values before computing, such as an `Embedding` its indices.
#[derive(Debug, Default)]
pub(crate) struct Checks(Vec<Check>);

#[derive(Debug)]
struct Check {
    /// Index of the value among those fed to the device.
    feed: usize,
    /// The enclosing models, then the layer.
    path: Vec<Box<dyn Layer>>,
    arguments: Arguments,
}

impl Checks {
    /// The checks of a model, for the outputs of the layers on the host.
    pub fn of(model: &Model) -> Result<Self> {
        let split = HostSplit::of(model);
        let mut checks = Self::default();
        for feed in 0..split.feeds.len() {
            let mut same = vec![false; model.graph().value_count()];
            same[split.feeds[feed]] = true;
            checks.collect(model, &split, (feed, &[]), same)?;
        }
        Ok(checks)
    }

    /// Adds the checks of the layers that receive the values marked in `same` unchanged; returns for each output
    /// whether it is unchanged.
    fn collect(
        &mut self,
        model: &Model,
        split: &HostSplit,
        (feed, outer): (usize, &[Box<dyn Layer>]),
        mut same: Vec<bool>,
    ) -> Result<Vec<bool>> {
        for (_, node) in model.graph().nodes().iter().enumerate().filter(|(call, _)| !split.is_on_host(*call)) {
            let layer = &*model.all_layers()[node.layer];
            for input in (0..node.inputs.len()).filter(|input| same[node.inputs[*input]]).collect::<Vec<_>>() {
                let path = [outer, &[layer.boxed_clone()]].concat();
                let outputs = match nested_model(layer) {
                    Some(inner) => {
                        let mut inside = vec![false; inner.graph().value_count()];
                        inside[input] = true;
                        self.collect(inner, &HostSplit::none(inner), (feed, &path), inside)?
                    }
                    None => {
                        // Whether the values pass unchanged does not depend on them.
                        let is_same = in_layer(layer, layer.check_values_of(&[], &node.arguments))?;
                        self.0.push(Check { feed, path, arguments: node.arguments.clone() });
                        vec![is_same]
                    }
                };
                for (output, is_same) in outputs.into_iter().enumerate().take(node.outputs) {
                    same[node.output + output] |= is_same;
                }
            }
        }
        Ok(model.graph().outputs().iter().map(|id| same[*id]).collect())
    }

    /// Refuses values that the layers cannot take.
    ///
    /// # Errors
    /// [`Error::Layer`] for the first such value.
    pub fn check(&self, feed: usize, values: &[f32]) -> Result<()> {
        for check in self.0.iter().filter(|check| check.feed == feed) {
            let Some((layer, outer)) = check.path.split_last() else { continue };
            let checked = in_layer(&**layer, layer.check_values_of(values, &check.arguments));
            outer.iter().rev().fold(checked.map(|_| ()), |result, layer| in_layer(&**layer, result))?;
        }
        Ok(())
    }
}

impl Model {
    /// The compiled form, if every step has one; cached until the weights change.
    ///
    /// # Errors
    /// As for a forward pass.
    pub(crate) fn program(&self) -> Result<Option<Arc<Program>>> {
        if !ops::has_kernels(self.device()) || Layer::is_stateful(self) {
            return Ok(None);
        }
        self.plans.program(|| {
            let purpose = Purpose {
                training: false,
                skip_final: vec![false; self.graph.outputs().len()],
                unfused: false,
                behind_images: false,
            };
            let plan = self.plan(&purpose)?;
            // Without memory for the packed weights and a temporary copy, the layers compute.
            let own = self.plain_weights()?;
            let ranges = plan.steps.iter().flat_map(|step| &step.weights);
            let weights = ranges.flat_map(|range| range.of(&own)).map(|weight| weight.len() as u64).sum::<u64>();
            if !self.has_room_for(weights.saturating_mul(2)) {
                return Ok(None);
            }
            Ok(Program::new(&PreparedPlan::new(plan, &own)?).map(Arc::new))
        })
    }
}

impl Model {
    /// Freezes the model for prediction from any number of threads: see [`Predictor`].
    ///
    /// Later changes of the model do not reach the predictor.
    ///
    /// # Errors
    /// [`Error::State`] before the input shape is known; [`Error::Memory`] if there is no memory for the weights.
    pub fn freeze(&self) -> Result<Predictor> {
        let built = self.expect_built("freeze")?;
        self.layer_weights("freeze")?;
        let signatures = |names: Vec<String>, ids: &mut dyn Iterator<Item = usize>| -> Vec<Signature> {
            names.into_iter().zip(ids).map(|(name, id)| Signature { name, shape: built.shapes[id].clone() }).collect()
        };
        let engine = match self.program()? {
            Some(program) => Engine::Compiled(program),
            None => Engine::General(Box::new(General::new(self)?)),
        };
        let mut outputs = signatures(self.output_keys(), &mut self.graph().outputs().iter().copied());
        if let Some(shapes) = self.uncropped(&built.shapes[..self.graph().inputs()])? {
            outputs.iter_mut().zip(shapes).for_each(|(output, shape)| output.shape = shape);
        }
        let inner = Inner {
            model: self.name().to_owned(),
            inputs: signatures(self.input_keys(), &mut (0..self.graph().inputs())),
            outputs,
            stage: self.stage(),
            checks: Checks::of(self)?,
            engine,
        };
        Ok(Predictor { inner: Arc::new(inner) })
    }
}

impl Model {
    /// The values of each output for the values fed to the device, by the compiled form; values that the layers cannot
    /// take are refused. Return the buffers with [`give_back`](crate::ops::give_back).
    pub(crate) fn compute(&self, program: &Program, feeds: Vec<Feed>, samples: usize) -> Result<Vec<Vec<f32>>> {
        let split = HostSplit::of(self);
        for (index, feed) in feeds.iter().enumerate() {
            self.check_fed(&split, index, &feed.numbers)?;
        }
        let mut values: Vec<Vec<f32>> = program.output_lens().map(|len| ops::buffer(len * samples)).collect();
        let slices: Vec<&[f32]> = feeds.iter().map(|feed| feed.numbers.as_slice()).collect();
        let mut outputs: Vec<&mut [f32]> = values.iter_mut().map(Vec::as_mut_slice).collect();
        program.run(&slices, samples, &mut outputs)?;
        feeds.into_iter().for_each(|feed| ops::give_back(feed.numbers));
        Ok(values)
    }
}

/// The memory of a call that is about to compute.
pub(crate) struct CallMemory<'a> {
    inner: &'a Inner,
    sizes: &'a [&'a [usize]],
    samples: usize,
}

impl CallMemory<'_> {
    /// Upper bound of the values that the call holds beside the weights, as far as shapes tell.
    ///
    /// # Errors
    /// [`Error::Layer`] for a layer that rejects its inputs' shapes.
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "for servers"))]
    pub fn values(&self) -> Result<usize> {
        match &self.inner.engine {
            Engine::Compiled(program) => Ok(program.values_for(self.samples).0),
            Engine::General(general) => general.values_for(self.sizes),
        }
    }

    /// Those of the [`values`](Self::values) that are not allocated yet.
    ///
    /// # Errors
    /// As [`values`](Self::values).
    #[cfg_attr(not(feature = "serve"), expect(dead_code, reason = "for servers"))]
    pub fn more(&self) -> Result<usize> {
        match &self.inner.engine {
            Engine::Compiled(program) => Ok(program.values_for(self.samples).1),
            Engine::General(general) => general.values_for(self.sizes),
        }
    }
}

impl Predictor {
    /// The model's name.
    pub fn name(&self) -> &str {
        &self.inner.model
    }

    /// The names of the inputs, in the order in which [`run`](Self::run) takes them: those of [`Model::input_keys`].
    pub fn input_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.inner.inputs.iter().map(|input| input.name.as_str())
    }

    /// The names of the outputs, in the order in which [`run`](Self::run) returns them: those of
    /// [`Model::output_keys`].
    pub fn output_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.inner.outputs.iter().map(|output| output.name.as_str())
    }

    /// The shapes of the inputs, batch first; `None` stands for any size.
    pub fn input_shapes(&self) -> impl ExactSizeIterator<Item = &Shape> {
        self.inner.inputs.iter().map(|input| &input.shape)
    }

    /// The shapes of the outputs, batch first; `None` stands for a size that depends on the inputs.
    pub fn output_shapes(&self) -> impl ExactSizeIterator<Item = &Shape> {
        self.inner.outputs.iter().map(|output| &output.shape)
    }

    /// Whether it has the compiled form.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Conv2D::new(8, 3).activation("relu").input_shape((12, 12, 1)))?;
    /// model.add(Flatten::new())?.add(Dense::new(10).activation("softmax"))?;
    /// assert!(model.freeze()?.is_compiled());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn is_compiled(&self) -> bool {
        matches!(self.inner.engine, Engine::Compiled(_))
    }

    /// The outputs for a batch: an array for each output, batch first, like the inputs.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (a, b) = (Input::new(2).name("a").symbol(), Input::new(2).name("b").symbol());
    /// let sum = Add::new().name("sum").call([&a, &b])?;
    /// let predictor = Model::new([&a, &b], &sum)?.freeze()?;
    /// assert_eq!(predictor.input_names().collect::<Vec<_>>(), ["a", "b"]);
    ///
    /// let (a, b) = (ndarray::array![[1.0f32, 2.0]].into_dyn(), ndarray::array![[3.0f32, 4.0]].into_dyn());
    /// assert_eq!(predictor.run(&[a.view(), b.view()])?[0], ndarray::array![[4.0, 6.0]].into_dyn());
    ///
    /// let wrong = ndarray::array![[1.0f32, 2.0, 3.0]].into_dyn();
    /// let error = predictor.run(&[a.view(), wrong.view()]).unwrap_err().to_string();
    /// assert_eq!(error, "data: input `b` of model `functional`: expected 1 sample of shape (None, 2), received [1, 3]");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for a wrong number of inputs, an input of a wrong shape or number of samples, an empty batch,
    /// values that a layer does not take (such as an index that an `Embedding` lacks), and for a model of texts, which
    /// [`run_columns`](Self::run_columns) takes; [`Error::Memory`] if memory does not suffice.
    pub fn run(&self, inputs: &[ArrayViewD<'_, f32>]) -> Result<Vec<ArrayD<f32>>> {
        let sizes: Vec<&[usize]> = inputs.iter().map(|input| input.shape()).collect();
        let samples = self.check_sizes(&sizes)?;
        if self.inner.stage.is_some() {
            let column =
                |input: &ArrayViewD<'_, f32>| Column::new(input.shape(), Cells::Float(input.iter().copied().collect()));
            return self.run_columns(inputs.iter().map(column).collect::<Result<_>>()?);
        }
        let whole: Vec<_> = inputs.iter().map(|input| input.as_standard_layout()).collect();
        let slices: Vec<&[f32]> = whole.iter().map(|input| input.as_slice().unwrap_or_default()).collect();
        self.compute(&slices, &sizes, samples)
    }

    /// As [`run`](Self::run), for models whose first layers take texts or exact integers.
    ///
    /// ```
    /// use brasa::datasets::{Cells, Column};
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(StringLookup::default().vocabulary(["red", "green"]).input_shape(1))?;
    /// let words = Column::new([2, 1], Cells::Text(vec!["green".into(), "blue".into()]))?;
    /// let outputs = model.freeze()?.run_columns(vec![words])?;
    /// assert_eq!(outputs[0], ndarray::array![[2.0], [0.0]].into_dyn());
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_columns(&self, inputs: Vec<Column>) -> Result<Vec<ArrayD<f32>>> {
        self.run_columns_within(inputs, &|_| Ok(()))
    }

    /// As [`run_columns`](Self::run_columns), which asks `admit` before it allocates, and holds what that returns while
    /// it computes.
    ///
    /// # Errors
    /// As [`run`](Self::run), and those of `admit`.
    pub(crate) fn run_columns_within<R>(
        &self,
        inputs: Vec<Column>,
        admit: &dyn Fn(CallMemory) -> Result<R>,
    ) -> Result<Vec<ArrayD<f32>>> {
        let sizes: Vec<&[usize]> = inputs.iter().map(Column::shape).collect();
        let samples = self.check_sizes(&sizes)?;
        let feeds: Vec<(Vec<usize>, Vec<f32>)> = match &self.inner.stage {
            Some(stage) => stage.run(inputs)?.into_iter().map(|feed| (feed.sizes, feed.numbers)).collect(),
            None => {
                let names = self.inner.inputs.iter().map(|input| &input.name);
                let numbers = inputs.into_iter().zip(names).map(|(column, name)| {
                    let kind = column.cells().kind();
                    let sizes = column.shape().to_vec();
                    let numbers = column.into_floats();
                    Ok((sizes, numbers.map_err(|_| Error::data(self.input(name), "numbers", kind))?))
                });
                numbers.collect::<Result<_>>()?
            }
        };
        let sizes: Vec<&[usize]> = feeds.iter().map(|(sizes, _)| sizes.as_slice()).collect();
        let slices: Vec<&[f32]> = feeds.iter().map(|(_, numbers)| numbers.as_slice()).collect();
        self.compute_within(&slices, &sizes, samples, admit)
    }

    /// As [`run`](Self::run), from flat slices to flat slices: each input has the values of all samples, sample by
    /// sample; each output is overwritten in the same layout.
    ///
    /// This form does not allocate: see [`Predictor`].
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Dense::new(2).kernel_initializer("ones").input_shape(3))?;
    /// let predictor = model.freeze()?;
    /// let mut outputs = [0.0f32; 4];
    /// predictor.run_into(&[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]], 2, &mut [&mut outputs])?;
    /// assert_eq!(outputs, [6.0, 6.0, 15.0, 15.0]);
    ///
    /// let error = predictor.run_into(&[&[1.0, 2.0]], 1, &mut [&mut outputs]).unwrap_err().to_string();
    /// assert_eq!(error, "data: input `input_layer` of model `sequential`: expected 3 values, received 2");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Data`] for a wrong number of inputs or outputs, or of values in one of them, for an empty batch, and
    /// for values that a layer does not take; [`Error::Unsupported`] for a model whose sizes depend on the data, or
    /// that takes texts; [`Error::Memory`] if memory does not suffice.
    pub fn run_into(&self, inputs: &[&[f32]], samples: usize, outputs: &mut [&mut [f32]]) -> Result<()> {
        let inner = &*self.inner;
        self.check_samples(samples)?;
        self.check_count(inputs.len())?;
        if outputs.len() != inner.outputs.len() {
            let what = format!("outputs of model `{}`", inner.model);
            return Err(Error::data(what, inner.outputs.len().to_string(), outputs.len()));
        }
        for (input, values) in inner.inputs.iter().zip(inputs) {
            self.check_len(input, "input", samples, values.len())?;
        }
        for (output, values) in inner.outputs.iter().zip(&*outputs) {
            self.check_len(output, "output", samples, values.len())?;
        }
        if let (Engine::Compiled(program), None) = (&inner.engine, &inner.stage) {
            for (feed, values) in inputs.iter().enumerate() {
                inner.checks.check(feed, values)?;
            }
            return program.run(inputs, samples, outputs);
        }
        let sizes = inner.inputs.iter().map(|input| Ok([vec![samples], input.shape.known_sample()?].concat()));
        let arrays = sizes.zip(inputs).map(|(sizes, values): (Result<Vec<usize>>, _)| {
            let sizes = sizes?;
            ArrayViewD::from_shape(sizes.clone(), values).map_err(|error| Error::shape(format!("{sizes:?}"), error))
        });
        let results = self.run(&arrays.collect::<Result<Vec<_>>>()?)?;
        for (result, output) in results.iter().zip(outputs) {
            let values = result.as_slice().unwrap_or_default();
            if values.len() != output.len() {
                return Err(Error::shape(format!("{} values", output.len()), values.len()));
            }
            output.copy_from_slice(values);
        }
        Ok(())
    }

    /// The outputs for the values fed to the device.
    fn compute(&self, feeds: &[&[f32]], sizes: &[&[usize]], samples: usize) -> Result<Vec<ArrayD<f32>>> {
        self.compute_within(feeds, sizes, samples, &|_| Ok(()))
    }

    /// As [`compute`](Self::compute), if `admit` permits it.
    fn compute_within<R>(
        &self,
        feeds: &[&[f32]],
        sizes: &[&[usize]],
        samples: usize,
        admit: &dyn Fn(CallMemory) -> Result<R>,
    ) -> Result<Vec<ArrayD<f32>>> {
        let inner = &*self.inner;
        let _held = admit(CallMemory { inner, sizes, samples })?;
        for (feed, values) in feeds.iter().enumerate() {
            inner.checks.check(feed, values)?;
        }
        let program = match &inner.engine {
            Engine::Compiled(program) => program,
            Engine::General(general) => return general.run(feeds, sizes, samples),
        };
        let all = program.output_lens().fold(0usize, |all, len| all.saturating_add(len.saturating_mul(samples)));
        check_room("the outputs", all)?;
        let mut values: Vec<Vec<f32>> = program.output_lens().map(|len| vec![0.0; len * samples]).collect();
        let mut outputs: Vec<&mut [f32]> = values.iter_mut().map(Vec::as_mut_slice).collect();
        program.run(feeds, samples, &mut outputs)?;
        let arrays = values.into_iter().zip(&inner.outputs).map(|(values, output)| {
            let sizes = [&[samples], output.shape.known_sample()?.as_slice()].concat();
            ArrayD::from_shape_vec(sizes.clone(), values).map_err(|error| Error::shape(format!("{sizes:?}"), error))
        });
        arrays.collect()
    }

    /// The description of an input in errors.
    fn input(&self, name: &str) -> String {
        format!("input `{name}` of model `{}`", self.inner.model)
    }

    /// The number of samples, if the number of inputs and their sizes fit.
    fn check_sizes(&self, sizes: &[&[usize]]) -> Result<usize> {
        self.check_count(sizes.len())?;
        let samples = sizes.first().and_then(|sizes| sizes.first()).copied().unwrap_or(0);
        for (input, sizes) in self.inner.inputs.iter().zip(sizes) {
            if !input.shape.accepts(sizes) || (samples > 0 && sizes.first() != Some(&samples)) {
                let plural = if samples == 1 { "" } else { "s" };
                let expected = format!("{samples} sample{plural} of shape {}", input.shape);
                return Err(Error::data(self.input(&input.name), expected, format!("{sizes:?}")));
            }
        }
        self.check_samples(samples)?;
        Ok(samples)
    }

    fn check_samples(&self, samples: usize) -> Result<()> {
        match samples {
            0 => Err(Error::data(format!("inputs of model `{}`", self.inner.model), "at least one sample", 0)),
            _ => Ok(()),
        }
    }

    fn check_count(&self, inputs: usize) -> Result<()> {
        let expected = self.inner.inputs.len();
        if inputs == expected {
            return Ok(());
        }
        let names: Vec<String> = self.inner.inputs.iter().map(|input| format!("`{}`", input.name)).collect();
        let expected = format!("{expected} of them: {}", names.join(", "));
        Err(Error::data(format!("inputs of model `{}`", self.inner.model), expected, inputs))
    }

    fn check_len(&self, signature: &Signature, kind: &str, samples: usize, received: usize) -> Result<()> {
        let Some(sample) = signature.shape.sample_len() else {
            let what = format!("`run_into` with {kind} `{}` of shape {}", signature.name, signature.shape);
            return Err(Error::unsupported(what, "shapes without `None` but for the batch; `run` takes any"));
        };
        if sample.checked_mul(samples) == Some(received) {
            return Ok(());
        }
        let what = format!("{kind} `{}` of model `{}`", signature.name, self.inner.model);
        Err(Error::data(what, format!("{} values", sample.saturating_mul(samples)), received))
    }
}

impl fmt::Debug for Predictor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes = |signatures: &[Signature]| -> Vec<String> {
            signatures.iter().map(|own| format!("{}: {}", own.name, own.shape)).collect()
        };
        formatter
            .debug_struct("Predictor")
            .field("model", &self.inner.model)
            .field("inputs", &shapes(&self.inner.inputs))
            .field("outputs", &shapes(&self.inner.outputs))
            .field("compiled", &self.is_compiled())
            .finish()
    }
}
