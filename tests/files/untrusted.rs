//! Files of a few kilobytes that request gigabytes or minutes are rejected early.

use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use brasa::datasets::{ImageFolder, Source, load_idx, load_image, load_image_with, load_npy, load_npz};
use brasa::formats::Limits;
use brasa::formats::keras::KerasFile;
use brasa::layers::Layer;
use brasa::model::Contents;
use brasa::prelude::*;
use brasa::recipe::Document;
use brasa::{Error, Result};
use hdf5_pure::{AttrValue, FileBuilder};
use serde_json::{Value as Json, json};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

fn layer(class: &str, mut config: Json) -> Json {
    let name = class.to_lowercase();
    config.as_object_mut().unwrap().entry("name").or_insert(json!(name));
    json!({"module": "keras.layers", "class_name": class, "config": config, "registered_name": null})
}

fn sequential(layers: Vec<Json>) -> Json {
    let input = layer("InputLayer", json!({"batch_shape": [null, 3], "name": "in"}));
    let layers: Vec<Json> = std::iter::once(input).chain(layers).collect();
    json!({"module": "keras", "class_name": "Sequential", "config": {"name": "s", "layers": layers}, "registered_name": null})
}

fn dense() -> Json {
    layer("Dense", json!({"units": 2}))
}

/// The error for a model's JSON: a message of a few lines.
#[track_caller]
fn refused(model: &str) -> String {
    short(Sequential::from_json(model).map(|_| ()).unwrap_err())
}

/// A model of one layer, which has the input shape.
fn first(layer: Json) -> Json {
    json!({"class_name": "Sequential", "config": {"name": "s", "layers": [layer]}})
}

#[track_caller]
fn short(error: Error) -> String {
    let text = error.to_string();
    assert!(text.chars().count() <= 1_700, "{} characters: {text}", text.chars().count());
    text
}

fn archive(path: &Path, members: &[(&str, &[u8])]) {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let deflated = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in members {
        zip.start_file(*name, deflated).unwrap();
        zip.write_all(content).unwrap();
    }
    std::fs::write(path, zip.finish().unwrap().into_inner()).unwrap();
}

/// Valid JSON text of some megabytes that would be a hundred times larger in memory.
fn tree(megabytes: usize) -> String {
    let unit = format!("{}{},", "[".repeat(100), "]".repeat(100));
    format!("[{}0]", unit.repeat((megabytes << 20) / unit.len()))
}

#[test]
fn values_are_counted_in_every_text_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (tree, model) = (tree(2), sequential(vec![dense()]).to_string());
    let weights = Sequential::from_json(&model).unwrap();
    weights.save_weights(at("w.weights.h5")).unwrap();
    let weights = std::fs::read(at("w.weights.h5")).unwrap();
    let mut paths = vec![at("metadata.keras"), at("config.keras"), at("m.json"), at("header.safetensors")];
    let metadata = json!({"keras_version": "3.15.1"}).to_string();
    for (path, metadata, config) in [(&paths[0], &tree, &model), (&paths[1], &metadata, &tree)] {
        let members =
            [("metadata.json", metadata), ("config.json", config)].map(|(name, text)| (name, text.as_bytes()));
        archive(path, &[&members[..], &[("model.weights.h5", &weights)]].concat());
    }
    std::fs::write(&paths[2], &tree).unwrap();
    let header = format!("{{\"a\":{tree}}}");
    std::fs::write(&paths[3], [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    let inner = json!({"__metadata__": {"config": &tree}}).to_string();
    paths.push(at("inner.safetensors"));
    std::fs::write(&paths[4], [&(inner.len() as u64).to_le_bytes()[..], inner.as_bytes()].concat()).unwrap();
    for path in paths {
        let error = short(Contents::of(&path).map(|_| ()).unwrap_err());
        assert!(error.contains("`Limits::values`"), "{}: {error}", path.display());
    }
    assert!(refused(&tree).contains("`Limits::values`"));
    // Objects cost more, as they take more memory.
    assert!(refused(&format!("[{}0]", "{},".repeat(110_000))).contains("`Limits::values`"));
    // A list within the limit is shown in one line.
    let list = vec![1; 100_000];
    let text = refused(&sequential(vec![layer("Dense", json!({"units": list}))]).to_string());
    assert!(text.contains("received [1,1,1,"), "{text}");
}

#[test]
fn the_limit_of_values_can_be_raised() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.json");
    let boundaries: Vec<f32> = (0..250_000).map(|i| i as f32).collect();
    let model = sequential(vec![layer("Discretization", json!({"bin_boundaries": boundaries}))]);
    std::fs::write(&path, model.to_string()).unwrap();
    assert!(short(Model::load(&path).map(|_| ()).unwrap_err()).contains("`Limits::values`"));
    let limits = Limits { values: 300_000, ..Limits::default() };
    assert_eq!(Model::load_with(&path, None, &limits).unwrap().layers().len(), 1);
}

