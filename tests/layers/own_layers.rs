//! User-defined layers: the contract of `Layer` and `Call`, used from outside the crate.

use brasa::layers::{Call, Layer, WeightSpec, Wrapped};
use brasa::model::Mode;
use brasa::ndarray::{Array2, Array3, array};
use brasa::prelude::*;
use brasa::{Result, Shape, Value};

brasa::describe! {
    /// Ends with a softmax, and omits it when requested.
    pub layer struct Obedient {}
}

impl Layer for Obedient {
    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        call.activate(&Activation::Softmax, input)
    }

    fn final_activation(&self) -> Option<&Activation> {
        Some(&Activation::Softmax)
    }
}

brasa::describe! {
    /// Declares that it ends with a softmax, and always applies it.
    pub layer struct Disobedient {}
}

impl Layer for Disobedient {
    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        Activation::Softmax.apply(input)
    }

    fn final_activation(&self) -> Option<&Activation> {
        Some(&Activation::Softmax)
    }
}

brasa::describe! {
    /// Two layers in sequence, with a penalty on the value between them.
    pub layer struct Both {
        /// The first.
        first: Wrapped,
        /// The second, whose activation is the final one.
        second: Wrapped,
    }
}

impl Both {
    fn new(first: impl Into<Wrapped>, second: impl Into<Wrapped>) -> Self {
        Self::required(first.into(), second.into())
    }

    fn between(&self, input: &Shape) -> Result<Shape> {
        self.first.layer().output_shape(input)
    }
}

impl Layer for Both {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.second.layer().output_shape(&self.between(input)?)
    }

    fn weights(&self, input: &Shape) -> Result<Vec<WeightSpec>> {
        let mut specs = self.first.weights(input, "first")?;
        specs.extend(self.second.weights(&self.between(input)?, "second")?);
        Ok(specs)
    }

    fn given_weights(&self, input: &Shape) -> Result<Vec<Option<Value>>> {
        let mut values = Vec::new();
        for (layer, shape) in [(&self.first, input.clone()), (&self.second, self.between(input)?)] {
            let count = layer.weights(&shape, "")?.len();
            let given = layer.given_weights(&shape)?;
            values.extend(if given.is_empty() { vec![None; count] } else { given });
        }
        Ok(values)
    }

    fn supports_masking(&self) -> bool {
        true
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        let count = self.first.weights(&Shape::known(&input.sizes()), "")?.len();
        let between = self.first.forward(input, call, 0, 0)?;
        call.add_loss(between.clone().square().mean().mul_scalar(0.5));
        self.second.forward_last(between, call, count, 1)
    }

    fn final_activation(&self) -> Option<&Activation> {
        self.second.layer().final_activation()
    }
}

fn classifier(last: impl Into<Box<dyn Layer>>) -> Sequential {
    let mut model = Sequential::new();
    model.add(Identity::default().input_shape(3)).unwrap().add(last).unwrap();
    model.compile(Compile::new(SGD::new(0.1), "sparse_categorical_crossentropy").metrics(["accuracy"])).unwrap();
    model
}

fn three() -> (Array2<f32>, Vec<i32>) {
    (array![[1.0, 2.0, 0.5], [0.0, -3.0, 1.0]], vec![0, 2])
}

/// The loss of built-in layers with the same weights.
fn expected() -> f64 {
    let (x, y) = three();
    classifier(Softmax::default()).evaluate(&Dataset::new(&x, y).unwrap()).unwrap().loss
}

#[test]
fn a_final_activation_is_applied_once() {
    let (x, y) = three();
    let data = Dataset::new(&x, y).unwrap();
    let own = |model: &Sequential| model.evaluate(&data).unwrap().loss;
    assert!((own(&classifier(Obedient::default())) - expected()).abs() < 1e-6);
    // Also inside a nested model, and at the end of a wrapper.
    let mut nested = Sequential::new();
    nested.add(Obedient::default().input_shape(3)).unwrap();
    assert!((own(&classifier(nested)) - expected()).abs() < 1e-6);
    let wrapper = classifier(Both::new(Identity::default(), Obedient::default()));
    let penalty = 0.5 * x.mapv(|x| f64::from(x * x)).mean().unwrap();
    assert!((own(&wrapper) - penalty - expected()).abs() < 1e-6, "the penalty of the wrapper comes on top");
    // Predictions are probabilities in each case.
    let sums = wrapper.predict(x).unwrap().sum_axis(brasa::ndarray::Axis(1));
    assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-6), "{sums}");
}

#[test]
fn a_layer_that_does_not_leave_it_out_is_refused() {
    let (x, y) = three();
    let data = Dataset::new(&x, y).unwrap();
    let mut nested = Sequential::new();
    nested.add(Disobedient::default().input_shape(3)).unwrap();
    let wrapper = Both::new(Identity::default(), Disobedient::default());
    let models = [classifier(Disobedient::default()), classifier(nested), classifier(wrapper)];
    for mut model in models {
        for error in
            [model.evaluate(&data).unwrap_err(), model.fit(&data, Fit::new().verbose(Verbosity::Silent)).unwrap_err()]
        {
            let error = error.to_string();
            assert!(error.contains("final_activation") && error.contains("`Disobedient`"), "{error}");
        }
        // Without a request to omit it, there is no error.
        assert!(model.predict(&x).is_ok());
    }
}

