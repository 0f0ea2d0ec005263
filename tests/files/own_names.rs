//! Own classes in files by their registered names: with and without a package, in every form, and beside a built-in
//! class of the same name.

use brasa::layers::{self, Call, Layer, WeightSpec};
use brasa::losses::{self, Loss, MeanSquaredError};
use brasa::metrics::{self, Mean, MeanFunction};
use brasa::model::Contents;
use brasa::ndarray::{Array2, array};
use brasa::optimizers::{self, LearningRate, Optimizer, Slot, Step, WeightInfo};
use brasa::prelude::*;
use brasa::schedules::Schedule;
use brasa::{Result, Shape, Value};
use serde_json::{Value as Json, json};

brasa::describe! {
    /// Multiplies its input.
    pub layer struct Tenfold {
        /// The factor.
        factor: f32 = 10.0,
    }
}

impl Layer for Tenfold {
    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input.mul_scalar(self.factor))
    }
}

brasa::describe! {
    /// Has the name of a built-in class in a package.
    pub layer struct PackagedDense as "my_package>Dense" {
        /// The factor.
        factor: f32 = 3.0,
    }
}

impl Layer for PackagedDense {
    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input.mul_scalar(self.factor))
    }
}

brasa::describe! {
    /// Has the name of a built-in class, and no package.
    pub layer struct OwnDense as "Dense" {
        /// Keras's argument, which is ignored.
        units: usize = 1,
    }
}

impl Layer for OwnDense {
    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input.mul_scalar(2.0))
    }
}

brasa::describe! {
    /// Has arguments that layers of Keras 1 have.
    pub layer struct Bordered {
        /// The value beyond the border.
        border_mode: String = "same".to_owned(),
        /// The order of the axes.
        dim_ordering: String = "th".to_owned(),
    }
}

impl Layer for Bordered {
    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Ok(input)
    }
}

brasa::describe! {
    /// Is registered in Python under another name than that of its class.
    pub layer struct Renamed as "my_package>Renamed" {}
}

impl Layer for Renamed {
    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        Ok(vec![WeightSpec::new("factor", [input.last()?], "ones")])
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        Ok(input * call.weight(0).broadcast(&[sizes.len() - 1], &sizes)?)
    }
}

brasa::describe! {
    /// Has the name of a built-in loss and metric.
    pub struct OwnError as "MeanSquaredError" {}
}

impl Loss for OwnError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok((y_pred - y_true).abs().mean_axis(last))
    }
}

brasa::describe! {
    /// Has the name of a built-in metric.
    pub struct OwnRecall as "Recall" {}
}

impl MeanFunction for OwnRecall {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok((y_pred - y_true).mean_axis(last))
    }
}

brasa::describe! {
    /// The same in a package, as are loss and optimizer below.
    pub struct PackagedRecall as "my_package>Recall" {}
}

impl MeanFunction for PackagedRecall {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        OwnRecall::default().values(y_true, y_pred)
    }
}

brasa::describe! {
    /// A loss in a package.
    pub struct PackagedError as "my_package>MeanSquaredError" {}
}

impl Loss for PackagedError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        OwnError::default().losses(y_true, y_pred)
    }
}

/// An optimizer under a class name: plain gradient descent.
macro_rules! descent {
    ($name:ident as $class:literal) => {
        brasa::describe! {
            /// Plain gradient descent.
            pub optimizer struct $name as $class {
                /// The step size.
                learning_rate: LearningRate = LearningRate::Constant(0.01),
            }
        }

        impl Optimizer for $name {
            fn slots(&self, _: &WeightInfo<'_>) -> Vec<Slot> {
                Vec::new()
            }

            fn update(&self, step: Step, weight: Value, gradient: Value, _: &mut [Value]) -> Result<Value> {
                Ok(weight - gradient.mul_scalar(step.learning_rate))
            }
        }
    };
}

descent!(OwnDescent as "SGD");
descent!(PackagedDescent as "my_package>SGD");

