//! Models of several inputs and outputs: data, losses, metrics and weights by output.

use brasa::datasets::{Part, Samples, Source};
use brasa::ndarray::{Array1, Array2};
use brasa::prelude::*;
use brasa::training::Checkpoint;

/// Two inputs `a` and `b`, and two outputs: `price`, a number, and `sold`, a probability.
fn model() -> Model {
    let (a, b) = (Input::new(3).name("a").symbol(), Input::new(2).name("b").symbol());
    let (left, right) = (Dense::new(4).activation("tanh").call(&a).unwrap(), Dense::new(4).call(&b).unwrap());
    let both = Concatenate::default().call([&left, &right]).unwrap();
    let both = Dropout::new(0.2).call(&both).unwrap();
    let price = Dense::new(1).name("price").call(&both).unwrap();
    let sold = Dense::new(1).activation("sigmoid").name("sold").call(&both).unwrap();
    let mut model = Model::new([&a, &b], [&price, &sold]).unwrap();
    model.set_seed(7);
    model
}

fn compile() -> Compile {
    Compile::new(Adam::new(0.01), [("price", "mse"), ("sold", "binary_crossentropy")])
        .loss_weights([("price", 0.5), ("sold", 2.0)])
        .metrics_of("price", ["mae"])
        .metrics_of("sold", ["accuracy"])
}

fn numbers(rows: usize, columns: usize, shift: usize) -> Array2<f32> {
    Array2::from_shape_fn((rows, columns), |(row, column)| (((row * 7 + column * 3 + shift) % 11) as f32 - 5.0) / 5.0)
}

fn targets(rows: usize) -> (Array1<f32>, Array1<f32>) {
    let price = Array1::from_shape_fn(rows, |row| ((row % 5) as f32 - 2.0) / 2.0);
    (price.clone(), price.mapv(|price| f32::from(price > 0.0)))
}

fn data(rows: usize) -> Dataset {
    let (price, sold) = targets(rows);
    // In another order than the model's.
    Dataset::new([("b", numbers(rows, 2, 4)), ("a", numbers(rows, 3, 0))], [("sold", sold), ("price", price)]).unwrap()
}

fn quiet<'a>() -> Fit<'a> {
    Fit::new().batch_size(8).seed(3).verbose(Verbosity::Silent)
}

#[test]
fn the_history_has_each_output_by_name() {
    let mut model = model();
    model.compile(compile()).unwrap();
    let history = model.fit(&data(40), quiet().epochs(3).validation_split(0.25)).unwrap();
    let names = ["loss", "price_loss", "price_mae", "sold_accuracy", "sold_loss"];
    let all: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let validation = names.iter().map(|name| format!("val_{name}"));
    let all: Vec<String> = all.into_iter().chain(validation).collect();
    assert_eq!(history.history.keys().cloned().collect::<Vec<_>>(), all);
    let at = |name: &str| history.history[name].clone();
    for epoch in 0..3 {
        let sum = 0.5 * at("val_price_loss")[epoch] + 2.0 * at("val_sold_loss")[epoch];
        assert!((at("val_loss")[epoch] - sum).abs() < 1e-6, "{sum}");
    }
    assert!(at("loss")[2] < at("loss")[0]);
}

#[test]
fn fields_by_name_and_in_order_are_the_same() {
    let trained = |data: &Dataset| {
        let mut model = model();
        model.compile(compile()).unwrap();
        model.fit(data, quiet().epochs(2)).unwrap();
        model.get_weights().unwrap()
    };
    let (price, sold) = targets(16);
    let x = [Samples::from(numbers(16, 3, 0)), Samples::from(numbers(16, 2, 4))];
    let in_order = Dataset::new(x, [Samples::from(price), Samples::from(sold)]).unwrap();
    assert_eq!(trained(&data(16)), trained(&in_order));
}

