//! The guide's list of classes and their arguments, which is made from the code.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use brasa::callbacks::{self, TensorBoard};
use brasa::config::{Config, Configure};
use brasa::layers::{Entry, built_in};
use brasa::losses::{self, LossArgument};
use brasa::optimizers::{self, OptimizerArgument};
use brasa::prelude::*;
use brasa::schedules;
use serde_json::{Value as Json, json};

/// A value as a recipe has it; what a recipe leaves out is `none`.
fn toml(value: &Json) -> String {
    match value {
        Json::Null => "none".to_owned(),
        Json::Object(map) => {
            let is_class = map.contains_key("class_name") && map.contains_key("config");
            let parts = map.get("config").and_then(Json::as_object).filter(|_| is_class).unwrap_or(map);
            let parts = parts.iter().filter(|(_, value)| !value.is_null());
            let parts = parts.map(|(key, value)| format!("{key} = {}", toml(value)));
            let class = is_class.then(|| toml(&map["class_name"]));
            let parts: Vec<String> = class.iter().map(|class| format!("class_name = {class}")).chain(parts).collect();
            match class {
                // Without arguments that differ from their defaults the name alone will do.
                Some(class) if parts.len() == 1 => class,
                _ => format!("{{ {} }}", parts.join(", ")),
            }
        }
        Json::Array(list) => format!("[{}]", list.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Json::Number(number) if number.is_f64() => {
            // As short as the type of the argument allows.
            let number = number.as_f64().unwrap_or_default();
            let short = number as f32;
            if f64::from(short) == number { format!("{short:?}") } else { format!("{number:?}") }
        }
        other => other.to_string(),
    }
}

/// A row: the class, what has to be given, and everything else with its default.
fn row(class: &str, required: &[&str], config: &Config) -> String {
    let names: Vec<String> = required.iter().map(|name| format!("`{name}`")).collect();
    let others = config.iter().filter(|(key, _)| !required.contains(&key.as_str()));
    let others: Vec<String> = others.map(|(key, value)| format!("`{key} = {}`", toml(value))).collect();
    format!("| `{class}` | {} | {} |\n", names.join(", "), others.join(", "))
}

/// A config of a cell, which has no examples as it is no layer of a model; `None` for what is not a cell.
fn of_cell(entry: &Entry) -> Option<Config> {
    let cell = json!({ "class_name": "LSTMCell", "config": { "units": 1 } });
    let tries = [json!({ "units": 1 }), json!({ "cells": [cell] })];
    tries.iter().find_map(|given| entry.layer(given.as_object()?.clone()).ok()?.config().ok())
}

/// The arguments of a layer that have to be given, and the defaults of the others, found by leaving out what the examples
/// give.
fn of_layer(entry: &Entry) -> String {
    let examples = entry.examples().into_iter().chain(entry.examples_of_text()).map(|example| example.layer);
    let examples = examples.chain(entry.examples_of_several().into_iter().map(|(layer, _)| layer));
    let mut configs = examples.filter_map(|layer| layer.config().ok());
    let Some(given) = configs.next().or_else(|| of_cell(entry)) else {
        return row(entry.class_name, &[], &Config::new());
    };
    let only = |names: &[&str]| -> Config {
        given
            .iter()
            .filter(|(key, _)| names.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    };
    let mut required: Vec<&str> = entry.arguments.to_vec();
    for argument in entry.arguments {
        let without: Vec<&str> = required.iter().filter(|name| *name != argument).copied().collect();
        if entry.layer(only(&without)).is_ok() {
            required = without;
        }
    }
    let config = entry.layer(only(&required)).and_then(|layer| layer.config()).unwrap_or_default();
    row(entry.class_name, &required, &config)
}

fn of_callback<C: Configure>(given: Json) -> String {
    let Json::Object(given) = given else { unreachable!("given are arguments") };
    let required: Vec<String> = given.keys().cloned().collect();
    let required: Vec<&str> = required.iter().map(String::as_str).collect();
    row(C::CLASS_NAME, &required, &C::from_config(given).and_then(|callback| callback.config()).unwrap())
}

/// The chapter.
fn chapter() -> String {
    let mut text = String::from(
        "Every class that recipes and files name, with its arguments: those that have to be given, and the others with \
         their\ndefaults. In Rust `new` takes what has to be given, and for some classes the first arguments with a \
         default; without\nthose use `default()`. Every other argument is a method.\n\n\
         This chapter is made from the code: `BRASA_WRITE_GUIDE=1 cargo test --test layers reference` writes it.\n",
    );
    let mut table = |title: &str, words: &str, rows: Vec<String>| {
        let head = "| class | to be given | defaults of the others |\n| --- | --- | --- |\n";
        write!(text, "\n# {title}\n\n{words}{head}{}", rows.concat()).unwrap();
    };
    let mut layers: Vec<&Entry> = built_in().iter().collect();
    layers.sort_by_key(|entry| entry.class_name);
    let words = "Beside these every layer has `name`, `trainable`, `dtype` and, where it is the first, `input_shape` and \
                 `batch_size`.\n\n";
    table("Layers", words, layers.into_iter().map(of_layer).collect());

    let mut seen = BTreeSet::new();
    let all = optimizers::names().into_iter().filter_map(|name| OptimizerArgument::from(name.as_str()).resolve().ok());
    let all = all.filter(|optimizer| optimizer.is_built_in() && seen.insert(optimizer.class_name()));
    table("Optimizers", "", all.map(|own| row(own.class_name(), &[], &own.config().unwrap())).collect());

    let rows = schedules::names().into_iter().map(|name| {
        // What has to be given differs; a number, a list of them, or one more value than boundaries will do.
        let tries = [
            json!({ "initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.5, "first_decay_steps": 10 }),
            json!({ "boundaries": [10], "values": [0.1, 0.01] }),
        ];
        let found = tries.iter().find_map(|given| {
            let given = given.as_object().unwrap();
            (0..1usize << given.len()).find_map(|chosen| {
                let keys = given.keys().enumerate().filter(|(index, _)| (chosen >> index) & 1 == 1);
                let keys: Vec<&str> = keys.map(|(_, key)| key.as_str()).collect();
                let mut config: Config = keys.iter().map(|key| ((*key).to_owned(), given[*key].clone())).collect();
                config.insert("class_name".into(), name.into());
                let schedule = schedules::from_json(Json::Object(config)).ok()?;
                Some(row(name, &keys, &schedule.config().ok()?))
            })
        });
        found.unwrap_or_else(|| panic!("{name} has other arguments"))
    });
    table("Schedules of the learning rate", "", rows.collect());

    let mut seen = BTreeSet::new();
    let all = losses::names().into_iter().filter_map(|name| LossArgument::from(name.as_str()).resolve().ok());
    let all = all.filter(|loss| loss.class_name() != "QuarticError" && seen.insert(loss.class_name()));
    let mut rows: Vec<String> = all.map(|loss| row(loss.class_name(), &[], &loss.config().unwrap())).collect();
    rows.sort();
    table("Losses", "", rows);

    let rows = vec![
        of_callback::<callbacks::BackupAndRestore>(json!({ "backup_dir": "backup" })),
        of_callback::<CSVLogger>(json!({ "filename": "log.csv" })),
        of_callback::<EarlyStopping>(json!({})),
        of_callback::<ModelCheckpoint>(json!({ "filepath": "best.keras" })),
        of_callback::<callbacks::ProgressBar>(json!({})),
        of_callback::<ReduceLROnPlateau>(json!({})),
        of_callback::<callbacks::SwapEMAWeights>(json!({})),
        of_callback::<TensorBoard>(json!({})),
        of_callback::<TerminateOnNaN>(json!({})),
    ];
    assert_eq!(rows.len(), callbacks::names().len(), "{:?}", callbacks::names());
    table("Callbacks", "", rows);
    text
}

#[test]
fn the_guide_lists_every_class_with_its_arguments_and_their_defaults() {
    let (path, made) = (concat!(env!("CARGO_MANIFEST_DIR"), "/docs/guide/arguments.md"), chapter());
    if std::env::var_os("BRASA_WRITE_GUIDE").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let read = std::fs::read_to_string(path).unwrap();
    let differs = made.lines().zip(read.lines().chain(std::iter::repeat(""))).find(|(made, read)| made != read);
    assert_eq!(differs, None, "write the chapter anew: BRASA_WRITE_GUIDE=1 cargo test --test layers reference");
    assert_eq!(made, read);
}

/// The Rust lines of the phrase book stand in its code, which is compiled.
#[test]
fn every_line_of_the_phrase_book_is_compiled() {
    let chapter = include_str!("../../docs/guide/from-keras.md");
    let blocks = chapter.split("```").skip(1).step_by(2);
    let lines = blocks.flat_map(str::lines).map(|line| line.strip_prefix("# ").unwrap_or(line));
    let code = lines.collect::<Vec<_>>().join("\n");
    let rows: Vec<&str> = chapter.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    assert!(rows.len() > 30);
    for row in rows {
        let rust = row.split_once("` | ").unwrap().1;
        for line in rust.split('`').skip(1).step_by(2) {
            assert!(code.contains(line), "{line}");
        }
    }
}
