//! Damaged and malicious files cause an error: never a panic, never an allocation whose size the file controls.

use std::io::{self, Cursor, Seek, SeekFrom, Write};
use std::path::Path;

use brasa::formats::atomic::write_atomically;
use brasa::formats::keras::{
    self, KerasFile, LegacyFile, Opened, WeightTree, WeightsFile, write_keras, write_keras_to,
};
use brasa::formats::safetensors::write_safetensors_to;
use brasa::formats::{Array, Elements, Limits};
use brasa::{Error, Result};
use hdf5_pure::{AttrValue, FileBuilder};
use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::support::fixture;

fn limits() -> Limits {
    Limits::default()
}

fn is_broken<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Broken { .. }))
}

fn is_unsupported<T>(result: &Result<T>) -> bool {
    matches!(result, Err(Error::Unsupported { .. }))
}

/// All steps of reading a file: open, list, and read every weight.
fn read_whole(path: &Path) -> Result<usize> {
    match keras::open(path, &limits())? {
        Opened::Keras(mut file) => Ok(file.weights()?.read_everything()?.iter().count()),
        Opened::Weights(file) => Ok(file.read_everything()?.iter().count()),
        Opened::Legacy(file) => read_layers(&file),
        _ => unreachable!("there are three kinds"),
    }
}

fn read_layers(file: &LegacyFile) -> Result<usize> {
    let shapes =
        |weights: &[keras::LegacyWeight]| weights.iter().map(|weight| weight.shape.clone()).collect::<Vec<_>>();
    for layer in file.layers() {
        file.read(&layer.name, &shapes(&layer.weights))?;
    }
    file.read_optimizer(&shapes(file.optimizer()))?;
    Ok(file.layers().len())
}

/// An archive of the given members, with the weights of a real one unless others are given.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in members {
        zip.start_file(*name, plain).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn weights_member() -> Vec<u8> {
    std::fs::read(fixture("02_mlp_sgd.weights.h5")).unwrap()
}

/// Reads the bytes as a `.keras` file with its weights.
fn read_archive(bytes: &[u8], limits: &Limits) -> Result<usize> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    std::fs::write(&path, bytes).unwrap();
    Ok(KerasFile::open(&path, limits)?.weights()?.read_everything()?.iter().count())
}

#[test]
fn a_truncated_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["02_mlp_sgd.keras", "02_mlp_sgd.h5", "02_mlp_sgd.weights.h5"] {
        let whole = std::fs::read(fixture(name)).unwrap();
        let path = folder.path().join(name);
        for part in 0..20 {
            std::fs::write(&path, &whole[..whole.len() * part / 20]).unwrap();
            let result = read_whole(&path);
            assert!(is_broken(&result), "{name} cut at {part}/20: {result:?}");
        }
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let result = read_whole(&path);
        assert!(matches!(&result, Err(Error::Broken { at, .. }) if !at.is_empty()), "{name} without its last byte");
    }
}

/// A small reproducible random number generator (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

#[test]
fn changed_bytes_never_panic() {
    let rounds = std::env::var("BRASA_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(300);
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut refused = 0;
    let names = ["02_mlp_sgd.weights.h5", "odd/dtypes.weights.h5", "odd/storage.weights.h5", "02_mlp_sgd.h5", "ours"];
    for name in names {
        let whole = if name == "ours" { our_weights() } else { std::fs::read(fixture(name)).unwrap() };
        for _ in 0..rounds {
            let mut bytes = whole.clone();
            for _ in 0..=numbers.below(8) {
                let at = numbers.below(bytes.len());
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff, numbers.below(256) as u8][numbers.below(6)];
            }
            let result = if name == "02_mlp_sgd.h5" {
                LegacyFile::from_bytes(name, bytes, &limits()).and_then(|file| read_layers(&file))
            } else {
                WeightsFile::from_bytes(name, bytes, &limits())
                    .and_then(|file| file.read_everything())
                    .map(|tree| tree.iter().count())
            };
            refused += usize::from(result.is_err());
        }
    }
    // Most bytes of a file are numbers, where any value is valid; the others must have been detected.
    assert!(refused > rounds / 10, "{refused} of {} were refused", names.len() * rounds);
}

