//! End-to-end tests of `brasa bench`.

use std::path::{Path, PathBuf};

use brasa::prelude::*;
use serde_json::Value as Json;

use crate::support::{Place, Said, brasa};

/// The keys of every measurement.
const KEYS: [&str; 6] =
    ["backend", "task", "batch_size", "samples_per_second", "milliseconds_per_step", "peak_rss_bytes"];

/// Arguments for the shortest possible measurement.
const SHORT: &str = "--seconds 0.02 --repetitions 3";

/// Runs in the repository, with its recipes.
fn run(arguments: &str) -> Said {
    Said::by(&mut brasa(Path::new("."), arguments))
}

fn measurements(arguments: &str) -> Vec<Json> {
    let said = run(&format!("bench {arguments} {SHORT} --json")).done();
    let Json::Array(list) = said.json() else { panic!("no list") };
    for measurement in &list {
        check(measurement);
    }
    list
}

fn check(measurement: &Json) {
    let number = |key: &str| measurement[key].as_f64().unwrap_or_else(|| panic!("{key}: {measurement}"));
    for key in KEYS {
        assert!(measurement.get(key).is_some(), "{key}: {measurement}");
    }
    let [slowest, median, fastest] =
        ["samples_per_second_min", "samples_per_second", "samples_per_second_max"].map(number);
    assert!(0.0 < slowest && slowest <= median && median <= fastest, "{measurement}");
    let per_step = number("batch_size") / median * 1000.0;
    assert!((number("milliseconds_per_step") / per_step - 1.0).abs() < 1e-9, "{measurement}");
    assert_eq!(number("repetitions"), 3.0);
    // A training process needs more than a megabyte, and a test's model less than a gigabyte.
    if cfg!(target_os = "linux") {
        assert!((1e6..1e9).contains(&number("peak_rss_bytes")), "{measurement}");
    }
    assert!(number("milliseconds_to_first_step") > 0.0, "{measurement}");
}

fn recipe(place: &Place, units: usize, loss: &str) -> PathBuf {
    let text = format!(
        "[data]\ndataset = \"npz\"\npath = \"none.npz\"\n\n[[layers]]\nclass_name = \"Dense\"\nunits = {units}\n\
         input_shape = [3]\n\n[compile]\noptimizer = \"sgd\"\nloss = \"{loss}\"\n"
    );
    place.write(&format!("{loss}.toml"), text)
}

#[test]
fn both_tasks_of_a_recipe() {
    let list = measurements("configs/smoke.toml --backend cpu --batch-size 8");
    let told: Vec<_> =
        list.iter().map(|m| (m["backend"].as_str(), m["task"].as_str(), m["batch_size"].as_u64())).collect();
    assert_eq!(told, [(Some("flex"), Some("train"), Some(8)), (Some("flex"), Some("predict"), Some(8))]);
}

#[test]
fn the_built_in_recipe_with_several_batch_sizes_and_threads() {
    let list = measurements("--task predict --batch-size 1,4 --backend flex --threads 1");
    let sizes: Vec<_> = list.iter().map(|m| (m["batch_size"].as_u64(), m["threads"].as_u64())).collect();
    assert_eq!(sizes, [(Some(1), Some(1)), (Some(4), Some(1))]);
}

#[test]
fn without_a_batch_size_there_are_three() {
    let place = Place::new();
    let list = measurements(&format!("{} --backend flex", recipe(&place, 2, "mse").display()));
    let told: Vec<_> = list.iter().map(|m| (m["task"].as_str().unwrap(), m["batch_size"].as_u64().unwrap())).collect();
    let (train, predict) = ([32, 128, 512].map(|size| ("train", size)), [1, 128, 1024].map(|size| ("predict", size)));
    assert_eq!(told, [train, predict].concat());
}

#[test]
fn each_loss_gets_targets_that_it_takes() {
    let place = Place::new();
    for (units, loss) in
        [(2, "categorical_crossentropy"), (1, "binary_crossentropy"), (2, "mse"), (1, "mae"), (1, "hinge")]
    {
        let list = measurements(&format!(
            "{} --backend flex --task train --batch-size 4",
            recipe(&place, units, loss).display()
        ));
        assert_eq!(list.len(), 1, "{loss}");
    }
}

#[test]
fn the_environment_names_the_backend() {
    let arguments = format!("bench configs/smoke.toml --task predict --batch-size 2 --json {SHORT}");
    let mut command = brasa(Path::new("."), &arguments);
    let Json::Array(list) = Said::by(command.env("BRASA_BACKEND", "ndarray")).done().json() else { panic!("no list") };
    assert_eq!(list.iter().map(|m| m["backend"].as_str()).collect::<Vec<_>>(), [Some("ndarray")]);
}

