use super::*;
use crate::layers::{Dense, LayerArguments as _};

const SMALL: &str = r#"
[data]
dataset = "npz"
path = "xy.npz"

[[layers]]
class_name = "Dense"
units = 3
input_shape = [2]

[compile]
loss = "mse"

[fit]
epochs = 7
seed = 1
"#;

fn error(text: &str) -> String {
    Recipe::parse("r.toml", text).unwrap_err().to_string()
}

/// The message for the small recipe with `old` replaced by `new`.
fn spoilt(old: &str, new: &str) -> String {
    assert!(SMALL.contains(old), "{old}");
    error(&SMALL.replacen(old, new, 1))
}

fn check(text: &str, begin: &str, words: &str) {
    assert!(text.starts_with(begin) && text.contains(words), "expected `{begin}…{words}`, received `{text}`");
}

#[test]
fn unknown_keys_have_a_position_and_a_suggestion() {
    check(&spoilt("epochs = 7", "epoch = 7"), "r.toml:15:1: unknown key `epoch`", "did you mean `epochs`?");
    check(&spoilt("units = 3", "unit = 3"), "r.toml:8:1: unknown argument `unit`", "did you mean `units`?");
    check(&spoilt("input_shape", "imput_shape"), "r.toml:9:1: unknown argument `imput_shape`", "`input_shape`?");
    check(&spoilt("[fit]", "[fitt]"), "r.toml:14:2: unknown key `fitt`", "did you mean `fit`?");
    check(&spoilt("path", "paht"), "r.toml:4:1: unknown key `paht`", "did you mean `path`?");
    check(
        &spoilt("path", "target"),
        "r.toml:4:1: unknown key `target`",
        "valid: dataset, samples, validation_split, path",
    );
    check(&spoilt("loss =", "los ="), "r.toml:12:1: unknown key `los`", "did you mean `loss`?");
    let optimizer = "optimizer = { class_name = \"SGD\", learning_rat = 0.1 }\nloss";
    check(&spoilt("loss", optimizer), "r.toml:12:35: unknown argument `learning_rat`", "`learning_rate`?");
}

#[test]
fn unknown_names_have_a_position() {
    check(&spoilt("\"Dense\"", "\"Dens\""), "r.toml:7:14: unknown layer class `Dens`", "did you mean `Dense`?");
    check(&spoilt("\"npz\"", "\"npzz\""), "r.toml:3:11: unknown data set `npzz`", "did you mean `npz`?");
    check(&spoilt("\"mse\"", "\"mean_square_error\""), "r.toml:12:8: unknown loss", "`mean_squared_error`?");
    check(
        &spoilt("units = 3", "units = 3\nactivation = \"rellu\""),
        "r.toml:9:14: invalid value for argument `activation`: expected one of ",
        "`relu`?",
    );
    check(&spoilt("loss", "metrics = [\"mae\", \"acuracy\"]\nloss"), "r.toml:12:19: unknown metric", "`accuracy`?");
}

#[test]
fn wrong_values_have_a_position() {
    check(
        &spoilt("7", "\"seven\""),
        "r.toml:15:10: invalid value for argument `epochs`",
        "an integer, 0 or more, received \"seven\"",
    );
    check(&spoilt("7", "-7"), "r.toml:15:10: ", "an integer, 0 or more, received -7");
    check(&spoilt("seed = 1", "shuffle = 1"), "r.toml:16:11: ", "true or false, received 1");
    check(&spoilt("seed = 1", "batch_size = 0"), "r.toml:16:14: ", "an integer above 0");
    check(&spoilt("seed = 1", "verbose = 3"), "r.toml:16:11: ", "0, 1 or 2");
    check(&spoilt("\"xy.npz\"", "5"), "r.toml:4:8: invalid value for argument `path`", "a text");
    check(&spoilt("path", "validation_split = 1.0\npath"), "r.toml:4:20: ", "from 0 to below 1");
    check(&spoilt("path", "samples = 0\npath"), "r.toml:4:11: ", "an integer above 0");
    check(&spoilt("units = 3", "units = \"three\""), "r.toml:8:9: invalid value for argument `units`", "\"three\"");
    check(&spoilt("loss = \"mse\"", "loss = 3"), "r.toml:12:8: invalid value for argument `loss`", "a name");
    check(&spoilt("[fit]", "[[fit]]"), "r.toml:14:3: invalid value for argument `fit`", "a table `[fit]`");
    check(&spoilt("[[layers]]", "[layers]"), "r.toml:7:14: invalid value for argument `layers`", "tables `[[layers]]`");
}

