//! From typical user data to predictions: images in folders, tables with texts and gaps, regression, time series.

use std::process::Stdio;

use brasa::datasets::DataInfo;
use brasa::prelude::*;
use serde_json::{Value as Json, json};

use crate::support::{Place, Said};

/// Deterministic pseudorandom numbers in [0, 1).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 24) as f32
    }

    fn within(&mut self, low: f32, high: f32) -> f32 {
        low + self.next() * (high - low)
    }
}

/// An image of a shape, light on dark, with random position and size.
fn shape(name: &str, draws: &mut Draws) -> image::GrayImage {
    let (x, y, size) = (draws.within(10.0, 14.0), draws.within(10.0, 14.0), draws.within(6.0, 9.0));
    let light = draws.within(170.0, 255.0);
    image::GrayImage::from_fn(24, 24, |column, row| {
        let (dx, dy) = (column as f32 - x, row as f32 - y);
        let inside = match name {
            "circle" => dx * dx + dy * dy <= size * size && dx * dx + dy * dy >= (size - 3.0) * (size - 3.0),
            "cross" => (dx.abs() < 1.6 || dy.abs() < 1.6) && dx.abs() < size && dy.abs() < size,
            _ => dx.abs() < size && dy.abs() < size && (row % 4 < 2),
        };
        image::Luma([if inside { light as u8 } else { draws.within(0.0, 40.0) as u8 }])
    })
}

fn shapes(place: &Place, folder: &str, each: usize, draws: &mut Draws) {
    for name in ["stripes", "circle", "cross"] {
        let path = place.at(folder).join(name);
        std::fs::create_dir_all(&path).unwrap();
        for index in 0..each {
            shape(name, draws).save(path.join(format!("{index}.png"))).unwrap();
        }
    }
}

fn number(json: &Json) -> f64 {
    json.as_f64().unwrap_or_else(|| panic!("{json}"))
}

