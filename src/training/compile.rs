//! `compile`: which optimizer, loss and metrics a model is trained with.

use burn::tensor::Device;
use ndarray::ArrayD;
use serde_json::{Value as Json, json};

use super::snapshot::OptimizerSnapshot;
use crate::activations::Activation;
use crate::config::{Config, from_json, to_json};
use crate::error::{Error, Result};
use crate::losses::{Loss, LossArgument};
use crate::metrics::MetricArgument;
use crate::model::Model;
use crate::model::summary::Params;
use crate::ops::Value;
use crate::optimizers::{
    LearningRate, Optimizer, OptimizerArgument, OptimizerState, WeightInfo, at_least_one, optimizer_to_json,
};

/// The arguments of [`Model::compile`].
///
/// ```
/// use brasa::prelude::*;
/// let by_name = Compile::new("adam", "mse").metrics(["mae"]);
/// let by_object = Compile::new(SGD::new(0.1).momentum(0.9), SparseCategoricalCrossentropy::default());
/// ```
#[derive(Clone, Debug)]
pub struct Compile {
    optimizer: OptimizerArgument,
    loss: LossArgument,
    loss_weight: f32,
    metrics: Vec<MetricArgument>,
    weighted_metrics: Vec<MetricArgument>,
}

impl Compile {
    /// An optimizer and a loss, each by name or as an object.
    pub fn new(optimizer: impl Into<OptimizerArgument>, loss: impl Into<LossArgument>) -> Self {
        Self {
            optimizer: optimizer.into(),
            loss: loss.into(),
            loss_weight: 1.0,
            metrics: Vec::new(),
            weighted_metrics: Vec::new(),
        }
    }

    /// A factor of the loss, before penalties are added (Keras's `loss_weights`, for one output).
    #[must_use]
    pub fn loss_weight(mut self, weight: f32) -> Self {
        self.loss_weight = weight;
        self
    }

    /// Metrics to watch, by name or as objects; sample weights do not count for them.
    #[must_use]
    pub fn metrics<M: Into<MetricArgument>>(mut self, metrics: impl IntoIterator<Item = M>) -> Self {
        self.metrics.extend(metrics.into_iter().map(Into::into));
        self
    }

    /// Metrics to watch for which sample weights count.
    #[must_use]
    pub fn weighted_metrics<M: Into<MetricArgument>>(mut self, metrics: impl IntoIterator<Item = M>) -> Self {
        self.weighted_metrics.extend(metrics.into_iter().map(Into::into));
        self
    }

    /// The arguments as a recipe or a Keras file tells them.
    ///
    /// # Errors
    /// [`Error::UnknownName`], [`Error::Argument`], [`Error::Unsupported`].
    pub fn from_config(config: Config) -> Result<Self> {
        let (compile, mut left_out) = Self::read(config);
        match left_out.is_empty() {
            true => compile,
            false => Err(left_out.swap_remove(0).error),
        }
    }

    /// The arguments as a file tells them, and the parts that are left out because they could not be read: metrics, and
    /// arguments that are not known. Optimizer and loss have to be there.
    pub(crate) fn read(mut config: Config) -> (Result<Self>, Vec<Unread>) {
        const KEYS: &[&str] = &["optimizer", "loss", "metrics", "weighted_metrics"];
        // Keras's settings of how it computes, which do not change what.
        for key in ["run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss"] {
            config.remove(key);
        }
        let mut take = |key: &'static str| config.remove(key).filter(|value| !value.is_null());
        let (weight, optimizer, loss) = (take("loss_weights"), take("optimizer"), take("loss"));
        let (mut left_out, mut too_many) = (Vec::new(), None);
        let mut metrics = |key| {
            let mut told = flat(take(key).unwrap_or_default());
            if let Err(error) = check_count(key, told.len()) {
                too_many = Some(error);
                told.clear();
            }
            let read = told.into_iter().filter_map(|told| {
                let part = format!("{} {}", if key == "metrics" { "metric" } else { "weighted metric" }, called(&told));
                MetricArgument::from_json(told).map_err(|error| left_out.push(Unread { part, error })).ok()
            });
            read.collect()
        };
        let (metrics, weighted_metrics) = (metrics("metrics"), metrics("weighted_metrics"));
        left_out.extend(config.keys().map(|unknown| Unread {
            part: format!("argument `{unknown}`"),
            error: Error::unknown("argument", unknown, KEYS),
        }));
        let compile = || {
            if let Some(error) = too_many {
                return Err(error);
            }
            Ok(Self {
                metrics,
                weighted_metrics,
                optimizer: OptimizerArgument::from_json(optimizer.unwrap_or_else(|| json!("rmsprop")))?,
                loss: match loss.map(only_one).transpose()? {
                    None | Some(Json::Null) => return crate::config::missing("loss"),
                    Some(loss) => LossArgument::from_json(loss)?,
                },
                loss_weight: match weight.map(only_one).transpose()? {
                    None | Some(Json::Null) => 1.0,
                    Some(weight) => from_json("loss_weights", weight)?,
                },
            })
        };
        (compile(), left_out)
    }
}