#[test]
fn missing_keys_are_named() {
    check(&spoilt("units = 3\n", ""), "r.toml:7:14: invalid value for argument `units`", "it has no default");
    check(&spoilt("path = \"xy.npz\"\n", ""), "r.toml:2:2: invalid value for argument `path`", "received nothing");
    check(&spoilt("dataset = \"npz\"\n", ""), "r.toml:2:2: invalid value for argument `dataset`", "no default");
    check(&spoilt("class_name = \"Dense\"\n", ""), "r.toml:6:1: invalid value for argument `class_name`", "nothing");
    check(
        &spoilt("[compile]\nloss = \"mse\"\n", ""),
        "r.toml:1:1: invalid value for argument `compile`",
        "with a loss",
    );
    check(&spoilt("loss = \"mse\"\n", ""), "r.toml:11:2: invalid value for argument `loss`", "no default");
    check(&error("[data]\ndataset = \"mnist\"\n"), "r.toml:1:1: invalid value for argument `layers`", "[[layers]]");
}

#[test]
fn layers_that_do_not_fit_are_refused_with_a_position() {
    let pooling = "[[layers]]\nclass_name = \"MaxPooling2D\"\n\n[compile]";
    check(&spoilt("[compile]", pooling), "r.toml:12:14: layer `max_pooling2d` (MaxPooling2D): ", "ndim=4");
}

#[test]
fn callbacks_are_read_from_tables() {
    let with = |callback: &str| format!("{SMALL}\n[[callbacks]]\n{callback}\n");
    let text = with("class_name = \"EarlyStopping\"\nmonitor = \"loss\"\npatience = 2");
    let text = format!("{text}[[callbacks]]\nclass_name = \"CSVLogger\"\nfilename = \"log.csv\"\n");
    let recipe = Recipe::parse("r.toml", &text).unwrap();
    let names =
        |recipe: &Recipe| recipe.callbacks().unwrap().iter().map(|callback| callback.name()).collect::<Vec<_>>();
    assert_eq!(names(&recipe), ["EarlyStopping", "CSVLogger"]);
    let written = recipe.to_toml().unwrap();
    assert!(
        written.contains("[[callbacks]]\nclass_name = \"EarlyStopping\"\nmonitor = \"loss\"\npatience = 2\n"),
        "{written}"
    );
    let again = Recipe::parse("config.toml", &written).unwrap();
    assert_eq!((names(&again), again.to_toml().unwrap()), (names(&recipe), written));

    check(&error(&with("class_name = \"EarlyStoping\"")), "r.toml:19:14: unknown callback class", "`EarlyStopping`?");
    check(
        &error(&with("class_name = \"EarlyStopping\"\npatiense = 2")),
        "r.toml:20:1: unknown argument",
        "`patience`?",
    );
    check(&error(&with("class_name = \"EarlyStopping\"\npatience = -2")), "r.toml:20:12: ", "0 or more");
    check(&error(&with("class_name = \"EarlyStopping\"\nmode = \"up\"")), "r.toml:20:8: ", "auto, min, max");
    check(&error(&with("class_name = \"ModelCheckpoint\"")), "r.toml:19:14: ", "it has no default");
    check(&error(&with("patience = 2")), "r.toml:18:1: invalid value for argument `class_name`", "received nothing");
    check(&error(&SMALL.replace("[fit]", "[callbacks]\na = 1\n[fit]")), "r.toml:14:2: ", "tables `[[callbacks]]`");
}

