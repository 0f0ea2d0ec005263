//! Operations on graph nodes, such as `x + y`: Keras's `keras.ops` in files.
//!
//! An operation is a line in the list of the file for its kind, with its Keras class and a constructor of its
//! [`Function`] from the arguments. Shapes follow NumPy's rules; the batch's axis is like any other.

mod activations;
mod argument;
mod axes;
mod elementwise;
mod images;
mod indexing;
mod joining;
mod keras_2;
mod kind;
mod pairs;
mod products;
mod reductions;
mod rules;
mod shapes;

#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use self::argument::{Described, Operand};
use super::{Arguments, Call, Common, Edge, Exporting, Freezing, Frozen, HasCommon, Layer, OnnxNumbers};
use crate::config::{Config, Configure, PACKAGE_END};
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::shape::{Shape, check_count};

pub(crate) use self::kind::ValueKind;

const NUMPY: &str = "keras.src.ops.numpy";
const NN: &str = "keras.src.ops.nn";
const CORE: &str = "keras.src.ops.core";
const MATH: &str = "keras.src.ops.math";

/// The computation of an operation.
trait Function: Debug + Send + Sync {
    /// Shape inference from the shapes of all arguments; a scalar has the shape `()`.
    fn shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>>;

    /// The kind of the outputs.
    fn kind(&self, inputs: &[ValueKind]) -> Result<ValueKind> {
        Ok(ValueKind::widest(inputs))
    }

    /// The workspace in values, besides the outputs; all sizes are known.
    fn scratch(&self, inputs: &[Shape], outputs: &[Shape]) -> usize {
        let _ = inputs;
        total(outputs)
    }

    /// Whether outputs can be computed from empty inputs.
    fn takes_nothing(&self) -> bool {
        false
    }

    /// The operation of this class as a step of a predictor, if there is one for graph values alone.
    fn frozen_step(&self, class: &str, freezing: &Freezing<'_>) -> Option<Frozen> {
        let _ = (class, freezing);
        None
    }

    /// The operation as ONNX operators; `None` if there are none.
    fn onnx(&self, given: &Exported<'_>, to: &mut Exporting<'_>) -> Result<Option<Vec<Edge>>> {
        let _ = (given, to);
        Ok(None)
    }

    /// Computes the outputs, whose sizes are already checked; a scalar argument has rank 1.
    fn compute(&self, inputs: Vec<Value>, outputs: &[Vec<usize>]) -> Result<Vec<Value>>;
}

type FunctionResult = Result<Box<dyn Function>>;

/// The arguments of an operation in an ONNX graph, constants included.
struct Exported<'a> {
    class: &'static str,
    edges: &'a [Edge],
    shapes: &'a [Shape],
    outputs: &'a [Shape],
}

/// An operation of the list.
struct OperationEntry {
    module: &'static str,
    class: &'static str,
    make: fn(&mut Described) -> FunctionResult,
}

impl OperationEntry {
    const fn new(module: &'static str, class: &'static str, make: fn(&mut Described) -> FunctionResult) -> Self {
        Self { module, class, make }
    }
}

/// All operations.
fn entries() -> impl Iterator<Item = &'static OperationEntry> {
    let lists: [&'static [OperationEntry]; 10] = [
        elementwise::ENTRIES,
        pairs::ENTRIES,
        activations::ENTRIES,
        axes::ENTRIES,
        reductions::ENTRIES,
        shapes::ENTRIES,
        joining::ENTRIES,
        indexing::ENTRIES,
        products::ENTRIES,
        images::ENTRIES,
    ];
    lists.into_iter().flatten()
}

/// The total number of values of these shapes.
fn total(shapes: &[Shape]) -> usize {
    shapes.iter().map(Shape::known_len).fold(0, usize::saturating_add)
}

/// An operation of a graph. It has no weights, and is not among [`Model::layers`](crate::Model::layers).
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    common: Common,
    module: &'static str,
    class: &'static str,
    /// The arguments as in files.
    config: Config,
    args: Vec<Json>,
    kwargs: Map<String, Json>,
    /// The operands of the function, in order.
    operands: Vec<Operand>,
    function: Arc<dyn Function>,
    /// The kinds of the values in `args` and `kwargs`, and of the outputs.
    given: Vec<ValueKind>,
    kind: ValueKind,
}

