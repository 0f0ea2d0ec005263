//! `MelSpectrogram`: the mel spectrogram of signals.

use std::f64::consts::PI;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::initializers::WindowFunction;
use crate::layers::{BuiltIn, Call, Common, Layer};
use crate::ops::{self, ConvGeometry, Value};
use crate::shape::Shape;

crate::describe! {
    /// The mel spectrogram of a signal: the strength of frequency bands per frame, with bands spaced evenly on the
    /// perceptual mel scale.
    ///
    /// # Shapes
    /// `(batch, samples)` → `(batch, num_mel_bins, frames)` with `1 + samples / sequence_stride` frames; more samples
    /// than half of `fft_length`, so that the signal can be padded by reflection.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(MelSpectrogram::new().num_mel_bins(64).input_shape(16000))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 64, 32)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct MelSpectrogram {
        /// The length of the Fourier transform.
        fft_length: usize = 2048,
        /// The hop between the starts of successive frames, in samples.
        sequence_stride: usize = 512,
        /// The length of the window, at most `fft_length`; by default `fft_length`.
        sequence_length: Option<usize> = None,
        /// `hann`, `hamming`, or a number for each sample of a frame; `None` is a rectangular window.
        window: Option<WindowFunction> = Some(WindowFunction::Name("hann".to_owned())),
        /// The sampling rate, in hertz.
        sampling_rate: usize = 16000,
        /// The number of mel bands.
        num_mel_bins: usize = 128,
        /// The lowest frequency, in hertz.
        min_freq: f32 = 20.0,
        /// The highest frequency, in hertz; by default half of the sampling rate.
        max_freq: Option<f32> = None,
        /// Whether the result is in decibels.
        power_to_db: bool = true,
        /// The dynamic range in decibels: lower values are raised to the maximum of the batch minus this.
        top_db: f32 = 80.0,
        /// The exponent of the magnitude: 1 gives the energy, 2 the power.
        mag_exp: f32 = 2.0,
        /// The lower bound of the power before the logarithm, above 0.
        min_power: f32 = 1e-10,
        /// The reference power, at 0 decibels.
        ref_power: f32 = 1.0,
    }
}

/// How many layers' tables are kept.
const MOST_KEPT: usize = 4;

/// Tables that were made, the newest last.
static KEPT: TableCache = Mutex::new(Vec::new());

type TableCache = Mutex<Vec<Arc<MelTables>>>;

/// What a layer computes with that no weight is.
struct MelTables {
    kernel: Vec<f32>,
    bands: Vec<f32>,
    /// The layer that they are of, without what does not change them.
    key: MelSpectrogram,
}

/// Converts a frequency to the mel scale.
fn mel(hertz: f64) -> f64 {
    1127.0 * (1.0 + hertz / 700.0).ln()
}

impl MelSpectrogram {
    /// Decibels in 128 bands.
    pub fn new() -> Self {
        Self::default()
    }

    fn length(&self) -> usize {
        self.sequence_length.filter(|length| *length > 0).unwrap_or(self.fft_length)
    }

    fn highest(&self) -> f64 {
        let given = self.max_freq.filter(|highest| *highest != 0.0).map(f64::from);
        given.unwrap_or((self.sampling_rate / 2) as f64)
    }

    fn frequencies(&self) -> usize {
        self.fft_length / 2 + 1
    }

    fn check(&self) -> Result<()> {
        for (argument, count) in [
            ("sequence_stride", self.sequence_stride),
            ("sampling_rate", self.sampling_rate),
            ("num_mel_bins", self.num_mel_bins),
        ] {
            if count == 0 {
                return Err(Error::argument(argument, "an integer above 0", count));
            }
        }
        if self.fft_length < 2 || self.length() > self.fft_length {
            let expected = format!("at least {}, the length of a frame, and 2", self.length());
            return Err(Error::argument("fft_length", expected, self.fft_length));
        }
        if let Some(WindowFunction::Name(name)) =
            self.window.as_ref().filter(|window| !["hann", "hamming"].map(WindowFunction::from).contains(window))
        {
            return Err(Error::unknown("window", name, ["hann", "hamming"]));
        }
        self.window.as_ref().map_or(Ok(()), |window| window.check(self.length()))?;
        if !(0.0..f64::INFINITY).contains(&f64::from(self.min_freq)) || self.min_freq >= self.highest() as f32 {
            let expected = format!("a number from 0 to below {}, the highest frequency", self.highest());
            return Err(Error::argument("min_freq", expected, self.min_freq));
        }
        if !self.highest().is_finite() {
            return Err(Error::argument("max_freq", "a finite number", self.highest()));
        }
        for (argument, number, least) in [
            ("top_db", self.top_db, 0.0),
            ("mag_exp", self.mag_exp, 0.0),
            ("min_power", self.min_power, f32::MIN_POSITIVE),
            ("ref_power", self.ref_power.abs(), 0.0),
        ] {
            if !(least..=f32::MAX).contains(&number) {
                let expected = if least > 0.0 { "a number above 0" } else { "a number, 0 or more" };
                return Err(Error::argument(argument, expected, number));
            }
        }
        Ok(())
    }

