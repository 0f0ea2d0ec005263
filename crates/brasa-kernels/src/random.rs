//! Random numbers where they are used: dropout and normal noise by a counter-based generator.
//!
//! Number `i` of a stream is a function of the stream's key and of `i` alone (Threefry 4×32 with 13 rounds: J. K. Salmon
//! et al., *Parallel Random Numbers: As Easy as 1, 2, 3*, 2011). So any part of a pass can be computed by any thread,
//! and a backward pass draws the numbers of the forward pass again instead of reading a mask from memory. The generator
//! adds, rotates and xors words of 32 bits, which the compiler vectorizes; from 12 rounds on it passes BigCrush.

use std::f32::consts::SQRT_2;

use super::math::sin_cos_turns;
use super::parallel;
use super::simd::{Isa, simd};
use super::window::{check_len, size_of};

/// The key of a stream of random numbers.
pub type Key = [u32; 4];

/// Counters that are enciphered together.
const LANES: usize = 64;
/// Numbers of one block: four words for each counter.
const BLOCK: usize = 4 * LANES;
/// Distances of the rotations of each round, repeated after eight.
const ROTATIONS: [[u32; 2]; 8] = [[10, 26], [11, 21], [13, 27], [23, 5], [6, 20], [17, 11], [25, 10], [18, 20]];
/// The constant of the key schedule of Threefish, for words of 32 bits.
const PARITY: u32 = 0x1bd1_1bda;

/// The words of a block: word `w` of counter `index · LANES + lane` is at `w · LANES + lane`.
#[inline(always)]
fn block(key: &Key, index: u64) -> [u32; BLOCK] {
    let counter = index.wrapping_mul(LANES as u64);
    let [k0, k1, k2, k3] = *key;
    let k4 = PARITY ^ k0 ^ k1 ^ k2 ^ k3;
    // A block starts at a multiple of its length, so that its counters share the upper word.
    let (low, high) = ((counter as u32).wrapping_add(k0), ((counter >> 32) as u32).wrapping_add(k1));
    let mut words = [0; BLOCK];
    // All rounds of one lane, written out: the compiler then takes the lanes together as vectors.
    for lane in 0..LANES {
        let x = [low.wrapping_add(lane as u32), high, k2, k3];
        let x = add(four_rounds(x, 0), [k1, k2, k3, k4.wrapping_add(1)]);
        let x = add(four_rounds(x, 4), [k2, k3, k4, k0.wrapping_add(2)]);
        let x = add(four_rounds(x, 0), [k3, k4, k0, k1.wrapping_add(3)]);
        let [a, b, c, d] = even_round(x, ROTATIONS[4]);
        words[lane] = a;
        words[LANES + lane] = b;
        words[2 * LANES + lane] = c;
        words[3 * LANES + lane] = d;
    }
    words
}

#[inline(always)]
fn four_rounds(x: [u32; 4], first: usize) -> [u32; 4] {
    let x = odd_round(even_round(x, ROTATIONS[first]), ROTATIONS[first + 1]);
    odd_round(even_round(x, ROTATIONS[first + 2]), ROTATIONS[first + 3])
}

#[inline(always)]
fn even_round([a, b, c, d]: [u32; 4], [first, second]: [u32; 2]) -> [u32; 4] {
    let ((a, b), (c, d)) = (mix(a, b, first), mix(c, d, second));
    [a, b, c, d]
}

#[inline(always)]
fn odd_round([a, b, c, d]: [u32; 4], [first, second]: [u32; 2]) -> [u32; 4] {
    let ((a, d), (c, b)) = (mix(a, d, first), mix(c, b, second));
    [a, b, c, d]
}

#[inline(always)]
fn mix(a: u32, b: u32, distance: u32) -> (u32, u32) {
    let a = a.wrapping_add(b);
    (a, b.rotate_left(distance) ^ a)
}

#[inline(always)]
fn add(x: [u32; 4], keys: [u32; 4]) -> [u32; 4] {
    std::array::from_fn(|i| x[i].wrapping_add(keys[i]))
}