#[test]
fn checkpoint_frequencies_are_read() {
    let freq = |value: &str| {
        let recipe = Recipe::parse("r.toml", SMALL.replace("seed = 1", &format!("checkpoint_freq = {value}")))?;
        Recipe::parse("r.toml", recipe.to_toml()?).map(|recipe| recipe.fit_settings().checkpoint_freq)
    };
    assert_eq!(freq("\"epoch\"").unwrap(), CheckpointFreq::Epoch);
    assert_eq!(freq("100").unwrap(), CheckpointFreq::Batches(100));
    assert_eq!(freq("\"30s\"").unwrap(), CheckpointFreq::Seconds(30));
    for value in ["0", "\"often\"", "-1", "\"s\"", "true"] {
        check(&freq(value).unwrap_err().to_string(), "r.toml:16:19: ", "a number of batches above 0");
    }
}

#[test]
fn validation_frequencies_are_a_number_or_a_list_of_epochs() {
    let freq = |value: &str| {
        let recipe = Recipe::parse("r.toml", SMALL.replace("seed = 1", &format!("validation_freq = {value}")))?;
        Recipe::parse("r.toml", recipe.to_toml()?).map(|recipe| recipe.fit_settings().validation_freq.clone())
    };
    assert_eq!(freq("3").unwrap(), ValidationFreq::from(3));
    assert_eq!(freq("[1, 2, 10]").unwrap(), ValidationFreq::from([1, 2, 10]));
    for value in ["0", "[0, 1]", "\"epoch\"", "-1", "[1.5]"] {
        check(&freq(value).unwrap_err().to_string(), "r.toml:16:19: ", "a list of epochs, counted from 1");
    }
}

#[test]
fn a_model_comes_from_layers_or_a_file() {
    let both = SMALL.replace("[[layers]]", "[model]\nfile = \"m.keras\"\n\n[[layers]]");
    check(&error(&both), "r.toml:7:8: invalid value for argument `file`", "either [model] file or [[layers]]");
    let named = SMALL.replace("[[layers]]", "[model]\nname = \"tiny\"\n\n[[layers]]");
    let recipe = Recipe::parse("r.toml", named).unwrap();
    assert_eq!(recipe.model(&Device::default()).unwrap().name(), "tiny");
    let file = Recipe::parse("r.toml", "[data]\ndataset = \"mnist\"\n[model]\nfile = \"no/such.keras\"\n").unwrap();
    assert!(matches!(file.model(&Device::default()), Err(Error::Io { .. })));
}

#[test]
fn recipes_survive_a_round_trip() {
    for (name, text) in [
        ("mnist_cnn.toml", include_str!("../../configs/mnist_cnn.toml")),
        ("mnist_mlp.toml", include_str!("../../configs/mnist_mlp.toml")),
        ("smoke.toml", include_str!("../../configs/smoke.toml")),
        ("small.toml", SMALL),
    ] {
        let recipe = Recipe::parse(name, text).unwrap();
        let written = recipe.to_toml().unwrap();
        let again = Recipe::parse("config.toml", &written).unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(again.to_toml().unwrap(), written);
        assert_eq!((again.data(), again.fit_settings()), (recipe.data(), recipe.fit_settings()));
        let model = |recipe: &Recipe| recipe.model(&Device::default()).unwrap();
        let (first, second) = (model(&recipe), model(&again));
        assert_eq!(first.to_json().unwrap(), second.to_json().unwrap());
        assert_eq!(first.get_weights().unwrap(), second.get_weights().unwrap(), "{name}");
    }
}

