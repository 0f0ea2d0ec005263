use proptest::prelude::*;

use super::super::simd::{at_every_level, test_lock};
use super::super::testing::{assert_close, double, kept_by, values};
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

/// Outputs of all steps and cells' states after the last one by the definition, from the parameters
/// `[kernel, recurrent, bias, x, h, c]`, of which the last two are the states before the first step.
fn reference(gru: bool, sizes: &Recurrent, p: &[Vec<f64>; 6]) -> [Vec<f64>; 2] {
    let Recurrent { batch, steps, inputs, units, .. } = *sizes;
    let width = units * if gru { 3 } else { 4 };
    let [kernel, recurrent, bias, x, initial @ ..] = p;
    let (mut all, mut last) = (Vec::new(), Vec::new());
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
        last.extend(c);
    }
    [all, last]
}

/// Results of the kernels: outputs, then the gradients of kernel, recurrent kernel, bias, input and, if `started` from
/// them, of the states before the first step.
fn run(
    gru: bool,
    sizes: &Recurrent,
    p: &[Vec<f32>; 6],
    started: bool,
    dy: OutputGradient,
    dc: &[f32],
) -> [Vec<f32>; 7] {
    let [kernel, recurrent, bias, x, initial_h, initial_c] = p;
    let weights = Weights { kernel, recurrent, bias: Some(bias) };
    let len = sizes.outputs();
    let [mut h, mut predicted] = [0; 2].map(|_| vec![7.5; len]);
    let (mut gates, mut others) = (vec![7.5; len * if gru { 3 } else { 4 }], vec![7.5; len]);
    let [mut dkernel, mut drecurrent, mut dbias, mut dx, mut dh0, mut dc0] =
        p.each_ref().map(|like| vec![7.5; like.len()]);
    let wanted = |state| Some(state).filter(|_| started);
    let states = [wanted(&mut dh0[..]), wanted(&mut dc0[..])];
    let gradients = WeightGradients { kernel: &mut dkernel, recurrent: &mut drecurrent, bias: Some(&mut dbias) };
    if gru {
        let initial = started.then_some(&initial_h[..]);
        let [state, _] = states;
        gru_forward(sizes, x, &weights, initial, &mut h, Some(GruMemory { gates: &mut gates, shares: &mut others }));
        gru_forward(sizes, x, &weights, initial, &mut predicted, None);
        let memory = GruMemory { gates: &gates[..], shares: &others[..] };
        gru_backward(sizes, x, &weights, initial, &h, memory, dy, Some(&mut dx), state, gradients);
    } else {
        let initial = started.then_some((&initial_h[..], &initial_c[..]));
        let memory = LstmMemory { gates: &mut gates[..], cells: &mut others[..] };
        lstm_forward(sizes, x, &weights, initial, &mut h, Some(memory), None);
        let mut last = vec![7.5; sizes.batch * sizes.units];
        lstm_forward(sizes, x, &weights, initial, &mut predicted, None, Some(&mut last));
        for (i, last) in last.chunks(sizes.units).enumerate() {
            assert_close("the last cells", last, &double(&others[at(sizes.steps, sizes.units, i, sizes.steps - 1)]));
        }
        let memory = LstmMemory { gates: &gates[..], cells: &others[..] };
        lstm_backward(sizes, x, &weights, initial, &h, memory, dy, Some(dc), Some(&mut dx), states, gradients);
    }
    // Outside training sums are computed in another order.
    assert_close("h outside training", &predicted, &double(&h));
    [h, dkernel, drecurrent, dbias, dx, dh0, dc0]
}

fn parameters(gru: bool, sizes: &Recurrent) -> [Vec<f32>; 6] {
    let Recurrent { batch, steps, inputs, units, .. } = *sizes;
    let width = units * if gru { 3 } else { 4 };
    let biases = if gru { 2 * width } else { width };
    let states = batch * units;
    let sizes = [inputs * width, units * width, biases, batch * steps * inputs, states, states];
    let mut seed = 0;
    sizes.map(|size| {
        seed += 1;
        values(size, seed)
    })
}

/// Outputs by the definition; gradients by finite differences, for some of each parameter's values.
fn check(gru: bool, sizes: &Recurrent, started: bool, last: bool) {
    let p = parameters(gru, sizes);
    let dy = values(if last { sizes.batch * sizes.units } else { sizes.outputs() }, 7);
    let gradient = if last { OutputGradient::Last(&dy) } else { OutputGradient::Sequence(&dy) };
    let dc = values(sizes.batch * sizes.units, 8);
    let [h, gradients @ ..] = run(gru, sizes, &p, started, gradient, &dc);
    let mut exact = p.each_ref().map(|values| double(values));
    if !started {
        exact[4..].iter_mut().for_each(|state| state.fill(0.0));
    }
    assert_close("h", &h, &reference(gru, sizes, &exact)[0]);

    let loss = |p: &[Vec<f64>; 6]| {
        let [h, cells] = reference(gru, sizes, p);
        let Recurrent { steps, units, .. } = *sizes;
        let weight = |i: usize| match (last, i / units % steps + 1 == steps) {
            (false, _) => dy[i] as f64,
            (true, true) => dy[i / (units * steps) * units + i % units] as f64,
            (true, false) => 0.0,
        };
        let of_cells = cells.iter().zip(&dc).map(|(c, dc)| c * f64::from(*dc)).sum::<f64>();
        h.iter().enumerate().map(|(i, h)| h * weight(i)).sum::<f64>() + if gru { 0.0 } else { of_cells }
    };
    let wanted = if !started { 4 } else { 5 + usize::from(!gru) };
    for (which, gradient) in gradients.iter().enumerate().take(wanted) {
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
        let dc = values(sizes.batch * sizes.units, 8);
        let once = || run(gru, &sizes, &p, false, OutputGradient::Sequence(&dy), &dc);
        assert_eq!(once(), once());
    }
}

