//! `adapt = true`: layers that learn from the data before training begins.

use burn::tensor::Device;
use serde_json::{Value as Json, json};

use super::{Recipe, class_of, layer};
use crate::config::Config;
use crate::datasets::{Column, Source, split_index};
use crate::error::{Error, Result};
use crate::layers::{Layer, entry};
use crate::model::{Model, Sequential, in_layer};

/// The key.
pub(super) const ADAPT: &str = "adapt";

/// What a layer's table has besides its arguments, by its class.
pub(super) fn keys_of(class: &str) -> Result<&'static [&'static str]> {
    let learns = entry(class)?.arguments.contains(&"vocabulary");
    Ok(if learns { &[ADAPT] } else { &[] })
}

/// Whether a layer's table says that it learns from the data; the key is taken out.
fn take(config: &mut Config) -> Result<bool> {
    match config.remove(ADAPT) {
        None => Ok(false),
        Some(Json::Bool(adapt)) => Ok(adapt),
        Some(other) => Err(Error::argument(ADAPT, "true or false", other)),
    }
}

/// The layer of a table before it has learnt: it is as wide as it may become, so that the layers after it can be checked.
pub(super) fn unlearnt(mut config: Config) -> Result<Box<dyn Layer>> {
    /// A special token and one other.
    const SMALLEST: usize = 2;
    if take(&mut config)? {
        if config.get("vocabulary").is_some_and(|vocabulary| !vocabulary.is_null()) {
            return Err(Error::argument("vocabulary", "none, as `adapt` finds it in the data", "one"));
        }
        let widest = config.get("max_tokens").cloned().unwrap_or_else(|| json!(SMALLEST));
        config.insert("vocabulary_size".into(), widest);
    }
    layer(config)
}

/// The layer of a table of a graph, whose layers do not learn.
pub(super) fn in_graph(mut config: Config) -> Result<Box<dyn Layer>> {
    if take(&mut config)? {
        let expected = "layers in a row without `inputs`, or a layer that is adapted in Rust, as `[model] file`";
        return Err(Error::argument(ADAPT, expected, true));
    }
    layer(config)
}

/// The inputs of the samples in the order in which they stand, some at a time, as the layers before give them.
fn columns<'a>(
    data: &'a dyn Source,
    count: usize,
    before: &'a [Box<dyn Layer>],
) -> impl Iterator<Item = Result<Column>> + 'a {
    /// Samples at a time.
    const TOGETHER: usize = 1024;
    (0..count).step_by(TOGETHER).map(move |start| {
        let indices: Vec<usize> = (start..count.min(start + TOGETHER)).collect();
        let zeros = |shape: &[usize]| vec![0.0; shape.iter().product::<usize>() * indices.len()];
        let mut y: Vec<Vec<f32>> = data.y_fields().iter().map(|field| zeros(&field.shape)).collect();
        let mut y: Vec<&mut [f32]> = y.iter_mut().map(Vec::as_mut_slice).collect();
        let mut column = match data.read_columns(&indices, &mut y)?.as_deref() {
            Some([column]) => column.clone(),
            Some(columns) => return Err(Error::data("data to adapt to", "one input", columns.len())),
            None => {
                let mut x = zeros(data.x_shape());
                let [y] = &mut y[..] else { return Err(Error::data("data to adapt to", "one target", y.len())) };
                data.read(&indices, &mut x, y)?;
                let shape = [&[indices.len()], data.x_shape()].concat();
                Column::new(shape, crate::datasets::Cells::Float(x))?
            }
        };
        for layer in before {
            let made = layer.on_host().map(|host| host.transform(std::slice::from_ref(&column)));
            if let Some(made) = in_layer(&**layer, made.transpose())? {
                column = made;
            }
        }
        Ok(column)
    })
}

impl Recipe {
    /// Whether a layer learns from the data before training.
    pub fn adapts(&self) -> bool {
        self.layers.iter().any(|config| config.get(ADAPT) == Some(&Json::Bool(true)))
    }

    /// The model on a device, compiled, with the layers that say `adapt = true` adapted to the samples that are trained
    /// on: the last ones, with which a validation split validates, do not count. Without such layers it is that of
    /// [`model`](Self::model).
    ///
    /// # Errors
    /// As [`model`](Self::model), and whatever keeps a layer from learning from the data.
    pub fn adapted_model(&self, device: &Device, data: &dyn Source) -> Result<Model> {
        if !self.adapts() {
            return self.model(device);
        }
        let count = match self.data.validation_split {
            split if split > 0.0 => split_index(data.len(), split)?,
            _ => data.len(),
        };
        let name = self.model.name.as_deref().unwrap_or("sequential");
        let mut model = Sequential::with_name(name).with_seed(self.fit.seed);
        for config in &self.layers {
            let mut config = config.clone();
            let adapt = take(&mut config)?;
            let mut next = layer(config)?;
            if adapt {
                if let Some(other) = model.layers().iter().find(|layer| layer.on_host().is_none()) {
                    let expected = format!("no layer such as `{}` before it", other.class_name());
                    return in_layer(&*next, Err(Error::argument(ADAPT, expected, "one")));
                }
                let learnt = next.adapt_to_columns(&mut columns(data, count, model.layers()));
                in_layer(&*next, learnt)?;
            }
            model.add(next)?;
        }
        let mut model = Model::from(model);
        model.to_device(device);
        self.compiled(model)
    }
}

/// Refuses the key for a layer that cannot learn so.
pub(super) fn check(config: &Config) -> Result<()> {
    let class = class_of(config)?;
    match config.get(ADAPT) {
        Some(adapt) if !adapt.is_boolean() => Err(Error::argument(ADAPT, "true or false", adapt)),
        Some(_) if keys_of(class)?.is_empty() => Err(Error::argument(ADAPT, "a layer with a vocabulary", class)),
        _ => Ok(()),
    }
}
