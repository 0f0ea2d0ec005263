//! Every file reader on thousands of damaged files: a result or an error, never a panic or an endless loop.
//!
//! The readers are those of the fuzz targets (`fuzz/`); the damage is seeded: each run tries the same files.
//! `BRASA_FUZZ_ROUNDS` sets the number of rounds per seed file. Findings of the fuzz targets are in
//! `tests/fixtures/fuzz`, in a folder per reader, and are read again.

use std::io::Write;
use std::panic::catch_unwind;
use std::path::Path;

use brasa::model::Contents;
use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

#[path = "../../fuzz/readers.rs"]
mod readers;

fn rounds(usual: usize) -> usize {
    std::env::var("BRASA_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(usual)
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new("tests/fixtures").join(name)).unwrap()
}

/// A small compiled model with several kinds of layers, in some file format.
fn model_file(ending: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("model.{ending}"));
    let mut inner = Sequential::new();
    inner.add(Dense::new(2)).unwrap().add(BatchNormalization::new()).unwrap();
    let mut model = Sequential::new();
    model.add(Embedding::new(4, 3).input_shape(5)).unwrap();
    model.add(Bidirectional::new(GRU::new(2))).unwrap();
    model.add(inner).unwrap().add(Dense::new(2).activation("softmax")).unwrap();
    model.compile(Compile::new(Adam::new(0.01), "mse").metrics(["accuracy"])).unwrap();
    model.train_on_batch(ArrayD::<f32>::zeros(vec![1, 5]), ArrayD::<f32>::zeros(vec![1, 2])).unwrap();
    if ending == "weights.h5" {
        model.save_weights(&path).unwrap()
    } else {
        model.save(&path).unwrap()
    }
    std::fs::read(path).unwrap()
}

/// One model config per layer class.
fn configs() -> Vec<Vec<u8>> {
    let examples = brasa::layers::built_in().iter().flat_map(|entry| entry.examples().into_iter().take(1));
    let described = examples.filter_map(|example| {
        let mut model = Sequential::new();
        model.add(Input::new(example.input.sample().to_vec())).ok()?;
        if example.layer.class_name() != "InputLayer" {
            model.add(example.layer).ok()?;
        }
        Some(model.to_json().ok()?.into_bytes())
    });
    described.collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn images() -> Vec<Vec<u8>> {
    use image::ImageFormat::{Bmp, Gif, Jpeg, Png, WebP};
    let image = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([x as u8 * 20, y as u8 * 30, 7]));
    let encode = |format| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    };
    [Png, Jpeg, Bmp, Gif, WebP].map(encode).into()
}

/// Valid seed files for a reader.
fn seeds(reader: &str) -> Vec<Vec<u8>> {
    let idx = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2][..], &[7; 8]].concat();
    match reader {
        "archive" => vec![model_file("keras")],
        "legacy_h5" => vec![model_file("h5"), fixture("models/02_mlp_sgd.h5"), fixture("functional/chain.h5")],
        "weights_h5" => vec![model_file("weights.h5"), fixture("keras/odd/dtypes.weights.h5")],
        "json_config" => {
            let mut configs = configs();
            configs.push(model_file("json"));
            configs.push(fixture("keras2/reference.json"));
            configs
        }
        "safetensors" => vec![model_file("safetensors")],
        "idx" => vec![gzip(&idx), idx],
        "npy" => vec![fixture("data/big_endian_i2.npy"), fixture("data/fortran_f8.npy")],
        "npz" => vec![fixture("data/xy.npz"), fixture("data/keras_names.npz")],
        "shards" => vec![fixture("data/samples.tar")],
        "csv" => vec![b"a,b,label\n1,2.5,0\n-1e3,\"4\",1\n".to_vec()],
        "parquet" => ["people", "people_v2", "people_plain", "people_delta"]
            .map(|name| fixture(&format!("data/{name}.parquet")))
            .into(),
        "image" => images(),
        "recipe" => ["mnist_cnn", "mnist_mlp", "smoke"]
            .map(|name| std::fs::read(format!("configs/{name}.toml")).unwrap())
            .into(),
        other => panic!("no seed file for the reader `{other}`"),
    }
}

/// Files on which a reader once failed.
fn found(reader: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new("tests/fixtures/fuzz").join(reader);
    let Ok(files) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = files.map(|file| file.unwrap().path());
    paths.map(|path| (path.display().to_string(), std::fs::read(&path).unwrap())).collect()
}

/// Numbers that often break parsers.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "2",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e30",
    "-0.0",
    "1e-46",
    "0.5",
    "null",
    "[]",
];

/// Words with a meaning in some format.
const WORDS: [&str; 16] = [
    "\"Lambda\"",
    "\"__lambda__\"",
    "\"Sequential\"",
    "\"Functional\"",
    "\"TimeDistributed\"",
    "\"same\"",
    "\"causal\"",
    "\"channels_first\"",
    "true",
    "false",
    "{}",
    "[null]",
    "[0]",
    "\"\"",
    "\"../x\"",
    "\"relu\"",
];

