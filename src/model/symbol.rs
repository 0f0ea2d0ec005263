//! Symbolic tensors, from which a model's graph is constructed.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Model;
use super::functional::{Called, Description, name_layers};
use super::structure::Structure;
use crate::error::{Error, Result};
use crate::layers::{Arguments, HasCommon, INITIAL_STATE, Input, Layer, MASK, in_layer};
use crate::shape::Shape;

/// Counts layers in order of creation, for their automatic names.
static MADE: AtomicU64 = AtomicU64::new(0);

/// The symbolic output of a layer: Keras's symbolic tensor.
///
/// Its shape is known at once, so that a layer that does not fit is rejected where it is called.
///
/// ```
/// use brasa::prelude::*;
///
/// let image = Input::new((28, 28, 1)).name("image").symbol();
/// let x = Conv2D::new(32, 3).padding(Padding::Same).call(&image)?;
/// let y = Conv2D::new(32, 3).padding(Padding::Same).call(&x)?;
/// let sum = Add::new().call([&x, &y])?;
/// assert_eq!(sum.shape().to_string(), "(None, 28, 28, 32)");
///
/// let model = Model::new(&image, &sum)?;
/// assert_eq!(model.count_params()?, 320 + 9248);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone)]
pub struct Symbol {
    call: Arc<SymbolCall>,
    output: usize,
}

struct SymbolCall {
    layer: SharedLayer,
    /// The number of earlier calls of the layer.
    number: usize,
    inputs: Vec<Symbol>,
    /// Masks that replace those of the inputs.
    masks: Vec<Option<Symbol>>,
    arguments: Arguments,
    shapes: Vec<Shape>,
}

impl SymbolCall {
    /// All values used.
    fn uses(&self) -> impl Iterator<Item = &Symbol> {
        self.inputs.iter().chain(self.masks.iter().flatten())
    }
}

impl fmt::Debug for Symbol {
    /// Without its inputs: a graph printed as a tree can be huge.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layer = &self.call.layer.layer;
        formatter
            .debug_struct("Symbol")
            .field("layer", &layer.name())
            .field("class", &layer.class_name())
            .field("output", &self.output)
            .field("shape", self.shape())
            .finish()
    }
}

impl Drop for SymbolCall {
    /// Iteratively: a graph can be deeper than the stack.
    fn drop(&mut self) {
        fn taken(call: &mut SymbolCall) -> impl Iterator<Item = Symbol> {
            std::mem::take(&mut call.inputs).into_iter().chain(std::mem::take(&mut call.masks).into_iter().flatten())
        }
        let mut left: Vec<Symbol> = taken(self).collect();
        while let Some(symbol) = left.pop() {
            if let Some(mut call) = Arc::into_inner(symbol.call) {
                left.extend(taken(&mut call));
            }
        }
    }
}

impl Symbol {
    /// The shape of the value, batch first.
    pub fn shape(&self) -> &Shape {
        &self.call.shapes[self.output]
    }

    fn of_input(layer: SharedLayer, shape: Shape) -> Self {
        let call = SymbolCall {
            layer,
            number: 0,
            inputs: Vec::new(),
            masks: Vec::new(),
            arguments: Arguments::new(),
            shapes: vec![shape],
        };
        Self { call: Arc::new(call), output: 0 }
    }

    /// The batch size, if its input has a fixed one.
    fn batch_size(&self) -> Option<usize> {
        let mut symbol = self;
        while let Some(input) = symbol.call.inputs.first() {
            symbol = input;
        }
        symbol.call.layer.layer.common().batch_size
    }

    fn is_input(&self) -> bool {
        self.call.inputs.is_empty()
    }
}

impl Input {
    /// The input of a model, on which layers are called.
    pub fn symbol(self) -> Symbol {
        let shape = self.common().input_shape.clone().unwrap_or_else(|| Shape::batch_of(()));
        Symbol::of_input(self.shared(), shape)
    }
}