/// The tensors among the arguments of an operation's call, in order.
pub(crate) fn tensors<'a>(call: &'a Json, is_tensor: &impl Fn(&Json) -> bool) -> Vec<&'a Json> {
    let mut found = Vec::new();
    let kwargs = call.get("kwargs").and_then(Json::as_object).into_iter().flat_map(Map::values);
    for argument in call.get("args").and_then(Json::as_array).into_iter().flatten().chain(kwargs) {
        // Nested lists are traversed without recursion.
        let mut left = vec![argument];
        while let Some(value) = left.pop() {
            match value {
                value if is_tensor(value) => found.push(value),
                Json::Array(list) => left.extend(list.iter().rev()),
                _ => {}
            }
        }
    }
    found
}

/// Replaces the tensors that [`tensors`] finds.
fn replace(value: &Json, is_tensor: &impl Fn(&Json) -> bool, with: &mut impl Iterator<Item = Json>) -> Json {
    match value {
        value if is_tensor(value) => with.next().unwrap_or_default(),
        Json::Array(list) => list.iter().map(|value| replace(value, is_tensor, with)).collect(),
        other => other.clone(),
    }
}

/// The placeholder of a tensor in an operation's own arguments.
fn hole() -> Json {
    json!({ "class_name": "__keras_tensor__" })
}

fn is_hole(value: &Json) -> bool {
    value.get("class_name").and_then(Json::as_str) == Some("__keras_tensor__")
}

impl Operation {
    /// Whether a Keras JSON object is an operation.
    pub(crate) fn is_one(object: &Json) -> bool {
        let text = |key: &str| object.get(key).and_then(Json::as_str);
        match text("module") {
            Some(module) => module.starts_with("keras.src.ops.") || module.starts_with("keras.src.activations."),
            // Keras 3 omits the module in `.h5` files. Layers are distinguished by `trainable`.
            None => {
                let is_known = text("class_name").is_some_and(|class| entries().any(|entry| entry.class == class));
                // An own layer in a package can have an operation's name.
                let is_own = text("registered_name").is_some_and(|name| name.contains(PACKAGE_END));
                is_known && !is_own && object.get("config").is_some_and(|config| config.get("trainable").is_none())
            }
        }
    }

    /// Whether a Keras 2 JSON object is an operation.
    pub(crate) fn is_keras_2(object: &Json) -> bool {
        matches!(object.get("class_name").and_then(Json::as_str), Some("TFOpLambda" | "SlicingOpLambda"))
    }

    /// Translates a Keras 2 operation and its call to Keras 3. `kind` returns the kind of a layer's output.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a function or an argument that Brasa does not have.
    pub(crate) fn translated(object: &Json, call: &Json, kind: &impl Fn(&str) -> ValueKind) -> Result<(Json, Json)> {
        keras_2::translated(object, call, kind)
    }

    /// Parses an operation from Keras's JSON, with the constants among the arguments of its call; `is_tensor` says
    /// which arguments are values.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an operation or an argument that Brasa does not have.
    pub(crate) fn from_keras(object: &Json, call: Option<&Json>, is_tensor: impl Fn(&Json) -> bool) -> Result<Self> {
        let text = |key: &str| object.get(key).and_then(Json::as_str).unwrap_or_default();
        let is_it = |entry: &&OperationEntry| {
            entry.class == text("class_name") && (entry.module == text("module") || object.get("module").is_none())
        };
        let Some(OperationEntry { module, class, make }) = entries().find(is_it) else {
            return Err(unknown(text("module"), text("class_name")));
        };
        let mut config: Config = object.get("config").and_then(Json::as_object).cloned().unwrap_or_default();
        config.shift_remove("name");
        let list = |key: &str| call.and_then(|call| call.get(key));
        let written = list("args").and_then(Json::as_array).cloned().unwrap_or_default();
        let kwargs = list("kwargs").and_then(Json::as_object).cloned().unwrap_or_default();
        let operand = |value: &Json| Operand::of(value, &is_tensor);
        let mut described = Described {
            class,
            // If an operation has no dtype of its own, Keras can write that of its policy.
            config: config.clone(),
            operands: written.iter().map(operand).collect::<Result<_>>()?,
            written: written.clone(),
        };
        for (name, value) in kwargs.iter().filter(|(_, value)| !value.is_null()) {
            let position = parameters(class).iter().position(|parameter| parameter == name);
            if position != Some(described.operands.len()) {
                return Err(described.unsupported(&format!("the argument `{name}`"), "positional arguments"));
            }
            described.operands.push(operand(value)?);
            described.written.push(value.clone());
        }
        let function = make(&mut described)?;
        described.config.shift_remove("dtype");
        if let Some(unknown) = described.config.keys().next() {
            return Err(described.unsupported(&format!("the argument `{unknown}`"), "what Keras 3.15 has"));
        }
        let operands = described.values()?;
        let kinds: Vec<ValueKind> = operands.iter().map(Operand::kind).collect();
        let kind = function.kind(&kinds)?;
        let given = call.map(|call| tensors(call, &is_tensor)).unwrap_or_default();
        let given: Vec<ValueKind> = given.into_iter().map(ValueKind::of_tensor).collect::<Result<_>>()?;
        let used = operands.iter().filter(|operand| matches!(operand, Operand::Tensor(_))).count();
        if used != given.len() || used == 0 {
            let received = format!("{} graph values, of which {used} are used", given.len());
            return Err(Error::argument("inbound_nodes", "at least one value, and only where one belongs", received));
        }
        let mut holes = std::iter::repeat_with(hole);
        let args = written.iter().map(|value| replace(value, &is_tensor, &mut holes)).collect();
        let kwargs = kwargs.iter().map(|(name, value)| (name.clone(), replace(value, &is_tensor, &mut holes)));
        Ok(Self {
            common: Common::default(),
            module,
            class,
            config,
            args,
            kwargs: kwargs.collect(),
            operands,
            function: function.into(),
            given,
            kind,
        })
    }

