//! The host stage: layers for texts and exact integers at a model's inputs, which run before the first layer that
//! computes on the device.

use super::Model;
use super::as_model::nested_model;
use super::graph::ValueId;
use crate::datasets::{Cells, Column};
use crate::error::{Error, Result};
use crate::layers::{Layer, Takes, in_layer};
use crate::ops::Value;
use crate::shape::Shape;

/// The dtype of text inputs.
pub(super) const STRING: &str = "string";

/// How a model is split: the calls that run on the host, and the values that are fed to the others, on the device.
#[derive(Clone, Debug)]
pub(super) struct HostSplit {
    /// Whether each call runs on the host.
    on_host: Vec<bool>,
    /// The values fed to the device: the model's inputs, or outputs of host calls.
    pub feeds: Vec<ValueId>,
}

impl HostSplit {
    /// No call runs on the host, as in a nested model.
    pub fn none(model: &Model) -> Self {
        let graph = model.graph();
        Self { on_host: vec![false; graph.nodes().len()], feeds: (0..graph.inputs()).collect() }
    }

    /// The calls at the inputs whose layers run on the host.
    pub fn of(model: &Model) -> Self {
        let mut split = Self::none(model);
        if model.all_layers().iter().all(|layer| layer.on_host().is_none()) {
            return split;
        }
        let graph = model.graph();
        let mut is_there = vec![false; graph.value_count()];
        is_there[..graph.inputs()].fill(true);
        let mut is_fed = vec![false; graph.value_count()];
        for (index, node) in graph.nodes().iter().enumerate() {
            let on_host = model.all_layers()[node.layer].on_host().is_some() && node.outputs == 1;
            split.on_host[index] = on_host && node.uses().all(|id| is_there[id]);
            if split.on_host[index] {
                is_there[node.output] = true;
            } else {
                node.uses().filter(|id| is_there[*id]).for_each(|id| is_fed[id] = true);
            }
        }
        if split.is_empty() {
            return split;
        }
        graph.outputs().iter().filter(|id| is_there[**id]).for_each(|id| is_fed[*id] = true);
        split.feeds = (0..graph.value_count()).filter(|id| is_fed[*id]).collect();
        split
    }

    /// Whether no call runs on the host.
    pub fn is_empty(&self) -> bool {
        !self.on_host.contains(&true)
    }

    /// Whether a call runs on the host.
    pub fn is_on_host(&self, call: usize) -> bool {
        self.on_host[call]
    }

    /// The index of a value among those fed to the device.
    pub fn feed_index(&self, id: ValueId) -> Option<usize> {
        self.feeds.binary_search(&id).ok()
    }
}

/// A value to feed to the device.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    /// Its sizes, the batch first.
    pub sizes: Vec<usize>,
    pub numbers: Vec<f32>,
}

/// A call on the host.
#[derive(Debug)]
struct HostCall {
    layer: Box<dyn Layer>,
    inputs: Vec<ValueId>,
    output: ValueId,
}

/// An input's name, dtype and shape as the model expects them.
#[derive(Debug)]
struct ExpectedInput {
    name: String,
    dtype: Option<String>,
}

/// The host calls of a model.
#[derive(Debug)]
pub(crate) struct Stage {
    inputs: Vec<ExpectedInput>,
    calls: Vec<HostCall>,
    feeds: Vec<ValueId>,
    value_count: usize,
}

impl Stage {
    /// The stage of a model; `None` if no call runs on the host.
    pub fn of(model: &Model) -> Option<Self> {
        let split = HostSplit::of(model);
        if split.is_empty() && !model.input_dtypes().contains(&Some(STRING)) {
            return None;
        }
        let graph = model.graph();
        let calls = graph.nodes().iter().enumerate().filter(|(index, _)| split.is_on_host(*index));
        let calls = calls.map(|(_, node)| HostCall {
            layer: model.all_layers()[node.layer].boxed_clone(),
            inputs: node.inputs.clone(),
            output: node.output,
        });
        let calls = calls.collect();
        let inputs = model.input_keys().into_iter().zip(model.input_dtypes());
        let inputs = inputs.map(|(name, dtype)| ExpectedInput { name, dtype: dtype.map(str::to_owned) }).collect();
        Some(Self { inputs, calls, feeds: split.feeds, value_count: graph.value_count() })
    }

    /// The values to feed to the device for these inputs, which are in the model's order.
    pub fn run(&self, columns: Vec<Column>) -> Result<Vec<Feed>> {
        let mut values: Vec<Option<Column>> = Vec::with_capacity(self.value_count);
        for (wanted, column) in self.inputs.iter().zip(columns) {
            values.push(Some(wanted.take(column)?));
        }
        values.resize(self.value_count, None);
        for call in &self.calls {
            let inputs = call.inputs.iter().filter_map(|id| values[*id].clone()).collect::<Vec<_>>();
            let output = call.layer.on_host().map(|host| host.transform(&inputs)).transpose();
            values[call.output] = in_layer(&*call.layer, output)?;
        }
        let feed = |id: &ValueId| {
            let column = values[*id].take().ok_or_else(|| Error::shape("a value for each input", "none"))?;
            let sizes = column.shape().to_vec();
            let numbers = column.into_floats();
            Ok(match self.calls.iter().find(|call| call.output == *id) {
                // The error names the layer whose output is not exactly representable as floats.
                Some(call) => Feed { sizes, numbers: in_layer(&*call.layer, numbers)? },
                None => Feed { sizes, numbers: numbers? },
            })
        };
        self.feeds.iter().map(feed).collect()
    }
}