    /// The number of frames of a signal; `None` if it is too short for reflection padding.
    fn frames(&self, samples: usize) -> Option<usize> {
        let half = self.fft_length / 2;
        let padded = samples.checked_add(2 * half).filter(|_| samples > half)?;
        Some((padded - self.fft_length) / self.sequence_stride + 1)
    }

    fn too_short(&self, samples: usize) -> Error {
        Error::shape(format!("more than {} samples, half of `fft_length`", self.fft_length / 2), samples)
    }

    /// The kernel and the bands, which are made once and kept for the next batches: of the layers that have computed last.
    fn tables(&self, kept: &TableCache) -> Result<Arc<MelTables>> {
        let lock = || kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What does not change them, such as the stride, is the same in all keys.
        let key = Self {
            sequence_length: Some(self.length()),
            max_freq: Some(self.highest() as f32),
            sequence_stride: 1,
            power_to_db: false,
            top_db: 0.0,
            mag_exp: 0.0,
            min_power: 0.0,
            ref_power: 0.0,
            common: Common::default(),
            ..self.clone()
        };
        let same = |tables: &Arc<MelTables>| format!("{:?}", tables.key) == format!("{key:?}");
        if let Some(found) = lock().iter().find(|tables| same(tables)) {
            return Ok(found.clone());
        }
        let made = Arc::new(MelTables { kernel: self.kernel()?, bands: self.bands(), key });
        let mut kept = lock();
        if kept.len() >= MOST_KEPT {
            kept.remove(0);
        }
        kept.push(made.clone());
        Ok(made)
    }

    /// The kernel of a convolution that computes the real and the imaginary part of the windowed transform.
    fn kernel(&self) -> Result<Vec<f32>> {
        let (length, frequencies, inside) = (self.fft_length, self.frequencies(), self.length());
        let weights = match &self.window {
            Some(window) => window.weights(inside, true)?,
            None => vec![1.0; inside],
        };
        // Cosine and sine of every angle that occurs.
        let angle = |part: usize| 2.0 * PI * part as f64 / length as f64;
        let circle: Vec<[f32; 2]> =
            (0..length).map(|part| [angle(part).cos() as f32, -angle(part).sin() as f32]).collect();
        let mut kernel = vec![0.0; length * 2 * frequencies];
        let first = (length - inside) / 2;
        for (sample, row) in kernel.chunks_exact_mut(2 * frequencies).enumerate().skip(first).take(inside) {
            let (real, imag) = row.split_at_mut(frequencies);
            for (frequency, (real, imag)) in real.iter_mut().zip(imag).enumerate() {
                let [cos, sin] = circle[sample * frequency % length];
                (*real, *imag) = (weights[sample - first] * cos, weights[sample - first] * sin);
            }
        }
        Ok(kernel)
    }

    /// The weight of each frequency in each band: triangles on the mel scale, between the centers of the neighbouring
    /// bands.
    fn bands(&self) -> Vec<f32> {
        let (frequencies, bands) = (self.frequencies(), self.num_mel_bins);
        let (low, high) = (mel(f64::from(self.min_freq)), mel(self.highest()));
        let edge = |index: usize| low + (high - low) * index as f64 / (bands + 1) as f64;
        let mut weights = vec![0.0; frequencies * bands];
        // Frequency 0 is in no band.
        for (frequency, row) in weights.chunks_exact_mut(bands).enumerate().skip(1) {
            let hertz = self.sampling_rate as f64 / 2.0 * frequency as f64 / (frequencies - 1) as f64;
            let pitch = mel(hertz);
            for (band, weight) in row.iter_mut().enumerate() {
                let (before, middle, behind) = (edge(band), edge(band + 1), edge(band + 2));
                let up = (pitch - before) / (middle - before);
                let down = (behind - pitch) / (behind - middle);
                *weight = up.min(down).max(0.0) as f32;
            }
        }
        weights
    }

    /// Decibels relative to `ref_power`, at most `top_db` below the maximum.
    fn decibels(&self, power: Value) -> Result<Value> {
        let tenth = 10.0 / std::f32::consts::LN_10;
        let zero = 10.0 * self.ref_power.abs().max(self.min_power).log10();
        let decibels = power.clamp_min(self.min_power).log().mul_scalar(tenth).add_scalar(-zero);
        let sizes = decibels.sizes();
        let loudest = decibels.clone().reshape(&[decibels.len()])?.max_axis(0).add_scalar(-self.top_db);
        let least = loudest.reshape(&vec![1; sizes.len()])?.expand(&sizes);
        Ok(decibels.maximum(least))
    }
}

