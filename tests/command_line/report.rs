//! Reports of a run: its page, comparisons of runs, diagrams of networks, the learning rate finder.

use std::fs;

use base64::Engine;

use crate::support::{Place, SIDE, image};

/// A recipe that learns within a second which third of an image is light.
const RECIPE: &str = r#"
[data]
dataset = "npz"
path = "xy.npz"
validation_split = 0.25

[[layers]]
class_name = "Conv2D"
filters = 5
kernel_size = [3, 3]
activation = "relu"
input_shape = [9, 9, 1]

[[layers]]
class_name = "Flatten"

[[layers]]
class_name = "Dense"
units = 3
activation = "softmax"

[compile]
optimizer = { class_name = "Adam", learning_rate = 0.01 }
loss = "sparse_categorical_crossentropy"
metrics = ["accuracy"]

[fit]
epochs = 4
batch_size = 16
seed = 1
"#;

/// A folder with the recipe and its data.
fn thirds() -> Place {
    let place = Place::with("thirds.toml", RECIPE);
    let labels: Vec<usize> = (0..120).map(|index| index * 7 % 3).collect();
    let images = |labels: &[usize]| -> Vec<f32> { labels.iter().flat_map(|label| image(*label)).collect() };
    let told = |labels: &[usize]| -> Vec<f32> { labels.iter().map(|label| *label as f32).collect() };
    // Two of the thirty test samples have a wrong label, so that there are mistakes to show.
    let mut wrong = labels[..30].to_vec();
    for index in [4, 11] {
        wrong[index] = (wrong[index] + 1) % 3;
    }
    let arrays: [(&str, &[usize], &[f32]); 4] = [
        ("x_train", &[120, SIDE, SIDE, 1], &images(&labels)),
        ("y_train", &[120], &told(&labels)),
        ("x_test", &[30, SIDE, SIDE, 1], &images(&labels[..30])),
        ("y_test", &[30], &told(&wrong)),
    ];
    place.npz("xy.npz", &arrays);
    place
}