#[test]
fn messages_are_short_for_any_file() {
    let long = "n".repeat(2_000_000);
    for model in [
        sequential(vec![layer("Dense", json!({"units": 2, "name": long}))]),
        sequential(vec![layer("Dense", json!({"units": 2, "activation": long}))]),
        sequential(vec![layer("Dense", json!({"units": 2, "dtype": long}))]),
        sequential(vec![layer("Dense", json!({"units": 2, "kernel_initializer": long}))]),
        sequential(vec![layer("Dense", json!({"units": long}))]),
        sequential(vec![layer("Dense", json!({"units": 2, &long: 1}))]),
        sequential(vec![layer(&long, json!({}))]),
        // The shape of a first layer; that of another one is ignored.
        first(layer("Dense", json!({"units": 2, "input_shape": vec![1; 100_000]}))),
        first(layer("Dense", json!({"units": 2, "batch_shape": vec![1; 100_000]}))),
        sequential(vec![layer("Reshape", json!({"target_shape": vec![1; 100_000]}))]),
        json!({"class_name": long, "config": {}}),
        json!({"class_name": "Sequential", "config": {"name": long, "layers": []}}),
        json!({"class_name": "Sequential", "config": {"name": "s", "layers": long}}),
    ] {
        refused(&model.to_string());
    }
    let unknown = refused(&sequential(vec![layer("Dens", json!({"units": 2}))]).to_string());
    assert!(
        unknown.contains("`Dens`") && unknown.contains("Dense, ") && unknown.contains("`brasa::layers`"),
        "{unknown}"
    );
}

/// A layer nested `depth` times in layers of a class.
fn nested(class: &str, depth: usize, inner: Json) -> Json {
    (0..depth).fold(inner, |inner, _| layer(class, json!({"layer": inner})))
}

#[test]
fn work_does_not_double_with_each_level_of_nested_layers() {
    let recurrent = || layer("LSTM", json!({"units": 2, "return_sequences": true}));
    let error = refused(&sequential(vec![nested("Bidirectional", 40, recurrent())]).to_string());
    assert!(error.contains("expected a recurrent layer, received Bidirectional"), "{error}");
    // Loaded and saved again.
    let mut model = Sequential::new();
    let mut inner: Box<dyn Layer> = Dense::new(2).into();
    for _ in 0..40 {
        inner = TimeDistributed::new(inner).into();
    }
    let config = json!({"class_name": "TimeDistributed", "config": inner.full_config().unwrap()});
    assert!(config.to_string().matches("TimeDistributed").count() >= 40);
    assert!(model.add(inner).is_ok(), "without an input shape, all is well");
    let spectral = nested("SpectralNormalization", 40, dense());
    let error = refused(&sequential(vec![spectral]).to_string());
    assert!(error.contains("SpectralNormalization"), "{error}");
    let mut chain = sequential(vec![dense()]);
    for _ in 0..40 {
        chain["config"]["layers"] = json!([chain["config"]["layers"][0], chain]);
    }
    let model = Sequential::from_json(&chain.to_string());
    assert!(model.is_ok_and(|model| model.to_json().is_ok_and(|text| text.matches("\"Sequential\"").count() == 41)));
}

