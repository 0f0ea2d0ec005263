//! Embedding lookup by a kernel.

use super::Value;
use super::buffers::buffer;
use super::cpu::{Gradient, Kernel, run};
use crate::kernels::embedding::{backward, forward};

/// The table's row for each number, NaN for a number that is not a row's index; `None` without a kernel.
///
/// # Shapes
/// numbers (…), table (rows, width) → (…, width).
pub(crate) fn fast_rows(numbers: &Value, table: &Value) -> Option<Value> {
    let [_, width] = <[usize; 2]>::try_from(table.sizes()).ok()?;
    let sizes = [numbers.sizes(), vec![width]].concat();
    (width > 0).then(|| run(&EmbeddingRows { sizes, width }, [numbers, table])).flatten()
}

#[derive(Clone, Debug)]
struct EmbeddingRows {
    sizes: Vec<usize>,
    width: usize,
}

impl Kernel<2> for EmbeddingRows {
    type Saved = ();
    const NEEDS_OUTPUT: bool = false;

    fn output_sizes(&self) -> Vec<usize> {
        self.sizes.clone()
    }

    fn forward(&self, [numbers, table]: [&[f32]; 2], output: &mut [f32], _: bool) {
        forward(self.width, numbers, table, output);
    }

    fn backward(
        &self,
        [numbers, table]: [&[f32]; 2],
        _: &[f32],
        (): &(),
        gradient: &mut Gradient<'_>,
        [_, wanted]: [bool; 2],
    ) -> [Option<Vec<f32>>; 2] {
        let of_table = wanted.then(|| {
            let mut dtable = buffer(table.len());
            backward(self.width, numbers, gradient, &mut dtable);
            dtable
        });
        [None, of_table]
    }
}