#[test]
fn a_table_without_json() {
    let output = run(&format!("bench configs/smoke.toml --backend flex --task train --batch-size 4,8 {SHORT}"));
    let table = output.stdout;
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(
        table.starts_with("backend") && table.lines().all(|line| line.len() == table.lines().next().unwrap().len())
    );
    assert!(table.lines().nth(2).unwrap().starts_with("flex        train        8 "), "{table}");
    assert!(output.stderr.is_empty(), "{}", output.stderr);
}

#[test]
fn batch_size_against_throughput() {
    let place = Place::new();
    let picture = place.at("speeds.svg");
    let asked = format!("--backend flex --batch-size 4,8 --plot {}", picture.display());
    let said = run(&format!("bench configs/smoke.toml {asked} {SHORT}")).done();
    assert!(said.stderr.contains("speeds.svg"), "{}", said.stderr);
    let svg = std::fs::read_to_string(&picture).unwrap();
    for text in ["batch size", "samples a second", "train on flex", "predict on flex"] {
        assert!(svg.contains(text), "{text}: {svg}");
    }
}

#[test]
fn the_measuring_process_logs_as_requested() {
    let said = run(&format!("bench configs/smoke.toml --backend flex --task predict --batch-size 4 -v {SHORT}")).done();
    assert_eq!(said.stderr.matches("computing on flex").count(), 1, "{}", said.stderr);
}

#[test]
fn a_model_that_is_not_compiled_predicts_only() {
    let place = Place::new();
    let mut model = Sequential::new();
    model.add(Dense::new(2).input_shape(3)).unwrap();
    let path = place.write("model.json", model.to_json().unwrap());
    let path = path.display();
    let list = measurements(&format!("{path} --backend flex --batch-size 2"));
    assert_eq!(list.iter().map(|m| m["task"].as_str()).collect::<Vec<_>>(), [Some("predict")]);
    let message = run(&format!("bench {path} --task train --backend flex")).failure(1);
    assert!(message.contains("compiled") && message.contains("model.json"), "{message}");
}

#[test]
fn samples_of_ones_own() {
    let place = Place::new();
    let (x, y) = ([0.5; 30], [0.5; 10]);
    let data = place.npz("ten.npz", &[("x", &[10, 3], &x), ("y", &[10, 1], &y)]);
    let recipe = recipe(&place, 1, "mse");
    let both = format!("{} --backend flex --data {}", recipe.display(), data.display());
    assert_eq!(measurements(&format!("{both} --batch-size 4")).len(), 2);
    let message = run(&format!("bench {both} --batch-size 11")).failure(1);
    assert!(message.contains("11 samples at least") && message.contains("received 10"), "{message}");
    let message =
        run(&format!("bench configs/smoke.toml --backend flex --batch-size 4 --data {}", data.display())).failure(1);
    assert!(message.contains("(None, 28, 28, 1)"), "{message}");
}

#[test]
fn wrong_usage_and_failures_have_different_codes() {
    for wrong in [
        "--task sleep",
        "--batch-size 0",
        "--batch-size x",
        "--seconds 0",
        "--repetitions 0",
        "--backend gpx",
        "--plot speeds.pdf",
        "--here",
    ] {
        let message = run(&format!("bench {wrong}")).failure(2);
        assert!(message.contains(wrong.split(' ').next().unwrap()) || wrong == "--here", "{wrong}: {message}");
    }
    let message = run(&format!("bench configs/smoke.toml --backend flex:7 {SHORT}")).failure(1);
    assert!(message.contains("flex:7") && message.contains("flex:0"), "{message}");
    let message = run("bench nothing.toml").failure(1);
    assert!(message.contains("nothing.toml"), "{message}");
}

#[test]
fn layers_have_times_and_a_share_of_the_limit() {
    let said = run("bench configs/smoke.toml --backend cpu --batch-size 8 --layers --seconds 0.02 --json").done();
    let Json::Array(documents) = said.json() else { panic!("no list") };
    let tasks: Vec<&Json> = documents.iter().map(|document| &document["task"]).collect();
    assert_eq!(tasks, ["train", "predict"]);
    for document in &documents {
        let number = |value: &Json| value.as_f64().unwrap_or_else(|| panic!("{value} in {document}"));
        let layers = document["layers"].as_array().unwrap();
        let passes =
            |layer: &Json| number(&layer["forward_seconds"]) + layer["backward_seconds"].as_f64().unwrap_or(0.0);
        let sum: f64 = layers.iter().map(passes).sum();
        assert!(sum > 0.0 && (sum / number(&document["seconds_of_layers"]) - 1.0).abs() < 1e-9, "{document}");
        assert!(layers.iter().all(|layer| number(&layer["operations"]) > 0.0 && number(&layer["bytes"]) > 0.0));
        assert_eq!(document["task"] == "train", layers[0]["backward_seconds"].is_number());
        assert!(number(&document["limit"]["operations_per_second"]) > 0.0);
    }
    let table =
        run("bench configs/smoke.toml --backend cpu --batch-size 8 --layers --seconds 0.02 --task predict").done();
    assert!(table.stdout.contains("kernel") && table.stdout.contains("not attributed"), "{}", table.stdout);
}