    /// The kind of its outputs.
    pub(crate) fn kind(&self) -> ValueKind {
        self.kind
    }

    /// Serializes the operation as Keras does, without its calls.
    pub(crate) fn to_keras(&self) -> Json {
        let mut config = json!({ "name": self.common.name });
        if let Some(own) = config.as_object_mut() {
            own.extend(self.config.clone());
        }
        json!({ "module": self.module, "class_name": self.class, "config": config, "registered_name": self.class })
    }

    /// Serializes its call, with these tensors and its constants.
    pub(crate) fn call(&self, tensors: Vec<Json>) -> Json {
        let mut tensors = tensors.into_iter().zip(&self.given).map(|(mut tensor, kind)| {
            if let Some(dtype) = tensor.get_mut("config").and_then(|config| config.get_mut("dtype")) {
                *dtype = json!(kind.dtype());
            }
            tensor
        });
        let args: Vec<Json> = self.args.iter().map(|value| replace(value, &is_hole, &mut tensors)).collect();
        let kwargs = self.kwargs.iter().map(|(name, value)| (name.clone(), replace(value, &is_hole, &mut tensors)));
        json!({ "args": args, "kwargs": kwargs.collect::<Map<_, _>>() })
    }

    /// The shapes of all arguments, constants included.
    fn all_shapes(&self, inputs: &[Shape]) -> Result<Vec<Shape>> {
        let wanted = self.given.len();
        if inputs.len() != wanted {
            return Err(Error::shape(format!("{wanted} values"), format!("{} of them", inputs.len())));
        }
        let mut inputs = inputs.iter();
        let shapes = self.operands.iter().filter_map(|operand| match operand {
            Operand::Constant(constant) => Some(constant.shape()),
            _ => inputs.next().cloned(),
        });
        Ok(shapes.collect())
    }

    /// Shape inference from the shapes of all arguments, with checks.
    fn checked(&self, shapes: &[Shape]) -> Result<Vec<Shape>> {
        let outputs = self.function.shapes(shapes)?;
        for output in &outputs {
            if output.rank() == 0 {
                let what = format!("the operation `{}` with a scalar output", self.class);
                return Err(Error::unsupported(what, "`keepdims=True`, or axes of which some stay"));
            }
            rules::check_rank(output.rank())?;
            output.check_count()?;
        }
        Ok(outputs)
    }
}

/// The names of an operation's arguments that can be passed by name.
fn parameters(class: &str) -> &'static [&'static str] {
    match class {
        "Pad" => &["x", "constant_values"],
        "Take" => &["x", "indices"],
        "Where" => &["condition", "x1", "x2"],
        "GetItem" => &["x", "key"],
        "Concatenate" => &["xs"],
        _ => &["x1", "x2"],
    }
}

fn unknown(module: &str, class: &str) -> Error {
    let names: Vec<String> = entries().map(|entry| entry.class.to_owned()).collect();
    let shown: String = format!("{module}.{class}").chars().take(120).collect();
    Error::unsupported(format!("the operation `{shown}`"), crate::error::words("operation", class, &names))
}

