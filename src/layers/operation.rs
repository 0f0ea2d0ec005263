//! Operations on values that are nodes of a graph, such as `x + y`: Keras's `keras.ops` in files.

use serde_json::{Value as Json, json};

use super::{Arguments, Call, Common, HasCommon, Layer};
use crate::config::{Config, Configure, from_json};
use crate::error::{Error, Result};
use crate::ops::Value;
use crate::shape::Shape;

/// What an operation computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Add,
    Subtract,
    Multiply,
    Divide,
    Maximum,
    Minimum,
    NotEqual,
    LogicalOr,
    LogicalAnd,
    LogicalNot,
    Negative,
    Absolute,
    Exp,
    Square,
    Sqrt,
    Relu,
    /// Whether one value along the axes is not 0.
    Any,
}

/// The classes of Keras, the modules in which they are, and what they compute.
const FUNCTIONS: &[(&str, &str, Function)] = &[
    (NUMPY, "Add", Function::Add),
    (NUMPY, "Subtract", Function::Subtract),
    (NUMPY, "Multiply", Function::Multiply),
    (NUMPY, "TrueDivide", Function::Divide),
    (NUMPY, "Divide", Function::Divide),
    (NUMPY, "Maximum", Function::Maximum),
    (NUMPY, "Minimum", Function::Minimum),
    (NUMPY, "NotEqual", Function::NotEqual),
    (NUMPY, "LogicalOr", Function::LogicalOr),
    (NUMPY, "LogicalAnd", Function::LogicalAnd),
    (NUMPY, "LogicalNot", Function::LogicalNot),
    (NUMPY, "Negative", Function::Negative),
    (NUMPY, "Absolute", Function::Absolute),
    (NUMPY, "Exp", Function::Exp),
    (NUMPY, "Square", Function::Square),
    (NUMPY, "Sqrt", Function::Sqrt),
    (NUMPY, "Any", Function::Any),
    ("keras.src.ops.nn", "Relu", Function::Relu),
];

const NUMPY: &str = "keras.src.ops.numpy";

/// The operations of which masks are made.
const MASKS: [&str; 5] = ["NotEqual", "Any", "LogicalOr", "LogicalAnd", "LogicalNot"];

/// An argument of an operation: a value of the graph, or a number.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operand {
    Tensor,
    Number(f32),
}

/// An operation of a graph. It has no weights, and is none of [`Model::layers`](crate::Model::layers).
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    common: Common,
    module: &'static str,
    class: &'static str,
    function: Function,
    operands: Vec<Operand>,
    /// The arguments of [`Function::Any`].
    axes: Option<Vec<isize>>,
    keepdims: bool,
}

impl Operation {
    /// Whether an object of Keras's JSON is that of an operation.
    pub(crate) fn is_one(object: &Json) -> bool {
        let text = |key: &str| object.get(key).and_then(Json::as_str);
        match text("module") {
            Some(module) => module.starts_with("keras.src.ops."),
            // Keras 3 leaves the module out in `.h5` files; these are no classes of layers.
            None => text("class_name").is_some_and(|class| MASKS.contains(&class)),
        }
    }

    /// The operation that an object of Keras's JSON describes, with the numbers among the arguments of its call;
    /// `is_tensor` tells which arguments are values.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an operation or an argument that Brasa does not have.
    pub(crate) fn from_keras(object: &Json, call: Option<&Json>, is_tensor: impl Fn(&Json) -> bool) -> Result<Self> {
        let text = |key: &str| object.get(key).and_then(Json::as_str).unwrap_or_default();
        let is_it = |(module, class, _): &&(&str, &str, Function)| {
            *class == text("class_name") && (*module == text("module") || object.get("module").is_none())
        };
        let found = FUNCTIONS.iter().find(is_it);
        let Some((module, class, function)) = found else {
            let names: Vec<&str> = FUNCTIONS.iter().map(|(_, class, _)| *class).collect();
            return Err(Error::unsupported(
                format!("the operation `{}.{}`", text("module"), text("class_name")),
                names.join(", "),
            ));
        };
        let mut config: Config = object.get("config").and_then(Json::as_object).cloned().unwrap_or_default();
        config.shift_remove("name");
        config.shift_remove("dtype");
        let keepdims = match config.shift_remove("keepdims") {
            Some(value) => from_json("keepdims", value)?,
            None => false,
        };
        let axes = match config.shift_remove("axis") {
            None | Some(Json::Null) => None,
            Some(axis @ Json::Number(_)) => Some(vec![from_json("axis", axis)?]),
            Some(axes) => Some(from_json("axis", axes)?),
        };
        let is_any = *function == Function::Any;
        if let Some(unknown) =
            config.keys().next().cloned().or_else(|| (!is_any && axes.is_some()).then(|| "axis".into()))
        {
            return Err(Error::unsupported(
                format!("the argument `{unknown}` of the operation `{class}`"),
                "its inputs",
            ));
        }
        let args = call.and_then(|call| call.get("args")).and_then(Json::as_array);
        let operand = |value: &Json| {
            if is_tensor(value) {
                return Ok(Operand::Tensor);
            }
            let number = value.as_f64().map(|number| Operand::Number(number as f32));
            number.ok_or_else(|| {
                let value: String = value.to_string().chars().take(80).collect();
                Error::unsupported(format!("the operation `{class}` on {value}"), "values and numbers")
            })
        };
        let operands = args.into_iter().flatten().map(operand).collect::<Result<Vec<_>>>()?;
        Ok(Self { common: Common::default(), module, class, function: *function, operands, axes, keepdims })
    }