/// How dropout changes a value `x`: to `x · scale + shift` with a probability, else to `otherwise`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropping {
    /// The probability that a value is kept.
    pub keep: f32,
    /// The factor of a value that is kept.
    pub scale: f32,
    /// Added to a value that is kept.
    pub shift: f32,
    /// The result for a value that is dropped.
    pub otherwise: f32,
}

impl Dropping {
    /// Values are kept with probability `keep` and scaled to preserve the expected sum, and are else 0.
    pub fn scaled(keep: f32) -> Self {
        Self { keep, scale: 1.0 / keep, shift: 0.0, otherwise: 0.0 }
    }

    /// The same for the gradient of the values.
    pub fn gradient(self) -> Self {
        Self { shift: 0.0, otherwise: 0.0, ..self }
    }

    /// A word keeps a value if its upper 24 bits are below this.
    fn threshold(self) -> u32 {
        (self.keep.clamp(0.0, 1.0) * (1 << 24) as f32).ceil() as u32
    }
}

/// `y` = the dropout of `x`; value `i` is decided by number `first + i` of the stream. Every value of `y` is written.
///
/// # Panics
/// If lengths differ.
pub fn drop_out(key: &Key, first: u64, dropping: Dropping, x: &[f32], y: &mut [f32]) {
    check_len("the output", y.len(), x.len());
    let (threads, step) = passes(y.len());
    let tasks = x.chunks(step).zip(y.chunks_mut(step)).enumerate().collect();
    parallel::each(threads, tasks, |(i, (x, y)): (usize, (&[f32], &mut [f32]))| {
        drop_out_part(key, first.wrapping_add((i * step) as u64), dropping, dropping.threshold(), x, y);
    });
}

/// As [`drop_out`], with a mask `kept` (1 for kept, 0 for dropped) each row of which, `inner` values, serves `middle` rows
/// one after another. Every value of `y` is written.
///
/// # Panics
/// If lengths differ.
pub fn drop_out_repeated(kept: &[f32], (middle, inner): (usize, usize), dropping: Dropping, x: &[f32], y: &mut [f32]) {
    check_len("the output", y.len(), x.len());
    check_len("the values", x.len(), size_of(&[kept.len(), middle]));
    if x.is_empty() {
        return;
    }
    assert!(kept.len().is_multiple_of(inner), "the mask is not made of rows of {inner}");
    let (threads, step) = parallel::pass(x.len());
    let rows = step.div_ceil(middle * inner);
    let step = rows * middle * inner;
    let tasks = kept.chunks(rows * inner).zip(x.chunks(step).zip(y.chunks_mut(step))).collect();
    parallel::each(threads, tasks, |(kept, (x, y))| match inner {
        1 => repeated_value(kept, middle, dropping, x, y),
        _ => repeated_rows(kept, middle, inner, dropping, x, y),
    });
}

/// The factors of dropout: the results of [`drop_out`] for ones. Every value of `y` is written.
pub fn dropout_factors(key: &Key, first: u64, dropping: Dropping, y: &mut [f32]) {
    let (threads, step) = passes(y.len());
    let tasks = y.chunks_mut(step).enumerate().collect();
    parallel::each(threads, tasks, |(i, y): (usize, &mut [f32])| {
        let first = first.wrapping_add((i * step) as u64);
        factors_part(key, first, dropping.scale + dropping.shift, dropping.otherwise, dropping.threshold(), y);
    });
}

/// Normally distributed numbers (Box and Muller 1958) from `first` on. Every value of `y` is written.
pub fn normal(key: &Key, first: u64, mean: f32, stddev: f32, y: &mut [f32]) {
    // A number takes some eight times as long as one that is only copied.
    let (threads, step) = parallel::pass(y.len().saturating_mul(8));
    let step = (step / 8).max(1).next_multiple_of(BLOCK);
    let tasks = y.chunks_mut(step).enumerate().collect();
    parallel::each(threads, tasks, |(i, y): (usize, &mut [f32])| {
        normal_part(key, first.wrapping_add((i * step) as u64), mean, stddev, y);
    });
}

