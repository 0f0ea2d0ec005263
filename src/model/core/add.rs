//! Sequential construction: `add`, `pop`, and the layers' names.

use std::sync::OnceLock;

use super::super::as_model::{nested_model, nested_model_mut};
use super::super::stage::{STRING, gives_text};
use super::super::weights::start;
use super::{Built, Model, check_calls, check_name, refuse_any_size, rules};
use crate::config::snake_case;
use crate::error::{Error, Result};
use crate::layers::{Arguments, Layer, Takes, in_layer};
use crate::shape::Shape;

impl Model {
    /// Appends a layer, names it if necessary, and infers its output shape.
    ///
    /// On an error the model is unchanged.
    ///
    /// # Errors
    /// [`Error::Layer`] with the layer's error; [`Error::DuplicateName`]; [`Error::Argument`] for a name with `/` or a
    /// second input shape.
    pub(in crate::model) fn add(&mut self, mut layer: Box<dyn Layer>) -> Result<()> {
        let is_input = layer.class_name() == "InputLayer";
        let counted = self.name_layer(&mut layer, if is_input { "input_layer" } else { "" })?;
        let added = if is_input { self.add_input(&*layer) } else { self.add_layer(layer) };
        if let (Err(_), Some((base, count))) = (&added, counted) {
            self.names.insert(base, count);
        }
        added
    }

    fn add_input(&mut self, input: &dyn Layer) -> Result<()> {
        let shape = input.common().input_shape.clone();
        let shape = shape.ok_or_else(|| Error::argument("input_shape", "the shape of one sample", "nothing"))?;
        in_layer(input, input.common().check_batch_size())?;
        in_layer(input, input.checked_output(&shape))?;
        self.declare(&shape, !self.layers.is_empty())?;
        self.input_name = Some(input.name().to_owned());
        self.input_dtype.clone_from(&input.common().dtype);
        self.input_batch = input.common().batch_size;
        Ok(())
    }

    fn add_layer(&mut self, mut layer: Box<dyn Layer>) -> Result<()> {
        let declared = self.declared.clone();
        let depth = self.built.get().map(|built| built.shapes.len());
        // The first layer can be a model with an input shape; further ones only have to accept the shape.
        let own = nested_model(&*layer).filter(|_| self.layers.is_empty());
        let own = own.and_then(|model| model.declared.clone()).filter(|_| self.declared.is_none());
        let batch_size = match self.layers.is_empty() {
            true => {
                self.input_batch.or(layer.common().batch_size).or(nested_model(&*layer).and_then(Model::batch_size))
            }
            false => self.input_batch,
        };
        in_layer(&*layer, layer.common().check_batch_size())?;
        // Without an `Input` the first layer determines the input dtype.
        let input_dtype = self.input_dtype.clone();
        if self.layers.is_empty() && self.input_name.is_none() {
            self.input_dtype = layer.on_host().map(|host| match host.takes() {
                Takes::Text => STRING.to_owned(),
                Takes::Numbers | Takes::Any => "int64".to_owned(),
            });
        }
        let result = in_layer(&*layer, self.check_next_texts(&*layer))
            .and_then(|()| self.try_add_layer(&*layer, layer.common().input_shape.clone().or(own), batch_size));
        match result {
            Ok(()) => {
                if self.built.get().is_some_and(|built| built.weights.get().is_some()) {
                    // Its weights are the model's now.
                    layer.common_mut().brought.0.clear();
                }
                self.input_batch = batch_size;
                self.graph.append(self.layers.len());
                self.layers.push(layer);
                self.plans.forget();
                self.forget_training();
                self.reset_states();
            }
            Err(_) => {
                self.declared = declared;
                self.input_dtype = input_dtype;
                match (depth, self.built.get_mut()) {
                    (Some(depth), Some(built)) => built.truncate(depth),
                    _ => self.built = OnceLock::new(),
                }
            }
        }
        result
    }

    /// Rejects texts where the next layer requires numbers, and vice versa.
    fn check_next_texts(&self, layer: &dyn Layer) -> Result<()> {
        let start = self.input_dtype.as_deref() == Some(STRING);
        let texts = self.layers.iter().try_fold(start, |texts, layer| match layer.on_host() {
            None if !texts => Ok(false),
            _ => gives_text(&**layer, &[texts]),
        })?;
        gives_text(layer, &[texts]).map(|_| ())
    }

