//! Optimizers: two weights over eight steps of given gradients, and the state, in the order of Keras's files.

use brasa::optimizers::{OptimizerArgument, OptimizerState, Variable, WeightInfo};
use serde_json::json;

use crate::support::{CLOSE, Tolerance, close, numbers, run, tensor, value};

/// Newton–Schulz steps amplify rounding.
fn tolerance(name: &str) -> Tolerance {
    if name == "muon" { Tolerance { relative: 1e-4, absolute: 1e-5 } } else { CLOSE }
}

/// With the fused update, where the optimizer has one.
#[test]
fn steps_and_state_are_those_of_keras() {
    check(false);
}

/// Shared weights cannot be updated in place: then the portable form is used.
#[test]
fn steps_and_state_in_the_portable_form_are_those_of_keras() {
    check(true);
}

fn check(shared: bool) {
    let count = run("optimizers", &[], |name, case| {
        let argument = json!({"module": "keras.optimizers", "class_name": case["class"], "config": case["config"]});
        let optimizer = OptimizerArgument::from_json(argument).and_then(|optimizer| optimizer.resolve());
        let optimizer = optimizer.map_err(|error| error.to_string())?;
        let config = optimizer.config().map_err(|error| error.to_string())?;
        for (key, wanted) in case["config"].as_object().unwrap() {
            let got = config.get(key).ok_or(format!("writes no `{key}`"))?;
            let same = match (got.as_f64(), wanted.as_f64()) {
                (Some(got), Some(wanted)) => got as f32 == wanted as f32,
                _ => got == wanted || got.is_object(),
            };
            if !same {
                return Err(format!("writes {key}={got}, not {wanted}"));
            }
        }
        let (mut kernel, mut bias) = (value("opt_in/w"), value("opt_in/b"));
        let mut state = OptimizerState::default();
        for step in 0..numbers(&case["steps"])[0] as usize {
            let _others = shared.then(|| (kernel.clone(), bias.clone()));
            let gradient = |name: &str| value(&format!("opt_in/g{name}{step}"));
            let variables = vec![
                Variable { path: "kernel", value: &mut kernel, gradient: gradient("w"), constraint: None },
                Variable { path: "bias", value: &mut bias, gradient: gradient("b"), constraint: None },
            ];
            state.step(&*optimizer, variables).map_err(|error| error.to_string())?;
            for (weight, key) in [(&kernel, "w"), (&bias, "b")] {
                let wanted = tensor(&format!("opt/{name}/{key}{step}")).1;
                close(&format!("{key} after step {step}"), &weight.to_vec().unwrap(), wanted, tolerance(name))?;
            }
        }

        // The step number and, unless it is a schedule, the learning rate come first.
        let constant = optimizer.learning_rate_argument().constant();
        let mut stored = vec![(Vec::new(), vec![state.iterations as f32])];
        stored.extend(constant.map(|rate| (Vec::new(), vec![rate])));
        let kept = [WeightInfo { path: "kernel", sizes: &[3, 2] }, WeightInfo { path: "bias", sizes: &[2] }];
        let kept = state.stored(&*optimizer, &kept).map_err(|error| error.to_string())?;
        let names = case["variables"].as_array().unwrap().iter().map(|path| path.as_str().unwrap());
        for (own, path) in kept.iter().zip(names.skip(stored.len())) {
            // In Keras only Adafactor's sums have the names of their weights. The suffix of the second of a kind
            // (`variable_1`) is stripped.
            let last = path.rsplit('/').next().map(|last| last.strip_suffix("_1").unwrap_or(last));
            if !name.starts_with("adafactor") && last != Some(own.name.as_str()) {
                return Err(format!("keeps {} where Keras keeps {path}", own.name));
            }
        }
        stored.extend(kept.into_iter().map(|kept| (kept.sizes, kept.values)));
        if stored.len() != case["variables"].as_array().unwrap().len() {
            return Err(format!("keeps {} variables, not {}", stored.len(), case["variables"]));
        }
        for (index, (sizes, values)) in stored.iter().enumerate() {
            let wanted_sizes = &case["variable_shapes"][index];
            if json!(sizes) != *wanted_sizes {
                return Err(format!("variable {index} has sizes {sizes:?}, not {wanted_sizes}"));
            }
            let wanted = tensor(&format!("opt/{name}/state{index}")).1;
            close(&format!("variable {index}"), values, wanted, tolerance(name))?;
        }
        Ok(())
    });
    assert_eq!(count, 46);
}
