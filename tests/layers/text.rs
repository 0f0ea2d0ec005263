//! Text layers in models: their contract, and their combination with others.

use brasa::Shape;
use brasa::datasets::Samples;
use brasa::layers::{Example, built_in};
use brasa::prelude::*;

/// Some texts for each sample, known and unknown ones, including an empty one.
fn texts(example: &Example, samples: usize) -> Samples {
    const WORDS: [&str; 7] = ["a", "b a", "", "c", "a b", "Zebra!", "b"];
    let sizes: Vec<usize> = std::iter::once(samples).chain(example.input.sample().iter().copied().flatten()).collect();
    let count = sizes.iter().product();
    Samples::texts(sizes, WORDS.into_iter().map(str::to_owned).cycle().take(count).collect()).unwrap()
}

fn model_of(example: &Example) -> Sequential {
    let mut model = Sequential::new().with_seed(7);
    model.add(Input::new(example.input.sample().to_vec()).dtype("string")).unwrap().add(example.layer.clone()).unwrap();
    model
}

fn examples() -> Vec<Example> {
    let examples: Vec<Example> = built_in().iter().flat_map(|entry| entry.examples_of_text()).collect();
    assert_eq!(examples.len(), 12);
    examples
}

#[test]
fn the_declared_shape_is_the_real_one() {
    for example in examples() {
        let model = model_of(&example);
        for samples in [1, 3, 40] {
            let output = model.predict(texts(&example, samples)).unwrap();
            assert!(model.output_shape().unwrap().accepts(output.shape()), "{:?}: {:?}", example.layer, output.shape());
        }
        assert_eq!(model.count_params().unwrap(), 0);
    }
}

#[test]
fn they_round_trip_through_config_and_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for example in examples() {
        let entry = built_in().iter().find(|entry| entry.class_name == example.layer.class_name()).unwrap();
        let config = example.layer.full_config().unwrap();
        assert_eq!(entry.layer(config.clone()).unwrap().full_config().unwrap(), config);
        let mut unknown = example.layer.config().unwrap();
        unknown.insert("no_such_argument".into(), 1.into());
        assert!(entry.layer(unknown).is_err());
        let model = model_of(&example);
        let x = texts(&example, 3);
        let expected = model.predict(x.clone()).unwrap();
        let copy = Sequential::from_json(&model.to_json().unwrap()).unwrap();
        assert_eq!(copy.predict(x.clone()).unwrap(), expected);
        for form in ["keras", "h5", "safetensors"] {
            let path = folder.path().join(format!("model.{form}"));
            model.save(&path).unwrap();
            assert_eq!(Sequential::load(&path).unwrap().predict(x.clone()).unwrap(), expected, "{:?}", example.layer);
        }
    }
}

/// A vocabulary with tokens that contain line breaks, which Keras would read back as other tokens.
#[test]
fn tokens_with_ends_of_lines_survive() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.keras");
    let layer = StringLookup::default().adapt(["a\nb", "c\u{2028}d", "a\nb", ""]).unwrap();
    let mut model = Sequential::new();
    model.add(layer.input_shape(1)).unwrap();
    model.save(&path).unwrap();
    let x = ["c\u{2028}d", "a\nb", "", "a"];
    let expected = model.predict(x).unwrap();
    assert_eq!(expected.iter().copied().collect::<Vec<_>>(), [2.0, 1.0, 3.0, 0.0]);
    assert_eq!(Sequential::load(&path).unwrap().predict(x).unwrap(), expected);
}