#[test]
fn changed_bytes_of_an_archive_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    write_keras(&path, &json!({}), &json!({"class_name": "Sequential", "config": {"layers": []}}), &small_tree())
        .unwrap();
    let whole = std::fs::read(&path).unwrap();
    // Most of the archive is the weights member; parsing is about the headers before and after it.
    let headers = [0..250, whole.len() - 350..whole.len()];
    let mut numbers = Numbers(0x0123_4567_89ab_cdef);
    let mut refused = 0;
    for _ in 0..600 {
        let mut bytes = whole.clone();
        for _ in 0..=numbers.below(3) {
            let header = &headers[numbers.below(2)];
            bytes[header.start + numbers.below(header.len())] = numbers.below(256) as u8;
        }
        std::fs::write(&path, &bytes).unwrap();
        refused += usize::from(read_whole(&path).is_err());
    }
    assert!(refused > 300, "{refused} of 600 were refused");
}

#[test]
fn a_chunk_that_claims_four_gibibytes_is_refused() {
    let mut bytes = std::fs::read(fixture("odd/dtypes.weights.h5")).unwrap();
    // The index of the chunks is a tree whose nodes begin with "TREE", type 1; the first chunk's size is at byte 24.
    let nodes: Vec<_> = (0..bytes.len() - 28).filter(|&at| bytes[at..].starts_with(b"TREE\x01")).collect();
    assert_eq!(nodes.len(), 2, "one for each chunked dataset");
    nodes.into_iter().for_each(|at| bytes[at + 24..at + 28].copy_from_slice(&u32::MAX.to_le_bytes()));
    let file = WeightsFile::from_bytes("changed.weights.h5", bytes, &limits()).unwrap();
    let result = file.read("layers/packed", &[vec![50, 60], vec![50, 60]]);
    let Err(Error::Broken { reason, .. }) = &result else { panic!("{result:?}") };
    assert!(reason.contains("beyond the end of the file"), "{reason}");
}

/// A small file as written by Brasa.
fn our_weights() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ours.weights.h5");
    keras::write_weights_h5(&path, &small_tree()).unwrap();
    std::fs::read(&path).unwrap()
}

fn small_tree() -> WeightTree {
    let mut tree = WeightTree::new();
    tree.insert("", "sequential", Vec::new()).unwrap();
    tree.insert("layers/dense", "dense", vec![Array::new([2, 2], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap()]).unwrap();
    tree.insert("optimizer", "sgd", vec![Array::new([], vec![3i32]).unwrap()]).unwrap();
    tree
}

#[test]
fn a_changed_byte_in_an_archive_is_noticed() {
    let whole = std::fs::read(fixture("02_mlp_sgd.keras")).unwrap();
    let entry = {
        let mut zip = ZipArchive::new(Cursor::new(&whole)).unwrap();
        let file = zip.by_name("model.weights.h5").unwrap();
        (file.data_start().unwrap() as usize, file.size() as usize)
    };
    let mut numbers = Numbers(7);
    for _ in 0..100 {
        let mut bytes = whole.clone();
        bytes[entry.0 + numbers.below(entry.1)] ^= 1 << numbers.below(8);
        assert!(is_broken(&read_archive(&bytes, &limits())), "the checksum of the member covers every bit");
    }
}

#[test]
fn a_missing_member_is_named() {
    let weights = weights_member();
    for members in [
        &[("config.json", &b"{}"[..])][..],
        &[("model.weights.h5", &weights)],
        &[("nothing", b"")],
        &[("config.json", b"{"), ("model.weights.h5", &weights)],
        &[("config.json", b"{}"), ("model.weights.h5", b"no HDF5")],
        &[("config.json", b"{}"), ("metadata.json", b"\xff"), ("model.weights.h5", &weights)],
    ] {
        let result = read_archive(&archive(members), &limits());
        assert!(is_broken(&result), "{result:?}");
    }
    let other = archive(&[("config.json", b"{}"), ("model.weights.npz", b"PK")]);
    assert!(is_unsupported(&read_archive(&other, &limits())));
    assert!(read_archive(&archive(&[("config.json", b"{}"), ("model.weights.h5", &weights)]), &limits()).is_ok());
}

#[test]
fn names_outside_the_archive_are_refused() {
    let weights = weights_member();
    for name in
        ["../evil.txt", "assets/../../evil.txt", "/etc/evil", "assets\\..\\evil", "C:evil", "a/./b", "nul\0byte"]
    {
        let bytes = archive(&[("config.json", b"{}"), ("model.weights.h5", &weights), ("placeholder/name-x", b"")]);
        // The writer rejects such a name, so it is patched in afterwards, in both places.
        let bytes = replace_all(&bytes, b"placeholder/name-x", &padded(name, "placeholder/name-x".len()));
        let result = read_archive(&bytes, &limits());
        assert!(is_broken(&result), "{name:?}: {result:?}");
    }
}

/// The given name, padded to the length.
fn padded(name: &str, length: usize) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(length, b'x');
    bytes
}

