//! Dropout by a kernel that draws the random numbers itself.

use super::Value;
use super::buffers::{buffer, give_back};
use super::cpu::{Gradient, Kernel, run};
use crate::error::Result;
use crate::kernels::random::{self, Dropping};
use crate::random::Draws;

/// The dropout of `input` with a random mask of the sizes `noise`, each the input's or 1.
pub(crate) fn drop_out(input: &Value, noise: &[usize], draws: Draws, dropping: Dropping) -> Result<Value> {
    let sizes = input.sizes();
    if let Some([outer, middle, inner]) = runs(&sizes, noise)
        && let Some(output) = run(&Dropout { sizes: sizes.clone(), outer, middle, inner, draws, dropping }, [input])
    {
        return Ok(output);
    }
    let device = input.device();
    let dropped = dropout_factors(noise, draws, Dropping { shift: -1.0, otherwise: 1.0, ..mask(dropping.keep) });
    let dropped = Value::from_vec(dropped, noise, &device)?.expand(&sizes);
    let otherwise = Value::full(&vec![1; sizes.len()], dropping.otherwise, &device)?.expand(&sizes);
    Ok(input.clone().mul_scalar(dropping.scale).add_scalar(dropping.shift).select_where(dropped, otherwise))
}

/// The factors of a dropout that is computed elsewhere.
pub(crate) fn dropout_factors(sizes: &[usize], draws: Draws, dropping: Dropping) -> Vec<f32> {
    let mut factors = buffer(sizes.iter().product());
    random::dropout_factors(&draws.key, draws.first, dropping, &mut factors);
    factors
}

/// Normally distributed numbers.
pub(crate) fn normal(len: usize, draws: Draws, mean: f32, stddev: f32) -> Vec<f32> {
    let mut numbers = buffer(len);
    random::normal(&draws.key, draws.first, mean, stddev, &mut numbers);
    numbers
}

/// 1 with probability `keep`, else 0.
fn mask(keep: f32) -> Dropping {
    Dropping { keep, ..Dropping::scaled(1.0) }
}

/// The sizes of the axes before, within and after the run of axes along which a mask is repeated; `None` if there is
/// more than one run.
fn runs(sizes: &[usize], noise: &[usize]) -> Option<[usize; 3]> {
    let repeated = |axis: &usize| noise[*axis] != sizes[*axis];
    let axes = 0..sizes.len();
    let start = axes.clone().find(repeated).unwrap_or(sizes.len());
    let end = axes.rev().find(repeated).map_or(sizes.len(), |last| last + 1);
    let one = noise[start..end].iter().all(|size| *size == 1);
    one.then(|| [&sizes[..start], &sizes[start..end], &sizes[end..]].map(|sizes| sizes.iter().product()))
}

/// The operation; the mask has `outer · inner` values and is repeated `middle` times between them.
#[derive(Clone, Debug)]
struct Dropout {
    sizes: Vec<usize>,
    outer: usize,
    middle: usize,
    inner: usize,
    draws: Draws,
    dropping: Dropping,
}

impl Dropout {
    fn compute(&self, dropping: Dropping, x: &[f32], y: &mut [f32]) {
        let Draws { key, first } = self.draws;
        if self.middle == 1 {
            return random::drop_out(&key, first, dropping, x, y);
        }
        let kept = dropout_factors(&[self.outer, self.inner], self.draws, mask(dropping.keep));
        random::drop_out_repeated(&kept, (self.middle, self.inner), dropping, x, y);
        give_back(kept);
    }
}

impl Kernel<1> for Dropout {
    type Saved = ();
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, [x]: [&[f32]; 1], y: &mut [f32], _: bool) {
        self.compute(self.dropping, x, y);
    }

    fn backward(
        &self,
        _: [&[f32]; 1],
        _: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        _: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        let mut dx = buffer(gradient.len());
        // The numbers of the forward pass are drawn again.
        self.compute(self.dropping.gradient(), gradient, &mut dx);
        [Some(dx)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu::portably;
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn runs_of_repeated_axes_are_found() {
        assert_eq!(runs(&[2, 3, 4], &[2, 3, 4]), Some([24, 1, 1]));
        assert_eq!(runs(&[2, 3, 4], &[2, 1, 4]), Some([2, 3, 4]));
        assert_eq!(runs(&[2, 3, 4, 5], &[2, 1, 1, 5]), Some([2, 12, 5]));
        assert_eq!(runs(&[2, 3, 4, 5], &[2, 3, 1, 1]), Some([6, 20, 1]));
        assert_eq!(runs(&[2, 3, 1, 5], &[2, 1, 1, 1]), Some([2, 15, 1]));
        assert_eq!(runs(&[2, 3, 4], &[1, 3, 1]), None);
        assert_eq!(runs(&[], &[]), Some([1, 1, 1]));
        assert_eq!(runs(&[0, 3], &[0, 1]), Some([0, 3, 1]));
    }

    #[test]
    fn the_kernel_agrees_with_the_portable_form() {
        let sizes = [3, 50, 2, 70];
        let draws = Draws { key: [1, 2, 3, 4], first: 77 };
        let numbers: Vec<f32> = (0..3 * 50 * 2 * 70).map(|i| (i % 1013) as f32 / 100.0 - 3.0).collect();
        let alpha = Dropping { keep: 0.6, scale: 0.9, shift: 0.25, otherwise: -1.5 };
        for noise in [[3, 50, 2, 70], [3, 1, 1, 70], [1, 50, 2, 70], [3, 50, 1, 1], [3, 1, 2, 1], [1, 1, 1, 1]] {
            for dropping in [Dropping::scaled(0.7), alpha] {
                let computed = || {
                    let input = Value::from_vec(numbers.clone(), &sizes, &Device::flex()).unwrap();
                    let input = input.autodiff().require_grad();
                    let output = drop_out(&input, &noise, draws, dropping).unwrap();
                    let mut gradients = output.clone().square().sum().backward().unwrap();
                    [output.to_vec().unwrap(), input.take_gradient(&mut gradients).unwrap().to_vec().unwrap()]
                };
                assert_eq!(computed(), portably(computed), "{noise:?} {dropping:?}");
            }
        }
    }
}
