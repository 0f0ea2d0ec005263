//! Vocabularies in `.keras` files: those learned by `adapt` are members of the archive, one token per line, and the
//! weights of their tokens are named datasets next to the model's weights. A vocabulary passed as an argument is in the
//! config.

use serde_json::{Value as Json, json};

use super::older::is_own;
use crate::error::{Error, Result};
use crate::formats::Array;
use crate::formats::keras::{KerasFile, WeightTree};
use crate::layers::{ADAPTED, Layer, StoredVocabulary, class_keys, container_keys, vocabulary_lines};
use crate::memory::check_room;
use crate::model::{Model, nested_model};

/// The name of the weights of `tf_idf` among a layer's variables.
pub(super) const WEIGHTS: &str = "idf_weights";

/// The part of `TextVectorization` that has its vocabulary a second time.
const LOOKUP: &str = "_lookup_layer";

/// The classes with a vocabulary.
const CLASSES: [&str; 3] = ["TextVectorization", "StringLookup", "IntegerLookup"];

/// The name of the member with a layer's vocabulary.
fn member(path: &str) -> String {
    format!("assets/{path}/vocabulary.txt")
}

/// A layer's vocabulary.
pub(super) fn vocabulary_of(layer: &dyn Layer) -> Result<Option<StoredVocabulary>> {
    layer.on_host().map_or(Ok(None), |host| host.stored_vocabulary())
}

/// Adds the weights of a layer's vocabulary to those of the model, at Keras's path.
pub(super) fn insert_weights(tree: &mut WeightTree, layer: &dyn Layer, base: &str) -> Result<()> {
    let Some(vocabulary) = vocabulary_of(layer)? else { return Ok(()) };
    if let Some(part) = vocabulary.also_in {
        tree.insert(format!("{base}/{part}"), part.trim_start_matches('_'), Vec::new())?;
    }
    let Some(weights) = vocabulary.weights else { return Ok(()) };
    let groups = std::iter::once(base.to_owned()).chain(vocabulary.also_in.map(|part| format!("{base}/{part}")));
    for group in groups {
        tree.insert_named(&group, WEIGHTS, Array::new([weights.len()], weights.clone())?)?;
    }
    Ok(())
}

/// Moves the vocabularies learned by `adapt` from the config of a model to members of the archive.
pub(super) fn move_out(model: &Model, object: &mut Json, tree: &mut WeightTree, base: &str) -> Result<()> {
    for (layer, key) in model.layers().iter().zip(container_keys(model.layers())) {
        let path = format!("{base}layers/{key}");
        let own = object.pointer_mut("/config/layers").and_then(Json::as_array_mut).into_iter().flatten();
        let mut own = own.filter(|own| own.pointer("/config/name").and_then(Json::as_str) == Some(layer.name()));
        let Some(own) = own.next() else { continue };
        if let Some(nested) = nested_model(&**layer) {
            move_out(nested, own, tree, &format!("{path}/"))?;
            continue;
        }
        let Some(vocabulary) = vocabulary_of(&**layer)? else { continue };
        let Some(lines) = vocabulary.lines else { continue };
        own["config"]["vocabulary"] = Json::Null;
        own["config"][WEIGHTS] = Json::Null;
        for part in std::iter::once(None).chain(vocabulary.also_in.map(Some)) {
            let path = part.map_or_else(|| path.clone(), |part| format!("{path}/{part}"));
            tree.insert_asset(member(&path), lines.clone());
        }
    }
    Ok(())
}

/// The tokens in a member. Keras drops all empty lines at its end.
fn asset_tokens(text: &str) -> Vec<&str> {
    let mut tokens = vocabulary_lines(text);
    tokens.truncate(tokens.iter().rposition(|token| !token.is_empty()).map_or(0, |last| last + 1));
    tokens
}

/// The memory of a token besides its text, in values of four bytes.
const VALUES_OF_TOKEN: usize = 40;

