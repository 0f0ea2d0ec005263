//! Every key of a recipe, with its default: the one list that recipes are checked against and help is written from.

use super::data::data_sets_with;

/// A key of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What holds where it is not given, as TOML; empty for a key that has to be there, `none` for one without a value.
    pub default: &'static str,
    /// What it says.
    pub about: &'static str,
    /// The data sets that have it, for keys of `[data]` that not all have.
    pub data_sets: Vec<&'static str>,
}

/// A section of a recipe: [`sections`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Section {
    /// Its header: `[data]`, `[[layers]]`.
    pub header: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A key as it is listed here: name, default, what it says.
type Listed = (&'static str, &'static str, &'static str);

/// The default of keys that stand for nothing where they are not given.
const NONE: &str = "none";

/// The names of a list.
pub(super) const fn names<const N: usize>(keys: &[Listed; N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut index = 0;
    while index < N {
        names[index] = keys[index].0;
        index += 1;
    }
    names
}

/// `[data]`; which data set has which of them stands beside the data sets.
const DATA: [Listed; 26] = [
    ("dataset", "", "the kind of samples: mnist, fashion_mnist, npz, npy, image_folder, text_folder or csv"),
    ("path", "", "the file or folder of the samples to train on"),
    ("train", NONE, "the same as path"),
    ("validation", NONE, "the file or folder of samples to validate with"),
    ("test", NONE, "the file or folder of samples to test with"),
    ("validation_split", "0.0", "the part of the samples to train on, from the end, that is validated with instead"),
    (
        "split_seed",
        "0",
        "the order of the samples before a part is split off; the rows of a table keep theirs unless it is given",
    ),
    ("samples", NONE, "how many samples to use, the first"),
    ("class_names", NONE, "the names of the classes, in the order of their numbers; else those that the data has"),
    ("data_dir", NONE, "the folder of the data set's files, which are looked for and else downloaded"),
    (
        "pixels",
        NONE,
        "the numbers that pictures become: \"0..1\", \"0..255\" or \"-1..1\"; else what the model's first layer takes",
    ),
    ("skip_broken", "false", "leave out pictures that cannot be decoded, and do not refuse them"),
    ("x", "", "the .npy file of the inputs"),
    ("y", "", "the .npy file of the targets"),
    ("sample_weight", NONE, "the .npy file of the samples' weights"),
    ("target", NONE, "the column of the targets, or a list of columns; else the last"),
    ("text", NONE, "the column of texts, which is then the only input"),
    ("columns", NONE, "the columns that are inputs; else all but the targets"),
    ("exclude", NONE, "columns that are left out"),
    (
        "missing",
        "\"refuse\"",
        "what stands in for gaps: \"refuse\", \"mean\", \"most_frequent\" or \"category\", or a table of these by column",
    ),
    ("header", NONE, "whether the first line names the columns; else that is recognised"),
    ("separator", NONE, "what stands between two fields; else that is recognised"),
    ("window", NONE, "rows in a window over time; else each row is a sample"),
    ("stride", "1", "rows from one window to the next"),
    ("sampling", "1", "rows from one step of a window to the next"),
    ("ahead", "1", "how many rows after the last of a window its target is"),
];

/// `[model]`.
pub(super) const MODEL: [Listed; 3] = [
    ("file", NONE, "the file of a model to start from, in place of [[layers]]"),
    ("name", "\"sequential\"", "the name of a new model"),
    ("outputs", NONE, "the names of the layers whose outputs are the model's; else the last layer's"),
];

/// `[[layers]]`, besides the arguments of every layer and those of a class.
const LAYERS: [Listed; 3] = [
    ("class_name", "", "the class; `brasa layers` lists them, `brasa layers NAME` shows the arguments of one"),
    (
        "inputs",
        NONE,
        "the names of the layers that it is called on (\"lstm:1\" is a second output); else the one before",
    ),
    (
        "adapt",
        "false",
        "learn from the data before training, where the layer can: Normalization, Discretization and layers with a vocabulary",
    ),
];

/// `[compile]`.
pub(super) const COMPILE: [Listed; 5] = [
    ("loss", "", "a name, or a table with class_name and arguments; of several outputs a list, or a table by output"),
    ("optimizer", "\"rmsprop\"", "a name, or a table with class_name and arguments"),
    ("loss_weights", NONE, "how much the loss of each of several outputs counts"),
    ("metrics", "[]", "names, or tables with class_name and arguments"),
    ("weighted_metrics", "[]", "metrics that the samples' weights count for"),
];

/// `[fit]`.
pub(super) const FIT: [Listed; 9] = [
    ("epochs", "1", "up to which epoch to train"),
    ("batch_size", "32", "number of samples in a step"),
    ("seed", NONE, "the seed of the weights, of the samples' order and of dropout; else one is drawn and written down"),
    ("shuffle", "true", "take the samples in another order in each epoch"),
    ("validation_freq", "1", "after which epochs to validate: every so many, or a list of them"),
    ("steps_per_epoch", NONE, "steps in an epoch; else as many as the samples make"),
    (
        "class_weight",
        NONE,
        "how much the samples of a class count in the loss, by the class's number: { 0 = 1.0, 1 = 10.0 }",
    ),
    (
        "checkpoint_freq",
        "\"epoch\"",
        "when the run's state is written: \"epoch\", a number of batches, or a time such as \"30s\"",
    ),
    ("verbose", "\"auto\"", "what is shown: \"auto\", 0, 1 or 2, as in Keras"),
];

/// `[[callbacks]]`, besides the arguments of a class.
const CALLBACKS: [Listed; 1] = [("class_name", "", "the class; its arguments are Keras's")];

/// The sections of a recipe with their keys, but for the arguments of layers, losses, optimizers and callbacks by class.
///
/// ```
/// let sections = brasa::recipe::sections();
/// let fit = sections.iter().find(|section| section.header == "[fit]").unwrap();
/// let epochs = fit.keys.iter().find(|key| key.name == "epochs").unwrap();
/// assert_eq!(epochs.default, "1");
/// ```
pub fn sections() -> Vec<Section> {
    let section = |header: &'static str, about: &'static str, keys: &[Listed]| {
        let key = |&(name, default, about): &Listed| {
            let data_sets = if header == "[data]" { data_sets_with(name) } else { Vec::new() };
            Key { name, default, about, data_sets }
        };
        Section { header, about, keys: keys.iter().map(key).collect() }
    };
    vec![
        section("[data]", "what is trained on; paths are taken from the current directory", &DATA),
        section("[model]", "a model to start from, or what a new one is called", &MODEL),
        section("[[layers]]", "the layers of a new model, in their order; each may have name and input_shape", &LAYERS),
        section("[compile]", "how the model learns", &COMPILE),
        section("[fit]", "how it is trained", &FIT),
        section("[[callbacks]]", "what happens during training", &CALLBACKS),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::data::all_keys;
    use super::super::{FitSettings, SECTIONS};
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_list_is_that_of_the_parser() {
        let mut own: Vec<&str> = DATA.iter().map(|(name, ..)| *name).collect();
        own.sort_unstable();
        assert_eq!(own, all_keys());
        let headers: Vec<&str> = sections().iter().map(|section| section.header.trim_matches(['[', ']'])).collect();
        assert_eq!(headers, SECTIONS);
        let keys = &sections()[0].keys;
        let of = |name: &str| keys.iter().find(|key| key.name == name).unwrap().data_sets.clone();
        assert_eq!((of("window"), of("samples")), (vec!["csv"], Vec::new()));
        assert!(of("class_names").contains(&"mnist"));
    }

    #[test]
    fn the_defaults_are_those_that_hold() {
        let settings = FitSettings::from_config(Config::new()).unwrap();
        let held = serde_json::to_value(settings).unwrap();
        for (name, default, _) in FIT {
            match default {
                NONE => assert!(name == "seed" || held.get(name).is_none_or(serde_json::Value::is_null), "{name}"),
                text => assert_eq!(held[name].to_string(), text, "{name}"),
            }
        }
    }
}
