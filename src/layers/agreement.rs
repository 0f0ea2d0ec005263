//! Kernel paths of layers agree with their portable paths, forward and backward, on both CPU backends.

use burn::tensor::Device;
use proptest::prelude::*;
use rand::RngExt;

use crate::activations::Activation;
use crate::layers::{
    Arguments, AveragePooling1D, BatchNormalization, Bidirectional, Call, Conv1D, DepthwiseConv1D, DepthwiseConv2D,
    GRU, GlobalAveragePooling1D, GlobalAveragePooling2D, GlobalMaxPooling1D, GlobalMaxPooling2D, GroupQueryAttention,
    INITIAL_STATE, LSTM, Layer, LayerNormalization, MaxPooling1D, MultiHeadAttention, ReLU, SeparableConv1D,
    SeparableConv2D,
};
use crate::ops::{self, Value};
use crate::random::stream;
use crate::shape::{Padding, Shape};

fn random(sizes: &[usize], seed: u64, range: std::ops::Range<f32>, device: &Device) -> Value {
    let mut random = stream(&[seed]);
    let numbers = (0..sizes.iter().product()).map(|_| random.random_range(range.clone())).collect();
    Value::from_vec(numbers, sizes, device).unwrap()
}

/// The outputs, the gradients of inputs and weights for random output gradients, and the updates. Inputs of a recurrent
/// layer after the first are initial states.
fn results(layer: &dyn Layer, sizes: &[&[usize]], device: &Device, training: bool, seed: u64) -> Vec<Vec<f32>> {
    // A third of the cases with several inputs have a mask for the second one's steps.
    let masked = sizes.len() > 1 && !layer.takes_initial_state() && seed.is_multiple_of(3);
    let masks = || {
        let mut masks = vec![None; sizes.len()];
        if masked {
            let [samples, steps] = [sizes[1][0], sizes[1][1]];
            let numbers = random(&[samples, steps], seed + 500, -1.0..1.0, device).to_vec().unwrap();
            // All steps of the first sample are masked out.
            let counts = numbers.iter().enumerate().map(|(i, number)| f32::from(i >= steps && *number > 0.0));
            masks[1] = Some(Value::from_vec(counts.collect(), &[samples, steps], device).unwrap());
        }
        masks
    };
    let mut arguments = Arguments::new();
    if sizes.len() > 1 && layer.takes_initial_state() {
        arguments.push_named(INITIAL_STATE, vec![true; sizes.len() - 1]);
    }
    let shape = |sizes: &&[usize]| Shape::known(sizes);
    let shapes: Vec<Shape> = sizes[..arguments.positional(sizes.len())].iter().map(shape).collect();
    let specs = layer.weights_for(&shapes).unwrap();
    let input = |(index, sizes): (usize, &&[usize])| {
        random(sizes, seed + 1000 * index as u64, -1.0..1.0, device).require_grad()
    };
    let inputs: Vec<Value> = sizes.iter().enumerate().map(input).collect();
    let weight = |(index, spec): (usize, &crate::layers::WeightSpec)| {
        let value = random(&spec.sizes, seed + 1 + index as u64, 0.1..0.9, device);
        if spec.trainable { value.require_grad() } else { value }
    };
    let weights: Vec<Value> = specs.iter().enumerate().map(weight).collect();
    let mut call = if training { Call::training(&weights, true, &[1]) } else { Call::inference(&weights) };
    call = call.given(masks(), &arguments);
    let outputs = layer.forward_all(inputs.clone(), &mut call).unwrap();
    let mut results: Vec<Vec<f32>> = outputs.iter().map(|output| output.clone().detach().to_vec().unwrap()).collect();
    results.extend(call.updates().iter().map(|update| update.value.to_vec().unwrap()));
    let weighted = outputs.iter().enumerate().map(|(index, output)| {
        (output.clone() * random(&output.sizes(), seed + 100 + index as u64, -1.0..1.0, device)).sum()
    });
    let mut gradients = weighted.reduce(|a, b| a + b).unwrap().backward().unwrap();
    for value in weights.iter().chain(&inputs).filter(|value| value.is_tracked()) {
        results.push(value.take_gradient(&mut gradients).unwrap().to_vec().unwrap());
    }
    // Without gradients another kernel may be dispatched.
    let plain: Vec<Value> = weights.iter().map(|weight| weight.clone().detach()).collect();
    let mut call = Call::inference(&plain).given(masks(), &arguments);
    let outputs = layer.forward_all(inputs.into_iter().map(Value::detach).collect(), &mut call).unwrap();
    results.extend(outputs.iter().map(|output| output.to_vec().unwrap()));
    results
}