/// Moves the vocabularies that are members of an archive into the config of its model.
pub(super) fn move_in(object: &mut Json, file: &mut KerasFile, name: &str, base: &str) -> Result<()> {
    let Some(layers) = object.pointer_mut("/config/layers").and_then(Json::as_array_mut) else { return Ok(()) };
    let class = |layer: &Json| layer.get("class_name").and_then(Json::as_str).unwrap_or_default().to_owned();
    let classes: Vec<String> = layers.iter().map(class).collect();
    let keys = class_keys(classes.iter().map(String::as_str));
    for ((layer, class), key) in layers.iter_mut().zip(&classes).zip(keys) {
        let path = format!("{base}layers/{key}");
        if !CLASSES.contains(&class.as_str()) || is_own(layer) {
            move_in(layer, file, name, &format!("{path}/"))?;
            continue;
        }
        let Some(config) = layer.get_mut("config").and_then(Json::as_object_mut) else { continue };
        if config.get("vocabulary").is_some_and(|vocabulary| !vocabulary.is_null()) {
            continue;
        }
        // If both exist, Keras reads that of the inner layer last, which therefore wins.
        let groups = [format!("{path}/{LOOKUP}"), path];
        let mut lines = None;
        for group in &groups {
            if let Some(text) = file.text(&member(group))?.filter(|_| lines.is_none()) {
                lines = Some((group, text));
            }
        }
        let Some((group, text)) = lines else { continue };
        // A short token takes several times its size in the config, a list and a table.
        check_room("the tokens of a vocabulary", text.lines().count().saturating_mul(VALUES_OF_TOKEN))?;
        let tokens = asset_tokens(&text);
        let count = tokens.len();
        let broken = |reason: String| Error::broken(name, member(group), reason);
        let tokens = match class.as_str() {
            "IntegerLookup" => {
                let number = |(line, token): (usize, &&str)| {
                    let number: Result<i64, _> = token.parse();
                    number.map(Json::from).map_err(|_| broken(format!("line {} is no whole number", line + 1)))
                };
                tokens.iter().enumerate().map(number).collect::<Result<Vec<_>>>()?
            }
            _ => tokens.into_iter().map(Json::from).collect(),
        };
        config.insert("vocabulary".into(), json!({ ADAPTED: tokens }));
        if config.get("output_mode").and_then(Json::as_str) == Some("tf_idf") {
            let weights = file.weights()?;
            let mut found = None;
            for group in &groups {
                found = match found {
                    None => weights.read_named(group, WEIGHTS)?,
                    found => found,
                };
            }
            let mut found = found.ok_or_else(|| broken(format!("the file has no `{WEIGHTS}` for its tokens")))?;
            if found.len() < count {
                return Err(broken(format!("{count} tokens, and {} `{WEIGHTS}`", found.len())));
            }
            found.truncate(count);
            config.insert(WEIGHTS.into(), json!(found));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::asset_tokens;
    use crate::prelude::*;

    #[test]
    fn weights_of_another_vocabulary_are_not_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.weights.h5");
        let model = |weights: [f32; 2]| {
            let mut model = Sequential::new();
            let layer = TextVectorization::default().output_mode("tf_idf").vocabulary(["a", "b"]);
            model.add(layer.idf_weights(weights.to_vec()).input_shape(1)).unwrap();
            model
        };
        model([0.5, 1.0]).save_weights(&path).unwrap();
        model([0.5, 1.0]).load_weights(&path).unwrap();
        let error = model([0.5, 2.0]).load_weights(&path).unwrap_err().to_string();
        assert!(error.contains("`text_vectorization`") && error.contains("`idf_weights`"), "{error}");
    }

    #[test]
    fn empty_lines_at_the_end_are_not_tokens() {
        assert_eq!(asset_tokens("\n[UNK]\na\n\n\r\n"), ["", "[UNK]", "a"]);
        assert_eq!(asset_tokens("a\n\nb"), ["a", "", "b"]);
        assert!(asset_tokens("\n\n").is_empty());
    }
}
