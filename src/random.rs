//! Random numbers as pure functions of their rng keys, so that runs can be repeated and resumed.

use std::convert::Infallible;
use std::ops::Range;

use rand::{Rng, RngExt, SeedableRng, TryRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// A stream of random numbers that is a function of its rng key: see [`Call::rng`](crate::layers::Call::rng).
///
/// It implements the generator traits of the crate `rand` (0.10), and has methods for the usual distributions.
#[derive(Clone, Debug)]
pub struct Random {
    stream: ChaCha8Rng,
    part: Rows,
}

/// The rows of a batch that a pass computes: all of them, or a part in distributed training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rows {
    /// The number of rows before these.
    pub first: usize,
    /// Their number.
    pub count: usize,
}

/// Where random numbers are that a kernel draws.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws {
    /// The key of their stream.
    pub key: [u32; 4],
    /// The index of the first number.
    pub first: u64,
}

impl Random {
    /// The stream of these parts: the same parts give the same numbers, other parts independent ones. A training loop
    /// of one's own may take `[seed, step, layer]`, as layers do, or `[seed, epoch]` for an order of samples.
    ///
    /// ```
    /// use brasa::Random;
    /// let draw = |parts: &[u64]| Random::new(parts).uniform(0.0..1.0);
    /// assert_eq!(draw(&[7, 0]), draw(&[7, 0]));
    /// assert_ne!(draw(&[7, 0]), draw(&[7, 1]));
    /// ```
    pub fn new(parts: &[u64]) -> Self {
        random(parts)
    }

    /// The same for a part of a batch; see [`skip_rows`](Self::skip_rows).
    pub(crate) fn of_part(self, part: Rows) -> Self {
        Self { part, ..self }
    }

    /// In [distributed](crate::distributed) training passes over the draws of the samples that ranks before this one
    /// have, else does nothing. `numbers` is how many draws follow for this rank's samples, as many for each of them:
    /// one per element of the input, say, and not one per row. By [`uniform`](Self::uniform) or
    /// [`happens`](Self::happens) they are then those of one process.
    ///
    /// Other draws take a varying part of the stream and cannot be passed over. For normally distributed noise call
    /// `GaussianNoise::new(stddev).forward(input, call)?` in the layer's own `forward`.
    ///
    /// ```
    /// use brasa::Random;
    /// // In a layer: `call.rng(seed)`, and the number of elements of its input.
    /// let (mut random, elements) = (Random::new(&[7, 0]), 6);
    /// random.skip_rows(elements);
    /// let noise: Vec<f32> = (0..elements).map(|_| random.uniform(-0.1..0.1)).collect();
    /// # assert_eq!(noise[0], Random::new(&[7, 0]).uniform(-0.1..0.1));
    /// ```
    pub fn skip_rows(&mut self, numbers: usize) {
        let before = self.draws_before(numbers) as u128;
        self.stream.set_word_pos(self.stream.get_word_pos() + before);
    }

    /// The number of draws before those of this part; see [`skip_rows`](Self::skip_rows).
    pub(crate) fn draws_before(&self, numbers: usize) -> usize {
        let Rows { first, count } = self.part;
        if count > 0 && numbers.is_multiple_of(count) { first.saturating_mul(numbers / count) } else { 0 }
    }

    /// A number drawn uniformly from `range`, its end excluded.
    ///
    /// ```
    /// let number = brasa::Random::new(&[7]).uniform(-1.0..1.0);
    /// assert!((-1.0..1.0).contains(&number));
    /// ```
    pub fn uniform(&mut self, range: Range<f32>) -> f32 {
        range.start + (range.end - range.start) * self.stream.random::<f32>()
    }

