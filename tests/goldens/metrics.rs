//! Metrics: after one batch, after a second, smaller one, and with sample weights.

use brasa::burn::tensor::Device;
use brasa::metrics::{Metric, MetricArgument};
use brasa::{Shape, Value};
use serde_json::{Value as Json, json};

use crate::support::{CLOSE, close_f64, numbers, run, value};

fn metric(case: &Json) -> Result<Box<dyn Metric>, String> {
    let config = json!({"module": "keras.metrics", "class_name": case["class"], "config": case["kwargs"]});
    let metric = MetricArgument::from_json(config).map_err(|error| error.to_string())?;
    // Only the name `accuracy` depends on the shapes.
    metric.resolve(&Shape::batch_of(1), &Shape::batch_of(1)).map_err(|error| error.to_string())
}

#[test]
fn results_are_those_of_keras() {
    let count = run("metrics", &[], |_, case| {
        let input = |index: usize| value(&format!("loss_in/{}", case["inputs"][index].as_str().unwrap()));
        let mut gathered = metric(case)?;
        for (key, batch) in [("after_batch1", 0), ("after_batch2", 2)] {
            gathered.update(&input(batch), &input(batch + 1), None).map_err(|error| error.to_string())?;
            close_f64(key, gathered.result().unwrap().as_slice(), &numbers(&case[key]), CLOSE)?;
        }
        gathered.reset();
        gathered.update(&input(0), &input(1), None).unwrap();
        close_f64("after a reset", gathered.result().unwrap().as_slice(), &numbers(&case["after_batch1"]), CLOSE)?;
        let Some(wanted) = case.get("weighted_sw_batch1") else { return Ok(()) };
        let mut weighted = metric(case)?;
        weighted.update(&input(0), &input(1), Some(&value("loss_in/sw"))).map_err(|error| error.to_string())?;
        close_f64("weighted", weighted.result().unwrap().as_slice(), &numbers(wanted), CLOSE)
    });
    assert_eq!(count, 44);
}

/// Keras numbers the names of metrics in order of creation; the first has no number.
#[test]
fn default_names_are_those_of_keras() {
    let count = run("metrics", &[], |_, case| {
        let (own, wanted) = (metric(case)?.name().to_owned(), case["default_name"].as_str().unwrap());
        let numbered = wanted.rsplit_once('_').filter(|(_, number)| number.parse::<u32>().is_ok());
        if own == wanted || numbered.is_some_and(|(name, _)| name == own) {
            return Ok(());
        }
        Err(format!("is named {own}, not {wanted}"))
    });
    assert_eq!(count, 44);
}

/// Arguments missing from the fixtures; the numbers, without and with weights, are from Keras 3.15.1.
#[test]
fn further_arguments_give_the_results_of_keras() {
    let of = |numbers: &[f32], sizes: &[usize]| Value::from_vec(numbers.to_vec(), sizes, &Device::flex()).unwrap();
    let line = [
        of(&[0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0], &[8]),
        of(&[0.1, 0.3, 0.6, 0.2, 0.9, 0.35, 0.0, 1.0], &[8]),
        of(&[1.0, 2.0, 0.5, 1.0, 0.0, 1.0, 3.0, 1.0], &[8]),
    ];
    let y_pred = of(&[0.1, 0.2, 0.7, 0.3, 0.3, 0.4, 0.5, 0.25, 0.25], &[3, 3]);
    let weights = of(&[1.0, 2.0, 0.5], &[3]);
    let one_hot = of(&[0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0], &[3, 3]);
    let table = [one_hot, y_pred.clone(), weights.clone()];
    let labels = [of(&[2.0, 0.0, 1.0], &[3]), y_pred, weights];
    type Case<'a> = (&'a str, Json, &'a [Value; 3], &'a [f64], &'a [f64]);
    let cases: [Case<'_>; 10] = [
        ("SpecificityAtSensitivity", json!({"sensitivity": 0.6}), &line, &[0.75], &[0.909_090_9]),
        ("RecallAtPrecision", json!({"precision": 0.7}), &line, &[1.0], &[1.0]),
        (
            "Precision",
            json!({"thresholds": [0.2, 0.3]}),
            &table,
            &[0.428_571_43, 0.333_333_34],
            &[0.411_764_7, 0.285_714_3],
        ),
        ("Recall", json!({"top_k": 1, "class_id": 0}), &table, &[0.0], &[0.0]),
        ("F1Score", json!({"average": "weighted"}), &table, &[0.222_222_2], &[0.142_857_13]),
        (
            "R2Score",
            json!({"class_aggregation": null}),
            &table,
            &[-0.125, -0.038_75, 0.531_25],
            &[-0.300_833_4, -0.169_583_4, 0.382_249_96],
        ),
        ("R2Score", json!({"num_regressors": 1}), &table, &[-0.002_857_2], &[-0.176_444_7]),
        (
            "MeanIoU",
            json!({"num_classes": 3, "ignore_class": 0, "dtype": "float32", "sparse_y_pred": false}),
            &labels,
            &[0.333_333_3],
            &[0.333_333_3],
        ),
        (
            "BinaryCrossentropy",
            json!({"from_logits": true, "label_smoothing": 0.1}),
            &table,
            &[0.735_378_1],
            &[0.737_585_84],
        ),
        (
            "AUC",
            json!({"multi_label": true, "label_weights": [0.2, 0.3, 0.5], "num_thresholds": 10}),
            &table,
            &[0.825],
            &[0.833_333_3],
        ),
    ];
    for (class, kwargs, [y_true, y_pred, weights], plain, weighted) in cases {
        for (weights, wanted) in [(None, plain), (Some(weights), weighted)] {
            let mut metric = metric(&json!({"class": class, "kwargs": kwargs})).unwrap();
            metric.update(y_true, y_pred, weights).unwrap();
            close_f64(class, metric.result().unwrap().as_slice(), wanted, CLOSE).unwrap();
        }
    }
}
