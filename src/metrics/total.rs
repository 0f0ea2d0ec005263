//! Sums over the batches of an epoch, without waiting for the device and without the rounding of a long sum.

use crate::error::Result;
use crate::ops::Value;

/// How many batches are put together at a time.
const TOGETHER: usize = 64;

/// Up to how many numbers a batch are kept for each batch, in place of a sum.
const FEW: usize = 8;

/// A sum of rows of numbers, one row a batch.
///
/// The rows stay on the device until they are asked for, and the last sum is taken in f64: in f32 a mean over the 1875
/// batches of 60,000 samples would be off by more than a millionth. Rows of more than eight numbers (counts, mostly)
/// are summed 64 at a time on the device.
#[derive(Clone, Debug, Default)]
pub struct Total {
    rows: Vec<Value>,
    blocks: Vec<Value>,
}

impl Total {
    /// Adds a batch's numbers; each batch must have as many.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) if this batch has not.
    pub fn add(&mut self, numbers: Value) -> Result<()> {
        let width = numbers.len();
        self.rows.push(numbers.reshape(&[1, width])?);
        if self.rows.len() == TOGETHER {
            let block = Value::concat(std::mem::take(&mut self.rows), 0)?;
            self.blocks.push(if width > FEW { block.sum_axis(0) } else { block });
        }
        Ok(())
    }

    /// The sums; none before the first batch. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn read(&self) -> Result<Vec<f64>> {
        let Some(first) = self.blocks.first().or(self.rows.first()) else { return Ok(Vec::new()) };
        let width = first.sizes()[1];
        let all = Value::concat(self.blocks.iter().chain(&self.rows).cloned().collect(), 0)?.to_vec()?;
        let mut sums = vec![0.0; width];
        for row in all.chunks_exact(width.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += f64::from(*number));
        }
        Ok(sums)
    }

    /// The single sum; 0 before the first batch. Waits for the device.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_one(&self) -> Result<f64> {
        Ok(self.read()?.first().copied().unwrap_or(0.0))
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// An epoch of 60,000 samples, in batches of 32 and one by one.
    #[test]
    fn a_long_sum_is_right_to_a_millionth() {
        for (batch, width) in [(32, 1), (1, 1), (32, 9)] {
            let (mut total, mut wanted) = (Total::default(), 0.0);
            for index in 0..60_000 / batch {
                let loss = 0.1 + (index as f32 * 0.37).sin().abs() * 0.01;
                wanted += f64::from(loss * batch as f32);
                total
                    .add(Value::from_vec(vec![loss * batch as f32; width], &[width], &Device::flex()).unwrap())
                    .unwrap();
            }
            let sums = total.read().unwrap();
            assert_eq!(sums.len(), width);
            let off = sums.iter().map(|sum| (sum / wanted - 1.0).abs()).fold(0.0, f64::max);
            assert!(off <= 1e-6, "{off} with batches of {batch} and {width} numbers");
        }
    }
}
