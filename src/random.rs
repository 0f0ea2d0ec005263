//! Random numbers as pure functions of where they are used, so that runs can be repeated and resumed.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator for one place: the same parts give the same numbers, other parts independent ones.
///
/// Parts are, for example, `[seed, layer, step]` for a dropout mask or `[seed, epoch]` for the order of samples.
pub(crate) fn stream(parts: &[u64]) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for part in parts {
        state = mix(state ^ mix(*part));
    }
    for chunk in key.chunks_mut(8) {
        state = mix(state);
        chunk.copy_from_slice(&state.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014) after its increment: a bijection that scatters bits.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A seed that differs from call to call.
pub(crate) fn fresh_seed() -> u64 {
    rand::random()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |parts: &[u64]| stream(parts).random::<u64>();
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
        assert_ne!(draw(&[1]), draw(&[1, 0]));
    }
}