#[test]
fn a_weight_can_count_for_all_outputs_or_for_one() {
    let mut model = model();
    model.compile(compile().weighted_metrics_of("price", ["mse"])).unwrap();
    let data = data(4);
    let weights = vec![1.0f32, 0.0, 2.0, 0.5];
    let plain = model.evaluate(&data).unwrap();
    let all = model.evaluate(&data.with_sample_weight(weights.clone()).unwrap()).unwrap();
    // In the data `sold` is first.
    let price = data.with_sample_weights([None, Some(weights.clone())]).unwrap();
    let price = model.evaluate(&price).unwrap();
    assert_eq!(price.get("price_loss"), all.get("price_loss"));
    assert_eq!(price.get("sold_loss"), plain.get("sold_loss"));
    assert_ne!(all.get("sold_loss"), plain.get("sold_loss"));
    assert_ne!(price.get("price_mse"), plain.get("price_mse"));
    assert_eq!(price.get("price_mae"), plain.get("price_mae"));
    // A part of the samples keeps its weights.
    let part = Part::new(data.with_sample_weights([None, Some(weights)]).unwrap(), 1..2).unwrap();
    assert_eq!(model.evaluate(&part).unwrap().get("price_loss"), Some(0.0));
}

#[test]
fn an_output_can_have_no_loss() {
    let mut model = model();
    model.compile(Compile::new("sgd", [Some("mse"), None])).unwrap();
    let (price, sold) = targets(8);
    let x = || [("a", numbers(8, 3, 0)), ("b", numbers(8, 2, 4))];
    let alone = model.evaluate(&Dataset::new(x(), [("price", price.clone())]).unwrap()).unwrap();
    // Its targets are optional, and change nothing.
    let both = model.evaluate(&Dataset::new(x(), [("price", price), ("sold", sold)]).unwrap()).unwrap();
    assert_eq!((alone.loss, alone.metrics.len()), (both.loss, 0));
}

#[test]
fn mismatches_are_refused_by_name() {
    let mut model = model();
    let refused = |model: &mut Model, compile: Compile| model.compile(compile).map(|_| ()).unwrap_err().to_string();
    let unknown = refused(&mut model, Compile::new("sgd", [("price", "mse"), ("size", "mse")]));
    assert!(unknown.contains("`size`") && unknown.contains("price, sold"), "{unknown}");
    assert!(refused(&mut model, Compile::new("sgd", [("price", "mse")])).contains("none for `sold`"));
    assert!(refused(&mut model, Compile::new("sgd", ["mse", "mse", "mse"])).contains("price, sold"));
    assert!(refused(&mut model, Compile::new("sgd", "mse").loss_weights([1.0])).contains("loss_weights"));
    assert!(refused(&mut model, Compile::new("sgd", "mse").metrics(["mae"])).contains("metrics_of"));
    let mixed = Compile::new("sgd", "mse").metrics(["mae"]).metrics_of("sold", ["mae"]);
    assert!(refused(&mut model, mixed).contains("both"));

    model.compile(compile()).unwrap();
    let (price, sold) = targets(4);
    let x = || [("a", numbers(4, 3, 0)), ("b", numbers(4, 2, 0))];
    let fit = |model: &mut Model, data: Dataset| model.fit(&data, quiet()).unwrap_err().to_string();
    let missing = fit(&mut model, Dataset::new(x(), [("price", price.clone())]).unwrap());
    assert!(missing.contains("target `sold`"), "{missing}");
    let one =
        fit(&mut model, Dataset::new(numbers(4, 3, 0), [("price", price.clone()), ("sold", sold.clone())]).unwrap());
    assert!(one.contains("2 (a, b)"), "{one}");
    let wide = [("a", numbers(4, 3, 0)), ("b", numbers(4, 3, 0))];
    let wide = fit(&mut model, Dataset::new(wide, [("price", price.clone()), ("sold", sold.clone())]).unwrap());
    assert!(wide.contains("input `b`"), "{wide}");
    let rows = [("price", numbers(4, 3, 0)), ("sold", numbers(4, 1, 0))];
    let rows = fit(&mut model, Dataset::new(x(), rows).unwrap());
    assert!(rows.contains("output `price`"), "{rows}");
    let data = Dataset::new(x(), [("price", price), ("sold", sold)]).unwrap();
    let classes = model.fit(&data, quiet().class_weight([(0, 2.0)])).unwrap_err().to_string();
    assert!(classes.contains("one output"), "{classes}");
}

