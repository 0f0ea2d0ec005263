//! Updates of weights in one pass over weight, gradient and state. Formulas as in Keras.

use super::parallel;
use super::simd::simd;
use super::window::check_len;

/// Gradient descent with momentum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    /// Step size.
    pub learning_rate: f32,
    /// Part of the previous step that is kept, in 0..=1.
    pub momentum: f32,
    /// Whether to look ahead along the momentum (Nesterov).
    pub nesterov: bool,
}

/// Adam's settings for one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// `learning_rate · √(1 - β₂ᵗ) / (1 - β₁ᵗ)` in step t, counted from 1: see [`Adam::at_step`].
    pub alpha: f32,
    /// `1 - β₁`: the weight of a new gradient in the mean of gradients.
    pub rate_1: f32,
    /// `1 - β₂`: the weight of its square in the mean of squares.
    pub rate_2: f32,
    /// Keeps the divisor away from zero.
    pub epsilon: f32,
}

impl Adam {
    /// The settings for step `t`, counted from 1.
    pub fn at_step(t: u64, learning_rate: f64, beta_1: f64, beta_2: f64, epsilon: f64) -> Self {
        let t = i32::try_from(t).unwrap_or(i32::MAX);
        let alpha = learning_rate * (1.0 - beta_2.powi(t)).sqrt() / (1.0 - beta_1.powi(t));
        let [alpha, rate_1, rate_2, epsilon] = [alpha, 1.0 - beta_1, 1.0 - beta_2, epsilon].map(|v| v as f32);
        Adam { alpha, rate_1, rate_2, epsilon }
    }
}

/// `w -= learning_rate · g`.
///
/// # Panics
/// If lengths differ.
pub fn gradient_descent(learning_rate: f32, gradient: &[f32], weights: &mut [f32]) {
    check_len("the gradient", gradient.len(), weights.len());
    let (threads, step) = parallel::pass(weights.len());
    let tasks = gradient.chunks(step).zip(weights.chunks_mut(step)).collect();
    parallel::each(threads, tasks, |(g, w): (&[f32], &mut [f32])| descend(learning_rate, g, w));
}

/// `v = momentum · v - learning_rate · g`, then `w += v`, or with Nesterov `w += momentum · v - learning_rate · g`.
///
/// # Panics
/// If lengths differ.
pub fn sgd(settings: &Sgd, gradient: &[f32], weights: &mut [f32], velocity: &mut [f32]) {
    check_len("the gradient", gradient.len(), weights.len());
    check_len("the velocity", velocity.len(), weights.len());
    let (threads, step) = parallel::pass(weights.len());
    let state = weights.chunks_mut(step).zip(velocity.chunks_mut(step));
    let tasks = gradient.chunks(step).zip(state).collect();
    parallel::each(threads, tasks, |(g, (w, v)): (&[f32], (&mut [f32], &mut [f32]))| sgd_part(settings, g, w, v));
}

/// `m += (g - m)·(1 - β₁)`, `v += (g² - v)·(1 - β₂)`, `w -= alpha · m / (√v + ε)`.
///
/// # Panics
/// If lengths differ.
pub fn adam(settings: &Adam, gradient: &[f32], weights: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    check_len("the gradient", gradient.len(), weights.len());
    check_len("the mean", m.len(), weights.len());
    check_len("the mean of squares", v.len(), weights.len());
    let (threads, step) = parallel::pass(weights.len());
    let state = weights.chunks_mut(step).zip(m.chunks_mut(step)).zip(v.chunks_mut(step));
    let tasks: Vec<_> = gradient.chunks(step).zip(state).collect();
    parallel::each(threads, tasks, |(g, ((w, m), v))| adam_part(settings, g, w, m, v));
}

/// What a formula does to one weight and the number kept for it, given the gradient.
pub trait WithOneSlot: Fn(f32, &mut f32, &mut f32) + Sync {}
impl<F: Fn(f32, &mut f32, &mut f32) + Sync> WithOneSlot for F {}

/// What a formula does to one weight and the two numbers kept for it, given the gradient.
pub trait WithTwoSlots: Fn(f32, &mut f32, &mut f32, &mut f32) + Sync {}
impl<F: Fn(f32, &mut f32, &mut f32, &mut f32) + Sync> WithTwoSlots for F {}

/// `formula(g, w, a)` for every weight.
///
/// # Panics
/// If lengths differ.
pub fn update_with_one<F: WithOneSlot>(formula: &F, gradient: &[f32], weights: &mut [f32], a: &mut [f32]) {
    check_len("the gradient", gradient.len(), weights.len());
    check_len("the first slot", a.len(), weights.len());
    let (threads, step) = parallel::pass(weights.len());
    let state = weights.chunks_mut(step).zip(a.chunks_mut(step));
    let tasks: Vec<_> = gradient.chunks(step).zip(state).collect();
    parallel::each(threads, tasks, |(g, (w, a))| one_slot_part(formula, g, w, a));
}

/// `formula(g, w, a, b)` for every weight.
///
/// # Panics
/// If lengths differ.
pub fn update_with_two<F: WithTwoSlots>(
    formula: &F,
    gradient: &[f32],
    weights: &mut [f32],
    a: &mut [f32],
    b: &mut [f32],
) {
    check_len("the gradient", gradient.len(), weights.len());
    check_len("the first slot", a.len(), weights.len());
    check_len("the second slot", b.len(), weights.len());
    let (threads, step) = parallel::pass(weights.len());
    let state = weights.chunks_mut(step).zip(a.chunks_mut(step)).zip(b.chunks_mut(step));
    let tasks: Vec<_> = gradient.chunks(step).zip(state).collect();
    parallel::each(threads, tasks, |(g, ((w, a), b))| two_slots_part(formula, g, w, a, b));
}

