//! Compile configurations of Keras 2, and alternative forms in Keras 3.

use serde_json::{Map, Value as Json, json};

use super::is_own;
use crate::config::{PACKAGE_END, is_of_keras};
use crate::optimizers;

/// The functions among which Keras 2 chose for metrics given as `accuracy` or `crossentropy`.
const CHOSEN_BY_SHAPE: [&str; 6] = [
    "binary_accuracy",
    "categorical_accuracy",
    "sparse_categorical_accuracy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
];

/// The classes of loss scaling; TensorFlow 2.11 to 2.15 wrote those with a number.
const LOSS_SCALING: [&str; 3] = ["LossScaleOptimizer", "LossScaleOptimizerV1", "LossScaleOptimizerV3"];

/// Converts the settings of `compile` to the current form; `version` is that of the Keras that wrote them, if known. What
/// cannot be converted is left, and reported later.
pub(super) fn renew_compile(compile: &mut Json, version: Option<&str>) {
    let Some(settings) = compile.as_object_mut() else { return };
    // The shape of sample weights, which is a property of the data; and the number of servers on which Keras evaluated.
    for unused in ["sample_weight_mode", "pss_evaluation_shards"] {
        settings.shift_remove(unused);
    }
    if let Some(optimizer) = settings.get_mut("optimizer") {
        renew_optimizer(optimizer, version);
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

fn renew_optimizer(optimizer: &mut Json, version: Option<&str>) {
    // Loss scaling keeps small gradients from vanishing in float16; in float32 it has no effect.
    let class = optimizer.get("class_name").and_then(Json::as_str);
    if class.is_some_and(|class| LOSS_SCALING.contains(&class))
        && !is_own(optimizer)
        && let Some(config) = optimizer.get_mut("config")
        && let Some(key) = ["inner_optimizer", "optimizer"].into_iter().find(|key| config.get(key).is_some())
    {
        *optimizer = config[key].take();
    }
    let Some(class) = optimizer.get("class_name").and_then(Json::as_str) else { return };
    // Keras 2 registers its optimizers itself: TensorFlow 2.8 to 2.10 wrote the experimental ones so, with `jit_compile`,
    // 2.11 to 2.15 all, with `is_legacy_optimizer` too. A class without either is a user's, as all are of Keras 3.
    let is_of = |major: &str| version.is_some_and(|version| version.starts_with(major));
    let has = |key: &str| !is_of("3.") && optimizer.get("config").is_some_and(|config| config.get(key).is_some());
    let is_keras_2 = is_of("2.") || has("is_legacy_optimizer");
    let is_registered_by_keras =
        (has("is_legacy_optimizer") || has("jit_compile")) && !optimizers::is_registered(class);
    let built_in = class.strip_prefix("Custom>").filter(|class| optimizers::is_built_in_name(class));
    let class = built_in.filter(|_| is_registered_by_keras).unwrap_or(class).to_owned();
    optimizer["class_name"] = json!(class);
    // Its arguments have the meaning and the defaults that the user gave them.
    let is_own = self::is_own(optimizer) || !optimizers::is_built_in_name(&class);
    let Some(config) = optimizer.get_mut("config").and_then(Json::as_object_mut) else { return };
    if is_keras_2 || !is_own {
        // Keras 2 wrote them for users' classes as well.
        for unused in ["jit_compile", "is_legacy_optimizer"] {
            config.shift_remove(unused);
        }
    }
    if !is_own {
        renew_arguments(&class, config);
    }
    if let Some(rate) = config.get_mut("learning_rate").filter(|rate| !self::is_own(rate))
        && let Some(schedule) = rate.get_mut("config").and_then(Json::as_object_mut)
        && schedule.get("name").is_some_and(Json::is_null)
    {
        schedule.shift_remove("name");
    }
}

/// Converts the arguments of a built-in optimizer.
fn renew_arguments(class: &str, config: &mut Map<String, Json>) {
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
    if is_own(loss) {
        return;
    }
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
    let is_wrapper = metric.get("class_name").is_some_and(|class| class == "MeanMetricWrapper") && !is_own(metric);
    // Keras 2 wrote metrics given by name as wrapped functions, chosen by the shapes. A user can give another function
    // such a name.
    let argument = |key: &str| metric.get("config").and_then(|config| config.get(key));
    let is_chosen = argument("fn").is_none_or(|inner| {
        inner.is_null() || function(inner).is_some_and(|inner| CHOSEN_BY_SHAPE.contains(&inner.as_str()))
    });
    let name = argument("name").and_then(Json::as_str).filter(|_| is_wrapper && is_chosen);
    if let Some(name) = name.filter(|name| ["accuracy", "acc", "crossentropy", "ce"].contains(name)) {
        *metric = json!(name);
        return;
    }
    unwrap(metric, "MeanMetricWrapper");
}

/// Unwraps the object of a class that wraps a function (`fn`, next to the function's own arguments).
fn unwrap(value: &mut Json, wrapper: &str) {
    let is_own = is_own(value);
    let is_wrapper = value.get("class_name").is_some_and(|class| class == wrapper) && !is_own;
    let Some(config) = value.get_mut("config").and_then(Json::as_object_mut) else { return };
    // Classes derived from such wrappers have written it too; a text is a user's own argument.
    let inner = config.get("fn").filter(|inner| !is_own || inner.is_object());
    let Some(inner) = inner.and_then(function).map(|name| today(&name).to_owned()) else { return };
    config.shift_remove("fn");
    if is_wrapper {
        let config: Map<String, Json> = std::mem::take(config);
        *value = json!({"class_name": inner, "config": config});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn optimizer(mut optimizer: Json, version: Option<&str>) -> Json {
        renew_optimizer(&mut optimizer, version);
        optimizer
    }

    #[test]
    fn the_arguments_of_own_optimizers_are_kept() {
        let config =
            json!({"learning_rate": 0.1, "lr": 0.2, "decay": 0.9, "epsilon": null, "jit_compile": true, "rho": 0.5});
        for own in [
            json!({"module": null, "class_name": "MyRms", "config": config, "registered_name": "Custom>MyRms"}),
            json!({"module": null, "class_name": "SGD", "config": config, "registered_name": "my_package>SGD"}),
            json!({"class_name": "my_package>SGD", "config": config}),
            json!({"class_name": "Custom>MyRms", "config": config}),
            json!({"class_name": "MyRms", "config": config}),
        ] {
            assert_eq!(optimizer(own.clone(), None), own);
        }
        // Keras 2 wrote these two for any class.
        let own = json!({"class_name": "Custom>MyRms", "config": {
            "learning_rate": 0.1, "decay": 0.9, "jit_compile": true, "is_legacy_optimizer": false,
        }});
        let kept = json!({"class_name": "Custom>MyRms", "config": {"learning_rate": 0.1, "decay": 0.9}});
        assert_eq!(optimizer(own, None), kept);
        let renewed = optimizer(json!({"class_name": "SGD", "config": {"lr": 0.2, "decay": 0.0}}), None);
        assert_eq!(renewed, json!({"class_name": "SGD", "config": {"learning_rate": 0.2}}));
    }

    #[test]
    fn optimizers_that_keras_2_registers_are_built_in() {
        let adam = |config: Json| json!({"class_name": "Custom>Adam", "config": config});
        let built_in = json!({"class_name": "Adam", "config": {"learning_rate": 0.01}});
        assert_eq!(optimizer(adam(json!({"learning_rate": 0.01, "jit_compile": true})), None), built_in);
        assert_eq!(optimizer(adam(json!({"learning_rate": 0.01, "is_legacy_optimizer": false})), None), built_in);
        let own = adam(json!({"learning_rate": 0.01}));
        for version in [None, Some("2.4.0"), Some("3.15.1")] {
            assert_eq!(optimizer(own.clone(), version), own);
        }
        let scaled = json!({"class_name": "LossScaleOptimizerV3", "config": {
            "inner_optimizer": adam(json!({"learning_rate": 0.01, "is_legacy_optimizer": false})),
            "initial_scale": 32768.0, "dynamic_growth_steps": 2000,
        }});
        assert_eq!(optimizer(scaled, Some("2.15.0")), built_in);
        let own = adam(json!({"learning_rate": 0.01, "jit_compile": true}));
        assert_eq!(optimizer(own.clone(), Some("3.15.1")), own);
    }

    #[test]
    fn own_losses_and_metrics_are_left_alone() {
        let own = |class: &str, config: Json| json!({"module": null, "class_name": class, "registered_name": format!("my_package>{class}"), "config": config});
        let loss = own("LossFunctionWrapper", json!({"reduction": "auto", "fn": "steep"}));
        let metric = own("MeanMetricWrapper", json!({"name": "accuracy"}));
        let mut renewed = [loss.clone(), metric.clone()];
        renew_loss(&mut renewed[0]);
        renew_metric(&mut renewed[1]);
        assert_eq!(renewed, [loss, metric]);
    }

    #[test]
    fn only_functions_that_keras_chose_are_metrics_by_name() {
        let function = |module: &str, name: &str| json!({"module": module, "class_name": "function", "config": name, "registered_name": name});
        let renewed = |name: &str, inner: Json| {
            let config = json!({"name": name, "fn": inner});
            let mut metric = json!({"module": "keras.metrics", "class_name": "MeanMetricWrapper", "config": config});
            renew_metric(&mut metric);
            metric
        };
        for inner in [Json::Null, json!("categorical_accuracy"), function("builtins", "binary_accuracy")] {
            assert_eq!(renewed("accuracy", inner), "accuracy");
        }
        assert_eq!(renewed("ce", function("keras.metrics", "binary_crossentropy")), "ce");
        let of = |class: &str| json!({"class_name": class, "config": {"name": "accuracy"}});
        assert_eq!(renewed("accuracy", function("__main__", "my_fn")), of("Custom>my_fn"));
        assert_eq!(renewed("accuracy", function("__main__", "binary_accuracy")), of("Custom>binary_accuracy"));
        assert_eq!(renewed("accuracy", json!("my_fn")), of("my_fn"));
        assert_eq!(renewed("accuracy", json!("mean_absolute_error")), of("mean_absolute_error"));
    }
}
