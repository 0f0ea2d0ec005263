//! User-defined loss, metrics and optimizer: a model that uses them loads compiled once they are registered.

use brasa::losses::{self, Loss};
use brasa::metrics::{self, Mean, MeanFunction, SumMetric, Summed};
use brasa::ndarray::{Array1, Array2, array};
use brasa::optimizers::{self, LearningRate, Optimizer, OptimizerState, Slot, Step, Variable, WeightInfo};
use brasa::prelude::*;
use brasa::{Error, Result, Value};

brasa::describe! {
    /// The mean of the fourth powers of the errors, times a factor.
    pub struct QuarticError {
        /// The factor.
        factor: f32 = 1.0,
    }
}

impl Loss for QuarticError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok((y_pred - y_true).square().square().mean_axis(last).mul_scalar(self.factor))
    }
}

brasa::describe! {
    /// The largest error above a threshold.
    pub struct LargestError {
        /// The threshold.
        threshold: f32 = 0.0,
    }
}

impl MeanFunction for LargestError {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        let last = y_pred.rank() - 1;
        Ok((y_pred - y_true).abs().max_axis(last).clamp_min(self.threshold))
    }
}

brasa::describe! {
    /// The mean prediction over the mean target.
    pub struct Bias {}
}

impl SumMetric for Bias {
    fn sums(&self, y_true: Value, y_pred: Value, _: Option<&Value>) -> Result<Value> {
        Value::concat(vec![y_true.sum(), y_pred.sum()], 0)
    }

    fn results(&self, sums: &[f64]) -> Vec<f64> {
        vec![sums[1] / sums[0]]
    }
}

brasa::describe! {
    /// Steps by the sign of a running mean.
    pub optimizer struct SignDescent {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.01),
        /// The decay factor of the mean.
        kept: f32 = 0.5,
    }
}

impl Optimizer for SignDescent {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        vec![Slot::like(weight, "mean")]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        slots[0] = slots[0].clone().mul_scalar(self.kept) + gradient;
        Ok(weight - slots[0].clone().sign().mul_scalar(step.learning_rate))
    }
}

fn layers() -> Sequential {
    let mut model = Sequential::new().with_seed(5);
    model.add(Dense::new(4).activation("tanh").input_shape(3)).unwrap();
    model.add(Dense::new(1)).unwrap();
    model
}

#[test]
fn own_classes_load_compiled_once_registered() {
    let mut model = layers();
    let compile = Compile::new(SignDescent::default().kept(0.25), QuarticError::default().factor(2.0));
    let metrics: [metrics::MetricArgument; 2] =
        [Mean::of(LargestError::default().threshold(0.5)).into(), Summed::new(Bias::default()).into()];
    model.compile(compile.metrics(metrics)).unwrap();
    // Labels of rank 1 for outputs of rank 2, which the formulas above do not handle.
    let x = Array2::from_shape_fn((6, 3), |(row, column)| (row as f32 - 2.0) * 0.3 + column as f32 * 0.1);
    let y: Array1<f32> = array![0.5, 0.1, 0.9, 1.4, 0.2, 0.7];
    model.train_on_batch(&x, &y).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("own.keras");
    model.save(&file).unwrap();

    assert!(!Sequential::load(&file).unwrap().is_compiled(), "not registered yet");
    assert!(layers().compile(Compile::new("sign_descent", "mse")).is_err());
    losses::register::<QuarticError>();
    metrics::register_mean::<LargestError>();
    metrics::register_sum::<Bias>();
    optimizers::register::<SignDescent>();

    let mut loaded = Sequential::load(&file).unwrap();
    assert!(loaded.is_compiled());
    let (a, b) = (model.train_on_batch(&x, &y).unwrap(), loaded.train_on_batch(&x, &y).unwrap());
    assert_eq!(a, b);
    assert_eq!(a.metrics.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["bias", "largest_error"]);
    assert_eq!(model.get_weights().unwrap(), loaded.get_weights().unwrap());

    // They also work by name, a loss also as a metric.
    let by_name = Compile::new("sign_descent", "quartic_error").metrics(["largest_error", "Bias", "quartic_error"]);
    let mut model = layers();
    model.compile(by_name).unwrap();
    let scores = model.test_on_batch(&x, &y).unwrap();
    assert_eq!(scores.get("quartic_error").map(|own| own as f32), Some(scores.loss as f32));
    model.save(&file).unwrap();
    assert_eq!(Sequential::load(&file).unwrap().test_on_batch(&x, &y).unwrap(), scores);
    // In the legacy format Keras finds the optimizer by its class, which is the registered name, the others as always.
    let older = folder.path().join("own.h5");
    model.save(&older).unwrap();
    let bytes = std::fs::read(&older).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    for written in [
        r#""class_name": "Custom>SignDescent""#,
        r#""registered_name": "Custom>QuarticError""#,
        r#""registered_name": "Custom>LargestError""#,
    ] {
        assert!(text.contains(written), "{written}");
    }
    assert_eq!(Sequential::load(&older).unwrap().test_on_batch(&x, &y).unwrap(), scores);
    let error = layers().compile(Compile::new("adam", "quartic_eror")).unwrap_err().to_string();
    assert!(error.contains("did you mean `quartic_error`?"), "{error}");
}

