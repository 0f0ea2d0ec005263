//! Elementwise merging of two values, and scaling.

use super::simd::simd;

/// An elementwise operation of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// `y + x`
    Add,
    /// `y - x`
    Subtract,
    /// `y · x`
    Multiply,
}

/// Merges `x` into `y`, on the calling thread; a shorter `x` is repeated.
///
/// # Panics
/// If the length of `y` is not a multiple of that of `x`.
pub fn merge(merge: Merge, x: &[f32], y: &mut [f32]) {
    assert!(!x.is_empty() && y.len().is_multiple_of(x.len()), "the values are not a whole number of times the others");
    match merge {
        Merge::Add => add(x, y),
        Merge::Subtract => subtract(x, y),
        Merge::Multiply => multiply(x, y),
    }
}

/// `y = y · factor + summand` for rows as long as the factors and the summands, on the calling thread.
///
/// # Panics
/// If the numbers of factors and summands differ.
pub fn scale(factors: &[f32], summands: &[f32], y: &mut [f32]) {
    assert_eq!(factors.len(), summands.len(), "factors and summands differ in number");
    if !factors.is_empty() {
        scale_rows(factors, summands, y);
    }
}

/// Numbers repeated for [`scale`], to at least 64 of them: a shorter row does not fill the vectors.
pub fn repeated(numbers: Vec<f32>) -> Vec<f32> {
    numbers.repeat(64usize.div_ceil(numbers.len().max(1)))
}

macro_rules! merging {
    ($name:ident, $y:ident, $x:ident => $value:expr) => {
        simd! {
            fn $name<I>(x: &[f32], y: &mut [f32]) {
                for y in y.chunks_exact_mut(x.len()) {
                    for (value, $x) in y.iter_mut().zip(x) {
                        let $y = *value;
                        *value = $value;
                    }
                }
            }
        }
    };
}
merging!(add, y, x => y + x);
merging!(subtract, y, x => y - x);
merging!(multiply, y, x => y * x);

simd! {
    fn scale_rows<I>(factors: &[f32], summands: &[f32], y: &mut [f32]) {
        for y in y.chunks_mut(factors.len()) {
            for (value, (factor, summand)) in y.iter_mut().zip(factors.iter().zip(summands)) {
                // Rounded twice, like the two operations that it replaces.
                *value = *value * *factor + *summand;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::at_every_level;

    #[test]
    fn shorter_values_are_repeated() {
        at_every_level(|_| {
            let x: Vec<f32> = (0..37).map(|i| i as f32).collect();
            for (how, expected) in
                [(Merge::Add, [3.0, 5.0]), (Merge::Subtract, [3.0, 1.0]), (Merge::Multiply, [0.0, 6.0])]
            {
                let mut y = [[3.0; 37], [3.0; 37]].concat();
                merge(how, &x, &mut y);
                assert_eq!([y[0], y[2]], expected);
                assert_eq!(y[..37], y[37..]);
            }
            let mut y = vec![1.0, 2.0, 3.0, 4.0, 5.0];
            scale(&[2.0, 10.0], &[1.0, 0.0], &mut y);
            assert_eq!(y, [3.0, 20.0, 7.0, 40.0, 11.0]);
        });
    }
}
