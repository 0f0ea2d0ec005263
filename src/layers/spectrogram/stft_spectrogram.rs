//! `STFTSpectrogram`: the short-time Fourier transform of signals.

use crate::config::choice;
use crate::error::{Error, Result};
use crate::initializers::{Initializer, WindowFunction};
use crate::layers::{BuiltIn, Call, Layer, WeightSpec};
use crate::ops::{self, ConvGeometry, Value};
use crate::shape::{DataFormat, Padding, Shape};

choice! {
    /// The representation of a frame's spectrum.
    pub enum SpectrogramMode: "mode" {
        /// The logarithm of the magnitude.
        Log = "log",
        /// The magnitude of the complex spectrum.
        Magnitude = "magnitude",
        /// The power: the squared magnitude, doubled for all frequencies but the first and last.
        Psd = "psd",
        /// The real part.
        Real = "real",
        /// The imaginary part.
        Imag = "imag",
        /// The phase angle.
        Angle = "angle",
        /// Both parts, the frequencies of the real one first.
        Stft = "stft",
    }
}

crate::describe! {
    /// The spectrogram of a signal, by a short-time Fourier transform in the form of a convolution: its kernels are
    /// initialized to sines and cosines, and trained with the model unless `trainable(false)` is set.
    ///
    /// # Shapes
    /// `(batch, samples, channels)` → `(batch, frames, channels · frequencies)`, or with `expand_dims`
    /// `(batch, frames, frequencies, channels)`, where there are `fft_length / 2 + 1` frequencies, and twice as many with
    /// `mode = "stft"`; weights `real_kernel` and `imag_kernel` (frame_length, 1, fft_length / 2 + 1), of which the modes
    /// `real` and `imag` have one.
    ///
    /// ```
    /// use brasa::prelude::*;
    /// let mut model = Sequential::new();
    /// model.add(STFTSpectrogram::new().frame_length(128).frame_step(64).trainable(false).input_shape((16000, 1)))?;
    /// assert_eq!(model.output_shape()?.to_string(), "(None, 249, 65)");
    /// # Ok::<(), brasa::Error>(())
    /// ```
    pub layer struct STFTSpectrogram {
        /// The representation of the spectrum.
        mode: SpectrogramMode = SpectrogramMode::Log,
        /// The length of a frame, in samples.
        frame_length: usize = 256,
        /// The hop between the starts of successive frames, at most `frame_length`; by default half of it.
        frame_step: Option<usize> = None,
        /// The length of the transform, at least that of a frame; by default the next power of two.
        fft_length: Option<usize> = None,
        /// The window; `None` is a rectangular one.
        window: Option<WindowFunction> = Some(WindowFunction::Name("hann".to_owned())),
        /// Whether the window is periodic rather than symmetric.
        periodic: bool = false,
        /// The normalization of the kernels: by the root of the window's sum of squares (`density`), by its sum
        /// (`spectrum`), or none.
        scaling: Option<String> = Some("density".to_owned()),
        /// `valid`: frames stay inside; `same`: zero padding, so that there is a frame for every hop.
        padding: Padding = Padding::Valid,
        /// Whether channels have a separate dimension.
        expand_dims: bool = false,
        /// The position of the channels in the input and output.
        data_format: DataFormat = DataFormat::ChannelsLast,
    }
}

/// The lower bound of arguments of a root or logarithm.
const EPSILON: f32 = 1e-7;

impl STFTSpectrogram {
    /// Log-magnitudes of frames of 256 samples.
    pub fn new() -> Self {
        Self::default()
    }

    fn step(&self) -> usize {
        self.frame_step.unwrap_or(self.frame_length / 2).max(1)
    }

    /// The number of frequencies of one part, real or imaginary.
    fn frequencies(&self) -> usize {
        let length =
            self.fft_length.unwrap_or_else(|| self.frame_length.checked_next_power_of_two().unwrap_or(usize::MAX));
        (length / 2).saturating_add(1)
    }

