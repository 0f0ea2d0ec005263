//! Known attacks against Keras's loader, one by one, in each format that Keras loads: all are rejected, with the
//! reason, in bounded time and memory.
//!
//! Each file is constructed here, so that its content is visible. Attacks on the archive and on HDF5 itself are in
//! `keras_hostile.rs`.

use std::path::{Path, PathBuf};

use brasa::Error;
use brasa::formats::Limits;
use brasa::formats::keras::{LegacyModel, WeightTree, write_keras, write_legacy_h5, write_weights_h5};
use brasa::formats::{Array, safetensors::write_safetensors};
use brasa::model::Contents;
use brasa::prelude::*;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

#[cfg(target_os = "linux")]
use crate::support::alone;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A model in every format with Keras's JSON.
    fn forms(&self, model: &Json) -> Vec<PathBuf> {
        let paths: Vec<PathBuf> =
            ["keras", "h5", "json", "safetensors"].map(|form| self.at(&format!("m.{form}"))).into();
        write_keras(&paths[0], &json!({"keras_version": "3.9.0"}), model, &WeightTree::new()).unwrap();
        let legacy = LegacyModel {
            keras_version: "3.9.0".into(),
            backend: "tensorflow".into(),
            model_config: model.clone(),
            training_config: None,
            layers: Vec::new(),
            optimizer: Vec::new(),
            info: None,
        };
        write_legacy_h5(&paths[1], &legacy).unwrap();
        std::fs::write(&paths[2], model.to_string()).unwrap();
        write_safetensors(&paths[3], &[], &[("config", model.to_string())]).unwrap();
        paths
    }
}

fn sequential(layers: Json) -> Json {
    json!({"module": "keras", "class_name": "Sequential", "registered_name": null,
        "config": {"name": "s", "layers": layers, "build_input_shape": [null, 3]}})
}

fn layer(class: &str, config: Json) -> Json {
    json!({"module": "keras.layers", "class_name": class, "config": config, "registered_name": null})
}

/// Checks that a file is rejected in every format; the message must contain `reason`.
fn refused(model: &Json, reason: &str) {
    let place = Place::new();
    for path in place.forms(model) {
        for error in [Sequential::load(&path).unwrap_err(), Contents::of(&path).unwrap_err()] {
            let message = error.to_string();
            assert!(message.contains(reason), "{}: {message}", path.display());
        }
    }
}

/// Keras's serialized form of a Python function.
fn byte_code() -> Json {
    json!({"class_name": "__lambda__", "config": {"code": "4wEAAAAAAAAAAAAAAAEAAAACAAAAQwAAAHMEAAAA", "defaults": null, "closure": null}})
}

/// CVE-2024-3660 runs the bytecode of a `Lambda`; CVE-2025-9905 did so in `.h5` even in safe mode.
#[test]
fn python_s_code_is_never_run() {
    let lambda = |config| layer("Lambda", config);
    let arguments = json!({"name": "lambda", "function": byte_code(), "arguments": {}});
    refused(&sequential(json!([lambda(arguments.clone())])), "`Lambda` in a file, which contains Python bytecode");
    // The form of Keras 2, and hidden in nested layers.
    let older =
        json!({"name": "lambda", "function": ["4wEAAAAA", null, null], "function_type": "lambda", "module": "os"});
    refused(&sequential(json!([lambda(older)])), "Lambda");
    for wrapper in ["TimeDistributed", "Bidirectional", "SpectralNormalization"] {
        let inside = layer(wrapper, json!({"name": "w", "layer": lambda(arguments.clone())}));
        refused(&sequential(json!([inside])), "Lambda");
    }
    refused(&sequential(json!([sequential(json!([lambda(arguments)]))])), "Lambda");
}

/// CVE-2025-1550 names any module and function in place of a class.
#[test]
fn modules_and_functions_of_python_are_not_looked_up() {
    for module in ["os", "builtins", "subprocess", "numpy", "keras_evil", "kerasx.layers", ""] {
        let call =
            json!({"module": module, "class_name": "system", "config": {"command": "id"}, "registered_name": "system"});
        refused(&sequential(json!([call])), "not supported");
    }
    for place in ["activation", "kernel_initializer", "kernel_regularizer", "kernel_constraint", "bias_initializer"] {
        for function in [
            json!({"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"}),
            json!({"module": "os", "class_name": "system", "config": {}, "registered_name": null}),
            byte_code(),
        ] {
            let mut config = json!({"name": "d", "units": 2});
            config[place] = function;
            refused(&sequential(json!([layer("Dense", config)])), place);
        }
    }
}