simd! {
    fn one_slot_part<I, F: WithOneSlot>(formula: &F, g: &[f32], w: &mut [f32], a: &mut [f32]) {
        for ((w, a), g) in w.iter_mut().zip(a).zip(g) {
            formula(*g, w, a);
        }
    }
}

simd! {
    fn two_slots_part<I, F: WithTwoSlots>(formula: &F, g: &[f32], w: &mut [f32], a: &mut [f32], b: &mut [f32]) {
        for (((w, a), b), g) in w.iter_mut().zip(a).zip(b).zip(g) {
            formula(*g, w, a, b);
        }
    }
}

simd! {
    fn descend<I>(rate: f32, g: &[f32], w: &mut [f32]) {
        for (w, g) in w.iter_mut().zip(g) {
            *w -= rate * *g;
        }
    }
}

simd! {
    fn sgd_part<I>(settings: &Sgd, g: &[f32], w: &mut [f32], v: &mut [f32]) {
        let Sgd { learning_rate, momentum, nesterov } = *settings;
        for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
            let step = learning_rate * *g;
            *v = momentum * *v - step;
            *w += if nesterov { momentum * *v - step } else { *v };
        }
    }
}

simd! {
    fn adam_part<I>(settings: &Adam, g: &[f32], w: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        let Adam { alpha, rate_1, rate_2, epsilon } = *settings;
        for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
            *m += (*g - *m) * rate_1;
            *v += (*g * *g - *v) * rate_2;
            *w -= alpha * *m / (v.sqrt() + epsilon);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::at_every_level;
    use crate::kernels::testing::{assert_close, double, values};

    const LEN: usize = 70_001;

    #[test]
    fn sgd_follows_its_formula() {
        at_every_level(|_| {
            for nesterov in [false, true] {
                let settings = Sgd { learning_rate: 0.1, momentum: 0.9, nesterov };
                let (mut w, mut v) = (values(LEN, 1), vec![0.0; LEN]);
                let (mut ew, mut ev) = (double(&w), double(&v));
                for step in 0..3 {
                    let g = values(LEN, 10 + step);
                    sgd(&settings, &g, &mut w, &mut v);
                    for i in 0..LEN {
                        ev[i] = 0.9 * ev[i] - 0.1 * g[i] as f64;
                        ew[i] += if nesterov { 0.9 * ev[i] - 0.1 * g[i] as f64 } else { ev[i] };
                    }
                }
                assert_close("w", &w, &ew);
                assert_close("v", &v, &ev);
            }
        });
    }

    #[test]
    fn descent_is_sgd_without_momentum() {
        let g = values(LEN, 2);
        let (mut w, mut v) = (values(LEN, 1), vec![0.0; LEN]);
        let mut plain = w.clone();
        gradient_descent(0.3, &g, &mut plain);
        sgd(&Sgd { learning_rate: 0.3, momentum: 0.0, nesterov: false }, &g, &mut w, &mut v);
        assert_close("w", &plain, &double(&w));
    }

    #[test]
    fn adam_follows_its_formula() {
        at_every_level(|_| {
            let (mut w, mut m, mut v) = (values(LEN, 1), vec![0.0; LEN], vec![0.0; LEN]);
            let (mut ew, mut em, mut ev) = (double(&w), double(&m), double(&v));
            for t in 1..=3 {
                let g = values(LEN, 10 + t);
                adam(&Adam::at_step(t as u64, 1e-2, 0.9, 0.999, 1e-7), &g, &mut w, &mut m, &mut v);
                let alpha = 1e-2 * (1.0 - 0.999f64.powi(t as i32)).sqrt() / (1.0 - 0.9f64.powi(t as i32));
                for i in 0..LEN {
                    let g = g[i] as f64;
                    em[i] += (g - em[i]) * (1.0 - 0.9);
                    ev[i] += (g * g - ev[i]) * (1.0 - 0.999);
                    ew[i] -= alpha * em[i] / (ev[i].sqrt() + 1e-7);
                }
            }
            assert_close("w", &w, &ew);
            assert_close("m", &m, &em);
            assert_close("v", &v, &ev);
        });
    }

    #[test]
    fn any_formula_is_applied_to_every_weight() {
        at_every_level(|_| {
            let g = values(LEN, 2);
            let (mut w, mut a, mut b) = (values(LEN, 1), values(LEN, 3), vec![0.0; LEN]);
            let (w0, a0) = (double(&w), double(&a));
            update_with_one(&|g, w: &mut f32, a: &mut f32| (*w, *a) = (*a - g, *w), &g, &mut w, &mut a);
            let swapped: Vec<f64> = a0.iter().zip(&g).map(|(a, g)| a - f64::from(*g)).collect();
            assert_close("w", &w, &swapped);
            assert_close("a", &a, &w0);
            let formula = |g, w: &mut f32, a: &mut f32, b: &mut f32| (*w, *b) = (g, *a);
            update_with_two(&formula, &g, &mut w, &mut a, &mut b);
            assert_eq!((w, b), (g, a));
        });
    }

    #[test]
    #[should_panic(expected = "the gradient")]
    fn wrong_lengths_are_refused() {
        gradient_descent(0.1, &[0.0; 3], &mut [0.0; 4]);
    }
}
