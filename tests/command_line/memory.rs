//! Models and recipes that exceed the available memory: a one-line error, not an exhausted machine.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Command;

use brasa::datasets::save_npy;
use brasa::prelude::*;
use zip::write::SimpleFileOptions;

use crate::support::{Place, Said};

/// A folder with `x.npy`, three numbers for each of 128 samples, and `m.keras`: a model with a `RepeatVector` of `n`.
fn repeating(n: u64) -> Place {
    let place = Place::new();
    save_npy(place.at("x.npy"), &[128, 3], &[1.0; 128 * 3]).unwrap();
    let mut model = Sequential::new();
    model.add(Flatten::new().input_shape(3)).unwrap();
    model.add(RepeatVector::new(77).name("asks_much")).unwrap();
    model.add(ActivationLayer::new("tanh")).unwrap();
    model.add(GlobalMaxPooling1D::new()).unwrap();
    model.save(place.at("small.keras")).unwrap();
    // No model with such a number can be built, so it is patched into the file.
    let mut small = zip::ZipArchive::new(File::open(place.at("small.keras")).unwrap()).unwrap();
    let mut large = zip::ZipWriter::new(File::create(place.at("m.keras")).unwrap());
    for index in 0..small.len() {
        let mut member = small.by_index(index).unwrap();
        let name = member.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).unwrap();
        if name == "config.json" {
            let text = String::from_utf8(bytes).unwrap();
            assert!(text.contains("\"n\":77") || text.contains("\"n\": 77"), "{text}");
            let text = text.replace("\"n\":77", &format!("\"n\":{n}")).replace("\"n\": 77", &format!("\"n\":{n}"));
            bytes = text.into_bytes();
        }
        large.start_file(name, SimpleFileOptions::default()).unwrap();
        large.write_all(&bytes).unwrap();
    }
    large.finish().unwrap();
    place
}

/// The same command with 4 GB of address space.
#[cfg(target_os = "linux")]
fn confined(place: &Place, arguments: &str) -> Command {
    let command = place.command(arguments);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -v 4000000 && exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    shell.current_dir(place.at("")).env_remove("BRASA_BACKEND").env("RAYON_NUM_THREADS", "2");
    shell
}

#[cfg(target_os = "linux")]
#[track_caller]
fn refused(place: &Place, arguments: &str, layer: &str) -> String {
    let said = Said::by(&mut confined(place, arguments)).failure(1);
    assert!(said.contains(layer) && said.len() < 1000, "{said}");
    said
}

#[cfg(target_os = "linux")]
#[test]
fn files_that_exceed_the_memory_are_refused() {
    for n in [1u64 << 30, 1 << 40, (1 << 57) + 1, (1 << 62) + 1, 1 << 63, u64::MAX] {
        let place = repeating(n);
        for batch in [1, 128] {
            let arguments = format!("predict m.keras --input x.npy --output y.npy --batch-size {batch}");
            refused(&place, &arguments, "asks_much");
            assert!(!place.at("y.npy").exists());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn recipes_that_exceed_the_memory_are_refused() {
    for (layer, name) in [
        ("class_name = \"Dense\"\nunits = 1099511627776", "dense"),
        ("class_name = \"Dense\"\nunits = 9223372036854775807", "dense"),
        ("class_name = \"Dense\"\nunits = 500000000", "dense"),
    ] {
        let place = Place::new();
        let values = [1.0; 30];
        place.npz("xy.npz", &[("x", &[10, 3], &values), ("y", &[10], &values[..10])]);
        let recipe = format!(
            "[data]\ndataset = \"npz\"\npath = \"xy.npz\"\n[[layers]]\ninput_shape = [3]\n{layer}\n\
             [compile]\noptimizer = \"adam\"\nloss = \"sparse_categorical_crossentropy\"\n"
        );
        place.write("much.toml", recipe);
        let mut command = confined(&place, "train much.toml --out run --quiet");
        let said = Said::by(&mut command);
        assert_eq!(said.code, Some(1), "{}", said.stderr);
        assert!(said.stderr.contains(name) && !said.stderr.contains("panicked"), "{}", said.stderr);
    }
}

#[test]
fn the_memory_can_be_limited() {
    let place = repeating(1000);
    let predict = "predict m.keras --input x.npy --output y.npy --quiet";
    let said = place.fails(&format!("{predict} --memory-limit 1MB"));
    assert!(said.contains("`asks_much` (RepeatVector)") && said.contains("1000000 bytes (1.0 MB)"), "{said}");
    place.done(&format!("{predict} --memory-limit 64MiB"));
    let wrong = place.run(&format!("{predict} --memory-limit plenty"));
    assert!(wrong.code == Some(2) && wrong.stderr.contains("plenty"), "{}", wrong.stderr);
    assert!(fs::metadata(place.at("y.npy")).is_ok());
}