/// A layer that can be called several times, each time with the same weights.
///
/// ```
/// use brasa::prelude::*;
/// let (a, b) = (Input::new(4).symbol(), Input::new(4).symbol());
/// let tower = Dense::new(8).shared();
/// let distance = Subtract::new().call([&tower.call(&a)?, &tower.call(&b)?])?;
/// let model = Model::new([&a, &b], &distance)?;
/// assert_eq!(model.count_params()?, 4 * 8 + 8);
/// # Ok::<(), brasa::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharedLayer {
    layer: Arc<dyn Layer>,
    number: u64,
    calls: Arc<AtomicUsize>,
}

impl SharedLayer {
    fn new(layer: Box<dyn Layer>) -> Self {
        Self { layer: layer.into(), number: MADE.fetch_add(1, Ordering::Relaxed), calls: Arc::default() }
    }

    /// The output of the layer for one input, or for several if the layer accepts them.
    ///
    /// # Errors
    /// [`Error::Layer`] with the layer's error; [`Error::Shape`] for a layer of several outputs, which requires
    /// [`call_all`](Self::call_all).
    pub fn call(&self, inputs: impl IntoSymbols) -> Result<Symbol> {
        let outputs = self.call_all(inputs)?;
        match <[Symbol; 1]>::try_from(outputs) {
            Ok([output]) => Ok(output),
            Err(outputs) => {
                in_layer(&*self.layer, Err(Error::shape("one output (`call_all` gives several)", outputs.len())))
            }
        }
    }

    /// All outputs of the layer for these inputs.
    ///
    /// # Errors
    /// [`Error::Layer`] with the layer's error.
    pub fn call_all(&self, inputs: impl IntoSymbols) -> Result<Vec<Symbol>> {
        self.call_with(inputs, Arguments::new())
    }

    /// All outputs of the layer for these inputs and further arguments, as in [`CallLayer::call_with`].
    ///
    /// # Errors
    /// [`Error::Layer`] with the layer's error.
    pub fn call_with(&self, inputs: impl IntoSymbols, mut arguments: Arguments) -> Result<Vec<Symbol>> {
        let (mut inputs, _) = inputs.into_symbols();
        let layer = &*self.layer;
        if inputs.is_empty() {
            return in_layer(layer, Err(Error::shape("at least one input", "none")));
        }
        let named: usize = arguments.named().map(|(_, tensors)| tensors.iter().filter(|tensor| **tensor).count()).sum();
        if named >= inputs.len() {
            let expected = format!("more inputs than the {named} of named arguments");
            return in_layer(layer, Err(Error::argument("inputs", expected, inputs.len())));
        }
        let indices = arguments.elements(MASK, inputs.len());
        if indices.len() > inputs.len() - named || (!indices.is_empty() && !layer.supports_masking()) {
            let expected = "at most one for each input, of a layer that uses masks";
            return in_layer(layer, Err(Error::argument(MASK, expected, format!("{} masks", indices.len()))));
        }
        let masks = indices.iter().map(|index| index.and_then(|index| inputs.get(index)).cloned()).collect();
        if let Some(range) = arguments.range(MASK, inputs.len()) {
            inputs.drain(range);
            arguments.remove_named(MASK);
        }
        let states = arguments.positional(inputs.len()).saturating_sub(1);
        if layer.takes_initial_state() && states > 0 && arguments.named().next().is_none() {
            arguments.push_named(INITIAL_STATE, vec![true; states]);
        }
        let shapes: Vec<Shape> = inputs.iter().map(|input| input.shape().clone()).collect();
        let outputs = in_layer(layer, super::core::rules(layer, &shapes, &arguments))?.0;
        let count = outputs.len();
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let call = Arc::new(SymbolCall { layer: self.clone(), number, inputs, masks, arguments, shapes: outputs });
        Ok((0..count).map(|output| Symbol { call: call.clone(), output }).collect())
    }
}

/// Calls of layers on symbols; implemented for every layer.
pub trait CallLayer: Sized {
    /// The layer, for several calls that share its weights.
    fn shared(self) -> SharedLayer;