/// Texts of a batch are as long as its longest, independent of the following layers.
#[test]
fn texts_without_a_length_are_as_long_as_the_longest_of_a_batch() {
    let mut model = Sequential::new().with_seed(3);
    model.add(TextVectorization::default().vocabulary(["a", "b", "c"]).input_shape(1)).unwrap();
    let shape = |model: &Sequential| model.output_shape().unwrap().to_string();
    assert_eq!(shape(&model), "(None, None)");
    let alone = model.predict_with(["a b", "a"], Predict::new().batch_size(2)).unwrap();
    assert_eq!(alone, ndarray::array![[2.0, 3.0], [2.0, 0.0]].into_dyn());
    // Batches of different lengths cannot be concatenated.
    let error = model.predict_with(["a b", "a"], Predict::new().batch_size(1)).unwrap_err().to_string();
    assert!(error.contains("output_sequence_length"), "{error}");
    model.add(Embedding::new(5, 4).mask_zero(true)).unwrap();
    model.add(GlobalAveragePooling1D::new()).unwrap().add(Dense::new(2).activation("softmax")).unwrap();
    assert_eq!(shape(&model), "(None, 2)");
    let (both, alone) = (model.predict(["c a", "b b b b"]).unwrap(), model.predict(["c a"]).unwrap());
    assert!(both.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-6));
    model.compile(Compile::new(Adam::new(0.05), "sparse_categorical_crossentropy").metrics(["accuracy"])).unwrap();
    let data = Dataset::new(["a a", "b", "a c", "b b b", "a", "c b"], vec![0, 1, 0, 1, 0, 1]).unwrap();
    let fit = || Fit::new().epochs(40).batch_size(2).seed(5).verbose(Verbosity::Silent);
    let mut again = model.clone();
    assert_eq!(model.fit(&data, fit()).unwrap().history, again.fit(&data, fit()).unwrap().history);
    assert_eq!(model.evaluate(&data).unwrap().get("accuracy"), Some(1.0));
}

/// Several inputs of different kinds: strings, integers, floats.
#[test]
fn a_graph_takes_texts_beside_numbers() {
    let city = Input::new(1).dtype("string").name("city").symbol();
    let floor = Input::new(1).dtype("int64").name("floor").symbol();
    let size = Input::new(2).name("size").symbol();
    let town = StringLookup::default().vocabulary(["Oslo", "Rome"]).output_mode("one_hot").call(&city).unwrap();
    let crossed = HashedCrossing::new(5).output_mode("one_hot").call([&city, &floor]).unwrap();
    let joined = Concatenate::new().call([&town, &crossed, &size]).unwrap();
    let model = Model::new([&city, &floor, &size], &joined).unwrap();
    assert_eq!(model.takes_texts(), [true, false, false]);
    let x = |floors: Vec<i64>| {
        [
            Samples::texts([2, 1], vec!["Rome".into(), "Bonn".into()]).unwrap(),
            Samples::new([2, 1], floors).unwrap(),
            Samples::new([2, 2], vec![0.5f32, 1.5, 2.5, 3.5]).unwrap(),
        ]
    };
    let y = model.predict_all(x(vec![3, (1 << 53) + 1])).unwrap().remove(0);
    assert_eq!(y.shape(), [2, 10]);
    let y: Vec<Vec<f32>> = y.rows().into_iter().map(|row| row.to_vec()).collect();
    assert_eq!((&y[0][..3], &y[1][..3], &y[1][8..]), (&[0., 0., 1.][..], &[1., 0., 0.][..], &[2.5, 3.5][..]));
    assert!(y.iter().all(|row| row[3..8].iter().sum::<f32>() == 1.0));
    // The same inputs by name.
    let [city, floor, size] = x(vec![1, 2]);
    let named = [("floor", floor), ("size", size), ("city", city)];
    assert_eq!(model.predict_all(named).unwrap().remove(0).shape(), [2, 10]);
}

