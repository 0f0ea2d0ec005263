//! A predictor allocates nothing for one sample once it is warm: a program of its own, whose allocator counts.

use std::alloc::System;

use brasa::layers::Arguments;
use brasa::prelude::*;
use brasa::shape::Padding;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How often memory was asked for so far, by any thread.
fn count() -> usize {
    let stats = ALLOCATOR.stats();
    stats.allocations + stats.reallocations
}

/// As [`check_model`], for a chain of layers.
fn check(name: &str, build: impl FnOnce(&mut Sequential) -> brasa::Result<()>) {
    let mut model = Sequential::new().with_seed(1);
    build(&mut model).unwrap();
    check_model(name, &model);
}

/// Asserts that a prediction for one sample allocates nothing on a single thread after a few.
fn check_model(name: &str, model: &Model) {
    let predictor = model.freeze().unwrap();
    assert!(predictor.is_compiled(), "{name}");
    let input = vec![1.0f32; predictor.input_shapes().next().unwrap().sample_len().unwrap()];
    let mut output = vec![0.0f32; predictor.output_shapes().next().unwrap().sample_len().unwrap()];
    // In a pool of one thread: what a large network hands to others may allocate.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(|| {
        let mut run = || predictor.run_into(&[&input], 1, &mut [&mut output]).unwrap();
        (0..3).for_each(|_| run());
        // Other threads of the test program may allocate meanwhile; what a prediction allocates, it does every time.
        let least = (0..20).map(|_| {
            let before = count();
            (0..10).for_each(|_| run());
            count() - before
        });
        assert_eq!(least.min(), Some(0), "{name}");
    });
    assert!(output.iter().all(|value| value.is_finite()));
}

/// A sum that the step before it forms, and merged values.
fn residual() -> brasa::Result<Model> {
    let input = Input::new((8, 8, 3)).symbol();
    let x = Conv2D::new(16, 3).activation("relu").call(&input)?;
    let y = Conv2D::new(16, 1).call(&Conv2D::new(8, 1).activation("relu").call(&x)?)?;
    let x = ReLU::new().call(&Add::new().call([&x, &y])?)?;
    let y = Conv2D::new(16, 3).padding(Padding::Same).call(&x)?;
    let y = Conv2D::new(16, 3).padding(Padding::Same).call(&y)?;
    let x = ReLU::new().call(&Add::new().call([&x, &y])?)?;
    let gate = GlobalAveragePooling2D::new().keepdims(true).call(&x)?;
    let x = ReLU::new().call(&Multiply::new().call([&x, &gate])?)?;
    Model::new(&input, &Flatten::new().call(&x)?)
}

/// Attention of a sequence to itself, added to it, and with keys of its own.
fn transformer() -> brasa::Result<Model> {
    let input = Input::new((24, 16)).symbol();
    let x = Dense::new(32).call(&input)?;
    let y = LayerNormalization::new().call(&x)?;
    let x = Add::new().call([&x, &MultiHeadAttention::new(4, 8).call([&y, &y])?])?;
    let y = Dense::new(64).activation("gelu").call(&LayerNormalization::new().call(&x)?)?;
    let x = Add::new().call([&x, &Dense::new(32).call(&y)?])?;
    let x = MultiHeadAttention::new(2, 40).value_dim(5usize).call([&x, &x, &input])?;
    let x = GroupQueryAttention::new(6, 4, 2).call([&x, &x])?;
    Model::new(&input, &GlobalAveragePooling1D::new().call(&x)?)
}