    /// The output of the layer for one input, or for several if the layer accepts them.
    ///
    /// # Errors
    /// As [`SharedLayer::call`].
    fn call(self, inputs: impl IntoSymbols) -> Result<Symbol> {
        self.shared().call(inputs)
    }

    /// All outputs of the layer for these inputs. The inputs of a recurrent layer are a sequence, optionally followed by
    /// its initial states.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let (question, answer) = (Input::new((20, 8)).symbol(), Input::new((10, 8)).symbol());
    /// let encoded = LSTM::new(16).return_state(true).call_all(&question)?; // the output, h and c
    /// let decoded = LSTM::new(16).return_sequences(true).call([&answer, &encoded[1], &encoded[2]])?;
    /// assert_eq!(decoded.shape().to_string(), "(None, 10, 16)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`SharedLayer::call_all`].
    fn call_all(self, inputs: impl IntoSymbols) -> Result<Vec<Symbol>> {
        self.shared().call_all(inputs)
    }

    /// All outputs of the layer for these inputs and further arguments, such as `use_causal_mask`. Values of named
    /// arguments follow the other inputs. The argument `mask`, which every layer that uses masks has, contains 1 for
    /// each step that counts and 0 for others, and replaces the mask that the input carries.
    ///
    /// ```
    /// use brasa::layers::Arguments;
    /// use brasa::prelude::*;
    /// let (words, seen) = (Input::new((20, 32)).symbol(), Input::new((20, 20)).symbol());
    /// let mut arguments = Arguments::new();
    /// arguments.set_option("return_attention_scores", true);
    /// arguments.push_named("attention_mask", vec![true]);
    /// let outputs = MultiHeadAttention::new(4, 8).call_with([&words, &words, &seen], arguments)?;
    /// assert_eq!(outputs[1].shape().to_string(), "(None, 4, 20, 20)");
    ///
    /// let counted = Input::new(20).symbol();
    /// let mut arguments = Arguments::new();
    /// arguments.push_named("mask", vec![true]);
    /// let summed = &LSTM::new(4).call_with([&words, &counted], arguments)?[0];
    /// let model = Model::new([&words, &counted], summed)?;
    /// # Ok::<(), brasa::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`SharedLayer::call_with`].
    fn call_with(self, inputs: impl IntoSymbols, arguments: Arguments) -> Result<Vec<Symbol>> {
        self.shared().call_with(inputs, arguments)
    }
}

impl<L: Into<Box<dyn Layer>>> CallLayer for L {
    fn shared(self) -> SharedLayer {
        SharedLayer::new(self.into())
    }
}

/// Anything accepted as inputs or outputs: one symbol, a list of them, or a list with names.
pub trait IntoSymbols {
    /// The symbols, and their structure.
    #[doc(hidden)]
    fn into_symbols(self) -> (Vec<Symbol>, Given);
}

/// The structure in which symbols are given.
#[doc(hidden)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    Single,
    List,
    Named(Vec<String>),
}

impl From<Given> for Structure {
    fn from(given: Given) -> Self {
        match given {
            Given::Single => Self::Single,
            Given::List => Self::List,
            Given::Named(names) => Self::Named(names),
        }
    }
}

impl IntoSymbols for &Symbol {
    fn into_symbols(self) -> (Vec<Symbol>, Given) {
        (vec![self.clone()], Given::Single)
    }
}

impl<const N: usize> IntoSymbols for [&Symbol; N] {
    fn into_symbols(self) -> (Vec<Symbol>, Given) {
        (self.into_iter().cloned().collect(), Given::List)
    }
}

impl IntoSymbols for &[&Symbol] {
    fn into_symbols(self) -> (Vec<Symbol>, Given) {
        (self.iter().copied().cloned().collect(), Given::List)
    }
}

impl IntoSymbols for &[Symbol] {
    fn into_symbols(self) -> (Vec<Symbol>, Given) {
        (self.to_vec(), Given::List)
    }
}

impl IntoSymbols for &Vec<Symbol> {
    fn into_symbols(self) -> (Vec<Symbol>, Given) {
        (self.clone(), Given::List)
    }
}

