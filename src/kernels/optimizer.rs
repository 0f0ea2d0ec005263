//! Updates of weights in as few passes over weight, gradient and state as there can be: one, or more where a norm has to
//! be known first. Formulas as in Keras.
//!
//! Each takes a part `decay` off the weights before its formula (decoupled weight decay: `w -= decay · w`).

mod norms;

pub use norms::{Adafactor, Lamb, adafactor, lamb};

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

    /// Moves both running means on; gives that of the squares.
    #[inline(always)]
    fn means(&self, g: f32, m: &mut f32, v: &mut f32) -> f32 {
        *m += (g - *m) * self.rate_1;
        *v += (g * g - *v) * self.rate_2;
        *v
    }
}

/// Declares a pass over weights, their gradient and the numbers kept for them, by any formula.
macro_rules! pass {
    (@number $slot:ident) => { &mut f32 };
    // What is walked through together, and how one of each is then called.
    (@zip $one:expr) => { $one.into_iter() };
    (@zip $one:expr, $($more:expr),+) => { $one.into_iter().zip(pass!(@zip $($more),+)) };
    (@each $one:ident) => { $one };
    (@each $one:ident, $($more:ident),+) => { ($one, pass!(@each $($more),+)) };

    ($formula:ident, $name:ident, $part:ident, [$($slot:ident),*], $slots:literal) => {
        #[doc = concat!("What a formula does to one weight and ", $slots, ", given the gradient.")]
        pub trait $formula: Fn(f32, &mut f32 $(, pass!(@number $slot))*) + Sync {}
        impl<F: Fn(f32, &mut f32 $(, pass!(@number $slot))*) + Sync> $formula for F {}

        #[doc = concat!("`w -= decay · w` and then the formula for every weight and ", $slots, ".")]
        ///
        /// # Panics
        /// If lengths differ.
        pub fn $name<F: $formula>(decay: f32, formula: &F, gradient: &[f32], weights: &mut [f32] $(, $slot: &mut [f32])*) {
            check_len("the gradient", gradient.len(), weights.len());
            $( check_len("what is kept", $slot.len(), weights.len()); )*
            let (threads, step) = parallel::pass(weights.len());
            let tasks: Vec<_> =
                pass!(@zip gradient.chunks(step), weights.chunks_mut(step) $(, $slot.chunks_mut(step))*).collect();
            parallel::each(threads, tasks, |pass!(@each g, w $(, $slot)*)| $part(decay, formula, g, w $(, $slot)*));
        }

        simd! {
            fn $part<I, F: $formula>(decay: f32, formula: &F, g: &[f32], w: &mut [f32] $(, $slot: &mut [f32])*) {
                let left = 1.0 - decay;
                for pass!(@each g, w $(, $slot)*) in pass!(@zip g, w $(, $slot)*) {
                    *w *= left;
                    formula(*g, w $(, $slot)*);
                }
            }
        }
    };
}

pass!(Alone, update, alone, [], "nothing else");
pass!(WithOneSlot, update_with_one, with_one, [a], "the number kept for it");
pass!(WithTwoSlots, update_with_two, with_two, [a, b], "the two numbers kept for it");
pass!(WithThreeSlots, update_with_three, with_three, [a, b, c], "the three numbers kept for it");

/// `w -= learning_rate · g`.
///
/// # Panics
/// If lengths differ.
pub fn gradient_descent(learning_rate: f32, decay: f32, gradient: &[f32], weights: &mut [f32]) {
    update(decay, &|g, w: &mut f32| *w -= learning_rate * g, gradient, weights);
}

/// `v = momentum · v - learning_rate · g`, then `w += v`, or with Nesterov `w += momentum · v - learning_rate · g`.
///
/// # Panics
/// If lengths differ.
pub fn sgd(settings: &Sgd, decay: f32, gradient: &[f32], weights: &mut [f32], velocity: &mut [f32]) {
    let Sgd { learning_rate, momentum, nesterov } = *settings;
    let formula = |g: f32, w: &mut f32, v: &mut f32| {
        let step = learning_rate * g;
        *v = momentum * *v - step;
        *w += if nesterov { momentum * *v - step } else { *v };
    };
    update_with_one(decay, &formula, gradient, weights, velocity);
}

/// `m += (g - m)·(1 - β₁)`, `v += (g² - v)·(1 - β₂)`, `w -= alpha · m / (√v + ε)`.
///
/// # Panics
/// If lengths differ.
pub fn adam(settings: &Adam, decay: f32, gradient: &[f32], weights: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    let settings = *settings;
    let formula = |g: f32, w: &mut f32, m: &mut f32, v: &mut f32| {
        let square = settings.means(g, m, v);
        *w -= settings.alpha * *m / (square.sqrt() + settings.epsilon);
    };
    update_with_two(decay, &formula, gradient, weights, m, v);
}

