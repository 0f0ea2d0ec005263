//! Models of Keras 1, converted to the form of Keras 2 as Keras 2 itself did.

use serde_json::{Map, Value as Json, json};

use super::is_own;
use crate::error::Error;

/// Arguments that only Keras 1 has; a layer with one of them is in its form.
const OWN_WORDS: [&str; 9] = [
    "nb_filter",
    "border_mode",
    "inner_init",
    "W_regularizer",
    "W_constraint",
    "pool_length",
    "nb_row",
    "dim_ordering",
    "consume_less",
];

/// Whether a layer of the model is in the form of Keras 1. It has no registered classes: their arguments do not count.
pub(super) fn is_keras_1(object: &Json) -> bool {
    let Some(config) = object.get("config") else { return false };
    let layers = config.get("layers").unwrap_or(config).as_array();
    layers.into_iter().flatten().chain(config.get("layer")).filter(|layer| !is_own(layer)).any(|layer| {
        let own = layer.get("config").and_then(Json::as_object);
        own.is_some_and(|own| OWN_WORDS.iter().any(|word| own.contains_key(*word))) || is_keras_1(layer)
    })
}

/// The error for a model of Keras 1 that could not be read.
pub(in crate::model::files) fn refusal(version: Option<&str>, error: &Error) -> Error {
    let version = version.map_or_else(|| "Keras 1".to_owned(), |version| format!("Keras {version}"));
    Error::unsupported(
        format!("a model of {version}: {error}"),
        "Keras 1's common layers; Keras 2.0 to 2.3 reads others and saves them as Keras 2's",
    )
}

/// Converts a layer's object, and nested ones, to the form of Keras 2.
pub(super) fn renew(object: &mut Json) {
    if is_own(object) {
        return;
    }
    let class = object.get("class_name").and_then(Json::as_str).unwrap_or_default().to_owned();
    let Some(config) = object.get_mut("config").and_then(Json::as_object_mut) else { return };
    for inner in ["layers", "layer", "backward_layer", "forward_layer"] {
        match config.get_mut(inner) {
            Some(Json::Array(layers)) => layers.iter_mut().for_each(renew),
            Some(layer) => renew(layer),
            None => {}
        }
    }
    renew_functions(config);
    let today = renew_arguments(&class, config);
    if today != class {
        object["class_name"] = json!(today);
    }
}

