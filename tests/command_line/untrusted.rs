//! Untrusted names, numbers and consumers of output: none makes the program hang, mislead or lose a file.

use std::fs;
use std::process::Stdio;

use brasa::datasets::load_npy;
use brasa::prelude::*;

use crate::commands::thirds;
use crate::support::{Place, Said, result};

#[test]
fn numbers_on_the_command_line_have_bounds() {
    let place = thirds();
    for threads in ["100000", "18446744073709551615"] {
        let message = place.fails(&format!("train thirds.toml --out run --threads {threads}"));
        assert!(message.contains("expected at most ") && message.contains("`threads`"), "{message}");
    }
    for length in ["1001", "100000000", "18446744073709551615"] {
        let message = place.fails(&format!("summary thirds.toml --line-length {length}"));
        assert!(message.contains("at most 1000"), "{message}");
    }
    let message = place.fails(&format!("train thirds.toml --out run --set {}a=1", "a.".repeat(20_000)));
    assert!(message.contains("at most 64 keys") && message.len() < 2000, "{message}");
    assert!(!place.at("run").exists());
}

#[test]
fn predictions_are_written_in_batches_and_atomically() {
    let place = Place::new();
    let mut model = Sequential::new();
    model.add(Embedding::new(4, 2).input_shape(3)).unwrap().add(Flatten::default()).unwrap();
    model.save(place.at("m.keras")).unwrap();
    let mut x: Vec<f32> = (0..30).map(|index| (index % 4) as f32).collect();
    place.npz("x.npz", &[("x", &[10, 3], &x)]);
    place.done("predict m.keras --input x.npy --output y.npy --batch-size 4 --quiet");
    let y = load_npy(place.at("y.npy")).unwrap();
    let expected = model.predict(Samples::new([10, 3], x.clone()).unwrap()).unwrap();
    assert_eq!((y.shape(), y.to_vec_f32()), (&[10, 6][..], expected.into_iter().collect()));
    // An index outside the vocabulary, in the last batch: two batches are done by then.
    x[29] = 9.0;
    place.npz("x.npz", &[("x", &[10, 3], &x)]);
    let before = fs::read(place.at("y.npy")).unwrap();
    let message = place.fails("predict m.keras --input x.npy --output y.npy --batch-size 4 --quiet");
    assert!(message.contains('9'), "{message}");
    assert_eq!(fs::read(place.at("y.npy")).unwrap(), before, "the old file is whole");
    let left: Vec<_> = fs::read_dir(place.at(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("partial")), "{left:?}");
}