fn replace_all(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut bytes = bytes.to_vec();
    let found: Vec<_> = (0..=bytes.len() - from.len()).filter(|&at| bytes[at..].starts_with(from)).collect();
    assert!(!found.is_empty());
    found.into_iter().for_each(|at| bytes[at..at + to.len()].copy_from_slice(to));
    bytes
}

#[test]
fn two_members_of_one_name_are_refused() {
    let weights = weights_member();
    let bytes = archive(&[("config.json", b"{}"), ("config.jsox", b"[1]"), ("model.weights.h5", &weights)]);
    assert!(read_archive(&bytes, &limits()).is_ok());
    let result = read_archive(&replace_all(&bytes, b"config.jsox", b"config.json"), &limits());
    assert!(is_broken(&result), "{result:?}");
}

#[test]
fn links_in_an_archive_are_refused() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default();
    for (name, content) in [("config.json", &b"{}"[..]), ("model.weights.h5", &weights_member())] {
        zip.start_file(name, plain).unwrap();
        zip.write_all(content).unwrap();
    }
    zip.add_symlink("metadata.json", "/etc/passwd", plain).unwrap();
    let result = read_archive(&zip.finish().unwrap().into_inner(), &limits());
    assert!(matches!(&result, Err(Error::Broken { reason, .. }) if reason == "it is a link"), "{result:?}");
}

#[test]
fn encrypted_members_are_refused() {
    let weights = weights_member();
    let bytes = archive(&[("config.json", b"{}"), ("model.weights.h5", &weights), ("secret", b"text")]);
    // Bit 0 of the flags, at byte 6 of the local header and byte 8 of the directory's entry.
    let mut marked = bytes.clone();
    for at in 0..bytes.len() - 4 {
        match &bytes[at..at + 4] {
            b"PK\x03\x04" => marked[at + 6] |= 1,
            b"PK\x01\x02" => marked[at + 8] |= 1,
            _ => {}
        }
    }
    let result = read_archive(&marked, &limits());
    assert!(is_broken(&result), "{result:?}");
}

#[test]
fn decompression_bombs_are_refused() {
    let weights = weights_member();
    // 64 MiB of spaces around a valid configuration: 64 KiB in the archive.
    let mut spaces = vec![b' '; 64 << 20];
    spaces[0..2].copy_from_slice(b"{}");
    let result = read_archive(&archive(&[("config.json", &spaces), ("model.weights.h5", &weights)]), &limits());
    assert!(is_unsupported(&result), "{result:?}");

    let zeros = vec![0u8; 64 << 20];
    let bytes = archive(&[("config.json", b"{}"), ("model.weights.h5", &zeros)]);
    assert!(bytes.len() < 1 << 20);
    let result = read_archive(&bytes, &limits());
    assert!(is_broken(&result), "{result:?}");

    // The same with a header that declares only 1000 bytes, in both places.
    let lying = replace_all(&bytes, &(64u32 << 20).to_le_bytes(), &1000u32.to_le_bytes());
    let result = read_archive(&lying, &limits());
    assert!(is_broken(&result), "{result:?}");
    // And one that declares more than there are.
    let honest = archive(&[("config.json", b"{}"), ("model.weights.h5", &[7; 12345])]);
    let lying = replace_all(&honest, &12345u32.to_le_bytes(), &123_456u32.to_le_bytes());
    assert!(is_broken(&read_archive(&lying, &limits())));
}

