//! Every argument of every layer with invalid values.

use brasa::layers::built_in;
use serde_json::{Value as Json, json};

/// Values that are invalid for every argument, and values that are valid for some.
fn values() -> Vec<Json> {
    let far = u64::MAX / 2;
    vec![
        json!({"nonsense": 1}),
        json!("nonsense"),
        json!(-3),
        json!(0),
        json!(far),
        json!(-1.5),
        json!(1e30),
        json!([]),
        json!([0, 0]),
        json!([far, far]),
        json!([-1, -1, -1]),
        json!([[1]]),
        json!(true),
        Json::Null,
    ]
}

/// A layer rejects or accepts a value without a panic, and an error about a value of a wrong type names the argument.
#[test]
fn a_wrong_value_is_an_error_that_names_the_argument() {
    let (mut refused, mut unnamed) = (0, Vec::new());
    for entry in built_in() {
        let Some(example) = entry.examples().into_iter().next() else { continue };
        let Ok(config) = example.layer.full_config() else { continue };
        for argument in config.keys().filter(|key| *key != "name") {
            for (index, value) in values().into_iter().enumerate() {
                let mut config = config.clone();
                config.insert(argument.clone(), value.clone());
                let result = entry.layer(config).and_then(|layer| {
                    let output = layer.output_shape(&example.input)?;
                    layer.weights(&example.input)?;
                    Ok(output)
                });
                let named = match &result {
                    // No argument is an object without a class.
                    Ok(_) => index != 0,
                    Err(error) => index > 1 || error.to_string().contains(argument.as_str()),
                };
                refused += usize::from(result.is_err());
                if !named {
                    unnamed.push(format!("{}({argument}={value}): {result:?}", entry.class_name));
                }
            }
        }
    }
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
    assert!(refused > 1500, "only {refused} refused");
}

/// A layer rejects invalid shapes without a panic.
#[test]
fn shapes_that_do_not_fit_are_refused() {
    let sides = [None, Some(0), Some(1), Some(3), Some(usize::MAX / 2)];
    let mut refused = 0;
    for entry in built_in() {
        for example in entry.examples() {
            for rank in 0..6 {
                for side in sides {
                    let shape = brasa::Shape::new([&[None], vec![side; rank].as_slice()].concat());
                    let result = example.layer.output_shape(&shape).and_then(|_| example.layer.weights(&shape));
                    refused += usize::from(result.is_err());
                }
            }
        }
    }
    assert!(refused > 1000, "only {refused} refused");
}