#[cfg(unix)]
#[test]
fn training_continues_when_its_output_is_closed() {
    let place = thirds();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command("train thirds.toml --out run");
    let status = command.stdout(Stdio::from(writer.try_clone().unwrap())).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
    place.done("train thirds.toml --out read --quiet");
    assert_eq!(result(&place.at("run")), result(&place.at("read")), "it has trained all the same");
    assert!(place.at("run/checkpoint/finished.json").exists());
    // Incomplete output is not a success, even if it is not read.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command("train missing.toml --out other");
    let status = command.stdout(Stdio::from(writer.try_clone().unwrap())).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn names_stay_on_their_line() {
    let place = Place::new();
    let mut model = Sequential::with_name("a\u{202e}b\u{9b}2J");
    model
        .add(Flatten::default().input_shape((2, 2, 1)))
        .unwrap()
        .add(Dense::new(2).name("c\u{200f}\u{2028}d"))
        .unwrap();
    model.save(place.at("m.keras")).unwrap();
    let said = place.done("summary m.keras");
    let json = place.done("summary m.keras --json");
    for text in [&said.stdout, &json.stdout] {
        assert!(!text.contains(['\u{202e}', '\u{9b}', '\u{200f}', '\u{2028}']), "{text:?}");
    }
    assert!(json.stdout.contains(r"a\u202eb\u009b2J") && json.stdout.contains(r"c\u200f\u2028d"), "{}", json.stdout);
    assert_eq!(json.json()["name"], "a\u{202e}b\u{9b}2J", "the same text for a program");
    if cfg!(unix) {
        let name = "x: 0 (100.00 %)\nb.png";
        image::GrayImage::from_pixel(2, 2, image::Luma([9])).save(place.at(name)).unwrap();
        let said = Said::by(place.command("predict m.keras").arg(name)).done();
        assert_eq!(said.stdout.lines().count(), 1, "{}", said.stdout);
        let missing = Said::by(place.command("summary").arg("no\ndone: all is well.keras")).failure(1);
        assert_eq!(missing.lines().count(), 1, "{missing}");
    }
}

#[test]
fn a_damaged_checkpoint_error_says_how_to_continue() {
    let place = thirds();
    place.done("train thirds.toml --out run --quiet --set fit.epochs=2");
    // As if the run had been interrupted before its end.
    fs::remove_file(place.at("run/checkpoint/finished.json")).unwrap();
    let checkpoint = place.at("run/checkpoint/last.ckpt");
    let whole = fs::read(&checkpoint).unwrap();
    fs::write(&checkpoint, &whole[..whole.len() / 2]).unwrap();
    let message = place.fails("train --resume --out run --quiet");
    assert!(
        message.contains("last.ckpt` is broken") && message.contains("delete it to start the run again"),
        "{message}"
    );
    // The previous checkpoint is used if the newest is damaged or missing.
    fs::write(place.at("run/checkpoint/last.ckpt.bkp"), &whole).unwrap();
    place.done("train --resume --out run --quiet");
    fs::remove_file(place.at("run/checkpoint/finished.json")).unwrap();
    fs::remove_file(&checkpoint).unwrap();
    let said = place.done("train --resume --out run --quiet");
    assert!(said.stderr.contains("is missing; the previous checkpoint is used"), "{}", said.stderr);
}

#[test]
fn a_run_resumes_with_its_own_data_only() {
    let place = thirds();
    place.done("train thirds.toml --out run --quiet --set fit.epochs=2");
    fs::remove_file(place.at("run/checkpoint/finished.json")).unwrap();
    let x: Vec<f32> = (0..120 * 81).map(|index| (index % 7) as f32 / 7.0).collect();
    let y: Vec<f32> = (0..120).map(|index| (index % 3) as f32).collect();
    place.npz("xy.npz", &[("x", &[120, 9, 9, 1], &x), ("y", &[120], &y)]);
    let message = place.fails("train --resume --out run --quiet");
    assert!(message.contains("the training data") && message.contains("--accept-changes"), "{message}");
    place.done("train --resume --out run --quiet --accept-changes");
}

#[cfg(target_os = "linux")]
#[test]
fn a_limit_on_the_size_of_files_is_an_error_with_a_message() {
    let place = Place::new();
    let mut model = Sequential::new();
    model.add(Dense::new(200).input_shape(200)).unwrap();
    model.save(place.at("m.keras")).unwrap();
    place.write("m.h5", "what was there");
    let program = env!("CARGO_BIN_EXE_brasa");
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -f 16; exec '{program}' convert m.keras m.h5")).current_dir(place.at("."));
    let message = Said::by(&mut shell).failure(1);
    assert!(message.contains("cannot write `m.h5`: File too large"), "{message}");
    assert_eq!(place.read("m.h5"), "what was there");
}

#[test]
fn csv_columns_are_not_formulas() {
    let place = thirds();
    place.write(
        "own.toml",
        place.read("thirds.toml").replace(
            "metrics = [\"accuracy\"]",
            "metrics = [{ class_name = \"SparseCategoricalAccuracy\", name = \"=1+1\" }]",
        ),
    );
    place.done("train own.toml --out run --quiet");
    let history = place.read("run/history.csv");
    assert!(history.starts_with("epoch,'=1+1,loss,val_=1+1,val_loss\n"), "{history}");
    let page = place.read("run/report.html");
    assert!(page.contains("=1+1") && !page.contains("'=1+1"), "read back, the name is what it was");
}