#[track_caller]
fn check(layer: impl Layer, sizes: &[usize], training: bool, seed: u64) {
    check_all(layer, &[sizes], training, seed);
}

#[track_caller]
fn check_all(layer: impl Layer, sizes: &[&[usize]], training: bool, seed: u64) {
    for device in ops::cpu_devices() {
        let fast = results(&layer, sizes, &device, training, seed);
        let portable = ops::portably(|| results(&layer, sizes, &device, training, seed));
        assert_eq!(fast.len(), portable.len());
        // The error of a value that cancels to about 0, such as the gradient of a key's bias, scales with its summands.
        let least = portable.iter().flatten().fold(1e-2f32, |most, v| most.max(0.1 * v.abs()));
        for (which, (fast, portable)) in fast.iter().zip(&portable).enumerate() {
            assert_eq!(fast.len(), portable.len());
            let scale = portable.iter().fold(least, |most, v| most.max(v.abs()));
            for (a, b) in fast.iter().zip(portable) {
                assert!((a - b).abs() <= 1e-4 * scale, "result {which} of {layer:?} for {sizes:?}: {a}, not {b}");
            }
        }
    }
}

fn padding(same: bool) -> Padding {
    if same { Padding::Same } else { Padding::Valid }
}

/// Activations with a fused kernel, and one without.
fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Linear),
        Just(Activation::Relu),
        Just(Activation::Tanh),
        Just(Activation::Silu),
        Just(Activation::Mish),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn depthwise_convolutions(
        (batch, rows, columns, channels) in (1..4usize, 5..9usize, 5..10usize, 1..20usize),
        (size, step, dilated, multiplier) in (1..4usize, 1..3usize, any::<bool>(), 1..3usize),
        (same, bias, separable, activation, seed) in any::<(bool, bool, bool)>().prop_flat_map(|(a, b, c)| {
            (Just(a), Just(b), Just(c), activation(), 0..1000u64)
        }),
    ) {
        let (strides, dilation) = if dilated { (1, step) } else { (step, 1) };
        if separable {
            let layer = SeparableConv2D::new(6, size).strides(strides).dilation_rate(dilation).padding(padding(same));
            let layer = layer.depth_multiplier(multiplier).use_bias(bias).activation(activation.clone());
            check(layer, &[batch, rows, columns, channels], true, seed);
            let layer = SeparableConv1D::new(6, size).strides(strides).dilation_rate(dilation).padding(padding(same));
            let layer = layer.depth_multiplier(multiplier).use_bias(bias).activation(activation);
            check(layer, &[batch, rows, channels], true, seed);
        } else {
            let layer = DepthwiseConv2D::new(size).strides(strides).dilation_rate(dilation).padding(padding(same));
            let layer = layer.depth_multiplier(multiplier).use_bias(bias).activation(activation.clone());
            check(layer, &[batch, rows, columns, channels], true, seed);
            let layer = DepthwiseConv1D::new(size).strides(strides).dilation_rate(dilation).padding(padding(same));
            let layer = layer.depth_multiplier(multiplier).use_bias(bias).activation(activation);
            check(layer, &[batch, rows, channels], true, seed);
        }
    }

    #[test]
    fn convolutions_and_poolings_in_one_dimension(
        (batch, steps, channels, size) in (1..4usize, 5..9usize, 1..20usize, 1..4usize),
        (step, dilated, kind) in (1..3usize, any::<bool>(), 0..3usize),
        (activation, bias, seed) in (activation(), any::<bool>(), 0..1000u64),
    ) {
        let (strides, dilation) = if dilated { (1, step) } else { (step, 1) };
        let padding = [Padding::Valid, Padding::Same, Padding::Causal][kind];
        let layer = Conv1D::new(5, size).strides(strides).dilation_rate(dilation).padding(padding);
        check(layer.use_bias(bias).activation(activation), &[batch, steps, channels], true, seed);
        let sizes = [batch, steps, channels];
        let padding = [Padding::Valid, Padding::Same][kind % 2];
        check(MaxPooling1D::new(size).strides(step).padding(padding), &sizes, true, seed);
        check(AveragePooling1D::new(size).strides(step).padding(padding), &sizes, true, seed);
    }

    #[test]
    fn batch_normalizations(
        (batch, rows, channels) in (2..6usize, 2..9usize, 1..40usize),
        (scale, center, training, seed) in (any::<bool>(), any::<bool>(), any::<bool>(), 0..1000u64),
    ) {
        let layer = BatchNormalization::new().scale(scale).center(center).momentum(0.7);
        check(layer.clone(), &[batch, rows, channels], training, seed);
        check(layer, &[batch * rows, channels], training, seed);
    }

    #[test]
    fn global_poolings(
        (batch, rows, columns, channels) in (1..4usize, 1..20usize, 1..20usize, 1..20usize),
        (keepdims, seed) in (any::<bool>(), 0..1000u64),
    ) {
        let image = [batch, rows, columns, channels];
        check(GlobalMaxPooling2D::new().keepdims(keepdims), &image, true, seed);
        check(GlobalAveragePooling2D::new().keepdims(keepdims), &image, true, seed);
        let line = [batch, rows, channels];
        check(GlobalMaxPooling1D::new().keepdims(keepdims), &line, true, seed);
        check(GlobalAveragePooling1D::new().keepdims(keepdims), &line, true, seed);
        check(ReLU::new(), &line, true, seed);
        check(ReLU::new().max_value(6.0), &line, true, seed);
    }

    #[test]
    fn layer_normalization(
        (batch, steps, features) in (1..9usize, 1..9usize, 1..40usize),
        (scale, center, two) in any::<(bool, bool, bool)>(),
        seed in 0..1000u64,
    ) {
        let layer = LayerNormalization::new().scale(scale).center(center);
        let layer = if two { layer.axis([1, 2]) } else { layer };
        check(layer, &[batch, steps, features], true, seed);
    }

    #[test]
    fn attention_in_heads(
        (batch, rows, columns) in (1..4usize, 1..7usize, 1..20usize),
        (groups, times, size, width) in (1..3usize, 1..3usize, 1..6usize, 1..6usize),
        (bias, dropped, gate, near) in any::<(bool, bool, bool, bool)>(),
        seed in 0..1000u64,
    ) {
        let rate = if dropped { 0.3 } else { 0.0 };
        let inputs = [&[batch, rows, 5][..], &[batch, columns, 5]];
        let layer = MultiHeadAttention::new(groups * times, size).value_dim(width).use_bias(bias).dropout(rate);
        let layer = if near { layer.sliding_window(2usize) } else { layer };
        check_all(layer.use_gate(gate), &inputs, true, seed);
        let layer = GroupQueryAttention::new(size, groups * times, groups).use_bias(bias).dropout(rate);
        let layer = if near { layer.sliding_window(2usize) } else { layer };
        check_all(layer.use_gate(gate), &inputs, true, seed);
    }

    #[test]
    fn recurrent_layers(
        (batch, steps, features, units) in (1..20usize, 1..6usize, 1..6usize, 1..20usize),
        (bias, sequences, backwards, after) in any::<(bool, bool, bool, bool)>(),
        seed in 0..1000u64,
    ) {
        let sizes = [batch, steps, features];
        let lstm = LSTM::new(units).use_bias(bias).return_sequences(sequences).go_backwards(backwards);
        check(lstm.clone(), &sizes, true, seed);
        check(lstm.recurrent_activation("hard_sigmoid").activation("relu"), &sizes, true, seed);
        let gru = GRU::new(units).use_bias(bias).return_sequences(sequences).go_backwards(backwards);
        check(gru.clone().reset_after(after), &sizes, true, seed);
        let wrapped = gru.go_backwards(false);
        check(Bidirectional::new(wrapped), &sizes, true, seed);
    }

    #[test]
    fn recurrent_layers_with_states(
        (batch, steps, features, units) in (1..20usize, 1..6usize, 1..6usize, 1..20usize),
        (bias, sequences, backwards, given, returned) in any::<(bool, bool, bool, bool, bool)>(),
        seed in 0..1000u64,
    ) {
        let (sequence, state) = ([batch, steps, features], [batch, units]);
        let lstm = LSTM::new(units).use_bias(bias).return_sequences(sequences).go_backwards(backwards);
        let gru = GRU::new(units).use_bias(bias).return_sequences(sequences).go_backwards(backwards);
        let inputs = |states: usize| [&sequence[..], &state, &state].into_iter().take(1 + states).collect::<Vec<_>>();
        let given = usize::from(given);
        check_all(lstm.return_state(returned), &inputs(2 * given), true, seed);
        check_all(gru.clone().return_state(returned), &inputs(given), true, seed);
        check_all(gru.reset_after(false).return_state(returned), &inputs(given), true, seed);
    }
}
