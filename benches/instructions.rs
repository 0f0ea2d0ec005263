//! A few steps of a small network, for `scripts/instructions.py`, which counts their instructions.
//!
//! `instructions NETWORK predict|train BATCH STEPS`, on one thread. Without arguments it lists the networks.

use std::num::NonZeroUsize;
use std::process::ExitCode;

use brasa::prelude::*;
use ndarray::ArrayD;

const NETWORKS: [&str; 8] = ["mlp", "cnn", "nested", "conv1d", "separable", "vgg", "lstm", "transformer"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [network, action, batch, steps] = &arguments[..] else {
        println!("{}", NETWORKS.join(" "));
        return ExitCode::SUCCESS;
    };
    let run = || -> brasa::Result<()> {
        brasa::backend::use_threads(Some(NonZeroUsize::MIN))?;
        let (mut model, shape) = model(network)?;
        model.set_seed(1);
        model.compile(Compile::new(Adam::new(1e-3), "sparse_categorical_crossentropy"))?;
        let number = |text: &str| text.parse::<usize>().unwrap_or(1);
        let (batch, steps) = (number(batch), number(steps));
        let sizes = [&[batch][..], &shape].concat();
        // Numbers that repeat, between 0 and 1.
        let count = sizes.iter().product::<usize>();
        let x = ArrayD::from_shape_vec(sizes, (0..count).map(|at| (at * 31 % 257) as f32 / 257.0).collect())
            .map_err(|error| brasa::Error::shape("the sizes of a batch", error))?;
        let y: Vec<f32> = (0..batch).map(|sample| (sample % 10) as f32).collect();
        for _ in 0..steps {
            match action.as_str() {
                "train" => drop(model.train_on_batch(&x, y.clone())?),
                _ => drop(model.predict_on_batch(&x)?),
            }
        }
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A network of ten classes, and the shape of its input.
fn model(name: &str) -> brasa::Result<(Model, Vec<usize>)> {
    let mut model = Sequential::new();
    let shape = match name {
        "cnn" => {
            model.add(Conv2D::new(32, 5).activation("relu").input_shape((28, 28, 1)))?;
            model.add(MaxPooling2D::new(2))?.add(Conv2D::new(64, 5).activation("relu"))?;
            model.add(MaxPooling2D::new(2))?.add(Flatten::new())?;
            vec![28, 28, 1]
        }
        "nested" => {
            let mut inner = Sequential::new();
            inner.add(Conv2D::new(32, 5).activation("relu"))?.add(MaxPooling2D::new(2))?;
            inner.add(Conv2D::new(64, 5).activation("relu"))?.add(MaxPooling2D::new(2))?;
            model.add(Input::new((28, 28, 1)))?.add(inner)?.add(Flatten::new())?;
            vec![28, 28, 1]
        }
        "conv1d" => {
            model.add(Conv1D::new(32, 5).activation("relu").input_shape((64, 8)))?;
            model.add(MaxPooling1D::new(2))?.add(Conv1D::new(32, 3).activation("relu"))?;
            model.add(GlobalAveragePooling1D::new())?;
            vec![64, 8]
        }
        "separable" => {
            model.add(SeparableConv2D::new(32, 3).activation("relu").input_shape((28, 28, 3)))?;
            model.add(BatchNormalization::new())?.add(SeparableConv2D::new(32, 3).activation("relu"))?;
            model.add(GlobalAveragePooling2D::new())?;
            vec![28, 28, 3]
        }
        "vgg" => {
            model.add(Conv2D::new(16, 3).padding(Padding::Same).use_bias(false).input_shape((32, 32, 3)))?;
            model.add(BatchNormalization::new())?.add(ReLU::new())?;
            model.add(Conv2D::new(16, 3).padding(Padding::Same).use_bias(false))?;
            model.add(BatchNormalization::new())?.add(ReLU::new())?.add(MaxPooling2D::new(2))?.add(Flatten::new())?;
            vec![32, 32, 3]
        }
        "lstm" => {
            model.add(LSTM::new(32).input_shape((20, 16)))?;
            vec![20, 16]
        }
        "transformer" => {
            let input = Input::new((16, 32)).symbol();
            let attended = MultiHeadAttention::new(4, 8).call([&input, &input])?;
            let sum = LayerNormalization::new().call(&Add::new().call([&input, &attended])?)?;
            let wide = Dense::new(64).activation("gelu").call(&sum)?;
            let narrow = Dense::new(32).call(&wide)?;
            let sum = LayerNormalization::new().call(&Add::new().call([&sum, &narrow])?)?;
            let pooled = GlobalAveragePooling1D::new().call(&sum)?;
            let output = Dense::new(10).activation("softmax").call(&pooled)?;
            return Ok((Model::new(&input, &output)?, vec![16, 32]));
        }
        _ => {
            model.add(Dense::new(128).activation("relu").input_shape(196))?;
            model.add(Dense::new(128).activation("relu"))?;
            vec![196]
        }
    };
    model.add(Dense::new(10).activation("softmax"))?;
    Ok((model.into(), shape))
}
