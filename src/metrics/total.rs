//! Sums over the batches of an epoch, without synchronizing with the device and without the rounding error of a long
//! sum.

use burn::tensor::Device;

use crate::error::{Error, Result};
use crate::ops::Value;

/// The number of batches per block.
const BLOCK: usize = 64;

/// The maximum number of values per block, and of block sums kept on the device: rows of millions of values (a table of
/// thousands of classes) would otherwise exhaust memory.
const MAX_VALUES: usize = 1 << 22;

/// The maximum width of rows that are kept for each batch, rather than summed.
const NARROW: usize = 8;

/// A sum of rows of numbers, one row per batch.
///
/// The rows stay on the device until they are read, and the final sum is computed in f64: in f32 a mean over the 1875
/// batches of 60,000 samples would be off by more than a millionth. Rows of more than eight numbers (counts, mostly)
/// are summed in blocks of 64 on the device.
#[derive(Clone, Debug, Default)]
pub struct Total {
    rows: Vec<Value>,
    blocks: Vec<Value>,
    /// The sums before a checkpoint.
    carried: Vec<f64>,
}

impl Total {
    /// Adds a batch's numbers; all batches must have the same number of them.
    ///
    /// # Errors
    /// [`Error::Data`](crate::Error::Data) if this batch does not.
    pub fn add(&mut self, numbers: Value) -> Result<()> {
        let width = numbers.len();
        if let Some(before) = self.width().filter(|before| *before != width) {
            return Err(Error::data("the numbers of a batch", format!("{before}, as before"), width));
        }
        self.rows.push(numbers.reshape(&[1, width])?);
        if self.rows.len() >= block_len(width) {
            let block = Value::concat(std::mem::take(&mut self.rows), 0)?;
            self.blocks.push(if width > NARROW { block.sum_axis(0) } else { block });
        }
        if width > NARROW && self.blocks.len().saturating_mul(width) > MAX_VALUES {
            self.carried = self.sums(self.blocks.iter())?;
            self.blocks.clear();
        }
        Ok(())
    }

    /// The number of values per batch; `None` before the first.
    pub(super) fn width(&self) -> Option<usize> {
        let row = self.rows.first().or(self.blocks.first());
        row.map(|row| row.sizes()[1]).or((!self.carried.is_empty()).then_some(self.carried.len()))
    }

    /// The sums; empty before the first batch. Waits for the device.
    ///
    /// # Errors
    /// [`Error::Device`](crate::Error::Device) if the device fails.
    pub fn read(&self) -> Result<Vec<f64>> {
        self.sums(self.blocks.iter().chain(&self.rows))
    }

