//! Learning-rate schedules: the rates of the first 45 steps.

use brasa::schedules;
use serde_json::json;

use crate::support::{CLOSE, Tolerance, close_f64, numbers, run};

#[test]
fn rates_are_those_of_keras() {
    let count = run("schedules", &[], |_, case| {
        let config =
            json!({"module": "keras.optimizers.schedules", "class_name": case["class"], "config": case["config"]});
        let schedule = schedules::from_json(config).map_err(|error| error.to_string())?;
        let steps = numbers(&case["steps"]);
        let rates: Vec<f64> = steps.iter().map(|step| f64::from(schedule.at(*step as u64))).collect();
        close_f64("rate", &rates, &numbers(&case["values"]), Tolerance { absolute: 1e-8, ..CLOSE })?;
        let config = schedule.config().map_err(|error| error.to_string())?;
        let keys = |config: &serde_json::Map<String, _>| config.keys().cloned().collect::<Vec<_>>();
        let (own, wanted) = (keys(&config), keys(case["config"].as_object().unwrap()));
        if own == wanted { Ok(()) } else { Err(format!("writes {own:?}, not {wanted:?}")) }
    });
    assert_eq!(count, 10);
}
