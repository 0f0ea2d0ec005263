//! What a summary tells of a model: its layers' rows and its parameters.

use super::super::forward::shapes_of;
use super::super::nested::nested_model;
use super::super::summary::{Params, Row, Summary};
use super::{Built, Model};
use crate::shape::Shape;
use crate::training::Compiled;

impl Model {
    /// The table of layers, output shapes and parameters; print it with `println!("{}", …)`.
    pub fn summary(&self) -> Summary {
        let mut rows = Vec::new();
        self.push_rows(&mut rows, 0, self.built.get());
        let (trainable, rest) = self.built.get().map_or((0, 0), |built| self.count_by_trainable(built));
        let mut summary = Summary::new(self.name(), rows, Params::float32(trainable), Params::float32(rest));
        summary.input_shape = self.input_shape().ok().cloned();
        summary.optimizer = self.compiled.as_ref().and_then(Compiled::optimizer_params);
        summary
    }

    fn push_rows(&self, rows: &mut Vec<Row>, level: usize, built: Option<&Built>) {
        for (index, layer) in self.layers.iter().enumerate() {
            let specs = built.map(|built| &built.specs[index]);
            rows.push(Row {
                name: layer.name().to_owned(),
                class_name: layer.class_name().to_owned(),
                output_shape: built.and_then(|built| self.shape_of(index, built)),
                params: specs.map_or(0, |specs| specs.iter().fold(0, |sum, spec| spec.count().saturating_add(sum))),
                built: built.is_some(),
                trainable: self.common.trainable && layer.common().trainable,
                level,
            });
            if let Some(nested) = nested_model(&**layer) {
                // A nested model has its shapes from where it stands.
                let inputs = built.zip(self.graph.first_call(index));
                let inputs = inputs.map(|(built, node)| shapes_of(&built.shapes, node));
                let inner = inputs.and_then(|inputs| nested.build_for(&inputs).ok());
                nested.push_rows(rows, level + 1, inner);
            }
        }
    }

    /// The shape of a layer's first output where it is first called; that of the input for an input layer.
    fn shape_of(&self, layer: usize, built: &Built) -> Option<Shape> {
        let input = self.functional.as_ref().and_then(|own| own.inputs.iter().position(|input| *input == layer));
        let slot = input.or_else(|| Some(self.graph.first_call(layer)?.output))?;
        built.shapes.get(slot).cloned()
    }

    /// Numbers of weights that training may change, and of the others.
    pub(super) fn count_by_trainable(&self, built: &Built) -> (usize, usize) {
        let mut counts = (0usize, 0usize);
        for (layer, specs) in self.layers.iter().zip(&built.specs) {
            for spec in specs {
                let trainable = self.common.trainable && layer.common().trainable && spec.trainable;
                let count = if trainable { &mut counts.0 } else { &mut counts.1 };
                *count = count.saturating_add(spec.count());
            }
        }
        counts
    }
}