/// CVE-2025-8747 uses functions of Keras itself, such as the one that downloads files, as layers.
#[test]
fn functions_of_keras_are_not_layers() {
    for (module, name) in [
        ("keras.utils", "get_file"),
        ("keras.src.utils.file_utils", "get_file"),
        ("keras.saving", "load_model"),
        ("keras.models", "load_model"),
        ("keras", "__import__"),
    ] {
        let gadget = json!({"module": module, "class_name": name, "config": {"fname": "/etc/passwd", "origin": "http://localhost"}});
        refused(&sequential(json!([gadget])), &format!("`{name}`"));
    }
}

/// CVE-2025-9906 disables safe mode in the file itself. Here there is no such mode, and unknown keys are rejected.
#[test]
fn a_file_cannot_disable_checks() {
    let mut model = sequential(json!([layer("Dense", json!({"name": "d", "units": 2, "safe_mode": false}))]));
    refused(&model, "safe_mode");
    model = sequential(json!([]));
    model["config"]["safe_mode"] = json!(false);
    refused(&model, "safe_mode");
    let call = layer("enable_unsafe_deserialization", json!({}));
    refused(&sequential(json!([call])), "enable_unsafe_deserialization");
}

/// CVE-2025-49655, CVE-2026-1462 and CVE-2025-12058: layers that load pickles, other models, or files by path or URL.
#[test]
fn layers_that_load_other_files_are_refused_by_name() {
    for (class, config) in [
        ("TorchModuleWrapper", json!({"name": "t", "module": "gAR9cQAu"})),
        ("TFSMLayer", json!({"name": "t", "filepath": "/tmp/saved_model"})),
        ("StringLookup", json!({"name": "t", "vocabulary": "/etc/passwd"})),
        ("StringLookup", json!({"name": "t", "vocabulary": "http://169.254.169.254/"})),
        ("IntegerLookup", json!({"name": "t", "vocabulary": "file:///etc/passwd"})),
        ("TextVectorization", json!({"name": "t", "vocabulary": "/etc/passwd"})),
        ("JaxLayer", json!({"name": "t", "call_fn": byte_code()})),
        ("FlaxLayer", json!({"name": "t", "module": byte_code()})),
    ] {
        let reason = if config.get("vocabulary").is_some() { "is not read".into() } else { format!("`{class}`") };
        refused(&sequential(json!([layer(class, config)])), &reason);
    }
}

/// CVE-2026-12479: layer names that are paths. Here names are keys; those that cannot be keys are rejected.
#[test]
fn names_are_not_paths() {
    let outside = Place::new();
    for name in ["../../evil", "/etc/evil", "a/b", "nul\0byte", ""] {
        refused(&sequential(json!([layer("Dense", json!({"name": name, "units": 2}))])), "name");
    }
    // These are not paths by themselves; nothing is written but the requested file.
    for name in ["..", ".", "..\\evil", "~", "C:"] {
        let place = Place::new();
        let model = sequential(json!([layer("Dense", json!({"name": name, "units": 2}))]));
        let model = Sequential::from_json(&model.to_string()).unwrap();
        for form in ["keras", "safetensors", "json", "h5"] {
            let _ = model.save(place.at(&format!("m.{form}")));
        }
        let files = std::fs::read_dir(place.0.path()).unwrap();
        assert!(files.into_iter().all(|file| file.unwrap().file_name().to_str().unwrap().starts_with("m.")));
    }
    assert_eq!(std::fs::read_dir(outside.0.path()).unwrap().count(), 0);
}

/// CVE-2026-0897: declared sizes that would take all memory. They are compared with the model's first; and a model
/// whose own sizes are absurd does not match its file.
#[test]
fn declared_sizes_take_no_memory() {
    let place = Place::new();
    let huge = 1u64 << 36;
    let model = sequential(json!([layer("Dense", json!({"name": "d", "units": huge}))]));
    let mut tree = WeightTree::new();
    let small = || vec![Array::new([3, 2], vec![0.0f32; 6]).unwrap(), Array::new([2], vec![0.0f32; 2]).unwrap()];
    tree.insert("layers/dense", "d", small()).unwrap();
    write_keras(place.at("m.keras"), &Json::Null, &model, &tree).unwrap();
    let named = small().into_iter().zip(["d/kernel", "d/bias"]).map(|(array, name)| (name.to_owned(), array));
    let named: Vec<_> = named.collect();
    write_safetensors(place.at("m.safetensors"), &named, &[("config", model.to_string())]).unwrap();
    let legacy = LegacyModel {
        keras_version: "3.0.0".into(),
        backend: "jax".into(),
        model_config: model.clone(),
        training_config: None,
        layers: vec![("d".into(), named)],
        optimizer: Vec::new(),
        info: None,
    };
    write_legacy_h5(place.at("m.h5"), &legacy).unwrap();
    for form in ["keras", "h5", "safetensors"] {
        let error = Sequential::load(place.at(&format!("m.{form}"))).unwrap_err();
        let Error::Weights { problems, .. } = &error else { panic!("{form}: {error}") };
        assert!(problems[0].contains("(3, 68719476736)"), "{problems:?}");
        // Inspecting it is harmless.
        assert!(matches!(Contents::of(place.at(&format!("m.{form}"))), Ok(Contents::Model(_))));
    }
    // Sizes beyond any address space are rejected at the layer.
    let beyond = sequential(json!([layer("Dense", json!({"name": "d", "units": u64::MAX}))]));
    refused(&beyond, "`d`");
    // So are the optimizer's variables, if the file has more of them than the model's optimizer.
    let mut fitting = Sequential::new();
    fitting.add(Dense::new(2).input_shape(3)).unwrap();
    fitting.compile(Compile::new(SGD::new(0.1), "mse")).unwrap();
    tree.insert("optimizer", "sgd", vec![Array::new([1 << 20], vec![0.0f32; 1 << 20]).unwrap()]).unwrap();
    write_weights_h5(place.at("m.weights.h5"), &tree).unwrap();
    fitting.load_weights(place.at("m.weights.h5")).unwrap();
    assert!(fitting.summary().optimizer.is_none(), "state that does not fit is left out");
}

