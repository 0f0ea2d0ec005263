//! Long buffers in huge pages (2 MiB).
//!
//! With pages of 4 KiB, a network whose activations take tens of megabytes spends up to a fifth of a step on address
//! translation. Linux gives huge pages to memory that asks for them
//! (<https://docs.kernel.org/admin-guide/mm/transhuge.html>); other systems choose by themselves.

/// Bytes of a huge page, on the machines that have them.
#[cfg(all(target_os = "linux", not(miri)))]
const PAGE: usize = 2 << 20;

/// `len` zeros, in huge pages where there are at least two of them. The ends before the first and after the last stay
/// in small pages, so that no more memory is taken than requested.
pub fn zeros(len: usize) -> Vec<f32> {
    #[allow(unused_mut)] // Mutated on Linux only.
    let mut values = vec![0.0; len];
    #[cfg(all(target_os = "linux", not(miri)))]
    ask(&mut values);
    values
}

#[cfg(all(target_os = "linux", not(miri)))]
fn ask(values: &mut [f32]) {
    let bytes = size_of_val(values);
    let before = values.as_ptr().cast::<u8>().align_offset(PAGE);
    let whole = bytes.saturating_sub(before) / PAGE * PAGE;
    if whole < 2 * PAGE {
        return;
    }
    // SAFETY: `before + whole <= bytes`, so the range lies within `values`, which is borrowed for the whole call. The
    // advice changes how the memory is mapped, not its contents; if the system declines it, nothing changes.
    unsafe {
        let first = values.as_mut_ptr().cast::<u8>().add(before);
        libc::madvise(first.cast(), whole, libc::MADV_HUGEPAGE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_every_length_is_zero_and_writable() {
        for len in [0, 1, 1000, 1 << 19, (1 << 20) + 1, 3 << 20] {
            let len = if cfg!(miri) { len.min(1000) } else { len };
            let mut values = zeros(len);
            assert!(values.len() == len && values.iter().all(|value| *value == 0.0));
            values.fill(1.0);
            assert!(values.iter().all(|value| *value == 1.0));
        }
    }
}