/// As [`parallel::pass`], in parts of whole blocks.
fn passes(len: usize) -> (usize, usize) {
    let (threads, step) = parallel::pass(len);
    (threads, step.next_multiple_of(BLOCK))
}

/// The blocks that numbers `first..first + len` touch: of each its index, the first of its numbers that is wanted, and the
/// range of values that they are for.
struct Blocks {
    first: u64,
    at: usize,
    len: usize,
}

impl Blocks {
    fn of(first: u64, len: usize) -> Self {
        Self { first, at: 0, len }
    }
}

impl Iterator for Blocks {
    type Item = (u64, usize, std::ops::Range<usize>);

    // Inlined, as are the loops over it: a closure would be compiled without the level's instructions.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.len {
            return None;
        }
        let number = self.first.wrapping_add(self.at as u64);
        let skipped = (number % BLOCK as u64) as usize;
        let range = self.at..(self.at + BLOCK - skipped).min(self.len);
        self.at = range.end;
        Some((number / BLOCK as u64, skipped, range))
    }
}

simd! {
    fn drop_out_part<I>(key: &Key, first: u64, dropping: Dropping, threshold: u32, x: &[f32], y: &mut [f32]) {
        let Dropping { scale, shift, otherwise, .. } = dropping;
        for (index, skipped, range) in Blocks::of(first, y.len()) {
            let words = block(key, index);
            let (x, y) = (&x[range.clone()], &mut y[range]);
            match (<&[f32; BLOCK]>::try_from(x), <&mut [f32; BLOCK]>::try_from(&mut *y)) {
                (Ok(x), Ok(y)) => {
                    for i in 0..BLOCK {
                        let kept = x[i] * scale + shift;
                        y[i] = if words[i] >> 8 < threshold { kept } else { otherwise };
                    }
                }
                _ => {
                    for ((y, x), word) in y.iter_mut().zip(x).zip(&words[skipped..]) {
                        *y = if word >> 8 < threshold { *x * scale + shift } else { otherwise };
                    }
                }
            }
        }
    }
}

simd! {
    fn repeated_rows<I>(kept: &[f32], middle: usize, inner: usize, dropping: Dropping, x: &[f32], y: &mut [f32]) {
        let Dropping { scale, shift, otherwise, .. } = dropping;
        let rows = x.chunks_exact(inner).zip(y.chunks_exact_mut(inner));
        for ((x, y), kept) in rows.zip(kept.chunks_exact(inner).flat_map(|kept| std::iter::repeat_n(kept, middle))) {
            for ((y, x), kept) in y.iter_mut().zip(x).zip(kept) {
                let scaled = *x * scale + shift;
                *y = if *kept != 0.0 { scaled } else { otherwise };
            }
        }
    }
}

simd! {
    /// Rows of one value each.
    fn repeated_value<I>(kept: &[f32], middle: usize, dropping: Dropping, x: &[f32], y: &mut [f32]) {
        let Dropping { scale, shift, otherwise, .. } = dropping;
        for ((x, y), kept) in x.chunks_exact(middle).zip(y.chunks_exact_mut(middle)).zip(kept) {
            if *kept == 0.0 {
                y.fill(otherwise);
                continue;
            }
            for (y, x) in y.iter_mut().zip(x) {
                *y = *x * scale + shift;
            }
        }
    }
}

simd! {
    fn factors_part<I>(key: &Key, first: u64, kept: f32, otherwise: f32, threshold: u32, y: &mut [f32]) {
        for (index, skipped, range) in Blocks::of(first, y.len()) {
            let words = block(key, index);
            for (y, word) in y[range].iter_mut().zip(&words[skipped..]) {
                *y = if word >> 8 < threshold { kept } else { otherwise };
            }
        }
    }
}

simd! {
    fn normal_part<I>(key: &Key, first: u64, mean: f32, stddev: f32, y: &mut [f32]) {
        for (index, skipped, range) in Blocks::of(first, y.len()) {
            let numbers = normals::<I>(&block(key, index));
            for (y, number) in y[range].iter_mut().zip(&numbers[skipped..]) {
                *y = number * stddev + mean;
            }
        }
    }
}