/// As [`adam`], with the largest `v` so far in place of `v` (AMSGrad): `w -= alpha · m / (√hat + ε)`,
/// `hat = max(hat, v)`.
///
/// # Panics
/// If lengths differ.
pub fn amsgrad(
    settings: &Adam,
    decay: f32,
    gradient: &[f32],
    weights: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    hat: &mut [f32],
) {
    let settings = *settings;
    let formula = |g: f32, w: &mut f32, m: &mut f32, v: &mut f32, hat: &mut f32| {
        *hat = hat.max(settings.means(g, m, v));
        *w -= settings.alpha * *m / (hat.sqrt() + settings.epsilon);
    };
    update_with_three(decay, &formula, gradient, weights, m, v, hat);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::simd::at_every_level;
    use crate::kernels::testing::{assert_close, double, values};

    const LEN: usize = if cfg!(miri) { 101 } else { 70_001 };

    #[test]
    fn sgd_follows_its_formula() {
        at_every_level(|_| {
            for (nesterov, decay) in [(false, 0.0), (true, 0.0), (false, 0.125), (true, 0.125)] {
                let settings = Sgd { learning_rate: 0.1, momentum: 0.9, nesterov };
                let (mut w, mut v) = (values(LEN, 1), vec![0.0; LEN]);
                let (mut ew, mut ev) = (double(&w), double(&v));
                for step in 0..3 {
                    let g = values(LEN, 10 + step);
                    sgd(&settings, decay, &g, &mut w, &mut v);
                    for i in 0..LEN {
                        ev[i] = 0.9 * ev[i] - 0.1 * g[i] as f64;
                        ew[i] *= 1.0 - f64::from(decay);
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
        gradient_descent(0.3, 0.1, &g, &mut plain);
        sgd(&Sgd { learning_rate: 0.3, momentum: 0.0, nesterov: false }, 0.1, &g, &mut w, &mut v);
        assert_close("w", &plain, &double(&w));
    }

    #[test]
    fn adam_follows_its_formula() {
        at_every_level(|_| {
            let decay = 0.125;
            let (mut w, mut m, mut v) = (values(LEN, 1), vec![0.0; LEN], vec![0.0; LEN]);
            let (mut ew, mut em, mut ev) = (double(&w), double(&m), double(&v));
            for t in 1..=3 {
                let g = values(LEN, 10 + t);
                adam(&Adam::at_step(t as u64, 1e-2, 0.9, 0.999, 1e-7), decay, &g, &mut w, &mut m, &mut v);
                let alpha = 1e-2 * (1.0 - 0.999f64.powi(t as i32)).sqrt() / (1.0 - 0.9f64.powi(t as i32));
                for i in 0..LEN {
                    let g = g[i] as f64;
                    em[i] += (g - em[i]) * (1.0 - 0.9);
                    ev[i] += (g * g - ev[i]) * (1.0 - 0.999);
                    ew[i] *= 1.0 - f64::from(decay);
                    ew[i] -= alpha * em[i] / (ev[i].sqrt() + 1e-7);
                }
            }
            assert_close("w", &w, &ew);
            assert_close("m", &m, &em);
            assert_close("v", &v, &ev);
        });
    }

    #[test]
    fn the_divisor_of_amsgrad_never_shrinks() {
        let settings = Adam { alpha: 1.0, rate_1: 1.0, rate_2: 1.0, epsilon: 0.0 };
        let (mut w, mut m, mut v, mut hat) = ([0.0], [0.0], [0.0], [0.0]);
        amsgrad(&settings, 0.0, &[2.0], &mut w, &mut m, &mut v, &mut hat);
        assert_eq!((w, m, v, hat), ([-1.0], [2.0], [4.0], [4.0]));
        amsgrad(&settings, 0.0, &[1.0], &mut w, &mut m, &mut v, &mut hat);
        assert_eq!((w, m, v, hat), ([-1.5], [1.0], [1.0], [4.0]));
    }

    #[test]
    fn any_formula_is_applied_to_every_weight() {
        at_every_level(|_| {
            let g = values(LEN, 2);
            let (mut w, mut a, mut b) = (values(LEN, 1), values(LEN, 3), vec![0.0; LEN]);
            let (w0, a0) = (double(&w), double(&a));
            update_with_one(0.0, &|g, w: &mut f32, a: &mut f32| (*w, *a) = (*a - g, *w), &g, &mut w, &mut a);
            let swapped: Vec<f64> = a0.iter().zip(&g).map(|(a, g)| a - f64::from(*g)).collect();
            assert_close("w", &w, &swapped);
            assert_close("a", &a, &w0);
            let formula = |g, w: &mut f32, a: &mut f32, b: &mut f32| (*w, *b) = (g, *a);
            update_with_two(0.0, &formula, &g, &mut w, &mut a, &mut b);
            assert_eq!((&w, &b), (&g, &a));
            let mut c = values(LEN, 4);
            let expected: Vec<f64> = c.iter().zip(&a).map(|(c, a)| f64::from(*c) + f64::from(*a)).collect();
            let formula = |_, _: &mut f32, a: &mut f32, b: &mut f32, c: &mut f32| (*b, *c) = (*c, *c + *a);
            let before = c.clone();
            update_with_three(0.0, &formula, &g, &mut w, &mut a, &mut b, &mut c);
            assert_close("c", &c, &expected);
            assert_eq!(b, before);
        });
    }

    #[test]
    #[should_panic(expected = "the gradient")]
    fn wrong_lengths_are_refused() {
        gradient_descent(0.1, 0.0, &[0.0; 3], &mut [0.0; 4]);
    }
}
