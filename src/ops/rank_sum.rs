//! Sums over the ranks of a distributed training, within a forward pass.

use std::sync::Arc;

use super::Value;
use super::cpu::{Gradient, Kernel, run};
use crate::distributed::Communicator;
use crate::error::{Error, Result};

/// The sum of the values of all ranks. Its gradient is the sum of theirs.
///
/// # Errors
/// [`Error::Unsupported`] on a GPU, [`Error::Rank`] if a rank fails.
pub(crate) fn rank_sum(value: &Value, peers: &Arc<dyn Communicator>) -> Result<Value> {
    let sum = RankSum { sizes: value.sizes(), peers: peers.clone() };
    run(&sum, [value]).ok_or_else(|| Error::unsupported("synchronized statistics on this device", "those on a CPU"))
}

#[derive(Clone, Debug)]
struct RankSum {
    sizes: Vec<usize>,
    peers: Arc<dyn Communicator>,
}

impl RankSum {
    /// A rank that fails leaves NaN, and the next exchange returns its error.
    fn sum(&self, numbers: &mut [f32]) {
        if let Err(error) = self.peers.all_reduce(numbers) {
            tracing::debug!("{error}");
            numbers.fill(f32::NAN);
        }
    }
}

impl Kernel<1> for RankSum {
    type Saved = ();
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, [x]: [&[f32]; 1], output: &mut [f32], _: bool) {
        output.copy_from_slice(x);
        self.sum(output);
    }

    fn backward(
        &self,
        _: [&[f32]; 1],
        _: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        _: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        let mut gradient = gradient.take();
        self.sum(&mut gradient);
        [Some(gradient)]
    }
}