brasa::describe! {
    /// A loss with the name of the metric below.
    pub struct TailError {}
}

impl Loss for TailError {
    fn losses(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        QuarticError::default().losses(y_true, y_pred)
    }
}

brasa::describe! {
    /// A metric with the name of the loss above.
    pub struct TailMetric as "TailError" {}
}

impl MeanFunction for TailMetric {
    fn values(&self, y_true: Value, y_pred: Value) -> Result<Value> {
        LargestError::default().values(y_true, y_pred)
    }
}

/// A file would be loaded with the loss in place of the metric.
#[test]
fn an_own_metric_with_the_name_of_a_registered_loss_is_registered_to_be_saved() {
    losses::register::<TailError>();
    let mut by_name = layers();
    by_name.compile(Compile::new("sgd", "tail_error").metrics(["tail_error"])).unwrap();
    assert!(by_name.to_json().is_ok(), "the loss as a metric");
    let mut model = layers();
    model.compile(Compile::new("sgd", "mse").metrics([Mean::of(TailMetric::default())])).unwrap();
    let error = model.to_json().unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("`TailError`: the registered loss"), "{error}");
    metrics::register_mean::<TailMetric>();
    let mut loaded = Sequential::from_json(&model.to_json().unwrap()).unwrap();
    loaded.set_weights(&model.get_weights().unwrap()).unwrap();
    let (x, y) = (Array2::<f32>::ones((6, 3)), Array1::<f32>::zeros(6));
    assert_eq!(loaded.test_on_batch(&x, &y).unwrap(), model.test_on_batch(&x, &y).unwrap());
}

#[test]
fn own_classes_receive_only_matching_targets() {
    let mut model = layers();
    model.add(Dense::new(5)).unwrap();
    let labels = Array1::<i32>::zeros(6);
    let x = Array2::<f32>::ones((6, 3));
    model.compile(Compile::new("sgd", QuarticError::default())).unwrap();
    let error = model.train_on_batch(&x, &labels).unwrap_err();
    assert!(matches!(&error, Error::Data { .. }) && error.to_string().contains("(None, 5)"), "{error}");

    let own = Mean::of(LargestError::default());
    model.compile(Compile::new("sgd", "sparse_categorical_crossentropy").metrics([own])).unwrap();
    let error = model.train_on_batch(&x, &labels).unwrap_err().to_string();
    assert!(error.contains("largest_error") && error.contains("(None, 5)"), "{error}");
    let own = Summed::new(Bias::default());
    model.compile(Compile::new("sgd", "sparse_categorical_crossentropy").metrics([own])).unwrap();
    let error = model.train_on_batch(&x, &labels).unwrap_err().to_string();
    assert!(error.contains("bias") && error.contains("(None, 5)"), "{error}");
}

brasa::describe! {
    /// Fails in the second step of any vector, or returns another shape.
    pub optimizer struct Fickle {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.01),
        /// Whether to fail; otherwise a weight of another shape is returned.
        fails: bool = true,
    }
}

