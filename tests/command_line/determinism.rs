//! The same recipe on the same machine gives the same bits: each bundled recipe, trained twice, and a folder of images
//! with thread pools of several sizes.

use std::fs;

use crate::support::{Place, png, result};

#[test]
fn each_recipe_gives_the_same_bits_again() {
    let root = std::env::current_dir().unwrap();
    let place = Place::new();
    let mut recipes: Vec<_> = fs::read_dir(root.join("configs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    recipes.sort();
    assert!(recipes.len() >= 3, "{recipes:?}");
    for (index, recipe) in recipes.iter().enumerate() {
        let train = |run: &str| {
            let run = format!("{run}{index}");
            // Enough batches to expose differences in the threads' order.
            let arguments = format!("--out {run} --quiet --epochs 2 --seed 7 --set data.samples=1000");
            let mut command = place.command("train");
            command.arg(recipe).arg("--data-dir").arg(root.join("data/mnist")).args(arguments.split_whitespace());
            let output = command.output().unwrap();
            assert!(output.status.success(), "{recipe:?}: {}", String::from_utf8_lossy(&output.stderr));
            result(&place.at(&run))
        };
        let (first, second) = (train("first"), train("second"));
        assert_eq!(first.1, second.1, "{recipe:?}: the history");
        assert!(first.0 == second.0, "{recipe:?}: the weights");
    }
}

const IMAGES: &str = r#"
data = { dataset = "image_folder", path = "images" }
layers = [
    { class_name = "Conv2D", filters = 64, kernel_size = [3, 3], padding = "same", input_shape = [9, 9, 1] },
    { class_name = "Conv2D", filters = 64, kernel_size = [3, 3], padding = "same" },
    { class_name = "Flatten" },
    { class_name = "Dense", units = 3, activation = "softmax" },
]
compile = { optimizer = "adam", loss = "sparse_categorical_crossentropy" }
fit = { epochs = 2, batch_size = 32, seed = 1 }
"#;

/// The loader decodes images on the training threads: there is no deadlock with one thread, with two, or with more than
/// there are processors, and the number of threads takes effect however it is given.
#[test]
fn images_are_read_by_the_training_threads() {
    let place = Place::with("images.toml", IMAGES);
    for third in 0..3 {
        fs::create_dir_all(place.at(&format!("images/{third}"))).unwrap();
        (0..64).for_each(|number| png(&place, &format!("images/{third}/{number}.png"), third));
    }
    for threads in ["1", "2", "5"] {
        let (asked, named) = (format!("asked{threads}"), format!("named{threads}"));
        place.done(&format!("train images.toml --quiet --out {asked} --threads {threads}"));
        let mut command = place.command(&format!("train images.toml --quiet --out {named}"));
        let output = command.env("RAYON_NUM_THREADS", threads).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(result(&place.at(&asked)) == result(&place.at(&named)), "{threads} threads");
    }
}
