//! Benchmarks of the kernels: `cargo bench --bench kernels [NAME]`.
//!
//! Criterion's report for each, and finally a table: floating-point operations per second and their fraction of the
//! peak measured in registers; bytes per second (each input read once, each output written once) and their fraction of
//! the bandwidth measured by copying an array larger than the caches. A kernel is as good as the larger fraction; more
//! than 100 % of the copy bandwidth means that the values stayed in the caches.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use brasa_kernels::activation::Activation;
use brasa_kernels::batch_norm::{self, Affine, BatchNorm};
use brasa_kernels::conv2d::{self, Conv2d, Pooled};
use brasa_kernels::dense::{self, Dense};
use brasa_kernels::depthwise::{self, Depthwise};
use brasa_kernels::optimizer::update_with_two;
use brasa_kernels::random::{self, Dropping};
use brasa_kernels::rnn::{
    LstmMemory, OutputGradient, Recurrent, WeightGradients, Weights, lstm_backward, lstm_forward,
};
use brasa_kernels::softmax::{Targets, cross_entropy};
use brasa_kernels::window::WindowGeometry;
use brasa_kernels::{peak, pool};
use criterion::{Criterion, Throughput};
use rayon::prelude::*;

/// Samples in a batch.
const BATCH: usize = 128;
/// The number of timed samples per kernel.
const SAMPLES: usize = 30;

fn main() {
    let mut kernels = Kernels { criterion: Criterion::default().configure_from_args(), measured: Vec::new() };
    for batch in [BATCH, 1] {
        notebook(&mut kernels, batch);
    }
    convolution(&mut kernels);
    depthwise_convolution(&mut kernels);
    dense_layer(&mut kernels);
    max_pooling(&mut kernels);
    dropout(&mut kernels);
    batch_normalization(&mut kernels);
    softmax_cross_entropy(&mut kernels);
    lstm(&mut kernels);
    adam_update(&mut kernels);
    kernels.criterion.final_summary();
    if !kernels.measured.is_empty() {
        kernels.print();
    }
}

/// The benchmark runner and its results so far.
struct Kernels {
    criterion: Criterion,
    measured: Vec<Measured>,
}

struct Measured {
    name: String,
    seconds: f64,
    operations: usize,
    bytes: usize,
}

impl Kernels {
    /// Measures a call of `operations` floating-point operations that reads and writes `values` numbers.
    fn measure(&mut self, name: &str, operations: usize, values: usize, mut call: impl FnMut()) {
        let bytes = 4 * values;
        let mut group = self.criterion.benchmark_group("kernels");
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(SAMPLES);
        group.throughput(if operations > 0 {
            Throughput::Elements(operations as u64)
        } else {
            Throughput::Bytes(bytes as u64)
        });
        let times = RefCell::new(Vec::new());
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|calls| {
                let begin = Instant::now();
                (0..calls).for_each(|_| call());
                let took = begin.elapsed();
                times.borrow_mut().push(took.as_secs_f64() / calls as f64);
                took
            });
        });
        group.finish();
        // The first ones are Criterion's warm-up.
        let times = times.into_inner();
        let mut times = times[times.len().saturating_sub(SAMPLES)..].to_vec();
        times.sort_by(f64::total_cmp);
        // Without times it was filtered out.
        if let Some(&seconds) = times.get(times.len() / 2) {
            self.measured.push(Measured { name: name.into(), seconds, operations, bytes });
        }
    }

    fn print(&self) {
        let (most, copied) = (peak::operations_per_second(), copied_per_second());
        println!(
            "\n{} threads; peak: {:.0} GFLOP/s in registers, {:.1} GB/s copying\n",
            rayon::current_num_threads(),
            most / 1e9,
            copied / 1e9
        );
        println!("| kernel | ms | GFLOP/s | of peak | GB/s | of copying |");
        println!("| --- | ---: | ---: | ---: | ---: | ---: |");
        for Measured { name, seconds, operations, bytes } in &self.measured {
            let (flops, rate) = (*operations as f64 / seconds, *bytes as f64 / seconds);
            let arithmetic = match operations {
                0 => "- | -".to_owned(),
                _ => format!("{:.1} | {:.0} %", flops / 1e9, 100.0 * flops / most),
            };
            let memory = format!("{:.1} | {:.0} %", rate / 1e9, 100.0 * rate / copied);
            println!("| {name} | {:.3} | {arithmetic} | {memory} |", seconds * 1e3);
        }
    }
}