/// Small files that would take long: endless layers, nested models, nested JSON.
#[test]
fn small_files_do_not_take_long() {
    let many: Vec<Json> = (0..20_000).map(|_| layer("ReLU", json!({}))).collect();
    refused(&sequential(Json::Array(many)), "`Limits::layers`");

    // If the work doubled with each level, this would not end.
    let mut nested = layer("Dense", json!({"name": "d", "units": 3}));
    for level in 0..25 {
        nested = json!({"module": "keras", "class_name": "Sequential", "config": {"name": format!("s{level}"), "layers": [nested]}});
    }
    let mut model = sequential(json!([nested]));
    model["config"]["layers"].as_array_mut().unwrap().insert(0, layer("InputLayer", json!({"batch_shape": [null, 3]})));
    let model = Sequential::from_json(&model.to_string()).unwrap();
    assert_eq!(model.count_params().unwrap(), 12);

    let mut wrapped = layer("Dense", json!({"name": "d", "units": 3}));
    for _ in 0..25 {
        wrapped = layer("TimeDistributed", json!({"name": "t", "layer": wrapped}));
    }
    assert!(Sequential::from_json(&sequential(json!([wrapped])).to_string()).is_err());

    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let place = Place::new();
    std::fs::write(place.at("m.json"), deep).unwrap();
    assert!(matches!(Sequential::load(place.at("m.json")), Err(Error::Broken { .. })));
    std::fs::write(place.at("m.json"), vec![b' '; 17 << 20]).unwrap();
    assert!(matches!(Sequential::load(place.at("m.json")), Err(Error::Unsupported { .. })));
}

/// A key that changes results is never ignored, in any format.
#[test]
fn unknown_arguments_are_refused() {
    for (class, config) in [
        ("Dense", json!({"name": "x", "units": 2, "kernel_quantizer": "int8"})),
        ("Dense", json!({"name": "x", "units": 2, "quantization_config": {"mode": "int8"}})),
        ("Dense", json!({"name": "x", "units": 2, "dtype": "int8_from_float32"})),
        ("BatchNormalization", json!({"name": "x", "renorm": true})),
        ("LSTM", json!({"name": "x", "units": 2, "time_major": true})),
    ] {
        let mut model = sequential(json!([layer(class, config)]));
        if class == "LSTM" {
            model["config"]["build_input_shape"] = json!([null, 4, 3]);
        }
        refused(&model, "x");
    }
}

/// A caller who trusts the file can raise the limits.
#[test]
fn limits_can_be_raised() {
    let place = Place::new();
    let path = place.at("m.keras");
    let mut model = Sequential::new();
    model.add(Dense::new(2).input_shape(3)).unwrap().add(ReLU::new()).unwrap();
    model.save(&path).unwrap();
    for tight in [
        Limits { layers: 1, ..Limits::default() },
        Limits { weight_bytes: 16, ..Limits::default() },
        Limits { json_bytes: 16, ..Limits::default() },
        Limits { file_bytes: 16, ..Limits::default() },
        Limits { members: 1, ..Limits::default() },
    ] {
        let error = Sequential::load_with(&path, None, &tight).unwrap_err();
        assert!(error.to_string().contains("Limits::"), "{error}");
    }
    assert!(Sequential::load_with(&path, None, &Limits { layers: 3, ..Limits::default() }).is_ok());
}

/// The peak memory of a process that loads all of these stays far below what the files claim.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_bounded() {
    const CHILD: &str = "BRASA_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        // The peak is per process: the test reruns itself in another one, without concurrent tests.
        let output = alone("keras_attacks::memory_stays_bounded").env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("peak memory"), "{said}");
        return;
    }
    declared_sizes_take_no_memory();
    small_files_do_not_take_long();
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("peak memory {} MiB", kilobytes >> 10);
    assert!(kilobytes < 1 << 20, "{kilobytes} kB");
}
