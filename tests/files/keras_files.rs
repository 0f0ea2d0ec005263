//! Files written by Keras are read, and rewriting them preserves their content bit for bit.

use std::path::Path;

use brasa::formats::keras::{
    self, KerasFile, LegacyFile, LegacyModel, Opened, WeightTree, WeightsFile, to_python_json, write_keras,
    write_legacy_h5, write_weights_h5,
};
use brasa::formats::{Array, Elements, Limits};
use brasa::{Error, Result};
use serde_json::{Value, json};

use crate::support::fixture;

fn limits() -> Limits {
    Limits::default()
}

/// The whole content of a legacy file, in the form for writing.
fn model_of(file: &LegacyFile) -> Result<LegacyModel> {
    let shapes =
        |weights: &[keras::LegacyWeight]| weights.iter().map(|weight| weight.shape.clone()).collect::<Vec<_>>();
    let named = |weights: &[keras::LegacyWeight], arrays: Vec<Array>| {
        weights.iter().map(|weight| weight.name.clone()).zip(arrays).collect::<Vec<_>>()
    };
    let mut layers = Vec::new();
    for layer in file.layers() {
        let arrays = file.read(&layer.name, &shapes(&layer.weights))?;
        layers.push((layer.name.clone(), named(&layer.weights, arrays)));
    }
    Ok(LegacyModel {
        keras_version: file.keras_version().unwrap_or_default().to_owned(),
        backend: "tensorflow".to_owned(),
        model_config: file.model_config().cloned().unwrap_or_default(),
        training_config: file.training_config().cloned(),
        layers,
        optimizer: named(file.optimizer(), file.read_optimizer(&shapes(file.optimizer()))?),
        info: file.info().cloned(),
    })
}

#[test]
fn the_reference_network_is_read_by_its_expected_shapes() -> Result<()> {
    let mut file = KerasFile::open(fixture("01_reference_cnn.keras"), &limits())?;
    assert_eq!(file.metadata()["keras_version"], "3.15.1");
    assert_eq!(file.config()["class_name"], "Sequential");
    assert_eq!(file.config()["config"]["layers"][1]["config"]["filters"], 32);
    let weights = file.weights()?;

    let kernels = weights.read("layers/conv2d", &[vec![5, 5, 1, 32], vec![32]])?;
    assert_eq!(kernels[0].shape(), [5, 5, 1, 32]);
    assert_eq!(kernels[0].non_finite(), 0);
    assert!(matches!(kernels[0].elements(), Elements::F32(values) if values.iter().any(|value| *value != 0.0)));
    // A layer without variables can be requested, whether it is in the file or not.
    assert!(weights.read("layers/flatten", &[])?.is_empty());
    assert!(weights.read("layers/no_such_layer", &[])?.is_empty());

    let optimizer = weights.shapes("optimizer")?.unwrap();
    assert_eq!(optimizer.name.as_deref(), Some("adam"));
    assert_eq!(optimizer.variables.len(), 14);
    let state = weights.read("optimizer", &optimizer.shapes())?;
    assert!(matches!(state[0].elements(), Elements::I32(_)), "{:?}", state[0]);
    assert!(state[0].as_integer().unwrap() > 0);

    let listed = weights.list()?;
    let paths: Vec<_> = listed.keys().map(String::as_str).collect();
    assert_eq!(
        paths,
        [
            "",
            "layers/conv2d",
            "layers/conv2d_1",
            "layers/dense",
            "layers/flatten",
            "layers/max_pooling2d",
            "layers/max_pooling2d_1",
            "optimizer"
        ]
    );
    assert_eq!(listed["layers/dense"].shapes(), [vec![1024, 10], vec![10]]);
    Ok(())
}