/// Bytes read and written per second when all threads copy an array larger than the caches.
fn copied_per_second() -> f64 {
    const LEN: usize = 1 << 25;
    let from = vec![1.0_f32; LEN];
    let mut to = vec![0.0_f32; LEN];
    let part = LEN / rayon::current_num_threads().max(1);
    let copies = (0..5).map(|_| {
        let begin = Instant::now();
        to.par_chunks_mut(part).zip(from.par_chunks(part)).for_each(|(to, from)| to.copy_from_slice(from));
        black_box(&mut to);
        (2 * 4 * LEN) as f64 / begin.elapsed().as_secs_f64()
    });
    copies.fold(0.0, f64::max)
}

/// Deterministic numbers around zero.
fn numbers(count: usize) -> Vec<f32> {
    let mut state = count as u32 | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// A window that keeps an image's size (strides of 1), or divides it by its strides.
fn same(batch: usize, side: usize, size: usize, stride: usize) -> WindowGeometry {
    let output = side.div_ceil(stride);
    let pad = ((output - 1) * stride + size).saturating_sub(side) / 2;
    WindowGeometry {
        batch,
        input: [side; 2],
        output: [output; 2],
        size: [size; 2],
        strides: [stride; 2],
        dilations: [1; 2],
        pad: [pad; 2],
    }
}

/// Convolution 5×5, relu and pooling 2×2: the notebook's two blocks.
fn notebook(kernels: &mut Kernels, batch: usize) {
    for (name, side, channels, filters) in [("block 1", 28, 1, 32), ("block 2", 12, 32, 64)] {
        let window = WindowGeometry::valid(batch, [side; 2], [5; 2], [1; 2]);
        let pool = WindowGeometry::valid(batch, window.output, [2; 2], [2; 2]);
        let conv = Conv2d { window, channels, filters, groups: 1 };
        let block = Pooled { conv, activation: Activation::Relu, pool };
        let (x, w, bias) = (numbers(conv.input_len()), numbers(conv.weights_len()), numbers(filters));
        let mut y = vec![0.0; block.output_len()];
        let mut positions = vec![0; y.len()];
        let operations = conv.operations();
        let values = x.len() + w.len() + y.len();
        kernels.measure(&format!("notebook {name} forward, batch {batch}"), operations, values, || {
            conv2d::pooled_forward(&block, &x, &w, Some(&bias), &mut y, &mut positions);
        });

        let dy = numbers(y.len());
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; filters]);
        // A first layer needs no input gradient.
        let (gradients, name) =
            if channels == 1 { (1, format!("{name} gradient of weights")) } else { (2, format!("{name} gradients")) };
        kernels.measure(&format!("notebook {name}, batch {batch}"), gradients * operations, values + x.len(), || {
            let dx = (gradients == 2).then_some(&mut dx[..]);
            conv2d::pooled_backward(&block, &x, &w, &y, &positions, &dy, dx, &mut dw, Some(&mut db));
        });
    }
}

fn convolution(kernels: &mut Kernels) {
    for (side, channels) in [(32, 32), (16, 64), (8, 128)] {
        let conv = Conv2d { window: same(BATCH, side, 3, 1), channels, filters: channels, groups: 1 };
        let (x, w) = (numbers(conv.input_len()), numbers(conv.weights_len()));
        let mut y = vec![0.0; conv.output_len()];
        let name = format!("convolution 3×3, {side}×{side}×{channels}");
        kernels.measure(&format!("{name} forward"), conv.operations(), x.len() + w.len() + y.len(), || {
            conv2d::forward(&conv, &x, &w, None, Activation::Linear, &mut y);
        });
        let dy = numbers(y.len());
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; channels]);
        let values = x.len() + dy.len() + dx.len() + 2 * w.len();
        kernels.measure(&format!("{name} gradients"), 2 * conv.operations(), values, || {
            conv2d::backward(&conv, &x, &w, None, &dy, Some(&mut dx), &mut dw, Some(&mut db));
        });
    }
}

