//! `brasa bench` as a user meets it.
#![cfg(feature = "cli")]

use std::path::PathBuf;
use std::process::{Command, Output};

use brasa::datasets::save_npy;
use brasa::prelude::*;
use serde_json::Value as Json;
use tempfile::TempDir;

/// What every measurement has.
const KEYS: [&str; 6] =
    ["backend", "task", "batch_size", "samples_per_second", "milliseconds_per_step", "peak_rss_bytes"];

/// As short as a measurement gets.
const SHORT: &str = "--seconds 0.02 --repetitions 3";

fn run(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brasa"));
    command.args(arguments.split_whitespace()).current_dir(env!("CARGO_MANIFEST_DIR"));
    for variable in ["BRASA_BACKEND", "RUST_LOG", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(variable);
    }
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn measurements(arguments: &str) -> Vec<Json> {
    let output = run(&format!("bench {arguments} {SHORT} --json"));
    assert_eq!(output.status.code(), Some(0), "{arguments}: {}", text(&output.stderr));
    let Json::Array(list) = serde_json::from_slice(&output.stdout).unwrap() else { panic!("no list") };
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
    // A process that trains needs more than a megabyte, and a test's model no gigabyte.
    if cfg!(target_os = "linux") {
        assert!((1e6..1e9).contains(&number("peak_rss_bytes")), "{measurement}");
    }
    assert!(number("milliseconds_to_first_step") > 0.0, "{measurement}");
}

/// Runs a command that fails, and returns what it says.
fn fails(arguments: &str, code: i32) -> String {
    let output = run(arguments);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments}: {message}");
    assert_eq!(message.matches("error: ").count(), 1, "{arguments}: {message}");
    assert!(output.stdout.is_empty(), "{arguments}: {}", text(&output.stdout));
    message
}

/// A folder for models and recipes.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn recipe(&self, units: usize, loss: &str) -> PathBuf {
        let text = format!(
            "[data]\ndataset = \"npz\"\npath = \"none.npz\"\n\n[[layers]]\nclass_name = \"Dense\"\nunits = {units}\n\
             input_shape = [3]\n\n[compile]\noptimizer = \"sgd\"\nloss = \"{loss}\"\n"
        );
        self.write(&format!("{loss}.toml"), text)
    }

    /// Samples for the recipes.
    fn npz(&self, samples: usize) -> PathBuf {
        use std::io::Write;
        let path = self.0.path().join(format!("{samples}.npz"));
        let mut archive = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
        for (name, width) in [("x.npy", 3), ("y.npy", 1)] {
            let array = self.0.path().join(name);
            save_npy(&array, &[samples, width], &vec![0.5; samples * width]).unwrap();
            archive.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            archive.write_all(&std::fs::read(array).unwrap()).unwrap();
        }
        archive.finish().unwrap();
        path
    }
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
    let list = measurements(&format!("{} --backend flex", place.recipe(2, "mse").display()));
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
            place.recipe(units, loss).display()
        ));
        assert_eq!(list.len(), 1, "{loss}");
    }
}

#[test]
fn the_environment_names_the_backend() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brasa"));
    command.args(["bench", "configs/smoke.toml", "--task", "predict", "--batch-size", "2", "--json"]);
    command.args(SHORT.split(' ')).current_dir(env!("CARGO_MANIFEST_DIR")).env("BRASA_BACKEND", "ndarray");
    let list: Vec<Json> = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
    assert_eq!(list.iter().map(|m| m["backend"].as_str()).collect::<Vec<_>>(), [Some("ndarray")]);
}

#[test]
fn a_table_without_json() {
    let output = run(&format!("bench configs/smoke.toml --backend flex --task train --batch-size 4,8 {SHORT}"));
    let (table, lines) = (text(&output.stdout), text(&output.stdout).lines().count());
    assert_eq!(lines, 3, "{table}");
    assert!(
        table.starts_with("backend") && table.lines().all(|line| line.len() == table.lines().next().unwrap().len())
    );
    assert!(table.lines().nth(2).unwrap().starts_with("flex        train        8 "), "{table}");
    assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
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
    let message = fails(&format!("bench {path} --task train --backend flex"), 1);
    assert!(message.contains("compiled") && message.contains("model.json"), "{message}");
}

#[test]
fn samples_of_ones_own() {
    let place = Place::new();
    let (recipe, data) = (place.recipe(1, "mse"), place.npz(10));
    let both = format!("{} --backend flex --data {}", recipe.display(), data.display());
    assert_eq!(measurements(&format!("{both} --batch-size 4")).len(), 2);
    let message = fails(&format!("bench {both} --batch-size 11"), 1);
    assert!(message.contains("11 samples at least") && message.contains("received 10"), "{message}");
    let message =
        fails(&format!("bench configs/smoke.toml --backend flex --batch-size 4 --data {}", data.display()), 1);
    assert!(message.contains("(None, 28, 28, 1)"), "{message}");
}

#[test]
fn wrong_usage_and_failures_are_told_apart() {
    for wrong in [
        "--task sleep",
        "--batch-size 0",
        "--batch-size x",
        "--seconds 0",
        "--repetitions 0",
        "--backend gpx",
        "--here",
    ] {
        let message = fails(&format!("bench {wrong}"), 2);
        assert!(message.contains(wrong.split(' ').next().unwrap()) || wrong == "--here", "{wrong}: {message}");
    }
    let message = fails(&format!("bench configs/smoke.toml --backend flex:7 {SHORT}"), 1);
    assert!(message.contains("flex:7") && message.contains("flex:0"), "{message}");
    let message = fails("bench nothing.toml", 1);
    assert!(message.contains("nothing.toml"), "{message}");
}
