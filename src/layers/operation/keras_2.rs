//! Operations of Keras 2 files, translated to Keras 3.
//!
//! Keras 2 has a layer `TFOpLambda` for each call of a function of TensorFlow, and `SlicingOpLambda` for `x[…]`. A call
//! is `["x", 0, 0, {…}]` with the value first and all other arguments by name, or a list of such for a function of a
//! list, or `["_CONSTANT_VALUE", -1, 1.0, {…}]` if the first argument is not a graph value.

use serde_json::{Map, Value as Json, json};

use super::{CORE, MATH, NN, NUMPY, ValueKind};
use crate::config::brief;
use crate::error::{Error, Result, words};

/// An argument of a function: its name, the name in Keras 3's config (empty for a positional argument of the call), and
/// its default as JSON; empty if it is required.
type ArgumentRule = (&'static str, &'static str, &'static str);

/// A TensorFlow function and the equivalent Keras operation.
struct Rule {
    function: &'static str,
    module: &'static str,
    class: &'static str,
    arguments: &'static [ArgumentRule],
    /// Arguments of which only this value is supported.
    fixed: &'static [(&'static str, &'static str)],
}

const fn rule(
    function: &'static str,
    module: &'static str,
    class: &'static str,
    arguments: &'static [ArgumentRule],
) -> Rule {
    Rule { function, module, class, arguments, fixed: &[] }
}

const fn fixed(rule: Rule, fixed: &'static [(&'static str, &'static str)]) -> Rule {
    Rule { fixed, ..rule }
}

const Y: &[ArgumentRule] = &[("y", "", "")];
const REDUCED: &[ArgumentRule] = &[("axis", "axis", "null"), ("keepdims", "keepdims", "false")];
const LAST: &[ArgumentRule] = &[("axis", "axis", "-1")];

const RULES: &[Rule] = &[
    rule("__operators__.add", NUMPY, "Add", Y),
    rule("math.add", NUMPY, "Add", Y),
    rule("math.subtract", NUMPY, "Subtract", Y),
    rule("math.multiply", NUMPY, "Multiply", Y),
    rule("math.truediv", NUMPY, "TrueDivide", Y),
    rule("math.divide", NUMPY, "Divide", Y),
    rule("math.divide_no_nan", NUMPY, "DivideNoNan", Y),
    rule("math.floordiv", NUMPY, "FloorDivide", Y),
    rule("math.floormod", NUMPY, "Mod", Y),
    rule("math.mod", NUMPY, "Mod", Y),
    rule("math.pow", NUMPY, "Power", Y),
    rule("math.maximum", NUMPY, "Maximum", Y),
    rule("math.minimum", NUMPY, "Minimum", Y),
    rule("math.equal", NUMPY, "Equal", Y),
    rule("math.not_equal", NUMPY, "NotEqual", Y),
    rule("math.greater", NUMPY, "Greater", Y),
    rule("math.greater_equal", NUMPY, "GreaterEqual", Y),
    rule("math.less", NUMPY, "Less", Y),
    rule("math.less_equal", NUMPY, "LessEqual", Y),
    rule("math.logical_and", NUMPY, "LogicalAnd", Y),
    rule("math.logical_or", NUMPY, "LogicalOr", Y),
    rule("math.logical_xor", NUMPY, "LogicalXor", Y),
    rule("math.atan2", NUMPY, "Arctan2", &[("x", "", "")]),
    rule("math.logical_not", NUMPY, "LogicalNot", &[]),
    rule("math.negative", NUMPY, "Negative", &[]),
    rule("math.abs", NUMPY, "Absolute", &[]),
    rule("math.sign", NUMPY, "Sign", &[]),
    rule("math.exp", NUMPY, "Exp", &[]),
    rule("math.expm1", NUMPY, "Expm1", &[]),
    rule("math.log", NUMPY, "Log", &[]),
    rule("math.log1p", NUMPY, "Log1p", &[]),
    rule("math.sqrt", NUMPY, "Sqrt", &[]),
    rule("math.rsqrt", MATH, "Rsqrt", &[]),
    rule("math.square", NUMPY, "Square", &[]),
    rule("math.reciprocal", NUMPY, "Reciprocal", &[]),
    rule("math.erf", MATH, "Erf", &[]),
    rule("math.sin", NUMPY, "Sin", &[]),
    rule("math.cos", NUMPY, "Cos", &[]),
    rule("math.tan", NUMPY, "Tan", &[]),
    rule("math.asin", NUMPY, "Arcsin", &[]),
    rule("math.acos", NUMPY, "Arccos", &[]),
    rule("math.atan", NUMPY, "Arctan", &[]),
    rule("math.sinh", NUMPY, "Sinh", &[]),
    rule("math.cosh", NUMPY, "Cosh", &[]),
    rule("math.tanh", NUMPY, "Tanh", &[]),
    rule("math.floor", NUMPY, "Floor", &[]),
    rule("math.ceil", NUMPY, "Ceil", &[]),
    rule("math.round", NUMPY, "Round", &[]),
    rule("math.is_nan", NUMPY, "Isnan", &[]),
    rule("math.is_inf", NUMPY, "Isinf", &[]),
    rule("math.is_finite", NUMPY, "Isfinite", &[]),
    rule("math.sigmoid", NN, "Sigmoid", &[]),
    rule("math.softplus", NN, "Softplus", &[]),
    rule("math.log_sigmoid", NN, "LogSigmoid", &[]),
    rule("nn.relu", NN, "Relu", &[]),
    rule("nn.relu6", NN, "Relu6", &[]),
    rule("nn.leaky_relu", NN, "LeakyRelu", &[("alpha", "negative_slope", "0.2")]),
    rule("nn.elu", NN, "Elu", &[]),
    rule("nn.selu", NN, "Selu", &[]),
    rule("nn.gelu", NN, "Gelu", &[("approximate", "approximate", "false")]),
    fixed(rule("nn.silu", NN, "Silu", &[]), &[("beta", "1.0")]),
    rule("nn.softsign", NN, "Softsign", &[]),
    rule("nn.softmax", NN, "Softmax", LAST),
    rule("nn.log_softmax", NN, "LogSoftmax", LAST),
    rule("math.reduce_sum", NUMPY, "Sum", REDUCED),
    rule("math.reduce_mean", NUMPY, "Mean", REDUCED),
    rule("math.reduce_max", NUMPY, "Max", REDUCED),
    rule("math.reduce_min", NUMPY, "Min", REDUCED),
    rule("math.reduce_prod", NUMPY, "Prod", REDUCED),
    rule("math.reduce_any", NUMPY, "Any", REDUCED),
    rule("math.reduce_all", NUMPY, "All", REDUCED),
    rule("math.reduce_std", NUMPY, "Std", REDUCED),
    rule("math.reduce_variance", NUMPY, "Var", REDUCED),
    rule("math.reduce_logsumexp", MATH, "Logsumexp", REDUCED),
    fixed(rule("math.argmax", NUMPY, "Argmax", &[("axis", "axis", "0")]), &[("output_type", "\"int64\"")]),
    fixed(rule("math.argmin", NUMPY, "Argmin", &[("axis", "axis", "0")]), &[("output_type", "\"int64\"")]),
    fixed(
        rule("math.cumsum", NUMPY, "Cumsum", &[("axis", "axis", "0")]),
        &[("exclusive", "false"), ("reverse", "false")],
    ),
    rule("clip_by_value", NUMPY, "Clip", &[("clip_value_min", "x_min", ""), ("clip_value_max", "x_max", "")]),
    rule("where", NUMPY, "Where", &[("x", "", ""), ("y", "", "")]),
    rule("concat", NUMPY, "Concatenate", &[("axis", "axis", "")]),
    rule("stack", NUMPY, "Stack", &[("axis", "axis", "0")]),
    rule("unstack", CORE, "Unstack", &[("num", "num", "null"), ("axis", "axis", "0")]),
    rule("reshape", NUMPY, "Reshape", &[("shape", "newshape", "")]),
    fixed(rule("transpose", NUMPY, "Transpose", &[("perm", "axes", "null")]), &[("conjugate", "false")]),
    rule("squeeze", NUMPY, "Squeeze", &[("axis", "axis", "null")]),
    fixed(rule("compat.v1.squeeze", NUMPY, "Squeeze", &[("axis", "axis", "null")]), &[("squeeze_dims", "null")]),
    rule("expand_dims", NUMPY, "ExpandDims", &[("axis", "axis", "")]),
    rule("tile", NUMPY, "Tile", &[("multiples", "repeats", "")]),
    rule("repeat", NUMPY, "Repeat", &[("repeats", "repeats", ""), ("axis", "axis", "null")]),
    rule("reverse", NUMPY, "Flip", &[("axis", "axis", "")]),
    rule("roll", NUMPY, "Roll", &[("shift", "shift", ""), ("axis", "axis", "")]),
    rule("broadcast_to", NUMPY, "BroadcastTo", &[("shape", "shape", "")]),
    rule("cast", CORE, "Cast", &[("dtype", "dtype", "")]),
    rule("identity", NUMPY, "Copy", &[]),
    rule("stop_gradient", CORE, "StopGradient", &[]),
    rule("zeros_like", NUMPY, "ZerosLike", &[("dtype", "dtype", "null")]),
    rule("ones_like", NUMPY, "OnesLike", &[("dtype", "dtype", "null")]),
    fixed(
        rule("linalg.matmul", NUMPY, "Matmul", &[("b", "", "")]),
        &[
            ("transpose_a", "false"),
            ("transpose_b", "false"),
            ("adjoint_a", "false"),
            ("adjoint_b", "false"),
            ("a_is_sparse", "false"),
            ("b_is_sparse", "false"),
            ("output_type", "null"),
            ("grad_a", "false"),
            ("grad_b", "false"),
        ],
    ),
    fixed(
        rule("gather", NUMPY, "Take", &[("indices", "", ""), ("axis", "axis", "0")]),
        &[("validate_indices", "null"), ("batch_dims", "0")],
    ),
    fixed(
        rule(
            "one_hot",
            NN,
            "OneHot",
            &[("depth", "num_classes", ""), ("axis", "axis", "-1"), ("dtype", "dtype", "null")],
        ),
        &[("on_value", "1"), ("off_value", "0")],
    ),
    fixed(
        rule(
            "image.resize",
            "keras.src.ops.image",
            "Resize",
            &[("size", "size", ""), ("method", "interpolation", "\"bilinear\""), ("antialias", "antialias", "false")],
        ),
        &[("preserve_aspect_ratio", "false")],
    ),
    fixed(rule("nn.bias_add", NUMPY, "Add", &[("bias", "", "")]), &[("data_format", "\"NHWC\"")]),
    rule("math.l2_normalize", NN, "Normalize", &[("axis", "axis", "null"), ("epsilon", "epsilon", "1e-12")]),
    rule("split", NUMPY, "Split", &[("num_or_size_splits", "indices_or_sections", ""), ("axis", "axis", "0")]),
    rule(
        "pad",
        NUMPY,
        "Pad",
        &[("paddings", "pad_width", ""), ("mode", "mode", "\"CONSTANT\""), ("constant_values", "", "0")],
    ),
    rule("__operators__.getitem", NUMPY, "GetItem", &[("slice_spec", "", "")]),
];

/// Resolves aliases of functions.
fn canonical(function: &str) -> &str {
    match function {
        "compat.v1.transpose" => "transpose",
        "compat.v1.gather" => "gather",
        "compat.v1.pad" => "pad",
        "compat.v1.where" | "where_v2" => "where",
        "compat.v1.expand_dims" => "expand_dims",
        "nn.swish" => "nn.silu",
        "nn.sigmoid" => "math.sigmoid",
        "nn.tanh" => "math.tanh",
        "nn.softplus" => "math.softplus",
        "nn.l2_normalize" | "linalg.l2_normalize" => "math.l2_normalize",
        other => other,
    }
}

/// Translates a graph value to Keras 3.
fn tensor(value: &Json, kind: &impl Fn(&str) -> ValueKind) -> Option<Json> {
    let [layer, call, output] = &value.as_array()?[..] else { return None };
    let dtype = kind(layer.as_str()?).dtype();
    (call.is_u64() && output.is_u64()).then(|| {
        let history = json!([layer, call, output]);
        json!({ "class_name": "__keras_tensor__", "config": { "dtype": dtype, "keras_history": history } })
    })
}

/// Translates an argument and the graph values inside it.
fn argument(value: &Json, kind: &impl Fn(&str) -> ValueKind) -> Json {
    match (tensor(value, kind), value) {
        (Some(tensor), _) => tensor,
        (None, Json::Array(list)) => list.iter().map(|value| argument(value, kind)).collect(),
        (None, other) => other.clone(),
    }
}

fn holds_tensor(value: &Json) -> bool {
    match value {
        Json::Array(list) => list.iter().any(holds_tensor),
        other => super::is_hole(other),
    }
}

/// The first argument of a call, and the others by name.
fn parsed(call: &Json, kind: &impl Fn(&str) -> ValueKind) -> Result<(Json, Map<String, Json>)> {
    let wrong = || Error::argument("inbound_nodes", "a call as [layer, call, output, arguments]", brief(call));
    let mut named = Map::new();
    let mut entry = |entry: &Json| {
        let [first, rest @ ..] = &entry.as_array()?[..] else { return None };
        let (value, others) = match (first.as_str()?, rest) {
            ("_CONSTANT_VALUE", [_, value, others @ ..]) => (value.clone(), others),
            (_, [call, output, others @ ..]) => (tensor(&json!([first, call, output]), kind)?, others),
            _ => return None,
        };
        // They are repeated for every entry.
        for (name, value) in others.first().and_then(Json::as_object).into_iter().flatten() {
            named.insert(name.clone(), argument(value, kind));
        }
        Some(value)
    };
    let list = call.as_array().ok_or_else(wrong)?;
    let first = match list.first() {
        Some(Json::String(_)) => entry(call),
        Some(Json::Array(_)) => list.iter().map(entry).collect::<Option<Vec<_>>>().map(Json::Array),
        _ => None,
    };
    // A name in TensorFlow's own graph.
    named.shift_remove("name");
    Ok((first.ok_or_else(wrong)?, named))
}

/// Translates a Keras 2 operation and its call to Keras 3. `kind` returns the kind of a layer's output.
pub(super) fn translated(object: &Json, call: &Json, kind: &impl Fn(&str) -> ValueKind) -> Result<(Json, Json)> {
    let config = object.get("config").cloned().unwrap_or_default();
    let function = config.get("function").and_then(Json::as_str).unwrap_or_default();
    let Some(rule) = RULES.iter().find(|rule| rule.function == canonical(function)) else {
        return Err(unknown(function));
    };
    let (mut first, mut named) = parsed(call, kind)?;
    let refused = |what: String, supported: &str| Error::unsupported(format!("`tf.{function}` with {what}"), supported);
    for (key, only) in rule.fixed {
        let only: Json = serde_json::from_str(only).unwrap_or_default();
        if let Some(value) = named.shift_remove(*key).filter(|value| !value.is_null()) {
            let same = value == only || value.as_f64().is_some_and(|value| only.as_f64() == Some(value));
            if !same && *key != "output_type" {
                return Err(refused(format!("`{key}` = {}", brief(&value)), &format!("{only}")));
            }
        }
    }
    // A single value for a function of a list.
    let takes_a_list = ["Concatenate", "Stack"].contains(&rule.class);
    if takes_a_list && !first.is_array() {
        first = json!([first]);
    }
    if rule.class == "Mean" && super::is_hole(&first) && ValueKind::of_tensor(&first)? < ValueKind::Float {
        return Err(refused("integers, whose mean TensorFlow truncates".into(), "floats, by `tf.cast`"));
    }
    let (mut args, mut kwargs, mut own) = (vec![first], Map::new(), Map::new());
    for (key, target, default) in rule.arguments {
        let given = named.shift_remove(*key).filter(|value| !value.is_null() || default.is_empty());
        let value = match given {
            Some(value) => value,
            None if default.is_empty() => return Err(refused(format!("no `{key}`"), &format!("`{key}`"))),
            None => serde_json::from_str(default).unwrap_or_default(),
        };
        if target.is_empty() {
            args.push(value);
        } else if holds_tensor(&value) {
            return Err(refused(format!("a graph value for `{key}`"), "constants"));
        } else {
            own.insert((*target).to_owned(), value);
        }
    }
    if let Some((key, value)) = named.iter().find(|(_, value)| !value.is_null()) {
        return Err(refused(format!("`{key}` = {}", brief(value)), "its other arguments"));
    }
    match rule.class {
        "GetItem" => args[1] = key_of(&args[1]),
        "Add" if rule.function == "nn.bias_add" && args[1].is_array() => {
            let constant = json!({ "value": args[1], "dtype": "float32" });
            args[1] = json!({ "class_name": "__numpy__", "config": constant });
        }
        "Normalize" => {
            // Keras compares it with the norm, TensorFlow with its square.
            own.insert("epsilon".into(), json!(own["epsilon"].as_f64().unwrap_or(0.0).max(0.0).sqrt()));
        }
        "Resize" => {
            let method = own["interpolation"].as_str().unwrap_or_default().to_owned();
            if !["bilinear", "nearest"].contains(&method.as_str()) {
                return Err(refused(format!("`method` = {method}"), "bilinear, nearest"));
            }
        }
        "Split" => {
            if let Some(lengths) = own["indices_or_sections"].as_array() {
                own["indices_or_sections"] = starts(lengths)?;
            }
        }
        "Pad" => {
            let mode = own["mode"].as_str().unwrap_or_default().to_lowercase();
            own["mode"] = json!(mode);
            let fill = args.pop().unwrap_or_default();
            if fill != json!(0) {
                kwargs.insert("constant_values".into(), fill);
            }
        }
        _ => {}
    }
    let mut config = json!({ "name": config.get("name") });
    if let Some(fields) = config.as_object_mut() {
        fields.extend(own);
    }
    let object = json!({ "module": rule.module, "class_name": rule.class, "config": config });
    Ok((object, json!({ "args": args, "kwargs": kwargs })))
}

/// The start of each part but the first, for parts of these lengths.
fn starts(lengths: &[Json]) -> Result<Json> {
    let wrong = |value: &Json| Error::argument("num_or_size_splits", "lengths of at least 0", value);
    let mut sum = 0u64;
    let ends = lengths.iter().map(|length| {
        sum = sum.saturating_add(length.as_u64().ok_or_else(|| wrong(length))?);
        Ok(json!(sum.min(i64::MAX as u64)))
    });
    let mut ends = ends.collect::<Result<Vec<Json>>>()?;
    // The last part extends to the end, as TensorFlow has verified.
    ends.pop();
    Ok(Json::Array(ends))
}

/// Translates an indexing key to Keras 3.
fn key_of(spec: &Json) -> Json {
    match spec {
        Json::Array(parts) => parts.iter().map(key_of).collect(),
        Json::Object(fields) if fields.contains_key("step") => {
            json!({ "class_name": "__slice__", "config": fields })
        }
        Json::Object(fields) if fields.get("class_name").and_then(Json::as_str) == Some("__ellipsis__") => {
            json!({ "class_name": "__ellipsis__", "config": {} })
        }
        other => other.clone(),
    }
}

fn unknown(function: &str) -> Error {
    let names: Vec<String> = RULES.iter().map(|rule| rule.function.to_owned()).collect();
    let shown: String = function.chars().take(120).collect();
    if canonical(&shown).ends_with("shape") {
        let supported = "constant sizes, such as `tf.reshape(x, [-1, 4])`";
        return Error::unsupported(format!("`tf.{shown}`, the sizes of a value as graph values"), supported);
    }
    Error::unsupported(format!("the function `tf.{shown}` of Keras 2"), words("function", &shown, &names))
}
