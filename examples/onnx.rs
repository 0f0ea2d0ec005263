//! Models as ONNX files, with inputs and predictions, for `tests/keras/onnx_files.py`: `onnx DIR` writes one of each example
//! of a built-in layer, some graphs and Keras's operations, and `index.json` with what was written or why not.

use std::path::Path;

use brasa::burn::tensor::Device;
use brasa::datasets::{Samples, save_npy};
use brasa::layers::{Call, Layer, built_in};
use brasa::prelude::*;
use brasa::{Shape, Value};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

/// Numbers of samples.
const BATCHES: [usize; 2] = [1, 3];

/// Sizes and values.
type Array = (Vec<usize>, Vec<f32>);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder] = &arguments[..] else { return Err("usage: onnx DIR".into()) };
    let folder = Path::new(folder);
    let mut index = Vec::new();
    for entry in built_in() {
        for (number, example) in entry.examples().iter().enumerate() {
            let mut model = Sequential::new();
            model.to_device(&Device::flex());
            model.add(Input::new(example.input.sample().to_vec()))?;
            match entry.class_name {
                "InputLayer" => model.add(Flatten::new())?,
                _ => model.add(example.layer.clone())?,
            };
            let name = format!("{}_{number}", entry.class_name);
            index.push(write(folder, &name, model.into(), example.classes)?);
        }
        for (number, (layer, shapes)) in entry.examples_of_several().iter().enumerate() {
            let dtype = if layer.on_host().is_some() { "int64" } else { "float32" };
            let input = |shape: &Shape| Input::new(shape.sample().to_vec()).dtype(dtype).symbol();
            let inputs: Vec<Symbol> = shapes.iter().map(input).collect();
            let outputs = layer.clone().call_all(&inputs)?;
            let name = format!("{}_several_{number}", entry.class_name);
            index.push(write(folder, &name, Model::new(&inputs, &outputs)?, None)?);
        }
    }
    for (name, model, classes) in graphs()? {
        index.push(write(folder, &format!("graph_{name}"), model, classes)?);
    }
    // Keras's operations, in the graphs whose numbers `tests/goldens` compares with Keras's.
    let cases = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/goldens/operations.json"))?;
    for case in serde_json::from_slice::<Vec<Json>>(&cases)? {
        let model = Model::from_json(&json!({"class_name": "Functional", "config": case["config"]}).to_string())?;
        let inputs = case["inputs"].as_array().into_iter().flatten().map(|input| {
            let number = |value: &Json| value.as_f64().map_or(f32::NAN, |number| number as f32);
            let numbers = input[1].as_array().into_iter().flatten().map(number).collect();
            Ok((serde_json::from_value(input[0].clone())?, numbers))
        });
        let inputs = inputs.collect::<Outcome<Vec<Array>>>()?;
        let name = format!("operation_{}", case["name"].as_str().unwrap_or_default());
        // (Sizes that depend on the inputs are refused by `predict`.)
        let forward = |inputs: &[Array]| -> Outcome<Vec<Array>> {
            let value = |(sizes, values): &Array| Value::from_vec(values.clone(), sizes, &Device::flex());
            let values = inputs.iter().map(value).collect::<Result<Vec<_>, _>>()?;
            let outputs = Layer::forward_all(&model, values, &mut Call::inference(&[]))?;
            outputs.iter().map(|output| Ok((output.sizes(), output.to_vec()?))).collect()
        };
        index.push(write_given(folder, &name, &model, &[inputs], forward)?);
    }
    std::fs::write(folder.join("index.json"), serde_json::to_string_pretty(&index)?)?;
    Ok(())
}

/// Writes a model with random weights.
fn write(folder: &Path, name: &str, mut model: Model, classes: Option<usize>) -> Outcome<Json> {
    model.to_device(&Device::flex());
    model.set_seed(7);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    // (Variances stay above 0.)
    let weights: Vec<_> =
        model.get_weights()?.iter().map(|weight| weight.mapv(|value| value + rng.random_range(0.0..0.3f32))).collect();
    model.set_weights(&weights)?;
    let shapes: Vec<Shape> = model.freeze()?.input_shapes().cloned().collect();
    let mut batches = Vec::new();
    for batch in BATCHES {
        let of = |shape: &Shape| {
            let sizes: Vec<usize> =
                std::iter::once(batch).chain(shape.sample().iter().map(|size| size.unwrap_or(5))).collect();
            let value = |_| match classes {
                Some(classes) => rng.random_range(0..classes) as f32,
                None => rng.random_range(-1.0..1.0f32),
            };
            let values = (0..sizes.iter().product()).map(value).collect();
            (sizes, values)
        };
        batches.push(shapes.iter().map(of).collect());
    }
    let predict = |inputs: &[Array]| -> Outcome<Vec<Array>> {
        let samples = inputs.iter().map(|(sizes, values)| Samples::new(sizes.clone(), values.clone()));
        let outputs = model.predict_all(samples.collect::<Result<Vec<_>, _>>()?)?;
        Ok(outputs.iter().map(|output| (output.shape().to_vec(), output.iter().copied().collect())).collect())
    };
    write_given(folder, name, &model, &batches, predict)
}

