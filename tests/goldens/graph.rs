//! Layers of several inputs or outputs, and graph models, against Keras 3.15 (`tests/fixtures/goldens/graph.json`,
//! `attention.json` and `recurrent.json`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use brasa::Value;
use brasa::burn::tensor::Device;
use brasa::layers::{Arguments, Call, built_in};
use brasa::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value as Json;

use crate::support::read;

const OUTPUT: f32 = 1e-5;
const GRADIENT: f32 = 1e-4;

static INDEX: LazyLock<Json> = LazyLock::new(|| serde_json::from_slice(&read("graph.json")).unwrap());

/// Cases of the attention layers, recorded with Keras 3.15.1 on JAX; those named `…_more` by `make_attention.py`.
static ATTENTION: LazyLock<Json> = LazyLock::new(|| serde_json::from_slice(&read("attention.json")).unwrap());

/// Cases of the recurrent layers and their states, likewise; those named `…_more` by `make_recurrent.py`.
static RECURRENT: LazyLock<Json> = LazyLock::new(|| serde_json::from_slice(&read("recurrent.json")).unwrap());

/// Sizes and numbers by name.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

static TENSORS: LazyLock<Tensors> = LazyLock::new(|| {
    let numbers = |data: &[u8]| data.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
    let mut all = Tensors::new();
    for bytes in ["graph.safetensors", "attention.safetensors", "recurrent.safetensors"].map(read) {
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        all.extend(tensors.iter().map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), numbers(view.data())))));
    }
    all
});

fn find(name: &str) -> Option<Value> {
    let (sizes, numbers) = TENSORS.get(name)?;
    let sizes = if sizes.is_empty() { vec![1] } else { sizes.clone() };
    Some(Value::from_vec(numbers.clone(), &sizes, &Device::flex()).unwrap())
}

fn compare(what: &str, value: &Value, golden: &Value, tolerance: f32) -> Result<(), String> {
    if value.sizes() != golden.sizes() {
        return Err(format!("{what}: shape {:?} instead of {:?}", value.sizes(), golden.sizes()));
    }
    let (values, golden) = (value.to_vec().unwrap(), golden.to_vec().unwrap());
    let scale = golden.iter().fold(1.0f32, |scale, value| scale.max(value.abs()));
    let worst = values.iter().zip(&golden).fold(0.0f32, |worst, (value, golden)| {
        let difference = (value - golden).abs();
        if difference.is_nan() { f32::INFINITY } else { worst.max(difference) }
    });
    if worst / scale <= tolerance { Ok(()) } else { Err(format!("{what}: off by {worst} (of {scale})")) }
}

