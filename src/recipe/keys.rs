//! Every key of a recipe, with its default: the single list for checking recipes and for help.

use super::data::data_sets_with;

/// A key of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The default, as TOML; empty for a required key, `none` for one without a default.
    pub default: &'static str,
    /// Its description.
    pub about: &'static str,
    /// For keys of `[data]` that only some data sets have: those data sets.
    pub data_sets: Vec<&'static str>,
}

/// A section of a recipe: [`sections`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Section {
    /// Its header: `[data]`, `[[layers]]`.
    pub header: &'static str,
    /// Its purpose.
    pub about: &'static str,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A key of the lists below: name, default, description.
type KeyRow = (&'static str, &'static str, &'static str);

/// The default of keys without a value.
const NONE: &str = "none";

/// The names of the keys in a list.
pub(super) const fn names<const N: usize>(keys: &[KeyRow; N]) -> [&'static str; N] {
    let mut names = [""; N];
    let mut index = 0;
    while index < N {
        names[index] = keys[index].0;
        index += 1;
    }
    names
}

/// `[data]`; the keys of each data set are listed with the data sets.
const DATA: [KeyRow; 29] = [
    ("dataset", "", "the kind of samples: mnist, fashion_mnist, npz, npy, image_folder, text_folder, shards or csv"),
    ("path", "", "the file or folder of the samples to train on; of shards the pattern of the files"),
    ("train", NONE, "the same as path"),
    ("validation", NONE, "the file or folder of the validation samples"),
    ("test", NONE, "the file or folder of the test samples"),
    ("validation_split", "0.0", "the fraction of the training samples, from the end, to use for validation"),
    (
        "split_seed",
        NONE,
        "the seed of the shuffle before the validation split; 0 for folders of images or texts; the rows of a table \
         keep their order unless it is given",
    ),
    ("samples", NONE, "how many samples to use, from the start"),
    ("class_names", NONE, "the class names, by index; else those of the data"),
    ("data_dir", NONE, "the folder of the data set's files; else they are searched for, then downloaded"),
    (
        "pixels",
        NONE,
        "the pixel range of images: \"0..1\", \"0..255\" or \"-1..1\"; else the one that the model's first layer expects",
    ),
    ("skip_broken", "false", "skip images that cannot be decoded instead of refusing them"),
    ("x", "", "the .npy file of the inputs"),
    ("y", "", "the .npy file of the targets"),
    ("sample_weight", NONE, "the .npy file of the samples' weights"),
    (
        "inputs",
        NONE,
        "the members of an archive that are inputs, as in [\"jpg\"], or columns of a table; else the only one",
    ),
    ("targets", NONE, "the members of an archive that are targets, as in [\"cls\"], or columns of a table"),
    ("shuffle_buffer", "1024", "the number of samples of shards out of which the next one is drawn"),
    ("target", NONE, "the target column, or a list of columns; else the last"),
    ("text", NONE, "the text column, which is then the only input"),
    ("columns", NONE, "the input columns; else all but the targets"),
    ("exclude", NONE, "columns to leave out"),
    (
        "missing",
        "\"refuse\"",
        "treatment of missing values: \"refuse\", \"mean\", \"most_frequent\" or \"category\", or a table of these by column",
    ),
    ("header", NONE, "whether the first line is a header; else detected"),
    ("separator", NONE, "the field separator; else detected"),
    ("window", NONE, "rows in a time window; else each row is a sample"),
    ("stride", "1", "rows from one window to the next"),
    ("sampling", "1", "rows from one step of a window to the next"),
    ("ahead", "1", "distance in rows from a window's last row to its target"),
];

/// `[model]`.
pub(super) const MODEL: [KeyRow; 3] = [
    ("file", NONE, "the file of a model to start from, in place of [[layers]]"),
    ("name", NONE, "the name of a new model (default: `sequential`, or `functional` for a graph)"),
    ("outputs", NONE, "the names of the layers whose outputs are the model's; else the last layer's"),
];

/// `[[layers]]`, besides the arguments of every layer and those of a class.
const LAYERS: [KeyRow; 3] = [
    ("class_name", "", "the class; `brasa layers` lists them, `brasa layers NAME` shows the arguments of one"),
    (
        "inputs",
        NONE,
        "the names of the layers it is called on (\"lstm:1\" is a second output); else the previous layer",
    ),
    (
        "adapt",
        "false",
        "learn from the data before training, where the layer can: Normalization, Discretization and layers with a vocabulary",
    ),
];

/// `[compile]`.
pub(super) const COMPILE: [KeyRow; 5] = [
    ("loss", "", "a name, or a table with class_name and arguments; for several outputs a list, or a table by output"),
    ("optimizer", "\"rmsprop\"", "a name, or a table with class_name and arguments"),
    ("loss_weights", NONE, "the weight of each output's loss"),
    ("metrics", "[]", "names, or tables with class_name and arguments"),
    ("weighted_metrics", "[]", "metrics weighted by sample weights"),
];

/// `[fit]`.
pub(super) const FIT: [KeyRow; 9] = [
    ("epochs", "1", "train up to this epoch"),
    ("batch_size", "32", "samples per step"),
    ("seed", NONE, "the seed of the weights, of the order of samples and of dropout; else one is drawn and recorded"),
    ("shuffle", "true", "shuffle the samples in each epoch"),
    ("validation_freq", "1", "epochs between validations, or a list of epochs"),
    ("steps_per_epoch", NONE, "steps per epoch; else one pass over all samples"),
    ("class_weight", NONE, "the weight of each class in the loss, by class index: { 0 = 1.0, 1 = 10.0 }"),
    (
        "checkpoint_freq",
        "\"epoch\"",
        "when to write a checkpoint: \"epoch\", a number of batches, or a time such as \"30s\"",
    ),
    ("verbose", "\"auto\"", "progress output: \"auto\", 0, 1 or 2, as in Keras"),
];

/// `[[callbacks]]`, besides the arguments of a class.
const CALLBACKS: [KeyRow; 1] = [("class_name", "", "the class; its arguments are Keras's")];

/// The sections of a recipe with their keys, except the arguments of individual layers, losses, optimizers and
/// callbacks.
///
/// ```
/// let sections = brasa::recipe::sections();
/// let fit = sections.iter().find(|section| section.header == "[fit]").unwrap();
/// let epochs = fit.keys.iter().find(|key| key.name == "epochs").unwrap();
/// assert_eq!(epochs.default, "1");
/// ```
pub fn sections() -> Vec<Section> {
    let section = |header: &'static str, about: &'static str, keys: &[KeyRow]| {
        let key = |&(name, default, about): &KeyRow| {
            let data_sets = if header == "[data]" { data_sets_with(name) } else { Vec::new() };
            Key { name, default, about, data_sets }
        };
        Section { header, about, keys: keys.iter().map(key).collect() }
    };
    vec![
        section("[data]", "the training data; paths are relative to the current directory", &DATA),
        section("[model]", "a model to start from, or the name of a new one", &MODEL),
        section("[[layers]]", "the layers of a new model, in order; each can have name and input_shape", &LAYERS),
        section("[compile]", "optimizer, losses and metrics", &COMPILE),
        section("[fit]", "epochs, batches, seed", &FIT),
        section("[[callbacks]]", "callbacks during training", &CALLBACKS),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::data::all_keys;
    use super::super::{FitSettings, SECTIONS};
    use super::*;
    use crate::config::Config;

    #[test]
    fn keys_match_the_parser() {
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
    fn defaults_match_the_parser() {
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