/// The text of a page, without its tags.
fn words(page: &str) -> String {
    let mut words = String::new();
    let mut inside = false;
    for letter in page.chars() {
        match letter {
            '<' => inside = true,
            '>' => {
                inside = false;
                words.push(' ');
            }
            letter if !inside => words.push(letter),
            _ => {}
        }
    }
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every tag is closed, in order, and nothing refers to anything outside the page.
fn check_page(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap();
        let name = tag.split([' ', '/', '\n']).find(|part| !part.is_empty()).unwrap();
        match () {
            () if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            () if tag.starts_with('!') || tag.ends_with('/') || ["meta", "br", "img"].contains(&name) => {}
            () => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
    for outside in ["http:", "https:", "<script", "<link", "@import", "url(", "href=", " src=\"/", "onload"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let sources: Vec<&str> = page.split(" src=\"").skip(1).collect();
    assert!(sources.iter().all(|source| source.starts_with("data:image/png;base64,")));
}

#[test]
fn a_run_has_a_page_with_everything() {
    let place = thirds();
    let report = place.json("train thirds.toml --out run --json");
    let page = place.read("run/report.html");
    check_page(&page);
    let words = words(&page);
    let last = |name: &str| report["history"][name][3].as_f64().unwrap();
    let evaluation = &report["evaluation"];
    for expected in [
        format!("test accuracy {:.2} %", 100.0 * evaluation["metrics"]["accuracy"].as_f64().unwrap()),
        format!("test loss {:.4}", evaluation["loss"].as_f64().unwrap()),
        format!("validation loss, last epoch {:.4}", last("val_loss")),
        "epochs 4 ".into(),
        "samples a second ".into(),
        "Adam · learning rate 0.01".into(),
        "Confusion matrix, test data".into(),
        "Class Precision Recall F1 Support 0 ".into(),
        "Worst mistakes, test data".into(),
        "5 kernels of conv2d".into(),
        "conv2d Conv2D (None, 7, 7, 5) 50".into(),
        "dense Dense (None, 3) 738".into(),
        "Parameters: 788 in all, 788 trainable, 0 not.".into(),
        "learning_rate = 0.01".into(),
        "Brasa 0.".into(),
        "Device Flex".into(),
    ] {
        assert!(words.contains(&expected), "{expected}: {words}");
    }
    for title in ["<title>loss over epoch: training from", "<title>accuracy over epoch: training from"] {
        assert!(page.contains(title), "{title}");
    }
    assert!(page.contains("prefers-color-scheme: dark") && page.contains("currentColor"));

    // The mislabelled samples are among the mistakes, as images of nine by nine pixels.
    assert!(words.contains(", no. 4") && words.contains(", no. 11"), "{words}");
    let source = page.split("class=\"mistakes\"").nth(1).unwrap().split("base64,").nth(1).unwrap();
    let png = base64::engine::general_purpose::STANDARD.decode(source.split('"').next().unwrap()).unwrap();
    let shown = image::load_from_memory(&png).unwrap().to_luma8();
    assert_eq!(shown.dimensions(), (9, 9));
    assert_eq!(shown.pixels().filter(|pixel| pixel.0[0] == 255).count(), 27, "a third is light");
}

#[test]
fn the_page_s_matrix_is_that_of_evaluate() {
    let place = thirds();
    place.done("train thirds.toml --out run --quiet");
    let told = place.done("evaluate run/model.keras --data xy.npz --quiet").stdout;
    let page = place.read("run/report.html");
    let cells = page.split("class=\"matrix\"").nth(1).unwrap().split("</table>").next().unwrap();
    let numbers: Vec<String> = cells
        .split("--share:")
        .skip(1)
        .map(|cell| words(cell.split_once('>').unwrap().1.split("</td>").next().unwrap()))
        .collect();
    let rows = told.split("predicted class)\n").nth(1).unwrap().lines().skip(1).take(3);
    let expected: Vec<String> = rows.flat_map(|row| row.split_whitespace().skip(1).map(str::to_owned)).collect();
    assert_eq!(numbers, expected);
    assert_eq!(numbers.iter().map(|number| number.parse::<usize>().unwrap()).sum::<usize>(), 30);
}

#[test]
fn a_regression_has_a_page_without_classes() {
    let place = thirds();
    let rows: String = (0..40).map(|row| format!("{},{},{}\n", row % 5, row % 7, 0.1 * f64::from(row))).collect();
    place.write("houses.csv", format!("a,b,price\n{rows}"));
    let recipe = "data = { dataset = \"csv\", path = \"houses.csv\" }\ncompile = { loss = \"mse\", optimizer = { \
                  class_name = \"SGD\", learning_rate = { class_name = \"ExponentialDecay\", initial_learning_rate = \
                  0.01, decay_steps = 2, decay_rate = 0.5 } } }\nfit = { epochs = 2 }\n[[layers]]\nclass_name = \
                  \"Dense\"\nunits = 1\ninput_shape = [2]\n";
    place.write("houses.toml", recipe);
    place.done("train houses.toml --out run --quiet");
    let page = place.read("run/report.html");
    check_page(&page);
    assert!(!page.contains("Confusion") && !page.contains("Worst mistakes") && !page.contains("First kernels"));
    assert!(page.contains("<title>learning rate over step: learning rate from 0.01 to "), "the schedule is drawn");
}

#[test]
fn validation_after_some_epochs_is_in_their_rows() {
    let place = thirds();
    place.done("train thirds.toml --out run --quiet --set fit.validation_freq=[1,3]");
    let history = place.read("run/history.csv");
    let table: Vec<Vec<&str>> = history.lines().map(|line| line.split(',').collect()).collect();
    let column = table[0].iter().position(|name| *name == "val_loss").unwrap();
    let gaps: Vec<bool> = table[1..].iter().map(|row| row[column] == "NA").collect();
    assert_eq!(gaps, [false, true, false, true], "{history}");
    assert!(table[1..].iter().all(|row| row[1].parse::<f64>().is_ok()));
    let page = place.read("run/report.html");
    check_page(&page);
    let last: f64 = table[3][column].parse().unwrap();
    assert!(words(&page).contains(&format!("validation loss, last epoch {last:.4}")), "{}", words(&page));
}

#[test]
fn names_are_written_as_text() {
    let place = thirds();
    fs::rename(place.at("thirds.toml"), place.at("a<b>&\"c.toml")).unwrap();
    place.done("train a<b>&\"c.toml --out run --quiet --epochs 1");
    let page = place.read("run/report.html");
    check_page(&page);
    assert!(page.contains("<h1>a&lt;b&gt;&amp;"), "{}", &page[..600]);
}

/// On systems where a file's name can contain such characters.
#[cfg(unix)]
#[test]
fn control_characters_in_names_are_escaped() {
    let place = thirds();
    fs::create_dir(place.at("run\u{1b}[31m")).unwrap();
    place.write("run\u{1b}[31m/history.csv", "epoch,\u{1b}]0;title\u{7}\n0,1\n1,2\n");
    let two_runs = "plot run\u{1b}[31m run\u{1b}[31m --metric \u{1b}]0;title\u{7}";
    let told = place.done(two_runs).stdout;
    assert!(told.contains("run\u{fffd}[31m \u{fffd}]0;title\u{fffd}"), "{told:?}");
    assert!(!told.contains(['\u{1b}', '\u{7}']), "{told:?}");
    place.done(&format!("{two_runs} --output runs.svg"));
    let svg = place.read("runs.svg");
    check_page(&svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""));
    assert!(svg.contains("run\u{fffd}[31m") && !svg.contains(['\u{1b}', '\u{7}']));
    let message = place.fails("plot none\u{1b}[31m");
    assert!(message.contains("none\u{fffd}[31m") && !message.contains('\u{1b}'), "{message:?}");
}

#[test]
fn runs_are_compared() {
    let place = thirds();
    place.done("train thirds.toml --out runs/a --quiet");
    place.done("train thirds.toml --out runs/b --quiet --epochs 2 --set compile.optimizer.learning_rate=0.001");

    let told = place.done("plot runs/a runs/b").stdout;
    assert!(!told.contains('\u{1b}'), "no colours into a pipe: {told}");
    let history = place.read("runs/b/history.csv");
    let column = history.lines().next().unwrap().split(',').position(|name| name == "val_loss").unwrap();
    let last: f64 = history.lines().nth(2).unwrap().split(',').nth(column).unwrap().parse().unwrap();
    let row = told.lines().find(|line| line.starts_with("b val_loss")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[2], "2", "{row}");
    assert!((cells[3].parse::<f64>().unwrap() - last).abs() < 1e-3 * last.abs(), "{row}: {last}");

    place.done("plot runs/a runs/b --metric loss --metric accuracy --output runs.svg");
    let svg = place.read("runs.svg");
    check_page(&svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""));
    for label in ["a loss", "a val_loss", "b loss", "b val_loss", "a accuracy", "b val_accuracy"] {
        assert!(svg.contains(&format!(">\n{label}\n")), "{label}");
    }
    place.done("plot runs/a/history.csv --metric val_accuracy --output runs.png");
    let png = image::open(place.at("runs.png")).unwrap().to_rgb8();
    assert!(png.width() > 900 && png.pixels().any(|pixel| pixel.0 == [255; 3]));
    let lines = png.pixels().filter(|pixel| pixel.0 == [208, 112, 4]).count();
    assert!(lines > 500, "{lines} pixels of the line");
}

#[test]
fn only_runs_are_compared() {
    let place = thirds();
    place.done("train thirds.toml --out run --quiet --epochs 1");
    fs::create_dir(place.at("empty")).unwrap();
    place.write("table.csv", "a,b\n1,2\n");
    for (arguments, expected) in [
        ("plot empty", "expected the directory of a run, with a history.csv, received `empty`"),
        ("plot run none", "cannot read `none`"),
        ("plot table.csv", "`table.csv` is broken at line 1"),
        ("plot run/model.keras", "`run/model.keras` is broken"),
        ("plot run --metric acuracy", "did you mean `accuracy`?"),
        ("plot run --output run.jpg", "`.svg`, `.png`"),
        ("plot run --output none/run.svg", "none/run.svg"),
    ] {
        let message = place.fails(arguments);
        assert!(message.contains(expected) && message.lines().count() == 1, "{arguments}: {message}");
    }
    assert_eq!(place.run("plot").code, Some(2));
}

#[test]
fn a_network_is_drawn() {
    let place = thirds();
    let told = place.done("summary thirds.toml --plot net.svg").stdout;
    assert!(told.contains("Total params: 788"), "{told}");
    let svg = place.read("net.svg");
    check_page(&svg.replace(" xmlns=\"http://www.w3.org/2000/svg\"", ""));
    for said in ["(None, 9, 9, 1)", "conv2d", "Conv2D", "(None, 7, 7, 5)", "50 parameters", "Flatten", "738 parameters"]
    {
        assert!(svg.contains(&format!(">\n{said}\n")), "{said}");
    }
    place.done("summary thirds.toml --plot net.png --json");
    let png = image::open(place.at("net.png")).unwrap();
    assert!(png.height() > png.width() / 2 && png.width() > 600);
    assert!(place.fails("summary thirds.toml --plot net.pdf").contains("`.svg`, `.png`"));
}

#[test]
fn learning_rates_are_tried() {
    let place = thirds();
    let told = place.json("train thirds.toml --find-lr --json --out run");
    let numbers = |name: &str| -> Vec<f64> {
        told[name].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    let (rates, losses) = (numbers("learning_rates"), numbers("losses"));
    assert!(rates.len() == losses.len() && rates.len() > 200, "{}", rates.len());
    assert!((rates[0] - 1e-7).abs() < 1e-9 && rates.is_sorted() && *rates.last().unwrap() <= 10.01);
    let proposal = told["proposal"].as_f64().unwrap();
    assert!((1e-5..1.0).contains(&proposal), "{proposal}");
    let svg = place.read("run/lr_finder.svg");
    assert!(svg.contains("learning rate") && svg.contains(">\nsmoothed\n") && svg.contains("steepest"), "{svg}");

    let told = place.done("train thirds.toml --find-lr").stdout;
    assert!(
        told.contains("\nProposal: learning_rate=") && told.contains("learning rate      loss  smoothed"),
        "{told}"
    );
    assert!(told.contains(&format!("={proposal:.1e},")), "the same seed, the same proposal: {told}");
    assert!(!place.at("runs").exists(), "nothing was trained");
    place.done("train thirds.toml --out run --quiet --epochs 1");
}