/// Converts the arguments of a class to the form of Keras 2; returns the class's name there.
fn renew_arguments<'a>(class: &'a str, config: &mut Map<String, Json>) -> &'a str {
    for unused in ["input_dtype", "create_input_layer"] {
        config.shift_remove(unused);
    }
    rename(config, &[("border_mode", "padding"), ("bias", "use_bias")]);
    let ordering = config.shift_remove("dim_ordering");
    if let Some(format) = ordering.as_ref().and_then(Json::as_str) {
        let format = if format == "th" { "channels_first" } else { "channels_last" };
        config.insert("data_format".into(), json!(format));
    }
    let kernel = [
        ("init", "kernel_initializer"),
        ("W_regularizer", "kernel_regularizer"),
        ("b_regularizer", "bias_regularizer"),
        ("W_constraint", "kernel_constraint"),
        ("b_constraint", "bias_constraint"),
    ];
    match class {
        "Dense" | "TimeDistributedDense" => {
            rename(config, &kernel);
            rename(config, &[("output_dim", "units")]);
            leave_out(config, &["input_dim", "input_length"]);
            // A dense layer does the same at each step.
            return "Dense";
        }
        "Convolution1D" | "AtrousConvolution1D" | "Conv1D" => {
            rename(config, &kernel);
            let own = [("nb_filter", "filters"), ("filter_length", "kernel_size"), ("subsample_length", "strides")];
            rename(config, &own);
            rename(config, &[("atrous_rate", "dilation_rate")]);
            leave_out(config, &["input_dim", "input_length"]);
            return "Conv1D";
        }
        "Convolution2D" | "AtrousConvolution2D" | "Conv2D" => {
            rename(config, &kernel);
            rename(config, &[("nb_filter", "filters"), ("subsample", "strides"), ("atrous_rate", "dilation_rate")]);
            collect_numbers(config, &["nb_row", "nb_col"], "kernel_size");
            return "Conv2D";
        }
        "Convolution3D" | "Conv3D" => {
            rename(config, &kernel);
            rename(config, &[("nb_filter", "filters"), ("subsample", "strides")]);
            collect_numbers(config, &["kernel_dim1", "kernel_dim2", "kernel_dim3"], "kernel_size");
            return "Conv3D";
        }
        "MaxPooling1D" | "AveragePooling1D" => rename(config, &[("pool_length", "pool_size"), ("stride", "strides")]),
        "Dropout" | "SpatialDropout1D" | "SpatialDropout2D" | "SpatialDropout3D" | "GaussianDropout" => {
            rename(config, &[("p", "rate")]);
        }
        "GaussianNoise" => rename(config, &[("sigma", "stddev")]),
        "Embedding" => {
            let own = [
                ("init", "embeddings_initializer"),
                ("W_regularizer", "embeddings_regularizer"),
                ("W_constraint", "embeddings_constraint"),
            ];
            rename(config, &own);
            let dropout = config.shift_remove("dropout").and_then(|rate| rate.as_f64()).unwrap_or(0.0);
            if dropout != 0.0 {
                tracing::warn!("`dropout` = {dropout} of an Embedding, which Keras 2 does not have, is left out");
            }
        }
        "SimpleRNN" | "LSTM" | "GRU" => {
            rename(config, &kernel);
            let own = [
                ("output_dim", "units"),
                ("inner_init", "recurrent_initializer"),
                ("inner_activation", "recurrent_activation"),
                ("U_regularizer", "recurrent_regularizer"),
                ("U_constraint", "recurrent_constraint"),
                ("dropout_W", "dropout"),
                ("dropout_U", "recurrent_dropout"),
            ];
            rename(config, &own);
            leave_out(config, &["input_dim", "input_length", "consume_less", "forget_bias_init"]);
        }
        "BatchNormalization" => {
            rename(config, &[("beta_init", "beta_initializer"), ("gamma_init", "gamma_initializer")]);
            // Normalization by the moving averages, as now. The other modes use the statistics of each batch or sample.
            if config.get("mode").is_none_or(|mode| *mode == 0) {
                config.shift_remove("mode");
            }
        }
        "PReLU" => rename(config, &[("init", "alpha_initializer")]),
        "UpSampling1D" => rename(config, &[("length", "size")]),
        "ZeroPadding2D" => both_sides(config, "padding"),
        _ => {}
    }
    class
}

/// Converts initializers and activations by name, and regularizers and constraints, to the form of Keras 2.
fn renew_functions(config: &mut Map<String, Json>) {
    for (key, value) in config.iter_mut() {
        let Some(own) = value.as_object().filter(|own| !own.contains_key("class_name")) else { continue };
        let Some(name) = own.get("name").and_then(Json::as_str) else { continue };
        let number = |key: &str| own.get(key).cloned().unwrap_or(json!(0.0));
        if key.ends_with("regularizer") {
            let known = ["WeightRegularizer", "ActivityRegularizer", "L1L2Regularizer"].contains(&name);
            let penalty = json!({"class_name": "L1L2", "config": {"l1": number("l1"), "l2": number("l2")}});
            // Other kinds are left, and rejected by name.
            *value = if known { penalty } else { json!({"class_name": name, "config": own}) };
        } else if key.ends_with("constraint") {
            let mut arguments = own.clone();
            arguments.shift_remove("name");
            rename(&mut arguments, &[("m", "max_value")]);
            *value = json!({"class_name": name, "config": arguments});
        }
    }
}

fn rename(config: &mut Map<String, Json>, names: &[(&str, &str)]) {
    for (from, to) in names {
        if let Some(value) = config.shift_remove(*from) {
            config.entry(*to).or_insert(value);
        }
    }
}

fn leave_out(config: &mut Map<String, Json>, names: &[&str]) {
    for name in names {
        config.shift_remove(*name);
    }
}

/// Collects several numbers into a list.
fn collect_numbers(config: &mut Map<String, Json>, names: &[&str], list: &str) {
    let numbers: Vec<Json> = names.iter().filter_map(|name| config.shift_remove(*name)).collect();
    if numbers.len() == names.len() {
        config.insert(list.into(), Json::Array(numbers));
    }
}

/// Converts `[top, bottom, left, right]` to a pair for each axis.
fn both_sides(config: &mut Map<String, Json>, key: &str) {
    if let Some(sides) = config.get_mut(key)
        && let Some([top, bottom, left, right]) = sides.as_array().map(Vec::as_slice)
    {
        *sides = json!([[top, bottom], [left, right]]);
    }
}