    /// A normally distributed number with this mean and standard deviation; [`skip_rows`](Self::skip_rows) does not
    /// pass over such draws.
    ///
    /// ```
    /// let mut random = brasa::Random::new(&[7]);
    /// let noise: Vec<f32> = (0..1000).map(|_| random.normal(0.0, 0.5)).collect();
    /// assert!((noise.iter().sum::<f32>() / 1000.0).abs() < 0.1);
    /// ```
    pub fn normal(&mut self, mean: f32, stddev: f32) -> f32 {
        let number: f32 = StandardNormal.sample(&mut self.stream);
        mean + stddev * number
    }

    /// A Bernoulli draw: `true` with this probability, from 0 to 1.
    ///
    /// ```
    /// let mut random = brasa::Random::new(&[7]);
    /// assert!(random.happens(1.0) && !random.happens(0.0));
    /// ```
    pub fn happens(&mut self, probability: f32) -> bool {
        self.stream.random::<f32>() < probability
    }

    /// Where the numbers of a mask of the sizes `noise` are, for values of the sizes `sizes`. A mask with a row for each
    /// sample is that of the rows of this part of the batch, one that is drawn for the whole batch the same in each.
    pub(crate) fn draws(&mut self, noise: &[usize], sizes: &[usize]) -> Draws {
        let key = std::array::from_fn(|_| self.stream.next_u32());
        let by_rows = noise.first() == sizes.first();
        Draws { key, first: if by_rows { self.draws_before(noise.iter().product()) as u64 } else { 0 } }
    }

    /// An integer from 0, below `end`; 0 if that is 0.
    ///
    /// ```
    /// assert!(brasa::Random::new(&[7]).below(6) < 6);
    /// ```
    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.stream.random_range(0..end) }
    }
}

impl TryRng for Random {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.stream.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.stream.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.stream.try_fill_bytes(bytes)
    }
}

/// The stream of one key, in the public type.
pub(crate) fn random(parts: &[u64]) -> Random {
    Random { stream: stream(parts), part: Rows::default() }
}

/// The generator of one key: equal parts give equal numbers, other parts independent ones.
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

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014) after its increment: a bijection that mixes bits.
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
    fn parts_of_a_batch_draw_the_numbers_of_the_whole() {
        let draws = |first: usize, count: usize, noise: &[usize]| {
            random(&[7, 1]).of_part(Rows { first, count }).draws(noise, &[count, 4, 3])
        };
        let whole = draws(0, 6, &[6, 4, 3]);
        let part = draws(2, 3, &[3, 4, 3]);
        assert_eq!((whole.first, part.first, whole.key), (0, 2 * 12, part.key));
        // A mask for the whole batch is the same in each part.
        assert_eq!(draws(2, 3, &[1, 4, 3]).first, 0);
        assert_eq!(draws(2, 3, &[3, 1, 3]).first, 2 * 3);
        let (mut one, mut other) = (random(&[7, 1]), random(&[7, 2]));
        assert_ne!(one.draws(&[6], &[6]).key, one.draws(&[6], &[6]).key, "each mask has a key of its own");
        assert_ne!(random(&[7, 1]).draws(&[6], &[6]).key, other.draws(&[6], &[6]).key);
    }

    #[test]
    fn draws_come_from_the_generator() {
        let (mut ours, mut plain) = (random(&[3]), stream(&[3]));
        assert_eq!(ours.random::<u64>(), plain.random::<u64>());
        let drawn: Vec<f32> = (0..1000).map(|_| ours.uniform(-2.0..3.0)).collect();
        assert!(drawn.iter().all(|number| (-2.0..3.0).contains(number)));
        assert!((drawn.iter().sum::<f32>() / 1000.0 - 0.5).abs() < 0.2);
        let normal: Vec<f32> = (0..1000).map(|_| ours.normal(1.0, 0.5)).collect();
        assert!((normal.iter().sum::<f32>() / 1000.0 - 1.0).abs() < 0.1);
        assert_eq!((ours.below(1), ours.below(0), ours.happens(1.0), ours.happens(0.0)), (0, 0, true, false));
    }

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |parts: &[u64]| stream(parts).random::<u64>();
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
        assert_ne!(draw(&[1]), draw(&[1, 0]));
    }
}