#[test]
fn headers_that_disagree_are_refused() {
    let weights = weights_member();
    let bytes = archive(&[("config.json", b"{\"a\": 1}"), ("model.weights.h5", &weights)]);
    // Another name in the local header than in the directory: the first occurrence is the local one.
    let at = bytes.windows(11).position(|part| part == b"config.json").unwrap();
    let mut other = bytes.clone();
    other[at..at + 11].copy_from_slice(b"config.jsox");
    let result = read_archive(&other, &limits());
    assert!(is_broken(&result), "{result:?}");
}

#[test]
fn every_limit_is_enforced_and_named() {
    let text = |result: Result<usize>| match result {
        Err(Error::Unsupported { supported, .. }) => supported,
        other => panic!("{other:?}"),
    };
    let whole = std::fs::read(fixture("02_mlp_sgd.keras")).unwrap();
    let small = |change: fn(&mut Limits)| {
        let mut limits = limits();
        change(&mut limits);
        text(read_archive(&whole, &limits))
    };
    assert!(small(|limits| limits.file_bytes = 1000).contains("Limits::file_bytes"));
    assert!(small(|limits| limits.json_bytes = 1000).contains("Limits::json_bytes"));
    assert!(small(|limits| limits.members = 2).contains("Limits::members"));
    assert!(small(|limits| limits.objects = 5).contains("Limits::objects"));
    assert!(small(|limits| limits.weight_bytes = 100).contains("Limits::weight_bytes"));

    let legacy = |change: fn(&mut Limits)| {
        let mut limits = limits();
        change(&mut limits);
        text(LegacyFile::open(fixture("02_mlp_sgd.h5"), &limits).and_then(|file| read_layers(&file)))
    };
    assert!(legacy(|limits| limits.file_bytes = 1000).contains("Limits::file_bytes"));
    assert!(legacy(|limits| limits.json_bytes = 1000).contains("Limits::json_bytes"));
    assert!(legacy(|limits| limits.objects = 5).contains("Limits::objects"));
    assert!(legacy(|limits| limits.weight_bytes = 4).contains("Limits::weight_bytes"));
}

/// A legacy `.h5` file whose optimizer lists one array of 4000 bytes under many names.
fn one_array_many_times(names: usize) -> Vec<u8> {
    let mut file = FileBuilder::new();
    let mut group = file.create_group("model_weights");
    group.set_attr("layer_names", AttrValue::F64Array(Vec::new()));
    file.add_group(group.finish());
    let mut group = file.create_group("optimizer_weights");
    group.set_attr("weight_names", AttrValue::VarLenStringArray(vec!["a".to_owned(); names]));
    group.create_dataset("a").with_f32_data(&[0.5; 1000]);
    file.add_group(group.finish());
    file.finish().unwrap()
}

#[test]
fn the_same_bytes_under_one_name_many_times_are_refused() {
    let open = |names| LegacyFile::from_bytes("model.h5", one_array_many_times(names), &limits());
    assert_eq!(open(1).unwrap().read_optimizer(&[vec![1000]]).unwrap().len(), 1);
    // The optimizer's variables are ignored, and the model is kept.
    let file = open(1000).unwrap();
    assert!(file.optimizer().is_empty());
    assert!(file.optimizer_fault().is_some_and(|fault| fault.contains("two weights are called `a`")));
}