impl HasCommon for Operation {
    fn common(&self) -> &Common {
        &self.common
    }

    fn common_mut(&mut self) -> &mut Common {
        &mut self.common
    }
}

impl Configure for Operation {
    const CLASS_NAME: &'static str = "Operation";
    const ARGUMENTS: &'static [&'static str] = &[];

    fn class_name(&self) -> &'static str {
        self.class
    }

    fn config(&self) -> Result<Config> {
        Ok(Config::new())
    }

    fn from_config(_: Config) -> Result<Self> {
        Err(Error::unsupported("an operation outside of a graph", "operations that a Functional model calls"))
    }
}

impl Layer for Operation {
    fn output_shapes(&self, inputs: &[Shape], arguments: &Arguments) -> Result<Vec<Shape>> {
        arguments.expect_only(&[])?;
        self.checked(&self.all_shapes(inputs)?)
    }

    fn scratch_for(&self, inputs: &[Shape], _: &Arguments, training: bool) -> Result<usize> {
        let shapes = self.all_shapes(inputs)?;
        let outputs = self.checked(&shapes)?;
        let constants = self.operands.iter().map(|operand| match operand {
            Operand::Constant(constant) => constant.numbers().len(),
            _ => 0,
        });
        let own = self.function.scratch(&shapes, &outputs);
        // Intermediate results are saved for the backward pass.
        let own = if training { own.saturating_mul(2) } else { own };
        Ok(constants.fold(own, usize::saturating_add))
    }

    fn frozen_step(&self, freezing: &Freezing<'_>) -> Option<Frozen> {
        let are_values = self.operands.iter().all(|operand| matches!(operand, Operand::Tensor(_)));
        are_values.then(|| self.function.frozen_step(self.class, freezing))?
    }

    fn onnx(&self, to: &mut Exporting<'_>) -> Result<Vec<Edge>> {
        let (shapes, outputs) = (self.all_shapes(to.shapes())?, to.output_shapes().to_vec());
        let mut inputs = to.inputs().to_vec().into_iter();
        let edges = self.operands.iter().filter_map(|operand| match operand {
            Operand::Constant(constant) => {
                let sizes = constant.shape().sizes().iter().map(|size| size.unwrap_or(1)).collect();
                Some(to.constant("constant", OnnxNumbers { sizes, values: constant.numbers().to_vec() }))
            }
            _ => inputs.next(),
        });
        let edges: Vec<Edge> = edges.collect();
        let given = Exported { class: self.class, edges: &edges, shapes: &shapes, outputs: &outputs };
        self.function.onnx(&given, to)?.ok_or_else(|| {
            let what = format!("the operation `{}` of these arguments in ONNX", self.class);
            Error::unsupported(what, "operations that ONNX has, of values of known sizes")
        })
    }

    fn forward_all(&self, inputs: Vec<Value>, _: &mut Call<'_>) -> Result<Vec<Value>> {
        let Some(device) = inputs.first().map(Value::device) else {
            return Err(Error::shape("at least one value", "none"));
        };
        let shapes: Vec<Shape> = inputs.iter().map(|input| Shape::known(&input.sizes())).collect();
        let outputs = self.checked(&self.all_shapes(&shapes)?)?;
        let sizes: Vec<Vec<usize>> =
            outputs.iter().map(|shape| shape.sizes().iter().map(|size| size.unwrap_or(0)).collect()).collect();
        for sizes in &sizes {
            check_count(sizes)?;
        }
        if sizes.iter().all(|sizes| sizes.contains(&0)) {
            return sizes.iter().map(|sizes| Value::empty(sizes, &device)).collect();
        }
        if inputs.iter().any(Value::is_empty) && !self.function.takes_nothing() {
            return Err(Error::shape("values with elements", format!("{shapes:?}")));
        }
        let mut inputs = inputs.into_iter();
        let values = self.operands.iter().filter_map(|operand| match operand {
            Operand::Constant(constant) => Some(constant.value(&device)),
            _ => inputs.next().map(Ok),
        });
        let values = self.function.compute(values.collect::<Result<_>>()?, &sizes)?;
        match values.iter().zip(&sizes).find(|(value, sizes)| value.sizes() != **sizes) {
            Some((value, sizes)) => {
                Err(Error::shape(format!("an output of {sizes:?}"), format!("{:?}", value.sizes())))
            }
            None => Ok(values),
        }
    }
}