fn wrapped() -> Sequential {
    let mut model = Sequential::new().with_seed(4);
    let both = Both::new(BatchNormalization::new(), Dense::new(2).kernel_regularizer("l2"));
    model.add(both.input_shape(3)).unwrap();
    model.compile(Compile::new(SGD::new(0.1), "mse")).unwrap();
    model
}

#[test]
fn a_custom_wrapper_trains_as_its_layers_do() {
    brasa::layers::register::<Both>();
    let (x, _) = three();
    let y = array![[1.0f32, 0.0], [0.5, 2.0]];
    let mut own = wrapped();
    let mut plain = Sequential::new();
    plain.add(BatchNormalization::new().input_shape(3)).unwrap();
    // Half the mean of the squares of six numbers in two samples: l2 of 1/6 per sample, times 2 samples, divided by 2.
    plain.add(ActivityRegularization::new().l2(0.5 / 3.0)).unwrap();
    plain.add(Dense::new(2).kernel_regularizer("l2")).unwrap();
    plain.compile(Compile::new(SGD::new(0.1), "mse")).unwrap();
    plain.set_weights(&own.get_weights().unwrap()).unwrap();
    for _ in 0..3 {
        let (a, b) = (own.train_on_batch(&x, &y).unwrap().loss, plain.train_on_batch(&x, &y).unwrap().loss);
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let (weights, others) = (own.get_weights().unwrap(), plain.get_weights().unwrap());
    for (a, b) in weights.iter().zip(&others) {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a} {b}");
    }
    assert!(weights[2].iter().any(|mean| *mean != 0.0), "the moving mean has moved");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("own.keras");
    own.save(&path).unwrap();
    let loaded = Sequential::load(&path).unwrap();
    assert_eq!(loaded.get_weights().unwrap(), weights);
    assert_eq!(loaded.weight_names().unwrap()[4], "both/second/kernel");
}

#[test]
fn wrapped_layers_bring_their_weights() {
    let mut donor = Sequential::new().with_seed(9);
    donor.add(Dense::new(3).input_shape(3)).unwrap();
    let before = donor.get_weights().unwrap();
    let donated = donor.pop().unwrap();
    let mut model = Sequential::new().with_seed(1);
    model.add(Both::new(donated, Dense::new(1)).input_shape(3)).unwrap();
    assert_eq!(model.get_weights().unwrap()[..2], before[..]);
}

#[test]
fn random_numbers_repeat_and_differ_from_part_to_part() {
    let model = |seed: Option<u64>| {
        let mut model = Sequential::new().with_seed(2);
        let dropout = || seed.map_or_else(|| Dropout::new(0.5), |seed| Dropout::new(0.5).seed(seed));
        model.add(Both::new(dropout(), dropout()).input_shape(64)).unwrap();
        model
    };
    let pass = |model: &Sequential, step: u64, seed: u64| {
        let x = Value::full(&[1, 64], 1.0, model.device()).unwrap();
        model.forward(x, Mode::Training { seed, step }).unwrap().output().to_vec().unwrap()
    };
    let free = model(None);
    assert_eq!(pass(&free, 3, 1), pass(&free, 3, 1));
    assert_ne!(pass(&free, 3, 1), pass(&free, 4, 1), "another step");
    assert_ne!(pass(&free, 3, 1), pass(&free, 3, 2), "another seed of the run");
    // Of 64 numbers about 16 pass two independent masks, 32 pass two identical ones.
    let passed = pass(&free, 3, 1).iter().filter(|x| **x > 0.0).count();
    assert!((6..27).contains(&passed), "{passed}");
    let seeded = model(Some(7));
    assert_eq!(pass(&seeded, 3, 1), pass(&seeded, 3, 2), "a seed of its own takes the place of the run's");
}

#[test]
fn a_mask_passes_a_wrapper() {
    let mut model = Sequential::new();
    model.add(Masking::new().input_shape((3, 2))).unwrap();
    model.add(Both::new(Identity::default(), Identity::default())).unwrap();
    model.add(GlobalAveragePooling1D::new()).unwrap();
    let x = Array3::from_shape_vec((1, 3, 2), vec![1.0f32, 2.0, 0.0, 0.0, 3.0, 6.0]).unwrap();
    assert_eq!(model.predict(x).unwrap().into_raw_vec_and_offset().0, [2.0, 4.0]);
}

/// The guide's number of layers is that of the list.
#[test]
fn the_guide_counts_the_layers() {
    let overview = include_str!("../../docs/guide/overview.md");
    let line = overview.lines().find(|line| line.starts_with("| Layers |")).unwrap();
    let count: usize = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert_eq!(count, brasa::layers::built_in().len(), "{line}");
}
