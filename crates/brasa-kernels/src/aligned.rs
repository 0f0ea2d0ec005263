//! Buffers aligned to cache lines; long ones in huge pages.

use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use super::huge_pages;

/// Bytes of a cache line, and of the longest vector.
const LINE: usize = 64;
/// Values of a cache line.
const LINE_LEN: usize = LINE / size_of::<f32>();
/// Most values of a common buffer: 32 MiB, as a group is in memory twice while it is copied.
const GROUP: usize = 8 << 20;

/// Values that begin at a cache line: a vector of 64 bytes that straddles two lines is loaded in two parts. Long ones
/// are in huge pages.
#[derive(Debug, Default)]
pub struct Aligned {
    values: Vec<f32>,
    first: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        let (values, first) = huge_pages::aligned_zeros(len, LINE);
        Self { values, first, len }
    }
}

impl Deref for Aligned {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.first..][..self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.first..][..self.len]
    }
}

/// Weights that never change: all or some of the values of a buffer.
#[derive(Clone, Debug)]
pub struct Weights {
    buffer: Arc<Aligned>,
    range: Range<usize>,
}

impl From<Aligned> for Weights {
    fn from(buffer: Aligned) -> Self {
        Self { range: 0..buffer.len, buffer: Arc::new(buffer) }
    }
}

impl From<&[f32]> for Weights {
    fn from(values: &[f32]) -> Self {
        let mut buffer = Aligned::zeros(values.len());
        buffer.copy_from_slice(values);
        buffer.into()
    }
}

impl Deref for Weights {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.buffer[self.range.clone()]
    }
}

impl Weights {
    /// Copies the weights of a model, in the order in which they are read, to common buffers of at most 32 MiB in huge
    /// pages, even if each layer's weights are too few for one: they are read once per prediction, and TLB misses with
    /// small pages take up to a third of the time.
    pub fn gather<'a>(all: impl IntoIterator<Item = &'a mut Self>) {
        let (mut group, mut len) = (Vec::new(), 0);
        for weights in all {
            if !group.is_empty() && len + weights.len() > GROUP {
                Self::move_together(std::mem::take(&mut group), std::mem::take(&mut len));
            }
            len += weights.len().next_multiple_of(LINE_LEN);
            group.push(weights);
        }
        Self::move_together(group, len);
    }

    /// Copies weights to a buffer of `len` values, each to a cache line of its own.
    fn move_together(group: Vec<&mut Self>, len: usize) {
        if group.len() <= 1 || !huge_pages::pays(len) {
            return;
        }
        let mut buffer = Aligned::zeros(len);
        let (mut first, mut ranges) = (0, Vec::with_capacity(group.len()));
        for weights in &group {
            let range = first..first + weights.len();
            buffer[range.clone()].copy_from_slice(weights);
            first = range.end.next_multiple_of(LINE_LEN);
            ranges.push(range);
        }
        let buffer = Arc::new(buffer);
        for (weights, range) in group.into_iter().zip(ranges) {
            *weights = Self { buffer: Arc::clone(&buffer), range };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_at_line(values: &[f32]) -> bool {
        // An interpreter can leave the offset of an address unknown.
        cfg!(miri) || values.as_ptr().addr().is_multiple_of(LINE)
    }

    #[test]
    fn values_begin_at_a_cache_line() {
        for len in [0, 1, 15, 1000, 1 << 18, 1 << 19, (1 << 20) + 1, 3 << 20] {
            let len = if cfg!(miri) { len.min(1000) } else { len };
            let mut values = Aligned::zeros(len);
            assert!(values.len() == len && values.iter().all(|value| *value == 0.0));
            values.fill(1.0);
            assert!(is_at_line(&values) && values.iter().all(|value| *value == 1.0));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn gathered_weights_are_the_same() {
        for lens in [vec![], vec![3], vec![3, 5], vec![1 << 18, 0, 17, 1 << 18], vec![3 << 20, 7, 3 << 20, 3 << 20, 1]]
        {
            let filled = |(i, len): (usize, &usize)| {
                let mut values = Aligned::zeros(*len);
                values.iter_mut().enumerate().for_each(|(k, value)| *value = (i + k) as f32);
                Weights::from(values)
            };
            let before: Vec<_> = lens.iter().enumerate().map(filled).collect();
            let mut after = before.clone();
            Weights::gather(&mut after);
            assert!(before.iter().zip(&after).all(|(before, after)| before[..] == after[..] && is_at_line(after)));
        }
        let mut two = [1 << 18, 1 << 18].map(|len| Weights::from(Aligned::zeros(len)));
        Weights::gather(&mut two);
        assert!(Arc::ptr_eq(&two[0].buffer, &two[1].buffer));
    }
}