#[test]
fn unexpected_shapes_are_all_listed_and_nothing_is_read() {
    let file = WeightsFile::open(fixture("02_mlp_sgd.weights.h5"), &limits()).unwrap();
    let right = file.shapes("layers/dense").unwrap().unwrap().shapes();
    let wrong = vec![vec![right[0][0], right[0][1] + 1], right[1].clone()];
    let short = vec![right[0].clone()];
    let result = file.read_all(&[
        ("layers/dense", &wrong),
        ("layers/dense", &short),
        ("layers/lost", &right),
        ("layers/dense", &right),
    ]);
    let Err(Error::Weights { problems, .. }) = result else { panic!("{result:?}") };
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(problems[0].contains("layers/dense`, weight 0: expected shape"), "{problems:?}");
    assert!(problems[1].contains("layers/dense`: expected 1 weights, the file has 2"), "{problems:?}");
    assert!(problems[2].contains("layers/lost`: missing"), "{problems:?}");
    assert!(file.read("layers/dense", &[]).is_err(), "weights where none are expected");

    let legacy = LegacyFile::open(fixture("02_mlp_sgd.h5"), &limits()).unwrap();
    assert!(matches!(legacy.read("dense", &wrong), Err(Error::Weights { .. })));
    assert!(matches!(legacy.read("lost", &right), Err(Error::NoSuchLayer { .. })));
}

#[test]
fn external_and_missing_data_are_refused() {
    let file = WeightsFile::open(fixture("odd/storage.weights.h5"), &limits()).unwrap();
    let read = |layer: &str| {
        let path = format!("layers/{layer}");
        let shapes = file.shapes(&path).unwrap().unwrap().shapes();
        file.read(&path, &shapes)
    };
    assert!(is_unsupported(&read("external")), "{:?}", read("external"));
    assert!(is_unsupported(&read("virtual")), "{:?}", read("virtual"));
    assert!(is_unsupported(&read("lzf")), "{:?}", read("lzf"));
    for layer in ["text", "complex", "bool", "opaque", "named"] {
        assert!(is_unsupported(&read(layer)), "{layer}: {:?}", read(layer));
    }
    assert!(is_broken(&read("unwritten")), "{:?}", read("unwritten"));
    assert!(is_broken(&read("gap")), "{:?}", read("gap"));
    assert!(is_broken(&read("wide")), "a chunk of 2 GiB for four numbers: {:?}", read("wide"));
    assert!(is_broken(&read("empty")), "64 MiB out of nothing: {:?}", read("empty"));
    // 4 TiB, even if the model expects them.
    assert!(is_unsupported(&read("huge")), "{:?}", read("huge"));
    let generous = Limits { weight_bytes: u64::MAX, ..limits() };
    let file = WeightsFile::open(fixture("odd/storage.weights.h5"), &generous).unwrap();
    assert!(is_broken(&file.read("layers/huge", &[vec![1 << 20, 1 << 20]])));
}

#[test]
fn values_that_are_not_finite_are_read_and_reported() {
    let file = WeightsFile::open(fixture("odd/storage.weights.h5"), &limits()).unwrap();
    let arrays = file.read("layers/nan", &[vec![3]]).unwrap();
    assert_eq!(arrays[0].non_finite(), 2);
    assert!(matches!(arrays[0].elements(), Elements::F32(values) if values[0] == 1.0));
    let mut tree = small_tree();
    tree.insert("layers/broken", "broken", arrays).unwrap();
    assert_eq!(tree.non_finite(), [("layers/broken/vars/0".to_owned(), 2)]);
}

#[test]
fn links_are_not_followed() {
    let file = WeightsFile::open(fixture("odd/links.weights.h5"), &limits()).unwrap();
    assert!(file.read("layers/dense", &[vec![3]]).is_ok());
    for layer in ["layers/soft", "layers/outside", "layers/softvar"] {
        let result = file.read(layer, &[vec![3]]);
        assert!(result.is_err(), "{layer}: {result:?}");
    }
    let circle = WeightsFile::open(fixture("odd/circle.weights.h5"), &limits()).unwrap();
    assert!(is_broken(&circle.list()));
}

#[test]
fn a_text_referred_to_a_thousand_times_is_refused() {
    let result = keras::open(fixture("odd/references.h5"), &limits());
    assert!(is_broken(&result), "{result:?}");
}