#[test]
fn the_variables_are_in_the_order_of_their_numbers() -> Result<()> {
    // In the file they are sorted as text: 0, 1, 10, 11, 2, …
    let mut file = KerasFile::open(fixture("05_text_bilstm_gru.keras"), &limits())?;
    let optimizer = file.weights()?.shapes("optimizer")?.unwrap();
    let names: Vec<_> = optimizer.variables.iter().map(|(name, _)| name.clone()).collect();
    assert!(names.len() > 20);
    assert_eq!(names, (0..names.len()).map(|number| number.to_string()).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn nested_layers_have_nested_paths() -> Result<()> {
    let mut file = KerasFile::open(fixture("05_text_bilstm_gru.keras"), &limits())?;
    let listed = file.weights()?.list()?;
    assert_eq!(listed["layers/bidirectional/forward_layer/cell"].variables.len(), 3);
    let mut file = KerasFile::open(fixture("12_nested_reshape.keras"), &limits())?;
    assert!(file.weights()?.list()?.keys().any(|path| path.starts_with("layers/sequential/layers/")));
    Ok(())
}

#[test]
fn archives_are_rewritten_bit_for_bit() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    for name in ["01_reference_cnn", "02_mlp_sgd", "05_text_bilstm_gru", "12_nested_reshape"] {
        let mut original = KerasFile::open(fixture(&format!("{name}.keras")), &limits())?;
        let tree = original.weights()?.read_everything()?;
        let (first, second) = (folder.path().join("first.keras"), folder.path().join("second.keras"));
        write_keras(&first, original.metadata(), original.config(), &tree)?;

        let mut copy = KerasFile::open(&first, &limits())?;
        assert_eq!(copy.config(), original.config());
        assert_eq!(copy.metadata(), original.metadata());
        let again = copy.weights()?.read_everything()?;
        assert_eq!(again, tree, "{name}");
        assert!(tree.non_finite().is_empty());

        write_keras(&second, copy.metadata(), copy.config(), &again)?;
        assert_eq!(
            std::fs::read(first).unwrap(),
            std::fs::read(second).unwrap(),
            "the same model makes the same bytes"
        );
    }
    Ok(())
}

#[test]
fn the_archive_looks_as_keras_makes_it() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.keras");
    let original = fixture("02_mlp_sgd.keras");
    let mut file = KerasFile::open(&original, &limits())?;
    let tree = file.weights()?.read_everything()?;
    write_keras(&path, file.metadata(), file.config(), &tree)?;
    let read = |path: &Path| {
        let mut zip = zip::ZipArchive::new(std::fs::File::open(path).unwrap()).unwrap();
        let names: Vec<_> = (0..zip.len())
            .map(|index| {
                let entry = zip.by_index(index).unwrap();
                (entry.name().unwrap().into_owned(), entry.compression())
            })
            .collect();
        let json =
            ["metadata.json", "config.json"].map(|name| std::io::read_to_string(zip.by_name(name).unwrap()).unwrap());
        (names, json)
    };
    assert_eq!(read(&path), read(&original));
    Ok(())
}

#[test]
fn weights_files_hold_the_same_tree_as_archives() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.weights.h5");
    let from_weights = WeightsFile::open(fixture("02_mlp_sgd.weights.h5"), &limits())?.read_everything()?;
    let from_archive = KerasFile::open(fixture("02_mlp_sgd.keras"), &limits())?.weights()?.read_everything()?;
    assert_eq!(from_weights, from_archive);
    write_weights_h5(&path, &from_weights)?;
    assert_eq!(WeightsFile::open(&path, &limits())?.read_everything()?, from_weights);
    Ok(())
}

#[test]
fn legacy_files_of_keras_3_hold_the_weights_of_the_archive() -> Result<()> {
    let file = LegacyFile::open(fixture("02_mlp_sgd.h5"), &limits())?;
    assert_eq!(file.keras_version(), Some("3.15.1"));
    assert_eq!(file.model_config().unwrap()["class_name"], "Sequential");
    assert!(file.training_config().is_some());
    let model = model_of(&file)?;
    let tree = KerasFile::open(fixture("02_mlp_sgd.keras"), &limits())?.weights()?.read_everything()?;
    for (layer, weights) in &model.layers {
        let arrays: Vec<_> = weights.iter().map(|(_, array)| array.clone()).collect();
        assert_eq!(tree.get(&format!("layers/{layer}")).unwrap().arrays, arrays);
    }
    let state: Vec<_> = model.optimizer.iter().map(|(_, array)| array.clone()).collect();
    assert_eq!(tree.get("optimizer").unwrap().arrays, state);
    assert_eq!(model.optimizer[0].0.rsplit('/').next(), Some("iteration"));
    Ok(())
}

