//! Long buffers in huge pages (2 MiB).
//!
//! With pages of 4 KiB, a network whose activations take tens of megabytes spends up to a fifth of a step on address
//! translation. Linux gives huge pages to memory that asks for them
//! (<https://docs.kernel.org/admin-guide/mm/transhuge.html>); other systems choose by themselves.

/// Bytes of a huge page, on the machines that have them.
const PAGE: usize = 2 << 20;

/// Whether a buffer of `len` values is put into huge pages by [`aligned_zeros`]: if it takes at least one.
pub fn pays(len: usize) -> bool {
    cfg!(all(target_os = "linux", not(miri))) && len >= PAGE / size_of::<f32>()
}

/// `len` zeros, in huge pages where there are at least two of them. The ends before the first and after the last stay
/// in small pages, so that no more memory is taken than requested.
pub fn zeros(len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    ask(whole_pages(&mut values), 2);
    values
}

/// A buffer, and the index in it from which on `len` zeros begin, at a multiple of `alignment` bytes. If that [pays],
/// they are in huge pages from the first to the last, and take up to one page more than requested.
pub fn aligned_zeros(len: usize, alignment: usize) -> (Vec<f32>, usize) {
    let in_pages = pays(len);
    let alignment = if in_pages { PAGE } else { alignment };
    // Room for the alignment and, in huge pages, for a whole last one: what is never written takes no memory.
    let spare = (alignment / size_of::<f32>() - 1).saturating_mul(if in_pages { 2 } else { 1 });
    let mut values = vec![0.0; len.saturating_add(spare)];
    if in_pages {
        ask(whole_pages(&mut values), 1);
    }
    // An interpreter can leave the offset of an address unknown.
    let first = values.as_ptr().align_offset(alignment).min(values.len() - len);
    (values, first)
}

/// The part of a buffer that is whole huge pages, which can be empty.
fn whole_pages(values: &mut [f32]) -> &mut [f32] {
    let before = values.as_ptr().align_offset(PAGE).min(values.len());
    let rest = &mut values[before..];
    let page = PAGE / size_of::<f32>();
    let whole = rest.len() / page * page;
    &mut rest[..whole]
}

/// Asks for huge pages for memory that is whole pages, if it has at least so many.
#[cfg(all(target_os = "linux", not(miri)))]
fn ask(whole: &mut [f32], least: usize) {
    if size_of_val(whole) < least * PAGE {
        return;
    }
    // SAFETY: the range is that of a slice, borrowed for the whole call. The advice changes how the memory is mapped,
    // not its contents; if the system declines it, nothing changes.
    unsafe {
        libc::madvise(whole.as_mut_ptr().cast(), size_of_val(whole), libc::MADV_HUGEPAGE);
    }
}

/// Other systems choose by themselves.
#[cfg(not(all(target_os = "linux", not(miri))))]
fn ask(_: &mut [f32], _: usize) {}

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