    /// The object of Keras's JSON, without its calls.
    pub(crate) fn to_keras(&self) -> Json {
        let mut config = json!({ "name": self.common.name });
        if self.function == Function::Any {
            config["axis"] = match self.axes.as_deref() {
                Some([axis]) => json!(axis),
                axes => json!(axes),
            };
            config["keepdims"] = json!(self.keepdims);
        }
        json!({ "module": self.module, "class_name": self.class, "config": config, "registered_name": self.class })
    }

    /// The arguments of its call: its values where they stand, numbers as they are.
    pub(crate) fn arguments(&self, tensors: Vec<Json>) -> Vec<Json> {
        let mut tensors = tensors.into_iter();
        let argument = |operand: &Operand| match operand {
            Operand::Tensor => tensors.next().unwrap_or_default(),
            Operand::Number(number) => json!(number),
        };
        self.operands.iter().map(argument).collect()
    }

    /// The axes that are looked along, and which stay with size 1.
    fn reduced(&self, rank: usize) -> Result<Vec<usize>> {
        let Some(axes) = &self.axes else { return Ok((0..rank).collect()) };
        let counted = axes.iter().map(|axis| {
            let counted = if *axis < 0 { axis + rank as isize } else { *axis };
            let found = usize::try_from(counted).ok().filter(|axis| (1..rank).contains(axis));
            found.ok_or_else(|| Error::argument("axis", format!("an axis of {rank} other than the batch's"), *axis))
        });
        counted.collect()
    }

    /// The values of all operands, numbers as large as the values.
    fn operands(&self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        let Some(first) = inputs.first() else { return Err(Error::shape("at least one value", "none")) };
        let (ones, device) = (vec![1; first.rank()], first.device());
        let mut inputs = inputs.into_iter();
        let values = self.operands.iter().map(|operand| match operand {
            Operand::Tensor => inputs.next().ok_or_else(|| Error::shape("a value for each argument", "fewer")),
            Operand::Number(number) => Value::full(&ones, *number, &device),
        });
        super::merging::aligned(values.collect::<Result<_>>()?)
    }
}

