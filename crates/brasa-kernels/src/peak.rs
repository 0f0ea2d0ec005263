//! The machine's peak rate of multiply-adds, against which the kernels' speed is measured.

use std::time::Instant;

use super::simd::{Isa, simd};

/// Independent accumulators: enough to keep two units with four steps of latency busy.
const CHAINS: usize = 12;
/// Steps in a round.
const ROWS: usize = 8;

type Sums<const W: usize> = [[f32; W]; CHAINS];
type Factors<const W: usize> = [[f32; W]; ROWS];

/// Measurements of a rate; the best counts.
const TRIES: usize = 5;
/// Shortest duration of one measurement, in seconds.
const LONG: f64 = 0.02;

/// `sums = sums · factors + factors`.
///
/// Indices, as without link-time optimisation (the development profile) iterators keep it from being vectorized.
#[allow(clippy::needless_range_loop)]
#[inline(always)]
fn step<I: Isa, const W: usize>(sums: &mut [f32; W], factors: &[f32; W]) {
    for index in 0..W {
        sums[index] = I::mul_add(sums[index], factors[index], factors[index]);
    }
}

/// One step for all sums and each row of factors, `rounds` times.
macro_rules! chains {
    ($name:ident, $width:literal) => {
        simd! {
            fn $name<I>(factors: &Factors<$width>, sums: &mut Sums<$width>, rounds: usize) {
                // Separate variables, so that the compiler makes each a vector register instead of all together an
                // array in memory.
                let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h, mut i, mut j, mut k, mut l] = *sums;
                for _ in 0..rounds {
                    for row in factors {
                        step::<I, $width>(&mut a, row);
                        step::<I, $width>(&mut b, row);
                        step::<I, $width>(&mut c, row);
                        step::<I, $width>(&mut d, row);
                        step::<I, $width>(&mut e, row);
                        step::<I, $width>(&mut f, row);
                        step::<I, $width>(&mut g, row);
                        step::<I, $width>(&mut h, row);
                        step::<I, $width>(&mut i, row);
                        step::<I, $width>(&mut j, row);
                        step::<I, $width>(&mut k, row);
                        step::<I, $width>(&mut l, row);
                    }
                }
                *sums = [a, b, c, d, e, f, g, h, i, j, k, l];
            }
        }
    };
}
// The width that just fills the registers depends on the instruction set; the fastest is taken.
chains!(chains_of_4, 4);
chains!(chains_of_8, 8);
chains!(chains_of_16, 16);

/// Floating-point operations a second of all threads of the current rayon pool together, each on numbers in registers;
/// a multiply-add counts as two. Takes about half a second, during which every thread of the pool must be free to
/// compute.
pub fn operations_per_second() -> f64 {
    let rates = [
        best(4, |rounds| chain([[0.0; 4]; CHAINS], |sums| chains_of_4(&[[0.5; 4]; ROWS], sums, rounds))),
        best(8, |rounds| chain([[0.0; 8]; CHAINS], |sums| chains_of_8(&[[0.5; 8]; ROWS], sums, rounds))),
        best(16, |rounds| chain([[0.0; 16]; CHAINS], |sums| chains_of_16(&[[0.5; 16]; ROWS], sums, rounds))),
    ];
    rates.into_iter().fold(0.0, f64::max)
}

/// Bytes a second that all threads of the current rayon pool together read from and write to main memory, by copying
/// far more than fits in caches. Takes about half a second, during which every thread must be free to compute.
pub fn bytes_per_second() -> f64 {
    /// Bytes that a thread copies: together with the copy well above the share of the last-level cache of a thread.
    const BYTES: usize = 64 << 20;
    let from = vec![1.0f32; BYTES / size_of::<f32>()];
    let copies = rayon::broadcast(|_| std::sync::Mutex::new(vec![0.0f32; from.len()]));
    let rate = |_| {
        let begin = Instant::now();
        let threads = rayon::broadcast(|context| {
            // Each thread has its own copy; without one, it copies nothing.
            let Some(Ok(mut copy)) = copies.get(context.index()).map(std::sync::Mutex::lock) else { return };
            copy.copy_from_slice(std::hint::black_box(&from));
            std::hint::black_box(&mut *copy);
        });
        (2 * BYTES * threads.len()) as f64 / begin.elapsed().as_secs_f64()
    };
    (0..TRIES).map(rate).fold(0.0, f64::max)
}

/// Keeps the compiler from eliminating unused results.
fn chain<T>(mut sums: T, work: impl FnOnce(&mut T)) {
    work(std::hint::black_box(&mut sums));
    std::hint::black_box(&mut sums);
}

/// The best rate of the chains of one width.
fn best(width: usize, work: impl Fn(usize) + Sync) -> f64 {
    let seconds = |rounds: usize| {
        let begin = Instant::now();
        let threads = rayon::broadcast(|_| work(rounds)).len();
        (begin.elapsed().as_secs_f64(), threads)
    };
    // The shortest of several, as waiting for a thread is no work.
    let shortest = |rounds: usize| (0..TRIES).map(|_| seconds(rounds).0).fold(f64::INFINITY, f64::min);
    let mut rounds = 1 << 10;
    while shortest(rounds) < LONG && rounds < usize::MAX >> 2 {
        rounds *= 2;
    }
    let rate = |_| {
        let (seconds, threads) = seconds(rounds);
        (2 * width * CHAINS * ROWS * rounds * threads) as f64 / seconds
    };
    (0..TRIES).map(rate).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::at_every_level;

    #[test]
    fn chains_compute_what_is_counted() {
        at_every_level(|_| {
            // From 0, each of the 2 · 8 steps halves the distance to 1.
            let expected = 1.0 - 0.5_f32.powi(16);
            let (mut narrow, mut middle, mut wide) = ([[0.0; 4]; CHAINS], [[0.0; 8]; CHAINS], [[0.0; 16]; CHAINS]);
            chains_of_4(&[[0.5; 4]; ROWS], &mut narrow, 2);
            chains_of_8(&[[0.5; 8]; ROWS], &mut middle, 2);
            chains_of_16(&[[0.5; 16]; ROWS], &mut wide, 2);
            assert_eq!(narrow, [[expected; 4]; CHAINS]);
            assert_eq!(middle, [[expected; 8]; CHAINS]);
            assert_eq!(wide, [[expected; 16]; CHAINS]);
        });
    }
}