#[test]
fn a_random_seed_is_written() {
    let recipe = Recipe::parse("r.toml", SMALL.replace("seed = 1\n", "")).unwrap();
    let again = Recipe::parse("r.toml", recipe.to_toml().unwrap()).unwrap();
    assert_eq!(recipe.fit_settings().seed, again.fit_settings().seed);
    let defaults = (again.fit_settings().batch_size, again.fit_settings().shuffle, again.data().validation_split);
    assert_eq!(defaults, (32, true, 0.0));
}

#[test]
fn the_recipe_of_the_notebook_is_its_network() {
    let recipe = Recipe::parse("mnist_cnn.toml", include_str!("../../configs/mnist_cnn.toml")).unwrap();
    let model = recipe.model(&Device::default()).unwrap();
    assert_eq!((recipe.name(), model.count_params().unwrap(), model.is_compiled()), ("mnist_cnn", 62_346, true));
    assert_eq!((recipe.fit_settings().epochs, recipe.fit_settings().batch_size), (5, 128));
}

#[test]
fn values_set_from_outside_are_checked_as_strictly() {
    let mut document = Document::parse("r.toml", SMALL).unwrap();
    document.assign("fit.epoch=3").unwrap();
    let error = Recipe::from_document(&document).unwrap_err().to_string();
    check(&error, "unknown key `epoch`", "did you mean `epochs`?");
    let mut document = Document::parse("r.toml", SMALL).unwrap();
    document.assign("compile.loss='msee'").unwrap();
    check(&Recipe::from_document(&document).unwrap_err().to_string(), "unknown loss `msee`", "`mse`?");
}

#[test]
fn data_sets_are_recognised_by_their_files() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        DataSet::at(path)
    };
    assert!(matches!(file("a.NPZ"), Ok(DataSet::Npz { .. })));
    assert!(matches!(file("a.csv"), Ok(DataSet::Csv { .. })));
    assert!(matches!(file("a.npy"), Err(Error::Unsupported { .. })));
    assert!(matches!(file("a.txt"), Err(Error::Unsupported { .. })));
    assert!(matches!(DataSet::at(folder.path()), Ok(DataSet::ImageFolder { .. })));
    assert!(matches!(DataSet::at(folder.path().join("none.npz")), Err(Error::Io { .. })));
}

#[test]
fn the_number_of_samples_can_be_limited() {
    let path = "tests/fixtures/data/xy.npz".into();
    let mut data = Data::new(DataSet::Npz { path });
    let model = crate::Model::from(crate::Sequential::new());
    let load = |data: &Data| data.load(&model, Reading::ToTrain).unwrap().train.len();
    let all = load(&data);
    assert!(all > 2);
    data.samples = Some(2);
    assert_eq!(load(&data), 2);
    data.samples = Some(all + 1);
    assert_eq!(load(&data), all);
}

/// A CSV file with this text and the settings for reading it.
fn table(folder: &tempfile::TempDir, name: &str, text: &str, settings: TableSettings) -> Data {
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    Data::new(DataSet::Csv { path, table: settings })
}

fn targets(source: &dyn crate::datasets::Source) -> Vec<f32> {
    source.targets().unwrap().to_vec_f32()
}

fn inputs(source: &dyn crate::datasets::Source) -> Vec<f32> {
    let indices: Vec<usize> = (0..source.len()).collect();
    let zeros = |shape: &[usize]| vec![0.0; indices.len() * shape.iter().product::<usize>()];
    let (mut x, mut y) = (zeros(source.x_shape()), zeros(source.y_shape()));
    source.read(&indices, &mut x, &mut y).unwrap();
    x
}