#[test]
fn images_of_three_shapes() {
    let place = Place::new();
    let mut draws = Draws(1);
    shapes(&place, "data/train", 24, &mut draws);
    shapes(&place, "data/val", 6, &mut draws);
    shapes(&place, "data/test", 8, &mut draws);
    std::fs::write(place.at("data/train/circle/._0.png"), "left by macOS").unwrap();

    place.done("init images data");
    assert!(place.fails("init images data").contains("which is there"));
    let recipe = place.read("images.toml");
    assert!(recipe.contains("input_shape = [32, 32, 1]") && recipe.contains("units = 3"), "{recipe}");
    let check = place.json("check images.toml --json");
    assert_eq!(check["samples"], json!({ "train": 72, "validation": 18, "test": 24 }));
    assert_eq!((&check["class_counts"], &check["broken"]), (&json!([24, 24, 24]), &json!(0)));
    assert_eq!(check["class_names"], json!(["circle", "cross", "stripes"]));

    let said = place.done("train images.toml --out run --json");
    assert!(said.stderr.contains("found 72 images of 3 classes in `data/train`; one file"), "{}", said.stderr);
    assert!(number(&said.json()["evaluation"]["metrics"]["accuracy"]) > 0.9, "{}", said.stdout);
    let config = place.read("run/config.toml");
    assert!(config.contains("class_names = [\"circle\", \"cross\", \"stripes\"]"), "{config}");

    // The run's own test data, and a folder that lacks the first class: classes are matched by name.
    let own = place.json("evaluate run --json");
    assert!(number(&own["metrics"]["accuracy"]) > 0.9 && own["samples"] == json!(24), "{own}");
    assert_eq!(own["class_names"], json!(["circle", "cross", "stripes"]));
    let counted: f64 =
        own["confusion_matrix"].as_array().unwrap().iter().flat_map(|row| row.as_array().unwrap()).map(number).sum();
    assert_eq!((counted, own["classes"][2]["support"].clone()), (24.0, json!(8)));
    let validated = place.json("evaluate run --split val --json");
    assert_eq!(validated["samples"], json!(18));
    std::fs::create_dir_all(place.at("some")).unwrap();
    std::fs::rename(place.at("data/test/stripes"), place.at("some/stripes")).unwrap();
    let some = place.json("evaluate run --data some --json --output some.csv");
    assert!(number(&some["metrics"]["accuracy"]) > 0.85, "{some}");
    let table = place.read("some.csv");
    assert!(table.starts_with("input,true,class,name,probability,error\n"), "{table}");
    let right = table.lines().skip(1).filter(|line| line.contains(",stripes,2,stripes,")).count();
    assert!(right >= 7 && table.lines().count() == 9, "{table}");
    std::fs::rename(place.at("some/stripes"), place.at("some/dots")).unwrap();
    let error = place.run("evaluate run --data some");
    assert!(error.code == Some(1) && error.stderr.contains("unknown class") && error.stderr.contains("`dots`"));

    // A folder, a glob pattern, standard input, and a file that is not an image.
    place.write("broken.png", "no image");
    let said =
        place.run("predict run/model.keras data/val/cross broken.png some/dots/[0-3].png --top 1 --format jsonl");
    assert_eq!(said.code, Some(1));
    let lines: Vec<Json> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6 + 1 + 4, "{}", said.stdout);
    let named =
        |lines: &[Json], name: &str| lines.iter().filter(|line| line["classes"][0]["name"] == json!(name)).count();
    assert!(named(&lines[..6], "cross") >= 5 && named(&lines[7..], "stripes") >= 3, "{}", said.stdout);
    assert!(lines[6]["error"].as_str().unwrap().contains("broken.png"), "{}", lines[6]);
    let mut command = place.command("predict run - --json");
    let image = std::fs::File::open(place.at("data/val/circle/1.png")).unwrap();
    let said = Said::by(command.stdin(Stdio::from(image))).done().json();
    assert_eq!((&said[0]["input"], &said[0]["classes"][0]["name"]), (&json!("-"), &json!("circle")));
    place.done("predict run data/val/circle --output answers.csv");
    assert!(place.read("answers.csv").lines().skip(1).filter(|line| line.contains(",0,circle,")).count() >= 5);
    assert!(place.fails("predict run data/val/circle --output answers.xlsx").contains("`.csv`"));

    // Broken images are rejected before training, or skipped.
    place.write("data/train/cross/3.png", "no image");
    let error = place.fails("train images.toml --out other --epochs 1 --quiet");
    assert!(error.contains("data/train/cross/3.png") && error.contains("skip_broken"), "{error}");
    assert!(!place.at("other").exists());
    let said = place.run("check images.toml");
    assert!(
        said.code == Some(1) && said.stderr.contains("3.png") && said.stderr.contains("1 that cannot"),
        "{}",
        said.stderr
    );
    let said = place.done("train images.toml --out other --epochs 1 --skip-broken");
    assert!(said.stderr.contains("3.png` was left out"), "{}", said.stderr);
}

/// The survivors are women, and men below 15.
fn passengers(rows: usize, draws: &mut Draws) -> String {
    let mut text = "PassengerId,Name,Sex,Age,Fare,Embarked,Boarded,Survived\n".to_owned();
    for row in 1..=rows {
        let sex = if draws.next() < 0.5 { "male" } else { "female" };
        let age = draws.within(1.0, 60.0).round();
        let survived = if sex == "female" || age < 15.0 { "yes" } else { "no" };
        let (fare, port) = (draws.within(5.0, 80.0), ["C", "Q", "S"][(draws.next() * 3.0) as usize]);
        let age = if draws.next() < 0.05 { String::new() } else { age.to_string() };
        let port = if draws.next() < 0.05 { "" } else { port };
        text += &format!("{row},\"Doe, J. {row}\",{sex},{age},{fare:.2},{port},1912-04-10,{survived}\n");
    }
    text
}