    fn sides(&self) -> &'static [&'static str] {
        match self.mode {
            SpectrogramMode::Real => &["real"],
            SpectrogramMode::Imag => &["imag"],
            _ => &["real", "imag"],
        }
    }

    fn check(&self) -> Result<()> {
        self.mode.check()?;
        self.padding.refuse_causal()?;
        if self.frame_length < 2 {
            return Err(Error::argument("frame_length", "an integer, 2 or more", self.frame_length));
        }
        if let Some(step) = self.frame_step.filter(|step| !(1..=self.frame_length).contains(step)) {
            let expected = format!("an integer from 1 to {}, the length of a frame", self.frame_length);
            return Err(Error::argument("frame_step", expected, step));
        }
        if let Some(length) = self.fft_length.filter(|length| *length < self.frame_length) {
            let expected = format!("at least {}, the length of a frame", self.frame_length);
            return Err(Error::argument("fft_length", expected, length));
        }
        if let Some(scaling) = self.scaling.as_deref().filter(|scaling| !["density", "spectrum"].contains(scaling)) {
            return Err(Error::unknown("scaling", scaling, ["density", "spectrum"]));
        }
        // The window's name or length.
        self.window.as_ref().map_or(Ok(()), |window| window.check(self.frame_length))
    }

    /// The zero padding before and after `samples`, and the number of frames.
    fn frames(&self, samples: usize) -> (usize, usize, usize) {
        let (length, step) = (self.frame_length, self.step());
        match self.padding {
            Padding::Same => {
                let frames = samples.div_ceil(step);
                let needed = frames.saturating_sub(1).saturating_mul(step).saturating_add(length);
                let zeros = needed.saturating_sub(samples);
                (zeros / 2, zeros - zeros / 2, frames)
            }
            _ => (0, 0, samples.checked_sub(length).map_or(0, |rest| rest / step + 1)),
        }
    }

    /// The requested representation, from frequencies with the channels before the frames.
    fn shown(&self, real: Option<Value>, imag: Option<Value>) -> Result<Value> {
        let both = |real: Value, imag: Value| -> Result<Value> {
            Ok(match self.mode {
                SpectrogramMode::Angle => imag.atan2(real),
                SpectrogramMode::Stft => Value::concat(vec![real, imag], 2)?,
                _ => {
                    let power = real.square() + imag.square();
                    match self.mode {
                        SpectrogramMode::Psd => match power.sizes()[2] {
                            // Only the first and the last frequency.
                            0..=2 => power,
                            all => power.clone() + power.narrow(2, 1, all - 2).pad(2, 1, 1, 0.0)?,
                        },
                        SpectrogramMode::Magnitude => power.clamp_min(EPSILON).sqrt(),
                        _ => power.clamp_min(EPSILON).sqrt().clamp_min(EPSILON).log(),
                    }
                }
            })
        };
        match (real, imag) {
            (Some(real), Some(imag)) => both(real, imag),
            (Some(side), None) | (None, Some(side)) => Ok(side),
            (None, None) => Err(Error::shape("a kernel", "none")),
        }
    }
}

impl Layer for STFTSpectrogram {
    fn output_shape(&self, input: &Shape) -> Result<Shape> {
        self.check()?;
        input.expect_rank(3)?;
        let last = self.data_format.to_channels_last(input);
        let channels = last.last()?;
        let frames = last.sizes()[1].map(|samples| self.frames(samples).2);
        if frames == Some(0) {
            return Err(Error::shape(format!("at least {} samples, as a frame has", self.frame_length), input));
        }
        let sides = if self.mode == SpectrogramMode::Stft { 2 } else { 1 };
        let frequencies = self.frequencies().saturating_mul(sides);
        let batch = last.sizes()[0];
        Ok(match (self.data_format, self.expand_dims) {
            (DataFormat::ChannelsFirst, true) => Shape::new([batch, Some(channels), frames, Some(frequencies)]),
            (_, true) => Shape::new([batch, frames, Some(frequencies), Some(channels)]),
            (format, false) => {
                let features = frequencies.saturating_mul(channels);
                format.from_channels_last(&Shape::new([batch, frames, Some(features)]))
            }
        })
    }

    fn weights(&self, _: &Shape) -> Result<Vec<WeightSpec>> {
        let kernel = |side: &&str| {
            let initializer = Initializer::STFT {
                side: (*side).to_owned(),
                window: self.window.clone(),
                scaling: self.scaling.clone(),
                periodic: self.periodic,
            };
            WeightSpec::new(&format!("{side}_kernel"), [self.frame_length, 1, self.frequencies()], initializer)
        };
        Ok(self.sides().iter().map(kernel).collect())
    }

    fn scratch(&self, input: &Shape, training: bool) -> Result<usize> {
        let output = self.output_shape(input)?.known_len();
        // The padded signal by channels, both parts, and the intermediate representation.
        let signal = input.known_len().saturating_mul(3);
        Ok(signal.saturating_add(output.saturating_mul(if training { 8 } else { 5 })))
    }

