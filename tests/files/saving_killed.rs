//! A process killed while saving leaves either the old or the new file intact; a later save removes any other remains.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, SystemTime};

use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::support::alone;

/// Makes the test of this name act as the process to be killed; the value is the path to save to.
const FILE: &str = "BRASA_TEST_SAVES_TO";

/// The number of kills per format; default 20.
const KILLS: &str = "BRASA_TEST_KILLS";

/// A model all of whose weights have the same value; saving it takes a few milliseconds.
fn model_of(value: f32) -> Sequential {
    let mut model = Sequential::new();
    model.add(Dense::new(256).input_shape(512)).unwrap().add(Dense::new(256)).unwrap();
    let weights: Vec<ArrayD<f32>> = model.get_weights().unwrap().iter().map(|weight| weight.map(|_| value)).collect();
    model.set_weights(&weights).unwrap();
    model
}

/// Not a test in itself: saves two models in turn until it is killed.
#[test]
fn the_process_that_is_killed() {
    let Ok(path) = std::env::var(FILE) else { return };
    let models = [model_of(1.0), model_of(2.0)];
    loop {
        models.iter().for_each(|model| model.save(&path).unwrap());
    }
}

/// Starts this program as the saving process, and waits until it has saved once.
fn saving(path: &Path) -> Child {
    let mut child = alone("saving_killed::the_process_that_is_killed")
        .env(FILE, path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !path.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended without saving");
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn the_file_is_always_an_old_or_a_new_one() {
    let kills = std::env::var(KILLS).ok().and_then(|kills| kills.parse().ok()).unwrap_or(20);
    let folder = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let (mut seen, mut halves) = ([0, 0], 0);
    let next = model_of(3.0);
    for form in ["keras", "h5", "safetensors"] {
        for _ in 0..kills {
            let path = folder.path().join(format!("model.{form}"));
            let mut child = saving(&path);
            std::thread::sleep(Duration::from_micros(rng.random_range(0..30_000)));
            child.kill().unwrap();
            child.wait().unwrap();
            let weights = Sequential::load(&path).unwrap().get_weights().unwrap();
            let value = weights[0][[0, 0]];
            assert!(weights.iter().flatten().all(|own| *own == value), "a mixture of two files");
            seen[usize::from(value == 2.0)] += 1;
            let left = unfinished(folder.path());
            halves += left.len();
            // Two hours later the next save removes the remains of the dead process, and nothing else.
            for file in left {
                let file = File::options().write(true).open(file).unwrap();
                file.set_modified(SystemTime::now() - Duration::from_secs(2 * 60 * 60)).unwrap();
            }
            next.save(&path).unwrap();
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
            std::fs::remove_file(&path).unwrap();
        }
    }
    println!("{} kills: {seen:?} of the two models found whole, {halves} unfinished files left beside", 3 * kills);
    assert_eq!(seen[0] + seen[1], 3 * kills);
}

/// The unfinished files in a folder.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|ending| ending == "partial")).collect()
}