brasa::describe! {
    /// Has arguments that Keras's optimizers had, with other defaults.
    pub optimizer struct OwnRms {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.01),
        /// The decay factor of the mean of squares.
        decay: f32 = 0.9,
        /// The number added to the root.
        epsilon: Option<f32> = Some(1e-5),
        /// A number.
        lr: f32 = 1.0,
        /// A switch.
        jit_compile: bool = false,
    }
}

impl Optimizer for OwnRms {
    fn slots(&self, _: &WeightInfo<'_>) -> Vec<Slot> {
        Vec::new()
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, _: &mut [Value]) -> Result<Value> {
        Ok(weight - gradient.mul_scalar(step.learning_rate * self.decay))
    }
}

brasa::describe! {
    /// Has the name of a built-in schedule.
    pub struct OwnDecay as "ExponentialDecay" {}
}

impl Schedule for OwnDecay {
    fn at(&self, _: u64) -> f32 {
        0.5
    }
}

fn register() {
    layers::register::<Tenfold>();
    layers::register::<PackagedDense>();
    losses::register::<PackagedError>();
    metrics::register_mean::<PackagedRecall>();
    optimizers::register::<PackagedDescent>();
}

fn x() -> Array2<f32> {
    array![[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]]
}

/// The classes of a model's layers.
fn classes(model: &Model) -> Vec<&'static str> {
    model.layers().iter().map(|layer| layer.class_name()).collect()
}

const CLASSES: [&str; 3] = ["Tenfold", "my_package>Dense", "Dense"];

fn both() -> Sequential {
    let mut model = Sequential::new();
    model.add(Tenfold::default().factor(4.0).input_shape(3)).unwrap();
    model.add(PackagedDense::default()).unwrap().add(Dense::new(2)).unwrap();
    let compile = Compile::new(PackagedDescent::default(), PackagedError::default());
    model.compile(compile.metrics([Mean::of(PackagedRecall::default())])).unwrap();
    model
}

