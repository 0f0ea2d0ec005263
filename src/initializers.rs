//! Initializers of weights, with Keras's names, defaults and formulas.
//!
//! Random streams cannot equal Keras's; the distributions do (tested by statistics).

mod stft;

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use crate::config::describe_enum;
use crate::error::{Error, Result};
use crate::memory;
use crate::random::stream;

pub use stft::WindowFunction;

describe_enum! {
    /// An initializer of a weight.
    ///
    /// ```
    /// use brasa::initializers::Initializer;
    /// assert_eq!(Initializer::from("he_normal"), Initializer::HeNormal { seed: None });
    /// ```
    pub enum Initializer: "initializer" in "keras.initializers",
    ignoring ["input_axes", "output_axes", "dtype"],
    aliases [
        ("OrthogonalInitializer", "Orthogonal"), ("IdentityInitializer", "Identity"), ("uniform", "RandomUniform"),
        ("normal", "RandomNormal"), ("zero", "Zeros"), ("one", "Ones"), ("STFTInitializer", "STFT"),
    ], {
        /// All 0.
        Zeros {},
        /// All 1.
        Ones {},
        /// All the same value.
        Constant {
            /// The value.
            value: f32 = 0.0,
        },
        /// Normally distributed.
        RandomNormal {
            /// The mean.
            mean: f32 = 0.0,
            /// The standard deviation.
            stddev: f32 = 0.05,
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Uniformly distributed.
        RandomUniform {
            /// The lower bound.
            minval: f32 = -0.05,
            /// The upper bound.
            maxval: f32 = 0.05,
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Normally distributed, redrawn beyond two standard deviations.
        TruncatedNormal {
            /// The mean.
            mean: f32 = 0.0,
            /// The standard deviation before truncation.
            stddev: f32 = 0.05,
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Scaled by fan-in or fan-out.
        VarianceScaling {
            /// The factor of the variance.
            scale: f32 = 1.0,
            /// `fan_in`, `fan_out` or `fan_avg`.
            mode: String = "fan_in".into(),
            /// `truncated_normal`, `untruncated_normal` or `uniform`.
            distribution: String = "truncated_normal".into(),
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Uniform in ±√(6 / (fan_in + fan_out)) (Glorot and Bengio 2010).
        GlorotUniform {
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Truncated normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio 2010).
        GlorotNormal {
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Uniform in ±√(6 / fan_in) (He et al. 2015).
        HeUniform {
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Truncated normal with variance 2 / fan_in (He et al. 2015).
        HeNormal {
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Uniform in ±√(3 / fan_in) (LeCun et al. 1998).
        LecunUniform {
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// Truncated normal with variance 1 / fan_in (LeCun et al. 1998).
        LecunNormal {
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// An orthogonal matrix (Saxe et al. 2013); all dimensions but the last are flattened to rows. The cost is the
        /// square of the smaller number of rows and columns times the larger one. A cost above 2³⁸, that of an LSTM of
        /// 4096 units, takes more than minutes and is refused.
        Orthogonal {
            /// A factor.
            gain: f32 = 1.0,
            /// Its own seed, in place of the model's.
            seed: Option<u64> = None,
        },
        /// 1 on the diagonal, for square matrices.
        Identity {
            /// A factor.
            gain: f32 = 1.0,
        },
        /// The kernel of a convolution that computes the real or imaginary part of a short-time Fourier transform, of
        /// sizes (samples of a frame, 1, frequencies): `window · cos(2π · time · frequency)`, or `-sin`.
        STFT {
            /// `real` or `imag`.
            side: String = "real".into(),
            /// The window; `None` is a rectangular one.
            window: Option<WindowFunction> = Some(WindowFunction::Name("hann".into())),
            /// The normalization of the kernel: by the root of the window's sum of squares (`density`), by its sum
            /// (`spectrum`), or none.
            scaling: Option<String> = Some("density".into()),
            /// Whether the window is periodic rather than symmetric.
            periodic: bool = false,
        },
    }
}

impl Initializer {
    /// Whether it scales its values by fan-in or fan-out.
    pub(crate) fn scales(&self) -> bool {
        matches!(
            self,
            Self::VarianceScaling { .. }
                | Self::GlorotUniform { .. }
                | Self::GlorotNormal { .. }
                | Self::HeUniform { .. }
                | Self::HeNormal { .. }
                | Self::LecunUniform { .. }
                | Self::LecunNormal { .. }
        )
    }

    /// The workspace of [`values`](Self::values) in values, besides its result, for a weight of `count` values.
    pub(crate) fn scratch(&self, count: usize) -> usize {
        match self {
            Self::Orthogonal { .. } => count.saturating_mul(ORTHOGONAL_COPIES - 1),
            _ => 0,
        }
    }

    /// Values for a weight of the given sizes, in row-major order.
    ///
    /// `key` is the rng key if the initializer has no seed of its own: the model's seed, the layer and the weight.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for an unknown name, [`Error::Argument`] for arguments that are invalid for the sizes.
    pub fn values(&self, sizes: &[usize], key: &[u64]) -> Result<Vec<f32>> {
        self.check()?;
        let count = sizes.iter().product();
        let rng = |seed: &Option<u64>| seed.map_or_else(|| stream(key), |seed| stream(&[seed]));
        let scaled = |scale, fan, shape, seed| {
            let scale = scale / fans(sizes).of(fan).max(1.0);
            draw_scaled(scale, shape, count, &mut rng(seed))
        };
        Ok(match self {
            Self::Zeros {} => vec![0.0; count],
            Self::Ones {} => vec![1.0; count],
            Self::Constant { value } => vec![*value; count],
            Self::RandomNormal { mean, stddev, seed } => normal(*mean, *stddev, count, &mut rng(seed)),
            Self::RandomUniform { minval, maxval, seed } => {
                if minval > maxval {
                    return Err(Error::argument("minval", format!("at most maxval={maxval}"), minval));
                }
                uniform(*minval, *maxval, count, &mut rng(seed))
            }
            Self::TruncatedNormal { mean, stddev, seed } => truncated_normal(*mean, *stddev, count, &mut rng(seed)),
            Self::VarianceScaling { scale, mode, distribution, seed } => {
                if *scale <= 0.0 {
                    return Err(Error::argument("scale", "a number above 0", scale));
                }
                scaled(*scale, fan(mode)?, shape(distribution)?, seed)
            }
            Self::GlorotUniform { seed } => scaled(1.0, Fan::Average, DistributionKind::Uniform, seed),
            Self::GlorotNormal { seed } => scaled(1.0, Fan::Average, DistributionKind::TruncatedNormal, seed),
            Self::HeUniform { seed } => scaled(2.0, Fan::In, DistributionKind::Uniform, seed),
            Self::HeNormal { seed } => scaled(2.0, Fan::In, DistributionKind::TruncatedNormal, seed),
            Self::LecunUniform { seed } => scaled(1.0, Fan::In, DistributionKind::Uniform, seed),
            Self::LecunNormal { seed } => scaled(1.0, Fan::In, DistributionKind::TruncatedNormal, seed),
            Self::Orthogonal { gain, seed } => orthogonal(sizes, *gain, &mut rng(seed))?,
            Self::Identity { gain } => identity(sizes, *gain)?,
            Self::STFT { side, window, scaling, periodic } => {
                stft::stft(sizes, side, window.as_ref(), scaling.as_deref(), *periodic)?
            }
            Self::Unknown(_) => unreachable!("checked above"),
        })
    }
}

/// Keras's fans: for a kernel the product of the window times inputs or outputs; for a vector its length.
struct Fans {
    fan_in: f32,
    fan_out: f32,
}

impl Fans {
    fn of(&self, fan: Fan) -> f32 {
        match fan {
            Fan::In => self.fan_in,
            Fan::Out => self.fan_out,
            Fan::Average => (self.fan_in + self.fan_out) / 2.0,
        }
    }
}

fn fans(sizes: &[usize]) -> Fans {
    let (fan_in, fan_out) = match sizes {
        [] => (1, 1),
        [length] => (*length, *length),
        [window @ .., inputs, outputs] => {
            let window: usize = window.iter().product();
            (inputs * window, outputs * window)
        }
    };
    Fans { fan_in: fan_in as f32, fan_out: fan_out as f32 }
}

#[derive(Clone, Copy)]
enum Fan {
    In,
    Out,
    Average,
}

fn fan(mode: &str) -> Result<Fan> {
    match mode {
        "fan_in" => Ok(Fan::In),
        "fan_out" => Ok(Fan::Out),
        "fan_avg" => Ok(Fan::Average),
        other => Err(Error::unknown("mode", other, ["fan_in", "fan_out", "fan_avg"])),
    }
}

#[derive(Clone, Copy)]
enum DistributionKind {
    TruncatedNormal,
    Normal,
    Uniform,
}

fn shape(distribution: &str) -> Result<DistributionKind> {
    match distribution.to_lowercase().as_str() {
        "normal" | "truncated_normal" => Ok(DistributionKind::TruncatedNormal),
        "untruncated_normal" => Ok(DistributionKind::Normal),
        "uniform" => Ok(DistributionKind::Uniform),
        other => Err(Error::unknown("distribution", other, ["truncated_normal", "untruncated_normal", "uniform"])),
    }
}

/// Values of the given variance.
fn draw_scaled(variance: f32, shape: DistributionKind, count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    match shape {
        // The standard deviation of a normal distribution truncated at two is 0.8796… of the original one.
        DistributionKind::TruncatedNormal => truncated_normal(0.0, variance.sqrt() / 0.879_625_7, count, rng),
        DistributionKind::Normal => normal(0.0, variance.sqrt(), count, rng),
        DistributionKind::Uniform => {
            let limit = (3.0 * variance).sqrt();
            uniform(-limit, limit, count, rng)
        }
    }
}

fn uniform(low: f32, high: f32, count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| low + (high - low) * rng.random::<f32>()).collect()
}

fn normal(mean: f32, stddev: f32, count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    (0..count).map(|_| mean + stddev * standard_normal(rng)).collect()
}

fn truncated_normal(mean: f32, stddev: f32, count: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
    let mut draw = || {
        loop {
            let value = standard_normal(rng);
            if value.abs() <= 2.0 {
                return value;
            }
        }
    };
    (0..count).map(|_| mean + stddev * draw()).collect()
}

fn standard_normal(rng: &mut impl Rng) -> f32 {
    StandardNormal.sample(rng)
}

fn identity(sizes: &[usize], gain: f32) -> Result<Vec<f32>> {
    let [rows, columns] = *sizes else {
        return Err(Error::shape("two dimensions for the identity initializer", format!("{sizes:?}")));
    };
    Ok((0..rows * columns).map(|i| if i / columns == i % columns { gain } else { 0.0 }).collect())
}

/// The maximum cost of an orthogonal matrix: the square of the smaller number of rows and columns times the larger one.
const MAX_ORTHOGONAL: u128 = 1 << 38;

/// Refuses an orthogonal matrix that would take hours, or that does not fit in memory in double precision.
fn check_orthogonal(rows: usize, columns: usize) -> Result<()> {
    let (long, short) = (rows.max(columns), rows.min(columns));
    let operations = (short as u128).saturating_pow(2).saturating_mul(long as u128);
    if operations > MAX_ORTHOGONAL {
        let what =
            format!("an orthogonal initializer for a matrix of {rows} × {columns}, which takes too long to compute");
        let supported = "weights from a file, another initializer (such as `glorot_uniform`), or a smaller matrix: up to \
                         2^38 for the smaller size squared times the larger";
        return Err(Error::unsupported(what, supported));
    }
    let needs = format!("an orthogonal initializer for a matrix of {rows} × {columns}");
    memory::check_room(&needs, rows.saturating_mul(columns).saturating_mul(ORTHOGONAL_COPIES))
}

/// The memory of an orthogonal matrix, in 32-bit values per value: one of 64 bits, and the result.
const ORTHOGONAL_COPIES: usize = 3;

/// The orthogonal factor of a random matrix, flattened to the last dimension, with the signs that make it uniformly
/// distributed. Modified Gram–Schmidt, applied twice, in f64: the matrices are small.
fn orthogonal(sizes: &[usize], gain: f32, rng: &mut ChaCha8Rng) -> Result<Vec<f32>> {
    let [leading @ .., columns] = sizes else {
        return Err(Error::shape("at least two dimensions for the orthogonal initializer", format!("{sizes:?}")));
    };
    if leading.is_empty() {
        return Err(Error::shape("at least two dimensions for the orthogonal initializer", format!("{sizes:?}")));
    }
    let (rows, columns) = (leading.iter().product::<usize>(), *columns);
    let (long, short) = (rows.max(columns), rows.min(columns));
    check_orthogonal(rows, columns)?;
    // `short` vectors of length `long`.
    let mut vectors: Vec<Vec<f64>> =
        (0..short).map(|_| (0..long).map(|_| f64::from(standard_normal(rng))).collect()).collect();
    for i in 0..short {
        let (done, rest) = vectors.split_at_mut(i);
        let vector = &mut rest[0];
        for _ in 0..2 {
            for other in done.iter() {
                let along: f64 = vector.iter().zip(other).map(|(a, b)| a * b).sum();
                vector.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = vector.iter().map(|a| a * a).sum::<f64>().sqrt();
        vector.iter_mut().for_each(|a| *a /= length);
    }
    let at = |row: usize, column: usize| if rows >= columns { vectors[column][row] } else { vectors[row][column] };
    Ok((0..rows * columns).map(|i| gain * at(i / columns, i % columns) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statistics(values: &[f32]) -> (f64, f64, f32) {
        let n = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let variance = values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n;
        (mean, variance.sqrt(), values.iter().fold(0.0, |max, v| v.abs().max(max)))
    }

    #[test]
    fn glorot_uniform_has_the_variance_and_bounds_of_its_fans() {
        let values = Initializer::from("glorot_uniform").values(&[3, 3, 32, 48], &[7]).unwrap();
        let limit = (6.0f32 / (9.0 * 32.0 + 9.0 * 48.0)).sqrt();
        let (mean, std, max) = statistics(&values);
        assert!(mean.abs() < 1e-3 && (std - f64::from(limit) / 3f64.sqrt()).abs() < 1e-3, "{mean} {std}");
        assert!(max <= limit && max > 0.99 * limit);
    }

    #[test]
    fn normals_are_truncated_at_two_deviations() {
        let values = Initializer::from("he_normal").values(&[200, 300], &[7]).unwrap();
        let std = (2.0f64 / 200.0).sqrt();
        let (mean, measured, max) = statistics(&values);
        assert!(mean.abs() < 2e-3 && (measured / std - 1.0).abs() < 0.01, "{measured} {std}");
        assert!(f64::from(max) <= 2.0 * std / 0.879 && f64::from(max) > 1.9 * std / 0.88);
    }

    #[test]
    fn orthogonal_columns_are_orthonormal() {
        for sizes in [[3usize, 4, 6], [2, 3, 12]] {
            let (rows, columns) = (sizes[0] * sizes[1], sizes[2]);
            let m = Initializer::from("orthogonal").values(&sizes, &[3]).unwrap();
            let short = rows.min(columns);
            for a in 0..short {
                for b in 0..short {
                    let at = |k: usize, i: usize| if rows >= columns { m[i * columns + k] } else { m[k * columns + i] };
                    let product: f32 = (0..rows.max(columns)).map(|i| at(a, i) * at(b, i)).sum();
                    assert!((product - f32::from(a == b)).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn orthogonal_matrices_that_would_take_hours_are_refused() {
        // Allowed as far as memory suffices: the recurrent kernel of an LSTM of 4096 units, a tall and a wide matrix.
        for (rows, columns) in [(4096, 16384), (1 << 30, 8), (8, 1 << 30)] {
            let refused = check_orthogonal(rows, columns).err();
            assert!(refused.is_none_or(|error| matches!(error, Error::Memory { .. })), "{rows} {columns}");
        }
        for sizes in [&[10_000, 40_000][..], &[1 << 20, 1 << 20], &[3, 1 << 20, 1 << 20]] {
            let error = Initializer::from("orthogonal").values(sizes, &[3]).unwrap_err().to_string();
            assert!(error.contains("orthogonal initializer"), "{error}");
        }
    }

    #[test]
    fn a_seed_repeats_and_keys_differ() {
        let initializer = Initializer::GlorotUniform { seed: Some(5) };
        assert_eq!(initializer.values(&[4, 4], &[1]).unwrap(), initializer.values(&[4, 4], &[2]).unwrap());
        let unseeded = Initializer::from("glorot_uniform");
        assert_ne!(unseeded.values(&[4, 4], &[1]).unwrap(), unseeded.values(&[4, 4], &[2]).unwrap());
    }

    #[test]
    fn every_form_is_read_and_unknown_keys_are_refused() {
        let read = |text: &str| serde_json::from_str::<Initializer>(text).map_err(|error| error.to_string());
        let keras = r#"{"module":"keras.initializers","class_name":"GlorotUniform","config":{"seed":null,"input_axes":null,"output_axes":null},"registered_name":null}"#;
        assert_eq!(read(keras).unwrap(), Initializer::GlorotUniform { seed: None });
        assert_eq!(read(r#""zeros""#).unwrap(), Initializer::Zeros {});
        assert_eq!(read(r#"{"class_name":"Constant","value":2}"#).unwrap(), Initializer::Constant { value: 2.0 });
        assert!(read(r#"{"class_name":"Constant","vlaue":2}"#).unwrap_err().contains("did you mean `value`?"));
        assert!(read(r#""glorot_unifrom""#).unwrap_err().contains("did you mean `glorot_uniform`?"));
        let written = serde_json::to_value(Initializer::from("ones")).unwrap();
        assert_eq!(serde_json::from_value::<Initializer>(written).unwrap(), Initializer::Ones {});
    }
}
