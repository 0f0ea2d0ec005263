//! `compile`: the optimizer, loss and metrics of training.

use burn::tensor::Device;
use serde_json::{Value as Json, json};

mod goal;

pub(crate) use self::goal::Goal;
use self::goal::{
    ByOutput, flat, losses_from_json, losses_to_json, metrics_from_json, metrics_to_json, weights_from_json,
    weights_to_json,
};
pub use self::goal::{IntoLossWeights, IntoLosses};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::losses::{Loss, LossArgument};
use crate::metrics::MetricArgument;
use crate::optimizers::{Optimizer, OptimizerArgument, OptimizerState, optimizer_to_json};

/// The arguments of [`Model::compile`](crate::model::Model::compile).
///
/// ```
/// use brasa::prelude::*;
/// let by_name = Compile::new("adam", "mse").metrics(["mae"]);
/// let by_object = Compile::new(SGD::new(0.1).momentum(0.9), SparseCategoricalCrossentropy::default());
/// ```
///
/// For a model of several outputs, by the names of their layers:
///
/// ```
/// use brasa::prelude::*;
/// let compile = Compile::new("adam", [("price", "mse"), ("sold", "binary_crossentropy")])
///     .loss_weights([("price", 0.1), ("sold", 1.0)])
///     .metrics_of("sold", ["accuracy"]);
/// ```
#[derive(Clone, Debug)]
pub struct Compile {
    optimizer: OptimizerArgument,
    losses: ByOutput<Option<LossArgument>>,
    loss_weights: ByOutput<f32>,
    metrics: ByOutput<Vec<MetricArgument>>,
    weighted_metrics: ByOutput<Vec<MetricArgument>>,
    /// The argument that was given both for all outputs and by output.
    mixed: Option<&'static str>,
}

impl Compile {
    /// An optimizer and a loss, each by name or as an object. With several outputs each has this loss, or its own:
    /// [`IntoLosses`].
    pub fn new(optimizer: impl Into<OptimizerArgument>, loss: impl IntoLosses) -> Self {
        Self {
            optimizer: optimizer.into(),
            losses: loss.into_losses().0,
            loss_weights: ByOutput::All(1.0),
            metrics: ByOutput::All(Vec::new()),
            weighted_metrics: ByOutput::All(Vec::new()),
            mixed: None,
        }
    }

    /// A factor of the loss, before penalties are added (Keras's `loss_weights`, for one output); with several outputs,
    /// of each loss.
    #[must_use]
    pub fn loss_weight(mut self, weight: f32) -> Self {
        self.loss_weights = ByOutput::All(weight);
        self
    }

    /// A factor of the loss of each output: [`IntoLossWeights`].
    #[must_use]
    pub fn loss_weights(mut self, weights: impl IntoLossWeights) -> Self {
        self.loss_weights = weights.into_loss_weights().0;
        self
    }

    /// Metrics by name or as objects, computed without sample weights. For a model of several outputs, as in Keras, one
    /// for each output, in order; use [`metrics_of`](Self::metrics_of) for several.
    #[must_use]
    pub fn metrics<M: Into<MetricArgument>>(mut self, metrics: impl IntoIterator<Item = M>) -> Self {
        if !self.metrics.extend(metrics.into_iter().map(Into::into)) {
            self.mixed = Some("metrics");
        }
        self
    }

    /// Metrics computed with sample weights.
    #[must_use]
    pub fn weighted_metrics<M: Into<MetricArgument>>(mut self, metrics: impl IntoIterator<Item = M>) -> Self {
        if !self.weighted_metrics.extend(metrics.into_iter().map(Into::into)) {
            self.mixed = Some("weighted_metrics");
        }
        self
    }

    /// Metrics of one output of several, by the name of its layer.
    #[must_use]
    pub fn metrics_of<M: Into<MetricArgument>>(
        mut self,
        output: impl Into<String>,
        metrics: impl IntoIterator<Item = M>,
    ) -> Self {
        if !self.metrics.extend_of(output.into(), metrics.into_iter().map(Into::into)) {
            self.mixed = Some("metrics");
        }
        self
    }

    /// Metrics of one output of several, computed with sample weights.
    #[must_use]
    pub fn weighted_metrics_of<M: Into<MetricArgument>>(
        mut self,
        output: impl Into<String>,
        metrics: impl IntoIterator<Item = M>,
    ) -> Self {
        if !self.weighted_metrics.extend_of(output.into(), metrics.into_iter().map(Into::into)) {
            self.mixed = Some("weighted_metrics");
        }
        self
    }

