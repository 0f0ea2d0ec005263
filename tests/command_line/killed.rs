//! A run that is killed at any moment and resumed ends with the same bits as one that was never interrupted.

use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::{Place, check_files, result};

const RECIPE: &str = r#"
[data]
dataset = "npz"
path = "xy.npz"
validation_split = 0.2

[[layers]]
class_name = "Dense"
units = 64
activation = "relu"
input_shape = [12]

[[layers]]
class_name = "Dropout"
rate = 0.2

[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"

[compile]
optimizer = { class_name = "Adam", learning_rate = 0.01 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]

[fit]
epochs = 6
batch_size = 16
checkpoint_freq = 5

[[callbacks]]
class_name = "ReduceLROnPlateau"
monitor = "loss"
patience = 1
min_delta = 0.1
factor = 0.8

[[callbacks]]
class_name = "EarlyStopping"
patience = 20
restore_best_weights = true
"#;

/// A folder with the recipe and its data.
fn place() -> Place {
    let place = Place::with("small.toml", RECIPE);
    let x: Vec<f32> = (0..600 * 12).map(|index| (index * 37 % 101) as f32 / 101.0 - 0.5).collect();
    let y: Vec<f32> =
        x.chunks(12).map(|row| if row[0] > row[1] { 0.0 } else { 1.0 + f32::from(row[2] > 0.0) }).collect();
    place.npz("xy.npz", &[("x", &[600, 12], &x), ("y", &[600], &y)]);
    place
}

/// A run that is repeatedly killed at a random moment and resumed ends with the same bits. `BRASA_CHAOS` sets the
/// number of kills (default 8).
#[test]
fn a_killed_run_ends_with_the_same_bits() {
    let kills: usize = std::env::var("BRASA_CHAOS").map_or(8, |kills| kills.parse().unwrap());
    let place = place();
    let begin = Instant::now();
    place.done("train small.toml --out whole --seed 4 --quiet");
    let whole_time = begin.elapsed();
    let expected = result(&place.at("whole"));
    place.done("train small.toml --out again --seed 4 --quiet");
    assert_eq!(result(&place.at("again")), expected, "the same recipe gives the same bits");

    let (mut killed, mut round, mut random) = (0, 0, 0x9e37_79b9_u64);
    while killed < kills {
        round += 1;
        let name = format!("run{round}");
        let run = place.at(&name);
        let resume = format!("train small.toml --resume --out {name} --seed 4 --quiet");
        // A run is killed a few times, then completed.
        for _ in 0..5 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let part = (random >> 33) as f64 / f64::from(1u32 << 31);
            let mut child = place.command(&resume).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            sleep(Duration::from_secs_f64(whole_time.as_secs_f64() * part));
            child.kill().unwrap();
            let ended = child.wait().unwrap().success();
            check_files(&run);
            killed += usize::from(!ended);
            if ended || killed == kills {
                break;
            }
        }
        place.done(&resume);
        assert_eq!(result(&run), expected, "run {round}");
    }
    println!("{killed} kills in {round} runs of {whole_time:?} each ended with the same bits");
}