fn layer(name: &str, case: &Json) -> Result<(), String> {
    let text = |error: brasa::Error| error.to_string();
    let class = case["class"].as_str().unwrap();
    let entry = built_in().iter().find(|entry| entry.class_name == class).ok_or(format!("no layer class {class}"))?;
    let layer = entry.layer(case["config"].as_object().unwrap().clone()).map_err(text)?;
    let tensor = |key: String| find(&format!("L/{name}/{key}"));
    let all = |start: &str| (0..).map_while(|index| tensor(format!("{start}{index}"))).collect::<Vec<_>>();

    let mut inputs: Vec<Value> = all("in").into_iter().map(Value::require_grad).collect();
    let mut masks: Vec<Option<Value>> = (0..inputs.len()).map(|index| tensor(format!("mask{index}"))).collect();
    let mut arguments = Arguments::new();
    for (argument, value) in case["kwargs"].as_object().unwrap() {
        let named = tensor(format!("kw_{argument}0"));
        match (named, value) {
            (Some(named), _) => {
                arguments.push_named(argument, vec![true]);
                inputs.push(named);
                masks.push(None);
            }
            // Its tensors are among the inputs.
            (None, Json::String(_)) if argument == "initial_state" => {
                arguments.push_named(argument, vec![true; inputs.len() - 1]);
            }
            (None, Json::String(_)) => {}
            (None, value) => arguments.set_option(argument, value.clone()),
        }
    }
    let shapes: Vec<brasa::Shape> = inputs.iter().map(|input| brasa::Shape::batch_of(&input.sizes()[1..])).collect();
    let declared = layer.output_shapes(&shapes, &arguments).map_err(text)?;
    let specs = layer.weights_for(&shapes[..arguments.positional(shapes.len())]).map_err(text)?;
    let weights: Vec<Value> = all("w").into_iter().map(Value::require_grad).collect();
    let sizes: Vec<Vec<usize>> =
        (0..weights.len()).map(|index| TENSORS[&format!("L/{name}/w{index}")].0.clone()).collect();
    if specs.iter().map(|spec| spec.sizes.clone()).collect::<Vec<_>>() != sizes {
        return Err("other weights than Keras's".into());
    }
    let mut call = Call::inference(&weights).given(masks, &arguments);
    call = call.masks_given(case["mask_is_given"] == true);
    let outputs = layer.forward_all(inputs.clone(), &mut call).map_err(text)?;
    let golden = all("out");
    if outputs.len() != golden.len() || declared.len() != golden.len() {
        return Err(format!("{} outputs instead of {}", outputs.len(), golden.len()));
    }
    let mut total: Option<Value> = None;
    for (index, (output, golden)) in outputs.iter().zip(&golden).enumerate() {
        compare(&format!("output {index}"), &output.clone().detach(), golden, OUTPUT)?;
        if !declared[index].accepts(&output.sizes()) {
            return Err(format!("declares {} for {:?}", declared[index], output.sizes()));
        }
        let part = (output.clone() * tensor(format!("cot{index}")).unwrap()).sum();
        total = Some(total.map_or(part.clone(), |total| total + part));
    }
    let left = call.output_masks().map(<[_]>::to_vec).unwrap_or_else(|| vec![call.mask.clone()]);
    match (left.first().cloned().flatten().filter(|_| layer.supports_masking()), tensor("outmask0".into())) {
        (None, None) => {}
        (Some(mask), Some(golden)) => compare("the output's mask", &mask, &golden, 0.0)?,
        (mask, golden) => return Err(format!("a mask: {}, in Keras: {}", mask.is_some(), golden.is_some())),
    }
    let mut gradients = total.unwrap().backward();
    let mut take = |value: &Value| gradients.as_mut().and_then(|gradients| value.take_gradient(gradients));
    for (start, values) in [("gin", &inputs), ("gw", &weights)] {
        for (index, value) in values.iter().enumerate() {
            let Some(golden) = tensor(format!("{start}{index}")) else { continue };
            let zero = || Value::full(&value.sizes(), 0.0, &Device::flex()).unwrap();
            let gradient = take(value).unwrap_or_else(zero);
            compare(&format!("gradient {start}{index}"), &gradient, &golden, GRADIENT)?;
        }
    }
    Ok(())
}

