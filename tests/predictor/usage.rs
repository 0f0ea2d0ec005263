//! How a predictor is used, what it refuses, and models without a compiled form.

use brasa::Predictor;
use brasa::ndarray::{Array, ArrayD, Axis, array};
use brasa::prelude::*;

use super::networks;

fn is_shared<T: Clone + Send + Sync + 'static>() {}

#[test]
fn a_predictor_goes_to_any_thread() {
    is_shared::<Predictor>();
}

#[test]
fn names_and_shapes_are_those_of_the_model() {
    let network = networks::all().into_iter().find(|network| network.name == "branches").unwrap();
    let predictor = network.model.freeze().unwrap();
    assert_eq!(predictor.input_names().collect::<Vec<_>>(), ["image", "extra"]);
    assert_eq!(predictor.output_names().collect::<Vec<_>>(), ["scores", "features"]);
    let shapes: Vec<String> =
        predictor.input_shapes().chain(predictor.output_shapes()).map(ToString::to_string).collect();
    assert_eq!(shapes, ["(None, 12, 12, 8)", "(None, 5)", "(None, 4)", "(None, 40)"]);
    assert_eq!(predictor.name(), network.model.name());
}

#[test]
fn later_changes_of_the_model_do_not_reach_the_predictor_and_reach_predict() {
    let mut model = networks::mlp().model;
    let x = Array::from_shape_fn((3, 28, 28), |(i, j, k)| ((i * 7 + j * 3 + k) % 11) as f32 / 11.0).into_dyn();
    let predictor = model.freeze().unwrap();
    let before = predictor.run(&[x.view()]).unwrap().remove(0);
    assert_eq!(model.predict(&x).unwrap(), before);
    let halved: Vec<ArrayD<f32>> = model.get_weights().unwrap().iter().map(|weight| weight * 0.5).collect();
    model.set_weights(&halved).unwrap();
    assert_eq!(predictor.run(&[x.view()]).unwrap()[0], before);
    let after = model.predict(&x).unwrap();
    assert!((&after - &before).iter().any(|apart| apart.abs() > 1e-3));
    assert_eq!(model.freeze().unwrap().run(&[x.view()]).unwrap()[0], after);
    drop(model);
    assert_eq!(predictor.clone().run(&[x.view()]).unwrap()[0], before);
}

#[test]
fn training_changes_what_is_predicted() {
    let mut model = Sequential::new().with_seed(3);
    model.add(Dense::new(4).activation("relu").input_shape(2)).unwrap().add(Dense::new(1)).unwrap();
    model.compile(Compile::new(SGD::new(0.1), "mse")).unwrap();
    let x = array![[1.0f32, 2.0], [3.0, -1.0]];
    let before = model.predict(&x).unwrap();
    for _ in 0..5 {
        model.train_on_batch(&x, vec![1.0f32, 2.0]).unwrap();
    }
    let after = model.predict(&x).unwrap();
    assert_ne!(before, after);
    let scores = model.evaluate(&Dataset::new(&x, vec![1.0f32, 2.0]).unwrap()).unwrap();
    let expected = ((after[[0, 0]] - 1.0).powi(2) + (after[[1, 0]] - 2.0).powi(2)) / 2.0;
    assert!((scores.loss - f64::from(expected)).abs() < 1e-6);
}