#[test]
fn tables_of_texts_have_validation_and_test_samples_and_an_order() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || TableSettings { text: Some("t".into()), ..TableSettings::default() };
    let rows: String = (0..20).map(|row| format!("w{row},{}\n", if row < 10 { "pos" } else { "neg" })).collect();
    let mut data = table(&folder, "train.csv", &format!("t,y\n{rows}"), settings());
    let file = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).unwrap();
        Some(folder.path().join(name))
    };
    data.validation = file("validation.csv", "t,y\na,pos\nb,neg\nc,pos\n");
    data.test = file("test.csv", "t,y\na,1\nb,0\n");
    let model = crate::Model::from(crate::Sequential::new());
    let loaded = data.load(&model, Reading::ToTrain).unwrap();
    assert_eq!(loaded.info.class_names, ["neg", "pos"]);
    assert_eq!(targets(&*loaded.validation.unwrap()), [1.0, 0.0, 1.0]);
    assert_eq!(targets(&*loaded.test.unwrap()), [1.0, 0.0]);
    assert_eq!(targets(&*loaded.train), [[1.0; 10], [0.0; 10]].concat());
    data.split_seed = Some(1);
    let mixed = data.load(&model, Reading::ToTrain).unwrap().train;
    let mut y = vec![0.0; 20];
    let indices: Vec<usize> = (0..20).collect();
    let columns = mixed.read_columns(&indices, &mut [&mut y]).unwrap().unwrap();
    assert_ne!(y, [[1.0; 10], [0.0; 10]].concat());
    for (text, target) in columns[0].texts().unwrap().iter().zip(&y) {
        assert_eq!(*target == 1.0, text[1..].parse::<usize>().unwrap() < 10, "{text}");
    }
    for (other, word) in [("t,y\na,pos\nb,maybe\n", "maybe"), ("t,y\na,2\nb,0\n", "received 2")] {
        data.test = file("test.csv", other);
        let error = data.load(&model, Reading::ToTrain).err().unwrap().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_model_reads_later_tables_like_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let empty = crate::Model::from(crate::Sequential::new());
    let missing = |rule| Some(Gaps::All(rule));
    let target = |name: &str| Some(OneOrMany::One(name.into()));
    let mean = crate::datasets::Missing::Mean;
    let settings = TableSettings { missing: missing(mean), target: target("y"), ..TableSettings::default() };
    let first = table(&folder, "a.csv", "kind,size,y\nu,1,0\nv,3,1\nw,,0\n", settings);
    let mut model = empty.clone();
    *model.data_info_mut() = first.load(&empty, Reading::ToTrain).unwrap().info;
    // Fewer categories, other columns and another order.
    let text = "more,y,size,kind\n9,1,,v\n9,0,5,v\n";
    let load = |model: &crate::Model, settings: TableSettings| {
        let data = table(&folder, "b.csv", text, settings);
        data.load(model, Reading::ToTrain).map(|loaded| inputs(&*loaded.train)).map_err(|error| error.to_string())
    };
    let known = [0.0, 1.0, 0.0, 2.0, 0.0, 1.0, 0.0, 5.0];
    let plain = || TableSettings { target: target("y"), ..TableSettings::default() };
    assert_eq!(load(&model, plain()).unwrap(), known);
    let same = TableSettings { columns: vec!["kind".into(), "size".into()], missing: missing(mean), ..plain() };
    assert_eq!(load(&model, same).unwrap(), known);
    for (settings, word) in [
        (TableSettings { columns: vec!["size".into(), "kind".into()], ..plain() }, "`columns`"),
        (TableSettings { exclude: vec!["size".into()], ..plain() }, "`exclude`"),
        (TableSettings { window: Some(2), ..plain() }, "`window`"),
        (TableSettings { target: target("size"), ..plain() }, "`target`"),
        (TableSettings { missing: missing(crate::datasets::Missing::Refuse), ..plain() }, "`missing`"),
    ] {
        let error = load(&model, settings).unwrap_err();
        assert!(error.contains(word), "{word}: {error}");
    }
    let mut narrow = crate::Sequential::new();
    narrow.add(Dense::new(1).input_shape(3)).unwrap();
    let mut narrow = crate::Model::from(narrow);
    *narrow.data_info_mut() = model.data_info().clone();
    assert!(load(&narrow, plain()).unwrap_err().contains("a table of 3 inputs"));
}

