//! Compile configurations of Keras 2, and alternative forms in Keras 3.

use serde_json::{Map, Value as Json, json};

use crate::config::{PACKAGE_END, is_of_keras};

/// Converts the settings of `compile` to the current form. What cannot be converted is left, and reported later.
pub(super) fn renew_compile(compile: &mut Json) {
    let Some(settings) = compile.as_object_mut() else { return };
    // The shape of sample weights, which is a property of the data; and the number of servers on which Keras evaluated.
    for unused in ["sample_weight_mode", "pss_evaluation_shards"] {
        settings.shift_remove(unused);
    }
    if let Some(optimizer) = settings.get_mut("optimizer") {
        renew_optimizer(optimizer);
    }
    if let Some(loss) = settings.get_mut("loss") {
        each(loss, &mut renew_loss);
    }
    for metrics in ["metrics", "weighted_metrics"] {
        if let Some(metrics) = settings.get_mut(metrics) {
            each(metrics, &mut renew_metric);
        }
    }
}

/// Calls a function for each loss or metric of a list, a list of lists, or a map by the outputs' names.
fn each(value: &mut Json, renew: &mut impl FnMut(&mut Json)) {
    match value {
        Json::Array(list) => list.iter_mut().for_each(|value| each(value, renew)),
        Json::Object(map) if !map.contains_key("class_name") => map.values_mut().for_each(|value| each(value, renew)),
        value => renew(value),
    }
}

fn renew_optimizer(optimizer: &mut Json) {
    // Loss scaling keeps small gradients from vanishing in float16; in float32 it has no effect.
    if optimizer.get("class_name").is_some_and(|class| class == "LossScaleOptimizer")
        && let Some(config) = optimizer.get_mut("config")
        && let Some(key) = ["inner_optimizer", "optimizer"].into_iter().find(|key| config.get(key).is_some())
    {
        *optimizer = config[key].take();
    }
    let Some(class) = optimizer.get("class_name").and_then(Json::as_str) else { return };
    // TensorFlow 2.11 to 2.15 wrote Keras's own optimizers so, with this argument; users' classes of Keras 3 lack it.
    let is_keras_2 = optimizer.get("config").is_some_and(|config| config.get("is_legacy_optimizer").is_some());
    let class = class.strip_prefix("Custom>").filter(|_| is_keras_2).unwrap_or(class).to_owned();
    optimizer["class_name"] = json!(class);
    let Some(config) = optimizer.get_mut("config").and_then(Json::as_object_mut) else { return };
    for unused in ["jit_compile", "is_legacy_optimizer"] {
        config.shift_remove(unused);
    }
    if let Some(rate) = config.shift_remove("lr") {
        config.entry("learning_rate").or_insert(rate);
    }
    // Until Keras 2.2 `None` meant 1e-7, which is the current default.
    if config.get("epsilon").is_some_and(Json::is_null) {
        config.shift_remove("epsilon");
    }
    if class == "Nadam" {
        // The decay of its momentum, which is a constant 0.004 everywhere else too; TensorFlow calls it `decay`.
        for key in ["schedule_decay", "decay"] {
            if config.get(key).and_then(Json::as_f64).is_some_and(|decay| (decay - 0.004).abs() < 1e-8) {
                config.shift_remove(key);
            }
        }
    }
    if let Some(decay) = config.get("decay").and_then(Json::as_f64) {
        let rate = config.get("learning_rate").filter(|rate| rate.is_number()).cloned();
        if decay == 0.0 {
            config.shift_remove("decay");
        } else if let Some(rate) = rate {
            // lr / (1 + decay · iterations), which is a schedule now.
            config.shift_remove("decay");
            let schedule = json!({"initial_learning_rate": rate, "decay_steps": 1, "decay_rate": decay});
            let value = json!({"class_name": "InverseTimeDecay", "config": schedule});
            config.insert("learning_rate".into(), value);
        }
    }
    if let Some(schedule) = config.get_mut("learning_rate").and_then(|rate| rate.get_mut("config"))
        && let Some(schedule) = schedule.as_object_mut()
        && schedule.get("name").is_some_and(Json::is_null)
    {
        schedule.shift_remove("name");
    }
}

/// The name of a function in a file: Keras 2 wrote its name, Keras 3 writes an object. A user's function is of another
/// module, and gets a package, so that no function of Keras is taken for it.
fn function(value: &Json) -> Option<String> {
    if let Some(name) = value.as_str() {
        return Some(name.to_owned());
    }
    let is_function = value.get("class_name").and_then(Json::as_str) == Some("function");
    let name = value.get("config").filter(|_| is_function)?.as_str()?;
    let module = value.get("module").and_then(Json::as_str).unwrap_or("builtins");
    let is_own = module != "builtins" && !is_of_keras(module);
    Some(if is_own && !name.contains(PACKAGE_END) { format!("Custom>{name}") } else { name.to_owned() })
}

/// The current name of a function.
fn today(name: &str) -> &str {
    if name == "kullback_leibler_divergence" { "kl_divergence" } else { name }
}

fn renew_loss(loss: &mut Json) {
    if let Some(name) = function(loss) {
        *loss = json!(today(&name));
        return;
    }
    unwrap(loss, "LossFunctionWrapper");
    let Some(config) = loss.get_mut("config").and_then(Json::as_object_mut) else { return };
    if config.get("reduction").is_some_and(|reduction| reduction == "auto") {
        config.shift_remove("reduction");
    }
}

fn renew_metric(metric: &mut Json) {
    // The function of this name is the loss, whose sign is opposite to that of the metric with the same name.
    if metric.is_object() && function(metric).as_deref() == Some("cosine_similarity") {
        return;
    }
    if let Some(name) = function(metric) {
        let value = match today(&name) {
            same if same == name => json!(name),
            // It keeps its name in the history.
            class => json!({"class_name": class, "config": {"name": name}}),
        };
        *metric = value;
        return;
    }
    let is_wrapper = metric.get("class_name").is_some_and(|class| class == "MeanMetricWrapper");
    // Keras 2 wrote metrics given by name as wrapped functions, chosen by the shapes.
    let name = metric.get("config").and_then(|config| config.get("name")).and_then(Json::as_str);
    if let Some(name) = name.filter(|name| is_wrapper && ["accuracy", "acc", "crossentropy", "ce"].contains(name)) {
        *metric = json!(name);
        return;
    }
    unwrap(metric, "MeanMetricWrapper");
}

/// Unwraps the object of a class that wraps a function (`fn`, next to the function's own arguments).
fn unwrap(value: &mut Json, wrapper: &str) {
    let is_wrapper = value.get("class_name").is_some_and(|class| class == wrapper);
    let Some(config) = value.get_mut("config").and_then(Json::as_object_mut) else { return };
    // Classes derived from such wrappers have written it too.
    let Some(inner) = config.get("fn").and_then(function).map(|name| today(&name).to_owned()) else { return };
    config.shift_remove("fn");
    if is_wrapper {
        let config: Map<String, Json> = std::mem::take(config);
        *value = json!({"class_name": inner, "config": config});
    }
}
