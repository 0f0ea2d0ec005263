//! `adapt = true`: layers adapted to the data before training.

use burn::tensor::Device;
use serde_json::{Value as Json, json};

use super::{Recipe, class_of, layer};
use crate::config::Config;
use crate::datasets::{Column, Samples, Source, read_column};
use crate::error::{Error, Result};
use crate::layers::{Discretization, Layer, Normalization, entry, in_layer};
use crate::memory::check_room;
use crate::model::{Model, Sequential};

/// The key in a layer's table.
pub(super) const ADAPT: &str = "adapt";

/// The classes adapted to numbers; others learn a vocabulary.
const OF_NUMBERS: [&str; 2] = ["Discretization", "Normalization"];

/// The keys of a layer's table besides its arguments, by its class.
pub(super) fn keys_of(class: &str) -> Result<&'static [&'static str]> {
    let learns = entry(class)?.arguments.contains(&"vocabulary") || OF_NUMBERS.contains(&class);
    Ok(if learns { &[ADAPT] } else { &[] })
}

/// Removes the key, and returns whether the layer is to be adapted.
fn take(config: &mut Config) -> Result<bool> {
    match config.remove(ADAPT) {
        None => Ok(false),
        Some(Json::Bool(adapt)) => Ok(adapt),
        Some(other) => Err(Error::argument(ADAPT, "true or false", other)),
    }
}

/// The layer of a table before it is adapted, with its largest possible vocabulary, so that the layers after it can be
/// checked.
pub(super) fn unadapted(mut config: Config) -> Result<Box<dyn Layer>> {
    /// A special token and one other.
    const SMALLEST: usize = 2;
    let has_vocabulary = entry(class_of(&config)?)?.arguments.contains(&"vocabulary");
    if take(&mut config)? && has_vocabulary {
        if config.get("vocabulary").is_some_and(|vocabulary| !vocabulary.is_null()) {
            return Err(Error::argument("vocabulary", "none, as `adapt` finds it in the data", "one"));
        }
        let widest = config.get("max_tokens").cloned().unwrap_or_else(|| json!(SMALLEST));
        config.insert("vocabulary_size".into(), widest);
    }
    layer(config)
}

/// The layer of a table in a graph, where layers cannot be adapted.
pub(super) fn in_graph(mut config: Config) -> Result<Box<dyn Layer>> {
    if take(&mut config)? {
        let expected = "layers in a row without `inputs`, or a layer that is adapted in Rust, as `[model] file`";
        return Err(Error::argument(ADAPT, expected, true));
    }
    layer(config)
}

/// The inputs of the first `count` samples in order, in chunks, as transformed by the layers before.
fn columns<'a>(
    data: &'a dyn Source,
    count: usize,
    before: &'a [Box<dyn Layer>],
) -> impl Iterator<Item = Result<Column>> + 'a {
    /// Samples in a chunk.
    const TOGETHER: usize = 1024;
    (0..count).step_by(TOGETHER).map(move |start| {
        let indices: Vec<usize> = (start..count.min(start + TOGETHER)).collect();
        let (mut column, _) = read_column(data, &indices)?;
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
    /// Whether a layer is to be adapted to the data before training.
    pub fn adapts(&self) -> bool {
        self.layers.iter().any(|config| config.get(ADAPT) == Some(&Json::Bool(true)))
    }

    /// As [`model`](Self::model), with the layers that have `adapt = true` adapted to the first `end` samples of
    /// `data`, as transformed by the layers before.
    ///
    /// # Errors
    /// As [`model`](Self::model), and any error of adapting a layer.
    pub fn adapted_model(&self, device: &Device, data: &dyn Source, end: usize) -> Result<Model> {
        let name = self.model.name.as_deref().unwrap_or("sequential");
        let mut model = Sequential::with_name(name).with_seed(self.fit.seed);
        model.to_device(device);
        for config in &self.layers {
            let mut config = config.clone();
            let adapt = take(&mut config)?;
            let next = match adapt {
                true if OF_NUMBERS.contains(&class_of(&config)?) => adapted(layer(config)?, &model, data, end)?,
                true => with_vocabulary(layer(config)?, &model, data, end)?,
                false => layer(config)?,
            };
            model.add(next)?;
        }
        self.compiled(model.into())
    }
}

/// A layer with the vocabulary of the samples, as transformed by the layers before it.
fn with_vocabulary(
    mut next: Box<dyn Layer>,
    before: &Sequential,
    data: &dyn Source,
    end: usize,
) -> Result<Box<dyn Layer>> {
    if let Some(other) = before.layers().iter().find(|layer| layer.on_host().is_none()) {
        let expected = format!("no layer such as `{}` before it", other.class_name());
        return in_layer(&*next, Err(Error::argument(ADAPT, expected, "one")));
    }
    let learnt = next.adapt_to_columns(&mut columns(data, end, before.layers()));
    in_layer(&*next, learnt)?;
    Ok(next)
}

/// A layer adapted to numbers: the samples, as transformed by the layers before it.
fn adapted(next: Box<dyn Layer>, before: &Sequential, data: &dyn Source, end: usize) -> Result<Box<dyn Layer>> {
    let indices: Vec<usize> = (0..end).collect();
    let width = |shape: &[usize]| shape.iter().try_fold(end, |count, size| count.checked_mul(*size));
    let (Some(x_width), Some(y_width)) = (width(data.x_shape()), width(data.y_shape())) else {
        return Err(Error::data("samples to adapt to", "fewer or smaller ones", format!("{end}")));
    };
    // All samples are in memory at once, with the outputs of the layers before.
    check_room("the samples to adapt to", x_width.saturating_mul(2).saturating_add(y_width))?;
    let (mut x, mut y) = (vec![0.0; x_width], vec![0.0; y_width]);
    data.read(&indices, &mut x, &mut y)?;
    let mut x = Samples::new([&[end], data.x_shape()].concat(), x)?;
    if !before.layers().is_empty() {
        x = before.predict(x)?.into();
    }
    let any = next.as_any();
    let learnt = if let Some(layer) = any.downcast_ref::<Normalization>() {
        layer.clone().adapt(x).map(Into::into)
    } else if let Some(layer) = any.downcast_ref::<Discretization>() {
        layer.clone().adapt(x).map(Into::into)
    } else {
        Err(Error::argument(ADAPT, OF_NUMBERS.join(" or "), next.class_name()))
    };
    in_layer(&*next, learnt)
}

/// Refuses the key for a layer that cannot be adapted.
pub(super) fn check(config: &Config) -> Result<()> {
    let class = class_of(config)?;
    match config.get(ADAPT) {
        Some(adapt) if !adapt.is_boolean() => Err(Error::argument(ADAPT, "true or false", adapt)),
        Some(_) if keys_of(class)?.is_empty() => {
            Err(Error::argument(ADAPT, "Normalization, Discretization, or a layer with a vocabulary", class))
        }
        _ => Ok(()),
    }
}