impl<const N: usize> IntoSymbols for [(&str, &Symbol); N] {
    fn into_symbols(self) -> (Vec<Symbol>, Given) {
        // Keras sorts dictionaries by key.
        let mut named = self;
        named.sort_by_key(|(name, _)| *name);
        let (names, symbols) = named.into_iter().map(|(name, symbol)| (name.to_owned(), symbol.clone())).unzip();
        (symbols, Given::Named(names))
    }
}

impl Model {
    /// The model that computes `outputs` from `inputs`: Keras's `Model(inputs, outputs)`.
    ///
    /// An input that is not an [`Input`] but the output of a layer makes a model of the layers after it.
    ///
    /// # Errors
    /// [`Error::DuplicateName`] for two layers of one name, [`Error::Layer`] for an output that depends on an input
    /// that is not given.
    pub fn new(inputs: impl IntoSymbols, outputs: impl IntoSymbols) -> Result<Self> {
        let (inputs, input_structure) = inputs.into_symbols();
        let (outputs, output_structure) = outputs.into_symbols();
        if inputs.is_empty() || outputs.is_empty() {
            return Err(Error::argument("inputs", "at least one input and one output", "none"));
        }
        let mut walk = Walk::default();
        let mut numbers = Vec::with_capacity(inputs.len());
        for input in &inputs {
            numbers.push(walk.input(input));
        }
        outputs.iter().for_each(|output| walk.visit(output));
        let outputs = outputs.iter().map(|output| walk.output_of(output)).collect();
        let mut made: Vec<(u64, &mut Box<dyn Layer>)> = walk.numbers.into_iter().zip(&mut walk.layers).collect();
        made.sort_by_key(|(number, _)| *number);
        name_layers(made.into_iter().map(|(_, layer)| layer));
        let description = Description {
            name: "functional".into(),
            layers: walk.layers,
            calls: walk.calls,
            inputs: numbers,
            outputs,
            input_structure: input_structure.into(),
            output_structure: output_structure.into(),
        };
        description.build()
    }

    /// Names the model.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.common.name = Some(name.into());
        self
    }
}

/// Collects the calls that lead to symbols.
#[derive(Default)]
struct Walk {
    layers: Vec<Box<dyn Layer>>,
    /// The creation number of each layer.
    numbers: Vec<u64>,
    calls: Vec<Called>,
    layer_of: HashMap<u64, usize>,
    /// By the address of a call, which lives as long as its symbols.
    call_of: HashMap<*const SymbolCall, usize>,
    /// Inputs that are outputs of layers outside the model.
    cut: HashMap<(*const SymbolCall, usize), usize>,
}

impl Walk {
    fn layer(&mut self, shared: &SharedLayer) -> usize {
        *self.layer_of.entry(shared.number).or_insert_with(|| {
            self.layers.push(shared.layer.boxed_clone());
            self.numbers.push(shared.number);
            self.layers.len() - 1
        })
    }

    /// The call of an input of the model.
    fn input(&mut self, symbol: &Symbol) -> usize {
        let address = Arc::as_ptr(&symbol.call);
        if symbol.is_input() {
            if let Some(call) = self.call_of.get(&address) {
                return *call;
            }
            let layer = self.layer(&symbol.call.layer);
            self.calls.push(Called::input(layer));
            self.call_of.insert(address, self.calls.len() - 1);
        } else {
            let mut input = Input::new(symbol.shape().sample().to_vec());
            input.common_mut().batch_size = symbol.batch_size();
            let layer = self.layer(&SharedLayer::new(input.into()));
            self.calls.push(Called::input(layer));
            self.cut.insert((address, symbol.output), self.calls.len() - 1);
        }
        self.calls.len() - 1
    }

    /// The call that produces a symbol, and the index of its output.
    fn output_of(&self, symbol: &Symbol) -> (usize, usize) {
        let address = Arc::as_ptr(&symbol.call);
        match self.cut.get(&(address, symbol.output)) {
            Some(call) => (*call, 0),
            None => (self.call_of.get(&address).copied().unwrap_or(0), symbol.output),
        }
    }

