//! Optimizer updates in the fewest possible passes over weight, gradient and state: one, or more where a norm is needed
//! first. Formulas as in Keras.
//!
//! Each first applies the weight decay: `w -= decay · w`, as Keras does. (`w *= 1 - decay` would round a small decay to
//! a multiple of 2⁻²⁴.)

mod norms;

pub use norms::{Adafactor, Lamb, adafactor, lamb};

use super::parallel;
use super::simd::simd;
use super::window::check_len;

/// Declares a pass over weights, their gradient and their state, by any formula.
macro_rules! pass {
    (@number $slot:ident) => { &mut f32 };
    // The zipped iterator, and the pattern of its items.
    (@zip $one:expr) => { $one.into_iter() };
    (@zip $one:expr, $($more:expr),+) => { $one.into_iter().zip(pass!(@zip $($more),+)) };
    (@each $one:ident) => { $one };
    (@each $one:ident, $($more:ident),+) => { ($one, pass!(@each $($more),+)) };

    ($formula:ident, $name:ident, $part:ident, [$($slot:ident),*], $slots:literal) => {
        #[doc = concat!("A formula that updates one weight and ", $slots, ", given the gradient.")]
        pub trait $formula: Fn(f32, &mut f32 $(, pass!(@number $slot))*) + Sync {}
        impl<F: Fn(f32, &mut f32 $(, pass!(@number $slot))*) + Sync> $formula for F {}

        #[doc = concat!("`w -= decay · w` and then the formula for every weight and ", $slots, ".")]
        ///
        /// # Panics
        /// If lengths differ.
        pub fn $name<F: $formula>(
            decay: f32,
            formula: &F,
            gradient: &[f32],
            weights: &mut [f32]
            $(, $slot: &mut [f32])*
        ) {
            check_len("the gradient", gradient.len(), weights.len());
            $( check_len("the state", $slot.len(), weights.len()); )*
            let (threads, step) = parallel::pass(weights.len());
            let tasks: Vec<_> =
                pass!(@zip gradient.chunks(step), weights.chunks_mut(step) $(, $slot.chunks_mut(step))*).collect();
            parallel::each(threads, tasks, |pass!(@each g, w $(, $slot)*)| {
                $part(decay, formula, g, w $(, $slot)*);
            });
        }

        simd! {
            fn $part<I, F: $formula>(decay: f32, formula: &F, g: &[f32], w: &mut [f32] $(, $slot: &mut [f32])*) {
                for pass!(@each g, w $(, $slot)*) in pass!(@zip g, w $(, $slot)*) {
                    // Without decay an infinite weight stays infinite.
                    if decay != 0.0 {
                        *w -= decay * *w;
                    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::at_every_level;
    use crate::testing::{assert_close, double, values};

    const LEN: usize = if cfg!(miri) { 101 } else { 70_001 };

    #[test]
    fn any_formula_is_applied_to_every_weight() {
        at_every_level(|_| {
            let g = values(LEN, 2);
            let (mut w, mut a, mut b) = (values(LEN, 1), values(LEN, 3), vec![0.0; LEN]);
            let (w0, a0) = (double(&w), double(&a));
            update_with_one(0.5, &|g, w: &mut f32, a: &mut f32| (*w, *a) = (*a - g, *w), &g, &mut w, &mut a);
            let swapped: Vec<f64> = a0.iter().zip(&g).map(|(a, g)| a - f64::from(*g)).collect();
            let shrunk: Vec<f64> = w0.iter().map(|w| 0.5 * w).collect();
            assert_close("w", &w, &swapped);
            assert_close("a", &a, &shrunk);
            update(-2.0, &|g, w: &mut f32| *w -= g, &g, &mut w);
            let moved: Vec<f64> = swapped.iter().zip(&g).map(|(w, g)| 3.0 * w - f64::from(*g)).collect();
            assert_close("w", &w, &moved);
            let formula = |g, w: &mut f32, a: &mut f32, b: &mut f32| (*w, *b) = (g, *a);
            update_with_two(3.0, &formula, &g, &mut w, &mut a, &mut b);
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
    fn without_decay_an_infinite_weight_stays_infinite() {
        let mut weights = [f32::NEG_INFINITY, 1.0];
        update(0.0, &|g, w: &mut f32| *w -= g, &[0.0, 0.5], &mut weights);
        assert_eq!(weights, [f32::NEG_INFINITY, 0.5]);
    }

    #[test]
    #[should_panic(expected = "the gradient")]
    fn wrong_lengths_are_refused() {
        update(0.0, &|g, w: &mut f32| *w -= g, &[0.0; 3], &mut [0.0; 4]);
    }
}
