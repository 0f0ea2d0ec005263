//! Elementary functions without branches or library calls, so that loops over them become vector instructions.
//!
//! Each is accurate to about 2·10⁻⁷, relative to the true value, and propagates NaN.

use super::simd::Isa;

/// eˣ: x = n·ln 2 + r with |r| ≤ ln 2 / 2, eˣ = 2ⁿ·eʳ, eʳ by its Taylor polynomial.
#[inline(always)]
pub fn exp<I: Isa>(x: f32) -> f32 {
    /// Adding it leaves the nearest integer in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    /// ln 2 in two parts, the first with few enough digits that n times it is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];

    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let rounded = I::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = I::mul_add(n, -LN_2[1], I::mul_add(n, -LN_2[0], x));
    let p = I::mul_add(r, 1.0 / 5040.0, 1.0 / 720.0);
    let p = I::mul_add(p, r, 1.0 / 120.0);
    let p = I::mul_add(p, r, 1.0 / 24.0);
    let p = I::mul_add(p, r, 1.0 / 6.0);
    let p = I::mul_add(p, r, 0.5);
    let p = I::mul_add(p, r, 1.0);
    let p = I::mul_add(p, r, 1.0);
    // In two factors: 2ⁿ alone can be outside the range of normal numbers.
    let n = (rounded.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32).wrapping_shl(23));
    let half = n >> 1;
    p * power(half) * power(n.wrapping_sub(half))
}

/// ln(1 + u) for u in 0..=1: 2·artanh(s) with s = u / (2 + u) ≤ 1/3, by its series.
#[inline(always)]
pub fn ln_1p_unit<I: Isa>(u: f32) -> f32 {
    let s = u / (2.0 + u);
    let z = s * s;
    let p = I::mul_add(z, 1.0 / 15.0, 1.0 / 13.0);
    let p = I::mul_add(p, z, 1.0 / 11.0);
    let p = I::mul_add(p, z, 1.0 / 9.0);
    let p = I::mul_add(p, z, 1.0 / 7.0);
    let p = I::mul_add(p, z, 1.0 / 5.0);
    let p = I::mul_add(p, z, 1.0 / 3.0);
    2.0 * I::mul_add(p * z, s, s)
}

/// 1 / (1 + e⁻ˣ).
#[inline(always)]
pub fn sigmoid<I: Isa>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<I>(-x))
}

/// tanh x: near zero an odd polynomial fitted to it (Chebyshev), else through e²ˣ.
#[inline(always)]
pub fn tanh<I: Isa>(x: f32) -> f32 {
    let z = x * x;
    let p = I::mul_add(z, 2.344_931_2e-3, -8.388_774e-3);
    let p = I::mul_add(p, z, 2.178_224_7e-2);
    let p = I::mul_add(p, z, -5.396_085_4e-2);
    let p = I::mul_add(p, z, 1.333_331e-1);
    let p = I::mul_add(p, z, -3.333_333_3e-1);
    let near = I::mul_add(p * z, x, x);
    let far = 1.0 - 2.0 / (exp::<I>(2.0 * x.abs()) + 1.0);
    if x.abs() < 0.6 { near } else { far.copysign(x) }
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|).
#[inline(always)]
pub fn softplus<I: Isa>(x: f32) -> f32 {
    let positive = if x < 0.0 { 0.0 } else { x };
    positive + ln_1p_unit::<I>(exp::<I>(-x.abs()))
}

/// The normal distribution function, Φ(x) = erfc(-x / √2) / 2, with erfc(z) = t·exp(-z² + Q(t)), t = 1 / (1 + z/2), for
/// z ≥ 0 and Q a polynomial fitted to it (Chebyshev, to 10⁻⁷).
#[inline(always)]
pub fn normal_cdf<I: Isa>(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / I::mul_add(z, 0.5, 1.0);
    let q = I::mul_add(t, 0.180_421_16, -0.867_936_3);
    let q = I::mul_add(q, t, 1.581_110_6);
    let q = I::mul_add(q, t, -1.237_846_4);
    let q = I::mul_add(q, t, 0.346_689_52);
    let q = I::mul_add(q, t, -0.213_482_59);
    let q = I::mul_add(q, t, 0.103_223_69);
    let q = I::mul_add(q, t, 0.373_261);
    let q = I::mul_add(q, t, 1.000_072_4);
    let q = I::mul_add(q, t, -1.265_513);
    let tail = 0.5 * t * exp::<I>(I::mul_add(z, -z, q));
    if x < 0.0 { tail } else { 1.0 - tail }
}

