//! Every optimizer resumes after saving and loading without a difference.

use brasa::Result;
use brasa::formats::Limits;
use brasa::optimizers::{self, OptimizerArgument};
use brasa::prelude::*;
use ndarray::{Array2, ArrayD};

fn numbers(rows: usize, columns: usize, rate: f32) -> ArrayD<f32> {
    Array2::from_shape_fn((rows, columns), |(i, j)| ((i * columns + j) as f32 * rate).sin()).into_dyn()
}

/// Two more batches after `optimizer` has been trained for three, saved and loaded: the weights are the same as without
/// saving.
fn resumes(optimizer: impl Into<OptimizerArgument>, what: &str) -> Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(4).activation("tanh").input_shape(3))?.add(Dense::new(2))?;
    model.compile(Compile::new(optimizer, "mse"))?;
    let (x, y) = (numbers(6, 3, 0.7), numbers(6, 2, 1.3));
    for _ in 0..3 {
        model.train_on_batch(x.clone(), y.clone())?;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    model.save(&path)?;
    let mut copy = Sequential::load(&path)?;
    for _ in 0..2 {
        let scores = [model.train_on_batch(x.clone(), y.clone())?, copy.train_on_batch(x.clone(), y.clone())?];
        assert_eq!(scores[0], scores[1], "{what}");
    }
    assert_eq!(model.get_weights()?, copy.get_weights()?, "{what}");
    Ok(())
}

#[test]
fn the_optimizer_s_state_counts_towards_the_budget() -> Result<()> {
    let mut model = Sequential::new();
    model.add(Dense::new(8).input_shape(7))?;
    model.compile(Compile::new("adam", "mse"))?;
    model.train_on_batch(numbers(6, 7, 0.7), numbers(6, 8, 1.3))?;
    // 64 weights with two slots each, the step number and the learning rate.
    let whole = (64 * 3 + 2) * 4;
    let folder = tempfile::tempdir().unwrap();
    for form in ["keras", "h5", "safetensors"] {
        let path = folder.path().join(format!("model.{form}"));
        model.save(&path)?;
        let load = |weight_bytes| Sequential::load_with(&path, None, &Limits { weight_bytes, ..Limits::default() });
        load(whole)?;
        for less in [whole - 1, 64 * 4, 64 * 4 - 1] {
            let error = load(less).map(drop).unwrap_err().to_string();
            assert!(error.contains("Limits::weight_bytes"), "{form}: {error}");
        }
    }
    Ok(())
}

#[test]
fn every_optimizer_resumes() -> Result<()> {
    optimizers::names().iter().try_for_each(|name| resumes(name.as_str(), name))
}

#[test]
fn optional_state_is_kept() -> Result<()> {
    resumes(Adam::new(0.01).amsgrad(true), "amsgrad")?;
    resumes(RMSprop::new(0.01).momentum(0.9).centered(true), "a centered RMSprop")?;
    resumes(SGD::new(0.1).momentum(0.5).use_ema(true).ema_momentum(0.9), "a running mean")?;
    resumes(Nadam::new(0.01).gradient_accumulation_steps(2), "accumulated gradients")?;
    resumes(Adam::new(ExponentialDecay::new(0.1, 2, 0.5)).loss_scale_factor(8.0), "a schedule")
}

#[test]
fn the_running_mean_is_what_fit_leaves() -> Result<()> {
    let data = Dataset::new(numbers(6, 3, 0.7), numbers(6, 2, 1.3))?;
    let trained = |use_ema: bool| -> Result<Vec<ArrayD<f32>>> {
        let mut model = Sequential::new();
        model.add(Dense::new(2).kernel_initializer("ones").input_shape(3))?;
        model.compile(Compile::new(SGD::new(0.1).use_ema(use_ema).ema_momentum(0.5), "mse"))?;
        // Two steps, so that the mean is (w₁ + w₂) / 2.
        model.fit(&data, Fit::new().epochs(if use_ema { 2 } else { 1 }).batch_size(6).verbose(Verbosity::Silent))?;
        let first = model.get_weights()?;
        if use_ema {
            return Ok(first);
        }
        model.fit(&data, Fit::new().batch_size(6).verbose(Verbosity::Silent))?;
        let second = model.get_weights()?;
        Ok(first.into_iter().zip(second).map(|(a, b)| (a + b) * 0.5).collect())
    };
    for (mean, wanted) in trained(true)?.iter().zip(trained(false)?) {
        assert!(mean.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{mean}, not {wanted}");
    }
    Ok(())
}