#[test]
fn windows_keep_their_rows_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let empty = crate::Model::from(crate::Sequential::new());
    let windows = TableSettings { header: Some(true), window: Some(2), ..TableSettings::default() };
    let mut data = table(&folder, "a.csv", "a\n1\n2\n3\n4\n", windows);
    let mut model = empty.clone();
    *model.data_info_mut() = data.load(&empty, Reading::ToTrain).unwrap().info;
    data = table(&folder, "a.csv", "a\n1\n2\n3\n4\n", TableSettings::default());
    assert_eq!(data.load(&model, Reading::ToTrain).unwrap().train.len(), 2);
    data.split_seed = Some(1);
    assert!(data.load(&model, Reading::ToTrain).err().unwrap().to_string().contains("`split_seed`"));
}

#[test]
fn class_counts_are_checked_once_the_outputs_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let data = table(&folder, "a.csv", "a,y\n1,no\n2,yes\n3,maybe\n", TableSettings::default());
    let empty = crate::Model::from(crate::Sequential::new());
    let loaded = data.load(&empty, Reading::ToTrain).unwrap();
    loaded.check_classes(&empty).unwrap();
    let of = |outputs: usize| {
        let mut model = crate::Sequential::new();
        model.add(Dense::new(outputs).activation("softmax").input_shape(1)).unwrap();
        crate::Model::from(model)
    };
    loaded.check_classes(&of(3)).unwrap();
    assert!(loaded.check_classes(&of(2)).unwrap_err().to_string().contains("2 names"));
}

#[test]
fn images_take_the_models_shape() {
    assert_eq!(image_shape(Some(&crate::Shape::batch_of((28, 20, 3)))).unwrap(), (28, 20, 3));
    assert_eq!(image_shape(Some(&crate::Shape::batch_of((28, 20)))).unwrap(), (28, 20, 1));
    assert!(image_shape(Some(&crate::Shape::batch_of(784))).is_err());
    assert!(image_shape(None).is_err());
}

const BRANCHES: &str = r#"
[model]
name = "two_headed"
outputs = ["kind", "size"]

[[layers]]
class_name = "Input"
input_shape = [6]
name = "left"

[[layers]]
class_name = "Input"
input_shape = [4, 2]
name = "right"

[[layers]]
class_name = "LSTM"
units = 3
return_state = true

[[layers]]
class_name = "Concatenate"
inputs = ["left", "lstm:2"]

[[layers]]
class_name = "Dense"
units = 2
activation = "softmax"
name = "kind"

[[layers]]
class_name = "Dense"
units = 1
name = "size"
inputs = "concatenate"

[compile]
loss = { kind = "sparse_categorical_crossentropy", size = "mse" }
loss_weights = { kind = 1.0, size = 0.5 }

[data]
dataset = "npz"
path = "pairs.npz"
"#;

#[test]
fn layers_can_form_a_graph() {
    let recipe = Recipe::parse("r.toml", BRANCHES).unwrap();
    let model = recipe.model(&Device::default()).unwrap();
    assert_eq!(
        (model.name(), model.input_keys(), model.output_keys()),
        ("two_headed", vec!["left".to_owned(), "right".to_owned()], vec!["kind".to_owned(), "size".to_owned()])
    );
    assert_eq!(model.count_params().unwrap(), 4 * 3 * (2 + 3 + 1) + 10 * 2 + 10);
    let again = Recipe::parse("r.toml", recipe.to_toml().unwrap()).unwrap();
    assert_eq!(again.model(&Device::default()).unwrap().to_json().unwrap(), model.to_json().unwrap());
}