/// A prepared layer's outputs for some sequences.
fn prepared(gru: bool, sizes: &Recurrent, weights: &Weights, x: &[f32], order: StepOrder) -> Vec<f32> {
    let steps = if order.sequences { sizes.steps } else { 1 };
    let mut y = vec![7.5; sizes.batch * steps * sizes.units];
    if gru {
        PreparedGru::new(sizes, weights).expect("offsets that fit").forward(x, order, &mut y);
    } else {
        PreparedLstm::new(sizes, weights).expect("offsets that fit").forward(x, order, &mut y);
    }
    y
}

#[test]
fn the_workspace_is_what_a_call_takes() {
    for (batch, steps) in [(1, 1), (2, 7), (40, 5), (3, 70)] {
        let all = sizes(batch, steps, 3, 4);
        let x = values(batch * steps * 3, 1);
        let (kernel, recurrent) = (values(3 * 16, 2), values(4 * 16, 3));
        let weights =
            |gates: usize| Weights { kernel: &kernel[..12 * gates], recurrent: &recurrent[..16 * gates], bias: None };
        let order = StepOrder { backwards: false, sequences: false };
        let lstm = PreparedLstm::new(&all, &weights(4)).expect("offsets that fit");
        assert_eq!(kept_by(|| lstm.forward(&x, order, &mut vec![7.5; batch * 4])), lstm.workspace(batch));
        let gru = PreparedGru::new(&all, &weights(3)).expect("offsets that fit");
        assert_eq!(kept_by(|| gru.forward(&x, order, &mut vec![7.5; batch * 4])), gru.workspace(batch));
    }
}

#[test]
fn prepared_layers_without_steps_give_the_first_state() {
    let all = sizes(2, 0, 3, 4);
    for gru in [false, true] {
        let width = all.units * if gru { 3 } else { 4 };
        let (kernel, recurrent) = (values(3 * width, 2), values(4 * width, 3));
        let weights = Weights { kernel: &kernel, recurrent: &recurrent, bias: None };
        let order = StepOrder { backwards: false, sequences: false };
        let mut y = vec![7.5; 2 * 4];
        match gru {
            true => PreparedGru::new(&all, &weights).expect("offsets that fit").forward(&[], order, &mut y),
            false => PreparedLstm::new(&all, &weights).expect("offsets that fit").forward(&[], order, &mut y),
        }
        assert_eq!(y, [0.0; 8]);
    }
}

#[test]
#[cfg_attr(miri, ignore = "too long for an interpreter")]
fn prepared_layers_give_the_same_and_a_sequence_the_same_bits_in_any_batch() {
    at_every_level(|_| {
        for (gru, (batch, steps, inputs, units)) in [false, true]
            .into_iter()
            .flat_map(|gru| [(40, 7, 5, 9), (3, 4, 33, 32), (2, 130, 3, 4), (1, 1, 1, 1)].map(|of| (gru, of)))
        {
            let all = sizes(batch, steps, inputs, units);
            let width = units * if gru { 3 } else { 4 };
            let x = values(batch * steps * inputs, 1);
            let (kernel, recurrent) = (values(inputs * width, 2), values(units * width, 3));
            let bias = values(if gru { 2 * width } else { width }, 4);
            let weights = Weights { kernel: &kernel, recurrent: &recurrent, bias: Some(&bias) };
            let mut expected = vec![7.5; all.outputs()];
            match gru {
                true => gru_forward(&all, &x, &weights, None, &mut expected, None),
                false => lstm_forward(&all, &x, &weights, None, &mut expected, None, None),
            }
            let order = StepOrder { backwards: false, sequences: true };
            let found = prepared(gru, &all, &weights, &x, order);
            assert_close("outputs", &found, &double(&expected));
            // The last step alone, and the reversed sequence.
            let last = prepared(gru, &all, &weights, &x, StepOrder { sequences: false, ..order });
            for (i, last) in last.chunks_exact(units).enumerate() {
                assert_eq!(last, &found[at(steps, units, i, steps - 1)]);
            }
            let turned: Vec<f32> = x
                .chunks_exact(steps * inputs)
                .flat_map(|x| x.chunks_exact(inputs).rev().flatten().copied().collect::<Vec<_>>())
                .collect();
            assert_eq!(prepared(gru, &all, &weights, &turned, StepOrder { backwards: true, ..order }), found);
            let one = sizes(1, steps, inputs, units);
            for (x, found) in x.chunks_exact(steps * inputs).zip(found.chunks_exact(steps * units)) {
                assert_eq!(prepared(gru, &one, &weights, x, order), found);
            }
        }
    });
}