/// The most metrics of a model; each needs a name of its own in the history.
const METRICS: usize = 1000;

fn check_count(argument: &str, count: usize) -> Result<()> {
    if count <= METRICS { Ok(()) } else { Err(Error::argument(argument, format!("at most {METRICS} metrics"), count)) }
}

/// A part of `compile` that could not be read.
#[derive(Debug)]
pub(crate) struct Unread {
    /// What it is.
    pub part: String,
    /// Why it could not be read.
    pub error: Error,
}

/// What a message calls a loss or metric of a file.
fn called(told: &Json) -> String {
    let name = match told.get("class_name").and_then(Json::as_str) {
        // A user's own function stands there by its name.
        Some("function") => told.get("config").and_then(Json::as_str),
        class => class.or(told.as_str()),
    };
    name.map_or_else(String::new, |name| format!("`{}`", crate::text::printable(name)))
}

/// What stands alone or, as Keras writes it for models of several outputs, in a list of one or under the output's name.
fn only_one(value: Json) -> Result<Json> {
    let count = match &value {
        Json::Array(list) => list.len(),
        Json::Object(map) if !map.contains_key("class_name") => map.len(),
        _ => return Ok(value),
    };
    let only = match value {
        Json::Array(list) => list.into_iter().next(),
        Json::Object(map) => map.into_iter().next().map(|(_, only)| only),
        _ => None,
    };
    only.filter(|_| count == 1).ok_or_else(|| Error::unsupported(format!("{count} losses"), "one loss, for one output"))
}

/// The metrics of a list that may hold a list for each output, or be a map by the outputs' names.
fn flat(told: Json) -> Vec<Json> {
    match told {
        Json::Null => Vec::new(),
        Json::Array(list) => list.into_iter().flat_map(flat).collect(),
        Json::Object(map) if !map.contains_key("class_name") => {
            map.into_iter().flat_map(|(_, told)| flat(told)).collect()
        }
        metric => vec![metric],
    }
}

/// How a model is trained, checked, with the optimizer's state.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    told: Compile,
    pub optimizer: Box<dyn Optimizer>,
    pub loss: Box<dyn Loss>,
    pub state: OptimizerState,
}

impl Compiled {
    fn new(told: Compile) -> Result<Self> {
        check_count("metrics", told.metrics.len() + told.weighted_metrics.len())?;
        for metric in told.metrics.iter().chain(&told.weighted_metrics) {
            metric.check()?;
        }
        Ok(Self {
            optimizer: told.optimizer.resolve()?,
            loss: told.loss.resolve()?,
            state: OptimizerState::default(),
            told,
        })
    }

    pub fn loss_weight(&self) -> f32 {
        self.told.loss_weight
    }

    pub fn metrics(&self) -> &[MetricArgument] {
        &self.told.metrics
    }

    pub fn weighted_metrics(&self) -> &[MetricArgument] {
        &self.told.weighted_metrics
    }

    /// Forgets what the optimizer has gathered.
    pub fn forget(&mut self) {
        self.state = OptimizerState::default();
    }

    /// What the optimizer keeps, for a checkpoint.
    pub(super) fn snapshot(&self) -> Result<OptimizerSnapshot> {
        let slots = self.state.slots.iter().map(|slots| slots.iter().map(array).collect()).collect::<Result<_>>()?;
        Ok(OptimizerSnapshot {
            class_name: self.optimizer.class_name().to_owned(),
            iterations: self.state.iterations,
            learning_rate: self.optimizer.learning_rate_argument().constant(),
            shared: self.state.shared,
            slots,
        })
    }

