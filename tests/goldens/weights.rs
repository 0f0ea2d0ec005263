//! Regularizers' penalties in the loss, and constraints after a step.

use brasa::constraints::Constraint;
use brasa::regularizers::Regularizer;
use serde_json::Value as Json;

use crate::support::{CLOSE, close, close_f64, numbers, run, tensor, value};

#[test]
fn penalties_are_those_of_keras() {
    let count = run("regularizers", &[], |name, case| {
        let class = match name {
            "l1" => "L1",
            "l2" => "L2",
            "l1l2" => "L1L2",
            _ => "OrthogonalRegularizer",
        };
        let regularizer = Regularizer::from_config(class, case["config"].as_object().unwrap().clone());
        let regularizer = regularizer.map_err(|error| error.to_string())?;
        for (weight, key) in [("reg/w", "value_w"), ("reg/w4", "value_w4")] {
            let wanted = &case[key];
            if wanted != &Json::Null {
                let penalty = regularizer.penalty(value(weight)).map_err(|error| error.to_string())?;
                close_f64(key, &[penalty.to_scalar().unwrap().into()], &numbers(wanted), CLOSE)?;
            }
        }
        Ok(())
    });
    assert_eq!(count, 5);
}

#[test]
fn constraints_are_those_of_keras() {
    let count = run("constraints", &[], |name, case| {
        let class = match name {
            "non_neg" => "NonNeg",
            "unit_norm" => "UnitNorm",
            "min_max_norm" => "MinMaxNorm",
            _ => "MaxNorm",
        };
        let constraint = Constraint::from_config(class, case["config"].as_object().unwrap().clone());
        let weight = if name.contains("axis") { "reg/w4" } else { "reg/w" };
        let limited = constraint.and_then(|constraint| constraint.apply(value(weight)));
        let limited = limited.map_err(|error| error.to_string())?.to_vec().unwrap();
        close("weight", &limited, tensor(&format!("constraint/{name}")).1, CLOSE)
    });
    assert_eq!(count, 5);
}