#[test]
fn an_interrupted_run_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let whole = {
        let mut model = model();
        model.compile(compile()).unwrap();
        let history = model.fit(&data(24), quiet().epochs(4)).unwrap();
        (history.history, model.get_weights().unwrap())
    };
    let checkpoint = || Checkpoint::new(folder.path().join("last.ckpt")).freq(2).resume(true);
    for epochs in [2, 4] {
        let mut model = model();
        model.compile(compile()).unwrap();
        let history = model.fit(&data(24), quiet().epochs(epochs).checkpoint(checkpoint())).unwrap();
        if epochs == 4 {
            assert_eq!((history.history, model.get_weights().unwrap()), whole);
        }
    }
}

#[test]
fn a_compiled_model_round_trips_through_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = model();
    model.compile(compile()).unwrap();
    let scores = model.evaluate(&data(8)).unwrap();
    for name in ["model.keras", "model.h5", "model.json"] {
        let path = folder.path().join(name);
        model.save(&path).unwrap();
        let mut back = Model::load(&path).unwrap();
        if name == "model.json" {
            back.set_weights(&model.get_weights().unwrap()).unwrap();
        }
        assert_eq!(back.evaluate(&data(8)).unwrap(), scores, "{name}");
    }
}

#[test]
fn one_batch_can_be_given_by_name() {
    let mut model = model();
    model.compile(compile()).unwrap();
    let (price, sold) = targets(4);
    let x = [("a", numbers(4, 3, 0)), ("b", numbers(4, 2, 4))];
    let scores = model.test_on_batch(x, [("price", price), ("sold", sold)]).unwrap();
    let names: Vec<&str> = scores.metrics.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["price_loss", "price_mae", "sold_accuracy", "sold_loss"]);
    assert_eq!(data(4).x_fields().len(), 2);
}

/// What Keras would misread is written in another form.
#[test]
fn every_form_of_compile_round_trips_through_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.keras");
    let forms = [
        Compile::new("sgd", "mse").loss_weight(0.5),
        Compile::new("sgd", "mse").loss_weights([0.5, 2.0]),
        Compile::new("sgd", ["mse", "mae"]).loss_weights([("sold", 2.0), ("price", 0.5)]),
        Compile::new("sgd", [("sold", Some("mae")), ("price", None)]),
        Compile::new("sgd", "mse").metrics(["mae", "mse"]),
    ];
    for form in forms {
        let shown = format!("{form:?}");
        let mut model = model();
        model.compile(form).unwrap();
        let scores = model.evaluate(&data(8)).unwrap();
        model.save(&path).unwrap();
        assert_eq!(Model::load(&path).unwrap().evaluate(&data(8)).unwrap(), scores, "{shown}");
    }
    let config = |loss: serde_json::Value, metrics: serde_json::Value| {
        let config = serde_json::json!({"optimizer": "sgd", "loss": loss, "metrics": metrics});
        let mut model = Sequential::new();
        model.add(Dense::new(1).input_shape(2)).unwrap();
        model.compile(Compile::from_config(config.as_object().unwrap().clone()).unwrap()).unwrap();
        let config: serde_json::Value = serde_json::from_str(&model.to_json().unwrap()).unwrap();
        (config["compile_config"]["loss"].clone(), config["compile_config"]["metrics"].clone())
    };
    let plain = (serde_json::json!("mse"), serde_json::json!(["mae"]));
    assert_eq!(config(serde_json::json!({"dense": "mse"}), serde_json::json!({"dense": ["mae"]})), plain);
    assert_eq!(config(serde_json::json!(["mse"]), serde_json::json!([["mae"]])), plain);
}

/// One field of targets is used for a layer that is an output twice.
#[test]
fn a_layer_can_be_an_output_twice() {
    let a = Input::new(3).name("a").symbol();
    let s = Dense::new(1).name("s").call(&a).unwrap();
    let mut model = Model::new([&a], [&s, &s]).unwrap();
    model.compile(Compile::new("sgd", "mse").metrics(["mae", "mae"])).unwrap();
    let (price, _) = targets(8);
    let data = Dataset::new(numbers(8, 3, 0), [("s", price)]).unwrap();
    let names: Vec<String> = model.evaluate(&data).unwrap().logs().map(|(name, _)| name).collect();
    assert_eq!(names, ["loss", "s_loss", "s_loss_1", "s_mae", "s_mae_1"]);
}