    fn is_known(&self, symbol: &Symbol) -> bool {
        let address = Arc::as_ptr(&symbol.call);
        self.cut.contains_key(&(address, symbol.output)) || self.call_of.contains_key(&address)
    }

    /// Adds the calls that a symbol depends on, dependencies first.
    fn visit(&mut self, symbol: &Symbol) {
        let mut way = vec![symbol.clone()];
        while let Some(symbol) = way.last().cloned() {
            if self.is_known(&symbol) {
                way.pop();
                continue;
            }
            let missing: Vec<Symbol> = symbol.call.uses().filter(|input| !self.is_known(input)).cloned().collect();
            if missing.is_empty() {
                let layer = self.layer(&symbol.call.layer);
                let inputs = symbol.call.inputs.iter().map(|input| self.output_of(input)).collect();
                let masks =
                    symbol.call.masks.iter().map(|mask| mask.as_ref().map(|mask| self.output_of(mask))).collect();
                let arguments = symbol.call.arguments.clone();
                let number = symbol.call.number;
                self.calls.push(Called { layer, number, inputs, masks, arguments });
                self.call_of.insert(Arc::as_ptr(&symbol.call), self.calls.len() - 1);
                way.pop();
            } else {
                way.extend(missing);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Array3};

    use super::Symbol;
    use crate::datasets::Samples;
    use crate::layers::Arguments;
    use crate::prelude::*;

    fn samples<'a>(sizes: &[usize], numbers: impl Iterator<Item = &'a f32>) -> Samples {
        Samples::new(sizes.to_vec(), numbers.copied().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn masks_that_no_layer_can_use_are_refused() {
        let x = Input::new((4, 2)).symbol();
        let call = |inputs: &[&Symbol], masks: usize| {
            let mut arguments = Arguments::new();
            arguments.push_named("mask", vec![true; masks]);
            GRU::new(3).call_with(inputs, arguments).map(|_| ()).unwrap_err().to_string()
        };
        assert!(call(&[&x], 2).contains("more inputs"));
        assert!(call(&[&x], 1).contains("more inputs"));
        assert!(call(&[&x, &x, &x], 2).contains("mask"));
        let mut mask = Arguments::new();
        mask.push_named("mask", vec![true]);
        assert!(Flatten::new().call_with([&x, &x], mask).unwrap_err().to_string().contains("uses masks"));
    }

    /// The result is as if the input carried the mask.
    #[test]
    fn a_mask_can_be_an_argument_of_a_call() {
        let (x, counted) = (Input::new((4, 2)).symbol(), Input::new(4).symbol());
        let mut mask = Arguments::new();
        mask.push_named("mask", vec![true]);
        let outputs = GRU::new(3).call_with([&x, &counted], mask).unwrap();
        let model = Model::new([&x, &counted], &outputs[0]).unwrap();

        let mut carried = Sequential::new();
        carried.add(Masking::default().input_shape((4, 2))).unwrap().add(GRU::new(3)).unwrap();
        carried.set_weights(&model.get_weights().unwrap()).unwrap();

        let counts = |i: usize, step: usize| !(i + step).is_multiple_of(3);
        let numbers = Array3::from_shape_fn((5, 4, 2), |(i, step, k)| {
            if counts(i, step) { (i * 8 + step * 2 + k + 1) as f32 / 40.0 } else { 0.0 }
        });
        let mask = Array2::from_shape_fn((5, 4), |(i, step)| f32::from(counts(i, step)));
        let right = carried.predict(&numbers).unwrap();
        let mut again = Model::from_json(&model.to_json().unwrap()).unwrap();
        again.set_weights(&model.get_weights().unwrap()).unwrap();
        for model in [&model, &again] {
            let inputs = [samples(&[5, 4, 2], numbers.iter()), samples(&[5, 4], mask.iter())];
            let found = model.predict_all(&inputs).unwrap();
            assert!(found[0].iter().zip(&right).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {right}");
        }
    }
}
