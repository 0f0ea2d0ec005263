//! Gradients against finite differences.

use brasa::prelude::*;
use proptest::prelude::*;

use crate::support::{array, cases, model_of, numbers, output_sizes, sample, smooth};

proptest! {
    #![proptest_config(cases(64))]

    /// An SGD step with a learning rate of 1 subtracts the gradient from the weights: its projection on a random
    /// direction is the slope of the loss.
    #[test]
    fn a_step_follows_the_slope_of_the_loss(sample in sample(), chain in prop::collection::vec(smooth(), 2..12)) {
        let mut model = model_of(&sample, &chain)?;
        model.add(Flatten::new()).unwrap();
        model.compile(Compile::new(SGD::new(1.0), "mse")).unwrap();
        let before = model.get_weights().unwrap();
        if before.is_empty() {
            return Ok(());
        }
        let x = array(&[&[3], sample.as_slice()].concat(), 3);
        let y = array(&[&[3], output_sizes(&model).as_slice()].concat(), 4);
        let total: usize = before.iter().map(|weight| weight.len()).sum();
        let direction: Vec<f32> = numbers(total, 6).iter().map(|number| number.signum() / (total as f32).sqrt()).collect();
        let moved = |by: f32| {
            let mut rest = direction.iter();
            let step = |weight: &f32| weight + by * rest.next().unwrap();
            let mut step = step;
            before.iter().map(|weight| weight.mapv(|number| step(&number))).collect::<Vec<_>>()
        };
        const STEP: f32 = 1e-2;
        let mut loss = |weights: &[ndarray::ArrayD<f32>]| {
            model.set_weights(weights).unwrap();
            model.test_on_batch(&x, &y).unwrap().loss
        };
        let slope = (loss(&moved(STEP)) - loss(&moved(-STEP))) / f64::from(2.0 * STEP);

        model.set_weights(&before).unwrap();
        model.train_on_batch(&x, &y).unwrap();
        let after = model.get_weights().unwrap();
        let gradient: Vec<f64> = before
            .iter()
            .zip(&after)
            .flat_map(|(before, after)| before.iter().zip(after).map(|(a, b)| f64::from(a - b)).collect::<Vec<_>>())
            .collect();
        let along: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * f64::from(*d)).sum();
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        prop_assert!((slope - along).abs() <= 5e-4 + 1e-2 * norm, "slope {slope}, gradient {along}, its norm {norm}");
    }
}