    /// Takes up what a checkpoint has kept for these trainable weights, each with its sizes.
    pub(super) fn take_up(
        &mut self,
        saved: OptimizerSnapshot,
        weights: &[(String, Vec<usize>)],
        device: &Device,
    ) -> Result<()> {
        let class = self.optimizer.class_name();
        if saved.class_name != class {
            return Err(Error::data("the checkpoint's optimizer", class, saved.class_name));
        }
        let expected: Vec<Vec<Vec<usize>>> = weights
            .iter()
            .map(|(path, sizes)| {
                let slots = OptimizerState::slots(&*self.optimizer, &WeightInfo { path, sizes });
                slots.iter().map(|slot| at_least_one(&slot.sizes).to_vec()).collect()
            })
            .collect();
        let received: Vec<Vec<Vec<usize>>> =
            saved.slots.iter().map(|slots| slots.iter().map(|slot| slot.shape().to_vec()).collect()).collect();
        if !received.is_empty() && received != expected {
            let what = "the state of the checkpoint's optimizer";
            return Err(Error::data(what, format!("{expected:?}"), format!("{received:?}")));
        }
        let value = |slot: ArrayD<f32>| {
            let sizes = slot.shape().to_vec();
            Value::from_vec(slot.into_iter().collect(), &sizes, device)
        };
        let slots = saved.slots.into_iter().map(|slots| slots.into_iter().map(value).collect());
        self.state.slots = slots.collect::<Result<_>>()?;
        self.state.iterations = saved.iterations;
        self.state.shared = saved.shared;
        if let Some(rate) = saved.learning_rate {
            self.optimizer.learning_rate_argument_mut().restore(rate);
        }
        Ok(())
    }

    pub fn move_to(&mut self, device: &Device) {
        self.state.move_to(device);
    }

    /// What the optimizer keeps, once it has taken a step; Keras counts the step number and a constant learning rate
    /// too.
    pub fn optimizer_params(&self) -> Option<Params> {
        let slots: usize = self.state.slots.iter().flatten().map(crate::Value::len).sum();
        let own = 1 + usize::from(self.optimizer.learning_rate_argument().constant().is_some());
        let shared = usize::from(self.state.shared.is_some());
        (!self.state.slots.is_empty()).then(|| Params::float32(slots + own + shared))
    }

    /// As Keras's `compile_config`.
    pub fn config(&self) -> Result<Config> {
        let metrics = |list: &[MetricArgument]| match list {
            [] => Json::Null,
            list => list.iter().map(MetricArgument::to_json).collect(),
        };
        let mut config = Config::new();
        config.insert("optimizer".into(), optimizer_to_json(&*self.optimizer)?);
        config.insert("loss".into(), self.told.loss.to_json()?);
        let weight = self.told.loss_weight;
        config.insert(
            "loss_weights".into(),
            if weight == 1.0 { Json::Null } else { to_json("loss_weights", &[weight])? },
        );
        config.insert("metrics".into(), metrics(&self.told.metrics));
        config.insert("weighted_metrics".into(), metrics(&self.told.weighted_metrics));
        config.insert("run_eagerly".into(), false.into());
        config.insert("steps_per_execution".into(), 1.into());
        config.insert("jit_compile".into(), false.into());
        Ok(config)
    }
}

/// A value's numbers with their sizes.
fn array(value: &Value) -> Result<ArrayD<f32>> {
    let sizes = value.sizes();
    ArrayD::from_shape_vec(sizes.clone(), value.to_vec()?).map_err(|error| Error::shape(format!("{sizes:?}"), error))
}

impl Model {
    /// Says with which optimizer and loss the model is trained and which metrics are watched.
    ///
    /// What an optimizer has gathered so far is forgotten.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a name that does not exist, with the nearest that does; [`Error::Argument`] for
    /// arguments that make no sense. The model is then as before.
    pub fn compile(&mut self, compile: Compile) -> Result<&mut Self> {
        self.compiled = Some(Compiled::new(compile)?);
        self.compile_fault = None;
        self.forget_room();
        Ok(self)
    }