impl ExpectedInput {
    /// The values of an input, converted to its dtype.
    fn take(&self, column: Column) -> Result<Column> {
        let what = || format!("input `{}`", self.name);
        let (shape, cells) = column.into_parts();
        let cells = match (self.dtype.as_deref(), cells) {
            (Some(STRING), Cells::Text(texts)) => Cells::Text(texts),
            (Some(STRING), other) => return Err(Error::data(what(), "texts", other.kind())),
            (_, Cells::Text(texts)) => {
                let first = texts.first().map(|text| format!(", such as {:?}", crate::error::begun(text, 40)));
                return Err(Error::data(what(), "numbers", format!("texts{}", first.unwrap_or_default())));
            }
            (Some(dtype), Cells::Float(numbers)) if is_whole(dtype) && numbers.iter().any(is_large) => {
                let expected = "integers given as integers: float32 represents them only up to 2²⁴";
                return Err(Error::data(
                    what(),
                    expected,
                    numbers.iter().find(|number| is_large(number)).unwrap_or(&0.0),
                ));
            }
            (Some(dtype), cells) if is_whole(dtype) => Cells::Int(Column::new(shape.clone(), cells)?.to_ints()?),
            (_, Cells::Int(numbers)) => Cells::Float(numbers.into_iter().map(|number| number as f32).collect()),
            (_, cells) => cells,
        };
        Column::new(shape, cells)
    }
}

/// Whether a number can have been rounded to a float.
fn is_large(number: &f32) -> bool {
    /// Above this, integers are no longer distinct.
    const EXACT: f32 = 16_777_216.0;
    number.is_finite() && number.abs() > EXACT
}

/// Whether a dtype is an integer type.
fn is_whole(dtype: &str) -> bool {
    dtype.starts_with("int") || dtype.starts_with("uint") || dtype == "bool"
}

impl Model {
    /// The dtypes of the inputs, as given by their `Input` layers.
    pub(crate) fn input_dtypes(&self) -> Vec<Option<&str>> {
        match &self.functional {
            Some(functional) => {
                functional.inputs.iter().map(|layer| self.layers[*layer].common().dtype.as_deref()).collect()
            }
            None => vec![self.input_dtype.as_deref()],
        }
    }

    /// For each input whether it takes texts, in the order of [`input_keys`](Self::input_keys).
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(Input::new(1).dtype("string"))?.add(StringLookup::default().vocabulary(["a"]))?;
    /// assert_eq!(model.takes_texts(), [true]);
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub fn takes_texts(&self) -> Vec<bool> {
        self.input_dtypes().into_iter().map(|dtype| dtype == Some(STRING)).collect()
    }

    /// The host stage of the model, if it has one.
    pub(crate) fn stage(&self) -> Option<Stage> {
        Stage::of(self)
    }

    /// Rejects texts as inputs of layers for numbers, and vice versa.
    pub(super) fn check_texts(&self) -> Result<()> {
        let mut texts = self.takes_texts();
        if !texts.contains(&true) && self.layers.iter().all(|layer| layer.on_host().is_none()) {
            return Ok(());
        }
        texts.resize(self.graph.value_count(), false);
        for node in self.graph.nodes() {
            let layer = &*self.layers[node.layer];
            let inputs: Vec<bool> = node.inputs.iter().map(|id| texts[*id]).collect();
            texts[node.output] = in_layer(layer, gives_text(layer, &inputs))?;
        }
        Ok(())
    }

    /// The shapes of the values fed to the device, given the shapes of all values.
    pub(super) fn feed_shapes(&self, shapes: &[Shape]) -> Vec<Shape> {
        HostSplit::of(self).feeds.iter().map(|id| shapes[*id].clone()).collect()
    }

    /// Moves the outputs of the stage to the device; numbers that the next layers do not accept are rejected.
    pub(crate) fn fed(&self, feeds: Vec<Feed>) -> Result<Vec<Value>> {
        let split = HostSplit::of(self);
        let value = |(index, feed): (usize, Feed)| {
            self.check_fed(&split, index, &feed.numbers)?;
            Value::from_vec(feed.numbers, &feed.sizes, self.device())
        };
        feeds.into_iter().enumerate().map(value).collect()
    }
}

/// Whether a layer outputs texts, for inputs that are texts or not.
pub(super) fn gives_text(layer: &dyn Layer, inputs: &[bool]) -> Result<bool> {
    let (text, number) = (inputs.contains(&true), inputs.contains(&false));
    match layer.on_host() {
        Some(host) => match host.takes() {
            Takes::Text if number => {
                let expected = "texts: an input of them has an `Input` with dtype \"string\"";
                Err(Error::data("inputs", expected, "numbers"))
            }
            Takes::Numbers if text => Err(Error::data("inputs", "numbers", "texts")),
            _ => Ok(host.gives_text()),
        },
        None if text && nested_model(layer).is_some() => {
            let what = "a model of texts inside another";
            Err(Error::unsupported(what, "text layers in the outer model, directly after its inputs"))
        }
        None if text => {
            let expected = "numbers, such as `TextVectorization` or `StringLookup` make of texts";
            Err(Error::data("inputs", expected, "texts"))
        }
        None => Ok(false),
    }
}