#[test]
fn arrays_of_any_order_in_memory_are_taken() {
    let predictor = networks::mlp().model.freeze().unwrap();
    let x = Array::from_shape_fn((28, 28, 4), |(i, j, k)| ((i * 5 + j * 3 + k) % 13) as f32 / 13.0);
    let turned = x.view().permuted_axes([2, 1, 0]).into_dyn();
    assert!(!turned.is_standard_layout());
    let whole = turned.as_standard_layout().into_owned();
    assert_eq!(predictor.run(&[turned]).unwrap(), predictor.run(&[whole.view()]).unwrap());
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let network = networks::all().into_iter().find(|network| network.name == "branches").unwrap();
    let predictor = network.model.freeze().unwrap();
    let (image, extra) = (ArrayD::<f32>::zeros(vec![2, 12, 12, 8]), ArrayD::<f32>::zeros(vec![2, 5]));
    let message = |inputs: &[&ArrayD<f32>]| {
        let views: Vec<_> = inputs.iter().map(|input| input.view()).collect();
        predictor.run(&views).unwrap_err().to_string()
    };
    let model = network.model.name();
    assert_eq!(
        message(&[&image]),
        format!("data: inputs of model `{model}`: expected 2 of them: `image`, `extra`, received 1")
    );
    let wrong = ArrayD::<f32>::zeros(vec![2, 6]);
    assert_eq!(
        message(&[&image, &wrong]),
        format!("data: input `extra` of model `{model}`: expected 2 samples of shape (None, 5), received [2, 6]")
    );
    let fewer = extra.slice_axis(Axis(0), brasa::ndarray::Slice::from(0..1)).to_owned();
    assert_eq!(
        message(&[&image, &fewer]),
        format!("data: input `extra` of model `{model}`: expected 2 samples of shape (None, 5), received [1, 5]")
    );
    let none = [ArrayD::<f32>::zeros(vec![0, 12, 12, 8]), ArrayD::<f32>::zeros(vec![0, 5])];
    assert!(message(&[&none[0], &none[1]]).contains("at least one sample"));

    let (mut scores, mut features) = ([0.0; 8], [0.0; 80]);
    let mut into = |image: &[f32], samples, scores: &mut [f32]| {
        let error = predictor.run_into(&[image, &[0.0; 10]], samples, &mut [scores, &mut features]);
        error.map_err(|error| error.to_string())
    };
    let image = vec![0.0; 2 * 12 * 12 * 8];
    assert_eq!(into(&image, 2, &mut scores), Ok(()));
    assert!(into(&image[1..], 2, &mut scores).unwrap_err().contains("input `image`"));
    assert!(into(&image, 2, &mut scores[1..]).unwrap_err().contains("output `scores`"));
    assert!(into(&image, 0, &mut scores).unwrap_err().contains("at least one sample"));
    assert!(into(&image, usize::MAX, &mut scores).is_err());
}

#[test]
fn words_that_an_embedding_does_not_have_are_refused() {
    let network = networks::all().into_iter().find(|network| network.name == "GRU over words").unwrap();
    let predictor = network.model.freeze().unwrap();
    let mut words = ArrayD::<f32>::zeros(vec![1, 12]);
    assert!(predictor.run(&[words.view()]).is_ok());
    for wrong in [50.0, -1.0, 1.5, f32::NAN] {
        words[[0, 3]] = wrong;
        let error = predictor.run(&[words.view()]).unwrap_err().to_string();
        assert!(error.contains("whole numbers from 0 to 49"), "{error}");
    }
}

#[test]
fn models_without_a_compiled_form_are_frozen_all_the_same() {
    // A mask, and a layer around another.
    let mut model = Sequential::new().with_seed(2);
    model.add(Embedding::new(9, 4).mask_zero(true).input_shape(5)).unwrap();
    model.add(Bidirectional::new(LSTM::new(3))).unwrap().add(Dense::new(2)).unwrap();
    let predictor = model.freeze().unwrap();
    assert!(!predictor.is_compiled());
    let x = array![[1.0f32, 2.0, 0.0, 0.0, 0.0], [3.0, 4.0, 5.0, 6.0, 7.0]].into_dyn();
    let expected = model.predict(&x).unwrap();
    assert_eq!(predictor.run(&[x.view()]).unwrap()[0], expected);
    let mut outputs = [0.0; 4];
    predictor.run_into(&[x.as_slice().unwrap()], 2, &mut [&mut outputs]).unwrap();
    assert_eq!(outputs, expected.as_slice().unwrap());

    // Sizes that the inputs decide on.
    let mut model = Sequential::new().with_seed(4);
    model.add(Conv1D::new(3, 2).input_shape([None, Some(2)])).unwrap().add(GlobalMaxPooling1D::new()).unwrap();
    let predictor = model.freeze().unwrap();
    assert!(!predictor.is_compiled());
    for steps in [4, 7] {
        let x = ArrayD::from_shape_fn(vec![2, steps, 2], |at| (at[1] * 2 + at[2]) as f32);
        assert_eq!(predictor.run(&[x.view()]).unwrap()[0].shape(), [2, 3]);
    }
    let error = predictor.run_into(&[&[0.0; 8]], 1, &mut [&mut [0.0; 3]]).unwrap_err().to_string();
    assert!(error.contains("run_into"), "{error}");
}

