//! `adapt = true`: layers adapted to the data before training.

use burn::tensor::Device;
use serde_json::{Value as Json, json};

use super::graph::{self, Before};
use super::{Recipe, class_of, layer};
use crate::config::Config;
use crate::datasets::{Column, Samples, Source, field_indices, read_all_columns, read_column};
use crate::error::{Error, Result};
use crate::layers::{Discretization, Layer, Normalization, entry, in_layer};
use crate::memory::check_room;
use crate::model::{Model, Sequential, Symbol, name_layers};
use crate::shape::check_count;

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

/// Samples that are read at a time.
const TOGETHER: usize = 1024;

/// The inputs of the first `count` samples in order, in chunks, as transformed by the layers before.
fn columns<'a>(
    data: &'a dyn Source,
    count: usize,
    before: &'a [Box<dyn Layer>],
) -> impl Iterator<Item = Result<Column>> + 'a {
    (0..count).step_by(TOGETHER).map(move |start| {
        let indices: Vec<usize> = (start..count.min(start + TOGETHER)).collect();
        through(before, read_column(data, &indices)?.0)
    })
}

/// What layers on the host make of a column.
fn through(layers: &[Box<dyn Layer>], mut column: Column) -> Result<Column> {
    for layer in layers {
        let made = layer.on_host().map(|host| host.transform(std::slice::from_ref(&column)));
        if let Some(made) = in_layer(&**layer, made.transpose())? {
            column = made;
        }
    }
    Ok(column)
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
        if graph::is_graph(&self.layers, self.model.outputs.as_ref()) {
            let mut model = self.adapted_graph(data, end)?;
            model.to_device(device);
            return self.compiled(model);
        }
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

impl Recipe {
    /// The model of a graph whose layers have learnt.
    fn adapted_graph(&self, data: &dyn Source, end: usize) -> Result<Model> {
        let (mut layers, mut learns) = (Vec::new(), Vec::new());
        for config in &self.layers {
            let mut config = config.clone();
            learns.push(take(&mut config)?);
            layers.push(layer(config)?);
        }
        name_layers(layers.iter_mut());
        let names = graph::input_names(&self.layers, &layers);
        self.graph(
            layers,
            |_, error| error,
            |index, next, before| {
                if !learns[index] {
                    return Ok(next);
                }
                let fields = Fields::new(data, &names, end)?;
                match OF_NUMBERS.contains(&next.class_name()) {
                    true => with_numbers(next, before, &fields),
                    false => with_tokens(next, before, &fields),
                }
            },
        )
    }
}

/// The inputs of the samples to learn from, matched with those of a model.
struct Fields<'a> {
    data: &'a dyn Source,
    /// The index of each of the model's inputs among the fields.
    indices: Vec<usize>,
    end: usize,
}

impl<'a> Fields<'a> {
    fn new(data: &'a dyn Source, names: &[String], end: usize) -> Result<Self> {
        let fields = data.x_fields();
        let indices = match names {
            // The input has no table of its own.
            [] => vec![0],
            names => field_indices("input", &fields, names, |_| true)?.into_iter().flatten().collect(),
        };
        Ok(Self { data, indices, end })
    }

    /// The inputs of some samples, in the order of the model's.
    fn read(&self, indices: &[usize]) -> Result<Vec<Column>> {
        let columns = read_all_columns(self.data, indices)?;
        let column = |index: &usize| {
            let column = columns.get(*index).cloned();
            column.ok_or_else(|| Error::data("the data", "a field for each input", columns.len()))
        };
        self.indices.iter().map(column).collect()
    }
}

/// A layer that learns from numbers, adapted to samples as they come through the layers before it.
fn with_numbers(next: Box<dyn Layer>, before: Before<'_>, fields: &Fields<'_>) -> Result<Box<dyn Layer>> {
    let sizes = fields.data.x_fields().into_iter().chain(fields.data.y_fields());
    let width = sizes.map(|field| check_count(&field.shape)).sum::<Result<usize>>()?;
    // All of them are in memory at once, with what comes out of the layers before.
    check_room("the samples to adapt to", width.saturating_mul(fields.end).saturating_mul(2))?;
    let columns = fields.read(&(0..fields.end).collect::<Vec<_>>())?;
    let given = before.needed.iter().filter_map(|input| columns.get(*input).cloned()).map(Samples::of_column);
    let mut given = given.collect::<Result<Vec<_>>>()?;
    if before.on_host.is_some_and(|layers| layers.is_empty()) {
        let x = given.pop().ok_or_else(|| Error::data("the data", "an input", "none"))?;
        return learnt(next, x);
    }
    let needed: Vec<Symbol> = before.needed.iter().map(|input| before.inputs[*input].clone()).collect();
    let model = match (&needed[..], before.on) {
        ([input], [output]) => Model::new(input, output)?,
        (inputs, [output]) => Model::new(inputs, output)?,
        _ => return in_layer(&*next, Err(Error::argument(ADAPT, "one input", before.on.len()))),
    };
    // They would start elsewhere in the model that is trained.
    if model.summary().trainable.count > 0 {
        let expected = "layers without weights that are trained before it";
        return in_layer(&*next, Err(Error::argument(ADAPT, expected, "others")));
    }
    match model.predict_all(given)?.pop() {
        Some(x) => learnt(next, x.into()),
        None => Err(Error::data("the layers before", "an output", "none")),
    }
}

/// A layer with the vocabulary that it learns from samples as they come through the layers before it.
fn with_tokens(mut next: Box<dyn Layer>, before: Before<'_>, fields: &Fields<'_>) -> Result<Box<dyn Layer>> {
    let (Some(layers), [input]) = (&before.on_host, &before.needed.iter().copied().collect::<Vec<_>>()[..]) else {
        let expected = "an input before it, and no layers but those of texts and look-ups";
        return in_layer(&*next, Err(Error::argument(ADAPT, expected, "others")));
    };
    let mut columns = (0..fields.end).step_by(TOGETHER).map(|start| {
        let indices: Vec<usize> = (start..fields.end.min(start + TOGETHER)).collect();
        let column = fields.read(&indices)?.into_iter().nth(*input);
        through(layers, column.ok_or_else(|| Error::data("the data", "a field for each input", "fewer"))?)
    });
    let learnt = next.adapt_to_columns(&mut columns);
    in_layer(&*next, learnt)?;
    Ok(next)
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
    learnt(next, x)
}

/// A layer that learns from numbers, adapted to these.
fn learnt(next: Box<dyn Layer>, x: Samples) -> Result<Box<dyn Layer>> {
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
