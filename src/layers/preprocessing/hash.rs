//! The two hashes by which Keras assigns values to bins: FarmHash's 64-bit fingerprint, and SipHash-2-4 with a key.

/// FarmHash's constants.
const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

/// The SipHash key: Keras's `salt`, negative numbers in two's complement.
pub(super) type SipKey = [u64; 2];

/// The hash of a value's bytes: SipHash with a key, otherwise FarmHash.
pub(super) fn hash(bytes: &[u8], key: Option<SipKey>) -> u64 {
    match key {
        Some(key) => siphash(bytes, key),
        None => fingerprint(bytes),
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

fn half_word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, |word| u64::from(u32::from_le_bytes(word)))
}

fn mixed(value: u64) -> u64 {
    value ^ (value >> 47)
}

fn times(a: u64, b: u64) -> u64 {
    a.wrapping_mul(b)
}

fn plus(a: u64, b: u64) -> u64 {
    a.wrapping_add(b)
}

/// Mixes two words into one.
fn joined(u: u64, v: u64, factor: u64) -> u64 {
    let a = mixed(times(u ^ v, factor));
    times(mixed(times(v ^ a, factor)), factor)
}

/// FarmHash's `Fingerprint64`, which is stable across machines and versions.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    match bytes.len() {
        0 => K2,
        1..=3 => {
            let [first, middle, last] = [0, bytes.len() / 2, bytes.len() - 1].map(|at| u32::from(bytes[at]));
            let y = first.wrapping_add(middle << 8);
            let z = (bytes.len() as u32).wrapping_add(last << 2);
            times(mixed(times(u64::from(y), K2) ^ times(u64::from(z), K0)), K2)
        }
        len @ 4..=7 => {
            let factor = plus(K2, 2 * len as u64);
            joined(plus(len as u64, half_word(bytes, 0) << 3), half_word(bytes, len - 4), factor)
        }
        len @ 8..=16 => {
            let factor = plus(K2, 2 * len as u64);
            let (a, b) = (plus(word(bytes, 0), K2), word(bytes, len - 8));
            let c = plus(times(b.rotate_right(37), factor), a);
            let d = times(plus(a.rotate_right(25), b), factor);
            joined(c, d, factor)
        }
        len @ 17..=32 => {
            let factor = plus(K2, 2 * len as u64);
            let [a, b, c, d] = ends(bytes, K1, factor);
            halves(a, b, c, d, factor).1
        }
        len @ 33..=64 => {
            let factor = plus(K2, 2 * len as u64);
            let [a, b, c, d] = ends(bytes, K2, factor);
            let (y, z) = halves(a, b, c, d, factor);
            let (e, f) = (times(word(bytes, 16), factor), word(bytes, 24));
            let g = times(plus(y, word(bytes, len - 32)), factor);
            let h = times(plus(z, word(bytes, len - 24)), factor);
            let first = plus(plus(plus(e, f).rotate_right(43), g.rotate_right(30)), h);
            joined(first, plus(plus(e, plus(f, a).rotate_right(18)), g), factor)
        }
        _ => long(bytes),
    }
}

/// The first and the last two words.
fn ends(bytes: &[u8], first: u64, factor: u64) -> [u64; 4] {
    let len = bytes.len();
    [
        times(word(bytes, 0), first),
        word(bytes, 8),
        times(word(bytes, len - 8), factor),
        times(word(bytes, len - 16), K2),
    ]
}

/// The running sum, and the hash of the four words.
fn halves(a: u64, b: u64, c: u64, d: u64, factor: u64) -> (u64, u64) {
    let sum = plus(plus(plus(a, b).rotate_right(43), c.rotate_right(30)), d);
    (sum, joined(sum, plus(plus(a, plus(b, K2).rotate_right(18)), c), factor))
}