#[test]
fn legacy_files_of_keras_2_are_read() -> Result<()> {
    let file = LegacyFile::open(fixture("reference_tf215.h5"), &limits())?;
    assert_eq!(file.keras_version(), Some("2.15.0"));
    assert_eq!(file.model_config().unwrap()["config"]["layers"][0]["class_name"], "InputLayer");
    let names: Vec<_> = file.layers().iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names, ["conv2d", "max_pooling2d", "conv2d_1", "max_pooling2d_1", "flatten", "dense"]);
    assert_eq!(file.layers()[0].weights[0].name, "conv2d/kernel:0");
    assert_eq!(file.layers()[1].weights, []);
    assert_eq!(file.optimizer()[0].name, "iteration:0");
    let dense = file.read("dense", &[vec![1024, 10], vec![10]])?;
    assert_eq!(dense[1].shape(), [10]);
    let iteration = &model_of(&file)?.optimizer[0].1;
    assert!(matches!(iteration.elements(), Elements::I64(_)));
    Ok(())
}

#[test]
fn legacy_files_are_rewritten_bit_for_bit() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.h5");
    for name in ["02_mlp_sgd.h5", "05_text_bilstm_gru.h5", "reference_tf215.h5"] {
        let model = model_of(&LegacyFile::open(fixture(name), &limits())?)?;
        write_legacy_h5(&path, &model)?;
        assert_eq!(model_of(&LegacyFile::open(&path, &limits())?)?, model, "{name}");
    }
    Ok(())
}

#[test]
fn weights_files_of_keras_2_are_read_with_split_names() -> Result<()> {
    let file = LegacyFile::open(fixture("odd/keras_2_weights.h5"), &limits())?;
    assert_eq!(file.keras_version(), Some("2.4.0"));
    assert!(file.model_config().is_none());
    assert_eq!(file.layers().len(), 12);
    assert_eq!(file.layers()[11].name, "layer_11");
    assert_eq!(file.layers()[3].weights, []);
    let arrays = file.read("layer_01", &[vec![1, 2], vec![1, 1]])?;
    assert_eq!(arrays[0].elements(), &Elements::F32(vec![1.0, 1.0]), "float16 becomes float32");
    Ok(())
}

#[test]
fn long_lists_of_names_are_split_and_joined() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.h5");
    let layers: Vec<_> = (0..4500).map(|number| (format!("dropout_{number}"), Vec::new())).collect();
    let model = LegacyModel {
        keras_version: "3.0.0".into(),
        backend: "tensorflow".into(),
        model_config: json!({"class_name": "Sequential", "config": {"name": "é"}}),
        training_config: None,
        layers,
        optimizer: Vec::new(),
        info: None,
    };
    write_legacy_h5(&path, &model)?;
    assert_eq!(model_of(&LegacyFile::open(&path, &limits())?)?, model);
    Ok(())
}

#[test]
fn a_tree_of_many_layers_round_trips() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("many.weights.h5");
    let mut tree = WeightTree::new();
    tree.insert("", "sequential", Vec::new())?;
    for number in 0..1500 {
        tree.insert(
            format!("layers/dense_{number}"),
            format!("täglich {number}"),
            vec![Array::new([1], vec![number as f32])?],
        )?;
    }
    tree.insert("optimizer", "sgd", vec![Array::new([], vec![i64::MAX])?, Array::new([0, 3], Vec::<f32>::new())?])?;
    tree.insert("layers/normalization", "n", vec![Array::new([], vec![7i32])?, Array::new([2], vec![u32::MAX, 0])?])?;
    write_weights_h5(&path, &tree)?;
    assert_eq!(WeightsFile::open(&path, &limits())?.read_everything()?, tree);
    Ok(())
}