#[test]
fn thousands_of_layers_are_added_and_more_are_refused() {
    let named = |count: usize| {
        let layers = (0..count).map(|i| layer("Flatten", json!({"name": format!("f{i}")})));
        sequential(layers.collect()).to_string()
    };
    assert_eq!(Sequential::from_json(&named(3_000)).unwrap().layers().len(), 3_000);
    assert!(refused(&named(5_001)).contains("`Limits::layers`"));
    let recipe = "[[layers]]\nclass_name = \"Flatten\"\n".repeat(5_001);
    let document =
        Document::parse("r.toml", recipe + "[compile]\nloss = \"mse\"\n[data]\ndataset = \"mnist\"\n").unwrap();
    let error = short(brasa::recipe::Recipe::from_document(&document).unwrap_err());
    assert!(error.contains("at most 5000"), "{error}");
    let mut model = sequential(vec![dense()]);
    model["compile_config"] = json!({"optimizer": "adam", "loss": "mse", "metrics": vec!["mae"; 40_000]});
    assert!(!Sequential::from_json(&model.to_string()).unwrap().is_compiled(), "too many metrics");
}

/// An archive of a model whose weights are in an HDF5 file constructed here.
fn keras(path: &Path, layers: usize, side: usize, weights: &[u8]) {
    let layers: Vec<Json> = (0..layers)
        .map(|i| layer("Dense", json!({"units": side, "use_bias": false, "name": format!("d{i}")})))
        .collect();
    let mut model = sequential(layers);
    model["config"]["layers"][0]["config"]["batch_shape"] = json!([null, side]);
    let metadata = json!({"keras_version": "3.15.1"}).to_string();
    let config = model.to_string();
    archive(
        path,
        &[("metadata.json", metadata.as_bytes()), ("config.json", config.as_bytes()), ("model.weights.h5", weights)],
    );
}

#[test]
fn expansion_is_limited_for_the_whole_file() {
    const LAYERS: usize = 12;
    const SIDE: usize = 1024;
    let folder = tempfile::tempdir().unwrap();
    let mut file = FileBuilder::new();
    let mut groups = file.create_group("layers");
    for index in 0..LAYERS {
        let name = if index == 0 { "dense".to_owned() } else { format!("dense_{index}") };
        let mut dense = groups.create_group(&name);
        let mut vars = dense.create_group("vars");
        let zeros = vec![0.0f32; SIDE * SIDE];
        let dataset = vars.create_dataset("0");
        dataset.with_f32_data(&zeros).with_shape(&[SIDE as u64, SIDE as u64]);
        dataset.with_chunks(&[SIDE as u64, SIDE as u64]).with_deflate(9);
        dense.add_group(vars.finish());
        groups.add_group(dense.finish());
    }
    file.add_group(groups.finish());
    let weights = file.finish().unwrap();
    assert!(weights.len() < 400_000, "{}", weights.len());
    let path = folder.path().join("m.keras");
    keras(&path, LAYERS, SIDE, &weights);
    // Each is below the free 16 MiB, together they are not: the archive has only a few kilobytes.
    let error = short(Model::load(&path).map(|_| ()).unwrap_err());
    assert!(error.contains("claim to become"), "{error}");
    let limits = Limits { expansion: 100_000, ..Limits::default() };
    assert!(Model::load_with(&path, None, &limits).is_ok(), "whoever trusts it can");
}

#[test]
fn repeated_names_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.h5");
    let build = |layers: Vec<String>, weights: Vec<String>| {
        let mut file = FileBuilder::new();
        file.set_attr("layer_names", AttrValue::VarLenStringArray(layers));
        let mut group = file.create_group("d");
        group.set_attr("weight_names", AttrValue::VarLenStringArray(weights));
        group.create_dataset("w").with_f32_data(&[0.0]).with_shape(&[1]);
        file.add_group(group.finish());
        std::fs::write(&path, file.finish().unwrap()).unwrap();
        Contents::of(&path).map(|_| ())
    };
    let text = |text: &str| vec![text.to_owned()];
    build(text("d"), text("w")).unwrap();
    let error = short(build(text("d"), vec!["w".to_owned(); 3000]).unwrap_err());
    assert!(error.contains("two weights are called `w`"), "{error}");
    let error = short(build(text("d"), text(&"w".repeat(2000))).unwrap_err());
    assert!(error.contains("a name of 2000 bytes"), "{error}");
    let many = (0..3500).map(|i| format!("layer{i}")).collect();
    let limits = Limits { layers: 3000, ..Limits::default() };
    build(many, text("w")).unwrap_err();
    let error = short(Contents::of_with(&path, &limits).map(|_| ()).unwrap_err());
    assert!(error.contains("`Limits::layers`"), "{error}");
}

