//! The same recipe on the same machine gives the same bits: each of those that come with Brasa, trained twice.

use std::fs;
use std::path::Path;

use crate::support::{Place, result};

#[test]
fn each_recipe_gives_the_same_bits_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = Place::new();
    let mut recipes: Vec<_> = fs::read_dir(root.join("configs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    recipes.sort();
    assert!(recipes.len() >= 3, "{recipes:?}");
    for (index, recipe) in recipes.iter().enumerate() {
        let train = |run: &str| {
            let run = format!("{run}{index}");
            // Enough batches for threads to have every occasion to come in another order.
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