#[test]
fn a_table_with_texts_and_gaps() {
    let place = Place::new();
    let mut draws = Draws(2);
    place.write("people.csv", passengers(400, &mut draws));
    place.write("later.csv", passengers(200, &mut draws));
    place.done("init table people.csv --target Survived");
    let recipe = place.read("table.toml");
    for line in [
        "exclude = [\"PassengerId\", \"Name\", \"Boarded\"]",
        "missing = { \"Age\" = \"mean\", \"Embarked\" = \"category\" }",
        "adapt = true",
    ] {
        assert!(recipe.contains(line), "{line}: {recipe}");
    }
    let said = place.done("train table.toml --out run --epochs 40 --json");
    assert!(said.stderr.contains("`Sex` (2), `Embarked` (4)"), "{}", said.stderr);

    let later = place.json("evaluate run --data later.csv --json");
    assert!(number(&later["metrics"]["accuracy"]) > 0.9, "{later}");
    assert_eq!(later["class_names"], json!(["no", "yes"]));
    assert_eq!(later["confusion_matrix"].as_array().unwrap().len(), 2);

    // The same rows with their columns in another order, without the target, and one with an unseen category.
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in place.read("later.csv").lines().take(21) {
        let fields: Vec<&str> = line.split(',').collect();
        let end = fields.len();
        // Sex, Age, Fare, Embarked.
        rows.push([end - 3, end - 4, end - 5, end - 6].map(|index| fields[index].to_owned()).to_vec());
    }
    rows[3][0] = "X".to_owned();
    let text: Vec<String> = rows.iter().map(|row| row.join(";")).collect();
    place.write("new.csv", text.join("\n"));
    let said = place.run("predict run new.csv --format jsonl");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let lines: Vec<Json> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 20);
    assert!(lines[2]["error"].as_str().unwrap().contains("unknown text `X`"), "{}", lines[2]);
    assert_eq!(lines[0]["input"], json!("new.csv:2"));
    let mut right = 0;
    for (row, line) in rows[1..].iter().zip(&lines) {
        if let Ok(age) = row[2].parse::<f32>() {
            let survived = if row[3] == "female" || age < 15.0 { "yes" } else { "no" };
            right += usize::from(line["classes"][0]["name"] == json!(survived));
        }
    }
    assert!(right >= 15, "{right}: {}", said.stdout);

    // The table's metadata is saved in every format.
    for name in ["copy.h5", "copy.safetensors", "copy.keras"] {
        place.done(&format!("convert run {name}"));
        let info = Model::load(place.at(name)).unwrap().data_info().clone();
        assert_eq!(info.class_names, ["no", "yes"], "{name}");
        let names = info.table.unwrap().input_names();
        assert_eq!(
            names,
            ["Sex=female", "Sex=male", "Age", "Fare", "Embarked=", "Embarked=C", "Embarked=Q", "Embarked=S"]
        );
    }
    let copied = place.json("evaluate copy.h5 --data later.csv --json");
    assert!((number(&copied["loss"]) - number(&later["loss"])).abs() < 1e-5);
}

#[test]
fn invalid_tables_are_reported_with_their_place() {
    let place = Place::new();
    let recipe = "[data]\ndataset = \"csv\"\npath = \"t.csv\"\n[[layers]]\nclass_name = \"Dense\"\nunits = 1\n\
                  [compile]\nloss = \"mse\"\n[fit]\nverbose = 0\n";
    place.write("r.toml", recipe);
    let fails = |text: &str, set: &str, said: &str| {
        place.write("t.csv", text);
        let error = place.fails(&format!("train r.toml --out x {set}"));
        assert!(error.contains(said), "{text} {set}: {error}");
    };
    fails(
        "day,y\n2020-01-02,1\n2020-01-03,2\n",
        "",
        "line 2, column 1 (`day`): expected numbers or categories, received the date",
    );
    fails("a,y\n\"1,5\",1\n\"2,5\",2\n", "", "line 2, column 1 (`a`): expected a number, received \"1,5\"");
    fails("a,y\n1,1\nx,2\nz,3\n", "", "line 3, column 1 (`a`): expected a number, received \"x\"; `exclude`");
    fails("a,y\n1,1\n,2\n", "", "line 3, column 1 (`a`): expected a number, received \"\"; `missing`");
    fails("a,y\n1,1\n,2\n", "--set data.missing=category", "mean or most_frequent");
    fails("a,y\nu,1\n,2\n", "--set data.missing=mean", "most_frequent or category");
    fails("a,y\n1,1\n", "--set data.exclude=[\"b\"]", "unknown column `b`");
    fails("a,y\n1,1\n", "--set data.missing=median", "unknown rule for gaps `median`");
    fails("a,b,y\n1,2,3\n", "--set data.columns=[\"a\",\"y\"]", "which is the target");
    let many: String = (0..150).map(|row| format!("name{row},1\n")).collect();
    fails(&format!("a,y\n{many}"), "", "up to 100 texts");
    fails(
        "a,y\n1,u\n2,v\n3,w\n",
        "--set compile.loss=sparse_categorical_crossentropy --set layers.0.units=2 --set layers.0.activation=softmax",
        "3: u, v, w",
    );
    place.write("t.csv", "a;b;y\n1;2;3\n4;5;6\n");
    place.done("train r.toml --out semicolons");
    place.write("t.tsv", "a\tb\ty\n1\t2\t3\n");
    place.done("train r.toml --out tabs --data t.tsv");
    place.write("t.csv", "a,b,y,z\n1,2,3,4\n4,5,6,7\n");
    let said = place.json("train r.toml --out two --set data.target=[\"y\",\"z\"] --set layers.0.units=2 --json");
    assert!(number(&said["history"]["loss"][0]).is_finite());
}