#[test]
fn layers_of_several_inputs() {
    let cases = [&*INDEX, &*ATTENTION, &*RECURRENT].map(|index| index["layers"].as_object().unwrap());
    assert_eq!(cases.map(|cases| cases.len()), [68, 42, 40]);
    let failures: Vec<String> = cases
        .into_iter()
        .flatten()
        .filter_map(|(name, case)| layer(name, case).err().map(|error| format!("{name}: {error}")))
        .collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// A model from its Keras config, with Keras's weights.
fn model(name: &str) -> Model {
    let case = &INDEX["models"][name];
    let object = serde_json::json!({"class_name": "Functional", "config": case["config"]});
    let mut model = Model::from_json(&object.to_string()).unwrap();
    let weights: Vec<_> = (0..)
        .map_while(|index| TENSORS.get(&format!("M/{name}/w{index}")))
        .map(|(sizes, numbers)| brasa::ndarray::ArrayD::from_shape_vec(sizes.clone(), numbers.clone()).unwrap())
        .collect();
    model.set_weights(&weights).unwrap();
    model
}

#[test]
fn models_list_their_layers_and_predict_as_in_keras() {
    for (name, case) in INDEX["models"].as_object().unwrap() {
        let model = model(name);
        let names: Vec<&str> = model.layers().iter().map(|layer| layer.name()).collect();
        let keras: Vec<&str> = case["layers"].as_array().unwrap().iter().map(|layer| layer.as_str().unwrap()).collect();
        assert_eq!(names, keras, "{name}");
        let inputs: Vec<_> = case["inputs"].as_array().unwrap().iter().map(|input| input.as_str().unwrap()).collect();
        assert_eq!(model.input_names(), inputs, "{name}");
        assert_eq!(
            model.output_names(),
            case["outputs"].as_array().unwrap().iter().map(|output| output.as_str().unwrap()).collect::<Vec<_>>(),
            "{name}"
        );
        let x = inputs.iter().map(|input| {
            let (sizes, numbers) = &TENSORS[&format!("M/{name}/x_{input}")];
            brasa::datasets::Samples::new(sizes.clone(), numbers.clone()).unwrap()
        });
        let outputs = model.predict_all(x.collect::<Vec<_>>()).unwrap();
        for (index, output) in outputs.iter().enumerate() {
            let output = Value::from_vec(output.iter().copied().collect(), output.shape(), &Device::flex()).unwrap();
            let golden = find(&format!("M/{name}/pred{index}")).unwrap();
            compare(&format!("{name}: output {index}"), &output, &golden, OUTPUT).unwrap();
        }
    }
}

#[test]
fn configs_round_trip() {
    for name in INDEX["models"].as_object().unwrap().keys() {
        let model = model(name);
        let copy = Model::from_json(&model.to_json().unwrap()).unwrap();
        assert_eq!(model.to_json().unwrap(), copy.to_json().unwrap(), "{name}");
        assert_eq!(model.weight_names().unwrap(), copy.weight_names().unwrap(), "{name}");
    }
}

/// A case's compile configuration from Keras.
fn compile(case: &Json) -> Compile {
    let (class, config) = case["optimizer"].as_object().unwrap().iter().next().unwrap();
    let optimizer = serde_json::json!({"class_name": class, "config": config});
    let config = serde_json::json!({
        "optimizer": optimizer, "loss": case["loss"], "loss_weights": case["loss_weights"], "metrics": case["metrics"]
    });
    Compile::from_config(config.as_object().unwrap().clone()).unwrap()
}

fn samples(name: &str) -> brasa::datasets::Samples {
    let (sizes, numbers) = &TENSORS[name];
    brasa::datasets::Samples::new(sizes.clone(), numbers.clone()).unwrap()
}

fn check_scores(what: &str, scores: &brasa::training::Scores, keras: &Json) {
    let keras = keras.as_object().unwrap();
    let mut names: Vec<&str> = keras.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(scores.logs().map(|(name, _)| name).collect::<Vec<_>>(), names, "{what}");
    for (name, golden) in keras {
        let (value, golden) = (scores.get(name).unwrap(), golden.as_f64().unwrap());
        assert!((value - golden).abs() <= 1e-5 * golden.abs().max(1.0), "{what}: {name} {value} instead of {golden}");
    }
}

/// Three steps of training, each with losses and metrics of its batch, and the weights after them.
#[test]
fn models_train_as_in_keras() {
    for (name, case) in INDEX["models"].as_object().unwrap() {
        let mut model = model(name);
        model.compile(compile(case)).unwrap();
        let fields = |key: &str, start: &str| -> Vec<(String, brasa::datasets::Samples)> {
            let names = case[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            names.map(|own| (own.to_owned(), samples(&format!("M/{name}/{start}_{own}")))).collect()
        };
        let (x, y) = (fields("inputs", "x"), fields("outputs", "y"));
        for (step, keras) in case["steps"].as_array().unwrap().iter().enumerate() {
            let scores = model.train_on_batch(x.clone(), y.clone()).unwrap();
            check_scores(&format!("{name}, step {step}"), &scores, keras);
        }
        for (index, weight) in model.get_weights().unwrap().iter().enumerate() {
            let weight = Value::from_vec(weight.iter().copied().collect(), weight.shape(), &Device::flex()).unwrap();
            let golden = find(&format!("M/{name}/wend{index}")).unwrap();
            compare(&format!("{name}: weight {index}"), &weight, &golden, 1e-5).unwrap();
        }
        let data = Dataset::new(x, y).unwrap();
        check_scores(&format!("{name}, after"), &model.evaluate(&data).unwrap(), &case["evaluate_after"]);
    }
}
