//! The list of built-in callbacks that a recipe can name.

use serde_json::Value as Json;

use super::{
    BackupAndRestore, Callback, EarlyStopping, ModelCheckpoint, ProgressBar, ReduceLROnPlateau, SwapEMAWeights,
    TerminateOnNaN,
};
use crate::config::{Config, Configure, names_class, object};
use crate::error::{Error, Result};

type Maker = fn(Config) -> Result<Box<dyn Callback>>;

const fn entry<C: Callback + Configure + 'static>() -> (&'static str, Maker) {
    (C::CLASS_NAME, |config| {
        let callback = C::from_config(config)?;
        callback.check()?;
        Ok(Box::new(callback))
    })
}

/// Every built-in callback with a config of plain values. A new one is a file and a line here.
const LIST: &[(&str, Maker)] = &[
    entry::<EarlyStopping>(),
    entry::<ModelCheckpoint>(),
    entry::<ReduceLROnPlateau>(),
    #[cfg(feature = "csv")]
    entry::<super::CSVLogger>(),
    entry::<TerminateOnNaN>(),
    entry::<BackupAndRestore>(),
    entry::<SwapEMAWeights>(),
    entry::<ProgressBar>(),
    #[cfg(feature = "tensorboard")]
    entry::<super::TensorBoard>(),
];

/// The class names of the callbacks that a config can describe.
pub fn names() -> Vec<String> {
    LIST.iter().map(|(class, _)| (*class).to_owned()).collect()
}

/// The callback that a config describes: a name, or a table with `class_name` and its arguments.
///
/// # Errors
/// [`Error::UnknownName`] with the list of names, [`Error::Argument`] for invalid arguments.
pub fn from_json(json: Json) -> Result<Box<dyn Callback>> {
    let (class, config) = object("callback", json)?;
    match LIST.iter().find(|(name, _)| names_class(&class, name)) {
        Some((_, make)) => make(config),
        None => Err(Error::unknown("callback class", class, names())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn callbacks_are_made_from_their_class_name() {
        for config in [
            json!({"class_name": "EarlyStopping", "monitor": "loss", "patience": 2, "mode": "min"}),
            json!({"class_name": "ModelCheckpoint", "filepath": "{epoch:02d}.keras", "save_freq": 100}),
            json!({"class_name": "ReduceLROnPlateau", "factor": 0.5}),
            #[cfg(feature = "csv")]
            json!({"class_name": "CSVLogger", "filename": "log.csv", "separator": ";"}),
            json!({"class_name": "BackupAndRestore", "backup_dir": "backup"}),
            json!("TerminateOnNaN"),
            json!("SwapEMAWeights"),
            json!({"class_name": "ProgressBar", "verbose": 2}),
        ] {
            let class = config.as_str().or(config["class_name"].as_str()).unwrap().to_owned();
            assert_eq!(from_json(config).unwrap().name(), class);
        }
    }

    #[test]
    fn invalid_configs_are_refused() {
        let refused = |config: Json, words: &str| {
            let error = from_json(config).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        };
        refused(json!("EarlyStoping"), "did you mean `EarlyStopping`?");
        refused(json!({"class_name": "EarlyStopping", "patiense": 2}), "did you mean `patience`?");
        refused(json!({"class_name": "EarlyStopping", "mode": "up"}), "mode");
        refused(json!({"class_name": "ReduceLROnPlateau", "factor": 1.0}), "factor");
        refused(json!({"class_name": "ModelCheckpoint"}), "filepath");
        refused(json!({"class_name": "ModelCheckpoint", "filepath": "m.h6"}), ".keras");
        refused(
            json!({"class_name": "ModelCheckpoint", "filepath": "m.keras", "save_weights_only": true}),
            "weights.h5",
        );
        refused(json!({"class_name": "ModelCheckpoint", "filepath": "{epoch.keras"}), "filepath");
        refused(json!({"class_name": "ModelCheckpoint", "filepath": "m.keras", "save_freq": "batch"}), "\"epoch\"");
        #[cfg(feature = "csv")]
        refused(json!({"class_name": "CSVLogger", "filename": "a", "separator": "--"}), "one ASCII character");
        refused(json!({"class_name": "BackupAndRestore", "backup_dir": ""}), "backup_dir");
        refused(json!({"class_name": "ProgressBar", "verbose": 3}), "0, 1 or 2");
    }
}
