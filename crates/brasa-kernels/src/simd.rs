//! One source for every instruction set, with runtime dispatch.
//!
//! A function written inside `simd!` is compiled once for each level of the target and dispatched at each call. The
//! bodies are plain loops over slices, which the compiler vectorizes for the level.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that kernels are compiled for, from the least to the most capable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// The target's baseline: SSE2 on x86-64, NEON on aarch64.
    Baseline = 1,
    /// AVX2 with fused multiply-add, 8 values at a time.
    Avx2 = 2,
    /// AVX-512 (F, VL, BW, DQ), 16 values at a time.
    Avx512 = 3,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Avx512];

    /// The name in messages and in `BRASA_SIMD`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

/// The level in use; 0 before the first query.
static CURRENT: AtomicU8 = AtomicU8::new(0);

/// The most capable level of this processor.
pub fn detected() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let fma = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        if fma && wide {
            return Level::Avx512;
        }
        if fma {
            return Level::Avx2;
        }
    }
    Level::Baseline
}

/// The level that kernels use now.
#[inline]
pub fn level() -> Level {
    match CURRENT.load(Ordering::Relaxed) {
        3 => Level::Avx512,
        2 => Level::Avx2,
        1 => Level::Baseline,
        _ => set_level(detected()),
    }
}

/// Sets the level for all kernels called from now on by any thread: `wanted`, or the most capable level of this
/// processor if that is lower. Returns the level set. Meant for tests and measurements.
pub fn set_level(wanted: Level) -> Level {
    let level = wanted.min(detected());
    CURRENT.store(level as u8, Ordering::Relaxed);
    level
}

/// Properties of the level that a body is compiled for.
pub trait Isa {
    /// Whether [`Isa::mul_add`] is one instruction.
    const FUSED: bool;

    /// `a * b + c`; rounded once where the level has the instruction, twice where it would be a library call.
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        if Self::FUSED { a.mul_add(b, c) } else { a * b + c }
    }
}

/// The target's baseline.
pub struct Baseline;
/// A level with fused multiply-add.
pub struct FusedMultiplyAdd;

impl Isa for Baseline {
    const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
}
impl Isa for FusedMultiplyAdd {
    const FUSED: bool = true;
}

/// Defines a function whose body is compiled for every level and dispatched at run time.
///
/// The first type parameter stands for the level ([`Isa`]) and can be used in the body; others are the function's own.
macro_rules! simd {
    (
        $(#[$meta:meta])*
        $vis:vis fn $name:ident<$isa:ident $(, $g:ident: $bound:path)*>($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block
    ) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            #[allow(clippy::extra_unused_type_parameters, clippy::too_many_arguments)]
            fn body<$isa: $crate::simd::Isa $(, $g: $bound)*>($($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx512<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::FusedMultiplyAdd $(, $g)*>($($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            #[allow(clippy::too_many_arguments)]
            fn avx2<$($g: $bound),*>($($arg: $ty),*) $(-> $ret)? {
                body::<$crate::simd::FusedMultiplyAdd $(, $g)*>($($arg),*)
            }

            match $crate::simd::level() {
                // SAFETY: `level` never exceeds the level detected on this processor.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512::<$($g),*>($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2::<$($g),*>($($arg),*) },
                _ => body::<$crate::simd::Baseline $(, $g)*>($($arg),*),
            }
        }
    };
}
pub(crate) use simd;

/// Runs `check` at every level of this processor, then restores the level. Tests that compare bits take the same lock.
#[cfg(test)]
pub fn at_every_level(mut check: impl FnMut(Level)) {
    let _alone = test_lock();
    for wanted in [Level::Baseline, Level::Avx2, Level::Avx512] {
        if set_level(wanted) == wanted {
            check(wanted);
        }
    }
    set_level(detected());
}

/// Keeps other tests from changing the level while it is held.
#[cfg(test)]
pub fn test_lock() -> std::sync::MutexGuard<'static, ()> {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    simd! {
        fn axpy<I>(scale: f32, x: &[f32], y: &mut [f32]) {
            for (y, x) in y.iter_mut().zip(x) {
                *y = I::mul_add(scale, *x, *y);
            }
        }
    }

    #[test]
    fn every_level_computes_the_same() {
        at_every_level(|wanted| {
            assert_eq!(level(), wanted);
            let x: Vec<f32> = (0..37).map(|i| i as f32).collect();
            let mut y = vec![1.0; 37];
            axpy(2.0, &x, &mut y);
            assert!(y.iter().enumerate().all(|(i, y)| *y == 2.0 * i as f32 + 1.0));
        });
    }

    #[test]
    fn a_level_beyond_the_processor_is_not_set() {
        let _alone = test_lock();
        assert!(set_level(Level::Avx512) <= detected());
        set_level(detected());
    }
}