#[test]
fn prices_of_houses() {
    let place = Place::new();
    let mut draws = Draws(3);
    let mut text = "area,rooms,garden,price\n".to_owned();
    for _ in 0..300 {
        let (area, rooms, garden) = (draws.within(40.0, 200.0), draws.within(1.0, 8.0).floor(), draws.next() < 0.4);
        let price = 2500.0 * area + 10_000.0 * rooms + if garden { 40_000.0 } else { 0.0 };
        text += &format!("{area:.1},{rooms},{},{price:.0}\n", if garden { "yes" } else { "no" });
    }
    place.write("houses.csv", &text);
    place.done("init table houses.csv -o houses.toml");
    let said = place.json("train houses.toml --out run --epochs 60 --json");
    let best = number(&said["restored"]["scores"]["val_mae"]);
    // The prices are between 110,000 and 620,000.
    assert!(best < 20_000.0, "{best}");
    place.write("new.csv", "rooms,garden,area\n4,yes,100\n2,no,60\n");
    let said = place.json("predict run new.csv --json");
    for (index, price) in [(0, 330_000.0), (1, 170_000.0)] {
        let output = number(&said[index]["output"][0]);
        assert!((output - price).abs() < 30_000.0, "{output} where {price} is right");
    }
    // The run is evaluated on its validation data.
    let own = place.json("evaluate run --json");
    assert!((number(&own["metrics"]["mae"]) - best).abs() < 1.0 && own["samples"] == json!(60), "{own}");
    assert!(own.get("confusion_matrix").is_none());
}

#[test]
fn a_sine_in_windows() {
    let place = Place::new();
    let mut text = "value\n".to_owned();
    (0..400).for_each(|step| text += &format!("{:.5}\n", (step as f32 * 0.3).sin()));
    place.write("sine.csv", &text);
    let recipe = r#"
        [data]
        dataset = "csv"
        path = "sine.csv"
        header = true
        window = 8
        ahead = 2
        validation_split = 0.2
        [[layers]]
        class_name = "Flatten"
        [[layers]]
        class_name = "Dense"
        units = 1
        [compile]
        optimizer = { class_name = "Adam", learning_rate = 0.02 }
        loss = "mse"
        [fit]
        epochs = 60
        seed = 1
        verbose = 0
    "#;
    place.write("sine.toml", recipe);
    let said = place.json("train sine.toml --out run --json");
    let losses = said["history"]["val_loss"].as_array().unwrap();
    assert!(number(losses.last().unwrap()) < 1e-3, "{losses:?}");
    // The last window's target is two steps after its end, beyond the last row.
    let said = place.json("predict run sine.csv --json");
    assert_eq!(said.as_array().unwrap().len(), 400 - 8 + 1);
    let (first, last) = (&said[0], &said[400 - 8]);
    assert_eq!((&first["input"], &last["input"]), (&json!("sine.csv:9"), &json!("sine.csv:401")));
    let near =
        |json: &Json, step: f64| assert!((number(&json["output"][0]) - (step * 0.3).sin()).abs() < 0.1, "{json}");
    near(first, 9.0);
    near(last, 401.0);
    // A table without a window, or without rows, is not ignored.
    place.write("short.csv", "value\n1\n2\n3\n");
    place.write("none.csv", "value\n");
    for name in ["short.csv", "none.csv"] {
        let said = place.run(&format!("predict run {name} --json"));
        let error = said.json()[0]["error"].as_str().unwrap().to_owned();
        assert!(said.code == Some(1) && error.contains("at least 8 rows"), "{error}");
    }
    let own = place.json("evaluate run --json");
    assert!(number(&own["loss"]) < 1e-3 && own["samples"] == json!(79), "{own}");
    assert!(place.fails("train sine.toml --out x --set data.window=0").contains("`window`"));
}