/// The sine and the cosine of a part of a turn, 2π·t for t in 0..1: by quarters, and in each −π/4..π/4 by Taylor
/// polynomials, accurate to about 10⁻⁷ of the unit.
#[inline(always)]
pub fn sin_cos_turns<I: Isa>(t: f32) -> (f32, f32) {
    let quarter = (t * 4.0 + 0.5) as i32;
    let x = (t - quarter as f32 * 0.25) * std::f32::consts::TAU;
    let z = x * x;
    let p = I::mul_add(z, 1.0 / 362_880.0, -1.0 / 5040.0);
    let p = I::mul_add(p, z, 1.0 / 120.0);
    let p = I::mul_add(p, z, -1.0 / 6.0);
    let sine = I::mul_add(p * z, x, x);
    let p = I::mul_add(z, 1.0 / 40_320.0, -1.0 / 720.0);
    let p = I::mul_add(p, z, 1.0 / 24.0);
    let p = I::mul_add(p, z, -0.5);
    let cosine = I::mul_add(p, z, 1.0);
    let (s, c) = if quarter & 1 == 0 { (sine, cosine) } else { (cosine, sine) };
    (if quarter & 2 == 0 { s } else { -s }, if (quarter + 1) & 2 == 0 { c } else { -c })
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Baseline, FusedMultiplyAdd};
    use super::*;

    /// Largest relative error over a range, against the same function in double precision.
    fn error(f: fn(f32) -> f32, reference: fn(f64) -> f64, from: f32, to: f32) -> f64 {
        let points = if cfg!(miri) { 100 } else { 20_000 };
        let at = |i: i32| from + (to - from) * i as f32 / points as f32;
        (0..=points)
            .map(|i| ((f(at(i)) as f64 - reference(at(i) as f64)) / reference(at(i) as f64)).abs())
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_is_accurate() {
        assert!(error(exp::<Baseline>, f64::exp, -87.0, 88.7) < 3e-7);
        assert!(error(exp::<FusedMultiplyAdd>, f64::exp, -87.0, 88.7) < 3e-7);
        assert_eq!([exp::<Baseline>(200.0), exp::<Baseline>(-200.0), exp::<Baseline>(0.0)], [f32::INFINITY, 0.0, 1.0]);
        assert_eq!([exp::<Baseline>(f32::INFINITY), exp::<Baseline>(f32::NEG_INFINITY)], [f32::INFINITY, 0.0]);
        assert!(exp::<Baseline>(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_and_tanh_are_accurate() {
        assert!(error(sigmoid::<Baseline>, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 30.0) < 4e-7);
        assert!(error(tanh::<Baseline>, f64::tanh, 1e-6, 20.0) < 3e-7);
        assert!(error(tanh::<FusedMultiplyAdd>, f64::tanh, -1.0, -1e-6) < 3e-7);
        assert_eq!([tanh::<Baseline>(100.0), tanh::<Baseline>(-100.0), tanh::<Baseline>(0.0)], [1.0, -1.0, 0.0]);
        assert!(tanh::<Baseline>(f32::NAN).is_nan());
    }

    #[test]
    fn softplus_is_accurate() {
        assert!(error(softplus::<Baseline>, |x| x.exp().ln_1p(), -80.0, 80.0) < 4e-7);
    }

    #[test]
    fn normal_cdf_is_accurate() {
        // Φ(x) = 1/2 + φ(x)·(x + x³/3 + x⁵/15 + …), a series of positive terms for x > 0.
        fn reference(x: f64) -> f64 {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= x * x / (2 * n + 1) as f64;
                sum += term;
            }
            0.5 + sum * (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt()
        }
        assert!(error(normal_cdf::<Baseline>, reference, -4.0, 6.0) < 2e-6);
    }

    #[test]
    fn sines_and_cosines_are_accurate() {
        for i in 0..if cfg!(miri) { 100 } else { 100_000 } {
            let t = i as f32 / 100_000.0;
            let (sine, cosine) = (t as f64 * std::f64::consts::TAU).sin_cos();
            for (s, c) in [sin_cos_turns::<Baseline>(t), sin_cos_turns::<FusedMultiplyAdd>(t)] {
                assert!((s as f64 - sine).abs() < 3e-7 && (c as f64 - cosine).abs() < 3e-7, "{t}: {s} {c}");
            }
        }
    }
}
