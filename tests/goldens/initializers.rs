//! Initializers: random streams differ from Keras's, so statistics are compared.

use brasa::initializers::Initializer;
use serde_json::{Value as Json, json};

use crate::support::{CLOSE, close, run};

/// Mean, standard deviation, minimum and maximum.
fn statistics(values: &[f32]) -> [f64; 4] {
    let n = values.len() as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / n;
    let variance = values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / n;
    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    [mean, variance.sqrt(), least.into(), largest.into()]
}

#[test]
fn statistics_are_those_of_keras() {
    let count = run("initializers", &[], |name, case| {
        let config = case["config"].as_object().unwrap().clone();
        let initializer = Initializer::from_config(case["class"].as_str().unwrap(), config);
        let initializer = initializer.map_err(|error| error.to_string())?;
        for (shape, wanted) in case["stats"].as_object().unwrap() {
            let sizes: Vec<usize> =
                shape.split(|c: char| !c.is_ascii_digit()).filter_map(|size| size.parse().ok()).collect();
            let values = initializer.values(&sizes, &[1, 2, 3]).map_err(|error| error.to_string())?;
            let n = values.len() as f64;
            let [mean, deviation, least, largest] = statistics(&values);
            let of = |key: &str| wanted[key].as_f64().unwrap();
            let check = |what: &str, got: f64, wanted: f64, room: f64| match (got - wanted).abs() <= room {
                true => Ok(()),
                false => Err(format!("{shape}: {what} {got}, not {wanted} ± {room}")),
            };
            let spread = of("std");
            // Two samples of n numbers: their means differ by about √(2/n) deviations, their deviations by √(1/n).
            check("mean", mean, of("mean"), 5.0 * spread * (2.0 / n).sqrt() + 1e-7)?;
            check("deviation", deviation, spread, 5.0 * spread / n.sqrt() + 1e-7)?;
            // Bounded samples reach their bound; unbounded ones reach about the same extremes.
            let bounded = !(name.contains("untrunc") || name == "random_normal" || name == "orthogonal");
            let room = if bounded { (0.01f64).max(30.0 / n) } else { 0.35 };
            check("least", least, of("min"), room * spread * 3.0 + 1e-7)?;
            check("largest", largest, of("max"), room * spread * 3.0 + 1e-7)?;
            if wanted.get("max_offdiag").is_some_and(Json::is_number) {
                orthonormal(&values, *sizes.last().unwrap())?;
            }
        }
        Ok(())
    });
    assert_eq!(count, 15);
}

/// Checks that rows (or columns, whichever are fewer) are orthogonal and of length 1.
fn orthonormal(values: &[f32], columns: usize) -> Result<(), String> {
    let rows = values.len() / columns;
    let at = |vector: usize, place: usize| match rows < columns {
        true => values[vector * columns + place],
        false => values[place * columns + vector],
    };
    let (few, many) = (rows.min(columns), rows.max(columns));
    for a in 0..few {
        for b in 0..=a {
            let product: f64 = (0..many).map(|i| f64::from(at(a, i)) * f64::from(at(b, i))).sum();
            if (product - f64::from(u8::from(a == b))).abs() > 1e-5 {
                return Err(format!("vectors {a} and {b} have the product {product}"));
            }
        }
    }
    Ok(())
}

/// These are deterministic.
#[test]
fn fourier_kernels_are_those_of_keras() {
    let cases: Vec<Json> = serde_json::from_str(include_str!("../fixtures/goldens/stft.json")).unwrap();
    assert_eq!(cases.len(), 68);
    for case in cases {
        let initializer = Initializer::from_config("STFT", case["config"].as_object().unwrap().clone()).unwrap();
        let sizes: Vec<usize> = serde_json::from_value(case["sizes"].clone()).unwrap();
        let wanted: Vec<f32> = serde_json::from_value(case["values"].clone()).unwrap();
        let got = initializer.values(&sizes, &[1]).unwrap();
        close(&format!("{} of {sizes:?}", case["config"]), &got, &wanted, CLOSE).unwrap();
    }
    let refused = |config: Json, sizes: &[usize]| {
        let initializer = Initializer::from_config("STFT", config.as_object().unwrap().clone()).unwrap();
        initializer.values(sizes, &[1]).unwrap_err().to_string()
    };
    assert!(refused(json!({"window": "kaiser"}), &[4, 1, 3]).contains("blackmanharris"));
    assert!(refused(json!({"window": [1.0, 2.0]}), &[4, 1, 3]).contains("4 numbers"));
    assert!(refused(json!({"side": "both"}), &[4, 1, 3]).contains("imag"));
    assert!(refused(json!({"scaling": "both"}), &[4, 1, 3]).contains("spectrum"));
    for sizes in [&[4, 2, 3][..], &[4, 1, 1], &[4, 3], &[]] {
        assert!(refused(json!({}), sizes).contains("frequencies"));
    }
}