    fn forward(&self, input: Value, call: &mut Call<'_>) -> Result<Value> {
        // Each channel is a separate signal.
        let signals = match self.data_format {
            DataFormat::ChannelsFirst => input,
            _ => input.permute(&[0, 2, 1]),
        };
        let sizes = signals.sizes();
        let [batch, channels, samples] = sizes[..] else {
            return Err(Error::shape("ndim=3", format!("{sizes:?}")));
        };
        let signals = signals.reshape(&[batch * channels, samples, 1])?;
        let (before, after, frames) = self.frames(samples);
        let geometry = ConvGeometry { strides: [self.step()], dilation: [1], pads: [(before, after)], groups: 1 };
        let frequencies = self.frequencies();
        let side = |index: usize| -> Result<Value> {
            let side = ops::conv(signals.clone(), call.weight(index), None, &geometry)?;
            // Channels, then frequencies, then frames, so that the frequencies of both parts can be concatenated.
            side.reshape(&[batch, channels, frames, frequencies]).map(|side| side.permute(&[0, 1, 3, 2]))
        };
        let (real, imag) = match self.mode {
            SpectrogramMode::Real => (Some(side(0)?), None),
            SpectrogramMode::Imag => (None, Some(side(0)?)),
            _ => (Some(side(0)?), Some(side(1)?)),
        };
        let shown = self.shown(real, imag)?;
        let frequencies = shown.sizes()[2];
        match (self.data_format, self.expand_dims) {
            (DataFormat::ChannelsFirst, true) => Ok(shown.permute(&[0, 1, 3, 2])),
            (_, true) => Ok(shown.permute(&[0, 3, 2, 1])),
            (DataFormat::ChannelsFirst, false) => shown.reshape(&[batch, channels * frequencies, frames]),
            (_, false) => shown.permute(&[0, 3, 1, 2]).reshape(&[batch, frames, channels * frequencies]),
        }
    }
}

impl BuiltIn for STFTSpectrogram {
    fn examples() -> Vec<(Self, Shape)> {
        let small = || Self::new().frame_length(8);
        vec![
            (small(), Shape::batch_of((20, 1))),
            (small().mode("magnitude").padding(Padding::Same).frame_step(3).periodic(true), Shape::batch_of((17, 2))),
            (small().mode("psd").expand_dims(true).window(None), Shape::batch_of((16, 2))),
            (small().mode("real").scaling("spectrum").window("hamming"), Shape::batch_of((16, 1))),
            (small().mode("imag").fft_length(11), Shape::batch_of((16, 1))),
            (small().mode("stft").scaling(None).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 16))),
            (small().mode("stft").expand_dims(true).data_format(DataFormat::ChannelsFirst), Shape::batch_of((2, 16))),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The initial weights of a layer.
    fn started(layer: &STFTSpectrogram) -> Vec<Value> {
        let specs = layer.weights(&Shape::batch_of((64, 1))).unwrap();
        let start = |spec: &WeightSpec| {
            Value::from_vec(spec.start(&[1]).unwrap(), &spec.sizes, &burn::tensor::Device::flex()).unwrap()
        };
        specs.iter().map(start).collect()
    }

    #[test]
    fn invalid_arguments_are_refused() {
        let refused = |layer: STFTSpectrogram, argument: &str| {
            let error = layer.output_shape(&Shape::batch_of((300, 1))).unwrap_err().to_string();
            assert!(error.contains(argument), "{error}");
        };
        let small = || STFTSpectrogram::new().frame_length(64);
        refused(small().frame_step(65), "frame_step");
        refused(small().frame_step(0), "frame_step");
        refused(small().fft_length(63), "fft_length");
        refused(small().mode("power"), "mode");
        refused(small().scaling("root"), "scaling");
        refused(small().window("round"), "window");
        refused(small().window(vec![1.0; 3]), "window");
        refused(STFTSpectrogram::new().frame_length(1), "frame_length");
        refused(STFTSpectrogram::new().frame_length(301), "301 samples");
    }

    #[test]
    fn a_tone_peaks_at_its_frequency() {
        let device = burn::tensor::Device::flex();
        let tone = (0..64).map(|time| (2.0 * std::f32::consts::PI * 4.0 * time as f32 / 32.0).cos()).collect();
        let input = Value::from_vec(tone, &[1, 64, 1], &device).unwrap();
        let layer = STFTSpectrogram::new().frame_length(32).mode("magnitude").window(None);
        let weights = started(&layer);
        let output = layer.forward(input, &mut Call::inference(&weights)).unwrap();
        assert_eq!(output.sizes(), [1, 3, 17]);
        for frame in output.to_vec().unwrap().chunks(17) {
            // 32 samples of a cosine: half of them at its frequency, and (nearly) nothing at all others.
            assert!((frame[4] - 16.0).abs() < 1e-3, "{frame:?}");
            assert!(frame.iter().enumerate().all(|(index, number)| index == 4 || *number < 1e-3), "{frame:?}");
        }
    }
}