/// A text with some of its numbers, words and parts replaced, moved or removed.
fn damage_text(rng: &mut ChaCha8Rng, text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..=rng.random_range(0..3u32) {
        if text.is_empty() {
            return text;
        }
        let at = rng.random_range(0..text.len());
        // A token: up to the next separator.
        let end = |from: usize, text: &[u8]| {
            let signs = b",:[]{}=\n";
            text[from..].iter().position(|byte| signs.contains(byte)).map_or(text.len(), |length| from + length)
        };
        let start = end(at, &text);
        let start = (start + 1).min(text.len());
        let stop = end(start, &text);
        match rng.random_range(0..6u32) {
            0 | 1 => drop(text.splice(start..stop, NUMBERS[rng.random_range(0..NUMBERS.len())].bytes())),
            2 => drop(text.splice(start..stop, WORDS[rng.random_range(0..WORDS.len())].bytes())),
            3 => drop(text.drain(start..stop)),
            4 => {
                let part = text[start..stop].to_vec();
                let place = end(rng.random_range(0..text.len()), &text);
                drop(text.splice(place..place, part));
            }
            _ => text[at] = rng.random_range(0..128u32) as u8,
        }
    }
    text
}

/// Bytes with some of them changed, truncated, duplicated or overwritten by false numbers.
fn damage_bytes(rng: &mut ChaCha8Rng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=rng.random_range(0..6u32) {
        if bytes.is_empty() {
            return bytes;
        }
        // Headers are at the ends.
        let at = match rng.random_range(0..3u32) {
            0 => rng.random_range(0..bytes.len().min(256)),
            1 => bytes.len() - 1 - rng.random_range(0..bytes.len().min(256)),
            _ => rng.random_range(0..bytes.len()),
        };
        match rng.random_range(0..8u32) {
            0..=2 => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, rng.random_range(0..256u32) as u8][rng.random_range(0..6usize)]
            }
            3 => bytes[at] ^= 1 << rng.random_range(0..8u32),
            4 => {
                let number = [0u64, 1, u64::MAX, i64::MAX as u64, 1 << 31, 1 << 40][rng.random_range(0..6usize)];
                let width = [2, 4, 8][rng.random_range(0..3usize)];
                let stop = (at + width).min(bytes.len());
                let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
                let source = if rng.random_range(0..2u32) == 0 { &little[..] } else { &big[8 - width..] };
                bytes[at..stop].copy_from_slice(&source[..stop - at]);
            }
            5 => bytes.truncate(at),
            6 => {
                let stop = (at + rng.random_range(1..64usize)).min(bytes.len());
                let part = bytes[at..stop].to_vec();
                drop(bytes.splice(at..at, part));
            }
            _ => {
                let stop = (at + rng.random_range(1..64usize)).min(bytes.len());
                drop(bytes.drain(at..stop));
            }
        }
    }
    bytes
}

/// Runs a reader on damaged files and reports the seeds on which it panics.
fn attack(reader: &str, rounds: usize) {
    let read = readers::READERS.iter().find(|(name, _)| *name == reader).unwrap().1;
    let seeds = seeds(reader);
    let is_text = seeds.iter().all(|seed| std::str::from_utf8(seed).is_ok());
    let mut panics = Vec::new();
    for (path, bytes) in found(reader) {
        if catch_unwind(|| read(&bytes)).is_err() {
            panics.push(path);
        }
    }
    for (number, seed) in seeds.iter().enumerate() {
        read(seed);
        for round in 0..rounds / seeds.len().min(rounds) {
            let mut rng = ChaCha8Rng::seed_from_u64((number as u64) << 32 | round as u64);
            let damaged = if is_text { damage_text(&mut rng, seed) } else { damage_bytes(&mut rng, seed) };
            if catch_unwind(|| read(&damaged)).is_err() {
                let shown = if is_text { String::from_utf8_lossy(&damaged).into_owned() } else { String::new() };
                panics.push(format!("seed file {number}, round {round}: {shown}"));
            }
        }
    }
    assert!(panics.is_empty(), "{} panics of `{reader}`:\n{}", panics.len(), panics.join("\n"));
}

/// One test per reader.
macro_rules! attacks {
    ($($reader:ident: $rounds:literal),* $(,)?) => {
        $(
            #[test]
            fn $reader() {
                attack(stringify!($reader), rounds($rounds));
            }
        )*

        #[test]
        fn every_reader_is_attacked() {
            let attacked = [$(stringify!($reader)),*];
            let all: Vec<&str> = readers::READERS.iter().map(|(name, _)| *name).collect();
            assert_eq!(attacked[..], all[..]);
        }
    };
}

attacks! {
    archive: 1500, legacy_h5: 1500, weights_h5: 2000, json_config: 8000, safetensors: 3000, idx: 3000, npy: 3000,
    npz: 2000, shards: 1000, csv: 1000, parquet: 2000, image: 2000, recipe: 3000,
}

/// The seed files are valid: the readers above do read their contents.
#[test]
fn the_seed_files_are_valid() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ["keras", "h5", "safetensors", "json"] {
        let path = folder.path().join(format!("whole.{ending}"));
        std::fs::write(&path, model_file(ending)).unwrap();
        assert!(matches!(Contents::of(&path), Ok(Contents::Model(_))), "{ending}");
        assert!(Sequential::load(&path).is_ok(), "{ending}");
    }
    assert!(configs().len() > 60);
}

/// Writes the seed files to the corpus of the fuzz targets: `cargo test --test files seeds_for -- --ignored`.
#[test]
#[ignore = "writes files, into fuzz/corpus"]
fn seeds_for_the_fuzz_targets() {
    for (reader, _) in readers::READERS {
        let folder = Path::new("fuzz/corpus").join(reader);
        std::fs::create_dir_all(&folder).unwrap();
        for (number, seed) in seeds(reader).into_iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{number:03}")), seed).unwrap();
        }
    }
}