#[test]
fn adapting_uses_the_training_data_only() {
    let place = Place::new();
    place.write("t.csv", "a,y\n1,0\n3,0\n5,0\n1000,0\n");
    let recipe = "[data]\ndataset = \"csv\"\npath = \"t.csv\"\nvalidation_split = 0.25\n[[layers]]\n\
                  class_name = \"Rescaling\"\nscale = 2.0\n[[layers]]\nclass_name = \"Normalization\"\nadapt = true\n[[layers]]\nclass_name = \"Dense\"\nunits = 1\n\
                  [compile]\nloss = \"mse\"\n[fit]\nverbose = 0\n";
    place.write("r.toml", recipe);
    place.done("train r.toml --out run");
    let weights = Model::load(place.at("run/model.keras")).unwrap().get_weights().unwrap();
    assert_eq!(weights[0].as_slice().unwrap(), [6.0]);
    assert!((weights[1].as_slice().unwrap()[0] - 32.0 / 3.0).abs() < 1e-5, "{:?}", weights[1]);
    let error = place.fails("train r.toml --out x --set layers.2.adapt=true");
    assert!(error.contains("`adapt`") && error.contains("received Dense"), "{error}");
    place.write("r.toml", recipe.replace("adapt = true", "adapt = 3"));
    assert!(place.fails("train r.toml --out x").contains("true or false"));
}

#[test]
fn a_resumed_run_keeps_what_was_decided() {
    let place = Place::new();
    shapes(&place, "data", 4, &mut Draws(4));
    place.done("init images data");
    place.done("train images.toml --out run --epochs 1");
    let said = place.run("train images.toml --out run --resume --epochs 1");
    assert!(said.code == Some(0) && said.stderr.contains("is finished"), "{}", said.stderr);
    let said = place.done("train images.toml --out run --resume --accept-changes --epochs 2 --json").json();
    assert_eq!(said["epochs"], json!(2));
}

#[test]
fn models_without_data_info_require_data() {
    let place = Place::new();
    let mut model = Sequential::new();
    model.add(Dense::new(2).activation("softmax").input_shape(3)).unwrap();
    model.compile(Compile::new("sgd", "sparse_categorical_crossentropy").metrics(["accuracy"])).unwrap();
    model.save(place.at("m.keras")).unwrap();
    let error = place.fails("evaluate m.keras");
    assert!(error.contains("--data") && error.contains("--dataset"), "{error}");
    assert!(place.fails("evaluate m.keras --dataset mnist --class-names a,b,c").contains("2 names"));
    assert!(place.fails("predict m.keras x.csv --class-names a,a").contains("`a` twice"));
    let mut info = DataInfo::default();
    info.class_names = vec!["no".into(), "yes".into()];
    *model.data_info_mut() = info;
    model.save(place.at("m.keras")).unwrap();
    place.write("x.csv", "1,2,3\n4,5,6\n");
    let said = place.json("predict m.keras x.csv --json");
    assert!(said[1]["classes"][0]["name"].is_string() && said[1]["input"] == json!("x.csv:2"), "{said}");
}

#[test]
fn runs_are_listed_and_compared() {
    let place = Place::new();
    place.write("t.csv", "a,y\n1,2\n3,6\n5,10\n");
    let recipe = "[data]\ndataset = \"csv\"\npath = \"t.csv\"\n[[layers]]\nclass_name = \"Dense\"\nunits = 1\n\
                  [compile]\noptimizer = \"sgd\"\nloss = \"mse\"\n[fit]\nverbose = 0\nseed = 1\nepochs = 3\n";
    place.write("r.toml", recipe);
    place.done("train r.toml --lr 0 --out runs/a");
    place.done("train r.toml --lr 0.02 --out runs/b");
    assert!(place.read("runs/b/config.toml").contains("learning_rate = 0.02"));
    let list = place.json("runs list --json");
    assert_eq!((list.as_array().unwrap().len(), &list[1]["epochs"]), (2, &json!(3)));
    let best = place.json("runs best --json");
    assert_eq!((&best["run"], &best["metric"], &best["epoch"]), (&json!("runs/b"), &json!("loss"), &json!(2)));
    let said = place.done("runs compare runs/a runs/b").stdout;
    assert!(said.contains("learning_rate") && said.contains("→ 0.02"), "{said}");
    assert!(place.done("runs").stdout.contains("runs/a  3 epochs"));
    assert!(place.fails("runs best --metric los").contains("did you mean `loss`?"));
}