#[test]
fn an_archive_of_many_members_is_refused_before_they_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.keras");
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for index in 0..12_000 {
        zip.start_file(format!("{index}{}", "x".repeat(300)), plain).unwrap();
    }
    std::fs::write(&path, zip.finish().unwrap().into_inner()).unwrap();
    let limits = Limits { members: 100, ..Limits::default() };
    let error = short(KerasFile::open(&path, &limits).map(|_| ()).unwrap_err());
    assert!(error.contains("up to 100 members (`Limits::members`)"), "{error}");
    let error = short(KerasFile::open(&path, &Limits::default()).map(|_| ()).unwrap_err());
    assert!(error.contains("`Limits::members`"), "{error}");
}

/// A PNG with one bit per pixel, all black.
fn black_png(path: &Path, side: u32) {
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        let mut crc = flate2::Crc::new();
        crc.update(&body);
        [&(data.len() as u32).to_be_bytes()[..], &body, &crc.sum().to_be_bytes()].concat()
    };
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let row = vec![0; 1 + side.div_ceil(8) as usize];
    (0..side).for_each(|_| packed.write_all(&row).unwrap());
    let header = [&side.to_be_bytes()[..], &side.to_be_bytes(), &[1, 0, 0, 0, 0]].concat();
    let chunks = [chunk(b"IHDR", &header), chunk(b"IDAT", &packed.finish().unwrap()), chunk(b"IEND", &[])];
    std::fs::write(path, [&b"\x89PNG\r\n\x1a\n"[..], &chunks.concat()].concat()).unwrap();
}

#[test]
fn the_pixels_of_an_image_are_counted_before_decoding() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("class")).unwrap();
    let path = folder.path().join("class/p.png");
    black_png(&path, 16_384);
    let error = short(load_image(&path, (2, 2, 3)).unwrap_err());
    assert!(error.contains("268435456 pixels") && error.contains("`Limits::pixels`"), "{error}");
    black_png(&path, 100);
    let limits = Limits { pixels: 9_999, ..Limits::default() };
    assert!(matches!(load_image_with(&path, (2, 2, 1), &limits), Err(Error::Unsupported { .. })));
    let images = ImageFolder::open(folder.path(), (2, 2, 1)).unwrap();
    images.read(&[0], &mut [1.0; 4], &mut [0.0]).unwrap();
    assert!(images.limits(&limits).read(&[0], &mut [1.0; 4], &mut [0.0]).is_err());
}

/// The result of each reader for a path.
fn readers(path: &Path) -> Vec<(&'static str, Result<()>)> {
    let named = |ending: &str| -> PathBuf {
        let link = path.with_extension(ending);
        #[cfg(unix)]
        std::os::unix::fs::symlink(path, &link).unwrap();
        link
    };
    let mut model = Sequential::new();
    model.add(Dense::new(1).input_shape(1)).unwrap();
    let mut all: Vec<_> = ["keras", "h5", "weights.h5", "safetensors", "json"]
        .map(|ending| (ending, Contents::of(named(ending)).map(|_| ())))
        .into();
    all.push(("weights", model.load_weights(named("2.h5"))));
    all.push(("toml", Document::read(named("toml")).map(|_| ())));
    all.push(("npy", load_npy(named("npy")).map(|_| ())));
    all.push(("npz", load_npz(named("npz")).map(|_| ())));
    all.push(("idx", load_idx(named("idx")).map(|_| ())));
    all.push(("csv", brasa::datasets::load_csv(named("csv"), None).map(|_| ())));
    all.push(("png", load_image(named("png"), (2, 2, 1)).map(|_| ())));
    #[cfg(feature = "report")]
    all.push(("curves", brasa::report::Curves::read(named("log.csv")).map(|_| ())));
    all
}

#[cfg(unix)]
#[test]
fn every_reader_refuses_irregular_files() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let zero = folder.path().join("zero");
    std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
    for path in [pipe, zero] {
        for (reader, read) in readers(&path) {
            let error = read.unwrap_err().to_string();
            assert!(error.contains("it is not a regular file"), "{reader} {}: {error}", path.display());
        }
    }
}
