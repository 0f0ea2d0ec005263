//! A model as a layer of another model.

use super::files::functional;
use super::graph::positional_shapes;
use super::sizes::held;
use super::weight::fitting_weights;
use super::{CallLayer, Model, Sequential};
use crate::config::{Config, Configure};
use crate::error::{Error, Result};
use crate::layers::{
    Add, Arguments, BuiltIn, Call, Common, Dense, HasCommon, Input, Layer, LayerArguments, WeightSpec, container_keys,
    in_layer, is_trainable,
};
use crate::ops::Value;
use crate::shape::Shape;

impl HasCommon for Model {
    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        self.plans.forget();
        &mut self.common
    }
}

impl Model {
    /// Takes over the weights that it had in another model, in the order of [`Layer::weights`].
    pub(super) fn take_over(&mut self, input: &Shape, values: Vec<Value>) -> Result<()> {
        let counts: Vec<usize> = self.build_for(std::slice::from_ref(input))?.specs.iter().map(Vec::len).collect();
        let device = self.device.clone();
        let mut values = values.into_iter().map(|value| Some(value.to_device(&device)));
        let by_layer = counts.into_iter().map(|count| values.by_ref().take(count).collect()).collect();
        self.replace_weights(by_layer)
    }
}

impl Layer for Model {
    fn is_model(&self) -> bool {
        true
    }

    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        let mut outputs = self.output_shapes(std::slice::from_ref(input), &Arguments::new())?;
        outputs.pop().filter(|_| outputs.is_empty()).ok_or_else(|| Error::shape("one output", "several"))
    }

    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&["training"])?;
        if inputs.len() != self.graph.inputs() {
            return Err(Error::shape(format!("{} inputs", self.graph.inputs()), format!("{} inputs", inputs.len())));
        }
        for (input, declared) in inputs.iter().zip(self.built.get().map_or(&[][..], |built| &built.shapes)) {
            let differ = |pair| matches!(pair, (&Some(a), &Some(b)) if a != b);
            if declared.rank() != input.rank() || declared.sample().iter().zip(input.sample()).any(differ) {
                return Err(Error::shape(format!("the nested model's input shape {declared}"), input));
            }
        }
        // Not through the weights: the work would double with each level of nesting.
        self.output_shapes_for(inputs)
    }

    fn resizes_in_training(&self) -> bool {
        self.layers.iter().any(|layer| layer.resizes_in_training())
    }

    fn inference_shapes(&self, inputs: &[Shape], _: &Arguments) -> Result<Option<Vec<Shape>>> {
        self.uncropped(inputs)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        self.weights_for(std::slice::from_ref(input))
    }

    fn weights_for(&self, inputs: &[Shape]) -> Result<Vec<WeightSpec>> {
        let keys = container_keys(self.layers());
        Ok(self
            .child_specs(inputs)?
            .into_iter()
            .enumerate()
            .flat_map(|(index, specs)| {
                let trainable = is_trainable(&*self.layers[index]);
                // Operations, which come last, have no weights.
                let group = format!("layers/{}", keys.get(index).map_or("", String::as_str));
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
        Ok(self.check_input(0, values)?.first().copied().unwrap_or(false))
    }

    fn apply_trainable(&mut self, trainable: bool) {
        self.plans.forget();
        self.common.trainable = trainable;
        self.layers.iter_mut().for_each(|layer| layer.apply_trainable(trainable));
    }

    fn is_wrapper(&self) -> bool {
        true
    }

    fn is_stateful(&self) -> bool {
        self.layers.iter().any(|layer| layer.is_stateful())
    }

    fn is_synchronized(&self) -> bool {
        self.layers.iter().any(|layer| layer.is_synchronized())
    }

    fn call_count(&self) -> usize {
        let inside = self.layers.iter().map(|layer| layer.call_count()).enumerate();
        let all = inside.map(|(index, count)| count.saturating_mul(self.graph.call_count(index)));
        // Each output is a value for the caller, even if nothing is computed for it: one value can be listed many
        // times.
        all.fold(self.graph.outputs().len().max(1), usize::saturating_add)
    }

    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        self.given_weights_for(std::slice::from_ref(input))
    }

    /// Those already created, or brought by its layers. All others are left to the outer model, whose seed then
    /// applies.
    fn given_weights_for(&self, inputs: &[Shape]) -> Result<Vec<Option<Value>>> {
        if let Some(weights) = self.built.get().and_then(|built| built.weights.get()) {
            return Ok(weights.iter().flatten().map(|weight| Some(weight.value.clone())).collect());
        }
        let shapes = self.propagate(inputs)?;
        let mut all = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let Some(node) = self.graph.first_call(index) else { continue };
            let inputs = positional_shapes(&shapes, node);
            let specs = layer.weights_for(&inputs)?;
            let brought = in_layer(&**layer, fitting_weights(&**layer, &inputs, &specs))?;
            all.extend((0..specs.len()).map(|index| brought.get(index).cloned().flatten()));
        }
        Ok(all)
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        self.scratch_for(std::slice::from_ref(input), &Arguments::new(), training)
    }

    fn scratch_for(&self, inputs: &[Shape], _: &Arguments, training: bool) -> Result<usize> {
        let held = held(self, inputs, training)?;
        // The caller counts the inputs and the outputs.
        let ends = inputs.iter().chain(&held.outputs).map(Shape::known_len);
        Ok(ends.fold(held.values, usize::saturating_sub))
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let mut outputs = self.pass_in(vec![input], call)?;
        outputs.pop().filter(|_| outputs.is_empty()).ok_or_else(|| Error::shape("one output", "several"))
    }

    fn forward_all(&self, inputs: Vec<Value>, call: &mut Call<'_>) -> Result<Vec<Value>> {
        self.pass_in(inputs, call)
    }

    fn final_activation(&self) -> Option<&crate::Activation> {
        if self.graph.outputs().len() == 1 { self.final_activation_of(0) } else { None }
    }
}

impl Configure for Model {
    const CLASS_NAME: &'static str = "Functional";
    const ARGUMENTS: &'static [&'static str] = &["layers", "input_layers", "output_layers"];

    fn class_name(&self) -> &'static str {
        if self.functional.is_some() { Self::CLASS_NAME } else { Sequential::CLASS_NAME }
    }

    fn config(&self) -> Result<Config> {
        self.own_config()
    }

    fn from_config(config: Config) -> Result<Self> {
        functional::from_config(config)
    }
}

impl BuiltIn for Model {
    fn examples() -> Vec<(Self, Shape)> {
        let residual = || {
            let input = Input::new(3).name("x").symbol();
            let inner = Dense::new(3).activation("relu").name("inner").call(&input)?;
            Self::new(&input, &Add::new().call([&input, &inner])?)
        };
        residual().into_iter().map(|model| (model, Shape::batch_of(3))).collect()
    }
}