#[test]
fn a_predictor_begins_each_call_with_the_states_of_the_moment_it_was_made() {
    let mut model = Sequential::new().with_seed(5);
    model.add(SimpleRNN::new(2).stateful(true).batch_size(1).input_shape((3, 1))).unwrap();
    let x = array![[[1.0f32], [0.5], [-1.0]]].into_dyn();
    let fresh = model.freeze().unwrap();
    let first = fresh.run(&[x.view()]).unwrap();
    assert_eq!(fresh.run(&[x.view()]).unwrap(), first);
    assert_eq!(model.predict(&x).unwrap(), first[0]);
    let later = model.freeze().unwrap();
    let second = later.run(&[x.view()]).unwrap();
    assert_ne!(second, first);
    assert_eq!(later.run(&[x.view()]).unwrap(), second);
    assert_eq!(model.predict(&x).unwrap(), second[0]);
    assert!(fresh.run(&[ArrayD::zeros(vec![2, 3, 1]).view()]).is_err());
}

#[test]
fn a_model_without_an_input_shape_is_refused() {
    let mut model = Sequential::new();
    model.add(Dense::new(2)).unwrap();
    assert!(model.freeze().unwrap_err().to_string().contains("built"));
}

/// Packing the weights uses the threads of the pool, which must not wait for a lock that its maker holds.
#[test]
fn many_threads_of_the_pool_predict_at_once_with_a_fresh_model() {
    use rayon::prelude::*;
    let mut model = Sequential::new().with_seed(1);
    model.add(Dense::new(256).activation("relu").input_shape(784)).unwrap().add(Dense::new(10)).unwrap();
    let x = ndarray::Array2::<f32>::ones((1, 784));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for _ in 0..20 {
        let weights = model.get_weights().unwrap();
        model.set_weights(&weights).unwrap();
        let expected = std::thread::scope(|scope| {
            let outside = scope.spawn(|| model.predict(&x).unwrap());
            let inside: Vec<_> = pool.install(|| (0..8).into_par_iter().map(|_| model.predict(&x).unwrap()).collect());
            let outside = outside.join().unwrap();
            assert!(inside.iter().all(|output| *output == outside));
            outside
        });
        assert_eq!(expected, model.predict(&x).unwrap());
    }
}

/// A model's own limit holds for the packed form of its weights too; without room its layers predict.
#[test]
fn a_model_without_room_for_packed_weights_predicts_by_its_layers() {
    let mut model = Sequential::new().with_seed(1);
    model.add(Dense::new(512).input_shape(512)).unwrap();
    let x = ndarray::Array2::<f32>::ones((1, 512));
    model.set_memory_limit(Some(1_500_000));
    assert!(!model.freeze().unwrap().is_compiled());
    let by_layers = model.predict(&x).unwrap();
    let weights = model.get_weights().unwrap();
    model.set_memory_limit(None);
    model.set_weights(&weights).unwrap();
    assert!(model.freeze().unwrap().is_compiled());
    let compiled = model.predict(&x).unwrap();
    assert!(by_layers.iter().zip(&compiled).all(|(a, b)| (a - b).abs() <= 1e-5 * b.abs().max(1.0)));
}

/// The maximum of an activation that falls somewhere is not the activation of the maximum.
#[test]
fn a_pooling_after_any_activation_is_compiled() {
    for activation in ["silu", "gelu", "softmax", "relu"] {
        let mut model = Sequential::new().with_seed(2);
        model.add(Conv2D::new(8, 3).activation(activation).input_shape((10, 10, 2))).unwrap();
        model.add(MaxPooling2D::new(2)).unwrap();
        assert!(model.freeze().unwrap().is_compiled(), "{activation}");
        let x =
            Array::from_shape_fn((2, 10, 10, 2), |(n, i, j, c)| ((n * 7 + i * 3 + j * 5 + c) % 11) as f32 / 5.0 - 1.0);
        let value = brasa::Value::from_vec(x.iter().copied().collect(), &[2, 10, 10, 2], model.device()).unwrap();
        let by_layers = model.forward(value, brasa::model::Mode::Inference).unwrap().output().to_vec().unwrap();
        let compiled = model.predict(&x).unwrap();
        assert!(compiled.iter().zip(&by_layers).all(|(a, b)| (a - b).abs() < 1e-5), "{activation}");
    }
}

/// In inference nothing is cropped.
#[test]
fn outputs_have_the_sizes_of_inference() {
    let mut model = Sequential::new().with_seed(3);
    model.add(RandomCrop::new(4, 4).input_shape((6, 6, 1))).unwrap();
    let predictor = model.freeze().unwrap();
    let x: Vec<f32> = (0..36).map(|number| number as f32).collect();
    let mut outputs = [0.0f32; 36];
    predictor.run_into(&[&x], 1, &mut [&mut outputs]).unwrap();
    assert_eq!(outputs.as_slice(), x);
    assert!(predictor.run_into(&[&x], 1, &mut [&mut outputs[..16]]).is_err());
}