fn depthwise_convolution(kernels: &mut Kernels) {
    for stride in [1, 2] {
        let conv = Depthwise { window: same(BATCH, 16, 3, stride), channels: 64, multiplier: 1 };
        let (x, w) = (numbers(conv.input_len()), numbers(conv.weights_len()));
        let mut y = vec![0.0; conv.output_len()];
        let name = format!("depthwise 3×3, strides {stride}, 16×16×64");
        kernels.measure(&format!("{name} forward"), conv.operations(), x.len() + y.len(), || {
            depthwise::forward(&conv, &x, &w, None, Activation::Linear, &mut y);
        });
        let dy = numbers(y.len());
        let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
        kernels.measure(&format!("{name} gradients"), 2 * conv.operations(), 2 * x.len() + dy.len(), || {
            depthwise::backward(&conv, &x, &w, &dy, Some(&mut dx), &mut dw, None);
        });
    }
}

fn dense_layer(kernels: &mut Kernels) {
    for rows in [BATCH, 1] {
        let layer = Dense { rows, inputs: 512, units: 512 };
        let (x, w, bias) = (numbers(rows * 512), numbers(512 * 512), numbers(512));
        let mut y = vec![0.0; rows * 512];
        let name = format!("dense 512×512, batch {rows}");
        kernels.measure(&format!("{name} forward"), layer.operations(), x.len() + w.len() + y.len(), || {
            dense::forward(&layer, &x, &w, Some(&bias), Activation::Relu, &mut y);
        });
        let dy = numbers(y.len());
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; 512]);
        let values = x.len() + 2 * w.len() + dx.len() + dy.len();
        kernels.measure(&format!("{name} gradients"), 2 * layer.operations(), values, || {
            dense::backward(&layer, &x, &w, &dy, Some(&mut dx), &mut dw, Some(&mut db));
        });
    }
}

fn max_pooling(kernels: &mut Kernels) {
    let (window, channels) = (WindowGeometry::valid(BATCH, [32; 2], [2; 2], [2; 2]), 32);
    let x = numbers(BATCH * window.image_len(channels));
    let mut y = vec![0.0; BATCH * window.pixels() * channels];
    let mut positions = vec![0_u8; y.len()];
    let values = x.len() + y.len() + positions.len() / 4;
    kernels.measure("max pooling 2×2, 32×32×32 forward", 0, values, || {
        pool::forward(&window, channels, &x, &mut y, &mut positions);
    });
    let (dy, mut dx) = (numbers(y.len()), vec![0.0; x.len()]);
    kernels.measure("max pooling 2×2, 32×32×32 gradient", 0, values, || {
        pool::backward(&window, channels, &dy, &positions, &mut dx);
    });
}

fn dropout(kernels: &mut Kernels) {
    let x = numbers(BATCH * 32 * 32 * 32);
    let mut y = vec![0.0; x.len()];
    kernels.measure("dropout, 32×32×32", 0, 2 * x.len(), || {
        random::drop_out(&[1, 2, 3, 4], 0, Dropping::scaled(0.75), &x, &mut y);
    });
    kernels.measure("normal noise, 32×32×32", 0, y.len(), || random::normal(&[1, 2, 3, 4], 0, 0.0, 1.0, &mut y));
}

fn batch_normalization(kernels: &mut Kernels) {
    let norm = BatchNorm { rows: BATCH * 32 * 32, channels: 32, epsilon: 1e-3 };
    let (gamma, beta, x) = (numbers(32), numbers(32), numbers(norm.rows * norm.channels));
    let affine = Affine { gamma: Some(&gamma), beta: Some(&beta) };
    let (mut y, mut mean, mut variance) = (vec![0.0; x.len()], vec![0.0; 32], vec![0.0; 32]);
    // The mean must be known before the second pass begins.
    kernels.measure("batch normalization, 32×32×32 forward", 0, 3 * x.len(), || {
        batch_norm::forward(&norm, &x, affine, Activation::Linear, &mut y, &mut mean, &mut variance);
    });
    let (dy, mut dx) = (numbers(x.len()), vec![0.0; x.len()]);
    let (mut dgamma, mut dbeta) = (vec![0.0; 32], vec![0.0; 32]);
    kernels.measure("batch normalization, 32×32×32 gradients", 0, 7 * x.len(), || {
        let statistics = (&mean[..], &variance[..]);
        // The output gradient is overwritten by the input gradient.
        dx.copy_from_slice(&dy);
        let linear = (Activation::Linear, &[][..]);
        batch_norm::backward(&norm, &x, statistics, affine, linear, &mut dx, &mut dgamma, &mut dbeta);
    });
}