#[test]
fn other_types_of_elements_are_converted() -> Result<()> {
    let file = WeightsFile::open(fixture("odd/dtypes.weights.h5"), &limits())?;
    let shapes = file.shapes("layers/dense")?.unwrap().shapes();
    let arrays = file.read("layers/dense", &shapes)?;
    let exact = [1.5f32, -2.25, 0.0, 65504.0, 1e-3, 7.0];
    let half = [1.5f32, -2.25, 0.0, 65504.0, 0.0010004044, 7.0];
    let brain = [1.5f32, -2.25, 0.0, 65536.0, 0.0009994507, 7.0];
    for (index, expected) in [(0, half), (1, exact), (2, exact), (3, brain), (8, half)] {
        assert_eq!(arrays[index].elements(), &Elements::F32(expected.to_vec()), "{index}");
    }
    assert_eq!(arrays[4].elements(), &Elements::I32(vec![-128, 127]));
    assert_eq!(arrays[5].elements(), &Elements::I32(vec![0, 65535]));
    assert_eq!(arrays[6].as_integer(), Some((1 << 40) + 1));
    assert_eq!(arrays[7].elements(), &Elements::U32(vec![u32::MAX]));
    assert_eq!(arrays[9].elements(), &Elements::I32(vec![-5, i32::MAX]));

    let packed = file.read("layers/packed", &[vec![50, 60], vec![50, 60]])?;
    let numbers: Vec<f32> = (0..3000).map(|number| number as f32).collect();
    assert_eq!(packed[0].elements(), &Elements::F32(numbers.clone()), "gzip, shuffle, fletcher32");
    assert_eq!(packed[1].elements(), &Elements::F32(numbers), "chunks that stick out over the edge");
    Ok(())
}

#[test]
fn the_tree_of_keras_2_13_is_found() -> Result<()> {
    let file = WeightsFile::open(fixture("odd/keras_2_13.weights.h5"), &limits())?;
    assert_eq!(file.read("layers/dense", &[vec![3]])?[0].elements(), &Elements::F32(vec![1.0, 2.0, 3.0]));
    assert_eq!(file.read("layers/sequential/layers/dense", &[vec![1]])?.len(), 1);
    assert!(file.list()?.contains_key("layers/sequential/layers/dense"));
    Ok(())
}

#[test]
fn deflated_and_unknown_members_are_accepted() -> Result<()> {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deflated.keras");
    let mut original = zip::ZipArchive::new(std::fs::File::open(fixture("02_mlp_sgd.keras")).unwrap()).unwrap();
    let mut copy = zip::ZipWriter::new(std::fs::File::create(&path).unwrap());
    let deflated = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Deflated);
    copy.start_file("assets/layers/text/vocabulary.txt", deflated).unwrap();
    copy.write_all(b"the\nof\n").unwrap();
    for name in ["model.weights.h5", "config.json"] {
        copy.start_file(name, deflated).unwrap();
        std::io::copy(&mut original.by_name(name).unwrap(), &mut copy).unwrap();
    }
    copy.finish().unwrap();

    let mut file = KerasFile::open(&path, &limits())?;
    assert_eq!(file.metadata(), &Value::Null, "metadata.json may be missing");
    let expected = KerasFile::open(fixture("02_mlp_sgd.keras"), &limits())?.weights()?.read_everything()?;
    assert_eq!(file.weights()?.read_everything()?, expected);
    Ok(())
}

#[test]
fn the_kind_of_a_file_is_in_its_content() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let misnamed = folder.path().join("model.h5");
    std::fs::copy(fixture("02_mlp_sgd.keras"), &misnamed).unwrap();
    assert!(matches!(keras::open(&misnamed, &limits())?, Opened::Keras(_)));
    assert!(matches!(keras::open(fixture("02_mlp_sgd.weights.h5"), &limits())?, Opened::Weights(_)));
    assert!(matches!(keras::open(fixture("02_mlp_sgd.h5"), &limits())?, Opened::Legacy(_)));
    assert!(matches!(keras::open(fixture("odd/keras_2_weights.h5"), &limits())?, Opened::Legacy(_)));
    std::fs::write(&misnamed, "text").unwrap();
    assert!(matches!(keras::open(&misnamed, &limits()), Err(Error::Broken { .. })));
    assert!(matches!(keras::open(folder.path().join("none"), &limits()), Err(Error::Io { .. })));
    assert!(matches!(keras::open(folder.path(), &limits()), Err(Error::Io { .. })));
    Ok(())
}

#[test]
fn configurations_keep_their_order_and_their_numbers() {
    let text = std::fs::read(fixture("02_mlp_sgd.h5")).unwrap();
    let start = b"{\"class_name\": \"Sequential\"";
    let at = text.windows(start.len()).position(|part| part == start).unwrap();
    let end = at + text[at..].iter().position(|byte| *byte == 0).unwrap();
    let original = std::str::from_utf8(&text[at..end]).unwrap();
    let file = LegacyFile::open(fixture("02_mlp_sgd.h5"), &limits()).unwrap();
    assert_eq!(to_python_json(file.model_config().unwrap()), original);
}
