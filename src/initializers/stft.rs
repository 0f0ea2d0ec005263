//! `STFT`: the kernel of a convolution that computes a short-time Fourier transform.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::config::also_argument;
use crate::error::{Error, Result};

/// The supported window functions, by their names in SciPy.
const NAMES: [&str; 14] = [
    "barthann",
    "bartlett",
    "blackman",
    "blackmanharris",
    "bohman",
    "boxcar",
    "cosine",
    "flattop",
    "hamming",
    "hann",
    "lanczos",
    "nuttall",
    "parzen",
    "triang",
];

/// A window: a function by its name in `scipy.signal.windows`, or a number for each sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum WindowFunction {
    /// A function without parameters, such as `hann`.
    Name(String),
    /// A number for each sample.
    Values(Vec<f32>),
}

impl From<&str> for WindowFunction {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<Vec<f32>> for WindowFunction {
    fn from(values: Vec<f32>) -> Self {
        Self::Values(values)
    }
}

also_argument!(&str => WindowFunction, Vec<f32> => WindowFunction);

impl crate::config::Argument<Option<WindowFunction>> for &str {
    fn into_argument(self) -> Option<WindowFunction> {
        Some(self.into())
    }
}

impl crate::config::Argument<Option<WindowFunction>> for Vec<f32> {
    fn into_argument(self) -> Option<WindowFunction> {
        Some(self.into())
    }
}

impl WindowFunction {
    /// Refuses an unknown name, and any number of values but `length`.
    pub(crate) fn check(&self, length: usize) -> Result<()> {
        match self {
            Self::Name(name) if NAMES.contains(&name.as_str()) => Ok(()),
            Self::Name(name) => Err(Error::unknown("window", name, NAMES)),
            Self::Values(values) if values.len() == length => Ok(()),
            Self::Values(values) => {
                Err(Error::argument("window", format!("{length} numbers, one for each sample"), values.len()))
            }
        }
    }

    /// The weights of a frame's samples. A periodic window is a symmetric one of one more sample, without the last.
    pub(crate) fn weights(&self, length: usize, periodic: bool) -> Result<Vec<f32>> {
        self.check(length)?;
        let name = match self {
            Self::Name(name) => name.as_str(),
            Self::Values(values) => return Ok(values.clone()),
        };
        if length == 1 {
            return Ok(vec![1.0]);
        }
        let whole = length + usize::from(periodic);
        Ok((0..length).map(|sample| weight(name, sample as f64, whole as f64) as f32).collect())
    }
}

/// The weight of a sample in a window of `length` (Harris 1978, and SciPy's documentation of each).
fn weight(name: &str, sample: f64, length: f64) -> f64 {
    let last = length - 1.0;
    // From -1 to 1 over the window.
    let position = 2.0 * sample / last - 1.0;
    let cosines = |terms: &[f64]| {
        let term = |(index, factor): (usize, &f64)| factor * (index as f64 * PI * position).cos();
        terms.iter().enumerate().map(term).sum()
    };
    match name {
        "barthann" => 0.62 - 0.48 * (position / 2.0).abs() + 0.38 * (PI * position).cos(),
        "bartlett" => 1.0 - position.abs(),
        "blackman" => cosines(&[0.42, 0.5, 0.08]),
        "blackmanharris" => cosines(&[0.35875, 0.48829, 0.14128, 0.01168]),
        "bohman" if position.abs() < 1.0 => {
            (1.0 - position.abs()) * (PI * position).cos() + (PI * position.abs()).sin() / PI
        }
        "bohman" => 0.0,
        "cosine" => (PI / length * (sample + 0.5)).sin(),
        "flattop" => cosines(&[0.21557895, 0.41663158, 0.277263158, 0.083578947, 0.006947368]),
        "hamming" => cosines(&[0.54, 0.46]),
        "hann" => cosines(&[0.5, 0.5]),
        "lanczos" if position == 0.0 => 1.0,
        "lanczos" => (PI * position).sin() / (PI * position),
        "nuttall" => cosines(&[0.3635819, 0.4891775, 0.1365995, 0.0106411]),
        "parzen" => {
            let far = 2.0 * (sample - last / 2.0).abs() / length;
            if far * length > last / 2.0 { 2.0 * (1.0 - far).powi(3) } else { 1.0 - 6.0 * far.powi(2) * (1.0 - far) }
        }
        "triang" => {
            let spread = if length % 2.0 == 0.0 { length } else { length + 1.0 };
            1.0 - (2.0 * sample - last).abs() / spread
        }
        // `boxcar`.
        _ => 1.0,
    }
}

/// The kernel of one side for frames, one channel and frequencies: `window · cos(2π · time · frequency) / scaling`, or
/// with `-sin` for the imaginary side.
pub(super) fn stft(
    sizes: &[usize],
    side: &str,
    window: Option<&WindowFunction>,
    scaling: Option<&str>,
    periodic: bool,
) -> Result<Vec<f32>> {
    let [length, 1, frequencies @ 2..=usize::MAX] = *sizes else {
        return Err(Error::shape("(samples of a frame, 1, at least 2 frequencies) for STFT", format!("{sizes:?}")));
    };
    let part: fn(f64) -> f64 = match side {
        "real" => f64::cos,
        "imag" => f64::sin,
        other => return Err(Error::unknown("side", other, ["real", "imag"])),
    };
    let norm: fn(&[f32]) -> f32 = match scaling {
        None => |_| 1.0,
        Some("density") => |weights| weights.iter().map(|weight| weight * weight).sum::<f32>().sqrt(),
        Some("spectrum") => |weights| weights.iter().map(|weight| weight.abs()).sum(),
        Some(other) => return Err(Error::unknown("scaling", other, ["density", "spectrum"])),
    };
    let weights = window.map(|window| window.weights(length, periodic)).transpose()?;
    let scale = weights.as_deref().map_or(1.0, norm);
    let all = 2.0 * (frequencies - 1) as f32;
    let values = (0..length).flat_map(|time| {
        let weight = weights.as_ref().map_or(1.0, |weights| weights[time]);
        (0..frequencies).map(move |frequency| {
            // Rounded as in Keras: an angle can be large.
            let angle = -2.0 * time as f32 * (frequency as f32 / all) * std::f32::consts::PI;
            part(f64::from(angle)) as f32 * weight / scale
        })
    });
    Ok(values.collect())
}
