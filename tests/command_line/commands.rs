//! Each command: its output and files, its exit code, and its errors.

use std::fs;
use std::io::Read;
use std::path::Path;

use brasa::datasets::load_npy;
use brasa::prelude::*;
use serde_json::Value as Json;

use crate::support::{Place, SIDE, Said, image, png};

/// A recipe that learns within a second which third of an image is light.
const RECIPE: &str = r#"
[data]
dataset = "npz"
path = "xy.npz"
validation_split = 0.25

[[layers]]
class_name = "Flatten"
input_shape = [9, 9, 1]

[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"

[compile]
optimizer = { class_name = "Adam", learning_rate = 0.05 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]

[fit]
epochs = 3
batch_size = 16
seed = 1
"#;

/// A folder with the recipe and its data.
pub fn thirds() -> Place {
    let place = Place::with("thirds.toml", RECIPE);
    let labels: Vec<f32> = (0..120).map(|index| (index * 7 % 3) as f32).collect();
    images(&place, "xy.npz", &labels);
    place
}

/// A folder with a trained model, `run/model.keras`.
fn trained() -> Place {
    let place = thirds();
    place.done("train thirds.toml --out run --quiet");
    place
}

/// Writes images with these labels.
fn images(place: &Place, name: &str, labels: &[f32]) {
    let x: Vec<f32> = labels.iter().flat_map(|label| image(*label as usize)).collect();
    place.npz(name, &[("x", &[labels.len(), SIDE, SIDE, 1], &x), ("y", &[labels.len()], labels)]);
}

fn keys(json: &Json) -> Vec<&str> {
    let mut keys: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn train_writes_a_run_and_prints_its_results() {
    let place = thirds();
    let Said { stdout, stderr, .. } = place.done("train thirds.toml --out run");
    assert!(stdout.starts_with("Model: \"sequential\"\n"), "{stdout}");
    assert!(stdout.contains("Total params: 246"), "{stdout}");
    assert!(stdout.contains("Trained 3 epochs in "), "{stdout}");
    assert!(stdout.ends_with("Model: run/model.keras\n"), "{stdout}");
    // Progress goes to standard error only: one plain line per epoch.
    assert!(!stderr.contains(['\r', '\u{1b}']), "{stderr:?}");
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert!(lines[0].starts_with("Epoch 1/3 - 6/6 - ") && lines[0].contains(" - val_loss: "), "{stderr}");

    assert_eq!(names(&place.at("run")), ["checkpoint", "config.toml", "history.csv", "model.keras", "report.html"]);
    assert_eq!(names(&place.at("run/checkpoint")), ["finished.json", "last.ckpt", "lock"]);
    let history = place.read("run/history.csv");
    let rows: Vec<&str> = history.lines().collect();
    assert_eq!((rows[0], rows.len()), ("epoch,accuracy,loss,val_accuracy,val_loss", 4));
    assert!(rows[1].starts_with("0,") && rows[3].starts_with("2,"), "{history}");
}

#[test]
fn train_as_json_is_one_document_with_the_documented_keys() {
    let place = thirds();
    let report = place.json("train thirds.toml --out run --json");
    assert_eq!(keys(&report), ["epochs", "evaluation", "history", "images_per_second", "run_dir"]);
    assert_eq!(keys(&report["history"]), ["accuracy", "loss", "val_accuracy", "val_loss"]);
    assert_eq!(report["history"]["loss"].as_array().unwrap().len(), 3);
    assert_eq!((&report["epochs"], &report["run_dir"]), (&3.into(), &"run".into()));
    assert!(report["evaluation"].is_null(), "this data has no test part");
    assert!(report["images_per_second"].as_f64().unwrap() > 0.0);
    let loss = |epoch: usize| report["history"]["loss"][epoch].as_f64().unwrap();
    assert!(loss(2) < loss(0), "{report}");
}

#[test]
fn a_finished_run_is_left_unchanged() {
    let place = thirds();
    let report = place.json("train thirds.toml --out run --json");
    let model = fs::read(place.at("run/model.keras")).unwrap();
    let output = place.done("train --resume --out run --json");
    assert!(output.stderr.contains("the run in run is finished; it is left as it is"), "{}", output.stderr);
    assert_eq!(output.json(), report);
    assert_eq!(fs::read(place.at("run/model.keras")).unwrap(), model);
    let message = place.fails("train thirds.toml --out run");
    assert!(message.contains("--resume continues it"), "{message}");
}

#[test]
fn a_run_resumes_only_with_its_recipe() {
    let place = thirds();
    place.done("train thirds.toml --out run --quiet");
    for command in ["train --resume --out run --epochs 5", "train thirds.toml --resume --out run --epochs 5"] {
        let message = place.fails(command);
        assert!(message.contains("fit.epochs: 3 → 5") && message.contains("--accept-changes"), "{message}");
    }
    place.done("train --resume --out run --epochs 5 --accept-changes --quiet");
    place.done("train thirds.toml --out whole --epochs 5 --quiet");
    let history = |run: &str| place.read(&format!("{run}/history.csv"));
    assert_eq!(history("run"), history("whole"), "three epochs and two are five");
    assert_eq!(history("run").lines().count(), 6);
    assert!(place.read("run/config.toml").contains("epochs = 5"));
}

#[test]
fn the_newest_run_of_a_recipe_is_resumed() {
    let place = thirds();
    let message = place.fails("train thirds.toml --resume");
    assert!(message.contains("a run of `thirds` in `runs`"), "{message}");
    let first = place.json("train thirds.toml --json");
    let second = place.json("train thirds.toml --json --seed 2");
    assert_ne!(first["run_dir"], second["run_dir"]);
    assert_eq!(place.json("train thirds.toml --resume --json --seed 2"), second);
    place.done("train thirds.toml --resume --out new --quiet");
    assert!(place.at("new/model.keras").exists(), "a directory without a run is one that begins");
    assert_eq!(place.run("train thirds.toml --out other --accept-changes").code, Some(2));
}

#[test]
fn callbacks_of_a_recipe_work() {
    let place = thirds();
    let callbacks = "\n[[callbacks]]\nclass_name = \"EarlyStopping\"\nmonitor = \"loss\"\nmode = \"max\"\npatience = 2\n\
                     [[callbacks]]\nclass_name = \"ModelCheckpoint\"\nfilepath = \"kept/{epoch:02d}-{val_loss:.2f}.keras\"\n\
                     [[callbacks]]\nclass_name = \"CSVLogger\"\nfilename = \"log.csv\"\n";
    place.write("stops.toml", format!("{RECIPE}{callbacks}"));
    let report = place.json("train stops.toml --out run --epochs 9 --json");
    assert_eq!(report["epochs"], 3);
    assert_eq!(report["stopped"], "EarlyStopping: loss has not improved for 2 epochs");
    assert_eq!(names(&place.at("kept")).len(), 3);
    assert!(names(&place.at("kept"))[0].starts_with("01-"), "{:?}", names(&place.at("kept")));
    let rows = |name: &str| place.read(name).replace('\r', "");
    assert_eq!(rows("log.csv"), rows("run/history.csv"));
    assert!(rows("run/config.toml").contains("class_name = \"EarlyStopping\""));
}

#[test]
fn quiet_shows_no_progress() {
    let place = thirds();
    let output = place.done("train thirds.toml --out run --quiet");
    assert_eq!(output.stderr, "");
    assert!(output.stdout.starts_with("Trained 3 epochs"), "{}", output.stdout);
}

#[test]
fn a_bar_among_the_callbacks_takes_the_place_of_verbose() {
    let place = thirds();
    let bar = "\n[[callbacks]]\nclass_name = \"ProgressBar\"\nverbose = ";
    for (own, verbose, lines) in [("2", "0", 3), ("2", "2", 3), ("0", "2", 0)] {
        place.write("bar.toml", format!("{RECIPE}verbose = {verbose}\n{bar}{own}\n"));
        let output = place.done(&format!("train bar.toml --out run{own}{verbose}"));
        assert_eq!(output.stderr.matches("Epoch ").count(), lines, "{}", output.stderr);
        assert_eq!(place.done(&format!("train bar.toml --out quiet{own}{verbose} --quiet")).stderr, "");
    }
}

#[test]
fn the_smoke_recipe_learns_digits() {
    let place = thirds();
    let root = std::env::current_dir().unwrap();
    let (recipe, data) = (root.join("configs/smoke.toml"), root.join("data/mnist"));
    let report = place.json(&format!("train {} --data-dir {} --out run --json", recipe.display(), data.display()));
    assert_eq!(keys(&report["evaluation"]), ["loss", "metrics", "samples"]);
    assert_eq!(report["evaluation"]["samples"], 2000);
    let accuracy = report["evaluation"]["metrics"]["accuracy"].as_f64().unwrap();
    assert!(accuracy > 0.7, "{report}");
}

#[test]
fn the_recipe_as_it_was_resolved_trains_the_same() {
    let place = thirds();
    let first = place.json("train thirds.toml --out a --json --epochs 2 --set compile.optimizer.learning_rate=0.01");
    let second = place.json("train a/config.toml --out b --json");
    assert_eq!(first["history"], second["history"]);
    let config = |run: &str| place.read(&format!("{run}/config.toml"));
    assert_eq!(config("a"), config("b"));
    assert!(config("a").contains("learning_rate = 0.01") && config("a").contains("epochs = 2"), "{}", config("a"));
    let other = place.json("train thirds.toml --out c --json --epochs 2");
    assert_ne!(first["history"], other["history"], "--set did something");
}

#[test]
fn options_change_the_recipe() {
    let place = thirds();
    let arguments = "train thirds.toml --out run --json --epochs 1 --batch-size 40 --seed 7 --validation-split 0.5 \
                     --no-shuffle --threads 1 --backend flex";
    place.json(arguments);
    let config = place.read("run/config.toml");
    for line in ["epochs = 1", "batch_size = 40", "seed = 7", "validation_split = 0.5", "shuffle = false"] {
        assert!(config.lines().any(|own| own == line), "{line}\n{config}");
    }
}

#[test]
fn training_starts_from_a_saved_model() {
    let place = trained();
    let arguments = "train --model run/model.keras --data xy.npz --epochs 6 --batch-size 8 --validation-split 0.2 \
                     --no-shuffle --json --out on";
    let report = place.json(arguments);
    assert_eq!(report["epochs"], 6);
    let scratch = place.json("train thirds.toml --out scratch --json");
    let first = |report: &Json| report["history"]["loss"][0].as_f64().unwrap();
    assert!(first(&report) < 0.5 * first(&scratch), "it starts where the model was");
    let config = fs::read_to_string(place.at("on/config.toml")).unwrap();
    assert!(config.contains("file = \"run/model.keras\"") && !config.contains("[compile]"), "{config}");
}

#[test]
fn without_out_the_run_is_named_after_recipe_and_time() {
    let place = thirds();
    let (first, second) = (place.json("train thirds.toml --json"), place.json("train thirds.toml --json"));
    let folder = |report: &Json| report["run_dir"].as_str().unwrap().to_owned();
    assert_ne!(folder(&first), folder(&second));
    let prefix = Path::new("runs").join("thirds-20").display().to_string();
    assert!(folder(&first).starts_with(&prefix), "{}", folder(&first));
    assert!(place.at(&folder(&first)).join("model.keras").is_file());
}

#[test]
fn evaluate_prints_the_scores() {
    let place = trained();
    let scores = place.json("evaluate run/model.keras --data xy.npz --json");
    assert_eq!(keys(&scores), ["class_names", "classes", "confusion_matrix", "loss", "metrics", "samples"]);
    assert_eq!(keys(&scores["metrics"]), ["accuracy"]);
    assert_eq!((&scores["metrics"]["accuracy"], &scores["samples"]), (&1.0.into(), &120.into()));

    let Said { stdout, stderr, .. } = place.done("evaluate run/model.keras --data xy.npz --batch-size 7");
    assert!(stdout.starts_with("accuracy: 100.00 %\nloss: 0."), "{stdout}");
    assert!(stdout.contains("\n0      40   0   0\n1       0  40   0\n2       0   0  40\n"), "{stdout}");
    assert!(stdout.contains("\n2         1.0000  1.0000  1.0000       40\n"), "{stdout}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn predict_classifies_images() {
    let place = trained();
    (0..3).for_each(|third| png(&place, &format!("{third}.png"), third));
    let all = place.json("predict run/model.keras 0.png 1.png 2.png --json");
    for (third, prediction) in all.as_array().unwrap().iter().enumerate() {
        assert_eq!(keys(prediction), ["classes", "input"]);
        assert_eq!(prediction["input"], format!("{third}.png"));
        let classes = prediction["classes"].as_array().unwrap();
        assert_eq!(classes.len(), 3);
        assert_eq!((keys(&classes[0]), &classes[0]["class"]), (vec!["class", "probability"], &third.into()));
        let sum: f64 = classes.iter().map(|class| class["probability"].as_f64().unwrap()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{prediction}");
    }
    let stdout = place.done("predict run/model.keras 2.png --top 1").stdout;
    assert!(stdout.starts_with("2.png: 2 (") && stdout.ends_with(" %)\n") && !stdout.contains(','), "{stdout}");
}

#[test]
fn predict_inverts_dark_on_light_images() {
    let place = trained();
    let dark = |x: u32, y: u32| image::Luma([if y / 3 == 1 && x < 9 { 0 } else { 255 }]);
    image::GrayImage::from_fn(9, 9, dark).save(place.at("dark.png")).unwrap();
    let class = |arguments: &str| place.json(arguments)[0]["classes"][0]["class"].clone();
    assert_eq!(class("predict run/model.keras dark.png --invert --json"), 1);
    assert_ne!(class("predict run/model.keras dark.png --json"), 1);
    let note = place.run("predict run/model.keras dark.png").stderr;
    assert!(note.starts_with("note: ") && note.contains("--invert"), "{note}");
}

#[test]
fn predict_takes_arrays() {
    let place = trained();
    let report = place.json("predict run/model.keras --input x.npy --output out.npy --json");
    assert_eq!(report["shape"], serde_json::json!([120, 3]));
    let y = load_npy(place.at("out.npy")).unwrap();
    assert_eq!(y.shape(), [120, 3]);
    let values = y.to_vec_f32();
    assert!(values.chunks(3).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    let message = place.fails("predict run/model.keras --input y.npy --output z.npy");
    assert!(message.contains("(None, 9, 9, 1)"), "{message}");
    assert!(!place.at("z.npy").exists());
}

#[test]
fn summary_in_every_style() {
    let place = thirds();
    let config = std::env::current_dir().unwrap().join("configs/mnist_cnn.toml").display().to_string();
    let classic = place.run(&format!("summary {config}")).stdout;
    assert!(classic.contains(" conv2d (Conv2D)             (None, 24, 24, 32)        832       \n"), "{classic}");
    assert!(classic.contains("Total params: 62,346\n"), "{classic}");
    let keras3 = place.run(&format!("summary {config} --style keras3 --show-trainable")).stdout;
    assert!(keras3.contains("┃") && keras3.contains(" Total params: 62,346 "), "{keras3}");
    let wide = place.run(&format!("summary {config} --line-length 100 --expand-nested")).stdout;
    assert!(wide.lines().any(|line| line == "=".repeat(100)), "{wide}");

    let json = place.json(&format!("summary {config} --json"));
    let expected = ["layers", "name", "non_trainable_params", "total_params", "trainable_params"];
    assert_eq!((keys(&json), &json["total_params"]), (expected.to_vec(), &62_346.into()));
    assert_eq!(keys(&json["layers"][0]), ["class_name", "name", "output_shape", "params"]);
    assert_eq!(json["layers"][0]["output_shape"], serde_json::json!([null, 24, 24, 32]));
}

#[test]
fn convert_round_trips_through_every_format() {
    let place = trained();
    let expected = place.json("evaluate run/model.keras --data xy.npz --json");
    let mut from = "run/model.keras".to_owned();
    for to in ["a.h5", "b.safetensors", "c.keras"] {
        let output = place.done(&format!("convert {from} {to}"));
        assert_eq!(output.stdout, format!("{from} → {to}\n"));
        assert_eq!(place.json(&format!("evaluate {to} --data xy.npz --json")), expected, "{to}");
        assert_eq!(place.json(&format!("summary {to} --json")), place.json("summary run/model.keras --json"), "{to}");
        from = to.to_owned();
    }
    // Split into two files and joined again.
    place.done("convert c.keras w.weights.h5");
    place.done("convert w.weights.h5 m.json --model c.keras");
    let message = place.fails("convert w.weights.h5 d.keras");
    assert!(message.contains("`w.weights.h5` holds weights alone") && message.contains("--model"), "{message}");
    place.done("convert w.weights.h5 d.keras --model m.json");
    assert_eq!(place.json("evaluate d.keras --data xy.npz --json"), expected);
    let message = place.fails("convert m.json e.keras");
    assert!(message.contains("--model IN"), "{message}");
    assert!(place.fails("convert c.keras e.pb").contains("`.safetensors`"));
    assert!(!place.at("e.keras").exists() && !place.at("e.pb").exists());
    // ONNX is written and not read.
    assert_eq!(place.done("convert c.keras e.onnx").stdout, "c.keras → e.onnx\n");
    assert!(std::fs::read(place.at("e.onnx")).unwrap().starts_with(b"\x08\x08\x12\x05brasa"));
    assert!(place.fails("convert e.onnx f.keras").contains("an ONNX model"));
}

#[test]
fn summary_lists_the_weights_of_a_file_without_a_model() {
    let place = trained();
    place.done("convert run/model.keras w.weights.h5");
    let output = place.run("summary w.weights.h5").stdout;
    assert!(
        output.lines().any(|line| line.starts_with("layers/dense/vars/0") && line.ends_with("(81, 3)")),
        "{output}"
    );
    let json = place.json("summary w.weights.h5 --json");
    assert_eq!(keys(&json), ["total_params", "weights"]);
    assert_eq!(json["weights"][0], serde_json::json!({"name": "layers/dense/vars/0", "shape": [81, 3]}));
    assert!(place.fails("summary none.h5").contains("none.h5"));
}

#[test]
fn summary_of_a_saved_model_is_that_of_its_recipe() {
    let place = trained();
    assert_eq!(place.json("summary run/model.keras --json"), place.json("summary thirds.toml --json"));
}

#[test]
fn only_unreadable_settings_cause_a_warning() {
    let place = Place::new();
    let mut model = Sequential::new();
    model.add(Dense::new(2).input_shape(3)).unwrap();
    let mut json: Json = serde_json::from_str(&model.to_json().unwrap()).unwrap();
    // Keras's output for a model that was never compiled, and for one with only an optimizer.
    for (settings, warned) in [(serde_json::json!({}), false), (serde_json::json!({"optimizer": "sgd"}), true)] {
        json["compile_config"] = settings;
        place.write("m.json", json.to_string());
        let said = place.done("summary m.json").stderr;
        assert_eq!(said.contains("not compiled as it was saved"), warned, "{said}");
    }
}

#[test]
fn devices_and_completions() {
    let place = thirds();
    let output = place.done("devices");
    assert!(output.stdout.contains("flex:0 "), "{}", output.stdout);
    let output = place.done("completions bash");
    assert!(output.stdout.contains("_brasa()"));
    for values in ["auto cpu gpu flex ndarray wgpu vulkan metal cuda", "classic keras2 keras3", "mnist fashion_mnist"] {
        assert!(output.stdout.contains(&format!("compgen -W \"{values}\"")), "{values}");
    }
}

#[test]
fn every_command_has_a_man_page() {
    let place = Place::new();
    place.done("man share/man1");
    let train = fs::read_to_string(place.at("share/man1/brasa-train.1")).unwrap();
    assert!(train.contains("brasa train recipe.toml"), "{train}");
    assert!(!train.contains('\x1b'), "{train}");
    for name in ["brasa", "brasa-predict", "brasa-init-images", "brasa-runs-best", "brasa-man"] {
        assert!(place.at(&format!("share/man1/{name}.1")).is_file(), "{name}");
    }
}

#[test]
fn mistakes_in_a_recipe_have_line_and_column() {
    let place = thirds();
    place.write("wrong.toml", RECIPE.replace("epochs", "epoch"));
    let message = place.fails("train wrong.toml --out run");
    assert!(message.starts_with("error: wrong.toml:22:1: unknown key `epoch`, did you mean `epochs`?"), "{message}");
    let message = place.fails("train thirds.toml --out run --set fit.epoch=3");
    assert!(message.starts_with("error: unknown key `epoch`, did you mean `epochs`?"), "{message}");
    let message = place.fails("train thirds.toml --out run --set compile.loss=1x");
    assert!(message.contains("the value as in TOML"), "{message}");
    assert!(!place.at("run").exists());
}

#[test]
fn failures_have_one_clear_message_and_leave_no_run_behind() {
    let place = trained();
    images(&place, "labels.npz", &[0.0, 1.0, 7.0, 2.0]);
    place.write("text.keras", "this is no model");
    let cases = [
        ("train none.toml --out new", "`none.toml`"),
        ("train thirds.toml --out new --data none.npz", "`none.npz`"),
        ("train thirds.toml --out new --model none.keras", "`none.keras`"),
        ("train thirds.toml --out new --model text.keras", "`text.keras`"),
        ("train thirds.toml --out new --data labels.npz --validation-split 0 --quiet", "7"),
        ("train thirds.toml --out new --batch-size 0", "`batch_size`"),
        ("train thirds.toml --out new --validation-split 2", "`validation_split`"),
        ("train thirds.toml --out new --backend flex:7", "device `flex:7` is not available"),
        ("train thirds.toml --out thirds.toml/new", "thirds.toml/new"),
        ("train thirds.toml --out run", "a directory that does not hold a run"),
        ("evaluate none.keras --data xy.npz", "`none.keras`"),
        ("evaluate text.keras --data xy.npz", "`text.keras`"),
        ("evaluate run/model.keras --data labels.npz --quiet", "7"),
        ("evaluate run/model.keras --dataset minst", "did you mean `mnist`?"),
        ("predict run/model.keras none.png", "`none.png`"),
        ("predict run/model.keras thirds.toml", "`thirds.toml`"),
        ("predict run/model.keras --input none.npy --output z.npy", "`none.npy`"),
        ("summary none.toml", "`none.toml`"),
        ("summary run/model.keras --line-length 10", "`line_length`"),
    ];
    for (arguments, words) in cases {
        let message = place.fails(arguments);
        assert!(message.contains(words), "{arguments}: {message}");
        assert!(!place.at("new").exists(), "{arguments}");
    }
    assert!(place.at("thirds.toml").is_file() && place.at("run/model.keras").is_file());
}

#[test]
fn an_unavailable_device_is_an_error() {
    let place = thirds();
    // A test machine can have a GPU or not, but not a hundredth one.
    let message = place.fails("train thirds.toml --out run --backend cuda:99");
    assert!(message.contains("device `cuda:99` is not available") && message.contains("found: "), "{message}");
    let auto = place.done("train thirds.toml --out run --backend auto --quiet");
    assert!(auto.stderr.starts_with("note: auto: computing on "), "{}", auto.stderr);
}

#[test]
fn the_environment_names_the_backend() {
    let place = thirds();
    let run = |name: &str, arguments: &str| Said::by(place.command(arguments).env("BRASA_BACKEND", name));
    let message = run("flexx", "train thirds.toml --out run").failure(1);
    assert!(message.contains("did you mean `flex`?"), "{message}");
    run("flexx", "train thirds.toml --out run --quiet --backend cpu").done();
}

#[test]
fn wrong_usage_has_its_own_code() {
    let place = thirds();
    let wrong = [
        "",
        "tarin",
        "train --epochs five",
        "train a b",
        "train --backend gpx",
        "train --threads 0",
        "evaluate",
        "evaluate m --data x --dataset mnist",
        "predict m",
        "predict m --input x.npy",
        "predict m a.png --input x.npy --output y.npy",
        "summary m --style plain",
        "completions csh",
        "devices --quiet -v",
    ];
    for arguments in wrong {
        let output = place.run(arguments);
        assert_eq!(output.code, Some(2), "{arguments}: {}", output.stderr);
        assert!(output.stdout.is_empty(), "{arguments}");
    }
    let help = place.done("train --help");
    assert!(help.stdout.contains("--validation-split"));
}

#[test]
fn a_closed_pipe_is_a_quiet_end() {
    let place = trained();
    png(&place, "0.png", 0);
    for arguments in ["summary thirds.toml", "predict run/model.keras 0.png", "completions zsh", "devices"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let said = Said::by(place.command(arguments).stdout(writer));
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{arguments}");
    }
    let (mut reader, writer) = std::io::pipe().unwrap();
    let status = place.command("evaluate none.keras").stderr(writer).status().unwrap();
    let mut message = String::new();
    reader.read_to_string(&mut message).unwrap();
    assert_eq!(status.code(), Some(1), "a failure stays one: {message}");
}

/// A logit of 0 means equal probabilities of both classes.
#[test]
fn the_confusion_matrix_of_logits_is_cut_at_zero() {
    let place = Place::new();
    let mut model = Sequential::new();
    model.add(Dense::new(1).kernel_initializer("ones").input_shape(1)).unwrap();
    let loss = brasa::losses::BinaryCrossentropy::default().from_logits(true);
    let metric = brasa::metrics::BinaryAccuracy::default().threshold(0.0);
    model.compile(Compile::new("sgd", loss).metrics([metric])).unwrap();
    model.save(place.at("m.keras")).unwrap();
    place.npz("d.npz", &[("x", &[4, 1], &[-2.0, 0.3, 0.4, 3.0]), ("y", &[4], &[0.0, 1.0, 0.0, 1.0])]);
    let scores = place.json("evaluate m.keras --data d.npz --json");
    assert_eq!(scores["confusion_matrix"], serde_json::json!([[1, 1], [0, 2]]));
    assert_eq!(scores["metrics"]["binary_accuracy"], 0.75);
    model.compile(Compile::new("sgd", "mse")).unwrap();
    model.save(place.at("numbers.keras")).unwrap();
    let scores = place.json("evaluate numbers.keras --data d.npz --json");
    assert_eq!(keys(&scores), ["loss", "metrics", "samples"], "numbers are no classes");
}

/// Weights in an archive, class weights in a recipe, and metrics with several values, in JSON and in text.
#[test]
fn weights_and_lists_are_passed_on() {
    let recipe = "[data]\ndataset = \"npz\"\npath = \"d.npz\"\nvalidation_split = 0.5\n\n[[layers]]\nclass_name = \"Dense\"\n\
                  units = 1\nkernel_initializer = \"zeros\"\nactivation = \"sigmoid\"\ninput_shape = [1]\n\n[compile]\n\
                  optimizer = { class_name = \"SGD\", learning_rate = 0.0 }\nloss = \"mse\"\nmetrics = [{ class_name = \
                  \"Recall\", thresholds = [0.2, 0.8], name = \"r\" }]\n";
    let place = Place::with("weighted.toml", recipe);
    let (x, y) = ([1.0, 1.0, 1.0, 1.0], [0.5, 1.0, 0.5, 1.0]);
    let plain: [(&str, &[usize], &[f32]); 2] = [("x", &[4, 1], &x), ("y", &[4], &y)];
    place.npz("d.npz", &[plain[0], plain[1], ("sample_weight", &[4], &[1.0, 2.0, 0.0, 4.0])]);
    let history = &place.json("train weighted.toml --out run --json")["history"];
    assert_eq!((&history["loss"][0], &history["val_loss"][0]), (&0.25.into(), &0.5.into()));
    assert_eq!(history["r"], serde_json::json!([[1.0, 0.0]]));
    assert!(place.read("run/history.csv").contains("\"[1, 0]\""), "{}", place.read("run/history.csv"));
    assert!(place.done("plot run --output p.svg").stderr.is_empty());
    let scores = place.json("evaluate run/model.keras --data d.npz --json");
    assert_eq!((&scores["loss"], &scores["metrics"]["r"]), (&0.375.into(), &serde_json::json!([1.0, 0.0])));
    assert!(place.done("evaluate run/model.keras --data d.npz").stdout.contains("r: [1.0000, 0.0000]"));

    let error = place.fails("train weighted.toml --set fit.class_weight={1=3.0} --out both --json");
    assert!(error.contains("weights of its own"), "{error}");
    place.npz("d.npz", &[plain[0], ("y", &[4], &[0.0, 1.0, 0.0, 1.0])]);
    let history = &place.json("train weighted.toml --set fit.class_weight={1=3.0} --out classes --json")["history"];
    assert_eq!((&history["loss"][0], &history["val_loss"][0]), (&0.5.into(), &0.25.into()));
    assert!(
        place.read("classes/config.toml").contains("[fit.class_weight]\n1 = 3.0"),
        "{}",
        place.read("classes/config.toml")
    );
    let error = place.fails("train weighted.toml --set fit.class_weight={cat=3.0} --out wrong --json");
    assert!(error.contains("class_weight"), "{error}");
    place.npz("d.npz", &[plain[0], plain[1], ("sample_weights", &[4], &[1.0; 4])]);
    let error = place.fails("train weighted.toml --out typo --json");
    assert!(error.contains("sample_weight"), "{error}");
}

/// With the best epoch's weights restored, the last epoch's numbers are not those of the saved model.
#[test]
fn the_restored_epoch_is_reported() {
    let recipe = "[data]\ndataset = \"npz\"\npath = \"d.npz\"\nvalidation_split = 0.5\n\n[[layers]]\nclass_name = \"Dense\"\n\
                  units = 1\nuse_bias = false\nkernel_initializer = \"zeros\"\ninput_shape = [1]\n\n[compile]\noptimizer = { \
                  class_name = \"SGD\", learning_rate = 0.9 }\nloss = \"mse\"\n\n[fit]\nepochs = 9\n\n[[callbacks]]\n\
                  class_name = \"EarlyStopping\"\npatience = 2\nrestore_best_weights = true\n";
    let place = Place::with("r.toml", recipe);
    place.npz("d.npz", &[("x", &[4, 1], &[2.0; 4]), ("y", &[4], &[1.1; 4])]);
    let report = place.json("train r.toml --out run --json");
    let (first, last) = (&report["history"]["val_loss"][0], &report["history"]["val_loss"][2]);
    assert!(first.as_f64() < last.as_f64(), "{report}");
    assert_eq!((&report["restored"]["epoch"], &report["restored"]["scores"]["val_loss"]), (&0.into(), first));
    let scores = place.json("evaluate run/model.keras --data d.npz --json");
    assert!((scores["loss"].as_f64().unwrap() / first.as_f64().unwrap() - 1.0).abs() < 1e-6, "{scores}");
    let page = place.read("run/report.html");
    let shown = format!("{:.4}", first.as_f64().unwrap());
    assert!(page.contains("validation loss, restored epoch 1") && page.contains(&shown), "{page}");
    assert!(!page.contains("last epoch"), "{page}");
    let said = place.done("train r.toml --out again").stdout;
    assert!(said.contains(&format!("The saved model has the weights of epoch 1: val_loss {shown}")), "{said}");
}