    /// Refuses arguments that are invalid for any model, whatever its outputs.
    pub(crate) fn check(&self) -> Result<()> {
        let all = [&self.metrics, &self.weighted_metrics].map(ByOutput::parts);
        check_count("metrics", all.iter().flatten().map(|metrics| metrics.len()).sum())?;
        if let Some(argument) = self.mixed {
            return Err(Error::argument(argument, format!("`{argument}` or `{argument}_of`"), "both"));
        }
        all.into_iter().flatten().flatten().try_for_each(MetricArgument::check)?;
        let losses = self.losses.parts();
        if losses.iter().all(|loss| loss.is_none()) {
            return crate::config::missing("loss");
        }
        losses.into_iter().flatten().try_for_each(|loss| loss.resolve().map(|_| ()))?;
        self.optimizer.resolve().map(|_| ())
    }

    /// Reads the arguments from a recipe or a Keras file.
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

    /// Reads the arguments from a file, and returns the parts that could not be read: metrics, and unknown arguments.
    /// Optimizer and loss are required.
    pub(crate) fn read(mut config: Config) -> (Result<Self>, Vec<UnreadPart>) {
        const KEYS: &[&str] = &["optimizer", "loss", "loss_weights", "metrics", "weighted_metrics"];
        // Keras's execution settings, which do not change results.
        for key in ["run_eagerly", "steps_per_execution", "jit_compile", "auto_scale_loss"] {
            config.remove(key);
        }
        let mut take = |key: &'static str| config.remove(key).filter(|value| !value.is_null());
        let (weights, optimizer, loss) = (take("loss_weights"), take("optimizer"), take("loss"));
        let (mut left_out, mut too_many) = (Vec::new(), None);
        let mut metrics = |key| {
            let mut given = take(key).unwrap_or_default();
            if let Err(error) = check_count(key, flat(&given).len()) {
                too_many = Some(error);
                given = Json::Null;
            }
            metrics_from_json(given, &mut |given| {
                let part =
                    format!("{} {}", if key == "metrics" { "metric" } else { "weighted metric" }, called(&given));
                MetricArgument::from_json(given).map_err(|error| left_out.push(UnreadPart { part, error })).ok()
            })
        };
        let (metrics, weighted_metrics) = (metrics("metrics"), metrics("weighted_metrics"));
        left_out.extend(config.keys().map(|unknown| UnreadPart {
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
                losses: losses_from_json(loss.unwrap_or_default())?,
                loss_weights: weights.map_or(Ok(ByOutput::All(1.0)), weights_from_json)?,
                mixed: None,
            })
        };
        (compile(), left_out)
    }
}

/// The most metrics of a model; each needs a unique name in the history.
const METRICS: usize = 1000;

fn check_count(argument: &str, count: usize) -> Result<()> {
    if count <= METRICS { Ok(()) } else { Err(Error::argument(argument, format!("at most {METRICS} metrics"), count)) }
}

/// A part of `compile` that could not be read.
#[derive(Debug)]
pub(crate) struct UnreadPart {
    /// The part.
    pub part: String,
    /// Why it could not be read.
    pub error: Error,
}

/// The name of a loss or metric of a file in messages.
fn called(given: &Json) -> String {
    let name = match given.get("class_name").and_then(Json::as_str) {
        // A custom function is stored by its name.
        Some("function") => given.get("config").and_then(Json::as_str),
        class => class.or(given.as_str()),
    };
    name.map_or_else(String::new, |name| format!("`{}`", crate::text::printable(name)))
}

/// The checked training configuration, with the optimizer's state.
#[derive(Clone, Debug)]
pub(crate) struct Compiled {
    given: Compile,
    pub optimizer: Box<dyn Optimizer>,
    goals: Vec<Goal>,
    pub state: OptimizerState,
}

