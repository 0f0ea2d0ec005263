//! Softmax over the last dimension, alone and with cross-entropy.

use std::sync::Arc;

use super::Value;
use super::cpu::{Gradient, Kernel, run};
use crate::kernels::softmax::{Targets, backward, cross_entropy, forward};

/// `softmax` over the last dimension by a kernel, if there is one.
pub(crate) fn fast_softmax(value: &Value) -> Option<Value> {
    run(&Softmax { sizes: value.sizes() }, [value])
}

/// `−log softmax(logits)[label]` of each row by a kernel, if there is one.
///
/// # Shapes
/// logits (…, classes), labels with one whole number below `classes` for each row → (…, 1).
pub(crate) fn fast_sparse_cross_entropy(logits: &Value, labels: &Value) -> Option<Value> {
    let mut sizes = logits.sizes();
    let classes = std::mem::replace(sizes.last_mut()?, 1);
    if classes == 0 || labels.len() != sizes.iter().product::<usize>() {
        return None;
    }
    run(&CrossEntropy { classes, sizes }, [logits, labels])
}

#[derive(Clone, Debug)]
struct Softmax {
    sizes: Vec<usize>,
}

impl Softmax {
    fn width(&self) -> usize {
        self.sizes.last().copied().unwrap_or(1)
    }
}

impl Kernel<1> for Softmax {
    type Saved = ();
    const NEEDS_OUTPUT: bool = true;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, [x]: [&[f32]; 1], output: &mut [f32], _: bool) {
        forward(self.width(), x, output);
    }

    fn backward(
        &self,
        _: [&[f32]; 1],
        output: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        [wanted]: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        [wanted.then(|| {
            let mut dx = vec![0.0; output.len()];
            backward(self.width(), output, gradient, &mut dx);
            dx
        })]
    }
}

#[derive(Clone, Debug)]
struct CrossEntropy {
    classes: usize,
    sizes: Vec<usize>,
}

impl Kernel<2> for CrossEntropy {
    /// The gradient of the sum of all losses.
    type Saved = Arc<Vec<f32>>;
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, [logits, labels]: [&[f32]; 2], output: &mut [f32], _: bool) -> Self::Saved {
        // `fit` has checked the labels; elsewhere an invalid one makes the loss NaN.
        let class = |label: &f32| if *label >= 0.0 { *label as u32 } else { u32::MAX };
        let labels: Vec<u32> = labels.iter().map(class).collect();
        let mut gradient = vec![0.0; logits.len()];
        cross_entropy(self.classes, logits, Targets::Classes(&labels), 1.0, output, &mut gradient);
        Arc::new(gradient)
    }

    fn backward(
        &self,
        _: [&[f32]; 2],
        _: &[f32],
        kept: &Self::Saved,
        gradient: &mut Gradient<'_>,
        [wanted, _]: [bool; 2],
    ) -> [Option<Vec<f32>>; 2] {
        let scaled = wanted.then(|| {
            let rows = kept.chunks_exact(self.classes).zip(gradient.iter());
            rows.flat_map(|(row, factor)| row.iter().map(move |value| value * factor)).collect()
        });
        [scaled, None]
    }
}