impl Optimizer for Fickle {
    fn slots(&self, weight: &WeightInfo<'_>) -> Vec<Slot> {
        vec![Slot::like(weight, "sum")]
    }

    fn update(&self, step: Step, weight: Value, gradient: Value, slots: &mut [Value]) -> Result<Value> {
        slots[0] = slots[0].clone() + gradient.clone();
        let weight = weight - gradient.mul_scalar(step.learning_rate);
        match weight.rank() {
            1 if step.number > 1 && self.fails => Err(Error::argument("weight", "a matrix", "a vector")),
            1 if step.number > 1 => weight.reshape(&[1, 4]),
            _ => Ok(weight),
        }
    }
}

brasa::describe! {
    /// Does nothing, so that only weight decay remains.
    pub optimizer struct Idle {
        /// The step size.
        learning_rate: LearningRate = LearningRate::Constant(0.5),
    }
}

impl Optimizer for Idle {
    fn slots(&self, _: &WeightInfo<'_>) -> Vec<Slot> {
        Vec::new()
    }

    fn update(&self, step: Step, weight: Value, _: Value, _: &mut [Value]) -> Result<Value> {
        Ok(weight.add_scalar(step.decay))
    }
}

/// Decay is not part of the optimizer's own formula: it receives decayed weights.
#[test]
fn an_own_optimizer_gets_weights_decayed() {
    let value = |number: f32| Value::full(&[2], number, &brasa::burn::tensor::Device::flex()).unwrap();
    let mut weight = value(2.0);
    let variable = Variable { path: "bias", value: &mut weight, gradient: value(0.0), constraint: None };
    OptimizerState::default().step(&Idle::default().weight_decay(0.5), vec![variable]).unwrap();
    assert_eq!(weight.to_vec().unwrap(), [1.5; 2]);
}

/// A step that fails halfway leaves weights, slots and the step number unchanged.
#[test]
fn an_optimizer_that_fails_changes_nothing() {
    let x = Array2::from_shape_fn((6, 3), |(row, column)| (row as f32 - 2.0) * 0.3 + column as f32 * 0.1);
    let y: Array1<f32> = array![0.5, 0.1, 0.9, 1.4, 0.2, 0.7];
    for (fails, part) in [(true, "a matrix"), (false, "`dense/bias` after a step of Fickle")] {
        let mut model = layers();
        model.compile(Compile::new(Fickle::default().fails(fails), "mse")).unwrap();
        model.train_on_batch(&x, &y).unwrap();
        let weights = model.get_weights().unwrap();
        for _ in 0..2 {
            let error = model.train_on_batch(&x, &y).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert_eq!(model.get_weights().unwrap(), weights);
        }
        model.compile(Compile::new("sgd", "mse")).unwrap();
        model.train_on_batch(&x, &y).unwrap();
        assert_ne!(model.get_weights().unwrap(), weights);
    }

    let value = |sizes: &[usize]| Value::full(sizes, 0.5, &brasa::burn::tensor::Device::flex()).unwrap();
    let (mut kernel, mut bias) = (value(&[3, 2]), value(&[2]));
    let mut state = OptimizerState::default();
    let mut step = |kernel: &mut Value, bias: &mut Value| {
        let variables = vec![
            Variable { path: "kernel", value: kernel, gradient: value(&[3, 2]), constraint: None },
            Variable { path: "bias", value: bias, gradient: value(&[2]), constraint: None },
        ];
        let result = state.step(&Fickle::default(), variables);
        let about = [WeightInfo { path: "kernel", sizes: &[3, 2] }, WeightInfo { path: "bias", sizes: &[2] }];
        (result.is_ok(), state.iterations, state.stored(&Fickle::default(), &about).unwrap())
    };
    let (done, iterations, kept) = step(&mut kernel, &mut bias);
    assert!(done && iterations == 1);
    assert_eq!(kept[0].values, [0.5; 6]);
    assert_eq!(step(&mut kernel, &mut bias), (false, 1, kept));
    assert_eq!((kernel.to_vec().unwrap(), bias.to_vec().unwrap()), (vec![0.495; 6], vec![0.495; 2]));
}