impl Compiled {
    /// Checks the arguments for a model of these outputs.
    pub fn new(mut given: Compile, outputs: &[String]) -> Result<Self> {
        given.check()?;
        let single = outputs.len() == 1;
        let losses = match given.losses.parts()[..] {
            // A single output takes the only loss, whatever name it was given for.
            [only] if single => vec![only.clone()],
            _ => given.losses.resolve("loss", outputs, None)?,
        };
        let weights = match given.loss_weights.parts()[..] {
            [only] if single => vec![*only],
            _ => given.loss_weights.resolve("loss_weights", outputs, None)?,
        };
        let metrics = given.metrics.of_outputs("metrics", outputs)?;
        let weighted = given.weighted_metrics.of_outputs("weighted_metrics", outputs)?;
        given.optimizer.resolve()?;
        // The form that Keras reads from files: it has no name for a single output, and pairs a list of losses with
        // named weights in alphabetical order.
        if single {
            given.losses = ByOutput::All(losses[0].clone());
            given.loss_weights = ByOutput::All(weights[0]);
            given.metrics = ByOutput::All(metrics[0].clone());
            given.weighted_metrics = ByOutput::All(weighted[0].clone());
        } else if weights.iter().all(|weight| *weight == 1.0) {
            given.loss_weights = ByOutput::All(1.0);
        } else {
            given.losses = ByOutput::List(losses.clone());
            given.loss_weights = ByOutput::List(weights.clone());
        }
        let parts = losses.into_iter().zip(weights).zip(metrics.into_iter().zip(weighted)).zip(outputs);
        let goals = parts.map(|(((loss, weight), (metrics, weighted_metrics)), output)| {
            Ok(Goal {
                output: (!single).then(|| output.clone()),
                loss: loss.map(|loss| loss.resolve()).transpose()?,
                weight,
                metrics,
                weighted_metrics,
            })
        });
        let goals = goals.collect::<Result<_>>()?;
        Ok(Self { optimizer: given.optimizer.resolve()?, goals, state: OptimizerState::default(), given })
    }

    /// Loss and metrics of each output.
    pub fn goals(&self) -> &[Goal] {
        &self.goals
    }

    /// The loss of a model with a single output.
    pub fn only_loss(&self) -> Option<&dyn Loss> {
        match &self.goals[..] {
            [goal] => goal.loss.as_deref(),
            _ => None,
        }
    }

    /// All metrics, each with its name in logs.
    pub fn named_metrics(&self) -> impl Iterator<Item = (String, &MetricArgument)> {
        self.goals.iter().flat_map(|goal| {
            let metrics = goal.metrics.iter().chain(&goal.weighted_metrics);
            metrics.map(|metric| (goal.log_name(metric.about().0), metric))
        })
    }

    /// Resets the optimizer's state.
    pub fn forget(&mut self) {
        self.state = OptimizerState::default();
    }

    pub fn move_to(&mut self, device: &Device) {
        self.state.move_to(device);
    }

    /// The number of the optimizer's variables, once it has taken a step; like Keras, counts the step number and a
    /// constant learning rate too.
    pub fn optimizer_params(&self) -> Option<usize> {
        let slots: usize = self.state.slots.iter().flatten().map(crate::Value::len).sum();
        let own = 1 + usize::from(self.optimizer.learning_rate_argument().constant().is_some());
        let shared = usize::from(self.state.shared.is_some());
        (!self.state.slots.is_empty()).then_some(slots + own + shared)
    }

    /// The configuration in the form of Keras's `compile_config`.
    pub fn config(&self) -> Result<Config> {
        let mut config = Config::new();
        config.insert("optimizer".into(), optimizer_to_json(&*self.optimizer)?);
        config.insert("loss".into(), losses_to_json(&self.given.losses)?);
        config.insert("loss_weights".into(), weights_to_json(&self.given.loss_weights)?);
        config.insert("metrics".into(), metrics_to_json(&self.given.metrics, MetricArgument::to_json)?);
        config
            .insert("weighted_metrics".into(), metrics_to_json(&self.given.weighted_metrics, MetricArgument::to_json)?);
        config.insert("run_eagerly".into(), false.into());
        config.insert("steps_per_execution".into(), 1.into());
        config.insert("jit_compile".into(), false.into());
        Ok(config)
    }

    /// The losses and metrics of [`config`](Self::config) with objects in place of names: Keras does not accept names
    /// in the older file formats.
    pub fn objects(&self) -> Result<[(&'static str, Json); 3]> {
        let object = |loss: &Option<LossArgument>| match loss {
            None => Ok(Json::Null),
            Some(loss) => loss.to_object(),
        };
        Ok([
            ("loss", self.given.losses.to_json(object)?),
            ("metrics", metrics_to_json(&self.given.metrics, MetricArgument::to_object)?),
            ("weighted_metrics", metrics_to_json(&self.given.weighted_metrics, MetricArgument::to_object)?),
        ])
    }
}