#[test]
fn a_package_distinguishes_an_own_class_in_every_form() {
    register();
    let model = both();
    assert_eq!(classes(&model), CLASSES);
    let names: Vec<&str> = model.layers().iter().map(|layer| layer.name()).collect();
    assert_eq!(names, ["tenfold", "dense", "dense_1"]);
    let text = model.to_json().unwrap();
    for (class, registered) in [("Tenfold", "Custom>Tenfold"), ("Dense", "my_package>Dense"), ("SGD", "my_package>SGD")]
    {
        assert!(text.contains(&format!(r#"{{"module":null,"class_name":"{class}","config""#)), "{text}");
        assert!(text.contains(&format!(r#""registered_name":"{registered}""#)), "{text}");
    }
    assert_eq!(classes(&Sequential::from_json(&text).unwrap()), CLASSES);
    let folder = tempfile::tempdir().unwrap();
    let y = array![[1.0f32, 0.0], [0.5, 2.0]];
    for name in ["own.keras", "own.h5"] {
        let path = folder.path().join(name);
        model.save(&path).unwrap();
        let loaded = Sequential::load(&path).unwrap();
        assert_eq!(classes(&loaded), CLASSES);
        assert_eq!(loaded.predict(x()).unwrap(), model.predict(x()).unwrap());
        assert!(loaded.is_compiled(), "{name}: {:?}", loaded.compile_fault());
        assert_eq!(loaded.test_on_batch(x(), &y).unwrap(), model.test_on_batch(x(), &y).unwrap());
    }
}

/// The optimizer in a model's JSON.
fn optimizer_of(model: &Model) -> Json {
    let object: Json = serde_json::from_str(&model.to_json().unwrap()).unwrap();
    object["compile_config"]["optimizer"].clone()
}

#[test]
fn an_own_optimizer_keeps_arguments_that_older_ones_had() {
    optimizers::register::<OwnRms>();
    let folder = tempfile::tempdir().unwrap();
    let mut model = Sequential::new();
    model.add(Dense::new(2).input_shape(3)).unwrap();
    let own = OwnRms::default().decay(0.8).epsilon(None::<f32>).lr(0.5).jit_compile(true);
    model.compile(Compile::new(own, "mse")).unwrap();
    let written = optimizer_of(&model);
    for name in ["own.keras", "own.h5", "own.safetensors", "own.json"] {
        let path = folder.path().join(name);
        model.save(&path).unwrap();
        let loaded = Sequential::load(&path).unwrap();
        assert!(loaded.is_compiled(), "{name}: {:?}", loaded.compile_fault());
        assert_eq!(optimizer_of(&loaded), written, "{name}");
    }
}

#[test]
fn an_own_layer_keeps_arguments_that_keras_1_had() {
    layers::register::<Bordered>();
    let folder = tempfile::tempdir().unwrap();
    let mut model = Sequential::new();
    model.add(Bordered::default().border_mode("none").input_shape(3)).unwrap().add(Dense::new(2)).unwrap();
    for name in ["own.keras", "own.h5", "own.safetensors", "own.json"] {
        let path = folder.path().join(name);
        model.save(&path).unwrap();
        let loaded = Sequential::load(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        let config = loaded.layers()[0].config().unwrap();
        assert_eq!((&config["border_mode"], &config["dim_ordering"]), (&json!("none"), &json!("th")), "{name}");
    }
}

/// Python's `register_keras_serializable(package="my_package", name="Renamed")` over a class `Blur` or `Dense`: Keras
/// names the weights after the class.
#[test]
fn the_class_in_python_names_the_weights() {
    layers::register::<Renamed>();
    let own = |class: &str, name: &str| {
        let registered = "my_package>Renamed";
        json!({"module": null, "class_name": class, "config": {"name": name}, "registered_name": registered})
    };
    let of_keras = |module: &str, class: &str, config: Json| json!({"module": module, "class_name": class, "config": config, "registered_name": null});
    let input = |name: &str| of_keras("keras.layers", "InputLayer", json!({"name": name, "batch_shape": [null, 3]}));
    let chain = |name: &str, layers: Json| of_keras("keras", "Sequential", json!({"name": name, "layers": layers}));
    let inner = chain("inner", json!([input("inner_in"), own("Blur", "c")]));
    let dense = of_keras("keras.layers", "Dense", json!({"name": "d", "units": 3}));
    let object = chain("m", json!([input("in"), own("Blur", "a"), own("Dense", "b"), dense, inner]));
    let model = Sequential::from_json(&object.to_string()).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let weights = folder.path().join("python.weights.h5");
    model.save_weights(&weights).unwrap();
    let Contents::Weights(listed) = Contents::of(&weights).unwrap() else { panic!("weights alone") };
    let names: Vec<&str> = listed.iter().map(|weight| weight.name.as_str()).collect();
    let expected = [
        "layers/blur/vars/0",
        "layers/dense/vars/0",
        "layers/dense_1/vars/0",
        "layers/dense_1/vars/1",
        "layers/sequential/layers/blur/vars/0",
    ];
    assert_eq!(names, expected);

    let path = folder.path().join("python.keras");
    model.save(&path).unwrap();
    let loaded = Sequential::load(&path).unwrap();
    assert_eq!(loaded.get_weights().unwrap(), model.get_weights().unwrap());
    let text = loaded.to_json().unwrap();
    assert_eq!(text.matches(r#""class_name":"Blur""#).count(), 2, "{text}");
    assert_eq!(text.matches(r#""registered_name":"my_package>Renamed""#).count(), 3, "{text}");
}

/// A layer of a file of Keras 2, whose class is its registered name.
fn older(class: &str) -> Result<Sequential> {
    let layers = json!([
        {"class_name": "InputLayer", "config": {"batch_input_shape": [null, 3], "name": "in"}},
        {"class_name": class, "config": {"name": "own", "factor": 4.0}},
    ]);
    let object =
        json!({"class_name": "Sequential", "config": {"name": "m", "layers": layers}, "keras_version": "2.15.0"});
    Sequential::from_json(&object.to_string())
}

#[test]
fn the_class_of_an_older_file_can_have_a_package() {
    register();
    for class in ["pack>Tenfold", "Custom>Tenfold", "Tenfold", "my_package>Dense"] {
        assert_eq!(older(class).unwrap().predict(x()).unwrap(), (x() * 4.0).into_dyn(), "{class}");
    }
    let error = older("pack>Dense").unwrap_err().to_string();
    assert!(error.contains("pack>Dense"), "{error}");
    assert!(older("pack>Unknown").is_err());
    // A loss, and a function of a user's module that has the name of Keras's.
    let fault = |loss: Json| {
        let mut object: Json = serde_json::from_str(&both().to_json().unwrap()).unwrap();
        object["compile_config"]["loss"] = loss;
        Sequential::from_json(&object.to_string()).unwrap().compile_fault().map(str::to_owned)
    };
    assert_eq!(fault(json!("my_package>MeanSquaredError")), None);
    assert_eq!(fault(json!({"class_name": "my_package>MeanSquaredError", "config": {}})), None);
    let function = |module: &str| {
        let name = "mean_squared_error";
        json!({"module": module, "class_name": "function", "config": name, "registered_name": name})
    };
    assert_eq!(fault(function("builtins")), None);
    assert!(fault(function("__main__")).is_some_and(|fault| fault.contains("mean_squared_error")));
}

/// Overwrites a text of a file with a shorter one, and spaces.
fn patch(bytes: &mut [u8], from: &str, to: &str) {
    let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).expect("the text is in the file");
    bytes[at..at + from.len()].copy_from_slice(format!("{to:<width$}", width = from.len()).as_bytes());
}

/// The form in which Keras 2 and 3 write a class of `register_keras_serializable(package="pack")` into `.h5`.
#[test]
fn a_legacy_file_finds_the_class_of_a_package() {
    register();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.h5");
    let model = both();
    model.save(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    patch(&mut bytes, r#""module": null, "class_name": "Tenfold""#, r#""class_name": "pack>Tenfold""#);
    patch(&mut bytes, r#", "registered_name": "Custom>Tenfold""#, "");
    std::fs::write(&path, bytes).unwrap();
    let loaded = Sequential::load(&path).unwrap();
    assert_eq!(classes(&loaded), CLASSES);
    assert_eq!(loaded.predict(x()).unwrap(), model.predict(x()).unwrap());
}

/// Without a package it would be loaded as the built-in class.
#[test]
fn an_own_class_with_a_built_in_name_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = Sequential::new();
    model.add(OwnDense::default().name("mine").input_shape(3)).unwrap();
    assert_eq!(model.predict(x()).unwrap(), (x() * 2.0).into_dyn(), "it computes");
    let mut wrapped = Sequential::new();
    wrapped.add(TimeDistributed::new(OwnDense::default().name("mine")).input_shape((2, 3))).unwrap();
    for model in [model, wrapped] {
        for name in ["own.keras", "own.h5"] {
            let path = folder.path().join(name);
            let error = model.save(&path).unwrap_err().to_string();
            for part in ["mine", "Dense", "built-in", "my_package>Dense"] {
                assert!(error.contains(part), "{error}");
            }
            assert!(!path.exists());
        }
        assert!(model.to_json().is_err() && model.get_config().is_err());
    }

    let compiled = |compile: Compile| {
        let mut model = Sequential::new();
        model.add(Dense::new(2).input_shape(3)).unwrap();
        model.compile(compile).unwrap();
        model.to_json().map(|_| ()).map_err(|error| error.to_string())
    };
    for (compile, class) in [
        (Compile::new("sgd", OwnError::default()), "MeanSquaredError"),
        (Compile::new("sgd", "mse").metrics([Mean::of(OwnRecall::default())]), "Recall"),
        (Compile::new(OwnDescent::default(), "mse"), "SGD"),
        (Compile::new(SGD::new(LearningRate::schedule(OwnDecay::default())), "mse"), "ExponentialDecay"),
    ] {
        let error = compiled(compile).unwrap_err();
        assert!(error.contains(&format!("`{class}`")) && error.contains("my_package>"), "{error}");
    }
    assert_eq!(compiled(Compile::new(SGD::new(0.1), MeanSquaredError::default()).metrics([Recall::default()])), Ok(()));
}