/// Attention to the steps up to the own position, with normalizations by the mean square.
fn decoder() -> brasa::Result<Model> {
    let mut causal = Arguments::new();
    causal.set_option("use_causal_mask", true);
    let input = Input::new((40, 16)).symbol();
    let x = Dense::new(24).call(&input)?;
    let y = RMSNormalization::new().call(&x)?;
    let y = MultiHeadAttention::new(2, 12).call_with([&y, &y], causal.clone())?.remove(0);
    let x = Add::new().call([&x, &y])?;
    let y = RMSNormalization::new().call(&x)?;
    let y = GroupQueryAttention::new(6, 4, 2).call_with([&y, &y], causal)?.remove(0);
    Model::new(&input, &RMSNormalization::new().axis([1, 2]).call(&Add::new().call([&x, &y])?)?)
}

#[test]
fn no_allocation_for_one_sample_once_warm() {
    let before = count();
    drop(std::hint::black_box(vec![1.0f32; 100]));
    assert_eq!(count() - before, 1, "the count counts");

    check("the notebook's network", |model| {
        model.add(Conv2D::new(32, 5).activation("relu").input_shape((28, 28, 1)))?.add(MaxPooling2D::new(2))?;
        model.add(Conv2D::new(64, 5).activation("relu"))?.add(MaxPooling2D::new(2))?;
        model.add(Flatten::new())?.add(Dense::new(10).activation("softmax"))?;
        Ok(())
    });
    check("dense layers", |model| {
        model.add(Dense::new(512).activation("relu").input_shape(784))?.add(Dropout::new(0.2))?;
        model.add(Dense::new(512).activation("relu"))?.add(Dense::new(10).activation("softmax"))?;
        Ok(())
    });
    check("convolutions with batch normalization", |model| {
        model.add(Input::new((32, 32, 3)))?;
        for filters in [32, 64] {
            for _ in 0..2 {
                model.add(Conv2D::new(filters, 3).padding(Padding::Same).use_bias(false))?;
                model.add(BatchNormalization::new())?.add(Activation::new("relu"))?;
            }
            model.add(MaxPooling2D::new(2))?;
        }
        model.add(GlobalAveragePooling2D::new())?.add(BatchNormalization::new())?;
        model.add(Dense::new(10).activation("softmax"))?;
        Ok(())
    });
    check("separable convolutions", |model| {
        model.add(Conv2D::new(16, 3).strides(2).padding(Padding::Same).input_shape((32, 32, 3)))?;
        model.add(BatchNormalization::new())?.add(ReLU::new())?;
        model.add(DepthwiseConv2D::new(3).padding(Padding::Same).depth_multiplier(2))?.add(LeakyReLU::new())?;
        model.add(SeparableConv2D::new(64, 3).strides(2).padding(Padding::Same).activation("relu"))?;
        model.add(GlobalAveragePooling2D::new())?.add(Dense::new(10))?;
        Ok(())
    });
    check("zero paddings", |model| {
        model.add(ZeroPadding2D::new(1).input_shape((16, 16, 3)))?.add(Conv2D::new(8, 3).strides(2))?;
        model.add(ZeroPadding2D::new(((0, 1), (0, 1))))?.add(DepthwiseConv2D::new(3).strides(2))?;
        model.add(ZeroPadding2D::new(1))?.add(MaxPooling2D::new(3))?.add(Flatten::new())?;
        Ok(())
    });
    check_model("residual blocks", &residual().unwrap());
    check_model("a transformer", &transformer().unwrap());
    check_model("a decoder", &decoder().unwrap());
    check("convolutions over a line", |model| {
        model.add(Conv1D::new(32, 5).activation("relu").input_shape((128, 9)))?.add(MaxPooling1D::new(2))?;
        model.add(Conv1D::new(64, 3).padding(Padding::Same).activation("relu"))?.add(GlobalMaxPooling1D::new())?;
        model.add(Dense::new(6).activation("softmax"))?;
        Ok(())
    });
    check("LSTM and GRU over words", |model| {
        model.add(Embedding::new(50, 16).input_shape(12))?.add(LSTM::new(32).return_sequences(true))?;
        model.add(LayerNormalization::new())?.add(GRU::new(16))?.add(Dense::new(3))?;
        Ok(())
    });
}
