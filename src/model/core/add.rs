//! Putting layers in a row: `add`, `pop`, and the layers' names.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use super::super::weights::start;
use super::{Built, Model, in_layer, rules};
use crate::config::snake_case;
use crate::error::{Error, Result};
use crate::layers::Layer;
use crate::shape::Shape;

impl Model {
    /// Appends a layer, gives it a name if it has none, and works out its output shape.
    ///
    /// On an error the model is as before.
    ///
    /// # Errors
    /// [`Error::Layer`] with what the layer refuses; [`Error::DuplicateName`]; [`Error::Argument`] for a name with `/`
    /// or a second input shape.
    pub(in crate::model) fn add(&mut self, mut layer: Box<dyn Layer>) -> Result<()> {
        let is_input = layer.class_name() == "InputLayer";
        let names = self.names.clone();
        self.name_layer(&mut layer, if is_input { "input_layer" } else { "" })?;
        let added = if is_input { self.add_input(&*layer) } else { self.add_layer(layer) };
        if added.is_err() {
            self.names = names;
        }
        added
    }

    fn add_input(&mut self, input: &dyn Layer) -> Result<()> {
        let shape = input.common().input_shape.clone();
        let shape = shape.ok_or_else(|| Error::argument("input_shape", "the shape of one sample", "nothing"))?;
        in_layer(input, input.output_shape(&shape))?;
        self.declare(&shape, !self.layers.is_empty())?;
        self.input_name = Some(input.name().to_owned());
        Ok(())
    }

    fn add_layer(&mut self, mut layer: Box<dyn Layer>) -> Result<()> {
        let before = (self.declared.clone(), self.built.clone());
        // The first layer may be a model that has an input shape; further ones only have to fit.
        let own = layer.as_model().filter(|_| self.layers.is_empty());
        let own = own.and_then(|model| model.declared.clone()).filter(|_| self.declared.is_none());
        let result = self.try_add_layer(&*layer, layer.common().input_shape.clone().or(own));
        match result {
            Ok(()) => {
                if self.built.get().is_some_and(|built| built.weights.get().is_some()) {
                    // Its weights are the model's now.
                    layer.common_mut().brought.0.clear();
                }
                self.layers.push(layer);
                self.forget_training();
            }
            Err(_) => (self.declared, self.built) = before,
        }
        result
    }

    fn try_add_layer(&mut self, layer: &dyn Layer, input: Option<Shape>) -> Result<()> {
        if let Some(shape) = input {
            let expected = self.built.get().and_then(|built| built.shapes.last());
            if expected != Some(&shape) {
                in_layer(layer, self.declare(&shape, !self.layers.is_empty()))?;
            }
        }
        if let Some(built) = self.built.get_mut() {
            let input = built.shapes.last().cloned().unwrap_or_else(|| Shape::batch_of(()));
            let (output, specs) = in_layer(layer, rules(layer, &input))?;
            if let Some(weights) = built.weights.get_mut() {
                let index = weights.len() as u64;
                weights.push(in_layer(layer, start(layer, &input, &specs, &[self.seed, index], &self.device))?);
            }
            built.shapes.push(output);
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
        self.declared = Some(shape.clone());
        self.built = OnceLock::from(Built { shapes: vec![shape.clone()], specs: Vec::new(), weights: OnceLock::new() });
        Ok(())
    }

    fn name_layer(&mut self, layer: &mut Box<dyn Layer>, base: &str) -> Result<()> {
        let taken: BTreeSet<&str> =
            self.layers.iter().map(|layer| layer.name()).chain(self.input_name.as_deref()).collect();
        // A nested model is named like any other layer, unless its maker has named it.
        let nested_default = layer.as_model().is_some() && layer.name() == "sequential";
        if let Some(name) = layer.common().name.clone().filter(|_| !nested_default) {
            if name.is_empty() || name.contains('/') || name.contains('\0') {
                return Err(Error::argument("name", "a name without `/`", format!("`{name}`")));
            }
            if taken.contains(name.as_str()) {
                return Err(Error::DuplicateName { model: self.name().to_owned(), name });
            }
            return Ok(());
        }
        let base = if base.is_empty() { snake_case(layer.class_name()) } else { base.to_owned() };
        let count = self.names.entry(base.clone()).or_default();
        let name = loop {
            let name = if *count == 0 { base.clone() } else { format!("{base}_{count}") };
            *count += 1;
            if !taken.contains(name.as_str()) {
                break name;
            }
        };
        layer.common_mut().name = Some(name);
        Ok(())
    }

    /// Removes the last layer and returns it. As in Keras it keeps its weights: added again, to this model or another,
    /// it goes on from them.
    ///
    /// # Errors
    /// [`Error::NoSuchLayer`] if there is none.
    pub(in crate::model) fn pop(&mut self) -> Result<Box<dyn Layer>> {
        let Some(mut layer) = self.layers.pop() else {
            return Err(Error::NoSuchLayer { wanted: "the last layer".into(), existing: Vec::new() });
        };
        if let Some(built) = self.built.get_mut() {
            built.shapes.pop();
            built.specs.pop();
            let values = built.weights.get_mut().and_then(Vec::pop);
            let values = values.map(|weights| weights.into_iter().map(|weight| weight.value).collect());
            if let (Some(values), Some(input)) = (values, built.shapes.last()) {
                match layer.as_model_mut() {
                    Some(nested) if nested.layers.is_empty() => {}
                    Some(nested) => nested.take_over(input, values)?,
                    None => layer.common_mut().brought.0 = values,
                }
            }
        }
        if self.layers.is_empty() {
            // The input shape came with the first layer unless an `Input` brought it.
            if self.input_name.is_none() {
                self.declared = None;
                self.built = OnceLock::new();
            }
        }
        self.forget_training();
        Ok(layer)
    }
}