/// Standard normal numbers of a block of words: two from each pair of words.
#[inline(always)]
fn normals<I: Isa>(words: &[u32; BLOCK]) -> [f32; BLOCK] {
    const UNIT: f32 = 1.0 / (1 << 24) as f32;
    let mut numbers = [0.0; BLOCK];
    for (numbers, words) in numbers.chunks_exact_mut(2 * LANES).zip(words.chunks_exact(2 * LANES)) {
        let ((first, second), (radii, angles)) = (numbers.split_at_mut(LANES), words.split_at(LANES));
        for lane in 0..LANES {
            // In (0, 1], whose logarithm is finite, and in [0, 1), a part of a turn.
            let radius = (-2.0 * ln_unit::<I>(((radii[lane] >> 8) + 1) as f32 * UNIT)).sqrt();
            let (sine, cosine) = sin_cos_turns::<I>((angles[lane] >> 8) as f32 * UNIT);
            (first[lane], second[lane]) = (radius * cosine, radius * sine);
        }
    }
    numbers
}

/// ln u for normal u: the exponent's part, and of the mantissa m in [√½, √2) 2·artanh((m − 1) / (m + 1)) by its series.
#[inline(always)]
fn ln_unit<I: Isa>(u: f32) -> f32 {
    /// √½, whose bits are subtracted so that the exponent's field counts from it.
    const START: u32 = (1.0 / SQRT_2).to_bits();
    let bits = u.to_bits().wrapping_sub(START);
    let exponent = (bits as i32) >> 23;
    let m = f32::from_bits((bits & 0x007f_ffff).wrapping_add(START));
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = I::mul_add(z, 2.0 / 9.0, 2.0 / 7.0);
    let p = I::mul_add(p, z, 2.0 / 5.0);
    let p = I::mul_add(p, z, 2.0 / 3.0);
    let p = I::mul_add(p * z, s, 2.0 * s);
    I::mul_add(exponent as f32, std::f32::consts::LN_2, p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::at_every_level;

    /// Word `w` of a counter, by the definition.
    fn word(key: Key, counter: [u32; 4], w: usize) -> u32 {
        let parity = key.iter().fold(PARITY, |parity, word| parity ^ word);
        let keys = [key[0], key[1], key[2], key[3], parity];
        let mut x: [u32; 4] = std::array::from_fn(|i| counter[i].wrapping_add(keys[i]));
        for round in 0..13 {
            let [first, second] = ROTATIONS[round % 8];
            for (a, b, distance) in
                if round % 2 == 0 { [(0, 1, first), (2, 3, second)] } else { [(0, 3, first), (2, 1, second)] }
            {
                x[a] = x[a].wrapping_add(x[b]);
                x[b] = x[b].rotate_left(distance) ^ x[a];
            }
            if round % 4 == 3 {
                let times = round / 4 + 1;
                (0..4).for_each(|i| x[i] = x[i].wrapping_add(keys[(times + i) % 5]));
                x[3] = x[3].wrapping_add(times as u32);
            }
        }
        x[w]
    }

    #[test]
    fn the_definition_gives_the_known_answers() {
        // Of Random123's `kat_vectors`.
        let digits = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        let more = [0xa409_3822, 0x299f_31d0, 0x082e_fa98, 0xec4e_6c89];
        for (counter, key, expected) in [
            ([0; 4], [0; 4], [0x531c_7e4f, 0x3949_1ee5, 0x2c85_5a92, 0x3d6a_bf9a]),
            ([u32::MAX; 4], [u32::MAX; 4], [0xc418_9358, 0x1c9c_c83a, 0xd588_1c67, 0x6a0a_89e0]),
            (digits, more, [0x4aa7_1d8f, 0x7347_38c2, 0x431f_c6a8, 0xae6d_ebf1]),
        ] {
            assert_eq!(std::array::from_fn(|w| word(key, counter, w)), expected);
        }
    }

    #[test]
    fn blocks_are_those_of_the_definition() {
        at_every_level(|_| {
            let key = [1, 2, 3, 0xffff_fff0];
            for index in [0, 1, (1 << 28) - 1, 1 << 28, u64::MAX / BLOCK as u64] {
                // The words, read through dropout: a value is kept if the word is below the threshold.
                let words = block(&key, index);
                let mut y = [7.5; BLOCK];
                drop_out(&key, index * BLOCK as u64, Dropping::scaled(0.5), &[1.0; BLOCK], &mut y);
                for (i, (found, y)) in words.iter().zip(y).enumerate() {
                    let counter = index * LANES as u64 + (i % LANES) as u64;
                    let expected = word(key, [counter as u32, (counter >> 32) as u32, 0, 0], i / LANES);
                    assert_eq!(*found, expected, "block {index}, number {i}");
                    assert_eq!(y, if expected < 1 << 31 { 2.0 } else { 0.0 });
                }
            }
        });
    }

    #[test]
    fn numbers_depend_on_their_index_alone() {
        at_every_level(|_| {
            const LEN: usize = 200_003;
            let (key, dropping) = ([9, 8, 7, 6], Dropping { keep: 0.7, scale: 2.0, shift: 0.5, otherwise: -3.0 });
            let x: Vec<f32> = (0..LEN).map(|i| i as f32).collect();
            let [mut y, mut factors, mut noise] = [0; 3].map(|_| vec![7.5; LEN]);
            drop_out(&key, 0, dropping, &x, &mut y);
            dropout_factors(&key, 0, Dropping::scaled(0.7), &mut factors);
            normal(&key, 0, 1.0, 2.0, &mut noise);
            for (i, (y, factor)) in y.iter().zip(&factors).enumerate() {
                assert_eq!(*y, if *factor > 0.0 { x[i] * 2.0 + 0.5 } else { -3.0 });
            }
            for (first, len) in [(0, 1), (1, 5), (63, 66), (64, 64), (1000, 70_000), (LEN - 1, 1)] {
                let [mut part, mut some, mut few] = [0; 3].map(|_| vec![7.5; len]);
                drop_out(&key, first as u64, dropping, &x[first..][..len], &mut part);
                dropout_factors(&key, first as u64, Dropping::scaled(0.7), &mut some);
                normal(&key, first as u64, 1.0, 2.0, &mut few);
                assert_eq!(part, y[first..][..len], "{first} {len}");
                assert_eq!(some, factors[first..][..len], "{first} {len}");
                assert_eq!(few, noise[first..][..len], "{first} {len}");
            }
        });
    }

    #[test]
    fn nothing_is_drawn_for_nothing() {
        drop_out(&[1; 4], 0, Dropping::scaled(0.5), &[], &mut []);
        dropout_factors(&[1; 4], 0, Dropping::scaled(0.5), &mut []);
        normal(&[1; 4], 0, 0.0, 1.0, &mut []);
    }

    #[test]
    fn no_value_is_kept_and_all_are() {
        let mut y = [7.5; 100];
        drop_out(&[1; 4], 0, Dropping { keep: 0.0, ..Dropping::scaled(1.0) }, &[1.0; 100], &mut y);
        assert_eq!(y, [0.0; 100]);
        drop_out(&[1; 4], 0, Dropping::scaled(1.0), &[3.0; 100], &mut y);
        assert_eq!(y, [3.0; 100]);
        drop_out(&[1; 4], 0, Dropping { keep: 0.0, ..Dropping::scaled(1.0) }, &[f32::NAN; 100], &mut y);
        assert_eq!(y, [0.0; 100], "a dropped NaN is 0");
    }

    #[test]
    fn rows_of_a_mask_are_repeated() {
        at_every_level(|_| {
            let dropping = Dropping { keep: 0.5, scale: 2.0, shift: 1.0, otherwise: -1.0 };
            for (outer, middle, inner) in [(3, 4, 5), (40, 30, 32), (2, 3, 1), (300, 200, 1), (1, 7, 3), (0, 3, 2)] {
                let kept: Vec<f32> = (0..outer * inner).map(|i| f32::from(u8::from(i % 3 != 0))).collect();
                let x: Vec<f32> = (0..outer * middle * inner).map(|i| i as f32).collect();
                let mut y = vec![7.5; x.len()];
                drop_out_repeated(&kept, (middle, inner), dropping, &x, &mut y);
                for (i, y) in y.iter().enumerate() {
                    let kept = kept[i / (middle * inner) * inner + i % inner];
                    assert_eq!(*y, if kept == 1.0 { i as f32 * 2.0 + 1.0 } else { -1.0 });
                }
            }
        });
    }

    /// Counts in bins against their expected numbers: χ² of as many bins less one.
    fn chi_squared(counts: &[f64], expected: &[f64]) -> f64 {
        counts.iter().zip(expected).map(|(count, expected)| (count - expected).powi(2) / expected).sum()
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn values_are_kept_with_their_probability_and_independently() {
        const LEN: usize = 1 << 20;
        let mut factors = vec![0.0; LEN];
        for (seed, keep) in [(1, 0.5f64), (2, 0.75), (3, 0.9), (4, 0.1)] {
            dropout_factors(&[seed, 0, 0, 0], 0, Dropping::scaled(keep as f32), &mut factors);
            // Neighbours in memory, in lanes, in words of a counter, and in blocks.
            for apart in [1, 2, LANES, 2 * LANES, BLOCK, 1000] {
                let mut counts = [0.0; 4];
                for i in 0..LEN - apart {
                    counts[2 * usize::from(factors[i] > 0.0) + usize::from(factors[i + apart] > 0.0)] += 1.0;
                }
                let drop = 1.0 - keep;
                let expected = [drop * drop, drop * keep, keep * drop, keep * keep];
                let chi = chi_squared(&counts, &expected.map(|part| part * (LEN - apart) as f64));
                // Of three degrees of freedom (somewhat more, as pairs overlap) 99.9 % are below 16.3.
                assert!(chi < 25.0, "{keep}, {apart} apart: {chi}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "too long for an interpreter")]
    fn normal_numbers_are_normal() {
        at_every_level(|_| {
            const LEN: usize = 1 << 20;
            let mut noise = vec![0.0; LEN];
            normal(&[3, 1, 4, 1], 0, 0.0, 1.0, &mut noise);
            // Φ at multiples of a half.
            let phi = [0.001_349_90, 0.006_209_67, 0.022_750_13, 0.066_807_20, 0.158_655_25, 0.308_537_54, 0.5];
            let below: Vec<f64> = phi.iter().copied().chain(phi.iter().rev().skip(1).map(|phi| 1.0 - phi)).collect();
            let ends: Vec<f64> = [0.0].into_iter().chain(below).chain([1.0]).collect();
            let expected: Vec<f64> = ends.windows(2).map(|ends| (ends[1] - ends[0]) * LEN as f64).collect();
            let mut counts = vec![0.0; expected.len()];
            for number in &noise {
                counts[((number * 2.0 + 7.0).floor().clamp(0.0, 13.0)) as usize] += 1.0;
            }
            let chi = chi_squared(&counts, &expected);
            // Of 13 degrees of freedom 99.9 % are below 34.5.
            assert!(chi < 40.0, "{chi}: {counts:?}");
            let product = |apart: usize| {
                let sum: f64 = (apart..LEN).map(|i| noise[i] as f64 * noise[i - apart] as f64).sum();
                sum / (LEN as f64).sqrt()
            };
            for apart in [1, LANES, 2 * LANES, BLOCK] {
                assert!(product(apart).abs() < 4.5, "{apart} apart: {}", product(apart));
            }
        });
    }

    #[test]
    fn logarithms_are_accurate() {
        use crate::simd::{Baseline, FusedMultiplyAdd};
        for i in (1..=1 << 24).step_by(997).chain([1, 2, 3, 1 << 24]) {
            let u = i as f32 / (1 << 24) as f32;
            for found in [ln_unit::<Baseline>(u), ln_unit::<FusedMultiplyAdd>(u)] {
                let expected = (u as f64).ln();
                assert!((found as f64 - expected).abs() < 3e-7 * expected.abs().max(0.3), "{u}: {found} {expected}");
            }
        }
    }
}