#[test]
fn errors_in_a_graph_are_found() {
    let refused = |from: &str, to: &str| {
        assert!(BRANCHES.contains(from));
        Recipe::parse("r.toml", BRANCHES.replacen(from, to, 1)).unwrap_err().to_string()
    };
    let has = |text: &str, one: &str, other: &str| assert!(text.contains(one) && text.contains(other), "{text}");
    let error = refused("\"left\", \"lstm:2\"", "\"lefft\", \"lstm:2\"");
    has(&error, "unknown layer `lefft`", "`left`?");
    assert!(error.starts_with("r.toml:23:"), "{error}");
    has(&refused("lstm:2", "lstm:3"), "3 outputs of `lstm`", "`lstm:3`");
    has(&refused("inputs = [\"left\", \"lstm:2\"]", ""), "which of the 3 outputs", "lstm:1");
    has(&refused("outputs = [\"kind\", \"size\"]", "outputs = [\"kind\"]"), "leads to an output", "`size`");
    has(&refused("outputs = [\"kind\", \"size\"]", "outputs = [\"kinds\"]"), "unknown layer `kinds`", "`kind`?");
    has(&refused("name = \"size\"", "name = \"kind\""), "kind", "name");
    has(&refused("inputs = \"concatenate\"", "inputs = \"size\""), "unknown layer `size`", "valid: concatenate");
    has(&refused("inputs = \"concatenate\"", "inputs = 3"), "r.toml:35:10: ", "a name, or a list of names");
    has(&refused("units = 1", "units = 1\ninput_shape = [10]"), "input_shape", "of its own");
}

/// The rows of the table below a heading of the guide's chapter: keys, and what stands in the second column.
fn guide_rows(heading: &str) -> Vec<(String, String)> {
    let chapter = include_str!("../../docs/guide/recipes.md");
    let section = chapter.split("\n# ").find(|section| section.lines().next() == Some(heading)).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let cells = rows.map(|row| row.split_once("` | ").unwrap());
    cells.map(|(key, rest)| (key.to_owned(), rest.split(" |").next().unwrap().trim().to_owned())).collect()
}

fn check_guide(heading: &str, keys: &[&str], defaults: &Json) {
    let rows = guide_rows(heading);
    let listed: Vec<&str> = rows.iter().map(|(key, _)| key.as_str()).collect();
    let sorted = |mut keys: Vec<&str>| {
        keys.sort_unstable();
        keys.join(" ")
    };
    assert_eq!(sorted(listed), sorted(keys.to_vec()), "keys below `{heading}`");
    for (key, default) in &rows {
        if let Some(value) = defaults.get(key).filter(|_| key != "seed" && key != "dataset") {
            assert_eq!(*default, format!("`{value}`"), "the default of `{key}` below `{heading}`");
        }
    }
}

#[test]
fn the_guide_lists_every_key_with_its_default() {
    let fit = FitSettings::from_config(Config::new()).unwrap();
    check_guide("`[fit]`", FIT, &serde_json::to_value(fit).unwrap());
    check_guide("`[compile]`", COMPILE, &Json::Null);
    check_guide("`[model]`", MODEL, &Json::Null);
    let data = Data::new(DataSet::Mnist { data_dir: None });
    let mut keys: Vec<&str> =
        data::COMMON.iter().chain(data::SETS.iter().flat_map(|(_, keys)| *keys)).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    check_guide("`[data]`", &keys, &serde_json::to_value(data).unwrap());
    let layer: Vec<&str> =
        ["class_name", INPUTS, adapt::ADAPT].into_iter().chain(Common::ARGUMENTS.iter().copied()).collect();
    check_guide("`[[layers]]`", &layer, &Json::Null);
    let sections: Vec<&str> = SECTIONS.to_vec();
    check_guide("The sections", &sections, &Json::Null);
}

#[test]
fn the_guide_lists_the_keys_of_each_data_set() {
    for (set, keys) in data::SETS {
        let (_, listed) = guide_rows("Data sets").into_iter().find(|(name, _)| name == set).unwrap();
        let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
        assert_eq!(listed, keys.join(", "), "{set}");
    }
}
