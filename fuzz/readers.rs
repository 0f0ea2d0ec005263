//! Each reader on untrusted bytes: the result is a value or an error.
//!
//! The fuzz targets and `tests/files/corpus.rs` share these.

use std::path::{Path, PathBuf};

use brasa::Sequential;
use brasa::datasets::{Csv, Missing, NpyFile, Npz, Shards, load_csv, load_idx, load_image, load_npy, load_texts};
use brasa::formats::Limits;
use brasa::formats::keras::WeightsFile;
use brasa::formats::safetensors::SafetensorsFile;
use brasa::layers::{Dense, LayerArguments};
use brasa::recipe::Recipe;

/// Reads bytes as a file of its format.
pub type Reader = fn(&[u8]);

/// Every reader by name.
pub const READERS: &[(&str, Reader)] = &[
    ("archive", archive),
    ("legacy_h5", legacy_h5),
    ("weights_h5", weights_h5),
    ("json_config", json_config),
    ("safetensors", safetensors),
    ("idx", idx),
    ("npy", npy),
    ("npz", npz),
    ("shards", shards),
    ("csv", csv),
    ("parquet", parquet),
    ("image", image),
    ("recipe", recipe),
];

/// Writes the bytes to a file with this extension, for readers that open a path.
fn with_file(ending: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: Option<tempfile::TempDir> = tempfile::tempdir().ok();
    }
    FOLDER.with(|folder| {
        let Some(folder) = folder else { return };
        let path: PathBuf = folder.path().join(format!("input.{ending}"));
        if std::fs::write(&path, bytes).is_ok() {
            read(&path);
        }
    });
}

/// `.keras`: the archive, its JSON, its weights, and the model.
pub fn archive(bytes: &[u8]) {
    with_file("keras", bytes, |path| drop(Sequential::load(path)));
}

/// Keras's legacy `.h5`.
pub fn legacy_h5(bytes: &[u8]) {
    with_file("h5", bytes, |path| drop(Sequential::load(path)));
}

/// `.weights.h5`: its whole content, and loading into a model.
pub fn weights_h5(bytes: &[u8]) {
    if let Ok(file) = WeightsFile::from_bytes("input", bytes.to_vec(), &Limits::default()) {
        drop(file.read_everything());
    }
    let mut model = Sequential::new();
    if model.add(Dense::new(2).input_shape(2)).is_ok() {
        with_file("weights.h5", bytes, |path| drop(model.load_weights(path)));
    }
}

/// A model as JSON.
pub fn json_config(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(model) = Sequential::from_json(text)
    {
        drop(model.summary().to_string());
        drop(model.to_json());
    }
}

/// `.safetensors`: every tensor, and the model.
pub fn safetensors(bytes: &[u8]) {
    if let Ok(file) = SafetensorsFile::from_bytes("input", bytes.to_vec(), &Limits::default()) {
        for (name, shape) in file.tensors() {
            drop(file.read(name, shape));
        }
    }
    with_file("safetensors", bytes, |path| drop(Sequential::load(path)));
}

/// IDX, plain or gzipped.
pub fn idx(bytes: &[u8]) {
    with_file("idx", bytes, |path| drop(load_idx(path)));
}

/// `.npy`, at once and row by row.
pub fn npy(bytes: &[u8]) {
    with_file("npy", bytes, |path| {
        drop(load_npy(path));
        if let Ok(file) = NpyFile::open(path)
            && !file.is_empty()
        {
            let width: usize = file.sample_shape().iter().product();
            drop(file.gather(&[file.len() - 1, 0], &mut vec![0.0; 2 * width]));
        }
    });
}

/// `.npz`: every array.
pub fn npz(bytes: &[u8]) {
    with_file("npz", bytes, |path| {
        if let Ok(mut archive) = Npz::open(path) {
            for name in archive.names().to_vec() {
                drop(archive.read(&name));
            }
        }
    });
}

/// An archive of samples: with arrays and with texts as inputs, and as a stream.
pub fn shards(bytes: &[u8]) {
    with_file("tar", bytes, |path| {
        let Ok(shards) = Shards::open(path) else { return };
        drop(shards.clone().inputs(["npy"]).load());
        drop(shards.clone().inputs(["txt"]).targets(["json:label"]).load());
        if let Ok(batches) = shards.inputs(["npy"]).batch_size(2).batches(0, 1, 2) {
            batches.for_each(drop);
        }
    });
}

/// CSV with a detected header, with one, and without.
pub fn csv(bytes: &[u8]) {
    with_file("csv", bytes, |path| {
        drop(load_csv(path, None));
        drop(Csv::new().header(true).load(path));
        drop(Csv::new().header(false).load(path));
    });
}

/// A Parquet table: its columns, some of them as samples, and one as texts.
pub fn parquet(bytes: &[u8]) {
    with_file("parquet", bytes, |path| {
        drop(Csv::new().profile(path));
        drop(Csv::new().columns(["age", "ticket"]).missing(Missing::Mean).target("survived").load(path));
        drop(load_texts(path, Some("sex")));
    });
}

/// An image.
pub fn image(bytes: &[u8]) {
    with_file("png", bytes, |path| drop(load_image(path, (8, 8, 3))));
}

/// A recipe in TOML; its data are not loaded.
pub fn recipe(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(Recipe::parse("input.toml", text));
    }
}