/// Writes a model with its predictions for batches of inputs.
fn write_given(
    folder: &Path,
    name: &str,
    model: &Model,
    batches: &[Vec<Array>],
    predict: impl Fn(&[Array]) -> Outcome<Vec<Array>>,
) -> Outcome<Json> {
    if let Err(error) = model.save_onnx(folder.join(format!("{name}.onnx"))) {
        return Ok(json!({ "name": name, "error": error.to_string() }));
    }
    let mut outputs = 0;
    for (batch, inputs) in batches.iter().enumerate() {
        let predicted = predict(inputs)?;
        outputs = predicted.len();
        for (kind, arrays) in [("x", inputs), ("y", &predicted)] {
            for (place, (sizes, values)) in arrays.iter().enumerate() {
                save_npy(folder.join(format!("{name}.{batch}.{kind}{place}.npy")), sizes, values)?;
            }
        }
    }
    Ok(json!({ "name": name, "inputs": model.input_keys().len(), "outputs": outputs, "batches": batches.len() }))
}

/// A convolution with a batch normalization and an activation.
fn block(input: &Symbol, filters: usize, strides: usize) -> brasa::Result<Symbol> {
    let conv = Conv2D::new(filters, 3).strides(strides).padding("same").use_bias(false).call(input)?;
    Activation::new("relu").call(&BatchNormalization::new().call(&conv)?)
}

/// Graphs, each with its name and, for inputs that are integers, their exclusive upper bound.
fn graphs() -> Outcome<Vec<(&'static str, Model, Option<usize>)>> {
    let mut graphs = Vec::new();

    let image = Input::new((8, 8, 3)).name("image").symbol();
    let x = block(&image, 8, 1)?;
    let y = block(&block(&x, 8, 1)?, 8, 1)?;
    let sum = Add::new().call([&x, &y])?;
    let pooled = MaxPooling2D::new(2).call(&sum)?;
    let depthwise = DepthwiseConv2D::new(3).padding("same").call(&pooled)?;
    let gate = GlobalAveragePooling2D::new().keepdims(true).call(&depthwise)?;
    let gate = Conv2D::new(8, 1).activation("sigmoid").call(&gate)?;
    let gated = Multiply::new().call([&depthwise, &gate])?;
    let both = Concatenate::new().call([&gated, &pooled])?;
    let mean = GlobalAveragePooling2D::new().call(&both)?;
    let digit = Dense::new(10).activation("softmax").name("digit").call(&mean)?;
    graphs.push(("residual", Model::new(&image, &digit)?, None));

    let mut tower = Sequential::new();
    tower.add(Dense::new(5).activation("relu").input_shape(4))?.add(Dense::new(3))?;
    let tower = Model::from(tower).shared();
    let (left, right) = (Input::new(4).name("left").symbol(), Input::new(4).name("right").symbol());
    let (one, other) = (tower.call(&left)?, tower.call(&right)?);
    let distance = Subtract::new().call([&one, &other])?;
    let same = Dense::new(1).activation("sigmoid").name("same").call(&distance)?;
    graphs.push(("siamese", Model::new([&left, &right], [&same, &one])?, None));

    let words = Input::new(6).dtype("int32").name("words").symbol();
    let x = Embedding::new(9, 8).mask_zero(true).call(&words)?;
    let attended = MultiHeadAttention::new(2, 4).call([&x, &x])?;
    let x = LayerNormalization::new().call(&Add::new().call([&x, &attended])?)?;
    let inner = Dense::new(16).activation("gelu").call(&x)?;
    let x = LayerNormalization::new().call(&Add::new().call([&x, &Dense::new(8).call(&inner)?])?)?;
    let mean = GlobalAveragePooling1D::new().call(&x)?;
    graphs.push(("transformer", Model::new(&words, &Dense::new(2).name("label").call(&mean)?)?, Some(9)));

    let steps = Input::new((None, 4)).name("steps").symbol();
    let x = Bidirectional::new(LSTM::new(3).return_sequences(true)).call(&steps)?;
    let x = TimeDistributed::new(Dense::new(5).activation("tanh")).call(&x)?;
    let x = Bidirectional::new(GRU::new(3)).merge_mode("sum").call(&x)?;
    graphs.push(("any_length", Model::new(&steps, &Dense::new(1).call(&x)?)?, None));

    let mut pixels = Sequential::new();
    pixels.add(Rescaling::new(1.0 / 255.0).input_shape((12, 12, 1)))?;
    pixels.add(RandomFlip::default())?.add(Conv2D::new(4, 5).activation("relu"))?.add(MaxPooling2D::new(2))?;
    pixels.add(Dropout::new(0.5))?.add(SeparableConv2D::new(6, 3).activation("swish"))?;
    pixels.add(Conv2DTranspose::new(3, 3).strides(2).padding("same"))?.add(BatchNormalization::new())?;
    pixels.add(UpSampling2D::new(2))?.add(ZeroPadding2D::new(1))?.add(Cropping2D::new(2))?;
    pixels.add(Flatten::new())?.add(Dense::new(7).activation("leaky_relu"))?.add(BatchNormalization::new())?;
    graphs.push(("pixels", pixels.into(), None));
    Ok(graphs)
}