/// Each group's attributes can be read, and as many group paths can be listed as the limit of objects allows: hours of
/// work, if the total were not limited in proportion to the size of the file.
#[test]
fn work_that_doubles_with_each_level_ends() {
    let file = WeightsFile::open(fixture("odd/work.weights.h5"), &limits()).unwrap();
    let error = file.list().unwrap_err().to_string();
    assert!(error.contains("over and over"), "{error}");
}

/// A disk with limited space.
struct Disk<W> {
    inner: W,
    room: u64,
}

impl<W: Write + Seek> Write for Disk<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.inner.stream_position()? + bytes.len() as u64 > self.room {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<W: Seek> Seek for Disk<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

#[test]
fn a_full_disk_leaves_the_old_file_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let (metadata, config, tree) = (json!({}), json!({"class_name": "Sequential"}), small_tree());
    write_keras(&path, &metadata, &config, &tree).unwrap();
    let whole = std::fs::read(&path).unwrap();

    for part in 0..20 {
        let room = whole.len() as u64 * part / 20;
        let result = write_atomically(&path, |file| {
            write_keras_to(Disk { inner: file, room }, &path, &metadata, &config, &tree)
        });
        let Err(Error::Io { source, .. }) = result else { panic!("{part}/20: {result:?}") };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{part}/20");
        assert_eq!(std::fs::read(&path).unwrap(), whole, "{part}/20");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{part}/20");
    }
    let room = whole.len() as u64;
    write_atomically(&path, |file| write_keras_to(Disk { inner: file, room }, &path, &metadata, &config, &tree))
        .unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
}

/// The other formats on a disk that is full at any position.
#[test]
fn every_writer_reports_a_full_disk() {
    type Writer<'a> = &'a dyn Fn(&Path, u64) -> Result<()>;
    let tensors = [("dense/kernel".to_owned(), Array::new([64, 64], vec![0.5f32; 64 * 64]).unwrap())];
    let legacy = keras::LegacyModel {
        keras_version: "3.0.0".into(),
        backend: "jax".into(),
        model_config: json!({"class_name": "Sequential"}),
        training_config: None,
        layers: vec![("dense".into(), tensors.to_vec())],
        optimizer: Vec::new(),
        info: None,
    };
    let write_legacy = |path: &Path, room: u64| {
        write_atomically(path, |file| keras::write_legacy_h5_to(Disk { inner: file, room }, path, &legacy))
    };
    let write_tensors = |path: &Path, room: u64| {
        let texts = [("config", "{}".to_owned())];
        write_atomically(path, |file| write_safetensors_to(Disk { inner: file, room }, path, &tensors, &texts))
    };
    for (name, write) in [("m.h5", &write_legacy as Writer), ("m.safetensors", &write_tensors)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        write(&path, u64::MAX).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for part in 0..20 {
            let result = write(&path, whole.len() as u64 * part / 20);
            let Err(Error::Io { source, .. }) = result else { panic!("{name} {part}/20: {result:?}") };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{name} {part}/20");
            assert_eq!(std::fs::read(&path).unwrap(), whole, "{name} {part}/20");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{name} {part}/20");
        }
        write(&path, whole.len() as u64).unwrap();
    }
}

#[test]
fn invalid_names_are_not_written() {
    let mut tree = WeightTree::new();
    for path in ["layers//dense", "/layers", "layers/../dense", "layers/.", "a\\b", "nul\0"] {
        assert!(matches!(tree.insert(path, "x", Vec::new()), Err(Error::Argument { .. })), "{path:?}");
    }
    // A group called `vars/0` at the path of variable `0`.
    tree.insert("layers/dense", "dense", vec![Array::new([1], vec![1.0f32]).unwrap()]).unwrap();
    tree.insert("layers/dense/vars/0", "dense", Vec::new()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.weights.h5");
    assert!(matches!(keras::write_weights_h5(&path, &tree), Err(Error::Argument { .. })));
    assert!(!path.exists());
}