    /// Why a model that was compiled when it was saved is not compiled here: the part of its file that could not be
    /// read. `None` for a model that is compiled, or never was.
    pub fn compile_fault(&self) -> Option<&str> {
        self.compile_fault.as_deref()
    }

    /// Whether the model is compiled.
    pub fn is_compiled(&self) -> bool {
        self.compiled.is_some()
    }

    /// The learning rate of the next step: Keras's `model.optimizer.learning_rate`.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`.
    pub fn learning_rate(&self) -> Result<f32> {
        let compiled = self.expect_compiled("learning_rate")?;
        Ok(compiled.optimizer.learning_rate_argument().at(compiled.state.iterations))
    }

    /// Sets the learning rate; what the optimizer has gathered stays.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`, [`Error::Argument`] for a number that is none or is below 0,
    /// [`Error::Unsupported`] if a schedule says the rate.
    pub fn set_learning_rate(&mut self, rate: f32) -> Result<()> {
        self.expect_compiled("set_learning_rate")?;
        let new = LearningRate::Constant(rate);
        new.check()?;
        let Some(compiled) = &mut self.compiled else { return Ok(()) };
        let own = compiled.optimizer.learning_rate_argument_mut();
        if own.constant().is_none() {
            let what = "setting the learning rate of an optimizer that has a schedule";
            return Err(Error::unsupported(what, "a learning rate that is a number"));
        }
        *own = new;
        Ok(())
    }

    /// How many classes the targets of [`OneHot`](crate::datasets::OneHot) rows are to have, if the loss compares such
    /// rows with the outputs and these targets, of this shape a sample, are class numbers instead.
    ///
    /// The library itself refuses such targets, as Keras does; the command line, to whose files of data one cannot say
    /// which form the targets are to have, reads them as the loss needs them.
    pub fn one_hot_classes(&self, y_shape: &[usize]) -> Option<usize> {
        const ROWS: [&str; 3] = ["CategoricalCrossentropy", "CategoricalFocalCrossentropy", "CategoricalHinge"];
        self.compiled.as_ref().filter(|compiled| ROWS.contains(&compiled.loss.class_name()))?;
        match self.output_shape().ok()?.known_sample().ok()?[..] {
            [classes] if classes > 1 && y_shape.iter().all(|size| *size == 1) => Some(classes),
            _ => None,
        }
    }

    /// The class of the metric that has this name in the history, if it is a built-in one.
    pub(crate) fn metric_class(&self, name: &str) -> Result<Option<&'static str>> {
        let compiled = self.expect_compiled("metrics")?;
        let mut metrics = compiled.metrics().iter().chain(compiled.weighted_metrics()).map(MetricArgument::about);
        Ok(metrics.find(|(own, _)| *own == name).and_then(|(_, class)| class))
    }

    /// Whether the loss takes the outputs for what comes before a softmax or sigmoid.
    pub(crate) fn gives_logits(&self) -> bool {
        let config = self.compiled.as_ref().and_then(|compiled| compiled.loss.config().ok());
        config.is_some_and(|config| config.get("from_logits").and_then(Json::as_bool) == Some(true))
    }

    /// Whether the loss is a hinge of outputs on both sides of 0, for which the sign of an output is its class.
    pub(crate) fn has_hinge_loss(&self) -> bool {
        let hinge = |compiled: &Compiled| ["Hinge", "SquaredHinge"].contains(&compiled.loss.class_name());
        let one_sided = matches!(self.final_activation_of(0), Some(Activation::Sigmoid | Activation::HardSigmoid));
        self.compiled.as_ref().is_some_and(hinge) && !one_sided
    }

    /// Whether the metric of this name in the history has a number for each class or threshold.
    pub(crate) fn metric_is_list(&self, name: &str) -> Result<bool> {
        let compiled = self.expect_compiled("metrics")?;
        let mut metrics = compiled.metrics().iter().chain(compiled.weighted_metrics());
        Ok(metrics.find(|metric| metric.about().0 == name).is_some_and(MetricArgument::is_list))
    }

    pub(crate) fn expect_compiled(&self, action: &'static str) -> Result<&Compiled> {
        self.compiled.as_ref().ok_or_else(|| {
            let needs = match &self.compile_fault {
                Some(fault) => format!("compiled: {fault}; call `compile` first"),
                None => "compiled: call `compile` first".into(),
            };
            Error::State { action, needs }
        })
    }
}