impl Layer for MelSpectrogram {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.check()?;
        input.expect_rank(2)?;
        let frames = match input.sizes()[1] {
            None => None,
            Some(samples) => Some(self.frames(samples).ok_or_else(|| self.too_short(samples))?),
        };
        Ok(Shape::new([input.sizes()[0], Some(self.num_mel_bins), frames]))
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let (batch, samples) = (input.sizes()[0].unwrap_or(1), input.sizes()[1].unwrap_or(1));
        let sides = self.frequencies().saturating_mul(2);
        let frames = batch.saturating_mul(self.frames(samples).unwrap_or(0));
        let tables = sides.saturating_mul(self.fft_length).saturating_add(self.num_mel_bins.saturating_mul(sides));
        let signal = batch.saturating_mul(samples.saturating_add(self.fft_length)).saturating_mul(2);
        let steps = frames.saturating_mul(sides).saturating_mul(if training { 4 } else { 2 });
        let output = frames.saturating_mul(self.num_mel_bins).saturating_mul(4);
        Ok(tables.saturating_add(signal).saturating_add(steps).saturating_add(output))
    }

    fn forward(&self, input: Value, _: &mut Call<'_>) -> Result<Value> {
        let sizes = input.sizes();
        let [batch, samples] = sizes[..] else { return Err(Error::shape("ndim=2", format!("{sizes:?}"))) };
        let frames = self.frames(samples).ok_or_else(|| self.too_short(samples))?;
        let (device, half, frequencies) = (input.device(), self.fft_length / 2, self.frequencies());
        // Reflection padding without repeating the ends.
        let mirrored = (1..=half).rev().chain(0..samples).chain((samples - 1 - half..samples - 1).rev());
        let signal = input.select(1, &mirrored.collect::<Vec<_>>())?;
        let signal = signal.reshape(&[batch, samples + 2 * half, 1])?;
        let tables = self.tables(&KEPT)?;
        let kernel = Value::from_vec(tables.kernel.clone(), &[self.fft_length, 1, 2 * frequencies], &device)?;
        let geometry = ConvGeometry { strides: [self.sequence_stride], dilation: [1], pads: [(0, 0)], groups: 1 };
        let sides = ops::conv(signal, kernel, None, &geometry)?;
        let side = |first: usize| sides.clone().narrow(2, first, frequencies).square();
        let mut power = side(0) + side(frequencies);
        if self.mag_exp != 2.0 {
            power = power.powf(self.mag_exp / 2.0);
        }
        let bands = Value::from_vec(tables.bands.clone(), &[frequencies, self.num_mel_bins], &device)?;
        let mut output = power.matmul_along(2, bands)?;
        if self.power_to_db {
            output = self.decibels(output)?;
        }
        debug_assert_eq!(output.sizes(), [batch, frames, self.num_mel_bins]);
        Ok(output.permute(&[0, 2, 1]))
    }
}

impl BuiltIn for MelSpectrogram {
    fn examples() -> Vec<(Self, Shape)> {
        let small = || Self::new().fft_length(16).sequence_stride(5).sampling_rate(100).num_mel_bins(4).min_freq(1.0);
        vec![
            (small(), Shape::batch_of(30)),
            (small().sequence_length(10).window("hamming").max_freq(40.0).mag_exp(1.0), Shape::batch_of(24)),
            (small().window(None).power_to_db(false), Shape::batch_of(9)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn tables_are_made_once_and_those_of_other_layers_are_others() {
        let kept = TableCache::default();
        let small = || MelSpectrogram::new().fft_length(18).sampling_rate(100).num_mel_bins(3).min_freq(1.0);
        let first = small().tables(&kept).unwrap();
        assert!(Arc::ptr_eq(&first, &small().sequence_stride(3).top_db(20.0).tables(&kept).unwrap()));
        assert!(Arc::ptr_eq(&first, &small().sequence_length(18).max_freq(50.0).tables(&kept).unwrap()));
        let other = small().window(None).tables(&kept).unwrap();
        assert!(!Arc::ptr_eq(&first, &other) && first.kernel != other.kernel && first.bands == other.bands);
        assert_ne!(first.bands, small().max_freq(40.0).tables(&kept).unwrap().bands);
        for rate in 101..110 {
            small().sampling_rate(rate).tables(&kept).unwrap();
        }
        assert!(kept.lock().unwrap().len() <= MOST_KEPT);
    }

    #[test]
    fn invalid_arguments_are_refused() {
        let refused = |layer: MelSpectrogram, argument: &str| {
            let error = layer.output_shape(&Shape::batch_of(3000)).unwrap_err().to_string();
            assert!(error.contains(argument), "{error}");
        };
        refused(MelSpectrogram::new().sequence_stride(0), "sequence_stride");
        refused(MelSpectrogram::new().sequence_length(2049), "fft_length");
        refused(MelSpectrogram::new().window("blackman"), "window");
        refused(MelSpectrogram::new().window(vec![1.0; 7]), "window");
        refused(MelSpectrogram::new().min_freq(8000.0), "min_freq");
        refused(MelSpectrogram::new().max_freq(f32::INFINITY), "max_freq");
        refused(MelSpectrogram::new().min_power(0.0), "min_power");
        refused(MelSpectrogram::new().top_db(-1.0), "top_db");
        let error = MelSpectrogram::new().output_shape(&Shape::batch_of(1024)).unwrap_err().to_string();
        assert!(error.contains("more than 1024 samples"), "{error}");
        assert!(MelSpectrogram::new().output_shape(&Shape::batch_of((4, 4))).is_err());
    }
}
