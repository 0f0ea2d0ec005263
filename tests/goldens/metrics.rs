//! Metrics: after one batch, after a second and smaller one, and with sample weights.

use brasa::Shape;
use brasa::metrics::{Metric, MetricArgument};
use serde_json::{Value as Json, json};

use crate::support::{CLOSE, close_f64, numbers, run, value};

fn metric(case: &Json) -> Result<Box<dyn Metric>, String> {
    let told = json!({"module": "keras.metrics", "class_name": case["class"], "config": case["kwargs"]});
    let metric = MetricArgument::from_json(told).map_err(|error| error.to_string())?;
    // Only the name `accuracy` needs the shapes.
    metric.resolve(&Shape::batch_of(1), &Shape::batch_of(1)).map_err(|error| error.to_string())
}

#[test]
fn results_are_those_of_keras() {
    let count = run("metrics", &[], |_, case| {
        let input = |index: usize| value(&format!("loss_in/{}", case["inputs"][index].as_str().unwrap()));
        let mut gathered = metric(case)?;
        for (key, batch) in [("after_batch1", 0), ("after_batch2", 2)] {
            gathered.update(&input(batch), &input(batch + 1), None).map_err(|error| error.to_string())?;
            close_f64(key, &gathered.results().unwrap(), &numbers(&case[key]), CLOSE)?;
        }
        gathered.reset();
        gathered.update(&input(0), &input(1), None).unwrap();
        close_f64("after a reset", &gathered.results().unwrap(), &numbers(&case["after_batch1"]), CLOSE)?;
        let Some(wanted) = case.get("weighted_sw_batch1") else { return Ok(()) };
        let mut weighted = metric(case)?;
        weighted.update(&input(0), &input(1), Some(&value("loss_in/sw"))).map_err(|error| error.to_string())?;
        close_f64("weighted", &weighted.results().unwrap(), &numbers(wanted), CLOSE)
    });
    assert_eq!(count, 44);
}

/// Keras numbers the names of metrics in the order in which they are made; the first has none.
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