#[test]
fn texts_are_accepted_by_text_layers_only() {
    let refused = |result: brasa::Result<()>| result.unwrap_err().to_string();
    let mut model = Sequential::new();
    model.add(Input::new(1).dtype("string")).unwrap();
    let error = refused(model.add(Dense::new(1)).map(|_| ()));
    assert!(error.contains("Dense") && error.contains("texts"), "{error}");
    let mut model = Sequential::new();
    model.add(Input::new(1)).unwrap();
    let error = refused(model.add(TextVectorization::default().vocabulary(["a"])).map(|_| ()));
    assert!(error.contains("dtype \"string\""), "{error}");
    let mut model = Sequential::new();
    model.add(Dense::new(1).input_shape(1)).unwrap();
    assert!(model.add(StringLookup::default().vocabulary(["a"])).is_err());
    let words = Input::new(1).dtype("string").symbol();
    let inner = Model::new(&words, &StringLookup::default().vocabulary(["a"]).call(&words).unwrap()).unwrap();
    let outer = Input::new(1).dtype("string").symbol();
    let nested = inner.call(&outer).unwrap();
    let error = refused(Model::new(&outer, &nested).map(|_| ()));
    assert!(error.contains("inside another"), "{error}");
    assert!(Input::new(1).dtype("strings").symbol().shape().rank() == 2);
    assert!(Sequential::new().add(Input::new(1).dtype("strings")).is_err());
    // The reverse is allowed: a lookup of strings, numbers, strings again.
    let lookup = StringLookup::default().vocabulary(["a", "b"]);
    let mut model = Sequential::new();
    model.add(lookup.clone().input_shape(1)).unwrap().add(lookup.clone().invert(true)).unwrap();
    model.add(StringLookup::default().vocabulary(["b", "[UNK]"])).unwrap();
    assert_eq!(model.predict(["b", "x"]).unwrap(), ndarray::array![[1.0], [2.0]].into_dyn());
    // But no model outputs texts.
    let mut model = Sequential::new();
    model.add(lookup.clone().input_shape(1)).unwrap().add(lookup.invert(true)).unwrap();
    assert!(model.predict(["b"]).unwrap_err().to_string().contains("texts"));
}

#[test]
fn wrong_arguments_are_refused_at_add() {
    let refused =
        |layer: Box<dyn brasa::layers::Layer>| layer.output_shape(&Shape::batch_of(1)).unwrap_err().to_string();
    let vectorization = || TextVectorization::default().vocabulary(["a", "b"]);
    assert!(refused(vectorization().max_tokens(1).into()).contains("`max_tokens`"));
    assert!(refused(vectorization().max_tokens(3).into()).contains("`vocabulary`"));
    assert!(refused(vectorization().pad_to_max_tokens(true).into()).contains("`pad_to_max_tokens`"));
    assert!(refused(vectorization().output_mode("count").output_sequence_length(3).into()).contains("`output_mode`"));
    assert!(refused(vectorization().output_mode("tf_idf").into()).contains("`idf_weights`"));
    assert!(refused(vectorization().output_mode("tf_idf").idf_weights(vec![1.0]).into()).contains("`idf_weights`"));
    assert!(refused(vectorization().idf_weights(vec![1.0, 2.0]).into()).contains("`idf_weights`"));
    assert!(refused(vectorization().ngrams(0usize).into()).contains("`ngrams`"));
    assert!(refused(vectorization().encoding("latin-1").into()).contains("utf-8"));
    assert!(refused(vectorization().split("words").into()).contains("whitespace"));
    assert!(vectorization().adapt(["a"]).is_err());
    let lookup = || StringLookup::default().vocabulary(["a", "b"]);
    assert!(refused(lookup().mask_token("b").into()).contains("`mask_token`"));
    assert!(refused(lookup().invert(true).oov_token("b").into()).contains("`oov_token`"));
    assert!(refused(lookup().invert(true).output_mode("count").into()).contains("`output_mode`"));
    assert!(refused(IntegerLookup::default().vocabulary([1]).salt(3i64).into()).contains("`salt`"));
    assert!(refused(Hashing::new(0).into()).contains("`num_bins`"));
    // Adapting to no texts leaves the special tokens.
    let empty = TextVectorization::default().adapt(Vec::<String>::new()).unwrap();
    assert_eq!(empty.get_vocabulary().unwrap(), ["", "[UNK]"]);
    assert!(TextVectorization::default().adapt(vec![1.0f32]).is_err());
    // An unknown token without out-of-vocabulary indices.
    let strict = lookup().num_oov_indices(0usize);
    let error = brasa::layers::Layer::on_host(&strict).unwrap().transform(&[["x"].into()]).unwrap_err();
    assert!(error.to_string().contains("\"x\""), "{error}");
}
