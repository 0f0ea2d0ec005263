//! Losses: per sample, with each reduction, with weights, and their gradients.

use brasa::losses::{LossArgument, Reduction};
use serde_json::{Value as Json, json};

use crate::support::{CLOSE, Tolerance, close, close_f64, numbers, run, tensor, value};

fn input(case: &Json, key: &str) -> String {
    format!("loss_in/{}", case[key].as_str().unwrap())
}

#[test]
fn losses_are_those_of_keras() {
    let count = run("losses", &[], |name, case| {
        let config = json!({"module": "keras.losses", "class_name": case["class"], "config": case["kwargs"]});
        let loss =
            LossArgument::from_json(config).and_then(|loss| loss.resolve()).map_err(|error| error.to_string())?;
        let (y_true, y_pred) = (value(&input(case, "y_true")), value(&input(case, "y_pred")).require_grad());
        let losses = loss.call(&y_true, &y_pred).map_err(|error| error.to_string())?;
        let counted = loss.counted(&y_true, &losses).map_err(|error| error.to_string())?;

        close("none", &losses.to_vec().unwrap(), tensor(&format!("loss/{name}/none")).1, CLOSE)?;
        let weights = value("loss_in/sw");
        let reductions = [
            ("sum_over_batch_size", Reduction::SumOverBatchSize, None),
            ("sum", Reduction::Sum, None),
            ("weighted_sum_over_batch_size", Reduction::SumOverBatchSize, Some(&weights)),
            ("weighted_mean_with_sample_weight", Reduction::MeanWithSampleWeight, Some(&weights)),
        ];
        for (key, reduction, weights) in reductions {
            let reduced = reduction.reduce(losses.clone(), weights, counted.as_ref());
            let reduced = f64::from(reduced.map_err(|error| error.to_string())?.to_scalar().unwrap());
            close_f64(key, &[reduced], &numbers(&case[key]), CLOSE)?;
        }

        let mean = loss.reduction().reduce(losses, None, counted.as_ref()).unwrap();
        let mut gradients = mean.backward().ok_or("nothing to differentiate")?;
        let gradient = y_pred.take_gradient(&mut gradients).ok_or("no gradient")?.to_vec().unwrap();
        let wanted = tensor(&format!("loss/{name}/grad_pred")).1;
        close("gradient", &gradient, wanted, Tolerance { relative: 1e-4, absolute: 1e-6 })
    });
    assert_eq!(count, 36);
}