    fn try_add_layer(&mut self, layer: &dyn Layer, input: Option<Shape>, batch_size: Option<usize>) -> Result<()> {
        in_layer(layer, check_calls(self.call_count().saturating_add(layer.call_count()), "calls of layers"))?;
        if let Some(shape) = input {
            let expected = self.built.get().and_then(|built| built.shapes.last());
            if expected != Some(&shape) {
                in_layer(layer, self.declare(&shape, !self.layers.is_empty()))?;
            }
        }
        if let Some(built) = self.built.get_mut() {
            refuse_any_size(layer, batch_size)?;
            let input = built.shapes.last().cloned().unwrap_or_else(|| Shape::batch_of(()));
            let inputs = [input];
            let (outputs, specs) = in_layer(layer, rules(layer, &inputs, &Arguments::new()))?;
            if outputs.len() != 1 {
                let several = Error::shape("one output, as all layers of a Sequential", format!("{}", outputs.len()));
                return in_layer(layer, Err(several));
            }
            if let Some(weights) = built.weights.get_mut() {
                let index = weights.len() as u64;
                weights.push(in_layer(layer, start(layer, &inputs, &specs, &[self.seed, index], &self.device))?);
            }
            built.shapes.extend(outputs);
            built.specs.push(specs);
        }
        Ok(())
    }

    /// Sets the input shape of a model that has none.
    pub(super) fn declare(&mut self, shape: &Shape, has_layers: bool) -> Result<()> {
        let known = self.declared.as_ref().or_else(|| self.built.get().map(|built| &built.shapes[0]));
        if let Some(known) = known {
            let model = format!("model `{}` already has the input shape {known}", self.name());
            return Err(Error::argument("input_shape", format!("no second input shape: {model}"), shape));
        }
        if has_layers {
            return Err(Error::argument("input_shape", "an input shape on the first layer only", shape));
        }
        shape.check_count()?;
        self.declared = Some(shape.clone());
        self.built = OnceLock::from(Built { shapes: vec![shape.clone()], specs: Vec::new(), weights: OnceLock::new() });
        Ok(())
    }

    /// Names the layer if it has no name. For a counted name, also returns the previous count.
    fn name_layer(&mut self, layer: &mut Box<dyn Layer>, base: &str) -> Result<Option<(String, usize)>> {
        // A nested model is named like any other layer, unless the user has named it.
        let nested_default = nested_model(&**layer).is_some() && ["sequential", "functional"].contains(&layer.name());
        if let Some(name) = layer.common().name.clone().filter(|_| !nested_default) {
            check_name(&name)?;
            if self.has_name(&name) {
                return Err(Error::DuplicateName { model: self.name().to_owned(), name });
            }
            return Ok(None);
        }
        // The rule of `UniqueNames`, but layers can be removed, which frees their names, and the count is taken back if
        // the layer is not added.
        let base = if base.is_empty() { snake_case(layer.class_name()) } else { base.to_owned() };
        let before = self.names.get(&base).copied().unwrap_or_default();
        let numbered = |count: usize| if count == 0 { base.clone() } else { format!("{base}_{count}") };
        let (count, name) = (before..)
            .map(|count| (count, numbered(count)))
            .find(|(_, name)| !self.has_name(name))
            .unwrap_or_else(|| (before, numbered(before)));
        self.names.insert(base.clone(), count + 1);
        layer.common_mut().name = Some(name);
        Ok(Some((base, before)))
    }

    /// Whether a layer or the input has this name. Comparing with each is cheaper than a set that every change of a
    /// name has to maintain: five thousand layers take 12 million comparisons, most of them of lengths.
    fn has_name(&self, name: &str) -> bool {
        self.input_name.as_deref() == Some(name) || self.layers.iter().any(|layer| layer.name() == name)
    }

    /// Removes the last layer and returns it. As in Keras it keeps its weights, also when it is added again, to this
    /// model or another.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] if the model is empty.
    pub(in crate::model) fn pop(&mut self) -> Result<Box<dyn Layer>> {
        let Some(mut layer) = self.layers.pop() else {
            return Err(Error::NoSuchLayer { wanted: "the last layer".into(), existing: Vec::new() });
        };
        self.graph.remove_last();
        self.plans.forget();
        if let Some(built) = self.built.get_mut() {
            built.shapes.pop();
            built.specs.pop();
            let values = built.weights.get_mut().and_then(Vec::pop);
            let values = values.map(|weights| weights.into_iter().map(|weight| weight.value).collect());
            if let (Some(values), Some(input)) = (values, built.shapes.last()) {
                match nested_model_mut(&mut *layer) {
                    Some(nested) if nested.layers.is_empty() => {}
                    Some(nested) => nested.take_over(input, values)?,
                    None => layer.common_mut().brought.0 = values,
                }
            }
        }
        if self.layers.is_empty() {
            // The input shape came with the first layer, unless there is an `Input`.
            if self.input_name.is_none() {
                self.declared = None;
                self.input_batch = None;
                self.input_dtype = None;
                self.built = OnceLock::new();
            }
        }
        self.forget_training();
        self.reset_states();
        Ok(layer)
    }
}
