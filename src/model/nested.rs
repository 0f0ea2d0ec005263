//! A model as a layer of another.

use std::collections::BTreeMap;

use super::Model;
use super::core::in_layer;
use super::forward::child_specs;
use super::sizes::held;
use super::weights::fitting_weights;
use crate::config::{Config, Configure, snake_case};
use crate::error::{Error, Result};
use crate::layers::{Call, Common, HasCommon, Layer, WeightSpec, is_trainable};
use crate::ops::Value;
use crate::shape::Shape;

impl HasCommon for Model {
    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

/// Where Keras puts the weights of each layer of a container: its class in snake case, numbered.
pub(crate) fn container_keys(layers: &[Box<dyn Layer>]) -> Vec<String> {
    class_keys(layers.iter().map(|layer| layer.class_name()))
}

/// As [`container_keys`], for layers of these classes.
pub(crate) fn class_keys<'a>(classes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    classes
        .map(|class| {
            let class = snake_case(class);
            let count = counts.entry(class.clone()).or_default();
            *count += 1;
            if *count == 1 { class } else { format!("{class}_{}", *count - 1) }
        })
        .collect()
}

impl Model {
    /// Takes the weights that it had in another model for its own, in the order of [`Layer::weights`].
    pub(super) fn take_over(&mut self, input: &Shape, values: Vec<Value>) -> Result<()> {
        let counts: Vec<usize> = self.build_for(input)?.specs.iter().map(Vec::len).collect();
        let device = self.device.clone();
        let mut values = values.into_iter().map(|value| Some(value.to_device(&device)));
        let by_layer = counts.into_iter().map(|count| values.by_ref().take(count).collect()).collect();
        self.replace_weights(by_layer)
    }
}

impl Layer for Model {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        if let Some(declared) = self.built.get().map(|built| &built.shapes[0])
            && declared.sample().iter().zip(input.sample()).any(|pair| matches!(pair, (Some(a), Some(b)) if a != b))
        {
            return Err(Error::shape(format!("the nested model's input shape {declared}"), input));
        }
        // Not by way of the weights: each level of nesting would then double the work.
        self.output_sizes(input)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let (_, specs) = child_specs(&self.layers, input)?;
        let keys = container_keys(&self.layers);
        Ok(specs
            .into_iter()
            .enumerate()
            .flat_map(|(index, specs)| {
                let trainable = is_trainable(&*self.layers[index]);
                let group = format!("layers/{}", keys[index]);
                specs.into_iter().map(move |mut spec| {
                    spec.trainable &= trainable;
                    spec.in_group(&group)
                })
            })
            .collect())
    }

    /// Each of its layers decides for itself.
    fn supports_masking(&self) -> bool {
        true
    }

    fn check_values(&self, values: &[f32]) -> Result<bool> {
        self.layers_take(values)
    }

    fn apply_trainable(&mut self, trainable: bool) {
        self.common.trainable = trainable;
        self.layers.iter_mut().for_each(|layer| layer.apply_trainable(trainable));
    }

    fn is_wrapper(&self) -> bool {
        true
    }

    /// Those that were made, or what its layers bring. All others are left to the outer model, whose seed then decides.
    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        if let Some(weights) = self.built.get().and_then(|built| built.weights.get()) {
            return Ok(weights.iter().flatten().map(|weight| Some(weight.value.clone())).collect());
        }
        let (mut input, mut all) = (input.clone(), Vec::new());
        for layer in &self.layers {
            let specs = layer.weights(&input)?;
            let brought = in_layer(&**layer, fitting_weights(&**layer, &input, &specs))?;
            all.extend((0..specs.len()).map(|index| brought.get(index).cloned().flatten()));
            input = in_layer(&**layer, layer.checked_output(&input))?;
        }
        Ok(all)
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let held = held(&self.layers, input, training)?;
        // The input and the output are counted by whoever asks.
        Ok(held.values.saturating_sub(input.known_len()).saturating_sub(held.output.known_len()))
    }

    fn forward(&self, mut input: Value, call: &mut Call<'_>) -> Result<Value> {
        let shape = Shape::new(input.sizes().into_iter().map(Some).collect::<Vec<_>>());
        let (_, specs) = child_specs(&self.layers, &shape)?;
        let mut first = 0;
        for (index, specs) in specs.into_iter().enumerate() {
            let layer = &*self.layers[index];
            let mut part = call.part(first..first + specs.len(), index as u64);
            part.restrict(is_trainable(layer));
            part.set_skip_final_activation(call.skip_final_activation() && index + 1 == self.layers.len());
            input = in_layer(layer, layer.run(input, &mut part))?;
            in_layer(layer, part.check_skipped(layer))?;
            call.mask = part.mask.take().filter(|_| layer.supports_masking());
            call.absorb(part, first);
            first += specs.len();
        }
        Ok(input)
    }

    fn final_activation(&self) -> Option<&crate::Activation> {
        self.layers.last().and_then(|layer| layer.final_activation())
    }

    fn as_model(&self) -> Option<&Model> {
        Some(self)
    }

    fn as_model_mut(&mut self) -> Option<&mut Model> {
        Some(self)
    }
}

impl Configure for Model {
    const CLASS_NAME: &'static str = "Functional";
    const ARGUMENTS: &'static [&'static str] = &["layers", "build_input_shape"];

    fn class_name(&self) -> &'static str {
        "Sequential"
    }

    fn config(&self) -> Result<Config> {
        self.own_config()
    }

    fn from_config(config: Config) -> Result<Self> {
        Self::from_own_config(config)
    }
}
