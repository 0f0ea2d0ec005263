//! An order that depends on a seed alone.

/// Shuffles a list by a function of `seed` and its length alone.
pub(super) fn shuffle<T>(list: &mut [T], seed: u64) {
    let mut state = seed;
    for last in (1..list.len()).rev() {
        // Fisher–Yates; the remainder's bias is below 2⁻⁴⁰ for any number of files.
        list.swap(last, (split_mix(&mut state) % (last as u64 + 1)) as usize);
    }
}

/// The next number of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first number of the authors' reference program for this seed.
    #[test]
    fn numbers_are_those_of_the_reference_program() {
        assert_eq!(split_mix(&mut 1_234_567), 6_457_827_717_110_365_317);
    }
}