/// 1 where a value is 0, 0 where it is 1.
fn not(value: Value) -> Value {
    value.mul_scalar(-1.0).add_scalar(1.0)
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
        let tensors = self.operands.iter().filter(|operand| **operand == Operand::Tensor).count();
        let wanted = match self.function {
            Function::Add | Function::Subtract | Function::Multiply | Function::Divide => 2,
            Function::Maximum | Function::Minimum | Function::NotEqual => 2,
            Function::LogicalOr | Function::LogicalAnd => 2,
            _ => 1,
        };
        if tensors != inputs.len() || self.operands.len() != wanted || inputs.is_empty() {
            return Err(Error::shape(format!("{wanted} arguments"), format!("{} of them", self.operands.len())));
        }
        if self.function != Function::Any {
            // `keras.ops` broadcasts from the last axis, in which the batch would meet another axis.
            inputs.iter().try_for_each(|input| input.expect_rank(inputs[0].rank()))?;
            return Ok(vec![super::merging::broadcast(inputs)?]);
        }
        let reduced = self.reduced(inputs[0].rank())?;
        if reduced.contains(&0) {
            return Err(Error::unsupported("`Any` over the batch", "axes of the samples"));
        }
        let sizes = inputs[0].sizes().iter().enumerate();
        let kept = sizes.filter_map(|(axis, size)| match (reduced.contains(&axis), self.keepdims) {
            (false, _) => Some(*size),
            (true, true) => Some(Some(1)),
            (true, false) => None,
        });
        Ok(vec![Shape::new(kept.collect::<Vec<_>>())])
    }

    fn forward_all(&self, inputs: Vec<Value>, _: &mut Call<'_>) -> Result<Vec<Value>> {
        let mut values = self.operands(inputs)?.into_iter();
        let (Some(a), b) = (values.next(), values.next()) else {
            return Err(Error::shape("at least one value", "none"));
        };
        let output = match (self.function, b) {
            (Function::Add, Some(b)) => a + b,
            (Function::Subtract, Some(b)) => a - b,
            (Function::Multiply, Some(b)) => a * b,
            (Function::Divide, Some(b)) => a / b,
            (Function::Maximum, Some(b)) => a.maximum(b),
            (Function::Minimum, Some(b)) => a.minimum(b),
            (Function::NotEqual, Some(b)) => not(a.equal(b)),
            (Function::LogicalOr, Some(b)) => not(a.equal_scalar(0.0) * b.equal_scalar(0.0)),
            (Function::LogicalAnd, Some(b)) => not(a.equal_scalar(0.0)) * not(b.equal_scalar(0.0)),
            (Function::LogicalNot, None) => a.equal_scalar(0.0),
            (Function::Negative, None) => a.mul_scalar(-1.0),
            (Function::Absolute, None) => a.abs(),
            (Function::Exp, None) => a.exp(),
            (Function::Square, None) => a.square(),
            (Function::Sqrt, None) => a.sqrt(),
            (Function::Relu, None) => a.clamp_min(0.0),
            (Function::Any, None) => {
                let reduced = self.reduced(a.rank())?;
                let sizes = a.sizes();
                let set = not(a.equal_scalar(0.0));
                let largest = reduced.iter().fold(set, |value, axis| value.max_axis(*axis));
                let kept = sizes.iter().enumerate().filter(|(axis, _)| self.keepdims || !reduced.contains(axis));
                let kept: Vec<usize> =
                    kept.map(|(axis, size)| if reduced.contains(&axis) { 1 } else { *size }).collect();
                largest.reshape(&kept)?
            }
            _ => return Err(Error::shape("another number of arguments", self.operands.len())),
        };
        Ok(vec![output])
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn run(class: &str, config: Json, args: Json, inputs: &[(&[f32], &[usize])]) -> Result<Vec<f32>> {
        let module = if class == "Relu" { "keras.src.ops.nn" } else { NUMPY };
        let object = json!({"module": module, "class_name": class, "config": config});
        let operation = Operation::from_keras(&object, Some(&json!({ "args": args })), Json::is_string)?;
        let values: Vec<Value> = inputs
            .iter()
            .map(|(numbers, sizes)| Value::from_vec(numbers.to_vec(), sizes, &Device::flex()).unwrap())
            .collect();
        let shapes: Vec<Shape> = values.iter().map(|value| Shape::batch_of(&value.sizes()[1..])).collect();
        let shape = operation.output_shapes(&shapes, &Arguments::new())?;
        let output = operation.forward_all(values, &mut Call::inference(&[]))?;
        assert!(shape[0].accepts(&output[0].sizes()), "{} for {:?}", shape[0], output[0].sizes());
        output[0].to_vec()
    }

    #[test]
    fn arguments_stand_where_they_were_written() {
        let x: &[(&[f32], &[usize])] = &[(&[1.0, -2.0], &[1, 2])];
        let of = |class: &str, args: Json| run(class, json!({"name": "n"}), args, x).unwrap();
        assert_eq!(of("Subtract", json!(["x", 1.0])), [0.0, -3.0]);
        assert_eq!(of("Subtract", json!([1, "x"])), [0.0, 3.0]);
        assert_eq!(of("TrueDivide", json!([1, "x"])), [1.0, -0.5]);
        assert_eq!(of("Multiply", json!(["x", 2.0])), [2.0, -4.0]);
        assert_eq!(of("NotEqual", json!(["x", 1])), [0.0, 1.0]);
        assert_eq!(of("Maximum", json!(["x", 0.0])), [1.0, 0.0]);
        assert_eq!((of("LogicalOr", json!(["x", 0])), of("LogicalAnd", json!(["x", 0]))), (vec![1.0; 2], vec![0.0; 2]));
        for (class, right) in
            [("Negative", [-1.0, 2.0]), ("Absolute", [1.0, 2.0]), ("Square", [1.0, 4.0]), ("Relu", [1.0, 0.0])]
        {
            assert_eq!(of(class, json!(["x"])), right, "{class}");
        }
    }

    #[test]
    fn any_looks_along_its_axes() {
        let x: &[(&[f32], &[usize])] = &[(&[0.0, 0.0, 0.0, 3.0], &[1, 2, 2])];
        assert_eq!(run("Any", json!({"axis": -1, "keepdims": false}), json!(["x"]), x).unwrap(), [0.0, 1.0]);
        assert_eq!(run("Any", json!({"axis": [1, 2], "keepdims": true}), json!(["x"]), x).unwrap(), [1.0]);
        assert!(run("Any", json!({"axis": 0}), json!(["x"]), x).is_err());
    }

    #[test]
    fn what_is_not_in_the_table_is_named() {
        let x: &[(&[f32], &[usize])] = &[(&[1.0], &[1, 1])];
        let of = |class: &str, config: Json, args: Json| run(class, config, args, x).unwrap_err().to_string();
        assert!(of("Conjugate", json!({}), json!(["x"])).contains("Conjugate"));
        assert!(of("Add", json!({"where": 1}), json!(["x", 1])).contains("where"));
        assert!(of("Add", json!({}), json!(["x", {"class_name": "__numpy__"}])).contains("__numpy__"));
    }
}
