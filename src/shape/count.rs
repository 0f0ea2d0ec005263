//! Element counts without overflow.

use crate::error::{Error, Result};

/// The largest rank of a value, including the batch: a batch of volumes with channels, and one to spare.
pub const MAX_RANK: usize = 6;

/// The most values of one activation, weight or buffer: 2⁴⁵, which is 128 TiB of 32-bit numbers, all that a process can
/// address on current machines. The backends multiply sizes without overflow checks, so nothing larger must reach them.
pub const MOST_VALUES: usize = {
    let addressable = isize::MAX as usize / size_of::<f32>();
    let wanted = 1u64 << 45;
    if (addressable as u64) < wanted { addressable } else { wanted as usize }
};

/// The number of values of these sizes; `None` if there are more than [`MOST_VALUES`]. Backends also multiply the sizes
/// next to a 0, so their product has to fit as well.
pub(crate) fn count(sizes: &[usize]) -> Option<usize> {
    let product = sizes.iter().try_fold(1usize, |product, size| product.checked_mul((*size).max(1)))?;
    (product <= MOST_VALUES).then(|| if sizes.contains(&0) { 0 } else { product })
}

/// The number of values of these sizes.
///
/// # Errors
/// [`Error::Shape`] if there are more than [`MOST_VALUES`].
pub(crate) fn check_count(sizes: &[usize]) -> Result<usize> {
    count(sizes).ok_or_else(|| Error::shape(format!("at most {MOST_VALUES} values"), format!("{sizes:?}")))
}

/// Rejects more dimensions than values can have, including the batch. A layer that combines several shapes into its
/// output's checks this first: otherwise the rank could double with every layer.
///
/// # Errors
/// [`Error::Shape`] with the number of dimensions.
pub(crate) fn check_rank(rank: usize) -> Result<()> {
    if rank <= MAX_RANK {
        return Ok(());
    }
    Err(Error::shape(format!("at most {MAX_RANK} dimensions, the batch counted"), format!("{rank} of them")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_that_overflow_are_refused() {
        assert_eq!(count(&[]), Some(1));
        assert_eq!(count(&[2, 3]), Some(6));
        assert_eq!(count(&[1, MOST_VALUES]), Some(MOST_VALUES));
        // Both wrap to a small number.
        assert_eq!(count(&[(1 << 62) + 1, 4]), None);
        assert_eq!(count(&[128, (1 << 57) + 1]), None);
        assert_eq!(count(&[MOST_VALUES, 2]), None);
    }

    #[test]
    fn a_zero_does_not_hide_an_overflow() {
        assert_eq!(count(&[0, 3]), Some(0));
        assert_eq!(count(&[0, 1 << 62, 4]), None);
        assert!(check_count(&[0, usize::MAX]).is_err());
    }
}
