//! The same recipe on the same machine gives the same bits: each of those that come with Brasa, trained twice.
#![cfg(feature = "cli")]

use std::fs;
use std::path::Path;
use std::process::Command;

use brasa::Sequential;

#[test]
fn each_recipe_gives_the_same_bits_again() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().unwrap();
    let mut recipes: Vec<_> = fs::read_dir(root.join("configs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    recipes.sort();
    assert!(recipes.len() >= 3, "{recipes:?}");
    for recipe in recipes {
        let train = |run: &str| {
            let run = folder.path().join(recipe.file_stem().unwrap()).join(run);
            let mut command = Command::new(env!("CARGO_BIN_EXE_brasa"));
            command.arg("train").arg(&recipe).arg("--data-dir").arg(root.join("data/mnist")).arg("--out").arg(&run);
            // Enough batches for threads to have every occasion to come in another order.
            command.args(["--quiet", "--epochs", "2", "--seed", "7", "--set", "data.samples=1000"]);
            let output = command.env_remove("BRASA_BACKEND").output().unwrap();
            assert!(output.status.success(), "{recipe:?}: {}", String::from_utf8_lossy(&output.stderr));
            let weights = Sequential::load(run.join("model.keras")).unwrap().get_weights().unwrap();
            let bits =
                weights.iter().flat_map(|weight| weight.iter().map(|number| number.to_bits()).collect::<Vec<_>>());
            (bits.collect::<Vec<u32>>(), fs::read_to_string(run.join("history.csv")).unwrap())
        };
        let (first, second) = (train("first"), train("second"));
        assert_eq!(first.1, second.1, "{recipe:?}: the history");
        assert_eq!(first.0, second.0, "{recipe:?}: the weights");
    }
}