#[test]
fn layers_are_shown_from_their_list() {
    let place = Place::new();
    let all = place.json("layers --json");
    assert_eq!(all.as_array().unwrap().len(), brasa::layers::built_in().len());
    let dense = place.json("layers Dense --json");
    assert!(dense["arguments"].as_array().unwrap().contains(&json!("units")), "{dense}");
    assert!(place.done("layers Dense").stdout.contains("units = "));
    for (name, class) in [("Input", "InputLayer"), ("GroupQueryAttention", "GroupedQueryAttention")] {
        assert_eq!(place.json(&format!("layers {name} --json"))["class_name"], class);
    }
    assert!(place.fails("layers Dens").contains("did you mean `Dense`?"));
}

#[test]
fn options_about_what_is_not_there_are_refused() {
    let place = Place::new();
    let model = |units: usize, activation: &str, loss: &str, path: &str| {
        let mut model = Sequential::new();
        model.add(Dense::new(units).activation(activation).input_shape(2)).unwrap();
        model.compile(Compile::new("sgd", loss)).unwrap();
        model.save(place.at(path)).unwrap();
    };
    model(2, "softmax", "sparse_categorical_crossentropy", "classes.keras");
    model(3, "sigmoid", "binary_crossentropy", "labels.keras");
    model(1, "linear", "mse", "numbers.keras");
    place.write("t.csv", "a,b,y\n1,2,0\n3,4,1\n");
    place.write("x.csv", "0.5,1.5\n2.5,3.5\n");
    place.npz("t.npz", &[("x", &[2, 2], &[1.0, 2.0, 3.0, 4.0]), ("y", &[2], &[0.0, 1.0])]);
    for data in ["t.csv", "t.npz"] {
        for option in ["--pixels 0..255", "--skip-broken"] {
            let error = place.fails(&format!("evaluate classes.keras --data {data} {option}"));
            assert!(error.contains(&option[..8]) && error.contains("images"), "{error}");
        }
        place.done(&format!("evaluate classes.keras --data {data} --class-names no,yes"));
    }
    let error = place.fails("evaluate numbers.keras --data t.csv --class-names no");
    assert!(error.contains("--class-names") && error.contains("a model of numbers"), "{error}");
    for (arguments, option) in [
        ("numbers.keras x.csv --top 2", "--top"),
        ("numbers.keras x.csv --class-names a", "--class-names"),
        ("labels.keras x.csv --top 2 --format csv", "--top"),
        ("classes.keras x.csv --pixels 0..255", "--pixels"),
        ("classes.keras x.npy --header true", "--header"),
        ("classes.keras x.npy --output out.npy --invert", "--invert"),
        ("classes.keras x.npy --output out.npy --top 2", "--top"),
        ("classes.keras --input x.npy --output out.npy --pixels 0..1", "--pixels"),
        ("classes.keras --input x.npy --output out.npy --class-names a,b", "--class-names"),
    ] {
        let error = place.fails(&format!("predict {arguments}"));
        assert!(error.contains(option) && !place.at("out.npy").exists(), "{arguments}: {error}");
    }
    place.done("predict classes.keras x.csv --header false --top 1 --class-names no,yes");
    // What is missing is said, and not that there is no table.
    assert!(place.run("predict classes.keras none.csv --header true").stderr.contains("none.csv"));
}

#[test]
fn a_gap_where_training_had_none_is_refused_with_its_place() {
    let place = Place::new();
    place.write("t.csv", "kind,y\nu,1\nv,2\nu,1\n");
    place.write(
        "r.toml",
        "[data]\ndataset = \"csv\"\npath = \"t.csv\"\nmissing = \"category\"\n[[layers]]\nclass_name = \"Dense\"\n\
         units = 1\n[compile]\nloss = \"mse\"\n[fit]\nverbose = 0\n",
    );
    place.done("train r.toml --out run");
    place.write("new.csv", "kind\nv\n,\n".replace(',', "NA"));
    let said = place.run("predict run new.csv --json");
    let error = said.json()[1]["error"].as_str().unwrap().to_owned();
    assert!(said.code == Some(1) && error.contains("line 3, column 1 (`kind`): expected a text (u, v)"), "{error}");
    assert!(error.contains("received a gap; there was none in what was trained on"), "{error}");
}