    /// The sums of the carried ones and of these rows.
    fn sums<'a>(&self, rows: impl Iterator<Item = &'a Value>) -> Result<Vec<f64>> {
        let rows: Vec<Value> = rows.cloned().collect();
        let Some(width) = rows.first().map(|first| first.sizes()[1]) else { return Ok(self.carried.clone()) };
        let all = Value::concat(rows, 0)?.to_vec()?;
        let mut sums = if self.carried.is_empty() { vec![0.0; width] } else { self.carried.clone() };
        for row in all.chunks_exact(width.max(1)) {
            sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += f64::from(*number));
        }
        Ok(sums)
    }

    /// The state for a checkpoint: the sums of complete blocks, then the remaining rows. A sum resumed from it has the
    /// same bits as an uninterrupted one.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn state(&self) -> Result<Vec<f64>> {
        let sums = self.sums(self.blocks.iter())?;
        let width = self.rows.first().map_or(sums.len(), |row| row.sizes()[1]);
        let mut state = vec![width as f64, self.rows.len() as f64, f64::from(!sums.is_empty())];
        state.extend(sums);
        for row in &self.rows {
            state.extend(row.to_vec()?.into_iter().map(f64::from));
        }
        Ok(state)
    }

    /// Restores a [`state`](Self::state), a prefix of `state`, on a device; returns the rest.
    ///
    /// # Errors
    /// [`Error::Syntax`](crate::Error::Syntax) for an invalid state. The caller checks that its width is the expected
    /// one.
    pub fn restore<'a>(&mut self, state: &'a [f64], device: &Device) -> Result<&'a [f64]> {
        let wrong = || Error::Syntax("the state of a sum is truncated".to_owned());
        let [width, rows, summed, rest @ ..] = state else { return Err(wrong()) };
        let width = *width as usize;
        let (carried, rest) = rest.split_at_checked(if *summed == 0.0 { 0 } else { width }).ok_or_else(wrong)?;
        let rows = Some(*rows as usize).filter(|rows| *rows < block_len(width)).ok_or_else(wrong)?;
        let length = width.checked_mul(rows).ok_or_else(wrong)?;
        let (numbers, rest) = rest.split_at_checked(length).ok_or_else(wrong)?;
        self.reset();
        self.carried = carried.to_vec();
        for row in numbers.chunks_exact(width.max(1)) {
            let row = row.iter().map(|number| *number as f32).collect();
            self.rows.push(Value::from_vec(row, &[1, width], device)?);
        }
        Ok(rest)
    }

    /// A total of these sums.
    pub(crate) fn of(sums: Vec<f64>) -> Self {
        Self { carried: sums, ..Self::default() }
    }

    /// The single sum; 0 before the first batch. Waits for the device.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_one(&self) -> Result<f64> {
        Ok(self.read()?.first().copied().unwrap_or(0.0))
    }

    /// The first row with a value that is not finite, counted from 0; `None` if it is not known.
    pub(crate) fn first_non_finite(&self) -> Result<Option<usize>> {
        let rows: Vec<Value> = self.blocks.iter().chain(&self.rows).cloned().collect();
        let Some(width) = rows.first().map(|first| first.sizes()[1]) else { return Ok(None) };
        if !self.carried.is_empty() || width > NARROW {
            return Ok(None);
        }
        let numbers = Value::concat(rows, 0)?.to_vec()?;
        Ok(numbers.chunks_exact(width.max(1)).position(|row| row.iter().any(|number| !number.is_finite())))
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The number of rows of a width per block.
fn block_len(width: usize) -> usize {
    (MAX_VALUES / width.max(1)).clamp(1, BLOCK)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Interrupted after any number of batches, a sum resumes with the same bits.
    #[test]
    fn a_sum_resumes_from_its_state() {
        let row = |index: usize, width: usize| {
            let numbers = (0..width).map(|column| 0.1 + (index * 7 + column) as f32 / 3.0).collect();
            Value::from_vec(numbers, &[width], &Device::flex()).unwrap()
        };
        for width in [1, 3, 11] {
            let mut whole = Total::default();
            (0..200).for_each(|index| whole.add(row(index, width)).unwrap());
            for cut in [0, 1, 63, 64, 65, 150] {
                let mut first = Total::default();
                (0..cut).for_each(|index| first.add(row(index, width)).unwrap());
                let state = [first.state().unwrap(), vec![7.0]].concat();
                let mut second = Total::default();
                assert_eq!(second.restore(&state, &Device::flex()).unwrap(), [7.0]);
                assert_eq!(second.read().unwrap(), first.read().unwrap());
                (cut..200).for_each(|index| second.add(row(index, width)).unwrap());
                assert_eq!(second.read().unwrap(), whole.read().unwrap(), "{width} numbers, cut at {cut}");
            }
        }
        assert!(Total::default().restore(&[2.0, 5.0, 1.0, 0.0], &Device::flex()).is_err());
    }

    #[test]
    fn every_batch_has_the_same_width() {
        let row = |width: usize| Value::from_vec(vec![1.0; width], &[width], &Device::flex()).unwrap();
        for state in [&[3.0, 1.0, 0.0, 1.0, 2.0, 3.0][..], &[3.0, 0.0, 1.0, 1.0, 2.0, 3.0]] {
            let mut total = Total::default();
            total.restore(state, &Device::flex()).unwrap();
            let error = total.add(row(2)).unwrap_err();
            assert!(matches!(error, Error::Data { .. }), "{error}");
            total.add(row(3)).unwrap();
            assert_eq!(total.read().unwrap(), [2.0, 3.0, 4.0]);
        }
    }

    /// Wide rows are not kept for each batch.
    #[test]
    fn wide_rows_do_not_take_memory_per_batch() {
        let width = MAX_VALUES / 4 + 1;
        let mut total = Total::default();
        for batch in 0..20 {
            let row = Value::full(&[width], batch as f32 + 0.5, &Device::flex()).unwrap();
            total.add(row).unwrap();
            assert!((total.rows.len() + total.blocks.len()) * width <= 3 * MAX_VALUES, "after batch {batch}");
        }
        assert_eq!(total.read().unwrap()[width - 1], 200.0);
    }

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
