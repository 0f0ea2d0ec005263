use proptest::prelude::*;

use super::super::simd::{at_every_level, test_lock};
use super::super::testing::{assert_close, double, values};
use super::*;

fn sizes(batch: usize, steps: usize, inputs: usize, units: usize) -> Recurrent {
    let (activation, recurrent_activation) = (Activation::Tanh, Activation::Sigmoid);
    Recurrent { batch, steps, inputs, units, activation, recurrent_activation }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The gates' sum for one unit: `Σ x·kernel`, for the row of inputs `x`.
fn row(x: &[f64], w: &[f64], width: usize, column: usize) -> f64 {
    x.iter().enumerate().map(|(i, x)| x * w[i * width + column]).sum()
}

/// Outputs of all steps by the definition, from parameters `[kernel, recurrent, bias, x]`.
fn reference(gru: bool, sizes: &Recurrent, p: &[Vec<f64>; 4], initial: &[Vec<f64>; 2]) -> Vec<f64> {
    let Recurrent { batch, steps, inputs, units, .. } = *sizes;
    let width = units * if gru { 3 } else { 4 };
    let [kernel, recurrent, bias, x] = p;
    let mut all = Vec::new();
    for b in 0..batch {
        let [mut h, mut c] = [0, 1].map(|i| initial[i][b * units..][..units].to_vec());
        for t in 0..steps {
            let x = &x[(b * steps + t) * inputs..][..inputs];
            let a = |gate: usize, u: usize| row(x, kernel, width, gate * units + u) + bias[gate * units + u];
            let r = |gate: usize, u: usize| row(&h, recurrent, width, gate * units + u);
            let (mut next_h, mut next_c) = (h.clone(), c.clone());
            for u in 0..units {
                if gru {
                    let r = |gate: usize| r(gate, u) + bias[width + gate * units + u];
                    let (z, reset) = (sigmoid(a(0, u) + r(0)), sigmoid(a(1, u) + r(1)));
                    next_h[u] = z * h[u] + (1.0 - z) * (a(2, u) + reset * r(2)).tanh();
                } else {
                    let gate = |gate: usize| a(gate, u) + r(gate, u);
                    next_c[u] = sigmoid(gate(1)) * c[u] + sigmoid(gate(0)) * gate(2).tanh();
                    next_h[u] = sigmoid(gate(3)) * next_c[u].tanh();
                }
            }
            (h, c) = (next_h, next_c);
            all.extend(&h);
        }
    }
    all
}

/// Results of the kernels: outputs, then the gradients of kernel, recurrent kernel, bias and input.
fn run(
    gru: bool,
    sizes: &Recurrent,
    p: &[Vec<f32>; 4],
    initial: Option<&[Vec<f32>; 2]>,
    dy: OutputGradient,
) -> [Vec<f32>; 5] {
    let [kernel, recurrent, bias, x] = p;
    let weights = Weights { kernel, recurrent, bias: Some(bias) };
    let len = sizes.outputs();
    let [mut h, mut predicted] = [0; 2].map(|_| vec![7.5; len]);
    let (mut gates, mut others) = (vec![7.5; len * if gru { 3 } else { 4 }], vec![7.5; len]);
    let [mut dkernel, mut drecurrent, mut dbias, mut dx] =
        [kernel, recurrent, bias, x].map(|like| vec![7.5; like.len()]);
    let gradients = WeightGradients { kernel: &mut dkernel, recurrent: &mut drecurrent, bias: Some(&mut dbias) };
    if gru {
        let initial = initial.map(|initial| &initial[0][..]);
        gru_forward(sizes, x, &weights, initial, &mut h, Some(GruMemory { gates: &mut gates, shares: &mut others }));
        gru_forward(sizes, x, &weights, initial, &mut predicted, None);
        let memory = GruMemory { gates: &gates[..], shares: &others[..] };
        gru_backward(sizes, x, &weights, initial, &h, memory, dy, Some(&mut dx), gradients);
    } else {
        let initial = initial.map(|[h, c]| (&h[..], &c[..]));
        let memory = LstmMemory { gates: &mut gates[..], cells: &mut others[..] };
        lstm_forward(sizes, x, &weights, initial, &mut h, Some(memory), None);
        let mut last = vec![7.5; sizes.batch * sizes.units];
        lstm_forward(sizes, x, &weights, initial, &mut predicted, None, Some(&mut last));
        for (i, last) in last.chunks(sizes.units).enumerate() {
            assert_close("the last cells", last, &double(&others[at(sizes.steps, sizes.units, i, sizes.steps - 1)]));
        }
        let memory = LstmMemory { gates: &gates[..], cells: &others[..] };
        lstm_backward(sizes, x, &weights, initial, &h, memory, dy, Some(&mut dx), gradients);
    }
    // Outside training sums are made in another order.
    assert_close("h outside training", &predicted, &double(&h));
    [h, dkernel, drecurrent, dbias, dx]
}

fn parameters(gru: bool, sizes: &Recurrent) -> [Vec<f32>; 4] {
    let Recurrent { batch, steps, inputs, units, .. } = *sizes;
    let width = units * if gru { 3 } else { 4 };
    let biases = if gru { 2 * width } else { width };
    [values(inputs * width, 1), values(units * width, 2), values(biases, 3), values(batch * steps * inputs, 4)]
}

/// Outputs by the definition; gradients by differences of them, for some of each parameter's values.
fn check(gru: bool, sizes: &Recurrent, started: bool, last: bool) {
    let p = parameters(gru, sizes);
    let states = [values(sizes.batch * sizes.units, 5), values(sizes.batch * sizes.units, 6)];
    let initial =
        if started { states.each_ref().map(|s| double(s)) } else { states.each_ref().map(|s| vec![0.0; s.len()]) };
    let dy = values(if last { sizes.batch * sizes.units } else { sizes.outputs() }, 7);
    let gradient = if last { OutputGradient::Last(&dy) } else { OutputGradient::Sequence(&dy) };
    let [h, gradients @ ..] = run(gru, sizes, &p, started.then_some(&states), gradient);
    let exact = p.each_ref().map(|values| double(values));
    assert_close("h", &h, &reference(gru, sizes, &exact, &initial));

    let loss = |p: &[Vec<f64>; 4]| {
        let h = reference(gru, sizes, p, &initial);
        let Recurrent { steps, units, .. } = *sizes;
        let weight = |i: usize| match (last, i / units % steps + 1 == steps) {
            (false, _) => dy[i] as f64,
            (true, true) => dy[i / (units * steps) * units + i % units] as f64,
            (true, false) => 0.0,
        };
        h.iter().enumerate().map(|(i, h)| h * weight(i)).sum::<f64>()
    };
    for (which, gradient) in gradients.iter().enumerate() {
        let scale = gradient.iter().fold(1e-2, |most: f64, v| most.max(v.abs() as f64));
        for i in (0..gradient.len()).step_by((gradient.len() / 7).max(1)) {
            let moved = |by: f64| {
                let mut p = exact.clone();
                p[which][i] += by;
                loss(&p)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let actual = gradient[i] as f64;
            assert!(
                (actual - slope).abs() < 1e-4 * scale,
                "gradient {which} at {i}: {actual}, not {slope} (scale {scale})"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 40 }))]
    #[test]
    fn any_sizes_agree_with_the_definition(
        (batch, steps) in (1..20usize, 1..6usize), (inputs, units) in (1..9usize, 1..19usize), kind in 0..8u8,
    ) {
        check(kind & 4 > 0, &sizes(batch, steps, inputs, units), kind & 1 > 0, kind & 2 > 0);
    }
}

#[test]
fn every_level_agrees() {
    let sizes = if cfg!(miri) { sizes(3, 2, 5, 18) } else { sizes(40, 7, 33, 20) };
    at_every_level(|_| [false, true].into_iter().for_each(|gru| check(gru, &sizes, true, false)));
}

#[test]
fn the_same_call_gives_the_same_bits() {
    let _alone = test_lock();
    let sizes = if cfg!(miri) { sizes(3, 2, 5, 18) } else { sizes(64, 12, 32, 48) };
    let dy = values(sizes.outputs(), 7);
    for gru in [false, true] {
        let p = parameters(gru, &sizes);
        let once = || run(gru, &sizes, &p, None, OutputGradient::Sequence(&dy));
        assert_eq!(once(), once());
    }
}