#[test]
fn labels_have_a_table_of_their_own() {
    let place = Place::new();
    let mut model = Sequential::new();
    model.add(ActivationLayer::new("sigmoid").input_shape(3)).unwrap();
    model.compile(Compile::new("sgd", "binary_crossentropy")).unwrap();
    model.data_info_mut().class_names = vec!["sun".into(), "rain".into(), "wind".into()];
    model.save(place.at("m.keras")).unwrap();
    let x = [2.0, -1.0, 3.0, 1.0, 1.0, -3.0, -2.0, 1.0, 0.0, -1.0, -1.0, -1.0];
    let y = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0];
    place.npz("d.npz", &[("x", &[4, 3], &x), ("y", &[4, 3], &y)]);
    let said = place.json("evaluate m.keras --data d.npz --json");
    assert_eq!(said["class_names"], json!(["sun", "rain", "wind"]));
    assert_eq!(
        said["classes"][1],
        json!({ "name": "rain", "precision": 0.5, "recall": 1.0, "f1": 2.0 / 3.0, "support": 1 })
    );
    assert!(said.get("confusion_matrix").is_none());
    let text = place.done("evaluate m.keras --data d.npz").stdout;
    assert!(
        text.contains("label  precision") && text.contains("2 of 4 samples have exactly the predicted labels"),
        "{text}"
    );
}

#[test]
fn the_report_of_a_regression_shows_predicted_and_true() {
    let place = Place::new();
    let rows: String = (0..40).map(|row| format!("{row},{}\n", row * 3)).collect();
    place.write("t.csv", format!("a,price\n{rows}"));
    place.write(
        "r.toml",
        "[data]\ndataset = \"csv\"\npath = \"t.csv\"\nvalidation_split = 0.2\n[[layers]]\nclass_name = \"Dense\"\nunits = 1\n\
         [compile]\nloss = \"mse\"\n[fit]\nverbose = 0\nepochs = 2\n",
    );
    place.done("train r.toml --out run");
    let page = place.read("run/report.html");
    assert!(page.contains("Predicted and true, validation data") && page.contains("8 samples"), "no such part");
    assert!(page.contains("predicted price over true") && page.contains("residuals of price over predicted"));
    assert!(page.matches("<circle").count() >= 16);
}

#[test]
fn every_key_of_a_recipe_is_shown() {
    let place = Place::new();
    let said = place.done("help recipe").stdout;
    for text in ["[data]", "  missing = \"refuse\"", "(csv)", "  batch_size = 32", "[[callbacks]]", "EarlyStopping"] {
        assert!(said.contains(text), "{text}: {said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    assert!(place.done("help init images").stdout.contains("--size"));
    assert!(place.done("help").stdout.contains("help"));
    assert!(place.fails("help recpie").contains("did you mean `recipe`?"));
}

#[test]
fn the_best_run_is_that_of_the_metric_s_direction() {
    let place = Place::new();
    for (name, values) in [("a", "3,0.5"), ("b", "1,0.25")] {
        std::fs::create_dir_all(place.at("runs").join(name)).unwrap();
        let recipe = "[compile]\nloss = \"mse\"\n[[compile.metrics]]\nclass_name = \"AUC\"\nname = \"roc\"\n";
        place.write(&format!("runs/{name}/config.toml"), recipe);
        let (wrong, roc) = values.split_once(',').unwrap();
        place.write(
            &format!("runs/{name}/history.csv"),
            format!("epoch,loss,false_negatives,roc,own\n0,1,{wrong},{roc},1\n"),
        );
    }
    let best = |arguments: &str| place.json(&format!("runs best {arguments} --json"))["run"].clone();
    assert_eq!(best("--metric false_negatives"), json!("runs/b"));
    assert_eq!(best("--metric roc"), json!("runs/a"));
    assert_eq!(best("--metric roc --mode min"), json!("runs/b"));
    assert!(place.fails("runs best --metric own").contains("--mode"));
}