fn softmax_cross_entropy(kernels: &mut Kernels) {
    for classes in [10, 1000] {
        let logits = numbers(BATCH * classes);
        let targets: Vec<u32> = (0..BATCH as u32).map(|row| row * 7 % classes as u32).collect();
        let (mut losses, mut gradient) = (vec![0.0; BATCH], vec![0.0; logits.len()]);
        let name = format!("softmax with cross-entropy, {classes} classes");
        kernels.measure(&name, 0, 2 * logits.len(), || {
            cross_entropy(classes, &logits, Targets::Classes(&targets), 1.0, &mut losses, &mut gradient);
        });
    }
}

fn lstm(kernels: &mut Kernels) {
    let (batch, steps, inputs, units) = (BATCH, 100, 32, 128);
    let (activation, recurrent_activation) = (Activation::Tanh, Activation::Sigmoid);
    let sizes = Recurrent { batch, steps, inputs, units, activation, recurrent_activation };
    let mut x = numbers(batch * steps * inputs);
    x.iter_mut().for_each(|x| *x *= 0.1);
    let small = |count| numbers(count).into_iter().map(|value| 0.1 * value).collect::<Vec<f32>>();
    let (kernel, recurrent, bias) = (small(inputs * 4 * units), small(units * 4 * units), small(4 * units));
    let weights = Weights { kernel: &kernel, recurrent: &recurrent, bias: Some(&bias) };
    let mut h = vec![0.0; batch * steps * units];
    let (mut gates, mut cells) = (vec![0.0; 4 * h.len()], vec![0.0; h.len()]);
    let operations = 2 * batch * steps * (inputs + units) * 4 * units;
    kernels.measure("LSTM 128, 100 steps of 32, forward", operations, x.len() + 6 * h.len(), || {
        let memory = LstmMemory { gates: &mut gates[..], cells: &mut cells[..] };
        lstm_forward(&sizes, &x, &weights, None, &mut h, Some(memory), None);
    });
    let dy = numbers(batch * units);
    let (mut d_kernel, mut d_recurrent) = (vec![0.0; kernel.len()], vec![0.0; recurrent.len()]);
    let mut d_bias = vec![0.0; bias.len()];
    // Only the weight gradients: the inputs are data.
    let operations = 2 * batch * steps * (inputs + 2 * units) * 4 * units;
    kernels.measure("LSTM 128, 100 steps of 32, gradients", operations, x.len() + 6 * h.len(), || {
        let memory = LstmMemory { gates: &gates[..], cells: &cells[..] };
        let gradients = WeightGradients { kernel: &mut d_kernel, recurrent: &mut d_recurrent, bias: Some(&mut d_bias) };
        let (dy, states) = (OutputGradient::Last(&dy), [None, None]);
        lstm_backward(&sizes, &x, &weights, None, &h, memory, dy, None, None, states, gradients);
    });
}

fn adam_update(kernels: &mut Kernels) {
    let gradient = numbers(1 << 20);
    let mut state = [numbers(1 << 20), vec![0.0; 1 << 20], vec![0.0; 1 << 20]];
    let formula = |g: f32, w: &mut f32, m: &mut f32, v: &mut f32| {
        *m += (g - *m) * 0.1;
        *v += (g * g - *v) * 0.001;
        *w -= 1e-3 * *m / (v.sqrt() + 1e-7);
    };
    kernels.measure("Adam, 1,048,576 weights", 0, 7 * gradient.len(), || {
        let [weights, mean, square] = &mut state;
        update_with_two(0.0, &formula, &gradient, weights, mean, square);
    });
}
