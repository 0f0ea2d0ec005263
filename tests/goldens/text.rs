//! The layers for texts and integers against Keras 3.15.1 on TensorFlow (`tests/fixtures/text/goldens.json`): tokens,
//! vocabularies, numbers, encodings, hashes.

use brasa::datasets::{Cells, Column, Samples};
use brasa::layers::{Layer, built_in};
use serde_json::{Value as Json, json};

/// The number of cases in the file, so that none gets lost.
const CASES: usize = 132;

fn text(error: brasa::Error) -> String {
    error.to_string()
}

/// The shape and the values of nested lists.
fn flattened<'a>(value: &'a Json, sizes: &mut Vec<usize>, depth: usize, values: &mut Vec<&'a Json>) {
    match value {
        Json::Array(list) => {
            if sizes.len() == depth {
                sizes.push(list.len());
            }
            list.iter().for_each(|value| flattened(value, sizes, depth + 1, values));
        }
        value => values.push(value),
    }
}

fn column(value: &Json) -> Column {
    let (mut sizes, mut values) = (Vec::new(), Vec::new());
    flattened(value, &mut sizes, 0, &mut values);
    let strings = values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
    let cells = match strings {
        Some(strings) => Cells::Text(strings),
        None => Cells::Int(values.iter().map(|value| value.as_i64().unwrap()).collect()),
    };
    Column::new(sizes, cells).unwrap()
}

fn samples(column: Column) -> Samples {
    let (shape, cells) = column.into_parts();
    match cells {
        Cells::Text(texts) => Samples::texts(shape, texts).unwrap(),
        Cells::Int(numbers) => Samples::new(shape, numbers).unwrap(),
        _ => unreachable!("goldens have texts and whole numbers"),
    }
}

/// The layer of a case, adapted.
fn layer_of(case: &Json) -> Result<Box<dyn Layer>, String> {
    let class = case["layer"].as_str().unwrap();
    let entry = built_in().iter().find(|entry| entry.class_name == class).ok_or("no such class")?;
    let mut layer = entry.layer(case["config"].as_object().unwrap().clone()).map_err(text)?;
    if let Some(data) = case.get("adapt").filter(|data| !data.is_null()) {
        let data = samples(column(data)).gather_column(&(0..data.as_array().unwrap().len()).collect::<Vec<_>>());
        layer.adapt_to_columns(&mut std::iter::once(data)).map_err(text)?;
    }
    Ok(layer)
}

/// The tokens of a text, determined with a vocabulary of all expected ones.
fn tokens(case: &Json) -> Result<(), String> {
    let expected: Vec<&str> = case["tokens"].as_array().unwrap().iter().map(|token| token.as_str().unwrap()).collect();
    let mut vocabulary: Vec<&str> = Vec::new();
    expected.iter().for_each(|token| {
        if !vocabulary.contains(token) {
            vocabulary.push(token)
        }
    });
    let mut case = case.clone();
    case["config"]["vocabulary"] = json!(vocabulary);
    let input = Column::from(vec![case["input"].as_str().unwrap()]);
    let output = layer_of(&case)?.on_host().unwrap().transform(&[input]).map_err(text)?;
    let numbers = output.to_ints().map_err(text)?;
    let found: Vec<&str> = numbers
        .iter()
        .map(|number| number.checked_sub(2).map_or("?", |at| vocabulary.get(at as usize).unwrap_or(&"?")))
        .collect();
    if found == expected { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
}

fn run(case: &Json) -> Result<(), String> {
    if case["kind"] == "tokens" {
        return tokens(case);
    }
    let layer = layer_of(case)?;
    let inputs = match case["layer"].as_str() {
        Some("HashedCrossing") => case["input"].as_array().unwrap().iter().map(column).collect(),
        _ => vec![column(&case["input"])],
    };
    let output = layer.on_host().unwrap().transform(&inputs).map_err(text)?;
    let sizes: Vec<usize> = serde_json::from_value(case["shape"].clone()).unwrap();
    if output.shape() != sizes {
        return Err(format!("shape {:?} instead of {sizes:?}", output.shape()));
    }
    let (mut depths, mut expected) = (Vec::new(), Vec::new());
    flattened(&case["output"], &mut depths, 0, &mut expected);
    let same = match output.cells() {
        Cells::Text(texts) => texts.iter().zip(&expected).all(|(own, expected)| expected.as_str() == Some(own)),
        Cells::Int(numbers) => numbers.iter().zip(&expected).all(|(own, expected)| expected.as_i64() == Some(*own)),
        Cells::Float(numbers) => numbers.iter().zip(&expected).all(|(own, expected)| {
            let expected = expected.as_f64().unwrap();
            (f64::from(*own) - expected).abs() <= 1e-6 * expected.abs()
        }),
        _ => false,
    };
    if !same || expected.len() != output.cells().len() {
        return Err(format!("{output:?} instead of {expected:?}"));
    }
    if let Some(vocabulary) = case.get("vocabulary").and_then(Json::as_array) {
        let size = layer.full_config().map_err(text)?["vocabulary_size"].clone();
        if size != json!(vocabulary.len()) {
            return Err(format!("{size} tokens instead of {}", vocabulary.len()));
        }
    }
    Ok(())
}

#[test]
fn texts_and_whole_numbers_are_those_of_keras() {
    let goldens: Json = serde_json::from_str(include_str!("../fixtures/text/goldens.json")).unwrap();
    let cases = goldens["cases"].as_array().unwrap();
    assert_eq!(cases.len(), CASES);
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            run(case).err().map(|error| format!("{}: {}", case["name"], &error.chars().take(400).collect::<String>()))
        })
        .collect();
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The order of tokens, including ties, for every layer that learns its vocabulary.
#[test]
fn vocabularies_are_those_of_keras() {
    let goldens: Json = serde_json::from_str(include_str!("../fixtures/text/goldens.json")).unwrap();
    let adapted = goldens["cases"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case.get("adapt").is_some_and(|data| !data.is_null()));
    let mut compared = 0;
    for case in adapted {
        let layer = layer_of(case).unwrap();
        let own = match case["layer"].as_str().unwrap() {
            "TextVectorization" => {
                json!(
                    layer
                        .as_any()
                        .downcast_ref::<brasa::layers::TextVectorization>()
                        .unwrap()
                        .get_vocabulary()
                        .unwrap()
                )
            }
            "StringLookup" => {
                json!(layer.as_any().downcast_ref::<brasa::layers::StringLookup>().unwrap().get_vocabulary().unwrap())
            }
            _ => {
                json!(layer.as_any().downcast_ref::<brasa::layers::IntegerLookup>().unwrap().get_vocabulary().unwrap())
            }
        };
        assert_eq!(own, case["vocabulary"], "{}", case["name"]);
        compared += 1;
    }
    assert_eq!(compared, 21);
}
