//! The plan fuses adjacent operations for which there is a kernel; the results do not change.

use brasa::ndarray::ArrayD;
use brasa::prelude::*;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use crate::support::{array, cases, close, layer};

/// A convolution, the zero padding before it, if there is one, and the pooling after it.
type Block = (Option<Json>, Json, Json);

fn block() -> impl Strategy<Value = Block> {
    let padding = || prop_oneof![Just("valid"), Just("same")];
    let activation = prop_oneof![Just("linear"), Just("relu"), Just("tanh"), Just("sigmoid"), Just("gelu")];
    let conv = (1..9usize, [1..4usize, 1..4usize], 1..3usize, padding(), activation, any::<bool>());
    let pool = ([1..4usize, 1..4usize], prop::option::of(1..4usize), padding());
    let zeros = prop::option::of([[0..4usize, 0..4usize], [0..4usize, 0..4usize]]);
    (zeros, conv, pool).prop_map(
        |(zeros, (filters, size, strides, padding, activation, bias), (pool, pool_strides, pool_padding))| {
            (
                zeros.map(|zeros| json!({"padding": zeros})),
                json!({
                    "filters": filters, "kernel_size": size, "strides": strides, "padding": padding,
                    "activation": activation, "use_bias": bias,
                }),
                json!({"pool_size": pool, "strides": pool_strides, "padding": pool_padding}),
            )
        },
    )
}

/// The blocks and a classifier; with `apart`, with a layer between any two that could be fused.
fn model_of(sample: [usize; 3], blocks: &[Block], apart: bool) -> Option<Sequential> {
    let mut model = Sequential::new().with_seed(3);
    model.add(Input::new(sample.to_vec())).unwrap();
    let between = |model: &mut Sequential| {
        if apart {
            model.add(Identity::new()).unwrap();
        }
    };
    for (zeros, conv, pool) in blocks {
        if let Some(zeros) = zeros {
            model.add(layer(&("ZeroPadding2D", zeros.clone())).unwrap()).unwrap();
            between(&mut model);
        }
        model.add(layer(&("Conv2D", conv.clone())).unwrap()).ok()?;
        between(&mut model);
        model.add(layer(&("MaxPooling2D", pool.clone())).unwrap()).ok()?;
        between(&mut model);
    }
    model.add(Flatten::new()).unwrap();
    // Steps so small that no probability reaches the clipping bound, which only unfused layers have.
    model.add(Dense::new(3).activation("softmax")).unwrap();
    between(&mut model);
    model.compile(Compile::new(SGD::new(0.01), "sparse_categorical_crossentropy")).unwrap();
    Some(model)
}

fn trained(model: &mut Sequential, x: &ArrayD<f32>) -> (ArrayD<f32>, Vec<f64>, Vec<ArrayD<f32>>) {
    let before = model.predict(x).unwrap();
    let losses = (0..3).map(|_| model.train_on_batch(x, vec![0, 1, 2, 1]).unwrap().loss).collect();
    (before, losses, model.get_weights().unwrap())
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn fused_layers_compute_what_unfused_ones_do(
        sample in [3..12usize, 3..12usize, 1..4usize], blocks in prop::collection::vec(block(), 1..3),
    ) {
        let models = (model_of(sample, &blocks, false), model_of(sample, &blocks, true));
        let (Some(mut joined), Some(mut single)) = models else { return Ok(()) };
        single.set_weights(&joined.get_weights().unwrap()).unwrap();
        let x = array(&[&[4], sample.as_slice()].concat(), 8);
        let (a, b) = (trained(&mut joined, &x), trained(&mut single, &x));
        close("prediction", &a.0, &b.0, 1e-5)?;
        for (a, b) in a.1.iter().zip(&b.1) {
            prop_assert!((a - b).abs() <= 1e-4 * b.abs().max(0.1), "losses {a} and {b}");
        }
        for (index, (a, b)) in a.2.iter().zip(&b.2).enumerate() {
            close(&format!("weight {index}"), a, b, 1e-4)?;
        }
    }
}