/// Mixes 32 bytes and two seeds into two words.
fn block(bytes: &[u8], at: usize, a: u64, b: u64) -> [u64; 2] {
    let [w, x, y, z] = [0, 8, 16, 24].map(|offset| word(bytes, at + offset));
    let a = plus(a, w);
    let b = plus(plus(b, a), z).rotate_right(21);
    let sum = plus(plus(a, x), y);
    [plus(sum, z), plus(plus(b, sum.rotate_right(44)), a)]
}

/// Inputs longer than 64 bytes, in blocks of 64; the last one overlaps the previous one.
fn long(bytes: &[u8]) -> u64 {
    const SEED: u64 = 81;
    let len = bytes.len();
    let (mut y, mut x) = (plus(times(SEED, K1), 113), SEED);
    let mut z = times(mixed(plus(times(y, K2), 113)), K2);
    let (mut v, mut w) = ([0; 2], [0; 2]);
    x = plus(times(x, K2), word(bytes, 0));
    for at in (0..(len - 1) / 64).map(|block| block * 64) {
        x = times(plus(plus(plus(x, y), v[0]), word(bytes, at + 8)).rotate_right(37), K1);
        y = times(plus(plus(y, v[1]), word(bytes, at + 48)).rotate_right(42), K1);
        x ^= w[1];
        y = plus(plus(y, v[0]), word(bytes, at + 40));
        z = times(plus(z, w[0]).rotate_right(33), K1);
        v = block(bytes, at, times(v[1], K1), plus(x, w[0]));
        w = block(bytes, at + 32, plus(z, w[1]), plus(y, word(bytes, at + 16)));
        std::mem::swap(&mut z, &mut x);
    }
    let factor = plus(K1, (z & 0xff) << 1);
    let at = len - 64;
    w[0] = plus(w[0], (len as u64 - 1) & 63);
    v[0] = plus(v[0], w[0]);
    w[0] = plus(w[0], v[0]);
    x = times(plus(plus(plus(x, y), v[0]), word(bytes, at + 8)).rotate_right(37), factor);
    y = times(plus(plus(y, v[1]), word(bytes, at + 48)).rotate_right(42), factor);
    x ^= times(w[1], 9);
    y = plus(plus(y, times(v[0], 9)), word(bytes, at + 40));
    z = times(plus(z, w[0]).rotate_right(33), factor);
    v = block(bytes, at, times(v[1], factor), plus(x, w[0]));
    w = block(bytes, at + 32, plus(z, w[1]), plus(y, word(bytes, at + 16)));
    std::mem::swap(&mut z, &mut x);
    let first = plus(plus(joined(v[0], w[0], factor), times(mixed(y), K0)), z);
    joined(first, plus(joined(v[1], w[1], factor), x), factor)
}

/// SipHash-2-4.
fn siphash(bytes: &[u8], [k0, k1]: SipKey) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    let words = words.map(|chunk| word(chunk, 0)).chain([u64::from_le_bytes(last)]);
    for word in words {
        v[3] ^= word;
        round(&mut v);
        round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn round(v: &mut [u64; 4]) {
    v[0] = plus(v[0], v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = plus(v[2], v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = plus(v[0], v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = plus(v[2], v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

/// Combines two hashes as TensorFlow does, for the features of `HashedCrossing`.
pub(super) fn crossed(a: u64, b: u64) -> u64 {
    const FACTOR: u64 = 0xc6a4_a793_5bd1_e995;
    let result = a ^ FACTOR ^ times(mixed(times(b, FACTOR)), FACTOR);
    mixed(times(mixed(times(result, FACTOR)), FACTOR))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published test vector: the key 00…0f and the 15 bytes 00…0e.
    #[test]
    fn siphash_matches_the_published_vector() {
        let bytes: Vec<u8> = (0..15).collect();
        assert_eq!(siphash(&bytes, [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn every_length_is_hashed() {
        let bytes: Vec<u8> = (0..=255).collect();
        let hashes: std::collections::BTreeSet<u64> = (0..=256).map(|len| fingerprint(&bytes[..len])).collect();
        assert_eq!(hashes.len(), 257);
    }
}
