//! Loading the weights of a file into a model.

use super::LoadWeights;
use super::optimizer::OptimizerValues;
use super::stored::{FileLayer, MatchedWeights, check_memory, same_weights};
use super::vocabularies::vocabulary_of;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::ops::Value;

impl Model {
    /// The layers and their weights' specs.
    pub(super) fn file_layers(&self) -> Result<Vec<FileLayer>> {
        Ok(FileLayer::all(self.layers(), self.weight_specs("load")?))
    }

    /// Loads the weights and the optimizer's state from a file: all that match or, on any other mismatch, none. Returns
    /// what was skipped, as far as `options` allow it.
    pub(super) fn take_weights(&mut self, stored: &dyn MatchedWeights, options: &LoadWeights) -> Result<Vec<String>> {
        let specs = self.weight_specs("load")?.clone();
        let names: Vec<String> = self.layers().iter().map(|layer| layer.name().to_owned()).collect();
        let (mut problems, mut left_out) = (Vec::new(), Vec::new());
        let mut wanted = Vec::new();
        for (layer, (name, specs)) in names.iter().zip(&specs).enumerate() {
            match stored.differences(layer) {
                Some(differences) if differences.is_empty() => wanted.push(layer),
                Some(differences) if options.skips_mismatch() => left_out.extend(differences),
                Some(differences) => problems.extend(differences),
                None if specs.is_empty() => {}
                None if options.is_by_name() || options.skips_mismatch() => {
                    left_out.push(format!("layer `{name}`: the file does not have it"));
                }
                None => problems
                    .extend(specs.iter().map(|spec| format!("`{}`: missing", crate::model::weight_name(name, spec)))),
            }
        }
        for (index, layer) in self.layers().iter().enumerate() {
            let Some(found) = stored.vocabulary_weights(index)? else { continue };
            let own = vocabulary_of(&**layer)?.and_then(|vocabulary| vocabulary.weights);
            if !same_weights(own.as_deref().unwrap_or_default(), &found) {
                let line = format!(
                    "layer `{}`: the file has other `idf_weights`, which go with a vocabulary that is not in it",
                    layer.name()
                );
                if options.skips_mismatch() { left_out.push(line) } else { problems.push(line) }
            }
        }
        if options.is_strict() {
            problems.extend(stored.unexpected());
        }
        if !problems.is_empty() {
            return Err(Error::Weights { problems });
        }
        let own = wanted.iter().flat_map(|layer| &specs[*layer]).map(|spec| &spec.sizes[..]);
        let taken = check_memory(0, own, stored.limits())?;

        let device = self.device().clone();
        let mut values: Vec<Vec<Option<Value>>> = specs.iter().map(|specs| vec![None; specs.len()]).collect();
        for layer in wanted {
            for (value, array) in values[layer].iter_mut().zip(stored.read(layer)?) {
                let sizes = if array.shape().is_empty() { vec![1] } else { array.shape().to_vec() };
                *value = Some(Value::from_vec(array.into_f32(), &sizes, &device)?);
            }
        }
        // The model is complete without it; only exceeding a limit ends the read.
        let optimizer = match options.is_strict().then(|| OptimizerValues::read(self, stored, taken)) {
            None => None,
            Some(Ok(optimizer)) => optimizer,
            Some(Err(error @ (Error::Broken { .. } | Error::Weights { .. } | Error::Shape { .. }))) => {
                tracing::warn!("the optimizer's state is left out: {error}");
                None
            }
            Some(Err(error)) => return Err(error),
        };
        self.replace_weights(values)?;
        if let Some(optimizer) = optimizer {
            optimizer.put_into(self);
        }
        for line in &left_out {
            tracing::warn!("left out: {line}");
        }
        Ok(left_out)
    }
}
