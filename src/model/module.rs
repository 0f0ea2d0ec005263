//! `Model` as a Burn `Module`: for Burn's optimizers, records and training loops.

use burn::module::{Content, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

use super::weight::Weight;
use super::{Model, Sequential};
use crate::layers::WeightSpec;
use crate::ops::Value;

/// Runs `$body` for the weight as a `Param<Tensor<D>>` of its rank.
macro_rules! with_param {
    ($weight:expr, |$param:ident| $body:expr) => {
        match $weight.value.rank() {
            1 => with_param!(@rank 1, $weight, $param, $body),
            2 => with_param!(@rank 2, $weight, $param, $body),
            3 => with_param!(@rank 3, $weight, $param, $body),
            4 => with_param!(@rank 4, $weight, $param, $body),
            5 => with_param!(@rank 5, $weight, $param, $body),
            _ => with_param!(@rank 6, $weight, $param, $body),
        }
    };
    (@rank $rank:literal, $weight:expr, $param:ident, $body:expr) => {
        if let Ok(tensor) = $weight.value.clone().tensor::<$rank>() {
            let $param: Param<Tensor<$rank>> = Param::initialized($weight.id, tensor);
            $body
        }
    };
}

impl Model {
    fn map_weights(mut self, mut change: impl FnMut(&WeightSpec, &mut Weight)) -> Self {
        // Without weights (a model that is not built, an initializer that fails) there is nothing to map.
        let _ = self.weights_if_built();
        self.plans.forget_weights();
        if let Some(built) = self.built.get_mut()
            && let Some(weights) = built.weights.get_mut()
        {
            built
                .specs
                .iter()
                .flatten()
                .zip(weights.iter_mut().flatten())
                .for_each(|(spec, weight)| change(spec, weight));
        }
        self
    }
}

/// A built model's weights are its parameters, named by layer and weight (within a layer with the group first).
///
/// `train` makes trainable weights require gradients, which [`Model::forward`] then records; `valid` reverts it.
impl Module for Model {
    fn collect_devices(&self, mut devices: Vec<Device>) -> Vec<Device> {
        if !devices.contains(&self.device) {
            devices.push(self.device.clone());
        }
        devices
    }

    fn fork(self, device: &Device) -> Self {
        Module::to_device(self, device).map_weights(|_, weight| {
            let required = weight.value.is_tracked();
            let value = weight.value.clone().detach();
            weight.value = if required { value.require_grad() } else { value };
        })
    }

    fn to_device(self, device: &Device) -> Self {
        let mut model = self;
        Self::to_device(&mut model, device);
        model
    }

    fn train(self) -> Self {
        let frozen: Vec<bool> = match self.built.get() {
            Some(built) => built
                .specs
                .iter()
                .enumerate()
                .flat_map(|(layer, specs)| specs.iter().map(move |spec| (layer, spec)))
                .map(|(layer, spec)| !self.is_trainable(layer, spec))
                .collect(),
            None => Vec::new(),
        };
        let mut frozen = frozen.into_iter();
        self.map_weights(|_, weight| {
            if !frozen.next().unwrap_or(true) {
                weight.value = weight.value.clone().require_grad();
            }
        })
    }

    fn valid(&self) -> Self {
        self.clone().map_weights(|_, weight| weight.value = weight.value.clone().detach())
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        let (Ok(Some(weights)), Some(built)) = (self.weights_if_built(), self.built.get()) else { return };
        for ((layer, specs), weights) in self.layers.iter().zip(&built.specs).zip(weights) {
            visitor.enter_module(layer.name(), "Struct:Layer");
            for (spec, weight) in specs.iter().zip(weights) {
                let name = parameter_name(spec);
                visitor.enter_module(&name, "Struct:Layer");
                with_param!(weight, |param| visitor.visit_float(&param));
                visitor.exit_module(&name, "Struct:Layer");
            }
            visitor.exit_module(layer.name(), "Struct:Layer");
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        let names: Vec<(String, usize)> = match self.built.get() {
            Some(built) => self
                .layers
                .iter()
                .zip(&built.specs)
                .map(|(layer, specs)| (layer.name().to_owned(), specs.len()))
                .collect(),
            None => Vec::new(),
        };
        let mut layers = names
            .iter()
            .flat_map(|(name, count)| (0..*count).map(move |index| (name, index == 0, index + 1 == *count)));
        self.map_weights(|spec, weight| {
            let Some((layer, first, last)) = layers.next() else { return };
            if first {
                mapper.enter_module(layer, "Struct:Layer");
            }
            let name = parameter_name(spec);
            mapper.enter_module(&name, "Struct:Layer");
            let mut mapped = None;
            with_param!(weight, |param| {
                let param = mapper.map_float(param);
                mapped = Some((param.id, Value::from(param.into_value())));
            });
            if let Some((id, value)) = mapped {
                *weight = Weight { id, value };
            }
            mapper.exit_module(&name, "Struct:Layer");
            if last {
                mapper.exit_module(layer, "Struct:Layer");
            }
        })
    }
}

fn parameter_name(spec: &WeightSpec) -> String {
    if spec.group.is_empty() { spec.name.clone() } else { format!("{}/{}", spec.group, spec.name) }
}

impl ModuleDisplayDefault for Model {
    fn content(&self, content: Content) -> Option<Content> {
        let content = self
            .layers
            .iter()
            .fold(content, |content, layer| content.add_debug_attribute(layer.name(), &layer.class_name()));
        content.optional()
    }
}

impl ModuleDisplay for Model {}

/// As [`Model`].
impl Module for Sequential {
    fn collect_devices(&self, devices: Vec<Device>) -> Vec<Device> {
        Module::collect_devices(&**self, devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.map_model(|model| Module::fork(model, device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.map_model(|model| Module::to_device(model, device))
    }

    fn train(self) -> Self {
        self.map_model(Module::train)
    }

    fn valid(&self) -> Self {
        self.clone().map_model(|model| Module::valid(&model))
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        Module::visit(&**self, visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        self.map_model(|model| Module::map(model, mapper))
    }
}

impl ModuleDisplayDefault for Sequential {
    fn content(&self, content: Content) -> Option<Content> {
        ModuleDisplayDefault::content(&**self, content)
    }
}

impl ModuleDisplay for Sequential {}
