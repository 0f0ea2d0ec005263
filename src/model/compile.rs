//! The compile configuration of a model.

use serde_json::Value as Json;

use super::Model;
use crate::activations::Activation;
use crate::compile::{Compile, Compiled};
use crate::error::{Error, Result};
use crate::losses::Loss;
use crate::schedules::LearningRate;

impl Model {
    /// Sets the optimizer, the loss and the metrics.
    ///
    /// The state of a previous optimizer is dropped.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown name, with the nearest known one; [`Error::Argument`] for invalid
    /// arguments. The model is then unchanged.
    pub fn compile(&mut self, compile: Compile) -> Result<&mut Self> {
        self.compiled = Some(Compiled::new(compile, &self.output_keys())?);
        self.compile_fault = None;
        self.forget_room();
        Ok(self)
    }

    /// The reason why a model that was compiled when it was saved is not compiled here: the part of its file that could
    /// not be read. `None` for a model that is compiled, or never was.
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

    /// The number of steps that the optimizer has taken: Keras's `model.optimizer.iterations`. Files keep it, and
    /// schedules and the random numbers of a step are functions of it.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`.
    pub fn iterations(&self) -> Result<u64> {
        Ok(self.expect_compiled("iterations")?.state.iterations)
    }

    /// Sets the learning rate; the optimizer's state is kept.
    ///
    /// # Errors
    /// [`Error::State`] before `compile`, [`Error::Argument`] for NaN or a number below 0,
    /// [`Error::Unsupported`] if a schedule determines the rate.
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

    /// The number of classes for [`OneHot`](crate::datasets::OneHot) targets, if the loss compares one-hot rows with
    /// the outputs and these targets, whose sample shape is `y_shape`, are class indices instead.
    ///
    /// The library rejects such targets, as Keras does; the command line, where data files do not say which form the
    /// targets have, converts them as the loss requires.
    pub fn one_hot_classes(&self, y_shape: &[usize]) -> Option<usize> {
        const ROWS: [&str; 3] = ["CategoricalCrossentropy", "CategoricalFocalCrossentropy", "CategoricalHinge"];
        self.compiled.as_ref()?.only_loss().filter(|loss| ROWS.contains(&loss.class_name()))?;
        match self.output_shape().ok()?.known_sample().ok()?[..] {
            [classes] if classes > 1 && y_shape.iter().all(|size| *size == 1) => Some(classes),
            _ => None,
        }
    }

    /// The class of the metric with this name in the history, if it is a built-in one.
    pub(crate) fn metric_class(&self, name: &str) -> Result<Option<&'static str>> {
        let compiled = self.expect_compiled("metrics")?;
        Ok(compiled.named_metrics().find(|(own, _)| own == name).and_then(|(_, metric)| metric.about().1))
    }

    /// Whether the loss interprets the outputs as logits.
    pub(crate) fn gives_logits(&self) -> bool {
        let config = self.compiled.as_ref().and_then(|compiled| compiled.only_loss()?.config().ok());
        config.is_some_and(|config| config.get("from_logits").and_then(Json::as_bool) == Some(true))
    }

    /// Whether the loss is a hinge loss on outputs centred at 0, for which the sign of an output is its class.
    pub(crate) fn has_hinge_loss(&self) -> bool {
        let is_hinge = |loss: &dyn Loss| ["Hinge", "SquaredHinge"].contains(&loss.class_name());
        let hinge = |compiled: &Compiled| compiled.only_loss().is_some_and(is_hinge);
        let one_sided = matches!(self.final_activation_of(0), Some(Activation::Sigmoid | Activation::HardSigmoid));
        self.compiled.as_ref().is_some_and(hinge) && !one_sided
    }

    /// Whether the metric with this name in the history has a value per class or threshold.
    pub(crate) fn metric_is_list(&self, name: &str) -> Result<bool> {
        let compiled = self.expect_compiled("metrics")?;
        Ok(compiled.named_metrics().find(|(own, _)| own == name).is_some_and(|(_, metric)| metric.is_list()))
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
